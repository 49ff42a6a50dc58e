"""The model bank as a process of its own, and the environment in which payouts go to it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from benchmarks.payout_simulation import KEY, SECRET
from database.settings import get_settings

ROOT = Path(__file__).resolve().parents[3]
NAME = "modelbank"


@dataclass
class ModelBank:
    """A model bank's process. Killed and started again it is the same bank, on the same port."""

    directory: Path
    webhooks: str | None = None
    hang: float = 2.0
    port: int = 0
    process: "subprocess.Popen[str] | None" = field(default=None, repr=False)

    def start(self) -> None:
        command = [sys.executable, "-m", "fakebank", "--directory", str(self.directory)]
        command += ["--port", str(self.port), "--now", "2026-11-04T09:00:00+00:00", "--hang", str(self.hang)]
        if self.webhooks:
            command += ["--webhooks", self.webhooks]
        environment = {**os.environ, "FAKEBANK_KEY": KEY, "FAKEBANK_WEBHOOK_SECRET": SECRET}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        said = json.loads(self.process.stdout.readline())
        assert said["pid"] == self.process.pid
        self.port = urlsplit(said["url"]).port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """By its pid, without a warning."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def control(self, what: str, **given: Any) -> dict[str, Any]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        method, body = ("POST", json.dumps(given)) if given else ("GET", None)
        connection.request(method, f"/control/{what}", body, {"Authorization": f"Bearer {KEY}"})
        answer = connection.getresponse()
        content = json.loads(answer.read())
        connection.close()
        assert answer.status == 200, content
        return content


@contextmanager
def model_bank(directory: Path, **given: Any) -> Iterator[ModelBank]:
    bank = ModelBank(directory, **given)
    bank.start()
    try:
        yield bank
    finally:
        bank.kill()


def use(
    bank: ModelBank, monkeypatch: pytest.MonkeyPatch, currency: str = "EUR", timeout_ms: int = 400
) -> None:
    """Payments in this currency go to the model bank from now on, in this process and its children."""
    monkeypatch.setenv("PAYOUT_PROVIDERS", json.dumps({currency: NAME}))
    monkeypatch.setenv("PAYOUT_MODELBANK_URL", bank.url)
    monkeypatch.setenv("PAYOUT_MODELBANK_KEY", KEY)
    monkeypatch.setenv("PAYOUT_MODELBANK_WEBHOOK_SECRETS", SECRET)
    monkeypatch.setenv("PAYOUT_MODELBANK_TIMEOUT_MS", str(timeout_ms))
    get_settings.cache_clear()
