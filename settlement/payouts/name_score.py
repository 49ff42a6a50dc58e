"""How alike two names are, for screening: 100 is the same words in any order, `THRESHOLD` is alike enough for a person.

Words are compared as `screening.name_key` gives them: small Latin letters, no accents, transliterated. A word is like
another if it is the same, its initial, or one slip away (a letter more, less, another one, or two exchanged; two slips
from eight letters on). Words that the other name does not have count against it by their length.
"""

from collections.abc import Sequence

THRESHOLD = 85
"""From here on a payee is held until a person has looked: of 100."""

_INITIAL = 90


def score(one: str, other: str) -> int:
    """0 to 100: how alike two keys of `name_key` are; the same for both orders."""
    if one == other:
        return 100
    left, right = one.split(), other.split()
    pairs = sorted(
        (
            (-alike, min(a, b), max(a, b), i, j)
            for i, a in enumerate(left)
            for j, b in enumerate(right)
            if (alike := _alike(a, b))
        ),
    )
    used_left, used_right = set[int](), set[int]()
    reached, named = 0, False
    for alike, a, b, i, j in pairs:  # the best first, each word once
        if i not in used_left and j not in used_right:
            used_left.add(i)
            used_right.add(j)
            reached += -alike * (len(a) + len(b))
            named = named or -alike != _INITIAL
    whole = sum(map(len, left)) + sum(map(len, right))
    return reached // whole if named and whole else 0  # initials alone name nobody


def _alike(one: str, other: str) -> int:
    """0 to 100: how alike two words are."""
    if one == other:
        return 100
    shorter, longer = sorted((one, other), key=len)
    if len(shorter) == 1:
        return _INITIAL if longer[0] == shorter and shorter.isascii() else 0
    if len(shorter) < 4:
        return 0
    allowed = 2 if len(shorter) >= 8 else 1
    slips = _slips(one, other) if len(longer) - len(shorter) <= allowed else allowed + 1
    return 100 - 100 * slips // len(longer) if slips <= allowed else 0


def _slips(one: Sequence[str], other: Sequence[str]) -> int:
    """Letters to add, leave out, change, or exchange with their neighbour (optimal string alignment)."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        row = [i]
        for j, b in enumerate(other, start=1):
            least = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                least = min(least, before[j - 2] + 1)
            row.append(least)
        before, last = last, row
    return last[-1]
