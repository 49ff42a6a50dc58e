"""`royalty serve | worker | beat`: the processes of a deployment, each in the foreground until stopped."""

import os
import sys
from typing import Annotated

import typer

from database.settings import get_settings


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(serve)
    app.command()(worker)
    app.command()(beat)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
) -> None:
    """Serve the API and its documentation (/docs)."""
    from api.server import serve as serve_api

    serve_api(host, port)


def worker() -> None:
    """Attribute what is logged, until stopped. Start more of them for more speed; killing one loses nothing."""
    _celery(
        "worker",
        "--pool",
        "solo",
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
        "--loglevel",
        "INFO",
    )


def beat() -> None:
    """Wake workers for what was forgotten, on a schedule. One is enough."""
    get_settings().royalty_home.mkdir(parents=True, exist_ok=True)
    _celery("beat", "--loglevel", "INFO")


def _celery(*arguments: str) -> None:
    # In place of this process, so that a signal reaches it and nothing stands between.
    os.execv(
        sys.executable,
        [sys.executable, "-m", "celery", "--app", "attribution.tasks:app", "--quiet", *arguments],
    )  # noqa: S606
