"""Serving: one line for a port that cannot be had, and a real process that answers and stops."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from api.server import listen
from database.errors import Invalid, Unavailable


def test_a_taken_port_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=rf"port {port} on 127.0.0.1 is taken: .*--port"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "port"), [("no.such.host.invalid", 8000), ("127.0.0.1", 70000), ("203.0.113.7", 8000)]
)
def test_an_address_that_is_none_is_one_line(host: str, port: int) -> None:
    with pytest.raises(Invalid):
        listen(host, port)


def test_a_process_serves_logs_json_and_stops(database: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", f"from api.server import serve; serve(port={port})"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    try:
        for _ in range(200):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                    assert answer.status == 200
                break
            except urllib.error.URLError:
                assert process.poll() is None, process.communicate()
                time.sleep(0.1)
        else:
            pytest.fail("the server did not become ready")
    finally:
        process.terminate()
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0 or process.returncode == -15, err
    requests = [json.loads(line) for line in out.splitlines()]
    assert requests and requests[-1]["route"] == "/readyz"
    assert err == ""
