"""Transfers: journals of one amount from an account to another, as many as a query yields, written by the server.

A payout run moves a hundred thousand balances to clearing and the bank's answer moves them on. What would be the same
entry a hundred thousand times over is joined, numbered and digested in one statement, with nothing carried to this
process and back. The database's checks are those of `post`, and so are a journal's canonical bytes.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from database.engine import psycopg_connection
from database.errors import Conflict, Invalid
from settlement.ledger.post import PostCounts, open_seals


def post_transfers(session: Session, query: str, parameters: Mapping[str, Any] | None = None) -> PostCounts:
    """Post a journal for each row of a query; one that is there already with the same content is left alone.

    Args:
        session: its transaction is used; the caller commits.
        query: SELECT of key, kind, booked_at, value_date, actor, approved_by, code and class of the account that is
            debited, code and class of the one that is credited, currency, and amount in micros, above zero. A row that
            is booked before the last seal is booked at the first open instant.
        parameters: values of the query's `%(name)s` parameters; any other `%` in it is doubled.

    Raises:
        Invalid: an amount is not above zero.
        Conflict: a key stands for other content, or an account is of another class.
        DBAPIError: the database refuses a key that the query has twice, a code, or a text.
    """
    try:
        with session.begin_nested():
            connection = psycopg_connection(session)  # in here: it is what begins the savepoint
            seals = open_seals(connection)
            values = {**(parameters or {}), "sealed": max(seals, default=None)}
            rows = f"""
                WITH q (key, kind, asked_at, value_date, actor, approved_by, debit, debit_class, credit, credit_class,
                        currency, amount) AS MATERIALIZED ({query}),
                moved AS (SELECT *, greatest(asked_at, %(sealed)s::timestamptz) AS booked_at FROM q)
            """  # noqa: S608  (our own text)
            connection.execute((rows + _OPEN).encode(), values)
            return _written(connection, rows, values, seals)
    except psycopg.Error as error:
        raise DBAPIError("post_transfers", None, error) from error


def _written(
    connection: psycopg.Connection[Any], rows: str, values: Mapping[str, Any], seals: frozenset[datetime]
) -> PostCounts:
    row = connection.execute((rows + _WRITE).encode(), values).fetchone()
    assert row is not None
    given, posted, zero, unlike = row
    if zero is not None:
        raise Invalid(f"journal {zero} moves nothing: amounts are above zero")
    if unlike is not None:
        raise Conflict(f"journal {unlike} names an account that is of another class or currency: use its own")
    if posted < given:
        other = connection.execute((rows + _OTHER).encode(), {**values, "seals": list(seals)}).fetchone()
        if other is not None:
            raise Conflict(
                f"journal {other[0]} exists with other content: reverse it and post the right one under a new key"
            )
    return PostCounts(posted, given - posted)


# Accounts first and in byte order, as `post` opens them: two calls at once never wait in a ring.
_OPEN = """
INSERT INTO ledger.account (code, class, currency)
SELECT * FROM (SELECT debit AS code, debit_class, currency FROM q
               UNION SELECT credit, credit_class, currency FROM q) AS a
WHERE NOT EXISTS (SELECT FROM ledger.account AS known WHERE known.code = a.code)
ORDER BY code COLLATE "C"
ON CONFLICT (code) DO NOTHING
"""

_DIGEST = """
sha256(convert_to(guard.journal_text({q}.kind, {q}.key, {at}, {q}.value_date, 2, NULL)
                  || guard.posting_text(1, {q}.debit, {q}.amount)
                  || guard.posting_text(2, {q}.credit, -{q}.amount), 'UTF8'))
"""

_WRITE = f""",
placed AS MATERIALIZED (
    SELECT m.*, d.id AS debit_id, c.id AS credit_id,
           (d.class, d.currency, c.class, c.currency)
               IS NOT DISTINCT FROM (m.debit_class, m.currency::bpchar, m.credit_class, m.currency::bpchar) AS alike
    FROM moved AS m
    LEFT JOIN ledger.account AS d ON d.code = m.debit
    LEFT JOIN ledger.account AS c ON c.code = m.credit
),
journal AS (
    INSERT INTO ledger.journal (kind, key, booked_at, value_date, lines, content_sha256, actor, approved_by)
    SELECT kind, key, booked_at, value_date, 2, {_DIGEST.format(q="placed", at="placed.booked_at")}, actor, approved_by
    FROM placed WHERE alike AND amount > 0
    ORDER BY key COLLATE "C"
    ON CONFLICT (key) DO NOTHING
    RETURNING id, key
),
posting AS (
    INSERT INTO ledger.posting (journal_id, line, lines, booked_at, account_id, amount, currency)
    SELECT j.id, l.line, 2, p.booked_at, l.account_id, l.amount, p.currency
    FROM journal AS j JOIN placed AS p ON p.key = j.key
    CROSS JOIN LATERAL (VALUES (1, p.debit_id, p.amount), (2, p.credit_id, -p.amount)) AS l (line, account_id, amount)
    ORDER BY j.id, l.line
)
SELECT count(*), (SELECT count(*) FROM journal), min(key) FILTER (WHERE amount <= 0), min(key) FILTER (WHERE NOT alike)
FROM placed
"""  # noqa: S608  (made of the constants above)

# A journal that was moved out of a sealed period before stays where it is: asked for again, it is the same journal.
_OTHER = f"""
SELECT q.key FROM q JOIN ledger.journal AS j ON j.key = q.key
CROSS JOIN LATERAL (
    SELECT CASE WHEN j.booked_at > q.asked_at AND j.booked_at = ANY(%(seals)s::timestamptz[]) THEN j.booked_at
                ELSE q.asked_at END AS at) AS s
WHERE j.content_sha256 <> {_DIGEST.format(q="q", at="s.at")}
LIMIT 1
"""  # noqa: S608  (made of the constants above)
