"""Advances: money paid to a payee before she earned it, recouped from what she earns.

One person agrees an advance, another approves it, and only then is it paid. Each close recoups in the payout currency,
the oldest first, out of the smaller of the balance at the period's last instant and the balance now; never below zero.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

import rfc8785
from sqlalchemy import CHAR, CheckConstraint, ForeignKey, Index, and_, func, literal, select, text
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column

from database.base import Base, RecordedAt
from database.errors import Conflict, Invalid, NotFound, Refused
from settlement.ledger import post
from settlement.ledger.models import Journal
from settlement.money import MAX_MICROS, format_money, to_decimal
from settlement.payees import Payee
from settlement.periods.models import Approval
from settlement.posting import ADVANCE_PAID, ADVANCE_RETURNED, Rule

KIND = "advance"
"""The kind of an advance's approval."""


class Advance(Base):
    """An advance as agreed, in its payee's payout currency. It counts once it is paid, which its journal says."""

    __tablename__ = "advance"
    __table_args__ = (
        CheckConstraint("advance_id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'", name="advance_id_form"),
        CheckConstraint("amount_micros > 0", name="amount_positive"),
        CheckConstraint("octet_length(content_sha256) = 32", name="content_sha256_length"),
        Index(None, "payee_id"),
        {"schema": "settlement"},
    )

    advance_id: Mapped[str] = mapped_column(primary_key=True)
    payee_id: Mapped[str] = mapped_column(ForeignKey(Payee.payee_id))
    currency: Mapped[str] = mapped_column(CHAR(3))
    amount_micros: Mapped[int]
    content_sha256: Mapped[bytes]
    """What is approved: `advance_digest`."""
    actor: Mapped[str]
    """The maker."""
    reason: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class Recoupment(Base):
    """What one close took back of one advance."""

    __tablename__ = "recoupment"
    __table_args__ = (
        CheckConstraint("amount_micros > 0", name="amount_positive"),
        Index(None, "period_id"),
        {"schema": "settlement"},
    )

    advance_id: Mapped[str] = mapped_column(ForeignKey(Advance.advance_id), primary_key=True)
    period_id: Mapped[str] = mapped_column(ForeignKey("settlement.period.period_id"), primary_key=True)
    amount_micros: Mapped[int]


def advance_digest(advance_id: str, payee_id: str, currency: str, amount_micros: int) -> bytes:
    """SHA-256 of an advance's canonical JSON: what the checker approves."""
    content = {
        "advance": advance_id,
        "payee": payee_id,
        "currency": currency,
        "amount": to_decimal(amount_micros),
    }
    return hashlib.sha256(rfc8785.dumps(content)).digest()


def record_advance(
    session: Session, advance_id: str, payee_id: str, amount_micros: int, *, actor: str, reason: str
) -> bool:
    """Record an advance as agreed; nothing is paid yet. Known already: nothing happens, and False is returned.

    Args:
        session: role `settlement`.
        advance_id: its own id, for example of the agreement.
        payee_id: who gets it, in her payout currency.
        amount_micros: above zero.
        actor: the maker; another person approves.
        reason: why.

    Raises:
        NotFound: no such payee.
        Invalid: the amount is not above zero.
        Conflict: the id stands for another advance.
    """
    payee = session.get(Payee, payee_id)
    if payee is None:
        raise NotFound(f"no payee {payee_id}; look it up in the catalogue file")
    if not 0 < amount_micros <= MAX_MICROS:
        raise Invalid(f"advance {advance_id} is of {to_decimal(amount_micros)}: an advance is above zero")
    digest = advance_digest(advance_id, payee_id, payee.currency, amount_micros)
    before = session.get(Advance, advance_id)
    if before is not None:
        if before.content_sha256 != digest:
            raise Conflict(
                f"advance {advance_id} is recorded otherwise: {format_money(before.amount_micros, before.currency)} "
                f"to {before.payee_id}; give the other one an id of its own"
            )
        return False
    session.add(
        Advance(
            advance_id=advance_id,
            payee_id=payee_id,
            currency=payee.currency,
            amount_micros=amount_micros,
            content_sha256=digest,
            actor=actor,
            reason=reason,
        )
    )
    session.flush()
    return True


def approve_advance(session: Session, advance_id: str, *, checker: str) -> Approval:
    """Approve an advance, as it is recorded.

    Args:
        session: a transaction of the role `approver`, which may do nothing else.
        advance_id: which one.
        checker: the authenticated person; never the maker.

    Raises:
        NotFound: no such advance.
        Refused: the checker is the maker.
        Conflict: it is approved already.
    """
    advance = find_advance(session, advance_id)
    if advance.actor == checker:
        raise Refused(f"{checker} has agreed advance {advance_id}: another person must approve it")
    if approval_of_advance(session, advance) is not None:
        raise Conflict(f"advance {advance_id} is approved already")
    approval = Approval(
        kind=KIND,
        subject=advance_id,
        content_sha256=advance.content_sha256,
        maker=advance.actor,
        checker=checker,
    )
    session.add(approval)
    session.flush()
    return approval


def pay_advance(session: Session, advance_id: str, *, paid_at: datetime, actor: str) -> bool:
    """Post that an approved advance was paid: from then on it is recouped. Posted already: False.

    Raises:
        NotFound: no such advance.
        Refused: nobody has approved it.
        Conflict: it was posted as paid at another time, or came back since.
    """
    advance = find_advance(session, advance_id)
    approval = approval_of_advance(session, advance)
    if approval is None:
        raise Refused(f"advance {advance_id} is not approved: another person than {advance.actor} must do so")
    if _posted_at(session, ADVANCE_RETURNED, advance_id) is not None:
        raise Conflict(
            f"advance {advance_id} was paid and came back: record what is paid now under another id"
        )
    entry = ADVANCE_PAID.entry(
        advance.amount_micros,
        advance.currency,
        {"advance": advance_id, "payee": advance.payee_id},
        booked_at=paid_at,
        actor=actor,
        approved_by=approval.checker,
    )
    return post(session, [entry]).posted == 1


def return_advance(session: Session, advance_id: str, *, returned_at: datetime, actor: str) -> bool:
    """Post that an advance came back, before anything of it was recouped: nobody owes it. Posted already: False.

    Args:
        session: role `settlement`.
        advance_id: which one.
        returned_at: when the bank booked it; in the open period if its own is sealed.
        actor: who says so.

    Raises:
        NotFound: no such advance.
        Refused: it was not paid, or something of it is recouped.
    """
    advance = find_advance(session, advance_id)
    if _posted_at(session, ADVANCE_PAID, advance_id) is None:
        raise Refused(f"advance {advance_id} is not paid: nothing of it can come back")
    # As the table's trigger has it: a close that recoups is waited for.
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('settlement.recoupment', 0))"))
    recouped = session.scalar(
        select(func.sum(Recoupment.amount_micros)).where(Recoupment.advance_id == advance_id)
    )
    if recouped:
        raise Refused(
            f"{format_money(int(recouped), advance.currency)} of advance {advance_id} is recouped: correct the payee's "
            "balance by hand (`royalty correction propose`)"
        )
    if _posted_at(session, ADVANCE_RETURNED, advance_id) is not None:
        return False
    entry = ADVANCE_RETURNED.entry(
        advance.amount_micros,
        advance.currency,
        {"payee": advance.payee_id, "advance": advance_id},
        booked_at=returned_at,
        actor=actor,
    )
    return post(session, [entry]).posted == 1


@dataclass(frozen=True, slots=True)
class AdvanceStatus:
    """An advance and how far it has come."""

    advance: Advance
    checker: str | None
    paid_at: datetime | None
    returned_at: datetime | None
    recouped_micros: int

    @property
    def state(self) -> str:
        """agreed, approved, paid, recouped or returned."""
        if self.returned_at is not None:
            return "returned"
        if self.paid_at is not None:
            return "recouped" if self.recouped_micros == self.advance.amount_micros else "paid"
        return "approved" if self.checker else "agreed"


def advances(session: Session, *, after: str = "", limit: int = 200) -> list[AdvanceStatus]:
    """Advances by id in byte order, at most ``limit`` after an id."""
    paid, returned = aliased(Journal), aliased(Journal)
    recouped = (
        select(func.coalesce(func.sum(Recoupment.amount_micros), 0))
        .where(Recoupment.advance_id == Advance.advance_id)
        .scalar_subquery()
    )
    rows = session.execute(
        select(Advance, Approval.checker, paid.booked_at, returned.booked_at, recouped)
        .outerjoin(
            Approval,
            and_(
                Approval.kind == KIND,
                Approval.subject == Advance.advance_id,
                Approval.content_sha256 == Advance.content_sha256,
            ),
        )
        .outerjoin(paid, paid.key == literal("advance:") + Advance.advance_id)
        .outerjoin(returned, returned.key == literal("advance:") + Advance.advance_id + ":returned")
        .where(Advance.advance_id.collate("C") > after)
        .order_by(Advance.advance_id.collate("C"))
        .limit(limit)
    )
    return [
        AdvanceStatus(advance, checker, paid_at, returned_at, int(sum_recouped))
        for advance, checker, paid_at, returned_at, sum_recouped in rows
    ]


def find_advance(session: Session, advance_id: str) -> Advance:
    """An advance by its id. Raises `NotFound` if there is none."""
    advance = session.get(Advance, advance_id)
    if advance is None:
        raise NotFound(f"no advance {advance_id} is recorded")
    return advance


def approval_of_advance(session: Session, advance: Advance) -> Approval | None:
    """The approval of an advance as it is recorded; None if there is none."""
    return session.scalar(
        select(Approval).where(
            Approval.kind == KIND,
            Approval.subject == advance.advance_id,
            Approval.content_sha256 == advance.content_sha256,
        )
    )


def _posted_at(session: Session, rule: Rule, advance_id: str) -> datetime | None:
    """When an advance's journal by a rule is booked; None if it is not posted."""
    return session.scalar(select(Journal.booked_at).where(Journal.key == rule.key.format(advance=advance_id)))
