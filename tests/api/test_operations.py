"""Periods and payout batches over HTTP, by a maker and a checker."""

from xml.etree import ElementTree

import pytest
from fastapi.testclient import TestClient

from database.engine import session
from database.identity import Principal, issue_token
from database.roles import Role
from database.settings import get_settings
from tests.api.books import PERIOD, cut, sell, settle
from tests.settlement.test_remittances import withhold


@pytest.fixture
def maker(database: str, login) -> dict[str, str]:
    return login("maker", ["runs:write", "payouts:write"])


@pytest.fixture
def checker(database: str, login) -> dict[str, str]:
    return login("checker", ["runs:approve", "payouts:approve"])


def test_a_period_from_cut_off_to_close(client: TestClient, maker, checker, login) -> None:
    sell()
    cut()
    address = f"/v1/periods/{PERIOD}"
    assert client.post(f"{address}/cut-off", headers=maker).json()["state"] == "cut_off"
    dry = client.post(f"{address}/close", headers=maker, params={"dry_run": True}).json()
    assert (dry["dry_run"], dry["journals"], dry["totals"]["sales"]) == (True, 0, 3)
    early = client.post(f"{address}/close", headers=maker)
    assert early.status_code == 409 and early.json()["code"] == "conflict"

    draft = client.post(f"{address}/calculate", headers=maker).json()
    assert draft["calculated_by"] == "maker"
    assert draft["totals"]["currencies"][0]["slices"] == {"amount": "9.000000", "currency": "EUR"}
    assert client.post(f"{address}/submit", headers=maker).json()["content_sha256"] == draft["content_sha256"]
    assert client.get(f"{address}/draft", headers=checker).json() == draft

    other = client.post(f"{address}/approve", headers=checker, json={"content_sha256": "0" * 64})
    assert other.status_code == 409
    approval = client.post(
        f"{address}/approve", headers=checker, json={"content_sha256": draft["content_sha256"]}
    ).json()
    assert (approval["maker"], approval["checker"]) == ("maker", "checker")

    closing = client.post(f"{address}/close", headers=maker).json()
    assert closing["statements"] == 3 and closing["journals"] > 0
    assert closing["totals"] == dry["totals"] == draft["totals"]
    again = client.post(f"{address}/close", headers=maker)
    assert again.status_code == 409 and "closed already" in again.json()["detail"]
    assert [period["state"] for period in client.get("/v1/periods", headers=checker).json()] == ["closed"]
    # What was closed over HTTP is what the artist reads.
    mara = login("mara", ["statements:read"], ["pay-1"])
    [statement] = client.get("/v1/statements", headers=mara).json()["items"]
    assert statement["closing"]["amount"] == "2.310000"


def test_unknown_periods(client: TestClient, maker) -> None:
    sell()
    assert client.get("/v1/periods/2199-01", headers=maker).json()["code"] == "not-found"
    assert client.get("/v1/periods/2026-13", headers=maker).status_code == 422
    assert client.get(f"/v1/periods/{PERIOD}/draft", headers=maker).json()["code"] == "not-found"


def test_a_payout_batch_from_plan_to_paid(client: TestClient, maker, checker, login) -> None:
    settle(sales_per_image=4)
    planned = client.get("/v1/payout-plan", headers=checker, params={"currency": "EUR"}).json()["payouts"]
    assert [(row["payee"], row["decision"]) for row in planned] == [
        ("pay-1", "pay"),
        ("pay-2", "pay"),
        ("pay-dev", "no_bank_details"),
    ]
    wanted = {"currency": "EUR", "execution_date": "2026-11-04"}
    made = client.post("/v1/payout-batches", headers=maker, json=wanted)
    assert made.status_code == 201
    address = made.headers["location"]
    assert made.json()["state"] == "draft" and client.get(address, headers=checker).json() == made.json()
    assert client.post("/v1/payout-batches", headers=maker, json=wanted).status_code == 409
    assert client.post(f"{address}/submit", headers=maker).json()["code"] == "refused"
    assert client.get(f"{address}/file", headers=maker).status_code == 409

    assert client.post(f"{address}/approve", headers=checker).json()["state"] == "approved"
    submitted = client.post(f"{address}/submit", headers=maker).json()
    assert submitted["state"] == "submitted"
    file = client.get(f"{address}/file", headers=maker)
    assert file.headers["content-type"] == "application/xml"
    attempts = [row["attempt"] for row in submitted["payouts"] if row["attempt"]]
    in_file = [
        str(node.text)
        for node in ElementTree.fromstring(file.content).iter()
        if node.tag.endswith("EndToEndId")
    ]
    assert sorted(in_file) == sorted(attempts) and len(attempts) == 2
    assert client.post(f"{address}/submit", headers=maker).json() == submitted
    assert client.post(f"{address}/cancel", headers=maker).status_code == 409

    report = {
        "outcomes": [
            {"attempt": name, "state": "paid", "at": "2026-11-04T12:00:00Z"} for name in [*attempts, "x"]
        ]
    }
    taken = client.post("/v1/payout-outcomes", headers=maker, json=report).json()
    assert [row["result"] for row in taken[:2]] == ["recorded", "recorded"] and taken[2][
        "result"
    ] != "recorded"
    [listed] = client.get("/v1/payout-batches", headers=maker).json()
    assert listed["state"] == "settled"

    mara = login("mara", ["statements:read"], ["pay-1"])
    [paid] = client.get("/v1/payouts", headers=mara).json()["items"]
    assert (paid["state"], paid["amount"]["amount"]) == ("paid", "9.240000")
    assert paid["reference"] in attempts and paid["payee"] == "pay-1"
    [balance] = client.get("/v1/balances", headers=mara).json()
    assert balance["balance"]["amount"] == "0.000000"


def test_an_advance_from_agreed_to_paid(client: TestClient, maker, checker, login) -> None:
    sell()
    agreed = {"id": "advance-1", "payee": "pay-1", "amount": "500.00", "reason": "album"}
    made = client.post("/v1/advances", headers=maker, json=agreed)
    assert made.json() == {
        "id": "advance-1",
        "payee": "pay-1",
        "amount": {"amount": "500.000000", "currency": "EUR"},
        "maker": "maker",
        "checker": None,
    }
    assert client.post("/v1/advances", headers=maker, json=agreed).json() == made.json()
    other = client.post("/v1/advances", headers=maker, json=agreed | {"amount": "501"})
    assert other.status_code == 409 and "is recorded otherwise" in other.json()["detail"]
    paid = {"paid_at": "2026-10-02T00:00:00Z"}
    early = client.post("/v1/advances/advance-1/pay", headers=maker, json=paid)
    assert early.status_code == 403 and "not approved" in early.json()["detail"]
    own = login("maker2", ["payouts:approve"])
    assert client.post("/v1/advances/advance-9/approve", headers=own).status_code == 404
    assert client.post("/v1/advances/advance-1/approve", headers=checker).json()["checker"] == "checker"
    assert client.post("/v1/advances/advance-1/pay", headers=maker, json=paid).status_code == 200
    future = client.post(
        "/v1/advances/advance-1/pay", headers=maker, json={"paid_at": "2999-01-01T00:00:00Z"}
    )
    assert future.status_code == 409


def test_withheld_tax_is_remitted(client: TestClient, maker) -> None:
    with session(Role.SETTLEMENT) as opened:
        withhold(opened)
    wanted = {
        "reference": "2026-10/US",
        "territory": "US",
        "currency": "EUR",
        "amount": "60.00",
        "paid_at": "2026-11-10T12:00:00Z",
    }
    address = "/v1/tax/remittances"
    assert client.post(address, headers=maker, json=wanted).json()["new"] is True
    assert client.post(address, headers=maker, json=wanted).json()["new"] is False
    more = client.post(address, headers=maker, json=wanted | {"reference": "other"})
    assert more.status_code == 403 and "more than US is due: 40.00 EUR" in more.json()["detail"]
    assert client.post(address, headers=maker, json=wanted | {"amount": "1.00"}).status_code == 409
    future = client.post(address, headers=maker, json=wanted | {"paid_at": "2999-01-01T00:00:00Z"})
    assert future.status_code == 409
    [due] = client.get("/v1/tax/due", headers=maker).json()
    assert (due["territory"], due["due"]) == ("US", {"amount": "40.000000", "currency": "EUR"})


def test_nobody_approves_her_own(client: TestClient, maker, login) -> None:
    """The scopes keep the two apart; a token of another issuer's making would still meet the database."""
    settle()
    wanted = {"currency": "EUR", "execution_date": "2026-11-04"}
    address = client.post("/v1/payout-batches", headers=maker, json=wanted).headers["location"]
    both = issue_token(Principal(1, "maker", frozenset(["payouts:approve"])))
    refused = client.post(f"{address}/approve", headers={"Authorization": f"Bearer {both}"})
    assert refused.status_code == 403 and refused.json()["code"] == "refused"


def test_a_server_without_the_approvers_password_says_so(
    client: TestClient, checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/nothing")
    get_settings.cache_clear()
    answer = client.post(f"/v1/periods/{PERIOD}/approve", headers=checker, json={"content_sha256": "0" * 64})
    assert answer.status_code == 503 and "DATABASE_PASSWORD_APPROVER" in answer.json()["detail"]


def test_before_the_first_close_the_minimum_is_unknown(client: TestClient, login) -> None:
    sell()
    [found] = client.get("/v1/balances", headers=login("mara", ["statements:read"], ["pay-1"])).json()
    assert found == {
        "payee": "pay-1",
        "balance": {"amount": "0.000000", "currency": "EUR"},
        "minimum": None,
        "of_which": None,
    }
