"""What can be paid of a balance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settlement.balance import OfWhich, of_which
from settlement.money import MAX_MICROS, minor_unit


@pytest.mark.parametrize(
    ("balance", "expected"),
    [
        (184_931, OfWhich(180_000, 0, 0, 4_931)),
        (130_975, OfWhich(130_000, 0, 0, 975)),
        (1_715_100, OfWhich(1_710_000, 0, 0, 5_100)),
        (28_565, OfWhich(0, 0, 28_565, 0)),
        (168_324, OfWhich(160_000, 0, 0, 8_324)),
        (2_335_228, OfWhich(2_330_000, 0, 0, 5_228)),
        (100_000, OfWhich(100_000, 0, 0, 0)),
        (0, OfWhich(0, 0, 0, 0)),
        (-1, OfWhich(0, 0, 0, 0)),
    ],
)
def test_the_worked_example_and_the_edges(balance: int, expected: OfWhich) -> None:
    assert of_which(balance, 100_000, "EUR", held=False) == expected


def test_a_hold_keeps_everything() -> None:
    assert of_which(184_931, 100_000, "EUR", held=True) == OfWhich(0, 184_931, 0, 0)


def test_without_a_minimum_less_than_a_unit_stays() -> None:
    assert of_which(999_999, 0, "JPY", held=False) == OfWhich(0, 0, 0, 999_999)


@given(
    st.integers(-MAX_MICROS, MAX_MICROS),
    st.integers(0, 10**9),
    st.sampled_from(["EUR", "JPY", "KWD"]),
    st.booleans(),
)
def test_the_parts_add_up(balance: int, minimum: int, currency: str, held: bool) -> None:
    parts = of_which(balance, minimum, currency, held=held)
    assert sum(parts) == max(balance, 0)
    assert min(parts) >= 0
    assert parts.payable % minor_unit(currency) == 0
