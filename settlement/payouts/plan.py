"""Whom a payout run would pay now, how much, and why the others not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from database.errors import Invalid, Refused
from settlement import posting
from settlement.balance import of_which
from settlement.bank_details import BankDetails, accounts_changed, sealed_accounts, shared_accounts
from settlement.bank_keys import key_ring
from settlement.ledger import balances
from settlement.money import MAX_MICROS, check_currency
from settlement.payees import parties_of, party_versions
from settlement.payouts.holds import open_holds
from settlement.payouts.pain001 import SEPA_LIMIT, BankAccount
from settlement.payouts.screening import (
    Finding,
    Screened,
    Screening,
    configured_screening,
    hold_findings,
    open_findings,
)
from settlement.payouts.verification import verdicts
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
    """pay | held | below_minimum | below_unit | no_bank_details | bad_bank_details | bank_details_cooling_off"""
    party_version: int | None
    """Version of the bank details that it goes to, where there are any."""
    problem: str | None = None
    """What is wrong with bad bank details, what a list says, when a new account may be paid; not kept."""
    shared_with: tuple[str, ...] = field(default=(), compare=False)
    """Other payees with the same account: a warning."""
    verified: str | None = field(default=None, compare=False)
    """What the bank last said of this name and account, if it did: other than a match is a warning."""


def plan(
    session: Session,
    currency: str,
    checked: Mapping[str, int | None] = MappingProxyType({}),
    screening: Screening | None = None,
) -> list[Decision]:
    """Whom a run in this currency would pay now, by payee id; payees with nothing to their credit are left out.

    Args:
        session: as the role `payer`.
        currency: ISO 4217 code.
        checked: versions of payees' bank details that were found good before: they are not checked again.
        screening: against what payees are screened; None is what is configured.

    Raises:
        Invalid: the currency is none.
        Refused: no period has been closed yet, so nothing is due.
        Unavailable: the key of the bank details, or the list to screen against, is not there.
    """
    check_currency(currency)
    terms = closed_terms(session)
    minimum = int(terms.minimum_payout.get(currency, "0"))
    # A precaution, not a term of the closed period: a change of it holds from now on.
    cooling_off = timedelta(days=platform_at(session, datetime.now(UTC)).bank_details_cooling_off_days)
    owed = _owed(session, currency)
    held = {hold.payee_id for hold in open_holds(session)}
    versions = party_versions(session, owed)
    accounts, problems = _accounts(session, versions)
    changed = accounts_changed(session, cooling_off.days)
    shared = shared_accounts(session)
    verified = verdicts(session, versions)
    screening = screening or configured_screening()
    if screening.version is None:  # nobody reads the names of those who were checked before
        parties = parties_of(session, (one for one in owed if checked.get(one) != versions.get(one)))
        named = {}
    else:
        parties = parties_of(session, owed)
        named = open_findings(session, screening.screen(_screened(parties, accounts)))
    limit = SEPA_LIMIT if currency == "EUR" else MAX_MICROS
    decisions = []
    for payee_id, balance in sorted(owed.items()):
        version = versions.get(payee_id)
        finding = named.get(payee_id)
        parts = of_which(balance, minimum, currency, held=payee_id in held or finding is not None)
        problem = None
        if parts.held:
            decision, problem = "held", finding.why if finding else None
        elif parts.below_minimum:
            decision = "below_minimum"
        elif not parts.payable:
            decision = "below_unit"
        elif payee_id in problems:
            decision, problem = "bad_bank_details", problems[payee_id]
        elif payee_id in changed:
            until = changed[payee_id] + cooling_off
            decision, problem = (
                "bank_details_cooling_off",
                f"a new account: paid from {until:%Y-%m-%d %H:%M} UTC",
            )
        elif checked.get(payee_id) == version is not None:
            decision = "pay"
        else:
            _, details = parties.get(payee_id, (None, {}))
            decision, problem = _reachable(details, accounts.get(payee_id), currency)
        # What is above a transfer's limit stays in the balance for the next run.
        amount = min(parts.payable, limit) if decision == "pay" else 0
        decisions.append(
            Decision(
                payee_id,
                balance,
                amount,
                decision,
                version,
                problem,
                tuple(shared.get(payee_id, ())),
                verified.get(payee_id),
            )
        )
    return decisions


def hold_named(session: Session, currency: str, actor: str) -> list[Finding]:
    """Open a hold on every payee with something to her credit whom the configured list names; returns what is new.

    A plan leaves them out with or without the hold; the hold is what a person releases. Raises as `plan`.
    """
    check_currency(currency)
    screening = configured_screening()
    if screening.version is None:
        return []
    parties = parties_of(session, _owed(session, currency))
    accounts, _ = _accounts(session, {payee_id: version for payee_id, (version, _) in parties.items()})
    return hold_findings(session, screening.screen(_screened(parties, accounts)), actor)


def _screened(
    parties: Mapping[str, tuple[int, Mapping[str, Any]]], accounts: Mapping[str, BankDetails]
) -> list[Screened]:
    return [
        Screened.of(payee_id, details, accounts.get(payee_id)) for payee_id, (_, details) in parties.items()
    ]


def _owed(session: Session, currency: str) -> dict[str, int]:
    """What is owed in a currency, in micros, by payee."""
    return {
        posting.PAYABLE.owner_of(code): -balance
        for code, balance in balances(session, f"{posting.PAYABLE.name}:").items()
        if code.endswith(f":{currency}") and balance < 0
    }


def closed_terms(session: Session) -> PlatformVersion:
    """The platform's terms at the last instant of the last closed period: its minimum, its account to pay from.

    Raises:
        Refused: no period has been closed yet.
    """
    closed = session.scalar(select(func.max(Period.ends_at)).where(Period.state == "closed"))
    if closed is None:
        raise Refused("no period is closed yet, so nothing is due: close one with `royalty period close`")
    return platform_at(session, closed - timedelta(microseconds=1))


def bank_account(
    details: Mapping[str, Any], account: BankDetails | None, currency: str | None = None
) -> BankAccount | None:
    """A party's account as a bank is told of it; None if there is no name or no account.

    Args:
        details: see `PartyVersion.details`.
        account: where the party banks.
        currency: what it would be paid in; None for the account that pays.

    Raises:
        Invalid: no bank would take it, or not in this currency; the message says what to mend.
    """
    if account is None or not details.get("name"):
        return None
    known = BankAccount.of(details, account)
    known.check(currency)
    return known


def _accounts(session: Session, versions: Mapping[str, int]) -> tuple[dict[str, BankDetails], dict[str, str]]:
    """The accounts of these versions, and what is wrong with those that cannot be read."""
    ring, accounts, problems = key_ring(), {}, {}
    for payee_id, sealed in sealed_accounts(session, versions).items():
        try:
            accounts[payee_id] = sealed.open(ring)
        except Invalid as error:
            problems[payee_id] = error.message
    return accounts, problems


def _reachable(
    details: Mapping[str, Any], known: BankDetails | None, currency: str
) -> tuple[str, str | None]:
    try:
        account = bank_account(details, known, currency)
    except Invalid as error:
        return "bad_bank_details", error.message
    return ("no_bank_details", None) if account is None else ("pay", None)
