"""The worked example's two periods, settled through the services, each step as the role of its process."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from math import factorial
from typing import TypedDict

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from attribution.generation import Image
from attribution.ingest import Status
from attribution.results import Attribution, AttributionShare, CoalitionValue, Placebo
from attribution.shapley import PlaceboLevel, settle_game
from database.engine import session as open_session
from database.roles import Role
from settlement import posting
from settlement.ledger import post
from settlement.money import to_decimal
from settlement.periods.approval import Draft, approve, calculate, submit
from settlement.periods.calculation import Progress
from settlement.periods.calendar import cut_off, database_now
from settlement.periods.close import Closing, close, dry_run
from settlement.sales import RefundRecord, parse_sale, record_refunds, record_sales
from tests.settlement.events import add_images, load_terms, method
from tests.settlement.worked_example import SALES, SHARES

PLACEBO = {
    (2, 1): PlaceboLevel(12_000_000, 31_000_000),
    (3, 1): PlaceboLevel(9_000_000, 24_000_000),
    (3, 2): PlaceboLevel(7_000_000, 22_000_000),
}
# Artists in the order of naming, and v(S) by bitmask.
GAMES = {
    "img-1": (
        ["art-1", "art-2"],
        [
            212_000_000,
            561_000_000,
            334_000_000,
            870_000_000,
            268_000_000,
            603_000_000,
            391_000_000,
            1_000_000_000,
        ],
    ),
    "img-2": (["art-1"], [180_000_001, 640_000_000, 355_000_000, 1_000_000_000]),
    "img-3": (
        ["art-2", "art-3"],
        [
            205_000_000,
            702_000_000,
            229_000_000,
            711_000_000,
            300_000_000,
            965_000_000,
            318_000_000,
            1_000_000_000,
        ],
    ),
    "img-4": (["art-3"], [190_000_000, 577_000_000, 401_000_000, 1_000_000_000]),
}
SOLD = {
    "sale-1": datetime(2026, 10, 5, tzinfo=UTC),
    "sale-2": datetime(2026, 10, 6, tzinfo=UTC),
    "sale-3": datetime(2026, 10, 10, tzinfo=UTC),
    "sale-4": datetime(2026, 10, 20, tzinfo=UTC),
    "sale-5": datetime(2026, 11, 8, tzinfo=UTC),
    "sale-6": datetime(2026, 11, 9, tzinfo=UTC),
}


def attribute(session: Session, name: str) -> None:
    """The attribution of one image, settled from its v(S) by the code that the worker uses."""
    artists, values = GAMES[name]
    players = len(artists) + 1
    placebo = [PLACEBO[players, slot] for slot in range(1, players)]
    game = settle_game(values, artists, placebo, minimum_gap=20_000_000)
    assert game.reason is None
    assert {player.player: player.share_ppb for player in game.players} == SHARES[name]
    digest = hashlib.sha256(name.encode()).digest()
    row = Attribution(
        image_id=session.scalars(select(Image.id).where(Image.external_id == name)).one(),
        method_id=method(session),
        status="attributed",
        players=players,
        denominator=factorial(players),
        reading={},
        environment={},
    )
    session.add(row)
    session.flush()
    session.add_all(
        CoalitionValue(
            attribution_id=row.id, coalition=mask, value=value, picture_sha256=digest, prompt_sha256=digest
        )
        for mask, value in enumerate(values)
    )
    session.add_all(
        AttributionShare(
            attribution_id=row.id,
            slot=player.slot,
            player=player.player,
            phi_numerator=int(player.phi * factorial(players)),
            placebo_mean=None if player.placebo is None else player.placebo.mean,
            adjusted_numerator=int(player.adjusted * factorial(players)),
            placebo_threshold=None if player.placebo is None else player.placebo.threshold,
            paid_numerator=int(player.paid * factorial(players)),
            share_ppb=player.share_ppb,
        )
        for player in game.players
    )


def measure_placebo(session: Session) -> None:
    """The table that `attribute` settles by, for the weights of every image."""
    session.add_all(
        Placebo(
            method_id=method(session),
            weights_sha256=image.weights_sha256,
            players=players,
            slot=slot,
            mean=level.mean,
            mean_standard_error=1,
            threshold=level.threshold,
            threshold_standard_error=1,
            names=40,
            evidence={},
        )
        for image in session.scalars(select(Image))
        for (players, slot), level in PLACEBO.items()
    )


def sell(names: list[str]) -> None:
    records = [
        parse_sale(
            {
                "external_id": name,
                "image": SALES[name][0],
                "sold_at": SOLD[name],
                "territory": "DE",
                "currency": "EUR",
                "price": to_decimal(SALES[name][1]),
                "tax": to_decimal(SALES[name][2]),
                "marketplace_fee": to_decimal(SALES[name][3]),
            }
        )
        for name in names
    ]
    with open_session(Role.SETTLEMENT) as session:
        assert {outcome.status for outcome in record_sales(session, records, actor="shop")} == {
            Status.RECORDED
        }


class LookedAt(TypedDict):
    """What a checker says who accepts whatever the gates found."""

    content_sha256: bytes
    accepted: dict[str, str]
    gates_sha256: bytes


def looked_at(draft: Draft) -> LookedAt:
    """The digests of a draft, and a word for each gate that found something."""
    accepted = {gate.name: "looked at" for gate in draft.gates if not gate.passed}
    return {"content_sha256": draft.sha256, "accepted": accepted, "gates_sha256": draft.gates_sha256}


def settle(period: str, end: datetime, progress: Progress | None = None) -> Closing:
    """A period from cut-off to close, by a maker and a checker, each step a transaction of its own."""
    with open_session(Role.SETTLEMENT) as session:
        cut_off(session, period, now=max(end, database_now(session)))
    with open_session(Role.SETTLEMENT) as session:
        draft = calculate(session, period, actor="mara")
    with open_session(Role.SETTLEMENT) as session:
        expected = dry_run(session, period)
    with open_session(Role.SETTLEMENT) as session:
        submit(session, period)
    with open_session(Role.APPROVER) as session:
        approve(session, period, checker="chen", **looked_at(draft))
    with open_session(Role.SETTLEMENT) as session:
        closing = close(session, period, actor="mara", progress=progress)
    assert (closing.totals, closing.differences) == (expected.totals, expected.differences)
    return closing


def settle_in(session: Session, period: str, now: datetime | None = None) -> Closing:
    """A period from cut-off to close, in one superuser's transaction."""
    cut_off(session, period, now=now)
    draft = calculate(session, period, actor="mara")
    submit(session, period)
    approve(session, period, checker="chen", **looked_at(draft))
    return close(session, period, actor="mara")


def october() -> None:
    """The first period of the example, closed, in an empty database."""
    with open_session(Role.SETTLEMENT) as session:
        load_terms(session)
    with open_session(Role.ADMIN) as session:
        add_images(session, *GAMES)
        measure_placebo(session)
    with open_session(Role.ATTRIBUTION) as session:
        for image in ("img-1", "img-2", "img-3"):
            attribute(session, image)
    sell(["sale-1", "sale-2", "sale-3", "sale-4"])
    closing = settle("2026-10", datetime(2026, 11, 1, tzinfo=UTC))
    assert (closing.statements, closing.journals) == (3, 5)


def pay_without_batch() -> None:
    """The example's payout as its two journals, under the key that the example gives it."""
    with open_session(Role.PAYER) as session:
        facts = (180_000, "EUR", {"attempt": "payout-1", "payee": "pay-1"})
        reserved = posting.PAYOUT_RESERVED.entry(
            *facts, booked_at=datetime(2026, 11, 5, tzinfo=UTC), actor="pia", approved_by="chen"
        )
        paid = posting.PAYOUT_PAID.entry(*facts, booked_at=datetime(2026, 11, 6, tzinfo=UTC), actor="pia")
        post(session, [reserved, paid])


def november(pay: Callable[[], None] = pay_without_batch) -> None:
    """The second one: a payout, two sales, a refund and a late attribution."""
    pay()
    sell(["sale-5", "sale-6"])
    with open_session(Role.SETTLEMENT) as session:
        refund = RefundRecord.model_validate(
            {
                "external_id": "refund-1",
                "sale": "sale-2",
                "refunded_at": datetime(2026, 11, 10, tzinfo=UTC),
                "amount": "1.19",
            }
        )
        assert record_refunds(session, [refund], actor="shop")[0].status is Status.RECORDED
    with open_session(Role.ATTRIBUTION) as session:
        attribute(session, "img-4")
    closing = settle("2026-11", datetime(2026, 12, 1, tzinfo=UTC))
    assert (closing.statements, closing.journals) == (3, 5)
    assert {d.payee_id: (d.last, d.this) for d in closing.differences} == {
        "pay-1": (184_931, 89_067 - 65_433),
        "pay-2": (130_975, 65_392 - 28_043),
        "pay-dev": (1_715_100, 265_541 + 561_111 - 206_524),
    }


@pytest.fixture
def books(database: str) -> Iterator[Session]:
    """Both periods of the example, closed."""
    october()
    november()
    with open_session(Role.ADMIN) as session:
        yield session
