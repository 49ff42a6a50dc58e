"""What a period pays: from sales, attributions and terms to royalty lines and statement summaries, in SQL.

Every step works on whole sets, in temporary tables that vanish with the transaction: first the lines
(`settlement.periods.lines`), then what they come to. Nothing here writes to a permanent table, so a dry run, a
calculation for review and a close are the same code.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from database.engine import psycopg_connection
from database.errors import Conflict
from settlement.allocation import CONTENT
from settlement.money import PPB
from settlement.periods.calendar import last_instant
from settlement.periods.lines import LINE_INPUTS, LINE_OUTPUTS, LINE_STAGES, LINE_TABLES, Stage
from settlement.periods.models import Period
from settlement.posting import (
    PAYABLE,
    PAYOUT_PAID,
    PAYOUT_REJECTED,
    PAYOUT_RESERVED,
    PAYOUT_RETURNED,
)

Progress = Callable[[str, int, int], None]
"""Told the stage's name, and how many of how many stages are done."""

PAYMENT_KINDS = [rule.kind for rule in (PAYOUT_RESERVED, PAYOUT_PAID, PAYOUT_REJECTED, PAYOUT_RETURNED)]
"""Kinds of journals that a statement lists as payments."""


def calculate_lines(session: Session, period: Period, progress: Progress | None = None) -> None:
    """Fill the temporary tables `run_*` with everything that this period decides.

    - `run_sale`: the period's sales with terms, base and slice;
    - `run_refund`: its refunds;
    - `run_line`: its royalty lines, by natural key;
    - `run_payment`: what journals outside the run moved on payees' accounts;
    - `run_statement`: one summary for each payee and currency.

    Raises:
        Conflict: a sale has no terms in force, or a payee's account was moved by something no statement can show.
    """
    parameters = {
        "period": period.period_id,
        "ends_at": period.ends_at,
        "last_instant": last_instant(period),
        # An open period has no cut-off yet: as if it were cut off now.
        "cut_off": period.cut_off_at or datetime.max.replace(tzinfo=UTC),
        "zone": period.zone,
        "content": CONTENT,
        "ppb": PPB,
        "payment_kinds": PAYMENT_KINDS,
    }
    connection = psycopg_connection(session)
    session.flush()
    # Sorts and hashes of one run stay in memory; the setting ends with the transaction.
    connection.execute("SET LOCAL work_mem = '64MB'")
    connection.execute(f"DROP TABLE IF EXISTS {', '.join(f'pg_temp.{name}' for name in _TABLES)}")
    for number, (stage, statements, check) in enumerate(_STAGES):
        if progress is not None:
            progress(stage, number, len(_STAGES))
        for statement in statements:
            connection.execute(statement, parameters)
        if check is not None:
            check(session)
    if progress is not None:
        progress("calculated", len(_STAGES), len(_STAGES))


def inputs_digest(session: Session) -> bytes:
    """SHA-256 over everything that went into the calculation; the temporary tables must be filled.

    Each table's rows in COPY's text format, in the order of their natural keys, after a line with its name.
    """
    return _digest(session, _INPUTS)


def lines_digest(session: Session) -> bytes:
    """SHA-256 over everything that came out of it: slices, lines and summaries."""
    return _digest(session, _OUTPUTS)


def _digest(session: Session, queries: Mapping[str, str]) -> bytes:
    digest = hashlib.sha256()
    connection = psycopg_connection(session)
    connection.execute("SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'")
    with connection.cursor() as cursor:
        for name, query in queries.items():
            digest.update(f"{name}\n".encode())
            with cursor.copy(f"COPY ({query}) TO STDOUT") as copy:
                for block in copy:
                    digest.update(block)
    return digest.digest()


def _check_payments(session: Session) -> None:
    unknown = psycopg_connection(session).execute(_UNKNOWN_MOVEMENT, {"kinds": PAYMENT_KINDS}).fetchone()
    if unknown is not None:
        raise Conflict(
            f"journal {unknown[0]} of kind {unknown[1]} moves the balance of payee {unknown[2]}, and no section of a "
            "statement shows such journals: reverse it, or post it as what it is"
        )


_TABLES = (*LINE_TABLES, "run_payment", "run_statement")

# What other journals did to payees' accounts since the last period was closed. Earlier is sealed.
_PAYMENTS = f"""
CREATE TEMP TABLE run_payment ON COMMIT DROP AS
SELECT {PAYABLE.owner_sql("a.code")} COLLATE "C" AS payee_id,
       a.currency, j.key COLLATE "C" AS key, j.kind, (j.booked_at AT TIME ZONE %(zone)s)::date AS day,
       -sum(p.amount)::bigint AS amount
FROM ledger.posting AS p
JOIN ledger.journal AS j ON j.id = p.journal_id
JOIN ledger.account AS a ON a.id = p.account_id
WHERE starts_with(a.code, '{PAYABLE.name}:') AND p.booked_at < %(ends_at)s
    AND p.booked_at >= coalesce((SELECT max(q.ends_at) FROM settlement.period AS q WHERE q.state = 'closed'),
                                '-infinity')
GROUP BY 1, 2, 3, 4, 5
"""  # noqa: S608  (made of constants)

_UNKNOWN_MOVEMENT = """
SELECT key, kind, payee_id FROM pg_temp.run_payment WHERE NOT kind = ANY(%(kinds)s) ORDER BY key LIMIT 1
"""

_STATEMENTS = """
CREATE TEMP TABLE run_statement ON COMMIT DROP AS
WITH opening AS (
    SELECT DISTINCT ON (s.payee_id, s.currency) s.payee_id, s.currency, s.closing
    FROM settlement.statement AS s JOIN settlement.period AS p ON p.period_id = s.period_id
    WHERE p.ends_at < %(ends_at)s ORDER BY s.payee_id, s.currency, p.ends_at DESC
),
movement AS (
    SELECT payee_id, currency, sum(amount) FILTER (WHERE kind = 'royalty') AS royalties,
           sum(amount) FILTER (WHERE kind = 'late') AS late, sum(amount) FILTER (WHERE kind = 'refund') AS refunds,
           NULL::numeric AS payments, NULL::numeric AS opening, true AS active
    FROM pg_temp.run_line WHERE payee_id IS NOT NULL GROUP BY payee_id, currency
    UNION ALL
    SELECT payee_id, currency, NULL, NULL, NULL, sum(amount), NULL, true FROM pg_temp.run_payment
    GROUP BY payee_id, currency
    UNION ALL
    SELECT payee_id, currency, NULL, NULL, NULL, NULL, closing, closing <> 0 FROM opening
)
SELECT payee_id COLLATE "C" AS payee_id, currency, coalesce(sum(opening), 0)::bigint AS opening,
       coalesce(sum(royalties), 0)::bigint AS royalties, coalesce(sum(late), 0)::bigint AS late,
       coalesce(sum(refunds), 0)::bigint AS refunds, coalesce(sum(payments), 0)::bigint AS payments,
       (coalesce(sum(opening), 0) + coalesce(sum(royalties), 0) + coalesce(sum(late), 0) + coalesce(sum(refunds), 0)
        + coalesce(sum(payments), 0))::bigint AS closing
FROM movement GROUP BY payee_id, currency HAVING bool_or(active)
"""

_STAGES: list[Stage] = [
    *LINE_STAGES,
    (
        "balances",
        ["ANALYZE pg_temp.run_line", _PAYMENTS, _STATEMENTS, "ANALYZE pg_temp.run_statement"],
        _check_payments,
    ),
]

_INPUTS = {
    **LINE_INPUTS,
    "payments": """
        SELECT payee_id, currency, key, day, amount FROM pg_temp.run_payment
        ORDER BY payee_id COLLATE "C", currency, key COLLATE "C" """,
}
_OUTPUTS = {
    **LINE_OUTPUTS,
    "statements": """
        SELECT payee_id, currency, opening, royalties, late, refunds, payments, closing FROM pg_temp.run_statement
        ORDER BY payee_id COLLATE "C", currency""",
}
