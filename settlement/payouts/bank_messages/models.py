"""Bank messages as they were taken, and what became of their lines. Append-only; nothing personal, no free text."""

from datetime import date, datetime

from sqlalchemy import (
    CHAR,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from database.base import Base, Key, RecordedAt
from settlement.payouts.models import PayoutAttempt, PayoutBatch


class BankMessage(Base):
    """A file from a bank, taken once."""

    __tablename__ = "bank_message"
    __table_args__ = (
        CheckConstraint("octet_length(sha256) = 32", name="sha256_length"),
        CheckConstraint("kind IN ('pain.002', 'camt.053', 'camt.054')", name="kind_known"),
        Index(None, "kind", "message_id"),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    sha256: Mapped[bytes] = mapped_column(unique=True)
    kind: Mapped[str]
    version: Mapped[str]
    message_id: Mapped[str]
    """The bank's; banks use one again, so it is the digest that is unique."""
    created_at: Mapped[datetime | None]
    """When the bank made it, as it says."""
    name: Mapped[str]
    actor: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class BankStatement(Base):
    """One account's statement or notification in a message."""

    __tablename__ = "bank_statement"
    __table_args__ = ({"schema": "settlement"},)

    bank_message_id: Mapped[int] = mapped_column(ForeignKey(BankMessage.id), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    """1, 2, 3 .. in the message."""
    statement_id: Mapped[str]
    account: Mapped[str | None]
    """The platform's own IBAN, masked."""
    currency: Mapped[str | None] = mapped_column(CHAR(3))
    opening_micros: Mapped[int | None]
    closing_micros: Mapped[int | None]
    closing_on: Mapped[date | None]


class BankEntry(Base):
    """One line of a message: what it says, and of which attempt or file of ours, if of any."""

    __tablename__ = "bank_entry"
    __table_args__ = (
        UniqueConstraint("bank_message_id", "number"),
        ForeignKeyConstraint(
            ["bank_message_id", "statement"],
            ["settlement.bank_statement.bank_message_id", "settlement.bank_statement.number"],
        ),
        CheckConstraint(
            "says IN ('noted', 'unknown', 'accepted', 'rejected', 'paid', 'returned', 'mismatch', 'charge',"
            " 'unclear')",
            name="says_known",
        ),
        CheckConstraint("(batch_id IS NULL) = (file IS NULL)", name="file_of_batch"),
        CheckConstraint("attempt_id IS NULL OR batch_id IS NULL", name="attempt_or_file"),
        Index(None, "attempt_id"),
        Index(None, "batch_id", "file"),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    bank_message_id: Mapped[int] = mapped_column(ForeignKey(BankMessage.id))
    number: Mapped[int] = mapped_column(Integer)
    """1, 2, 3 .. in the message."""
    statement: Mapped[int | None] = mapped_column(Integer)
    entry: Mapped[int | None] = mapped_column(Integer)
    """Place of the booking in its statement; several lines are details of one."""
    entry_micros: Mapped[int | None]
    """What the booking is of as a whole; money out below zero."""
    says: Mapped[str]
    attempt_id: Mapped[str | None] = mapped_column(ForeignKey(PayoutAttempt.attempt_id))
    batch_id: Mapped[str | None] = mapped_column(ForeignKey(PayoutBatch.batch_id))
    file: Mapped[int | None] = mapped_column(Integer)
    """With `batch_id`: the line speaks of every payment in this file of it."""
    reference: Mapped[str | None]
    """The id that the line gives."""
    amount_micros: Mapped[int | None]
    """Of a booking: money out below zero."""
    currency: Mapped[str | None]
    charges_micros: Mapped[int | None]
    booked_on: Mapped[date | None]
    status: Mapped[str | None]
    reason: Mapped[str | None]
    bank_reference: Mapped[str | None]
    problem: Mapped[str | None]
    """Why it cannot be taken as it stands."""


class BankMatch(Base):
    """That a line has been dealt with: for each attempt that it speaks of, or as a whole. A line without is open."""

    __tablename__ = "bank_match"
    __table_args__ = (
        UniqueConstraint("bank_entry_id", "attempt_id", postgresql_nulls_not_distinct=True),
        CheckConstraint("result IN ('recorded', 'known', 'noted', 'dismissed')", name="result_known"),
        CheckConstraint("(result = 'dismissed') = (reason IS NOT NULL)", name="reason_if_dismissed"),
        Index(None, "attempt_id"),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    bank_entry_id: Mapped[int] = mapped_column(ForeignKey(BankEntry.id))
    attempt_id: Mapped[str | None] = mapped_column(ForeignKey(PayoutAttempt.attempt_id))
    result: Mapped[str]
    """recorded: it moved the payout; known: it says what was known; noted: it moves nothing; dismissed by a person."""
    reason: Mapped[str | None]
    actor: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class PayoutCorrection(Base):
    """That a payment which the bank refused is paid all the same, as a line of the bank says: proposed by a person.

    Carried out once another one has approved it (`settlement.approval` of kind payout_correction, by its digest).
    """

    __tablename__ = "payout_correction"
    __table_args__ = (
        CheckConstraint("octet_length(content_sha256) = 32", name="content_sha256_length"),
        Index(None, "bank_entry_id"),
        {"schema": "settlement"},
    )

    attempt_id: Mapped[str] = mapped_column(ForeignKey(PayoutAttempt.attempt_id), primary_key=True)
    bank_entry_id: Mapped[int] = mapped_column(ForeignKey(BankEntry.id))
    """The booking that shows it; one of a whole file may show it of several."""
    reason: Mapped[str]
    maker: Mapped[str]
    content_sha256: Mapped[bytes]
    """Digest of the line, the reason, and all attempts that are corrected by it, with their amounts."""
    recorded_at: Mapped[RecordedAt]
