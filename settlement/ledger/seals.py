"""Sealing: everything booked before an instant is final."""

from datetime import datetime

from sqlalchemy import or_, select, text
from sqlalchemy.orm import Session

from database.errors import Conflict
from settlement.ledger.models import Seal


def seal(session: Session, name: str, sealed_before: datetime, actor: str) -> None:
    """Seal everything booked before ``sealed_before``; the same seal again changes nothing.

    Waits for every transaction that is posting now: it commits before the seal or is refused after it.

    Raises:
        Conflict: the name stands for another instant, or the instant for another name.
    """
    session.execute(
        text(
            "INSERT INTO ledger.seal (name, sealed_before, actor) VALUES (:name, :sealed_before, :actor)"
            " ON CONFLICT DO NOTHING"
        ),
        {"name": name, "sealed_before": sealed_before, "actor": actor},
    )
    known = session.scalars(
        select(Seal).where(or_(Seal.name == name, Seal.sealed_before == sealed_before))
    ).all()
    if [(row.name, row.sealed_before) for row in known] != [(name, sealed_before)]:
        there = ", ".join(f"{row.name} before {row.sealed_before.isoformat()}" for row in known)
        raise Conflict(
            f"{name} cannot be sealed before {sealed_before.isoformat()}: sealed already is {there}"
        )


def sealed_before(session: Session) -> datetime | None:
    """The instant before which everything is sealed; None if nothing is."""
    found: datetime | None = session.scalar(text("SELECT max(sealed_before) FROM ledger.seal"))
    return found
