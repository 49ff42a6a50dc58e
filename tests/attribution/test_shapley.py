"""Exact Shapley values and shares: the worked example to the last digit, the axioms, an outside oracle."""

from fractions import Fraction
from itertools import permutations
from time import perf_counter

import numpy as np
import pytest
import shapiq
from hypothesis import given
from hypothesis import strategies as st

from attribution.shapley import (
    SHARE_SCALE,
    Baseline,
    PlaceboLevel,
    UnattributedReason,
    largest_remainder,
    settle_game,
    shapley_values,
)

PLACEBO = {
    2: [PlaceboLevel(12_000_000, 31_000_000)],
    3: [PlaceboLevel(9_000_000, 24_000_000), PlaceboLevel(7_000_000, 22_000_000)],
}
MINIMUM_GAP = 20_000_000

GOLDEN = {
    "img-1": (
        [
            212_000_000,
            561_000_000,
            334_000_000,
            870_000_000,
            268_000_000,
            603_000_000,
            391_000_000,
            1_000_000_000,
        ],
        ["art-1", "art-2"],
        [
            ("C", "464500000", "480500000", "480500000", 609771573),
            ("art-1", "245000000", "236000000", "236000000", 299492386),
            ("art-2", "78500000", "71500000", "71500000", 90736041),
        ],
    ),
    "img-2": (
        [180_000_001, 640_000_000, 355_000_000, 1_000_000_000],
        ["art-1"],
        [
            ("C", "1104999999/2", "1128999999/2", "1128999999/2", 688414634),
            ("art-1", "534999999/2", "510999999/2", "510999999/2", 311585366),
        ],
    ),
    "img-3": (
        [
            205_000_000,
            702_000_000,
            229_000_000,
            711_000_000,
            300_000_000,
            965_000_000,
            318_000_000,
            1_000_000_000,
        ],
        ["art-2", "art-3"],
        [
            ("C", "1752500000/3", "1800500000/3", "1846000000/3", 774004193),
            ("art-2", "72500000/3", "45500000/3", "0", 0),
            ("art-3", "560000000/3", "539000000/3", "539000000/3", 225995807),
        ],
    ),
    "img-4": (
        [190_000_000, 577_000_000, 401_000_000, 1_000_000_000],
        ["art-3"],
        [
            ("C", "493000000", "505000000", "505000000", 623456790),
            ("art-3", "317000000", "305000000", "305000000", 376543210),
        ],
    ),
}
"""The images of the worked example: v(S) by bitmask, artists by slot; phi, phi', paid and ppb by player."""


@pytest.mark.parametrize("image", GOLDEN)
def test_worked_example(image: str) -> None:
    values, artists, expected = GOLDEN[image]
    game = settle_game(values, artists, PLACEBO[len(artists) + 1], minimum_gap=MINIMUM_GAP)
    assert game.reason is None
    assert [(p.player, p.phi, p.adjusted, p.paid, p.share_ppb) for p in game.players] == [
        (player, Fraction(phi), Fraction(adjusted), Fraction(paid), ppb)
        for player, phi, adjusted, paid, ppb in expected
    ]
    assert [p.placebo for p in game.players] == [None, *PLACEBO[len(artists) + 1]]


value = st.integers(-SHARE_SCALE, SHARE_SCALE)


@st.composite
def games(draw: st.DrawFn, most: int = 5) -> tuple[int, list[int]]:
    players = draw(st.integers(1, most))
    return players, draw(st.lists(value, min_size=1 << players, max_size=1 << players))


def add_player(values: list[int], players: int, marginal: int) -> list[int]:
    """The same game with one more player, whose joining adds the same amount to every coalition."""
    old = (1 << players) - 1
    return [values[mask & old] + marginal * (mask >> players) for mask in range(2 << players)]


@given(games())
def test_efficiency(game: tuple[int, list[int]]) -> None:
    players, values = game
    assert sum(shapley_values(values, players)) == values[-1] - values[0]


@given(games(), st.data())
def test_symmetry_under_any_order_of_players(game: tuple[int, list[int]], data: st.DataObject) -> None:
    players, values = game
    order = data.draw(st.permutations(range(players)))
    relabelled = [0] * len(values)
    for mask, worth in enumerate(values):
        relabelled[sum(1 << order[i] for i in range(players) if mask >> i & 1)] = worth
    phi, moved = shapley_values(values, players), shapley_values(relabelled, players)
    assert phi == [moved[order[i]] for i in range(players)]


@given(games(4), value)
def test_null_and_dummy_players(game: tuple[int, list[int]], marginal: int) -> None:
    players, values = game
    with_null = shapley_values(add_player(values, players, 0), players + 1)
    assert with_null == [*shapley_values(values, players), 0]
    assert shapley_values(add_player(values, players, marginal), players + 1)[-1] == marginal


@given(st.data(), st.integers(1, 4), st.integers(-5, 5), st.integers(-5, 5), value)
def test_linearity_and_translation(data: st.DataObject, players: int, a: int, b: int, shift: int) -> None:
    table = st.lists(value, min_size=1 << players, max_size=1 << players)
    v, w = data.draw(table), data.draw(table)
    mixed = shapley_values([a * x + b * y + shift for x, y in zip(v, w, strict=True)], players)
    assert mixed == [
        a * x + b * y for x, y in zip(shapley_values(v, players), shapley_values(w, players), strict=True)
    ]


@given(st.integers(1, 6), st.data())
def test_unanimity_games(players: int, data: st.DataObject) -> None:
    needed = data.draw(st.integers(1, (1 << players) - 1))
    values = [60 if mask & needed == needed else 0 for mask in range(1 << players)]
    expected = [Fraction(60, needed.bit_count()) if needed >> i & 1 else Fraction(0) for i in range(players)]
    assert shapley_values(values, players) == expected


@given(games(4))
def test_permutation_definition(game: tuple[int, list[int]]) -> None:
    players, values = game
    orders = list(permutations(range(players)))
    totals = [0] * players
    for order in orders:
        mask = 0
        for player in order:
            totals[player] += values[mask | 1 << player] - values[mask]
            mask |= 1 << player
    assert shapley_values(values, players) == [Fraction(total, len(orders)) for total in totals]


@pytest.mark.parametrize("players", range(2, 9))
def test_shapiq_agrees(players: int) -> None:
    values = np.random.default_rng(players).integers(-SHARE_SCALE, SHARE_SCALE, 1 << players)

    def game(coalitions: np.ndarray) -> np.ndarray:
        return np.asarray(values[coalitions @ (1 << np.arange(players))], dtype=float)

    oracle = shapiq.ExactComputer(game, n_players=players)("SV").get_n_order_values(1)
    ours = [float(phi) for phi in shapley_values(values.tolist(), players)]
    np.testing.assert_allclose(ours, oracle, atol=1e-3)  # of 10^9: float error of the oracle


@given(games(5), st.data())
def test_shares_are_whole_and_never_negative(game: tuple[int, list[int]], data: st.DataObject) -> None:
    players, values = game
    levels = [
        PlaceboLevel(data.draw(st.integers(-50, 50)), data.draw(st.integers(0, 50)))
        for _ in range(players - 1)
    ]
    for baseline in Baseline:
        settled = settle_game(
            values, [f"art-{i}" for i in range(1, players)], levels, minimum_gap=1, baseline=baseline
        )
        shares = [player.share_ppb for player in settled.players]
        assert min(shares) >= 0
        assert sum(shares) == (SHARE_SCALE if settled.reason is None else 0)
        assert sum(player.adjusted for player in settled.players) == values[-1] - values[0]
        for player, level in zip(settled.players[1:], levels, strict=True):
            assert player.paid == 0 or player.paid == player.adjusted > level.threshold


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=6).filter(any), st.integers(0, 10**9))
def test_largest_remainder(weights: list[int], total: int) -> None:
    parts = largest_remainder(weights, [f"art-{i}" for i in range(len(weights))], total)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - Fraction(weight * total, sum(weights))) < 1


def test_ties_go_to_the_first_id_in_byte_order() -> None:
    assert largest_remainder([1, 1, 1], ["b", "C", "a"], 10) == [3, 4, 3]  # "C" is before every small letter
    assert largest_remainder([1, 1], ["é", "z"], 1) == [0, 1]


def test_who_earns_nothing() -> None:
    level = [PlaceboLevel(10, 30)]
    no_more_than_a_made_up_name = settle_game([0, 80, 0, 120], ["art-1"], level)
    assert no_more_than_a_made_up_name.players[1].adjusted == 10
    assert no_more_than_a_made_up_name.reason is UnattributedReason.NO_ARTIST_EARNS
    exactly_the_threshold = settle_game([0, 80, 0, 160], ["art-1"], level)
    assert exactly_the_threshold.players[1].adjusted == 30
    assert exactly_the_threshold.reason is UnattributedReason.NO_ARTIST_EARNS
    no_change = settle_game([100, 80, 90, 120], ["art-1"], level, minimum_gap=20)
    assert no_change.reason is UnattributedReason.BELOW_THRESHOLD
    assert not any(player.paid or player.share_ppb for player in no_change.players)
    nobody = settle_game([0, 100], [], [])
    assert nobody.reason is UnattributedReason.NO_RECOGNISED_ARTIST


def test_baseline_may_go_to_the_model() -> None:
    values = [200, 500, 600, 1000]
    excluded = settle_game(values, ["art-1"], [PlaceboLevel(0, 0)])
    assert [player.paid for player in excluded.players] == [350, 450]
    model = settle_game(values, ["art-1"], [PlaceboLevel(0, 0)], baseline=Baseline.MODEL)
    assert [player.paid for player in model.players] == [550, 450]
    negative_offset = settle_game(
        [-900, 0, 0, 1000], ["art-1"], [PlaceboLevel(0, 0)], baseline=Baseline.MODEL
    )
    assert [player.paid for player in negative_offset.players] == [50, 950]


def test_an_artist_may_take_more_than_the_gap_and_content_then_earns_nothing() -> None:
    settled = settle_game([0, -100, 150, 100], ["art-1"], [PlaceboLevel(0, 0)])
    assert [player.paid for player in settled.players] == [0, 175]
    assert [player.share_ppb for player in settled.players] == [0, SHARE_SCALE]


def test_wrong_numbers_of_values_and_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="4 coalition values"):
        shapley_values([1, 2, 3], 2)
    with pytest.raises(ValueError, match="placebo level each"):
        settle_game([0, 1, 2, 3], ["art-1"], [])
    with pytest.raises(ValueError, match="plays once"):
        settle_game([0] * 8, ["art-1", "art-1"], [PlaceboLevel(0, 0)] * 2)
    with pytest.raises(ValueError, match="one must be positive"):
        largest_remainder([0, 0], ["a", "b"], 10)


def test_a_large_period_settles_in_seconds() -> None:
    values, artists, _ = GOLDEN["img-1"]
    start = perf_counter()
    for _ in range(10_000):
        settle_game(values, artists, PLACEBO[3], minimum_gap=MINIMUM_GAP)
    assert perf_counter() - start < 3
