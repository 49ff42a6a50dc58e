"""The record of every migration: what it made of the schema, and what it found that no migration had made."""

from getpass import getuser
from typing import Any

import psycopg
from sqlalchemy import ARRAY, CheckConstraint, Connection, Integer, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from database.base import Base, RecordedAt
from database.manifest import FORMAT, differences, fingerprint, server_version
from database.migrate import driver_of


class SchemaChange(Base):
    """One migration that ran: written in its transaction, by nobody else, and never changed."""

    __tablename__ = "schema_change"
    __table_args__ = (
        CheckConstraint("number > 0", name="number_positive"),
        CheckConstraint("octet_length(before_sha256) = 32", name="before_sha256_length"),
        CheckConstraint("after_sha256 = sha256(convert_to(manifest, 'UTF8'))", name="after_is_manifest"),
        {"schema": "ledger"},
    )

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """1, 2, 3 and so on."""
    revision_from: Mapped[str]
    revision_to: Mapped[str]
    server: Mapped[str]
    """Major version of PostgreSQL: another one may write the same definition in other words."""
    format: Mapped[int] = mapped_column(Integer)
    """`database.manifest.FORMAT` of this row's manifest."""
    before_sha256: Mapped[bytes]
    """Fingerprint of the schema that the migration found."""
    after_sha256: Mapped[bytes]
    """Fingerprint of the schema that it left."""
    unrecorded: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """What it found that the change before had not left; empty unless somebody went around the fence."""
    manifest: Mapped[str]
    """What it left (`database.manifest.read_manifest`)."""
    actor: Mapped[str]
    """The operating system's user who ran it."""
    created_by: Mapped[str] = mapped_column(server_default=text("SESSION_USER"))
    recorded_at: Mapped[RecordedAt]


def record_change(
    connection: Connection, before: str, after: str, revision_from: str, revision_to: str
) -> int | None:
    """Record the migration that has just run in this transaction.

    Args:
        connection: the migration's, as superuser.
        before: manifest of the schema that it found.
        after: manifest of the schema that it left.
        revision_from: revision that the database was at.
        revision_to: revision that it is at now.

    Returns:
        The change's number; None where the schema has no such table (before the migration that makes it).
    """
    driver: psycopg.Connection[Any] = driver_of(connection)
    if driver.execute("SELECT to_regclass('ledger.schema_change') IS NULL").fetchone() == (True,):
        return None
    last = driver.execute(
        "SELECT number, server, format, manifest FROM ONLY ledger.schema_change ORDER BY number DESC LIMIT 1"
    ).fetchone()
    form = (server_version(driver), FORMAT)
    number, *recorded_in, recorded = last or (0, *form, before)
    driver.execute(
        "INSERT INTO ledger.schema_change (number, revision_from, revision_to, server, format, before_sha256,"
        " after_sha256, unrecorded, manifest, actor)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            number + 1,
            revision_from,
            revision_to,
            *form,
            fingerprint(before),
            fingerprint(after),
            differences(recorded, before) if tuple(recorded_in) == form else [],
            after,
            getuser(),
        ),
    )
    return int(number) + 1


def is_comparable(connection: Connection) -> bool:
    """Whether the last change was recorded by this version of server and program, or none is recorded."""
    driver: psycopg.Connection[Any] = driver_of(connection)
    if driver.execute("SELECT to_regclass('ledger.schema_change') IS NULL").fetchone() == (True,):
        return True
    last = driver.execute(
        "SELECT server, format FROM ONLY ledger.schema_change ORDER BY number DESC LIMIT 1"
    ).fetchone()
    return last == (server_version(driver), FORMAT)
