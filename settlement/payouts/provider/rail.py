"""The rail that tells a provider of a batch, attempt by attempt, and asks it what became of them.

With a commit between any two of these:

    reserved     the attempt is there, and nobody has heard of it
    submitted    the provider is about to be told; then comes the call
    accepted, rejected, paid: what it answered; unknown: it did not answer

What stands at `submitted` or `unknown` when a run begins is asked about first. Only what the provider says that it has
never heard of is told again, under the same id. So a run may die anywhere and be run again.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from typing import TypeVar

import structlog
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from database.errors import Conflict, Unavailable
from settlement.bank_details import sealed_accounts
from settlement.bank_keys import key_ring
from settlement.payees import PartyVersion
from settlement.payouts.models import (
    Payout,
    PayoutAttempt,
    batch_state,
    find_batch,
    record_batch_event,
)
from settlement.payouts.outcomes import Outcome, record_outcomes, settle
from settlement.payouts.pain001 import BankAccount, Payment
from settlement.payouts.provider.events import OpenEvent, apply_open, keep, open_events
from settlement.payouts.provider.interface import Event, NoAnswer, NotTaken, Provider
from settlement.payouts.provider.models import ProviderBatch, ProviderPosition
from settlement.payouts.rail import Transactions
from settlement.payouts.run import erased

PATIENCE = timedelta(minutes=2)
"""How long a provider that is closed or does not answer questions is waited for, before the command gives up."""

_FIRST_WAIT_MS = 100
_LONGEST_WAIT_MS = 15_000

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


def take(
    transactions: Transactions, provider: str, events: Sequence[Event], source: str, actor: str
) -> list[str]:
    """Keep events, commit, and apply them; returns those that contradict what is kept under their id."""
    if not events:
        return []
    with transactions() as session:
        contradicting = keep(session, provider, events, source, actor)
    for event_id in contradicting:
        _log.error("a provider's event has changed under its id", provider=provider, event_id=event_id)
    with transactions() as session:
        apply_open(session, provider, actor, sorted({event.reference for event in events}))
    return contradicting


@dataclass(frozen=True, slots=True)
class Polled:
    """What a look at a provider's news came to."""

    events: int
    """On its list since the last time."""
    asked: int
    """Payments that it was asked about one by one."""
    unheard_of: list[str]
    """Those of them that it has never heard of: `royalty payout submit` tells it again."""
    open: list[OpenEvent]
    """What cannot be applied: for a person to look at."""


@dataclass(frozen=True, slots=True)
class ProviderRail:
    """`Rail` by a provider's API.

    Args:
        provider: who is told.
        progress: called with how many attempts have been told, and of how many.
        patience: see `PATIENCE`.
        pause: waits; another one in simulations, whose time is not ours.
    """

    provider: Provider
    progress: Callable[[int, int], None] = lambda done, total: None
    patience: timedelta = PATIENCE
    pause: Callable[[timedelta], None] = field(default=lambda wait: time.sleep(wait.total_seconds()))

    def hand_over(self, transactions: Transactions, batch_id: str, actor: str, at: datetime) -> list[str]:
        """Tell the provider of what it has not heard of; ask about what it may have heard of.

        Raises:
            Conflict: the batch goes another way, nothing is reserved yet, or somebody else is at it.
            Unavailable: the provider is closed or does not answer; what it was told stands, and the rest waits.
        """
        with self._alone(transactions, batch_id):
            with transactions() as session:
                waiting, asked_about = self._stand(session, batch_id)
            total, told = len(waiting) + len(asked_about), 0
            for chunk in self._chunks(asked_about):
                self._find_out(transactions, chunk, actor, at)
                told += len(chunk)
                self.progress(told, total)
            for chunk in self._chunks(waiting):
                with transactions() as session:
                    find_batch(session, batch_id, lock=True)
                    session.execute(text(_SUBMITTED), {"attempts": chunk, "actor": actor, "at": at})
                self._tell(transactions, chunk, actor, at)
                told += len(chunk)
                self.progress(told, total)
            with transactions() as session:
                find_batch(session, batch_id, lock=True)
                if batch_state(session, batch_id) == "submitting":
                    record_batch_event(session, batch_id, "submitted", actor)
                settle(session, batch_id, actor)
                counts = session.execute(text(_COUNTS), {"batch": batch_id}).all()
                silent = session.scalar(text(_SILENT), {"batch": batch_id})
        lines = [f"{count} {state} by {self.provider.name}" for state, count in counts]
        return [f"{silent} were not answered for, and asked about", *lines] if silent else lines

    def poll(self, transactions: Transactions, actor: str) -> Polled:
        """Read the provider's list of events from where it was left, and ask about what is still not finished.

        Tells it nothing, so that it may run whenever and as often as one likes.

        Raises:
            Unavailable: the provider is closed or does not answer.
        """
        name, count = self.provider.name, 0
        with transactions() as session:
            cursor = session.scalar(
                select(ProviderPosition.cursor)
                .where(ProviderPosition.provider == name)
                .order_by(ProviderPosition.id.desc())
                .limit(1)
            )
        while True:
            before = cursor or ""
            events, cursor = self._patiently(partial(self.provider.since, before))
            if not events or cursor == before:
                break
            take(transactions, name, events, "list", actor)
            with transactions() as session:
                session.add(ProviderPosition(provider=name, cursor=cursor))
            count += len(events)
        with transactions() as session:
            apply_open(session, name, actor)  # what was kept when its process died before it was applied
            unfinished = session.scalars(text(_UNFINISHED), {"provider": name}).all()
        unheard_of = []
        for chunk in self._chunks(unfinished):
            unheard_of += self._ask(transactions, chunk, actor)
        with transactions() as session:
            return Polled(count, len(unfinished), unheard_of, open_events(session, name))

    @contextmanager
    def _alone(self, transactions: Transactions, batch_id: str) -> Iterator[None]:
        """Nobody else tells of this batch meanwhile. The lock dies with the process, whatever kills it."""
        with transactions() as session:
            free = session.scalar(
                text("SELECT pg_try_advisory_xact_lock(hashtextextended('hand over:' || :batch, 0))"),
                {"batch": batch_id},
            )
            if not free:
                raise Conflict(f"batch {batch_id} is being submitted by somebody else at this moment")
            yield

    def _stand(self, session: Session, batch_id: str) -> tuple[list[str], list[str]]:
        """Attempts that nobody has heard of, and those that the provider may have heard of."""
        find_batch(session, batch_id)
        way = session.get(ProviderBatch, batch_id)
        if way is None or way.provider != self.provider.name:
            goes = f"by {way.provider}" if way else "in files"
            raise Conflict(f"batch {batch_id} goes {goes}, not by {self.provider.name}")
        rows = session.execute(text(_STAND), {"batch": batch_id}).all()
        if not rows:
            raise Conflict(f"batch {batch_id} is {batch_state(session, batch_id)}: reserve it first")
        return (
            [attempt for attempt, state in rows if state == "reserved"],
            [attempt for attempt, state in rows if state in ("submitted", "unknown")],
        )

    def _tell(self, transactions: Transactions, attempts: Sequence[str], actor: str, at: datetime) -> None:
        """Tell of attempts that stand at `submitted` and that the provider has not heard of."""
        answered = self._call(transactions, attempts, actor)
        silent = [attempt for attempt in attempts if attempt not in answered]
        if not silent:
            return
        with transactions() as session:
            record_outcomes(session, [Outcome(attempt, "unknown", at) for attempt in silent], actor)
        self._find_out(transactions, silent, actor, at)

    def _find_out(
        self, transactions: Transactions, attempts: Sequence[str], actor: str, at: datetime
    ) -> None:
        """Ask about attempts, and tell once more, each in a call of its own, of those that were never heard of.

        Who brings a call down brings down her own only; she stays `unknown`, and the next run begins with her.
        """
        for attempt in self._ask(transactions, attempts, actor):
            if not self._call(transactions, [attempt], actor):
                with transactions() as session:
                    record_outcomes(session, [Outcome(attempt, "unknown", at)], actor)

    def _ask(self, transactions: Transactions, attempts: Sequence[str], actor: str) -> list[str]:
        """Ask, take the answers, and return what the provider has never heard of."""
        answers = self._patiently(lambda: self.provider.ask(attempts))
        events = [event for found in answers.values() for event in found or ()]
        take(transactions, self.provider.name, events, "answer", actor)
        return [attempt for attempt in attempts if answers[attempt] is None]

    def _call(self, transactions: Transactions, attempts: Sequence[str], actor: str) -> set[str]:
        """One call that tells; returns the attempts that the provider has answered for."""
        with transactions() as session:
            payments, currency, execution_date = _payments(session, attempts)
        try:
            events = self._patiently(
                lambda: self.provider.submit(payments, currency, execution_date), repeat_unanswered=False
            )
        except NoAnswer as error:
            _log.warning("no answer", provider=self.provider.name, payments=len(attempts), why=str(error))
            return set()
        take(transactions, self.provider.name, events, "answer", actor)
        return {event.reference for event in events}

    def _patiently(self, call: Callable[[], _T], *, repeat_unanswered: bool = True) -> _T:
        """Call, and again after a while if nothing was done; a question may also be repeated if it was not answered."""
        ends = time.monotonic() + self.patience.total_seconds()
        wait = _FIRST_WAIT_MS
        while True:
            try:
                return call()
            except NotTaken as error:
                why, asked_for = str(error), error.wait_ms
            except NoAnswer as error:
                if not repeat_unanswered:
                    raise
                why, asked_for = str(error), None
            pause = timedelta(milliseconds=min(max(wait, asked_for or 0), _LONGEST_WAIT_MS))
            if time.monotonic() + pause.total_seconds() > ends:
                raise Unavailable(
                    f"provider {self.provider.name} cannot be reached ({why}): nothing is lost,"
                    " run the same command again later"
                )
            self.pause(pause)
            wait = min(2 * wait, _LONGEST_WAIT_MS)

    def _chunks(self, attempts: Sequence[str]) -> Iterator[list[str]]:
        for start in range(0, len(attempts), self.provider.per_call):
            yield list(attempts[start : start + self.provider.per_call])


def _payments(session: Session, attempts: Sequence[str]) -> tuple[list[Payment], str, date]:
    """What a provider is told of attempts of one batch: bank details as they were when the batch was made."""
    rows = session.execute(
        select(PayoutAttempt.attempt_id, PayoutAttempt.amount_micros, Payout, PartyVersion.details)
        .join(Payout, Payout.payout_id == PayoutAttempt.payout_id)
        .outerjoin(
            PartyVersion,
            (PartyVersion.payee_id == Payout.payee_id) & (PartyVersion.version == Payout.party_version),
        )
        .where(PayoutAttempt.attempt_id.in_(attempts))
        .order_by(PayoutAttempt.attempt_id)
    ).all()
    batch = find_batch(session, rows[0][2].batch_id)
    ring, payments = key_ring(), []
    accounts = sealed_accounts(session, {payout.payee_id: payout.party_version for _, _, payout, _ in rows})
    for attempt_id, amount, payout, details in rows:
        if details is None or payout.payee_id not in accounts:
            raise erased(payout.payee_id, batch.batch_id)
        account = BankAccount.of(details, accounts[payout.payee_id].open(ring))
        payments.append(Payment(attempt_id, amount, account, f"Royalties {batch.batch_id}"))
    return payments, batch.currency, batch.execution_date


_STAND = """
SELECT t.attempt_id, (SELECT e.state FROM settlement.payout_event AS e WHERE e.payout_id = p.payout_id
                      ORDER BY e.number DESC LIMIT 1)
FROM settlement.payout AS p JOIN settlement.payout_attempt AS t ON t.payout_id = p.payout_id
WHERE p.batch_id = :batch ORDER BY p.payee_id COLLATE "C"
"""

_SUBMITTED = """
INSERT INTO settlement.payout_event (payout_id, number, attempt_id, state, actor, occurred_at)
SELECT payout_id, 3, attempt_id, 'submitted', :actor, :at FROM settlement.payout_attempt
WHERE attempt_id = ANY(CAST(:attempts AS text[]))
"""

_UNFINISHED = """
SELECT t.attempt_id
FROM settlement.provider_batch AS b
JOIN settlement.payout AS p ON p.batch_id = b.batch_id
JOIN settlement.payout_attempt AS t ON t.payout_id = p.payout_id
WHERE b.provider = :provider
    AND (SELECT e.state FROM settlement.batch_event AS e WHERE e.batch_id = b.batch_id ORDER BY e.number DESC LIMIT 1)
        IN ('submitting', 'submitted', 'partially_settled')
    AND (SELECT e.state FROM settlement.payout_event AS e WHERE e.payout_id = p.payout_id
         ORDER BY e.number DESC LIMIT 1) IN ('submitted', 'unknown', 'accepted')
ORDER BY t.attempt_id COLLATE "C"
"""

_SILENT = """
SELECT count(DISTINCT e.payout_id) FROM settlement.payout AS p
JOIN settlement.payout_event AS e ON e.payout_id = p.payout_id
WHERE p.batch_id = :batch AND e.state = 'unknown'
"""

_COUNTS = """
SELECT state, count(*) FROM (
    SELECT (SELECT e.state FROM settlement.payout_event AS e WHERE e.payout_id = p.payout_id
            ORDER BY e.number DESC LIMIT 1) AS state
    FROM settlement.payout AS p JOIN settlement.payout_attempt AS t ON t.payout_id = p.payout_id
    WHERE p.batch_id = :batch) AS s
GROUP BY state ORDER BY state
"""
