"""`royalty attribution`: how far the workers are, what they attribute with, and its calibration."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attribution import jobs
from cli.operator import operator
from cli.screen import progress, show, table
from database.engine import session
from database.errors import NotFound
from database.roles import Role

if TYPE_CHECKING:
    from attribution.placebo import PlaceboTable

MOST_PLAYERS = 4
"""Players of the largest game that is calibrated unless somebody asks for more: content and three artists."""

group = typer.Typer(no_args_is_help=True, help="Attribution: progress, method, calibration.")


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


@group.command("method")
def show_method() -> None:
    """Show what this installation attributes with: model, method version, and the games it is calibrated for."""
    from attribution.generate import pipeline_settings
    from attribution.placebo import find_table
    from attribution.registration import configured_method, recorded_method, shipped_tables
    from attribution.results import placebo_levels
    from cli.model import configured_model, usual_settings

    model = configured_model()
    method = configured_method(model)
    # Looks only: a method version that is recorded becomes the one for new images.
    with session(Role.ATTRIBUTION) as opened:
        method_id = recorded_method(opened, method)
        levels = {} if method_id is None else placebo_levels(opened, method_id, model.weights_sha256)
    shipped = find_table(shipped_tables(model), method, model.weights_sha256)
    sizes = sorted({*levels, *(level.players for level in shipped.levels)} if shipped else levels)
    fixed = pipeline_settings(model)
    steps, guidance = usual_settings(model)
    rows = [
        ("model", model.source),
        ("weights_sha256", model.weights_sha256.hex()),
        ("scheduler", fixed["scheduler"]),
        ("size", f"{fixed['width']} x {fixed['height']}"),
        ("usual steps, guidance", f"{steps}, {guidance}"),
        ("device", f"{model.device.type}, {str(model.dtype).removeprefix('torch.')}"),
        ("method version", method.name),
        ("method sha256", method.sha256.hex()),
        ("recorded", "yes" if method_id is not None else "no: the first worker does that"),
        ("calibrated for", ", ".join(f"{size} players" for size in sizes) or "nothing yet"),
    ]
    for name, value in rows:
        typer.echo(f"{name:24}{value}")  # not a table: what is copied into a log must stay on one line
    if not sizes:
        show("next: `royalty attribution calibrate`; until then images that name artists wait")


@group.command()
def calibrate(
    artist: Annotated[
        list[str] | None,
        typer.Option(help="Id of an artist the model knows; default: the catalogue's first ones."),
    ] = None,
    most_players: Annotated[
        int, typer.Option(min=2, max=8, help="Players of the largest game, content included.")
    ] = MOST_PLAYERS,
    to: Annotated[Path | None, typer.Option(help="Write the table as JSON too.")] = None,
) -> None:
    """Measure what made-up names do on the configured model: the level that an artist must exceed to earn."""
    from attribution.placebo import write_tables

    operator("catalogue:write")
    measured = ensure_calibrated(artist or [], most_players)
    if measured is None:
        show(f"games of up to {most_players} players are calibrated already; `royalty attribution method`")
        return
    if to is not None:
        write_tables(to, [measured])
    rows = [
        (level.players, level.slot, *(f"{value / 1e9:+.4f}" for value in (level.mean, level.threshold)))
        for level in measured.levels
    ]
    columns = ("players", "slot", "mean", "threshold")
    show(table(f"What {len(measured.names)} made-up names do", columns, rows, right=columns[2:]))
    show("images that waited for this go on by themselves")


def ensure_calibrated(
    artist_ids: Sequence[str] = (), most_players: int = MOST_PLAYERS
) -> "PlaceboTable | None":
    """Measure and record the placebo levels of the configured model and method, with a progress bar.

    Args:
        artist_ids: artists that the model knows, who hold the other slots; none: the catalogue's, by id.
        most_players: players of the largest game, content included.

    Returns:
        The table; None where every size of game up to the largest was calibrated before.

    Raises:
        NotFound: an artist is not in the catalogue.
        Invalid: there are too few artists for the largest game.
    """
    from attribution.catalogue import artists
    from attribution.characteristic import Measurer
    from attribution.generate import pipeline_settings
    from attribution.placebo import calibrate as measure
    from attribution.registration import configured_method, ensure_method, record_placebo, shipped_tables
    from attribution.render import RenderEngine, RenderRequest
    from attribution.results import placebo_levels
    from cli.model import configured_model, usual_settings

    model = configured_model()
    method = configured_method(model)
    with session(Role.ATTRIBUTION) as opened:
        method_id = ensure_method(opened, method, shipped_tables(model))
        known = placebo_levels(opened, method_id, model.weights_sha256)
        catalogue = {found.id: found for found in artists(opened)}
    if known.keys() >= set(range(2, most_players + 1)):
        return None
    for artist_id in artist_ids:
        if artist_id not in catalogue:
            raise NotFound(f"there is no artist {artist_id}; `royalty catalogue show` lists them")
    fixed = pipeline_settings(model)
    steps, guidance = usual_settings(model)
    usual = RenderRequest(
        prompt="",
        seed=0,
        steps=steps,
        guidance=float(guidance),
        width=fixed["width"],
        height=fixed["height"],
        scheduler=fixed["scheduler"],
        scheduler_config=fixed["scheduler_config"],
    )
    with progress("calibrating") as advance:
        measured = measure(
            Measurer(RenderEngine(model, bucket=method.buckets[0], threads=method.threads)),
            method,
            usual,
            [catalogue[artist_id] for artist_id in artist_ids or sorted(catalogue)],
            most_players=most_players,
            progress=advance,
        )
    with session(Role.ATTRIBUTION) as opened:
        record_placebo(opened, method_id, measured)
    return measured
