"""The raw events from which the books are recomputed.

Money is int micros, shares and rates are int ppb, times are aware UTC datetimes. ``at`` is when a thing happens,
``recorded`` when the platform learns of it (the same, unless given). A version of a term has ``valid_from`` and holds
until the next version of the same thing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

CONTENT = "C"
PPB = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Anything that the platform learns at some instant."""

    at: datetime
    recorded: datetime | None = None

    @property
    def known(self) -> datetime:
        """When the platform learnt of it."""
        return self.recorded or self.at


@dataclass(frozen=True, slots=True, kw_only=True)
class Version(Event):
    """A version of a term; ``at`` is its ``valid_from``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateCard(Version):
    """What a sale under this card pays, and to whom what is not an artist's goes."""

    card: str
    model: Literal["fee", "percentage", "pool"]
    developer: str
    fee: int = 0
    rate: int = 0
    guarantee: Mapping[str, int] = field(default_factory=dict)
    """The least slice of a sale by currency."""
    key: Literal["attribution", "equal", "proxy"] = "attribution"
    spread: bool = False
    """Whether content's share is spread over the artists."""
    fund: str | None = None
    """Who gets the share of an artist in the public domain; nobody: the developer."""
    weights: Mapping[str, int] = field(default_factory=dict)
    """The table of the key proxy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract(Version):
    """An artist's contract and its splits; no splits: ended."""

    artist: str
    splits: Mapping[str, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OptOut(Version):
    """From here on the artist takes no part."""

    artist: str
    out: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicDomain(Version):
    """From here on the artist's work is free."""

    artist: str
    free: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback(Version):
    """The published key: after so many whole periods, to these payees."""

    after: int
    splits: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroStatements(Version):
    """Whether a payee without balance or activity gets a statement too."""

    wanted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Payee(Version):
    """Who is paid, in which currency, from which amount on."""

    payee: str
    currency: str
    minimum: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve(Version):
    """What is held back of a payee's earnings, and how it is given back: (periods later, ppb), summing to 10^9."""

    payee: str
    rate: int
    schedule: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxProfile(Version):
    """Withholding rates by territory of the sale; a territory that is not named falls under ``otherwise``."""

    payee: str
    rates: Mapping[str, int]
    otherwise: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange(Event):
    """The rates frozen with a period's run: one of the first currency is (numerator, denominator) of the second."""

    period: str
    rates: Mapping[tuple[str, str], tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sale(Event):
    """A sale of an image."""

    sale: str
    image: str
    card: str
    currency: str
    price: int
    tax: int = 0
    deductions: int = 0
    territory: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund(Event):
    """A refund or chargeback of a part of a sale, with tax."""

    refund: str
    sale: str
    amount: int
    tax: int | None = None
    """The tax in it; not given: the sale's, pro rata, floored on the running total."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read(Event):
    """An image's prompt was read: these artists were recognised."""

    image: str
    artists: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution(Event):
    """An image's shares, or the reason that it cannot have any."""

    image: str
    shares: Mapping[str, int] | None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance(Event):
    """Money paid to a payee before it was earned."""

    advance: str
    payee: str
    currency: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment(Event):
    """A line by hand."""

    adjustment: str
    payee: str
    currency: str
    amount: int
    territory: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold(Event):
    """Stops a payee's payouts."""

    hold: str
    payee: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldClosed(Event):
    """Stops stopping them."""

    hold: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Payout(Event):
    """A payout run looks at a payee; what she gets follows from her balance now."""

    payout: str
    payee: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutEnded(Event):
    """What became of it. A returned one was paid before."""

    payout: str
    outcome: Literal["paid", "rejected", "returned"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim(Event):
    """A third party says that it owns what the payee earned."""

    claim: str
    payee: str
    currency: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimDecided(Event):
    """Who was right; and what of it goes to the payee all the same."""

    claim: str
    winner: str
    given_back: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cash(Event):
    """Customers paid."""

    entry: str
    currency: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Remittance(Event):
    """Withheld tax went to the authority of a territory."""

    entry: str
    territory: str
    currency: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Period(Event):
    """A period's close; ``at`` is the instant of closing."""

    period: str
    start: datetime
    end: datetime
    cutoff: datetime
