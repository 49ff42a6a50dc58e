"""`royalty statement`: list, look at, and write out what was issued."""

import os
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select

from cli.screen import amount, money, progress, show, table
from database.engine import session
from database.errors import NotFound, Unavailable
from database.roles import Role
from settlement.ledger.checkpoints import VerifierKey
from settlement.periods.models import Period
from settlement.statements.body import MOVEMENTS, schema
from settlement.statements.files import FORMATS, write_statement_files, yearly_files
from settlement.statements.models import Statement
from settlement.statements.proof import verify_file

group = typer.Typer(no_args_is_help=True, help="Statements: list, show, write as JSON, CSV and PDF.")


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(group, name="statement")


@group.command("list")
def list_statements(
    period_id: Annotated[str | None, typer.Argument(help="A period; all if left out.")] = None,
) -> None:
    """Show the statements that were issued."""
    found = issued(period_id)
    rows = [
        (
            statement.number,
            statement.statement_id,
            *(
                amount(getattr(statement, name), statement.currency)
                for name in ("opening", "royalties", "late", "refunds", "payments", "closing", "payable")
            ),
        )
        for statement in found
    ]
    columns = (
        "no.",
        "statement",
        "opening",
        "royalties",
        "late",
        "refunds",
        "payments",
        "closing",
        "payable",
    )
    show(table("Statements", columns, rows, right=(columns[0], *columns[2:])))


@group.command("show")
def show_statement(statement_id: Annotated[str, typer.Argument(help="<period>/<payee>/<currency>")]) -> None:
    """Show one statement's summary, as its reader adds it up."""
    with session(Role.SETTLEMENT) as opened:
        statement = opened.scalar(select(Statement).where(Statement.statement_id == statement_id))
    if statement is None:
        raise NotFound(f"no statement {statement_id}; `royalty statement list` shows what was issued")
    names = ("opening", *MOVEMENTS, "closing", "payable", "held", "below_minimum", "below_unit")
    rows = [(name.replace("_", " "), money(getattr(statement, name), statement.currency)) for name in names]
    show(table(f"Statement {statement.number}: {statement_id}", ("", "amount"), rows, right=("amount",)))
    show(f"SHA-256 {statement.sha256.hex()}")


@group.command("export")
def export(
    period_id: Annotated[str, typer.Argument(help="A period.")],
    to: Annotated[Path, typer.Option(help="Directory; made if missing.")] = Path("statements"),
) -> None:
    """Write every statement of a period as JSON, CSV (its lines, its sections) and PDF."""
    paths = export_statements(period_id, to)
    show(f"{len(paths)} files in {to}")


@group.command("yearly")
def yearly_command(
    payee_id: Annotated[str, typer.Argument(help="A payee.")],
    year: Annotated[int, typer.Argument(min=1900, max=9999, help="Of the periods' starts.")],
    to: Annotated[Path, typer.Option(help="Directory; made if missing.")] = Path("statements"),
) -> None:
    """Write a payee's transparency report for a year, from her issued statements, as JSON and PDF."""
    with session(Role.SETTLEMENT) as opened:
        files = yearly_files(opened, payee_id, year)
    try:
        to.mkdir(parents=True, exist_ok=True)
        for format, content in files.items():
            path = to / f"{year}_{payee_id.replace('/', '_')}_transparency.{format}"
            path.write_bytes(content)
            show(str(path))
    except OSError as error:
        raise Unavailable(f"{to} cannot be written ({error.strerror}): name another directory") from error


@group.command("schema")
def schema_command() -> None:
    """Print the JSON Schema that every statement's body follows."""
    typer.echo(schema(), nl=False)


@group.command("verify")
def verify_command(
    file: Annotated[Path, typer.Argument(help="A statement's JSON file.")],
    key: Annotated[
        str | None, typer.Option(help="The platform's verifier key, as its operator publishes it.")
    ] = None,
) -> None:
    """Check, without the database, that a statement's file is whole and in the log that the platform has signed."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise NotFound(f"{file} cannot be read ({error.strerror})") from error
    sha256, head = verify_file(content, None if key is None else VerifierKey.read(key))
    show(f"the statement is whole: SHA-256 {sha256}")
    if head is None:
        show(
            "its proof fits the root that the file itself names, which nobody has signed: use --key to be sure"
        )
    else:
        show(f"it is in the log {head.origin} of {head.size} leaves, which this key has signed")


def issued(period_id: str | None = None) -> list[Statement]:
    """Statements by number, of one period or all.

    Raises:
        NotFound: there is no such period.
    """
    with session(Role.SETTLEMENT) as opened:
        if period_id is not None and opened.get(Period, period_id) is None:
            raise NotFound(f"there is no period {period_id}; `royalty period list` shows them")
        query = select(Statement).order_by(Statement.number)
        return list(
            opened.scalars(query if period_id is None else query.where(Statement.period_id == period_id))
        )


def export_statements(period_id: str, directory: Path) -> list[Path]:
    """Write the files of a period's statements, with a progress bar."""
    statements = issued(period_id)
    if not statements:
        raise NotFound(
            f"period {period_id} has no statements: it is not closed yet, or nobody has earned anything in it"
        )
    paths = []
    with progress(f"writing {period_id}") as advance, session(Role.SETTLEMENT) as opened:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        for path in write_statement_files(opened, statements, directory, processes=cores):
            paths.append(path)
            advance(len(paths), len(FORMATS) * len(statements))
    return paths
