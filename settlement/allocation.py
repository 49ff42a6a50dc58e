"""Dividing money: exact integers, no input or output, no clock, no randomness.

Every division of an amount is by largest remainder: each part is floored, and the units left over go, one each,
to the parts that lost the largest fraction, ties by id in byte order (`str.encode`; in SQL ``COLLATE "C"``).
So parts add up to the whole exactly, each is within one unit of its exact value, and the order of the input
does not matter. Amounts are micros; shares, splits and rates are parts per billion (`money.PPB`).

A period is divided in SQL (`settlement.periods.calculation`); this is the same arithmetic in a form that can be read
and proven, and the tests hold the SQL against it.

Arguments that break a rule stated here raise ValueError: people's input is checked where it is read.
"""

from collections.abc import Mapping
from typing import NamedTuple

from settlement.money import PPB

CONTENT = "C"
"""The player id of content: what the model itself brings to an image."""


class Part(NamedTuple):
    """What one payee gets of a slice through one player; ``payee`` is None for an artist without a contract."""

    player: str
    payee: str | None
    micros: int


def largest_remainder(total: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Divide ``total`` (not negative) in proportion to ``weights`` (not negative), by id in byte order.

    A weight of zero gets zero. Raises ValueError on a negative total or weight, and where there is something to
    divide but every weight is zero. To take money back, reverse what was given (`reversed_part`): a division of
    a negative total would round to other people's disadvantage.
    """
    if total < 0 or any(weight < 0 for weight in weights.values()):
        raise ValueError("largest remainder divides no negative total and by no negative weight")
    whole = sum(weights.values())
    if not whole:
        if total:
            raise ValueError(f"nobody has a weight to divide {total} by")
        return dict.fromkeys(in_byte_order(weights), 0)
    parts: dict[str, int] = {}
    rests: dict[str, int] = {}
    for key in in_byte_order(weights):
        parts[key], rests[key] = divmod(total * weights[key], whole)
    # sorted() is stable, so equal remainders stay in byte order.
    for key in sorted(rests, key=rests.__getitem__, reverse=True)[: total - sum(parts.values())]:
        parts[key] += 1
    return parts


def in_byte_order(ids: Mapping[str, object]) -> list[str]:
    """The ids sorted by their UTF-8 bytes, as PostgreSQL sorts under ``COLLATE "C"``."""
    return sorted(ids, key=str.encode)


def per_image_slice(base: int, rate_ppb: int) -> int:
    """What one sale pays under a rate card per image: floor(base x rate) in micros, 0 for a negative base."""
    return max(base, 0) * rate_ppb // PPB


def pool_slices(bases: Mapping[str, int], rate_ppb: int) -> dict[str, int]:
    """What each sale of a period pool pays: floor(sum of bases x rate), divided over the sales by base.

    ``bases`` maps a sale's id to its royalty base in micros; a negative base counts 0 in the sum and the division.
    """
    positive = {sale: max(base, 0) for sale, base in bases.items()}
    return largest_remainder(sum(positive.values()) * rate_ppb // PPB, positive)


def spread_content(shares: Mapping[str, int]) -> dict[str, int]:
    """Shares with content's share spread over the artists pro rata to theirs, for rate cards that say so.

    Raises ValueError if no artist has a share: an image whose artists all earn nothing is not attributed.
    """
    artists = {player: share for player, share in shares.items() if player != CONTENT}
    extra = largest_remainder(shares.get(CONTENT, 0), artists)
    return {player: share + extra[player] for player, share in artists.items()}


def allocate_slice(
    amount: int, shares: Mapping[str, int], splits: Mapping[str, Mapping[str, int]]
) -> list[Part]:
    """Divide a slice over an image's players, then each player's amount over the payees of that player.

    Args:
        amount: the slice in micros.
        shares: player id to share in ppb, content included; they sum to 10^9.
        splits: player id to the payees' parts in ppb, each summing to 10^9. A player that is missing has no
            contract: its amount comes back whole, with payee None.

    Returns:
        The parts above zero, by player and payee in byte order. They add up to ``amount``.

    Raises:
        ValueError: shares or a split do not sum to 10^9.
    """
    _check_whole("shares", shares)
    parts = []
    for player, micros in largest_remainder(amount, shares).items():
        split = splits.get(player)
        if split is None:
            parts.append(Part(player, None, micros))
            continue
        _check_whole(f"split of {player}", split)
        parts += [Part(player, payee, part) for payee, part in largest_remainder(micros, split).items()]
    return [part for part in parts if part.micros]


def reversed_part(line: int, refunded: int, price: int) -> int:
    """How much of a line is reversed once ``refunded`` of a sale's ``price`` (both with tax) is refunded, in all.

    floor(line x refunded / price), cumulative: a further refund reverses the difference to what was reversed
    before, so the reversal only grows and a full refund ends exact. For a line that was made after a part of the
    sale had been refunded, ``refunded`` and ``price`` count from then: the refund since, of the price left then.
    """
    if line < 0 or not 0 <= refunded <= price or not price:
        raise ValueError(f"cannot reverse {line} by {refunded} of {price}")
    return line * refunded // price


def _check_whole(what: str, parts: Mapping[str, int]) -> None:
    if sum(parts.values()) != PPB:
        raise ValueError(f"{what}: {sum(parts.values())} ppb in all, not {PPB}")
