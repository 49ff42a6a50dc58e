"""The detail of a statement: its royalty lines, and one digest that fixes them all.

A statement's body stays small whatever the number of lines: it holds their count, their totals and their digest. The
lines themselves stand in the sub-ledger and are handed out as CSV.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import date
from operator import attrgetter
from typing import Literal, NamedTuple

from settlement.money import Micros

LineKind = Literal["royalty", "late", "adjustment", "refund"]


@dataclass(frozen=True, slots=True)
class Line:
    """One royalty line as its payee sees it. Amounts in micros of ``currency``, shares and splits in ppb.

    None is "not applicable": content has no contract, a manual line no share, only a correction corrects.
    """

    line: str
    """The line's id, from the thing: `<sale>/<player>/<payee>`, with the refund before it where there is one."""
    kind: LineKind
    period: str
    """Accounting period: in whose books the line stands."""
    usage_period: str
    usage_date: date
    """Day of the sale in the platform's zone."""
    territory: str
    sale: str
    image: str
    model: str
    player: str
    """Artist id, or `C` for content."""
    method: str | None
    share: int | None
    distribution_key: str
    rate_card: str
    contract: str | None
    split: int | None
    base: int
    """Royalty base of the sale."""
    slice: int
    """What the sale pays in royalties, to all players together."""
    amount: int
    currency: str
    corrects: str | None = None


FIELDS = tuple(field.name for field in fields(Line))
"""The fields of a line in the order of records and CSV columns."""

values = attrgetter(*FIELDS)
"""A line's values in the order of `FIELDS`."""


class Total(NamedTuple):
    """The lines of one kind and currency: how many, and their sum."""

    kind: LineKind
    currency: str
    lines: int
    amount: Micros


@dataclass(frozen=True, slots=True)
class Detail:
    """What a body says of its lines: how many, totals by kind and currency, and the digest of all records."""

    count: int
    totals: tuple[Total, ...]
    sha256: str


# The backslash escapes of COPY's text format (PostgreSQL manual, COPY, "Text Format").
_ESCAPES = str.maketrans(
    {"\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
)


def record(line: Line) -> bytes:
    r"""A line's canonical bytes: its row in PostgreSQL's COPY text format, in UTF-8, ended by a newline.

    Fields in the order of `FIELDS`, separated by tabs; None is ``\N``; integers in decimal, dates in ISO 8601. The
    database can emit the same bytes itself: ``COPY (SELECT line, kind, ...) TO STDOUT``.
    """
    cells = (getattr(line, name) for name in FIELDS)
    return (
        "\t".join("\\N" if cell is None else str(cell).translate(_ESCAPES) for cell in cells) + "\n"
    ).encode()


class Tally:
    """Count, totals and digest of a statement's lines, taken one by one."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._counts: Counter[tuple[LineKind, str]] = Counter()
        self._sums: Counter[tuple[LineKind, str]] = Counter()
        self._last = ""

    def add(self, line: Line) -> None:
        """Take the next line. They come by id in byte order, each once.

        Raises ValueError if they do not: the digest would depend on the order of a query.
        """
        if line.line <= self._last:
            raise ValueError(f"line {line.line} comes after {self._last}: out of order, or twice")
        self._last = line.line
        self._digest.update(record(line))
        self._counts[line.kind, line.currency] += 1
        self._sums[line.kind, line.currency] += line.amount

    def detail(self) -> Detail:
        """What the lines taken so far come to."""
        totals = tuple(
            Total(*group, self._counts[group], self._sums[group]) for group in sorted(self._counts)
        )
        return Detail(self._counts.total(), totals, self._digest.hexdigest())


def summarise(lines: Iterable[Line]) -> Detail:
    """Count, totals and digest of lines, which come by id in byte order."""
    tally = Tally()
    for line in lines:
        tally.add(line)
    return tally.detail()
