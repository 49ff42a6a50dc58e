"""Moments as they come in from outside, in the form that the database keeps."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime


def in_utc(moment: datetime) -> datetime:
    """The same moment in UTC: ISO 8601 has offsets up to 23:59, which PostgreSQL takes up to 15:59 only.

    Raises:
        ValueError: it is before the year 1 or after the year 9999 there.
    """
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is no time between the years 1 and 9999 in UTC") from None


Moment = Annotated[AwareDatetime, AfterValidator(in_utc)]
"""An aware time, in UTC."""
