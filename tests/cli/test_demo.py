"""The demonstration, as `make demo` runs it, with the two-step method: the whole job, and then the whole job again."""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from database.embedded import EmbeddedServer


@pytest.fixture
def home() -> Iterator[Path]:
    """A data directory with a server of its own, as a new user has."""
    with tempfile.TemporaryDirectory(prefix="royalty-demo-") as name:
        path = Path(name)
        path.chmod(0o755)  # as root the server runs as a user of its own
        yield path
        EmbeddedServer(path / "postgres").stop()


def _demo(home: Path) -> str:
    environment = {**os.environ, "ROYALTY_HOME": str(home), "ROYALTY_METHOD": "quick"}
    environment.pop("DATABASE_NAME", None)
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "demo"],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def _statements(home: Path) -> dict[str, str]:
    files = sorted((home / "statements").iterdir())
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_everything_end_to_end_and_nothing_twice(home: Path) -> None:
    told = _demo(home)
    assert "everything holds" in told
    assert "(10 pending" in told  # the late images of the first period
    assert "waits as unclaimed" in told
    first = _statements(home)
    assert {Path(name).suffix for name in first} == {".json", ".csv", ".pdf"}
    payments = {file.name: file.read_bytes() for file in (home / "payouts").iterdir()}
    assert len(payments) == 1  # the second period is paid by a provider
    for outcome in ("pay-moriwaki rejected", "pay-lucia returned", "not answered for, and asked about"):
        assert outcome in told

    again = _demo(home)
    assert "2026-09 is closed already" in again
    assert _statements(home) == first
    assert {file.name: file.read_bytes() for file in (home / "payouts").iterdir()} == payments
    # The tables of who earned what, the books and the payouts are the same to the last digit.
    tables = slice(told.index("Who earned what"), told.index("Verification"))
    assert again[again.index("Who earned what") :].startswith(told[tables][:2000])
