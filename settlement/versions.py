"""Versions of terms: what holds from `valid_from` until the next version's start. When a new one may begin."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from database.errors import Conflict


def closed_until(session: Session) -> datetime | None:
    """When the last closed period ended; None before the first close."""
    found: datetime | None = session.scalar(
        text("SELECT max(ends_at) FROM settlement.period WHERE state = 'closed'")
    )
    return found


def require_open_start(what: str, valid_from: datetime, closed: datetime | None) -> None:
    """Raise `Conflict` if a version that follows another would begin in a closed period.

    What a closed period was paid by stays, for sales of it that come late too. A first version may go back.

    Args:
        what: whose version, for the message.
        valid_from: when it would begin.
        closed: `closed_until`.
    """
    if closed is not None and valid_from < closed:
        raise Conflict(
            f"{what} cannot change from {valid_from.date()} on: that period is closed, and what it was paid by stays; "
            f"give the change a valid_from of {closed.astimezone(valid_from.tzinfo).date()} or later"
        )
