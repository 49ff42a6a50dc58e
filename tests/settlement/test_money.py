"""Money in and out of text, and the minor units of currencies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database.errors import Invalid
from settlement import money

amounts = st.integers(-money.MAX_MICROS, money.MAX_MICROS)


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (12_340_000, "12.340000"),
        (0, "0.000000"),
        (-1, "-0.000001"),
        (-1_500_000, "-1.500000"),
        (money.MAX_MICROS, "9223372036854.775807"),
    ],
)
def test_to_decimal(micros: int, text: str) -> None:
    assert money.to_decimal(micros) == text


@pytest.mark.parametrize(
    ("text", "micros"), [("23.80", 23_800_000), ("7", 7_000_000), ("-0.000001", -1), ("0", 0), ("-0.0", 0)]
)
def test_from_decimal(text: str, micros: int) -> None:
    assert money.from_decimal(text) == micros


@given(amounts)
def test_decimal_round_trip(micros: int) -> None:
    assert money.from_decimal(money.to_decimal(micros)) == micros


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1 ",
        "1\n",
        "+1",
        "1e3",
        "NaN",
        "inf",
        "1,5",
        "1,000.00",
        "1.",
        ".5",
        "1.0000001",
        "0x10",
        "--1",
        "-",
        "01",
        "٣",
        "1_000",
        "½",
    ],
)
def test_from_decimal_refuses(text: str) -> None:
    with pytest.raises(Invalid, match="is not an amount"):
        money.from_decimal(text)


def test_from_decimal_refuses_what_a_column_cannot_hold() -> None:
    assert money.from_decimal("-9223372036854.775807") == -money.MAX_MICROS
    with pytest.raises(Invalid, match="too large"):
        money.from_decimal("9223372036854.775808")
    with pytest.raises(Invalid, match="'9999"):
        money.from_decimal("9" * 1000)


@pytest.mark.parametrize(
    ("currency", "exponent", "unit"),
    [("EUR", 2, 10_000), ("JPY", 0, 1_000_000), ("KWD", 3, 1_000), ("CLF", 4, 100)],
)
def test_minor_units(currency: str, exponent: int, unit: int) -> None:
    assert money.minor_exponent(currency) == exponent
    assert money.minor_unit(currency) == unit


@pytest.mark.parametrize("code", ["eur", "EU", "EURO", "", "E1R", "EUR\n"])
def test_currency_refused(code: str) -> None:
    with pytest.raises(Invalid, match="not a currency"):
        money.minor_exponent(code)


@given(amounts, st.sampled_from(["EUR", "JPY", "KWD", "CLF"]))
def test_floor_to_minor(micros: int, currency: str) -> None:
    unit = money.minor_unit(currency)
    floored = money.floor_to_minor(micros, currency)
    assert 0 <= micros - floored < unit
    assert money.to_minor(floored, currency) * unit == floored


def test_to_minor_refuses_a_rest() -> None:
    assert money.to_minor(180_000, "EUR") == 18
    with pytest.raises(ValueError, match="184931"):
        money.to_minor(184_931, "EUR")


def test_minor_to_decimal() -> None:
    assert money.minor_to_decimal(1234, "EUR") == "12.34"
    assert money.minor_to_decimal(5, "EUR") == "0.05"
    assert money.minor_to_decimal(1234, "JPY") == "1234"
    assert money.minor_to_decimal(1234, "KWD") == "1.234"


def test_for_people() -> None:
    assert money.format_amount(-1_234_567_890_000) == "-1,234,567.890000"
    assert money.format_amount(1_234_560_000, 2) == "1,234.56"
    assert money.format_amount(5_000_000, 0) == "5"
    with pytest.raises(ValueError, match="exactly"):
        money.format_amount(184_931, 2)
    assert money.format_money(1_234_560_000, "EUR") == "1,234.56 EUR"
    assert money.format_money(184_931, "EUR") == "0.184931 EUR"
    assert money.format_money(-1_000_000_000, "JPY") == "-1,000 JPY"
