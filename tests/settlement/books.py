"""The worked example as rows: two closed periods with everything behind and beyond them, down to coalition values."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from attribution.catalogue import Artist, record_artists
from attribution.generation import Image, PromptText, prompt_digest
from attribution.results import Attribution, AttributionShare, CoalitionValue, MethodVersionRow, Placebo
from attribution.shapley import PlaceboLevel, settle_game
from settlement import posting
from settlement.balance import of_which
from settlement.bank_details import BankDetails, encrypted
from settlement.contracts import ContractSplit, ContractVersion
from settlement.ledger import log, post, seal
from settlement.ledger.seals import keep_writers_out
from settlement.payees import PartyVersion, Payee
from settlement.payouts.models import (
    BatchEvent,
    Payout,
    PayoutAttempt,
    PayoutBatch,
    PayoutEvent,
    PayoutFile,
)
from settlement.periods.frozen import freeze
from settlement.periods.gates import GATES, Gate
from settlement.periods.journals import post_run
from settlement.periods.models import (
    Approval,
    Period,
    RefundReversal,
    RoyaltyLine,
    RoyaltyRun,
    RunDraft,
    SaleSlice,
)
from settlement.periods.totals import RunTotals
from settlement.rates import PlatformVersion, RateCardVersion
from settlement.sale_journals import post_refunds, post_sales
from settlement.sales import Refund, Sale
from settlement.statements.body import (
    Body,
    Column,
    Computation,
    Dispute,
    Earned,
    Earning,
    Entries,
    Entry,
    Header,
    PartyReference,
    Pool,
    StatementPeriod,
    Summary,
    YearToDate,
    canonical,
)
from settlement.statements.detail import FIELDS, Line, summarise
from settlement.statements.models import Statement
from tests.settlement.worked_example import LINES, RATE, REVERSED, SALES, SHARES, SLICES, SPLITS

VALUES = {
    image: [value * 1_000_000 for value in values]
    for image, values in {
        "img-1": [212, 561, 334, 870, 268, 603, 391, 1000],
        "img-2": [180, 640, 355, 1000],
        "img-3": [205, 702, 229, 711, 300, 965, 318, 1000],
        "img-4": [190, 577, 401, 1000],
    }.items()
}
VALUES["img-2"][0] += 1
"""v(S) in 10^-9, by bitmask."""

ARTISTS = {
    "img-1": ["art-1", "art-2"],
    "img-2": ["art-1"],
    "img-3": ["art-2", "art-3"],
    "img-4": ["art-3"],
}
PLACEBO = {
    (2, 1): PlaceboLevel(12_000_000, 31_000_000),
    (3, 1): PlaceboLevel(9_000_000, 24_000_000),
    (3, 2): PlaceboLevel(7_000_000, 22_000_000),
}
SOLD = {
    "sale-1": (10, 5),
    "sale-2": (10, 6),
    "sale-3": (10, 10),
    "sale-4": (10, 20),
    "sale-5": (11, 8),
    "sale-6": (11, 9),
}
SUMMARIES: Mapping[str, Mapping[str, Mapping[str, int]]] = {
    "2026-10": {
        "pay-1": {"royalties": 184_931, "closing": 184_931},
        "pay-2": {"royalties": 130_975, "closing": 130_975},
        "pay-dev": {"royalties": 1_715_100, "closing": 1_715_100},
    },
    "2026-11": {
        "pay-1": {
            "opening": 184_931,
            "royalties": 89_067,
            "refunds": -65_433,
            "payments": -180_000,
            "closing": 28_565,
        },
        "pay-2": {"opening": 130_975, "royalties": 65_392, "refunds": -28_043, "closing": 168_324},
        "pay-dev": {
            "opening": 1_715_100,
            "royalties": 265_541,
            "late": 561_111,
            "refunds": -206_524,
            "closing": 2_335_228,
        },
    },
}
"""The statements' summaries; what is left out is zero."""

TRIAL_BALANCE = {
    "bank:EUR": (0, 0, 0, 0, -180_000, -180_000),
    "payout_clearing:EUR": (0, 0, 0, 180_000, -180_000, 0),
    "receivable:EUR": (13_090_000, 0, 13_090_000, 1_666_000, -1_190_000, 13_566_000),
    "revenue:EUR": (0, -11_000_000, -11_000_000, 1_000_000, -1_400_000, -11_400_000),
    "royalties_payable:pay-1:EUR": (0, -184_931, -184_931, 245_433, -89_067, -28_565),
    "royalties_payable:pay-2:EUR": (0, -130_975, -130_975, 28_043, -65_392, -168_324),
    "royalties_payable:pay-dev:EUR": (0, -1_715_100, -1_715_100, 206_524, -826_652, -2_335_228),
    "royalty_expense:EUR": (3_270_000, 0, 3_270_000, 420_000, -300_000, 3_390_000),
    "suspense_pending:EUR": (0, -900_000, -900_000, 900_000, 0, 0),
    "suspense_unclaimed:art-3:EUR": (0, -338_994, -338_994, 0, -338_889, -677_883),
    "tax_collected:EUR": (0, -2_090_000, -2_090_000, 190_000, -266_000, -2_166_000),
}
"""Debits, credits and closing of 2026-10, then of 2026-11; the first opening is 0."""

JOURNALS = """
sale:sale-1 [2026-10-05]: receivable +2380000, revenue -2000000, tax_collected -380000
sale:sale-2 [2026-10-06]: receivable +1190000, revenue -1000000, tax_collected -190000
sale:sale-3 [2026-10-10]: receivable +5950000, revenue -5000000, tax_collected -950000
sale:sale-4 [2026-10-20]: receivable +3570000, revenue -3000000, tax_collected -570000
run:2026-10:content:EUR: royalty_expense +1715100, royalties_payable:pay-dev -1715100
run:2026-10:pending:EUR: royalty_expense +900000, suspense_pending -900000
run:2026-10:unclaimed:EUR: royalty_expense +338994, suspense_unclaimed:art-3 -338994
statement:2026-10:pay-1:EUR: royalty_expense +184931, royalties_payable:pay-1 -184931
statement:2026-10:pay-2:EUR: royalty_expense +130975, royalties_payable:pay-2 -130975
attempt:payout-1:reserved [2026-11-05]: royalties_payable:pay-1 +180000, payout_clearing -180000
attempt:payout-1:paid [2026-11-06]: payout_clearing +180000, bank -180000
sale:sale-5 [2026-11-08]: receivable +1190000, revenue -1000000, tax_collected -190000
sale:sale-6 [2026-11-09]: receivable +476000, revenue -400000, tax_collected -76000
refund:refund-1:sale [2026-11-10]: revenue +1000000, tax_collected +190000, receivable -1190000
refund:refund-1:royalties: royalties_payable:pay-dev +206524, royalties_payable:pay-1 +65433, \
royalties_payable:pay-2 +28043, royalty_expense -300000
run:2026-11:content:EUR: suspense_pending +561111, royalty_expense +265541, royalties_payable:pay-dev -826652
run:2026-11:unclaimed:EUR: suspense_pending +338889, suspense_unclaimed:art-3 -338889
statement:2026-11:pay-1:EUR: royalty_expense +89067, royalties_payable:pay-1 -89067
statement:2026-11:pay-2:EUR: royalty_expense +65392, royalties_payable:pay-2 -65392
"""
"""Every journal; accounts end in `:EUR`, booked at the period's last instant unless a date is given."""

METHOD = "exact-1"
MINIMUM = 100_000
WEIGHTS = hashlib.sha256(b"weights").digest()


def digest(text: str) -> bytes:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).digest()


def day(month: int, number: int) -> datetime:
    """Noon UTC of a day of 2026."""
    return datetime(2026, month, number, 12, tzinfo=UTC)


def period_bounds(period: str) -> tuple[datetime, datetime]:
    """[start, end) of a month of 2026, UTC."""
    month = int(period[-2:])
    return datetime(2026, month, 1, tzinfo=UTC), datetime(2026, month + 1, 1, tzinfo=UTC)


def write_books(session: Session) -> None:
    """Write the whole example. The session is a superuser's."""
    write_terms(session)
    write_images(session)
    write_attributions(session, ["img-1", "img-2", "img-3"])
    write_sales(session, ["sale-1", "sale-2", "sale-3", "sale-4"])
    close_period(session, "2026-10")
    pay_out(session)
    write_sales(session, ["sale-5", "sale-6"])
    write_refund(session)
    write_attributions(session, ["img-4"])
    close_period(session, "2026-11")


def write_terms(session: Session) -> None:
    """Artists, payees, contracts, the rate card, the platform's terms, and the two periods."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    names = {"art-1": "Ada Brook", "art-2": "Bo Carmine", "art-3": "Cleo Dune"}
    record_artists(
        session, [Artist(artist, 1, name) for artist, name in names.items()], actor="ann", reason="start"
    )
    kinds = {"platform": "company", "pay-dev": "model_developer", "pay-1": "person", "pay-2": "person"}
    for payee, kind in kinds.items():
        session.add(Payee(payee_id=payee, kind=kind, currency="EUR", actor="ann"))
        session.flush()
        session.add(
            PartyVersion(
                payee_id=payee,
                version=1,
                salt=digest(payee),
                details={"name": payee.title()},
                actor="ann",
                reason="start",
            )
        )
        session.flush()
        session.add(encrypted(payee, 1, BankDetails("DE89370400440532013000"), "ann", "start"))
    session.add(
        RateCardVersion(
            rate_card_id="standard-1",
            valid_from=start,
            model="per_image",
            rate_ppb=RATE,
            content_to="model_developer",
            distribution_key="attribution",
            actor="ann",
            reason="start",
        )
    )
    session.add(
        PlatformVersion(
            valid_from=start,
            platform_payee_id="platform",
            model_developer_id="pay-dev",
            default_rate_card_id="standard-1",
            zone="UTC",
            minimum_payout={"EUR": str(MINIMUM)},
            dispute_contact="royalties@example.com",
            actor="ann",
            reason="start",
        )
    )
    for number, artist in enumerate(("art-1", "art-2"), start=1):
        version = ContractVersion(
            contract_id=f"contract-{number}",
            artist_id=artist,
            valid_from=start,
            status="active",
            actor="ann",
            reason="signed",
        )
        session.add(version)
        session.flush()
        session.add_all(
            ContractSplit(contract_version_id=version.id, payee_id=payee, share_ppb=share)
            for payee, share in SPLITS[artist].items()
        )
    for period in ("2026-10", "2026-11"):
        starts_at, ends_at = period_bounds(period)
        session.add(Period(period_id=period, starts_at=starts_at, ends_at=ends_at, zone="UTC"))
    session.flush()


def write_images(session: Session) -> None:
    """The generation log, and the method with its placebo table."""
    for number, image in enumerate(ARTISTS, start=1):
        prompt = f"a harbour at dusk, by {' and '.join(ARTISTS[image])}"
        row = Image(
            external_id=image,
            content_sha256=digest(image),
            prompt_sha256=prompt_digest(b"salt", prompt, "blurry"),
            seed=1000 + number,
            width=64,
            height=64,
            steps=12,
            guidance=7,
            scheduler="DDIMScheduler",
            scheduler_config={},
            model="miniature",
            weights_sha256=WEIGHTS,
            file=f"{image}.png",
            file_sha256=digest(f"file {image}"),
            customer="cust-1",
            generated_at=day(10, number),
        )
        session.add(row)
        session.flush()
        session.add(PromptText(image_id=row.id, salt=b"salt", prompt=prompt, negative_prompt="blurry"))
    method = MethodVersionRow(
        sha256=digest(METHOD), name=METHOD, document={"baseline": "excluded", "minimum_gap": 20_000_000}
    )
    session.add(method)
    session.flush()
    session.add_all(
        Placebo(
            method_id=method.id,
            weights_sha256=WEIGHTS,
            players=players,
            slot=slot,
            mean=level.mean,
            mean_standard_error=1,
            threshold=level.threshold,
            threshold_standard_error=1,
            names=40,
            evidence={},
        )
        for (players, slot), level in PLACEBO.items()
    )
    session.flush()


def write_attributions(session: Session, images: list[str]) -> None:
    """Coalition values and shares, settled by the real arithmetic."""
    method = session.execute(text("SELECT id FROM attribution.method_version")).scalar_one()
    for image in images:
        values = VALUES[image]
        artists = ARTISTS[image]
        players = len(artists) + 1
        game = settle_game(
            values,
            artists,
            [PLACEBO[players, slot] for slot in range(1, players)],
            minimum_gap=20_000_000,
        )
        denominator = 2 if players == 2 else 6
        row = Attribution(
            image_id=_id(session, "attribution.image", image),
            method_id=method,
            status="attributed",
            players=players,
            denominator=denominator,
            fidelity=990_000_000,
            reading={},
            environment={},
        )
        session.add(row)
        session.flush()
        session.add_all(
            CoalitionValue(
                attribution_id=row.id,
                coalition=mask,
                value=value,
                picture_sha256=digest(f"{image} {mask}"),
                prompt_sha256=digest(f"prompt {image} {mask}"),
            )
            for mask, value in enumerate(values)
        )
        for player in game.players:
            assert player.share_ppb == SHARES[image][player.player]
            session.add(
                AttributionShare(
                    attribution_id=row.id,
                    slot=player.slot,
                    player=player.player,
                    phi_numerator=int(player.phi * denominator),
                    placebo_mean=player.placebo.mean if player.placebo else None,
                    adjusted_numerator=int(player.adjusted * denominator),
                    placebo_threshold=player.placebo.threshold if player.placebo else None,
                    paid_numerator=int(player.paid * denominator),
                    share_ppb=player.share_ppb,
                )
            )
        session.flush()


def write_sales(session: Session, sales: list[str]) -> None:
    """Sales and their journals."""
    ids = []
    for sale in sales:
        image, price, tax, deductions = SALES[sale]
        row = Sale(
            external_id=sale,
            content_sha256=digest(sale),
            image_id=_id(session, "attribution.image", image),
            sold_at=day(*SOLD[sale]),
            territory="DE",
            currency="EUR",
            price_micros=price,
            tax_micros=tax,
            payment_fee_micros=deductions,
            actor="import",
        )
        session.add(row)
        session.flush()
        ids.append(row.id)
    assert post_sales(session, ids).posted == len(ids)


def write_refund(session: Session) -> None:
    """The full refund of sale-2, and its journal."""
    row = Refund(
        external_id="refund-1",
        content_sha256=digest("refund-1"),
        sale_id=_id(session, "settlement.sale", "sale-2"),
        kind="refund",
        refunded_at=day(11, 10),
        amount_micros=SALES["sale-2"][1],
        actor="import",
    )
    session.add(row)
    session.flush()
    assert post_refunds(session, [row.id]).posted == 1


def close_period(session: Session, period: str) -> None:
    """Lines, journals, statements, run and seal of one period, by two people."""
    draft = digest(f"draft {period}")
    _move(session, period, "cut_off", cut_off_at=datetime.now(UTC) + timedelta(days=60))
    _move(session, period, "calculated")
    session.add(
        RunDraft(
            period_id=period,
            inputs_sha256=digest(f"inputs {period}"),
            draft_sha256=draft,
            totals=RunTotals(period, 0, 0, 0, 0, 0, 0, (), ()).document(),
            calculated_by="ann",
            gates={name: Gate(name, False, 0, ()).document() for name in GATES},
        )
    )
    session.flush()
    _move(session, period, "in_review")
    approval = Approval(kind="period", subject=period, content_sha256=draft, maker="ann", checker="bob")
    session.add(approval)
    session.flush()
    write_lines(session, period)
    post_run(session, period, actor="ann", approved_by="bob")
    write_statements(session, period)
    session.add(
        RoyaltyRun(
            period_id=period,
            inputs_sha256=digest(f"inputs {period}"),
            draft_sha256=draft,
            approval_id=approval.id,
            totals=RunTotals(period, 0, 0, 0, 0, 0, 0, (), ()).document(),
            closed_by="ann",
            code_version="test",
        )
    )
    session.flush()
    _move(session, period, "closed")
    frozen = freeze(session, period)
    keep_writers_out(session)
    log.append(session, frozen)
    seal(session, period, period_bounds(period)[1], "ann")


def write_lines(session: Session, period: str) -> None:
    """The period's slices and royalty lines."""
    card = session.execute(text("SELECT id FROM settlement.rate_card_version")).scalar_one()
    contracts = {row.artist_id: row.id for row in session.scalars(select(ContractVersion))}
    month = int(period[-2:])
    for sale, slice_micros in SLICES.items():
        if SOLD[sale][0] != month:
            continue
        _, price, tax, deductions = SALES[sale]
        session.add(
            SaleSlice(
                sale_id=_id(session, "settlement.sale", sale),
                period_id=period,
                usage_period=period,
                rate_card_version_id=card,
                base_micros=price - tax - deductions,
                slice_micros=slice_micros,
                currency="EUR",
            )
        )
    session.flush()
    # A sale's late lines are written together.
    lines = []
    for name, amount in LINES.items():
        sale, player, payee = name.split("/")
        late = sale == "sale-4"
        if month != (11 if late else SOLD[sale][0]):
            continue
        line = _line(session, period, sale, player, payee, amount, "late" if late else "royalty", contracts)
        if late:
            line.corrects = session.execute(
                text("SELECT id FROM settlement.royalty_line WHERE kind = 'pending' AND sale_id = :sale"),
                {"sale": line.sale_id},
            ).scalar_one()
        lines.append(line)
    session.add_all(lines)
    session.flush()
    if period == "2026-10":
        session.add(
            RoyaltyLine(
                period_id=period,
                kind="pending",
                sale_id=_id(session, "settlement.sale", "sale-4"),
                destination="pending",
                amount_micros=SLICES["sale-4"],
                currency="EUR",
                distribution_key="attribution",
            )
        )
    else:
        refund = _id(session, "settlement.refund", "refund-1")
        session.add(
            RefundReversal(
                refund_id=refund,
                sale_id=_id(session, "settlement.sale", "sale-2"),
                period_id=period,
                refunded_micros=SALES["sale-2"][1],
                reversed_micros=sum(REVERSED.values()),
            )
        )
        for name, amount in REVERSED.items():
            sale, player, payee = name.split("/")
            line = _line(session, period, sale, player, payee, -amount, "refund", contracts)
            line.refund_id = refund
            line.corrects = session.execute(
                text(
                    "SELECT id FROM settlement.royalty_line"
                    " WHERE kind = 'royalty' AND sale_id = :sale AND player = :player AND payee_id = :payee"
                ),
                {"sale": line.sale_id, "player": player, "payee": payee},
            ).scalar_one()
            session.add(line)
    session.flush()


def _line(
    session: Session,
    period: str,
    sale: str,
    player: str,
    payee: str,
    amount: int,
    kind: str,
    contracts: Mapping[str, int],
) -> RoyaltyLine:
    image = SALES[sale][0]
    claimed = payee.startswith("pay-")
    return RoyaltyLine(
        period_id=period,
        kind=kind,
        sale_id=_id(session, "settlement.sale", sale),
        player=player,
        destination="payee" if claimed else "unclaimed",
        payee_id=payee if claimed else None,
        amount_micros=amount,
        currency="EUR",
        attribution_id=session.execute(
            text(
                "SELECT a.id FROM attribution.attribution AS a JOIN attribution.image AS i ON i.id = a.image_id"
                " WHERE i.external_id = :image"
            ),
            {"image": image},
        ).scalar_one(),
        share_ppb=SHARES[image][player],
        contract_version_id=contracts.get(player),
        split_ppb=SPLITS[player][payee] if player in SPLITS and player != "C" else None,
        distribution_key="attribution",
    )


def write_statements(session: Session, period: str) -> None:
    """The period's statements, bodies included."""
    starts_at, ends_at = period_bounds(period)
    number = session.execute(text("SELECT count(*) FROM settlement.statement")).scalar_one()
    for payee, given in SUMMARIES[period].items():
        number += 1
        summary = dict.fromkeys(
            ("opening", "royalties", "late", "adjustments", "refunds", "reserves", "recoupment", "tax", "claims", "fx",
             "payments", "closing"), 0,
        ) | dict(given)  # fmt: skip
        statement = f"{period}/{payee}/EUR"
        lines = [
            Line(*row)
            for row in session.execute(
                text(
                    f"SELECT {', '.join(FIELDS)} FROM settlement.statement_line"
                    ' WHERE statement_id = :statement ORDER BY line COLLATE "C"'
                ),
                {"statement": statement},
            )
        ]
        parts = of_which(summary["closing"], MINIMUM, "EUR", held=False)
        month_end = (ends_at - timedelta(days=1)).date()
        body = canonical(
            Body(
                header=Header(
                    StatementPeriod(period, starts_at.date(), ends_at.date(), "UTC"),
                    PartyReference(payee, digest(payee).hex()),
                    PartyReference("platform", digest("platform").hex()),
                    "EUR",
                ),
                summary=Summary((Column("EUR", **summary),), parts),
                computation=Computation(
                    pools=(Pool("standard-1", "EUR", "per_image", 1, 1, 1, summary["royalties"]),)
                ),
                earnings=tuple(
                    Earning(period, "miniature", "DE", "EUR", kind, 1, 1, 1, summary[name])  # type: ignore[arg-type]
                    for name, kind in (("royalties", "royalty"), ("late", "late"))
                ),
                history=(Earned(period, summary["royalties"] + summary["late"]),),
                top_images=(),
                lines=summarise(lines),
                year_to_date=YearToDate("2026", 0, 0, 0, 0),
                dispute=Dispute("Write to us.", "royalties@example.com"),
                entries=Entries(
                    refunds=(Entry(month_end, "refund:refund-1:royalties", "EUR", summary["refunds"]),)
                    if summary["refunds"]
                    else (),
                    payments=(
                        Entry(date(2026, 11, 5), "attempt:payout-1:reserved", "EUR", summary["payments"]),
                    )
                    if summary["payments"]
                    else (),
                ),
            )
        )
        session.add(
            Statement(
                statement_id=statement,
                number=number,
                period_id=period,
                payee_id=payee,
                currency="EUR",
                journal_id=session.execute(
                    text("SELECT id FROM ledger.journal WHERE key = :key"),
                    {"key": f"statement:{period}:{payee}:EUR"},
                ).scalar(),
                **summary,
                **parts._asdict(),
                body=body.decode(),
                sha256=hashlib.sha256(body).digest(),
            )
        )
    session.flush()


def pay_out(session: Session) -> None:
    """The payout of pay-1, approved by another person, handed to the bank and paid."""
    batch, payout = "EUR-20261105-1", "EUR-20261105-1/pay-1"

    def batch_event(number: int, state: str) -> None:
        session.add(BatchEvent(batch_id=batch, number=number, state=state, actor="ann"))
        session.flush()

    def payout_event(number: int, state: str, at: datetime, attempt: str | None = "payout-1") -> None:
        event = PayoutEvent(
            payout_id=payout, number=number, attempt_id=attempt, state=state, actor="ann", occurred_at=at
        )
        session.add(event)
        session.flush()

    session.add(
        PayoutBatch(
            batch_id=batch,
            currency="EUR",
            execution_date=date(2026, 11, 5),
            debtor_id="platform",
            debtor_version=1,
            content_sha256=digest("batch"),
            maker="ann",
        )
    )
    session.flush()
    session.add(
        Payout(
            payout_id=payout,
            batch_id=batch,
            payee_id="pay-1",
            currency="EUR",
            balance_micros=184_931,
            amount_micros=180_000,
            decision="pay",
            party_version=1,
        )
    )
    session.flush()
    batch_event(1, "draft")
    payout_event(1, "ready", day(11, 5), attempt=None)
    session.add(
        Approval(
            kind="payout_batch", subject=batch, content_sha256=digest("batch"), maker="ann", checker="bob"
        )
    )
    session.flush()
    batch_event(3, "submitting")
    session.add(PayoutAttempt(attempt_id="payout-1", payout_id=payout, number=1, amount_micros=180_000))
    session.flush()
    facts = (180_000, "EUR", {"attempt": "payout-1", "payee": "pay-1"})
    reserved = posting.PAYOUT_RESERVED.entry(*facts, booked_at=day(11, 5), actor="ann", approved_by="bob")
    payout_event(2, "reserved", day(11, 5))
    payout_event(3, "submitted", day(11, 5))
    session.add(PayoutFile(batch_id=batch, name="file.xml", sha256=digest("file")))
    batch_event(4, "submitted")
    paid = posting.PAYOUT_PAID.entry(*facts, booked_at=day(11, 6), actor="bank")
    assert post(session, [reserved, paid]).posted == 2
    payout_event(4, "paid", day(11, 6))
    batch_event(5, "settled")


def _move(session: Session, period: str, state: str, **changes: object) -> None:
    row = session.get_one(Period, period)
    session.refresh(row)
    row.state = state
    for name, value in changes.items():
        setattr(row, name, value)
    session.flush()


def _id(session: Session, table: str, external_id: str) -> int:
    found: int = session.execute(
        text(f"SELECT id FROM {table} WHERE external_id = :id"), {"id": external_id}
    ).scalar_one()
    return found
