"""Requests made from our own OpenAPI: whatever is sent, what comes back is what the document says."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from api.app import create_app
from api.routers.tokens import LoginGuard
from database.identity import SCOPES, Principal, issue_token
from tests.api.books import settle

load_all_checks()

_app = create_app()
# Its own limit would answer for everything.
_app.state.login_guard = LoginGuard((10**6, 1), (10**6, 1), (10**6, 1))
schema = schemathesis.openapi.from_asgi("/openapi.json", _app)


@pytest.fixture(scope="module")
def headers(module_database: str) -> dict[str, str]:
    settle()
    return {"Authorization": f"Bearer {issue_token(Principal(1, 'anybody', frozenset(SCOPES)))}"}


@schema.parametrize()
@settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_answers_are_as_documented(case: schemathesis.Case, headers: dict[str, str]) -> None:
    # A batch with a bad row is taken: the row is refused, with its reason, and the others go in.
    rows = case.path in ("/v1/images", "/v1/sales", "/v1/refunds")
    # A catalogue and a selection of sales have rules that no schema says: names that must exist, parts that must add
    # up, one of several lists. What breaks one is refused as bad input, though each field by itself is well-formed.
    whole = case.path in ("/v1/catalogue", "/v1/corrections")
    case.call_and_validate(
        headers=headers,
        excluded_checks=[negative_data_rejection] if rows else [positive_data_acceptance] if whole else [],
    )
