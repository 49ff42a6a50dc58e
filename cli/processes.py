"""`royalty serve | worker | beat | payer`: the processes of a deployment, each in the foreground until stopped."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(serve)
    app.command()(worker)
    app.command()(beat)
    app.command()(payer)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
) -> None:
    """Serve the API and its documentation (/docs)."""
    from api.server import serve as serve_api

    serve_api(host, port)


def worker(
    schedule: Annotated[
        bool, typer.Option(help="Run the schedule in this process as well; a deployment has `beat`.")
    ] = True,
) -> None:
    """Attribute what is logged, until stopped. Start more of them for more speed; killing one loses nothing."""
    from attribution.tasks import run_worker

    run_worker(beat=schedule)


def beat() -> None:
    """Wake workers for what was forgotten, on a schedule. One is enough."""
    from attribution.tasks import run_beat

    run_beat()


def payer() -> None:
    """Ask the payment providers every minute what has become of payments, until stopped."""
    from settlement.payouts.tasks import run_payer

    run_payer()
