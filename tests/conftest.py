"""One real PostgreSQL per test process, migrated once; tests roll back, or get a database of their own."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

# Before anything reads the settings: tests never touch the installation of the person who runs them.
_HOME = Path(tempfile.mkdtemp(prefix="royalty-test-"))
_HOME.chmod(0o755)
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ["ROYALTY_HOME"] = str(_HOME)
os.environ.setdefault("OMP_NUM_THREADS", "1")
for _variable in ("DATABASE_URL", "BROKER_URL", "ROYALTY_MODEL", "DATABASE_NAME"):
    os.environ.pop(_variable, None)

import psycopg  # noqa: E402
import pytest  # noqa: E402
from sqlalchemy.orm import Session  # noqa: E402

from database.engine import conninfo, database_url, embedded_server, engine  # noqa: E402
from database.migrate import migrate  # noqa: E402
from database.roles import Role  # noqa: E402
from database.settings import get_settings  # noqa: E402

_TEMPLATE = "royalty_template"


def _forget_settings() -> None:
    """Make the process read its settings again: the next connection goes where the environment says now."""
    if engine.cache_info().currsize:
        for role in Role:
            engine(role).dispose()
    engine.cache_clear()
    database_url.cache_clear()
    get_settings.cache_clear()


def _use(name: str) -> None:
    _forget_settings()
    os.environ["DATABASE_NAME"] = name


def _execute(statement: str) -> None:
    directory = embedded_server().start()
    with psycopg.connect(
        host=str(directory), user="postgres", dbname="postgres", autocommit=True
    ) as connection:
        connection.execute(statement)


@pytest.fixture(scope="session")
def _template() -> Iterator[None]:
    """The migrated database that every other one is copied from; the server stops with the tests."""
    _use(_TEMPLATE)
    migrate()
    _forget_settings()
    yield
    _forget_settings()
    embedded_server().stop()
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def _shared_database(_template: None) -> str:
    _execute(f'CREATE DATABASE royalty_shared TEMPLATE "{_TEMPLATE}"')
    return "royalty_shared"


@pytest.fixture
def db(_shared_database: str) -> Iterator[Session]:
    """A superuser's session in a transaction that is rolled back: for tests that need neither commits nor roles."""
    _use(_shared_database)
    with engine(Role.ADMIN).connect() as connection:
        transaction = connection.begin()
        with Session(connection, expire_on_commit=False, join_transaction_mode="create_savepoint") as session:
            yield session
        transaction.rollback()
    _forget_settings()


_numbers = iter(range(1, 1_000_000))


@contextmanager
def _own_database() -> Iterator[str]:
    name = f"royalty_test_{next(_numbers)}"
    _execute(f'CREATE DATABASE {name} TEMPLATE "{_TEMPLATE}"')
    _use(name)
    yield conninfo(Role.ADMIN)
    _forget_settings()
    _execute(f"DROP DATABASE {name} WITH (FORCE)")
    os.environ.pop("DATABASE_NAME", None)


@pytest.fixture
def database(_template: None) -> Iterator[str]:
    """A migrated database of the test's own: commits stay, roles connect. Yields a superuser's conninfo."""
    with _own_database() as own:
        yield own


@pytest.fixture
def new_database(_template: None) -> Callable[[], AbstractContextManager[str]]:
    """Makes a `database` whenever it is entered: for tests that need one for each of many histories."""
    return _own_database


@pytest.fixture(scope="module")
def module_database(_template: None) -> Iterator[str]:
    """A `database` that a module's tests share; the module uses no other."""
    with _own_database() as own:
        yield own
