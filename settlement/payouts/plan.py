"""Whom a payout run would pay now, how much, and why the others not."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from database.errors import Invalid, Refused
from settlement import posting
from settlement.balance import of_which
from settlement.ledger import balances
from settlement.money import MAX_MICROS, check_currency
from settlement.payees import parties_of
from settlement.payouts.holds import open_holds
from settlement.payouts.pain001 import SEPA_LIMIT, BankAccount
from settlement.periods.models import Period
from settlement.rates import PlatformVersion, platform_at


@dataclass(frozen=True, slots=True)
class Decision:
    """What a run does for one payee, and why."""

    payee_id: str
    balance: int
    """The payee's ledger balance in micros, above zero."""
    amount: int
    """What is paid: whole minor units, in micros; 0 where nothing is."""
    decision: str
    """pay | held | below_minimum | below_unit | no_bank_details | bad_bank_details"""
    party_version: int | None
    """Version of the bank details that it goes to, where there are any."""
    problem: str | None = None
    """What is wrong with bad bank details, for an operator's eyes; not kept."""


def plan(
    session: Session, currency: str, checked: Mapping[str, int | None] = MappingProxyType({})
) -> list[Decision]:
    """Whom a run in this currency would pay now, by payee id; payees with nothing to their credit are left out.

    Args:
        session: as the role `payer`.
        currency: ISO 4217 code.
        checked: versions of payees' bank details that were found good before: they are not checked again.

    Raises:
        Invalid: the currency is none.
        Refused: no period has been closed yet, so nothing is due.
    """
    check_currency(currency)
    minimum = int(closed_terms(session).minimum_payout.get(currency, "0"))
    owed = {
        posting.PAYABLE.owner_of(code): -balance
        for code, balance in balances(session, f"{posting.PAYABLE.name}:").items()
        if code.endswith(f":{currency}") and balance < 0
    }
    held = {hold.payee_id for hold in open_holds(session)}
    parties = parties_of(session, owed)
    limit = SEPA_LIMIT if currency == "EUR" else MAX_MICROS
    decisions = []
    for payee_id, balance in sorted(owed.items()):
        version, details = parties.get(payee_id, (None, {}))
        parts = of_which(balance, minimum, currency, held=payee_id in held)
        problem = None
        if parts.held:
            decision = "held"
        elif parts.below_minimum:
            decision = "below_minimum"
        elif not parts.payable:
            decision = "below_unit"
        elif checked.get(payee_id) == version is not None:
            decision = "pay"
        else:
            decision, problem = _reachable(details, currency)
        # What is above a transfer's limit stays in the balance for the next run.
        amount = min(parts.payable, limit) if decision == "pay" else 0
        decisions.append(Decision(payee_id, balance, amount, decision, version, problem))
    return decisions


def closed_terms(session: Session) -> PlatformVersion:
    """The platform's terms at the last instant of the last closed period: its minimum, its account to pay from.

    Raises:
        Refused: no period has been closed yet.
    """
    closed = session.scalar(select(func.max(Period.ends_at)).where(Period.state == "closed"))
    if closed is None:
        raise Refused("no period is closed yet, so nothing is due: close one with `royalty period close`")
    return platform_at(session, closed - timedelta(microseconds=1))


def bank_account(details: Mapping[str, Any], currency: str | None = None) -> BankAccount | None:
    """The account in a party's details; None if they have no name or no IBAN.

    Args:
        details: see `PartyVersion.details`.
        currency: what it would be paid in; None for the account that pays.

    Raises:
        Invalid: no bank would take it, or not in this currency; the message says what to mend.
    """
    if not details.get("iban") or not details.get("name"):
        return None
    account = BankAccount.of(details)
    account.check(currency)
    return account


def _reachable(details: Mapping[str, Any], currency: str) -> tuple[str, str | None]:
    try:
        account = bank_account(details, currency)
    except Invalid as error:
        return "bad_bank_details", error.message
    return ("no_bank_details", None) if account is None else ("pay", None)
