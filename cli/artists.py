"""`royalty artists`: whom the model knows, and artists of the catalogue that turned out to be one person."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from cli.operator import operator
from cli.screen import progress, show, table
from database.engine import session
from database.errors import NotFound
from database.roles import Role

if TYPE_CHECKING:
    from attribution.catalogue import Artist
    from attribution.recognition import Verdict

group = typer.Typer(no_args_is_help=True, help="Artists: whom the model knows, and who is whom.")


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(group, name="artists")


@group.command()
def recognise(
    artists: Annotated[
        list[str] | None, typer.Option(help="Id of an artist; several times for several. Default: all.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Folder or hub id of a model; default: the configured one.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Name of a registered method version; default: the configured one.")
    ] = None,
) -> None:
    """Measure which artists the model knows: only they are players, other names are content.

    What is measured already is not measured again; a command that was stopped goes on where it stood.
    """
    operator("catalogue:write")
    found = ensure_recognised(artists or (), model=model, method_name=method)
    if not found:
        show("everybody is measured already; `royalty artists known` lists them")
        return
    rows = [
        (
            escape(verdict.name),
            "[green]known[/green]" if verdict.recognised else "[red]not known[/red]",
            f"{verdict.movement / 1e9:.4f}",
            f"{verdict.threshold / 1e9:.4f}",
            f"{verdict.hits} of {len(verdict.taken_for)}",
            verdict.classes,
            f"{verdict.chance_ppb / 1e9:.2g}",
        )
        for verdict in found
    ]
    columns = ("name", "the model", "moves by", "made-up names", "told apart", "of names", "by chance")
    show(table("What names do to this model's pictures", columns, rows, right=columns[2:]))
    show("images that waited for this go on by themselves")


@group.command()
def known(
    method: Annotated[
        str | None, typer.Option(help="Name of a registered method version; default: the configured one.")
    ] = None,
) -> None:
    """List the catalogue's artists by whether the configured model knows them."""
    from attribution.catalogue import artists as catalogue
    from attribution.known_names import read_gate
    from attribution.registration import configured_method, named_method
    from cli.model import configured_model

    model = configured_model()
    with session(Role.ATTRIBUTION) as opened:
        version = named_method(opened, model, method) if method else configured_method(opened, model)
        everybody = catalogue(opened)
        gate = read_gate(opened, version, model.weights_sha256, everybody)
    rows = [
        (
            escape(artist.id),
            escape(artist.name),
            "counts: the method asks for no recognition"
            if gate is None
            else "known"
            if artist.id in gate.recognised
            else "not measured: images that name her wait"
            if artist.id in gate.unmeasured
            else "not known: her name is content",
        )
        for artist in everybody
    ]
    show(table(f"Artists by method {version.name}", ("id", "name", "the model"), rows))
    if gate is not None and gate.unmeasured:
        show("next: `royalty artists recognise`")


@group.command()
def merge(
    artist: Annotated[str, typer.Argument(help="Id of the artist who is somebody else.")],
    into: Annotated[str, typer.Option(help="Id of the artist she is.")],
    reason: Annotated[str, typer.Option(help="How that is known, for the record.")],
) -> None:
    """Record that two artists of the catalogue are one person: from now on the names of both are hers.

    What was attributed before keeps its ids and is paid as it was. It cannot be undone.
    """
    from attribution.catalogue import merge_artists

    actor = operator("catalogue:write").username
    with session(Role.SETTLEMENT) as opened:
        merge_artists(opened, artist, into, actor=actor, reason=reason)
    show(
        f"{escape(artist)} is {escape(into)} from now on; contracts of {escape(artist)} pay what was attributed before"
    )


def _among(everybody: "list[Artist]", artist_ids: Sequence[str]) -> "list[Artist]":
    """Those with these ids, or everybody."""
    known_ids = {artist.id for artist in everybody}
    for artist_id in artist_ids:
        if artist_id not in known_ids:
            raise NotFound(f"there is no artist {artist_id}; `royalty catalogue show` lists them")
    return [artist for artist in everybody if not artist_ids or artist.id in artist_ids]


def ensure_recognised(
    artist_ids: Sequence[str] = (), *, model: str | None = None, method_name: str | None = None
) -> "list[Verdict]":
    """Measure and record which names a model knows, with a progress bar; nothing is measured twice.

    Args:
        artist_ids: whom to measure; none: everybody in the catalogue.
        model: folder or hub id; None: the configured one.
        method_name: of a method version; None: the configured one.

    Returns:
        The verdicts on the names that were judged now.

    Raises:
        NotFound: an artist is not in the catalogue.
        Invalid: the method version asks for no recognition.
    """
    from attribution.catalogue import artists
    from attribution.characteristic import Measurer
    from attribution.embedding import make_embedder
    from attribution.known_names import (
        find_scale,
        names_of,
        names_to_measure,
        record_measures,
        record_scale,
        record_verdicts,
        recorded_measures,
    )
    from attribution.name_index import NameIndex
    from attribution.pipeline import load_model
    from attribution.recognition import Scale, measure_names, measure_scale, pictures_of, rule_of
    from attribution.registration import (
        configured_method,
        ensure_method,
        named_method,
        shipped_recognition,
        shipped_tables,
    )
    from attribution.render import RenderEngine
    from cli.methods import usual_request
    from cli.model import configured_model
    from database.settings import get_settings

    settings = get_settings()
    loaded = (
        configured_model()
        if model is None
        else load_model(model, embedding=settings.royalty_embedding_model, download=settings.royalty_download)
    )
    with session(Role.ATTRIBUTION) as opened:
        method = (
            configured_method(opened, loaded)
            if method_name is None
            else named_method(opened, loaded, method_name)
        )
        rule = rule_of(method)
        method_id = ensure_method(opened, method, shipped_tables(loaded), shipped_recognition(loaded))
        everybody = artists(opened)
        row = find_scale(opened, method, loaded.weights_sha256)
        asked = names_to_measure(opened, row.id if row else None, _among(everybody, artist_ids))
    if not asked:
        return []
    owners = {name: artist.id for artist in everybody for name in names_of(artist)}
    measurer = Measurer(
        RenderEngine(loaded, bucket=method.buckets[0], threads=method.threads),
        make_embedder(method.embedding, loaded),
    )
    verdicts: list[Verdict] = []
    done = 0
    with progress("measuring whom the model knows") as advance:

        def count(pictures: int) -> None:
            nonlocal done
            done += pictures
            advance(done, max(done, most))

        most = pictures_of(rule, len(asked), with_scale=row is None)
        if row is None:
            scale = measure_scale(
                measurer, method, usual_request(loaded), NameIndex(everybody), progress=count
            )
            with session(Role.ATTRIBUTION) as opened:
                row = record_scale(opened, method_id, scale)
        # A name that is not known leaves her aliases to be tried, one after the other.
        while asked:
            with session(Role.ATTRIBUTION) as opened:
                there = {measure.name for measure in recorded_measures(opened, row.id)}
            missing = [name for name in asked if name not in there]
            for some in measure_names(measurer, Scale.from_json(row.document), missing, count):
                with session(Role.ATTRIBUTION) as opened:
                    record_measures(opened, row.id, some)
            with session(Role.ATTRIBUTION) as opened:
                verdicts += record_verdicts(opened, row, asked, owners)
                asked = names_to_measure(opened, row.id, _among(everybody, artist_ids))
            most += pictures_of(rule, len(asked), with_scale=False)
    return verdicts
