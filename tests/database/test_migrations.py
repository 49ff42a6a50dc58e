"""Migrations go up and down, and what they make is what the models say."""

import psycopg
from alembic import command
from alembic.config import Config

from database.migrate import migrate


def _schemas(conninfo: str) -> set[str]:
    with psycopg.connect(conninfo) as connection:
        rows = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'").fetchall()
    return {str(row[0]) for row in rows}


def test_models_and_migrations_agree(database: str) -> None:
    command.check(Config("alembic.ini"))  # raises if autogenerate would write anything


def test_down_and_up_again(database: str) -> None:
    assert {"ledger", "settlement", "attribution", "access", "party", "guard"} <= _schemas(database)
    migrate("base")
    assert _schemas(database) == {"information_schema", "public"}
    migrate()
    assert "ledger" in _schemas(database)
    migrate()  # a second time finds nothing to do
