"""The embedded server after it was killed: found to be gone, and started again at once."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from database.embedded import EmbeddedServer
from database.errors import Unavailable


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """A server that may be killed: nobody else's."""
    home = Path(tempfile.mkdtemp(prefix="royalty-killed-"))
    home.chmod(0o755)
    made = EmbeddedServer(home / "postgres")
    made.start()
    yield made
    made.stop()
    shutil.rmtree(home)


def postmaster(server: EmbeddedServer) -> int:
    return int((server.data / "postmaster.pid").read_text().splitlines()[0])


def connect(directory: Path) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(host=str(directory), user="postgres", dbname="postgres")


def test_started_at_once_after_it_was_killed(server: EmbeddedServer) -> None:
    """Whoever starts it gets a socket that answers, also while the killed server's backends are still there."""
    for _ in range(3):
        with closing(connect(server.start())) as idle:
            idle.execute("SELECT 1")
            killed = postmaster(server)
            os.kill(killed, signal.SIGKILL)
            with connect(server.start()) as again:
                assert again.execute("SELECT 1").fetchone() == (1,)
        assert postmaster(server) != killed


def test_a_pid_file_whose_pid_somebody_else_has(server: EmbeddedServer) -> None:
    """A server is running if it answers, not if there is a process of its number."""
    assert server.stop()
    lines = [str(os.getpid()), str(server.data), "1", "5432", str(server.data), "", "1 1", "ready"]
    (server.data / "postmaster.pid").write_text("\n".join(lines) + "\n")
    assert server.socket_directory() is None
    assert not server.stop()
    (server.data / "postmaster.pid").unlink()
    assert server.start() == server.socket_directory()


def test_one_that_cannot_start_says_so(tmp_path: Path) -> None:
    (tmp_path / "postgres").write_text("not a directory")
    with pytest.raises(Unavailable, match=r"does not start .* log: "):
        EmbeddedServer(tmp_path / "postgres").start()
