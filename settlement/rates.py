"""Rate cards and platform terms: what a sale earns, the model developer, the minimum payout. Versions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import CHAR, CheckConstraint, ForeignKey, Integer, UniqueConstraint, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column

from database.base import Base, Key, RecordedAt
from database.errors import Conflict, NotFound
from settlement.payees import Payee
from settlement.versions import closed_until, require_open_start


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
        # A percentage of the base, or a fee per sale in a stated currency; a pool is a percentage, without more.
        CheckConstraint(
            "(rate_ppb IS NULL) <> (fee_micros IS NULL)"
            " AND (fee_micros IS NULL AND minimum_micros IS NULL) = (currency IS NULL)"
            " AND (model = 'per_image' OR rate_ppb IS NOT NULL AND minimum_micros IS NULL)",
            name="rate_or_fee",
        ),
        CheckConstraint(
            "minimum_micros IS NULL OR minimum_micros > 0 AND rate_ppb IS NOT NULL", name="minimum_of_rate"
        ),
        CheckConstraint("(distribution_key = 'proxy') = (weights IS NOT NULL)", name="weights_if_proxy"),
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
    minimum_micros: Mapped[int | None]
    """What a sale pays at least, whatever its base; in `currency`."""
    weights: Mapped[dict[str, int] | None] = mapped_column(JSONB(none_as_null=True))
    """Player (artist or `C`) to weight above zero: whom the key `proxy` divides among, whatever the image."""
    public_domain_payee_id: Mapped[str | None] = mapped_column(ForeignKey(Payee.payee_id))
    """Who gets the shares of artists in the public domain; None: the model developer."""


class PlatformVersion(Base):
    """The platform's own terms from `valid_from` on."""

    __tablename__ = "platform_version"
    __table_args__ = (
        CheckConstraint("dispute_days > 0", name="dispute_days_positive"),
        CheckConstraint("bank_details_cooling_off_days >= 0", name="cooling_off_not_negative"),
        CheckConstraint(
            "(fallback_key IS NULL) = (fallback_after_periods IS NULL) AND fallback_after_periods > 0",
            name="fallback_whole",
        ),
        CheckConstraint("pending_limit_ppb BETWEEN 0 AND 1000000000", name="pending_limit_is_share"),
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
    bank_details_cooling_off_days: Mapped[int] = mapped_column(Integer, server_default="0")
    """Days for which a payee whose account was changed is not paid."""
    dispute_contact: Mapped[str]
    """Where a payee writes to if she disputes a statement."""
    dispute_days: Mapped[int | None] = mapped_column(Integer)
    """Days after a period's end within which its statement can be disputed; None: no limit."""
    zero_statements: Mapped[bool] = mapped_column(server_default="false")
    """Whether a payee without balance or activity gets a statement too."""
    actor: Mapped[str]
    reason: Mapped[str]
    recorded_at: Mapped[RecordedAt]
    fallback_after_periods: Mapped[int | None] = mapped_column(Integer)
    """For how many whole periods unclaimed and unattributed money waits before the fallback key divides it."""
    fallback_key: Mapped[dict[str, int] | None] = mapped_column(JSONB(none_as_null=True))
    """Payee to part in ppb, 10^9 in all; None: such money waits for ever."""
    pending_limit_ppb: Mapped[int | None]
    """Share of a period's royalties that may wait for an attribution without a checker's word; None: any."""


@dataclass(frozen=True, slots=True)
class RateCard:
    """A rate card from a moment on, as `RateCardVersion` keeps it.

    Either ``rate_ppb`` of the base, with ``minimum_micros`` of ``currency`` at least, or ``fee_micros`` of ``currency``
    per sale.
    """

    rate_card_id: str
    valid_from: datetime
    model: str
    rate_ppb: int | None
    fee_micros: int | None
    currency: str | None
    content_to: str
    distribution_key: str
    minimum_micros: int | None = None
    weights: dict[str, int] | None = None
    public_domain_payee_id: str | None = None


@dataclass(frozen=True, slots=True)
class PlatformTerms:
    """The platform's terms from a moment on, as `PlatformVersion` keeps them."""

    valid_from: datetime
    platform_payee_id: str
    model_developer_id: str
    default_rate_card_id: str
    zone: str
    minimum_payout: dict[str, str]
    dispute_contact: str
    dispute_days: int | None
    bank_details_cooling_off_days: int = 0
    zero_statements: bool = False
    fallback_after_periods: int | None = None
    fallback_key: dict[str, int] | None = None
    pending_limit_ppb: int | None = None


def record_rate_cards(session: Session, given: Sequence[RateCard], *, actor: str, reason: str) -> int:
    """Write the rate-card versions that are not known yet; returns how many.

    Raises:
        Conflict: the card has another version from the same moment on, or one that follows another would begin in a
            closed period.
    """
    known = {
        (row.rate_card_id, row.valid_from): row
        for row in session.scalars(
            select(RateCardVersion).where(RateCardVersion.rate_card_id.in_([c.rate_card_id for c in given]))
        )
    }
    ids = {rate_card_id for rate_card_id, _ in known}
    closed = closed_until(session)
    written = 0
    for card in given:
        before = known.get((card.rate_card_id, card.valid_from))
        if before is None:
            if card.rate_card_id in ids:
                require_open_start(f"rate card {card.rate_card_id}", card.valid_from, closed)
            session.add(RateCardVersion(**asdict(card), actor=actor, reason=reason))
            written += 1
        elif any(getattr(before, field.name) != getattr(card, field.name) for field in fields(card)):
            raise Conflict(
                f"rate card {card.rate_card_id} is recorded otherwise from {card.valid_from.date()} on; "
                "history stays: give the change a new valid_from"
            )
    session.flush()
    return written


def record_platform(session: Session, terms: PlatformTerms, *, actor: str, reason: str) -> int:
    """Write the platform's terms if they are not known yet; returns 1 if it did.

    Raises:
        Conflict: other terms are recorded from the same moment on, or these would begin in a closed period.
    """
    before = session.scalar(select(PlatformVersion).where(PlatformVersion.valid_from == terms.valid_from))
    if before is not None:
        if any(getattr(before, field.name) != getattr(terms, field.name) for field in fields(terms)):
            raise Conflict(
                f"the platform's terms are recorded otherwise from {terms.valid_from.date()} on; "
                "history stays: give the change a new valid_from"
            )
        return 0
    if platform_now(session) is not None:
        require_open_start("the platform's terms", terms.valid_from, closed_until(session))
    session.add(PlatformVersion(**asdict(terms), actor=actor, reason=reason))
    session.flush()
    return 1


def platform_at(session: Session, moment: datetime) -> PlatformVersion:
    """The platform's terms in force at a moment.

    Raises:
        NotFound: none are recorded for then.
    """
    found = session.scalar(
        select(PlatformVersion)
        .where(PlatformVersion.valid_from <= moment)
        .order_by(PlatformVersion.valid_from.desc())
        .limit(1)
    )
    if found is None:
        raise NotFound(
            f"no platform terms are in force on {moment.date()}: load a catalogue with an earlier valid_from "
            "(`royalty catalogue load FILE`)"
        )
    return found


def platform_now(session: Session) -> PlatformVersion | None:
    """The platform's newest terms, in force now or later; None before the first catalogue is loaded."""
    return session.scalar(select(PlatformVersion).order_by(PlatformVersion.valid_from.desc()).limit(1))


@dataclass(frozen=True, slots=True)
class Terms:
    """Every version of the platform's terms and rate cards, newest first, to look up many sales."""

    platforms: Sequence[PlatformVersion]
    rate_cards: Mapping[str, Sequence[RateCardVersion]]

    def objection(self, moment: datetime, rate_card_id: str | None, currency: str) -> str | None:
        """Why a sale of that moment, rate card (None: the default) and currency cannot earn; None if it can."""
        # Whatever the rate card: the platform's terms say who gets the content's share.
        platform = next((p for p in self.platforms if p.valid_from <= moment), None)
        if platform is None:
            return (
                f"no platform terms are in force on {moment.date()}; load a catalogue with an earlier "
                "valid_from"
            )
        if rate_card_id is None:
            rate_card_id = platform.default_rate_card_id
        if rate_card_id not in self.rate_cards:
            return f"there is no rate card {rate_card_id}; add it to the catalogue and load it"
        card = next((c for c in self.rate_cards[rate_card_id] if c.valid_from <= moment), None)
        if card is None:
            return (
                f"rate card {rate_card_id} is not in force on {moment.date()}; load a catalogue with an earlier "
                "valid_from"
            )
        if card.currency is not None and card.currency != currency:
            what = "pays a fee" if card.minimum_micros is None else "guarantees an amount"
            return f"rate card {rate_card_id} {what} in {card.currency}, the sale is in {currency}"
        return None


def load_terms(session: Session) -> Terms:
    """All platform terms and rate cards; there are few."""
    cards: dict[str, list[RateCardVersion]] = {}
    for card in session.scalars(select(RateCardVersion).order_by(RateCardVersion.valid_from.desc())):
        cards.setdefault(card.rate_card_id, []).append(card)
    platforms = session.scalars(select(PlatformVersion).order_by(PlatformVersion.valid_from.desc())).all()
    return Terms(platforms, cards)
