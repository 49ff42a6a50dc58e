"""`royalty attribution method | register | calibrate`: what images are attributed with, and its calibration."""

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attribution.shapley import Baseline
from cli.attribution import group
from cli.operator import operator
from cli.screen import progress, show, table
from database.engine import session
from database.errors import NotFound
from database.roles import Role

if TYPE_CHECKING:
    from attribution.pipeline import Model
    from attribution.placebo import PlaceboTable
    from attribution.render import RenderRequest

MOST_PLAYERS = 4
"""Players of the largest game that is calibrated unless somebody asks for more: content and three artists."""

UNIT = Decimal(10**9)
"""Values and errors are asked for as people write them, and kept in billionths."""


class BuiltIn(StrEnum):
    """The method versions that come with the system."""

    EXACT = "exact"
    QUICK = "quick"


def register(_app: typer.Typer) -> None:
    """The commands are part of the group `attribution`, which is added there."""


@group.command("method")
def show_method() -> None:
    """Show what this installation attributes with: model, method version, and the games it is calibrated for."""
    from attribution.generate import pipeline_settings
    from attribution.placebo import find_table
    from attribution.registration import configured_method, recorded_method, shipped_tables
    from attribution.results import placebo_levels
    from cli.model import configured_model, usual_settings

    model = configured_model()
    # Looks only: a method version that is recorded becomes the one for new images.
    with session(Role.ATTRIBUTION) as opened:
        method = configured_method(opened, model)
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
        ("characteristic function", f"{method.characteristic_function} on the embedding {method.embedding}"),
        ("recorded", "yes" if method_id is not None else "no: the first worker does that"),
        ("calibrated for", ", ".join(f"{size} players" for size in sizes) or "nothing yet"),
    ]
    for name, value in rows:
        typer.echo(f"{name:24}{value}")  # not a table: what is copied into a log must stay on one line
    if not sizes:
        show("next: `royalty attribution calibrate`; until then images that name artists wait")


@group.command("register")
def register_method(
    name: Annotated[str, typer.Argument(help="Name of the new method version.")],
    like: Annotated[BuiltIn, typer.Option(help="What it is made of.")] = BuiltIn.EXACT,
    characteristic_function: Annotated[
        str | None,
        typer.Option(
            help="logged-image-cosine, logged-image-distance, text-cosine or artists-picture-cosine."
        ),
    ] = None,
    embedding: Annotated[str | None, typer.Option(help="clip, descriptor-1 or dinov2.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of coalitions; default: as logged.")] = None,
    baseline: Annotated[Baseline | None, typer.Option(help="Who gets v of the empty prompt.")] = None,
    minimum_gap: Annotated[
        str | None, typer.Option(help="Images with v(N) - v(nobody) up to this pay nobody: 0.02.")
    ] = None,
    minimum_fidelity: Annotated[
        str | None, typer.Option(help="Images whose file is less like our render pay nobody: 0.95.")
    ] = None,
    recognition: Annotated[
        str | None,
        typer.Option(help="Terms by which a name counts as known: names-1; none: every name counts."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Seeds of a sampled image, the logged one included.")
    ] = None,
    seeds_permille: Annotated[
        int | None, typer.Option(help="Thousandths of images that are played from so many seeds.")
    ] = None,
    exact_players: Annotated[
        int | None, typer.Option(help="Players up to which all coalitions are valued.")
    ] = None,
    players: Annotated[int | None, typer.Option(help="Players up to which orders are drawn.")] = None,
    standard_error: Annotated[
        str | None, typer.Option(help="What drawing may add to a Shapley value: 0.01.")
    ] = None,
    renders: Annotated[
        int | None, typer.Option(help="Pictures of one image at most where orders are drawn.")
    ] = None,
) -> None:
    """Record a method version: new images are attributed by the one recorded last, older results stand."""
    from attribution.registration import named_method
    from attribution.registration import register_method as record
    from attribution.results import placebo_levels
    from cli.model import configured_model

    operator("catalogue:write")
    given = {
        "characteristic_function": characteristic_function,
        "embedding": embedding,
        "protocol_steps": steps,
        "baseline": None if baseline is None else baseline.value,
        "minimum_gap": _billionths("--minimum-gap", minimum_gap),
        "minimum_fidelity": _billionths("--minimum-fidelity", minimum_fidelity),
        "seeds": seeds,
        "seeds_permille": seeds_permille,
        "maximum_exact_players": exact_players,
        "maximum_players": players,
        "standard_error": _billionths("--standard-error", standard_error),
        "maximum_renders": renders,
    }
    model = configured_model()
    with session(Role.ATTRIBUTION) as opened:
        base = named_method(opened, model, like.value)
        changes: dict[str, str | int | None] = {
            field: value for field, value in given.items() if value is not None
        }
        if recognition is not None:
            changes["recognition"] = None if recognition == "none" else recognition
        method, method_id = record(opened, model, name, base, changes)
        levels = placebo_levels(opened, method_id, model.weights_sha256)
    typer.echo(f"{method.name}  {method.sha256.hex()}")
    show("recorded: new images are attributed by it, and what is attributed stands")
    if levels:
        show(f"calibrated already for games of {', '.join(map(str, sorted(levels)))} players")
    else:
        show(
            f"next: `royalty attribution calibrate --method {method.name}`; until then images that name artists wait"
        )


def _billionths(option: str, given: str | None) -> int | None:
    """A number as people write it, in units of 10^-9."""
    if given is None:
        return None
    try:
        scaled = Decimal(given) * UNIT
        whole = int(scaled)
    except (ArithmeticError, ValueError):
        raise typer.BadParameter(f"{given!r} is no number such as 0.02", param_hint=option) from None
    if scaled != whole:
        raise typer.BadParameter(f"{given} has more than nine decimals", param_hint=option)
    return whole


@group.command()
def calibrate(
    artist: Annotated[
        list[str] | None,
        typer.Option(help="Id of an artist the model knows; default: the catalogue's first ones."),
    ] = None,
    most_players: Annotated[
        int, typer.Option(min=2, max=8, help="Players of the largest game, content included.")
    ] = MOST_PLAYERS,
    players: Annotated[
        list[int] | None,
        typer.Option(min=2, max=30, help="Only games of so many players; several times for several sizes."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Name of a registered method version; default: the configured one.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Write the table as JSON too.")] = None,
) -> None:
    """Measure what made-up names do on the configured model: the level that an artist must exceed to earn."""
    from attribution.placebo import write_tables

    operator("catalogue:write")
    sizes = players or range(2, most_players + 1)
    measured = ensure_calibrated(artist or [], sizes, method)
    if measured is None:
        show(
            f"games of {', '.join(map(str, sizes))} players are calibrated already; `royalty attribution method`"
        )
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
    artist_ids: Sequence[str] = (),
    sizes: Sequence[int] = range(2, MOST_PLAYERS + 1),
    method_name: str | None = None,
) -> "PlaceboTable | None":
    """Measure and record the placebo levels of the configured model and method, with a progress bar.

    Args:
        artist_ids: artists that the model knows, who hold the other slots; none: the catalogue's, by id.
        sizes: numbers of players, content included.
        method_name: of a method version; None: the configured one.

    Returns:
        The table of those sizes that were not calibrated before; None where all were.

    Raises:
        NotFound: an artist is not in the catalogue.
        Invalid: there are too few artists for the largest game.
    """
    from attribution.catalogue import artists
    from attribution.characteristic import Measurer
    from attribution.embedding import make_embedder
    from attribution.placebo import calibrate as measure
    from attribution.registration import (
        configured_method,
        ensure_method,
        named_method,
        record_placebo,
        shipped_recognition,
        shipped_tables,
    )
    from attribution.render import RenderEngine
    from attribution.results import placebo_levels
    from cli.model import configured_model

    model = configured_model()
    with session(Role.ATTRIBUTION) as opened:
        if method_name is None:
            method = configured_method(opened, model)
        else:
            method = named_method(opened, model, method_name)
        method_id = ensure_method(opened, method, shipped_tables(model), shipped_recognition(model))
        known = placebo_levels(opened, method_id, model.weights_sha256)
        catalogue = {found.id: found for found in artists(opened)}
    missing = sorted(set(sizes) - known.keys())
    if not missing:
        return None
    for artist_id in artist_ids:
        if artist_id not in catalogue:
            raise NotFound(f"there is no artist {artist_id}; `royalty catalogue show` lists them")
    with progress("calibrating") as advance:
        measured = measure(
            Measurer(
                RenderEngine(model, bucket=method.buckets[0], threads=method.threads),
                make_embedder(method.embedding, model),
            ),
            method,
            usual_request(model),
            [catalogue[artist_id] for artist_id in artist_ids or sorted(catalogue)],
            sizes=missing,
            progress=advance,
        )
    with session(Role.ATTRIBUTION) as opened:
        record_placebo(opened, method_id, measured)
    return measured


def usual_request(model: "Model") -> "RenderRequest":
    """How pictures of a model are made unless somebody says otherwise; prompt and seed are left open."""
    from attribution.generate import pipeline_settings
    from attribution.render import RenderRequest
    from cli.model import usual_settings

    fixed = pipeline_settings(model)
    steps, guidance = usual_settings(model)
    return RenderRequest(
        prompt="",
        seed=0,
        steps=steps,
        guidance=float(guidance),
        width=fixed["width"],
        height=fixed["height"],
        scheduler=fixed["scheduler"],
        scheduler_config=fixed["scheduler_config"],
    )
