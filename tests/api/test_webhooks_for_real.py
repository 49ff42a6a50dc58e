"""Webhooks over a network: the model bank's process signs and sends them, the API's own server takes them."""

import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from api.app import create_app
from benchmarks.payout_simulation import SECRET, owe, payee_of, payee_record
from database.engine import session
from database.roles import Role
from fakebank.service import signed
from settlement.payees import record_payees
from settlement.payouts.submission import submit
from tests.settlement.payouts.desk import (
    AT,
    approve,
    attempts,
    close_october,
    create,
    ledger,
    load_terms,
    states,
)
from tests.settlement.payouts.model_bank import NAME, ModelBank, model_bank, use

SUFFIXES = ("00", "91", "95", "96")
"""Paid; refused a day later; each webhook twice; returned, and its webhooks the newest first."""


@pytest.fixture
def url(database: str) -> Iterator[str]:
    """Where the API takes the model bank's webhooks, on a port of its own."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(), log_config=None, access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1/webhooks/{NAME}"
    server.should_exit = True
    thread.join(30)
    listening.close()


@pytest.fixture
def bank(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelBank]:
    with session(Role.ADMIN) as opened:
        load_terms(opened)
        close_october(opened)
        records = [payee_record(payee_of(suffix), number, suffix) for number, suffix in enumerate(SUFFIXES)]
        record_payees(opened, records, actor="test", reason="test")
        owe(opened, "EUR", {payee_of(suffix): 20_000_000 for suffix in SUFFIXES}, "test")
    with model_bank(tmp_path / "bank", webhooks=url) as started:
        use(started, monkeypatch)
        yield started


def post(url: str, headers: dict[str, str], body: bytes) -> int:
    """Send a webhook as anybody could; the status of the answer."""
    request = urllib.request.Request(url, body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_signed_webhooks_move_payouts_and_nothing_else_does(bank: ModelBank, url: str) -> None:
    batch = create()
    approve(batch)
    submit(lambda: session(Role.PAYER), batch, "ann", AT)
    event = {
        "id": "evt-forged",
        "type": "payment.rejected",
        "payment": attempts(batch)[payee_of("00")],
        "amount": "20.00",
        "currency": "EUR",
        "at": "2026-11-04T09:00:00Z",
    }
    now = int(time.time())
    headers, body = signed(SECRET, event, now)
    forged, _ = signed("whsec_" + "A" * 40, event, now)
    assert post(url, forged, body) == 401  # another secret
    assert post(url, headers, body.replace(b"20.00", b"19.00")) == 401  # another body
    assert post(url, *signed(SECRET, event, now - 3600)) == 401  # an hour old: a replay
    # The bank's own: nobody polls, and its days pass.
    bank.control("advance", days=10)
    becomes = {
        payee_of("00"): "paid",
        payee_of("91"): "rejected",
        payee_of("95"): "paid",
        payee_of("96"): "returned",
    }
    ends = time.monotonic() + 120
    while states(batch) != becomes and time.monotonic() < ends:
        time.sleep(0.2)
    assert states(batch) == becomes
    books = ledger()
    assert books["payout_clearing"] == 0 and books["bank"] == -40_000_000
    # One of the bank's own events, signed anew and sent again, is the one that is known.
    again = {**event, "id": f"evt-{event['payment']}-1", "type": "payment.paid", "at": "2026-11-05T09:00:00Z"}
    assert post(url, *signed(SECRET, again, int(time.time()))) == 204
    assert (states(batch), ledger()) == (becomes, books)
