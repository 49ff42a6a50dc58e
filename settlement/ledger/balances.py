"""Reading the ledger: balances, one account's statement, the trial balance. Everything is derived from postings.

Amounts are micros, debit positive: what is owed to a payee is a negative balance. "At" an instant includes what is
booked at that very instant; now is everything.
"""

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from database.errors import NotFound


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page of an account's statement ended."""

    booked_at: datetime
    journal_id: int
    line: int


@dataclass(frozen=True, slots=True)
class AccountLine:
    """One line of an account's statement, with the balance after it."""

    booked_at: datetime
    journal_id: int
    line: int
    key: str
    kind: str
    value_date: date
    amount: int
    balance: int

    @property
    def cursor(self) -> Cursor:
        """Where this line stands."""
        return Cursor(self.booked_at, self.journal_id, self.line)


@dataclass(frozen=True, slots=True)
class AccountStatement:
    """A page of one account's statement."""

    code: str
    opening: int
    """Balance before the page's first line."""
    lines: tuple[AccountLine, ...]
    closing: int
    """Balance after its last."""
    next: Cursor | None
    """Where the next page begins; None on the last one."""


@dataclass(frozen=True, slots=True)
class TrialBalanceRow:
    """One account over an interval: opening + debits + credits = closing, credits negative."""

    code: str
    account_class: str
    currency: str
    opening: int
    debits: int
    credits: int
    closing: int


def balance(session: Session, code: str, at: datetime | None = None) -> int:
    """Balance of one account, now or at an instant; an account never posted to is at 0."""
    total = session.scalar(
        text(
            """
            SELECT sum(amount) FROM ledger.posting
            WHERE account_id = (SELECT id FROM ledger.account WHERE code = :code)
              AND (CAST(:at AS timestamptz) IS NULL OR booked_at <= :at)
            """
        ),
        {"code": code, "at": at},
    )
    return int(total or 0)


# The last seal at or before an instant fixed every balance by then: what was booked since is all there is to add.
_LAST_SEAL = """
    SELECT name, sealed_before FROM ledger.seal
    WHERE CAST(:at AS timestamptz) IS NULL OR sealed_before <= :at ORDER BY sealed_before DESC LIMIT 1
"""


def balances(session: Session, prefix: str, at: datetime | None = None) -> dict[str, int]:
    """Balance by code, in byte order, of every account posted to whose code begins with ``prefix``."""
    rows = session.execute(
        text(
            f"""
            WITH last AS MATERIALIZED ({_LAST_SEAL})
            SELECT a.code, sum(m.amount)
            FROM (
                SELECT b.account_id, b.closing AS amount
                FROM ledger.closing_balance AS b JOIN last ON last.name = b.seal
                UNION ALL
                SELECT p.account_id, p.amount FROM ledger.posting AS p
                WHERE p.booked_at >= coalesce((SELECT sealed_before FROM last), '-infinity')
                  AND (CAST(:at AS timestamptz) IS NULL OR p.booked_at <= :at)
            ) AS m JOIN ledger.account AS a ON a.id = m.account_id
            WHERE starts_with(a.code, :prefix)
            GROUP BY a.code ORDER BY a.code COLLATE "C"
            """  # noqa: S608  (our own text)
        ),
        {"prefix": prefix, "at": at},
    )
    return {code: int(total) for code, total in rows}


def account_statement(
    session: Session,
    code: str,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    after: Cursor | None = None,
    limit: int = 100,
) -> AccountStatement:
    """One account's lines with running balance, booked in [start, end), in the order of booking, a page at a time.

    Args:
        session: any session that may read the ledger.
        code: the account.
        start: None for the beginning.
        end: None for no end.
        after: ``next`` of the page before; None for the first page.
        limit: lines on a page.

    Raises:
        NotFound: there is no such account.
    """
    account = session.scalar(text("SELECT id FROM ledger.account WHERE code = :code"), {"code": code})
    if account is None:
        raise NotFound(f"there is no account {code}")
    where = {
        "account": account,
        "start": start,
        "end": end,
        "booked_at": after.booked_at if after else None,
        "journal_id": after.journal_id if after else None,
        "line": after.line if after else None,
    }
    # Summed anew for every page: a journal may have been booked before the cursor since the last one.
    opening = session.scalar(
        text(
            """
            SELECT coalesce(sum(amount), 0) FROM ledger.posting
            WHERE account_id = :account
              AND CASE WHEN CAST(:booked_at AS timestamptz) IS NULL
                       THEN booked_at < CAST(:start AS timestamptz)
                       ELSE booked_at < :booked_at OR (booked_at, journal_id, line) <= (:booked_at, :journal_id, :line)
                  END
            """
        ),
        where,
    )
    rows = session.execute(
        text(
            """
            SELECT p.booked_at, p.journal_id, p.line, j.key, j.kind, j.value_date, p.amount
            FROM ledger.posting AS p JOIN ledger.journal AS j ON j.id = p.journal_id
            WHERE p.account_id = :account
              AND (CAST(:start AS timestamptz) IS NULL OR p.booked_at >= :start)
              AND (CAST(:end AS timestamptz) IS NULL OR p.booked_at < :end)
              AND (CAST(:booked_at AS timestamptz) IS NULL OR p.booked_at >= :booked_at
                   AND (p.booked_at, p.journal_id, p.line) > (:booked_at, :journal_id, :line))
            ORDER BY p.booked_at, p.journal_id, p.line LIMIT :limit
            """
        ),
        {**where, "limit": limit + 1},
    ).all()
    running = int(opening or 0)
    lines = []
    for booked_at, journal_id, line, key, kind, value_date, amount in rows[:limit]:
        running += amount
        lines.append(AccountLine(booked_at, journal_id, line, key, kind, value_date, amount, running))
    return AccountStatement(
        code=code,
        opening=int(opening or 0),
        lines=tuple(lines),
        closing=running,
        next=lines[-1].cursor if len(rows) > limit else None,
    )


def trial_balance(session: Session, start: datetime, end: datetime) -> list[TrialBalanceRow]:
    """Every account that was posted to before ``end``, over [start, end), by code in byte order."""
    rows = session.execute(
        text(
            f"""
            WITH last AS MATERIALIZED ({_LAST_SEAL})
            SELECT a.code, a.class, a.currency, t.opening, t.debits, t.credits, t.opening + t.debits + t.credits
            FROM (
                SELECT m.account_id, sum(m.opening) AS opening, sum(m.debits) AS debits, sum(m.credits) AS credits
                FROM (
                    SELECT b.account_id, b.closing AS opening, 0 AS debits, 0 AS credits
                    FROM ledger.closing_balance AS b JOIN last ON last.name = b.seal
                    UNION ALL
                    SELECT account_id,
                           coalesce(sum(amount) FILTER (WHERE booked_at < :at), 0),
                           coalesce(sum(amount) FILTER (WHERE booked_at >= :at AND amount > 0), 0),
                           coalesce(sum(amount) FILTER (WHERE booked_at >= :at AND amount < 0), 0)
                    FROM ledger.posting
                    WHERE booked_at >= coalesce((SELECT sealed_before FROM last), '-infinity') AND booked_at < :end
                    GROUP BY account_id
                ) AS m GROUP BY m.account_id
            ) AS t JOIN ledger.account AS a ON a.id = t.account_id
            ORDER BY a.code COLLATE "C"
            """  # noqa: S608  (our own text)
        ),
        {"at": start, "end": end},
    )
    return [
        TrialBalanceRow(code, account_class, currency, *(int(amount) for amount in amounts))
        for code, account_class, currency, *amounts in rows
    ]
