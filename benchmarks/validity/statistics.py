"""How far an attribution agrees with retraining: rank correlation, LDS, the order of pairs, and their errors.

The linear datamodeling score (LDS; Park et al., arXiv 2303.14186) of one picture: an attribution predicts what a model
trained on some of the artists would draw by the sum of what it gives to those artists; the score is the rank
correlation of predictions and retrained values over all sets of artists.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]


def ranks(values: ArrayLike) -> Vector:
    """Ranks from 1; equal values share the mean of theirs."""
    given = np.asarray(values, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    found = np.empty(len(given))
    found[order] = np.arange(1, len(given) + 1)
    _, group = np.unique(given, return_inverse=True)
    return np.asarray(np.bincount(group, found) / np.bincount(group))[group]


def rank_correlation(one: ArrayLike, other: ArrayLike) -> float:
    """Spearman's rho, ties sharing ranks; 0 where one side has no order at all, as it then says nothing."""
    a, b = ranks(one), ranks(other)
    a, b = a - a.mean(), b - b.mean()
    length = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / length if length else 0.0


def predictions(attribution: ArrayLike) -> Vector:
    """The sum of what the members of each coalition are given, by bitmask, shape (2^artists,)."""
    given = np.asarray(attribution, dtype=np.float64)
    return np.array(
        [
            given[[bit for bit in range(len(given)) if coalition >> bit & 1]].sum()
            for coalition in range(1 << len(given))
        ]
    )


def linear_datamodeling_score(attribution: ArrayLike, retrained: ArrayLike) -> float:
    """LDS of one picture.

    Args:
        attribution: What each artist is given; bit k of a coalition is the k-th.
        retrained: The value of the model retrained on each coalition, by bitmask; NaN where there is none.
    """
    values = np.asarray(retrained, dtype=np.float64)
    there = ~np.isnan(values)
    return rank_correlation(predictions(attribution)[there], values[there])


def pair_order(attribution: Sequence[float], truth: Sequence[float]) -> list[float]:
    """For each pair 1 where the order of the two is the true one, 0 where it is not, 1/2 where it is left open."""
    pairs = [(i, j) for j in range(len(truth)) for i in range(j) if truth[i] != truth[j]]
    return [
        0.5 + 0.5 * float(np.sign(attribution[i] - attribution[j]) * np.sign(truth[i] - truth[j]))
        for i, j in pairs
    ]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, how sure it is, and on how many things it rests."""

    value: float
    standard_error: float
    count: int


def jackknife(
    groups: Sequence[Sequence[float]] | Sequence[Vector],
    statistic: Callable[[Vector], float] = lambda values: float(values.mean()),
) -> Estimate:
    """A statistic of values that come in groups, with its delete-one-group standard error.

    Values of one picture are not independent of each other, pictures are: a group is what one picture gives. `count`
    is the number of values.

    Raises:
        ValueError: there are fewer than two groups that hold anything.
    """
    held = [np.asarray(group, dtype=np.float64) for group in groups if len(group)]
    if len(held) < 2:
        raise ValueError("an error needs at least two groups")
    left_out = np.array(
        [statistic(np.concatenate([*held[:place], *held[place + 1 :]])) for place in range(len(held))]
    )
    factor = (len(held) - 1) / len(held)
    everything = np.concatenate(held)
    error = float(np.sqrt(factor * ((left_out - left_out.mean()) ** 2).sum()))
    return Estimate(statistic(everything), error, len(everything))
