"""Imports only go down, the ledger stands alone, and arithmetic is pure."""

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("api", "cli", "settlement", "attribution", "database")

PURE = ("attribution.shapley", "settlement.allocation", "settlement.money")
"""Arithmetic: no I/O, clock, randomness, database or tensors, not even through what these modules import."""

IMPURE = set(
    "asyncio celery datetime diffusers httpx io kombu logging numpy os pathlib psycopg random requests secrets shutil "
    "socket sqlalchemy structlog subprocess tempfile threading time torch transformers urllib uuid zoneinfo".split()
)


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*FLOORS, include_external_packages=True, cache_dir=None)


def test_contracts_of_pyproject_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_the_ledger_knows_only_itself_and_the_ground_floor(graph: grimp.ImportGraph) -> None:
    """settlement/ledger could be lifted out: it imports nothing else of settlement, and nothing of attribution."""
    ledger = {"settlement.ledger", *graph.find_descendants("settlement.ledger")}
    wrong = {
        f"{module} imports {imported}"
        for module in ledger
        for imported in graph.find_modules_directly_imported_by(module)
        if imported.split(".")[0] in FLOORS and imported not in ledger and not imported.startswith("database")
    }
    assert not wrong


@pytest.mark.parametrize("module", PURE)
def test_arithmetic_is_pure(graph: grimp.ImportGraph, module: str) -> None:
    assert module in graph.modules
    chains = {other: graph.find_shortest_chain(module, other) for other in IMPURE & graph.modules}
    assert not {other: " -> ".join(chain) for other, chain in chains.items() if chain}
