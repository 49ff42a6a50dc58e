"""The bank itself: payments, events, webhooks to send and a ledger, in one SQLite file; killed anywhere, it goes on."""

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from fakebank.courses import course_of

PAGE = 500

_SCHEMA = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS payment (
    id TEXT PRIMARY KEY, content TEXT NOT NULL, iban TEXT NOT NULL, amount TEXT NOT NULL, currency TEXT NOT NULL,
    told_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS call (payment TEXT PRIMARY KEY, calls INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS step (
    payment TEXT NOT NULL, number INTEGER NOT NULL, due INTEGER NOT NULL, says TEXT NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (payment, number)
) STRICT;
CREATE INDEX IF NOT EXISTS step_due ON step (due);
CREATE TABLE IF NOT EXISTS event (
    number INTEGER PRIMARY KEY, payment TEXT NOT NULL, content TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS event_payment ON event (payment);
CREATE TABLE IF NOT EXISTS delivery (
    number INTEGER PRIMARY KEY, event INTEGER NOT NULL, due INTEGER NOT NULL, place INTEGER NOT NULL,
    delivered INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS delivery_waiting ON delivery (due, place) WHERE delivered = 0;
CREATE TABLE IF NOT EXISTS entry (
    number INTEGER PRIMARY KEY, payment TEXT NOT NULL, iban TEXT NOT NULL, currency TEXT NOT NULL,
    amount TEXT NOT NULL, at INTEGER NOT NULL
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Told:
    """What comes of a call that tells of payments."""

    events: list[dict[str, Any]]
    mute: bool = False
    """Whether the caller hears nothing of it."""
    garbled: bool = False
    """Whether the caller hears half of it."""


class Unreadable(Exception):
    """The call is not as documented."""


class Bank:
    """A bank on one file. Its clock stands still until it is advanced; each call is one transaction.

    Args:
        path: the file; made where there is none.
        now: what the clock says when the file is made.
    """

    def __init__(self, path: Path, now: datetime = datetime(2026, 11, 4, 9, tzinfo=UTC)) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        # Survives its process being killed, which is what is asked of it; not the loss of power.
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)
        self._db.execute("INSERT OR IGNORE INTO setting VALUES ('now', ?)", (str(int(now.timestamp())),))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def now(self) -> datetime:
        """What the bank's clock says."""
        return datetime.fromtimestamp(int(self._setting("now")), UTC)

    def _setting(self, name: str) -> str:
        with self._lock:
            row = self._db.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return str(row[0])

    def advance(self, days: int) -> datetime:
        """Move the clock on; what falls due on the way happens, in its order."""
        with self._transaction() as db:
            now = int((self.now() + timedelta(days=days)).timestamp())
            db.execute("UPDATE setting SET value = ? WHERE name = 'now'", (str(now),))
            self._happen(db, now)
        return self.now()

    def tell(self, currency: str, payments: Sequence[Mapping[str, Any]], *, in_a_file: bool = False) -> Told:
        """Take payments. One that is known under its id is not taken again, whatever else the call says of it.

        Args:
            currency: theirs.
            payments: each with id, iban and amount.
            in_a_file: they come in no call, so that none of them goes unheard.

        Raises:
            Unreadable: a payment is not as documented; none is taken.
        """
        mute = garbled = False
        answered = []
        with self._transaction() as db:
            now = int(self._setting("now"))
            for payment in payments:
                try:
                    payment_id, iban, amount = payment["id"], payment["iban"], payment["amount"]
                    if Decimal(amount) <= 0 or not isinstance(iban, str) or not isinstance(payment_id, str):
                        raise Unreadable("an amount, an account or an id is none")
                except (KeyError, TypeError, ArithmeticError):
                    raise Unreadable("a payment lacks a field") from None
                course = course_of(iban)
                content = json.dumps({**payment, "currency": currency}, sort_keys=True)
                known = db.execute("SELECT content FROM payment WHERE id = ?", (payment_id,)).fetchone()
                if known is not None:
                    if known[0] != content:
                        raise Unreadable(f"payment {payment_id} is known with other contents")
                    answered.append(payment_id)
                    continue
                db.execute(
                    "INSERT INTO call VALUES (?, 1) ON CONFLICT DO UPDATE SET calls = calls + 1",
                    (payment_id,),
                )
                calls = db.execute("SELECT calls FROM call WHERE payment = ?", (payment_id,)).fetchone()[0]
                if calls <= course.mute_calls and not in_a_file:
                    mute = True
                    continue
                db.execute(
                    "INSERT INTO payment VALUES (?, ?, ?, ?, ?, ?)",
                    (payment_id, content, iban, amount, currency, now),
                )
                db.executemany(
                    "INSERT INTO step VALUES (?, ?, ?, ?, ?)",
                    [
                        (payment_id, number, now + 86_400 * step.days, step.says, step.reason)
                        for number, step in enumerate(course.steps)
                    ],
                )
                mute |= course.mute_once_done
                garbled |= course.garbled
                answered.append(payment_id)
            self._happen(db, now)
            return Told([event for one in answered for event in self._events(db, one)], mute, garbled)

    def payments(self, ids: Sequence[str]) -> dict[str, list[dict[str, Any]] | None]:
        """Everything that has happened to payments; None for what the bank has never heard of."""
        with self._transaction() as db:
            return {
                one: self._events(db, one)
                if db.execute("SELECT 1 FROM payment WHERE id = ?", (one,)).fetchone()
                else None
                for one in ids
            }

    def events(self, after: int) -> tuple[list[dict[str, Any]], int]:
        """A page of everything that has happened, and the place to go on from."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT number, content FROM event WHERE number > ? ORDER BY number LIMIT ?", (after, PAGE)
            ).fetchall()
        return [json.loads(content) for _, content in rows], rows[-1][0] if rows else after

    def contents(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What the bank was told of payments, by id."""
        found = {}
        with self._transaction() as db:
            for one in ids:
                row = db.execute("SELECT content FROM payment WHERE id = ?", (one,)).fetchone()
                found[one] = json.loads(row[0])
        return found

    def kept(self, name: str) -> str | None:
        """Something that was kept under a name; None if nothing was."""
        with self._lock:
            row = self._db.execute("SELECT value FROM setting WHERE name = ?", (f"kept {name}",)).fetchone()
        return None if row is None else str(row[0])

    def keep(self, values: Mapping[str, str]) -> None:
        """Keep something under each of these names, in place of what there was."""
        with self._transaction() as db:
            for name, value in values.items():
                db.execute(
                    "INSERT INTO setting VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                    (f"kept {name}", value),
                )

    def ledger(self) -> dict[str, dict[str, str]]:
        """What the bank has paid less what came back: by payment, and what of it is due to whom by account."""
        payments: dict[str, Decimal] = {}
        accounts: dict[str, Decimal] = {}
        with self._transaction() as db:
            for payment, iban, amount in db.execute("SELECT payment, iban, amount FROM entry"):
                payments[payment] = payments.get(payment, Decimal(0)) + Decimal(amount)
                accounts[iban] = accounts.get(iban, Decimal(0)) + Decimal(amount)
        return {
            "payments": {name: str(total) for name, total in sorted(payments.items())},
            "accounts": {name: str(total) for name, total in sorted(accounts.items())},
        }

    def due_webhooks(self, limit: int = 100) -> list[tuple[int, dict[str, Any]]]:
        """Webhooks to be sent now, in their order: number and event."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT d.number, e.content FROM delivery AS d JOIN event AS e ON e.number = d.event"
                " WHERE d.delivered = 0 AND d.due <= ? ORDER BY d.due, d.place LIMIT ?",
                (int(self._setting("now")), limit),
            ).fetchall()
        return [(number, json.loads(content)) for number, content in rows]

    def webhook_sent(self, number: int) -> None:
        """The other side has taken it."""
        with self._transaction() as db:
            db.execute("UPDATE delivery SET delivered = 1 WHERE number = ?", (number,))

    def _events(self, db: sqlite3.Connection, payment: str) -> list[dict[str, Any]]:
        rows = db.execute("SELECT content FROM event WHERE payment = ? ORDER BY number", (payment,))
        return [json.loads(content) for (content,) in rows]

    def _happen(self, db: sqlite3.Connection, now: int) -> None:
        """Take the steps that are due: an event each, its webhooks, and what it moves on the ledger."""
        due = db.execute(
            "SELECT s.payment, s.number, s.due, s.says, s.reason, p.iban, p.amount, p.currency"
            " FROM step AS s JOIN payment AS p ON p.id = s.payment WHERE s.due <= ?"
            " ORDER BY s.due, p.told_at, s.payment, s.number",
            (now,),
        ).fetchall()
        for payment, number, at, says, reason, iban, amount, currency in due:
            course = course_of(iban)
            event = {
                "id": f"evt-{payment}-{number}",
                "type": f"payment.{says}",
                "payment": payment,
                "amount": amount,
                "currency": currency,
                "at": datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z"),
            }
            if reason:
                event["reason"] = reason
            row = db.execute(
                "INSERT INTO event (payment, content) VALUES (?, ?)", (payment, json.dumps(event))
            ).lastrowid
            assert row is not None
            last = max(step.days for step in course.steps) - course.steps[number].days
            wait = 86_400 * (course.late_days + (last if course.reversed else 0))
            for _ in range(0 if course.silent else course.copies):
                db.execute(
                    "INSERT INTO delivery (event, due, place) VALUES (?, ?, ?)",
                    (row, at + wait, -number if course.reversed else row),
                )
            if says in ("paid", "returned"):
                signed = amount if says == "paid" else f"-{amount}"
                db.execute(
                    "INSERT INTO entry (payment, iban, currency, amount, at) VALUES (?, ?, ?, ?, ?)",
                    (payment, iban, currency, signed, at),
                )
        db.executemany("DELETE FROM step WHERE payment = ? AND number = ?", [row[:2] for row in due])
