"""The schedule asks providers as the command does, in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.payout_simulation import payee_of
from database.engine import session
from database.roles import Role
from settlement.payouts import tasks
from settlement.payouts.submission import submit
from tests.settlement.payouts.desk import AT, approve, create, ledger, states
from tests.settlement.payouts.model_bank import ROOT, ModelBank
from tests.settlement.payouts.test_provider_for_real import bank, people

__all__ = ["bank"]


def test_the_schedule_finds_out_what_was_not_answered(bank: ModelBank, tmp_path: Path) -> None:
    """Suffix 93 is paid though its call was never answered: nobody runs a command, and the books know."""
    people("00", "93")
    batch = create()
    approve(batch)
    submit(lambda: session(Role.PAYER), batch, "ann", AT)
    bank.control("advance", days=5)
    log = tmp_path / "payer.log"
    with log.open("w") as out:
        payer = subprocess.Popen(
            [sys.executable, "-c", "from settlement.payouts.tasks import run_payer; run_payer()"],
            cwd=ROOT,
            env=os.environ,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        ends = time.monotonic() + 120
        while set(states(batch).values()) != {"paid"} and time.monotonic() < ends:
            assert payer.poll() is None, log.read_text()
            time.sleep(0.5)
    finally:
        payer.send_signal(signal.SIGTERM)
        payer.wait(60)
    assert states(batch) == {payee_of("00"): "paid", payee_of("93"): "paid"}, log.read_text()
    assert ledger()["payout_clearing"] == 0


def test_a_provider_out_of_reach_keeps_nobody_from_the_others(
    bank: ModelBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    people("00")
    batch = create()
    approve(batch)
    submit(lambda: session(Role.PAYER), batch, "ann", AT)
    bank.control("advance", days=5)
    monkeypatch.setattr(tasks, "providers", lambda: ["absent", "modelbank"])
    tasks.poll()
    assert states(batch) == {payee_of("00"): "paid"}


def test_what_is_on_the_schedule() -> None:
    (entry,) = tasks.app.conf.beat_schedule.values()
    assert entry["task"] == tasks.poll.name and entry["schedule"].total_seconds() == tasks.POLL_SECONDS
