"""A real Celery worker in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attribution import jobs
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
