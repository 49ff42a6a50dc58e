"""`royalty catalogue`: artists, payees, contracts, rate cards, platform terms, from one readable file."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli.operator import operator
from cli.screen import percent, show, table
from database.engine import session
from database.roles import Role
from settlement.catalogue import catalogue_rows
from settlement.catalogue_file import InvalidCatalogue, load_catalogue

group = typer.Typer(no_args_is_help=True, help="Artists, payees, contracts, rate cards, platform terms.")


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(group, name="catalogue")


@group.command()
def load(
    file: Annotated[Path, typer.Argument(help="YAML file; docs/catalogue.md describes it.")],
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "catalogue file",
) -> None:
    """Load a catalogue file, whole or not at all; what is known already is left alone."""
    actor = operator("catalogue:write").username
    try:
        with session(Role.SETTLEMENT) as opened:
            report = load_catalogue(opened, file, actor=actor, reason=reason)
    except InvalidCatalogue as error:
        for problem in error.problems[1:]:
            typer.echo(f"  {problem}", err=True)
        raise
    written = [f"{count} {name.replace('_', ' ')}" for name, count in asdict(report).items() if count]
    show("written: " + ", ".join(written) if written else "everything in the file was known already")


@group.command("show")
def show_catalogue() -> None:
    """Show every artist with her aliases and where her share goes now."""
    with session(Role.SETTLEMENT) as opened:
        found = catalogue_rows(opened)
    rows = [
        (
            row.artist_id,
            row.name,
            ", ".join(row.aliases),
            ", ".join(f"{payee} {percent(ppb)}" for payee, ppb in sorted(row.splits.items())) or "unclaimed",
        )
        for row in found
    ]
    show(table("Artists", ("id", "name", "aliases", "paid to"), rows))
