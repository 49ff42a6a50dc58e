"""Gates before approval: each finds what it is there for, and lets nothing pass that nobody has accepted."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from database.errors import Conflict, Invalid, Refused
from settlement import posting
from settlement.ledger import post
from settlement.periods.approval import Draft, approve, calculate, draft_of, submit
from settlement.periods.calculation import calculate_lines
from settlement.periods.calendar import cut_off, find_period
from settlement.periods.close import close, dry_run
from settlement.periods.gates import FINDINGS_SHOWN, GATES, Gate, look, require_sound
from settlement.sales import RefundRecord, parse_sale, record_refunds, record_sales
from tests.settlement.events import CATALOGUE, add_images, attribute, load_terms
from tests.settlement.periods.conftest import settle_in

AUGUST = datetime(2026, 8, 10, tzinfo=UTC)
SEPTEMBER = datetime(2026, 9, 10, tzinfo=UTC)
PERIOD = "2026-08"


def sell(session: Session, name: str, image: str, price: str = "1.00") -> None:
    record = parse_sale(
        {
            "external_id": name,
            "image": image,
            "sold_at": AUGUST,
            "territory": "DE",
            "currency": "EUR",
            "price": price,
        }
    )
    assert record_sales(session, [record], actor="shop")[0].reason is None


@pytest.fixture
def shop(db: Session) -> Session:
    """A sale of an image that is attributed and, for as much, one of an image that is not; 5 % may wait."""
    load_terms(db, CATALOGUE.replace("zone: UTC", 'zone: UTC\n  pending_limit: "5"'))
    add_images(db, "img-1", "img-2")
    attribute(db, "img-1", {"C": 600_000_000, "art-1": 400_000_000})
    sell(db, "sale-1", "img-1")
    return db


def in_review(session: Session, period: str = PERIOD) -> Draft:
    cut_off(session, period)
    draft = calculate(session, period, actor="mara")
    submit(session, period)
    return draft


def found(draft: Draft) -> dict[str, list[tuple[str, int | None]]]:
    return {
        gate.name: [(finding.subject, finding.amount) for finding in gate.findings]
        for gate in draft.gates
        if not gate.passed
    }


def test_a_period_without_findings_needs_no_word(shop: Session) -> None:
    draft = in_review(shop)
    assert [gate.name for gate in draft.gates] == list(GATES) and all(gate.passed for gate in draft.gates)
    assert draft_of(shop, PERIOD) == draft
    with pytest.raises(Invalid, match="the gate pending_share found nothing in period 2026-08"):
        approve(
            shop,
            PERIOD,
            checker="chen",
            content_sha256=draft.sha256,
            accepted={"pending_share": "no reason"},
            gates_sha256=draft.gates_sha256,
        )
    approve(shop, PERIOD, checker="chen", content_sha256=draft.sha256)
    assert close(shop, PERIOD, actor="mara").gates == draft.gates


def test_what_waits_above_the_limit_is_accepted_by_name(shop: Session) -> None:
    sell(shop, "sale-2", "img-2", price="0.05")
    draft = in_review(shop)
    # 0.015 of 0.315: 4.8 %.
    assert found(draft) == {}
    sell(shop, "sale-3", "img-2", price="0.01")
    assert found(calculate(shop, PERIOD, actor="mara")) == {}, "recorded after the cut-off"


def test_the_checkers_word_is_bound_to_what_was_found(shop: Session) -> None:
    sell(shop, "sale-2", "img-2")
    draft = in_review(shop)
    assert found(draft) == {"pending_share": [("EUR", 300_000)]}
    assert draft.gates[GATES.index("pending_share")].findings[0].note == (
        "50.0 per cent of royalties wait for an attribution; the limit is 5.0"
    )
    with pytest.raises(
        Conflict, match=r"gate pending_share found 1 in period 2026-08.*--accept pending_share=REASON"
    ):
        approve(shop, PERIOD, checker="chen", content_sha256=draft.sha256)
    with pytest.raises(Invalid, match="there is no gate pending_shares: choose from conservation, "):
        approve(
            shop,
            PERIOD,
            checker="chen",
            content_sha256=draft.sha256,
            accepted={"pending_shares": "the worker was down"},
            gates_sha256=draft.gates_sha256,
        )
    with pytest.raises(Invalid, match="say why what the gate pending_share found may pass"):
        approve(
            shop,
            PERIOD,
            checker="chen",
            content_sha256=draft.sha256,
            accepted={"pending_share": "  "},
            gates_sha256=draft.gates_sha256,
        )
    approve(
        shop,
        PERIOD,
        checker="chen",
        content_sha256=draft.sha256,
        accepted={"pending_share": "the worker was down"},
        gates_sha256=draft.gates_sha256,
    )
    assert shop.execute(text("SELECT gate, found, reason, checker FROM audit.gate_acceptances")).all() == [
        ("pending_share", 1, "the worker was down", "chen")
    ]
    # Calculated again, it is the same: nobody is asked twice.
    assert calculate(shop, PERIOD, actor="mara") == draft
    submit(shop, PERIOD)
    assert find_period(shop, PERIOD).state == "approved"
    # An account that is changed before the close does not stop it, but is asked about once it is calculated again.
    change_account(shop)
    assert calculate(shop, PERIOD, actor="mara").sha256 == draft.sha256
    submit(shop, PERIOD)
    assert find_period(shop, PERIOD).state == "in_review"


def test_nobody_accepts_what_was_found_after_she_looked(shop: Session) -> None:
    """Calculated again before the approval, the same draft finds another account: it is not what was accepted."""
    change_account(shop)
    seen = in_review(shop)
    assert found(seen) == {"new_bank_details": [("pay-1", 84_000)]}
    change_account(shop, "DE02500105170137075030")
    now = calculate(shop, PERIOD, actor="mara")
    submit(shop, PERIOD)
    assert now.sha256 == seen.sha256 and len(found(now)["new_bank_details"]) == 2
    word = {"new_bank_details": "pay-1 said so on the telephone"}
    for gates_sha256 in (seen.gates_sha256, None):
        with pytest.raises(Conflict, match="the gates of period 2026-08 did not find what you accept"):
            approve(
                shop,
                PERIOD,
                checker="chen",
                content_sha256=seen.sha256,
                accepted=word,
                gates_sha256=gates_sha256,
            )
    assert shop.execute(text("SELECT * FROM audit.gate_acceptances")).all() == []


def change_account(session: Session, another: str = "no other account") -> None:
    load_terms(
        session,
        CATALOGUE.replace("DE02120300000000202051", "DE02100500000054540402")
        .replace("BYLADEM1001", "BELADEBEXXX")
        .replace(another, "DE02100500000054540402")
        .replace("zone: UTC", 'zone: UTC\n  pending_limit: "5"'),
    )


def test_a_changed_account_is_found(shop: Session) -> None:
    change_account(shop)
    draft = in_review(shop)
    assert found(draft) == {"new_bank_details": [("pay-1", 84_000)]}


def test_an_account_of_two_payees_is_found(db: Session) -> None:
    load_terms(db, CATALOGUE.replace("DE02500105170137075030", "DE02120300000000202051"))
    add_images(db, "img-1")
    attribute(db, "img-1", {"C": 600_000_000, "art-1": 400_000_000})
    sell(db, "sale-1", "img-1")
    assert found(in_review(db)) == {"shared_accounts": [("pay-1", 84_000), ("pay-2", 36_000)]}


def test_a_payee_who_would_owe_is_found(shop: Session) -> None:
    settle_in(shop, PERIOD)
    facts = (80_000, "EUR", {"attempt": "payout-1", "payee": "pay-1"})
    entry = posting.PAYOUT_RESERVED.entry(*facts, booked_at=SEPTEMBER, actor="pia", approved_by="chen")
    post(shop, [entry])
    refund = {"external_id": "refund-1", "sale": "sale-1", "refunded_at": SEPTEMBER, "amount": "1.00"}
    [outcome] = record_refunds(shop, [RefundRecord.model_validate(refund)], actor="shop")
    assert outcome.reason is None
    draft = in_review(shop, "2026-09")
    assert found(draft) == {"negative_balances": [("pay-1", -80_000)]}
    assert dry_run(shop, "2026-09").gates == draft.gates
    figures = {(pair.figure, pair.last, pair.this) for pair in dry_run(shop, "2026-09").figures}
    assert ("slices", 300_000, 0) in figures and ("refunds", 0, -300_000) in figures


@pytest.mark.parametrize(
    ("gate", "change"),
    [
        ("conservation", "UPDATE pg_temp.run_line SET amount = amount + 1 WHERE payee_id = 'pay-1'"),
        ("conservation", "UPDATE pg_temp.run_column SET royalties = royalties - 1 WHERE payee_id = 'pay-1'"),
        ("conservation", "DELETE FROM pg_temp.run_column WHERE payee_id = 'pay-1'"),
        ("conservation", "DELETE FROM pg_temp.run_line WHERE payee_id = 'pay-dev'"),
        ("continuity", "UPDATE pg_temp.run_column SET opening = opening + 1 WHERE payee_id = 'pay-1'"),
        ("continuity", "DELETE FROM pg_temp.run_column WHERE payee_id = 'pay-2'"),
    ],
)
def test_money_that_is_lost_or_made_is_found_and_passes_for_nobody(
    shop: Session, gate: str, change: str
) -> None:
    settle_in(shop, PERIOD)
    record = {"external_id": "sale-9", "image": "img-1", "sold_at": SEPTEMBER, "territory": "DE"}
    [outcome] = record_sales(shop, [parse_sale({**record, "currency": "EUR", "price": "2.00"})], actor="shop")
    assert outcome.reason is None
    cut_off(shop, "2026-09")
    period = find_period(shop, "2026-09")
    calculate_lines(shop, period)
    require_sound("2026-09", look(shop, period))
    shop.execute(text(change))
    gates = look(shop, period)
    assert gate in [found.name for found in gates if not found.passed and found.must_hold]
    with pytest.raises(Conflict, match=f"the gate {gate} found|the gate conservation found"):
        require_sound("2026-09", gates)


def test_the_database_asks_too(shop: Session) -> None:
    sell(shop, "sale-2", "img-2")
    draft = in_review(shop)

    def refuses(*statements: str) -> None:
        savepoint = shop.begin_nested()
        with pytest.raises(DBAPIError, match=r"the gate .* has findings that nobody accepted"):
            for statement in statements:
                shop.execute(text(statement), {"sha256": draft.sha256})
        savepoint.rollback()

    approval = (
        "INSERT INTO settlement.approval (kind, subject, content_sha256, maker, checker)"
        f" VALUES ('period', '{PERIOD}', :sha256, 'mara', 'chen')"
    )
    accept = (
        "INSERT INTO settlement.gate_acceptance (period_id, draft_sha256, gate, findings, reason, checker)"
        " SELECT period_id, {}, gate, {}, 'it may', {} FROM settlement.run_draft,"
        " jsonb_each(gates) AS g (gate, found) WHERE gate = {}"
    )
    mine = ("draft_sha256", "found", "'chen'", "'pending_share'")
    refuses(approval)
    for place, other in enumerate(("sha256('other')", "'{\"found\": 1}'", "'paul'", "'negative_balances'")):
        refuses(accept.format(*mine[:place], other, *mine[place + 1 :]), approval)
    # What must hold, nobody can accept; a gate that was not looked at has not been passed.
    for gates in ("jsonb_set(gates, '{conservation,found}', '1')", "gates - 'continuity'", "'{}'"):
        refuses(
            f"UPDATE settlement.run_draft SET gates = {gates}",
            accept.format(*mine),
            accept.format(*mine[:3], "'conservation'"),
            approval,
        )
    shop.execute(text(accept.format(*mine)))
    shop.execute(text(approval), {"sha256": draft.sha256})
    assert find_period(shop, PERIOD).state == "approved"


def test_nobody_accepts_what_must_hold(shop: Session) -> None:
    draft = in_review(shop)
    shop.execute(text("UPDATE settlement.run_draft SET gates = jsonb_set(gates, '{continuity}', :found)"),
                 {"found": '{"must_hold": true, "found": 1, "findings": [{"subject": "pay-1", "currency": "EUR",'
                           ' "amount": "0.000001", "note": "gone"}]}'})  # fmt: skip
    with pytest.raises(Refused, match="gate continuity found 1 in period 2026-08, first pay-1: gone; nobody"):
        approve(
            shop,
            PERIOD,
            checker="chen",
            content_sha256=draft.sha256,
            accepted={"continuity": "never mind"},
            gates_sha256=draft_of(shop, PERIOD).gates_sha256,
        )
    shop.execute(text("UPDATE settlement.run_draft SET gates = '{}'"))
    with pytest.raises(Conflict, match="was calculated before there were gates: calculate it again"):
        approve(shop, PERIOD, checker="chen", content_sha256=draft.sha256)


def test_all_are_counted_and_the_largest_are_shown(shop: Session) -> None:
    period = find_period(shop, PERIOD)
    cut_off(shop, PERIOD)
    calculate_lines(shop, period)
    shop.execute(
        text(
            "INSERT INTO pg_temp.run_column (payee_id, currency, payout, payments)"
            " SELECT 'heir-' || n, 'EUR', 'EUR', -n FROM generate_series(1, 25) AS n"
        )
    )
    gates = {gate.name: gate for gate in look(shop, period)}
    owing = gates["negative_balances"]
    assert (owing.found, len(owing.findings)) == (25, FINDINGS_SHOWN)
    assert [finding.amount for finding in owing.findings][:3] == [-25, -24, -23]
    assert Gate.read(owing.name, owing.document()) == owing
