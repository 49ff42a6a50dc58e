"""What a worker does with the queue, batch by batch."""

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from attribution import jobs
from attribution.catalogue import record_artists
from attribution.generate import pipeline_settings
from attribution.generation import ImageRecord
from attribution.ingest import log_images
from attribution.method import quick_method
from attribution.pipeline import Model
from attribution.registration import ensure_method
from attribution.worker import Worker
from database.engine import session
from database.roles import Role
from tests.attribution.worker_process import ARTISTS, all_known, log_images_of, no_effect


def run(worker: Worker) -> jobs.QueueStatus:
    worker.run(seconds=60, more=lambda: None)
    with session(Role.ATTRIBUTION) as opened:
        return jobs.status(opened)


def test_a_poisoned_image_fails_alone_with_its_reason(world: str, worker: Worker, tiny: Model) -> None:
    log_images_of(tiny, 0, 4)
    fields = {**pipeline_settings(tiny), "steps": 2, "guidance": 3, "seed": 1}
    poisoned = ImageRecord(
        external_id="poisoned",
        prompt="a castle by Amara Diallo",
        **{**fields, "scheduler_config": {"beta_schedule": "nonsense"}},
    )
    with session(Role.ATTRIBUTION) as opened:
        log_images(opened, [poisoned])
    found = run(worker)
    assert (found.done, found.pending, found.failed) == (4, 1, 0)
    assert ["nonsense" in reason for reason in found.reasons] == [True]
    for _ in range(jobs.MAX_ATTEMPTS - 1):
        with session(Role.ATTRIBUTION) as opened:
            opened.execute(text("UPDATE attribution.attribution_job SET next_attempt_at = clock_timestamp()"))
        found = run(worker)
    assert (found.done, found.open, found.failed) == (4, 0, 1)


def test_images_logged_before_there_is_a_method_are_queued_by_the_first_worker(
    database: str, worker: Worker, tiny: Model
) -> None:
    with session(Role.ATTRIBUTION) as opened:
        record_artists(opened, ARTISTS, actor="test", reason="test")
    log_images_of(tiny, 0, 4)
    with session(Role.ATTRIBUTION) as opened:
        assert jobs.status(opened).open == 0
    found = run(worker)
    # No table of known names: images that name artists wait and say why, the one that names nobody is through.
    assert (found.done, found.pending, found.failed) == (1, 3, 0)
    assert all(reason.startswith("whether the model knows") for reason in found.reasons)

    with session(Role.ATTRIBUTION) as opened:
        ensure_method(opened, quick_method(tiny), [no_effect(tiny)], [all_known(tiny)])
        opened.execute(text("UPDATE attribution.attribution_job SET next_attempt_at = clock_timestamp()"))
    found = run(worker)
    assert (found.done, found.open, found.failed) == (4, 0, 0)
    with session(Role.ATTRIBUTION) as opened:
        assert opened.scalar(text("SELECT max(attempts) FROM attribution.attribution_job")) == 1


def test_a_result_that_is_there_already_only_ends_the_job(world: str, worker: Worker, tiny: Model) -> None:
    log_images_of(tiny, 0, 4)
    run(worker)
    with session(Role.ATTRIBUTION) as opened:
        before = opened.execute(text("SELECT id, recorded_at FROM attribution.attribution ORDER BY id")).all()
        opened.execute(text("UPDATE attribution.attribution_job SET state = 'pending', finished_at = NULL"))
    assert run(worker).done == 4
    with session(Role.ATTRIBUTION) as opened:
        after = opened.execute(text("SELECT id, recorded_at FROM attribution.attribution ORDER BY id")).all()
    assert after == before


def test_a_worker_that_is_told_to_stop_begins_nothing_and_keeps_nothing(
    world: str, worker: Worker, tiny: Model
) -> None:
    log_images_of(tiny, 0, 4)
    worker.stop()
    assert worker.run(seconds=60, more=lambda: None), "there is more to do, for another worker"
    worker.close()
    with session(Role.ATTRIBUTION) as opened:
        assert jobs.status(opened).pending == 4


def test_other_workers_are_called_where_there_is_more_than_a_batch(
    world: str, worker: Worker, tiny: Model
) -> None:
    log_images_of(tiny, 0, 20)
    calls: list[str] = []
    worker.run(seconds=60, more=lambda: calls.append("more"))
    assert calls == ["more"]


def test_a_batch_that_cannot_be_written_is_given_back(world: str, worker: Worker, tiny: Model) -> None:
    log_images_of(tiny, 0, 2)
    with psycopg.connect(world, autocommit=True) as admin:
        admin.execute("SET event_triggers = off")
        admin.execute(
            "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no disk'; END $$"
        )
        admin.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON attribution.attribution EXECUTE FUNCTION public.refuse()"
        )
        with pytest.raises(DBAPIError, match="no disk"):
            run(worker)
        with session(Role.ATTRIBUTION) as opened:
            found = jobs.status(opened)
            # The worker lives on and would renew its leases for ever.
            assert (found.pending, found.leased, found.done) == (2, 0, 0)
            opened.execute(text("UPDATE attribution.attribution_job SET next_attempt_at = clock_timestamp()"))
        admin.execute("DROP TRIGGER refuse ON attribution.attribution")
    found = run(worker)
    assert (found.done, found.open, found.failed) == (2, 0, 0)
