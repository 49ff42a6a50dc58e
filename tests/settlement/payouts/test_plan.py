"""Whom a run would pay: by balance, holds, minimum, unit and bank details."""

import logging
import re
from typing import Any

import pytest
from sqlalchemy.orm import Session

from database.errors import Invalid
from database.roles import Role
from settlement.payouts.holds import open_hold, release_hold
from settlement.payouts.plan import Decision, plan
from tests.settlement.payouts.desk import acting, change_details, post_owed


def planned(currency: str = "EUR") -> dict[str, Decision]:
    """The plan as the role `payer` makes it."""
    with acting(Role.PAYER) as opened:
        return {decision.payee_id: decision for decision in plan(opened, currency)}


def test_no_currency(closed: Session) -> None:
    with pytest.raises(Invalid, match="'euro' is not a currency"):
        planned("euro")


def test_nobody_is_owed(closed: Session) -> None:
    assert planned() == {}


def test_whole_cents_are_paid_and_the_rest_stays(closed: Session) -> None:
    post_owed(closed, 12_345_678, "pay-1")
    assert planned() == {"pay-1": Decision("pay-1", 12_345_678, 12_340_000, "pay", 1)}


def test_the_minimum_is_that_of_the_last_closed_period(closed: Session) -> None:
    """The terms that begin at the instant at which October ends are November's."""
    post_owed(closed, 99_999, "pay-1")
    post_owed(closed, 100_000, "pay-2")
    assert {payee: (d.decision, d.amount) for payee, d in planned().items()} == {
        "pay-1": ("below_minimum", 0),
        "pay-2": ("pay", 100_000),
    }


def test_below_one_unit_where_there_is_no_minimum(closed: Session) -> None:
    post_owed(closed, 9_999, "pay-1", currency="GBP")
    post_owed(closed, 999_999, "pay-1", currency="JPY")
    post_owed(closed, 1_000_000, "pay-2", currency="JPY")
    assert planned("GBP")["pay-1"].decision == "below_unit"
    assert {payee: (d.decision, d.amount) for payee, d in planned("JPY").items()} == {
        "pay-1": ("below_unit", 0),
        "pay-2": ("pay", 1_000_000),
    }


def test_currencies_are_apart(closed: Session) -> None:
    post_owed(closed, 5_000_000, "pay-1")
    post_owed(closed, 999_999, "pay-1", currency="USD")
    post_owed(closed, 7_000_000, "pay-2", currency="USD")
    assert {payee: d.amount for payee, d in planned().items()} == {"pay-1": 5_000_000}
    assert {payee: (d.decision, d.amount) for payee, d in planned("USD").items()} == {
        "pay-1": ("below_minimum", 0),
        "pay-2": ("pay", 7_000_000),
    }
    assert planned("CHF") == {}


def test_who_owes_is_not_in_it(closed: Session) -> None:
    post_owed(closed, -5_000_000, "pay-1")
    post_owed(closed, 5_000_000, "pay-2")
    post_owed(closed, -5_000_000, "pay-2")
    assert planned() == {}


def test_a_hold_stops_it_until_the_last_is_released(closed: Session) -> None:
    post_owed(closed, 5_000_000, "pay-1")
    numbers = [open_hold(closed, "pay-1", reason, "ann") for reason in ("tax form missing", "dispute")]
    for number in numbers:
        assert (planned()["pay-1"].decision, planned()["pay-1"].amount) == ("held", 0)
        release_hold(closed, number, "done", "ann")
    assert planned()["pay-1"].decision == "pay"


def test_without_bank_details(closed: Session) -> None:
    post_owed(closed, 5_000_000, "pay-poor")
    assert planned()["pay-poor"] == Decision("pay-poor", 5_000_000, 0, "no_bank_details", 1)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"iban": "DE89370400440532013001"}, r"IBAN DE89\.\.\.01 is wrong: its check digits"),
        ({"iban": "DE8937040044053201300"}, "its length"),
        ({"bic": "NOPE"}, "BIC 'NOPE' is wrong"),
        ({"name": "李明"}, "Latin letters"),
        ({"address": {"town": "Paris", "country": "France"}}, "is not a country"),
    ],
)
def test_bank_details_that_no_bank_takes_stop_one_payee_only(
    closed: Session, changed: dict[str, Any], problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    change_details(closed, "pay-1", **changed)
    post_owed(closed, 5_000_000, "pay-1", "pay-2")
    found = planned()
    assert (found["pay-1"].decision, found["pay-1"].amount) == ("bad_bank_details", 0)
    assert re.search(problem, found["pay-1"].problem or "")
    assert "0532013" not in f"{found['pay-1'].problem} {caplog.text}"
    assert found["pay-2"].decision == "pay"


def test_no_more_than_one_transfer_can_carry(closed: Session) -> None:
    post_owed(closed, 1_000_000_000_000_000, "pay-1")
    post_owed(closed, 1_000_000_000_000_000, "pay-1", currency="USD")
    assert planned()["pay-1"].amount == 999_999_999_990_000
    assert planned("USD")["pay-1"].amount == 1_000_000_000_000_000
