"""What a payout provider can do for us: take payments, say what became of them, list its news, sign its webhooks.

The id of an attempt is its idempotency key: a provider that is told of it again answers with the payment it has. That
rule protects even where everything else fails; all the same nothing is told twice before the provider has been asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from settlement.payouts.pain001 import Payment


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a provider says of one payment."""

    event_id: str
    """The provider's, at most 100 characters; the same event has the same id in an answer, a webhook and the list."""
    reference: str
    """The attempt, as the provider repeats it."""
    says: str
    """noted | unknown | accepted | rejected | paid | returned"""
    amount: int
    """Micros."""
    currency: str
    at: datetime
    reason: str = ""
    """A code; a provider's free text may name people and is not kept."""


class NoAnswer(Exception):
    """The provider may have heard, and what it did is not known: a time-out, a broken or unreadable answer."""


class NotTaken(Exception):
    """The provider has done nothing: no connection came about, or it said so itself (too many calls, closed)."""

    def __init__(self, why: str, wait_ms: int | None = None) -> None:
        super().__init__(why)
        self.wait_ms = wait_ms
        """How long the provider wants to be left alone, if it says so."""


class Provider(Protocol):
    """One provider. Every call has an end, by a time-out if by nothing else."""

    @property
    def name(self) -> str:
        """As configuration, addresses of webhooks and `provider_event.provider` have it."""

    @property
    def per_call(self) -> int:
        """How many payments one call takes."""

    def submit(self, payments: Sequence[Payment], currency: str, execution_date: date) -> list[Event]:
        """Tell of payments, ``per_call`` at most; what the provider says of each that it took or refused.

        Raises:
            NoAnswer, NotTaken: see there.
            Refused: the provider does not know us; it has taken nothing.
        """

    def ask(self, attempt_ids: Sequence[str]) -> Mapping[str, list[Event] | None]:
        """Everything that has happened to payments, ``per_call`` at most; None for what it has never heard of.

        Raises:
            NoAnswer, NotTaken, Refused: see `submit`.
        """

    def since(self, cursor: str) -> tuple[list[Event], str]:
        """A page of events after a cursor, oldest first ("" begins), and the cursor after them; empty at the end.

        Raises:
            NoAnswer, NotTaken, Refused: see `submit`.
        """

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> list[Event]:
        """What a webhook says, once its signature and its time are found good.

        Args:
            headers: by name in lower case.
            body: as it came, byte for byte.
            now: an aware time, against which the webhook's is held.

        Raises:
            Unauthenticated: the signature is missing or wrong, or too old.
            Invalid: it is the provider's, and cannot be read.
        """
