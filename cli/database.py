"""`royalty db`: the embedded PostgreSQL and the migrations."""

import os
from enum import StrEnum
from typing import Annotated

import typer

from cli.screen import show
from database.engine import conninfo, embedded_server
from database.errors import Invalid
from database.migrate import migrate
from database.roles import Role
from database.settings import get_settings

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


@group.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(
    context: typer.Context,
    role: Annotated[PsqlRole, typer.Option("--as", help="Log in as this role.")] = PsqlRole.AUDITOR,
) -> None:
    """Open psql, as the auditor unless told otherwise; more arguments go to it: `royalty db psql -- -l`."""
    program = str(embedded_server().program("psql"))
    os.execv(program, [program, conninfo(Role(role.value)), *context.args])  # noqa: S606
