"""The ledger without its service: journals by raw SQL, as any login."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from database.engine import conninfo
from database.roles import Role

Connection = psycopg.Connection[tuple[Any, ...]]

HEADER = (
    "INSERT INTO ledger.journal (kind, key, booked_at, value_date, lines, content_sha256, actor)"
    " VALUES ('test', %s, '2026-10-05 12:00+00', '2026-10-05', %s, sha256('x'), 'mallory') RETURNING id"
)
LINE = (
    "INSERT INTO ledger.posting (journal_id, line, lines, booked_at, account_id, amount, currency)"
    " SELECT %s, %s, %s, '2026-10-05 12:00+00', id, %s, currency FROM ledger.account WHERE code = %s"
)


@contextmanager
def connected(role: Role = Role.SETTLEMENT) -> Iterator[Connection]:
    with psycopg.connect(conninfo(role)) as connection:
        yield connection


def open_books() -> None:
    """Four accounts and one committed journal, `first`, of id 1 and two lines."""
    with connected() as connection:
        connection.execute(
            "INSERT INTO ledger.account (code, class, currency) VALUES ('bank:EUR', 'asset', 'EUR'),"
            " ('till:EUR', 'asset', 'EUR'), ('bank:USD', 'asset', 'USD'), ('till:USD', 'asset', 'USD')"
        )
        journal(connection, "first", 5, -5)


def journal(connection: Connection, key: str, *amounts: int, declared: int | None = None) -> int:
    """Write a journal by hand, without the checks of the service."""
    lines = len(amounts) if declared is None else declared
    row = connection.execute(HEADER, (key, lines)).fetchone()
    assert row is not None
    for number, amount in enumerate(amounts, start=1):
        connection.execute(LINE, (row[0], number, lines, amount, "bank:EUR" if number % 2 else "till:EUR"))
    return int(row[0])


@contextmanager
def refused(constraint: str) -> Iterator[None]:
    with pytest.raises(psycopg.Error) as raised:
        yield
    assert raised.value.diag.constraint_name == constraint, raised.value


def count(table: str = "ledger.posting") -> int:
    with connected(Role.ADMIN) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])
