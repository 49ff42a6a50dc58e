"""The worker as it runs: a Celery process of its own, killed, woken twice, not woken at all."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from attribution import broker, jobs
from attribution.attribute import Attributor, Catalogue
from attribution.catalogue import Artist, artists, record_artists
from attribution.generate import pipeline_settings
from attribution.generation import ImageRecord, logged_images
from attribution.ingest import log_images
from attribution.method import quick_method
from attribution.name_index import NameIndex
from attribution.pipeline import Model
from attribution.placebo import PlaceboTable, SlotLevel
from attribution.registration import ensure_method, runnable_methods
from attribution.results import ImageResult, placebo_levels
from database.engine import session
from database.roles import Role
from tests.attribution.worker_process import all_done, running_worker, wait_until

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
        method_sha256=method.sha256.hex(),
        weights_sha256=model.weights_sha256.hex(),
        names=(),
        settings={},
        cost={},
        levels=tuple(
            SlotLevel(players, slot, 0, 0, 0, 0, 40, ()) for players in (2, 3) for slot in range(1, players)
        ),
    )


@pytest.fixture
def world(database: str, tiny: Model) -> Iterator[str]:
    """A catalogue and a calibrated method; yields a superuser's conninfo."""
    with session(Role.ATTRIBUTION) as opened:
        record_artists(opened, ARTISTS, actor="test", reason="test")
        ensure_method(opened, quick_method(tiny), [no_effect(tiny)])
    yield database
    broker.disconnect()


def log(model: Model, first: int, last: int) -> None:
    """Log images with these numbers."""
    settings = {**pipeline_settings(model), "steps": 2, "guidance": 3}
    records = [
        ImageRecord(external_id=f"img-{n:03}", prompt=PROMPTS[n % len(PROMPTS)], seed=n, **settings)
        for n in range(first, last)
    ]
    with session(Role.ATTRIBUTION) as opened:
        log_images(opened, records)


def books(conninfo: str) -> list[tuple]:
    """Everything that was computed, without surrogate keys and times."""
    with psycopg.connect(conninfo) as connection:
        return connection.execute("""
            SELECT i.external_id, a.status, a.reason, a.players,
                (SELECT array_agg((slot, player, phi_numerator, paid_numerator, share_ppb) ORDER BY slot)
                 FROM attribution.attribution_share WHERE attribution_id = a.id)::text,
                (SELECT array_agg((coalition, value, picture_sha256) ORDER BY coalition)
                 FROM attribution.coalition_value WHERE attribution_id = a.id)::text
            FROM attribution.attribution AS a JOIN attribution.image AS i ON i.id = a.image_id
            ORDER BY i.external_id
        """).fetchall()


def computed(output: Path) -> int:
    """How many results a worker's log speaks of."""
    lines = (json.loads(line) for line in output.read_text().splitlines() if line.startswith("{"))
    return sum(line.get("results", 0) for line in lines)


def test_a_worker_process_attributes_what_is_logged_and_finds_what_was_forgotten(
    world: str, tiny: Model, tiny_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "worker.log"
    with running_worker(tiny_folder, output) as process:
        wait_until(lambda: "worker ready" in output.read_text(), output)
        log(tiny, 0, 12)
        wait_until(all_done, output)

        # A message that is lost: the sweeper finds the rows.
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(broker, "send_wake_up", lambda: False)
            log(tiny, 12, 16)
        wait_until(all_done, output)

        # Messages that are delivered again and again: nothing is computed twice.
        log(tiny, 16, 20)
        for _ in range(5):
            broker.send_wake_up()
        wait_until(all_done, output)

        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, output.read_text()

    rows = books(world)
    assert len(rows) == 20 == computed(output)
    for external_id, status, reason, players, shares, values in rows:
        kind = int(external_id.removeprefix("img-")) % len(PROMPTS)
        assert players == [2, 3, 0, 2][kind]
        if kind == 2:
            assert (status, reason, shares, values) == ("unattributed", "no_recognised_artist", None, None)
        else:
            assert shares is not None and values is not None
    assert "castle" not in output.read_text() and "Diallo" not in output.read_text(), "logs carry no prompts"
    with session(Role.ATTRIBUTION) as opened:
        found = jobs.status(opened)
    assert (found.done, found.open, found.failed) == (20, 0, 0) and found.per_second > 0


def test_killed_in_the_middle_the_next_worker_ends_with_the_same_shares(
    world: str, tiny: Model, tiny_folder: Path, tmp_path: Path
) -> None:
    log(tiny, 0, 48)
    first = tmp_path / "first.log"
    with running_worker(tiny_folder, first) as process:
        wait_until(lambda: len(books(world)) > 0, first)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    before = books(world)
    assert 0 < len(before) < 48
    with psycopg.connect(world) as connection:
        row = connection.execute("SELECT count(*) FROM attribution.attribution_job WHERE state = 'leased'")
        assert row.fetchone() != (0,), "it died with rows in its hands"

    second = tmp_path / "second.log"
    with running_worker(tiny_folder, second):
        wait_until(all_done, second)
    after = books(world)
    assert len(after) == 48
    assert [row for row in after if row in before] == before, "what was committed stands"

    # The same as in one go, on another process: alone with the method, to the last ppb.
    with session(Role.ATTRIBUTION) as opened:
        (method_id,) = runnable_methods(opened, tiny)
        images = logged_images(opened, list(opened.scalars(text("SELECT id FROM attribution.image"))))
        levels = placebo_levels(opened, method_id, tiny.weights_sha256)
        catalogue = Catalogue(NameIndex(artists(opened)), 0)
    outcomes = Attributor(tiny, quick_method(tiny)).attribute(images, catalogue, levels)
    alone = {}
    for image in images:
        outcome = outcomes[image.id]
        assert isinstance(outcome, ImageResult)
        alone[image.external_id] = {player.player: player.share_ppb for player in outcome.players}
    with psycopg.connect(world) as connection:
        paid = connection.execute("""
            SELECT i.external_id, s.player, s.share_ppb FROM attribution.attribution_share AS s
            JOIN attribution.attribution AS a ON a.id = s.attribution_id
            JOIN attribution.image AS i ON i.id = a.image_id
        """).fetchall()
    assert len(paid) == sum(map(len, alone.values()))
    assert all(alone[external_id][player] == share for external_id, player, share in paid)
