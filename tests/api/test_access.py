"""Logging in, tokens, and the guard against guessing."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import KeySet

from api.limits import AttemptLimit, address_group
from api.problems import TooManyRequests
from api.routers.tokens import LoginGuard
from database.identity import verify_token


@pytest.fixture
def database(module_database: str) -> str:
    """Each test makes users of its own."""
    return module_database


def _log_in(client: TestClient, username: str, password: str = "a long password", **more: str):
    return client.post("/v1/token", data={"username": username, "password": password, **more})


def test_log_in_gives_a_token_that_the_published_key_verifies(client: TestClient, login) -> None:
    login("mara", ["statements:read", "images:write"])
    response = _log_in(client, "mara")
    assert response.status_code == 200 and response.headers["cache-control"] == "no-store"
    token = response.json()
    assert (token["token_type"], token["scope"]) == ("bearer", "images:write statements:read")
    assert token["expires_in"] > 0
    keys = KeySet.import_key_set(client.get("/.well-known/jwks.json").json())
    claims = jwt.decode(token["access_token"], keys, algorithms=["Ed25519"]).claims
    assert claims["username"] == "mara"
    assert "d" not in client.get("/.well-known/jwks.json").json()["keys"][0]


def test_a_token_can_be_narrowed_but_not_widened(client: TestClient, login) -> None:
    login("tilde", ["statements:read", "images:write"])
    token = _log_in(client, "tilde", scope="statements:read").json()
    assert verify_token(token["access_token"]).scopes == {"statements:read"}
    response = _log_in(client, "tilde", scope="runs:approve")
    assert response.status_code == 403 and response.json()["code"] == "refused"


def test_wrong_names_and_passwords_look_the_same(client: TestClient, login) -> None:
    login("iben")
    for username, password in (
        ("iben", "wrong password"),
        ("nobody", "a long password"),
        ("\0iben\0x", "x"),
        ("m" * 5000, "x"),
    ):
        response = _log_in(client, username, password)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == 'Bearer realm="royalty"'
        assert response.json()["detail"].startswith("user name or password is wrong")


def test_guessing_is_slowed_down_and_a_right_password_starts_anew(
    client: TestClient, app: FastAPI, login
) -> None:
    login("oskar")
    login("theo")
    attempts = 3
    app.state.login_guard = LoginGuard(per_user_and_address=(attempts, 300))
    for _ in range(attempts - 1):
        assert _log_in(client, "oskar", "wrong password").status_code == 401
    assert _log_in(client, "oskar").status_code == 200
    for _ in range(attempts):
        assert _log_in(client, "oskar", "wrong password").status_code == 401
    response = _log_in(client, "oskar")
    assert response.status_code == 429 and response.json()["code"] == "too-many-requests"
    assert 0 < int(response.headers["retry-after"]) <= 301
    assert _log_in(client, "OSKAR").status_code == 429  # names are lower case
    assert _log_in(client, "theo").status_code == 200


def test_a_limit_forgets_in_time_and_in_memory() -> None:
    now = [0.0]
    limit = AttemptLimit(2, 10, keys=3, clock=lambda: now[0])
    limit.take("a")
    now[0] = 4
    limit.take("a")
    with pytest.raises(TooManyRequests) as refused:
        limit.take("a")
    assert refused.value.retry_after == 7
    now[0] = 10.5
    limit.take("a")
    for key in "bcd":
        limit.take(key)
    assert len(limit._times) == 3
    limit.take("a")


def test_an_ipv6_household_is_one_address() -> None:
    assert address_group("2001:db8::1") == address_group("2001:db8::ffff") != address_group("2001:db8:0:1::1")
    assert address_group("192.0.2.1") == "192.0.2.1"
    assert address_group(None) == "unknown" and address_group("testclient") == "testclient"
