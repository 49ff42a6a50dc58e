"""`royalty db`: the embedded PostgreSQL and the migrations."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import text
from sqlalchemy.orm import Session

from cli.screen import progress, show
from database.backup import back_up, manifest_file, restore
from database.engine import conninfo, embedded_server
from database.errors import Invalid
from database.migrate import migrate
from database.roles import Role
from database.settings import get_settings
from settlement.ledger import log

group = typer.Typer(no_args_is_help=True, help="The database: start, stop, migrate, look inside.")


class PsqlRole(StrEnum):
    """Roles a person may open psql as."""

    AUDITOR = "auditor"
    SETTLEMENT = "settlement"
    ATTRIBUTION = "attribution"
    PORTAL = "portal"
    PAYER = "payer"
    APPROVER = "approver"
    ADMIN = "admin"


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(group, name="db")


def _only_embedded(what: str) -> None:
    if get_settings().database_url is not None:
        raise Invalid(
            f"DATABASE_URL is set: {what} that server with its own tools, or unset it for the embedded one"
        )


@group.command()
def start() -> None:
    """Start the embedded PostgreSQL; it runs on after the command."""
    _only_embedded("start")
    directory = embedded_server().start()
    show(f"PostgreSQL is running, data in {embedded_server().data}, socket in {directory}")


@group.command()
def stop() -> None:
    """Stop the embedded PostgreSQL."""
    _only_embedded("stop")
    was_running = embedded_server().stop()
    show("PostgreSQL has stopped" if was_running else "PostgreSQL was not running")


@group.command("migrate")
def migrate_command(
    revision: Annotated[
        str, typer.Argument(help="A revision, `head` (newest) or `base` (nothing).")
    ] = "head",
) -> None:
    """Make or update the database's tables, guards and roles."""
    migrate(revision)
    show(f"the database is at {revision}")


def holds(opened: Session) -> dict[str, str | int]:
    """By what a restored database is known to be the one that was backed up."""
    journals, postings = opened.execute(
        text("SELECT (SELECT count(*) FROM ledger.journal), (SELECT count(*) FROM ledger.posting)")
    ).one()
    return {
        "log_size": log.size(opened),
        "log_root": log.root(opened).hex(),
        "journals": journals,
        "postings": postings,
    }


@group.command("backup")
def backup_command(
    file: Annotated[Path, typer.Argument(help="The file to write; its manifest is written beside it.")],
) -> None:
    """Write the whole database to a file, as it is now; whoever works goes on working.

    Keys, pictures and exported files lie under ROYALTY_HOME and are not in it.
    """
    with progress("backing up") as advance:
        manifest = back_up(file, holds, advance)
    show(f"{file}: {manifest.size:,} bytes, SHA-256 {manifest.sha256}, manifest in {manifest_file(file)}")
    show(
        "not in it: keys, pictures and exported files under ROYALTY_HOME; keep the keys somewhere else than the backup"
    )


@group.command("restore")
def restore_command(
    file: Annotated[Path, typer.Argument(help="A backup, with its manifest beside it.")],
    into: Annotated[
        str | None, typer.Option(help="Name of the database to make (default: the one that is configured).")
    ] = None,
) -> None:
    """Make a database of a backup; one that has tables is never overwritten."""
    with progress("restoring") as advance:
        name, manifest = restore(file, into, holds, advance)
    show(f"database {name} is as it was at {manifest.made_at}, at revision {manifest.revision}")
    settings = get_settings()
    if settings.database_url is not None:
        show(
            f"next: name {name} in DATABASE_URL, run `royalty db migrate` (it sets the roles' passwords), then verify"
        )
    elif name != settings.database_name:
        show(f"next: export DATABASE_NAME={name} for every process, then `royalty verify`")
    else:
        show("next: `royalty verify`")


@group.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(
    context: typer.Context,
    role: Annotated[PsqlRole, typer.Option("--as", help="Log in as this role.")] = PsqlRole.AUDITOR,
) -> None:
    """Open psql, as the auditor unless told otherwise; more arguments go to it: `royalty db psql -- -l`."""
    program = str(embedded_server().program("psql"))
    os.execv(program, [program, conninfo(Role(role.value)), *context.args])  # noqa: S606
