"""A period's close by stage, its statements and their PDFs, memory and growth: python -m benchmarks.settlement.

python -m benchmarks.settlement [--quick] [--images N] [--payees M] [--json FILE]

One sale of each image, three players in each; closed twice, at a quarter of the size and at the whole, each in a
database of its own on an embedded server with stock settings. `--images 1000000 --payees 100000` is the size of the
targets.
"""

import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter, process_time

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from benchmarks.harness import Bench, run
from benchmarks.settlement_books import AT, PERIOD, Size, fill
from database.engine import database_url, embedded_server, engine, session
from database.migrate import migrate
from database.roles import Role
from database.settings import get_settings
from settlement.audit.verify import verify
from settlement.periods.approval import approve, calculate, submit
from settlement.periods.calendar import cut_off, open_period
from settlement.periods.close import close
from settlement.statements.body import parse
from settlement.statements.files import pdf_input, write_statement_files
from settlement.statements.models import Statement
from settlement.statements.pdf import Renderer

_TARGET_IMAGES = 1_000_000
_TARGETS = {100_000: 90.0, 10_000: 60.0}
"""Seconds that a close of a million sales may take, by payees."""
_PROCESSES = 2
_WORTH_A_LINE = 0.02
"""Part of a close's time from which a stage is a figure of its own."""


@dataclass
class _Stages:
    """Seconds by stage, from what a close says of its progress."""

    seconds: dict[str, float] = field(default_factory=dict)
    _stage: str = "before the first"
    _since: float = field(default_factory=perf_counter)

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = perf_counter()
        self.seconds[self._stage] = self.seconds.get(self._stage, 0) + now - self._since
        self._stage, self._since = stage, now

    def end(self) -> None:
        """No stage follows."""
        self("", 0, 0)


class _Memory:
    """The most memory that this process and the server's processes have at once, sampled; shared buffers left out."""

    def __init__(self) -> None:
        self.client = self.server = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "_Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        with session(Role.ADMIN) as opened:
            postmaster = int(opened.connection().exec_driver_sql(_POSTMASTER).scalar_one().split()[0])
        while not self._stop.wait(0.25):
            self.client = max(self.client, _own_bytes(os.getpid()))
            backends = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
            self.server = max(self.server, sum(_own_bytes(int(pid)) for pid in backends))


_POSTMASTER = "SELECT pg_read_file('postmaster.pid')"


def _own_bytes(pid: int) -> int:
    """A process's memory that is no file's and not shared; 0 for one that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024 if "RssAnon:" in status else 0


def measure(bench: Bench) -> None:
    """Measure a close at two sizes, and PDFs, in a data directory that is thrown away."""
    whole = Size(
        bench.numbers.get("images", 4_000 if bench.quick else 100_000),
        bench.numbers.get("payees", 400 if bench.quick else 10_000),
    )
    with _server():
        times = []
        for size in (Size(whole.images // 4, whole.payees // 4), whole):
            _use_new_database(f"close_{size.images}")
            times.append(_measure_close(bench, size))
            if size != whole and bench.quick:
                with bench.stage("verify"), session(Role.AUDITOR) as opened:
                    if not verify(opened).ok:
                        raise RuntimeError("the books do not verify")
        bench.add("time of 4 times the work", times[1] / times[0], "", at_most=5)
        _measure_pdfs(bench, min(100 if bench.quick else 300, whole.payees))


def _measure_close(bench: Bench, size: Size) -> float:
    """Fill books of a size, close them, and note the figures; seconds of the close."""
    name = f"{size.images:,} sales to {size.payees:,} payees"
    with bench.stage(f"fill the books: {name}"):
        fill(size)
    with session(Role.AUDITOR) as opened:
        bench.note_server(opened)
    with bench.stage("calculate") as calculated, session(Role.SETTLEMENT) as opened:
        open_period(opened, PERIOD, now=AT)
        cut_off(opened, PERIOD)
        calculate(opened, PERIOD, actor="maker")
    bench.add(f"calculate {name}", calculated.seconds, "s")
    with session(Role.SETTLEMENT) as opened:
        draft = submit(opened, PERIOD)
    with session(Role.APPROVER) as opened:
        approve(opened, PERIOD, checker="checker", content_sha256=draft.sha256)
    with session(Role.ADMIN) as opened:
        opened.connection().exec_driver_sql("CHECKPOINT")
        start = _wal(opened)
    bench.machine[f"load before {name}"] = " ".join(f"{load:.1f}" for load in os.getloadavg())
    stages = _Stages()
    with bench.stage("close") as closed, _Memory() as memory:
        with session(Role.SETTLEMENT) as opened:
            closing = close(opened, PERIOD, actor="maker", progress=stages)
            stages("commit", 0, 0)
        stages.end()
    with session(Role.ADMIN) as opened:
        written = _wal(opened) - start
    for stage, seconds in stages.seconds.items():
        if seconds >= _WORTH_A_LINE * closed.seconds:
            bench.add(f"{name}: {stage}", seconds, "s")
    full = size.images == _TARGET_IMAGES
    bench.add(f"close {name}", closed.seconds, "s", at_most=_TARGETS.get(size.payees) if full else None)
    bench.add(f"statements of {name}", closing.statements, "")
    bench.add(f"lines of {name}", closing.totals.lines, "")
    bench.add(f"memory beyond Postgres, {name}", memory.client / 2**20, "MiB", at_most=1024)
    bench.add(f"memory of Postgres beside shared buffers, {name}", memory.server / 2**20, "MiB")
    bench.add(f"write-ahead log, {name}", written / 2**20, "MiB")
    return closed.seconds


def _measure_pdfs(bench: Bench, count: int) -> None:
    """So many statements of the last close as PDF, twice; then one of many rows."""
    files: list[dict[str, bytes]] = []
    with session(Role.SETTLEMENT) as opened, tempfile.TemporaryDirectory() as directory:
        statements = opened.scalars(select(Statement).order_by(Statement.number).limit(count)).all()
        for attempt in ("PDFs", "PDFs, again"):
            with bench.stage(f"{count} {attempt}") as stage:
                paths = list(
                    write_statement_files(opened, statements, Path(directory, attempt), ["pdf"], _PROCESSES)
                )
            bench.add(f"{attempt}, by {_PROCESSES} processes", stage.rate(count), "statements/s", at_least=50)
            files.append({path.name: path.read_bytes() for path in paths})
        if files[0] != files[1]:
            raise RuntimeError("a PDF is not the same again")
        bench.add("one PDF", sum(map(len, files[0].values())) / count / 1024, "KiB")
        given = pdf_input(opened, statements[0])
    renderer = Renderer()
    for rows in (20, 500) if bench.quick else (20, 5_000, 50_000):
        long = replace(given, body=_with_rows(given.body, rows))
        began, cpu = perf_counter(), process_time()
        long.render(renderer)
        bench.add(f"a PDF of {rows:,} rows of earnings", perf_counter() - began, "s")
        bench.add(f"CPU of a PDF of {rows:,} rows of earnings", process_time() - cpu, "s")


def _with_rows(body: bytes, rows: int) -> bytes:
    """A statement's body with so many rows of earnings, which no longer add up to its summary."""
    document = parse(body)
    row = document["earnings"][0]
    document["earnings"] = [
        row | {"model": f"model-{number % 40:02}", "amount": f"{number}.{number * 7919 % 1_000_000:06}"}
        for number in range(rows)
    ]
    return json.dumps(document).encode()


def _wal(opened: Session) -> int:
    """Bytes of write-ahead log so far."""
    position: int = opened.execute(text("SELECT (pg_current_wal_lsn() - '0/0')::bigint")).scalar_one()
    return position


@contextmanager
def _server() -> Iterator[None]:
    """An embedded server of this benchmark's own."""
    with tempfile.TemporaryDirectory(prefix="royalty-benchmark-") as home:
        Path(home).chmod(0o755)  # as root the server runs as a user of its own
        for name in ("DATABASE_URL", "BROKER_URL", "ROYALTY_MODEL", "DATABASE_NAME"):
            os.environ.pop(name, None)
        os.environ["ROYALTY_HOME"] = home
        get_settings.cache_clear()
        try:
            yield
        finally:
            embedded_server().stop()


def _use_new_database(name: str) -> None:
    """Go on in another database."""
    for role in Role:
        engine(role).dispose()
    engine.cache_clear()
    database_url.cache_clear()
    with psycopg.connect(
        host=str(embedded_server().start()), user="postgres", dbname="postgres", autocommit=True
    ) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
    os.environ["DATABASE_NAME"] = name
    get_settings.cache_clear()
    migrate()


if __name__ == "__main__":
    numbers = {"images": "images, each sold once (100,000)", "payees": "payees (10,000)"}
    sys.exit(run("settlement", measure, numbers=numbers))
