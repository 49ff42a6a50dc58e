"""Backup and restore: the whole database in one file (pg_dump's custom format); a manifest beside it says of what.

In it is everything that the database holds, users' passwords as hashes included. Not in it is what lies in files under
`ROYALTY_HOME`: keys above all, which are never in a backup; pictures; and what can be written again (exported
statements, payment files). The manifest names the roles that own or may do something in the database: they belong to
the server, and a restore makes those that are missing there, without passwords.

Neither leaves anything half done: a backup gets its name when it is complete, a restored database when it was found to
hold what the manifest says.
"""

import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from database.embedded import EmbeddedServer
from database.engine import conninfo, database_url
from database.errors import Conflict, Invalid, NotFound, Unavailable
from database.migrate import is_known, recorded_revision
from database.roles import Role
from database.settings import get_settings

Progress = Callable[[int, int], None]
"""Called with (done, total)."""
Describe = Callable[[Session], Mapping[str, Any]]
"""What a database holds, as JSON: the same before a backup and after its restore."""

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is of. Written as JSON beside it: `FILE.manifest.json`."""

    format: int
    made_at: str
    database: str
    server: str
    """PostgreSQL's version."""
    revision: str
    """The migration that the schema is at."""
    holds: dict[str, Any]
    """What was found in the very snapshot that was dumped."""
    locale: dict[str, str]
    roles: list[dict[str, Any]]
    size: int
    """Bytes of the file."""
    sha256: str
    """Of the file, in hex."""


def back_up(target: Path, describe: Describe, progress: Progress | None = None) -> Manifest:
    """Write a backup of the database as it is at one instant; whoever works goes on working.

    Args:
        target: the file to write; only the user who runs this may read it, as it holds names, IBANs and prompts.
        describe: reads what the restored database will be compared by.
        progress: told tables dumped.

    Raises:
        Conflict: the file exists.
        Unavailable: it cannot be written, or the database cannot be read.
    """
    beside = manifest_file(target)
    for path in (target, beside):
        if path.exists():
            raise Conflict(f"{path} exists: name another file, or move that one away")
    part, beside_part = (path.with_name(f"{path.name}.part") for path in (target, beside))
    try:
        with _opened() as opened:
            opened.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            snapshot = opened.scalar(text("SELECT pg_export_snapshot()"))
            facts = _facts(opened)
            holds = dict(describe(opened))
            with _private(part) as handle:
                _run(
                    ["pg_dump", "--format=custom", f"--snapshot={snapshot}", f"--dbname={_conninfo()}"],
                    _counted(progress, r"pg_dump: dumping contents of table", _count(opened, _TABLES)),
                    stdout=handle,
                )
        size = part.stat().st_size
        manifest = Manifest(format=_FORMAT, holds=holds, size=size, sha256=_sha256(part), **facts)
        with _private(beside_part) as handle:
            os.write(handle, (json.dumps(asdict(manifest), indent=2, sort_keys=True) + "\n").encode())
        # In this order: a backup that is there has its manifest.
        beside_part.rename(beside)
        part.rename(target)
        _sync(target.parent)
    except OSError as error:
        raise Unavailable(f"the backup cannot be written to {target} ({error.strerror})") from error
    except OperationalError as error:
        raise Unavailable(f"the database cannot be read: {_first_line(error.orig)}") from error
    finally:
        for path in (part, beside_part):
            path.unlink(missing_ok=True)
    return manifest


def manifest_file(backup: Path) -> Path:
    """Where the manifest of a backup lies."""
    return backup.with_name(f"{backup.name}.manifest.json")


def read_manifest(backup: Path) -> Manifest:
    """The manifest of a backup, whose bytes are those that it names.

    Raises:
        NotFound: there is no such backup, or its manifest is gone.
        Invalid: this is no manifest, or the backup is damaged.
    """
    beside = manifest_file(backup)
    for path in (backup, beside):
        if not path.is_file():
            raise NotFound(f"there is no {path}: a backup is a file and the manifest beside it")
    try:
        document = json.loads(beside.read_text())
        if document["format"] != _FORMAT:
            raise Invalid(
                f"{beside} is of format {document['format']}: restore it with the version that wrote it"
            )
        manifest = Manifest(**document)
    except (ValueError, KeyError, TypeError) as error:
        raise Invalid(f"{beside} is not the manifest of a backup") from error
    if backup.stat().st_size != manifest.size or _sha256(backup) != manifest.sha256:
        raise Invalid(
            f"{backup} is not what its manifest says ({manifest.size} bytes of that SHA-256): it is damaged"
        )
    return manifest


def restore(
    backup: Path, into: str | None, describe: Describe, progress: Progress | None = None
) -> tuple[str, Manifest]:
    """Restore a backup as a database that does not exist yet, or has no tables.

    Args:
        backup: what `back_up` wrote.
        into: name of the database; None for the one that is configured.
        describe: as given to `back_up`.
        progress: told objects restored.

    Returns:
        The database's name, and what was restored.

    Raises:
        Conflict: the database has tables, or another restore is running.
        Invalid: the backup is damaged, of a newer version of this program, or its contents are not what it says.
        Unavailable: the server cannot be reached, or does not take it.
    """
    manifest = read_manifest(backup)
    if not is_known(manifest.revision):
        raise Invalid(
            f"{backup} is of revision {manifest.revision}, which this version does not know: update first"
        )
    name = into or database_url(Role.ADMIN).database or ""
    # Under this name until it is found to be whole.
    arriving = f"{name}_restoring"
    try:
        with _maintenance() as server:
            alone = server.execute(
                "SELECT pg_try_advisory_lock(hashtextextended('royalty restore', 0))"
            ).fetchone()
            if alone != (True,):
                raise Conflict("another restore is running on this server: wait until it is done")
            there = _exists(server, name)
            if there and _has_tables(name):
                raise Conflict(
                    f"database {name} has tables, which a restore does not overwrite: restore beside it, with "
                    f"`--into {name}_restored`"
                )
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(arriving)))
            _make_roles(server, manifest.roles)
            _make_database(server, arriving, manifest)
            try:
                _fill(backup, arriving, progress)
                _check(arriving, manifest, describe)
                if there:
                    server.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))
                server.execute(
                    sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                        sql.Identifier(arriving), sql.Identifier(name)
                    )
                )
            except BaseException:
                server.execute(
                    sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(arriving))
                )
                raise
    except psycopg.OperationalError as error:
        raise Unavailable(f"the database cannot be restored: {_first_line(error)}") from error
    return name, manifest


_TABLES = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND oid >= 16384"
_LOCALE = """
    SELECT pg_encoding_to_char(encoding), datlocprovider::text, datcollate, datctype, datlocale
    FROM pg_database WHERE datname = current_database()
"""
# Roles that own something here, or are granted something, or are named by a policy.
_ROLES = """
    SELECT r.rolname::text AS name, r.rolcanlogin AS login, r.rolbypassrls AS bypass_rls, r.rolconfig AS settings,
           (SELECT s.setconfig FROM pg_db_role_setting AS s
            WHERE s.setrole = r.oid AND s.setdatabase = d.oid) AS settings_here
    FROM pg_database AS d
    JOIN pg_roles AS r ON EXISTS (SELECT FROM pg_shdepend AS x
        WHERE x.refclassid = 'pg_authid'::regclass AND x.refobjid = r.oid AND x.dbid = d.oid)
    WHERE d.datname = current_database() AND NOT r.rolsuper ORDER BY 1
"""


def _facts(opened: Session) -> dict[str, Any]:
    encoding, provider, collate, ctype, locale = opened.execute(text(_LOCALE)).one()
    return {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "database": str(opened.scalar(text("SELECT current_database()"))),
        "server": str(opened.scalar(text("SHOW server_version"))),
        "revision": recorded_revision(opened),
        "locale": {
            "encoding": encoding,
            "provider": provider,
            "collate": collate,
            "ctype": ctype,
            "locale": locale,
        },
        "roles": [dict(row) for row in opened.execute(text(_ROLES)).mappings()],
    }


def _make_roles(server: psycopg.Connection[Any], roles: list[dict[str, Any]]) -> None:
    """Make the roles that the server does not have; those that it has keep their passwords."""
    for role in roles:
        name = sql.Identifier(role["name"])
        if server.execute("SELECT FROM pg_roles WHERE rolname = %s", (role["name"],)).fetchone() is None:
            server.execute(
                sql.SQL("CREATE ROLE {} " + ("LOGIN" if role["login"] else "NOLOGIN")).format(name)
            )
        if role["bypass_rls"]:
            server.execute(sql.SQL("ALTER ROLE {} BYPASSRLS").format(name))
        for setting in role["settings"] or []:
            parameter, value = setting.split("=", 1)
            server.execute(
                sql.SQL("ALTER ROLE {} SET {} TO {}").format(
                    name, sql.Identifier(parameter), sql.Literal(value)
                )
            )


def _make_database(server: psycopg.Connection[Any], name: str, manifest: Manifest) -> None:
    """An empty database that sorts and writes texts as the one that was backed up."""
    locale = manifest.locale
    provider = {"c": "libc", "b": "builtin", "i": "icu"}[locale["provider"]]
    options = [
        sql.SQL("ENCODING {}").format(sql.Literal(locale["encoding"])),
        sql.SQL("LOCALE_PROVIDER {}").format(sql.SQL(provider)),
        sql.SQL("LC_COLLATE {}").format(sql.Literal(locale["collate"])),
        sql.SQL("LC_CTYPE {}").format(sql.Literal(locale["ctype"])),
    ]
    if provider != "libc":
        options.append(sql.SQL(f"{provider}_locale {{}}").format(sql.Literal(locale["locale"])))
    database = sql.Identifier(name)
    server.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE template0 {}").format(database, sql.SQL(" ").join(options))
    )
    for role in manifest.roles:
        for setting in role["settings_here"] or []:
            parameter, value = setting.split("=", 1)
            server.execute(
                sql.SQL("ALTER ROLE {} IN DATABASE {} SET {} TO {}").format(
                    sql.Identifier(role["name"]), database, sql.Identifier(parameter), sql.Literal(value)
                )
            )


def _fill(backup: Path, name: str, progress: Progress | None) -> None:
    """Data first, then keys, triggers and policies, and the event triggers that fence the schema last of all."""
    jobs = min(4, os.cpu_count() or 1)
    with tempfile.TemporaryFile() as listed:
        _run(["pg_restore", "--list", str(backup)], _counted(None, "", 0), stdout=listed.fileno())
        listed.seek(0)
        objects = sum(1 for line in listed if not line.startswith(b";"))
    _run(
        ["pg_restore", "--exit-on-error", f"--jobs={jobs}", f"--dbname={_conninfo(name)}", str(backup)],
        _counted(progress, r"pg_restore: (creating|finished item)", objects),
    )


def _check(name: str, manifest: Manifest, describe: Describe) -> None:
    with _opened(name) as opened:
        # The planner knows nothing of what was restored.
        opened.execute(text("ANALYZE"))
        found = {
            "revision": recorded_revision(opened),
            "holds": json.loads(json.dumps(dict(describe(opened)))),
        }
        opened.commit()
    if found != {"revision": manifest.revision, "holds": manifest.holds}:
        raise Invalid(f"what was restored is not what the manifest says: {found} instead of {manifest.holds}")


@contextmanager
def _opened(name: str | None = None) -> Iterator[Session]:
    """A superuser's session on a database of the server."""
    url = database_url(Role.ADMIN)
    made = create_engine(url if name is None else url.set(database=name), poolclass=NullPool)
    with Session(made) as opened:
        yield opened


@contextmanager
def _maintenance() -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(conninfo(Role.ADMIN), dbname="postgres", autocommit=True) as connection:
        yield connection


def _exists(server: psycopg.Connection[Any], name: str) -> bool:
    return server.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchone() is not None


def _has_tables(name: str) -> bool:
    with _opened(name) as opened:
        return _count(opened, _TABLES) > 0


def _count(opened: Session, query: str) -> int:
    return int(opened.execute(text(query)).scalar_one())


def _conninfo(name: str | None = None) -> str:
    """How a program connects as superuser; its password is not for the process list."""
    given = psycopg.conninfo.conninfo_to_dict(conninfo(Role.ADMIN))
    parameters = {key: str(value) for key, value in given.items() if key != "password"}
    return psycopg.conninfo.make_conninfo(**{**parameters, **({"dbname": name} if name else {})})


def _counted(progress: Progress | None, pattern: str, total: int) -> Callable[[str], None]:
    """Counts the lines of a program's messages that say that it has begun something."""
    done = 0

    def read(line: str) -> None:
        nonlocal done
        if progress is not None and re.match(pattern, line):
            done = min(done + 1, total)
            progress(done, total)

    return read


def _run(command: list[str], message: Callable[[str], None], stdout: int | None = None) -> None:
    """Run one of PostgreSQL's programs, which tells of every object on its standard error.

    Raises:
        Unavailable: it failed; the message is its own.
    """
    program, *arguments = command
    password = get_settings().password_of(Role.ADMIN) if get_settings().database_url is not None else None
    process = subprocess.Popen(
        [EmbeddedServer.program(program), "--verbose", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C", **({"PGPASSWORD": password} if password else {})},
        text=True,
        errors="replace",
    )
    failed = ""
    try:
        assert process.stderr is not None
        for line in process.stderr:
            message(line)
            failed = failed or (line.strip() if "error: " in line else "")
        code = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    if code:
        raise Unavailable(failed or f"{program} ended with status {code}")


@contextmanager
def _private(path: Path) -> Iterator[int]:
    """A new file that only this user can read, on the disk when it is closed."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        yield handle
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _first_line(error: BaseException | None) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
