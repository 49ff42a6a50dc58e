"""A client of the API on a database of the test's own, and users with tokens."""

from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.app import create_app
from tests.api.users import user


@pytest.fixture
def app(database: str) -> FastAPI:
    return create_app()


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    # What nobody catches must become a problem, not an exception in the test.
    with TestClient(app, raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def login(database: str) -> Callable[..., dict[str, str]]:
    """Makes a user; gives the headers that are hers."""
    return user
