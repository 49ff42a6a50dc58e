"""What other seeds say of the same prompt: a standard error, labelled as the prompt's.

The shares paid are the logged seed's. On a stated sample of images the game is played again from further seeds; the
share over all of them, and its jackknife standard error, say how much the shares of this prompt depend on the seed.
Whole numbers throughout, so that SQL computes the same.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

from attribution.shapley import SHARE_SCALE

_PERMILLE = 1000
_SEED_BYTES = 4


def plays_further_seeds(method_sha256: bytes, image: str, permille: int) -> bool:
    """Whether an image is of the sample: so many thousandths of images, by a hash of method and image's id."""
    return int.from_bytes(_digest(method_sha256, image, 0)[:8], "big") % _PERMILLE < permille


def further_seeds(method_sha256: bytes, image: str, seeds: int) -> list[int]:
    """The K - 1 seeds beside the logged one, below 2^32, by the same hash with their number."""
    return [
        int.from_bytes(_digest(method_sha256, image, number)[:_SEED_BYTES], "big")
        for number in range(1, seeds)
    ]


def _digest(method_sha256: bytes, image: str, number: int) -> bytes:
    return hashlib.sha256(b"seed" + method_sha256 + number.to_bytes(4, "big") + image.encode()).digest()


@dataclass(frozen=True, slots=True)
class PromptShare:
    """One player's share of what all seeds of a prompt pay, in ppb."""

    share_ppb: int
    """Sum of her paid parts by the sum of everybody's, rounded down."""
    standard_error_ppb: int
    """Jackknife over the seeds, rounded down."""


def prompt_shares(paid: Sequence[Sequence[int]]) -> list[PromptShare] | None:
    """The shares over seeds by slot, from what each seed counts for pay (by seed, by slot, over one denominator).

    None where there is no standard error: with one seed, or where all but one seed pay nobody.

    Each seed is left out in turn: x_k is the share of the K - 1 others, rounded down to a ppb, and the standard error
    the root of (K - 1) / K x sum of (x_k - mean of x)^2.
    """
    seeds = len(paid)
    totals = [sum(one) for one in paid]
    whole = sum(totals)
    if seeds < 2 or any(whole == total for total in totals):
        return None
    found: list[PromptShare] = []
    for slot in range(len(paid[0])):
        hers = [one[slot] for one in paid]
        without = [
            (sum(hers) - mine) * SHARE_SCALE // (whole - total)
            for mine, total in zip(hers, totals, strict=True)
        ]
        scatter = seeds * sum(x * x for x in without) - sum(without) ** 2
        found.append(PromptShare(sum(hers) * SHARE_SCALE // whole, isqrt((seeds - 1) * scatter // seeds**2)))
    return found
