"""Random histories of the ledger against a few dictionaries, with crashes between any two steps.

The model is written from the ledger's guarantees and uses nothing of its own arithmetic. A transaction is open over
several steps: its own session sees what they did, every other one what was committed before, whole journals only.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import chain, count
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from database.engine import engine, session
from database.errors import Conflict, Invalid, NotFound, UserError
from database.roles import Role
from settlement.audit.verify import CHECKS, verify
from settlement.ledger import (
    AccountLine,
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
from tests.settlement.histories import histories
from tests.settlement.ledger.witness import Witness

T = TypeVar("T")
BASE = datetime(2026, 10, 1, tzinfo=UTC)
CLASSES = {"bank": "asset", "expense": "expense", "payable:a": "liability", "payable:b": "liability"}
CURRENCIES = ("EUR", "JPY")
LEDGER_CHECKS = [c for c in CHECKS if c.name in ("journals are whole", "journals say what was posted")]


@dataclass(frozen=True)
class Journal:
    """What a journal says; two of one key that say the same are the same."""

    kind: str
    booked_at: datetime
    value_date: date
    lines: tuple[tuple[str, int], ...]
    reverses: str | None = None


@dataclass
class Books:
    """The ledger as the model keeps it."""

    journals: dict[str, Journal] = field(default_factory=dict)
    seals: dict[str, datetime] = field(default_factory=dict)
    asked: dict[str, Entry] = field(default_factory=dict)
    """As it was asked for: an entry that was moved stands with another date in `journals`."""
    ids: dict[str, int] = field(default_factory=dict)

    def copy(self) -> "Books":
        return Books(copy(self.journals), copy(self.seals), copy(self.asked), copy(self.ids))

    @property
    def sealed(self) -> datetime:
        return max(self.seals.values(), default=datetime.min.replace(tzinfo=UTC))

    def at(self, moment: datetime | None = None) -> Counter[str]:
        """Balances of every account posted to, now or at a moment."""
        total: Counter[str] = Counter()
        for journal in self.journals.values():
            if moment is None or journal.booked_at <= moment:
                for code, amount in journal.lines:
                    total[code] += amount
        return total

    def post(self, entries: Sequence[Entry]) -> tuple[int, int]:
        """How many are new and how many were there; raises what the ledger should."""
        if len({entry.key for entry in entries}) < len(entries):
            raise Invalid
        new = {}
        for entry in entries:
            lines = tuple(sorted((line.account_code, line.amount) for line in entry.lines))
            sums: Counter[str] = Counter()
            for line in entry.lines:
                sums[line.currency] += line.amount
            if len(lines) < 2 or any(sums.values()) or any(not amount for _, amount in lines):
                raise Invalid
            new[entry.key] = Journal(
                entry.kind, entry.booked_at, entry.value_date, lines, reverses=entry.reverses
            )
        replayed = 0
        for entry in entries:
            journal, there = new[entry.key], self.journals.get(entry.key)
            if journal.booked_at < self.sealed and entry.movable:
                journal = replace(journal, booked_at=there.booked_at if there else self.sealed)
            if there is not None:
                if there != journal:
                    raise Conflict
                replayed += 1
                continue
            if journal.booked_at < self.sealed:
                raise Conflict
            if entry.reverses is not None:
                if entry.reverses not in self.journals:
                    raise NotFound
                if any(other.reverses == entry.reverses for other in self.journals.values()):
                    raise Conflict
            self.journals[entry.key] = journal
            self.asked[entry.key] = entry
        return len(entries) - replayed, replayed

    def post_one_by_one(self, entries: Sequence[Entry]) -> tuple[int, int]:
        """As rows of a query are: in the order of their keys, so that of several faults the first one counts."""
        counts = [self.post([entry]) for entry in sorted(entries, key=lambda entry: entry.key.encode())]
        return sum(posted for posted, _ in counts), sum(replayed for _, replayed in counts)

    def reversal(self, key: str, new_key: str, at: datetime) -> Entry:
        if key not in self.journals:
            raise NotFound
        lines = [line_of(code, -amount) for code, amount in self.journals[key].lines]
        return Entry("reversal", new_key, at, at.date(), lines, "rea", reverses=key)


def line_of(code: str, amount: int) -> Line:
    return Line(code, CLASSES[code[:-4]], amount, code[-3:])


# Few days, and a microsecond around them, so that bookings and seals meet.
instants = st.builds(
    lambda days, microseconds: BASE + timedelta(days=10 * days, microseconds=microseconds),
    st.integers(-2, 9),
    st.sampled_from([0, 0, -1, 1]),
)
amounts = st.one_of(st.integers(1, 1000), st.integers(1, 3 * 10**18))
legs = st.builds(
    lambda currency, many, one, amounts, sign: [
        *(line_of(f"{many}:{currency}", sign * amount) for amount in amounts),
        line_of(f"{one}:{currency}", -sign * sum(amounts)),
    ],
    st.sampled_from(CURRENCIES),
    st.sampled_from(sorted(CLASSES)),
    st.sampled_from(sorted(CLASSES)),
    st.lists(amounts, min_size=1, max_size=3),
    st.sampled_from([1, -1]),
)
wanted = st.fixed_dictionaries(
    {
        "lines": st.lists(legs, min_size=1, max_size=2).map(lambda parts: list(chain(*parts))),
        "kind": st.sampled_from(["sale", "statement"]),
        "at": instants,
        "movable": st.booleans(),
    }
)
which = st.integers(0, 99)
codes = st.sampled_from([f"{name}:{currency}" for name in CLASSES for currency in CURRENCIES])


class LedgerHistories(RuleBasedStateMachine):
    """One database, one writer that may die, and whoever reads at the same time."""

    new_database: Callable[[], AbstractContextManager[str]]

    def __init__(self) -> None:
        super().__init__()
        self.database = self.new_database()
        self.database.__enter__()
        self.committed, self.books = Books(), Books()
        self.open: Session | None = None
        self.steps, self.length = 0, 1
        self.keys = count()
        self.witness = Witness()

    @initialize(length=st.sampled_from([1, 2, 5, 100]))
    def transactions_of(self, length: int) -> None:
        """How many steps this history's transactions have, unless they are committed or lost before."""
        self.length = length

    def teardown(self) -> None:
        if self.open is not None:
            self.open.close()
        self.database.__exit__(None, None, None)

    @property
    def writer(self) -> Session:
        """The session of the open transaction, which begins with its first step."""
        if self.open is None:
            self.open = Session(engine(Role.SETTLEMENT))
        return self.open

    def end(self) -> None:
        assert self.open is not None
        self.open.close()
        self.open = None
        self.steps = 0

    def step(self, expected: Callable[[Books], T], real: Callable[[Session], T]) -> T | None:
        """One step of the transaction. What is refused undoes all of it, as the edge does."""
        trial = self.books.copy()
        try:
            want: T | type[UserError] = expected(trial)
        except UserError as refusal:
            want = type(refusal)
        try:
            got: T | type[UserError] = real(self.writer)
        except UserError as refusal:
            got = type(refusal)
        assert got == want
        if isinstance(want, type):
            self.end()
            self.books = self.committed.copy()
            return None
        self.books = trial
        self.steps += 1
        if self.steps >= self.length:
            self.commit()
        return want

    def _post(self, entries: Sequence[Entry], *, by_query: bool = False) -> None:
        ids: dict[str, int] = {}

        def real(opened: Session) -> tuple[int, int]:
            if by_query:
                counts = post_from_query(opened, *_query(entries))
            else:
                counts = result = post(opened, entries)
                ids.update(result.ids)
                assert ids.keys() == {entry.key for entry in entries}
            return counts.posted, counts.replayed

        def expected(books: Books) -> tuple[int, int]:
            return books.post_one_by_one(entries) if by_query else books.post(entries)

        if self.step(expected, real) is not None:
            self._keep(ids)

    def _keep(self, ids: Mapping[str, int]) -> None:
        """A key has one id, for ever."""
        for key, id in ids.items():
            assert self.books.ids.setdefault(key, id) == id
        assert len(set(self.books.ids.values())) == len(self.books.ids)
        if self.open is None:
            self.committed = self.books.copy()

    def known(self, number: int) -> str:
        return list(self.books.journals)[number % len(self.books.journals)]

    @rule(
        entries=st.lists(wanted, min_size=1, max_size=4),
        wrong=st.sampled_from([*[""] * 30, "unbalanced", "one line", "no line", "zero", "twice"]),
        known=st.lists(which, max_size=1),
        by_query=st.booleans(),
    )
    def post(self, entries: list[dict[str, Any]], wrong: str, known: list[int], by_query: bool) -> None:
        """New journals, and perhaps one that is there already."""
        posted = [
            Entry(
                e["kind"],
                f"j{next(self.keys)}",
                e["at"],
                e["at"].date(),
                e["lines"],
                "ann",
                movable=e["movable"],
            )
            for e in entries
        ]
        if self.books.journals:
            there = [self.books.asked[self.known(number)] for number in known]
            posted[:0] = [entry for entry in there if entry.reverses is None]
        last = posted[-1]
        first, *rest = last.lines
        spoiled: dict[str, Sequence[Line]] = {
            "unbalanced": [replace(first, amount=first.amount + 1 or 2), *rest],
            "one line": [first],
            "no line": [],
            "zero": [*last.lines, replace(first, amount=0)],
        }
        if wrong in spoiled:
            posted[-1] = replace(last, lines=spoiled[wrong])
        elif wrong == "twice":
            posted.append(last)
        # A query of no rows has no journal, and one of two equal journals is one with every line twice.
        self._post(posted, by_query=by_query and wrong not in ("no line", "twice"))

    @precondition(lambda self: self.books.journals)
    @rule(numbers=st.lists(which, min_size=1, max_size=3), by_query=st.booleans())
    def replay(self, numbers: list[int], by_query: bool) -> None:
        """The same again, by another person, with its lines in another order."""
        asked = {key: self.books.asked[key] for key in map(self.known, numbers)}
        again = [replace(entry, actor="bob", lines=entry.lines[::-1]) for entry in asked.values()]
        self._post(again, by_query=by_query and all(entry.reverses is None for entry in again))

    @precondition(lambda self: self.books.journals)
    @rule(number=which, how=st.sampled_from(["kind", "date", "value date", "amount", "line", "account"]))
    def replay_with_another_body(self, number: int, how: str) -> None:
        entry = self.books.asked[self.known(number)]
        first, *rest = entry.lines
        other = next(code for code in CLASSES if code != first.account_code[:-4])
        bodies: dict[str, dict[str, Any]] = {
            "kind": {"kind": "other"},
            "date": {"booked_at": max(entry.booked_at, self.books.sealed) + timedelta(microseconds=1)},
            "value date": {"value_date": entry.value_date + timedelta(days=1)},
            "amount": {"lines": [*entry.lines, replace(first, amount=7), replace(first, amount=-7)]},
            "line": {"lines": [*(replace(line, amount=-line.amount) for line in entry.lines)]},
            "account": {"lines": [line_of(f"{other}:{first.currency}", first.amount), *rest]},
        }
        body = replace(entry, **bodies[how])
        # Unless it happens to say the same: lines and their opposites, the instant at which it was moved to.
        self._post([body])

    @precondition(lambda self: self.books.journals)
    @rule(number=which, at=instants, again=st.booleans(), missing=st.sampled_from([*[False] * 20, True]))
    def reverse(self, number: int, at: datetime, again: bool, missing: bool) -> None:
        key = "missing" if missing else self.known(number)
        new_key = f"{key}:reversed" if again else f"{key}:reversed:{next(self.keys)}"
        ids: dict[str, int] = {}

        def real(opened: Session) -> tuple[int, int]:
            result = reverse(opened, key, new_key, at, "rea")
            ids.update(result.ids)
            return result.posted, result.replayed

        if self.step(lambda books: books.post([books.reversal(key, new_key, at)]), real) is not None:
            self._keep(ids)

    @rule(days=st.sampled_from([1, 10, 20]))
    def seal(self, days: int) -> None:
        """The next period, and now and then the same once more."""
        name, moment = f"s{len(self.books.seals)}", max(self.books.sealed, BASE - timedelta(days=20))
        self._seal(name, moment + timedelta(days=days))

    def _seal(self, name: str, moment: datetime) -> None:
        def expected(books: Books) -> None:
            if (name in books.seals or moment in books.seals.values()) and books.seals.get(name) != moment:
                raise Conflict
            books.seals[name] = moment

        self.step(expected, lambda opened: seal(opened, name, moment, "sia"))

    @precondition(lambda self: self.books.seals)
    @rule(number=which, what=st.sampled_from(["the same", "another instant", "another name"]))
    def seal_again(self, number: int, what: str) -> None:
        name, moment = list(self.books.seals.items())[number % len(self.books.seals)]
        self._seal(
            f"{name}!" if what == "another name" else name,
            moment + timedelta(days=1000) if what == "another instant" else moment,
        )

    @precondition(lambda self: self.open is not None)
    @rule()
    def commit_early(self) -> None:
        self.commit()

    def commit(self) -> None:
        assert self.open is not None
        self.open.commit()
        self.end()
        self.committed = self.books.copy()

    @precondition(lambda self: self.open is not None)
    @rule(connection=st.booleans())
    def crash(self, connection: bool) -> None:
        """The process dies, or the server ends the connection under it: what was not committed is gone."""
        assert self.open is not None
        if connection:
            with session(Role.ADMIN) as killer:
                pid = self.open.scalar(text("SELECT pg_backend_pid()"))
                killer.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
            with pytest.raises(DBAPIError, match=r"terminating connection|closed"):
                self.open.commit()
                self.open.execute(text("SELECT 1"))
        self.end()
        self.books = self.committed.copy()

    @invariant()
    def every_reader_sees_the_books(self) -> None:
        with session(Role.PAYER) as reader:
            compare(reader, self.committed)
        with session(Role.SETTLEMENT) as reader:
            records = self.witness.look(reader)
        logged = {reference for kind, reference in records if kind == "journal"}
        sealed = {key for key, j in self.committed.journals.items() if j.booked_at < self.committed.sealed}
        assert sealed <= logged <= self.committed.journals.keys()
        assert {reference for kind, reference in records if kind == "seal"} == self.committed.seals.keys()
        if self.open is not None:
            compare(self.open, self.books)

    @rule(
        code=st.sampled_from([f"{name}:{c}" for name in CLASSES for c in CURRENCIES]),
        limit=st.integers(1, 4),
        start=instants,
        days=st.integers(0, 60),
    )
    def read_an_account(self, code: str, limit: int, start: datetime, days: int) -> None:
        """Pages hold every line of an interval once, in order, and their balance is the model's."""
        end = start + timedelta(days=days)
        with session(Role.PAYER) as reader:
            if code not in self.committed.at():
                with pytest.raises(NotFound):
                    account_statement(reader, code)
                return
            lines: list[AccountLine] = []
            page = account_statement(reader, code, start=start, end=end, limit=limit)
            assert page.opening == self.committed.at(start - timedelta(microseconds=1))[code]
            while True:
                assert [line.balance for line in page.lines] == [
                    page.opening + sum(line.amount for line in page.lines[: n + 1])
                    for n in range(len(page.lines))
                ]
                lines += page.lines
                if page.next is None:
                    break
                assert len(page.lines) == limit
                following = account_statement(
                    reader, code, start=start, end=end, after=page.next, limit=limit
                )
                assert following.opening == page.closing
                page = following
        assert page.closing == self.committed.at(end - timedelta(microseconds=1))[code]
        assert [(line.booked_at, line.journal_id, line.line) for line in lines] == sorted(
            {(line.booked_at, line.journal_id, line.line) for line in lines}
        )
        assert sorted(
            (line.key, line.booked_at, line.kind, line.value_date, line.amount) for line in lines
        ) == sorted(
            (key, j.booked_at, j.kind, j.value_date, amount)
            for key, j in self.committed.journals.items()
            if start <= j.booked_at < end
            for account, amount in j.lines
            if account == code
        )

    @rule()
    def verify(self) -> None:
        """The auditor finds nothing."""
        with session(Role.AUDITOR) as auditor:
            report = verify(auditor, LEDGER_CHECKS)
        assert len(report.results) == 2 and report.ok, report


def compare(reader: Session, books: Books) -> None:
    """Balances now and at every instant that matters, the trial balance, and the seals, are the model's."""
    now = books.at()
    assert balances(reader, "") == now
    for currency in CURRENCIES:
        assert not sum(amount for code, amount in now.items() if code.endswith(currency))
    assert (sealed_before(reader) or datetime.min.replace(tzinfo=UTC)) == books.sealed
    moments = {books.sealed, *(j.booked_at for j in list(books.journals.values())[-3:])} - {
        datetime.min.replace(tzinfo=UTC)
    }
    for moment in moments | {moment - timedelta(microseconds=1) for moment in moments}:
        there = books.at(moment)
        assert balances(reader, "", moment) == there
        for code in sorted(now)[:2]:
            assert balance(reader, code, moment) == there[code]
    for moment in moments:
        rows = {row.code: row for row in trial_balance(reader, moment, moment + timedelta(days=20))}
        opening, closing = (
            books.at(moment - timedelta(microseconds=1)),
            books.at(moment + timedelta(days=20, microseconds=-1)),
        )
        assert {code: (row.opening, row.closing) for code, row in rows.items()} == {
            code: (opening[code], closing[code]) for code in closing
        }
        assert all(row.opening + row.debits + row.credits == row.closing for row in rows.values())
        assert all(row.debits >= 0 >= row.credits for row in rows.values())


def _query(entries: Sequence[Entry]) -> tuple[str, dict[str, Any]]:
    """A query that yields the lines of entries."""
    rows = [
        (
            e.key,
            e.kind,
            e.booked_at,
            e.value_date,
            e.actor,
            e.approved_by,
            e.movable,
            line.account_code,
            line.account_class,
            line.currency,
            line.amount,
        )
        for e in entries
        for line in e.lines
    ]
    types = (
        "text",
        "text",
        "timestamptz",
        "date",
        "text",
        "text",
        "boolean",
        "text",
        "text",
        "text",
        "bigint",
    )
    arrays = ", ".join(f"%(c{n})s::{kind}[]" for n, kind in enumerate(types))
    return f"SELECT * FROM unnest({arrays})", {f"c{n}": [row[n] for row in rows] for n in range(len(types))}


def test_random_histories_of_the_ledger(new_database: Callable[[], AbstractContextManager[str]]) -> None:
    LedgerHistories.new_database = staticmethod(new_database)
    run_state_machine_as_test(LedgerHistories, settings=histories(12, 40))
