"""Wake-ups: sent after commit only, over PostgreSQL by default, and never fatal."""

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from attribution import broker
from database.engine import engine, session
from database.roles import Role


@pytest.fixture(autouse=True)
def _disconnect() -> Iterator[None]:
    yield
    broker.disconnect()


def waiting(conninfo: str) -> int:
    with psycopg.connect(conninfo) as connection:
        if connection.execute("SELECT to_regclass('pgmq.q_attribution')").fetchone() == (None,):
            return 0
        row = connection.execute("SELECT count(*) FROM pgmq.q_attribution").fetchone()
    return 0 if row is None else row[0]


def test_a_wake_up_is_sent_after_commit_and_once(database: str) -> None:
    with session(Role.ATTRIBUTION) as opened:
        broker.wake_after_commit(opened)
        broker.wake_after_commit(opened)
        with opened.begin_nested():
            opened.execute(text("SELECT 1"))
        assert waiting(database) == 0
    assert waiting(database) == 1


def test_nothing_is_sent_for_what_was_rolled_back(database: str) -> None:
    with Session(engine(Role.ATTRIBUTION)) as opened:
        broker.wake_after_commit(opened)
        opened.execute(text("SELECT 1"))
        opened.rollback()
        opened.execute(text("SELECT 1"))
        opened.commit()
    assert waiting(database) == 0


def test_a_savepoint_rolled_back_keeps_the_wake_up(database: str) -> None:
    with session(Role.ATTRIBUTION) as opened:
        broker.wake_after_commit(opened)
        opened.begin_nested().rollback()
    assert waiting(database) == 1


def test_a_broker_out_of_reach_loses_the_message_and_nothing_else(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "broker_url", lambda: "amqp://127.0.0.1:1//")
    monkeypatch.setattr(broker, "transport_options", dict)
    with session(Role.ATTRIBUTION) as opened:
        opened.execute(
            text(
                "INSERT INTO attribution.artist_version (artist_id, version, name, aliases, actor, reason)"
                " VALUES ('a', 1, 'A', '{}', 'test', 'test')"
            )
        )
        broker.wake_after_commit(opened)
    with session(Role.ATTRIBUTION) as opened:
        assert opened.scalar(text("SELECT count(*) FROM attribution.artist_version")) == 1


def test_connection_strings_survive_spaces_and_quotes() -> None:
    """What the pgmq package makes of it: values bare, separated by spaces."""
    given = psycopg.conninfo.make_conninfo(
        host="/tmp/a b", dbname="x", user="u", password="it's \\ a secret", port=5433
    )
    read = psycopg.conninfo.conninfo_to_dict(broker._quoted(given))
    bare = " ".join(f"{name}={value}" for name, value in read.items())
    assert psycopg.conninfo.conninfo_to_dict(bare) == psycopg.conninfo.conninfo_to_dict(given)
