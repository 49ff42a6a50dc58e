"""A provider's events into the books: each kept once, then applied as far as its payout's state lets it.

Through whichever door an event comes (answer, webhook, list), and however often and in whatever order. What cannot be
applied stays open and is looked at again with the next event of its payment: a return that arrives before its payment
waits for it. What names no payment that this provider was told of is kept and reported; nothing is guessed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from settlement.money import format_money
from settlement.payouts.models import lock_payouts
from settlement.payouts.outcomes import FROM, PASSED, Outcome, Stop, hold_destinations, record_outcomes
from settlement.payouts.provider.interface import Event
from settlement.payouts.provider.models import ProviderEvent

_ORDER = {
    says: place for place, says in enumerate(("noted", "unknown", "accepted", "rejected", "paid", "returned"))
}


@dataclass(frozen=True, slots=True)
class OpenEvent:
    """An event that nobody has dealt with yet, and why."""

    event_id: str
    reference: str
    says: str
    amount: int
    currency: str
    why: str


def keep(session: Session, provider: str, events: Sequence[Event], source: str, actor: str) -> list[str]:
    """Keep events that are not kept yet; commit before `apply_open`.

    Args:
        session: as the role `payer`.
        provider: whose they are.
        events: of which some may be known, or come twice.
        source: answer | webhook | list
        actor: on whose behalf we heard of it.

    Returns:
        Events that came with other contents under an id that is known: they are not kept.
    """
    # In one order, so that two who keep the same events at once wait for each other and do not deadlock.
    unique = sorted({event.event_id: event for event in events}.values(), key=lambda event: event.event_id)
    session.execute(
        text(
            """
            INSERT INTO settlement.provider_event (provider, event_id, reference, attempt_id, says, amount_micros,
                                                   currency, occurred_at, reason, source, actor)
            SELECT :provider, e.id, e.reference, told.attempt_id, e.says, e.amount, e.currency, e.at, e.reason,
                   :source, :actor
            FROM unnest(CAST(:ids AS text[]), CAST(:references AS text[]), CAST(:says AS text[]),
                        CAST(:amounts AS bigint[]), CAST(:currencies AS text[]), CAST(:ats AS timestamptz[]),
                        CAST(:reasons AS text[])) AS e (id, reference, says, amount, currency, at, reason)
            LEFT JOIN (
                SELECT t.attempt_id FROM settlement.payout_attempt AS t
                JOIN settlement.payout AS p ON p.payout_id = t.payout_id
                JOIN settlement.provider_batch AS b ON b.batch_id = p.batch_id AND b.provider = :provider
                WHERE t.attempt_id = ANY(CAST(:references AS text[]))
            ) AS told ON told.attempt_id = e.reference
            ORDER BY e.id
            ON CONFLICT (provider, event_id) DO NOTHING
            """
        ),
        {
            "provider": provider,
            "source": source,
            "actor": actor,
            "ids": [event.event_id for event in unique],
            "references": [event.reference for event in unique],
            "says": [event.says for event in unique],
            "amounts": [event.amount for event in unique],
            "currencies": [event.currency for event in unique],
            "ats": [event.at for event in unique],
            "reasons": [event.reason for event in unique],
        },
    )
    known = {
        row.event_id: row
        for row in session.scalars(
            select(ProviderEvent).where(
                ProviderEvent.provider == provider,
                ProviderEvent.event_id.in_([event.event_id for event in unique]),
            )
        )
    }
    return [event.event_id for event in events if _meaning(event) != _meaning_of(known[event.event_id])]


def _meaning(event: Event) -> tuple[object, ...]:
    return (event.reference, event.says, event.amount, event.currency)


def _meaning_of(row: ProviderEvent) -> tuple[object, ...]:
    return (row.reference, row.says, row.amount_micros, row.currency)


def apply_open(
    session: Session, provider: str, actor: str, attempt_ids: Sequence[str] | None = None
) -> dict[str, str]:
    """Apply what is open of a provider's events, as far as it can be applied now.

    Args:
        session: as the role `payer`.
        provider: whose events.
        actor: on whose behalf.
        attempt_ids: whose events; None: everybody's.

    Returns:
        Attempts that moved, and what they became.
    """
    found = _open(session, provider, attempt_ids)
    if not found:
        return {}
    # Locked first and read then: whoever came before has committed what it decided.
    for batch_id in sorted({row.batch_id for row in found if row.batch_id}):
        lock_payouts(session, batch_id)
    rows = sorted(_open(session, provider, attempt_ids), key=lambda row: _ORDER[row.says])
    states = {row.attempt_id: row.state for row in rows}
    outcomes, matches, stopped = [], {}, list[Stop]()
    for row in rows:
        if row.says == "noted":
            matches[row.id] = "noted"
        elif row.attempt_id is not None and row.fault() is None:
            state = states[row.attempt_id]
            if state in PASSED[row.says]:
                matches[row.id] = "known"
            elif state in FROM[row.says]:
                states[row.attempt_id] = row.says
                outcomes.append(Outcome(row.attempt_id, row.says, row.occurred_at, row.reason))
                matches[row.id] = "recorded"
            elif row.says == "paid" and state == "rejected":
                # The money is in her balance again: no run pays it until somebody knows which of the two is true.
                stopped.append(Stop(str(row.payee_id), row.attempt_id, "was refused and then paid"))
    hold_destinations(session, stopped, actor)
    for outcome, result in record_outcomes(session, outcomes, actor) if outcomes else ():
        if result != "recorded":
            raise RuntimeError(f"attempt {outcome.attempt_id} was not recorded as {outcome.state}: {result}")
    if not matches:
        return {}
    session.execute(
        text(
            "INSERT INTO settlement.provider_match (provider_event_id, result, actor)"
            " SELECT id, result, :actor FROM unnest(CAST(:ids AS bigint[]), CAST(:results AS text[])) AS m (id, result)"
        ),
        {"ids": list(matches), "results": list(matches.values()), "actor": actor},
    )
    return {outcome.attempt_id: outcome.state for outcome in outcomes}


def open_events(session: Session, provider: str) -> list[OpenEvent]:
    """Events that wait, oldest first, and for what."""
    return [
        OpenEvent(
            row.event_id,
            row.reference,
            row.says,
            row.amount,
            row.currency,
            row.fault() or f"a payout that is {row.state} cannot become {row.says}",
        )
        for row in _open(session, provider, None)
    ]


class _Row(NamedTuple):
    """An open event, with the payout that it is of."""

    id: int
    event_id: str
    reference: str
    says: str
    amount: int
    currency: str
    occurred_at: datetime
    reason: str
    attempt_id: str | None
    batch_id: str | None
    payee_id: str | None
    expected: int | None
    expected_currency: str | None
    state: str | None

    def fault(self) -> str | None:
        """Why it cannot be taken, whatever the payout's state."""
        if self.expected is None:
            return "no payment that this provider was told of has this reference"
        if (self.amount, self.currency) != (self.expected, self.expected_currency):
            said, told = (
                format_money(self.amount, self.currency),
                format_money(self.expected, str(self.expected_currency)),
            )
            return f"the provider says {said}, the payment is of {told}"
        return None


_OPEN = """
SELECT e.id, e.event_id, e.reference, e.says, e.amount_micros, e.currency::text, e.occurred_at, e.reason, e.attempt_id,
       p.batch_id, p.payee_id, t.amount_micros, p.currency::text,
       (SELECT h.state FROM settlement.payout_event AS h WHERE h.payout_id = t.payout_id
        ORDER BY h.number DESC LIMIT 1)
FROM settlement.provider_event AS e
LEFT JOIN settlement.payout_attempt AS t ON t.attempt_id = e.attempt_id
LEFT JOIN settlement.payout AS p ON p.payout_id = t.payout_id
WHERE e.provider = :provider
    AND NOT EXISTS (SELECT FROM settlement.provider_match AS m WHERE m.provider_event_id = e.id)
"""


def _open(session: Session, provider: str, attempt_ids: Sequence[str] | None) -> list[_Row]:
    some = "" if attempt_ids is None else " AND e.attempt_id = ANY(CAST(:attempts AS text[]))"
    rows = session.execute(
        text(f"{_OPEN}{some} ORDER BY e.id"), {"provider": provider, "attempts": list(attempt_ids or ())}
    )
    return [_Row(*row) for row in rows]
