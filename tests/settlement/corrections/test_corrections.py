"""Corrections of closed periods, from preview to next statement: nothing is lost, and nothing closed changes."""

import json
import random
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from database.errors import Conflict, Invalid, NotFound, Refused
from settlement.allocation import largest_remainder
from settlement.audit.verify import CHECKS, verify
from settlement.corrections.decisions import (
    approve_correction,
    corrections,
    find_correction,
    withdraw_correction,
)
from settlement.corrections.preview import read_preview
from settlement.corrections.proposal import (
    Selection,
    propose_manual,
    propose_reattribution,
    propose_terms,
)
from settlement.ledger import balances
from settlement.periods.approval import approve, calculate, submit
from settlement.periods.calendar import cut_off
from settlement.reserves import ReserveTerms, record_reserve_terms
from settlement.tax import TaxProfile, record_tax_profiles
from tests.settlement.events import CATALOGUE, add_images, attribute, cannot_attribute, load_terms
from tests.settlement.histories import histories
from tests.settlement.periods.conftest import settle_in
from tests.settlement.periods.test_terms import refund, sell

PPB = 10**9
VIEWS = (
    "slice_conservation",
    "division_conservation",
    "correction_faults",
    "suspense_tie_out",
    "statement_tie_out",
    "balance_chain",
    "money_faults",
)
FIRST = {"C": 500_000_000, "art-1": 300_000_000, "art-3": 200_000_000}
NOT_HERE = {
    "attributions are complete",
    "shares follow from coalition values",
    "the schema is the one last migrated",
}
SECOND = {"C": 200_000_001, "art-2": 399_999_999, "art-1": 400_000_000}


def held(db: Session) -> dict[str, int]:
    """What is owed to payees and lies in suspense; every check of the auditor finds nothing."""
    for view in VIEWS:
        assert db.execute(text(f"SELECT * FROM audit.{view}")).all() == [], view
    return {
        code.removesuffix(":EUR").removeprefix("royalties_payable:"): -amount
        for code, amount in balances(db, "").items()
        if code.startswith(("royalties_payable:", "suspense_", "reserve:", "tax_withheld:")) and amount
    }


def agree(db: Session, correction_id: str) -> None:
    found = find_correction(db, correction_id)
    approve_correction(db, correction_id, checker="chen", content_sha256=found.correction.content_sha256)


def body(db: Session, statement: str) -> dict[str, Any]:
    found = db.execute(
        text("SELECT body FROM settlement.statement WHERE statement_id = :id"), {"id": statement}
    ).scalar_one()
    return dict(json.loads(found))


def frozen(db: Session, period: str) -> list[Any]:
    """Everything of a closed period: lines, slices, statements' bytes, journals."""
    queries = (
        "SELECT to_jsonb(l)::text FROM settlement.royalty_line AS l WHERE period_id = :period ORDER BY id",
        "SELECT to_jsonb(l)::text FROM settlement.sale_slice AS l WHERE period_id = :period ORDER BY sale_id",
        "SELECT to_jsonb(l)::text FROM settlement.statement AS l WHERE period_id = :period ORDER BY id",
        "SELECT j.key || encode(j.content_sha256, 'hex') FROM ledger.journal AS j"
        " WHERE to_char(j.booked_at, 'YYYY-MM') = :period ORDER BY j.id",
    )
    return [db.execute(text(query), {"period": period}).scalars().all() for query in queries]


@pytest.fixture
def august(db: Session) -> Session:
    """Two images sold and one refund in part, closed by the first method's results."""
    load_terms(db)
    add_images(db, "img", "two")
    attribute(db, "img", FIRST)
    attribute(db, "two", {"C": PPB - 7, "art-2": 7})
    sell(db, "sale-1", 8, base=3_333_331)
    sell(db, "sale-2", 8, image="two", base=10_000_019)
    refund(db, "refund-1", "sale-1", 8, 777_777)
    settle_in(db, "2026-08")
    return db


def test_a_better_method_moves_money_in_the_next_period(august: Session) -> None:
    before, closed = held(august), frozen(august, "2026-08")
    attribute(august, "img", SECOND, by="exact-2")
    found = propose_reattribution(august, "better", "exact-2", actor="mara", reason="method exact-2")
    preview = read_preview(found.correction.content)
    assert (found.state, preview.sales, preview.without_result) == ("proposed", 1, 1)
    differences = {mover.holder: mover.difference for mover in preview.movers}
    assert sum(differences.values()) == 0 and differences["pay-dev"] < 0 < differences["pay-2"]
    assert differences["art-3"] == -before["suspense_unclaimed:art-3"]
    assert held(august) == before

    agree(august, "better")
    settle_in(august, "2026-09")
    assert find_correction(august, "better").applied_in == "2026-09"
    after = held(august)
    changed = {
        name.removeprefix("suspense_unclaimed:"): after.get(name, 0) - before.get(name, 0)
        for name in before.keys() | after.keys()
    }
    assert {name: amount for name, amount in changed.items() if amount} == differences
    assert frozen(august, "2026-08") == closed

    statement = body(august, "2026-09/pay-2/EUR")
    [adjustment] = statement["adjustments"]
    [mover] = [mover for mover in preview.movers if mover.holder == "pay-2"]
    assert adjustment["reason"] == "method exact-2"
    assert adjustment["corrects"] == "2026-08/pay-2/EUR" and adjustment["usage_period"] == "2026-08"
    assert float(adjustment["corrected"]) == mover.corrected / 10**6
    assert statement["summary"]["columns"][0]["adjustments"] == adjustment["difference"]
    assert {total["kind"] for total in statement["lines"]["totals"]} == {"adjustment"}

    # Nothing is applied twice, and a full refund leaves nobody anything of the sale.
    settle_in(august, "2026-10")
    assert held(august) == after
    refund(august, "refund-2", "sale-1", 11, 3_333_331 - 777_777)
    settle_in(august, "2026-11", datetime(2026, 12, 1, tzinfo=UTC))
    held(august)
    left = august.execute(
        text(
            "SELECT payee_id, destination, sum(amount_micros) FROM settlement.royalty_line AS l"
            " JOIN settlement.sale AS s ON s.id = l.sale_id WHERE s.external_id = 'sale-1' GROUP BY 1, 2"
        )
    ).all()
    assert left and all(amount == 0 for *_, amount in left)
    # The attributions here are not made of coalition values, and a rolled back database has no log.
    report = verify(august, [check for check in CHECKS if check.name not in NOT_HERE])
    assert [result.name for result in report.results if not result.ok] == []


def test_a_payee_sees_what_was_applied_and_not_what_is_proposed(august: Session) -> None:
    august.execute(
        text(
            "WITH u AS (INSERT INTO access.\"user\" (username, password_hash, scopes) VALUES ('lu', 'x', '{}')"
            " RETURNING id), a AS (INSERT INTO access.payee_access (user_id, payee_id) SELECT id, 'pay-2' FROM u)"
            " SELECT set_config('app.user_id', id::text, true) FROM u"
        )
    )

    def seen() -> list[str]:
        with august.begin_nested() as savepoint:
            august.execute(text("SET LOCAL ROLE portal"))
            found = august.scalars(text("SELECT correction_id FROM settlement.correction_sale")).all()
            savepoint.rollback()
        return list(found)

    attribute(august, "img", SECOND, by="exact-2")
    propose_reattribution(august, "better", "exact-2", actor="mara", reason="exact-2")
    agree(august, "better")
    assert seen() == []
    settle_in(august, "2026-09")
    assert seen() == ["better"]


def test_only_another_person_approves_what_she_has_seen(august: Session) -> None:
    attribute(august, "img", SECOND, by="exact-2")
    found = propose_reattribution(august, "better", "exact-2", actor="mara", reason="exact-2")
    digest = found.correction.content_sha256
    with pytest.raises(Refused, match="mara has proposed correction better"):
        approve_correction(august, "better", checker="mara", content_sha256=digest)
    with pytest.raises(Conflict, match="of another content"):
        approve_correction(august, "better", checker="chen", content_sha256=bytes(32))
    # Sent again it is the same; under its id there is no other; and a sale is in one open correction.
    again = propose_reattribution(august, "better", "exact-2", actor="mara", reason="exact-2")
    assert again.correction.content_sha256 == digest
    with pytest.raises(Conflict, match="better is proposed otherwise"):
        propose_reattribution(august, "better", "exact-2", actor="mara", reason="another reason")
    with pytest.raises(Conflict, match="sale sale-1 is in correction better"):
        propose_reattribution(august, "best", "exact-2", actor="mara", reason="exact-2")

    # One that nobody approved is not applied.
    settle_in(august, "2026-09")
    assert find_correction(august, "better").state == "proposed"
    withdraw_correction(august, "better", actor="mara", reason="not worth it")
    with pytest.raises(Conflict, match="is withdrawn already"):
        agree(august, "better")
    with pytest.raises(Conflict, match="is withdrawn already"):
        withdraw_correction(august, "better", actor="mara", reason="again")
    propose_reattribution(august, "best", "exact-2", actor="mara", reason="exact-2")
    agree(august, "best")
    settle_in(august, "2026-10")
    with pytest.raises(Conflict, match="best is applied in 2026-10"):
        withdraw_correction(august, "best", actor="mara", reason="too late")
    assert {one.correction.correction_id: one.state for one in corrections(august)} == {
        "best": "applied",
        "better": "withdrawn",
    }


def test_what_cannot_be_proposed_says_why(august: Session) -> None:
    by: Any = {"actor": "mara", "reason": "test"}
    attribute(august, "img", FIRST, by="exact-2")
    with pytest.raises(Conflict, match="would change nothing: 1 sales have no result by that method yet"):
        propose_reattribution(august, "same", "exact-2", **by)
    with pytest.raises(NotFound, match="there is no method version exact-9; recorded are exact-1, exact-2"):
        propose_reattribution(august, "new", "exact-9", **by)
    with pytest.raises(NotFound, match="there is no closed period 2026-09"):
        propose_reattribution(august, "new", "exact-2", selection=Selection(periods=["2026-09"]), **by)
    with pytest.raises(NotFound, match="there is no sale in a closed period sale-9"):
        propose_terms(august, "new", selection=Selection(sales=["sale-9"]), **by)
    with pytest.raises(
        NotFound, match=r"there is no version standard-1@2026-08-01.*`royalty catalogue terms`"
    ):
        propose_terms(
            august, "new", selection=Selection(sales=["sale-1"]), rate_card="standard-1@2026-08-01", **by
        )
    with pytest.raises(Invalid, match="say which sales"):
        propose_terms(august, "new", selection=Selection(), **by)
    with pytest.raises(Invalid, match="is no id"):
        propose_manual(august, "a b", "pay-1", "EUR", 1, **by)
    with pytest.raises(NotFound, match="no payee pay-9"):
        propose_manual(august, "new", "pay-9", "EUR", 1, **by)
    with pytest.raises(Invalid, match="correction new is of 0"):
        propose_manual(august, "new", "pay-1", "EUR", 0, **by)
    with pytest.raises(Invalid, match="territory 'de' is no country"):
        propose_manual(august, "new", "pay-1", "EUR", 1, territory="de", **by)
    with pytest.raises(Invalid, match="say why"):
        propose_manual(august, "new", "pay-1", "EUR", 1, actor="mara", reason=" ")


def test_amounts_by_hand_are_in_reserve_and_tax_as_they_say(august: Session) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    record_reserve_terms(
        august, [ReserveTerms("pay-1", start, 100_000_000, {1: PPB})], actor="mara", reason="test"
    )
    record_tax_profiles(
        august, [TaxProfile("pay-1", start, 0, {"DE": 200_000_000})], actor="mara", reason="test"
    )
    before = held(august)
    propose_manual(august, "sorry", "pay-1", "EUR", 1_000_000, actor="mara", reason="goodwill")
    propose_manual(august, "taxed", "pay-1", "EUR", 500_001, actor="mara", reason="bonus", territory="DE")
    propose_manual(august, "back", "pay-2", "EUR", -300, actor="mara", reason="paid twice")
    for name in ("sorry", "taxed", "back"):
        agree(august, name)
    settle_in(august, "2026-09")
    after = held(august)
    assert after["pay-2"] == before["pay-2"] - 300
    assert after["tax_withheld:DE"] == 100_000
    assert after["reserve:pay-1"] == 150_000
    assert after["pay-1"] == before["pay-1"] + 1_500_001 - 100_000 - 150_000
    rows = body(august, "2026-09/pay-1/EUR")["adjustments"]
    assert [(row["line"], row["original"], row["corrected"], row["reason"]) for row in rows] == [
        ("sorry", "0.000000", "1.000000", "goodwill"),
        ("taxed", "0.000000", "0.500001", "bonus"),
    ]
    assert body(august, "2026-09/pay-2/EUR")["summary"]["columns"][0]["adjustments"] == "-0.000300"


TERMS = CATALOGUE.replace(
    "rate_cards:",
    """rate_cards:
  - {id: half, valid_from: 2026-01-01, model: per_image, rate: "50", content_to: artists}
  - {id: pool, valid_from: 2026-01-01, model: period_pool, rate: "40"}
  - {id: fee-yen, valid_from: 2026-01-01, model: per_image, fee: {JPY: "10"}}
  - {id: table, valid_from: 2026-01-01, model: per_image, rate: "30", distribution_key: proxy,
     weights: {C: 5, art-1: 3, art-3: 3}}""",
)


@pytest.mark.parametrize("card", ["half", "pool", "table"])
def test_another_rate_card_pays_the_difference_of_the_slice(db: Session, card: str) -> None:
    load_terms(db, TERMS)
    add_images(db, "img", "two")
    attribute(db, "img", FIRST)
    attribute(db, "two", SECOND)
    sell(db, "sale-1", 8, base=3_333_331)
    sell(db, "sale-2", 8, image="two", base=7)
    refund(db, "refund-1", "sale-1", 8, 1_111_113)
    settle_in(db, "2026-08")
    before, closed = held(db), frozen(db, "2026-08")
    propose_terms(
        db,
        "card-1",
        selection=Selection(periods=["2026-08"]),
        rate_card=f"{card}@2026-01-01",
        actor="mara",
        reason="another card",
    )
    agree(db, "card-1")
    settle_in(db, "2026-09")
    after = held(db)
    slices = {"half": 1_666_665 + 3, "pool": 1_333_335, "table": 999_999 + 2}
    [(original, corrected)] = db.execute(
        text(
            "SELECT sum(original), sum(corrected) FROM audit.correction_sales WHERE correction_id = 'card-1'"
        )
    ).all()
    assert sum(after.values()) - sum(before.values()) == corrected - original
    first = db.execute(
        text("SELECT slice_micros FROM audit.correction_sales WHERE sale = 'sale-1'")
    ).scalar_one()
    # What is left of the corrected slice, and the second sale, which was not refunded.
    assert slices[card] - 3 <= corrected + first * 1_111_113 // 3_333_331 <= slices[card] + 3
    assert frozen(db, "2026-08") == closed
    lines = db.execute(
        text(
            "SELECT rate_card, slice FROM settlement.statement_line WHERE sale = 'sale-1' AND kind = 'adjustment'"
        )
    ).all()
    assert {tuple(line) for line in lines} == {
        ("standard-1@2026-01-01", 999_999),
        (f"{card}@2026-01-01", first),
    }


def test_another_card_must_pay_in_the_sales_currency(db: Session) -> None:
    load_terms(db, TERMS)
    add_images(db, "img")
    attribute(db, "img", FIRST)
    sell(db, "sale-1", 8)
    settle_in(db, "2026-08")
    with pytest.raises(Invalid, match="rate card fee-yen@2026-01-01 pays in JPY, sale sale-1 is in EUR"):
        propose_terms(
            db,
            "card-1",
            selection=Selection(sales=["sale-1"]),
            rate_card="fee-yen@2026-01-01",
            actor="mara",
            reason="another card",
        )


def test_a_named_contract_holds_whatever_the_date(august: Session) -> None:
    """The split was entered wrongly; the right one can only begin in an open period, and is named."""
    load_terms(
        august,
        CATALOGUE.replace(
            "rate_cards:",
            '  - {id: contract-1, artist: art-1, valid_from: 2026-09-01, splits: {pay-1: "10", pay-2: "90"}}\n'
            "rate_cards:",
        ),
    )
    before = held(august)
    propose_terms(
        august,
        "split-1",
        selection=Selection(artists=["art-1"]),
        contracts=["contract-1@2026-09-01"],
        actor="mara",
        reason="split was wrong",
    )
    agree(august, "split-1")
    settle_in(august, "2026-09")
    after = held(august)
    assert sum(after.values()) == sum(before.values())
    # 70 and 30 of about 0.23 become 10 and 90. What a refund left is divided anew: others may differ by a micro.
    expected = before | {"pay-1": before["pay-1"] // 7, "pay-2": before["pay-2"] + before["pay-1"] * 6 // 7}
    assert {name: after[name] - expected[name] for name in after} == {
        "pay-1": pytest.approx(0, abs=2),
        "pay-2": pytest.approx(0, abs=2),
        "pay-dev": pytest.approx(0, abs=1),
        "suspense_unclaimed:art-3": pytest.approx(0, abs=1),
    }


def test_suspense_is_corrected_like_anybody(db: Session) -> None:
    """Unattributed by one method, attributed by another, and the other way round; who has registered since is paid."""
    load_terms(db)
    add_images(db, "img", "two", "later")
    cannot_attribute(db, "img")
    attribute(db, "two", {"C": 1, "art-3": PPB - 1})
    sell(db, "sale-1", 8)
    sell(db, "sale-2", 8, image="two")
    sell(db, "sale-3", 8, image="later")
    settle_in(db, "2026-08")
    load_terms(
        db,
        CATALOGUE.replace(
            "rate_cards:",
            '  - {id: contract-3, artist: art-3, valid_from: 2026-09-01, splits: {pay-1: "100"}}\nrate_cards:',
        ),
    )
    attribute(db, "img", {"C": 1, "art-3": PPB - 1}, by="exact-2")
    cannot_attribute(db, "two", by="exact-2")
    attribute(db, "later", FIRST, by="exact-2")
    found = propose_reattribution(db, "better", "exact-2", actor="mara", reason="exact-2")
    # What is pending needs no correction.
    assert read_preview(found.correction.content).sales == 2
    agree(db, "better")
    settle_in(db, "2026-09")
    # The first sale's is hers, by the contract that she has by now; the third's was late, and waits for the next close.
    expected = {"pay-dev": 1_500_000, "pay-1": 3_000_000 + 630_000, "pay-2": 270_000}
    assert held(db) == expected | {
        "suspense_unattributed": 3_000_000,
        "suspense_unclaimed:art-3": 600_000,
    }
    again = propose_reattribution(db, "worse", "exact-1", actor="mara", reason="exact-1 after all")
    assert {m.holder: m.difference for m in read_preview(again.correction.content).movers} == {
        "pay-1": 0,
        "": 0,
    }
    agree(db, "worse")
    settle_in(db, "2026-10")
    assert held(db) == expected | {"pay-1": 4_230_000, "suspense_unattributed": 3_000_000}


@histories(3, 1)
@given(chance=st.randoms(use_true_random=False))
def test_whatever_is_corrected_and_refunded_nothing_is_lost(db: Session, chance: random.Random) -> None:
    """Months of refunds and corrections, one upon the other; in the end all is refunded, and nobody keeps any."""
    with db.begin_nested() as example:
        load_terms(db, TERMS)
        images = [f"img-{number}" for number in range(4)]
        add_images(db, *images)
        prices, refunded = {}, Counter[str]()
        for number, image in enumerate(images * 2):
            name = f"sale-{number}"
            prices[name] = chance.choice([1, 7, chance.randrange(1, 10**4), chance.randrange(1, 10**8)])
            sell(
                db,
                name,
                3,
                image,
                base=prices[name],
                card=chance.choice([None, None, "half", "pool", "table"]),
            )
        methods = ["exact-1", "exact-2", "exact-3"]
        for image in images:
            for by in methods:
                players = chance.sample(["art-1", "art-2", "art-3"], chance.randrange(1, 4))
                if chance.random() < 0.2:
                    cannot_attribute(db, image, by=by, recognised=players)
                else:
                    weights = {player: chance.randrange(1, 10**6) for player in ("C", *players)}
                    attribute(db, image, largest_remainder(PPB, weights), by=by)
        registered = chance.choice([4, 5, 6])
        for month in range(3, 7):
            if month == registered:
                load_terms(
                    db,
                    TERMS.replace(
                        "rate_cards:",
                        f"  - {{id: c-3, artist: art-3, valid_from: 2026-0{month}-01, splits: {{pay-1: '100'}}}}\n"
                        f"  - {{id: contract-1, artist: art-1, valid_from: 2026-0{month}-01,"
                        " splits: {pay-2: '100'}}\n"
                        "rate_cards:",
                        1,
                    ),
                )
            for sale in chance.sample(list(prices), 3):
                part = chance.randrange(0, prices[sale] - refunded[sale] + 1)
                if part and chance.random() < 0.6:
                    refund(db, f"refund-{month}-{sale}", sale, month, part)
                    refunded[sale] += part
            chosen = chance.sample(list(prices), len(prices))
            for half in (chosen[:4], chosen[4:]) if month > 3 else ():
                _correct(db, f"fix-{month}-{half[0]}", half, chance, month >= registered)
            settle_in(db, f"2026-0{month}")
            held(db)
        for sale, price in prices.items():
            if price > refunded[sale]:
                refund(db, f"all-{sale}", sale, 7, price - refunded[sale])
        settle_in(db, "2026-07")
        assert held(db) == {}
        kept = db.execute(
            text(
                "SELECT sale_id, payee_id, sum(amount_micros) FROM settlement.royalty_line"
                " WHERE payee_id IS NOT NULL GROUP BY 1, 2 HAVING sum(amount_micros) <> 0"
            )
        ).all()
        assert kept == []
        example.rollback()


def _correct(db: Session, name: str, sales: list[str], chance: random.Random, registered: bool) -> None:
    """One correction or none, perhaps with a refund between its proposal and its close."""
    by: Any = {"actor": "mara", "reason": "history"}
    try:
        match chance.randrange(4):
            case 0:
                return
            case 1:
                card = chance.choice(["half", "pool", "table", "standard-1"])
                propose_terms(
                    db, name, selection=Selection(sales=sales), rate_card=f"{card}@2026-01-01", **by
                )
            case 2 if registered:
                propose_terms(
                    db,
                    name,
                    selection=Selection(sales=sales),
                    contracts=[chance.choice(["contract-1@2026-01-01", "contract-2@2026-01-01"])],
                    **by,
                )
            case _:
                method = chance.choice(["exact-1", "exact-2", "exact-3"])
                propose_reattribution(db, name, method, selection=Selection(sales=sales), **by)
    except Conflict as error:
        if "would change nothing" not in error.message:
            raise
    else:
        agree(db, name)


def approved(db: Session, period: str) -> None:
    """Everything but the close."""
    cut_off(db, period)
    draft = calculate(db, period, actor="mara")
    submit(db, period)
    approve(db, period, checker="chen", content_sha256=draft.sha256)


LINE = (
    "INSERT INTO settlement.royalty_line (period_id, kind, sale_id, player, destination, payee_id, amount_micros,"
    " currency, distribution_key, corrects, correction_id)"
    " SELECT '2026-09', 'adjustment', l.sale_id, l.player, l.destination, l.payee_id, {amount}, l.currency,"
    " 'attribution', {corrects}, '{correction}' FROM settlement.royalty_line AS l"
    " JOIN settlement.sale AS s ON s.id = l.sale_id"
    " WHERE s.external_id = 'sale-{sale}' AND l.kind <> 'refund' AND l.amount_micros > 0 {which}"
)
LEFT = (
    "-(l.amount_micros + (SELECT coalesce(sum(r.amount_micros), 0) FROM settlement.royalty_line AS r"
    " WHERE r.corrects = l.id AND r.kind = 'refund'))"
)
APPLY = (
    "INSERT INTO settlement.correction_application SELECT subject, '2026-09', id FROM settlement.approval"
    " WHERE kind = 'correction' AND subject = '{}'"
)


def line(
    amount: str, *, corrects: str = "NULL", correction: str = "better", sale: int = 1, which: str = ""
) -> str:
    return LINE.format(amount=amount, corrects=corrects, correction=correction, sale=sale, which=which)


@pytest.mark.parametrize(
    ("attack", "constraint"),
    [
        ([APPLY.format("better").replace("SELECT subject", "SELECT 'alone'")], "correction_applied_as_approved"),
        ([APPLY.format("better").replace("2026-09", "2026-08")], "correction_applied_as_approved"),
        ([APPLY.format("better"), APPLY.format("better")], "correction_application_pkey"),
        ([APPLY.format("better"),
          "INSERT INTO settlement.correction_withdrawal (correction_id, actor, reason) VALUES ('better', 'eve', 'x')"],
         "correction_ends_once"),
        # Lines of a correction that this close does not apply, of a sale that it is not about, or too few or too many.
        ([line(LEFT, corrects="l.id")], "adjustments_replace_what_is_taken"),
        ([APPLY.format("better"), line(LEFT, corrects="l.id", sale=2)], "adjustments_replace_what_is_taken"),
        ([APPLY.format("better"), line(LEFT, corrects="l.id")], "adjustments_replace_what_is_taken"),
        ([APPLY.format("better"), line("l.amount_micros + 1")], "adjustments_replace_what_is_taken"),
        ([APPLY.format("better"), line("-l.amount_micros", corrects="l.id")], "adjustments_take_back_what_is_there"),
        ([APPLY.format("better"), line(f"{LEFT} - 1", corrects="l.id")], "adjustments_take_back_what_is_there"),
        ([APPLY.format("better"), line("-1")], "royalty_line_adjustment_takes_or_gives"),
        ([line("1", correction="nothing")], "adjustments_replace_what_is_taken"),
        (["INSERT INTO settlement.correction_sale (correction_id, sale_id, rate_card_version_id, slice_before_micros,"
          " slice_micros) SELECT 'better', sale_id, rate_card_version_id, 0, 1 FROM settlement.sale_slice"
          " WHERE sale_id NOT IN (SELECT sale_id FROM settlement.correction_sale)"], "correction_is_whole"),
        (["INSERT INTO settlement.correction_contract SELECT 'better', artist_id, id FROM settlement.contract_version"],
         "correction_is_whole"),
        (["UPDATE settlement.correction SET reason = 'x'"], None),
        (["DELETE FROM settlement.correction_sale"], None),
        (["INSERT INTO settlement.correction (correction_id, kind, payee_id, currency, amount_micros, reason, content,"
          " content_sha256, actor) VALUES ('by-hand', 'manual', 'pay-1', 'EUR', 5, 'x',"
          """ '{"correction": "by-hand", "sales": 0}', sha256('other'), 'eve')"""],
         "correction_content_sha256_of_content"),
        (["INSERT INTO settlement.correction (correction_id, kind, payee_id, currency, amount_micros, reason, content,"
          " content_sha256, actor) VALUES ('by-hand', 'manual', 'pay-1', 'EUR', 5, 'x',"
          """ '{"correction": "by-hand", "sales": 1}', sha256('{"correction": "by-hand", "sales": 1}'), 'eve')"""],
         "correction_is_whole"),
        # The same sale a second time, or as if it paid something else.
        *(
            (["INSERT INTO settlement.correction_sale SELECT 'more', sale_id, attribution_id, rate_card_version_id,"
              f" slice_before_micros + {more}, slice_micros FROM settlement.correction_sale",
              "INSERT INTO settlement.correction (correction_id, kind, method_id, reason, content, content_sha256,"
              " actor)"
              """ SELECT 'more', kind, method_id, reason, c, sha256(convert_to(c, 'UTF8')), 'eve'"""
              """ FROM settlement.correction, (VALUES ('{"correction": "more", "sales": 1}')) AS v (c)"""
              " WHERE kind <> 'manual'"], constraint)
            for more, constraint in ((0, "one_open_correction_of_a_sale"), (1, "correction_of_what_is_paid"))
        ),
    ],
)  # fmt: skip
def test_raw_sql_corrects_nothing(august: Session, attack: list[str], constraint: str | None) -> None:
    attribute(august, "img", SECOND, by="exact-2")
    propose_reattribution(august, "better", "exact-2", actor="mara", reason="exact-2")
    agree(august, "better")
    propose_manual(august, "alone", "pay-1", "EUR", 1, actor="mara", reason="not approved")
    approved(august, "2026-09")
    for statement in attack[:-1]:
        august.connection().exec_driver_sql(statement)
    with pytest.raises(DBAPIError) as refused:
        august.connection().exec_driver_sql(attack[-1])
    diagnostics = refused.value.orig.diag  # type: ignore[union-attr]
    assert constraint is None or diagnostics.constraint_name == constraint, refused.value.orig


def test_what_was_taken_back_is_refunded_and_corrected_no_more(august: Session) -> None:
    """By raw SQL; and the auditor finds it where the guards were off."""
    attribute(august, "img", SECOND, by="exact-2")
    propose_reattribution(august, "better", "exact-2", actor="mara", reason="exact-2")
    agree(august, "better")
    settle_in(august, "2026-09")
    closed = "SELECT state FROM settlement.period WHERE period_id = '2026-09'"
    assert august.execute(text(closed)).scalar_one() == "closed"
    again = line("-1", corrects="l.id", correction="other", which="AND l.kind = 'royalty'")
    refunds = (
        "INSERT INTO settlement.royalty_line (period_id, kind, sale_id, player, destination, payee_id, amount_micros,"
        " currency, distribution_key, refund_id, corrects)"
        " SELECT '2026-10', 'refund', l.sale_id, l.player || '!', l.destination, l.payee_id, -1, l.currency,"
        " 'attribution', r.id, l.corrects FROM settlement.royalty_line AS l"
        " JOIN settlement.refund AS r ON r.sale_id = l.sale_id"
        " WHERE l.kind = 'adjustment' AND l.corrects IS NOT NULL LIMIT 1"
    )
    for attack, constraint in (
        (again, "royalty_line_taken_back_once"),
        (line("1", correction="other", which="AND l.kind = 'royalty'"), "adjustments_replace_what_is_taken"),
        (refunds, "corrected_lines_are_refunded_no_more"),
    ):
        with pytest.raises(DBAPIError) as refused, august.begin_nested():
            august.connection().exec_driver_sql(attack)
        diagnostics = refused.value.orig.diag  # type: ignore[union-attr]
        assert diagnostics.constraint_name == constraint, refused.value.orig
    for tampering in (
        "UPDATE settlement.royalty_line SET amount_micros = amount_micros - 1"
        " WHERE kind = 'adjustment' AND amount_micros < 0",
        "UPDATE settlement.royalty_line SET share_ppb = share_ppb + 1 WHERE kind = 'adjustment' AND amount_micros > 0",
        "DELETE FROM settlement.correction_application",
        "UPDATE settlement.approval SET maker = 'eve' WHERE kind = 'correction'",
    ):
        with august.begin_nested() as savepoint:
            august.execute(text("SET LOCAL session_replication_role = replica"))
            august.execute(text("SET LOCAL event_triggers = off"))
            for table in ("royalty_line", "correction_application", "approval"):
                august.execute(text(f"ALTER TABLE settlement.{table} DISABLE TRIGGER ALL"))
            august.connection().exec_driver_sql(tampering)
            assert august.execute(text("SELECT * FROM audit.correction_faults")).all(), tampering
            savepoint.rollback()
