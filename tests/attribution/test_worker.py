"""The worker as it runs: a Celery process of its own, killed, woken twice, not woken at all."""

import json
import signal
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from attribution import broker, jobs
from attribution.attribute import Attributor, Catalogue
from attribution.catalogue import artists
from attribution.generation import logged_images
from attribution.method import quick_method
from attribution.name_index import NameIndex
from attribution.pipeline import Model
from attribution.registration import runnable_methods
from attribution.results import ImageResult, placebo_levels
from database.engine import session
from database.roles import Role
from tests.attribution.worker_process import PROMPTS, all_done, log_images_of, running_worker, wait_until


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


def leased(conninfo: str) -> int:
    """How many rows a worker has in its hands."""
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(
            "SELECT count(*) FROM attribution.attribution_job WHERE state = 'leased'"
        ).fetchone()
    assert row is not None
    return int(row[0])


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
        log_images_of(tiny, 0, 12)
        wait_until(all_done, output)

        # A message that is lost: the sweeper finds the rows.
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(broker, "send_wake_up", lambda: False)
            log_images_of(tiny, 12, 16)
        wait_until(all_done, output)

        # Messages that are delivered again and again: nothing is computed twice.
        log_images_of(tiny, 16, 20)
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
    log_images_of(tiny, 0, 48)
    first = tmp_path / "first.log"
    with running_worker(tiny_folder, first) as process:
        # Between two batches it has none: it is to die with rows in its hands.
        wait_until(lambda: len(books(world)) > 0 and leased(world) > 0, first)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    before = books(world)
    assert 0 < len(before) < 48
    assert leased(world) > 0

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
