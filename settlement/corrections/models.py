"""Corrections as they were proposed, and what became of them. Append-only; the guards are in 0025_corrections.sql."""

from sqlalchemy import CHAR, CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from attribution.results import Attribution, MethodVersionRow
from database.base import Base, RecordedAt
from settlement.contracts import ContractVersion
from settlement.payees import Payee
from settlement.periods.models import Approval, Period, SaleSlice
from settlement.rates import RateCardVersion


class Correction(Base):
    """What one person proposes, whole: its sales and contracts are written before it, and nothing joins it after."""

    __tablename__ = "correction"
    __table_args__ = (
        CheckConstraint("correction_id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'", name="correction_id_form"),
        CheckConstraint("kind IN ('reattribution', 'terms', 'manual')", name="kind_known"),
        CheckConstraint(
            "(kind = 'reattribution') = (method_id IS NOT NULL)"
            " AND (kind = 'terms' OR rate_card_version_id IS NULL) AND (kind = 'manual' OR territory IS NULL)"
            " AND num_nonnulls(payee_id, currency, amount_micros) = CASE kind WHEN 'manual' THEN 3 ELSE 0 END",
            name="says_what",
        ),
        CheckConstraint("currency ~ '^[A-Z]{3}$' AND territory ~ '^[A-Z]{2}$'", name="codes_form"),
        CheckConstraint("amount_micros <> 0", name="amount_not_zero"),
        CheckConstraint("btrim(reason) <> ''", name="said_why"),
        CheckConstraint(
            "content_sha256 = sha256(convert_to(content, 'UTF8'))", name="content_sha256_of_content"
        ),
        {"schema": "settlement"},
    )

    correction_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    """`reattribution`: by another method version; `terms`: by other terms; `manual`: an amount by hand."""
    method_id: Mapped[int | None] = mapped_column(ForeignKey(MethodVersionRow.id))
    rate_card_version_id: Mapped[int | None] = mapped_column(ForeignKey(RateCardVersion.id))
    """The card that its sales should have been paid by; None: the one they were."""
    payee_id: Mapped[str | None] = mapped_column(ForeignKey(Payee.payee_id))
    currency: Mapped[str | None] = mapped_column(CHAR(3))
    territory: Mapped[str | None] = mapped_column(CHAR(2))
    """Where an amount by hand is taxed; None: nowhere."""
    amount_micros: Mapped[int | None]
    """To the payee; below zero: from her."""
    reason: Mapped[str]
    """Stands on the statements of everybody whom it concerns: it names nobody."""
    content: Mapped[str]
    """Canonical JSON (RFC 8785) of all that is proposed, and of its preview: see `settlement.corrections.preview`."""
    content_sha256: Mapped[bytes]
    """What is approved."""
    actor: Mapped[str]
    """The maker."""
    recorded_at: Mapped[RecordedAt]


class CorrectionSale(Base):
    """A sale that a correction divides anew."""

    __tablename__ = "correction_sale"
    __table_args__ = (
        CheckConstraint("slice_before_micros >= 0 AND slice_micros >= 0", name="not_negative"),
        Index(None, "sale_id"),
        {"schema": "settlement"},
    )

    correction_id: Mapped[str] = mapped_column(
        ForeignKey(Correction.correction_id, deferrable=True, initially="DEFERRED"), primary_key=True
    )
    sale_id: Mapped[int] = mapped_column(ForeignKey(SaleSlice.sale_id), primary_key=True)
    attribution_id: Mapped[int | None] = mapped_column(ForeignKey(Attribution.id))
    """By which it is divided; None where the rate card's key needs none."""
    rate_card_version_id: Mapped[int] = mapped_column(ForeignKey(RateCardVersion.id))
    slice_before_micros: Mapped[int]
    slice_micros: Mapped[int]
    """What it pays since, to all players together."""


class CorrectionContract(Base):
    """A contract version that holds for a correction, whatever the date of the sale."""

    __tablename__ = "correction_contract"
    __table_args__ = ({"schema": "settlement"},)

    correction_id: Mapped[str] = mapped_column(
        ForeignKey(Correction.correction_id, deferrable=True, initially="DEFERRED"), primary_key=True
    )
    artist_id: Mapped[str] = mapped_column(primary_key=True)
    contract_version_id: Mapped[int] = mapped_column(ForeignKey(ContractVersion.id))


class CorrectionWithdrawal(Base):
    """A correction that will not be applied."""

    __tablename__ = "correction_withdrawal"
    __table_args__ = (
        CheckConstraint("btrim(reason) <> ''", name="said_why"),
        {"schema": "settlement"},
    )

    correction_id: Mapped[str] = mapped_column(ForeignKey(Correction.correction_id), primary_key=True)
    actor: Mapped[str]
    reason: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class CorrectionApplication(Base):
    """The close that applied a correction: its lines of kind `adjustment` stand in that period."""

    __tablename__ = "correction_application"
    __table_args__ = (Index(None, "period_id"), {"schema": "settlement"})

    correction_id: Mapped[str] = mapped_column(ForeignKey(Correction.correction_id), primary_key=True)
    period_id: Mapped[str] = mapped_column(ForeignKey(Period.period_id))
    approval_id: Mapped[int] = mapped_column(ForeignKey(Approval.id), unique=True)
