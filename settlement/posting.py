"""The posting matrix: every event that the ledger hears of, and the accounts, key and booking date of its journal.

What is not in `MATRIX` is not posted. Functions below make journals from its rules and from nothing else; a rule
refuses a line on an account or a side that it does not name. `python -m settlement.posting` prints the matrix as the
page docs/posting-matrix.md.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType

from sqlalchemy.orm import Session

from settlement.allocation import CONTENT
from settlement.ledger import Entry, Line, PostCounts, post_from_query


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

    def entry(
        self,
        lines: Sequence[tuple[Account, int, str | None]],
        currency: str,
        *,
        at: datetime,
        actor: str,
        approved_by: str | None = None,
        **names: str,
    ) -> Entry:
        """A journal by this rule, of (account, amount, owner); ``names`` fill the key.

        Raises ValueError if a line is not in the rule.
        """
        for account, amount, _ in lines:
            self.check(account, amount)
        return Entry(
            kind=self.kind,
            key=self.key.format(**names),
            booked_at=at,
            value_date=at.astimezone(UTC).date(),
            lines=[account.line(amount, currency, owner) for account, amount, owner in lines],
            actor=actor,
            approved_by=approved_by,
            movable=self.booking is Booking.EVENT,
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
    "a statement: royalties of a payee, and what leaves suspense for her",
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
TAX_REMITTED = Rule(
    "tax_remitted",
    "withheld tax is remitted to the authority",
    debit=(TAX_WITHHELD,),
    credit=(BANK,),
    key="remittance:{remittance}",
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
    REFUND_ROYALTIES,
    ADVANCE_PAID,
    TAX_REMITTED,
    PAYOUT_RESERVED,
    PAYOUT_PAID,
    PAYOUT_REJECTED,
    PAYOUT_RETURNED,
    PAYOUT_CORRECTED,
    BANK_CHARGE,
)
"""Every rule. A correction of any journal is its exact reversal (`settlement.ledger.reverse`) and the right one."""


def post_sales(session: Session, sale_ids: Sequence[int]) -> PostCounts:
    """Post sales that are recorded, by `settlement.sale.id`, whoever recorded them being the actor.

    Raises:
        Conflict: a sale was posted with other content.
    """
    query = f"""
        SELECT {SALE.key_sql(sale="s.external_id")}, '{SALE.kind}', s.sold_at, (s.sold_at AT TIME ZONE 'UTC')::date,
               s.actor, NULL, true, l.account, l.class, s.currency, l.amount
        FROM settlement.sale AS s CROSS JOIN LATERAL (VALUES
            {_value(SALE, RECEIVABLE, +1, "s.price_micros")},
            {_value(SALE, REVENUE, -1, "s.price_micros - s.tax_micros")},
            {_value(SALE, TAX_COLLECTED, -1, "s.tax_micros")}) AS l (account, class, amount)
        WHERE s.id = ANY(%(ids)s) AND l.amount <> 0
    """  # noqa: S608  (made of the matrix)
    return post_from_query(session, query, {"ids": list(sale_ids)})


def post_refunds(session: Session, refund_ids: Sequence[int]) -> PostCounts:
    """Post the sale's side of refunds that are recorded, by `settlement.refund.id`; a run takes back the royalties.

    The tax given back is cumulative: floor(tax x refunded so far / price) less what earlier refunds gave back.

    Raises:
        Conflict: a refund was posted with other content.
    """
    query = f"""
        SELECT {REFUND_SALE.key_sql(refund="r.external_id")}, '{REFUND_SALE.kind}', r.refunded_at,
               (r.refunded_at AT TIME ZONE 'UTC')::date, r.actor, NULL, true, l.account, l.class, r.currency, l.amount
        FROM (
            SELECT r.id, r.external_id, r.refunded_at, r.actor, r.amount_micros, s.currency,
                   div(s.tax_micros * earlier.upto, s.price_micros)
                   - div(s.tax_micros * (earlier.upto - r.amount_micros), s.price_micros) AS tax
            FROM settlement.refund AS r JOIN settlement.sale AS s ON s.id = r.sale_id
            CROSS JOIN LATERAL (SELECT sum(e.amount_micros) AS upto FROM settlement.refund AS e
                                WHERE e.sale_id = r.sale_id AND e.id <= r.id) AS earlier
            WHERE r.id = ANY(%(ids)s)
        ) AS r CROSS JOIN LATERAL (VALUES
            {_value(REFUND_SALE, REVENUE, +1, "r.amount_micros - r.tax", "r.")},
            {_value(REFUND_SALE, TAX_COLLECTED, +1, "r.tax", "r.")},
            {_value(REFUND_SALE, RECEIVABLE, -1, "r.amount_micros", "r.")}) AS l (account, class, amount)
        WHERE l.amount <> 0
    """  # noqa: S608  (made of the matrix)
    return post_from_query(session, query, {"ids": list(refund_ids)})


def _value(rule: Rule, account: Account, sign: int, amount: str, table: str = "s.") -> str:
    """One row of a VALUES list: code, class and signed amount of a line that the rule has."""
    rule.check(account, sign)
    return f"({account.sql(currency=f'{table}currency')}, '{account.account_class}', {sign:+} * ({amount}))"


def post_run(session: Session, period_id: str, *, actor: str, approved_by: str | None = None) -> PostCounts:
    """Post everything that a period's close decides: one journal per statement, refund, and share of the run.

    Where a line's money comes from and where it lies:

    | line | from | to |
    |---|---|---|
    | royalty, pending, unattributed | royalty expense | payee, or suspense: unclaimed, pending, unattributed |
    | late | suspense, where the corrected line's money lies | payee, or suspense: unclaimed, unattributed |
    | refund (an amount below zero) | royalty expense | where the corrected line's money lies |

    Behind them, in the same journals, a line of its own for each step of the order at close: reserve, tax, conversion,
    recoupment. What a refund takes from a reserve, it does not take from the payable.

    Lines and steps must be written already. Posting again changes nothing.

    Raises:
        Conflict: the period is sealed and was posted otherwise.
    """
    names = {"period": "p.period_id", "currency": "l.currency", "payee": "l.payee_id", "refund": "l.refund"}
    # The first that fits. Each rule with the condition under which a line is its own.
    rules = (
        (REFUND_ROYALTIES, "l.refund IS NOT NULL"),
        (CONTENT_SHARE, "l.payee_id IS NOT NULL AND l.content"),
        (STATEMENT, "l.payee_id IS NOT NULL"),
        (UNCLAIMED_SHARE, "l.destination = 'unclaimed'"),
        (PENDING_SLICE, "l.destination = 'pending'"),
        (UNATTRIBUTED_SLICE, "l.destination = 'unattributed'"),
    )
    # A statement's is in the payout currency, whatever it is made of.
    of_statement = names | {"currency": "y.currency"}
    key = " ".join(
        f"WHEN {condition} THEN {rule.key_sql(**(of_statement if rule is STATEMENT else names))}"
        for rule, condition in rules
    )
    kind = " ".join(f"WHEN {condition} THEN '{rule.kind}'" for rule, condition in rules)
    holders = (
        ("payee", PAYABLE, PAYABLE.sql("l.payee_id", "l.currency")),
        ("unclaimed", UNCLAIMED, UNCLAIMED.sql("l.player", "l.currency")),
        ("pending", PENDING, PENDING.sql(currency="l.currency")),
        ("unattributed", UNATTRIBUTED, UNATTRIBUTED.sql(currency="l.currency")),
    )
    sources = (*holders[1:], ("", EXPENSE, EXPENSE.sql(currency="l.currency")))
    holder = " ".join(f"WHEN '{destination}' THEN {code}" for destination, _, code in holders)
    source = " ".join(f"WHEN '{name}' THEN {code}" for name, _, code in sources)
    source_class = " ".join(f"WHEN '{name}' THEN '{account.account_class}'" for name, account, _ in sources)
    holder_class = " ".join(f"WHEN '{name}' THEN '{account.account_class}'" for name, account, _ in holders)
    # Summed before codes and keys are made: a payee has thousands of lines and one code.
    query = f"""
        WITH period AS (SELECT period_id, ends_at, zone FROM settlement.period WHERE period_id = %(period_id)s)
        SELECT m.key, m.kind, p.ends_at - interval '1 microsecond',
               ((p.ends_at - interval '1 microsecond') AT TIME ZONE p.zone)::date,
               %(actor)s::text, %(approved_by)s::text, false, m.account, m.class, m.currency, sum(m.amount)
        FROM (
            SELECT CASE {key} END AS key, CASE {kind} END AS kind, '' AS step, l.currency, side.account, side.class,
                   side.amount
            FROM (
                SELECT l.source, l.destination, l.currency, l.payee_id, l.player = '{CONTENT}' AS content,
                       r.external_id AS refund,
                       CASE WHEN 'unclaimed' IN (l.source, l.destination) THEN l.player END AS player,
                       sum(l.amount_micros) AS amount
                FROM (
                    SELECT l.*, '' AS source FROM settlement.royalty_line AS l
                    WHERE l.period_id = %(period_id)s AND l.kind <> 'late'
                    UNION ALL
                    -- The same artist's, where a line moves an unclaimed share.
                    SELECT l.*, o.destination FROM settlement.royalty_line AS l
                    JOIN settlement.royalty_line AS o ON o.id = l.corrects
                    WHERE l.period_id = %(period_id)s AND l.kind = 'late'
                ) AS l LEFT JOIN settlement.refund AS r ON r.id = l.refund_id
                GROUP BY 1, 2, 3, 4, 5, 6, 7
            ) AS l CROSS JOIN period AS p
            LEFT JOIN settlement.payee AS y ON y.payee_id = l.payee_id
            CROSS JOIN LATERAL (VALUES
                (CASE l.source {source} END, CASE l.source {source_class} END, l.amount),
                (CASE l.destination {holder} END, CASE l.destination {holder_class} END, -l.amount)
            ) AS side (account, class, amount)
            UNION ALL {" UNION ALL ".join(_after_the_lines())}
        ) AS m CROSS JOIN period AS p
        GROUP BY m.key, m.kind, m.step, p.ends_at, p.zone, m.account, m.class, m.currency
        HAVING sum(m.amount) <> 0
    """  # noqa: S608  (made of the matrix)
    return post_from_query(
        session, query, {"period_id": period_id, "actor": actor, "approved_by": approved_by}
    )


def _after_the_lines() -> list[str]:
    """Queries of what a close decided after the lines: key, kind, step, currency, account, class and amount."""
    names = {
        "period": "p.period_id",
        "payee": "d.payee_id",
        "currency": "y.currency",
        "refund": "r.external_id",
    }
    conversion = "settlement.conversion AS d JOIN settlement.fx_rate AS x ON x.id = d.fx_rate_id"
    recoupment = (
        "(SELECT a.payee_id, a.currency, r.period_id, r.amount_micros FROM settlement.recoupment AS r"
        " JOIN settlement.advance AS a ON a.advance_id = r.advance_id) AS d"
    )
    refund = " JOIN settlement.refund AS r ON r.id = d.refund_id"
    steps: tuple[tuple[Rule, str, str, str, tuple[tuple[Account, str | None, int], ...]], ...] = (
        # In the step of the refund's own lines: the payable pays what the reserve does not.
        (
            REFUND_ROYALTIES,
            "",
            f"settlement.reserve_use AS d{refund}",
            "d.amount_micros",
            ((RESERVE, "payee", +1), (PAYABLE, "payee", -1)),
        ),
        (
            REFUND_ROYALTIES,
            "tax",
            f"settlement.tax_reversal AS d{refund}",
            "d.given_back_micros",
            ((TAX_WITHHELD, "territory", +1), (PAYABLE, "payee", -1)),
        ),
        (
            RESERVE_MOVED,
            "released",
            "(SELECT * FROM settlement.reserve_use WHERE refund_id IS NULL) AS d",
            "d.amount_micros",
            ((RESERVE, "payee", +1), (PAYABLE, "payee", -1)),
        ),
        (
            RESERVE_MOVED,
            "reserved",
            "settlement.reserve AS d",
            "d.amount_micros",
            ((PAYABLE, "payee", +1), (RESERVE, "payee", -1)),
        ),
        (
            TAX,
            "tax",
            "settlement.tax_determination AS d",
            "d.withheld_micros",
            ((PAYABLE, "payee", +1), (TAX_WITHHELD, "territory", -1)),
        ),
        (
            CONVERSION,
            "converted",
            conversion,
            "d.source_micros",
            ((PAYABLE, "payee", +1), (FX_POSITION, None, -1)),
        ),
        (
            CONVERSION,
            "converted",
            f"(SELECT d.payee_id, d.period_id, x.target_currency AS currency, d.target_micros FROM {conversion}) AS d",  # noqa: S608
            "d.target_micros",
            ((FX_POSITION, None, +1), (PAYABLE, "payee", -1)),
        ),
        (
            RECOUPMENT,
            "recouped",
            recoupment,
            "d.amount_micros",
            ((PAYABLE, "payee", +1), (ADVANCES, "payee", -1)),
        ),
    )
    queries = []
    for rule, step, source, amount, sides in steps:
        lines = []
        for account, owner, sign in sides:
            rule.check(account, sign)
            code = account.sql(
                f"d.{owner}_id" if owner == "payee" else f"d.{owner}" if owner else None, "d.currency"
            )
            lines.append(f"({code}, '{account.account_class}', {sign:+} * {amount})")
        queries.append(
            f"""
            SELECT {rule.key_sql(**names)}, '{rule.kind}', '{step}', d.currency, side.account, side.class, side.amount
            FROM {source}
            JOIN settlement.payee AS y ON y.payee_id = d.payee_id
            JOIN period AS p ON p.period_id = d.period_id
            CROSS JOIN LATERAL (VALUES {", ".join(lines)}) AS side (account, class, amount)
            """  # noqa: S608  (made of the matrix)
        )
    return queries


def advance_paid(
    advance: str, payee: str, currency: str, amount: int, *, booked_at: datetime, actor: str, approved_by: str
) -> Entry:
    """A payee was paid ``amount`` micros, above zero, before she earned them."""
    return ADVANCE_PAID.entry(
        [(ADVANCES, amount, payee), (BANK, -amount, None)],
        currency,
        at=booked_at,
        actor=actor,
        approved_by=approved_by,
        advance=advance,
    )


def tax_remitted(
    remittance: str,
    territory: str,
    currency: str,
    amount: int,
    *,
    booked_at: datetime,
    actor: str,
    approved_by: str | None = None,
) -> Entry:
    """The authority of a territory was paid ``amount`` micros, above zero, of the tax withheld for it."""
    return TAX_REMITTED.entry(
        [(TAX_WITHHELD, amount, territory), (BANK, -amount, None)],
        currency,
        at=booked_at,
        actor=actor,
        approved_by=approved_by,
        remittance=remittance,
    )


def payout_reserved(
    attempt: str,
    payee: str,
    currency: str,
    amount: int,
    *,
    booked_at: datetime,
    actor: str,
    approved_by: str | None = None,
) -> Entry:
    """What a payee is about to be paid leaves her balance: ``amount`` micros, above zero."""
    return PAYOUT_RESERVED.entry(
        [(PAYABLE, amount, payee), (CLEARING, -amount, None)],
        currency,
        at=booked_at,
        actor=actor,
        approved_by=approved_by,
        attempt=attempt,
    )


def payout_paid(
    attempt: str, payee: str, currency: str, amount: int, *, booked_at: datetime, actor: str
) -> list[Entry]:
    """The bank has paid ``amount`` micros."""
    lines = [(CLEARING, amount, None), (BANK, -amount, None)]
    return [PAYOUT_PAID.entry(lines, currency, at=booked_at, actor=actor, attempt=attempt)]


def payout_rejected(
    attempt: str, payee: str, currency: str, amount: int, *, booked_at: datetime, actor: str
) -> list[Entry]:
    """The bank has refused ``amount`` micros: the payee is owed them again."""
    lines = [(CLEARING, amount, None), (PAYABLE, -amount, payee)]
    return [PAYOUT_REJECTED.entry(lines, currency, at=booked_at, actor=actor, attempt=attempt)]


def payout_returned(
    attempt: str, payee: str, currency: str, amount: int, *, booked_at: datetime, actor: str
) -> list[Entry]:
    """``amount`` micros came back after they were paid: the payee is owed them again."""
    lines = [
        (BANK, amount, None),
        (CLEARING, -amount, None),
        (CLEARING, amount, None),
        (PAYABLE, -amount, payee),
    ]
    return [PAYOUT_RETURNED.entry(lines, currency, at=booked_at, actor=actor, attempt=attempt)]


def payout_corrected(
    attempt: str,
    payee: str,
    currency: str,
    amount: int,
    *,
    booked_at: datetime,
    actor: str,
    approved_by: str,
) -> Entry:
    """The refusal of ``amount`` micros is taken back: the bank has booked the payment all the same."""
    entry = PAYOUT_CORRECTED.entry(
        [(PAYABLE, amount, payee), (CLEARING, -amount, None)],
        currency,
        at=booked_at,
        actor=actor,
        approved_by=approved_by,
        attempt=attempt,
    )
    return replace(entry, reverses=PAYOUT_REJECTED.key.format(attempt=attempt))


def bank_charge(booking: str, currency: str, amount: int, *, booked_at: datetime, actor: str) -> Entry:
    """The bank took ``amount`` micros for itself; below zero: it gave them back."""
    return BANK_CHARGE.entry(
        [(BANK_CHARGES, amount, None), (BANK, -amount, None)],
        currency,
        at=booked_at,
        actor=actor,
        booking=booking,
    )


PAYMENT_KINDS = [
    rule.kind for rule in (PAYOUT_RESERVED, PAYOUT_PAID, PAYOUT_REJECTED, PAYOUT_RETURNED, PAYOUT_CORRECTED)
]
"""Kinds of journals that a statement lists as payments."""

PAYOUT_OUTCOMES: Mapping[str, Callable[..., list[Entry]]] = MappingProxyType(
    {"paid": payout_paid, "rejected": payout_rejected, "returned": payout_returned}
)
"""What the bank reports of an attempt, to the function that makes its journals."""


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
            "| a correction of any journal | its exact reversal, then the right one | | the correction's | "
            f"{Booking.EVENT} |",
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
