"""A provider's webhooks: let in by their signature, kept once, applied in any order, and never by guessing."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from benchmarks.payout_simulation import SECRET
from database.engine import session
from database.errors import Invalid
from database.roles import Role
from database.settings import get_settings
from fakebank.service import signed
from settlement.payouts import run
from settlement.payouts.provider.configuration import webhook_secrets
from settlement.payouts.provider.events import open_events
from settlement.payouts.provider.webhook import signature
from tests.settlement.payouts.desk import (
    AT,
    BATCH,
    approve,
    close_october,
    create,
    load_terms,
    post_debts,
    states,
)

NEW_SECRET = "whsec_" + "YW5vdGhlciBzZWNyZXQgZm9yIHRoZSBtb2RlbCBiYW5rLi4="
ATTEMPT = f"{BATCH}-1-1"


@pytest.fixture
def told(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three payees are owed money, and the provider `nordpay` is being told of it; its secret is being replaced."""
    monkeypatch.setenv("PAYOUT_PROVIDERS", '{"EUR": "nordpay"}')
    monkeypatch.setenv("PAYOUT_NORDPAY_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PAYOUT_NORDPAY_KEY", "key")
    monkeypatch.setenv("PAYOUT_NORDPAY_WEBHOOK_SECRETS", f"{SECRET}, {NEW_SECRET}")
    get_settings.cache_clear()
    with session(Role.ADMIN) as opened:
        load_terms(opened)
        close_october(opened)
        post_debts(opened)
    create()
    approve(BATCH)
    with session(Role.PAYER) as opened:
        run.reserve(opened, BATCH, "ann", AT, provider="nordpay")
    with session(Role.PAYER) as opened:
        opened.execute(
            text(
                "INSERT INTO settlement.payout_event (payout_id, number, attempt_id, state, actor, occurred_at)"
                " SELECT payout_id, 3, attempt_id, 'submitted', 'ann', now() FROM settlement.payout_attempt"
            )
        )


def event(says: str, attempt: str = ATTEMPT, **changed: Any) -> dict[str, Any]:
    return {
        "id": f"evt-{attempt}-{says}",
        "type": f"payment.{says}",
        "payment": attempt,
        "amount": "12.34",
        "currency": "EUR",
        "at": "2026-11-05T09:00:00Z",
    } | changed


def send(
    client: TestClient,
    given: dict[str, Any],
    secret: str = SECRET,
    age: timedelta = timedelta(0),
    provider: str = "nordpay",
    **headers: str,
) -> Any:
    made, body = signed(secret, given, int((datetime.now(UTC) - age).timestamp()))
    return client.post(f"/v1/webhooks/{provider}", content=body, headers={**made, **headers})


def waiting() -> list[tuple[str, str]]:
    with session(Role.PAYER) as opened:
        return [(one.event_id, one.why) for one in open_events(opened, "nordpay")]


def test_each_event_once_in_any_order_under_both_secrets(client: TestClient, told: None) -> None:
    assert send(client, event("returned", reason="AC04")).status_code == 204  # before it was paid: it waits
    assert states(BATCH)["pay-1"] == "submitted"
    assert [why for _, why in waiting()] == ["a payout that is submitted cannot become returned"]
    assert send(client, event("paid"), secret=NEW_SECRET).status_code == 204
    assert states(BATCH)["pay-1"] == "returned"
    assert send(client, event("paid")).status_code == 204
    assert send(client, event("accepted")).status_code == 204  # late
    assert states(BATCH)["pay-1"] == "returned"
    assert waiting() == []
    with session(Role.PAYER) as opened:
        kept = opened.execute(
            text(
                "SELECT e.says, e.source, m.result, e.reason FROM settlement.provider_event AS e"
                " JOIN settlement.provider_match AS m ON m.provider_event_id = e.id ORDER BY e.id"
            )
        ).all()
    assert [tuple(row) for row in kept] == [
        ("returned", "webhook", "recorded", "AC04"),
        ("paid", "webhook", "recorded", ""),
        ("accepted", "webhook", "known", ""),
    ]


def test_the_same_id_with_other_contents_is_refused(client: TestClient, told: None) -> None:
    assert send(client, event("accepted")).status_code == 204
    answer = send(client, event("accepted", amount="12.35"))
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert states(BATCH)["pay-1"] == "accepted"


def test_what_is_not_ours_is_kept_and_reported(client: TestClient, told: None) -> None:
    assert send(client, event("paid", "EUR-20261104-9-1-1")).status_code == 204
    assert send(client, event("paid", amount="12.35")).status_code == 204
    assert (
        send(client, event("fee_charged", f"{BATCH}-2-1")).status_code == 204
    )  # nothing that moves a payout
    assert [why for _, why in waiting()] == [
        "no payment that this provider was told of has this reference",
        "the provider says 12.35 EUR, the payment is of 12.34 EUR",
    ]
    assert set(states(BATCH).values()) == {"submitted"}


def test_paid_after_rejected_pays_nobody_again(client: TestClient, told: None) -> None:
    assert send(client, event("rejected", reason="MS03")).status_code == 204
    assert send(client, event("paid")).status_code == 204
    assert states(BATCH)["pay-1"] == "rejected"
    with session(Role.PAYER) as opened:
        held = opened.execute(text("SELECT payee_id, reason FROM settlement.hold")).all()
    assert [tuple(row) for row in held] == [("pay-1", f"payment {ATTEMPT} was refused and then paid")]


def test_a_duplicate_is_no_rejection(client: TestClient, told: None) -> None:
    assert send(client, event("rejected", reason="AM05")).status_code == 204
    assert states(BATCH)["pay-1"] == "unknown"


@pytest.mark.parametrize(
    "change",
    [
        {"secret": "whsec_" + "bm90IHRoZSBzZWNyZXQgb2YgYW55Ym9keSBhdCBhbGwhISE="},
        {"age": timedelta(minutes=6)},
        {"age": timedelta(minutes=-6)},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-timestamp": "soon"},
        {"webhook-id": "evt-another"},
    ],
)
def test_nobody_else_gets_in(client: TestClient, told: None, change: dict[str, Any]) -> None:
    answer = send(client, event("paid"), **change)
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert set(states(BATCH).values()) == {"submitted"}
    with session(Role.PAYER) as opened:
        assert opened.scalar(text("SELECT count(*) FROM settlement.provider_event")) == 0


def test_what_cannot_be_read_is_said(client: TestClient, told: None) -> None:
    for given in (
        {"id": "evt-1"},
        event("paid", amount="1e3"),
        event("paid", at="2026-11-05T09:00:00"),
        event("paid", payment="a\x00b"),
        event("paid", currency="eur"),
    ):
        answer = send(client, given)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), given
    assert send(client, event("paid", provider_note="x" * 70_000)).status_code == 413
    assert send(client, event("paid"), provider="another").status_code == 404


def test_a_secret_that_is_none_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for secret in ("secret", "whsec_c2hvcnQ="):
        monkeypatch.setenv("PAYOUT_NORDPAY_WEBHOOK_SECRETS", secret)
        with pytest.raises(Invalid, match="a webhook secret is not whsec_"):
            webhook_secrets("nordpay")


def test_signatures_are_those_of_standard_webhooks() -> None:
    """The example of its specification."""
    assert (
        signature(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            b'{"test": 2432232314}',
        )
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )
