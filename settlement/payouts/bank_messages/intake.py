"""Bank messages into the books: each file taken once, its lines kept, and what they say of payouts recorded.

A line is applied when the payout's state lets it and its amount is the attempt's, to the cent. Otherwise it stays open
and is looked at again with every file that comes: a return that arrives before its payment waits for it. What names no
payment of ours is kept and reported; nothing is guessed from names, amounts or texts.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from database.engine import psycopg_connection
from database.errors import Conflict, NotFound
from settlement.bank_details import mask
from settlement.money import format_money
from settlement.payouts.bank_messages.charges import post_charges
from settlement.payouts.bank_messages.lines import Line, Statement
from settlement.payouts.bank_messages.models import (
    BankEntry,
    BankMatch,
    BankMessage,
    BankStatement,
    PayoutCorrection,
)
from settlement.payouts.bank_messages.read import read
from settlement.payouts.models import Payout, PayoutAttempt, lock_payouts
from settlement.payouts.outcomes import FROM, PASSED, Outcome, Stop, hold_destinations, record_outcomes

BOOKED_THOUGH_REFUSED = "it was refused before: the booking contradicts that"
"""Why a line waits of which two people may say that it is true all the same (`settlement.payouts.corrections`)."""

_CHUNK = 5_000
# From this many lines on, the planner is told of them before they are read back.
_MANY = 5_000


@dataclass(frozen=True, slots=True)
class OpenLine:
    """A line that nobody has dealt with yet, and why."""

    entry_id: int
    message_id: str
    number: int
    says: str
    reference: str | None
    """The attempt, the file of ours, or what the line names instead."""
    ours: bool
    amount: int | None
    currency: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a file."""

    name: str
    kind: str
    version: str
    message_id: str
    taken_before: datetime | None
    """When the very same file was taken; then nothing else happened."""
    lines: int = 0
    results: Counter[str] = field(default_factory=Counter)
    """How many lines, of this message and of earlier ones that waited, were recorded, known or noted."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """How many payouts moved, by the state they moved to."""
    open: list[OpenLine] = field(default_factory=list)
    """Lines of this message that stay open."""
    same_id: bool = False
    """Another file with this message id was taken before."""


def take_file(
    session: Session,
    file: BinaryIO,
    name: str,
    actor: str,
    progress: Callable[[int], None] = lambda lines: None,
) -> Taken:
    """Take a file of a bank, once: keep its lines, and apply them and what waited for them.

    Args:
        session: as the role `payer`.
        file: at its beginning, and able to go back there.
        name: the file's, for people.
        actor: who brings it.
        progress: called with how many lines have been read.

    Raises:
        Invalid: it cannot be read; nothing of it is taken.
    """
    hashed = hashlib.sha256()
    while chunk := file.read(1 << 20):
        hashed.update(chunk)
    digest = hashed.digest()
    file.seek(0)
    lock_payouts(session, "bank messages")
    known = session.scalar(select(BankMessage).where(BankMessage.sha256 == digest))
    if known is not None:
        return Taken(name, known.kind, known.version, known.message_id, known.recorded_at)
    header, lines = read(file)
    same_id = session.scalar(
        select(BankMessage.id)
        .where(BankMessage.kind == header.kind, BankMessage.message_id == header.message_id)
        .limit(1)
    )
    message = BankMessage(
        sha256=digest,
        kind=header.kind,
        version=header.version,
        message_id=header.message_id,
        created_at=header.created_at,
        name=name,
        actor=actor,
    )
    session.add(message)
    session.flush()
    count = _keep(session, message.id, lines, progress)
    noted = session.scalar(text(_NOTE), {"message": message.id, "actor": actor, "kind": header.kind})
    if count >= _MANY:
        session.execute(text("ANALYZE settlement.bank_entry"))
    batches = session.scalars(
        text(
            "SELECT p.batch_id FROM settlement.bank_entry AS e"
            " JOIN settlement.payout_attempt AS t ON t.attempt_id = e.attempt_id"
            " JOIN settlement.payout AS p ON p.payout_id = t.payout_id WHERE e.bank_message_id = :message"
            " UNION SELECT batch_id FROM settlement.bank_entry"
            " WHERE bank_message_id = :message AND batch_id IS NOT NULL"
        ),
        {"message": message.id},
    ).all()
    results, outcomes, _ = apply_open(session, batches, actor, message.id)
    results["noted"] += noted or 0
    return Taken(
        name,
        header.kind,
        header.version,
        header.message_id,
        None,
        count,
        +results,
        outcomes,
        open_lines(session, message=message.id),
        same_id is not None,
    )


def dismiss(session: Session, entry_id: int, reason: str, actor: str) -> None:
    """Take a line off the list of open ones; it moves nothing.

    Raises:
        NotFound: there is no such line.
        Conflict: it has been dealt with.
    """
    lock_payouts(session, "bank messages")
    if session.get(BankEntry, entry_id) is None:
        raise NotFound(f"no line {entry_id}; `royalty payout reconcile` shows what is open")
    if session.scalar(select(BankMatch.id).where(BankMatch.bank_entry_id == entry_id).limit(1)) is not None:
        raise Conflict(f"line {entry_id} has been dealt with already")
    session.add(BankMatch(bank_entry_id=entry_id, result="dismissed", reason=reason, actor=actor))
    session.flush()


# What a message says, kept ---------------------------------------------------------------------------------------


def _keep(
    session: Session, message: int, said: Iterator[Statement | Line], progress: Callable[[int], None]
) -> int:
    """Write a message's statements and lines; returns the number of lines."""
    files: dict[str, tuple[str, int] | None] = {}
    number = 0
    while chunk := list(islice(said, _CHUNK)):
        lines = [line for line in chunk if isinstance(line, Line)]
        for statement in chunk:
            if isinstance(statement, Statement):
                session.add(
                    BankStatement(
                        bank_message_id=message,
                        number=statement.number,
                        statement_id=statement.statement_id,
                        account=None if statement.account is None else mask(statement.account),
                        currency=_currency(statement.currency),
                        opening_micros=statement.opening,
                        closing_micros=statement.closing,
                        closing_on=statement.closing_on,
                    )
                )
        session.flush()
        named = sorted({reference for line in lines for reference in line.references})
        attempts = set(
            session.scalars(
                text(
                    "SELECT attempt_id FROM settlement.payout_attempt"
                    " WHERE attempt_id = ANY(CAST(:named AS text[]))"
                ),
                {"named": named},
            )
        )
        for line in lines:
            if line.file is not None and line.file not in files:
                files[line.file] = _file_of(session, line.file)
        with (
            psycopg_connection(session).cursor() as cursor,
            cursor.copy(
                "COPY settlement.bank_entry (bank_message_id, number, statement, entry, entry_micros, says,"
                " attempt_id, batch_id, file, reference, amount_micros, currency, charges_micros, booked_on, status,"
                " reason, bank_reference, problem) FROM STDIN"
            ) as copy,
        ):
            for line in lines:
                number += 1
                copy.write_row(_row(message, number, line, attempts, files))
        progress(number)
    return number


def _row(
    message: int,
    number: int,
    line: Line,
    attempts: set[str],
    files: dict[str, tuple[str, int] | None],
) -> tuple[object, ...]:
    ours = [reference for reference in line.references if reference in attempts]
    problem = line.problem
    if len(ours) > 1:
        problem = f"it names two payments, {ours[0]} and {ours[1]}"
    attempt = ours[0] if len(ours) == 1 else None
    batch, file = (files.get(line.file or "") or (None, None)) if not ours else (None, None)
    if line.currency is not None and _currency(line.currency) is None:
        problem = problem or "its currency is none"
    return (
        message,
        number,
        line.statement,
        line.entry,
        line.entry_amount,
        line.says.value,
        attempt,
        batch,
        file,
        attempt or (line.file if batch else None) or next(iter(line.references), line.file),
        line.amount,
        _currency(line.currency),
        line.charges,
        line.on,
        line.status,
        line.reason,
        line.bank_reference,
        problem,
    )


def _currency(code: str | None) -> str | None:
    return code if code is not None and len(code) == 3 and code.isascii() and code.isupper() else None


def _file_of(session: Session, reference: str) -> tuple[str, int] | None:
    """The batch and number of the file of ours that has this message id (`run.message_id`)."""
    batch, _, number = reference.rpartition("-")
    found = session.execute(
        text(
            "SELECT p.batch_id, t.file FROM settlement.payout AS p"
            " JOIN settlement.payout_attempt AS t ON t.payout_id = p.payout_id"
            " WHERE p.batch_id = :whole AND t.file = 1 OR p.batch_id = :batch AND t.file = :number AND t.file > 1"
            " LIMIT 1"
        ),
        {
            "whole": reference,
            "batch": batch,
            "number": int(number) if number.isdecimal() and number.isascii() and len(number) < 9 else 0,
        },
    ).first()
    return (found[0], found[1]) if found else None


# Applying -----------------------------------------------------------------------------------------------------------


class _Open(NamedTuple):
    """A line that is open, as it is decided on."""

    entry_id: int
    kind: str
    message: int
    created_at: datetime | None
    number: int
    says: str
    attempt_id: str | None
    batch_id: str
    file: int
    amount: int | None
    currency: str | None
    reason: str | None
    on: date | None
    bank_reference: str | None
    problem: str | None
    statement: int | None
    entry: int | None


class _Booked(NamedTuple):
    """A booking that was taken before."""

    kind: str
    message: int
    bank_reference: str | None
    on: date | None


@dataclass(slots=True)
class _Attempt:
    attempt_id: str
    payee_id: str
    amount: int
    currency: str
    state: str
    booked: set[str]
    """Of paid and returned, what the bank is known to have booked."""
    returning: bool = False
    """Whether a return of it is open."""


_ORDER = {
    says: place
    for place, says in enumerate(
        ("mismatch", "unknown", "accepted", "rejected", "paid", "returned", "unclear", "noted")
    )
}


def apply_open(
    session: Session, batch_ids: Sequence[str], actor: str, message: int | None = None
) -> tuple[Counter[str], Counter[str], dict[int, str]]:
    """Apply what is open of some batches' lines, as far as it can be applied now, and post what was charged for it.

    Args:
        session: as the role `payer`.
        batch_ids: whose lines.
        actor: on whose behalf.
        message: one that is being taken: its charges that have bookings of their own are posted with the others.

    Returns:
        How many lines were recorded or known; how many payouts moved, by state; why each line that is left waits.
    """
    for batch_id in sorted(batch_ids):
        lock_payouts(session, batch_id)
    decision = _Decision(session, batch_ids)
    decision.run()
    taken = record_outcomes(session, decision.outcomes, actor)
    for outcome, result in taken:
        if result != "recorded":
            raise RuntimeError(
                f"attempt {outcome.attempt_id} became {outcome.state} and was not recorded: {result}"
            )
    hold_destinations(session, decision.holds, actor)
    with (
        psycopg_connection(session).cursor() as cursor,
        cursor.copy(
            "COPY settlement.bank_match (bank_entry_id, attempt_id, result, actor) FROM STDIN"
        ) as copy,
    ):
        for entry_id, attempt, result in decision.matches:
            copy.write_row((entry_id, attempt, result, actor))
    # A line of a whole file has a match for each payment: it moved something if one of them did.
    by_line: dict[int, str] = {}
    for entry_id, _, result in decision.matches:
        if by_line.get(entry_id) != "recorded":
            by_line[entry_id] = result
    return (
        Counter(by_line.values()) + post_charges(session, message, batch_ids, actor),
        Counter(outcome.state for outcome in decision.outcomes),
        decision.waiting,
    )


def open_lines(
    session: Session, *, message: int | None = None, batch_ids: Sequence[str] | None = None
) -> list[OpenLine]:
    """Lines that are open, oldest first, and why: of one message, of some batches, or all."""
    rows = session.execute(
        text(
            """
            SELECT e.id, m.message_id, e.number, e.says, e.reference, e.amount_micros, e.currency, e.problem,
                   coalesce(p.batch_id, e.batch_id) AS batch_id
            FROM settlement.bank_entry AS e
            JOIN settlement.bank_message AS m ON m.id = e.bank_message_id
            LEFT JOIN settlement.payout_attempt AS t ON t.attempt_id = e.attempt_id
            LEFT JOIN settlement.payout AS p ON p.payout_id = t.payout_id
            WHERE NOT EXISTS (SELECT FROM settlement.bank_match AS x WHERE x.bank_entry_id = e.id)
              AND (CAST(:message AS bigint) IS NULL OR e.bank_message_id = :message)
              AND (CAST(:batches AS text[]) IS NULL OR coalesce(p.batch_id, e.batch_id) = ANY(:batches))
            ORDER BY e.id
            """
        ),
        {"message": message, "batches": None if batch_ids is None else list(batch_ids)},
    ).all()
    if not rows:
        return []
    decision = _Decision(session, sorted({row.batch_id for row in rows if row.batch_id}))
    decision.run()
    makers = select(PayoutCorrection.bank_entry_id, PayoutCorrection.maker)
    proposed = {row.bank_entry_id: row.maker for row in session.execute(makers)}
    return [
        OpenLine(
            row.id,
            row.message_id,
            row.number,
            row.says,
            row.reference,
            row.batch_id is not None,
            row.amount_micros,
            row.currency,
            _what_to_do(row.id, decision.waiting.get(row.id), proposed)
            or row.problem
            or (
                "the bank has booked another charge under its reference: ask the bank"
                if row.says == "charge"
                else "it can be applied: import the next file"
                if row.batch_id
                else "no payment of ours has this reference"
            ),
        )
        for row in rows
    ]


# A statement has every booking, and a notification the same ones: what is charged is posted from statements.
_NOTE = """
WITH noted AS (
    INSERT INTO settlement.bank_match (bank_entry_id, result, actor)
    SELECT id, 'noted', :actor FROM settlement.bank_entry
    WHERE bank_message_id = :message AND problem IS NULL
        AND (says = 'noted' OR says = 'charge' AND CAST(:kind AS text) = 'camt.054')
    RETURNING 1
)
SELECT count(*) FROM noted
"""


def _what_to_do(entry_id: int, why: str | None, proposed: Mapping[int, str]) -> str | None:
    """Why a line waits, and where it takes two people to go on, the command."""
    if why != BOOKED_THOUGH_REFUSED:
        return why
    if entry_id in proposed:
        return (
            f"{why}; {proposed[entry_id]} says that it is paid:"
            f" another operator runs `royalty payout correct {entry_id} --approve`"
        )
    return f"{why}; if the bank has paid it, run `royalty payout correct {entry_id} --reason ...`"


def booked_though_refused(session: Session, entry_id: int) -> list[str]:
    """The refused attempts that an open line says are booked; none unless it would be taken but for them.

    Raises:
        NotFound: there is no such line.
    """
    line = session.get(BankEntry, entry_id)
    if line is None:
        raise NotFound(f"no line {entry_id}; `royalty payout reconcile` shows what is open")
    of_attempt = (
        select(Payout.batch_id)
        .join(PayoutAttempt, PayoutAttempt.payout_id == Payout.payout_id)
        .where(PayoutAttempt.attempt_id == line.attempt_id)
    )
    batch_id = line.batch_id or session.scalar(of_attempt)
    if batch_id is None:
        return []
    decision = _Decision(session, [batch_id])
    decision.run()
    return decision.refused(entry_id)


class _Decision:
    """Decides on the open lines of some batches, from what the database says; changes nothing."""

    def __init__(self, session: Session, batch_ids: Sequence[str]) -> None:
        self.outcomes: list[Outcome] = []
        self.matches: list[tuple[int, str | None, str]] = []
        self.holds: list[Stop] = []
        self.waiting: dict[int, str] = {}
        self._open = [_Open(*row) for row in self._rows(session, _OPEN, batches=list(batch_ids))]
        self._open.sort(key=lambda line: (_ORDER[line.says], line.entry_id))
        named = sorted({line.attempt_id for line in self._open if line.attempt_id})
        whole = sorted({(line.batch_id, line.file) for line in self._open if not line.attempt_id})
        scope = {
            "named": named,
            "batches": [batch for batch, _ in whole],
            "files": [file for _, file in whole],
        }
        self._attempts: dict[str, _Attempt] = {}
        self._files: dict[tuple[str, int], list[_Attempt]] = defaultdict(list)
        for attempt_id, batch_id, file, payee_id, amount, currency, state in self._rows(
            session, _ATTEMPTS, **scope
        ):
            attempt = _Attempt(attempt_id, payee_id, amount, currency, state, set())
            self._attempts[attempt_id] = attempt
            self._files[batch_id, file].append(attempt)
        self._booked: dict[object, list[_Booked]] = defaultdict(list)
        for attempt_id, batch_id, file, says, *booked in self._rows(session, _BOOKED, **scope):
            self._booked[attempt_id or (batch_id, file), says].append(_Booked(*booked))
        for attempt_id, says in self._rows(session, _BOOKED_ATTEMPTS, **scope):
            self._attempts[attempt_id].booked.add(says)
        messages = sorted({line.message for line in self._open})
        self._uneven = {tuple(row) for row in self._rows(session, _UNEVEN, messages=messages)}
        self._now = datetime.now(UTC)

    @staticmethod
    def _rows(session: Session, query: str, **parameters: Any) -> Iterable[Sequence[Any]]:
        return [tuple(row) for row in session.execute(text(query), parameters)]

    def run(self) -> None:
        """Decide until nothing more follows from what was decided."""
        left = self._open
        for line in left:
            if line.says == "returned" and line.attempt_id and self._fault(line) is None:
                self._attempts[line.attempt_id].returning = True
        while True:
            waits = [line for line in left if not self._decide(line)]
            if len(waits) == len(left):
                return
            left = waits

    def _decide(self, line: _Open) -> bool:
        """Whether the line is dealt with; otherwise why not is in `waiting`."""
        why = self._fault(line) or (
            self._payment(line, self._attempts[line.attempt_id]) if line.attempt_id else self._file(line)
        )
        if why is None:
            self.waiting.pop(line.entry_id, None)
            return True
        self.waiting[line.entry_id] = why
        return False

    def _fault(self, line: _Open) -> str | None:
        """Why the line cannot be taken, whatever its payment's state."""
        if line.problem:
            return line.problem
        if line.says == "unclear":
            return "a person must look at it"
        if line.attempt_id:
            attempt = self._attempts[line.attempt_id]
            if line.amount is not None and (
                abs(line.amount) != attempt.amount or line.currency != attempt.currency
            ):
                said = format_money(abs(line.amount), line.currency) if line.currency else "no currency"
                return f"the bank says {said}, the payment is of {format_money(attempt.amount, attempt.currency)}"
        if line.says in ("paid", "returned"):
            if (line.message, line.statement, line.entry) in self._uneven:
                return "the details of its booking do not add up to it"
            return self._second(line)
        return None

    def _second(self, line: _Open) -> str | None:
        """Whether it is another booking than the one that was taken, as far as the bank's references tell."""
        for booked in self._booked.get((line.attempt_id or (line.batch_id, line.file), line.says), ()):
            same_kind = booked.kind == line.kind
            references = booked.bank_reference and line.bank_reference
            differs = booked.bank_reference != line.bank_reference if references else booked.on != line.on
            if booked.message == line.message or (same_kind and differs):
                return f"the bank has booked it a second time as {line.says}: ask the bank"
        return None

    def _payment(self, line: _Open, attempt: _Attempt) -> str | None:
        """Decide on a line of one payment; returns why it waits."""
        why = self._conflict(line, attempt)
        if why is None:
            self._take(line, attempt)
            self._note_booking(line)
        elif why == BOOKED_THOUGH_REFUSED:
            self._stop_refused(attempt)
        return why

    def _conflict(self, line: _Open, attempt: _Attempt) -> str | None:
        """Why a payment's state does not let a line be taken."""
        if line.says == "mismatch" or attempt.state in PASSED[line.says] | FROM[line.says]:
            return None
        if attempt.state == "reserved":
            return "its file's hand-over is not recorded: run `royalty payout submit` again"
        if attempt.state == "rejected" and line.says == "paid":
            # Some banks book a batch whole, refuse some of it, and book those back: then nothing has moved.
            return None if attempt.returning else BOOKED_THOUGH_REFUSED
        if attempt.state == "rejected" and line.says == "returned" and "paid" in attempt.booked:
            return None
        if line.says == "returned":
            return "its payment is not booked yet"
        return f"it is {attempt.state} already: the two contradict each other"

    def _take(self, line: _Open, attempt: _Attempt) -> None:
        """Note what a line does to one payment."""
        if line.says == "mismatch":
            self.holds.append(
                Stop(
                    attempt.payee_id,
                    attempt.attempt_id,
                    "goes to an account of another name",
                    line.reason or "",
                )
            )
            self.matches.append((line.entry_id, attempt.attempt_id, "recorded"))
            return
        moves = attempt.state in FROM[line.says]
        if moves:
            self.outcomes.append(Outcome(attempt.attempt_id, line.says, self._at(line), line.reason or ""))
            attempt.state = line.says
        elif attempt.state == "rejected" and line.says == "returned":
            self.holds.append(Stop(attempt.payee_id, attempt.attempt_id, "came back", line.reason or ""))
        if line.says in ("paid", "returned"):
            attempt.booked.add(line.says)
        self.matches.append((line.entry_id, attempt.attempt_id, "recorded" if moves else "known"))

    def _file(self, line: _Open) -> str | None:
        """Decide on a line of a whole file, all of its payments or none; returns why it waits."""
        attempts = self._files[line.batch_id, line.file]
        if line.says == "mismatch":
            return "it names no payment"
        total = sum(attempt.amount for attempt in attempts)
        left = [attempt for attempt in attempts if attempt.state != "rejected"]
        if line.says in ("paid", "returned"):
            if line.currency != attempts[0].currency:
                return f"it is booked in {line.currency}, the file is in {attempts[0].currency}"
            amount = abs(line.amount or 0)
            if amount == sum(attempt.amount for attempt in left):
                attempts = left
            elif amount != total:
                return (
                    f"the booking is of {format_money(amount, attempts[0].currency)}, what the file pays of"
                    f" {format_money(sum(attempt.amount for attempt in left), attempts[0].currency)}"
                )
        elif line.amount is not None and line.amount != total:
            return (
                f"its control sum is {format_money(line.amount, attempts[0].currency)}, the file's"
                f" {format_money(total, attempts[0].currency)}"
            )
        why = next(
            (found for found in (self._conflict(line, attempt) for attempt in attempts) if found), None
        )
        if why is None:
            for attempt in attempts:
                self._take(line, attempt)
            self._note_booking(line)
        elif why == BOOKED_THOUGH_REFUSED:
            for attempt in attempts:
                if attempt.state == "rejected" and not attempt.returning:
                    self._stop_refused(attempt)
        return why

    def _stop_refused(self, attempt: _Attempt) -> None:
        """The money is in her balance again, and may be on its way to her: no run pays it until that is clear."""
        self.holds.append(Stop(attempt.payee_id, attempt.attempt_id, "was refused and is booked by the bank"))

    def refused(self, entry_id: int) -> list[str]:
        """Attempts that were refused and that a line says are booked, if nothing else keeps it waiting."""
        if self.waiting.get(entry_id) != BOOKED_THOUGH_REFUSED:
            return []
        line = next(line for line in self._open if line.entry_id == entry_id)
        if line.attempt_id:
            return [line.attempt_id]
        return [
            attempt.attempt_id
            for attempt in self._files[line.batch_id, line.file]
            if attempt.state == "rejected"
        ]

    def _note_booking(self, line: _Open) -> None:
        if line.says in ("paid", "returned"):
            self._booked[line.attempt_id or (line.batch_id, line.file), line.says].append(
                _Booked(line.kind, line.message, line.bank_reference, line.on)
            )

    def _at(self, line: _Open) -> datetime:
        """When it happened: the booking's day, else when the message was made; never later than now."""
        given = datetime.combine(line.on, time(12), UTC) if line.on else line.created_at
        return min(given, self._now) if given else self._now


_OPEN = """
SELECT e.id, m.kind, e.bank_message_id, m.created_at, e.number, e.says, e.attempt_id,
       coalesce(p.batch_id, e.batch_id), coalesce(t.file, e.file), e.amount_micros, e.currency, e.reason,
       e.booked_on, e.bank_reference, e.problem, e.statement, e.entry
FROM settlement.bank_entry AS e
JOIN settlement.bank_message AS m ON m.id = e.bank_message_id
LEFT JOIN settlement.payout_attempt AS t ON t.attempt_id = e.attempt_id
LEFT JOIN settlement.payout AS p ON p.payout_id = t.payout_id
WHERE coalesce(p.batch_id, e.batch_id) = ANY(CAST(:batches AS text[]))
  AND e.says <> 'charge'
  AND NOT EXISTS (SELECT FROM settlement.bank_match AS x WHERE x.bank_entry_id = e.id)
"""
_SCOPE = """
    SELECT unnest(CAST(:named AS text[])) AS attempt_id
    UNION
    SELECT t.attempt_id
    FROM unnest(CAST(:batches AS text[]), CAST(:files AS integer[])) AS f (batch_id, file)
    JOIN settlement.payout AS p ON p.batch_id = f.batch_id
    JOIN settlement.payout_attempt AS t ON t.payout_id = p.payout_id AND t.file = f.file
"""
_ATTEMPTS = f"""
SELECT t.attempt_id, p.batch_id, t.file, p.payee_id, t.amount_micros, p.currency::text, newest.state
FROM settlement.payout_attempt AS t
JOIN settlement.payout AS p ON p.payout_id = t.payout_id
JOIN LATERAL (SELECT h.state FROM settlement.payout_event AS h WHERE h.payout_id = t.payout_id
              ORDER BY h.number DESC LIMIT 1) AS newest ON true
WHERE t.attempt_id IN ({_SCOPE})
ORDER BY t.attempt_id
"""  # noqa: S608  (made of the constants above)
# Which bookings were taken before, of a payment or of a whole file.
_BOOKED = """
SELECT e.attempt_id, e.batch_id, e.file, e.says, m.kind, e.bank_message_id, e.bank_reference, e.booked_on
FROM settlement.bank_entry AS e JOIN settlement.bank_message AS m ON m.id = e.bank_message_id
WHERE e.says IN ('paid', 'returned')
  AND (e.attempt_id = ANY(CAST(:named AS text[]))
       OR (e.batch_id, e.file) IN (SELECT * FROM unnest(CAST(:batches AS text[]), CAST(:files AS integer[]))))
  AND EXISTS (SELECT FROM settlement.bank_match AS x
              WHERE x.bank_entry_id = e.id AND x.result IN ('recorded', 'known'))
"""
_BOOKED_ATTEMPTS = f"""
SELECT DISTINCT x.attempt_id, e.says
FROM settlement.bank_match AS x JOIN settlement.bank_entry AS e ON e.id = x.bank_entry_id
WHERE e.says IN ('paid', 'returned') AND x.attempt_id IN ({_SCOPE})
"""  # noqa: S608  (made of the constants above)
# Bookings whose details add up to something else, charges that the bank names aside.
_UNEVEN = """
SELECT bank_message_id, statement, entry FROM settlement.bank_entry
WHERE bank_message_id = ANY(CAST(:messages AS bigint[])) AND entry IS NOT NULL
GROUP BY bank_message_id, statement, entry
HAVING count(amount_micros) = count(*) AND sum(amount_micros) <> min(entry_micros)
   AND sum(amount_micros) - min(entry_micros) <> coalesce(sum(charges_micros), 0)
"""
