"""Every route with every scope: who gets in is what this table says, and no route is missing from it."""

import re

import pytest
from fastapi.testclient import TestClient

from database.identity import SCOPES, Principal, issue_token


@pytest.fixture
def database(module_database: str) -> str:
    """Nothing here changes anything."""
    return module_database


OPEN = {
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "GET /problems/{code}",
    "GET /.well-known/jwks.json",
    "POST /v1/token",
    "POST /v1/webhooks/{provider}",
    "GET /v1/unclaimed",
}
"""For everybody; a webhook is let in by its signature."""

_STATEMENT = "GET /v1/statements/{period}/{payee}/{currency}"
_READ_PERIODS = {"runs:write", "runs:approve"}
_READ_PAYOUTS = {"payouts:write", "payouts:approve"}

NEEDS: dict[str, set[str]] = {
    "POST /v1/images": {"images:write"},
    "POST /v1/sales": {"sales:write"},
    "POST /v1/corrections": {"runs:write"},
    "GET /v1/corrections": {"runs:write", "runs:approve"},
    "GET /v1/corrections/{correction}": {"runs:write", "runs:approve"},
    "POST /v1/corrections/{correction}/approve": {"runs:approve"},
    "POST /v1/corrections/{correction}/withdraw": {"runs:write"},
    "POST /v1/catalogue": {"catalogue:write"},
    "GET /v1/catalogue/{term}": {"catalogue:write"},
    "POST /v1/refunds": {"sales:write"},
    "GET /v1/me": set(SCOPES),
    "GET /v1/balances": {"statements:read"},
    "GET /v1/statements": {"statements:read"},
    _STATEMENT: {"statements:read"},
    f"{_STATEMENT}/lines": {"statements:read"},
    f"{_STATEMENT}/files/{{format}}": {"statements:read"},
    "GET /v1/images/{external_id}/attribution": {"statements:read"},
    "GET /v1/images/{external_id}/attribution/page": {"statements:read"},
    "GET /v1/images/{external_id}/attribution/evidence": _READ_PERIODS,
    "GET /v1/payouts": {"statements:read"},
    "GET /v1/holds": {"statements:read"},
    "GET /v1/periods": _READ_PERIODS,
    "GET /v1/periods/{period}": _READ_PERIODS,
    "GET /v1/periods/{period}/draft": _READ_PERIODS,
    "POST /v1/periods/{period}/cut-off": {"runs:write"},
    "POST /v1/periods/{period}/calculate": {"runs:write"},
    "POST /v1/periods/{period}/submit": {"runs:write"},
    "POST /v1/periods/{period}/approve": {"runs:approve"},
    "POST /v1/periods/{period}/close": {"runs:write"},
    "GET /v1/payout-plan": _READ_PAYOUTS,
    "GET /v1/payout-batches": _READ_PAYOUTS,
    "POST /v1/payout-batches": {"payouts:write"},
    "GET /v1/payout-batches/{batch}": _READ_PAYOUTS,
    "POST /v1/payout-batches/{batch}/approve": {"payouts:approve"},
    "POST /v1/payout-batches/{batch}/cancel": {"payouts:write"},
    "POST /v1/payout-batches/{batch}/submit": {"payouts:write"},
    "GET /v1/payout-batches/{batch}/file": {"payouts:write"},
    "POST /v1/payout-outcomes": {"payouts:write"},
    "POST /v1/disputes": {"disputes:write"},
    "GET /v1/disputes": {"statements:read"},
    "GET /v1/disputes/{number}": {"statements:read"},
    "GET /v1/dispute-desk": _READ_PERIODS,
    "POST /v1/dispute-desk/{number}/answer": {"runs:write"},
    "POST /v1/claims": {"payouts:write"},
    "GET /v1/claims": _READ_PAYOUTS,
    "GET /v1/claims/{claim}": _READ_PAYOUTS,
    "POST /v1/claims/{claim}/decision": {"payouts:write"},
    "POST /v1/claims/{claim}/approve": {"payouts:approve"},
    "POST /v1/advances": {"payouts:write"},
    "GET /v1/advances/{advance}": _READ_PAYOUTS,
    "POST /v1/advances/{advance}/approve": {"payouts:approve"},
    "POST /v1/advances/{advance}/pay": {"payouts:write"},
    "POST /v1/advances/{advance}/return": {"payouts:write"},
    "GET /v1/tax/due": _READ_PAYOUTS,
    "POST /v1/tax/remittances": {"payouts:write"},
}


def _operations(client: TestClient) -> dict[str, dict]:
    paths = client.get("/openapi.json").json()["paths"]
    return {
        f"{method.upper()} {path}": operation
        for path, operations in paths.items()
        for method, operation in operations.items()
    }


def _ask(client: TestClient, operation: str, headers: dict[str, str]) -> tuple[int, str, str]:
    method, path = operation.split(" ")
    # Whatever is named does not exist: what matters here is who gets as far as being told so.
    address = re.sub(r"\{\w+\}", "nothing", path)
    response = client.request(method, address, headers=headers, json={} if method == "POST" else None)
    assert response.status_code < 500, response.text
    is_problem = response.headers["content-type"] == "application/problem+json"
    challenge = response.headers.get("www-authenticate", "")
    return response.status_code, response.json()["code"] if is_problem else "", challenge


def _token(*scopes: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {issue_token(Principal(1, 'anybody', frozenset(scopes)))}"}


def test_the_table_names_every_route(client: TestClient) -> None:
    operations = _operations(client)
    assert operations.keys() == OPEN | NEEDS.keys()
    for name, operation in operations.items():
        documented = {scope for entry in operation.get("security", []) for scope in entry["oauth2"]}
        expected = NEEDS.get(name, set())
        assert documented == (set() if expected == set(SCOPES) else expected), name
        assert ("security" in operation) == (name in NEEDS)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Basic bWFyYTpwYXNz"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."},
    ],
)
def test_nobody_gets_in_without_a_token(client: TestClient, headers: dict[str, str]) -> None:
    for operation in NEEDS:
        status, code, challenge = _ask(client, operation, headers)
        assert (status, code) == (401, "unauthenticated"), operation
        assert challenge.startswith('Bearer realm="royalty"') and ("invalid_token" in challenge) == bool(
            headers
        )


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_opens_its_own_routes_and_no_other(client: TestClient, scope: str) -> None:
    headers = _token(scope)
    for operation, needed in NEEDS.items():
        status, code, challenge = _ask(client, operation, headers)
        if scope in needed:
            assert status not in (401, 403), (operation, code)
        else:
            assert (status, code) == (403, "refused"), operation
            assert 'error="insufficient_scope"' in challenge
