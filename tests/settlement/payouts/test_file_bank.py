"""The loop closed by files: our pain.001 to the model bank, whose pain.002, camt.054 and camt.053 come back.

The model bank reads and writes XML by code of its own, in a process of its own, and its ledger is ours at the end.
"""

import json
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest
import typer
from sqlalchemy import text
from sqlalchemy.orm import Session

from benchmarks.payout_simulation import SUFFIXES, owe, payee_of, payee_record
from cli import payouts
from database.engine import session
from database.roles import Role
from fakebank.bank import Bank, Unreadable
from fakebank.courses import course_of
from fakebank.files import answers, read_file
from settlement.money import MICROS
from settlement.payees import record_payees
from settlement.payouts.bank_messages.intake import Taken, take_file
from settlement.payouts.rail import FileRail
from tests.settlement.payouts.desk import (
    AT,
    approve,
    attempts,
    checks,
    close_october,
    create,
    ledger,
    load_terms,
    reserve,
    state,
    states,
    take,
)
from tests.settlement.payouts.model_bank import ROOT


def bank_by_files(home: Path, inbox: Path, outbox: Path, days: int) -> dict[str, int]:
    """The model bank's process: takes the inbox, lets days pass, writes the outbox."""
    command = [sys.executable, "-m", "fakebank.files", "--directory", str(home), "--inbox", str(inbox)]
    command += ["--outbox", str(outbox), "--days", str(days), "--now", "2026-11-04T09:00:00+00:00"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    answer: dict[str, int] = json.loads(done.stdout)
    return answer


def test_every_course_by_files_in_any_order(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with session(Role.ADMIN) as opened:
        load_terms(opened)
        close_october(opened)
        records = [payee_record(payee_of(suffix), number, suffix) for number, suffix in enumerate(SUFFIXES)]
        record_payees(opened, records, actor="test", reason="test")
        owe(opened, "EUR", {payee_of(suffix): 20_000_000 for suffix in SUFFIXES}, "test")
    batch = create()
    approve(batch)
    reserve(batch)
    inbox, outbox, home = tmp_path / "in", tmp_path / "out", tmp_path / "bank"
    FileRail(inbox).hand_over(lambda: session(Role.PAYER), batch, "ann", AT)
    assert bank_by_files(home, inbox, outbox, 0)["payments"] == len(SUFFIXES)
    # The file is given a second time, and days pass: nobody is paid a second time.
    assert bank_by_files(home, inbox, outbox, 10)["files"] >= 4
    assert bank_by_files(home, inbox, outbox, 0)["files"] == 0
    files = sorted(outbox.iterdir())
    monkeypatch.setattr(payouts, "operator", lambda scope: SimpleNamespace(username="ann"))

    def interrupted(opened: Session, file: BinaryIO, name: str, *given: Any) -> Taken:
        """The second file is being read when somebody presses Ctrl-C."""
        taken = take_file(opened, file, name, *given)
        if name == files[1].name:
            raise KeyboardInterrupt
        return taken

    with monkeypatch.context() as patched, pytest.raises(typer.Exit) as stopped:
        patched.setattr(payouts, "take_file", interrupted)
        payouts.import_files([outbox])
    assert stopped.value.exit_code == 130
    assert (
        f"1 of {len(files)} files were looked at, nothing of {files[1].name} is taken"
        in capsys.readouterr().err
    )
    with session(Role.AUDITOR) as opened:
        assert opened.scalar(text("SELECT count(*) FROM audit.bank_messages")) == 1
    shuffled = files * 2  # each comes twice
    Random(3).shuffle(shuffled)
    for path in shuffled:
        take(path.read_bytes(), path.name)
    payouts.import_files([outbox])
    assert " ".join(capsys.readouterr().out.split()).count("taken before") == len(files)
    expected = {payee_of(suffix): course_of(suffix).steps[-1].says for suffix in SUFFIXES}
    assert states(batch) == expected and set(expected.values()) == {"rejected", "paid", "returned"}
    assert state(batch) == "settled" and checks() == {}
    bank = Bank(home / "fakebank.sqlite")
    theirs = {name: int(Decimal(total) * MICROS) for name, total in bank.ledger()["payments"].items()}
    bank.close()
    ours = {attempts(batch)[payee]: 20_000_000 * (becomes == "paid") for payee, becomes in expected.items()}
    assert theirs == {attempt: ours[attempt] for attempt in theirs}
    assert sum(theirs.values()) == sum(ours.values())
    # What the bank took for itself is in our books too, and its statement adds up in them.
    assert ledger()["bank_charges"] == 250_000
    assert ledger()["bank"] == -sum(theirs.values()) - 250_000
    with session(Role.AUDITOR) as opened:
        assert opened.scalar(text("SELECT count(*) FROM audit.bank_statements WHERE adds_up")) == 1
        assert opened.scalar(text("SELECT count(*) FROM audit.bank_lines WHERE open")) == 0


def payment_file(total: str, count: str = "1") -> bytes:
    return (
        f"<Document><GrpHdr><MsgId>M</MsgId><NbOfTxs>{count}</NbOfTxs><CtrlSum>{total}</CtrlSum></GrpHdr>"
        "<DbtrAcct><Id><IBAN>DE1</IBAN></Id></DbtrAcct><CdtTrfTxInf><PmtId><EndToEndId>E1</EndToEndId></PmtId>"
        '<Amt><InstdAmt Ccy="EUR">3.00</InstdAmt></Amt><CdtrAcct><Id><IBAN>DE00</IBAN></Id></CdtrAcct>'
        "</CdtTrfTxInf></Document>"
    ).encode()


@pytest.mark.parametrize("content", [b"x", b"<Document/>", payment_file("3.01"), payment_file("3.00", "2")])
def test_the_model_bank_takes_no_file_that_does_not_add_up(content: bytes) -> None:
    assert read_file(payment_file("3.00"))[0] == "EUR"
    with pytest.raises(Unreadable):
        read_file(content)


def test_what_is_not_told_to_its_end_is_told_again(tmp_path: Path) -> None:
    """The model bank dies between two of its answers: the next run writes the same ones."""
    bank = Bank(tmp_path / "bank.sqlite", datetime(2026, 11, 4, 9, tzinfo=UTC))
    currency, payments = read_file(payment_file("3.00"))
    bank.tell(currency, payments, in_a_file=True)
    bank.advance(2)
    first = next(answers(bank))
    told = list(answers(bank))
    assert told[0] == first and len(told) == 3
    assert list(answers(bank)) == []
    bank.close()
