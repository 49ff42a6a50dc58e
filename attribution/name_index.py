"""Which words may name an artist of the catalogue: full names, aliases, surnames, reversed names and misspellings."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import groupby, pairwise
from typing import Protocol

from attribution.prompt_words import Word, split_words
from attribution.vocabulary import (
    COLLECTIVES,
    FUSED_SUFFIXES,
    GROWN_SUFFIXES,
    INFLECTIONS,
    NAME_ENDINGS,
    PARTICLES,
    english,
    given_names,
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

_LONG_ENOUGH_TO_VOUCH = 6
"""Letters of a name that, written right, allow for slips in the rest of it."""

_LONG_NAME = 9

_LOST_ENDINGS = ("o", "e", "s", "i", "a", "io", "is", "us", "y")
"""What a name may lose before an ending: Caravagg(io)-esque, Pollock-ian, Rubens as Ruben-esque."""

_NEIGHBOURS = frozenset(
    "manet monet millet millais klee klein bosch busch munch mucha redon rodin ribera rivera bernini bellini cellini "
    "hooper liechtenstein miller moore moreau morel corot cole cox degas dega hals hirst homer horner sergeant".split()
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


_RUN_TOGETHER = frozenset({Rule.NAME, Rule.ALIAS, Rule.SURNAME})
"""Names that people write in one word."""

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
        self._ids: set[str] = set()
        for artist in artists:
            self._ids.add(artist.id)
            for pattern in _patterns(artist):
                if pattern.words and pattern not in self._exact[pattern.compact]:
                    self._exact[pattern.compact].append(pattern)
                    self._own_words[pattern.artist_id].update(pattern.words)
        self._prefixes = {compact[:length] for compact in self._exact for length in range(1, _PREFIX + 1)}
        self._longest = max(map(len, self._exact), default=0)
        self._most_words = max((len(p.words) for ps in self._exact.values() for p in ps), default=0)
        self._all_words = frozenset(word for words in self._own_words.values() for word in words)
        self._by_first: dict[str, list[Pattern]] = defaultdict(list)
        self._by_start: dict[tuple[str, ...], list[Pattern]] = defaultdict(list)
        for patterns in self._exact.values():
            for pattern in patterns:
                if len(pattern.words) > 1:
                    self._by_first[pattern.words[0]].append(pattern)
                    self._by_start[pattern.words[:2]].append(pattern)
        self._near_words = _NearIndex(self._all_words)
        self._near_names = _NearIndex(
            compact
            for compact, patterns in self._exact.items()
            if any(len(p.words) > 1 and p.rule in _RUN_TOGETHER for p in patterns)
        )

    def knows(self, artist_id: str) -> bool:
        """Whether the artist is in the catalogue."""
        return artist_id in self._ids

    def own_words(self, artist_id: str) -> frozenset[str]:
        """Every word of every name of an artist."""
        return frozenset(self._own_words[artist_id])

    def is_name(self, word: Word) -> bool:
        """Whether the word alone is a name of an artist."""
        return any(len(pattern.words) == 1 for pattern in self._exact.get(word.text, ()))

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
        near = sorted(self._near_patterns(words, first), key=lambda match: match[0])
        for last, matches in groupby(near, key=lambda match: match[0]):
            by_distance = defaultdict(list)
            for _, pattern, distance in matches:
                by_distance[distance].append(pattern)
            closest = min(by_distance)
            if best is None or closest <= best.distance:
                best = Candidate(first, last, _surest(by_distance[closest]), closest, "")
        return best or self._misspelt_with_suffix(words[first], first)

    def _near_patterns(self, words: Sequence[Word], first: int) -> Iterator[tuple[int, Pattern, int]]:
        """Last word, pattern and distance of every misspelt name that begins at the word."""
        begins = self._near_words.lookup(words[first])
        tried: set[Pattern] = set()

        def part_by_part(patterns: Iterable[Pattern]) -> Iterator[tuple[int, Pattern, int]]:
            for pattern in patterns:
                last = first + len(pattern.words) - 1
                if pattern in tried or last >= len(words):
                    continue
                tried.add(pattern)
                if all(words[at].gap not in (",", ":") for at in range(first + 1, last + 1)):
                    distance = self._misspelling(words[first : last + 1], pattern)
                    if distance is not None:
                        yield last, pattern, distance

        for begin in begins:
            yield from part_by_part(p for p in self._exact.get(begin, ()) if len(p.words) == 1)
            if len(begin) >= _LONG_ENOUGH_TO_VOUCH:
                yield from part_by_part(self._by_first.get(begin, ()))
        if first + 1 < len(words) and words[first + 1].gap not in (",", ":"):
            ends = self._near_words.lookup(words[first + 1])
            for begin in begins:
                for end in ends:
                    yield from part_by_part(self._by_start.get((begin, end), ()))
        together = ""
        for last in range(first, min(len(words), first + self._most_words)):
            if last > first and words[last].gap != "":
                break
            together += words[last].text
            if len(together) > self._longest + 2:
                break
            if not _unknown(together) or (last > first and words[last].text in self._all_words):
                continue
            if words[first].text in self._all_words:
                continue
            for compact in self._near_names.near(together):
                for pattern in self._exact[compact]:
                    if len(pattern.words) != last - first + 1:
                        distance = _allowed(edit_distance(together, compact, 2), len(compact), alone=True)
                        if distance is not None:
                            yield last, pattern, distance

    def _misspelt_with_suffix(self, word: Word, at: int) -> Candidate | None:
        """A misspelt surname with an ending grown onto it ("beksinsky-esque" in one word)."""
        if not _unknown(word.text):
            return None
        for suffix in GROWN_SUFFIXES:
            base = word.text.removesuffix(suffix)
            if base == word.text or len(base) < _LONG_ENOUGH_TO_VOUCH or not _unknown(base):
                continue
            patterns = [
                pattern
                for name in self._near_words.near(base)
                for pattern in self._exact.get(name, ())
                if len(pattern.words) == 1 and base not in _NEIGHBOURS and edit_distance(base, name, 1) == 1
            ]
            if patterns:
                return Candidate(at, at, _surest(patterns), 1, suffix)
        return None

    def _misspelling(self, written: Sequence[Word], pattern: Pattern) -> int | None:
        """Edit distance if the written words are plausibly the pattern misspelt, part by part, else None."""
        if pattern.rule is Rule.INITIALS or any(word.gap == "&" for word in written[1:]):
            return None
        total = 0
        pairs = [(word, word.text, name) for word, name in zip(written, pattern.words, strict=True)]
        vouched = sum(len(name) for word, part, name in pairs if _vouches(word, part, name))
        for word, part, name in pairs:
            if part == name or _is_inflected(word, name):
                continue
            if part in PARTICLES and name in PARTICLES:
                total += 1
                continue
            others = vouched - len(name) * _vouches(word, part, name)
            known = part in self._all_words or part in _NEIGHBOURS
            # The rest of a full name vouches for its misspelt part; a surname alone must be a word of no meaning.
            if known or len(name) < _SHORTEST_SURNAME or not (others or _unknown(part)):
                return None
            distance = 1 if _has_doubled_letters(part, name) else edit_distance(part, name, 2)
            if others < _LONG_ENOUGH_TO_VOUCH:
                distance = _allowed(distance, len(name), alone=len(pattern.words) == 1)
            if distance is None:
                return None
            total += distance
        return total if total <= 2 else None


def _vouches(written: Word, part: str, name: str) -> bool:
    """Whether a written word leaves no doubt which name it belongs to: equal, or long and nearly so."""
    if part == name or _is_inflected(written, name):
        return name not in PARTICLES
    return len(name) >= 8 and _unknown(part) and edit_distance(part, name, 1) is not None


@lru_cache(maxsize=65_536)
def _bases(part: str, other_script: bool) -> frozenset[str]:
    """What the word may be the inflected form of: "Beksinskiego", "Айвазовского"."""
    if not other_script and not _unknown(part):
        return frozenset()
    return frozenset(
        part.removesuffix(ending) + base
        for ending, bases in INFLECTIONS.items()
        # Written in Latin letters, a short ending is more likely the end of another word.
        if part.endswith(ending)
        and len(part) - len(ending) >= 3
        and (other_script or len(ending) > 2 or (len(ending) == 2 and len(part) >= 7))
        for base in bases
    )


def _is_inflected(written: Word, name: str) -> bool:
    return name in _bases(written.text, written.other_script)


def _squeezed(word: str) -> str:
    """The word with every letter once where it stands several times in a row."""
    return "".join(letter for letter, _ in groupby(word))


def _has_doubled_letters(part: str, name: str) -> bool:
    """Whether the word is the name with letters typed several times, or a long name with others doubled."""
    return (len(part) > len(name) or len(part) >= 6) and _squeezed(part) == _squeezed(name)


def _unknown(word: str) -> bool:
    # Dictionaries list namesakes; a long one is rather a slip for the artist than somebody else.
    proper = len(word) < _LONG_NAME and word in proper_names()
    return word not in english() and word not in given_names() and not proper


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
    if pattern.rule is Rule.INITIALS and parts[0] in ("a", "i", "o") and not written[0].capital:
        return False  # "a Mucha" is a picture, and no initial
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
        if suffix in GROWN_SUFFIXES:
            for ending in _LOST_ENDINGS:
                yield base + ending, suffix


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
            if not given or len(compact) < _SHORTEST_SURNAME or COLLECTIVES.intersection(given):
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
    """Strings by what is left of them after an edit.

    Within one edit two strings share a string that is either of them, or either with one letter left out. Within two,
    one of four pieces is untouched, and moved by at most two places; that is looked for in long strings only.
    """

    _SHORTEST, _SHORTEST_LONG = 4, 8

    def __init__(self, strings: Iterable[str]) -> None:
        self._letters = {string: _letters(string) for string in strings if len(string) >= self._SHORTEST}
        self._by_rest: dict[str, list[str]] = defaultdict(list)
        self._by_piece: dict[tuple[int, int, str], list[str]] = defaultdict(list)
        self._by_squeezed: dict[str, list[str]] = defaultdict(list)
        for string in sorted(self._letters):
            self._by_squeezed[_squeezed(string)].append(string)
            for rest in _rests(string):
                self._by_rest[rest].append(string)
            if len(string) >= self._SHORTEST_LONG:
                for number, (start, end) in enumerate(_cuts(len(string))):
                    self._by_piece[len(string), number, string[start:end]].append(string)
        self._nearest = lru_cache(maxsize=16_384)(self._search)

    def lookup(self, word: Word) -> Mapping[str, None]:
        """The word itself, what it may be inflected from or grown out of, and what is near to it."""
        text = word.text
        found = dict.fromkeys((text, *sorted(_bases(text, word.other_script))))
        if text in PARTICLES:
            found |= dict.fromkeys(sorted(PARTICLES))
        return found | dict.fromkeys(self.near(text))

    def near(self, string: str) -> tuple[str, ...]:
        """Indexed strings within one edit, or with letters doubled; within two of a long string without meaning."""
        return self._nearest(string) if self._SHORTEST - 1 <= len(string) <= 60 else ()

    def _search(self, string: str) -> tuple[str, ...]:
        found: dict[str, None] = dict.fromkeys(self._by_squeezed.get(_squeezed(string), ()))
        for rest in _rests(string):
            found |= dict.fromkeys(self._by_rest.get(rest, ()))
        near = {match: None for match in found if _has_doubled_letters(string, match)}
        near |= {match: None for match in found if edit_distance(string, match, 1) is not None}
        if len(string) >= self._SHORTEST_LONG - 2 and _unknown(string):
            letters = _letters(string)
            far: dict[str, None] = {}
            for length in range(max(len(string) - 2, self._SHORTEST_LONG), len(string) + 3):
                for number, (start, end) in enumerate(_cuts(length)):
                    for shift in range(-2, 3):
                        if start + shift >= 0:
                            piece = string[start + shift : end + shift]
                            far |= dict.fromkeys(self._by_piece.get((length, number, piece), ()))
            near |= {
                match: None
                for match in far
                # An edit changes at most two of the kinds of letters; most candidates differ in more.
                if (letters ^ self._letters[match]).bit_count() <= 4
                and edit_distance(string, match, 2) is not None
            }
        near.pop(string, None)
        return tuple(near)


def _letters(string: str) -> int:
    """The kinds of letters of a string, as bits."""
    letters = 0
    for character in string:
        letters |= 1 << (ord(character) & 63)
    return letters


def _rests(string: str) -> set[str]:
    return {string} | {string[:at] + string[at + 1 :] for at in range(len(string))}


def _cuts(length: int) -> list[tuple[int, int]]:
    """Start and end of the four pieces of a string."""
    return list(pairwise(length * i // 4 for i in range(5)))


def edit_distance(a: str, b: str, most: int) -> int | None:
    """Insertions, deletions, substitutions and swaps of neighbours that turn a into b; None if more than `most`."""
    if abs(len(a) - len(b)) > most:
        return None
    while a and b and a[-1] == b[-1]:
        a, b = a[:-1], b[:-1]
    same = 0
    while same < min(len(a), len(b)) and a[same] == b[same]:
        same += 1
    a, b = a[same:], b[same:]
    if not a or not b:
        return max(len(a), len(b))
    two_before, before = list(range(len(b) + 1)), list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = before[j - 1] if x == y else 1 + min(before[j], row[j - 1], before[j - 1])
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, two_before[j - 2] + 1)
            row.append(cost)
        if min(row) > most and min(before) > most:
            return None
        two_before, before = before, row
    return before[-1] if before[-1] <= most else None
