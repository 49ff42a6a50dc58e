"""Problems, request ids, logs, metrics, documentation: what every request passes through."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.app import MAX_BODY_BYTES
from api.problems import KINDS
from database.engine import database_url, engine
from database.errors import UserError
from database.migrate import newest_revision
from database.settings import get_settings


@pytest.fixture
def database(module_database: str) -> str:
    """Nothing here writes."""
    return module_database


@pytest.fixture
def unreachable(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A database that nobody listens for."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/nothing")
    _connect_anew()
    yield
    monkeypatch.undo()
    _connect_anew()


def _connect_anew() -> None:
    for cached in (get_settings, database_url, engine):
        cached.cache_clear()


def _is_problem(response, status: int, code: str) -> dict:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["status"], problem["code"], problem["type"]) == (status, code, f"/problems/{code}")
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem["title"] and problem["detail"]
    return problem


def test_alive_and_ready(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready", "schema_version": newest_revision()}


def test_not_ready_on_another_schema(client: TestClient, app: FastAPI) -> None:
    app.state.schema_version = "9999"
    problem = _is_problem(client.get("/readyz"), 503, "unavailable")
    assert "royalty db migrate" in problem["detail"]


@pytest.mark.usefixtures("unreachable")
def test_not_ready_and_alive_without_a_database(client: TestClient) -> None:
    response = client.get("/readyz")
    _is_problem(response, 503, "unavailable")
    assert response.headers["retry-after"]
    assert client.get("/healthz").status_code == 200
    metrics = client.get("/metrics")
    assert metrics.status_code == 200 and "royalty_attribution_jobs{" not in metrics.text


@pytest.mark.parametrize("code", sorted(KINDS))
def test_every_problem_type_says_what_it_means(client: TestClient, code: str) -> None:
    found = client.get(f"/problems/{code}").json()
    assert found["type"] == f"/problems/{code}" and found["meaning"]


def test_every_user_error_has_a_problem_type() -> None:
    def kinds(base: type[UserError]) -> set[str]:
        return {base.code}.union(*(kinds(child) for child in base.__subclasses__()))

    assert kinds(UserError) <= KINDS.keys()


def test_wrong_addresses_and_methods_are_problems(client: TestClient) -> None:
    _is_problem(client.get("/nowhere"), 404, "not-found")
    _is_problem(client.get("/problems/nothing"), 404, "not-found")
    response = client.delete("/healthz")
    _is_problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "GET"
    assert client.put("/v1/payout-batches").headers["allow"] == "GET, POST"


def test_a_body_too_large_is_a_problem(client: TestClient) -> None:
    _is_problem(client.post("/v1/token", content=b"x" * (MAX_BODY_BYTES + 1)), 413, "too-large")
    form = {"content-type": "application/x-www-form-urlencoded"}
    undeclared = (b"x" * 65536 for _ in range(MAX_BODY_BYTES // 65536 + 1))
    _is_problem(client.post("/v1/token", content=undeclared, headers=form), 413, "too-large")


def test_a_wrong_form_is_a_problem_that_does_not_repeat_it(client: TestClient) -> None:
    problem = _is_problem(client.post("/v1/token", data={"username": "mara-secret"}), 422, "invalid")
    assert problem["errors"][0]["location"] == "body" and problem["errors"][0]["pointer"].endswith("password")
    assert "mara-secret" not in json.dumps(problem)


def test_a_defect_says_nothing_but_its_request_id(client: TestClient, app: FastAPI) -> None:
    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("prompt: a secret castle")

    with structlog.testing.capture_logs() as logs:
        response = client.get("/broken", headers={"X-Request-ID": "trace-1"})
    problem = _is_problem(response, 500, "defect")
    assert problem["request_id"] == "trace-1" and "castle" not in response.text
    defect, request = logs
    assert defect["event"] == "defect" and defect["error"][0]["type"] == "builtins.RuntimeError"
    assert any("in broken" in place or place.endswith("broken") for place in defect["error"][0]["places"])
    assert "castle" not in json.dumps(logs)
    assert (request["status"], request["route"]) == (500, "/broken")


@pytest.mark.parametrize("given", ["a b", "x" * 65, "drop\ttable", ""])
def test_a_request_id_that_could_harm_a_log_is_replaced(client: TestClient, given: str) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": given}).headers["x-request-id"] != given


def test_requests_are_logged_by_template_without_personal_data(client: TestClient) -> None:
    with structlog.testing.capture_logs() as logs:
        client.get("/problems/mara@example.org?name=mara", headers={"Authorization": "Bearer secret"})
    assert len(logs) == 1
    assert {**logs[0], "duration_ms": 0} == {
        "event": "request",
        "log_level": "info",
        "method": "GET",
        "route": "/problems/{code}",
        "status": 404,
        "duration_ms": 0,
        "user_id": None,
    }


def test_logs_are_one_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    from database import logs

    before = logging.root.handlers[:], logging.root.level
    try:
        logs.configure()
        structlog.get_logger().info("request", status=200)
        logging.getLogger("uvicorn.error").warning("going down")
    finally:
        structlog.reset_defaults()
        logging.root.handlers[:], logging.root.level = before
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["event"], first["status"], first["level"]) == ("request", 200, "info")
    assert (second["event"], second["logger"], second["level"]) == ("going down", "uvicorn.error", "warning")


def test_metrics_count_requests_by_template(client: TestClient) -> None:
    client.get("/healthz")
    client.get("/nowhere/at/all")
    client.request("BREW", "/healthz")
    text = client.get("/metrics").text
    assert 'royalty_http_requests_total{method="GET",route="/healthz",status="200"} 1.0' in text
    assert 'route="unmatched",status="404"' in text and "nowhere" not in text
    assert 'method="other"' in text and "BREW" not in text
    for state in ("pending", "leased", "failed"):
        assert f'royalty_attribution_jobs{{state="{state}"}} 0.0' in text
    assert (
        "royalty_attribution_images_per_second 0.0" in text and "royalty_attribution_seconds_left 0.0" in text
    )
    assert 'royalty_http_request_duration_seconds_bucket{le="0.025",method="GET",route="/healthz"}' in text


def test_documentation_needs_no_other_host(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200 and "https://" not in page.text and "http://" not in page.text
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"):
        assert asset in page.text and client.get(f"/docs/{asset}").status_code == 200
    _is_problem(client.get("/docs/__init__.py"), 404, "not-found")


def test_openapi_documents_every_operation(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    for operation in operations:
        assert operation["summary"] and operation["description"] and operation["tags"]
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert list(response["content"]) == ["application/problem+json"], operation["operationId"]
    assert "HTTPValidationError" not in document["components"]["schemas"]
