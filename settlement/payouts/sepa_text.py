"""Text that every bank in SEPA takes: the basic Latin character set of the EPC, and how names are brought into it.

Source: European Payments Council, EPC217-08, "SEPA requirements for an extended character set", which also gives the
rule for identifiers.
"""

import re
import unicodedata
from functools import lru_cache

from database.errors import Invalid

_PERMITTED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/-?:().,'+ ")
_IDENTIFIER = re.compile(r"(?!/)(?!.*//)[A-Za-z0-9/\-?:().,'+ ]{1,35}(?<!/)")

# Letters and signs that do not come apart into permitted ones, each followed by its spelling: ligatures and barred
# letters, Greek (ELOT 743), Cyrillic (Bulgarian, and the letters of its neighbours), punctuation.
_PAIRS = """
ß ss æ ae œ oe ø o ł l đ d ð d ħ h ı i ĸ k ŋ n þ th
α a β v γ g δ d ε e ζ z η i θ th ι i κ k λ l μ m ν n ξ x ο o π p ρ r σ s ς s τ t υ y φ f χ ch ψ ps ω o
а a б b в v г g д d е e ж zh з z и i й y к k л l м m н n о o п p р r с s т t у u ф f х h ц ts ч ch ш sh щ sht ъ a
ы y ь y э e ю yu я ya є ye і i ґ g ђ dj ј j љ lj њ nj ћ c џ dz ѕ z
& + @ (at) _ - ’ ' ‘ ' ` ' “ ' ” ' " ' – - — - ; , [ ( ] ) { ( } )
""".split()
_SPELLED = dict(zip(_PAIRS[::2], _PAIRS[1::2], strict=True))


@lru_cache(maxsize=4096)
def sepa_text(text: str, length: int) -> str:
    """``text`` in the permitted characters, cut to ``length``: accents off, other letters spelled, the rest a dot.

    Blanks of any kind become single spaces. Raises `Invalid` if no letter or digit is left of it.
    """
    plain = _PERMITTED.issuperset(text)
    spelled = text if plain else unicodedata.normalize("NFC", text).translate(_ALPHABET)
    result = " ".join(spelled.split())[:length].strip()
    if not any(character.isalnum() for character in result):
        raise Invalid(f"{text!r} cannot be written in a bank file: give it in Latin letters")
    return result


def sepa_identifier(text: str) -> str:
    """Return ``text`` if banks take it as an identifier: 1 to 35 permitted characters, no slash at an end, no `//`."""
    if not _IDENTIFIER.fullmatch(text) or text != text.strip():
        raise Invalid(
            f"{text!r} cannot identify a payment: 35 letters, digits, or -?:().,'+ and single / inside at most"
        )
    return text


def latin(text: str) -> str:
    """``text`` in Latin letters without accents as far as it has a spelling in them; the rest as it is, to compare."""
    composed = unicodedata.normalize("NFC", text)
    return "".join(letter if (plain := _spelled(letter)) == "." else plain for letter in composed)


def _spelled(character: str) -> str:
    if character in _PERMITTED:
        return character
    if character.isspace():
        return " "
    lower = character.lower()
    if lower in _SPELLED:
        return _SPELLED[lower] if character == lower else _SPELLED[lower].capitalize()
    parts = unicodedata.normalize("NFKD", character)
    if parts != character:
        return "".join(map(_spelled, parts))
    # Accents and invisible characters vanish; a letter of another script leaves a dot.
    return "" if unicodedata.category(character) in {"Mn", "Me", "Cf"} else "."


class _Alphabet(dict[int, str]):
    """A table for `str.translate`, filled as letters come: each is spelled once in a process."""

    def __missing__(self, code: int) -> str:
        spelled = self[code] = _spelled(chr(code))
        return spelled


_ALPHABET = _Alphabet()
