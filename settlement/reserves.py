"""Reserves: what is held back of a payee's royalties against refunds to come, and given free by a schedule.

Taken is floor(rate x the positive sum of royalties, late lines and adjustments) of each source currency, before tax.
A refund takes from the oldest reserve first; a release is the part that the schedule names, as far as it is still
there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    CHAR,
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


class ReserveVersion(Base):
    """What is held back from a payee from `valid_from` until her next version; rate 0 ends it."""

    __tablename__ = "reserve_version"
    __table_args__ = (
        UniqueConstraint("payee_id", "valid_from"),
        CheckConstraint("rate_ppb BETWEEN 0 AND 1000000000", name="rate_in_range"),
        CheckConstraint("guard.is_release(release, rate_ppb)", name="release_whole"),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    payee_id: Mapped[str] = mapped_column(ForeignKey(Payee.payee_id))
    valid_from: Mapped[datetime]
    rate_ppb: Mapped[int]
    release: Mapped[dict[str, Any]]
    """Whole periods after the one it was taken in, to the part (ppb of what was taken) that is released then."""
    actor: Mapped[str]
    reason: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class Reserve(Base):
    """What one close held back from one payee in one source currency."""

    __tablename__ = "reserve"
    __table_args__ = (
        CheckConstraint("amount_micros BETWEEN 1 AND basis_micros", name="amounts"),
        {"schema": "settlement"},
    )

    payee_id: Mapped[str] = mapped_column(ForeignKey(Payee.payee_id), primary_key=True)
    currency: Mapped[str] = mapped_column(CHAR(3), primary_key=True)
    period_id: Mapped[str] = mapped_column(ForeignKey("settlement.period.period_id"), primary_key=True)
    reserve_version_id: Mapped[int] = mapped_column(ForeignKey(ReserveVersion.id))
    basis_micros: Mapped[int]
    amount_micros: Mapped[int]


class ReserveUse(Base):
    """What left a reserve in a period: for a refund, or released by the schedule."""

    __tablename__ = "reserve_use"
    __table_args__ = (
        ForeignKeyConstraint(
            ["payee_id", "currency", "taken_in"],
            [Reserve.payee_id, Reserve.currency, Reserve.period_id],
            name="reserve_use_taken_in_fkey",
        ),
        UniqueConstraint(
            "payee_id",
            "currency",
            "taken_in",
            "period_id",
            "refund_id",
            name="reserve_use_once",
            postgresql_nulls_not_distinct=True,
        ),
        CheckConstraint("amount_micros > 0", name="amount_positive"),
        Index(None, "period_id"),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    period_id: Mapped[str] = mapped_column(ForeignKey("settlement.period.period_id"))
    payee_id: Mapped[str]
    currency: Mapped[str] = mapped_column(CHAR(3))
    taken_in: Mapped[str]
    refund_id: Mapped[int | None] = mapped_column(ForeignKey(Refund.id))
    """None: released."""
    amount_micros: Mapped[int]


@dataclass(frozen=True, slots=True)
class ReserveTerms:
    """A payee's holdback from a moment on: ``rate_ppb``, and periods after to the part in ppb released then."""

    payee_id: str
    valid_from: datetime
    rate_ppb: int
    release: Mapping[int, int] = field(default_factory=dict)


def scheduled(amount_micros: int, release: Mapping[int, int], after: int) -> int:
    """What a reserve's schedule releases so many whole periods after it was taken, in micros.

    Cumulative floors, so that the parts are the whole.
    """
    before = sum(part for periods, part in release.items() if periods < after)
    return amount_micros * (before + release.get(after, 0)) // PPB - amount_micros * before // PPB


def record_reserve_terms(session: Session, given: Sequence[ReserveTerms], *, actor: str, reason: str) -> int:
    """Write the versions of reserve terms that are not known yet; returns how many.

    Raises:
        Invalid: a rate is no part of a whole, or the schedule does not release all of it.
        Conflict: the payee has other terms from the same moment on.
    """
    for terms in given:
        if not 0 <= terms.rate_ppb <= PPB:
            raise Invalid(f"the reserve of {terms.payee_id} has a rate that is not between 0 and 100 %")
        due = PPB if terms.rate_ppb else 0
        if sum(terms.release.values()) != due or not all(
            0 < periods < 1000 and part > 0 for periods, part in terms.release.items()
        ):
            raise Invalid(
                f"the reserve of {terms.payee_id} must release 100 % within 1 to 999 periods, or nothing if its "
                "rate is 0"
            )
    known = {
        (row.payee_id, row.valid_from): row
        for row in session.scalars(
            select(ReserveVersion).where(ReserveVersion.payee_id.in_([terms.payee_id for terms in given]))
        )
    }
    written = 0
    for terms in given:
        release = {str(periods): part for periods, part in terms.release.items()}
        before = known.get((terms.payee_id, terms.valid_from))
        if before is None:
            row = ReserveVersion(
                payee_id=terms.payee_id,
                valid_from=terms.valid_from,
                rate_ppb=terms.rate_ppb,
                release=release,
                actor=actor,
                reason=reason,
            )
            known[terms.payee_id, terms.valid_from] = row
            session.add(row)
            written += 1
        elif (before.rate_ppb, before.release) != (terms.rate_ppb, release):
            raise Conflict(
                f"the reserve of {terms.payee_id} is recorded otherwise from {terms.valid_from.date()} on; "
                "history stays: give the change a new valid_from"
            )
    session.flush()
    return written
