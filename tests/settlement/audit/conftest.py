"""The worked example's books, committed once for a module, and ways to falsify them that leave no trace."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from database.engine import engine, session
from database.roles import Role
from tests.settlement.books import write_books

_TRIGGERS = (
    "SELECT tgrelid::regclass::text, tgname FROM pg_trigger"
    " WHERE NOT tgisinternal AND tgrelid::regclass::text ~ '^(ledger|settlement|attribution)[.]'"
)

Tampered = Callable[..., AbstractContextManager[Session]]


@pytest.fixture(scope="module")
def books(module_database: str) -> str:
    with session(Role.ADMIN) as own:
        write_books(own)
    return module_database


@pytest.fixture
def tampered(books: str) -> Tampered:
    """`tampered(statements)`: an auditor's session after a superuser has done that, all guards switched off."""

    @contextmanager
    def tamper(*statements: str) -> Iterator[Session]:
        with engine(Role.ADMIN).connect() as connection:
            transaction = connection.begin()
            with Session(connection) as own:
                own.execute(text("SET LOCAL event_triggers = off"))
                triggers = own.execute(text(_TRIGGERS)).all()
                for table in {table for table, _ in triggers}:
                    own.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER ALL"))
                for statement in statements:
                    own.connection().exec_driver_sql(statement)
                for table in {table for table, _ in triggers}:
                    own.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER ALL"))
                for table, trigger in own.execute(text(_TRIGGERS)).all():
                    own.execute(text(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}"))
                own.execute(text("SET LOCAL ROLE auditor"))
                yield own
            transaction.rollback()

    return tamper
