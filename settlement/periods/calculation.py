"""What a period pays: from sales, attributions and terms to royalty lines and statement summaries, in SQL.

Every step works on whole sets, in temporary tables that vanish with the transaction: first the lines
(`settlement.periods.lines`), then what they come to. Nothing here writes to a permanent table, so a dry run, a
calculation for review and a close are the same code.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from database.engine import psycopg_connection
from settlement.allocation import CONTENT
from settlement.ledger.records import copy_rows
from settlement.money import PPB
from settlement.periods.calendar import last_instant
from settlement.periods.lines import LINE_INPUTS, LINE_OUTPUTS, LINE_STAGES, LINE_TABLES, Stage
from settlement.periods.models import Period
from settlement.periods.order import ORDER_INPUTS, ORDER_OUTPUTS, ORDER_STAGES, ORDER_TABLES
from settlement.posting import CLAIM_KINDS, PAYABLE, PAYMENT_KINDS

Progress = Callable[[str, int, int], None]
"""Told the stage's name, and how many of how many stages are done."""


def calculate_lines(session: Session, period: Period, progress: Progress | None = None) -> None:
    """Fill the temporary tables `run_*` with everything that this period decides.

    - `run_sale`: the period's sales with terms, base and slice;
    - `run_refund`: its refunds;
    - `run_line`: its royalty lines, by natural key;
    - `run_payment`: what journals outside the run moved on payees' accounts;
    - `run_column`: one column for each payee and currency, and what each step of the order at close
      (`settlement.periods.order`) put into it.

    Raises:
        Conflict: a sale has no terms in force, or a foreign column no rate of exchange.
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
        "claim_kinds": CLAIM_KINDS,
    }
    clear_tables(session)
    run_stages(session, _STAGES, parameters, progress)


def clear_tables(session: Session) -> None:
    """Drop what an earlier run of the same transaction left in temporary tables."""
    connection = psycopg_connection(session)
    session.flush()
    # Sorts and hashes of one run stay in memory; the setting ends with the transaction.
    connection.execute("SET LOCAL work_mem = '192MB'")
    connection.execute(f"DROP TABLE IF EXISTS {', '.join(f'pg_temp.{name}' for name in _TABLES)}")


def run_stages(
    session: Session, stages: Sequence[Stage], parameters: Mapping[str, Any], progress: Progress | None = None
) -> None:
    """Run stages one after the other: each one's statements, then what must hold after them."""
    connection = psycopg_connection(session)
    for number, (stage, statements, check) in enumerate(stages):
        if progress is not None:
            progress(stage, number, len(stages))
        for statement in statements:
            connection.execute(statement, parameters)
        if check is not None:
            check(session)
    if progress is not None:
        progress("calculated", len(stages), len(stages))


def inputs_digest(session: Session) -> bytes:
    """SHA-256 over everything that went into the calculation; the temporary tables must be filled.

    Each table's rows in COPY's text format, in the order of their natural keys, after a line with its name.
    """
    return digest(session, _INPUTS)


def lines_digest(session: Session) -> bytes:
    """SHA-256 over everything that came out of it: slices, lines and summaries."""
    return digest(session, _OUTPUTS)


def digest(session: Session, queries: Mapping[str, str]) -> bytes:
    """SHA-256 over the rows of queries in COPY's text format, each after a line with its name."""
    found = hashlib.sha256()
    connection = psycopg_connection(session)
    for name, query in queries.items():
        found.update(f"{name}\n".encode())
        for row in copy_rows(connection, query):
            found.update(row)
    return found.digest()


_TABLES = (*LINE_TABLES, "run_payment", *ORDER_TABLES)

# What other journals did to payees' accounts since the last period was closed. Earlier is sealed.
_PAYMENTS = f"""
CREATE TEMP TABLE run_payment ON COMMIT DROP AS
SELECT {PAYABLE.owner_sql("a.code")} COLLATE "C" AS payee_id,
       a.currency, j.key COLLATE "C" AS key, j.kind, (j.booked_at AT TIME ZONE %(zone)s)::date AS day,
       r.key COLLATE "C" AS reversed, to_char(r.booked_at AT TIME ZONE %(zone)s, 'YYYY-MM') AS reversed_in,
       -sum(p.amount)::bigint AS amount
FROM ledger.posting AS p
JOIN ledger.journal AS j ON j.id = p.journal_id
LEFT JOIN ledger.journal AS r ON r.id = j.reverses
JOIN ledger.account AS a ON a.id = p.account_id
WHERE starts_with(a.code, '{PAYABLE.name}:') AND p.booked_at < %(ends_at)s
    AND p.booked_at >= coalesce((SELECT max(q.ends_at) FROM settlement.period AS q WHERE q.state = 'closed'),
                                '-infinity')
GROUP BY 1, 2, 3, 4, 5, 6, 7
"""  # noqa: S608  (made of constants)

_STAGES: list[Stage] = [
    *LINE_STAGES,
    ("other journals", ["ANALYZE pg_temp.run_line", _PAYMENTS], None),
    *ORDER_STAGES,
]

_INPUTS = {
    **LINE_INPUTS,
    **ORDER_INPUTS,
    "payments": """
        SELECT payee_id, currency, key, kind, reversed, day, amount FROM pg_temp.run_payment
        ORDER BY payee_id COLLATE "C", currency, key COLLATE "C" """,
}
_OUTPUTS = {**LINE_OUTPUTS, **ORDER_OUTPUTS}
