"""The queue: every row to one worker at a time, none forgotten, none tried for ever."""

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from attribution import jobs
from attribution.ingest import log_images
from database.engine import session
from database.roles import Role
from tests.attribution.image_examples import a_method, record


@pytest.fixture
def queue(db: Session) -> int:
    """Six images queued; the method's id."""
    method = a_method(db)
    log_images(db, [record(f"img-{number}") for number in range(6)], method)
    return method


def states(db: Session) -> list[str]:
    return list(db.scalars(text("SELECT state FROM attribution.attribution_job ORDER BY image_id")))


def make_due(db: Session) -> None:
    db.execute(
        text(
            "UPDATE attribution.attribution_job SET next_attempt_at = clock_timestamp() WHERE state = 'pending'"
        )
    )


def test_claimed_rows_are_leased_and_nobody_else_gets_them(db: Session, queue: int) -> None:
    mine = jobs.claim(db, "w1", queue, 4)
    others = jobs.claim(db, "w2", queue, 4)
    assert [len(mine), len(others)] == [4, 2]
    assert not {one.image_id for one in mine} & {one.image_id for one in others}
    assert jobs.claim(db, "w3", queue, 4) == []
    assert set(states(db)) == {"leased"}


def test_two_workers_that_claim_at_once_never_wait_for_each_other(database: str) -> None:
    with session(Role.ATTRIBUTION) as opened:
        method = a_method(opened)
        log_images(opened, [record(f"img-{number}") for number in range(6)], method)
    with session(Role.ATTRIBUTION) as first:
        mine = jobs.claim(first, "w1", method, 3)
        with session(Role.ATTRIBUTION) as second:
            second.execute(text("SET LOCAL lock_timeout = '2s'"))
            others = jobs.claim(second, "w2", method, 6)
        assert len(mine) == len(others) == 3


def test_other_methods_jobs_are_left_alone(db: Session, queue: int) -> None:
    assert jobs.claim(db, "w1", queue + 1, 4) == []


def test_queueing_twice_is_queueing_once(db: Session, queue: int) -> None:
    ids = [one.image_id for one in jobs.claim(db, "w1", queue, 6)]
    assert jobs.enqueue(db, ids, queue) == 0
    assert jobs.enqueue(db, [], queue) == 0


def test_a_failed_attempt_backs_off_and_ends_after_five(db: Session, queue: int) -> None:
    (poisoned, *rest) = jobs.claim(db, "w1", queue, 6)
    jobs.finish(db, [one.image_id for one in rest], queue)
    waits = []
    for attempt in range(1, jobs.MAX_ATTEMPTS + 1):
        assert poisoned.attempts == attempt
        jobs.fail(db, "w1", {poisoned.image_id: f"broken {attempt}"}, queue)
        waits.append(
            db.scalar(
                text(
                    "SELECT extract(epoch FROM next_attempt_at - clock_timestamp()) FROM attribution.attribution_job"
                    " WHERE image_id = :id"
                ),
                {"id": poisoned.image_id},
            )
        )
        assert jobs.claim(db, "w1", queue, 6) == [], "not before its time"
        make_due(db)
        if attempt < jobs.MAX_ATTEMPTS:
            (poisoned,) = jobs.claim(db, "w1", queue, 6)
    assert [round(float(wait)) for wait in waits] == [4, 8, 16, 32, 64]
    assert jobs.claim(db, "w1", queue, 6) == []
    found = jobs.status(db)
    assert (found.failed, found.done, found.open) == (1, 5, 0)
    assert found.reasons == {"broken 5": 1}
    assert jobs.retry_failed(db) == 1
    assert [one.attempts for one in jobs.claim(db, "w1", queue, 6)] == [1]


def test_an_image_that_took_its_worker_down_twice_is_tried_alone(db: Session, queue: int) -> None:
    for _ in range(jobs.BATCH_ATTEMPTS):
        suspects = {one.image_id for one in jobs.claim(db, "w1", queue, 3)}
        jobs.fail(db, "w1", dict.fromkeys(suspects, "?"), queue)
        db.execute(
            text("UPDATE attribution.attribution_job SET next_attempt_at = '-infinity' WHERE attempts > 0")
        )
    others = {one.image_id for one in jobs.claim(db, "w1", queue, 6)}
    assert len(others) == 3 and not others & suspects
    assert [len(jobs.claim(db, "w1", queue, 6)) for _ in range(4)] == [1, 1, 1, 0]


def test_waiting_counts_no_attempt(db: Session, queue: int) -> None:
    claims = jobs.claim(db, "w1", queue, 6)
    jobs.wait(db, "w1", {one.image_id: "no placebo level for 4 players" for one in claims}, queue)
    assert set(states(db)) == {"pending"}
    assert jobs.claim(db, "w1", queue, 6) == []
    assert jobs.status(db).reasons == {"no placebo level for 4 players": 6}
    make_due(db)
    assert {one.attempts for one in jobs.claim(db, "w1", queue, 6)} == {1}


def test_a_worker_that_stops_gives_its_rows_back_at_once(db: Session, queue: int) -> None:
    jobs.claim(db, "w1", queue, 6)
    assert jobs.release(db, "w1") == 6
    assert {one.attempts for one in jobs.claim(db, "w2", queue, 6)} == {1}


def test_a_worker_that_lost_its_rows_cannot_fail_them(db: Session, queue: int) -> None:
    (one,) = jobs.claim(db, "w1", queue, 1, timedelta(seconds=-1))
    jobs.sweep(db)
    make_due(db)
    jobs.claim(db, "w2", queue, 6)
    jobs.fail(db, "w1", {one.image_id: "late"}, queue)
    jobs.wait(db, "w1", {one.image_id: "late"}, queue)
    assert set(states(db)) == {"leased"}


@pytest.fixture
def other_connection(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def test_the_sweeper_takes_back_expired_leases_and_those_of_workers_that_are_gone(
    database: str, other_connection: psycopg.Connection
) -> None:
    with session(Role.ATTRIBUTION) as opened:
        method = a_method(opened)
        log_images(opened, [record(f"img-{number}") for number in range(6)], method)
    jobs.announce(other_connection, "alive")
    with session(Role.ATTRIBUTION) as opened:
        jobs.claim(opened, "alive", method, 2)
        jobs.claim(opened, "gone", method, 3)
    with session(Role.ATTRIBUTION) as opened:
        assert jobs.sweep(opened) == jobs.Sweep(reclaimed=3, failed=0, due=4)
    assert jobs.renew(other_connection, "alive", timedelta(seconds=-1)) == 2
    with session(Role.ATTRIBUTION) as opened:
        assert jobs.sweep(opened) == jobs.Sweep(reclaimed=2, failed=0, due=6)


def test_an_image_that_kills_every_worker_ends_as_failed(db: Session, queue: int) -> None:
    for _ in range(jobs.MAX_ATTEMPTS):
        while jobs.claim(db, "w1", queue, 1, timedelta(seconds=-1)):
            pass
        swept = jobs.sweep(db)
    assert (swept.reclaimed, swept.failed, swept.due) == (0, 6, 0)
    assert jobs.status(db).reasons == {"the worker went away while it attributed this image": 6}


def test_status_of_an_empty_queue(db: Session) -> None:
    assert jobs.status(db) == jobs.QueueStatus(0, 0, 0, 0, 0.0, 0.0, {}, {})
