"""The posting matrix: every event that the ledger hears of, and the accounts, key and booking date of its journal.

What is not in `MATRIX` is not posted: journals are made from its rules and from nothing else, and a rule refuses a
line on an account or a side that it does not name. `python -m settlement.posting` prints the matrix as the page
docs/posting-matrix.md.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType

from settlement.ledger import Entry, Line


@dataclass(frozen=True, slots=True)
class Account:
    """A kind of account; with an owner there is one for each, and always one for each currency."""

    name: str
    account_class: str
    owner: str | None = None
    """What the middle of the code names: `payee`, `artist` or `territory`."""

    @property
    def form(self) -> str:
        """The code with its parts named: `royalties_payable:<payee>:<currency>`."""
        return f"{self.name}:<{self.owner}>:<currency>" if self.owner else f"{self.name}:<currency>"

    def code(self, currency: str, owner: str | None = None) -> str:
        """The account's code. Raises ValueError if an owner is missing or too many."""
        if (owner is None) != (self.owner is None):
            raise ValueError(f"{self.form} and owner {owner!r} do not fit")
        return f"{self.name}:{currency}" if owner is None else f"{self.name}:{owner}:{currency}"

    def owner_of(self, code: str) -> str:
        """The owner in one of this account's codes, which may have colons of its own."""
        return code[len(self.name) + 1 : -4]

    def owner_sql(self, code: str) -> str:
        """SQL of the owner in a code, from an SQL expression of the code."""
        return f"substr({code}, {len(self.name) + 2}, length({code}) - {len(self.name) + 5})"

    def line(self, amount: int, currency: str, owner: str | None = None) -> Line:
        """A line on this account: ``amount`` in micros, debit positive."""
        return Line(self.code(currency, owner), self.account_class, amount, currency)

    def sql(self, owner: str | None = None, currency: str = "currency") -> str:
        """SQL of the code, from SQL expressions of its parts."""
        if (owner is None) != (self.owner is None):
            raise ValueError(f"{self.form} and owner {owner!r} do not fit")
        return f"'{self.name}:' || " + (f"{owner} || ':' || " if owner else "") + currency


RECEIVABLE = Account("receivable", "asset")
BANK = Account("bank", "asset")
REVENUE = Account("revenue", "income")
TAX_COLLECTED = Account("tax_collected", "liability")
EXPENSE = Account("royalty_expense", "expense")
PAYABLE = Account("royalties_payable", "liability", "payee")
UNCLAIMED = Account("suspense_unclaimed", "liability", "artist")
PENDING = Account("suspense_pending", "liability")
UNATTRIBUTED = Account("suspense_unattributed", "liability")
DISPUTED = Account("suspense_disputed", "liability")
CLEARING = Account("payout_clearing", "liability")
RESERVE = Account("reserve", "liability", "payee")
ADVANCES = Account("advances", "asset", "payee")
TAX_WITHHELD = Account("tax_withheld", "liability", "territory")
FX_POSITION = Account("fx_position", "asset")
BANK_CHARGES = Account("bank_charges", "expense")


class Booking(StrEnum):
    """When a journal is booked."""

    EVENT = "when it happens; in the open period if its own is sealed"
    RUN = "at the last instant of the run's period"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the matrix."""

    kind: str
    """The journal's kind."""
    event: str
    debit: tuple[Account, ...]
    credit: tuple[Account, ...]
    key: str
    """Template of the idempotency key."""
    booking: Booking
    either_sign: bool = False
    """Whether a decision below zero posts the other way round."""
    reverses: str | None = None
    """Template of the key of the journal that it reverses exactly."""

    def entry(
        self,
        amount: int,
        currency: str,
        names: Mapping[str, str],
        *,
        booked_at: datetime,
        actor: str,
        approved_by: str | None = None,
    ) -> Entry:
        """A journal of one event: ``amount`` micros from each debit account to the credit account beside it.

        ``names`` fill the key (`attempt`) and own the accounts (`payee`); others are let pass.

        Raises:
            ValueError: the rule does not allow that sign, is posted in SQL only (its accounts are alternatives), or a
                name is missing.
        """
        if self.booking is not Booking.EVENT or len(self.debit) != len(self.credit):
            raise ValueError(f"{self.kind} is not made of one amount")
        try:
            key = self.key.format_map(names)
            lines = []
            for sides in zip(self.debit, self.credit, strict=True):
                for account, signed in zip(sides, (amount, -amount), strict=True):
                    self.check(account, signed)
                    lines.append(
                        account.line(signed, currency, names[account.owner] if account.owner else None)
                    )
        except KeyError as missing:
            raise ValueError(f"{self.kind} needs the name of its {missing.args[0]}") from None
        return Entry(
            kind=self.kind,
            key=key,
            booked_at=booked_at,
            value_date=booked_at.astimezone(UTC).date(),
            lines=lines,
            actor=actor,
            approved_by=approved_by,
            reverses=self.reverses and self.reverses.format_map(names),
            movable=True,
        )

    def transfer_sql(
        self,
        amount: str,
        currency: str,
        names: Mapping[str, str],
        *,
        booked_at: str,
        actor: str,
        approved_by: str = "NULL",
    ) -> str:
        """What a query for `post_transfers` selects, from SQL expressions of what `entry` takes.

        Raises:
            ValueError: the rule has more than one account on a side, or reverses something.
        """
        if (
            self.booking is not Booking.EVENT
            or self.reverses
            or len(self.debit) != 1
            or len(self.credit) != 1
        ):
            raise ValueError(f"{self.kind} is not a transfer from one account to another")
        sides = (
            f"{account.sql(names[account.owner] if account.owner else None, currency)}, '{account.account_class}'"
            for account in (*self.debit, *self.credit)
        )
        return (
            f"SELECT {self.key_sql(**names)}, '{self.kind}', {booked_at}, ({booked_at} AT TIME ZONE 'UTC')::date,"
            f" {actor}, {approved_by}, {', '.join(sides)}, {currency}, {amount}"
        )

    def check(self, account: Account, amount: int) -> None:
        """Raise ValueError unless the rule has this account on this side."""
        sides = {*self.debit, *self.credit} if self.either_sign else self.debit if amount > 0 else self.credit
        if account not in sides:
            side = "debit" if amount > 0 else "credit"
            raise ValueError(f"the posting matrix has no {side} of {account.form} for {self.kind}")

    def key_sql(self, **names: str) -> str:
        """SQL of the key, from SQL expressions of its parts."""
        template = self.key.replace("'", "''")
        for name, expression in names.items():
            template = template.replace(f"{{{name}}}", f"' || {expression} || '")
        return f"'{template}'".removesuffix(" || ''")


SALE = Rule(
    "sale",
    "a sale",
    debit=(RECEIVABLE,),
    credit=(REVENUE, TAX_COLLECTED),
    key="sale:{sale}",
    booking=Booking.EVENT,
)
REFUND_SALE = Rule(
    "refund_sale",
    "a refund: the sale's part of it",
    debit=(REVENUE, TAX_COLLECTED),
    credit=(RECEIVABLE,),
    key="refund:{refund}:sale",
    booking=Booking.EVENT,
)
REFUND_ROYALTIES = Rule(
    "refund_royalties",
    "a refund: the royalties' part of it, taken back from who holds them, reserve first; and tax withheld on them",
    debit=(RESERVE, PAYABLE, UNCLAIMED, PENDING, UNATTRIBUTED, TAX_WITHHELD),
    credit=(EXPENSE, PAYABLE),
    key="refund:{refund}:royalties",
    booking=Booking.RUN,
)
CONTENT_SHARE = Rule(
    "content",
    "the content's share, late or not, to the model developer",
    debit=(EXPENSE, PENDING),
    credit=(PAYABLE,),
    key="run:{period}:content:{currency}",
    booking=Booking.RUN,
)
STATEMENT = Rule(
    "statement",
    "a statement: royalties and adjustments of a payee, and what leaves suspense for her",
    debit=(EXPENSE, PENDING, UNCLAIMED, UNATTRIBUTED),
    credit=(PAYABLE,),
    key="statement:{period}:{payee}:{currency}",
    booking=Booking.RUN,
    either_sign=True,
)
# The same journal, line by line.
RESERVE_MOVED = replace(
    STATEMENT,
    event="the statement: reserve taken or released",
    debit=(PAYABLE, RESERVE),
    credit=(RESERVE, PAYABLE),
)
TAX = replace(
    STATEMENT,
    event="the statement: tax withheld",
    debit=(PAYABLE,),
    credit=(TAX_WITHHELD,),
    either_sign=False,
)
CONVERSION = replace(
    STATEMENT,
    event="the statement: conversion, each currency balanced in itself",
    debit=(PAYABLE, FX_POSITION),
    credit=(FX_POSITION, PAYABLE),
)
RECOUPMENT = replace(
    STATEMENT,
    event="the statement: an advance recouped",
    debit=(PAYABLE,),
    credit=(ADVANCES,),
    either_sign=False,
)
UNCLAIMED_SHARE = Rule(
    "unclaimed",
    "shares of artists without a contract, late or not",
    debit=(EXPENSE, PENDING),
    credit=(UNCLAIMED,),
    key="run:{period}:unclaimed:{currency}",
    booking=Booking.RUN,
)
PENDING_SLICE = Rule(
    "pending",
    "sales whose image is not attributed at the cut-off",
    debit=(EXPENSE,),
    credit=(PENDING,),
    key="run:{period}:pending:{currency}",
    booking=Booking.RUN,
)
CORRECTED_SUSPENSE = Rule(
    "adjustment",
    "corrections of what lies unclaimed or unattributed; those of payees are in their statements' journals",
    debit=(EXPENSE, UNCLAIMED, UNATTRIBUTED),
    credit=(UNCLAIMED, UNATTRIBUTED),
    key="run:{period}:adjustments:{currency}",
    booking=Booking.RUN,
    either_sign=True,
)
UNATTRIBUTED_SLICE = Rule(
    "unattributed",
    "sales whose image cannot be attributed, and shares of artists who opted out, late or not",
    debit=(EXPENSE, PENDING),
    credit=(UNATTRIBUTED,),
    key="run:{period}:unattributed:{currency}",
    booking=Booking.RUN,
)
ADVANCE_PAID = Rule(
    "advance",
    "an advance is paid",
    debit=(ADVANCES,),
    credit=(BANK,),
    key="advance:{advance}",
    booking=Booking.EVENT,
)
ADVANCE_RETURNED = Rule(
    "advance_returned",
    "an advance that nothing is recouped of comes back: the exact reversal of its payment",
    debit=(BANK,),
    credit=(ADVANCES,),
    key="advance:{advance}:returned",
    booking=Booking.EVENT,
    reverses=ADVANCE_PAID.key,
)
TAX_REMITTED = Rule(
    "tax_remitted",
    "withheld tax is remitted to the authority",
    debit=(TAX_WITHHELD,),
    credit=(BANK,),
    key="remittance:{remittance}",
    booking=Booking.EVENT,
)
CLAIM_OPENED = Rule(
    "claim_opened",
    "a third party claims what a payee is owed: the smaller of the claim and a balance above zero",
    debit=(PAYABLE,),
    credit=(DISPUTED,),
    key="claim:{claim}:opened",
    booking=Booking.EVENT,
)
CLAIM_DECIDED = Rule(
    "claim_decided",
    "an ownership claim is decided by two people: to the claimant, back to the payee, or a part to each",
    debit=(DISPUTED,),
    credit=(PAYABLE,),
    key="claim:{claim}:decided",
    booking=Booking.EVENT,
)
PAYOUT_RESERVED = Rule(
    "payout_reserved",
    "a payout is reserved, before the bank hears of it",
    debit=(PAYABLE,),
    credit=(CLEARING,),
    key="attempt:{attempt}:reserved",
    booking=Booking.EVENT,
)
PAYOUT_PAID = Rule(
    "payout_paid",
    "the bank has paid",
    debit=(CLEARING,),
    credit=(BANK,),
    key="attempt:{attempt}:paid",
    booking=Booking.EVENT,
)
PAYOUT_REJECTED = Rule(
    "payout_rejected",
    "the bank has refused the payment",
    debit=(CLEARING,),
    credit=(PAYABLE,),
    key="attempt:{attempt}:rejected",
    booking=Booking.EVENT,
)
PAYOUT_RETURNED = Rule(
    "payout_returned",
    "the money came back: bank to clearing, and clearing to payable",
    debit=(BANK, CLEARING),
    credit=(CLEARING, PAYABLE),
    key="attempt:{attempt}:returned",
    booking=Booking.EVENT,
)
PAYOUT_CORRECTED = Rule(
    "payout_corrected",
    "the bank has booked what it had refused: the exact reversal of the refusal, approved by another person",
    debit=(PAYABLE,),
    credit=(CLEARING,),
    key="attempt:{attempt}:corrected",
    booking=Booking.EVENT,
    reverses=PAYOUT_REJECTED.key,
)
BANK_CHARGE = Rule(
    "bank_charge",
    "the bank charges for payments or for the account, or gives a charge back",
    debit=(BANK_CHARGES,),
    credit=(BANK,),
    key="bank_charge:{booking}",
    booking=Booking.EVENT,
    either_sign=True,
)

MATRIX: tuple[Rule, ...] = (
    SALE,
    REFUND_SALE,
    CONTENT_SHARE,
    STATEMENT,
    RESERVE_MOVED,
    TAX,
    CONVERSION,
    RECOUPMENT,
    UNCLAIMED_SHARE,
    PENDING_SLICE,
    UNATTRIBUTED_SLICE,
    CORRECTED_SUSPENSE,
    REFUND_ROYALTIES,
    ADVANCE_PAID,
    ADVANCE_RETURNED,
    TAX_REMITTED,
    CLAIM_OPENED,
    CLAIM_DECIDED,
    PAYOUT_RESERVED,
    PAYOUT_PAID,
    PAYOUT_REJECTED,
    PAYOUT_RETURNED,
    PAYOUT_CORRECTED,
    BANK_CHARGE,
)
"""Every rule. A correction of another journal is its exact reversal (`settlement.ledger.reverse`) and the right one: of
one that rows of its own explain (reserves, tax, advances, exchange, suspense, clearing) the database refuses it."""

PAYMENT_KINDS = [
    rule.kind for rule in (PAYOUT_RESERVED, PAYOUT_PAID, PAYOUT_REJECTED, PAYOUT_RETURNED, PAYOUT_CORRECTED)
]
"""Kinds of journals that a statement lists as payments."""

CLAIM_KINDS = [CLAIM_OPENED.kind, CLAIM_DECIDED.kind]
"""Kinds of journals that a statement lists as ownership claims."""

PAYOUT_OUTCOMES: Mapping[str, Rule] = MappingProxyType(
    {"paid": PAYOUT_PAID, "rejected": PAYOUT_REJECTED, "returned": PAYOUT_RETURNED}
)
"""What the bank reports of an attempt, to the rule of its journal."""


def page() -> str:
    """The matrix as a page of documentation, in Markdown."""
    accounts = sorted(
        {account for rule in MATRIX for account in (*rule.debit, *rule.credit)}, key=lambda a: a.form
    )

    def names(side: tuple[Account, ...], either: bool) -> str:
        return ", ".join(f"`{account.form}`" for account in side) + (" (either sign)" if either else "")

    rows = [
        f"| {rule.event} | {names(rule.debit, rule.either_sign)} | {names(rule.credit, rule.either_sign)} "
        f"| `{rule.key.replace('{', '<').replace('}', '>')}` | {rule.booking} |"
        for rule in MATRIX
    ]
    return "\n".join(
        [
            "# Posting matrix",
            "",
            "Every event that the ledger hears of. What is not in this table is not posted. This page is made from",
            "`settlement/posting.py` by `python -m settlement.posting > docs/posting-matrix.md`.",
            "",
            "A journal's key is permanent: the same key with the same content is the same journal, with other content",
            "it is refused. Amounts are micros (10^-6 of the currency's unit), debits above zero, credits below.",
            "Deductions only reduce the royalty base; they are not posted.",
            "",
            "| event | debit | credit | key | booked |",
            "|---|---|---|---|---|",
            *rows,
            "| a correction of another journal, but of one on accounts of reserves, tax, advances, exchange, suspense "
            "or clearing, which is corrected by what decided it | its exact reversal, then the right one | | the "
            f"correction's | {Booking.EVENT} |",
            "",
            "## Accounts",
            "",
            "| code | class |",
            "|---|---|",
            *(f"| `{account.form}` | {account.account_class} |" for account in accounts),
            "",
        ]
    )


if __name__ == "__main__":
    sys.stdout.write(page())
