"""Calibrate the miniature's placebo levels: `python -m attribution.miniature.calibrate [--out FILE]`.

Renders made-up names with the default method version and with the quick one, and writes the tables that ship with
the weights. To be run again whenever the weights or a method version change; takes some minutes on two threads.
"""

import argparse
from itertools import product
from pathlib import Path
from time import perf_counter

from attribution.characteristic import Measurer
from attribution.method import MINIATURE_GUIDANCE, MINIATURE_STEPS, default_method, quick_method
from attribution.miniature import PLACEBO_PATH
from attribution.miniature.artists import VISIBLE_ARTISTS
from attribution.miniature.drawing import PIXELS, PLACES, SHAPES, SIZES, Scene
from attribution.miniature.prompts import describe
from attribution.pipeline import Model, load_model
from attribution.placebo import BareArtist, PlaceboTable, calibrate, write_tables
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
    parser.add_argument("--out", type=Path, default=PLACEBO_PATH)
    out = parser.parse_args().out
    model = load_model(device="cpu")
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
    write_tables(out, tables)


if __name__ == "__main__":
    main()
