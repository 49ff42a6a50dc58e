"""What every benchmark shares: timed stages, figures beside their targets, a table to read and JSON to keep.

A benchmark is a module of this package with

    def measure(bench: Bench) -> None: ...

    if __name__ == "__main__":
        sys.exit(run("main_job", measure))

and runs as `python -m benchmarks.main_job [--quick] [--json FILE]`.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType

from rich.console import Console
from rich.table import Table
from sqlalchemy import text
from sqlalchemy.orm import Session

SERVER_SETTINGS = ("server_version", "fsync", "synchronous_commit", "shared_buffers")
LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "sqlalchemy", "psycopg", "celery")


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Args:
        name: What was measured.
        value: The number, in `unit`.
        unit: For example `images/s`, `s`, `MB`; empty for a ratio.
        target: What it should be, as a person reads it (`>= 100`); empty where none is set.
        met: Whether the target is reached; None where none is set.
    """

    name: str
    value: float
    unit: str
    target: str = ""
    met: bool | None = None


@dataclass
class Bench:
    """What a benchmark writes to while it measures.

    Args:
        quick: Whether to take a small load, for a check in seconds rather than a figure to quote.
        console: Where progress and the table go.
    """

    quick: bool
    console: Console
    directories: dict[str, Path] = field(default_factory=dict)
    """What `run` was given for its ``directories``."""
    numbers: dict[str, int] = field(default_factory=dict)
    """What `run` was given for its ``numbers``."""
    figures: list[Figure] = field(default_factory=list)
    machine: dict[str, str | int] = field(default_factory=dict)
    """Description of the machine; `note_server` adds the database, and a benchmark what else matters to it."""

    def add(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> Figure:
        """Note a figure, with the bounds that are its target, and print it: a long run says what it has so far.

        Raises:
            ValueError: A figure of this name is noted already.
        """
        if any(figure.name == name for figure in self.figures):
            raise ValueError(f"the figure {name!r} is noted already")
        bounds = []
        met = None
        if at_least is not None:
            bounds.append(f">= {at_least:g}")
            met = value >= at_least
        if at_most is not None:
            bounds.append(f"<= {at_most:g}")
            met = met is not False and value <= at_most
        figure = Figure(name, value, unit, " and ".join(bounds), met)
        self.figures.append(figure)
        self.console.print(f"{name}: {_number(value)} {unit}".rstrip(), style="dim", highlight=False)
        return figure

    def note_server(self, session: Session) -> None:
        """Note which PostgreSQL is measured and what it does before it says "committed"."""
        for setting in SERVER_SETTINGS:
            value = session.execute(
                text("SELECT current_setting(:setting)"), {"setting": setting}
            ).scalar_one()
            self.machine["postgres" if setting == "server_version" else f"postgres_{setting}"] = value

    @contextmanager
    def stage(self, name: str) -> Iterator["Stage"]:
        """Time a stage; its seconds are on the stage afterwards, and printed."""
        stage = Stage(name)
        start = time.perf_counter()
        try:
            yield stage
        finally:
            stage.seconds = time.perf_counter() - start
        self.console.print(f"{name}: {stage.seconds:.2f} s", style="dim", highlight=False)


@dataclass
class Stage:
    """One timed stretch of a benchmark."""

    name: str
    seconds: float = 0.0

    def rate(self, count: int) -> float:
        """Things per second, when the stage worked off `count` of them."""
        return count / self.seconds


def describe_machine() -> dict[str, str | int]:
    """Processor, memory, GPU, libraries and commit: figures mean nothing without them."""
    machine: dict[str, str | int] = {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpu": _first_line("nvidia-smi", "--query-gpu=name", "--format=csv,noheader") or "none",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "commit": _first_line("git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD") or "unknown",
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    for library in LIBRARIES:
        try:
            machine[library] = version(library)
        except PackageNotFoundError:
            machine[library] = "not installed"
    return machine


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or platform.machine()


def _first_line(*command: str) -> str:
    """First line of a command's output; empty where the command is missing or fails."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (subprocess.SubprocessError, OSError):
        return ""
    return done.stdout.partition("\n")[0].strip()


def _table(name: str, bench: Bench) -> Table:
    cores, memory = bench.machine["cores"], int(bench.machine["memory_bytes"])
    table = Table(
        title=f"{name}{' (quick)' if bench.quick else ''}",
        caption=f"{bench.machine['cpu']}, {cores} cores, {memory / 2**30:.0f} GiB, GPU: {bench.machine['gpu']}",
    )
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("target")
    table.add_column("met")
    words = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}
    for figure in bench.figures:
        table.add_row(figure.name, _number(figure.value), figure.unit, figure.target, words[figure.met])
    return table


def _number(value: float) -> str:
    """Four significant digits, or the whole number with thousands apart."""
    if isinstance(value, int) or abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _positive(given: str) -> int:
    number = int(given)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not above zero")
    return number


@contextmanager
def _stopped_like_ctrl_c() -> Iterator[None]:
    """Told to stop by SIGTERM, as `timeout` does, a benchmark ends its workers and servers as after Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run(
    name: str,
    measure: Callable[[Bench], None],
    argv: Sequence[str] | None = None,
    console: Console | None = None,
    directories: Mapping[str, str] = MappingProxyType({}),
    numbers: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Run one benchmark as a command: measure, print the table, write the JSON.

    Args:
        name: The benchmark's name, its module's.
        measure: Does the work and notes figures.
        argv: Arguments; None takes the command line's.
        console: Where to print; None is standard output.
        directories: What else it can be given, by option, with a line of help: a checkout to compare with.
        numbers: Likewise, whole numbers above zero: how much to do.

    Returns:
        The exit status: 0, also where a target is missed; 1 where the JSON cannot be written; 130 after Ctrl-C or
        SIGTERM, which print the figures so far.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=measure.__doc__)
    parser.add_argument("--quick", action="store_true", help="a small load: checks that it runs, in seconds")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the machine and the figures here as well"
    )
    for option, help_line in directories.items():
        parser.add_argument(f"--{option}", type=Path, metavar="DIR", help=help_line)
    for option, help_line in numbers.items():
        parser.add_argument(f"--{option}", type=_positive, metavar="N", help=help_line)
    arguments = parser.parse_args(argv)
    counts = {option: getattr(arguments, option) for option in numbers if getattr(arguments, option)}
    given = {option: getattr(arguments, option) for option in directories if getattr(arguments, option)}
    for directory in given.values():
        if not directory.is_dir():
            parser.error(f"there is no directory {directory}")
    if arguments.json and not arguments.json.absolute().parent.is_dir():
        parser.error(f"the directory of {arguments.json} does not exist")  # before the work, not after it

    bench = Bench(arguments.quick, console or Console(), given, counts, machine=describe_machine())
    try:
        with _stopped_like_ctrl_c():
            measure(bench)
    except KeyboardInterrupt:
        bench.console.print(_table(name, bench))
        bench.console.print("Interrupted: these are the figures so far.")
        return 130
    bench.console.print(_table(name, bench))
    if arguments.json:
        document = {
            "benchmark": name,
            "quick": bench.quick,
            "machine": bench.machine,
            "figures": [asdict(figure) for figure in bench.figures],
        }
        try:
            arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            print(f"cannot write {arguments.json}: {error.strerror}", file=sys.stderr)
            return 1
    return 0
