"""Rank correlation, LDS, pair order and the jackknife, against scipy and values known by other means."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.validity.statistics import (
    jackknife,
    linear_datamodeling_score,
    pair_order,
    predictions,
    rank_correlation,
    ranks,
)

# Few distinct values: ties are what is easily got wrong.
SMALL = st.lists(st.integers(0, 4), min_size=3, max_size=12)


@given(SMALL)
def test_ranks_are_scipys(values: list[int]) -> None:
    assert ranks(values).tolist() == stats.rankdata(values).tolist()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=12))
def test_rank_correlation_is_scipys_also_with_ties(pairs: list[tuple[int, int]]) -> None:
    one, other = zip(*pairs, strict=True)
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert rank_correlation(one, other) == 0
    else:
        assert rank_correlation(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)


def test_predictions_are_sums_by_bitmask() -> None:
    assert predictions([1, 10, 100]).tolist() == [0, 1, 10, 11, 100, 101, 110, 111]


def test_lds_of_an_additive_game_is_one_and_of_its_opposite_minus_one() -> None:
    values = predictions([0.5, 0.3, 0.11, 0.07])
    assert linear_datamodeling_score([0.5, 0.3, 0.11, 0.07], values) == pytest.approx(1)
    assert linear_datamodeling_score([5, 3, 1.1, 0.7], values) == pytest.approx(1), (
        "the scale does not matter"
    )
    assert linear_datamodeling_score([-0.5, -0.3, -0.11, -0.07], values) == pytest.approx(-1)
    assert linear_datamodeling_score([0, 0, 0, 0], values) == 0


def test_lds_is_scipys_rho_over_the_coalitions_that_were_trained() -> None:
    rng = np.random.default_rng(1)
    values, attribution = rng.normal(size=16), rng.normal(size=4)
    expected = stats.spearmanr(predictions(attribution), values).statistic
    assert linear_datamodeling_score(attribution, values) == pytest.approx(expected)
    values[[3, 9]] = math.nan
    there = ~np.isnan(values)
    expected = stats.spearmanr(predictions(attribution)[there], values[there]).statistic
    assert linear_datamodeling_score(attribution, values) == pytest.approx(expected)


def test_pair_order() -> None:
    assert pair_order([3, 2, 1], [30, 20, 10]) == [1, 1, 1]
    assert pair_order([1, 2], [2, 1]) == [0]
    assert pair_order([1, 1], [2, 1]) == [0.5], "left open"
    assert pair_order([1, 2], [1, 1]) == [], "there is no true order"
    truth, guess = [0.1, 0.9, 0.4, 0.6], [0.2, 0.8, 0.7, 0.1]
    tau = stats.kendalltau(truth, guess).statistic
    assert 2 * np.mean(pair_order(guess, truth)) - 1 == pytest.approx(tau)


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(2).normal(size=30)
    estimate = jackknife([[value] for value in values])
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.standard_error == pytest.approx(stats.sem(values))
    assert estimate.count == 30


def test_jackknife_leaves_out_whole_groups() -> None:
    # Three pictures whose ten values are copies: as sure as three values, not as thirty.
    estimate = jackknife([[1.0] * 10, [2.0] * 10, [6.0] * 10])
    assert estimate.standard_error == pytest.approx(stats.sem([1, 2, 6]))
    assert estimate.count == 30


def test_jackknife_of_another_statistic_is_scipys_formula() -> None:
    values = np.random.default_rng(3).normal(size=12)
    estimate = jackknife([[value] for value in values], lambda given: float(np.var(given)))
    left_out = [np.var(np.delete(values, place)) for place in range(12)]
    assert estimate.standard_error == pytest.approx(math.sqrt(11 * np.var(left_out)))


def test_jackknife_of_one_group_has_no_error() -> None:
    with pytest.raises(ValueError, match="two groups"):
        jackknife([[1.0, 2.0], []])
