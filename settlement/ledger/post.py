"""Posting: one path for one journal and for a hundred thousand.

Entries are checked, put in order, numbered and hashed here, and go by COPY straight into journals and postings, some
thousand lines at a time; while the server writes one batch the next is prepared. What is checked here the database
refuses as well; here the refusal names the journal and what to do.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import sha256
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

import psycopg
from psycopg import errors
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from database.engine import psycopg_connection
from database.errors import Conflict, Invalid, NotFound, Refused
from settlement.ledger.entries import Entry, Line

MAX_AMOUNT = 2**63 - 1
"""The largest amount of one line, either sign, in micros."""

_CLASSES = frozenset({"asset", "liability", "equity", "income", "expense"})
# Control characters separate the fields of canonical bytes; NUL and lone surrogates are no text for PostgreSQL.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_BATCH = 8192
"""Lines written by one pair of COPYs: so many that round trips do not count, so few that preparing them overlaps."""


@dataclass(frozen=True, slots=True)
class PostCounts:
    """How many journals a call wrote, and how many were there already with the same content."""

    posted: int
    replayed: int


@dataclass(frozen=True, slots=True)
class PostResult(PostCounts):
    """The journals of a call: those just written and those that an earlier call wrote."""

    ids: Mapping[str, int]
    """Journal id by key."""


def post(session: Session, entries: Sequence[Entry]) -> PostResult:
    """Post entries: all of them or, on an error, none. The same key with the same content is the first result again.

    Raises:
        Invalid: an entry has fewer than two lines, does not balance, or has an amount, code or key that cannot be.
        Conflict: the key stands for other content, the period is sealed, an account is of another class, or what
            the entry reverses is reversed already.
        NotFound: what the entry reverses does not exist.
    """
    ordered = sorted(entries, key=attrgetter("key"))
    accounts = _accounts_of(ordered)
    posted, ids = 0, dict[str, int]()
    with _poster(session) as poster:
        poster.open(accounts)
        for written in poster.write(ordered):
            posted += written.posted
            ids.update(written.ids)
    return PostResult(posted, len(ids) - posted, ids)


def post_from_query(session: Session, query: str, parameters: Mapping[str, Any] | None = None) -> PostCounts:
    """Post what an SQL query yields, one row per line, never more than a batch in memory. Rules and errors of `post`.

    Args:
        session: its transaction is used; the caller commits.
        query: SELECT of key, kind, booked_at, value_date, actor, approved_by, movable, account, class, currency and
            amount, in this order. Rows of one key are one journal and agree in everything up to `movable`. It is
            run twice, first for its accounts.
        parameters: values of the query's `%(name)s` parameters; any other `%` in it is doubled.
    """
    rows = f"""
        FROM ({query}) AS q (key, kind, booked_at, value_date, actor, approved_by, movable, account, class, currency,
                             amount)
    """
    values = dict(parameters or {})
    posted = replayed = 0
    with _poster(session) as poster:
        accounts = poster.connection.execute(
            f"SELECT q.account, q.class, q.currency, min(q.key) {rows} GROUP BY 1, 2, 3".encode(),
            values,
        )
        poster.open({row[0]: _checked_account(*row) for row in accounts})
        with poster.connection.cursor(name="ledger_post") as cursor:
            cursor.itersize = _BATCH
            cursor.execute(f'SELECT q.* {rows} ORDER BY q.key COLLATE "C"'.encode(), values)
            for written in poster.write(_entries_of(cursor)):
                posted += written.posted
                replayed += len(written.ids) - written.posted
    return PostCounts(posted, replayed)


def reverse(
    session: Session,
    key: str,
    new_key: str,
    booked_at: datetime,
    actor: str,
    *,
    approved_by: str | None = None,
) -> PostResult:
    """Post the exact reversal of a journal, once.

    Raises:
        NotFound: no journal has this key.
        Conflict: it is reversed already under another key, or ``booked_at`` is sealed.
        Refused: the database keeps rows that explain the journal, and says what to do instead.
    """
    rows = session.execute(
        text(
            """
            SELECT a.code, a.class, p.amount, a.currency
            FROM ledger.journal AS j
            JOIN ledger.posting AS p ON p.journal_id = j.id
            JOIN ledger.account AS a ON a.id = p.account_id
            WHERE j.key = :key ORDER BY p.line
            """
        ),
        {"key": key},
    ).all()
    if not rows:
        raise NotFound(f"there is no journal {key} to reverse")
    entry = Entry(
        kind="reversal",
        key=new_key,
        booked_at=booked_at,
        value_date=booked_at.astimezone(UTC).date(),
        lines=[
            Line(code, account_class, -amount, currency) for code, account_class, amount, currency in rows
        ],
        actor=actor,
        approved_by=approved_by,
        reverses=key,
    )
    try:
        return post(session, [entry])
    except DBAPIError as error:
        if isinstance(error.orig, errors.RestrictViolation):
            raise Refused(error.orig.diag.message_primary or str(error.orig)) from error
        raise


class _Account(NamedTuple):
    """What a line says of its account; with its id, as COPY writes it, once it is known."""

    account_class: str
    currency: str
    id: str = ""


class _Known(NamedTuple):
    """A journal that is in the ledger."""

    id: int
    booked_at: datetime
    content_sha256: bytes


class _Batch(NamedTuple):
    """Entries, and what the ledger says about them."""

    entries: Sequence[Entry]
    known: Mapping[str, _Known]
    """Those of their keys that are there already."""
    reversed_ids: Mapping[str, int]
    """Id by key of what the others reverse."""
    ids: Sequence[int]
    """New ids for the others."""


class _Written(NamedTuple):
    """A batch ready to be written."""

    batch: _Batch
    journals: bytes
    postings: bytes
    posted: int
    """How many of its journals are new."""
    ids: Mapping[str, int]
    """Journal id by key, of all."""


def _accounts_of(ordered: Sequence[Entry]) -> dict[str, _Account]:
    """The accounts of entries in the order of their keys."""
    accounts: dict[str, _Account] = {}
    previous = None
    for entry in ordered:
        if entry.key == previous:
            raise Invalid(f"journal {entry.key} is given twice: one key is one journal")
        previous = entry.key
        for line in entry.lines:
            code = line.account_code
            if code not in accounts:
                accounts[code] = _checked_account(code, line.account_class, line.currency, entry.key)
    return accounts


def _checked_account(code: str, account_class: str, currency: str, key: str) -> _Account:
    _check_text(code, key)
    if account_class not in _CLASSES:
        raise Invalid(
            f"journal {key} names the account class {account_class!r}: {', '.join(sorted(_CLASSES))}"
        )
    if not code.endswith(f":{currency}") or len(currency) != 3:
        raise Invalid(f"journal {key}: account {code!r} does not end in its currency {currency!r}")
    return _Account(account_class, currency)


def _check_text(value: str, key: str) -> None:
    if not value or (not value.isprintable() and _FORBIDDEN.search(value)):
        raise Invalid(f"{value!r} cannot stand in journal {key!r}: it is empty or has control characters")


def _entries_of(rows: Iterable[Sequence[Any]]) -> Iterator[Entry]:
    """Entries from rows of lines in the order of their keys."""
    for key, lines in groupby(rows, itemgetter(0)):
        head, entry_lines = None, []
        for row in lines:
            head = head or row[:7]
            if row[:7] != head:
                raise Invalid(f"the lines of journal {key} disagree about its kind, dates or actor")
            *_, code, account_class, currency, amount = row
            # A sum of bigints is numeric; anything but a whole number stays what it is, and is refused as such.
            if isinstance(amount, Decimal) and amount.is_finite() and amount == int(amount):
                amount = int(amount)
            entry_lines.append(Line(code, account_class, amount, currency))
        assert head is not None
        _, kind, booked_at, value_date, actor, approved_by, movable = head
        yield Entry(kind, key, booked_at, value_date, entry_lines, actor, approved_by, movable=movable)


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    lines = 0
    for entry in entries:
        batch.append(entry)
        lines += len(entry.lines)
        if lines >= _BATCH:
            yield batch
            batch, lines = [], 0
    if batch:
        yield batch


def open_seals(connection: psycopg.Connection[Any]) -> frozenset[datetime]:
    """Before what instants the books are sealed; no further seal until the transaction ends."""
    # The lock that writers share and a seal takes alone (`guard.lock_seal`): no seal comes between here and writing.
    # Two statements, because the second must see what the first waited for.
    connection.execute("SELECT pg_advisory_xact_lock_shared(hashtextextended('ledger.seal', 0))")
    return frozenset(row[0] for row in connection.execute("SELECT sealed_before FROM ledger.seal"))


@contextmanager
def _poster(session: Session) -> "Iterator[_Poster]":
    """A poster whose work is done as a whole or, on any error, not at all; the transaction stays usable."""
    try:
        with session.begin_nested():
            yield _Poster(psycopg_connection(session))
    except psycopg.Error as error:
        raise DBAPIError("post", None, error) from error


class _Poster:
    """One call's work. Accounts first and then journals, each in byte order: two calls at once never wait in a ring."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self._seals = open_seals(connection)
        self._sealed_before = max(self._seals, default=None)
        self._accounts: dict[str, _Account] = {}
        self._fields: dict[str | None, str] = {None: r"\N"}

    def open(self, accounts: Mapping[str, _Account]) -> None:
        """Look accounts up by their codes, and open those that are missing."""
        self._look_up_accounts(list(accounts))
        missing = sorted(code for code in accounts if code not in self._accounts)
        if missing:
            # Another call may open some of them now: wait for it, and take its.
            self.connection.execute(
                "INSERT INTO ledger.account (code, class, currency)"
                " SELECT * FROM unnest(%s::text[], %s::text[], %s::text[]) ON CONFLICT (code) DO NOTHING",
                (
                    missing,
                    [accounts[code].account_class for code in missing],
                    [accounts[code].currency for code in missing],
                ),
            )
            self._look_up_accounts(missing)

    def _look_up_accounts(self, codes: list[str]) -> None:
        for code, id, account_class, currency in self.connection.execute(
            "SELECT code, id, class, currency FROM ledger.account WHERE code = ANY(%s)", (codes,)
        ):
            self._accounts[code] = _Account(account_class, currency, str(id))

    def write(self, entries: Iterable[Entry]) -> Iterator[_Written]:
        """Write entries in the order of their keys, a batch at a time, each prepared while the last one is written."""
        prepared: Future[_Written] | None = None
        with ThreadPoolExecutor(1) as pool:
            for batch in _batches(entries):
                following = pool.submit(self._prepare, self._look_up(batch))
                if prepared is not None:
                    yield self._copy(prepared.result())
                    # Now, while the next batch is prepared, and not all of them at commit.
                    self.connection.execute("SET CONSTRAINTS guard.journal_balances IMMEDIATE")
                    self.connection.execute("SET CONSTRAINTS guard.journal_balances DEFERRED")
                prepared = following
            if prepared is not None:
                yield self._copy(prepared.result())

    def _look_up(self, entries: Sequence[Entry]) -> _Batch:
        """Which of the entries are there, and what the others need."""
        execute = self.connection.execute
        known = {
            key: _Known(*journal)
            for key, *journal in execute(
                "SELECT key, id, booked_at, content_sha256 FROM ledger.journal WHERE key = ANY(%s)",
                ([entry.key for entry in entries],),
            )
        }
        reversals = {e.reverses: e.key for e in entries if e.reverses is not None and e.key not in known}
        reversed_ids: dict[str, int] = {}
        if reversals:
            reversed_ids = dict(
                execute(
                    "SELECT key, id FROM ledger.journal WHERE key = ANY(%s)", (list(reversals),)
                ).fetchall()
            )
            for key, by in reversals.items():
                if key not in reversed_ids:
                    raise NotFound(f"there is no journal {key} that {by} could reverse")
            there = execute(
                "SELECT j.key, r.key FROM ledger.journal AS r JOIN ledger.journal AS j ON j.id = r.reverses"
                " WHERE r.reverses = ANY(%s)",
                (list(reversed_ids.values()),),
            ).fetchone()
            if there is not None:
                raise Conflict(f"journal {there[0]} is reversed already, by {there[1]}")
        ids = execute(
            "SELECT nextval('ledger.journal_id_seq') FROM generate_series(1, %s)",
            (len(entries) - len(known),),
        )
        return _Batch(entries, known, reversed_ids, [row[0] for row in ids])

    def _copy(self, written: _Written) -> _Written:
        """Write a batch."""
        while written.posted:
            try:
                with self.connection.transaction():
                    self._copy_in(
                        "journal (id, kind, key, booked_at, value_date, lines, content_sha256, reverses, actor,"
                        " approved_by)",
                        written.journals,
                    )
            except errors.UniqueViolation as error:
                if error.diag.constraint_name == "journal_reverses_key":
                    raise Conflict(
                        "what this journal reverses was reversed by another one just now"
                    ) from error
                # Another call has committed one of the keys since they were looked up: now it is there.
                written = self._prepare(self._look_up(written.batch.entries))
            else:
                self._copy_in(
                    "posting (journal_id, line, lines, booked_at, account_id, amount, currency)",
                    written.postings,
                )
                break
        return written

    def _copy_in(self, target: str, rows: bytes) -> None:
        with (
            self.connection.cursor() as cursor,
            cursor.copy(f"COPY ledger.{target} FROM STDIN".encode()) as copy,
        ):
            copy.write(rows)

    def _prepare(self, batch: _Batch) -> _Written:
        """Check a batch and make COPY's text of it. Talks to nobody: it runs while the connection is busy."""
        journals: list[str] = []
        postings: list[str] = []
        ids: dict[str, int] = {}
        new_ids = iter(batch.ids)
        at, instant = None, ""
        on, day = None, ""
        for entry in batch.entries:
            lines = self._ordered_lines(entry)
            known = batch.known.get(entry.key)
            booked_at = self._booked_at(entry, known)
            if booked_at is not at:
                at, instant = booked_at, _instant(booked_at, entry)
            if entry.value_date is not on:
                on, day = entry.value_date, _day(entry.value_date)
            key = entry.key
            kind = self._field(entry.kind, key)
            actor = self._field(entry.actor, key)
            approved_by = self._field(entry.approved_by, key)
            _check_text(key, key)
            count = len(lines)
            id = next(new_ids) if known is None else known.id
            ids[key] = id
            # As `guard.journal_text` and `guard.posting_text` have it.
            content = [f"journal/1\t{entry.kind}\t{key}\t{instant}\t{day}\t{count}\t{entry.reverses or ''}\n"]
            same = f"\t{count}\t{instant}\t"
            for number, (_, code, amount, account_id, currency) in enumerate(lines, start=1):
                content.append(f"{number}\t{code}\t{amount}\n")
                if known is None:
                    postings.append(f"{id}\t{number}{same}{account_id}\t{amount}\t{currency}\n")
            digest = sha256("".join(content).encode())
            if known is None:
                reverses = r"\N" if entry.reverses is None else batch.reversed_ids[entry.reverses]
                copied_key = key.replace("\\", r"\\") if "\\" in key else key
                journals.append(
                    f"{id}\t{kind}\t{copied_key}\t{instant}\t{day}\t{count}\t\\\\x{digest.hexdigest()}\t{reverses}"
                    f"\t{actor}\t{approved_by}\n"
                )
            elif digest.digest() != known.content_sha256:
                raise Conflict(
                    f"journal {key} exists with other content: reverse it and post the right one under a new key"
                )
        return _Written(batch, "".join(journals).encode(), "".join(postings).encode(), len(journals), ids)

    def _field(self, value: str | None, key: str) -> str:
        """A text that many journals share, as COPY writes it."""
        field = self._fields.get(value)
        if field is None:
            assert value is not None
            _check_text(value, key)
            field = self._fields[value] = value.replace("\\", r"\\")
        return field

    def _booked_at(self, entry: Entry, known: _Known | None) -> datetime:
        """When the entry is booked: what may be moved is moved out of sealed periods, the rest that is new refused."""
        booked_at = entry.booked_at
        if booked_at.tzinfo is None:
            raise Invalid(f"journal {entry.key} is booked at a time without a time zone")
        if self._sealed_before is None or booked_at >= self._sealed_before:
            return booked_at
        if known is not None:
            # A journal that was moved before stays where it is: asked for again, it is the same journal.
            moved = entry.movable and known.booked_at > booked_at and known.booked_at in self._seals
            return known.booked_at if moved else booked_at
        if not entry.movable:
            raise Conflict(
                f"journal {entry.key} is booked before {self._sealed_before.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}, and "
                "everything before that is sealed: book it in the open period"
            )
        return self._sealed_before

    def _ordered_lines(self, entry: Entry) -> list[tuple[bool, str, int, str, str]]:
        """The entry's lines as (whether credit, code, amount, account's id, currency), checked and in order.

        Debits first, then by code and amount; order by code point is order by UTF-8 byte.
        """
        lines = []
        totals: dict[str, int] = {}
        for line in entry.lines:
            code, amount, currency = line.account_code, line.amount, line.currency
            account = self._accounts[code]
            # bool is an int, and a float would be rounded on the way in.
            if type(amount) is not int:
                raise Invalid(f"journal {entry.key} has the amount {amount!r}: amounts are whole micros")
            if amount == 0:
                raise Invalid(f"journal {entry.key} has a line of zero on {code}: leave it out")
            if not -MAX_AMOUNT <= amount <= MAX_AMOUNT:
                raise Invalid(
                    f"journal {entry.key} has an amount larger than a line can hold ({MAX_AMOUNT} micros): split it"
                )
            if account.account_class != line.account_class or account.currency != currency:
                raise Conflict(
                    f"account {code} is of class {account.account_class} in {account.currency}, not "
                    f"{line.account_class} in {currency}: use its own class or another account"
                )
            totals[currency] = totals.get(currency, 0) + amount
            lines.append((amount < 0, code, amount, account.id, currency))
        if not lines:
            raise Invalid(f"journal {entry.key} has no lines")
        for currency, total in totals.items():
            if total:
                raise Invalid(
                    f"journal {entry.key} does not balance: its lines in {currency} sum to {total} micros"
                )
        lines.sort()
        return lines


def _instant(at: datetime, entry: Entry) -> str:
    """An instant in UTC to the microsecond, as in a journal's canonical bytes."""
    utc = at.astimezone(UTC)
    if utc.year < 1970:
        raise Invalid(f"journal {entry.key} is booked in {utc.year}: before 1970 there is no ledger")
    return f"{utc.isoformat(timespec='microseconds')[:26]}Z"


def _day(day: date) -> str:
    return day.isoformat()[:10]
