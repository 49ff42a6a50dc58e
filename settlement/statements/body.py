"""A statement's body: canonical JSON whose SHA-256 is the statement's identity.

The same facts give the same bytes, on any machine and at any time: keys and numbers as RFC 8785 has them, money and
shares as decimal strings, numbers only for counts, dates but no clock, no random id, no version of the code, and lists
in an order of their own. `schema.json` beside this module is the published description of the format.

The classes below are the document: their fields are its keys, a field of type `Micros` or `Ppb` becomes a decimal
string. In the summary and in every list under it, a plus raises what the payee is owed and a minus lowers it.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_type_hints

from settlement.balance import OfWhich
from settlement.fx import Rate, converted
from settlement.money import Micros, Ppb
from settlement.statements.detail import Detail

FORMAT = "royalty-statement/3"
"""3 has open disputes; 2 has conversions, taxes, reserves and advances, and a year by currency; 1 lacks them."""

MOVEMENTS = (
    "royalties",
    "late",
    "adjustments",
    "refunds",
    "reserves",
    "recoupment",
    "tax",
    "claims",
    "fx",
    "payments",
)
"""The summary between opening and closing, in the order in which a reader adds it up."""

MEASURES = (
    "Shares measure the effect of naming an artist in the prompt on this picture: how much nearer the name brings it "
    "to the picture that was sold, beyond what a made-up name would, as Shapley values over every combination of the "
    "names and the rest of the prompt. They do not measure whose works the model learned from, likeness to a "
    "particular work, artistic merit, or what the picture owes to artists whom the prompt does not name."
)
"""What the attribution method measures and what it does not: on every statement."""


@dataclass(frozen=True, slots=True)
class StatementPeriod:
    """The accounting period: its days from ``start`` until before ``end``, in the IANA zone ``zone``."""

    id: str
    start: date
    end: date
    zone: str


@dataclass(frozen=True, slots=True)
class PartyReference:
    """A party by its opaque id and the salted digest of its personal data (`settlement.party.party_digest`)."""

    id: str
    party_digest: str


@dataclass(frozen=True, slots=True)
class Header:
    """Whose statement it is, from whom, for when, in which payout currency, and under which versions of terms."""

    period: StatementPeriod
    payee: PartyReference
    platform: PartyReference
    currency: str
    rate_cards: tuple[str, ...] = ()
    contracts: tuple[str, ...] = ()

    @property
    def statement(self) -> str:
        """The statement's id: `<period>/<payee>/<currency>`."""
        return f"{self.period.id}/{self.payee.id}/{self.currency}"


@dataclass(frozen=True, slots=True)
class Column:
    """The summary in one currency: opening + movements = closing. A foreign one is converted and closes at 0."""

    currency: str
    opening: Micros = 0
    royalties: Micros = 0
    late: Micros = 0
    adjustments: Micros = 0
    refunds: Micros = 0
    reserves: Micros = 0
    recoupment: Micros = 0
    tax: Micros = 0
    claims: Micros = 0
    fx: Micros = 0
    payments: Micros = 0
    closing: Micros = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """A column per currency, the payout currency's among them, and what its closing balance consists of."""

    columns: tuple[Column, ...]
    of_which: OfWhich


@dataclass(frozen=True, slots=True)
class Pool:
    """The period's sales under one rate-card version and currency, and the payee's part of what they pay.

    ``slices`` is what they pay to all players together, ``own`` the payee's royalties out of it.
    """

    rate_card: str
    currency: str
    model: Literal["per_image", "period_pool"]
    sales: int
    base: Micros
    slices: Micros
    own: Micros


@dataclass(frozen=True, slots=True)
class Counts:
    """How many sales, or images, of the period are attributed, still pending, or cannot be attributed."""

    attributed: int = 0
    pending: int = 0
    unattributed: int = 0


@dataclass(frozen=True, slots=True)
class Method:
    """A method version that made the shares behind the lines.

    ``standard_error`` is the largest of those shares over several seeds, as far as it was measured; None: of none.
    """

    id: str
    sha256: str
    standard_error: Ppb | None = None


@dataclass(frozen=True, slots=True)
class Computation:
    """How the royalties came about. ``images_without_file``: attributed without a file to compare the render with."""

    pools: tuple[Pool, ...] = ()
    sales: Counts = Counts()
    images: Counts = Counts()
    images_without_file: int = 0
    methods: tuple[Method, ...] = ()
    measures: str = MEASURES


@dataclass(frozen=True, slots=True)
class Earning:
    """Royalties, or late and prior-period lines, of one usage period, image model, territory and currency."""

    usage_period: str
    model: str
    territory: str
    currency: str
    kind: Literal["royalty", "late"]
    images: int
    sales: int
    base: Micros
    amount: Micros


@dataclass(frozen=True, slots=True)
class Earned:
    """Royalties and late lines of one accounting period in the payout currency, and what others came to in it."""

    period: str
    amount: Micros


@dataclass(frozen=True, slots=True)
class TopImage:
    """One of the images that earned most for the payee; ``share`` is the artist's share of it."""

    image: str
    artist: str
    share: Ppb
    currency: str
    amount: Micros


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A correction of an earlier line: difference = corrected - original. The reason names nobody."""

    line: str
    corrects: str
    usage_period: str
    currency: str
    original: Micros
    corrected: Micros
    difference: Micros
    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One movement, by the key of what made it (for example of the journal)."""

    date: date
    key: str
    currency: str
    amount: Micros


@dataclass(frozen=True, slots=True)
class Entries:
    """The movements that are listed one by one."""

    refunds: tuple[Entry, ...] = ()
    reserves: tuple[Entry, ...] = ()
    recoupment: tuple[Entry, ...] = ()
    tax: tuple[Entry, ...] = ()
    claims: tuple[Entry, ...] = ()
    fx: tuple[Entry, ...] = ()
    payments: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Hold:
    """A flag that stops payouts while it is open: ``closed`` is None."""

    opened: date
    key: str
    reason: str
    expected: date | None = None
    closed: date | None = None


@dataclass(frozen=True, slots=True)
class Conversion:
    """A foreign column, converted once: ``converted`` is floor(amount x rate), in the payout currency.

    ``rate`` is what one unit was worth, in 10^-12; ``publisher`` names who says so, ``since`` from when on.
    """

    currency: str
    amount: Micros
    rate: Rate
    publisher: str
    since: date
    converted: Micros


@dataclass(frozen=True, slots=True)
class TaxSum:
    """Tax withheld from royalties of one territory: floor(base x rate), nothing of a base below zero."""

    territory: str
    currency: str
    base: Micros
    rate: Ppb
    withheld: Micros


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A reserve after this period: what was taken in which period, and what is left of it."""

    period: str
    currency: str
    taken: Micros
    left: Micros


@dataclass(frozen=True, slots=True)
class AdvanceBalance:
    """An advance: what of it was not recouped before this period, what this one recouped, and what is left."""

    advance: str
    amount: Micros
    opening: Micros
    recouped: Micros
    closing: Micros


@dataclass(frozen=True, slots=True)
class ForeignYear:
    """The year's sums of one foreign currency; ``converted`` of it, at or below zero where money was earned."""

    currency: str
    earned: Micros
    refunds: Micros
    tax: Micros
    converted: Micros


@dataclass(frozen=True, slots=True)
class YearToDate:
    """Sums over the statements of the calendar year in which the period starts, this one included.

    ``earned`` is royalties, late lines and adjustments. Each currency by itself: ``fx`` is what foreign ones came to.
    """

    year: str
    earned: Micros
    refunds: Micros
    tax: Micros
    payments: Micros
    fx: Micros = 0
    foreign: tuple[ForeignYear, ...] = ()


@dataclass(frozen=True, slots=True)
class Dispute:
    """How to object: what to do, where to write, and until when (None: no limit)."""

    text: str
    contact: str
    until: date | None = None


@dataclass(frozen=True, slots=True)
class OpenDispute:
    """What the payee has objected to and was not answered by the cut-off: a statement, or one line or sale of it."""

    opened: date
    key: str
    statement: str
    about: str | None = None
    """The line's or sale's id; None: the whole statement."""


@dataclass(frozen=True, slots=True)
class Body:
    """Everything that one statement says."""

    header: Header
    summary: Summary
    computation: Computation
    earnings: tuple[Earning, ...]
    history: tuple[Earned, ...]
    """Up to and including this period, by period."""
    top_images: tuple[TopImage, ...]
    lines: Detail
    year_to_date: YearToDate
    dispute: Dispute
    adjustments: tuple[Adjustment, ...] = ()
    entries: Entries = Entries()
    holds: tuple[Hold, ...] = ()
    disputes: tuple[OpenDispute, ...] = ()
    conversions: tuple[Conversion, ...] = ()
    taxes: tuple[TaxSum, ...] = ()
    reserves: tuple[HeldBack, ...] = ()
    advances: tuple[AdvanceBalance, ...] = ()


def canonical(body: Body) -> bytes:
    """The body's bytes. Raises ValueError if its parts do not add up: such a statement must not exist."""
    _check(body)
    document = {"format": FORMAT, "statement": body.header.statement} | _document(body)
    # RFC 8785, five times as fast as a library that does it in Python: keys are ASCII, so their order by code point is
    # the order by UTF-16 that it asks for, and the only numbers are small integers.
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def identity(body: bytes) -> str:
    """A statement's identity: SHA-256 of its body, in hex. Printed on the PDF, served as ETag, logged as leaf."""
    return hashlib.sha256(body).hexdigest()


def schema() -> str:
    """The published JSON Schema (2020-12) of a body."""
    return Path(__file__).with_name("schema.json").read_text()


def parse(body: bytes) -> dict[str, Any]:
    """The document in a body's bytes."""
    document: dict[str, Any] = json.loads(body)
    return document


@cache
def _encoders(document: type[object]) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    """A document class's fields, each with the function that makes its JSON value."""
    encoders = []
    for name, hint in get_type_hints(document, include_extras=True).items():
        # `Micros` and `Ppb` carry their text function; in `Ppb | None` it is on the first member.
        annotated = next(
            (h for h in (hint, *getattr(hint, "__args__", ())) if hasattr(h, "__metadata__")), None
        )
        encoders.append((name, annotated.__metadata__[0] if annotated else _value))
    return tuple(encoders)


def _document(part: object) -> dict[str, Any]:
    return {
        name: None if (value := getattr(part, name)) is None else encode(value)
        # mypy does not see that a class is hashable.
        for name, encode in _encoders(type(part))  # type: ignore[arg-type]
    }


def _value(value: Any) -> Any:
    # By exact types, the most frequent first: a close writes a hundred thousand bodies.
    kind = type(value)
    if kind is str or kind is int:
        return value
    if kind is tuple:
        return [_value(item) for item in (sorted(value, key=_order) if len(value) > 1 else value)]
    if kind is date:
        return value.isoformat()
    return _document(value)


def _order(item: Any) -> Any:
    """What lists are sorted by, whatever order a query gave: the fields as declared; images by what they earned."""
    match item:
        case str():
            return item
        case TopImage():
            return -item.amount, item.currency, item.image, item.artist
        case tuple():
            return item
    return tuple(
        # mypy does not see that a class is hashable.
        ((value := getattr(item, name)) is not None, value)
        for name, _ in _encoders(type(item))  # type: ignore[arg-type]
    )


def _check(body: Body) -> None:
    """Raise ValueError unless every total equals the sum of what it totals."""
    header, summary, entries = body.header, body.summary, body.entries
    columns = {column.currency: column for column in summary.columns}

    def require(holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"statement {header.statement}: {what}")

    def require_sums(name: str, what: str, parts: Iterable[tuple[str, int]]) -> None:
        sums: dict[str, int] = dict.fromkeys(columns, 0)
        for currency, amount in parts:
            sums[currency] = sums.get(currency, 0) + amount
        for currency, found in sums.items():
            total = getattr(columns.get(currency), name, 0)
            if found != total:
                require(False, f"{name} {total} {currency}, but its {what} sum to {found}")

    require(header.period.start < header.period.end, "the period ends before it starts")
    require(len(columns) == len(summary.columns), "two summary columns in one currency")
    require(header.currency in columns, f"no summary column in {header.currency}")
    for column in summary.columns:
        moved = sum(getattr(column, name) for name in MOVEMENTS)
        require(
            column.opening + moved == column.closing,
            f"opening {column.opening} and movements {moved} {column.currency} do not make closing {column.closing}",
        )
        require(
            column.currency == header.currency or column.closing == 0,
            f"{column.currency} is not the payout currency, but does not close at 0",
        )
    own, parts = columns[header.currency], summary.of_which
    require(
        sum(parts) == max(own.closing, 0) and min(parts) >= 0, f"{parts} do not explain closing {own.closing}"
    )
    require(not parts.held or any(hold.closed is None for hold in body.holds), "held without an open hold")

    for name, kind in (
        ("royalties", "royalty"),
        ("late", "late"),
        ("refunds", "refund"),
    ):
        require_sums(name, "lines", ((t.currency, t.amount) for t in body.lines.totals if t.kind == kind))
    for name, kind in (("royalties", "royalty"), ("late", "late")):
        require_sums(
            name, "earnings", ((row.currency, row.amount) for row in body.earnings if row.kind == kind)
        )
    require_sums("royalties", "pools", ((pool.currency, pool.own) for pool in body.computation.pools))
    for conversion in body.conversions:
        require(
            conversion.converted == converted(conversion.amount, conversion.rate)
            and conversion.currency in columns
            and columns[conversion.currency].fx == -conversion.amount,
            f"{conversion.currency} was not converted by its rate",
        )
    require(
        own.fx == sum(conversion.converted for conversion in body.conversions),
        f"fx {own.fx} {header.currency}, but its conversions come to another sum",
    )
    for held_back in body.reserves:
        require(0 <= held_back.left <= held_back.taken, "a reserve gives more than was taken")
    for advance in body.advances:
        require(
            advance.opening - advance.recouped == advance.closing >= 0,
            f"advance {advance.advance} does not add up",
        )
    require(
        own.recoupment == -sum(advance.recouped for advance in body.advances),
        "advances and recoupment do not agree",
    )
    require_sums("adjustments", "adjustments", ((a.currency, a.difference) for a in body.adjustments))
    require(
        all(a.difference == a.corrected - a.original for a in body.adjustments),
        "an adjustment's difference is wrong",
    )
    for entry_list in fields(entries):
        listed = getattr(entries, entry_list.name)
        require_sums(entry_list.name, "entries", ((entry.currency, entry.amount) for entry in listed))
    require(
        sum(total.lines for total in body.lines.totals) == body.lines.count,
        "the counts of lines do not add up",
    )
    latest = max(body.history, key=lambda earned: earned.period, default=None)
    require(
        latest == Earned(header.period.id, own.royalties + own.late + own.fx),
        f"the history ends with {latest}, not with this period's royalties",
    )
