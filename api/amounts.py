"""Money and shares as the API writes them: decimal strings, so that no client reads them as a float."""

from typing import Annotated

from pydantic import BaseModel, Field

from settlement.money import to_decimal


class Money(BaseModel):
    """An amount of money."""

    amount: str = Field(
        pattern=r"^-?(0|[1-9][0-9]*)\.[0-9]{6}$",
        description="A decimal string in the currency's major unit, to the millionth.",
        examples=["12.340000"],
    )
    currency: str = Field(pattern="^[A-Z]{3}$", description="ISO 4217.", examples=["EUR"])


Share = Annotated[
    str,
    Field(
        pattern=r"^[01]\.[0-9]{9}$",
        description="A part of a whole as a decimal string, to the billionth.",
        examples=["0.299492386"],
    ),
]


def money(micros: int, currency: str) -> Money:
    """Micros as the API writes them."""
    return Money(amount=to_decimal(micros), currency=currency)
