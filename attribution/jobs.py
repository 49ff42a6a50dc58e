"""The queue of images to attribute: rows with state, lease and attempts. PostgreSQL is the truth.

A broker message is only a wake-up; losing it or delivering it twice changes nothing. A worker claims rows and commits
at once, so that no transaction stays open while it renders. It keeps them by renewing its lease, and loses them when
the lease runs out or, at once, when the connection on which it was announced is gone.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, Index, func, literal, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from attribution.generation import Image
from attribution.results import Attribution, MethodVersionRow
from database.base import Base, RecordedAt


class AttributionJob(Base):
    """Work to do: attribute one image by one method version."""

    __tablename__ = "attribution_job"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'leased', 'done', 'failed')", name="state_known"),
        CheckConstraint("(state = 'leased') = (leased_until IS NOT NULL)", name="lease_has_end"),
        CheckConstraint("attempts >= 0", name="attempts_not_negative"),
        # What a worker claims next: the index holds open work only, so it stays small however long the history.
        Index("attribution_job_open_idx", "next_attempt_at", "image_id",
              postgresql_where=text("state IN ('pending', 'leased')")),
        # What is looked at again and again while it is watched.
        Index("attribution_job_failed_idx", "image_id", postgresql_where=text("state = 'failed'")),
        {"schema": "attribution"},
    )  # fmt: skip

    image_id: Mapped[int] = mapped_column(ForeignKey(Image.id), primary_key=True)
    method_id: Mapped[int] = mapped_column(ForeignKey(MethodVersionRow.id), primary_key=True)
    state: Mapped[str] = mapped_column(server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default="0")
    leased_until: Mapped[datetime | None]
    leased_by: Mapped[str | None]
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    last_error: Mapped[str | None]
    finished_at: Mapped[datetime | None]
    recorded_at: Mapped[RecordedAt]


LEASE = timedelta(seconds=60)
"""How long a claimed row is its worker's without a sign of life."""

MAX_ATTEMPTS = 5
"""Claims of one image before it counts as failed."""

BATCH_ATTEMPTS = 2
"""Claims in company: an image claimed so often without a result is tried alone, so that it takes none with it."""

_BACK_OFF = timedelta(seconds=4)
"""Before the second attempt; doubled with each further one."""

_WAIT = timedelta(minutes=1)
"""Between two looks at an image that waits for something outside it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One row of the queue in a worker's hands."""

    image_id: int
    method_id: int
    attempts: int
    """This one included."""


def enqueue(session: Session, image_ids: Sequence[int], method_id: int) -> int:
    """Queue images for one method version; those that are queued already stay as they are. Returns how many are new."""
    if not image_ids:
        return 0
    statement = insert(AttributionJob).from_select(
        ["image_id", "method_id"],
        select(func.unnest(literal(list(image_ids), ARRAY(BigInteger))), literal(method_id, BigInteger)),
    )
    added = session.execute(
        statement.on_conflict_do_nothing()
        .returning(AttributionJob.image_id)
        .execution_options(synchronize_session=False)
    )
    return len(added.all())


_CATCH_UP = 100_000
"""How far behind the newest image known to be queued an image's id may still come to light: ids commit out of order."""


def enqueue_missing(session: Session, method_id: int, checked: int = 0) -> int:
    """Queue images that have no job at all, such as those logged before any method version was recorded.

    Args:
        session: the caller's transaction.
        method_id: the method version to queue them for.
        checked: what the last call returned; 0 looks at every image.

    Returns:
        The newest image's id, for the next call.
    """
    newest = session.scalar(select(func.max(Image.id))) or 0
    session.execute(
        text(
            "INSERT INTO attribution.attribution_job (image_id, method_id)"
            " SELECT id, :method_id FROM attribution.image WHERE id > :after AND NOT EXISTS"
            "  (SELECT FROM attribution.attribution_job AS job WHERE job.image_id = image.id)"
            " ON CONFLICT DO NOTHING"
        ),
        {"method_id": method_id, "after": checked - _CATCH_UP},
    )
    return newest


_CLAIM = text("""
    WITH due AS (
        SELECT image_id, method_id FROM attribution.attribution_job
        WHERE method_id = :method_id AND state = 'pending' AND next_attempt_at <= clock_timestamp()
            AND (attempts >= :company) = :alone
        ORDER BY next_attempt_at, image_id
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    )
    UPDATE attribution.attribution_job AS job
    SET state = 'leased', leased_until = clock_timestamp() + :lease, leased_by = :worker, attempts = attempts + 1
    FROM due WHERE job.image_id = due.image_id AND job.method_id = due.method_id
    RETURNING job.image_id, job.method_id, job.attempts
""")


def claim(session: Session, worker: str, method_id: int, limit: int, lease: timedelta = LEASE) -> list[Claim]:
    """Take up to `limit` due rows; the caller commits at once. Rows another worker is taking are passed over.

    A row that was claimed `BATCH_ATTEMPTS` times without a result comes alone, and only when no other is due.
    """
    for alone, most in ((False, limit), (True, 1)):
        rows = session.execute(
            _CLAIM,
            {
                "method_id": method_id,
                "company": BATCH_ATTEMPTS,
                "alone": alone,
                "limit": most,
                "lease": lease,
                "worker": worker,
            },
        )
        claims = sorted((Claim(*row) for row in rows), key=lambda taken: taken.image_id)
        if claims:
            return claims
    return []


_PRESENCE = "SELECT pg_catalog.{}(pg_catalog.hashtext('attribution worker'), pg_catalog.hashtext(%s))"


def announce(connection: psycopg.Connection[tuple[object, ...]], worker: str) -> None:
    """Hold the lock that says this worker is alive, for as long as the connection lives."""
    connection.execute(_PRESENCE.format("pg_advisory_lock"), (worker,))


def renew(connection: psycopg.Connection[tuple[object, ...]], worker: str, lease: timedelta = LEASE) -> int:
    """Prolong every lease of one worker. Returns how many there are."""
    return connection.execute(
        # Rows that are being finished at this moment are locked, and need no lease any more.
        "UPDATE attribution.attribution_job AS job SET leased_until = clock_timestamp() + %s"
        " FROM (SELECT image_id, method_id FROM attribution.attribution_job"
        "       WHERE leased_by = %s AND state = 'leased' FOR UPDATE SKIP LOCKED) AS mine"
        " WHERE job.image_id = mine.image_id AND job.method_id = mine.method_id",
        (lease, worker),
    ).rowcount


def finish(session: Session, image_ids: Sequence[int], method_id: int) -> None:
    """Mark rows done, whoever holds them: their result is recorded in this transaction or was before."""
    session.execute(
        text(
            # Locked in one order, so that two workers with the same rows wait for each other and never deadlock.
            "UPDATE attribution.attribution_job AS job SET state = 'done', leased_until = NULL, leased_by = NULL,"
            " last_error = NULL, finished_at = clock_timestamp()"
            " FROM (SELECT image_id, method_id FROM attribution.attribution_job WHERE image_id = ANY(:ids)"
            "       AND method_id = :method_id AND state <> 'done' ORDER BY image_id FOR UPDATE) AS open"
            " WHERE job.image_id = open.image_id AND job.method_id = open.method_id"
        ),
        {"ids": list(image_ids), "method_id": method_id},
    )


def fail(session: Session, worker: str, errors: Mapping[int, str], method_id: int) -> None:
    """Give back rows whose image could not be attributed, by image id with the reason: tried again later, or failed.

    A row that another worker has taken over meanwhile is left alone.
    """
    session.execute(
        text("""
            UPDATE attribution.attribution_job AS job SET
                state = CASE WHEN attempts >= :most THEN 'failed' ELSE 'pending' END,
                finished_at = CASE WHEN attempts >= :most THEN clock_timestamp() END,
                next_attempt_at = clock_timestamp() + :back_off * power(2, attempts - 1),
                leased_until = NULL, leased_by = NULL, last_error = given.error
            FROM (SELECT unnest(CAST(:ids AS bigint[])) AS id, unnest(CAST(:errors AS text[])) AS error) AS given
            WHERE job.image_id = given.id AND job.method_id = :method_id AND job.leased_by = :worker
        """),
        {
            "most": MAX_ATTEMPTS,
            "back_off": _BACK_OFF,
            "ids": list(errors),
            "errors": list(errors.values()),
            "method_id": method_id,
            "worker": worker,
        },
    )


def wait(session: Session, worker: str, reasons: Mapping[int, str], method_id: int) -> None:
    """Give back rows that wait for something outside the image, by image id with the reason; no attempt is counted."""
    session.execute(
        text("""
            UPDATE attribution.attribution_job AS job SET
                state = 'pending', attempts = attempts - 1, next_attempt_at = clock_timestamp() + :wait,
                leased_until = NULL, leased_by = NULL, last_error = given.reason
            FROM (SELECT unnest(CAST(:ids AS bigint[])) AS id, unnest(CAST(:reasons AS text[])) AS reason) AS given
            WHERE job.image_id = given.id AND job.method_id = :method_id AND job.leased_by = :worker
        """),
        {
            "wait": _WAIT,
            "ids": list(reasons),
            "reasons": list(reasons.values()),
            "method_id": method_id,
            "worker": worker,
        },
    )


def release(session: Session, worker: str) -> int:
    """Give back every row of a worker that stops before it is through; the attempt does not count. Returns how many."""
    rows = session.execute(
        text(
            "UPDATE attribution.attribution_job SET state = 'pending', attempts = attempts - 1,"
            " leased_until = NULL, leased_by = NULL WHERE leased_by = :worker AND state = 'leased'"
            " RETURNING image_id"
        ),
        {"worker": worker},
    )
    return len(rows.all())


@dataclass(frozen=True, slots=True)
class Sweep:
    """What the sweeper found."""

    reclaimed: int
    """Rows whose worker is gone or silent: pending again."""
    failed: int
    """Rows whose worker went missing too often with them."""
    due: int
    """Rows that a worker could claim now."""


def sweep(session: Session) -> Sweep:
    """Take back the rows of workers that are gone or have let their lease run out."""
    workers = session.scalars(
        select(AttributionJob.leased_by).where(AttributionJob.state == "leased").distinct()
    ).all()
    # The lock is free only if the connection that held it is gone, and that goes with its process. A worker that has
    # lost its lock and computes on does no harm: the first committed result stands.
    gone = [
        worker
        for worker in workers
        if session.scalar(
            text(_PRESENCE.format("pg_try_advisory_xact_lock").replace("%s", ":worker")), {"worker": worker}
        )
    ]
    rows = session.execute(
        text("""
            UPDATE attribution.attribution_job AS job SET
                state = CASE WHEN attempts >= :most THEN 'failed' ELSE 'pending' END,
                finished_at = CASE WHEN attempts >= :most THEN clock_timestamp() END,
                next_attempt_at = clock_timestamp(), leased_until = NULL, leased_by = NULL,
                last_error = 'the worker went away while it attributed this image'
            FROM (SELECT image_id, method_id FROM attribution.attribution_job
                  WHERE state = 'leased' AND (leased_until < clock_timestamp() OR leased_by = ANY(:gone))
                  FOR UPDATE SKIP LOCKED) AS lost
            WHERE job.image_id = lost.image_id AND job.method_id = lost.method_id
            RETURNING state
        """),
        {"most": MAX_ATTEMPTS, "gone": gone},
    )
    states = rows.scalars().all()
    due = session.scalar(
        text(
            "SELECT count(*) FROM attribution.attribution_job"
            " WHERE state = 'pending' AND next_attempt_at <= clock_timestamp()"
        )
    )
    return Sweep(states.count("pending"), states.count("failed"), due or 0)


def retry_failed(session: Session) -> int:
    """Queue failed images again, as if they were new. Returns how many."""
    rows = session.execute(
        text(
            "UPDATE attribution.attribution_job SET state = 'pending', attempts = 0, finished_at = NULL,"
            " next_attempt_at = clock_timestamp() WHERE state = 'failed' RETURNING image_id"
        )
    )
    return len(rows.all())


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """The queue at one moment."""

    pending: int
    leased: int
    done: int
    failed: int
    per_second: float
    """Images attributed per second over the last minute."""
    seconds_left: float | None
    """For what is open, at that speed; None while the speed is 0 and something is open."""
    waiting: Mapping[str, int]
    """Why images wait or are tried again, with how many of each."""
    failures: Mapping[str, int]
    """Why images failed, with how many of each."""

    @property
    def reasons(self) -> Mapping[str, int]:
        """Why images wait, are tried again or failed, with how many of each."""
        return dict(Counter(self.waiting) + Counter(self.failures))

    @property
    def open(self) -> int:
        """Images still to attribute."""
        return self.pending + self.leased


def status(session: Session) -> QueueStatus:
    """Counts by state, speed over the last minute, and the time left."""
    counts = dict.fromkeys(("pending", "leased", "done", "failed"), 0)
    states = select(AttributionJob.state, func.count()).group_by(AttributionJob.state)
    counts |= {str(state): int(count) for state, count in session.execute(states)}
    per_second = images_per_second(session)
    remaining = counts["pending"] + counts["leased"]
    failed = AttributionJob.state == "failed"
    reasons = session.execute(
        select(failed, AttributionJob.last_error, func.count())
        .where(
            AttributionJob.state.in_(("pending", "leased", "failed")), AttributionJob.last_error.is_not(None)
        )
        .group_by(failed, AttributionJob.last_error)
        .order_by(func.count().desc(), AttributionJob.last_error)
    ).all()
    return QueueStatus(
        **counts,
        per_second=per_second,
        seconds_left=0.0 if not remaining else remaining / per_second if per_second else None,
        waiting={str(reason): count for over, reason, count in reasons if not over},
        failures={str(reason): count for over, reason, count in reasons if over},
    )


def images_per_second(session: Session) -> float:
    """Images attributed per second over the last minute."""
    number, span = session.execute(
        select(
            func.count(),
            # A worker that began 10 seconds ago is measured over 10 seconds.
            func.extract("epoch", func.clock_timestamp() - func.min(Attribution.recorded_at)),
        ).where(Attribution.recorded_at > func.clock_timestamp() - timedelta(minutes=1))
    ).one()
    return number / max(float(span), 1.0) if number else 0.0


def unfinished_jobs(session: Session) -> dict[str, int]:
    """How many jobs have no result, by state; 0 where there are none. Reads the small indexes of such work only."""
    counted = session.execute(
        select(AttributionJob.state, func.count())
        .where(AttributionJob.state.in_(("pending", "leased")))
        .group_by(AttributionJob.state)
    )
    failed = session.scalar(select(func.count()).where(AttributionJob.state == "failed")) or 0
    return {"pending": 0, "leased": 0, "failed": failed} | {
        str(state): int(count) for state, count in counted
    }
