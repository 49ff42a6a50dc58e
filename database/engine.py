"""Engines and sessions: one engine per role and process, one transaction per unit of work."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import psycopg
from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.orm import Session

from database.embedded import EmbeddedServer
from database.errors import Invalid
from database.roles import Role
from database.settings import get_settings


def embedded_server() -> EmbeddedServer:
    """The embedded server of this installation (running or not)."""
    return EmbeddedServer(get_settings().royalty_home / "postgres")


@cache
def database_url(role: Role) -> URL:
    """SQLAlchemy URL of this role's connection; starts the embedded server where no `DATABASE_URL` is set.

    Raises:
        Invalid: `DATABASE_URL` is not a PostgreSQL URL.
        Unavailable: the embedded server does not start.
    """
    settings = get_settings()
    user = settings.database_admin_user if role is Role.ADMIN else role.value
    if settings.database_url is None:
        server = embedded_server()
        directory = server.start()
        return URL.create(
            "postgresql+psycopg",
            username="postgres" if role is Role.ADMIN else user,
            database=settings.database_name,
            query={"host": str(directory)},
        )
    try:
        given = make_url(settings.database_url)
    except Exception as error:
        raise Invalid("DATABASE_URL cannot be read; write it as postgresql://host:5432/database") from error
    if given.get_backend_name() != "postgresql" or not given.database:
        raise Invalid(
            "DATABASE_URL must name a PostgreSQL server and a database: postgresql://host:5432/database"
        )
    return given.set(drivername="postgresql+psycopg", username=user, password=settings.password_of(role))


@cache
def engine(role: Role) -> Engine:
    """The process's engine for one role. `application_name` tells an operator who holds a lock."""
    return create_engine(
        database_url(role),
        pool_pre_ping=True,
        pool_size=5,
        max_overflow=5,
        connect_args={"application_name": f"royalty-{role.value}", "connect_timeout": 5},
    )


def conninfo(role: Role) -> str:
    """libpq connection string of this role, for COPY, psql and the broker."""
    url = database_url(role).set(drivername="postgresql")
    parameters: dict[str, str] = {"dbname": url.database or "", "user": url.username or ""}
    if url.password:
        parameters["password"] = str(url.password)
    if url.host:
        parameters["host"] = url.host
    if url.port:
        parameters["port"] = str(url.port)
    for name, value in url.query.items():
        parameters[name] = value if isinstance(value, str) else value[0]
    return psycopg.conninfo.make_conninfo(**parameters)


@contextmanager
def session(role: Role) -> Iterator[Session]:
    """A session in one transaction: committed at the end, rolled back on any error."""
    with Session(engine(role), expire_on_commit=False) as opened, opened.begin():
        yield opened


def psycopg_connection(opened: Session) -> psycopg.Connection[tuple[object, ...]]:
    """The driver's connection under a session's transaction, for COPY."""
    raw = opened.connection().connection.driver_connection
    assert isinstance(raw, psycopg.Connection)
    return raw
