"""Batches that go by a provider, what the provider reports, and what became of each report. Append-only."""

from datetime import datetime

from sqlalchemy import CHAR, CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from database.base import Base, Key, RecordedAt
from settlement.payouts.models import PayoutAttempt, PayoutBatch


class ProviderBatch(Base):
    """A batch that goes by a provider's API; any other goes in files. Fixed with its attempts (trigger)."""

    __tablename__ = "provider_batch"
    __table_args__ = ({"schema": "settlement"},)

    batch_id: Mapped[str] = mapped_column(ForeignKey(PayoutBatch.batch_id), primary_key=True)
    provider: Mapped[str]
    actor: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class ProviderEvent(Base):
    """One thing that a provider said of one payment, kept before it is acted upon."""

    __tablename__ = "provider_event"
    __table_args__ = (
        UniqueConstraint("provider", "event_id"),
        CheckConstraint(
            "says IN ('noted', 'unknown', 'accepted', 'rejected', 'paid', 'returned')", name="says_known"
        ),
        CheckConstraint("source IN ('answer', 'webhook', 'list')", name="source_known"),
        Index(None, "attempt_id"),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    provider: Mapped[str]
    event_id: Mapped[str]
    """The provider's, the same through whichever door the event comes."""
    reference: Mapped[str]
    """What the provider says it is of."""
    attempt_id: Mapped[str | None] = mapped_column(ForeignKey(PayoutAttempt.attempt_id))
    """The attempt of that id, if it was this provider who was told of it."""
    says: Mapped[str]
    amount_micros: Mapped[int]
    currency: Mapped[str] = mapped_column(CHAR(3))
    occurred_at: Mapped[datetime]
    reason: Mapped[str]
    source: Mapped[str]
    """answer | webhook | list"""
    actor: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class ProviderMatch(Base):
    """What became of an event: it moved its payout, was no news, or moves none. Without such a row it is open."""

    __tablename__ = "provider_match"
    __table_args__ = (
        CheckConstraint("result IN ('recorded', 'known', 'noted')", name="result_known"),
        {"schema": "settlement"},
    )

    provider_event_id: Mapped[int] = mapped_column(
        ForeignKey(ProviderEvent.id), primary_key=True, autoincrement=False
    )
    result: Mapped[str]
    actor: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class ProviderPosition(Base):
    """How far a provider's list of events has been read; the newest row counts."""

    __tablename__ = "provider_position"
    __table_args__ = (Index(None, "provider", "id"), {"schema": "settlement"})

    id: Mapped[Key]
    provider: Mapped[str]
    cursor: Mapped[str]
    recorded_at: Mapped[RecordedAt]
