"""Celery's broker: `BROKER_URL`, or else queues in the same PostgreSQL (kombu's pgmq transport).

A message is only a wake-up. Sending one never fails the work it follows: what is to do stands in the database, and the
sweeper finds it.
"""

from typing import Any

import kombu.pools
import psycopg.conninfo
import structlog
from celery import Celery
from kombu import Connection
from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from database.engine import conninfo
from database.roles import Role
from database.settings import get_settings

QUEUE = "attribution"

_WAKE = "attribution.wake"

_log = structlog.get_logger(__name__)

sender = Celery("royalty", set_as_current=False)
"""Sends wake-ups by name, so that whoever logs images need not load the worker's tasks."""


def broker_url() -> str:
    """The broker's address, for Celery."""
    return get_settings().broker_url or "pgmq://localhost"


def transport_options() -> dict[str, Any]:
    """What the transport needs beside the address."""
    if get_settings().broker_url is not None:
        return {}
    return {
        "conn_string": _quoted(conninfo(Role.ATTRIBUTION)),
        # The schema is installed by a migration, from the package's own SQL.
        "init_extension": False,
        # Short reads often rather than one long read: a transaction that waits holds back vacuum.
        "wait_time_seconds": 0,
        "polling_interval": 0.2,
        # One connection reads and another acknowledges.
        "pool_size": 2,
        "pool_timeout": 5,
    }


def _quoted(dsn: str) -> str:
    """The connection string with every value quoted once more.

    The pgmq package reads it, and writes it again without quotes: a socket directory or a password with a space in it
    would break there.
    """
    values = psycopg.conninfo.conninfo_to_dict(dsn)
    escaped = {
        name: "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"
        for name, value in values.items()
    }
    return psycopg.conninfo.make_conninfo("", **{**escaped, "port": str(values.get("port", 5432))})


def send_wake_up() -> bool:
    """Tell a worker that there is work; False, and a warning in the log, if the broker cannot be reached."""
    try:
        connection = Connection(broker_url(), transport_options=transport_options(), connect_timeout=4)
        with kombu.pools.producers[connection].acquire(block=True, timeout=5) as producer:
            sender.send_task(
                "attribution.attribute_pending",
                queue=QUEUE,
                producer=producer,
                retry=False,
                ignore_result=True,
            )
    except Exception as error:  # whatever it is, the work itself is committed and the sweeper will find it
        _log.warning("broker unreachable, the sweeper will wake a worker", error=type(error).__name__)
        kombu.pools.reset()
        return False
    return True


def wake_after_commit(session: Session) -> None:
    """Send one wake-up when the caller's transaction commits, and none if it rolls back."""
    session.info[_WAKE] = True


@event.listens_for(Session, "after_commit")
def _wake(session: Session) -> None:
    if not session.in_nested_transaction() and session.info.pop(_WAKE, False):
        send_wake_up()


@event.listens_for(Session, "after_soft_rollback")
def _forget(session: Session, previous: SessionTransaction) -> None:
    if not previous.nested:
        session.info.pop(_WAKE, None)


def disconnect() -> None:
    """Close the connections that wake-ups were sent over."""
    kombu.pools.reset()
