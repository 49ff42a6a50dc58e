"""Celery workers forked from a process that has imported torch: real processes, begun quickly, some with a fault.

What a fault does is real (SIGKILL, an address space without room); the patch only chooses its moment.
"""

import functools
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

Fault = Callable[[], None]
"""Called in the forked process before the worker begins."""

_INHERITED = ("ROYALTY_HOME", "DATABASE_NAME", "ROYALTY_MODEL", "ROYALTY_METHOD")


@contextmanager
def forked_worker(model: Path | None, log: Path, fault: Fault | None = None) -> Iterator[ForkServerProcess]:
    """A worker on the test's database; ended with SIGTERM if it still runs. `model` None is the miniature."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["attribution.tasks", "attribution.worker", __name__])
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment |= {} if model is None else {"ROYALTY_MODEL": str(model)}
    process = context.Process(
        target=_work, args=({"ROYALTY_METHOD": "quick", **environment}, log, fault), daemon=True
    )
    process.start()
    try:
        yield process
    finally:
        if process.is_alive():
            process.terminate()
            process.join(30)
            if process.is_alive():
                process.kill()
                process.join()
                raise TimeoutError(log.read_text())


def _work(environment: dict[str, str], log: Path, fault: Fault | None) -> None:
    for name in _INHERITED:
        os.environ.pop(name, None)
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    from attribution.tasks import run_worker

    if fault is not None:
        fault()
    with suppress(SystemExit):
        run_worker()


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _wrap(owner: Any, name: str, *, before: Fault | None = None, after: Fault | None = None) -> None:
    real = getattr(owner, name)

    @functools.wraps(real)
    def wrapped(*args: Any, **named: Any) -> Any:
        if before is not None:
            before()
        found = real(*args, **named)
        if after is not None:
            after()
        return found

    setattr(owner, name, wrapped)


def dies_after_the_claim() -> None:
    """The lease is committed, nothing is done."""
    from attribution.worker import Worker

    _wrap(Worker, "_attribute", before=_die)


def dies_between_two_steps() -> None:
    """In the denoising loop."""
    from diffusers import UNet2DConditionModel

    calls = iter(range(100))

    def at_the_second() -> None:
        if next(calls) == 1:
            _die()

    _wrap(UNet2DConditionModel, "forward", before=at_the_second)


def dies_before_it_writes() -> None:
    """Everything is rendered and settled."""
    from attribution.attribute import Attributor

    _wrap(Attributor, "attribute", after=_die)


def dies_while_it_writes() -> None:
    """Rows are sent, and not committed."""
    from attribution import worker

    _wrap(worker, "record_results", after=_die)


def dies_before_it_acknowledges() -> None:
    """The batch is committed; its message will be delivered again."""
    from attribution.worker import Worker

    _wrap(Worker, "_attribute", after=_die)


ROOM = 60 << 20
"""Bytes of data that a worker short of memory may still ask for, beyond what it has when it has done all that fits.

Pictures of 192 by 192 pixels ask for about 20 MiB two at a time and for 150 MiB and more 64 at a time (measured).
"""


def has_little_memory() -> None:
    """From the third batch on data may hardly grow: allocations fail in earnest.

    Data, not the address space: of that each thread's heap reserves much that it may never use, when it pleases.
    """
    from attribution.attribute import Attributor

    calls = iter(range(1000))

    def limit() -> None:
        if next(calls) == 2:
            status = Path("/proc/self/status").read_text()
            used = int(status.split("VmData:")[1].split()[0]) << 10
            resource.setrlimit(resource.RLIMIT_DATA, (used + ROOM, used + ROOM))

    _wrap(Attributor, "attribute", before=limit)
