"""Withholding tax: each payee's profile as dated versions, and what closes withheld and gave back by it.

Withheld is floor(sum x rate) per source currency and territory of the sales: of the period's royalties, late lines and
adjustments, net of refunds of these very lines; nothing of a sum below zero. A refund of a line of an earlier period
gives back what would not have been withheld then without it: the rate and the base are those of that period.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    CHAR,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    UniqueConstraint,
    select,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from database.base import Base, Key, RecordedAt
from database.errors import Conflict, Invalid
from settlement.money import PPB
from settlement.payees import Payee
from settlement.sales import Refund


class TaxProfileVersion(Base):
    """What is withheld from a payee from `valid_from` until her next version; zero rates end it."""

    __tablename__ = "tax_profile_version"
    __table_args__ = (
        UniqueConstraint("payee_id", "valid_from"),
        CheckConstraint("default_ppb BETWEEN 0 AND 1000000000", name="default_in_range"),
        CheckConstraint(
            "jsonb_typeof(rates) = 'object'"
            " AND NOT jsonb_path_exists(rates, '$.keyvalue() ? (!(@.key like_regex \"^[A-Z]{2}$\"))')"
            " AND NOT jsonb_path_exists(rates,"
            " 'strict $.* ? (@.type() != \"number\" || @ < 0 || @ > 1000000000 || @ % 1 != 0)')",
            name="rates_form",
        ),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    payee_id: Mapped[str] = mapped_column(ForeignKey(Payee.payee_id))
    valid_from: Mapped[datetime]
    default_ppb: Mapped[int]
    """For territories that `rates` does not name."""
    rates: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    """Territory (ISO 3166, two letters) to ppb."""
    actor: Mapped[str]
    reason: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class TaxDetermination(Base):
    """What a close withheld from one payee for one source currency and territory."""

    __tablename__ = "tax_determination"
    __table_args__ = (
        CheckConstraint("rate_ppb BETWEEN 0 AND 1000000000", name="rate_in_range"),
        CheckConstraint(
            "withheld_micros = div(greatest(base_micros, 0)::numeric * rate_ppb, 1000000000)",
            name="floor_of_rate",
        ),
        {"schema": "settlement"},
    )

    payee_id: Mapped[str] = mapped_column(ForeignKey(Payee.payee_id), primary_key=True)
    period_id: Mapped[str] = mapped_column(ForeignKey("settlement.period.period_id"), primary_key=True)
    currency: Mapped[str] = mapped_column(CHAR(3), primary_key=True)
    territory: Mapped[str] = mapped_column(CHAR(2), primary_key=True)
    tax_profile_version_id: Mapped[int] = mapped_column(ForeignKey(TaxProfileVersion.id))
    rate_ppb: Mapped[int]
    base_micros: Mapped[int]
    """Royalties, late lines and adjustments, net of refunds of the same period's lines; may be below zero."""
    withheld_micros: Mapped[int]


class TaxReversal(Base):
    """What a later refund took off the base of an earlier determination, and the tax that it gave back."""

    __tablename__ = "tax_reversal"
    __table_args__ = (
        ForeignKeyConstraint(
            ["payee_id", "taxed_in", "currency", "territory"],
            [
                "settlement.tax_determination.payee_id",
                "settlement.tax_determination.period_id",
                "settlement.tax_determination.currency",
                "settlement.tax_determination.territory",
            ],
            name="tax_reversal_taxed_in_fkey",
        ),
        CheckConstraint("base_micros > 0 AND given_back_micros BETWEEN 0 AND base_micros", name="amounts"),
        Index(None, "period_id"),
        {"schema": "settlement"},
    )

    payee_id: Mapped[str] = mapped_column(primary_key=True)
    taxed_in: Mapped[str] = mapped_column(primary_key=True)
    """Period of the determination."""
    currency: Mapped[str] = mapped_column(CHAR(3), primary_key=True)
    territory: Mapped[str] = mapped_column(CHAR(2), primary_key=True)
    refund_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Refund.id), primary_key=True)
    period_id: Mapped[str] = mapped_column(ForeignKey("settlement.period.period_id"))
    """Period of the refund."""
    base_micros: Mapped[int]
    given_back_micros: Mapped[int]


@dataclass(frozen=True, slots=True)
class TaxProfile:
    """A payee's rates from a moment on, in ppb: by territory, and ``default_ppb`` for all others."""

    payee_id: str
    valid_from: datetime
    default_ppb: int
    rates: Mapping[str, int] = field(default_factory=dict)

    def rate(self, territory: str) -> int:
        """The rate for sales in a territory, in ppb."""
        return self.rates.get(territory, self.default_ppb)


def withheld(base_micros: int, rate_ppb: int) -> int:
    """Tax on a sum, in micros: floor(sum x rate), and nothing on a sum below zero."""
    return max(base_micros, 0) * rate_ppb // PPB


def record_tax_profiles(session: Session, given: Sequence[TaxProfile], *, actor: str, reason: str) -> int:
    """Write the versions of tax profiles that are not known yet; returns how many.

    Raises:
        Invalid: a rate is below 0 or above 100 %, or a territory is none.
        Conflict: the payee has other rates from the same moment on.
    """
    for profile in given:
        if not all(0 <= rate <= PPB for rate in (profile.default_ppb, *profile.rates.values())):
            raise Invalid(f"the tax profile of {profile.payee_id} has a rate that is not between 0 and 100 %")
        for territory in profile.rates:
            if not (len(territory) == 2 and territory.isascii() and territory.isupper()):
                raise Invalid(
                    f"{territory!r} in the tax profile of {profile.payee_id} is not a territory: write two capital "
                    "letters as in ISO 3166, for example US"
                )
    known = {
        (row.payee_id, row.valid_from): row
        for row in session.scalars(
            select(TaxProfileVersion).where(
                TaxProfileVersion.payee_id.in_([profile.payee_id for profile in given])
            )
        )
    }
    written = 0
    for profile in given:
        before = known.get((profile.payee_id, profile.valid_from))
        if before is None:
            row = TaxProfileVersion(
                payee_id=profile.payee_id,
                valid_from=profile.valid_from,
                default_ppb=profile.default_ppb,
                rates=dict(profile.rates),
                actor=actor,
                reason=reason,
            )
            known[profile.payee_id, profile.valid_from] = row
            session.add(row)
            written += 1
        elif (before.default_ppb, before.rates) != (profile.default_ppb, dict(profile.rates)):
            raise Conflict(
                f"the tax profile of {profile.payee_id} is recorded otherwise from {profile.valid_from.date()} on; "
                "history stays: give the change a new valid_from"
            )
    session.flush()
    return written
