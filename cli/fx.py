"""`royalty fx`: rates of exchange, as sets of a day that an operator enters."""

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from cli.operator import operator
from cli.screen import show, table
from database.engine import session
from database.errors import Invalid
from database.roles import Role
from settlement.fx import FxRate, fx_rates, parse_rate, rate_to_decimal, record_fx_rates
from settlement.rates import platform_at

group = typer.Typer(
    no_args_is_help=True, help="Rates of exchange: what one unit of a currency is worth in another."
)


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(group, name="fx")


@group.command()
def enter(
    rates: Annotated[
        list[str], typer.Argument(help="SOURCE/TARGET=RATE, for example USD/EUR=0.9215; several are one set.")
    ],
    since: Annotated[
        datetime,
        typer.Option(
            "--from",
            formats=["%Y-%m-%d"],
            help="The day from which they are in force, in the platform's zone.",
        ),
    ],
    publisher: Annotated[str, typer.Option(help="Who says so: ECB, a bank, a contract.")],
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "entered by hand",
) -> None:
    """Enter a set of rates, whole or not at all; what is known already is left alone."""
    actor = operator("catalogue:write").username
    with session(Role.SETTLEMENT) as opened:
        zone = ZoneInfo(platform_at(opened, datetime.now(UTC)).zone)
        given = [_rate(rate, since.replace(tzinfo=zone), publisher) for rate in rates]
        written = record_fx_rates(opened, given, actor=actor, reason=reason)
    show(f"{written} of {len(given)} rates are entered" if written else "every one of these rates was known")


@group.command("list")
def list_rates() -> None:
    """Show every rate that was ever entered, by pair of currencies, the newest first."""
    with session(Role.SETTLEMENT) as opened:
        zone = ZoneInfo(platform_at(opened, datetime.now(UTC)).zone)
        rows = [
            (
                rate.source_currency,
                rate.target_currency,
                f"{rate.valid_from.astimezone(zone):%Y-%m-%d}",
                rate_to_decimal(rate.rate_trillionths),
                rate.source,
                rate.actor,
                rate.reason,
            )
            for rate in fx_rates(opened)
        ]
    columns = ("one", "in", "from", "rate", "publisher", "entered by", "why")
    show(table("Rates of exchange", columns, rows, right=("rate",)))


def _rate(text: str, since: datetime, publisher: str) -> FxRate:
    pair, _, rate = text.partition("=")
    source, slash, target = pair.partition("/")
    if not (slash and rate):
        raise Invalid(f"{text[:40]!r} is not a rate: write SOURCE/TARGET=RATE, for example USD/EUR=0.9215")
    return FxRate(source, target, since, parse_rate(rate), publisher)
