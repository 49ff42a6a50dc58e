"""`royalty advance`: money paid to a payee before she earned it, agreed by one person and approved by another."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.operator import operator
from cli.screen import money, show, table
from database.engine import session
from database.errors import Invalid
from database.roles import Role
from settlement import advances
from settlement.money import from_decimal

group = typer.Typer(
    no_args_is_help=True, help="Advances: agreed, approved, paid, and recouped by later closes."
)

AdvanceId = Annotated[str, typer.Argument(help="The advance's id, for example of the agreement.")]
On = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="When the bank booked it (default: now).")
]


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(group, name="advance")


@group.command()
def propose(
    advance_id: AdvanceId,
    payee: Annotated[str, typer.Argument(help="Who gets it.")],
    amount: Annotated[str, typer.Argument(help="In her payout currency, for example 500.00.")],
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
) -> None:
    """Record an advance as agreed; nothing is paid yet. The same again changes nothing."""
    actor = operator("payouts:write").username
    with session(Role.SETTLEMENT) as opened:
        advances.record_advance(opened, advance_id, payee, from_decimal(amount), actor=actor, reason=reason)
        advance = advances.find_advance(opened, advance_id)
        owed = money(advance.amount_micros, advance.currency)
        digest = advance.content_sha256.hex()[:12]
    show(f"advance {advance_id} of {owed} to {payee} is recorded; digest {digest}")
    show(f"next: another operator runs `royalty advance approve {advance_id}`")


@group.command()
def approve(advance_id: AdvanceId) -> None:
    """Approve an advance that another operator recorded."""
    checker = operator("payouts:approve").username
    with session(Role.APPROVER) as opened:
        advances.approve_advance(opened, advance_id, checker=checker)
    show(
        f"advance {advance_id} is approved by {checker}; once it is paid: `royalty advance pay {advance_id}`"
    )


@group.command()
def pay(advance_id: AdvanceId, on: On = None) -> None:
    """Post that the bank paid an approved advance: closes recoup it from then on."""
    actor = operator("payouts:write").username
    with session(Role.SETTLEMENT) as opened:
        posted = advances.pay_advance(opened, advance_id, paid_at=_moment(on), actor=actor)
    show(f"advance {advance_id} is paid" if posted else f"advance {advance_id} was posted before")


@group.command("return")
def return_advance(advance_id: AdvanceId, on: On = None) -> None:
    """Post that an advance came back before anything of it was recouped: nobody owes it."""
    actor = operator("payouts:write").username
    with session(Role.SETTLEMENT) as opened:
        posted = advances.return_advance(opened, advance_id, returned_at=_moment(on), actor=actor)
    show(f"advance {advance_id} came back" if posted else f"advance {advance_id} was posted before")


@group.command("list")
def list_advances() -> None:
    """Show every advance: who stands for it, and what is left to recoup."""
    found: list[advances.AdvanceStatus] = []
    with session(Role.SETTLEMENT) as opened:
        while page := advances.advances(
            opened, after=found[-1].advance.advance_id if found else "", limit=1_000
        ):
            found += page
    rows = []
    for status in found:
        advance = status.advance
        left = advance.amount_micros - status.recouped_micros
        rows.append(
            (
                advance.advance_id,
                advance.payee_id,
                money(advance.amount_micros, advance.currency),
                status.state,
                money(left, advance.currency) if status.state == "paid" else "",
                advance.actor,
                status.checker,
                f"{status.paid_at:%Y-%m-%d}" if status.paid_at else "",
            )
        )
    columns = ("advance", "payee", "amount", "state", "left to recoup", "agreed by", "approved by", "paid")
    show(table("Advances", columns, rows, right=("amount", "left to recoup")))


def _moment(day: datetime | None) -> datetime:
    """Noon of a day named, in UTC, or now."""
    moment = day.replace(hour=12, tzinfo=UTC) if day else datetime.now(UTC)
    if moment > datetime.now(UTC):
        raise Invalid("--on is in the future: say when the bank has booked it")
    return moment
