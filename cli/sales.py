"""`royalty sales` and `royalty refunds`: the events that earn, from files."""

from pathlib import Path
from typing import Annotated

import typer

from cli.import_report import report
from cli.operator import operator
from database.engine import session
from database.roles import Role
from settlement.sales import read_refunds, read_sales, record_refunds, record_sales

sales_group = typer.Typer(no_args_is_help=True, help="Sales of images: what earns.")
refunds_group = typer.Typer(no_args_is_help=True, help="Money given back on sales.")


def register(app: typer.Typer) -> None:
    """Add the groups to the application."""
    app.add_typer(sales_group, name="sales")
    app.add_typer(refunds_group, name="refunds")


@sales_group.command("import")
def import_sales(
    file: Annotated[Path, typer.Argument(help="JSON Lines or CSV; docs/images.md has the fields.")],
) -> None:
    """Record sales from a file: good lines go in, bad ones are listed."""
    actor = operator("sales:write").username
    given = read_sales(file)
    with session(Role.SETTLEMENT) as opened:
        outcomes = record_sales(opened, [record for _, record in given.lines], actor=actor)
    report("sales", [number for number, _ in given.lines], outcomes, given.bad)


@refunds_group.command("import")
def import_refunds(file: Annotated[Path, typer.Argument(help="JSON Lines or CSV.")]) -> None:
    """Record refunds and chargebacks from a file: good lines go in, bad ones are listed."""
    actor = operator("sales:write").username
    given = read_refunds(file)
    with session(Role.SETTLEMENT) as opened:
        outcomes = record_refunds(opened, [record for _, record in given.lines], actor=actor)
    report("refunds", [number for number, _ in given.lines], outcomes, given.bad)
