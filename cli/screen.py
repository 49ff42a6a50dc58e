"""What every command prints with: one console, tables with the same look, progress bars that vanish in a pipe."""

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

from settlement.money import format_money

console = Console(highlight=False)

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
        drawn.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*("" if cell is None else str(cell) for cell in row))
    return drawn


def show(*args: object) -> None:
    """Print to the terminal."""
    console.print(*args)


def money(micros: int, currency: str) -> str:
    """An amount as a person reads it, to the micro where there is one."""
    return format_money(micros, currency)


def percent(ppb: int) -> str:
    """A share as a percentage with two decimals, rounded down."""
    hundredths = ppb // 100_000
    return f"{hundredths // 100}.{hundredths % 100:02} %"


@contextmanager
def progress(what: str) -> Iterator[Advance]:
    """A progress bar; in a pipe it prints nothing but the final line."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance
