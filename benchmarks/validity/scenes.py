"""Who plays in the true game, and the pictures that it is played on."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from attribution.miniature.artists import VISIBLE_ARTISTS
from attribution.miniature.drawing import SHAPES, Scene
from attribution.miniature.prompts import name_artists

PLAYERS: tuple[str, ...] = tuple(artist.name for artist in VISIBLE_ARTISTS[:4])
"""The four artists whose works are left out in turn; bit k of a coalition is the k-th, from 0."""

COALITIONS = range(1 << len(PLAYERS))
EVERYBODY = COALITIONS[-1]

_SHAPES_PER_CAST = 4


def members(coalition: int) -> tuple[str, ...]:
    """The names of a coalition's artists."""
    return tuple(name for bit, name in enumerate(PLAYERS) if coalition >> bit & 1)


def coalition_of(names: Sequence[str]) -> int:
    """The bitmask of these artists."""
    return sum(1 << PLAYERS.index(name) for name in names)


@dataclass(frozen=True)
class Query:
    """One picture that is attributed: by whom it is, in order of naming, and from which noise."""

    shape: str
    names: tuple[str, ...]
    seed: int

    @property
    def prompt(self) -> str:
        """What it is made from."""
        return name_artists(Scene(self.shape), self.names)


def queries() -> list[Query]:
    """Every non-empty cast of the four artists in four shapes, named in ever other orders: 60 pictures."""
    rng = np.random.default_rng(40)
    found: list[Query] = []
    for size in range(1, len(PLAYERS) + 1):
        for cast in combinations(PLAYERS, size):
            for _ in range(_SHAPES_PER_CAST):
                number = len(found)
                order = tuple(str(name) for name in rng.permutation(list(cast)))
                found.append(Query(SHAPES[number % len(SHAPES)], order, 5000 + number))
    return found
