"""A prompt as words: syntax of prompt weights taken out, letters folded so that disguises fall away.

Folding removes case, diacritics, compatibility forms, zero-width characters and homoglyphs; every word keeps its
place in the text, so that whatever is found can be shown and cut out where it stands.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

_SYNTAX = re.compile(
    r"<(?:lora|lyco|hypernet)[^<>]{0,200}>"  # a network's tag, not words
    r"|\\(?=[()\[\]{}])"  # the backslash of an escaped bracket
    r"|(?<!\\)[()\[\]{}]"
    # the number of a weight or a schedule, but not 16:9
    r"|(?:(?<!\d):{1,2}|:(?=[\d.]+[)\]]))[ ]?-?(?:\d{1,4}(?:\.\d{0,6})?|\.\d{1,6})(?=[\s)\]},|:]|$)"
)
_ALTERNATION = re.compile(r"\b(?:AND|BREAK)\b|[\[\]|:]")
_WORD_GAP_LIMIT = 40
"""Characters between two words that are looked at; more are a break."""

# The look-alikes of Latin letters, upper and lower case, that people disguise names with.
_HOMOGLYPHS = {
    character: latin
    for latin, characters in {
        "a": "аАαΑɑᴀ", "b": "вВβΒ", "c": "сСᴄ", "d": "ԁ", "e": "еЕёЁεΕᴇ", "g": "ɡ", "h": "нНһҺΗ", "i": "іІїЇιΙɩı",
        "j": "јЈ", "k": "кКκΚᴋ", "l": "ӏʟ", "m": "мМΜᴍ", "n": "пηΝɴ", "o": "оОοΟᴏ", "p": "рРρΡ", "q": "ԛ", "r": "гʀ",
        "s": "ѕЅꜱ", "t": "тТτΤᴛ", "u": "υ", "v": "νᴠ", "w": "ԝωᴡ", "x": "хХχΧ", "y": "уУγΥʏ", "z": "ζΖᴢ",
    }.items()
    for character in characters
}  # fmt: skip
_TRANSLITERATION = dict(
    zip(
        "абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґ",
        "a b v g d e zh z i i k l m n o p r s t u f kh ts ch sh shch  y  e iu ia e i i e g".split(" "),
        strict=True,
    )
) | dict(
    zip(
        "αβγδεζηθικλμνξοπρσςτυφχψω",
        "a v g d e z i th i k l m n x o p r s s t y f ch ps o".split(" "),
        strict=True,
    )
)
_SPECIAL = {
    "ß": "ss",
    "ø": "o",
    "ł": "l",
    "đ": "d",
    "æ": "ae",
    "œ": "oe",
    "ð": "d",
    "þ": "th",
    "ħ": "h",
    "ŋ": "n",
}
_LEET = str.maketrans("013457", "oleast")
_APOSTROPHES = frozenset("'’‘ʼ`´＇ˈ")
_BREAKS = frozenset(",;:|\n\r\t•·。、，；：！？!?—–؛،")
_CONNECTORS = frozenset("&+/×＆＋")
_JOINERS = frozenset("-_‐‑‒~.")


@dataclass(frozen=True, slots=True)
class PlainPrompt:
    """A prompt without the syntax of weights and alternations, and where each of its characters came from."""

    text: str
    origin: tuple[int, ...] | range
    """For each character of `text` its index in the logged prompt."""

    def cut(self, window_end: int) -> int:
        """How many characters of `text` lie before `window_end` of the logged prompt."""
        if isinstance(self.origin, range):
            return min(window_end, len(self.text))
        return next((i for i, at in enumerate(self.origin) if at >= window_end), len(self.text))


def plain_prompt(prompt: str) -> PlainPrompt:
    """Take out weights, schedules, brackets and network tags; `AND`, `BREAK`, `|` and `[A:B:0.5]` become commas.

    A prompt without such syntax comes back unchanged.
    """
    edits = [(match.start(), match.end(), "") for match in _SYNTAX.finditer(prompt)]
    taken = {at for start, end, _ in edits for at in range(start, end)}
    depth = 0
    shouted = prompt.isupper()
    for match in _ALTERNATION.finditer(prompt):
        sign = match.group()
        if sign in "[]":
            depth += 1 if sign == "[" else -1
        elif match.start() not in taken and (depth > 0 if sign in "|:" else not shouted):
            edits.append((match.start(), match.end(), ","))
    if not edits:
        return PlainPrompt(prompt, range(len(prompt)))
    pieces: list[str] = []
    origin: list[int] = []
    at = 0
    for start, end, replacement in sorted(edits):
        pieces += [prompt[at:start], replacement]
        origin += [*range(at, start), *[start] * len(replacement)]
        at = end
    pieces.append(prompt[at:])
    origin += range(at, len(prompt))
    return PlainPrompt("".join(pieces), tuple(origin))


def weight_at(prompt: str, end: int) -> float | None:
    """The weight written right behind position `end` of the logged prompt, as in `(name:0.5)` or `name::2`."""
    match = re.compile(r"\s?:{1,2}[ ]?(-?(?:\d{1,4}(?:\.\d{0,6})?|\.\d{1,6}))(?=[\s)\]},|]|$)").match(
        prompt, end
    )
    return float(match.group(1)) if match else None


@dataclass(frozen=True, slots=True)
class Word:
    """One word of the text: its place, its folded letters and how it hangs together with the word before."""

    start: int
    end: int
    """Span in the text, without a possessive ending."""
    forms: tuple[str, ...]
    """The folded word first, then other readings: transliterated, or with digits read as letters."""
    gap: str
    """What parts it from the word before: "" nothing or a joiner, " " space, "&" a sign like and, ":" a colon,
    "," any other break."""
    capital: bool
    possessive_end: int
    """End of the word with its possessive ending; equal to `end` without one."""
    other_script: bool = False
    """Whether `text` is transliterated."""

    @property
    def text(self) -> str:
        """The folded word."""
        return self.forms[0]

    @property
    def possessive(self) -> bool:
        """Whether it ends in 's or s'."""
        return self.possessive_end > self.end


@lru_cache(maxsize=4096)
def _fold(character: str) -> str:
    """Folded letters and digits of one character; "" for anything that is neither."""
    folded = ""
    for part in unicodedata.normalize("NFKC", character).casefold():
        if part in _SPECIAL:
            folded += _SPECIAL[part]
        elif unicodedata.category(part)[0] in "LN":
            base = unicodedata.normalize("NFD", part)
            # Voiced kana and Hangul decompose too, but there the marks are not accents.
            folded += (
                part if ord(part) > 0x3000 else "".join(c for c in base if unicodedata.category(c) != "Mn")
            )
    return folded


@lru_cache(maxsize=4096)
def _ignorable(character: str) -> bool:
    """Zero-width characters, variation selectors, marks and modifiers: nothing a reader sees as a gap."""
    return unicodedata.category(character) in ("Cf", "Mn", "Me", "Sk", "Cc") and character not in "\n\r\t"


@lru_cache(maxsize=4096)
def _stands_alone(character: str) -> bool:
    """Letters of scripts written without spaces: each is a word of its own."""
    return 0x3040 <= ord(character) <= 0x9FFF or 0x20000 <= ord(character) <= 0x3FFFF


def fold(text: str) -> str:
    """All letters and digits of the text, folded and run together."""
    return "".join(word.text for word in split_words(text))


def split_words(text: str, most: int | None = None) -> list[Word]:
    """The words of a text in order, at most so many; time is linear in its length."""
    return list(islice(_words(text), most))


def _words(text: str) -> Iterator[Word]:
    gap_start = 0
    at = 0
    length = len(text)
    while at < length:
        if not _fold(text[at]):
            at += 1
            continue
        start = at
        letters: list[str] = []
        end = at
        possessive_end = at
        while at < length:
            character = text[at]
            folded = _fold(character)
            if folded:
                if _stands_alone(character):
                    if not letters:
                        letters.append(character)
                        at += 1
                        end = possessive_end = at
                    break
                letters.append(character)
                at += 1
                end = possessive_end = at
            elif _ignorable(character):
                at += 1
            elif character in _APOSTROPHES:
                after = at + 1
                if (
                    after < length
                    and text[after] in "sS"
                    and not (after + 1 < length and _fold(text[after + 1]))
                ):
                    possessive_end = at = after + 1
                    break
                if after < length and _fold(text[after]):
                    at += 1
                    continue
                if letters[-1] in "sS":
                    possessive_end = at = after
                break
            elif character in "@$" and at + 1 < length and _fold(text[at + 1]):
                letters.append("a" if character == "@" else "s")
                at += 1
            else:
                break
        forms, other_script = _forms(letters)
        yield Word(
            start,
            end,
            forms,
            _gap(text, gap_start, start),
            unicodedata.normalize("NFKC", text[start])[:1].isupper(),
            possessive_end,
            other_script,
        )
        gap_start = at = max(at, possessive_end)


def _forms(letters: list[str]) -> tuple[tuple[str, ...], bool]:
    """The readings of one word's letters, and whether the first is a transliteration.

    As Latin first; for a word all in Cyrillic or Greek transliterated first.
    """
    latin = "".join(_HOMOGLYPHS.get(letter) or _fold(letter) for letter in letters)
    folded = "".join(_fold(letter) for letter in letters)
    forms = [latin]
    other_script = bool(folded) and all(letter in _TRANSLITERATION for letter in folded)
    if other_script:
        forms = ["".join(_TRANSLITERATION[letter] for letter in folded), latin]
    if not latin.isalpha() and any(letter.isalpha() for letter in latin):
        leet = latin.translate(_LEET)
        forms += [leet, latin.replace("1", "i").translate(_LEET)]
    return tuple(dict.fromkeys(form for form in forms if form)) or ("",), other_script


def _gap(text: str, start: int, end: int) -> str:
    """Classify what lies between two words."""
    if start == 0:
        return ","
    if end - start > _WORD_GAP_LIMIT and text[start:end].strip():
        return ","
    between = text[start : min(end, start + _WORD_GAP_LIMIT)]
    if between.strip() in (":", "："):
        return ":"
    if any(character in _BREAKS for character in between):
        return ","
    if any(character in _CONNECTORS for character in between):
        return "&"
    spaced = any(character.isspace() for character in between)
    if spaced and "." in between:
        # The point of an initial ("J. M. W. Turner") is no full stop.
        initial = start >= 1 and (start < 2 or not _fold(text[start - 2]))
        return " " if initial else ","
    if spaced and any(character in "-_" for character in between):
        return "," if re.search(r"\s[-_]+\s", between) else " "
    if spaced or any(character in '"“”«»„*#=' for character in between):
        return " "
    return ""
