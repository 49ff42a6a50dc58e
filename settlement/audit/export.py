"""The ledger for other people's tools: audit data standard, beancount, hledger, with a manifest that ties them.

Everything is read as the auditor in one snapshot, streamed, and written the same way every time: the same ledger gives
the same bytes. The manifest comes last, and the directory appears whole or not at all.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, NamedTuple, Self
from zoneinfo import ZoneInfo

import psycopg
from psycopg import sql
from sqlalchemy.orm import Session

from database.engine import psycopg_connection
from database.errors import Conflict, Invalid, NotFound, Unavailable
from settlement.audit.account_names import RULE
from settlement.money import to_decimal

MANIFEST = "manifest.json"

_PIECE = 1 << 18

Progress = Callable[[int, int], None]
"""Told how many lines of how many are written."""


class Format(StrEnum):
    """What an export can be."""

    ADS = "ads"
    """AICPA Audit Data Standard, general ledger: CSV files."""
    BEANCOUNT = "beancount"
    HLEDGER = "hledger"


@dataclass(frozen=True, slots=True)
class Span:
    """What is exported: everything booked in [start, end), by whole days of a zone."""

    start: datetime
    end: datetime
    zone: str
    period_id: str | None = None

    @property
    def first(self) -> date:
        """The first day."""
        return self.start.astimezone(ZoneInfo(self.zone)).date()

    @property
    def last(self) -> date:
        """The last day, included."""
        return self.end.astimezone(ZoneInfo(self.zone)).date() - timedelta(days=1)

    @property
    def parameters(self) -> dict[str, object]:
        """For queries: `start`, `end`."""
        return {"start": self.start, "end": self.end}


@dataclass(frozen=True, slots=True)
class AccountTotal:
    """One account over the span, in micros: opening + debits + credits = closing, credits negative."""

    code: str
    account_class: str
    currency: str
    opening: int
    debits: int
    credits: int
    closing: int


class Posting(NamedTuple):
    """One line of a journal with its journal's facts, as text: dates of the span's zone, decimal amounts."""

    journal_id: str
    date: str
    kind: str
    key: str
    value_date: str
    actor: str
    approved_by: str | None
    created_by: str
    recorded_at: str
    reverses: str | None
    account: str
    amount: str
    currency: str


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file, as the manifest has it."""

    name: str
    rows: int
    """Lines of a CSV without its header; postings of a journal file, openings and closing balances not counted."""
    bytes: int
    sha256: str


class Books:
    """What every format is written from: one snapshot of the ledger over one span."""

    def __init__(self, connection: psycopg.Connection[Any], span: Span, progress: Progress | None) -> None:
        self.connection = connection
        self.span = span
        self._progress = progress
        self.accounts = self._accounts()
        """Every account posted to before the span's end, by code in byte order."""
        self.journals, self.lines = self._counts()

    def _accounts(self) -> list[AccountTotal]:
        rows = self.connection.execute(
            """
            SELECT a.code, a.class, a.currency::text, t.opening, t.debits, t.credits, t.opening + t.debits + t.credits
            FROM (
                SELECT account_id, coalesce(sum(amount) FILTER (WHERE booked_at < %(start)s), 0) AS opening,
                       coalesce(sum(amount) FILTER (WHERE booked_at >= %(start)s AND amount > 0), 0) AS debits,
                       coalesce(sum(amount) FILTER (WHERE booked_at >= %(start)s AND amount < 0), 0) AS credits
                FROM audit.record_posting WHERE booked_at < %(end)s GROUP BY account_id
            ) AS t
            JOIN audit.record_account AS a ON a.id = t.account_id ORDER BY a.code COLLATE "C"
            """,
            self.span.parameters,
        ).fetchall()
        return [
            AccountTotal(code, kind, currency, *(int(a) for a in amounts))
            for code, kind, currency, *amounts in rows
        ]

    def _counts(self) -> tuple[int, int]:
        row = self.connection.execute(
            "SELECT count(*), coalesce(sum(lines), 0)::bigint FROM audit.record_journal"
            " WHERE booked_at >= %(start)s AND booked_at < %(end)s",
            self.span.parameters,
        ).fetchone()
        assert row is not None
        journals, lines = row
        return journals, lines

    @property
    def totals(self) -> dict[str, dict[str, str]]:
        """Sums of the span's debits and credits by currency, as decimals."""
        sums: dict[str, list[int]] = {}
        for account in self.accounts:
            both = sums.setdefault(account.currency, [0, 0])
            both[0] += account.debits
            both[1] -= account.credits
        return {
            currency: {"debits": to_decimal(debits), "credits": to_decimal(credits)}
            for currency, (debits, credits) in sorted(sums.items())
        }

    def postings(self) -> Iterator[Posting]:
        """Every line of the span, in the order of booking; a journal's lines together."""
        query = self.bound("""
            SELECT journal_id, booked_at::date, kind, key, value_date, actor, approved_by, created_by,
                   to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), reverses_journal_id,
                   account, amount * 0.000001, currency
            FROM audit.postings WHERE booked_at >= %(start)s AND booked_at < %(end)s
            ORDER BY booked_at, journal_id, line
        """)
        with (
            self.connection.cursor() as cursor,
            cursor.copy(sql.SQL("COPY ({}) TO STDOUT").format(query)) as copy,
        ):
            for number, row in enumerate(copy.rows(), 1):
                self.advance(number)
                yield Posting(*row)

    def bound(self, query: str) -> sql.Composed:
        """A query with the span's parameters written into it, because COPY takes none."""
        literals = {name: sql.Literal(value) for name, value in self.span.parameters.items()}
        parts = query.replace("%(", "{").replace(")s", "}")
        return sql.SQL(parts).format(**literals)

    def advance(self, lines: int) -> None:
        """Say how many lines are written, now and then."""
        if self._progress is not None and lines % 10_000 == 0:
            self._progress(lines, self.lines)


class Output:
    """A file under way: bytes in, size and SHA-256 out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._piece = bytearray()
        self.rows = 0

    def __enter__(self) -> Self:
        self._file: BinaryIO = self._path.open("xb")
        return self

    def __exit__(self, *_: object) -> None:
        with self._file:
            self._flush()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append."""
        self._piece += data
        if len(self._piece) >= _PIECE:
            self._flush()

    def _flush(self) -> None:
        self._file.write(self._piece)
        self._digest.update(self._piece)
        self._bytes += len(self._piece)
        self._piece.clear()

    @property
    def entry(self) -> FileEntry:
        """What the manifest says of it, once it is closed."""
        return FileEntry(self._path.name, self.rows, self._bytes, self._digest.hexdigest())


def span_of_period(session: Session, period_id: str) -> Span:
    """The span of a period.

    Raises:
        NotFound: there is no such period.
    """
    row = (
        psycopg_connection(session)
        .execute("SELECT starts_at, ends_at, zone FROM audit.periods WHERE period_id = %s", (period_id,))
        .fetchone()
    )
    if row is None:
        raise NotFound(f"there is no period {period_id}; `royalty period list` shows them")
    starts_at, ends_at, zone = row
    return Span(starts_at, ends_at, zone, period_id)  # type: ignore[arg-type]


def span_of_days(session: Session, first: date | None, last: date | None) -> Span:
    """The span from a day to a day, both included, in the platform's zone; None: from the first, to the last booking.

    Raises:
        Invalid: the days are the wrong way round, or nothing is booked.
    """
    row = (
        psycopg_connection(session)
        .execute(
            """
            SELECT p.zone, (j.first AT TIME ZONE p.zone)::date, (j.last AT TIME ZONE p.zone)::date
            FROM (SELECT min(booked_at) AS first, max(booked_at) AS last FROM audit.record_journal) AS j,
                 (SELECT coalesce((SELECT zone FROM audit.platform_changes ORDER BY valid_from DESC LIMIT 1), 'UTC')
                      AS zone) AS p
            """
        )
        .fetchone()
    )
    assert row is not None
    zone, first_booked, last_booked = row
    first, last = first or first_booked, last or last_booked  # type: ignore[assignment]
    if first is None or last is None:
        raise Invalid("nothing is booked yet: there is nothing to export")
    if first > last:
        raise Invalid(f"--from {first} is after --to {last}: give the first day first")
    if last.year > 9998:  # the day after it is written, too
        raise Invalid(f"--to {last} is too late: the last day that can be exported is 9998-12-31")
    at = ZoneInfo(str(zone))
    return Span(
        datetime.combine(first, time(), at).astimezone(UTC),
        datetime.combine(last + timedelta(days=1), time(), at).astimezone(UTC),
        str(zone),
    )


Writer = Callable[[Books, Path], list[FileEntry]]
"""Writes a format's files into a directory."""


def export(
    session: Session,
    directory: Path,
    span: Span,
    writers: Mapping[Format, Writer],
    progress: Progress | None = None,
) -> str:
    """Write a span of the ledger into a directory, which must not exist or be empty.

    Args:
        session: of the role `auditor`, or any that may read the views; its transaction must be REPEATABLE READ, so that
            all files are of one moment.
        directory: where to; its parents are made.
        span: what.
        writers: the formats.
        progress: told how many lines of how many are written, for each format.

    Returns:
        SHA-256 of the manifest, in hex.

    Raises:
        Conflict: the directory holds something.
        Unavailable: it cannot be written.
    """
    connection = psycopg_connection(session)
    # Days and clocks are the span's, whoever asks. The memory is for sorting lines by when they are booked.
    connection.execute(
        "SELECT set_config('TimeZone', %s, true), set_config('DateStyle', 'ISO', true),"
        " set_config('work_mem', '64MB', true)",
        (span.zone,),
    )
    directory = directory.resolve()
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise Conflict(f"{directory} is not an empty directory: name a new one")
        directory.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{directory.name}-", dir=directory.parent) as beside:
            unfinished = Path(beside, directory.name)
            unfinished.mkdir()
            books = Books(connection, span, progress)
            files = [entry for write in writers.values() for entry in write(books, unfinished)]
            manifest = _manifest(books, files, list(writers))
            unfinished.joinpath(MANIFEST).write_bytes(manifest)
            unfinished.replace(directory)
    except OSError as error:
        raise Unavailable(
            f"{directory} cannot be written ({error.strerror}): free some space or name another directory"
        ) from error
    return hashlib.sha256(manifest).hexdigest()


def _manifest(books: Books, files: Sequence[FileEntry], formats: Sequence[Format]) -> bytes:
    span = books.span
    document = {
        "format": "royalty-export/1",
        "formats": formats,
        "period": span.period_id,
        "first_day": span.first.isoformat(),
        "last_day": span.last.isoformat(),
        "zone": span.zone,
        "booked_from": span.start.astimezone(UTC).isoformat(),
        "booked_before": span.end.astimezone(UTC).isoformat(),
        "journals": books.journals,
        "lines": books.lines,
        "accounts": len(books.accounts),
        "totals": books.totals,
        "seal": _seal(books),
        "account_names": RULE,
        "software": f"royalty {version('royalty')}",
        "files": [asdict(file) for file in sorted(files, key=lambda file: file.name)],
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _seal(books: Books) -> dict[str, object] | None:
    """The first seal that covers the span, with the head of the log then; None while something can be booked there."""
    row = books.connection.execute(
        "SELECT name, sealed_before, recorded_at, log_size, log_root FROM audit.seals WHERE sealed_before >= %s"
        " ORDER BY sealed_before LIMIT 1",
        (books.span.end,),
    ).fetchone()
    if row is None:
        return None
    name, sealed_before, recorded_at, log_size, log_root = row
    return {
        "name": name,
        "sealed_before": sealed_before.astimezone(UTC).isoformat(),
        "recorded_at": recorded_at.astimezone(UTC).isoformat(),
        "log_size": log_size,
        "log_root": log_root,
    }
