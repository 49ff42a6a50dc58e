"""Money: integer micros (10^-6 of a currency's major unit), and nothing else.

Every amount that the system stores, adds or compares is an ``int`` number of micros. Text appears at the
edges only: canonical decimal strings in files and answers (``"12.340000"``), grouped figures for people
(``"1,234.560000"``). No function here takes or gives a float.
"""

import re
from typing import Annotated

from database.errors import Invalid

MICROS = 1_000_000
"""Micros in one major unit, in every currency."""

PPB = 1_000_000_000
"""Parts per billion in a whole: the unit of shares, splits and rates."""

MAX_MICROS = 2**63 - 1
"""The largest amount that a BIGINT column holds, either sign: about 9.2 * 10^12 major units."""

# ISO 4217: how many decimals a currency's minor unit has, where that is not two.
_EXPONENTS = {
    code: exponent
    for exponent, codes in {
        0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
        3: "BHD IQD JOD KWD LYD OMR TND",
        4: "CLF UYW",
    }.items()
    for code in codes.split()
}
_CURRENCY = re.compile(r"[A-Z]{3}")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,12})(?:\.([0-9]{1,6}))?")


def check_currency(code: str) -> str:
    """Return ``code`` if it has the form of an ISO 4217 code (three capitals), else raise `Invalid`."""
    if not _CURRENCY.fullmatch(code):
        raise Invalid(
            f"{code!r} is not a currency: write three capital letters as in ISO 4217, for example EUR"
        )
    return code


def minor_exponent(currency: str) -> int:
    """Decimals of the currency's minor unit (ISO 4217): 2 for EUR, 0 for JPY, 3 for KWD."""
    return _EXPONENTS.get(check_currency(currency), 2)


def minor_unit(currency: str) -> int:
    """The currency's smallest payable amount, in micros: 10000 for EUR (a cent), 1000000 for JPY."""
    return MICROS // int(10 ** minor_exponent(currency))


def floor_to_minor(micros: int, currency: str) -> int:
    """The largest whole number of minor units not above ``micros``, in micros (below zero: further down)."""
    unit = minor_unit(currency)
    return micros // unit * unit


def to_minor(micros: int, currency: str) -> int:
    """``micros`` counted in minor units (cents). Raises ValueError if a rest is left: floor first."""
    count, rest = divmod(micros, minor_unit(currency))
    if rest:
        raise ValueError(f"{micros} micros of {currency} are not a whole number of minor units")
    return count


def minor_to_decimal(minor: int, currency: str) -> str:
    """Minor units as the decimal string that banks read: 1234 cents are ``"12.34"``, 1234 yen ``"1234"``."""
    return _point(minor, minor_exponent(currency))


def to_decimal(micros: int) -> str:
    """Micros as the canonical decimal string with six decimals: 12340000 is ``"12.340000"``."""
    return _point(micros, 6)


def share_to_decimal(ppb: int) -> str:
    """A share, split or rate as a decimal string with nine decimals: 299492386 ppb are ``"0.299492386"``."""
    return _point(ppb, 9)


Micros = Annotated[int, to_decimal]
"""An amount in a document's class: micros here, a decimal string with six decimals in its JSON."""

Ppb = Annotated[int, share_to_decimal]
"""A share, split or rate in a document's class: ppb here, a decimal string with nine decimals in its JSON."""


def from_decimal(text: str) -> int:
    """Micros of a decimal string of a file or request, for example ``"23.80"`` or ``"-0.000001"``.

    Strict, so that no value is read otherwise than it was meant: ASCII digits, an optional leading minus,
    '.' as the decimal mark, at most six decimals. Raises `Invalid` on anything else (grouping, blanks,
    exponents, a plus, NaN) and on what a BIGINT of micros cannot hold.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise Invalid(
            f"{_shown(text)} is not an amount: write digits, '.' and at most 6 decimals, for example 23.80"
        )
    whole, decimals = match.groups()
    micros = int(whole) * MICROS + int((decimals or "").ljust(6, "0"))
    return check_micros(-micros if text.startswith("-") else micros)


def check_micros(micros: int) -> int:
    """Return ``micros`` if a BIGINT column holds it, else raise `Invalid`."""
    if not -MAX_MICROS <= micros <= MAX_MICROS:
        raise Invalid(f"{to_decimal(micros)} is too large an amount: the limit is {to_decimal(MAX_MICROS)}")
    return micros


def format_amount(micros: int, decimals: int = 6) -> str:
    """Micros for people: thousands separated by commas, ``decimals`` (0 to 6) digits after the point.

    Raises ValueError where ``decimals`` digits would hide a part of the amount.
    """
    unit = 10 ** (6 - decimals)
    if not 0 <= decimals <= 6 or micros % unit:
        raise ValueError(f"{micros} micros cannot be shown exactly with {decimals} decimals")
    return _point(micros // unit, decimals, ",")


def format_money(micros: int, currency: str) -> str:
    """Micros and currency for people: ``"1,234.56 EUR"`` where minor units are exact, else ``"0.184931 EUR"``."""
    exact = micros % minor_unit(currency) == 0
    return f"{format_amount(micros, minor_exponent(currency) if exact else 6)} {currency}"


def _point(count: int, decimals: int, grouping: str = "") -> str:
    whole, rest = divmod(abs(count), 10**decimals)
    return f"{'-' if count < 0 else ''}{whole:{grouping}}" + (f".{rest:0{decimals}}" if decimals else "")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")
