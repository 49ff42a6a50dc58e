"""The periodic question to providers, as a Celery task with its schedule: `royalty payout poll`, by itself.

`royalty payer` is one process that holds schedule and worker: its messages never leave it, because what there is to ask
stands in the database. It works as the role `payer`, which the workers that attribute images must not be, and needs
no key of bank details: a question names payments by their ids. Several of them, or the command beside it, do no harm.
"""

import warnings
from datetime import timedelta
from typing import Any

import structlog
from celery import Celery
from celery.beat import EmbeddedService
from celery.platforms import SecurityWarning

from database import logs
from database.engine import session
from database.errors import UserError
from database.roles import Role
from settlement.payouts.provider.polling import poll_provider, providers

POLL_SECONDS = 60
"""Between two questions to the same provider."""

ACTOR = "schedule"
"""On whose behalf: nobody's."""

_SCHEDULER = "celery.beat:Scheduler"

_log = structlog.get_logger(__name__)


def _configuration() -> dict[str, Any]:
    """Read when the app is first used."""
    return {
        "broker_url": "memory://",
        "task_default_queue": "payouts",
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_backend": None,
        "task_ignore_result": True,
        "worker_prefetch_multiplier": 1,
        "worker_concurrency": 1,
        "worker_enable_remote_control": False,
        "worker_redirect_stdouts": False,
        "enable_utc": True,
        "timezone": "UTC",
        "beat_scheduler": _SCHEDULER,
        "beat_schedule": {
            "poll": {
                "task": "payouts.poll",
                "schedule": timedelta(seconds=POLL_SECONDS),
                # A provider that answers slowly is not asked the same twice over.
                "options": {"expires": POLL_SECONDS},
            }
        },
    }


app = Celery("payouts", set_as_current=False)
app.add_defaults(_configuration)


@app.task(name="payouts.poll")
def poll() -> None:
    """Ask every provider; one that cannot be reached keeps nobody from the others."""
    for name in providers():
        try:
            polled = poll_provider(name, lambda: session(Role.PAYER), ACTOR)
        except UserError as error:
            _log.warning("provider not asked", provider=name, why=error.message)
            continue
        _log.info("provider asked", provider=name, events=polled.events, payments=polled.asked)
        if polled.unheard_of or polled.open:
            _log.warning(
                "look at `royalty payout poll`",
                provider=name,
                unheard_of=len(polled.unheard_of),
                open=len(polled.open),
            )


def run_payer() -> None:
    """Ask now and on the schedule, until told to stop (SIGTERM or Ctrl-C)."""
    logs.configure()
    # It warns of pickles in messages when run as root; ours are JSON.
    warnings.simplefilter("ignore", SecurityWarning)
    poll.delay()
    EmbeddedService(app, thread=True, scheduler_cls=_SCHEDULER).start()
    app.start(
        ["--quiet", "worker", "--pool=solo", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    )
