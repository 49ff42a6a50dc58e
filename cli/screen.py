"""What every command prints with: one console, tables with the same look, progress bars that vanish in a pipe."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from settlement.money import format_amount, format_money, minor_exponent, minor_unit

# In a pipe there is no width to keep to: tables stay whole, for `less -S` and for logs.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)

Advance = Callable[[int, int], None]
"""Called with (done, total) as work goes on."""


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()
) -> Table:
    """A table in the house style.

    Args:
        title: what it shows.
        columns: headings.
        rows: cells; anything printable, None as empty.
        right: headings of the columns of numbers.
    """
    drawn = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="bold cyan",
        box=None,
        pad_edge=False,
    )
    for column in columns:
        # A number broken over two lines is another number.
        number = column in right
        drawn.add_column(column, justify="right" if number else "left", no_wrap=number, overflow="fold")
    for row in rows:
        drawn.add_row(*("" if cell is None else str(cell) for cell in row))
    return drawn


def show(*args: object) -> None:
    """Print to the terminal."""
    console.print(*args)


def money(micros: int, currency: str) -> str:
    """An amount as a person reads it, to the micro where there is one."""
    return format_money(micros, currency)


def amount(micros: int, currency: str) -> str:
    """An amount without its currency, for a table that names it once."""
    exact = micros % minor_unit(currency) == 0
    return format_amount(micros, minor_exponent(currency) if exact else 6)


def percent(ppb: int) -> str:
    """A share as a percentage with two decimals, rounded down."""
    hundredths = ppb // 100_000
    return f"{hundredths // 100}.{hundredths % 100:02} %"


@contextmanager
def progress(what: str) -> Iterator[Advance]:
    """A progress bar; in a pipe one line at the end."""
    if not console.is_terminal:
        began, last = time.monotonic(), 0

        def count(done: int, _: int) -> None:
            nonlocal last
            last = done

        yield count
        show(f"{what}: {last}, {time.monotonic() - began:.0f} s")
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance
