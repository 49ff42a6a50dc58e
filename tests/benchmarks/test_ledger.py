"""The ledger's benchmark on a small load: every figure comes about, and what it posts is whole."""

import io

from rich.console import Console

from benchmarks.harness import Bench
from benchmarks.ledger import entries, measure_ledger


def test_every_figure_comes_about(database: str) -> None:
    bench = Bench(quick=True, console=Console(file=io.StringIO()))
    measure_ledger(bench)
    figures = {figure.name: figure for figure in bench.figures}
    assert {figure.target for figure in figures.values() if figure.target} == {
        "<= 0.2", ">= 30000", ">= 0.6", "<= 2", ">= 250000",
    }  # fmt: skip
    assert all(figure.value > 0 for name, figure in figures.items() if "memory" not in name)
    assert figures["2 lines a journal"].unit == "lines/s"


def test_entries_have_their_lines() -> None:
    for lines in (2, 10, 10_001):
        for entry in entries("x", 2, lines):
            assert len(entry.lines) == lines
            assert sum(line.amount for line in entry.lines) == 0
