"""`royalty attribution`: how far the workers are, calibration, and rendering again to check."""

import time
from typing import Annotated

import typer

from attribution import jobs
from cli.operator import operator
from cli.screen import progress, show, table
from database.engine import session
from database.roles import Role

group = typer.Typer(no_args_is_help=True, help="Attribution: progress, placebo calibration, verification.")


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(group, name="attribution")


@group.command()
def status(
    watch: Annotated[bool, typer.Option(help="Stay until nothing is open, with a progress bar.")] = False,
) -> None:
    """Show how many images are attributed, how fast, and what waits or failed."""
    if watch:
        with progress("attributing") as advance:
            while True:
                with session(Role.ATTRIBUTION) as opened:
                    found = jobs.status(opened)
                advance(found.done + found.failed, found.done + found.failed + found.open)
                if not found.open:
                    break
                time.sleep(0.5)
    with session(Role.ATTRIBUTION) as opened:
        found = jobs.status(opened)
    rows = [(name, getattr(found, name)) for name in ("pending", "leased", "done", "failed")]
    show(table("Attribution", ("state", "images"), rows, right=("images",)))
    left = "" if found.seconds_left is None else f", {found.seconds_left:.0f} s left"
    show(f"{found.per_second:.2f} images/s over the last minute{left}")
    if found.reasons:
        show(
            table(
                "Why images wait or failed",
                ("images", "reason"),
                [(n, why) for why, n in found.reasons.items()],
            )
        )


@group.command()
def retry() -> None:
    """Try failed images again."""
    operator("images:write")
    with session(Role.ATTRIBUTION) as opened:
        number = jobs.retry_failed(opened)
    show(f"{number} images are queued again")
