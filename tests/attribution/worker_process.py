"""A real Celery worker in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attribution import jobs
from attribution.catalogue import Artist
from attribution.generate import pipeline_settings
from attribution.generation import ImageRecord
from attribution.ingest import log_images
from attribution.method import quick_method
from attribution.pipeline import Model
from attribution.placebo import PlaceboTable, SlotLevel
from attribution.recognition import NameMeasure, Probe, RecognitionTable, Scale, rule_of
from database.engine import session
from database.roles import Role

ROOT = Path(__file__).resolve().parent.parent.parent


@contextmanager
def running_worker(
    model: Path, log: Path, *arguments: str, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker on the test's database; ended with SIGTERM if it still runs."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *(arguments or ("-m", "attribution.worker"))],
            cwd=ROOT,
            env={
                **os.environ,
                "ROYALTY_MODEL": str(model),
                "ROYALTY_METHOD": "quick",
                "OMP_NUM_THREADS": "1",
                **environment,
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


def wait_until(condition: Callable[[], bool], log: Path, seconds: float = 60) -> None:
    """Wait for a condition; the worker's log is the message if it does not come."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, log.read_text()
        time.sleep(0.05)


def all_done() -> bool:
    """Whether every queued image is through."""
    with session(Role.ATTRIBUTION) as opened:
        found = jobs.status(opened)
    return found.open == 0 and found.done > 0


ARTISTS = [
    Artist("amara", 1, "Amara Diallo"),
    Artist("bruno", 1, "Bruno Keller"),
    Artist("chiyo", 1, "Chiyo Moriwaki"),
]
PROMPTS = [
    "a castle in the style of Amara Diallo",
    "a ring by Bruno Keller and Amara Diallo",
    "a star",
    "a big star, art by Chiyo Moriwaki",
]


def no_effect(model: Model) -> PlaceboTable:
    """Levels by which a made-up name does nothing: the tiny model's pictures mean nothing anyway."""
    method = quick_method(model)
    return PlaceboTable(
        placebo_sha256=method.placebo_sha256.hex(),
        weights_sha256=model.weights_sha256.hex(),
        names=(),
        settings={},
        cost={},
        levels=tuple(
            SlotLevel(players, slot, 0, 0, 0, 0, 40, ()) for players in (2, 3) for slot in range(1, players)
        ),
    )


def all_known(model: Model) -> RecognitionTable:
    """A table by which the model knows every artist: what is measured here is not whom a model of noise knows."""
    method = quick_method(model)
    rule = rule_of(method)

    def moving(name: str, move: NDArray[np.float32], distance: int) -> NameMeasure:
        return NameMeasure(name, (distance,) * rule.probes, np.tile(move, (rule.probes, 1)))

    directions = np.eye(rule.made_up_names + len(ARTISTS), dtype=np.float32)
    made_up = [moving(f"nobody {n}", directions[n] / 100, 1000 + n) for n in range(rule.made_up_names)]
    scale = Scale(
        rule=str(method.recognition),
        recognition_sha256=method.recognition_sha256.hex(),
        weights_sha256=model.weights_sha256.hex(),
        probes=tuple(Probe("a ring", n) for n in range(rule.probes)),
        settings={},
        names=tuple(made_up),
    )
    hers = directions[rule.made_up_names :]
    names = [moving(artist.name, move, 500_000_000) for artist, move in zip(ARTISTS, hers, strict=True)]
    return RecognitionTable(scale, tuple(names))


def log_images_of(model: Model, first: int, last: int) -> None:
    """Log images with these numbers."""
    settings = {**pipeline_settings(model), "steps": 2, "guidance": 3}
    records = [
        ImageRecord(external_id=f"img-{n:03}", prompt=PROMPTS[n % len(PROMPTS)], seed=n, **settings)
        for n in range(first, last)
    ]
    with session(Role.ATTRIBUTION) as opened:
        log_images(opened, records)
