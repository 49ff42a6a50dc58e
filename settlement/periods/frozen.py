"""What a period's figures depend on and consist of, frozen when it is closed: the rows that its proof covers.

One definition for the close that hashes them and for whoever verifies them later: the views `audit.frozen_*`, which
give the same rows for ever (`settlement/ledger/sql/0008_ledger_log.sql`). A table's leaf in the log is their root.
"""

from hashlib import sha256
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import text
from sqlalchemy.orm import Session

from database.engine import psycopg_connection
from settlement.ledger.log import Leaf, append
from settlement.ledger.records import rows_root
from settlement.ledger.seals import log_seal
from settlement.periods.calculation import Progress

TABLES = (
    "settlement.period",
    "settlement.royalty_run",
    "settlement.approval",
    "settlement.platform_version",
    "settlement.rate_card_version",
    "settlement.contract_version",
    "settlement.contract_split",
    "settlement.payee",
    "settlement.sale",
    "settlement.refund",
    "attribution.image",
    "attribution.attribution",
    "attribution.coalition_value",
    "attribution.attribution_share",
    "attribution.method_version",
    "attribution.placebo",
    "settlement.sale_slice",
    "settlement.refund_reversal",
    "settlement.royalty_line",
    "settlement.statement",
    "settlement.fx_rate",
    "settlement.tax_profile_version",
    "settlement.reserve_version",
    "settlement.advance",
    "settlement.conversion",
    "settlement.reserve",
    "settlement.reserve_use",
    "settlement.tax_determination",
    "settlement.tax_reversal",
    "settlement.recoupment",
    "settlement.statement_column",
    "settlement.correction",
    "settlement.correction_sale",
    "settlement.correction_contract",
    "settlement.correction_application",
)
"""The tables that are frozen, in the order of their leaves."""


def reference(period_id: str, table: str) -> str:
    """Reference of a table's leaf: `2026-10/settlement.sale`."""
    return f"{period_id}/{table}"


def frozen_query(connection: psycopg.Connection[Any], period_id: str, table: str) -> str:
    """SELECT of key and columns of a period's frozen rows of a table, in the order of the tree."""
    view = "frozen_" + table.split(".")[1]
    columns = [
        column.name
        for column in connection.execute(f"SELECT * FROM audit.{view} LIMIT 0").description or ()  # noqa: S608
        if column.name != "frozen_in"
    ]
    return (
        f"SELECT {', '.join(columns)} FROM audit.{view} WHERE frozen_in = {sql.quote(period_id)}"  # noqa: S608
        " ORDER BY frozen_key"
    )


def freeze(session: Session, period_id: str, progress: Progress | None = None) -> list[Leaf]:
    """The leaves of a closed period: one for each statement, by number, and one for each table."""
    connection = psycopg_connection(session)
    session.flush()
    with connection.cursor(name="freeze") as cursor:
        cursor.itersize = 500
        cursor.execute(
            "SELECT reference, body FROM audit.record_statement WHERE period_id = %s ORDER BY number",
            [period_id],
        )
        leaves = [Leaf("statement", str(name), sha256(str(body).encode()).digest()) for name, body in cursor]
    for number, table in enumerate(TABLES):
        if progress is not None:
            progress(f"freezing {table}", number, len(TABLES))
        root = rows_root(connection, [frozen_query(connection, period_id, table)])
        leaves.append(Leaf("table", reference(period_id, table), root))
    return leaves


def freeze_earlier(session: Session) -> int:
    """Append what closed periods consist of, and their seals, where they were closed before there was a log.

    Returns:
        How many periods.
    """
    periods = session.scalars(
        text(
            "SELECT s.name FROM ledger.seal AS s JOIN settlement.royalty_run AS r ON r.period_id = s.name"
            " WHERE NOT EXISTS (SELECT FROM ledger.log_leaf AS l WHERE l.kind = 'seal' AND l.reference = s.name)"
            " ORDER BY s.sealed_before"
        )
    ).all()
    for period_id in periods:
        append(session, freeze(session, period_id))
        log_seal(session, period_id)
    return len(periods)
