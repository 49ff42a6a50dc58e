"""Databases with a platform, payees with and without bank details, and a closed period."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from database.engine import engine, session
from database.roles import Role
from tests.settlement.payouts import desk


@pytest.fixture(scope="module")
def october(module_database: str) -> str:
    """October closed in a database that the module's tests share. Yields a superuser's conninfo."""
    with session(Role.ADMIN) as opened:
        desk.load_terms(opened)
        desk.close_october(opened)
    return module_database


@pytest.fixture
def closed(october: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """October closed. Everything happens in a superuser's transaction that is rolled back, each step in a savepoint."""
    with engine(Role.ADMIN).connect() as connection, Session(connection, expire_on_commit=False) as db:

        @contextmanager
        def savepoint(role: Role) -> Iterator[Session]:
            db.expire_all()
            with db.begin_nested():
                db.execute(text("DISCARD TEMP"))  # the ledger's, which belong to the role before
                db.execute(text("RESET ROLE" if role is Role.ADMIN else f"SET LOCAL ROLE {role.value}"))
                yield db
                # What a commit would check.
                db.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
                db.execute(text("SET CONSTRAINTS ALL DEFERRED"))
                db.execute(text("RESET ROLE"))

        monkeypatch.setattr(desk.Desk, "open", staticmethod(savepoint))
        yield db
        db.rollback()


@pytest.fixture
def owing(closed: Session) -> Session:
    """The same, and three payees are owed 12.345678, 20 and 30 EUR."""
    desk.post_debts(closed)
    return closed
