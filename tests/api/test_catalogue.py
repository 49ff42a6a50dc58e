"""Terms over HTTP, and the public list of artists who are looked for."""

from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.limits import AttemptLimit
from database.engine import session
from database.roles import Role
from tests.settlement.books import write_books


def test_terms_are_kept_over_http(client: TestClient, login) -> None:
    with session(Role.ADMIN) as opened:
        write_books(opened)
    dora = login("dora", ["catalogue:write"])
    contract = {"id": "c-3", "artist": "art-3", "valid_from": "2026-11-15"}

    def send(**parts: object) -> tuple[int, dict]:
        answer = client.post("/v1/catalogue", headers=dora, json={"reason": "signed", "catalogue": parts})
        return answer.status_code, answer.json()

    assert send(contracts=[contract | {"splits": {"pay-1": "100"}}]) == (200, {"written": {"contracts": 1}})
    assert send(contracts=[contract | {"splits": {"pay-1": "100"}}]) == (200, {"written": {}})
    status, problem = send(contracts=[contract | {"splits": {"pay-9": "100"}}])
    assert status == 422 and "there is no payee pay-9" in problem["detail"]
    status, problem = send(contracts=[contract | {"splits": {"pay-2": "100"}}])
    assert status == 409 and "is recorded otherwise from 2026-11-15" in problem["detail"]
    # Both periods are closed: who was without terms may get some, whoever had some keeps them till then.
    status, problem = send(contracts=[contract | {"valid_from": "2026-11-30", "ended": True}])
    assert status == 409
    assert problem["detail"] == (
        "contract c-3 of art-3 cannot change from 2026-11-30 on: that period is closed, and what it was paid by stays; "
        "give the change a valid_from of 2026-12-01 or later"
    )
    card = {"id": "standard-1", "model": "per_image", "rate": "31"}
    assert send(rate_cards=[card | {"valid_from": "2026-11-01"}])[0] == 409
    assert send(rate_cards=[card | {"valid_from": "2026-12-01"}])[1] == {"written": {"rate_cards": 1}}

    terms = {
        term: client.get(f"/v1/catalogue/{term}", headers=dora).json()["items"]
        for term in ("contracts", "rate_cards", "platform")
    }
    assert [
        (v["thing"], v["says"], v["actor"], v["reason"]) for v in terms["contracts"] if v["thing"] == "art-3"
    ] == [
        (
            "art-3",
            {"contract": "c-3", "status": "active", "splits": {"pay-1": 1_000_000_000}},
            "dora",
            "signed",
        )
    ]
    first, second = terms["rate_cards"]
    assert (first["valid_to"], second["valid_to"]) == (second["valid_from"], None)
    assert (first["says"]["rate_ppb"], second["says"]["rate_ppb"]) == (300_000_000, 310_000_000)
    assert terms["platform"][0]["says"]["default_rate_card_id"] == "standard-1"
    page = client.get("/v1/catalogue/rate_cards", headers=dora, params={"limit": 1}).json()
    assert page["items"] == [first] and page["next"]
    page = client.get(
        "/v1/catalogue/rate_cards", headers=dora, params={"limit": 1, "cursor": page["next"]}
    ).json()
    assert page == {"items": [second], "next": None}


def test_money_terms_are_read_as_they_were_sent(client: TestClient, login) -> None:
    with session(Role.ADMIN) as opened:
        write_books(opened)
    dora = login("dora", ["catalogue:write"])
    sent = {
        "tax_profiles": [
            {"payee": "pay-1", "valid_from": "2026-12-01", "rate": "0", "territories": {"US": "15"}},
            {"payee": "pay-1", "valid_from": "2027-01-01", "rate": "5"},
        ],
        "reserves": [{"payee": "pay-1", "valid_from": "2026-12-01", "rate": "10", "release": {"3": "100"}}],
        "fx_rates": [
            {"from": "USD", "to": "EUR", "valid_from": "2026-12-30", "rate": "0.8612", "source": "ECB"}
        ],
    }
    answer = client.post("/v1/catalogue", headers=dora, json={"reason": "signed", "catalogue": sent})
    assert answer.status_code == 200, answer.text
    read = {term: client.get(f"/v1/catalogue/{term}", headers=dora).json()["items"] for term in sent}
    first, second = read["tax_profiles"]
    assert (first["thing"], first["valid_to"], second["valid_to"]) == ("pay-1", second["valid_from"], None)
    assert first["says"]["rates"] == {"US": 150_000_000} and second["says"]["default_ppb"] == 50_000_000
    assert read["reserves"][0]["says"]["release"] == {"3": 1_000_000_000}
    [rate] = read["fx_rates"]
    assert (rate["thing"], rate["says"]["rate_trillionths"]) == ("USD/EUR", 861_200_000_000)
    assert client.get("/v1/catalogue/payees", headers=dora).status_code == 422


def test_everybody_may_read_whom_we_look_for_but_not_how_much_they_have(
    client: TestClient, app: FastAPI
) -> None:
    assert client.get("/v1/unclaimed").json() == {"items": [], "next": None}
    with session(Role.ADMIN) as opened:
        write_books(opened)
    found = client.get("/v1/unclaimed")
    assert found.json() == {
        "items": [{"artist": "art-3", "name": "Cleo Dune", "since": "2026-10", "until": None}],
        "next": None,
    }
    assert "677883" not in found.text and found.headers["cache-control"] == "public, max-age=300"
    assert client.get("/v1/unclaimed", params={"after": "art-3"}).json()["items"] == []
    app.state.public_limit = AttemptLimit(1, 60.0)
    assert client.get("/v1/unclaimed").status_code == 200
    refused = client.get("/v1/unclaimed")
    assert refused.status_code == 429 and refused.headers["retry-after"]
