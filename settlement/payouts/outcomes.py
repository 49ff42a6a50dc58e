"""What the bank says became of payouts: recorded once, posted, and the batch moved on."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from sqlalchemy import ARRAY, Row, Text, any_, literal, select, text
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from database.errors import Invalid
from settlement import posting
from settlement.ledger import post, post_transfers, sequence_journals
from settlement.payouts.bank_messages.codes import DESTINATION, reason_text
from settlement.payouts.models import (
    BatchProgress,
    Payout,
    PayoutAttempt,
    PayoutEvent,
    batch_state,
    lock_payouts,
    newest_events,
    record_batch_event,
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the bank says became of one attempt."""

    attempt_id: str
    state: str
    """accepted | unknown | paid | rejected | returned"""
    at: datetime
    reason: str = ""
    """A code of `bank_messages.codes`, or words."""


FROM: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "accepted": frozenset({"submitted", "unknown"}),
        "unknown": frozenset({"submitted"}),
        "paid": frozenset({"submitted", "accepted", "unknown"}),
        "rejected": frozenset({"submitted", "accepted", "unknown"}),
        "returned": frozenset({"paid"}),
    }
)
"""From which states of a payout an outcome leads on."""

PASSED: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "accepted": frozenset({"accepted", "paid", "rejected", "returned"}),
        "unknown": frozenset({"unknown", "accepted", "paid", "rejected", "returned"}),
        "paid": frozenset({"paid", "returned"}),
        "rejected": frozenset({"rejected", "returned"}),
        "returned": frozenset({"returned"}),
    }
)
"""States of a payout that an outcome says nothing new of: it comes twice, or late."""


def record_outcomes(session: Session, outcomes: Iterable[Outcome], actor: str) -> list[tuple[Outcome, str]]:
    """Post what the bank reports; the same report twice, or late, changes nothing.

    Money that comes back opens a hold on the payee, and so does a rejection for a reason that lies in her account: the
    next run would send the money the same way.

    Returns:
        Each outcome with `recorded`, `known`, or why it was not taken.

    Raises:
        Invalid: a state that is no outcome.
    """
    given = list(outcomes)
    for outcome in given:
        if outcome.state not in FROM:
            raise Invalid(f"{outcome.state} is not an outcome; a bank reports {', '.join(FROM)}")
    named = literal([outcome.attempt_id for outcome in given], ARRAY(Text))
    rows = session.execute(
        select(
            PayoutAttempt.attempt_id,
            Payout.payout_id,
            Payout.batch_id,
            Payout.payee_id,
            Payout.currency,
            PayoutAttempt.amount_micros,
        )
        .join(Payout, Payout.payout_id == PayoutAttempt.payout_id)
        .where(PayoutAttempt.attempt_id == any_(named))
    )
    payouts = {row.attempt_id: row for row in rows}
    batch_ids = sorted({row.batch_id for row in payouts.values()})
    for batch_id in batch_ids:
        lock_payouts(session, batch_id)
    newest = newest_events(session, [row.payout_id for row in payouts.values()])
    result, events, stopped = [], [], list[Stop]()
    finished = Counter[tuple[str, str]]()
    for outcome in given:
        payout = payouts.get(outcome.attempt_id)
        if payout is None:
            result.append((outcome, "no such attempt"))
            continue
        number, state = newest[payout.payout_id]
        if state in PASSED[outcome.state]:
            result.append((outcome, "known"))
            continue
        if state not in FROM[outcome.state]:
            result.append((outcome, f"a payout that is {state} cannot become {outcome.state}"))
            continue
        newest[payout.payout_id] = number + 1, outcome.state
        events.append((payout.payout_id, number + 1, outcome))
        if outcome.state == "returned":
            stopped.append(Stop(payout.payee_id, outcome.attempt_id, "came back", outcome.reason))
        elif outcome.state == "rejected" and outcome.reason in DESTINATION:
            stopped.append(Stop(payout.payee_id, outcome.attempt_id, "was refused", outcome.reason))
        if outcome.state in ("paid", "rejected"):
            finished[payout.batch_id, outcome.state] += 1
        result.append((outcome, "recorded"))
    if events:
        _outcome_events(session, events, actor)
        hold_destinations(session, stopped, actor)
    if _post_outcomes(session, events, payouts, actor):
        sequence_journals(session)
    for batch_id in batch_ids:
        settle(session, batch_id, actor, finished[batch_id, "paid"], finished[batch_id, "rejected"])
    return result


def _post_outcomes(
    session: Session,
    events: Sequence[tuple[str, int, Outcome]],
    payouts: Mapping[str, Row[str, str, str, str, str, int]],
    actor: str,
) -> bool:
    """Post the journals of events that have just been recorded; whether any of them has one."""
    by_state: dict[str, list[tuple[str, int, Outcome]]] = {}
    for event in events:
        by_state.setdefault(event[2].state, []).append(event)
    for state, rule in posting.PAYOUT_OUTCOMES.items():
        found = by_state.get(state, ())
        if not found:
            continue
        if len(rule.debit) == 1:
            query = rule.transfer_sql(
                "t.amount_micros",
                "p.currency::text",
                {"attempt": "t.attempt_id", "payee": "p.payee_id"},
                booked_at="e.occurred_at",
                actor="%(actor)s",
            )
            post_transfers(
                session,
                f"""{query}
                FROM unnest(%(payouts)s::text[], %(numbers)s::integer[]) AS n (payout_id, number)
                JOIN settlement.payout_event AS e ON e.payout_id = n.payout_id AND e.number = n.number
                JOIN settlement.payout_attempt AS t ON t.attempt_id = e.attempt_id
                JOIN settlement.payout AS p ON p.payout_id = t.payout_id
                """,
                {
                    "payouts": [payout_id for payout_id, _, _ in found],
                    "numbers": [number for _, number, _ in found],
                    "actor": actor,
                },
            )
        else:
            rows = [(payouts[outcome.attempt_id], outcome) for _, _, outcome in found]
            post(
                session,
                [
                    rule.entry(
                        payout.amount_micros,
                        payout.currency,
                        {"attempt": outcome.attempt_id, "payee": payout.payee_id},
                        booked_at=outcome.at,
                        actor=actor,
                    )
                    for payout, outcome in rows
                ],
            )
    return any(state in by_state for state in posting.PAYOUT_OUTCOMES)


class Stop(NamedTuple):
    """A payment after which nobody pays its payee before somebody has looked at where her money goes."""

    payee_id: str
    attempt_id: str
    what: str
    """Of the payment: `came back`."""
    reason: str = ""
    """The bank's code, or words."""


def hold_destinations(session: Session, stops: Iterable[Stop], actor: str) -> None:
    """Open a hold on the payee of each of these payments, unless one for the same payment is open."""
    by_payment = {f"payment {stop.attempt_id} {stop.what}": stop for stop in reversed(list(stops))}
    if not by_payment:
        return
    session.execute(
        text(
            """
            INSERT INTO settlement.hold (payee_id, reason, actor)
            SELECT s.payee, s.about || s.words, :actor
            FROM unnest(CAST(:payees AS text[]), CAST(:abouts AS text[]), CAST(:words AS text[]))
                AS s (payee, about, words)
            WHERE NOT EXISTS (
                SELECT FROM settlement.hold AS h
                WHERE h.payee_id = s.payee AND starts_with(h.reason, s.about)
                    AND NOT EXISTS (SELECT FROM settlement.hold_release AS r WHERE r.hold_id = h.id))
            ORDER BY s.about
            """
        ),
        {
            "payees": [stop.payee_id for stop in by_payment.values()],
            "abouts": list(by_payment),
            "words": [
                f": {words}" if (words := reason_text(stop.reason)) else "" for stop in by_payment.values()
            ],
            "actor": actor,
        },
    )


def _outcome_events(session: Session, events: Sequence[tuple[str, int, Outcome]], actor: str) -> None:
    session.execute(
        text(
            """
            INSERT INTO settlement.payout_event (payout_id, number, attempt_id, state, detail, actor, occurred_at)
            SELECT payout, number, attempt, state, jsonb_build_object('reason', reason), :actor, at
            FROM unnest(CAST(:payouts AS text[]), CAST(:numbers AS integer[]), CAST(:attempts AS text[]),
                        CAST(:states AS text[]), CAST(:reasons AS text[]), CAST(:ats AS timestamptz[]))
                 AS e (payout, number, attempt, state, reason, at)
            ORDER BY payout, number
            """
        ),
        {
            "payouts": [payout_id for payout_id, _, _ in events],
            "numbers": [number for _, number, _ in events],
            "attempts": [outcome.attempt_id for _, _, outcome in events],
            "states": [outcome.state for _, _, outcome in events],
            "reasons": [outcome.reason for _, _, outcome in events],
            "ats": [outcome.at for _, _, outcome in events],
            "actor": actor,
        },
    )


def settle(session: Session, batch_id: str, actor: str, paid: int = 0, rejected: int = 0) -> None:
    """Move a batch that the bank has been told of on, under its lock; its payouts are counted once, and not each time.

    Args:
        session: as the role `payer`.
        batch_id: whose payouts have moved.
        actor: on whose behalf.
        paid: how many of them are paid since the last call.
        rejected: how many are rejected.
    """
    was = batch_state(session, batch_id)
    if was not in ("submitted", "partially_settled"):
        return  # it is still being told, and then this is asked again; or it is settled
    known = _progress(session, batch_id)
    if known is None:
        newest = (
            select(PayoutEvent.state)
            .ext(distinct_on(PayoutEvent.payout_id))
            .join(Payout, Payout.payout_id == PayoutEvent.payout_id)
            .where(Payout.batch_id == batch_id)
            .order_by(PayoutEvent.payout_id, PayoutEvent.number.desc())
        )
        count = Counter(session.scalars(newest))
        now = BatchProgress(
            batch_id=batch_id,
            number=1,
            waiting=count["submitted"] + count["accepted"] + count["unknown"],
            paid=count["paid"] + count["returned"],
            rejected=count["rejected"],
        )
    elif paid or rejected:
        now = BatchProgress(
            batch_id=batch_id,
            number=known.number + 1,
            waiting=known.waiting - paid - rejected,
            paid=known.paid + paid,
            rejected=known.rejected + rejected,
        )
    else:
        return
    session.add(now)
    session.flush()
    if now.waiting:
        becomes = "partially_settled"
    else:
        becomes = "settled" if now.paid else "failed"
    if now.paid + now.rejected and was != becomes:
        record_batch_event(session, batch_id, becomes, actor)


def reopen(session: Session, batch_id: str, actor: str, rejected: int) -> None:
    """Say that so many rejections of a batch are taken back, and wait again for what the bank says of them."""
    known = _progress(session, batch_id)
    if known is not None:  # else nothing is counted yet, and the first count finds them
        session.add(
            BatchProgress(
                batch_id=batch_id,
                number=known.number + 1,
                waiting=known.waiting + rejected,
                paid=known.paid,
                rejected=known.rejected - rejected,
            )
        )
    if batch_state(session, batch_id) in ("settled", "failed"):
        record_batch_event(session, batch_id, "partially_settled", actor)
    session.flush()


def _progress(session: Session, batch_id: str) -> BatchProgress | None:
    """How far a batch is, or None if no answer has been counted yet."""
    return session.scalar(
        select(BatchProgress)
        .where(BatchProgress.batch_id == batch_id)
        .order_by(BatchProgress.number.desc())
        .limit(1)
    )
