"""Many at once, each on its own connection: one result per key, no deadlock, nothing half done, nothing late in a seal.

What a crash, a restart, a lost connection and a timeout leave behind is here too: nothing, or everything.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from database.engine import database_url, embedded_server
from database.errors import Conflict
from database.migrate import migrate
from database.roles import Role
from settlement.audit.verify import CHECKS, verify
from settlement.ledger import (
    Entry,
    Line,
    PostResult,
    balance,
    balances,
    log,
    merkle,
    post,
    post_from_query,
    reverse,
    seal,
)
from tests import conftest

T = TypeVar("T")
NOON = datetime(2026, 10, 5, 12, tzinfo=UTC)


@contextmanager
def connected(role: Role = Role.SETTLEMENT) -> Iterator[Session]:
    """A transaction on a connection of its own."""
    made = create_engine(database_url(role), poolclass=NullPool)
    with Session(made) as opened, opened.begin():
        yield opened


def together(works: Sequence[Callable[[], T]]) -> list[T | Exception]:
    """Do all of it at the same time; what each returned or raised."""
    results: list[T | Exception] = []
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> None:
        barrier.wait(60)
        try:
            results.append(work())
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(results) == len(works), "somebody is still waiting"
    return results


def entry(key: str, *lines: tuple[str, int], at: datetime = NOON, movable: bool = False) -> Entry:
    parts = lines or (("bank:EUR", 5), ("till:EUR", -5))
    return Entry(
        "test", key, at, at.date(), [Line(c, "asset", a, c[-3:]) for c, a in parts], "ann", movable=movable
    )


def posted(*entries: Entry, role: Role = Role.SETTLEMENT) -> PostResult:
    with connected(role) as own:
        return post(own, entries)


def whole() -> dict[str, int]:
    """The balances; everything that can be checked holds."""
    with connected(Role.AUDITOR) as own:
        report = verify(own, [check for check in CHECKS if check.name.startswith("journals ")])
        assert len(report.results) == 2 and report.ok, report
    with connected() as own:
        found = balances(own, "")
    assert not any(
        Counter({c: sum(a for k, a in found.items() if k[-3:] == c) for c in ("EUR", "JPY")}).values()
    )
    return found


def leaves() -> list[tuple[int, str, str, bytes]]:
    with connected() as own:
        rows = own.execute(text("SELECT index, kind, reference, sha256 FROM ledger.log_leaf ORDER BY index"))
        return [(index, kind, reference, bytes(digest)) for index, kind, reference, digest in rows]


def check_log() -> None:
    """Dense from 0, with the root that its leaves have."""
    found = leaves()
    assert [index for index, *_ in found] == list(range(len(found)))
    hashes = [merkle.leaf_hash(log.entry(kind, name, digest)) for _, kind, name, digest in found]
    with connected() as own:
        assert log.root(own) == merkle.root(hashes)


# One key ------------------------------------------------------------------------------------------


def test_fifty_post_one_key(database: str) -> None:
    """One journal, forty-nine replays with its id."""
    results = together([lambda: posted(entry("k"))] * 50)
    good = [result for result in results if isinstance(result, PostResult)]
    assert len(good) == 50, results
    assert sorted(result.posted for result in good) == [0] * 49 + [1]
    assert len({result.ids["k"] for result in good}) == 1
    assert whole() == {"bank:EUR": 5, "till:EUR": -5}


def test_fifty_post_one_key_with_different_bodies(database: str) -> None:
    """One journal; forty-nine are told that the key stands for something else."""

    def work(amount: int) -> Callable[[], PostResult]:
        return lambda: posted(entry("k", ("bank:EUR", amount), ("till:EUR", -amount)))

    results = together([work(amount) for amount in range(1, 51)])
    assert [r.posted for r in results if isinstance(r, PostResult)] == [1], results
    refused = [result for result in results if isinstance(result, Conflict)]
    assert len(refused) == 49 and all("exists with other content" in str(error) for error in refused)
    assert len(whole()) == 2


def test_everything_reversed_twice_at_once(database: str) -> None:
    """Of two reversals of each journal exactly one succeeds."""
    number, hands = 60, 5
    posted(*(entry(f"j{n}", ("bank:EUR", n + 1), (f"payable:{n % 7}:EUR", -n - 1)) for n in range(number)))

    def work(hand: int) -> Callable[[], tuple[int, int]]:
        mine = [n for n in range(number) if n % hands == hand % hands]
        random.Random(hand).shuffle(mine)

        def reverse_mine() -> tuple[int, int]:
            done = refused = 0
            for n in mine:
                try:
                    with connected() as own:
                        done += reverse(own, f"j{n}", f"j{n}:by {hand}", NOON, "ann").posted
                except Conflict:
                    refused += 1
            return done, refused

        return reverse_mine

    results = together([work(hand) for hand in range(2 * hands)])
    counts = [result for result in results if isinstance(result, tuple)]
    assert len(counts) == 2 * hands, results
    assert (sum(done for done, _ in counts), sum(refused for _, refused in counts)) == (number, number)
    assert set(whole().values()) == {0}


# Seals --------------------------------------------------------------------------------------------


def test_two_seals_at_once(database: str) -> None:
    """The same one is made once; of two that contradict each other one is refused."""

    def work(name: str, days: int) -> Callable[[], str]:
        def seal_it() -> str:
            with connected() as own:
                seal(own, name, NOON + timedelta(days=days), "ann")
            return name

        return seal_it

    posted(entry("k"))
    assert together([work("first", 10)] * 4) == ["first"] * 4
    other = together([work("second", 20), work("second", 30)])
    assert sorted(type(result).__name__ for result in other) == ["Conflict", "str"], other
    third = together([work("third", 40), work("fourth", 40)])
    assert sorted(type(result).__name__ for result in third) == ["Conflict", "str"], third
    with connected() as own:
        assert own.scalar(text("SELECT count(*) FROM ledger.seal")) == 3
    assert [kind for _, kind, *_ in leaves()].count("seal") == 3
    check_log()


def test_a_late_committer_is_before_the_seal_or_refused(database: str) -> None:
    """Of two that overlap, and a seal between them, everything that is sealed is in the seal's tree."""
    posted(entry("opens the accounts"))
    sealed = NOON + timedelta(days=1)
    sealing = threading.Thread(target=_seal, args=("day", sealed))
    with connected() as late:
        post(late, [entry("late")])
        posted(entry("quick"))
        sealing.start()
        sealing.join(0.3)
        assert sealing.is_alive()  # it waits for the one that posts
    sealing.join(30)
    with pytest.raises(Conflict, match="sealed"):
        posted(entry("too late"))
    posted(entry("moved", movable=True))
    with connected() as own:
        size = own.scalar(text("SELECT log_size FROM ledger.seal"))
        assert own.scalar(text("SELECT booked_at FROM ledger.journal WHERE key = 'moved'")) == sealed
    inside = {
        reference for index, kind, reference, _ in leaves() if kind == "journal" and index < (size or 0)
    }
    assert inside == {"opens the accounts", "late", "quick"}
    whole()


def _seal(name: str, before: datetime) -> None:
    with connected() as own:
        seal(own, name, before, "ann")


# Random journals ----------------------------------------------------------------------------------


@pytest.mark.timeout(400)
@pytest.mark.parametrize("seconds", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_random_journals_of_many_writers(database: str, seconds: int) -> None:
    """Nobody waits in a ring, readers see whole journals only, and what is sealed is in its seal's tree."""
    until = time.monotonic() + seconds
    kept: list[dict[str, Entry]] = [{} for _ in range(10)]
    seals: list[datetime] = []

    def clock() -> datetime:
        return NOON + timedelta(seconds=time.monotonic() - until + seconds)

    def write(writer: int) -> Callable[[], int]:
        rng = random.Random(writer)

        def some() -> list[Entry]:
            return [
                entry(
                    f"j{rng.randrange(300)}"
                    if rng.random() < 0.1
                    else f"j{writer}:{time.monotonic_ns()}:{n}",
                    *_lines(rng),
                    # Around where the last seal is.
                    at=clock() + timedelta(seconds=rng.uniform(-1, 2)),
                    movable=rng.random() < 0.8,
                )
                for n in range(rng.randrange(1, 6))
            ]

        def run() -> int:
            refused = 0
            while time.monotonic() < until:
                entries = some()
                try:
                    with connected(Role.PAYER if writer % 2 else Role.SETTLEMENT) as own:
                        if rng.random() < 0.3:
                            post_from_query(own, *_query(entries))
                        else:
                            post(own, entries)
                        if writer % 3 == 0:  # as a payout does
                            log.sequence_journals(own)
                        if rng.random() < 0.1:
                            raise ZeroDivisionError
                except (Conflict, ZeroDivisionError):
                    refused += 1
                else:
                    kept[writer] |= {e.key: e for e in entries}
            return refused

        return run

    def seal_now_and_then() -> int:
        while time.monotonic() < until:
            time.sleep(0.7)
            seals.append(clock())
            _seal(f"s{len(seals)}", seals[-1])
        return len(seals)

    def read() -> int:
        reads = 0
        while time.monotonic() < until:
            with connected(Role.PAYER) as own:
                halves = own.execute(
                    text(
                        "SELECT j.key FROM ledger.journal AS j LEFT JOIN ledger.posting AS p ON p.journal_id = j.id"
                        " GROUP BY j.id HAVING count(p.line) <> j.lines OR sum(p.amount) <> 0"
                    )
                ).all()
                assert not halves
                assert sum(balances(own, "").values()) == 0
            reads += 1
        return reads

    results = together([*(write(writer) for writer in range(10)), seal_now_and_then, read, read])
    assert all(isinstance(result, int) for result in results), results
    assert len(seals) >= seconds // 2 and max(int(str(result)) for result in results[-2:]) > 0

    expected_keys = {key: e for writer in kept for key, e in writer.items()}
    expected: Counter[str] = Counter()
    for written in expected_keys.values():
        for line in written.lines:
            expected[line.account_code] += line.amount
    found = whole()
    assert {c: a for c, a in found.items() if a} == {c: a for c, a in expected.items() if a}
    check_log()
    with connected() as own:
        outside = own.execute(
            text(
                "SELECT s.name, j.key FROM ledger.seal AS s JOIN ledger.journal AS j ON j.booked_at < s.sealed_before"
                " LEFT JOIN ledger.log_leaf AS l ON l.kind = 'journal' AND l.reference = j.key"
                " WHERE l.index IS NULL OR l.index >= s.log_size"
            )
        ).all()
        assert not outside
        assert own.scalar(text("SELECT count(*) FROM ledger.journal")) == len(expected_keys)


def _lines(rng: random.Random) -> list[tuple[str, int]]:
    """On ten accounts, and now and then on new ones that others open at the same time, in another order."""
    currency = rng.choice(("EUR", "JPY"))
    codes = [f"a{rng.randrange(10)}:{currency}" for _ in range(rng.randrange(1, 4))]
    if rng.random() < 0.3:
        newest = int(time.monotonic() * 4)
        codes += [f"n{newest + n}:{currency}" for n in rng.sample(range(3), 3)]
    amounts = [rng.randrange(1, 10**9) for _ in codes]
    return [*zip(codes, amounts, strict=True), (f"a{rng.randrange(10)}:{currency}", -sum(amounts))]


def _query(entries: Sequence[Entry]) -> tuple[str, dict[str, list[object]]]:
    rows = [
        (
            e.key,
            e.kind,
            e.booked_at,
            e.value_date,
            e.actor,
            None,
            e.movable,
            x.account_code,
            "asset",
            x.currency,
            x.amount,
        )
        for e in entries
        for x in e.lines
    ]
    types = "text text timestamptz date text text boolean text text text bigint".split()
    arrays = ", ".join(f"%(c{n})s::{kind}[]" for n, kind in enumerate(types))
    return f"SELECT * FROM unnest({arrays})", {f"c{n}": [row[n] for row in rows] for n in range(len(types))}


def test_accounts_opened_at_the_same_time_in_opposite_order(database: str) -> None:
    """Every call opens its accounts in one order, whatever the order of its journals and lines."""
    codes = [f"p{n}:EUR" for n in range(40)]

    def work(hand: int) -> Callable[[], PostResult]:
        mine = codes if hand % 2 else codes[::-1]
        return lambda: posted(
            *(
                entry(f"{hand}:{code}", (code, 1), (other, -1))
                for code, other in zip(mine, mine[::-1], strict=True)
            )
        )

    for _ in range(3):
        results = together([work(hand) for hand in range(8)])
        assert all(isinstance(result, PostResult) for result in results), results
        codes = [f"x{code}" for code in codes]
    assert set(whole().values()) == {0}


def test_balance_at_a_time_with_overlapping_transactions(database: str) -> None:
    """Who began first commits last: the balance at every instant is what a replay of all that is committed says."""
    times = [NOON + timedelta(hours=hour) for hour in range(5)]
    posted(entry("opens the accounts", ("bank:EUR", 1), ("till:EUR", -1), at=times[-1] + timedelta(hours=1)))
    with connected() as first:
        post(first, [entry("first", ("bank:EUR", 1), ("till:EUR", -1), at=times[1])])
        with connected() as second:
            post(second, [entry("second", ("bank:EUR", 10), ("till:EUR", -10), at=times[2])])
            posted(entry("third", ("bank:EUR", 100), ("till:EUR", -100), at=times[0]))
        posted(entry("fourth", ("bank:EUR", 1000), ("till:EUR", -1000), at=times[3]))
        with connected() as reader:
            assert [balance(reader, "bank:EUR", at) for at in times] == [100, 100, 110, 1110, 1110]
    with connected() as reader:
        assert [balance(reader, "bank:EUR", at) for at in times] == [100, 101, 111, 1111, 1111]


# The log ------------------------------------------------------------------------------------------


def test_the_log_is_dense_under_twenty_writers_of_whom_some_roll_back(database: str) -> None:
    def work(writer: int) -> Callable[[], set[str]]:
        rng = random.Random(writer)

        def run() -> set[str]:
            kept: set[str] = set()
            for n in range(8):
                names = [f"{writer}/{n}/{part}" for part in range(rng.randrange(1, 40))]
                rng.shuffle(names)
                try:
                    with connected() as own:
                        log.append(own, [("test", name, sha256(name.encode()).digest()) for name in names])
                        if rng.random() < 0.3:
                            raise ZeroDivisionError
                except ZeroDivisionError:
                    continue
                kept |= set(names)
            return kept

        return run

    results = together([work(writer) for writer in range(20)])
    kept = [result for result in results if isinstance(result, set)]
    assert len(kept) == 20, results
    assert {reference for _, _, reference, _ in leaves()} == set().union(*kept)
    check_log()


# Crashes ------------------------------------------------------------------------------------------

_BULK = """
import sys
import time
from datetime import UTC, datetime
from database.engine import session
from database.roles import Role
from settlement.ledger import Entry, Line, post

NOON = datetime(2026, 10, 5, 12, tzinfo=UTC)
with session(Role.SETTLEMENT) as own:
    post(own, [
        Entry("test", f"b{n}", NOON, NOON.date(),
              [Line(f"payable:{n}:EUR", "asset", -1, "EUR"), Line("expense:EUR", "asset", 1, "EUR")], "ann")
        for n in range(10_000)
    ])
    if sys.argv[1:] == ["never-commit"]:
        time.sleep(600)
"""


def test_killed_in_the_middle_of_a_bulk_post(database: str) -> None:
    """Nothing of it is there, and the same call again writes all of it."""
    process = subprocess.Popen([sys.executable, "-c", _BULK, "never-commit"])
    with connected(Role.ADMIN) as watcher:
        size = text("SELECT pg_relation_size('ledger.posting')")
        for _ in range(600):
            if (watcher.scalar(size) or 0) > 1 << 20:  # some thousand lines are written
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    _wait_until_alone()
    assert whole() == {}
    subprocess.run([sys.executable, "-c", _BULK], check=True)
    found = whole()
    assert (found["expense:EUR"], len(found)) == (10_000, 10_001)


def _wait_until_alone() -> None:
    """Until the server has noticed that everybody else is gone."""
    others = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    for _ in range(600):
        with connected(Role.ADMIN) as watcher:
            if not watcher.scalar(others):
                return
        time.sleep(0.1)
    raise AssertionError("a killed process still has a connection")


@pytest.fixture
def own_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that may be stopped and killed: nobody else's."""
    home = Path(tempfile.mkdtemp(prefix="royalty-crash-"))
    home.chmod(0o755)
    monkeypatch.setenv("ROYALTY_HOME", str(home))
    monkeypatch.setenv("DATABASE_NAME", "royalty")
    conftest._forget_settings()
    migrate()
    yield
    embedded_server().stop()
    conftest._forget_settings()
    shutil.rmtree(home)


@pytest.mark.parametrize("how", ["restart", "crash"])
def test_the_server_goes_down_during_a_run(own_server: None, how: str) -> None:
    """What was confirmed is there, what was not is whole or not there; the same keys again complete the run."""
    confirmed: list[str] = []
    failures: list[Exception] = []
    over = threading.Event()

    def write(writer: int) -> None:
        for n in range(100_000):
            if over.is_set():
                return
            key = f"j{writer}:{n}"
            try:
                posted(entry(key, (f"payable:{n % 9}:EUR", 1), ("expense:EUR", -1)))
            except DBAPIError as error:
                failures.append(error)
                return
            confirmed.append(key)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    while len(confirmed) < 40 and not failures:
        time.sleep(0.05)
    server = embedded_server()
    if how == "restart":
        server.stop()
    else:
        os.kill(int((server.data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)
    for thread in threads:
        thread.join(60)
    over.set()
    assert len(failures) == 4, failures
    conftest._forget_settings()
    server.start()
    found = whole()
    with connected() as own:
        keys = set(own.scalars(text("SELECT key FROM ledger.journal")))
    assert set(confirmed) <= keys and len(keys) <= len(confirmed) + 4
    assert found["expense:EUR"] == -len(keys)
    again = posted(
        *(
            entry(key, (f"payable:{int(key.split(':')[1]) % 9}:EUR", 1), ("expense:EUR", -1))
            for key in sorted({*keys, "j0:77777"})
        )
    )
    assert (again.posted, again.replayed) == (1, len(keys))


@pytest.mark.parametrize("setting", ["statement_timeout", "lock_timeout"])
def test_who_waits_too_long_leaves_nothing(database: str, setting: str) -> None:
    """Behind a seal that is being made: the wait ends with an error, and later the same call does what it should."""
    sealed = NOON + timedelta(days=1)
    with connected() as sealing:
        seal(sealing, "day", sealed, "ann")
        with pytest.raises(DBAPIError, match="canceling statement due to"), connected() as own:
            own.execute(text(f"SET LOCAL {setting} = '300ms'"))
            post(own, [entry("k", movable=True)])
    assert whole() == {}
    assert posted(entry("k", movable=True)).posted == 1
    with connected() as own:
        assert own.scalar(text("SELECT booked_at FROM ledger.journal")) == sealed


def test_a_lost_connection_in_the_middle_leaves_nothing(database: str) -> None:
    """Also when it is lost between two calls of one transaction, and whatever the pool hands out next works."""
    with pytest.raises(DBAPIError), connected() as own:
        post(own, [entry("a")])
        pid = own.scalar(text("SELECT pg_backend_pid()"))
        with connected(Role.ADMIN) as killer:
            killer.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        post(own, [entry("b")])
    assert whole() == {}
    assert posted(entry("a"), entry("b")).posted == 2
