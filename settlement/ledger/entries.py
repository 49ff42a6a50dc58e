"""What is asked of the ledger: entries of two lines or more, as plain data."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class Line:
    """One side of an entry. ``amount`` in micros, debit positive, credit negative, never zero."""

    account_code: str
    """Ends in its currency: `royalties_payable:pay-1:EUR`. Opened on first use."""
    account_class: str
    """asset | liability | equity | income | expense"""
    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A journal to be posted. Its lines balance in every currency; their order has no meaning."""

    kind: str
    key: str
    """Idempotency key, permanent: the thing and the event."""
    booked_at: datetime
    """Booking date, with a time zone: decides the period."""
    value_date: date
    lines: Sequence[Line]
    actor: str
    """The authenticated person or process that asked for it."""
    approved_by: str | None = None
    reverses: str | None = None
    """Key of the journal that this one reverses."""
    movable: bool = False
    """Whether it is booked at the first open instant if ``booked_at`` is sealed; otherwise that is refused."""
