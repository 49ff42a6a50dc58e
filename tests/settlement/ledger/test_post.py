"""Posting: balanced or not at all, once per key, from Python and from SQL alike."""

import random
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from database.engine import session
from database.errors import Conflict, Invalid, NotFound
from database.roles import Role
from settlement.ledger import (
    AccountLine,
    Cursor,
    Entry,
    Line,
    account_statement,
    balance,
    balances,
    post,
    post_from_query,
    reverse,
    seal,
    sealed_before,
    trial_balance,
)

NOON = datetime(2026, 10, 5, 12, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)


def line(code: str, amount: int, currency: str = "EUR", account_class: str = "asset") -> Line:
    return Line(f"{code}:{currency}", account_class, amount, currency)


def entry(
    key: str, *lines: Line, kind: str = "test", at: datetime = NOON, movable: bool = False, actor: str = "ann"
) -> Entry:
    lines = lines or (line("bank", 5), line("till", -5))
    return Entry(kind, key, at, at.date(), lines, actor, movable=movable)


def test_one_journal(db: Session) -> None:
    result = post(db, [entry("a", line("till", -5), line("bank", 5))])
    assert (result.posted, result.replayed, list(result.ids)) == (1, 0, ["a"])
    assert balances(db, "") == {"bank:EUR": 5, "till:EUR": -5}
    row = db.execute(
        text("SELECT lines, actor, created_by, kind, value_date FROM ledger.journal WHERE key = 'a'")
    ).one()
    assert row == (2, "ann", "postgres", "test", date(2026, 10, 5))


def test_nothing_to_post(db: Session) -> None:
    assert post(db, []).ids == {}
    assert post_from_query(db, _query([("a", "bank:EUR", 5)]) + " LIMIT 0").posted == 0


def test_the_same_key_and_content_is_the_first_result(db: Session) -> None:
    first = post(db, [entry("a"), entry("b")])
    again = post(db, [entry("b", line("till", -5), line("bank", 5), actor="bob"), entry("c")])
    assert (again.posted, again.replayed) == (1, 1)
    assert again.ids["b"] == first.ids["b"]
    assert db.scalar(text("SELECT count(*) FROM ledger.posting")) == 6


@pytest.mark.parametrize(
    "other",
    [
        entry("a", line("bank", 6), line("till", -6)),
        entry("a", line("bank", 5), line("drawer", -5)),
        entry("a", kind="other"),
        entry("a", at=NOON + timedelta(microseconds=1)),
        entry("a", line("bank", 5), line("till", -4), line("till", -1)),
    ],
)
def test_the_same_key_with_other_content_is_refused(db: Session, other: Entry) -> None:
    post(db, [entry("a")])
    with pytest.raises(Conflict, match="journal a exists with other content"):
        post(db, [entry("before"), other])
    assert balance(db, "bank:EUR") == 5


BAD = {
    "does not balance: its lines in EUR sum to 1": [line("bank", 6), line("till", -5)],
    "does not balance": [line("bank", 5), line("till", -5, "USD")],
    "has no lines": [],
    "sum to 5 micros": [line("bank", 5)],
    "line of zero on till:EUR": [line("bank", 5), line("till", 0), line("till", -5)],
    "whole micros": [line("bank", 5), line("till", -5.0)],  # type: ignore[arg-type]
    "amounts are whole": [line("bank", True), line("till", -1)],
    "larger than a line can hold": [line("bank", 2**63), line("till", -(2**63))],
    "does not end in its currency": [Line("bank:USD", "asset", 5, "EUR"), line("till", -5)],
    "account class": [line("bank", 5, account_class="money"), line("till", -5)],
    "control characters": [line("ba\tnk", 5), line("till", -5)],
}


@pytest.mark.parametrize("what", BAD)
def test_bad_entries_are_named_and_nothing_is_written(db: Session, what: str) -> None:
    lines = BAD[what]
    bad = Entry("test", "bad", NOON, NOON.date(), lines, "ann")
    with pytest.raises(Invalid, match=r"journal '?bad'?" if "control" in what else "journal bad") as raised:
        post(db, [entry("good"), bad])
    assert what in str(raised.value)
    assert db.scalar(text("SELECT count(*) FROM ledger.journal")) == 0


def test_a_key_is_given_once(db: Session) -> None:
    with pytest.raises(Invalid, match="journal a is given twice"):
        post(db, [entry("a"), entry("a")])


def test_a_time_needs_a_zone(db: Session) -> None:
    with pytest.raises(Invalid, match="without a time zone"):
        post(db, [entry("a", at=datetime(2026, 10, 5))])  # noqa: DTZ001


def test_an_account_keeps_its_class(db: Session) -> None:
    post(db, [entry("a")])
    with pytest.raises(Conflict, match="bank:EUR is of class asset in EUR, not income"):
        post(db, [entry("b", line("bank", 1, account_class="income"), line("till", -1))])


def test_awkward_texts_survive(db: Session) -> None:
    key = r"sale:\N 'quoted' \t 🎨 " + "ü" * 300
    post(db, [entry(key, line(r"pay\able:ä:b", 5), line("till", -5), kind="a\\b")])
    assert balances(db, "pay") == {r"pay\able:ä:b:EUR": 5}
    assert db.execute(text("SELECT key, kind FROM ledger.journal")).one() == (key, "a\\b")


def test_the_largest_amounts_balance(db: Session) -> None:
    most = 2**63 - 1
    post(db, [entry("a", *(line("bank", most) for _ in range(3)), *(line("till", -most) for _ in range(3)))])
    assert balance(db, "bank:EUR") == 3 * most


def test_several_currencies_balance_each(db: Session) -> None:
    post(db, [entry("a", line("bank", 5), line("fx", -5), line("fx", 700, "JPY"), line("bank", -700, "JPY"))])
    assert balances(db, "bank:") == {"bank:EUR": 5, "bank:JPY": -700}


def _query(rows: Sequence[tuple[str, str, int]]) -> str:
    values = ", ".join(
        f"('{key}', 'test', '2026-10-05 12:00+00'::timestamptz, '2026-10-05'::date, 'ann', NULL::text, false, '{code}',"
        f" 'asset', '{code[-3:]}', {amount}::numeric)"
        for key, code, amount in rows
    )
    return f"VALUES {values}"


def test_python_and_sql_post_the_same_journal(db: Session) -> None:
    rows = [
        ("b", "till:EUR", -5),
        ("a", "b:EUR", -3),
        ("a", "z:EUR", 5),
        ("a", "a:EUR", -2),
        ("b", "bank:EUR", 5),
    ]
    counts = post_from_query(db, _query(rows))
    assert (counts.posted, counts.replayed) == (2, 0)
    again = post(db, [entry("a", line("a", -2), line("b", -3), line("z", 5)), entry("b")])
    assert (again.posted, again.replayed) == (0, 2)
    assert post_from_query(db, _query(rows)).replayed == 2
    assert [
        tuple(row)
        for row in db.execute(
            text(
                "SELECT p.line, a.code, p.amount FROM ledger.posting AS p"
                " JOIN ledger.account AS a ON a.id = p.account_id"
                " JOIN ledger.journal AS j ON j.id = p.journal_id WHERE j.key = 'a' ORDER BY p.line"
            )
        )
    ] == [(1, "z:EUR", 5), (2, "a:EUR", -2), (3, "b:EUR", -3)]


def test_a_query_is_held_to_the_same_rules(db: Session) -> None:
    with pytest.raises(Invalid, match="journal a does not balance"):
        post_from_query(db, _query([("a", "bank:EUR", 5), ("a", "till:EUR", -4)]))
    with pytest.raises(Invalid, match="larger than a line can hold"):
        post_from_query(db, _query([("a", "bank:EUR", 2**63), ("a", "till:EUR", -(2**63))]))
    with pytest.raises(Invalid, match="the lines of journal a disagree"):
        post_from_query(
            db, _query([("a", "bank:EUR", 5), ("a", "till:EUR", -5)]).replace("'ann'", "'bob'", 1)
        )
    assert post(db, [entry("a")]).posted == 1  # the transaction is still good


def test_a_query_takes_parameters(db: Session) -> None:
    query = _query([("a", "bank:EUR", 5), ("a", "till:EUR", -5)]).replace("'ann'", "%(actor)s")
    post_from_query(db, query, {"actor": "100% ann"})
    assert db.scalar(text("SELECT actor FROM ledger.journal")) == "100% ann"


def test_content_is_hashed_as_the_database_defines_it(db: Session) -> None:
    post(
        db,
        [
            entry("plain"),
            entry(
                "ä\\N \\t 🎨",
                line(r"pay\able:ö", 7),
                line("till", -3),
                line("till", -3),
                line("fee", -1),
                kind="k\\",
            ),
            entry("two", line("bank", 5), line("fx", -5), line("fx", 9, "JPY"), line("bank", -9, "JPY")),
            entry(
                "odd", at=datetime(1999, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=-7, minutes=30)))
            ),
            entry("large", line("bank", 2**63 - 1), line("till", -(2**63 - 1))),
        ],
    )
    seal(db, "2026-10", NOVEMBER, "ann")
    post(db, [entry("late", movable=True)])
    reverse(db, "two", "two:reversed", NOVEMBER, "bob")
    rows = db.execute(
        text(
            "SELECT key, sha256(convert_to(content, 'UTF8')), decode(content_sha256, 'hex') FROM audit.journal_contents"
        )
    ).all()
    assert len(rows) == 7
    assert [key for key, defined, written in rows if defined != written] == []


# Many batches


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[post.__module__], "_BATCH", 4)


@pytest.mark.usefixtures("small_batches")
def test_batches_are_one_call(db: Session) -> None:
    first = post(db, [entry(f"k{n:02}", line(f"a{n}", n), line("till", -n)) for n in range(1, 20, 2)])
    work = [entry(f"k{n:02}", line(f"a{n}", n), line("till", -n)) for n in range(30, 0, -1)]
    both = post(db, work)
    assert (both.posted, both.replayed, len(both.ids)) == (20, 10, 30)
    assert first.ids.items() <= both.ids.items()
    assert len(set(both.ids.values())) == 30
    assert balance(db, "till:EUR") == -sum(range(1, 31))
    rows = [row for n in range(31, 40) for row in ((f"q{n}", f"a{n}:EUR", n), (f"q{n}", "till:EUR", -n))]
    counts = post_from_query(db, _query(rows[::-1]))
    assert (counts.posted, counts.replayed) == (9, 0)
    assert post_from_query(db, _query(rows)).replayed == 9
    assert db.scalar(text("SELECT count(*) FROM guard.unchecked")) == 0


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize(
    "bad", [entry("z", line("bank", 1), line("till", -2)), entry("y00", line("bank", 1))]
)
def test_an_error_in_the_last_batch_takes_all_back(db: Session, bad: Entry) -> None:
    with pytest.raises(Invalid, match="does not balance"):
        post(db, [*(entry(f"k{n}", line(f"new{n}", 1), line("till", -1)) for n in range(20)), bad])
    assert db.scalar(text("SELECT count(*) FROM ledger.journal")) == 0
    assert db.scalar(text("SELECT count(*) FROM ledger.account")) == 0
    assert post(db, [entry("a")]).posted == 1  # the transaction is still good


def test_a_journal_is_reversed_once_and_exactly(db: Session) -> None:
    post(db, [entry("a", line("bank", 5), line("till", -3), line("fee", -2, account_class="income"))])
    reverse(db, "a", "a:reversed", NOVEMBER, "bob")
    assert set(balances(db, "").values()) == {0}
    assert reverse(db, "a", "a:reversed", NOVEMBER, "bob").replayed == 1
    with pytest.raises(Conflict, match="journal a is reversed already, by a:reversed"):
        reverse(db, "a", "a:again", NOVEMBER, "bob")
    with pytest.raises(NotFound, match="there is no journal b"):
        reverse(db, "b", "b:reversed", NOVEMBER, "bob")


# Sealing


def test_a_sealed_period_takes_no_journal_but_replays(db: Session) -> None:
    first = post(db, [entry("a")])
    seal(db, "2026-10", NOVEMBER, "ann")
    seal(db, "2026-10", NOVEMBER, "ann")
    assert sealed_before(db) == NOVEMBER
    assert post(db, [entry("a")]).ids == first.ids
    with pytest.raises(Conflict, match=r"journal b is booked before 2026-11-01T00:00:00Z, .* sealed"):
        post(db, [entry("b")])
    assert post(db, [entry("c", at=NOVEMBER)]).posted == 1
    with pytest.raises(Conflict, match="cannot be sealed"):
        seal(db, "2026-10", NOVEMBER + timedelta(days=1), "ann")
    with pytest.raises(Conflict, match="cannot be sealed"):
        seal(db, "another", NOVEMBER, "ann")


def test_a_late_event_moves_to_the_open_period_and_stays_there(db: Session) -> None:
    post(db, [entry("early", movable=True)])
    seal(db, "2026-10", NOVEMBER, "ann")
    assert post(db, [entry("early", movable=True)]).replayed == 1
    first = post(db, [entry("late", movable=True), entry("other", at=NOVEMBER, movable=True)])
    booked = "SELECT key, booked_at, value_date FROM ledger.journal ORDER BY key"
    assert [tuple(row) for row in db.execute(text(booked))] == [
        ("early", NOON, NOON.date()),
        ("late", NOVEMBER, NOON.date()),
        ("other", NOVEMBER, NOVEMBER.date()),
    ]
    seal(db, "2026-11", datetime(2026, 12, 1, tzinfo=UTC), "ann")
    again = post(db, [entry("late", movable=True), entry("new", movable=True)])
    assert (again.posted, again.replayed, again.ids["late"]) == (1, 1, first.ids["late"])
    with pytest.raises(Conflict, match="other content"):
        post(db, [entry("late", line("bank", 6), line("till", -6), movable=True)])


# Reading


def test_balance_at_an_instant(db: Session) -> None:
    post(db, [entry("a"), entry("b", at=NOVEMBER), entry("c", at=NOON - timedelta(days=60))])
    assert balance(db, "bank:EUR") == 15
    assert balance(db, "bank:EUR", NOVEMBER) == 15
    assert balance(db, "bank:EUR", NOVEMBER - timedelta(microseconds=1)) == 10
    assert balances(db, "ba", NOON) == {"bank:EUR": 10}
    assert balance(db, "nobody:EUR") == 0


def test_trial_balance(db: Session) -> None:
    post(db, [entry("a"), entry("b", line("bank", 7), line("bank", -3), line("till", -4), at=NOVEMBER)])
    rows = trial_balance(db, NOVEMBER, NOVEMBER + timedelta(days=30))
    assert [(row.code, row.opening, row.debits, row.credits, row.closing) for row in rows] == [
        ("bank:EUR", 5, 7, -3, 9),
        ("till:EUR", -5, 0, -4, -9),
    ]
    assert trial_balance(db, NOON, NOVEMBER)[0].closing == 5


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    journals=st.lists(
        st.tuples(
            st.integers(0, 9), st.sampled_from("abcd"), st.sampled_from("abcd"), st.integers(1, 10**15)
        ),
        max_size=20,
    ),
    seals=st.sets(st.integers(0, 10), max_size=4),
    days=st.lists(st.integers(-1, 11), min_size=2, max_size=2, unique=True),
)
def test_balances_from_seals_are_plain_sums(
    db: Session, journals: list[tuple[int, str, str, int]], seals: set[int], days: list[int]
) -> None:
    """With and without closing balances, before, at and after a seal: what the postings sum to."""
    start, end = (NOON + timedelta(days=day) for day in sorted(days))
    plain = text(
        "SELECT a.code, coalesce(sum(p.amount) FILTER (WHERE p.booked_at < :start), 0),"
        " coalesce(sum(p.amount) FILTER (WHERE p.booked_at >= :start AND p.amount > 0), 0),"
        " coalesce(sum(p.amount) FILTER (WHERE p.booked_at >= :start AND p.amount < 0), 0), sum(p.amount)"
        " FROM ledger.posting AS p JOIN ledger.account AS a ON a.id = p.account_id WHERE p.booked_at < :end"
        ' GROUP BY a.code ORDER BY a.code COLLATE "C"'
    )
    with db.begin_nested() as savepoint:
        work = [
            entry(
                f"j{n}",
                line(debit, amount),
                line(f"x{credit}", -amount),
                at=NOON + timedelta(days=day),
                movable=True,
            )
            for n, (day, debit, credit, amount) in enumerate(journals)
        ]
        post(db, work[: len(work) // 2])
        for day in sorted(seals):
            seal(db, f"day {day}", NOON + timedelta(days=day), "ann")
        post(db, work[len(work) // 2 :])
        found = trial_balance(db, start, end)
        expected = [tuple(row) for row in db.execute(plain, {"start": start, "end": end})]
        assert [(row.code, row.opening, row.debits, row.credits, row.closing) for row in found] == expected
        last = end - timedelta(microseconds=1)
        assert balances(db, "", last) == {row[0]: row[4] for row in expected}
        assert balances(db, "x", last) == {row[0]: row[4] for row in expected if row[0].startswith("x")}
        far = {"start": start, "end": NOON + timedelta(days=99)}
        assert balances(db, "") == {row[0]: row[4] for row in db.execute(plain, far)}
        savepoint.rollback()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    amounts=st.lists(st.lists(st.integers(1, 10**12), min_size=1, max_size=3), min_size=1, max_size=8),
    limit=st.integers(1, 5),
    days=st.lists(st.integers(0, 3), min_size=8, max_size=8),
)
def test_pages_of_an_account_neither_repeat_nor_skip(
    db: Session, amounts: list[list[int]], limit: int, days: list[int]
) -> None:
    with db.begin_nested() as savepoint:
        post(
            db,
            [
                entry(
                    f"j{n}",
                    *(line("bank", amount) for amount in part),
                    line("till", -sum(part)),
                    at=NOON + timedelta(days=days[n]),
                )
                for n, part in enumerate(amounts)
            ],
        )
        seen: list[AccountLine] = []
        after: Cursor | None = None
        closing = 0
        while True:
            page = account_statement(db, "bank:EUR", after=after, limit=limit)
            assert page.opening == closing
            seen += page.lines
            closing = page.closing
            after = page.next
            if after is None:
                break
        assert closing == balance(db, "bank:EUR") == sum(map(sum, amounts))
        assert len({(row.journal_id, row.line) for row in seen}) == len(seen) == sum(map(len, amounts))
        assert [row.booked_at for row in seen] == sorted(row.booked_at for row in seen)
        part = account_statement(db, "bank:EUR", start=NOON + timedelta(days=1), end=NOON + timedelta(days=3))
        assert part.opening == balance(db, "bank:EUR", NOON + timedelta(days=1, microseconds=-1))
        assert part.closing == balance(db, "bank:EUR", NOON + timedelta(days=3, microseconds=-1))
        savepoint.rollback()


def test_an_unknown_account_has_no_statement(db: Session) -> None:
    with pytest.raises(NotFound, match="no account bank:EUR"):
        account_statement(db, "bank:EUR")


# Several at once


def test_many_post_the_same_key_at_once(database: str) -> None:
    """One writes it, the others get its id; with another body they are refused."""
    results: list[object] = []
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        try:
            amount = 5 if number % 2 == 0 else 6
            with session(Role.SETTLEMENT) as own:
                keys = ["x", "a"] if number % 4 < 2 else ["a", "x"]  # the order of keys does not deadlock
                result = post(
                    own, [entry(key, line(f"bank{key}", amount), line("till", -amount)) for key in keys]
                )
            results.append(result)
        except Conflict as error:
            results.append(str(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    refused = [result for result in results if isinstance(result, str)]
    posted = [result for result in results if not isinstance(result, str)]
    assert len(refused) == 4 and all("exists with other content" in text for text in refused)
    assert len(posted) == 4 and sum(result.posted for result in posted) == 2  # type: ignore[attr-defined]
    assert len({tuple(sorted(result.ids.items())) for result in posted}) == 1  # type: ignore[attr-defined]
    with session(Role.SETTLEMENT) as own:
        assert own.scalar(text("SELECT count(*) FROM ledger.journal")) == 2
        assert sum(balances(own, "").values()) == 0


@pytest.mark.usefixtures("small_batches")
def test_calls_that_overlap_never_wait_in_a_ring(database: str) -> None:
    """Many batches each, the same keys and new accounts in another order: every call ends, one has written each key."""
    failures: list[BaseException] = []
    counts: list[tuple[int, int]] = []

    def work(number: int) -> None:
        shuffle = random.Random(number).sample
        try:
            for turn in range(4):
                keys = shuffle(range(turn * 20, turn * 20 + 30), 20)
                with session(Role.SETTLEMENT if number % 2 else Role.PAYER) as own:
                    result = post(own, [entry(f"k{n}", line(f"a{n}", 1), line(f"b{n}", -1)) for n in keys])
                counts.append((result.posted, result.replayed))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert sum(posted + replayed for posted, replayed in counts) == 6 * 4 * 20
    with session(Role.SETTLEMENT) as own:
        assert own.scalar(text("SELECT count(*) FROM ledger.journal")) == sum(posted for posted, _ in counts)
        assert sum(balances(own, "").values()) == 0
    with session(Role.ADMIN) as own:
        assert own.scalar(text("SELECT count(*) FROM guard.unchecked")) == 0


def test_writers_use_their_own_roles(database: str) -> None:
    for role in (Role.SETTLEMENT, Role.PAYER):
        with session(role) as own:
            post(own, [entry(f"by {role}")])
            assert (
                own.scalar(
                    text("SELECT created_by FROM ledger.journal WHERE key = :key"), {"key": f"by {role}"}
                )
                == role
            )
