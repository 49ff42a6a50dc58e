"""How an image's Shapley values are found from values of coalitions: all of them, or orders drawn at random.

An estimator says which coalitions it wants next, and at the end gives integers over one denominator that sum exactly
to v(N) - v({}). It knows nothing of pictures: whoever plays measures what is wanted, by whatever engine and
characteristic function. Values are in units of 10^-9; bit 0 of a coalition is content, bit k the artist in slot k.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import factorial, isqrt
from typing import Protocol

from attribution.shapley import shapley_numerators


@dataclass(frozen=True, slots=True)
class Estimate:
    """Shapley values of one game as integers over one denominator."""

    numerators: tuple[int, ...]
    """By slot; they sum to (v(N) - v({})) x denominator."""
    denominator: int
    """n! where all coalitions were valued; the number of orders where orders were drawn."""
    orders: int | None = None
    """How many orders were drawn; None: exact."""
    standard_errors: tuple[int, ...] | None = None
    """By slot, of what drawing adds, in units of 10^-9, rounded down; None: exact."""


class Estimator(Protocol):
    """Finds the Shapley values of one game."""

    def wanted(self, values: Mapping[int, int]) -> list[int]:
        """The coalitions whose values it takes next, given those so far; none: `estimate` can be asked."""
        ...

    def estimate(self, values: Mapping[int, int]) -> Estimate:
        """The Shapley values. Raises KeyError if a value that was wanted is not there."""
        ...

    def like(self, estimate: Estimate) -> "Estimator":
        """An estimator of the same draws as an estimate of this game, whatever the values it is given."""
        ...


@dataclass(frozen=True, slots=True)
class Enumeration:
    """Exact: every coalition is valued."""

    players: int

    def wanted(self, values: Mapping[int, int]) -> list[int]:
        """All 2^n coalitions at once."""
        return [coalition for coalition in range(1 << self.players) if coalition not in values]

    def like(self, estimate: Estimate) -> "Enumeration":
        """Itself: nothing is drawn."""
        return self

    def estimate(self, values: Mapping[int, int]) -> Estimate:
        """Exact Shapley values over n!."""
        numerators = shapley_numerators([values[c] for c in range(1 << self.players)], self.players)
        return Estimate(tuple(numerators), factorial(self.players))


@dataclass(frozen=True, slots=True)
class SamplingRule:
    """How many orders are drawn."""

    pilot_pairs: int
    """Pairs of orders that only tell how far values scatter; as many are counted at least. 2 or more."""
    standard_error: int
    """What the largest standard error of a player is to be, in units of 10^-9."""
    maximum_renders: int
    """Pictures of one image at most, whatever the error then is."""

    def most_pairs(self, players: int) -> int:
        """Pairs that are counted at most: a pair takes 2 (n - 1) pictures beside those of nobody and everybody."""
        return (self.maximum_renders - 2) // (2 * (players - 1)) - self.pilot_pairs

    def least_renders(self, players: int) -> int:
        """Pictures that the pilot and as many counted pairs may take."""
        return 2 + 4 * (players - 1) * self.pilot_pairs


@dataclass(frozen=True, slots=True)
class PairedOrders:
    """Unbiased: players join in orders drawn at random, each order and its reverse.

    A player's marginals over one order telescope: together they are v(N) - v({}), whatever was drawn. An order and
    its reverse balance who comes early and who late, so a pair scatters less than two orders (antithetic draws).

    The pilot's pairs decide how many more are drawn, and are not counted themselves: an estimate that stopped at its
    own favourable moment would be biased. The draws follow from method and image alone (`order`), so every worker has
    the same, nobody chooses them, and SQL draws them again.
    """

    players: int
    rule: SamplingRule
    method_sha256: bytes
    image: str
    """The platform's id of the image."""
    orders: int | None = None
    """How many are counted; None: as many as the rule says."""

    def wanted(self, values: Mapping[int, int]) -> list[int]:
        """First the pilot's coalitions, then those of the pairs that it turns out to take."""
        pilot = self._missing(range(self.rule.pilot_pairs), values)
        return pilot or self._missing(self._counted(values), values)

    def like(self, estimate: Estimate) -> "PairedOrders":
        """One that draws as many orders as the estimate has."""
        return replace(self, orders=estimate.orders)

    def estimate(self, values: Mapping[int, int]) -> Estimate:
        """Mean marginals over the counted orders, which are whole numbers over the number of orders."""
        pairs = self._counted(values)
        sums = [self._pair_sums(pair, values) for pair in pairs]
        return Estimate(
            numerators=tuple(map(sum, zip(*sums, strict=True))),
            denominator=2 * len(pairs),
            orders=2 * len(pairs),
            standard_errors=tuple(
                isqrt(scatter // (4 * len(pairs) ** 2 * (len(pairs) - 1))) for scatter in _scatters(sums)
            ),
        )

    def _counted(self, values: Mapping[int, int]) -> range:
        """The pairs behind the pilot's: so many that the standard error is as the rule says, by the pilot's scatter."""
        pilot = self.rule.pilot_pairs
        if self.orders is not None:
            return range(pilot, pilot + self.orders // 2)
        scatter = max(_scatters([self._pair_sums(pair, values) for pair in range(pilot)]))
        # Variance of a pair's mean, scatter / (4 p (p - 1)), over the square of the error asked for, rounded up.
        needed = -(-scatter // (4 * pilot * (pilot - 1) * self.rule.standard_error**2))
        return range(pilot, pilot + max(pilot, min(needed, self.rule.most_pairs(self.players))))

    def _missing(self, pairs: range, values: Mapping[int, int]) -> list[int]:
        found = {0, (1 << self.players) - 1}
        for pair in pairs:
            for order in self.both(pair):
                found.update(before for _, before in _joinings(order))
        return sorted(found - values.keys())

    def _pair_sums(self, pair: int, values: Mapping[int, int]) -> list[int]:
        """By slot, the sum of the two marginals that the pair's orders give."""
        sums = [0] * self.players
        for order in self.both(pair):
            for slot, before in _joinings(order):
                sums[slot] += values[before | 1 << slot] - values[before]
        return sums

    def both(self, pair: int) -> tuple[list[int], list[int]]:
        """The pair's order of slots, and its reverse."""
        forward = draw_order(self.method_sha256, self.image, pair, self.players)
        return forward, forward[::-1]


def draw_order(method_sha256: bytes, image: str, pair: int, players: int) -> list[int]:
    """All slots in the order of SHA-256(method's hash || pair || slot || image's id), both numbers in 4 bytes."""
    name = image.encode()

    def place(slot: int) -> bytes:
        return hashlib.sha256(
            method_sha256 + pair.to_bytes(4, "big") + slot.to_bytes(4, "big") + name
        ).digest()

    return sorted(range(players), key=place)


def _joinings(order: list[int]) -> Iterator[tuple[int, int]]:
    """Each slot of an order, with the coalition of those who came before."""
    before = 0
    for slot in order:
        yield slot, before
        before |= 1 << slot


def _scatters(sums: list[list[int]]) -> list[int]:
    """By slot, pairs x sum of squares - square of the sum."""
    return [len(column) * sum(x * x for x in column) - sum(column) ** 2 for column in zip(*sums, strict=True)]
