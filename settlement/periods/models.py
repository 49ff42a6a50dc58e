"""Periods, drafts, approvals, runs, and the royalty lines they produce."""

from datetime import datetime
from typing import Any

from sqlalchemy import CHAR, CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from database.base import Base, Key, RecordedAt
from settlement.rates import RateCardVersion
from settlement.sales import Refund, Sale


class Period(Base):
    """An accounting period, [start, end). Its state moves forward only (trigger)."""

    __tablename__ = "period"
    __table_args__ = (
        CheckConstraint("starts_at < ends_at AND cut_off_at >= ends_at", name="interval"),
        CheckConstraint("state = 'open' OR cut_off_at IS NOT NULL", name="cut_off_known"),
        CheckConstraint(
            "state IN ('open', 'cut_off', 'calculated', 'in_review', 'approved', 'closed')",
            name="state_known",
        ),
        {"schema": "settlement"},
    )

    period_id: Mapped[str] = mapped_column(primary_key=True)
    """`2026-10`."""
    starts_at: Mapped[datetime] = mapped_column(unique=True)
    ends_at: Mapped[datetime] = mapped_column(unique=True)
    cut_off_at: Mapped[datetime | None]
    """Events of the period count in it if recorded before this; None: until somebody cuts it off."""
    zone: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="open")
    recorded_at: Mapped[RecordedAt]


class RunDraft(Base):
    """A calculation that has posted nothing: may be thrown away. Its digest is what is approved."""

    __tablename__ = "run_draft"
    __table_args__ = ({"schema": "settlement"},)

    period_id: Mapped[str] = mapped_column(ForeignKey(Period.period_id), primary_key=True)
    inputs_sha256: Mapped[bytes]
    draft_sha256: Mapped[bytes]
    totals: Mapped[dict[str, Any]]
    calculated_by: Mapped[str]
    recorded_at: Mapped[RecordedAt]
    gates: Mapped[dict[str, Any]]
    """What each gate found (`settlement.periods.gates`), by its name."""


class GateAcceptance(Base):
    """A checker's word that what a gate found may pass, and why. Only the role `approver` may insert."""

    __tablename__ = "gate_acceptance"
    __table_args__ = (
        Index(None, "period_id", "draft_sha256"),
        CheckConstraint("octet_length(draft_sha256) = 32", name="draft_sha256_length"),
        CheckConstraint("btrim(reason) <> ''", name="said_why"),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    period_id: Mapped[str] = mapped_column(ForeignKey(Period.period_id))
    draft_sha256: Mapped[bytes]
    gate: Mapped[str]
    findings: Mapped[dict[str, Any]]
    """The gate in the draft, word for word: what is found later is not accepted by this."""
    reason: Mapped[str]
    checker: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class Approval(Base):
    """The second pair of eyes: binds to content by its digest. Only the role `approver` may insert."""

    __tablename__ = "approval"
    __table_args__ = (
        UniqueConstraint("kind", "subject", "content_sha256"),
        Index(
            "approval_claim_decided_once",
            "subject",
            unique=True,
            postgresql_where=text("kind = 'ownership_claim'"),
        ),
        CheckConstraint(
            "kind IN ('period', 'payout_batch', 'advance', 'payout_correction', 'correction',"
            " 'ownership_claim')",
            name="kind_known",
        ),
        CheckConstraint("maker <> checker", name="maker_is_not_checker"),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    kind: Mapped[str]
    subject: Mapped[str]
    content_sha256: Mapped[bytes]
    maker: Mapped[str]
    checker: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class RoyaltyRun(Base):
    """The close of one period: written once, never changed."""

    __tablename__ = "royalty_run"
    __table_args__ = ({"schema": "settlement"},)

    period_id: Mapped[str] = mapped_column(ForeignKey(Period.period_id), primary_key=True)
    inputs_sha256: Mapped[bytes]
    draft_sha256: Mapped[bytes]
    approval_id: Mapped[int] = mapped_column(ForeignKey(Approval.id), unique=True)
    totals: Mapped[dict[str, Any]]
    closed_by: Mapped[str]
    code_version: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class SaleSlice(Base):
    """What one sale put into royalties: its base, its slice, and the terms that made it. One per sale, for ever."""

    __tablename__ = "sale_slice"
    __table_args__ = (
        CheckConstraint("base_micros >= 0 AND slice_micros >= 0", name="not_negative"),
        Index(None, "period_id"),
        {"schema": "settlement"},
    )

    sale_id: Mapped[int] = mapped_column(ForeignKey(Sale.id), primary_key=True)
    period_id: Mapped[str] = mapped_column(ForeignKey(Period.period_id))
    """Accounting period."""
    usage_period: Mapped[str]
    rate_card_version_id: Mapped[int] = mapped_column(ForeignKey(RateCardVersion.id))
    base_micros: Mapped[int]
    """Royalty base; a negative one counts 0."""
    slice_micros: Mapped[int]
    currency: Mapped[str] = mapped_column(CHAR(3))


class RefundReversal(Base):
    """What one refund took back of its sale's royalties. One per refund, for ever; its lines add up to it."""

    __tablename__ = "refund_reversal"
    __table_args__ = (
        CheckConstraint("refunded_micros > 0 AND reversed_micros >= 0", name="amounts"),
        Index(None, "sale_id"),
        {"schema": "settlement"},
    )

    refund_id: Mapped[int] = mapped_column(ForeignKey(Refund.id), primary_key=True)
    sale_id: Mapped[int] = mapped_column(ForeignKey(Sale.id))
    period_id: Mapped[str] = mapped_column(ForeignKey(Period.period_id))
    """Accounting period."""
    refunded_micros: Mapped[int]
    """Part of the price given back, as the refund says."""
    reversed_micros: Mapped[int]


class RoyaltyLine(Base):
    """One line of the royalty sub-ledger. Append-only; a correction is a new line that names what it corrects.

    Period, sale, payee, attribution and contract version are checked once per INSERT (`guard.check_lines`) and not by a
    foreign key per row, which took most of a close's time; they are append-only, so they stay.
    """

    __tablename__ = "royalty_line"
    __table_args__ = (
        CheckConstraint(
            "kind IN ('royalty', 'pending', 'unattributed', 'late', 'refund', 'adjustment')",
            name="kind_known",
        ),
        CheckConstraint(
            "destination IN ('payee', 'unclaimed', 'pending', 'unattributed')", name="destination_known"
        ),
        CheckConstraint("(destination = 'payee') = (payee_id IS NOT NULL)", name="payee_if_destination"),
        CheckConstraint("(kind = 'refund') = (refund_id IS NOT NULL)", name="refund_if_kind"),
        CheckConstraint(
            "kind <> 'refund' OR (corrects IS NOT NULL AND amount_micros < 0)", name="refund_corrects"
        ),
        CheckConstraint("kind <> 'late' OR corrects IS NOT NULL", name="late_corrects"),
        CheckConstraint("(kind = 'adjustment') = (correction_id IS NOT NULL)", name="correction_if_kind"),
        CheckConstraint(
            "kind <> 'adjustment' OR amount_micros <> 0 AND (amount_micros < 0) = (corrects IS NOT NULL)",
            name="adjustment_takes_or_gives",
        ),
        # The line's natural key: running a close twice cannot write a line twice.
        UniqueConstraint(
            "sale_id",
            "kind",
            "player",
            "payee_id",
            "refund_id",
            "corrects",
            "correction_id",
            name="royalty_line_natural_key",
            postgresql_nulls_not_distinct=True,
        ),
        Index(
            "royalty_line_taken_back_once",
            "corrects",
            unique=True,
            postgresql_where=text("kind = 'adjustment'"),
        ),
        Index(None, "correction_id", postgresql_where=text("kind = 'adjustment'")),
        Index("royalty_line_payee_idx", "payee_id", "period_id", "currency", "id"),
        Index(None, "period_id"),
        Index("royalty_line_pending_idx", "sale_id", postgresql_where=text("kind = 'pending'")),
        Index(
            "royalty_line_unclaimed_idx",
            "player",
            postgresql_where=text("destination = 'unclaimed' AND kind <> 'refund'"),
        ),
        Index(
            "royalty_line_suspense_idx",
            "period_id",
            postgresql_where=text("destination IN ('unclaimed', 'unattributed') AND kind <> 'refund'"),
        ),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    period_id: Mapped[str]
    kind: Mapped[str]
    sale_id: Mapped[int]
    player: Mapped[str | None]
    """Artist id or `C`; None for a whole slice in suspense."""
    destination: Mapped[str]
    payee_id: Mapped[str | None]
    amount_micros: Mapped[int]
    currency: Mapped[str] = mapped_column(CHAR(3))
    attribution_id: Mapped[int | None]
    share_ppb: Mapped[int | None]
    contract_version_id: Mapped[int | None]
    split_ppb: Mapped[int | None]
    distribution_key: Mapped[str]
    refund_id: Mapped[int | None] = mapped_column(ForeignKey(Refund.id))
    corrects: Mapped[int | None] = mapped_column(ForeignKey("settlement.royalty_line.id"))
    """The line that a refund or a correction takes back, or that a late line moves out of suspense."""
    platform_version_id: Mapped[int | None]
    """The platform's terms whose fallback key divided the money; None: no fallback key did."""
    correction_id: Mapped[str | None]
    """The correction that an adjustment belongs to: below zero what it takes back, above zero what it gives instead."""
