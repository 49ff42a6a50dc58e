"""`royalty privacy`: erase a person's data, or hand everything out that is held of her."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from cli.operator import operator
from cli.screen import show
from database.engine import session
from database.errors import Unavailable
from database.roles import Role
from settlement.privacy import erase_customer, erase_payee, export_customer, export_payee, is_payee

group = typer.Typer(no_args_is_help=True, help="Erase a person's data, or hand them out.")

Subject = Annotated[str, typer.Argument(help="Id of a payee or of a customer.")]
Reason = Annotated[str, typer.Option(help="Why, for the record, which stays: name nobody.")]
Payee = Annotated[
    bool | None, typer.Option("--payee/--customer", help="Which of both, where an id is in use twice.")
]


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(group, name="privacy")


@group.command()
def erase(
    subject: Subject,
    reason: Reason,
    payee: Payee = None,
    unpaid: Annotated[bool, typer.Option(help="Even if money is owed: nobody can pay it then.")] = False,
    unattributed: Annotated[bool, typer.Option(help="Even if images wait for attribution.")] = False,
) -> None:
    """Erase a payee's personal data, or a customer's prompts and purchases. Amounts, shares and proofs stay."""
    actor = operator("privacy:write").username
    with session(Role.SETTLEMENT) as opened:
        if is_payee(opened, subject) if payee is None else payee:
            done = erase_payee(opened, subject, actor=actor, reason=reason, unpaid=unpaid)
        else:
            done = erase_customer(opened, subject, actor=actor, reason=reason, unattributed=unattributed)
    show(f"{done.erased} rows of {subject} erased")
    if done.artists:
        show(f"public names stay in the catalogue: artists {', '.join(done.artists)}")
    for place in done.named:
        show(f"named in words that stay: {place}")
    if done.files:
        show("still to be erased by whoever keeps them:")
        for file in done.files:
            typer.echo(f"  {file}")


@group.command()
def export(
    subject: Subject,
    reason: Reason,
    payee: Payee = None,
    to: Annotated[Path | None, typer.Option(help="File; `<id>.json` if left out.")] = None,
) -> None:
    """Write everything that is held of a payee or customer as one JSON file, which only its owner may read."""
    actor = operator("privacy:write").username
    with (
        session(Role.SETTLEMENT) as opened,
        session(Role.PAYER) as payer,
        session(Role.IDENTITY) as identity,
    ):
        if is_payee(opened, subject) if payee is None else payee:
            held = export_payee(opened, payer, identity, subject, actor=actor, reason=reason)
        else:
            held = export_customer(opened, subject, actor=actor, reason=reason)
        path = to or Path(f"{subject.replace('/', '_')}.json")
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
                json.dump(held, handle, ensure_ascii=False, indent=1)
                handle.write("\n")
        except OSError as error:
            raise Unavailable(f"{path} cannot be written ({error.strerror}): name another file") from error
    show(f"{sum(map(len, held['tables'].values()))} rows in {path}")
