"""Largest remainder and what is built on it: exact, fair to one unit, and indifferent to order."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settlement.allocation import (
    CONTENT,
    Part,
    allocate_slice,
    largest_remainder,
    per_image_slice,
    pool_slices,
    reversed_part,
    spread_content,
)
from settlement.money import MAX_MICROS, PPB
from tests.settlement import worked_example

ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
totals = st.one_of(st.integers(0, 100), st.integers(0, MAX_MICROS))
weights = st.dictionaries(
    ids, st.one_of(st.integers(0, 5), st.integers(0, MAX_MICROS)), min_size=1, max_size=12
)
positive_weights = weights.filter(lambda w: sum(w.values()) > 0)


@st.composite
def shares(draw: st.DrawFn) -> dict[str, int]:
    return largest_remainder(PPB, draw(positive_weights))


@given(totals, positive_weights)
def test_parts_are_exact_and_within_one_unit(total: int, weights: dict[str, int]) -> None:
    parts = largest_remainder(total, weights)
    assert sum(parts.values()) == total
    whole = sum(weights.values())
    for key, part in parts.items():
        assert abs(part - Fraction(total * weights[key], whole)) < 1
        assert weights[key] or part == 0


@given(totals, positive_weights, st.randoms(use_true_random=False))
def test_order_of_the_input_does_not_matter(total: int, weights: dict[str, int], random) -> None:
    items = list(weights.items())
    random.shuffle(items)
    assert list(largest_remainder(total, dict(items)).items()) == list(
        largest_remainder(total, weights).items()
    )


@given(totals, positive_weights, ids)
def test_a_null_player_changes_nothing(total: int, weights: dict[str, int], null: str) -> None:
    without = {key: weight for key, weight in weights.items() if key != null}
    if sum(without.values()):
        assert largest_remainder(total, without | {null: 0}) == largest_remainder(total, without) | {null: 0}


def test_ties_go_by_byte_order() -> None:
    assert largest_remainder(2, {"b": 1, "a": 1, "C": 1}) == {"C": 1, "a": 1, "b": 0}
    # Code points and bytes agree here, UTF-16 does not: U+FFFD sorts before U+1F600.
    assert largest_remainder(1, {"\U0001f600": 1, "�": 1}) == {"�": 1, "\U0001f600": 0}


def test_nothing_to_divide_and_nobody_to_divide_among() -> None:
    assert largest_remainder(0, {}) == {}
    assert largest_remainder(0, {"a": 0}) == {"a": 0}
    with pytest.raises(ValueError, match="nobody has a weight"):
        largest_remainder(1, {"a": 0})
    with pytest.raises(ValueError, match="nobody has a weight"):
        largest_remainder(1, {})


@pytest.mark.parametrize(("total", "weights"), [(-1, {"a": 1}), (1, {"a": 2, "b": -1})])
def test_negative_is_refused(total: int, weights: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="negative"):
        largest_remainder(total, weights)


@given(totals, shares(), st.data())
def test_a_slice_is_divided_exactly(amount: int, shares: dict[str, int], data: st.DataObject) -> None:
    payees = st.dictionaries(st.sampled_from(["pay-1", "pay-2", "pay-3"]), st.integers(1, 9), min_size=1)
    splits = {
        player: largest_remainder(PPB, data.draw(payees)) for player in shares if data.draw(st.booleans())
    }
    parts = allocate_slice(amount, shares, splits)
    assert sum(part.micros for part in parts) == amount
    by_player = largest_remainder(amount, shares)
    for player, micros in by_player.items():
        assert sum(part.micros for part in parts if part.player == player) == micros
        assert {part.payee for part in parts if part.player == player} <= set(splits.get(player, {None: 1}))
    assert all(part.micros > 0 for part in parts)
    assert parts == sorted(parts, key=lambda part: (part.player.encode(), (part.payee or "").encode()))


def test_shares_and_splits_must_be_whole() -> None:
    with pytest.raises(ValueError, match="shares: 999999999 ppb"):
        allocate_slice(1, {"C": PPB - 1}, {})
    with pytest.raises(ValueError, match="split of C: 1 ppb"):
        allocate_slice(1, {"C": PPB}, {"C": {"pay-dev": 1}})


@given(totals.filter(lambda total: total < 10**12), st.dictionaries(ids, st.integers(-(10**12), 10**12)))
def test_a_pool_is_divided_exactly_and_a_negative_base_counts_nothing(
    rate: int, bases: dict[str, int]
) -> None:
    slices = pool_slices(bases, rate)
    assert sum(slices.values()) == sum(max(base, 0) for base in bases.values()) * rate // PPB
    assert all(slices[sale] == 0 for sale, base in bases.items() if base <= 0)


def test_per_image_slice() -> None:
    assert per_image_slice(1_900_001, worked_example.RATE) == 570_000
    assert per_image_slice(-1_900_001, worked_example.RATE) == 0
    assert per_image_slice(10**9 * 1_000_000, worked_example.RATE) == 3 * 10**14


@given(shares(), st.integers(0, PPB))
def test_content_can_be_spread(artists: dict[str, int], content: int) -> None:
    artists = {f"art-{player}": share for player, share in artists.items()}
    left = largest_remainder(PPB - content, artists)
    if not any(left.values()):
        with pytest.raises(ValueError, match="nobody has a weight"):
            spread_content(left | {CONTENT: content})
        return
    spread = spread_content(left | {CONTENT: content})
    assert sum(spread.values()) == PPB
    assert spread.keys() == left.keys()
    assert all(spread[player] >= share for player, share in left.items())
    assert all(spread[player] == 0 for player, share in left.items() if share == 0)


@given(st.integers(0, MAX_MICROS), st.lists(st.integers(1, 10**9), min_size=1, max_size=6))
def test_refunds_only_grow_and_end_exact(line: int, steps: list[int]) -> None:
    price, refunded, reversed_so_far = sum(steps), 0, 0
    for step in steps:
        refunded += step
        now = reversed_part(line, refunded, price)
        assert now >= reversed_so_far
        reversed_so_far = now
    assert reversed_so_far == line


@pytest.mark.parametrize(("line", "refunded", "price"), [(1, 2, 1), (1, -1, 1), (-1, 1, 1), (1, 0, 0)])
def test_a_refund_beyond_the_sale_is_refused(line: int, refunded: int, price: int) -> None:
    with pytest.raises(ValueError, match="cannot reverse"):
        reversed_part(line, refunded, price)


def test_the_worked_example() -> None:
    lines: dict[str, int] = {}
    for sale, (image, price, tax, deductions) in worked_example.SALES.items():
        amount = per_image_slice(price - tax - deductions, worked_example.RATE)
        assert amount == worked_example.SLICES[sale]
        parts = allocate_slice(amount, worked_example.SHARES[image], worked_example.SPLITS)
        lines |= {f"{sale}/{part.player}/{part.payee or part.player}": part.micros for part in parts}
    assert lines == worked_example.LINES
    price = worked_example.SALES["sale-2"][1]
    for line, micros in worked_example.REVERSED.items():
        assert reversed_part(lines[line], price, price) == micros
        half = reversed_part(lines[line], price // 2, price)
        assert half == lines[line] // 2


def test_nobody_without_a_contract_is_forgotten() -> None:
    assert allocate_slice(10, {"C": 600_000_000, "art-9": 400_000_000}, {"C": {"pay-dev": PPB}}) == [
        Part("C", "pay-dev", 6),
        Part("art-9", None, 4),
    ]


@given(
    st.dictionaries(ids, st.integers(-(10**12), 10**15), min_size=2, max_size=12),
    st.integers(0, PPB),
    st.randoms(use_true_random=False),
)
def test_splitting_a_pool_in_two_moves_no_more_than_rounding(
    bases: dict[str, int], rate: int, random
) -> None:
    """One pool or two: the sum differs by the second floor, a sale by the unit of each largest remainder."""
    whole = pool_slices(bases, rate)
    names = [name for name in bases if random.random() < 0.5]
    halves = pool_slices({n: bases[n] for n in names}, rate) | pool_slices(
        {n: base for n, base in bases.items() if n not in names}, rate
    )
    assert 0 <= sum(whole.values()) - sum(halves.values()) <= 1
    assert all(abs(whole[name] - halves[name]) <= 2 for name in bases)


@given(
    totals,
    shares(),
    st.lists(st.integers(1, 10**9), min_size=1, max_size=6),
    st.integers(0, 6),
)
def test_refunding_everything_returns_everything(
    amount: int, shares: dict[str, int], refunds: list[int], late: int
) -> None:
    """Whatever the steps, and whenever a line was made of what was left by then."""
    price = sum(refunds)
    lines = [(part.micros, 0) for part in allocate_slice(amount, shares, {})]
    before = sum(refunds[:late])
    if before < price:
        # What waited is divided after some of the refunds, net of them.
        rest = amount - reversed_part(amount, before, price)
        lines = [(part.micros, before) for part in allocate_slice(rest, shares, {})]
        assert sum(micros for micros, _ in lines) + reversed_part(amount, before, price) == amount
    assert all(reversed_part(micros, price - since, price - since) == micros for micros, since in lines)
