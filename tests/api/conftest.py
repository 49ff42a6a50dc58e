"""A client of the API on a database of the test's own, and users with tokens."""

from collections.abc import Callable, Iterator, Sequence

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.app import create_app
from database.engine import session
from database.identity import Principal, add_user, issue_token
from database.roles import Role

Headers = dict[str, str]
Login = Callable[..., Headers]


@pytest.fixture
def app(database: str) -> FastAPI:
    return create_app()


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    # What nobody catches must become a problem, not an exception in the test.
    with TestClient(app, raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def login(database: str) -> Login:
    """Makes a user; gives the headers that are hers."""

    def make(username: str, scopes: Sequence[str] = (), payees: Sequence[str] = ()) -> Headers:
        with session(Role.IDENTITY) as opened:
            user = add_user(opened, username, "a long password", scopes, payees)
            principal = Principal(user.id, user.username, frozenset(scopes))
        return {"Authorization": f"Bearer {issue_token(principal)}"}

    return make
