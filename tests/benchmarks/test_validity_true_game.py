"""How attributions are judged by retraining, on true games that are known beforehand."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.validity.scenes import COALITIONS, EVERYBODY, PLAYERS, Query
from benchmarks.validity.statistics import predictions
from benchmarks.validity.true_game import (
    CEILING,
    NOISE,
    UNIT,
    Original,
    TrueGame,
    equal_split,
    known_strengths,
    prompt_game,
    prompt_leave_one_out,
    retrained_fit,
    retrained_leave_one_out,
)
from database.errors import Invalid

AMARA, BRUNO, CHIYO, DMITRI = PLAYERS
GIVEN = (0.4, 0.0, 0.1, 0.0)
"""What the artists of `original` have, if everything were a sum."""


def original(seed: int = 1) -> Original:
    """A picture by Chiyo and Amara, in that order, whose prompt game and true game are sums of the same parts."""
    true = 0.3 + predictions(GIVEN)
    # Bit 0 is content, which has 0.2; bit 1 Chiyo, bit 2 Amara.
    game = [round((0.3 + 0.2 * (s & 1) + 0.1 * (s >> 1 & 1) + 0.4 * (s >> 2 & 1)) * UNIT) for s in range(8)]
    return Original(
        query=Query("star", (CHIYO, AMARA), seed),
        prompt_game=tuple(game),
        retrained=tuple(true),
        foretold=(*true[:-1], math.nan),
        mean_similarity=(0.4, 0.1, 0.3, 0.2),
        nearest_similarity=None,
    )


def test_attributions_of_a_sum_are_its_parts() -> None:
    assert prompt_game(original()) == pytest.approx(GIVEN)
    assert prompt_leave_one_out(original()) == pytest.approx(GIVEN)
    assert original().true_shares == pytest.approx(GIVEN)
    assert retrained_fit(original()) == pytest.approx(GIVEN)
    assert equal_split(original()) == (0.5, 0, 0.5, 0)
    assert known_strengths(original()) == (0.75, 0, 0.25, 0)


def test_leave_one_out_by_retraining_is_what_the_picture_loses() -> None:
    values = [math.nan] * len(COALITIONS)
    for bit, value in enumerate((0.6, 1.0, 0.9, 1.0)):
        values[EVERYBODY & ~(1 << bit)] = value
    assert retrained_leave_one_out(replace(original(), foretold=tuple(values))) == pytest.approx(GIVEN)


def test_what_models_that_are_missing_would_say_is_not_said() -> None:
    few = tuple(value if coalition < 4 else math.nan for coalition, value in enumerate(original().foretold))
    assert retrained_fit(replace(original(), foretold=few)) is None, "Chiyo and Dmitri are in none of them"
    assert retrained_leave_one_out(replace(original(), foretold=few)) is None
    truth = TrueGame([replace(original(), foretold=few), original(2)], {})
    assert truth.score(CEILING) is None
    assert truth.score("similarity to works, nearest") is None
    assert TrueGame([replace(original(), foretold=(math.nan,) * len(COALITIONS))] * 2, {}).repeated() is None


def test_the_attribution_that_is_the_truth_scores_one_and_chance_nothing() -> None:
    truth = TrueGame([original(seed) for seed in range(30)], {})
    score = truth.score("prompt game (Shapley values)")
    assert score is not None
    assert [score.lds.value, score.lds_of_several.value] == pytest.approx([1, 1])
    assert [score.rank.value, score.order.value] == pytest.approx([1, 1])
    assert (score.lds.count, score.rank.count, score.order.count) == (30, 60, 30)
    chance = truth.score(NOISE)
    assert chance is not None
    assert abs(chance.lds.value) < 0.15 and abs(chance.order.value - 0.5) < 0.15
    assert truth.value_correlation().value == pytest.approx(1)
    repeated = truth.repeated()
    assert repeated is not None and repeated.value == pytest.approx(1)
    assert truth.unnamed().value == pytest.approx(0)


def test_a_missing_file_says_which_command_makes_it(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"benchmarks\.validity\.retrain"):
        TrueGame.read(tmp_path / "none.json")
