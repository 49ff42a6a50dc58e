"""From the coalition values of one image to exact shares: pure integer and rational arithmetic, no I/O.

Values v(S) are integers in units of 10^-9, indexed by the coalition's bitmask: bit 0 is content (the model),
bit k is the artist in slot k, in the order of naming. Everything is exact: SQL computes the same numbers. Where there
are too many coalitions to value, `attribution.estimator` draws orders; from its integers on the rest is the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cache
from math import factorial

CONTENT_ID = "C"
"""Id of the content player, the model; it takes part in ties by byte order like any other id."""

SHARE_SCALE = 1_000_000_000
"""Shares are integers in parts per billion and sum to exactly this."""


class UnattributedReason(StrEnum):
    """Why an image pays nobody; where several hold, the first in this order is the one recorded."""

    NO_RECOGNISED_ARTIST = "no_recognised_artist"
    NOISE_NOT_LOGGED = "noise_not_logged"
    NOT_REPRODUCIBLE = "not_reproducible"
    BELOW_THRESHOLD = "below_threshold"
    NO_ARTIST_EARNS = "no_artist_earns"


class Baseline(StrEnum):
    """Who gets v({}), the arbitrary offset of a cosine: nobody, or content."""

    EXCLUDED = "excluded"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class PlaceboLevel:
    """What made-up names do in one slot of an n-player game, in units of 10^-9."""

    mean: int
    """pi: the mean phi of a made-up name."""
    threshold: int
    """q: the 97.5th percentile of made-up names' phi', at least 0."""


@dataclass(frozen=True, slots=True)
class PlayerResult:
    """One player of one image: raw value, value beyond a made-up name, what counts for pay, and the share."""

    player: str
    slot: int
    """0 for content, 1.. for artists in the order of naming."""
    phi: Fraction
    adjusted: Fraction
    """phi': for an artist phi less the placebo's mean, for content phi plus all of those means."""
    placebo: PlaceboLevel | None
    paid: Fraction
    share_ppb: int


@dataclass(frozen=True, slots=True)
class Allocation:
    """The settled game. With a `reason` nothing is paid, and every `paid` and `share_ppb` is 0."""

    players: tuple[PlayerResult, ...]
    reason: UnattributedReason | None


@cache
def _weights(players: int) -> tuple[int, ...]:
    """|S|! (n-|S|-1)! by the size of S: the Shapley weights over the common denominator n!."""
    return tuple(factorial(size) * factorial(players - size - 1) for size in range(players))


@cache
def _coefficients(players: int) -> tuple[tuple[int, ...], ...]:
    """For each player the integer by which v(S) enters n! phi, by bitmask."""
    weights = _weights(players)
    return tuple(
        tuple(
            weights[mask.bit_count() - 1] if mask >> player & 1 else -weights[mask.bit_count()]
            for mask in range(1 << players)
        )
        for player in range(players)
    )


def shapley_numerators(values: Sequence[int], players: int) -> list[int]:
    """n! phi for each player: the Shapley values over the common denominator n!.

    Raises ValueError if there are not 2^players values.
    """
    if players < 1 or len(values) != 1 << players:
        raise ValueError(f"{players} players need {1 << max(players, 0)} coalition values, not {len(values)}")
    return [
        sum(coefficient * value for coefficient, value in zip(row, values, strict=True))
        for row in _coefficients(players)
    ]


def shapley_values(values: Sequence[int], players: int) -> list[Fraction]:
    """The exact Shapley value of each player, in the unit of `values` (2^players of them, by bitmask)."""
    return [Fraction(n, factorial(players)) for n in shapley_numerators(values, players)]


def largest_remainder(weights: Sequence[int], ids: Sequence[str], total: int) -> list[int]:
    """Divide `total` in proportion to non-negative weights: floor, then one each to the largest remainders.

    Ties go to the id that is first in byte order. Raises ValueError if no weight is positive.
    """
    whole = sum(weights)
    if whole <= 0 or min(weights) < 0:
        raise ValueError("weights must not be negative, and one must be positive")
    floors = [weight * total // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(weights[i] * total % whole), ids[i].encode()))
    for i in by_remainder[: total - sum(floors)]:
        floors[i] += 1
    return floors


def settle_game(
    values: Sequence[int],
    artists: Sequence[str],
    placebo: Sequence[PlaceboLevel],
    *,
    minimum_gap: int = 0,
    baseline: Baseline = Baseline.EXCLUDED,
) -> Allocation:
    """Settle one image's game of content and `artists` (ids by slot, in the order of naming), all 2^n values at hand.

    `values` are v(S) by bitmask, `placebo` the levels of this n by slot, `minimum_gap` the threshold of
    v(N) - v({}), all in units of 10^-9. Raises ValueError if their numbers do not fit or an artist is named
    twice.
    """
    players = len(artists) + 1
    return settle(
        shapley_numerators(values, players),
        factorial(players),
        values[0],
        artists,
        placebo,
        minimum_gap=minimum_gap,
        baseline=baseline,
    )


def settle(
    phi: Sequence[int],
    unit: int,
    nobody: int,
    artists: Sequence[str],
    placebo: Sequence[PlaceboLevel],
    *,
    minimum_gap: int = 0,
    baseline: Baseline = Baseline.EXCLUDED,
) -> Allocation:
    """Settle one image's game from its Shapley values, exact or estimated.

    Args:
        phi: Shapley values by slot, times `unit`; they sum to (v(N) - v({})) x `unit`.
        unit: their denominator.
        nobody: v({}).
        artists: ids by slot, in the order of naming; content is before them.
        placebo: the levels of this n by slot.
        minimum_gap: the threshold of v(N) - v({}).
        baseline: who gets v({}).

    Raises:
        ValueError: their numbers do not fit, or an artist is named twice.
    """
    if len(placebo) != len(artists):
        raise ValueError(f"{len(artists)} artists need a placebo level each, not {len(placebo)}")
    if len({CONTENT_ID, *artists}) != len(artists) + 1 or len(phi) != len(artists) + 1:
        raise ValueError("every artist plays once, and none is called C")
    pi = [level.mean * unit for level in placebo]
    adjusted = [phi[0] + sum(pi), *(value - mean for value, mean in zip(phi[1:], pi, strict=True))]
    earned = [
        value if value > max(0, level.threshold) * unit else 0
        for value, level in zip(adjusted[1:], placebo, strict=True)
    ]
    gap = sum(phi)
    content = max(0, gap - sum(earned))
    if baseline is Baseline.MODEL:
        content = max(0, content + nobody * unit)
    paid = [content, *earned]

    reason: UnattributedReason | None = None
    if not artists:
        reason = UnattributedReason.NO_RECOGNISED_ARTIST
    elif gap <= minimum_gap * unit:
        reason = UnattributedReason.BELOW_THRESHOLD
    elif not any(earned):
        reason = UnattributedReason.NO_ARTIST_EARNS
    ids = [CONTENT_ID, *artists]
    if reason is None:
        shares = largest_remainder(paid, ids, SHARE_SCALE)
    else:
        paid = shares = [0] * len(ids)
    return Allocation(
        tuple(
            PlayerResult(
                player=ids[slot],
                slot=slot,
                phi=Fraction(phi[slot], unit),
                adjusted=Fraction(adjusted[slot], unit),
                placebo=placebo[slot - 1] if slot else None,
                paid=Fraction(paid[slot], unit),
                share_ppb=shares[slot],
            )
            for slot in range(len(ids))
        ),
        reason,
    )
