"""Posting: one mechanism for one journal and for a hundred thousand.

Lines are laid in a temporary table, by COPY from Python or by INSERT .. SELECT from a query; from there the same SQL
checks them, opens missing accounts, and writes journals and postings. So ids, content digests and line numbers come
about in one way only. The database refuses what is checked here as well; here the refusal names the journal and what to
do.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg import errors
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from database.engine import psycopg_connection
from database.errors import Conflict, Invalid, NotFound
from settlement.ledger.entries import Entry, Line

MAX_AMOUNT = 2**63 - 1
"""The largest amount of one line, either sign, in micros."""

_CLASSES = frozenset({"asset", "liability", "equity", "income", "expense"})
# Control characters separate the fields of canonical bytes; NUL and lone surrogates are no text for PostgreSQL.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_CHUNK = 1 << 16
# From this many lines on, the planner is told what lies in the temporary tables.
_MANY = 1000


@dataclass(frozen=True, slots=True)
class PostCounts:
    """How many journals a call wrote, and how many were there already with the same content."""

    posted: int
    replayed: int


@dataclass(frozen=True, slots=True)
class PostResult(PostCounts):
    """The journals of a call: those just written and those that an earlier call wrote."""

    ids: Mapping[str, int]
    """Journal id by key."""


def post(session: Session, entries: Sequence[Entry]) -> PostResult:
    """Post entries: all of them or, on an error, none. The same key with the same content is the first result again.

    Raises:
        Invalid: an entry has fewer than two lines, does not balance, or has an amount, code or key that cannot be.
        Conflict: the key stands for other content, the period is sealed, an account is of another class, or what
            the entry reverses is reversed already.
        NotFound: what the entry reverses does not exist.
    """
    if not entries:
        return PostResult(0, 0, {})
    chunks = list(_copy_text(entries))  # everything is checked before COPY begins, which an error would abort
    session.flush()
    _clear(session)
    with (
        psycopg_connection(session).cursor() as cursor,
        cursor.copy(
            "COPY pg_temp.ledger_stage (key, kind, booked_at, value_date, actor, approved_by, reverses, movable,"
            " line, account, class, currency, amount) FROM STDIN"
        ) as copy,
    ):
        for chunk in chunks:
            copy.write(chunk)
    counts = _post_stage(session, sum(len(entry.lines) for entry in entries))
    rows = session.connection().exec_driver_sql("SELECT key, id FROM pg_temp.ledger_posted")
    ids: dict[str, int] = {key: id for key, id in rows}  # noqa: C416  (a row is a tuple, which its type does not say)
    return PostResult(counts.posted, counts.replayed, ids)


def post_from_query(session: Session, query: str, parameters: Mapping[str, Any] | None = None) -> PostCounts:
    """Post what an SQL query yields, one row per line, without a Python row each. Rules and errors as in `post`.

    Args:
        session: its transaction is used; the caller commits.
        query: SELECT of key, kind, booked_at, value_date, actor, approved_by, movable, account, class, currency and
            amount, in this order. Rows of one key are one journal and agree in everything up to `movable`.
        parameters: values of the query's `%(name)s` parameters; any other `%` in it is doubled.
    """
    session.flush()
    _clear(session)
    fill = f"""
        INSERT INTO pg_temp.ledger_stage
            (key, kind, booked_at, value_date, actor, approved_by, movable, account, class, currency, amount, line)
        SELECT q.*, row_number() OVER (PARTITION BY q.key COLLATE "C"
                                       ORDER BY q.amount < 0, q.account COLLATE "C", q.amount)
        FROM ({query}) AS q (key, kind, booked_at, value_date, actor, approved_by, movable, account, class, currency,
                             amount)
    """  # noqa: S608  (the query is our own code's; values are parameters)
    try:
        with session.begin_nested():
            lines = session.connection().exec_driver_sql(fill, dict(parameters or {})).rowcount
    except DBAPIError as error:
        if isinstance(error.orig, errors.NumericValueOutOfRange):
            raise Invalid(
                f"an amount is larger than a line can hold ({MAX_AMOUNT} micros): split it"
            ) from error
        raise
    return _post_stage(session, lines) if lines else PostCounts(0, 0)


def reverse(
    session: Session,
    key: str,
    new_key: str,
    booked_at: datetime,
    actor: str,
    *,
    approved_by: str | None = None,
) -> PostResult:
    """Post the exact reversal of a journal, once.

    Raises:
        NotFound: no journal has this key.
        Conflict: it is reversed already under another key, or ``booked_at`` is sealed.
    """
    rows = session.execute(
        text(
            """
            SELECT a.code, a.class, p.amount, a.currency
            FROM ledger.journal AS j
            JOIN ledger.posting AS p ON p.journal_id = j.id
            JOIN ledger.account AS a ON a.id = p.account_id
            WHERE j.key = :key ORDER BY p.line
            """
        ),
        {"key": key},
    ).all()
    if not rows:
        raise NotFound(f"there is no journal {key} to reverse")
    entry = Entry(
        kind="reversal",
        key=new_key,
        booked_at=booked_at,
        value_date=booked_at.astimezone(UTC).date(),
        lines=[
            Line(code, account_class, -amount, currency) for code, account_class, amount, currency in rows
        ],
        actor=actor,
        approved_by=approved_by,
        reverses=key,
    )
    return post(session, [entry])


# Kept for the life of the connection, so that a single journal does not create tables. Analysed once while empty: from
# then on the planner goes by their size, and finds a few journals' accounts and keys by index in any ledger. Texts have
# the collation of the ledger's indexes, or those would not be used.
_STAGE = """
CREATE TEMP TABLE ledger_stage (
    key text NOT NULL, kind text NOT NULL, booked_at timestamptz NOT NULL, value_date date NOT NULL,
    actor text NOT NULL, approved_by text, reverses text, movable boolean NOT NULL, line integer NOT NULL,
    account text NOT NULL, class text NOT NULL, currency char(3) NOT NULL, amount bigint NOT NULL
) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE ledger_head (
    key text, kind text, booked_at timestamptz, value_date date, actor text, approved_by text, reverses text,
    lines integer, content_sha256 bytea
) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE ledger_posted (key text, id bigint, fresh boolean) ON COMMIT DELETE ROWS;
ANALYZE pg_temp.ledger_stage, pg_temp.ledger_head, pg_temp.ledger_posted
"""


_EMPTY = (
    "DELETE FROM pg_temp.ledger_stage; DELETE FROM pg_temp.ledger_head; DELETE FROM pg_temp.ledger_posted"
)


def _clear(session: Session) -> None:
    connection = psycopg_connection(session)
    there = connection.execute("SELECT to_regclass('pg_temp.ledger_stage') IS NOT NULL").fetchone()
    # What an earlier call of this transaction left; a commit empties them by itself.
    connection.execute(_EMPTY if there == (True,) else _STAGE)


def _copy_text(entries: Sequence[Entry]) -> Iterator[bytes]:
    """The entries' lines in COPY's text format, in chunks. Line numbers as `post_from_query` gives them."""
    checked: set[str] = set()

    def field(value: str, entry: Entry) -> str:
        if value not in checked:
            if not value or _FORBIDDEN.search(value):
                raise Invalid(
                    f"{value!r} cannot stand in journal {entry.key!r}: it is empty or has control characters"
                )
            checked.add(value)
        return value.replace("\\", "\\\\")

    keys: set[str] = set()
    buffer: list[str] = []
    size = 0
    for entry in entries:
        if entry.key in keys:
            raise Invalid(f"journal {entry.key} is given twice: one key is one journal")
        keys.add(entry.key)
        if entry.booked_at.tzinfo is None:
            raise Invalid(f"journal {entry.key} is booked at a time without a time zone")
        if not entry.lines:
            raise Invalid(f"journal {entry.key} has no lines")
        head = "\t".join(
            (
                field(entry.key, entry),
                field(entry.kind, entry),
                entry.booked_at.isoformat(),
                entry.value_date.isoformat(),
                field(entry.actor, entry),
                r"\N" if entry.approved_by is None else field(entry.approved_by, entry),
                r"\N" if entry.reverses is None else field(entry.reverses, entry),
                "t" if entry.movable else "f",
            )
        )
        for line in entry.lines:
            _check_line(line, entry)
        # Order by code point is order by UTF-8 byte.
        ordered = sorted(entry.lines, key=lambda line: (line.amount < 0, line.account_code, line.amount))
        for number, line in enumerate(ordered, start=1):
            row = (
                f"{head}\t{number}\t{field(line.account_code, entry)}\t{line.account_class}\t{line.currency}"
                f"\t{line.amount}\n"
            )
            buffer.append(row)
            size += len(row)
        if size >= _CHUNK:
            yield "".join(buffer).encode()
            buffer.clear()
            size = 0
    yield "".join(buffer).encode()


def _check_line(line: Line, entry: Entry) -> None:
    # bool is an int, and a float would be rounded on the way in.
    if type(line.amount) is not int:
        raise Invalid(f"journal {entry.key} has the amount {line.amount!r}: amounts are whole micros")
    if abs(line.amount) > MAX_AMOUNT:
        raise Invalid(
            f"journal {entry.key} has an amount larger than a line can hold ({MAX_AMOUNT} micros): split it"
        )
    if line.account_class not in _CLASSES:
        raise Invalid(
            f"journal {entry.key} names the account class {line.account_class!r}: {', '.join(sorted(_CLASSES))}"
        )
    if not line.account_code.endswith(f":{line.currency}") or len(line.currency) != 3:
        raise Invalid(
            f"journal {entry.key}: account {line.account_code!r} does not end in its currency {line.currency!r}"
        )


def _post_stage(session: Session, lines: int) -> PostCounts:
    """Post what lies in the temporary table."""
    connection = session.connection()
    if lines >= _MANY:
        connection.exec_driver_sql("ANALYZE pg_temp.ledger_stage")
    _check_stage(session)
    _book(session)
    connection.exec_driver_sql(_HEADS)
    if lines >= _MANY:
        connection.exec_driver_sql("ANALYZE pg_temp.ledger_head")
    heads = _check_heads(session)
    connection.exec_driver_sql(_ACCOUNTS)
    _refuse(
        session,
        """
        SELECT s.account, s.class, s.currency, a.class, a.currency FROM pg_temp.ledger_stage AS s
        JOIN ledger.account AS a ON a.code = s.account
        WHERE (a.class, a.currency) <> (s.class, s.currency)
        """,
        Conflict,
        "account {0} is of class {3} in {4}, not {1} in {2}: use its own class or another account",
    )
    try:
        posted = connection.exec_driver_sql(_JOURNALS).rowcount
    except DBAPIError as error:
        if isinstance(error.orig, errors.UniqueViolation):
            raise Conflict("what this journal reverses was reversed by another one just now") from error
        raise
    if posted < heads:
        _refuse(
            session,
            """
            SELECT h.key FROM pg_temp.ledger_head AS h JOIN ledger.journal AS j ON j.key = h.key
            WHERE NOT EXISTS (SELECT FROM pg_temp.ledger_posted AS n WHERE n.key = h.key)
              AND j.content_sha256 <> h.content_sha256 ORDER BY h.key
            """,
            Conflict,
            "journal {0} exists with other content: reverse it and post the right one under a new key",
        )
        connection.exec_driver_sql(_REPLAYED)
    if lines >= _MANY:
        connection.exec_driver_sql("ANALYZE pg_temp.ledger_posted")
        # Foreign keys are checked by plans that the connection keeps; one made when the tables were small scans them.
        connection.exec_driver_sql("DISCARD PLANS")
    connection.exec_driver_sql(_POSTINGS)
    return PostCounts(posted, heads - posted)


def _refuse(session: Session, query: str, error: type[Conflict | Invalid | NotFound], message: str) -> None:
    """Raise an error about the first row of a query that should have none.

    A query with a join has no LIMIT: the planner would expect to find a row soon, and nest loops.
    """
    found = session.connection().exec_driver_sql(query).first()
    if found is not None:
        raise error(message.format(*found))


def _check_stage(session: Session) -> None:
    _refuse(
        session,
        "SELECT key, account FROM pg_temp.ledger_stage WHERE amount = 0 LIMIT 1",
        Invalid,
        "journal {0} has a line of zero on {1}: leave it out",
    )
    _refuse(
        session,
        "SELECT key, currency, sum(amount) FROM pg_temp.ledger_stage"
        " GROUP BY key, currency HAVING sum(amount) <> 0 LIMIT 1",
        Invalid,
        "journal {0} does not balance: its lines in {1} sum to {2} micros",
    )


def _book(session: Session) -> None:
    """Move what may be moved out of sealed periods, and refuse the rest of what is new there."""
    connection = session.connection()
    # The lock that writers share and a seal takes alone (`guard.lock_seal`): no seal comes between here and the insert.
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock_shared(hashtextextended('ledger.seal', 0))")
    sealed = connection.exec_driver_sql(
        "SELECT max(sealed_before) FROM ledger.seal"
        " HAVING max(sealed_before) > (SELECT min(booked_at) FROM pg_temp.ledger_stage)"
    ).scalar()
    if sealed is None:
        return
    # A journal that was moved before stays where it is: asked for again, it is the same journal.
    connection.execute(
        text(
            """
            UPDATE pg_temp.ledger_stage AS s SET booked_at = coalesce(k.first_booked_at, :sealed)
            FROM (
                SELECT h.key, h.booked_at, j.booked_at AS first_booked_at
                FROM (SELECT DISTINCT key, booked_at FROM pg_temp.ledger_stage
                      WHERE movable AND booked_at < :sealed) AS h
                LEFT JOIN ledger.journal AS j ON j.key = h.key
                    AND (j.booked_at = h.booked_at OR j.booked_at > h.booked_at
                         AND EXISTS (SELECT FROM ledger.seal AS x WHERE x.sealed_before = j.booked_at))
            ) AS k
            WHERE s.key = k.key AND s.booked_at = k.booked_at AND s.movable
            """
        ),
        {"sealed": sealed},
    )
    found = connection.execute(
        text(
            """
            SELECT min(s.key) FROM pg_temp.ledger_stage AS s
            WHERE s.booked_at < :sealed AND NOT EXISTS (SELECT FROM ledger.journal AS j WHERE j.key = s.key)
            """
        ),
        {"sealed": sealed},
    ).scalar()
    if found is not None:
        raise Conflict(
            f"journal {found} is booked before {sealed:%Y-%m-%dT%H:%M:%SZ}, and everything before that is sealed: "
            "book it in the open period"
        )


_HEADS = """
INSERT INTO pg_temp.ledger_head
SELECT key, kind, booked_at, value_date, actor, approved_by, reverses, count(*),
       sha256(convert_to(guard.journal_text(kind, key, booked_at, value_date, count(*)::integer, reverses)
                         || string_agg(guard.posting_text(line, account, amount), '' ORDER BY line), 'UTF8'))
FROM pg_temp.ledger_stage
GROUP BY key, kind, booked_at, value_date, actor, approved_by, reverses
"""


def _check_heads(session: Session) -> int:
    """Check each journal as a whole; how many there are."""
    _refuse(
        session,
        "SELECT key FROM pg_temp.ledger_head GROUP BY key HAVING count(*) > 1 LIMIT 1",
        Invalid,
        "the lines of journal {0} disagree about its kind, dates or actor",
    )
    _refuse(
        session,
        "SELECT key FROM pg_temp.ledger_head WHERE lines < 2 LIMIT 1",
        Invalid,
        "journal {0} has one line: an entry has two or more",
    )
    _refuse(
        session,
        """
        SELECT h.reverses, h.key FROM pg_temp.ledger_head AS h
        WHERE h.reverses IS NOT NULL AND NOT EXISTS (SELECT FROM ledger.journal AS j WHERE j.key = h.reverses)
        """,
        NotFound,
        "there is no journal {0} that {1} could reverse",
    )
    _refuse(
        session,
        """
        SELECT h.reverses, other.key FROM pg_temp.ledger_head AS h
        JOIN ledger.journal AS other ON other.reverses = (SELECT j.id FROM ledger.journal AS j WHERE j.key = h.reverses)
        WHERE h.reverses IS NOT NULL AND other.key <> h.key
        """,
        Conflict,
        "journal {0} is reversed already, by {1}",
    )
    return int(session.connection().exec_driver_sql("SELECT count(*) FROM pg_temp.ledger_head").scalar_one())


# In the order of codes and keys, so that two calls at once take their locks in the same order.
_ACCOUNTS = """
INSERT INTO ledger.account (code, class, currency)
SELECT s.account, min(s.class), min(s.currency) FROM pg_temp.ledger_stage AS s
WHERE NOT EXISTS (SELECT FROM ledger.account AS a WHERE a.code = s.account)
GROUP BY s.account ORDER BY s.account COLLATE "C"
ON CONFLICT (code) DO NOTHING
"""

_JOURNALS = """
WITH written AS (
    INSERT INTO ledger.journal
        (kind, key, booked_at, value_date, lines, content_sha256, reverses, actor, approved_by)
    SELECT h.kind, h.key, h.booked_at, h.value_date, h.lines, h.content_sha256,
           (SELECT j.id FROM ledger.journal AS j WHERE j.key = h.reverses), h.actor, h.approved_by
    FROM pg_temp.ledger_head AS h
    ORDER BY h.key COLLATE "C"
    ON CONFLICT (key) DO NOTHING
    RETURNING id, key
)
INSERT INTO pg_temp.ledger_posted SELECT key, id, true FROM written
"""

_REPLAYED = """
INSERT INTO pg_temp.ledger_posted
SELECT h.key, j.id, false FROM pg_temp.ledger_head AS h JOIN ledger.journal AS j ON j.key = h.key
WHERE NOT EXISTS (SELECT FROM pg_temp.ledger_posted AS n WHERE n.key = h.key)
"""

_POSTINGS = """
INSERT INTO ledger.posting (journal_id, line, lines, booked_at, account_id, amount, currency)
SELECT n.id, s.line, h.lines, h.booked_at, a.id, s.amount, a.currency
FROM pg_temp.ledger_stage AS s
JOIN pg_temp.ledger_head AS h ON h.key = s.key
JOIN pg_temp.ledger_posted AS n ON n.key = s.key AND n.fresh
JOIN ledger.account AS a ON a.code = s.account
ORDER BY n.id, s.line
"""
