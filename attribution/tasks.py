"""The Celery app, its tasks and its schedule.

A task says only that there may be work; what there is stands in `attribution_job`. `python -m attribution.worker` is a
worker with the schedule in it; `celery -A attribution.tasks worker --pool solo` and `celery -A attribution.tasks beat`
are the two apart.
"""

import warnings
from typing import Any

import structlog
from celery import Celery
from celery.beat import EmbeddedService
from celery.platforms import SecurityWarning
from celery.signals import setup_logging, worker_ready, worker_shutdown, worker_shutting_down

from attribution import jobs
from attribution.broker import QUEUE, broker_url, send_wake_up, transport_options
from attribution.worker import Worker
from database import logs
from database.engine import session
from database.roles import Role

SWEEP_SECONDS = 5
"""Between two looks at what was forgotten."""

TURN_SECONDS = 60
"""A worker gives the broker its turn this often, however much there is to do."""

_SCHEDULER = "celery.beat:Scheduler"
"""In memory: one entry, on an interval, and nothing that must outlive the process."""

_log = structlog.get_logger(__name__)


def _configuration() -> dict[str, Any]:
    """Read when the app is first used: importing this module connects to nothing."""
    return {
        "broker_url": broker_url(),
        "broker_transport_options": transport_options(),
        "broker_connection_retry_on_startup": True,
        "task_default_queue": QUEUE,
        # JSON in and out: a message can carry no code.
        "task_serializer": "json",
        "accept_content": ["json"],
        # Results are rows of the database.
        "result_backend": None,
        "task_ignore_result": True,
        # A message is given back if its worker dies, and each worker holds one.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "worker_concurrency": 1,
        # A turn ends after a minute and the batch in hand. These are for pools that can stop a task; the solo pool
        # cannot, and there the lease runs out instead (`attribution.worker.BATCH_LIMIT`).
        "task_soft_time_limit": 3600,
        "task_time_limit": 3900,
        # The embedded broker would hold a queue for each worker's mailbox.
        "worker_enable_remote_control": False,
        "worker_redirect_stdouts": False,
        "enable_utc": True,
        "timezone": "UTC",
        "beat_scheduler": _SCHEDULER,
        "beat_schedule": {
            "sweep": {
                "task": "attribution.sweep",
                "schedule": float(SWEEP_SECONDS),
                # What a busy worker did not get to, the next one says again.
                "options": {"expires": SWEEP_SECONDS},
            }
        },
    }


app = Celery("royalty")
app.add_defaults(_configuration)

_worker: Worker | None = None
"""This process's worker: it keeps the model loaded from task to task."""


def _the_worker() -> Worker:
    global _worker
    if _worker is None:
        _worker = Worker()
    return _worker


@app.task(name="attribution.attribute_pending")
def attribute_pending() -> None:
    """Attribute what is due until nothing is left, or until this turn is over."""
    if _the_worker().run(seconds=TURN_SECONDS, more=send_wake_up):
        send_wake_up()


@app.task(name="attribution.sweep")
def sweep() -> None:
    """Take back what workers left behind, and wake a worker if anything is due."""
    with session(Role.ATTRIBUTION) as opened:
        swept = jobs.sweep(opened)
    if swept.reclaimed or swept.failed:
        _log.warning("swept", reclaimed=swept.reclaimed, failed=swept.failed, due=swept.due)
    if swept.due:
        attribute_pending()


@setup_logging.connect
def _configure_logs(**_: object) -> None:
    logs.configure()


@worker_ready.connect
def _look_for_work(**_: object) -> None:
    # What was queued while no worker ran, whether or not a message tells of it.
    sweep.delay()


@worker_shutting_down.connect
def _finish_the_batch(**_: object) -> None:
    if _worker is not None:
        _worker.stop()


@worker_shutdown.connect
def _leave(**_: object) -> None:
    if _worker is not None:
        _worker.close()


def run_worker(*, beat: bool = True) -> None:
    """Work until told to stop (SIGTERM or Ctrl-C: the batch in hand is finished and written).

    Args:
        beat: run the schedule in this process as well; a deployment with a beat process of its own says False.

    Raises:
        NotFound, Unavailable, Invalid: the model cannot be loaded.
    """
    logs.configure()
    # It warns of pickles in messages when run as root; ours are JSON, and a container's only user may be root.
    warnings.simplefilter("ignore", SecurityWarning)
    _the_worker().load()
    if beat:
        EmbeddedService(app, thread=True, scheduler_cls=_SCHEDULER).start()
    app.start(
        ["--quiet", "worker", "--pool=solo", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    )


def run_beat() -> None:
    """Run the schedule alone, until told to stop."""
    app.start(["--quiet", "beat"])
