"""What requests are made of, as tight in the published schema as the services take it."""

from datetime import date
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from database.moments import Moment as UtcMoment

ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""The form of what people give an id to: payees, advances, claims, corrections."""

# At most twelve digits before the point: a BIGINT of micros holds them all. Neither the database's columns nor a line
# of a file take a NUL.
_WHOLE = r"[1-9][0-9]{0,11}"
_MICROS = "|".join(f"0{{{zeros}}}[1-9][0-9]{{0,{5 - zeros}}}" for zeros in range(6))
_ABOVE_ZERO = rf"({_WHOLE}(\.[0-9]{{1,6}})?|0\.({_MICROS}))"

Id = Annotated[str, Field(pattern=ID)]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
Words = Annotated[
    str,
    Field(
        min_length=1,
        max_length=500,
        pattern=r"^[^\x00]*[^\x00-\x20\s][^\x00]*$",
        description="More than blanks.",
    ),
]
Currency = Annotated[str, Field(pattern="^[A-Z]{3}$", description="ISO 4217.", examples=["EUR"])]
Territory = Annotated[str, Field(pattern="^[A-Z]{2}$", description="ISO 3166-1 alpha-2.", examples=["US"])]
AboveZero = Annotated[
    str, Field(pattern=f"^{_ABOVE_ZERO}$", description="Decimal string, above zero.", examples=["120.00"])
]
NotNegative = Annotated[
    str, Field(pattern=rf"^(0|{_WHOLE})(\.[0-9]{{1,6}})?$", description="Decimal string.", examples=["0"])
]
NotZero = Annotated[
    str, Field(pattern=f"^-?{_ABOVE_ZERO}$", description="Decimal string.", examples=["25.00"])
]


def _written(value: Any) -> Any:
    """A day or time as text: a number would be read as seconds since 1970."""
    if not isinstance(value, str) or value.isdigit():
        raise ValueError("write it as text, for example 2026-11-04 or 2026-11-04T12:00:00Z")
    return value


Day = Annotated[date, BeforeValidator(_written)]
Moment = Annotated[UtcMoment, BeforeValidator(_written)]
