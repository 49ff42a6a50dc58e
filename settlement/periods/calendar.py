"""Accounting periods: months in the platform's zone, made on demand, one after the other, and where each stands.

    open -> cut_off -> calculated -> in_review -> approved -> closed

An event (a sale, a refund, an attribution) counts in the first period that ends after it and is cut off after it was
recorded. A period is cut off when somebody does so after its end, or at a moment fixed when it was opened.
"""

import re
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from database.errors import Conflict, Invalid, NotFound
from settlement.periods.models import Period
from settlement.rates import load_terms
from settlement.sales import Sale

_PERIOD_ID = re.compile(r"([12][0-9]{3})-(0[1-9]|1[0-2])")


def database_now(session: Session) -> datetime:
    """What time the database has: the clock that stamps every event."""
    now: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now


def periods(session: Session) -> list[Period]:
    """Every period there is, the earliest first."""
    return list(session.scalars(select(Period).order_by(Period.starts_at)))


def ensure_periods(session: Session, through: datetime | None = None) -> list[Period]:
    """Make the months that are missing, up to and with the one that contains ``through`` (None: now).

    The first one is the month of the earliest sale; where there is none yet, that of ``through``. A month starts where
    the one before ends, in the zone of the platform's terms of that moment.

    Returns:
        All periods, the earliest first.
    """
    moment = database_now(session) if through is None else through
    _lock(session)
    made = periods(session)
    if made and moment < made[-1].ends_at:
        return made
    start = made[-1].ends_at if made else session.scalar(select(func.min(Sale.sold_at))) or moment
    if not made:
        zone = _zone(session, start)
        start = _midnight(start.astimezone(zone).date().replace(day=1), zone)
    while start <= moment:
        zone = _zone(session, start)
        day = start.astimezone(zone).date()
        end = _midnight((day.replace(day=1) + timedelta(days=32)).replace(day=1), zone)
        made.append(Period(period_id=f"{day:%Y-%m}", starts_at=start, ends_at=end, zone=zone.key))
        session.add(made[-1])
        start = end
    session.flush()
    return made


def find_period(session: Session, period_id: str, now: datetime | None = None) -> Period:
    """A period by its name, such as `2026-10`; the month is made if it has begun and nobody made it yet.

    Raises:
        Invalid: the name is no month.
        NotFound: the month has not begun, or lies before the first period.
    """
    match = _PERIOD_ID.fullmatch(period_id)
    if match is None:
        raise Invalid(f"{period_id!r} is not a period: write year and month, for example 2026-10")
    found = session.get(Period, period_id, populate_existing=True)
    if found is not None:
        return found
    moment = database_now(session) if now is None else now
    # In the zone of the newest terms: only to tell whether the month has begun.
    start = _midnight(date(int(match[1]), int(match[2]), 1), _zone(session, moment))
    if start > moment:
        raise NotFound(f"there is no period {period_id} yet: it begins on {period_id}-01")
    made = {period.period_id: period for period in ensure_periods(session, start)}
    if period_id not in made:
        first = session.scalar(select(func.min(Sale.sold_at)))
        since = f"the first sale is of {first:%Y-%m}" if first else f"the first one is {min(made)}"
        raise NotFound(f"there is no period {period_id}: {since}")
    return made[period_id]


def open_period(
    session: Session, period_id: str, *, cut_off_at: datetime | None = None, now: datetime | None = None
) -> Period:
    """Make a period, and those missing before it; with ``cut_off_at`` its cut-off is fixed already.

    Without, it is cut off whenever somebody does so after its end.

    Raises:
        Invalid: no month, or a cut-off that is past or before the period's end.
        NotFound: the month has not begun.
        Conflict: the period exists with another cut-off.
    """
    moment = database_now(session) if now is None else now
    period = find_period(session, period_id, moment)
    if cut_off_at is None or cut_off_at == period.cut_off_at:
        return period
    if cut_off_at < period.ends_at:
        raise Invalid(f"period {period_id} ends at {_shown(period.ends_at)}: its cut-off cannot be earlier")
    if cut_off_at < moment:
        raise Invalid(
            f"the cut-off {_shown(cut_off_at)} is past: leave it out, and cut the period off when you are ready"
        )
    if period.cut_off_at is not None or period.state != "open":
        raise Conflict(f"period {period_id} is cut off at {_shown(period.cut_off_at)}; that stays")
    period.cut_off_at = cut_off_at
    session.flush()
    return period


def cut_off(session: Session, period_id: str, *, now: datetime | None = None) -> Period:
    """Cut an open period off: what is recorded from now on counts in a later one. Cut off already: nothing happens.

    Waits for events that are being written, and keeps new ones waiting until the caller commits.

    Args:
        session: the caller's transaction, role `settlement`.
        period_id: such as `2026-10`.
        now: the moment it is; None: the database's clock, once no event is being written.

    Raises:
        Conflict: the period has not ended, an earlier one is still open, or its cut-off is fixed for later.
    """
    period = find_period(session, period_id, now)
    if period.state != "open":
        return period
    earlier = [p for p in periods(session) if p.ends_at <= period.starts_at]
    for other in earlier:
        if other.state == "open":
            raise Conflict(f"period {other.period_id} is still open: cut it off before {period_id}")
    waited: datetime = session.execute(text("SELECT settlement.now_without_writers()")).scalar_one()
    moment = waited if now is None else now
    earliest = period.cut_off_at or period.ends_at
    if moment < earliest:
        raise Conflict(f"period {period_id} can be cut off from {_shown(earliest)} on: it is too early")
    # Cut-offs come in the order of the periods, so that an event has one period and no other.
    before = max((p.cut_off_at for p in earlier if p.cut_off_at is not None), default=moment)
    period.cut_off_at = period.cut_off_at or max(moment, before)
    period.state = "cut_off"
    session.flush()
    return period


def require_earlier_closed(session: Session, period: Period) -> None:
    """Raise `Conflict` if a period before this one is not closed: opening balances come from it."""
    for other in periods(session):
        if other.ends_at <= period.starts_at and other.state != "closed":
            raise Conflict(
                f"period {other.period_id} is {other.state.replace('_', ' ')}: close it before {period.period_id}"
            )


def last_instant(period: Period) -> datetime:
    """When what a run decides is booked."""
    return period.ends_at - timedelta(microseconds=1)


def _zone(session: Session, moment: datetime) -> ZoneInfo:
    """The zone of the terms in force at a moment; before the first terms, theirs."""
    platforms = load_terms(session).platforms
    if not platforms:
        raise NotFound("there are no periods yet: load a catalogue first (`royalty catalogue load FILE`)")
    return ZoneInfo(next((p.zone for p in platforms if p.valid_from <= moment), platforms[-1].zone))


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _shown(moment: datetime | None) -> str:
    return "an unknown moment" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _lock(session: Session) -> None:
    """Two processes that make periods at once would overlap: the second waits, and finds them made."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('settlement.period', 0))"))
