"""Moments from outside: every offset that ISO 8601 has, in UTC."""

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from database.moments import Moment

MOMENT = TypeAdapter(Moment)


def test_an_offset_that_the_database_has_not_is_taken() -> None:
    moment = MOMENT.validate_python("2026-10-05T12:00:00+21:46")
    assert moment == datetime(2026, 10, 4, 14, 14, tzinfo=UTC) and moment.tzinfo is UTC


@pytest.mark.parametrize("given", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"])
def test_before_the_first_and_after_the_last_year(given: str) -> None:
    with pytest.raises(ValidationError, match="between the years 1 and 9999"):
        MOMENT.validate_python(given)
