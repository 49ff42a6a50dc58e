"""Drawn orders: what holds in every draw, what holds on average, and that a standard error says how far off it is."""

from fractions import Fraction
from statistics import fmean, stdev

import numpy as np
import pytest
import shapiq
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from attribution.estimator import Enumeration, Estimate, PairedOrders, SamplingRule, draw_order
from attribution.shapley import shapley_values

settings.register_profile("few", max_examples=30, deadline=None)
few = settings.get_profile("few")

METHOD = bytes(range(32))
RULE = SamplingRule(pilot_pairs=4, standard_error=10, maximum_renders=500)

value = st.integers(-(10**9), 10**9)
images = st.text(st.characters(codec="utf-8"), max_size=8)


@st.composite
def games(draw: st.DrawFn, least: int = 2, most: int = 6) -> tuple[int, list[int]]:
    players = draw(st.integers(least, most))
    return players, draw(st.lists(value, min_size=1 << players, max_size=1 << players))


def play(estimator: PairedOrders | Enumeration, values: list[int]) -> Estimate:
    """Give an estimator what it wants, and nothing else, until it wants no more."""
    known: dict[int, int] = {}
    while wanted := estimator.wanted(known):
        assert not known.keys() & wanted
        known |= {coalition: values[coalition] for coalition in wanted}
    return estimator.estimate(known)


def phi(estimate: Estimate) -> list[Fraction]:
    return [Fraction(numerator, estimate.denominator) for numerator in estimate.numerators]


@given(games(1))
def test_enumeration_is_exact(game: tuple[int, list[int]]) -> None:
    players, values = game
    estimate = play(Enumeration(players), values)
    assert phi(estimate) == shapley_values(values, players)
    assert (estimate.orders, estimate.standard_errors) == (None, None)


@few
@given(games(), images)
def test_efficient_in_every_draw(game: tuple[int, list[int]], image: str) -> None:
    players, values = game
    estimate = play(PairedOrders(players, RULE, METHOD, image), values)
    assert sum(estimate.numerators) == (values[-1] - values[0]) * estimate.denominator
    assert estimate.denominator == estimate.orders
    assert estimate.standard_errors is not None and min(estimate.standard_errors) >= 0


@few
@given(games(most=5), images, value)
def test_null_and_dummy_players_in_every_draw(game: tuple[int, list[int]], image: str, marginal: int) -> None:
    players, values = game
    old = (1 << players) - 1
    for given_marginal in (0, marginal):
        with_dummy = [values[mask & old] + given_marginal * (mask >> players) for mask in range(2 << players)]
        estimate = play(PairedOrders(players + 1, RULE, METHOD, image), with_dummy)
        assert phi(estimate)[-1] == given_marginal
        assert estimate.standard_errors is not None and estimate.standard_errors[-1] == 0


@few
@given(st.data(), st.integers(2, 5), images, st.integers(-5, 5), st.integers(-5, 5), value)
def test_linear_and_indifferent_to_a_shift_in_every_draw(
    data: st.DataObject, players: int, image: str, a: int, b: int, shift: int
) -> None:
    table = st.lists(value, min_size=1 << players, max_size=1 << players)
    v, w = data.draw(table), data.draw(table)
    same_draws = PairedOrders(players, RULE, METHOD, image, orders=12)
    mixed = play(same_draws, [a * x + b * y + shift for x, y in zip(v, w, strict=True)])
    assert phi(mixed) == [
        a * x + b * y for x, y in zip(phi(play(same_draws, v)), phi(play(same_draws, w)), strict=True)
    ]


@given(st.integers(2, 6), st.data(), images)
def test_unanimity_games(players: int, data: st.DataObject, image: str) -> None:
    """Who is not needed gets nothing in any draw; who is needed gets equal parts on average, and of two exactly."""
    needed = data.draw(st.integers(1, (1 << players) - 1))
    values = [60 if mask & needed == needed else 0 for mask in range(1 << players)]
    found = phi(play(PairedOrders(players, RULE, METHOD, image), values))
    assert all(found[slot] == 0 for slot in range(players) if not needed >> slot & 1)
    assert sum(found) == 60
    if needed.bit_count() <= 2:
        assert found == shapley_values(values, players)


@few
@given(st.integers(2, 6), st.data(), images)
def test_pairs_are_exact_where_no_three_act_together(players: int, data: st.DataObject, image: str) -> None:
    """Why orders come with their reverse: what two players make together is halved exactly in every pair."""
    alone = data.draw(st.lists(value, min_size=players, max_size=players))
    together = {
        (i, j): data.draw(value) * 2 for i in range(players) for j in range(i) if data.draw(st.booleans())
    }
    values = [
        sum(alone[i] for i in range(players) if mask >> i & 1)
        + sum(worth for (i, j), worth in together.items() if mask >> i & 1 and mask >> j & 1)
        for mask in range(1 << players)
    ]
    estimate = play(PairedOrders(players, RULE, METHOD, image), values)
    assert phi(estimate) == shapley_values(values, players)
    assert set(estimate.standard_errors or ()) == {0}
    assert estimate.orders == 2 * RULE.pilot_pairs


def skewed(players: int) -> list[int]:
    """A game in which few orders make a great difference: where an estimator that stops by itself would be biased."""
    rng = np.random.default_rng(players)
    values = rng.integers(0, 1000, 1 << players)
    values[rng.choice(1 << players, players, replace=False)] += 3000
    return [int(x) for x in values]


@pytest.mark.parametrize("players", [4, 6])
def test_right_on_average_and_symmetric_players_alike(players: int) -> None:
    values = skewed(players)
    # The last two are interchangeable.
    swap = [mask & ~(3 << players - 2) | (mask >> 1 & 1 << players - 2) | (mask << 1 & 1 << players - 1)
            for mask in range(1 << players)]  # fmt: skip
    values = [values[mask] + values[swap[mask]] for mask in range(1 << players)]
    rule = SamplingRule(pilot_pairs=3, standard_error=600, maximum_renders=200)
    runs = [phi(play(PairedOrders(players, rule, METHOD, f"img-{i}"), values)) for i in range(400)]
    exact = shapley_values(values, players)
    assert exact[-1] == exact[-2]
    for slot in range(players):
        found = [float(run[slot]) for run in runs]
        assert abs(fmean(found) - float(exact[slot])) <= 4 * stdev(found) / len(found) ** 0.5


def test_the_standard_error_says_how_far_off_it_is() -> None:
    players, values = 6, skewed(6)
    exact = shapley_values(values, players)
    rule = SamplingRule(pilot_pairs=8, standard_error=200, maximum_renders=1000)
    ratios: list[float] = []
    for i in range(100):
        estimate = play(PairedOrders(players, rule, METHOD, f"img-{i}"), values)
        assert estimate.standard_errors is not None
        ratios += [
            float(found - true) / max(1, error)
            for found, true, error in zip(phi(estimate), exact, estimate.standard_errors, strict=True)
        ]
    assert 0.9 < stdev(ratios) < 1.2
    assert sum(abs(ratio) < 2 for ratio in ratios) > 0.9 * len(ratios)


def test_shapiq_agrees_within_the_stated_error() -> None:
    players = 10
    values = np.random.default_rng(1).integers(0, 10**9, 1 << players)

    def game(coalitions: np.ndarray) -> np.ndarray:
        return np.asarray(values[coalitions @ (1 << np.arange(players))], dtype=float)

    oracle = shapiq.ExactComputer(game, n_players=players)("SV").get_n_order_values(1)
    rule = SamplingRule(pilot_pairs=8, standard_error=20_000_000, maximum_renders=5000)
    estimate = play(PairedOrders(players, rule, METHOD, "img"), [int(x) for x in values])
    assert estimate.standard_errors is not None
    for found, true, error in zip(phi(estimate), oracle, estimate.standard_errors, strict=True):
        assert abs(float(found) - true) < 4 * error
    assert max(estimate.standard_errors) < 1.3 * rule.standard_error


def test_more_is_drawn_for_less_error_and_never_more_than_allowed() -> None:
    players, values = 9, skewed(9)
    orders: list[int] = []
    for error in (2000, 250, 1):
        rule = SamplingRule(pilot_pairs=4, standard_error=error, maximum_renders=700)
        estimator = PairedOrders(players, rule, METHOD, "img")
        known: dict[int, int] = {}
        while wanted := estimator.wanted(known):
            known |= {coalition: values[coalition] for coalition in wanted}
        assert len(known) <= rule.maximum_renders
        orders.append(estimator.estimate(known).orders or 0)
    assert orders[0] < orders[1] < orders[2]
    assert orders[2] // 2 == rule.most_pairs(players)


@few
@given(games(3, 5), images, st.integers(0, 4))
def test_further_seeds_take_the_same_draws(game: tuple[int, list[int]], image: str, factor: int) -> None:
    players, values = game
    estimator = PairedOrders(players, RULE, METHOD, image)
    first = play(estimator, values)
    again = play(PairedOrders(players, RULE, METHOD, image).like(first), [factor * x for x in values])
    assert again.orders == first.orders
    assert phi(again) == [factor * x for x in phi(first)]


@given(images, images)
def test_orders_are_of_method_and_image(one: str, other: str) -> None:
    assume(one != other)
    drawn = [draw_order(METHOD, one, pair, 12) for pair in range(4)]
    assert all(sorted(order) == list(range(12)) for order in drawn)
    assert drawn == [draw_order(METHOD, one, pair, 12) for pair in range(4)]
    assert drawn != [draw_order(METHOD, other, pair, 12) for pair in range(4)]
    assert drawn != [draw_order(bytes(32), one, pair, 12) for pair in range(4)]


def test_orders_are_the_same_for_ever() -> None:
    assert draw_order(METHOD, "img-1", 0, 6) == [0, 4, 2, 1, 5, 3]
    assert draw_order(METHOD, "Zoë", 7, 6) == [4, 2, 3, 0, 1, 5]
