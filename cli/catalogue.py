"""`royalty catalogue`: artists, payees, contracts, rate cards, platform terms, from one readable file."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from cli.operator import operator
from cli.screen import percent, show, table
from database.engine import session
from database.roles import Role
from settlement.catalogue import Term, TermVersion, catalogue_rows, term_versions
from settlement.catalogue_file import InvalidCatalogue, load_catalogue
from settlement.rates import platform_now
from settlement.suspense import unclaimed_artists

VERSIONS_READ = 1_000
"""Versions of a term that are asked for at a time."""

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
            ", ".join(f"{payee} {percent(ppb)}" for payee, ppb in sorted(row.splits.items()))
            or row.status.replace("_", " "),
        )
        for row in found
    ]
    show(table("Artists", ("id", "name", "aliases", "paid to"), rows))


@group.command()
def terms() -> None:
    """Show every version of every term: from when until when, what it says, who recorded it and why.

    Days are days in the platform's zone, as the catalogue file has them and `royalty correction propose` takes them.
    """
    with session(Role.SETTLEMENT) as opened:
        platform = platform_now(opened)
        zone = ZoneInfo("UTC" if platform is None else platform.zone)
    for term in Term:
        versions: list[TermVersion] = []
        with session(Role.SETTLEMENT) as opened:
            while page := term_versions(
                opened, term, after=versions[-1].id if versions else 0, limit=VERSIONS_READ
            ):
                versions += page
        rows = [
            (
                version.thing,
                version.valid_from.astimezone(zone).date(),
                version.valid_to.astimezone(zone).date() if version.valid_to else "",
                json.dumps(version.says, sort_keys=True),
                version.actor,
                version.reason,
            )
            for version in sorted(versions, key=lambda version: (version.thing, version.valid_from))
        ]
        title = term.value.replace("_", " ").capitalize()
        show(table(title, ("id", "valid from", "until", "says", "recorded by", "why"), rows))


@group.command()
def unclaimed() -> None:
    """List the artists whose shares wait for a contract, as the public list has them."""
    rows = []
    after = ""
    with session(Role.SETTLEMENT) as opened:
        while page := unclaimed_artists(opened, after=after, limit=1_000):
            rows += [(row.artist_id, row.name, row.since, row.until or "nobody else gets it") for row in page]
            after = page[-1].artist_id
    show(table("Artists without a contract", ("id", "name", "waiting since", "fallback key with"), rows))
