"""Holds, batches, payouts, attempts and their events. States are derived from appended events."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import CHAR, CheckConstraint, ForeignKey, Index, Integer, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from database.base import Base, Key, RecordedAt
from settlement.payees import Payee


class Hold(Base):
    """A flag that stops a payee's payouts, never her accrual or statement."""

    __tablename__ = "hold"
    __table_args__ = (Index(None, "payee_id"), {"schema": "settlement"})

    id: Mapped[Key]
    payee_id: Mapped[str] = mapped_column(ForeignKey(Payee.payee_id))
    reason: Mapped[str]
    expected_until: Mapped[date | None]
    actor: Mapped[str]
    opened_at: Mapped[RecordedAt]


class HoldRelease(Base):
    """The end of a hold."""

    __tablename__ = "hold_release"
    __table_args__ = ({"schema": "settlement"},)

    hold_id: Mapped[int] = mapped_column(ForeignKey(Hold.id), primary_key=True)
    reason: Mapped[str]
    actor: Mapped[str]
    released_at: Mapped[RecordedAt]


class PayoutBatch(Base):
    """One payout run in one currency: whom it pays is fixed when it is made."""

    __tablename__ = "payout_batch"
    __table_args__ = ({"schema": "settlement"},)

    batch_id: Mapped[str] = mapped_column(primary_key=True)
    """`<currency>-<execution date>-<number>`."""
    currency: Mapped[str] = mapped_column(CHAR(3))
    execution_date: Mapped[date]
    content_sha256: Mapped[bytes]
    """Digest of every payout in it: what the checker approves."""
    maker: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class Payout(Base):
    """One payee in one batch: what she is paid, or why not."""

    __tablename__ = "payout"
    __table_args__ = (
        UniqueConstraint("batch_id", "payee_id"),
        CheckConstraint(
            "decision IN ('pay', 'held', 'below_minimum', 'no_bank_details')", name="decision_known"
        ),
        CheckConstraint(
            "amount_micros >= 0 AND (decision = 'pay') = (amount_micros > 0)", name="amount_if_paid"
        ),
        {"schema": "settlement"},
    )

    payout_id: Mapped[str] = mapped_column(primary_key=True)
    """`<batch>/<payee>`."""
    batch_id: Mapped[str] = mapped_column(ForeignKey(PayoutBatch.batch_id))
    payee_id: Mapped[str] = mapped_column(ForeignKey(Payee.payee_id))
    currency: Mapped[str] = mapped_column(CHAR(3))
    balance_micros: Mapped[int]
    amount_micros: Mapped[int]
    """Whole minor units, in micros; 0 where not paid."""
    decision: Mapped[str]
    party_version: Mapped[int | None]
    """Version of the bank details it goes to."""


class PayoutAttempt(Base):
    """One instruction to a bank, committed before the bank hears of it. Its id is the EndToEndId."""

    __tablename__ = "payout_attempt"
    __table_args__ = (
        UniqueConstraint("payout_id", "number"),
        CheckConstraint("length(attempt_id) <= 35", name="end_to_end_id_length"),
        {"schema": "settlement"},
    )

    attempt_id: Mapped[str] = mapped_column(primary_key=True)
    payout_id: Mapped[str] = mapped_column(ForeignKey(Payout.payout_id))
    number: Mapped[int] = mapped_column(Integer)
    amount_micros: Mapped[int]
    recorded_at: Mapped[RecordedAt]


class BatchEvent(Base):
    """What happened to a batch; its state is that of the newest event."""

    __tablename__ = "batch_event"
    __table_args__ = (
        CheckConstraint(
            "state IN ('draft', 'approved', 'submitting', 'submitted', 'partially_settled', 'settled', 'failed',"
            " 'cancelled')",
            name="state_known",
        ),
        UniqueConstraint("batch_id", "state"),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    batch_id: Mapped[str] = mapped_column(ForeignKey(PayoutBatch.batch_id))
    state: Mapped[str]
    actor: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class PayoutEvent(Base):
    """What happened to a payout; its state is that of the newest event."""

    __tablename__ = "payout_event"
    __table_args__ = (
        CheckConstraint(
            "state IN ('created', 'held', 'ready', 'reserved', 'submitted', 'accepted', 'paid', 'returned',"
            " 'rejected', 'unknown', 'cancelled')",
            name="state_known",
        ),
        # A bank's message delivered twice is one event.
        UniqueConstraint("payout_id", "attempt_id", "state", postgresql_nulls_not_distinct=True),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    payout_id: Mapped[str] = mapped_column(ForeignKey(Payout.payout_id))
    attempt_id: Mapped[str | None] = mapped_column(ForeignKey(PayoutAttempt.attempt_id))
    state: Mapped[str]
    detail: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    actor: Mapped[str]
    occurred_at: Mapped[datetime]
    recorded_at: Mapped[RecordedAt]


class PayoutFile(Base):
    """The file handed to the bank, byte for byte; a batch has one."""

    __tablename__ = "payout_file"
    __table_args__ = ({"schema": "settlement"},)

    batch_id: Mapped[str] = mapped_column(ForeignKey(PayoutBatch.batch_id), primary_key=True)
    name: Mapped[str]
    sha256: Mapped[bytes]
    recorded_at: Mapped[RecordedAt]
