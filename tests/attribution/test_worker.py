"""The worker as it runs: Celery processes killed, woken twice, not woken at all, three at once, short of memory."""

import json
import signal
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import psycopg
import pytest
import torch
from sqlalchemy import text

from attribution import broker, jobs
from attribution.attribute import Attributor, Catalogue
from attribution.catalogue import Artist, artists, record_artists
from attribution.generate import pipeline_settings
from attribution.generation import ImageRecord, logged_images
from attribution.ingest import log_images
from attribution.method import MINIATURE_GUIDANCE, MINIATURE_STEPS, default_method, quick_method
from attribution.miniature.artists import VISIBLE_ARTISTS
from attribution.miniature.drawing import SHAPES, Scene
from attribution.miniature.prompts import name_artists
from attribution.name_index import NameIndex
from attribution.pipeline import Model, load_model
from attribution.registration import ensure_method, runnable_methods, shipped_recognition, shipped_tables
from attribution.results import ImageResult, placebo_levels
from database.engine import session
from database.roles import Role
from tests.attribution import forked_worker
from tests.attribution.worker_process import (
    PROMPTS,
    all_done,
    log_images_of,
    no_effect,
    running_worker,
    wait_until,
)


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


def alone(model: Model) -> list[tuple]:
    """What `books` must hold: every image attributed in this process, without a queue, one at a time."""
    with session(Role.ATTRIBUTION) as opened:
        ((chosen, method),) = runnable_methods(opened, model).items()
        images = logged_images(opened, list(opened.scalars(text("SELECT id FROM attribution.image"))))
        levels = placebo_levels(opened, chosen, model.weights_sha256)
        catalogue = Catalogue(NameIndex(artists(opened)), 0)
    attributor = Attributor(model, method)
    rows = []
    for image in images:
        found = attributor.attribute([image], catalogue, levels)[image.id]
        assert isinstance(found, ImageResult), found
        shares = [(player.player, player.share_ppb) for player in found.players]
        measured = [(one.value, one.picture_sha256) for one in found.coalitions]
        rows.append((image.external_id, found.reason, shares or None, measured or None))
    return sorted(rows)


def essence(conninfo: str) -> list[tuple]:
    """What is in the books, to the last ppb, as `alone` gives it."""
    with psycopg.connect(conninfo) as connection:
        found = connection.execute("""
            SELECT i.external_id, a.reason,
                (SELECT jsonb_agg(jsonb_build_array(player, share_ppb) ORDER BY slot)
                 FROM attribution.attribution_share WHERE attribution_id = a.id),
                (SELECT jsonb_agg(jsonb_build_array(value, encode(picture_sha256, 'hex')) ORDER BY coalition)
                 FROM attribution.coalition_value WHERE attribution_id = a.id)
            FROM attribution.attribution AS a JOIN attribution.image AS i ON i.id = a.image_id
        """).fetchall()
    return sorted(
        (
            external_id,
            reason,
            shares and [(player, share) for player, share in shares],
            values and [(value, bytes.fromhex(picture)) for value, picture in values],
        )
        for external_id, reason, shares, values in found
    )


def attributed(conninfo: str, external_id: str) -> bool:
    """Whether an image has a result."""
    return external_id in {row[0] for row in books(conninfo)}


def deliver_again(conninfo: str) -> int:
    """Every message that nobody acknowledged is visible, now and twice. Returns how many there are."""
    with psycopg.connect(conninfo) as connection:
        found = connection.execute("SELECT message FROM pgmq.q_attribution").fetchall()
        connection.execute("UPDATE pgmq.q_attribution SET vt = clock_timestamp()")
        connection.execute("SELECT pgmq.send('attribution', message) FROM pgmq.q_attribution")
    return 2 * len(found)


def messages(conninfo: str) -> int:
    """How many messages nobody has acknowledged."""
    with psycopg.connect(conninfo) as connection:
        row = connection.execute("SELECT count(*) FROM pgmq.q_attribution").fetchone()
    assert row is not None
    return int(row[0])


def test_killed_at_every_stage_and_every_message_delivered_twice(
    world: str, tiny: Model, tiny_folder: Path, tmp_path: Path
) -> None:
    log_images_of(tiny, 0, 40)
    batch = quick_method(tiny).buckets[0]
    written = 0
    faults = (
        forked_worker.dies_after_the_claim,
        forked_worker.dies_between_two_steps,
        forked_worker.dies_before_it_writes,
        forked_worker.dies_while_it_writes,
        forked_worker.dies_before_it_acknowledges,
    )
    for fault in faults:
        with forked_worker.forked_worker(tiny_folder, tmp_path / fault.__name__, fault) as process:
            process.join(60)
            assert process.exitcode == -signal.SIGKILL, (tmp_path / fault.__name__).read_text()
        before = essence(world)
        if fault is forked_worker.dies_before_it_acknowledges:
            written = batch
        else:
            assert leased(world) > 0, "what it had in its hands"
        assert len(before) == written, "a batch is written whole or not at all"
        assert deliver_again(world) > 0

    output = tmp_path / "last"
    with forked_worker.forked_worker(tiny_folder, output):
        wait_until(lambda: all_done() and messages(world) == 0, output)
    after = essence(world)
    assert [row for row in after if row in before] == before, "what was committed stands"
    assert after == alone(tiny)
    assert computed(output) == 40 - written, "nothing was computed for nothing once nobody died"
    with psycopg.connect(world) as connection:
        tried = connection.execute("SELECT max(attempts) FROM attribution.attribution_job").fetchone()
    assert tried is not None and 2 <= tried[0] < jobs.MAX_ATTEMPTS


def reached(conninfo: str, goal: int) -> bool:
    """Whether so many images are attributed, and some are in a worker's hands."""
    return len(books(conninfo)) >= goal and leased(conninfo) > 0


def attributed_by_three(world: str, model: Path | None, images: int, tmp_path: Path, *, killed: int) -> None:
    """Three workers at once, some of them killed and replaced; every message is delivered twice."""
    output = tmp_path / "workers.log"
    deliver_again(world)
    with ExitStack() as stack:
        workers = [stack.enter_context(forked_worker.forked_worker(model, output)) for _ in range(3)]
        for number in range(killed):
            goal = images * (number + 1) // (killed + 2)
            wait_until(partial(reached, world, goal), output, 300)
            workers[number].kill()
            workers[number].join()
            deliver_again(world)
            workers[number] = stack.enter_context(forked_worker.forked_worker(model, output))
        wait_until(lambda: all_done() and messages(world) == 0, output, 600)
        assert all(worker.is_alive() for worker in workers)
    assert len(books(world)) == images
    logged = [json.loads(line) for line in output.read_text().splitlines() if line.startswith("{")]
    took_part = {line["worker"] for line in logged if line.get("results")}
    assert len(took_part) >= 3 and computed(output) == images, "each image once, by one of them"


def test_three_workers_at_once_end_with_the_shares_of_one(
    world: str, tiny: Model, tiny_folder: Path, tmp_path: Path
) -> None:
    log_images_of(tiny, 0, 96)
    attributed_by_three(world, tiny_folder, 96, tmp_path, killed=0)
    assert essence(world) == alone(tiny)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_three_workers_and_three_hundred_images_of_the_miniature(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(device="cpu")
    named = [Artist(artist.surname.lower(), 1, artist.name) for artist in VISIBLE_ARTISTS]
    settings = {
        **pipeline_settings(model),
        "steps": MINIATURE_STEPS,
        "guidance": MINIATURE_GUIDANCE,
    }
    records = [
        ImageRecord(
            external_id=f"img-{number}",
            prompt=name_artists(
                Scene(SHAPES[number % len(SHAPES)]),
                [named[(number + place) % len(named)].name for place in range(number % 3)],
            ),
            seed=number,
            **settings,
        )
        for number in range(300)
    ]
    with session(Role.ATTRIBUTION) as opened:
        record_artists(opened, named, actor="test", reason="test")
        ensure_method(opened, default_method(model), shipped_tables(model), shipped_recognition(model))
        log_images(opened, records)
    monkeypatch.setenv("ROYALTY_METHOD", "exact")
    attributed_by_three(database, None, 300, tmp_path, killed=2)
    threads = torch.get_num_threads()
    assert essence(database) == alone(model)
    torch.set_num_threads(threads)
    broker.disconnect()


def test_out_of_memory_takes_a_smaller_bucket_only_where_the_method_lists_one(
    world: str, tiny: Model, tiny_folder: Path, tmp_path: Path
) -> None:
    methods = [
        replace(quick_method(tiny), name="one bucket", buckets=(64,), recognition=None),
        replace(quick_method(tiny), name="two buckets", buckets=(64, 2), recognition=None),
        replace(quick_method(tiny), name="small bucket", buckets=(2,), recognition=None),
    ]
    with session(Role.ATTRIBUTION) as opened:
        does_not, lists, small = (
            ensure_method(
                opened, method, [replace(no_effect(tiny), placebo_sha256=method.placebo_sha256.hex())]
            )
            for method in methods
        )
    fields = {**pipeline_settings(tiny), "steps": 2, "guidance": 3, "prompt": PROMPTS[0]}
    large = {**fields, "width": 192, "height": 192}
    output = tmp_path / "worker.log"
    with forked_worker.forked_worker(tiny_folder, output, forked_worker.has_little_memory):
        # All that fits is done once, so that threads, their heaps and whatever else comes with it are there.
        for method, name, settings in ((lists, "first", fields), (small, "second", large)):
            with session(Role.ATTRIBUTION) as opened:
                log_images(opened, [ImageRecord(external_id=name, seed=1, **settings)], method)
            wait_until(partial(attributed, world, name), output)
        # From here on it is short of memory.
        for method, name in ((lists, "listed"), (does_not, "not-listed")):
            with session(Role.ATTRIBUTION) as opened:
                log_images(opened, [ImageRecord(external_id=f"{name}-small", seed=2, **fields)], method)
                log_images(opened, [ImageRecord(external_id=f"{name}-large", seed=3, **large)], method)
            wait_until(partial(attributed, world, f"{name}-small"), output)

        def given_back() -> bool:
            with session(Role.ATTRIBUTION) as opened:
                return jobs.status(opened).leased == 0

        wait_until(given_back, output)
        with session(Role.ATTRIBUTION) as opened:
            found = jobs.status(opened)
    with psycopg.connect(world) as connection:
        buckets: dict[str, int] = dict(
            connection.execute("""
                SELECT i.external_id, (a.environment ->> 'bucket')::int
                FROM attribution.attribution AS a JOIN attribution.image AS i ON i.id = a.image_id
            """).fetchall()
        )
    assert buckets == {
        "first": 64,
        "second": 2,
        "listed-small": 64,
        "listed-large": 2,
        "not-listed-small": 64,
    }
    assert (found.done, found.pending, found.failed) == (5, 1, 0)
    (reason,) = found.reasons
    assert reason.startswith("out of memory: pictures of 192 by 192 pixels do not fit 64 at a time")
