"""What an artist reads: her own, exactly as issued, page by page; and nothing of anybody else, whatever she asks."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from fastapi.testclient import TestClient
from PIL import Image as Picture
from sqlalchemy import event, text
from sqlalchemy.exc import InternalError

from attribution.pictures import store_picture
from database.engine import conninfo, engine, session
from database.roles import Role
from database.settings import get_settings
from settlement import portal
from settlement.payouts.holds import open_hold, release_hold
from settlement.statements.body import MOVEMENTS
from tests.api.books import PERIOD, settle
from tests.api.users import user

MARA = f"/v1/statements/{PERIOD}/pay-1/EUR"
OSKAR = f"/v1/statements/{PERIOD}/pay-2/EUR"


@pytest.fixture(scope="module")
def settled(module_database: str) -> str:
    settle(sales_per_image=4)
    return module_database


@pytest.fixture
def database(settled: str) -> str:
    """The tests here read one closed period."""
    return settled


@pytest.fixture(scope="module")
def mara(settled: str) -> dict[str, str]:
    return user("mara", ["statements:read"], ["pay-1"])


@pytest.fixture(scope="module")
def oskar(settled: str) -> dict[str, str]:
    return user("oskar", ["statements:read"], ["pay-2"])


@contextmanager
def counted() -> Iterator[list[str]]:
    """Statements that the portal's role sends meanwhile."""
    sent: list[str] = []

    def note(_connection, _cursor, statement, *_rest) -> None:
        sent.append(statement)

    event.listen(engine(Role.PORTAL), "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine(Role.PORTAL), "before_cursor_execute", note)


def test_me(client: TestClient, mara) -> None:
    response = client.get("/v1/me", headers=mara)
    assert response.json() == {
        "username": "mara",
        "scopes": ["statements:read"],
        "payees": [{"id": "pay-1", "kind": "person", "currency": "EUR", "name": "Mara Vell"}],
    }
    assert response.headers["cache-control"] == "no-store"


def test_balances_are_the_ledgers(client: TestClient, mara, oskar) -> None:
    # 4 sales each of img-1 (60 % art-1) and img/2 (50 %), 3 EUR a sale, 70 % of it pay-1's
    nothing = {"amount": "0.000000", "currency": "EUR"}
    owed = {"amount": "9.240000", "currency": "EUR"}
    parts = {"payable": owed, "held": nothing, "below_minimum": nothing, "below_unit": nothing}
    minimum = {"amount": "0.100000", "currency": "EUR"}
    assert client.get("/v1/balances", headers=mara).json() == [
        {"payee": "pay-1", "balance": owed, "minimum": minimum, "of_which": parts}
    ]
    with session(Role.ADMIN) as opened:
        hold = open_hold(opened, "pay-2", "bank details are being checked", "ops")
    [found] = client.get("/v1/balances", headers=oskar).json()
    with session(Role.ADMIN) as opened:
        release_hold(opened, hold, "checked", "ops")
    assert found["balance"] == found["of_which"]["held"] == {"amount": "13.560000", "currency": "EUR"}


def test_statements_are_newest_first_and_add_up(client: TestClient, mara) -> None:
    page = client.get("/v1/statements", headers=mara).json()
    assert page["next"] is None
    [statement] = page["items"]
    assert statement["id"] == f"{PERIOD}/pay-1/EUR" and statement["opening"]["amount"] == "0.000000"
    assert (
        statement["movements"]["royalties"]
        == statement["closing"]
        == {"amount": "9.240000", "currency": "EUR"}
    )
    assert list(statement["movements"]) == list(MOVEMENTS)


def test_a_statement_is_its_bytes_and_its_etag_their_hash(client: TestClient, mara) -> None:
    response = client.get(MARA, headers=mara)
    assert response.status_code == 200 and response.headers["content-type"] == "application/json"
    etag = response.headers["etag"]
    assert etag == f'"{hashlib.sha256(response.content).hexdigest()}"'
    assert response.headers["cache-control"] == "private, max-age=31536000, immutable"
    for given in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = client.get(MARA, headers={**mara, "If-None-Match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert client.get(MARA, headers={**mara, "If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("format", "media_type", "start"),
    [
        ("json", "application/json", b"{"),
        ("csv", "text/csv; charset=utf-8", b"record,row,"),
        ("pdf", "application/pdf", b"%PDF-"),
    ],
)
def test_files(client: TestClient, mara, format: str, media_type: str, start: bytes) -> None:
    address = f"{MARA}/files/{format}"
    response = client.get(address, headers=mara)
    assert response.status_code == 200 and response.headers["content-type"] == media_type
    assert response.content.startswith(start)
    assert response.headers["content-disposition"] == f'attachment; filename="{PERIOD}_pay-1_EUR.{format}"'
    etag = response.headers["etag"]
    assert etag == f'"{hashlib.sha256(response.content).hexdigest()}"'
    assert client.get(address, headers={**mara, "If-None-Match": etag}).status_code == 304


def test_files_that_are_none(client: TestClient, mara) -> None:
    assert client.get(f"{MARA}/files/xlsx", headers=mara).status_code == 422
    for format in ("json", "csv", "pdf"):
        response = client.get(f"{OSKAR}/files/{format}", headers=mara)
        assert (response.status_code, response.json()["code"]) == (404, "not-found")


def test_lines_page_by_page_are_all_lines_once(client: TestClient, oskar) -> None:
    whole = client.get(f"{OSKAR}/lines", headers=oskar).json()["items"]
    assert len(whole) == 16
    pages = []
    address: str | None = f"{OSKAR}/lines?limit=5"
    while address:
        response = client.get(address, headers=oskar)
        pages.append(response.json()["items"])
        address = response.links.get("next", {}).get("url")
        assert (address is None) == (response.json()["next"] is None)
    assert [len(page) for page in pages] == [5, 5, 5, 1]
    assert [line for page in pages for line in page] == whole


def test_a_line_says_what_earned_and_how(client: TestClient, mara) -> None:
    lines = client.get(f"{MARA}/lines", headers=mara).json()["items"]
    assert lines[0] == {
        "id": "sale-img-1-1/art-1/pay-1",
        "kind": "royalty",
        "usage_period": PERIOD,
        "usage_date": "2026-10-05",
        "territory": "DE",
        "sale": "sale-img-1-1",
        "image": "img-1",
        "model": "sd-v1-5",
        "player": "Mara Vell",
        "method": "exact-1",
        "share": "0.600000000",
        "distribution_key": "attribution",
        "rate_card": "standard-1@2026-01-01",
        "contract": "contract-1@2026-01-01",
        "split": "0.700000000",
        "base": {"amount": "10.000000", "currency": "EUR"},
        "slice": {"amount": "3.000000", "currency": "EUR"},
        "amount": {"amount": "1.260000", "currency": "EUR"},
        "corrects": None,
    }


@pytest.mark.parametrize("cursor", ["nonsense", "AAAA", "é", "AAAAAAAAAAE", "_________-8=", "0" * 64])
def test_a_cursor_that_is_none_of_ours_is_a_problem(client: TestClient, mara, cursor: str) -> None:
    for address in ("/v1/statements", f"{MARA}/lines", "/v1/payouts"):
        response = client.get(address, headers=mara, params={"cursor": cursor})
        assert response.status_code == 422 and response.json()["code"] == "invalid"


@pytest.mark.parametrize("limit", ["0", "501", "x", "-1"])
def test_a_wrong_limit_names_its_parameter(client: TestClient, mara, limit: str) -> None:
    problem = client.get("/v1/statements", headers=mara, params={"limit": limit}).json()
    assert problem["status"] == 422 and problem["errors"][0]["name"] == "limit"


def test_an_image_tells_own_names_only(client: TestClient, mara, oskar) -> None:
    hers = client.get("/v1/images/img/2/attribution", headers=mara).json()
    assert hers["shares"] == [
        {"player": "content", "own": False, "share": "0.200000000"},
        {"player": "Mara Vell", "own": True, "share": "0.500000000"},
        {"player": "another artist", "own": False, "share": "0.300000000"},
    ]
    assert (hers["other_artists"], hers["method"], hers["status"]) == (1, "exact-1", "attributed")
    assert hers["earned"] == [{"amount": "4.200000", "currency": "EUR"}]
    # pay-2 is also paid 30 % of art-1's share: both names are hers to know.
    his = client.get("/v1/images/img/2/attribution", headers=oskar).json()
    assert [share["player"] for share in his["shares"]] == ["content", "Mara Vell", "Oskar Lindt"]
    third = client.get("/v1/images/img-3/attribution", headers=oskar).json()
    assert [share["player"] for share in third["shares"]] == ["content", "Oskar Lindt", "another artist"]


def test_an_images_page_is_an_artists_own(client: TestClient, mara, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "/v1/images/img/2/attribution/page"
    answer = client.get(address, headers=mara)
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert "Mara Vell" in answer.text and "another artist" in answer.text and "4.20 EUR" in answer.text
    assert "Oskar" not in answer.text and "castle" not in answer.text and "<img" not in answer.text

    stored = store_picture("img/2", Picture.new("RGB", (64, 64)))
    with session(Role.ADMIN) as opened:
        # History is append-only: a superuser with the guards off stands in for a platform that logs files.
        opened.execute(text("SET LOCAL event_triggers = off"))
        guards = opened.scalars(
            text(
                "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = 'attribution.image'::regclass"
            )
        ).all()
        opened.execute(text("ALTER TABLE attribution.image DISABLE TRIGGER ALL"))
        opened.execute(
            text(
                "UPDATE attribution.image SET file = :name, file_sha256 = :sha256 WHERE external_id = 'img/2'"
            ),
            {"name": stored.name, "sha256": stored.sha256},
        )
        opened.execute(text("ALTER TABLE attribution.image ENABLE TRIGGER ALL"))
        for guard in guards:
            opened.execute(text(f"ALTER TABLE attribution.image ENABLE ALWAYS TRIGGER {guard}"))
    assert "<img" not in client.get(address, headers=mara).text, "off unless the platform's policy allows it"
    monkeypatch.setenv("PORTAL_PICTURES", "true")
    get_settings.cache_clear()
    assert client.get(address, headers=mara).text.count("<img") == 1
    monkeypatch.delenv("PORTAL_PICTURES")
    get_settings.cache_clear()


def test_what_is_not_hers_is_not_there(client: TestClient, mara) -> None:
    for address in (
        OSKAR,
        f"{OSKAR}/lines",
        f"/v1/statements/{PERIOD}/pay-dev/EUR",
        f"/v1/statements/{PERIOD}/nobody/EUR",
        "/v1/images/img-3/attribution",
        "/v1/images/unknown/attribution",
        "/v1/images/img-3/attribution/page",
    ):
        response = client.get(address, headers=mara)
        assert (response.status_code, response.json()["code"]) == (404, "not-found"), address
    listed = client.get("/v1/statements", headers=mara).text
    assert "pay-2" not in listed and "art-2" not in client.get(f"{MARA}/lines", headers=mara).text


def test_payouts_and_holds(client: TestClient, mara, oskar) -> None:
    with session(Role.ADMIN) as opened:
        first = open_hold(opened, "pay-1", "bank details are being checked", "ops")
        release_hold(opened, first, "checked", "ops")
        open_hold(opened, "pay-2", "secret of Oskar", "ops")
    [hold] = client.get("/v1/holds", headers=mara).json()
    assert (hold["reason"], hold["release_reason"]) == ("bank details are being checked", "checked")
    assert hold["released_at"] and "ops" not in str(hold)
    assert client.get("/v1/payouts", headers=mara).json() == {"items": [], "next": None}


def test_queries_do_not_grow_with_what_is_read(client: TestClient, oskar) -> None:
    for address, most in (("/v1/statements", 3), (f"{OSKAR}/lines", 5), (OSKAR, 3)):
        counts = []
        for limit in (1, 16):
            with counted() as sent:
                assert client.get(address, headers=oskar, params={"limit": limit}).status_code == 200
            counts.append(len(sent))
        assert counts[0] == counts[1] <= most, sent


_FENCED = (
    "access.payee_access",
    "settlement.payee",
    "settlement.statement",
    "settlement.royalty_line",
    "settlement.statement_line",
    "settlement.payee_balance",
    "settlement.sale_slice",
    "settlement.contract_split",
    "settlement.hold",
    "settlement.payout",
    "party.party_version",
)


def _rows(user_id: object, query: str) -> list[tuple]:
    """What raw SQL as the portal's role gives with this setting."""
    with psycopg.connect(conninfo(Role.PORTAL)) as connection:
        if user_id is not None:
            connection.execute("SELECT set_config('app.user_id', %s, false)", (str(user_id),))
        return connection.execute(query).fetchall()


def _user_id(name: str) -> int:
    with psycopg.connect(conninfo(Role.ADMIN)) as connection:
        [(found,)] = connection.execute(
            'SELECT id FROM access."user" WHERE username = %s', (name,)
        ).fetchall()
        return found


@pytest.mark.parametrize("user_id", [None, "", "0", "999999"])
def test_raw_sql_without_a_user_sees_nothing(mara, user_id) -> None:
    for relation in _FENCED:
        assert _rows(user_id, f"SELECT count(*) FROM {relation}") == [(0,)], relation
    for query in (
        "SELECT count(id) FROM settlement.sale",
        "SELECT count(id) FROM attribution.image",
        "SELECT count(id) FROM attribution.attribution",
        "SELECT count(player) FROM attribution.attribution_share",
        "SELECT count(name) FROM attribution.artist_version",
        "SELECT count(id) FROM settlement.contract_version",
    ):
        assert _rows(user_id, query) == [(0,)], query


def test_raw_sql_as_one_artist_sees_nothing_of_another(mara, oskar) -> None:
    hers = _user_id("mara")
    for relation in _FENCED:
        for (payee,) in (
            _rows(hers, f"SELECT DISTINCT payee_id FROM {relation}") if "slice" not in relation else []
        ):
            assert payee == "pay-1", relation
    assert _rows(hers, "SELECT DISTINCT external_id FROM attribution.image ORDER BY 1") == [
        ("img-1",),
        ("img/2",),
    ]
    assert _rows(hers, "SELECT DISTINCT player FROM attribution.attribution_share ORDER BY 1") == [
        ("C",),
        ("art-1",),
    ]
    assert _rows(hers, "SELECT DISTINCT name FROM attribution.artist_version") == [("Mara Vell",)]
    assert _rows(hers, "SELECT payee_id, balance FROM settlement.payee_balance") == [("pay-1", 9_240_000)]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM ledger.posting",
        "SELECT * FROM ledger.account",
        "SELECT price_micros FROM settlement.sale",
        "SELECT tax_micros FROM settlement.sale",
        "SELECT customer FROM attribution.image",
        "SELECT seed FROM attribution.image",
        "SELECT * FROM attribution.prompt_text",
        "SELECT reading FROM attribution.attribution",
        "SELECT * FROM attribution.coalition_value",
        "SELECT aliases FROM attribution.artist_version",
        'SELECT * FROM access."user"',
        "SELECT * FROM settlement.platform_version",
        "INSERT INTO settlement.hold_release (hold_id, reason, actor) VALUES (1, 'x', 'x')",
        "UPDATE settlement.statement SET closing = 1",
        "CREATE TABLE x (y int)",
    ],
)
def test_raw_sql_cannot_reach_beyond_its_columns(mara, query: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        _rows(_user_id("mara"), query)


def test_a_portal_session_cannot_write(mara) -> None:
    with pytest.raises(InternalError, match="read-only transaction"), session(Role.PORTAL) as opened:
        portal.act_for(opened, _user_id("mara"))
        opened.execute(text("DELETE FROM settlement.statement"))
