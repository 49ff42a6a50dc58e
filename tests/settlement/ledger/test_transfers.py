"""Transfers are the journals that `post` would write: the same bytes, the same refusals, once."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from database.errors import Conflict, Invalid
from settlement.ledger import Entry, Line, balances, post, post_transfers, seal

NOON = datetime(2026, 10, 5, 12, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
ROWS = [("b", "owed:zoë\\:EUR", 7), ("a", "owed:ann:EUR", 5)]


def query(
    rows: list[tuple[str, str, int]], account_class: str = "liability"
) -> tuple[str, dict[str, object]]:
    return (
        "SELECT key, 'test', %(at)s::timestamptz, %(at)s::date, 'ann', 'bob', code, %(class)s, 'bank:EUR', 'asset',"
        " 'EUR', amount FROM unnest(%(keys)s::text[], %(codes)s::text[], %(amounts)s::bigint[])"
        " AS r (key, code, amount)",
        {
            "at": NOON,
            "class": account_class,
            "keys": [key for key, _, _ in rows],
            "codes": [code for _, code, _ in rows],
            "amounts": [amount for _, _, amount in rows],
        },
    )


def entries(rows: list[tuple[str, str, int]]) -> list[Entry]:
    return [
        Entry(
            "test",
            key,
            NOON,
            NOON.date(),
            [Line(code, "liability", amount, "EUR"), Line("bank:EUR", "asset", -amount, "EUR")],
            "ann",
            "bob",
            movable=True,
        )
        for key, code, amount in rows
    ]


def test_they_are_what_post_writes(db: Session) -> None:
    """The digest is made by the server here and by the client there: `post` finds its own journals."""
    counts = post_transfers(db, *query(ROWS))
    assert (counts.posted, counts.replayed) == (2, 0)
    assert balances(db, "") == {"bank:EUR": -12, "owed:ann:EUR": 5, "owed:zoë\\:EUR": 7}
    assert (post(db, entries(ROWS)).posted, post(db, entries(ROWS)).replayed) == (0, 2)
    keys = db.scalars(text("SELECT key FROM ledger.journal ORDER BY id")).all()
    assert keys == ["a", "b"]
    db.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))


def test_once(db: Session) -> None:
    post(db, entries(ROWS[:1]))
    counts = post_transfers(db, *query(ROWS))
    assert (counts.posted, counts.replayed) == (1, 1)
    with pytest.raises(Conflict, match="journal a exists with other content"):
        post_transfers(db, *query([("a", "owed:ann:EUR", 6), ("c", "owed:ann:EUR", 1)]))
    assert db.scalar(text("SELECT count(*) FROM ledger.journal")) == 2  # nothing of what was refused


def test_out_of_a_sealed_period(db: Session) -> None:
    post_transfers(db, *query(ROWS[:1]))
    seal(db, "2026-10", NOVEMBER, "ann")
    counts = post_transfers(db, *query(ROWS))
    assert (counts.posted, counts.replayed) == (1, 1)
    seal(db, "2026-11", NOVEMBER + timedelta(days=30), "ann")
    assert post_transfers(db, *query(ROWS)).replayed == 2
    booked = db.execute(text("SELECT key, booked_at FROM ledger.journal")).all()
    assert {key: at for key, at in booked} == {"b": NOON, "a": NOVEMBER}  # noqa: C416


def test_what_is_refused(db: Session) -> None:
    with pytest.raises(Invalid, match="journal a moves nothing"):
        post_transfers(db, *query([("a", "owed:ann:EUR", 0)]))
    with pytest.raises(Invalid, match="journal a moves nothing"):
        post_transfers(db, *query([("a", "owed:ann:EUR", -1)]))
    with pytest.raises(DBAPIError):
        post_transfers(db, *query([("a", "owed:ann:EUR", 1), ("a", "owed:ann:EUR", 2)]))
    post_transfers(db, *query(ROWS))
    with pytest.raises(Conflict, match="journal c names an account that is of another class"):
        post_transfers(db, *query([("c", "owed:ann:EUR", 1)], "asset"))
    assert db.scalar(text("SELECT count(*) FROM ledger.journal")) == 2
