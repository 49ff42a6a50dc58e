"""Holds: flags with a reason that stop a payee's payouts. Any number may be open; each is released by itself."""

from datetime import date

from sqlalchemy import select
from sqlalchemy.orm import Session

from database.errors import Conflict, NotFound
from settlement.payees import Payee
from settlement.payouts.models import Hold, HoldRelease


def open_hold(
    session: Session, payee_id: str, reason: str, actor: str, expected_until: date | None = None
) -> int:
    """Open a hold; returns its number.

    Raises:
        NotFound: no such payee.
    """
    if session.get(Payee, payee_id) is None:
        raise NotFound(f"no payee {payee_id}; look it up in the catalogue file")
    hold = Hold(payee_id=payee_id, reason=reason, actor=actor, expected_until=expected_until)
    session.add(hold)
    session.flush()
    return hold.id


def release_hold(session: Session, number: int, reason: str, actor: str) -> None:
    """End a hold.

    Raises:
        NotFound: no such hold.
        Conflict: it is released already.
    """
    if session.get(Hold, number) is None:
        raise NotFound(f"no hold {number}; `royalty hold list` shows what is open")
    if session.get(HoldRelease, number) is not None:
        raise Conflict(f"hold {number} is released already")
    session.add(HoldRelease(hold_id=number, reason=reason, actor=actor))
    session.flush()


def open_holds(session: Session) -> list[Hold]:
    """Every hold that is open, oldest first."""
    released = select(HoldRelease).where(HoldRelease.hold_id == Hold.id)
    return list(session.scalars(select(Hold).where(~released.exists()).order_by(Hold.id)))
