"""`royalty dispute`: what payees object to in their statements, and what they are answered."""

from typing import Annotated

import typer

from cli.operator import operator
from cli.screen import show, table
from database.engine import session
from database.roles import Role
from settlement import disputes
from settlement.payouts.holds import open_hold

group = typer.Typer(no_args_is_help=True, help="What payees object to in their statements; it moves nothing.")

Number = Annotated[int, typer.Argument(help="The dispute's number.")]


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(group, name="dispute")


@group.command("open")
def open_dispute(
    statement: Annotated[
        str, typer.Argument(help="<period>/<payee>/<currency>, for example 2026-10/pay-1/EUR.")
    ],
    words: Annotated[str, typer.Option(help="What is wrong, in the payee's own words.")],
    line: Annotated[str | None, typer.Option(help="A line of it, as the statement writes it.")] = None,
    sale: Annotated[str | None, typer.Option(help="A sale of it.")] = None,
    hold: Annotated[
        bool, typer.Option("--hold", help="Stop the payee's payouts until it is answered.")
    ] = False,
) -> None:
    """Open a dispute for a payee who did not do so in the portal."""
    actor = operator("payouts:write" if hold else "runs:write").username
    with session(Role.SETTLEMENT) as opened:
        number = disputes.open_dispute(opened, statement, words, line=line, sale=sale, actor=actor)
        payee = disputes.find_dispute(opened, number).payee_id
        if hold:
            opened_hold = open_hold(opened, payee, f"dispute {number}", actor)
    show(
        f"dispute {number} is open; next: `royalty dispute answer {number} --accept | --reject --reason ...`"
    )
    if hold:
        show(f"hold {opened_hold} stops {payee}'s payouts: release it once the dispute is answered")


@group.command("answer")
def answer(
    number: Number,
    reason: Annotated[str, typer.Option(help="Why; the payee reads it.")],
    accept: Annotated[bool, typer.Option("--accept/--reject", help="Whether the payee is right.")],
    correction: Annotated[
        str | None, typer.Option(help="The correction that an accepted one leads to.")
    ] = None,
) -> None:
    """Answer a dispute, once."""
    actor = operator("runs:write").username
    with session(Role.SETTLEMENT) as opened:
        disputes.answer_dispute(
            opened,
            number,
            "accepted" if accept else "rejected",
            reason,
            actor=actor,
            correction_id=correction,
        )
    show(f"dispute {number} is {'accepted' if accept else 'rejected'}")


@group.command("list")
def list_disputes(
    every: Annotated[bool, typer.Option("--all", help="Also those that are answered.")] = False,
) -> None:
    """Show the disputes that are open, newest first."""
    found: list[disputes.DisputeView] = []
    with session(Role.SETTLEMENT) as opened:
        before = None
        while page := disputes.disputes(opened, before=before, limit=1_000, only_open=not every):
            found += page
            before = page[-1].number
    rows = [
        (
            view.number,
            view.payee_id,
            view.statement_id,
            f"{view.about} {view.subject}" if view.subject else view.about,
            f"{view.opened_at:%Y-%m-%d}",
            view.outcome or "open",
        )
        for view in found
    ]
    show(table("Disputes", ("dispute", "payee", "statement", "about", "opened", "outcome"), rows))


@group.command("show")
def show_dispute(number: Number) -> None:
    """Show one dispute in the payee's own words, and its answer."""
    with session(Role.SETTLEMENT) as opened:
        view = disputes.find_dispute(opened, number)
    rows: list[tuple[str, object]] = [
        ("payee", view.payee_id),
        ("statement", view.statement_id),
        ("about", f"{view.about} {view.subject}" if view.subject else view.about),
        ("says", view.words or "(erased)"),
        ("opened", f"{view.opened_at:%Y-%m-%d %H:%M}"),
        ("outcome", view.outcome or "open"),
    ]
    if view.answered_at is not None:
        rows += [
            ("because", view.reason),
            ("correction", view.correction_id),
            ("answered", f"{view.answered_at:%Y-%m-%d %H:%M}"),
        ]
    show(table(f"Dispute {number}", ("what", "says"), rows))
