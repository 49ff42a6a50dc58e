"""Ownership claims over HTTP by a maker and a checker, and artists' disputes: each her own, answered by an operator."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from database.engine import session
from database.roles import Role
from tests.api.books import PERIOD, settle
from tests.api.users import user

MARA = f"{PERIOD}/pay-1/EUR"
OSKAR = f"{PERIOD}/pay-2/EUR"
CLAIM = {
    "id": "case-7",
    "payee": "pay-1",
    "claimant": "pay-2",
    "amount": "1.00",
    "currency": "EUR",
    "reason": "the contract was assigned",
    "evidence": "file 7",
}


@pytest.fixture(scope="module")
def settled(module_database: str) -> str:
    settle()
    return module_database


@pytest.fixture
def database(settled: str) -> str:
    """One closed period, that the tests here add to."""
    return settled


@pytest.fixture(scope="module")
def maker(settled: str) -> dict[str, str]:
    return user("maker", ["runs:write", "payouts:write"])


@pytest.fixture(scope="module")
def checker(settled: str) -> dict[str, str]:
    return user("checker", ["runs:approve", "payouts:approve"])


@pytest.fixture(scope="module")
def mara(settled: str) -> dict[str, str]:
    return user("mara", ["statements:read", "disputes:write"], ["pay-1"])


@pytest.fixture(scope="module")
def oskar(settled: str) -> dict[str, str]:
    return user("oskar", ["statements:read", "disputes:write"], ["pay-2"])


def test_a_claim_from_its_opening_to_its_decision(
    client: TestClient, maker, checker, mara: dict[str, str]
) -> None:
    [before] = client.get("/v1/balances", headers=mara).json()
    opened = client.post("/v1/claims", headers=maker, json=CLAIM).json()
    assert (opened["state"], opened["moved"]["amount"], opened["opened_by"]) == ("open", "1.000000", "maker")
    assert client.post("/v1/claims", headers=maker, json=CLAIM).json() == opened
    other = client.post("/v1/claims", headers=maker, json=CLAIM | {"amount": "2.00"})
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    [now] = client.get("/v1/balances", headers=mara).json()
    assert float(before["balance"]["amount"]) - float(now["balance"]["amount"]) == 1

    address = "/v1/claims/case-7"
    early = client.post(f"{address}/approve", headers=checker, json={"content_sha256": "0" * 64})
    assert early.status_code == 403 and "proposed yet" in early.json()["detail"]
    much = client.post(f"{address}/decision", headers=maker, json={"award": "1.01", "reason": "x"})
    assert much.status_code == 403
    proposed = client.post(
        f"{address}/decision", headers=maker, json={"award": "0.25", "reason": "a part of it"}
    ).json()
    assert (proposed["state"], proposed["decision"]["back"]["amount"]) == ("proposed", "0.750000")
    digest = {"content_sha256": proposed["decision"]["content_sha256"]}
    assert (
        client.post(f"{address}/approve", headers=checker, json={"content_sha256": "0" * 64}).status_code
        == 409
    )
    decided = client.post(f"{address}/approve", headers=checker, json=digest).json()
    assert (decided["state"], decided["decision"]["checker"]) == ("decided", "checker")
    assert client.post(f"{address}/approve", headers=checker, json=digest).json() == decided
    again = client.post(f"{address}/decision", headers=maker, json={"award": "0", "reason": "x"})
    assert again.status_code == 409
    assert client.get("/v1/claims", headers=checker).json() == [decided]
    assert client.get(address, headers=maker).json() == decided
    with session(Role.AUDITOR) as own:
        assert own.execute(text("SELECT * FROM audit.claim_faults")).all() == []


def test_an_artist_disputes_her_own_statement_and_reads_the_answer(
    client: TestClient, maker, mara: dict[str, str], oskar: dict[str, str]
) -> None:
    line = client.get(f"/v1/statements/{MARA}/lines", headers=mara).json()["items"][0]["id"]
    wanted = {"statement": MARA, "line": line, "words": "This picture was sold twice."}
    made = client.post("/v1/disputes", headers=mara, json=wanted).json()
    assert (made["payee"], made["about"], made["subject"], made["answer"]) == ("pay-1", "line", line, None)
    assert client.post("/v1/disputes", headers=mara, json=wanted).json() == made
    whole = client.post("/v1/disputes", headers=mara, json={"statement": MARA, "words": "All of it."}).json()
    first = client.get("/v1/disputes", headers=mara, params={"limit": 1}).json()
    assert first["items"] == [whole]
    rest = client.get("/v1/disputes", headers=mara, params={"cursor": first["next"]}).json()
    assert (rest["items"], rest["next"]) == ([made], None)

    # Another's is not there: neither the dispute, nor the statement to dispute.
    address = f"/v1/disputes/{made['number']}"
    assert client.get(address, headers=oskar).status_code == 404
    assert client.get("/v1/disputes", headers=oskar).json()["items"] == []
    for statement in (MARA, f"{PERIOD}/nobody/EUR"):
        refused = client.post("/v1/disputes", headers=oskar, json=wanted | {"statement": statement})
        assert (refused.status_code, refused.json()["code"]) == (404, "not-found")
    foreign = client.post("/v1/disputes", headers=oskar, json=wanted | {"statement": OSKAR})
    assert foreign.status_code == 404

    desk = client.get("/v1/dispute-desk", headers=maker).json()["items"]
    assert desk == [whole, made]
    answer = {"outcome": "rejected", "reason": "Two copies were sold."}
    answered = client.post(f"/v1/dispute-desk/{made['number']}/answer", headers=maker, json=answer).json()
    assert client.get(address, headers=mara).json() == answered
    assert (answered["answer"]["outcome"], answered["answer"]["correction"]) == ("rejected", None)
    twice = client.post(f"/v1/dispute-desk/{made['number']}/answer", headers=maker, json=answer)
    assert twice.status_code == 409
    assert client.get("/v1/dispute-desk", headers=maker).json()["items"] == [whole]
    every = client.get("/v1/dispute-desk", headers=maker, params={"only_open": False}).json()["items"]
    assert every == [whole, answered]


def test_a_token_that_reads_opens_no_dispute(client: TestClient, mara: dict[str, str]) -> None:
    reads = user("reader", ["statements:read"], ["pay-1"])
    refused = client.post("/v1/disputes", headers=reads, json={"statement": MARA, "words": "x"})
    assert refused.status_code == 403
    nothing = client.post("/v1/disputes", headers=mara, json={"statement": MARA, "words": ""})
    assert nothing.status_code == 422
