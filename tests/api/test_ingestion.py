"""Images, sales and refunds through the API: an outcome for every row, each once, sent again or not."""

import base64
import json
import struct
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from database.engine import session
from database.roles import Role
from tests.attribution.image_examples import payload
from tests.settlement.events import CATALOGUE, add_images, load_terms


@pytest.fixture
def platform(database: str, login) -> dict[str, str]:
    with session(Role.ADMIN) as opened:
        load_terms(opened)
        add_images(opened, "img-1")
    return login("platform", ["images:write", "sales:write"])


def _sale(external_id: str = "sale-1", **changes: Any) -> dict[str, Any]:
    return {
        "external_id": external_id,
        "image": "img-1",
        "sold_at": "2026-10-05T12:00:00Z",
        "territory": "DE",
        "currency": "EUR",
        "price": "11.90",
        "tax": "1.90",
        **changes,
    }


def _refund(external_id: str = "refund-1", **changes: Any) -> dict[str, Any]:
    return {
        "external_id": external_id,
        "sale": "sale-1",
        "refunded_at": "2026-10-09T12:00:00Z",
        "amount": "1.90",
        **changes,
    }


def _count(table: str) -> int:
    with session(Role.ADMIN) as opened:
        return opened.scalar(text(f"SELECT count(*) FROM {table}")) or 0


def test_sales_are_recorded_once(client: TestClient, platform) -> None:
    for status in ("recorded", "known"):
        answer = client.post("/v1/sales", json={"sales": [_sale(), _sale("sale-2")]}, headers=platform)
        assert answer.status_code == 200
        assert [(row["external_id"], row["status"]) for row in answer.json()["outcomes"]] == [
            ("sale-1", status),
            ("sale-2", status),
        ]
        assert answer.json()[status] == 2
    assert _count("settlement.sale") == 2
    assert _count("ledger.journal") == 2
    metrics = client.get("/metrics").text
    assert 'royalty_ingested_total{kind="sale",outcome="known"} 2.0' in metrics


def test_bad_rows_are_refused_one_by_one_and_the_good_ones_go_in(client: TestClient, platform) -> None:
    rows = [
        _sale("good"),
        _sale("bad", price="11.9000000"),
        _sale("unknown-image", image="nothing"),
        "not an object",
        {"prompt": "a secret castle"},
        _sale("float", price=11.9),
        _sale("good", price="12.00"),
        _sale("nul\0"),
        _sale("lone \ud800"),
    ]
    # As text, because a client would not send the lone surrogate otherwise.
    answer = client.post(
        "/v1/sales",
        content=json.dumps({"sales": rows}),
        headers={**platform, "Content-Type": "application/json"},
    ).json()
    assert (answer["recorded"], answer["known"], answer["refused"]) == (1, 0, 8)
    outcomes = answer["outcomes"]
    assert [outcome["row"] for outcome in outcomes] == list(range(9))
    assert outcomes[0] == {"row": 0, "external_id": "good", "status": "recorded", "reason": None}
    assert "at most 6 decimals" in outcomes[1]["reason"]
    assert "is not logged" in outcomes[2]["reason"]
    assert (outcomes[3]["external_id"], outcomes[3]["reason"]) == (None, "is not an object")
    assert "external_id is missing" in outcomes[4]["reason"] and "castle" not in outcomes[4]["reason"]
    assert "as text" in outcomes[5]["reason"]
    assert "other content" in outcomes[6]["reason"]
    assert outcomes[7]["external_id"] is None and outcomes[8]["external_id"] is None
    assert _count("settlement.sale") == 1


def test_refunds_are_recorded_once_and_never_exceed_the_price(client: TestClient, platform) -> None:
    client.post("/v1/sales", json={"sales": [_sale()]}, headers=platform)
    rows = [_refund(), _refund("refund-2", amount="10.00"), _refund("refund-3", amount="0.01")]
    answer = client.post("/v1/refunds", json={"refunds": rows}, headers=platform).json()
    assert [row["status"] for row in answer["outcomes"]] == ["recorded", "recorded", "refused"]
    again = client.post("/v1/refunds", json={"refunds": rows}, headers=platform).json()
    assert [row["status"] for row in again["outcomes"]] == ["known", "known", "refused"]


def test_a_batch_that_is_none_is_a_problem(client: TestClient, platform) -> None:
    bodies: list[tuple[Any, str]] = [
        ({"sales": []}, "#/sales"),
        ({"sales": [{}] * 1001}, "#/sales"),
        ({"sales": "x"}, "#/sales"),
        ({}, "#/sales"),
        ([], "#"),
    ]
    for body, pointer in bodies:
        answer = client.post("/v1/sales", json=body, headers=platform)
        assert answer.status_code == 422 and answer.json()["errors"][0]["pointer"] == pointer


def test_a_body_that_is_no_json_is_a_problem(client: TestClient, platform) -> None:
    for content in (b"{", b"\xff", b"[" * 100_000, b'{"sales": [NaN'):
        answer = client.post(
            "/v1/sales", content=content, headers={**platform, "Content-Type": "application/json"}
        )
        assert answer.status_code == 400 and answer.json()["code"] == "malformed"


def _images(rows: list[Any], client: TestClient, headers: dict[str, str]) -> dict[str, Any]:
    answer = client.post("/v1/images", json={"images": rows}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _riding(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in _sale(**changes).items() if name != "image"}


def test_images_are_logged_once_with_their_sales(client: TestClient, platform) -> None:
    rows = [payload("new-1", sale=_riding()), payload("new-2")]
    for status in ("recorded", "known"):
        answer = _images(rows, client, platform)
        assert answer[status] == 2
        first, second = answer["outcomes"]
        assert (first["external_id"], first["status"], second["sale"]) == ("new-1", status, None)
        assert first["sale"] == {"external_id": "sale-1", "status": status, "reason": None}
    assert _count("attribution.prompt_text") == 2 and _count("settlement.sale") == 1
    changed = _images([payload("new-1", seed=8, sale=_riding(external_id="sale-9"))], client, platform)
    [outcome] = changed["outcomes"]
    assert outcome["status"] == "refused" and "other content" in outcome["reason"]
    assert outcome["sale"]["reason"] == "its image was refused"
    assert _count("settlement.sale") == 1


def test_bad_images_and_bad_sales_are_refused_one_by_one(client: TestClient, platform) -> None:
    rows = [
        payload("a", prompt="   "),
        payload("b", prompt="🎨 " * 200),
        payload("c", sale="x"),
        payload("d", sale=_riding(price="-1")),
        payload("e", weights_sha256="xyz"),
        payload("f", prompt="nul\0"),
        {**payload("g"), "surprise": 1},
        None,
    ]
    answer = _images(rows, client, platform)
    assert [outcome["status"] for outcome in answer["outcomes"]] == [
        "refused",
        "recorded",
        "refused",
        "recorded",
        "refused",
        "refused",
        "refused",
        "refused",
    ]
    assert "below zero" in answer["outcomes"][3]["sale"]["reason"]
    assert "surprise is not a known field" in answer["outcomes"][6]["reason"]


def test_an_image_made_from_a_picture_names_its_owner(client: TestClient, platform) -> None:
    numbers = base64.b64encode(struct.pack("<4f", 0.5, -1, 2, 0)).decode()
    shown = {"adapter_sha256": "ab" * 32, "embedding": numbers, "scale": "0.8", "artist": "art-1"}
    rows = [
        payload("hers", image_prompts=[shown]),
        payload("not hers", image_prompts=[{**shown, "artist": "art-2"}]),
        payload("nothing", image_prompts=[{**shown, "embedding": "?"}]),
    ]
    hers, stolen, nothing = _images(rows, client, platform)["outcomes"]
    assert [one["status"] for one in (hers, stolen, nothing)] == ["recorded", "refused", "refused"]
    assert "belongs to art-1" in stolen["reason"]
    assert nothing["reason"] == "image_prompts.0.embedding: an embedding is written in base64"
    assert _images(rows[:1], client, platform)["known"] == 1
    assert _count("attribution.image_prompt") == 1


def test_a_riding_sale_needs_its_own_scope(client: TestClient, platform, login) -> None:
    headers = login("renderer", ["images:write"])
    [outcome] = _images([payload("new", sale=_riding())], client, headers)["outcomes"]
    assert outcome["status"] == "recorded"
    assert outcome["sale"]["status"] == "refused" and "sales:write" in outcome["sale"]["reason"]


def test_documented_examples_are_accepted(client: TestClient, login) -> None:
    """What /docs shows can be sent as it is."""
    with session(Role.ADMIN) as opened:
        load_terms(opened, CATALOGUE.replace("standard-1", "standard"))
    platform = login("platform", ["images:write", "sales:write"])
    document = client.get("/openapi.json").json()
    for path, rows in (("/v1/images", "images"), ("/v1/sales", "sales"), ("/v1/refunds", "refunds")):
        reference = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"][
            "$ref"
        ]
        schema = document["components"]["schemas"][reference.rsplit("/", 1)[1]]["properties"][rows]
        answer = client.post(path, json={rows: schema["items"]["examples"]}, headers=platform).json()
        assert answer["recorded"] == 1, answer
