"""Reconciliation: on every payout, what the ledger, the bank and the statements say, and what still waits.

Read from the auditor's views, so that an operator sees what an auditor sees.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class PayoutCheck:
    """One payout that a bank was told of; amounts in micros, money out above zero."""

    payout_id: str
    batch_id: str
    currency: str
    attempt_id: str
    state: str
    days: int
    """Since its execution date."""
    amount: int
    clearing: int
    ledger: int
    """What left the bank account, less what came back, as the ledger has it."""
    bank: int | None
    """The same as the bank's files have it; None: they say nothing."""
    stated: int | None
    """What the payee's statement says she was paid; None: none is issued yet."""
    fault: str | None
    attention: str | None


@dataclass(frozen=True, slots=True)
class BatchCheck:
    """A batch's payouts together."""

    batch_id: str
    currency: str
    payouts: int
    finished: int
    amount: int
    clearing: int
    ledger: int
    bank: int
    faults: int
    attention: int


@dataclass(frozen=True, slots=True)
class StatementCheck:
    """A statement of the bank whose bookings do not lead from its opening to its closing balance."""

    statement_id: str
    message_id: str
    currency: str | None
    opening: int
    booked: int
    closing: int
    closing_on: date | None


@dataclass(frozen=True, slots=True)
class Ageing:
    """Payouts on their way, by how long ago they should have been executed."""

    currency: str
    days: str
    payouts: int
    amount: int


def batch_checks(
    session: Session, batch_ids: Sequence[str] | None = None, period_id: str | None = None
) -> list[BatchCheck]:
    """Every batch that was handed over, or some, or those executed in a period; oldest first."""
    rows = session.execute(
        text(
            f"""
            SELECT batch_id, currency, count(*), count(*) FILTER (WHERE finished), sum(amount_micros), sum(clearing),
                   sum(ledger_micros), coalesce(sum(bank_micros), 0), count(fault), count(attention)
            FROM audit.payout_reconciliation WHERE {_WHERE} GROUP BY batch_id, currency
            ORDER BY min(execution_date), batch_id COLLATE "C"
            """  # noqa: S608  (a constant)
        ),
        _scope(batch_ids, period_id),
    )
    return [
        BatchCheck(batch_id, currency, *(int(n) for n in numbers)) for batch_id, currency, *numbers in rows
    ]


def payout_checks(
    session: Session, batch_ids: Sequence[str] | None = None, period_id: str | None = None
) -> list[PayoutCheck]:
    """Payouts with a fault, or that wait for something; by batch and payee."""
    rows = session.execute(
        text(
            f"""
            SELECT payout_id, batch_id, currency, attempt_id, state, days, amount_micros, clearing, ledger_micros,
                   bank_micros, stated_micros, fault, attention
            FROM audit.payout_reconciliation WHERE (fault IS NOT NULL OR attention IS NOT NULL) AND {_WHERE}
            ORDER BY fault IS NULL, payout_id COLLATE "C"
            """  # noqa: S608  (a constant)
        ),
        _scope(batch_ids, period_id),
    )
    return [
        PayoutCheck(
            *row[:6],
            *(None if amount is None else int(amount) for amount in row[6:11]),
            *row[11:],
        )
        for row in rows
    ]


def ageing(
    session: Session, batch_ids: Sequence[str] | None = None, period_id: str | None = None
) -> list[Ageing]:
    """What is on its way, by currency and age."""
    rows = session.execute(
        text(
            f"""
            SELECT currency, age, count(*), sum(amount_micros)
            FROM (SELECT *, CASE WHEN days <= 1 THEN '0-1' WHEN days <= 3 THEN '2-3' WHEN days <= 10 THEN '4-10'
                                 WHEN days <= 30 THEN '11-30' ELSE 'over 30' END AS age
                  FROM audit.payout_reconciliation WHERE NOT finished AND {_WHERE}) AS p
            GROUP BY currency, age ORDER BY currency, min(days)
            """  # noqa: S608  (a constant)
        ),
        _scope(batch_ids, period_id),
    )
    return [Ageing(currency, age, count, int(amount)) for currency, age, count, amount in rows]


def uneven_statements(session: Session) -> list[StatementCheck]:
    """Statements of the bank that do not add up: a line is missing, or could not be read."""
    rows = session.execute(
        text(
            """
            SELECT statement_id, message_id, currency, opening_micros, booked_micros, closing_micros, closing_on
            FROM audit.bank_statements WHERE NOT adds_up ORDER BY recorded_at
            """
        )
    )
    return [
        StatementCheck(row[0], row[1], row[2], int(row[3]), int(row[4]), int(row[5]), row[6]) for row in rows
    ]


_WHERE = """
    (CAST(:batches AS text[]) IS NULL OR batch_id = ANY(:batches))
    AND (CAST(:period AS text) IS NULL OR EXISTS (
        SELECT FROM audit.periods AS q WHERE q.period_id = :period
            AND execution_date >= (q.starts_at AT TIME ZONE q.zone)::date
            AND execution_date < (q.ends_at AT TIME ZONE q.zone)::date))
"""


def _scope(batch_ids: Sequence[str] | None, period_id: str | None) -> dict[str, object]:
    return {"batches": None if batch_ids is None else list(batch_ids), "period": period_id}
