"""Which words may name an artist of the catalogue: full names, aliases, surnames, reversed names and misspellings."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from typing import Protocol

from attribution.prompt_words import Word, split_words
from attribution.vocabulary import (
    FUSED_SUFFIXES,
    GIVEN_NAMES,
    NAME_ENDINGS,
    PARTICLES,
    english,
    proper_names,
)

_SHORTEST_SURNAME = 4
_SHORTEST_RUN_TOGETHER = 6
_SHORTEST_SPLIT = 8
_LONGEST_SPELT_OUT = 24
_LOOKED_AT_FOR_MISSPELLINGS = 100
"""Words at the start of a prompt in which misspellings are looked for: no later word fits the text window."""

_PREFIX = 6
"""Letters by which words are known not to begin any name."""

_NEIGHBOURS = frozenset(
    "manet monet millet millais klee klein bosch busch munch mucha redon rodin ribera rivera bernini bellini cellini "
    "hooper miller moore moreau morel corot cole cox degas dega hals hirst homer horner sergeant".split()
)
"""Surnames that are a letter or two from another artist's: never read as a misspelling."""


class NamedArtist(Protocol):
    """What the reader needs of an artist."""

    @property
    def id(self) -> str:
        """Stable id."""
        ...

    @property
    def name(self) -> str:
        """Full name."""
        ...

    @property
    def aliases(self) -> Sequence[str]:
        """Every other way of writing it."""
        ...


class Rule(StrEnum):
    """By which of an artist's names words were matched, the surest first."""

    NAME = "full name"
    ALIAS = "alias"
    REVERSED = "name reversed"
    INITIALS = "initials and surname"
    SHORTENED = "without middle names"
    SURNAME = "surname"


_RANK = {rule: rank for rank, rule in enumerate(Rule)}


@dataclass(frozen=True, slots=True)
class Pattern:
    """One way of writing one artist's name."""

    artist_id: str
    alias: str
    """The catalogue's text that it comes from."""
    words: tuple[str, ...]
    rule: Rule
    joint: bool = False
    """Whether the name itself contains a sign like &."""

    @property
    def compact(self) -> str:
        """The words run together."""
        return "".join(self.words)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Words that match one or several artists' names; the surroundings decide whether they are a mention."""

    first: int
    last: int
    """Indices of the first and the last word."""
    patterns: tuple[Pattern, ...]
    """The surest matches, one per artist."""
    distance: int
    """Edit distance of a misspelling."""
    suffix: str
    """Ending grown onto the last word, such as "esque"."""


class NameIndex:
    """All names of a catalogue, ready to be looked up; building it is linear in the catalogue."""

    def __init__(self, artists: Iterable[NamedArtist]) -> None:
        """Raises nothing: a name without a letter or digit is never matched."""
        self._exact: dict[str, list[Pattern]] = defaultdict(list)
        self._own_words: dict[str, set[str]] = defaultdict(set)
        for artist in artists:
            for pattern in _patterns(artist):
                if pattern.words and pattern not in self._exact[pattern.compact]:
                    self._exact[pattern.compact].append(pattern)
                    self._own_words[pattern.artist_id].update(pattern.words)
        self._prefixes = {compact[:length] for compact in self._exact for length in range(1, _PREFIX + 1)}
        self._longest = max(map(len, self._exact), default=0)
        self._most_words = max((len(p.words) for ps in self._exact.values() for p in ps), default=0)
        self._near = _NearIndex(self._exact)

    @cached_property
    def _all_words(self) -> frozenset[str]:
        return frozenset(word for words in self._own_words.values() for word in words)

    def own_words(self, artist_id: str) -> frozenset[str]:
        """Every word of every name of an artist."""
        return frozenset(self._own_words[artist_id])

    def candidates(self, words: Sequence[Word]) -> Iterator[Candidate]:
        """Matches from left to right, the longest first, none overlapping. Time is linear in the words."""
        at = 0
        while at < len(words):
            found = self._longest_at(words, at)
            if found is None and at < _LOOKED_AT_FOR_MISSPELLINGS:
                found = self._misspelt_at(words, at)
            if found is None:
                at += 1
            else:
                yield found
                at = found.last + 1

    def _windows(self, words: Sequence[Word], first: int) -> Iterator[tuple[int, list[str]]]:
        """Last index and the words' readings run together, for every stretch of words that may be one name."""
        readings = list(words[first].forms)
        for last in range(first, min(len(words), first + _LONGEST_SPELT_OUT)):
            if last > first:
                word = words[last]
                in_pieces = word.gap == "" or len(word.text) == 1
                if word.gap in (",", ":") or (last - first >= self._most_words and not in_pieces):
                    return
                forms = words[last].forms
                readings = [
                    readings[min(i, len(readings) - 1)] + forms[min(i, len(forms) - 1)]
                    for i in range(max(len(readings), len(forms)))
                ]
            if min(map(len, readings)) > self._longest + 10:
                return
            yield last, readings

    def _longest_at(self, words: Sequence[Word], first: int) -> Candidate | None:
        best: Candidate | None = None
        for last, readings in self._windows(words, first):
            for reading in dict.fromkeys(readings):
                for compact, suffix in _without_suffix(reading, words[last]):
                    patterns = [
                        pattern
                        for pattern in self._exact.get(compact, ())
                        if _same_parts(words[first : last + 1], pattern, suffix)
                    ]
                    if patterns and (best is None or last > best.last):
                        best = Candidate(first, last, _surest(patterns), 0, suffix)
            if not any(reading[:_PREFIX] in self._prefixes for reading in readings):
                break
        return best

    def _misspelt_at(self, words: Sequence[Word], first: int) -> Candidate | None:
        best: Candidate | None = None
        for last, readings in self._windows(words, first):
            if last - first >= self._most_words:
                break
            reading = readings[0]
            near: list[tuple[int, Pattern]] = []
            for compact in self._near.lookup(reading):
                for pattern in self._exact[compact]:
                    distance = self._misspelling(words[first : last + 1], pattern)
                    if distance is not None:
                        near.append((distance, pattern))
            if not near:
                continue
            closest = min(distance for distance, _ in near)
            if best is None or closest <= best.distance:
                patterns = [pattern for distance, pattern in near if distance == closest]
                best = Candidate(first, last, _surest(patterns), closest, "")
        return best

    def _misspelling(self, written: Sequence[Word], pattern: Pattern) -> int | None:
        """Edit distance if the written words are plausibly the pattern misspelt, else None."""
        if any(word.gap == "&" for word in written[1:]):
            return None
        parts = [word.text for word in written]
        if len(parts) != len(pattern.words):
            unspaced = all(word.gap == "" for word in written[1:])
            if not unspaced or not _unknown("".join(parts)) or any(part in self._all_words for part in parts):
                return None
            return _allowed(
                edit_distance("".join(parts), pattern.compact, 2), len(pattern.compact), alone=True
            )
        total = 0
        vouched = sum(
            len(word) for part, word in zip(parts, pattern.words, strict=True) if _vouches(part, word)
        )
        for part, word in zip(parts, pattern.words, strict=True):
            if part == word:
                continue
            if part in PARTICLES and word in PARTICLES:
                total += 1
                continue
            others = vouched - len(word) * _vouches(part, word)
            distance = edit_distance(part, word, 2)
            if others < 6:
                distance = _allowed(distance, len(word), alone=len(pattern.words) == 1)
            known = part in self._all_words or part in _NEIGHBOURS
            # The rest of a full name vouches for its misspelt part; a surname alone must be a word of no meaning.
            if distance is None or known or len(word) < _SHORTEST_SURNAME or not (others or _unknown(part)):
                return None
            total += distance
        return total if total <= 2 else None


def _vouches(part: str, word: str) -> bool:
    """Whether a written word leaves no doubt which name it belongs to: equal, or long and nearly so."""
    if part == word:
        return word not in PARTICLES
    return len(word) >= 8 and _unknown(part) and edit_distance(part, word, 1) is not None


def _unknown(word: str) -> bool:
    return word not in english() and word not in proper_names() and word not in GIVEN_NAMES


def _allowed(distance: int | None, length: int, *, alone: bool) -> int | None:
    """The distance, if a word of this length may be misspelt by so much: two edits only in long words."""
    most = 0 if length < (5 if alone else 4) else 1 if length < (9 if alone else 8) else 2
    return distance if distance is not None and distance <= most else None


def _surest(patterns: Iterable[Pattern]) -> tuple[Pattern, ...]:
    """The matches by the surest rule that matches at all, one per artist."""
    ordered = sorted(patterns, key=lambda pattern: _RANK[pattern.rule])
    best = {pattern.artist_id: pattern for pattern in reversed(ordered) if pattern.rule is ordered[0].rule}
    return tuple(best[artist_id] for artist_id in sorted(best))


def _same_parts(written: Sequence[Word], pattern: Pattern, suffix: str) -> bool:
    """Whether words that spell a pattern are divided as a name would be."""
    if any(word.gap == "&" for word in written[1:]) != pattern.joint:
        return False
    parts = [word.text for word in written]
    if len(parts) == len(pattern.words):
        return all(
            part in (word, word + suffix) or word in form.forms
            for part, word, form in zip(parts, pattern.words, written, strict=True)
        ) or all(word.gap == "" for word in written[1:])
    compact = pattern.compact
    if len(parts) == 1:
        return len(compact) >= _SHORTEST_RUN_TOGETHER and compact not in english()
    if all(word.gap == "" for word in written[1:]) or all(len(part) == 1 for part in parts):
        return True
    return len(compact) >= _SHORTEST_SPLIT and not all(part in english() for part in parts) and not suffix


def _without_suffix(reading: str, word: Word) -> Iterator[tuple[str, str]]:
    """The reading as it is and with each ending that may have grown onto a name taken off."""
    yield reading, ""
    for suffix in FUSED_SUFFIXES:
        base = reading.removesuffix(suffix)
        if base == reading or len(base) < _SHORTEST_SURNAME or word.text in english():
            continue
        if suffix == "s" and (len(base) < 5 or not _unknown(word.text)):
            continue
        yield base, suffix
        if suffix in ("esque", "ish", "ian"):
            for vowel in ("o", "e", "s", "i", "a"):
                yield base + vowel, suffix


def _patterns(artist: NamedArtist) -> Iterator[Pattern]:
    for rule, alias in [(Rule.NAME, artist.name), *((Rule.ALIAS, alias) for alias in artist.aliases)]:
        for spelling in _spellings(alias):
            words = split_words(spelling)
            texts = tuple(word.text for word in words)
            if not texts:
                continue
            joint = any(word.gap == "&" for word in words[1:])
            yield Pattern(artist.id, alias, texts, rule, joint)
            if joint or len(texts) < 2 or not "".join(texts).isascii():
                continue
            given, surname = split_name(texts)
            compact = "".join(surname)
            if not given or len(compact) < _SHORTEST_SURNAME:
                continue
            yield Pattern(artist.id, alias, (*surname, *given), Rule.REVERSED)
            yield Pattern(artist.id, alias, (*(word[0] for word in given), *surname), Rule.INITIALS)
            yield Pattern(artist.id, alias, ("".join(word[0] for word in given), *surname), Rule.INITIALS)
            if len(given) > 1 and len(given[0]) > 1:
                yield Pattern(artist.id, alias, (given[0], *surname), Rule.SHORTENED)
            yield Pattern(artist.id, alias, surname, Rule.SURNAME)


def split_name(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Given names and surname; particles such as "van" belong to the surname, "the Elder" and "Jr" to neither."""
    end = len(words)
    while end > 1 and (words[end - 1] in NAME_ENDINGS or words[end - 1] == "the"):
        end -= 1
    start = end - 1
    while start > 1 and words[start - 1] in PARTICLES:
        start -= 1
    return tuple(words[:start]), tuple(words[start:end])


def _spellings(alias: str) -> Iterator[str]:
    yield alias
    umlauts = {
        "ä": "ae",
        "ö": "oe",
        "ü": "ue",
        "ø": "oe",
        "å": "aa",
        "Ä": "Ae",
        "Ö": "Oe",
        "Ü": "Ue",
        "Ø": "Oe",
    }
    written_out = "".join(umlauts.get(character, character) for character in alias)
    if written_out != alias:
        yield written_out


class _NearIndex:
    """Strings by the pieces that survive up to two edits: with d edits one of more than 2d pieces is untouched."""

    _SHORTEST = 5

    def __init__(self, strings: Iterable[str]) -> None:
        self._by_piece: dict[tuple[int, int, int, str], list[str]] = defaultdict(list)
        for string in strings:
            for edits in (1, 2):
                for number, start, piece in _pieces(string, edits):
                    self._by_piece[edits * 1000 + len(string), number, start, piece].append(string)

    def lookup(self, string: str) -> list[str]:
        """Candidates within a small edit distance of the string, in the order of indexing; to be checked."""
        found: dict[str, None] = {}
        if not self._SHORTEST - 1 <= len(string) <= 60:
            return []
        for edits in (1, 2):
            for length in range(len(string) - edits, len(string) + edits + 1):
                for number, (start, end) in enumerate(_cuts(length, edits)):
                    for shift in range(-edits, edits + 1):
                        if start + shift < 0:
                            continue
                        piece = string[start + shift : end + shift]
                        for match in self._by_piece.get((edits * 1000 + length, number, start, piece), ()):
                            found[match] = None
        found.pop(string, None)
        return list(found)


def _cuts(length: int, edits: int) -> list[tuple[int, int]]:
    """Start and end of the pieces of a string; none where it is too short for so many edits."""
    if length < (5 if edits == 1 else 8):
        return []
    count = 3 if edits == 1 else 4
    borders = [length * i // count for i in range(count + 1)]
    return list(pairwise(borders))


def _pieces(string: str, edits: int) -> Iterator[tuple[int, int, str]]:
    for number, (start, end) in enumerate(_cuts(len(string), edits)):
        yield number, start, string[start:end]


def edit_distance(a: str, b: str, most: int) -> int | None:
    """Insertions, deletions, substitutions and swaps of neighbours that turn a into b; None if more than `most`."""
    if abs(len(a) - len(b)) > most:
        return None
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(rows[-1][j] + 1, row[j - 1] + 1, rows[-1][j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, rows[-2][j - 2] + 1)
            row.append(cost)
        rows.append(row)
    return rows[-1][-1] if rows[-1][-1] <= most else None
