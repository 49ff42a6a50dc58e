"""Calibrate the miniature: `python -m attribution.miniature.calibrate [--out FOLDER] [--only placebo|recognition]`.

Renders made-up names and the artists' with the default method version and with the quick one, and writes the tables of
placebo levels and of known names that ship with the weights. To be run again whenever the weights or a method version
change; takes some minutes on two threads.
"""

import argparse
from itertools import product
from pathlib import Path
from time import perf_counter

from attribution.characteristic import Measurer
from attribution.method import MINIATURE_GUIDANCE, MINIATURE_STEPS, default_method, quick_method
from attribution.miniature import MINIATURE_PATH
from attribution.miniature.artists import ARTISTS, VISIBLE_ARTISTS
from attribution.miniature.drawing import PIXELS, PLACES, SHAPES, SIZES, Scene
from attribution.miniature.prompts import describe
from attribution.name_index import NameIndex
from attribution.pipeline import Model, load_model
from attribution.placebo import BareArtist, PlaceboTable, calibrate, write_tables
from attribution.recognition import RecognitionTable, judge, measure_names, measure_scale, write_recognition
from attribution.registration import PLACEBO_FILE, RECOGNITION_FILE
from attribution.render import RenderEngine, RenderRequest


def usual_request(model: Model) -> RenderRequest:
    """The sampler that the miniature's pictures are usually made with; prompt and seed are left open."""
    scheduler = model.pipeline.scheduler
    return RenderRequest(
        prompt="",
        seed=0,
        steps=MINIATURE_STEPS,
        guidance=MINIATURE_GUIDANCE,
        width=PIXELS,
        height=PIXELS,
        scheduler=type(scheduler).__name__,
        scheduler_config=dict(scheduler.config),
    )


def contents() -> list[str]:
    """Every shape in every size and place, neighbours in the list as different as can be."""
    scenes = [Scene(shape, size, place) for size, place in product(SIZES, PLACES) for shape in SHAPES]
    return [describe(scene) for scene in scenes]


def main() -> None:
    """Calibrate and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=MINIATURE_PATH, help="folder that the tables go to")
    parser.add_argument("--only", choices=("placebo", "recognition"), help="only the tables of this kind")
    arguments = parser.parse_args()
    model = load_model(device="cpu")
    if arguments.only != "recognition":
        write_tables(arguments.out / PLACEBO_FILE, placebo_tables(model))
    if arguments.only != "placebo":
        write_recognition(arguments.out / RECOGNITION_FILE, recognition_tables(model))


def placebo_tables(model: Model) -> list[PlaceboTable]:
    """What made-up names do in games, by each method version at hand."""
    artists = [BareArtist(artist.name, artist.name) for artist in VISIBLE_ARTISTS]
    tables: list[PlaceboTable] = []
    for method in (default_method(model), quick_method(model)):
        start = perf_counter()
        measurer = Measurer(RenderEngine(model, bucket=method.buckets[0], threads=method.threads))
        table = calibrate(measurer, method, usual_request(model), artists, contents=contents())
        tables.append(table)
        print(f"{method.name}: {table.cost} in {perf_counter() - start:.0f} s")
        for level in table.levels:
            mean, threshold = (f"{value / 1e9:+.4f}" for value in (level.mean, level.threshold))
            errors = (level.mean_standard_error / 1e9, level.threshold_standard_error / 1e9)
            print(
                f"  n={level.players} slot={level.slot}  pi {mean} ({errors[0]:.4f})  q {threshold} ({errors[1]:.4f})"
            )
    return tables


def recognition_tables(model: Model) -> list[RecognitionTable]:
    """Which of the miniature's artists it knows, by each method version at hand."""
    names = [artist.name for artist in ARTISTS]
    index = NameIndex([BareArtist(name, name) for name in names])
    tables: list[RecognitionTable] = []
    for method in (default_method(model), quick_method(model)):
        start = perf_counter()
        measurer = Measurer(RenderEngine(model, bucket=method.buckets[0], threads=method.threads))
        scale = measure_scale(measurer, method, usual_request(model), index, contents=contents())
        table = RecognitionTable(
            scale, tuple(found for some in measure_names(measurer, scale, names) for found in some)
        )
        tables.append(table)
        print(f"{method.name}: {measurer.engine.stats.rendered} pictures in {perf_counter() - start:.0f} s")
        for verdict in judge(scale, table.names, {}, names):
            known = "known" if verdict.recognised else "not known"
            print(
                f"  {verdict.name}: {known}, moves by {verdict.movement / 1e9:.4f} (made-up names"
                f" {verdict.threshold / 1e9:.4f}), told apart {verdict.hits} times among {verdict.classes}"
            )
    return tables


if __name__ == "__main__":
    main()
