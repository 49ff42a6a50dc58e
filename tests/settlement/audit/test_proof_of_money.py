"""Reserves, tax, exchange, advances and corrections of closed periods: what a superuser changed of them is found."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from database.engine import session
from database.roles import Role
from settlement.corrections.decisions import approve_correction
from settlement.corrections.proposal import Selection, propose_terms
from tests.settlement.audit.kept import Kept, keeping, not_found, texts
from tests.settlement.events import CATALOGUE, load_terms
from tests.settlement.periods.conftest import settle_in
from tests.settlement.periods.test_close import refund
from tests.settlement.periods.test_money_guards import sell_with_every_term

MONEY_TABLES = tuple(
    f"settlement.{name}"
    for name in (
        "fx_rate",
        "tax_profile_version",
        "reserve_version",
        "advance",
        "statement_column",
        "conversion",
        "reserve",
        "reserve_use",
        "tax_determination",
        "tax_reversal",
        "recoupment",
        "correction",
        "correction_sale",
        "correction_contract",
        "correction_application",
    )
)
"""Covered tables that the worked example has no rows in: there nobody is taxed, held back or paid in advance,
and nothing is corrected."""


OTHER_SPLIT = (
    '  - {id: contract-1, artist: art-1, valid_from: 2026-09-01, splits: {pay-1: "60", pay-2: "40"}}'
)


@pytest.fixture(scope="module")
def kept(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """August with every term, and September with a refund, and with a sale paid again by another contract."""
    with session(Role.ADMIN) as own:
        sell_with_every_term(own)
        load_terms(own, CATALOGUE.replace("rate_cards:", f"{OTHER_SPLIT}\nrate_cards:"))
        found = propose_terms(
            own,
            "split",
            actor="mara",
            reason="agreed otherwise",
            selection=Selection(sales=["sale-eur"]),
            contracts=["contract-1@2026-09-01"],
        )
        approve_correction(own, "split", checker="chen", content_sha256=found.correction.content_sha256)
        refund(own, "r-usd", "sale-usd", "0.20", datetime(2026, 9, 3, tzinfo=UTC))
        settle_in(own, "2026-09")
    with keeping(tmp_path_factory.mktemp("kept")) as kept:
        yield kept


def test_untouched_books_hold(kept: Kept) -> None:
    with kept.after() as verify:
        assert texts(verify()) == []


def test_every_column_of_every_table_of_money(kept: Kept) -> None:
    columns, missed = not_found(kept, MONEY_TABLES)
    assert columns > 70
    assert missed == []
