"""Migrations from inside the program: `royalty db migrate`, tests, and the first start of the embedded database."""

import re
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from database.engine import embedded_server, engine
from database.errors import Unavailable
from database.roles import LOGIN_ROLES, Role
from database.settings import get_settings

_ROOT = Path(__file__).resolve().parent.parent


def _config(connection: Connection | None = None) -> Config:
    config = Config(_ROOT / "alembic.ini")
    config.attributes["connection"] = connection
    return config


def migrate(revision: str = "head") -> None:
    """Bring the database to a revision (`head`, `base`, or a revision's name); creates the embedded one if missing.

    Raises:
        Unavailable: the database cannot be reached.
    """
    settings = get_settings()
    if settings.database_url is None:
        embedded_server().ensure_database(settings.database_name)
    try:
        with engine(Role.ADMIN).connect() as connection:
            current = MigrationContext.configure(
                connection, opts={"version_table_schema": "public"}
            ).get_current_revision()
            connection.rollback()
            backwards = revision == "base" or (current is not None and _is_ancestor(revision, current))
            (command.downgrade if backwards else command.upgrade)(_config(connection), revision)
            if settings.database_url is not None:
                _set_passwords(connection)
    except OperationalError as error:
        raise Unavailable(
            f"the database cannot be migrated: {str(error.orig).strip().splitlines()[0]}"
        ) from error


def newest_revision() -> str:
    """The revision that this code's migrations end with."""
    return ScriptDirectory.from_config(_config()).get_current_head() or "base"


def is_known(revision: str) -> bool:
    """Whether this code's migrations have this revision."""
    return any(step.revision == revision for step in ScriptDirectory.from_config(_config()).walk_revisions())


def recorded_revision(session: Session) -> str:
    """The revision that the database says it is at; roles that were granted it may ask."""
    return session.scalar(text("SELECT version_num FROM public.alembic_version")) or "base"


def _is_ancestor(revision: str, current: str) -> bool:
    if revision == "head":
        return False
    script = ScriptDirectory.from_config(_config())
    return (
        revision in {step.revision for step in script.iterate_revisions(current, "base")}
        and revision != current
    )


def _set_passwords(connection: Connection) -> None:
    """Give each login role the password its process will use, from `DATABASE_PASSWORD_<ROLE>`."""
    settings = get_settings()
    for role in LOGIN_ROLES:
        password = settings.password_of(role)
        if password:
            # ALTER ROLE takes no parameters: the server quotes the literal.
            statement = connection.scalar(
                text(
                    "SELECT format('ALTER ROLE %I PASSWORD %L', cast(:role AS text), cast(:password AS text))"
                ),
                {"role": role.value, "password": password},
            )
            connection.exec_driver_sql(str(statement).replace("%", "%%"))
    connection.commit()


def run_sql_file(connection: Connection, path: str) -> None:
    """Run an SQL file in the migration's transaction, by its path from the repository's root.

    Such a file is never edited after its release: a change is a new file and a new migration.
    """
    # Through the driver without parameters: several statements at once, `%` and `:` mean themselves.
    driver_of(connection).execute((_ROOT / path).read_bytes())


def earlier_definition(path: str, begins: str, ends: str = ";") -> bytes:
    """A definition as an earlier migration's file has it, to be put in place of the one there is, for a downgrade.

    Args:
        path: of the SQL file, from the repository's root.
        begins: what the definition begins with there.
        ends: what it ends with.

    Raises:
        ValueError: the file has no such definition.
    """
    written = (_ROOT / path).read_text(encoding="utf-8")
    start = written.index(begins)
    found = written[start : written.index(ends, start) + len(ends)]
    return re.sub(r"^CREATE (OR REPLACE )?", "CREATE OR REPLACE ", found).encode()


def driver_of(connection: Connection) -> psycopg.Connection[tuple[object, ...]]:
    """The driver's connection under this one, in its transaction."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver
