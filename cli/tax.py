"""`royalty tax`: what is withheld and due to whom, and that it was paid to the authority."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.operator import operator
from database.engine import session
from database.errors import Invalid
from database.roles import Role
from settlement.money import format_money, from_decimal
from settlement.remittances import remit_tax, tax_due

group = typer.Typer(no_args_is_help=True, help="Withheld tax: what is due to whom, and what was remitted.")


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(group, name="tax")


@group.command("due")
def due_command() -> None:
    """List what is withheld for each territory and not remitted yet."""
    operator("payouts:write")
    with session(Role.SETTLEMENT) as opened:
        rows = tax_due(opened)
    for row in rows:
        print(
            f"{row.territory}  due {format_money(row.due, row.currency)}:"
            f" withheld {format_money(row.withheld, row.currency)},"
            f" given back with refunds {format_money(row.given_back, row.currency)},"
            f" remitted {format_money(row.remitted, row.currency)}"
        )
    if not rows:
        print("no tax was withheld")


@group.command("remit")
def remit_command(
    territory: Annotated[str, typer.Argument(help="Whose authority: two letters, as in ISO 3166.")],
    currency: Annotated[str, typer.Argument(help="In which the tax is withheld, for example EUR.")],
    amount: Annotated[str, typer.Argument(help="What the bank paid, for example 1250.00.")],
    on: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The day the bank paid it.")],
    reference: Annotated[
        str, typer.Option(help="The authority's or the bank's; the same one again posts nothing again.")
    ],
) -> None:
    """Post that withheld tax was paid to a territory's authority; never more than is withheld."""
    actor = operator("payouts:write").username
    if on.date() > datetime.now(UTC).date():
        raise Invalid(f"{on.date()} is in the future: say when the bank has paid it")
    micros, paid_at = from_decimal(amount), on.replace(hour=12, tzinfo=UTC)
    with session(Role.SETTLEMENT) as opened:
        new = remit_tax(opened, reference, territory, currency, micros, paid_at=paid_at, actor=actor)
    said = f"{format_money(micros, currency)} to {territory} on {on.date()}, reference {reference}"
    print(f"remitted {said}" if new else f"known already: {said}")
