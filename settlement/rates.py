"""Rate cards and platform terms: what a sale earns, the model developer, the minimum payout. Versions."""

from datetime import datetime
from typing import Any

from sqlalchemy import CHAR, CheckConstraint, ForeignKey, Integer, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from database.base import Base, Key, RecordedAt
from settlement.payees import Payee


class RateCardVersion(Base):
    """A rate card from `valid_from` until its next version's start."""

    __tablename__ = "rate_card_version"
    __table_args__ = (
        UniqueConstraint("rate_card_id", "valid_from"),
        CheckConstraint("model IN ('per_image', 'period_pool')", name="model_known"),
        CheckConstraint("content_to IN ('model_developer', 'artists')", name="content_to_known"),
        CheckConstraint(
            "distribution_key IN ('attribution', 'equal', 'proxy')", name="distribution_key_known"
        ),
        CheckConstraint("rate_ppb BETWEEN 0 AND 1000000000", name="rate_in_range"),
        CheckConstraint("fee_micros >= 0", name="fee_not_negative"),
        # A percentage of the base, or a fee per sale in a stated currency; a pool is a percentage.
        CheckConstraint(
            "(rate_ppb IS NULL) <> (fee_micros IS NULL) AND (fee_micros IS NULL) = (currency IS NULL)"
            " AND (model = 'per_image' OR rate_ppb IS NOT NULL)",
            name="rate_or_fee",
        ),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    rate_card_id: Mapped[str]
    valid_from: Mapped[datetime]
    model: Mapped[str]
    rate_ppb: Mapped[int | None]
    """Percentage of the royalty base, in ppb."""
    fee_micros: Mapped[int | None]
    currency: Mapped[str | None] = mapped_column(CHAR(3))
    content_to: Mapped[str]
    distribution_key: Mapped[str]
    terms: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    actor: Mapped[str]
    reason: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class PlatformVersion(Base):
    """The platform's own terms from `valid_from` on."""

    __tablename__ = "platform_version"
    __table_args__ = (
        CheckConstraint("dispute_days > 0", name="dispute_days_positive"),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    valid_from: Mapped[datetime] = mapped_column(unique=True)
    platform_payee_id: Mapped[str] = mapped_column(ForeignKey(Payee.payee_id))
    """The platform as a party: its name and address head every statement, its account is debited."""
    model_developer_id: Mapped[str] = mapped_column(ForeignKey(Payee.payee_id))
    default_rate_card_id: Mapped[str]
    zone: Mapped[str]
    """IANA name; periods are [start, end) in this zone."""
    minimum_payout: Mapped[dict[str, Any]]
    """Currency to micros as a decimal integer string."""
    dispute_contact: Mapped[str]
    """Where a payee writes to if she disputes a statement."""
    dispute_days: Mapped[int | None] = mapped_column(Integer)
    """Days after a period's end within which its statement can be disputed; None: no limit."""
    actor: Mapped[str]
    reason: Mapped[str]
    recorded_at: Mapped[RecordedAt]
