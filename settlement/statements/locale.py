"""How a payee reads amounts and dates, and on which paper: from her language and country (Unicode CLDR, by babel)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from babel import Locale, UnknownLocaleError
from babel.core import get_locale_identifier
from babel.dates import format_date

from settlement.party import Party

# CLDR, supplemental data, paperSize: where "Letter" is what lies in the printer.
_LETTER = frozenset({"BZ", "CA", "CL", "CO", "CR", "GT", "MX", "NI", "PA", "PH", "PR", "SV", "US", "VE"})


@dataclass(frozen=True, slots=True)
class Reader:
    """How somebody reads: marks of numbers, sizes of their groups, dates, paper."""

    dates: str
    """Locale of dates, as CLDR writes it: `de_CH`; `en` where its letters are none that can be printed."""
    decimal: str
    group: str
    minus: str
    sizes: tuple[int, int]
    """Digits of the group next to the decimal mark, and of those before it: (3, 2) in India."""
    percent: str
    """`{}%` or `{} %`, with the number's place."""
    paper: str
    """a4 | us-letter"""

    def day(self, day: date) -> str:
        """A day in words, as `3. November 2026`."""
        return format_date(day, "long", locale=self.dates)

    def days(self, days: Iterable[date]) -> dict[str, str]:
        """Days in words, by their ISO form."""
        return {day.isoformat(): self.day(day) for day in sorted(set(days))}


def reader(party: Party | None) -> Reader:
    """How a party reads: by her language in her country, by the language alone where that is no locale, else English.

    Who says no language reads English, with her country's marks where English is written there.
    """
    country = party.address.country if party is not None and party.address is not None else None
    language = party.language if party is not None and party.language is not None else "en"
    paper = party.paper if party is not None else None
    return _reader(language, country, paper or ("letter" if country in _LETTER else "a4"))


@lru_cache(maxsize=1024)
def _reader(language: str, country: str | None, paper: str) -> Reader:
    locale = _locale(language, country)
    symbols = locale.number_symbols["latn"]
    pattern = locale.decimal_formats[None]
    percent = locale.percent_formats[None].pattern
    before, after = percent.index("#"), percent.rindex("0") + 1
    return Reader(
        dates=str(locale) if _printable(locale) else "en",
        decimal=symbols["decimal"],
        group=symbols["group"],
        minus="−",
        sizes=pattern.grouping,
        percent=f"{percent[:before]}{{}}{percent[after:]}".replace("%", symbols["percentSign"]),
        paper="us-letter" if paper == "letter" else "a4",
    )


def _printable(locale: Locale) -> bool:
    """Whether the fonts that come with typst have the letters of its dates: Latin, Greek, Cyrillic."""
    days = (format_date(date(2026, month, 9), "long", locale=locale) for month in range(1, 13))
    return all(ord(letter) < 0x530 or 0x2000 <= ord(letter) < 0x2070 for day in days for letter in day)


def _locale(language: str, country: str | None) -> Locale:
    for parts in ((language, country), (language, None)):
        try:
            found = Locale.parse(get_locale_identifier(parts))
        except (UnknownLocaleError, ValueError):
            continue
        # What the templates write runs from left to right.
        if found.character_order == "left-to-right":
            return found
    return Locale("en")
