"""`royalty export`: the ledger as files for auditors' and accountants' own tools, and the check of such files."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from cli.screen import progress, show
from database.engine import engine
from database.errors import Invalid
from database.roles import Role
from settlement.audit.export import Format, Writer, export, span_of_days, span_of_period
from settlement.audit.export_ads import write_ads
from settlement.audit.export_beancount import write_beancount
from settlement.audit.export_check import check_export
from settlement.audit.export_hledger import write_hledger

_WRITERS: Mapping[Format, Writer] = {
    Format.ADS: write_ads,
    Format.BEANCOUNT: write_beancount,
    Format.HLEDGER: write_hledger,
}


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("export")(export_command)


def export_command(
    directory: Annotated[Path, typer.Argument(help="A new directory; with --check, one that was exported.")],
    period_id: Annotated[str | None, typer.Option("--period", help="A period, for example 2026-10.")] = None,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day; default: of all.")
    ] = None,
    last: Annotated[
        datetime | None,
        typer.Option("--to", formats=["%Y-%m-%d"], help="Last day, included; default: of all."),
    ] = None,
    formats: Annotated[
        list[Format] | None, typer.Option("--format", help="May be given several times; default: all.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing: compare files with manifest.")
    ] = False,
) -> None:
    """Write the ledger of a period or of some days: audit data standard (CSV), beancount, hledger, and a manifest."""
    if check:
        _check(directory)
        return
    if period_id is not None and (first or last):
        raise Invalid("--period and --from or --to name two spans: give one")
    chosen = list(dict.fromkeys(formats or _WRITERS))
    # One snapshot for all files, or they would not tie.
    repeatable = engine(Role.AUDITOR).execution_options(isolation_level="REPEATABLE READ")
    with progress("exporting lines") as advance, Session(repeatable) as opened, opened.begin():
        span = (
            span_of_period(opened, period_id)
            if period_id is not None
            else span_of_days(opened, first.date() if first else None, last.date() if last else None)
        )
        digest = export(opened, directory, span, {name: _WRITERS[name] for name in chosen}, progress=advance)
    show(f"{span.first} to {span.last} ({span.zone}) in {directory}: {', '.join(chosen)}")
    show(f"SHA-256 of {directory.name}/manifest.json, to be kept elsewhere: {digest}")


def _check(directory: Path) -> None:
    found = check_export(directory)
    for fault in found.faults:
        show(fault)
    show(f"SHA-256 of {directory.name}/manifest.json: {found.manifest_sha256}")
    if found.faults:
        raise typer.Exit(1)
    show(f"{found.files} files are as the manifest says")
