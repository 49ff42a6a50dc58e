"""The provider rail against the model bank over the network: killed on either side, at once, over time-outs."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from benchmarks.payout_simulation import SUFFIXES, owe, payee_of, payee_record
from database.engine import session
from database.errors import Conflict, NotFound, Refused, Unavailable
from database.roles import Role
from fakebank.courses import COURSES
from settlement.money import MICROS
from settlement.payees import record_payees
from settlement.payouts import run
from settlement.payouts.provider.configuration import configured_provider
from settlement.payouts.provider.rail import Polled, ProviderRail
from settlement.payouts.submission import submit
from tests.settlement.payouts.desk import (
    AT,
    approve,
    attempts,
    close_october,
    create,
    ledger,
    load_terms,
    state,
    states,
)
from tests.settlement.payouts.model_bank import NAME, ROOT, ModelBank, model_bank, use


@pytest.fixture
def bank(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelBank]:
    """October is closed, EUR goes to the model bank, and it runs."""
    with session(Role.ADMIN) as opened:
        load_terms(opened)
        close_october(opened)
    with model_bank(tmp_path / "bank") as started:
        use(started, monkeypatch)
        yield started


def people(*suffixes: str, count: int | None = None) -> dict[str, int]:
    """Payees of the model bank who are owed 12.34 EUR and some micros each."""
    named = {payee_of(suffix): suffix for suffix in suffixes}
    if count is not None:
        named = {f"pay-{number:05}": suffixes[number % len(suffixes)] for number in range(count)}
    amounts = dict.fromkeys(named, 12_345_678)
    with session(Role.ADMIN) as opened:
        records = [
            payee_record(payee, number, suffix) for number, (payee, suffix) in enumerate(named.items())
        ]
        record_payees(opened, records, actor="test", reason="test")
        owe(opened, "EUR", amounts, "test")
    return amounts


def submit_now(batch_id: str) -> list[str]:
    return submit(lambda: session(Role.PAYER), batch_id, "ann", AT)


def poll() -> Polled:
    return ProviderRail(configured_provider(NAME)).poll(lambda: session(Role.PAYER), "ann")


def paid_by(bank: ModelBank) -> dict[str, int]:
    """The bank's own ledger, in micros by payment; what came back is 0."""
    return {name: int(Decimal(total) * MICROS) for name, total in bank.control("ledger")["payments"].items()}


def paid_by_us(batch_id: str) -> dict[str, int]:
    with session(Role.PAYER) as opened:
        rows = opened.execute(
            text(
                "SELECT t.attempt_id, CASE e.state WHEN 'paid' THEN t.amount_micros ELSE 0 END"
                " FROM settlement.payout AS p JOIN settlement.payout_attempt AS t ON t.payout_id = p.payout_id"
                " JOIN LATERAL (SELECT e.state FROM settlement.payout_event AS e WHERE e.payout_id = p.payout_id"
                "               ORDER BY e.number DESC LIMIT 1) AS e ON true"
                " WHERE p.batch_id = :batch AND e.state IN ('paid', 'returned')"
            ),
            {"batch": batch_id},
        )
        return {attempt: amount for attempt, amount in rows}  # noqa: C416


def test_every_course_over_the_network(bank: ModelBank) -> None:
    people(*SUFFIXES)
    batch_id = create()
    approve(batch_id)
    submit_now(batch_id)
    assert state(batch_id) == "partially_settled"  # one was rejected at once
    found = {payee.removeprefix("pay-course-"): now for payee, now in states(batch_id).items()}
    # Told in one call, which one of them brought down; then asked about, then told of one by one.
    assert found.pop("90") == "rejected"
    assert found.pop("97") == found.pop("87") == "unknown"
    assert set(found.values()) == {"accepted"}
    submit_now(batch_id)  # once more: who brings down two calls is told of in the third
    assert states(batch_id)[payee_of("87")] == "accepted"
    bank.control("advance", days=10)
    polled = poll()
    assert polled.unheard_of == [attempts(batch_id)[payee_of("97")]]
    assert polled.open == []
    found = {payee.removeprefix("pay-course-"): now for payee, now in states(batch_id).items()}
    returned = {suffix for suffix, course in COURSES.items() if course.steps[-1].says == "returned"}
    assert {suffix for suffix, now in found.items() if now == "returned"} == returned == {"92", "96", "88"}
    assert {suffix for suffix, now in found.items() if now == "rejected"} == {"90", "91"}
    assert found["97"] == "unknown"
    assert Counter(found.values())["paid"] == len(SUFFIXES) - 6
    assert paid_by(bank) == paid_by_us(batch_id)
    assert ledger()["payout_clearing"] == -12_340_000  # of 97, which nobody knows of
    assert poll().events == 0
    with session(Role.PAYER) as opened, pytest.raises(Conflict, match="it has no file"):
        run.bank_files(opened, batch_id)


@pytest.mark.timeout(900)
def test_killed_amid_ten_thousand_and_resumed(bank: ModelBank, database: str) -> None:
    amounts = people(*["00"] * 18, "90", "92", count=10_000)
    batch_id = create()
    approve(batch_id)
    killed = 0
    for until in (2_000, 7_000):
        process = _submitter(batch_id)
        assert process.stdout is not None
        for line in process.stdout:
            if re.match(r"\d+ \d+", line) and int(line.split()[0]) >= until - killed:
                break
        if until == 7_000:
            bank.kill()  # the bank dies as well, and comes back with what it knew
            bank.start()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        killed = until
    assert state(batch_id) == "submitting"
    last = _submitter(batch_id)
    assert last.wait() == 0
    assert last.stdout is not None
    last.stdout.close()
    assert state(batch_id) == "partially_settled"
    assert Counter(states(batch_id).values()) == {"accepted": 9_500, "rejected": 500}
    bank.control("advance", days=10)
    poll()
    assert state(batch_id) == "settled"
    assert Counter(states(batch_id).values()) == {"paid": 9_000, "rejected": 500, "returned": 500}
    assert paid_by(bank) == paid_by_us(batch_id)
    assert sum(paid_by(bank).values()) == 9_000 * 12_340_000 == -ledger()["bank"]
    assert ledger()["payout_clearing"] == 0
    with session(Role.PAYER) as opened:
        owed = opened.scalar(
            text(
                "SELECT -sum(p.amount)::bigint FROM ledger.account AS a JOIN ledger.posting AS p ON p.account_id = a.id"
                " WHERE a.code LIKE 'royalties\\_payable:%'"
            )
        )
    assert owed == sum(amounts.values()) - 9_000 * 12_340_000


def _submitter(batch_id: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.settlement.payouts.submitter", batch_id],
        cwd=ROOT,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_operators_at_once(bank: ModelBank) -> None:
    people("00", "93", count=400)
    batch_id = create()
    approve(batch_id)
    both = [_submitter(batch_id) for _ in range(2)]
    ends = []
    for process in both:
        process.communicate()
        ends.append(process.returncode)
    assert 0 in ends  # the other one found it busy, or found it done
    assert state(batch_id) == "submitted"
    assert set(states(batch_id).values()) == {"accepted"}
    bank.control("advance", days=2)
    poll()
    assert state(batch_id) == "settled"
    assert paid_by(bank) == paid_by_us(batch_id)
    assert len(paid_by(bank)) == 400


def test_an_outage_is_waited_out_and_a_long_one_is_said(bank: ModelBank) -> None:
    people("00")
    batch_id = create()
    approve(batch_id)
    bank.control("outage", kind="busy", calls=2)
    submit_now(batch_id)
    assert set(states(batch_id).values()) == {"accepted"}
    bank.kill()
    rail = ProviderRail(configured_provider(NAME), patience=timedelta(seconds=1))
    with pytest.raises(
        Unavailable, match=r"cannot be reached \(no connection \(ConnectionRefusedError.*nothing is lost"
    ):
        rail.poll(lambda: session(Role.PAYER), "ann")


def test_the_way_is_fixed_with_the_attempts(bank: ModelBank, database: str) -> None:
    people("00")
    batch_id = create()
    approve(batch_id)
    with session(Role.PAYER) as opened:
        run.reserve(opened, batch_id, "ann", AT)  # while EUR still went in files
    submit_now(batch_id)
    assert paid_by(bank) == {}
    with (
        psycopg.connect(database) as connection,
        pytest.raises(psycopg.errors.RestrictViolation, match="reserved already"),
    ):
        connection.execute(
            "INSERT INTO settlement.provider_batch (batch_id, provider, actor) VALUES (%s, 'modelbank', 'x')",
            (batch_id,),
        )
    with session(Role.PAYER) as opened, pytest.raises(Conflict, match="goes in files, not by modelbank"):
        opened.rollback()
        ProviderRail(configured_provider(NAME)).hand_over(lambda: session(Role.PAYER), batch_id, "ann", AT)


def test_no_file_for_a_batch_that_goes_by_a_provider(bank: ModelBank, database: str) -> None:
    people("00")
    batch_id = create()
    approve(batch_id)
    submit_now(batch_id)
    with (
        psycopg.connect(database) as connection,
        pytest.raises(psycopg.errors.RestrictViolation, match="it has no file"),
    ):
        connection.execute(
            "INSERT INTO settlement.payout_file (batch_id, name, sha256) VALUES (%s, 'x', '')", (batch_id,)
        )


def test_what_is_not_configured_is_said_before_money_moves(
    bank: ModelBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    people("00")
    batch_id = create()
    approve(batch_id)
    monkeypatch.delenv("PAYOUT_MODELBANK_KEY")
    with pytest.raises(NotFound, match="set PAYOUT_MODELBANK_URL and PAYOUT_MODELBANK_KEY"):
        submit_now(batch_id)
    assert state(batch_id) == "approved"
    monkeypatch.setenv("PAYOUT_MODELBANK_KEY", "another")
    with pytest.raises(Refused, match="provider modelbank does not know us"):
        submit_now(batch_id)
    monkeypatch.undo()
