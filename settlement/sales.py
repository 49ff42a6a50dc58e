"""Sales and refunds: the events that earn. Append-only."""

from datetime import datetime

from sqlalchemy import CHAR, CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from attribution.generation import Image
from database.base import Base, Key, RecordedAt


class Sale(Base):
    """One sale of an image: the royalty event. Royalty base = price - tax - deductions."""

    __tablename__ = "sale"
    __table_args__ = (
        CheckConstraint("external_id <> ''", name="external_id_not_empty"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_iso"),
        CheckConstraint("territory ~ '^[A-Z]{2}$'", name="territory_iso"),
        CheckConstraint("price_micros > 0 AND tax_micros BETWEEN 0 AND price_micros", name="price_and_tax"),
        CheckConstraint(
            "payment_fee_micros >= 0 AND marketplace_fee_micros >= 0 AND other_deduction_micros >= 0",
            name="deductions_not_negative",
        ),
        Index(None, "sold_at"),
        Index(None, "image_id"),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    external_id: Mapped[str] = mapped_column(unique=True)
    content_sha256: Mapped[bytes]
    image_id: Mapped[int] = mapped_column(ForeignKey(Image.id))
    sold_at: Mapped[datetime]
    territory: Mapped[str] = mapped_column(CHAR(2))
    currency: Mapped[str] = mapped_column(CHAR(3))
    price_micros: Mapped[int]
    """What the customer paid, tax included."""
    tax_micros: Mapped[int]
    payment_fee_micros: Mapped[int] = mapped_column(server_default="0")
    marketplace_fee_micros: Mapped[int] = mapped_column(server_default="0")
    other_deduction_micros: Mapped[int] = mapped_column(server_default="0")
    rate_card_id: Mapped[str | None]
    """None: the platform's default at the time of sale."""
    actor: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class Refund(Base):
    """Money given back on a sale, in part or in full; a chargeback is one by another name."""

    __tablename__ = "refund"
    __table_args__ = (
        CheckConstraint("external_id <> ''", name="external_id_not_empty"),
        CheckConstraint("amount_micros > 0", name="amount_positive"),
        CheckConstraint("kind IN ('refund', 'chargeback')", name="kind_known"),
        Index(None, "sale_id"),
        Index(None, "refunded_at"),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    external_id: Mapped[str] = mapped_column(unique=True)
    content_sha256: Mapped[bytes]
    sale_id: Mapped[int] = mapped_column(ForeignKey(Sale.id))
    kind: Mapped[str]
    refunded_at: Mapped[datetime]
    amount_micros: Mapped[int]
    """Part of the price given back, tax included; all refunds of a sale together never exceed its price."""
    actor: Mapped[str]
    recorded_at: Mapped[RecordedAt]
