"""Rates of exchange, as dated versions that an operator enters, and what a close converted by them.

A statement has a column for each currency that something was sold in and closes in the payee's payout currency: each
other column is summed first and converted once, floor(source x rate), at the rate in force at the period's last
instant. There is no inverse and no cross rate: what is not entered is asked for.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Annotated

from sqlalchemy import CHAR, CheckConstraint, ForeignKey, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from database.base import Base, Key, RecordedAt
from database.errors import Conflict, Invalid
from settlement.money import check_currency
from settlement.payees import Payee

TRILLION = 10**12
"""Parts of a rate's unit: rates are integers in 10^-12."""

_RATE = re.compile(r"(0|[1-9][0-9]{0,5})(?:\.([0-9]{1,12}))?")


class FxRateVersion(Base):
    """What one unit of the source currency is worth in the target, from `valid_from` until the next version."""

    __tablename__ = "fx_rate"
    __table_args__ = (
        UniqueConstraint("source_currency", "target_currency", "valid_from"),
        CheckConstraint(
            "source_currency ~ '^[A-Z]{3}$' AND target_currency ~ '^[A-Z]{3}$'"
            " AND source_currency <> target_currency",
            name="currencies",
        ),
        CheckConstraint("rate_trillionths > 0", name="rate_positive"),
        CheckConstraint("source <> ''", name="source_named"),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    source_currency: Mapped[str] = mapped_column(CHAR(3))
    target_currency: Mapped[str] = mapped_column(CHAR(3))
    valid_from: Mapped[datetime]
    rate_trillionths: Mapped[int]
    source: Mapped[str]
    """Who publishes the rate: `ECB`, a bank, a contract."""
    actor: Mapped[str]
    reason: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class Conversion(Base):
    """One payee's foreign column of one period, converted once: the rows are the set of rates frozen with the run."""

    __tablename__ = "conversion"
    __table_args__ = (
        CheckConstraint("source_micros <> 0", name="source_not_zero"),
        {"schema": "settlement"},
    )

    payee_id: Mapped[str] = mapped_column(ForeignKey(Payee.payee_id), primary_key=True)
    period_id: Mapped[str] = mapped_column(ForeignKey("settlement.period.period_id"), primary_key=True)
    currency: Mapped[str] = mapped_column(CHAR(3), primary_key=True)
    """Of the column; the rate says into which."""
    fx_rate_id: Mapped[int] = mapped_column(ForeignKey(FxRateVersion.id))
    source_micros: Mapped[int]
    target_micros: Mapped[int]


@dataclass(frozen=True, slots=True)
class FxRate:
    """A rate from a moment on: ``rate_trillionths`` in 10^-12 units of the target for one unit of the source."""

    source_currency: str
    target_currency: str
    valid_from: datetime
    rate_trillionths: int
    source: str


def parse_rate(text: str) -> int:
    """Trillionths of a rate's decimal string, for example ``"0.0061"``: at most 6 digits before and 12 after the point.

    Raises:
        Invalid: it is no such number, or not above zero.
    """
    match = _RATE.fullmatch(text)
    trillionths = int(match[1]) * TRILLION + int((match[2] or "").ljust(12, "0")) if match else 0
    if not trillionths:
        raise Invalid(
            f"{text[:40]!r} is not a rate of exchange: write digits, '.' and at most 12 decimals, for example 1.0847"
        )
    return trillionths


def rate_to_decimal(trillionths: int) -> str:
    """A rate as a decimal string with twelve decimals: 1084700000000 is ``"1.084700000000"``."""
    whole, rest = divmod(trillionths, TRILLION)
    return f"{whole}.{rest:012}"


Rate = Annotated[int, rate_to_decimal]
"""A rate of exchange in a document's class: trillionths here, a decimal string with twelve decimals in its JSON."""


def converted(source_micros: int, rate_trillionths: int) -> int:
    """Micros of the target currency: floor(source x rate), below zero further down."""
    return source_micros * rate_trillionths // TRILLION


def record_fx_rates(session: Session, given: Sequence[FxRate], *, actor: str, reason: str) -> int:
    """Write the rates that are not known yet; returns how many.

    Raises:
        Invalid: a currency is none, both are the same, or the rate is not above zero.
        Conflict: the pair has another rate from the same moment on.
    """
    for rate in given:
        if check_currency(rate.source_currency) == check_currency(rate.target_currency):
            raise Invalid(f"a rate from {rate.source_currency} to itself is 1: leave it out")
        if not 0 < rate.rate_trillionths < 2**63:
            raise Invalid(f"the rate from {rate.source_currency} to {rate.target_currency} is out of range")
    known = {
        (row.source_currency, row.target_currency, row.valid_from): row
        for row in session.scalars(
            select(FxRateVersion).where(FxRateVersion.valid_from.in_({rate.valid_from for rate in given}))
        )
    }
    written = 0
    for rate in given:
        key = (rate.source_currency, rate.target_currency, rate.valid_from)
        before = known.get(key)
        if before is None:
            known[key] = FxRateVersion(**asdict(rate), actor=actor, reason=reason)
            session.add(known[key])
            written += 1
        elif any(getattr(before, field.name) != getattr(rate, field.name) for field in fields(rate)):
            raise Conflict(
                f"the rate from {rate.source_currency} to {rate.target_currency} is recorded otherwise from "
                f"{rate.valid_from.date()} on; history stays: give the change a new valid_from"
            )
    session.flush()
    return written


def fx_rates(session: Session) -> list[FxRateVersion]:
    """Every rate that was entered, by pair of currencies, the newest first."""
    return list(
        session.scalars(
            select(FxRateVersion).order_by(
                FxRateVersion.source_currency, FxRateVersion.target_currency, FxRateVersion.valid_from.desc()
            )
        )
    )
