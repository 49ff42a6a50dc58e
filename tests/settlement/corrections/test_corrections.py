"""Corrections of closed periods, from the preview to the next statement: nothing is lost, and nothing closed changes."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from attribution.generation import Image
from attribution.results import Attribution
from database.errors import Conflict, Invalid, NotFound, Refused
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
from settlement.reserves import ReserveTerms, record_reserve_terms
from settlement.tax import TaxProfile, record_tax_profiles
from tests.settlement.events import CATALOGUE, add_images, attribute, cannot_attribute, load_terms, method
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
    report = verify(august, [check for check in CHECKS if "schema" not in check.name])
    assert [result.name for result in report.results if result.faults and "log" not in result.name] == []
