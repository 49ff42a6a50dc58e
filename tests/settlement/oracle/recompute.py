"""From raw events to every line, statement summary and balance."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from tests.settlement.oracle.division import divide
from tests.settlement.oracle.events import (
    CONTENT,
    PPB,
    Adjustment,
    Advance,
    Attribution,
    Cash,
    Claim,
    ClaimDecided,
    Contract,
    Event,
    Exchange,
    Fallback,
    Hold,
    HoldClosed,
    OptOut,
    Payee,
    Payout,
    PayoutEnded,
    Period,
    PublicDomain,
    RateCard,
    Read,
    Refund,
    Remittance,
    Reserve,
    Sale,
    TaxProfile,
    Version,
    ZeroStatements,
)
from tests.settlement.oracle.ledger import Account, Ledger

INSTANT = timedelta(microseconds=1)
EXPONENTS = {"JPY": 0, "KWD": 3}
ITEMS = (
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
NAMES = ("card", "artist", "payee")
"""By which versions say what they are versions of."""
V = TypeVar("V", bound=Version)


def unit(currency: str) -> int:
    """One minor unit of a currency in micros."""
    return int(10 ** (6 - EXPONENTS.get(currency, 2)))


@dataclass(slots=True)
class Line:
    """A royalty line. What is not a payee's yet stands in a suspense account."""

    sale: str
    image: str
    player: str
    payee: str
    """The payee; the artist where nobody claims; nothing where it is pending or unattributed."""
    kind: str
    """royalty, late, released, fallback, pending, unattributed, refund, adjustment."""
    currency: str
    territory: str | None
    amount: int
    usage: str
    accounting: str
    source: str
    target: str
    corrects: str = ""
    since: int = 0
    """What was refunded of the sale before this line was made."""
    reversed: int = 0
    moved: bool = False
    """Whether later lines took over what was left of it."""
    order: int = 0
    """The position of its accounting period."""

    @property
    def left(self) -> int:
        """What refunds and later lines left of it."""
        return 0 if self.moved else self.amount - self.reversed

    @property
    def name(self) -> str:
        """How the worked example writes it."""
        return "/".join(part for part in (self.corrects, self.sale, self.player, self.payee) if part)


@dataclass(slots=True)
class Column:
    """One currency of a summary, in micros of it."""

    opening: int = 0
    moves: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ITEMS, 0))
    closing: int = 0


@dataclass(slots=True)
class Summary:
    """A statement's summary: one column per source currency, one of them the payout currency's."""

    period: str
    payee: str
    currency: str
    columns: dict[str, Column]
    payable: int = 0
    held: int = 0
    below_minimum: int = 0
    below_unit: int = 0


@dataclass(slots=True)
class Held:
    """What was held back in one period, what is left of it, and the schedule by which it is given back."""

    order: int
    taken: int
    left: int
    schedule: tuple[tuple[int, int], ...]

    def due(self, order: int) -> int:
        """What is given back in a period: the schedule's part of what was taken, as far as it is there.

        The parts are differences of cumulative floors, so that they are the whole.
        """
        now, before = (
            self.taken * sum(part for after, part in self.schedule if after <= periods) // PPB
            for periods in (order - self.order, order - self.order - 1)
        )
        return min(self.left, now - before)


@dataclass(slots=True)
class TaxGroup:
    """What one period's earnings of a payee in a currency and territory come to, and what was withheld of it."""

    total: int = 0
    rate: int = 0
    withheld: int = 0

    def owed(self) -> int:
        """The tax on what is left of it."""
        return max(0, self.total) * self.rate // PPB


class Books:
    """The books after all events: ``lines``, ``summaries``, ``ledger``, ``payouts``; ``happened`` names the rare."""

    def __init__(self) -> None:
        self.happened: set[str] = set()
        self.ledger = Ledger()
        self.lines: list[Line] = []
        self.summaries: list[Summary] = []
        self.payouts: dict[str, tuple[Account, int]] = {}
        self._sealed: Period | None = None
        self._closed = 0
        self._known_periods: list[Period] = []
        self._versions: dict[tuple[type[Version], str], list[Version]] = defaultdict(list)
        self._exchange: dict[str, Exchange] = {}
        self._sales: dict[str, Sale] = {}
        self._open_sales: dict[str, Sale] = {}
        self._open_refunds: list[Refund] = []
        self._open_adjustments: list[Adjustment] = []
        self._refunded: dict[str, int] = defaultdict(int)
        self._refunded_sale: dict[str, int] = defaultdict(int)
        self._refunded_tax: dict[str, int] = defaultdict(int)
        self._attributions: dict[str, Attribution] = {}
        self._reads: dict[str, Read] = {}
        self._lines_of: dict[str, list[Line]] = defaultdict(list)
        self._waiting: list[Line] = []
        self._reserves: dict[tuple[str, str], list[Held]] = defaultdict(list)
        self._taxes: dict[tuple[int, str, str], dict[str, TaxGroup]] = defaultdict(
            lambda: defaultdict(TaxGroup)
        )
        self._advances: list[tuple[datetime, Advance, list[int]]] = []
        self._holds: dict[str, tuple[Hold, list[datetime]]] = {}
        self._claims: dict[str, tuple[Account, int]] = {}

    # --- events as they become known -----------------------------------------------------------------------------

    def replay(self, events: Iterable[Event]) -> "Books":
        """Take events in the order in which they became known, those of one instant in the order given."""
        ordered = sorted(events, key=lambda event: event.known)
        self._known_periods += (event for event in ordered if isinstance(event, Period))
        for event in ordered:
            self._take(event)
        return self

    def _booked(self, at: datetime) -> datetime:
        """When it happened, in the open period if its own is sealed."""
        return max(at, self._sealed.end) if self._sealed else at

    def _take(self, event: Event) -> None:
        if isinstance(event, Version):
            thing = next((getattr(event, name) for name in NAMES if hasattr(event, name)), "")
            self._versions[type(event), thing].append(event)
            return
        match event:
            case Period():
                self._close(event)
            case Exchange():
                self._exchange[event.period] = event
            case Sale():
                assert event.sale not in self._sales
                self._sales[event.sale] = self._open_sales[event.sale] = event
                self._post(
                    event,
                    f"sale:{event.sale}",
                    "sale",
                    event.currency,
                    receivable=event.price,
                    revenue=event.tax - event.price,
                    tax_collected=-event.tax,
                )
            case Refund():
                self._refund_sale(event)
            case Read():
                self._reads.setdefault(event.image, event)
            case Attribution():
                # The first one is final.
                self._attributions.setdefault(event.image, event)
            case Advance():
                self._advances.append((self._booked(event.at), event, [event.amount]))
                self._post(
                    event,
                    f"advance:{event.advance}",
                    "advance",
                    event.currency,
                    bank=-event.amount,
                    **{f"advances:{event.payee}": event.amount},
                )
            case Adjustment():
                self._open_adjustments.append(event)
            case Hold():
                self._holds[event.hold] = (event, [])
            case HoldClosed():
                self._holds[event.hold][1].append(event.known)
            case Payout():
                self._pay(event)
            case PayoutEnded():
                self._end_payout(event)
            case Claim():
                account = (f"royalties_payable:{event.payee}", event.currency)
                moved = max(0, min(event.amount, -self.ledger.now(account)))
                self._claims[event.claim] = (account, moved)
                key = f"claim:{event.claim}:opened"
                self._post(
                    event, key, "claim", event.currency, suspense_disputed=-moved, **{account[0]: moved}
                )
            case ClaimDecided():
                (payee, currency), moved = self._claims[event.claim]
                moves = {payee: -event.given_back}
                moves[f"royalties_payable:{event.winner}"] = event.given_back - moved
                key = f"claim:{event.claim}:decided"
                self._post(event, key, "claim", currency, suspense_disputed=moved, **moves)
            case Cash():
                amount = event.amount
                self._post(
                    event, f"cash:{event.entry}", "cash", event.currency, bank=amount, receivable=-amount
                )
            case Remittance():
                amount = event.amount
                key = f"remittance:{event.entry}"
                self._post(
                    event,
                    key,
                    "remittance",
                    event.currency,
                    bank=-amount,
                    **{f"tax_withheld:{event.territory}": amount},
                )
            case _:
                raise TypeError(f"no rule for {event}")

    def _post(self, event: Event, key: str, kind: str, currency: str, **moves: int) -> None:
        booked = self._booked(event.at)
        self.ledger.post(key, kind, booked, [((name, currency), amount) for name, amount in moves.items()])

    def _refund_sale(self, refund: Refund) -> None:
        sale = self._sales[refund.sale]
        self._refunded_sale[sale.sale] += refund.amount
        assert refund.amount > 0 and self._refunded_sale[sale.sale] <= sale.price
        if refund.tax is None:
            tax = sale.tax * self._refunded_sale[sale.sale] // sale.price - self._refunded_tax[sale.sale]
        else:
            tax = refund.tax
        self._refunded_tax[sale.sale] += tax
        self._open_refunds.append(refund)
        self._post(
            refund,
            f"refund:{refund.refund}:sale",
            "refund_sale",
            sale.currency,
            revenue=refund.amount - tax,
            tax_collected=tax,
            receivable=-refund.amount,
        )

    def _pay(self, event: Payout) -> None:
        if self._sealed is None:
            return
        terms = self._version(Payee, event.payee, self._sealed.end - INSTANT, event.known)
        if terms is None or self._held(event.payee, event.known):
            return
        account = (f"royalties_payable:{event.payee}", terms.currency)
        balance = -self.ledger.now(account)
        amount = balance - balance % unit(terms.currency)
        if balance < terms.minimum or amount <= 0:
            return
        self.payouts[event.payout] = (account, amount)
        key = f"attempt:{event.payout}:reserved"
        self._post(event, key, "payout", terms.currency, payout_clearing=-amount, **{account[0]: amount})

    def _end_payout(self, event: PayoutEnded) -> None:
        if event.payout not in self.payouts:
            return
        self.happened.add(f"a payout is {event.outcome}")
        (payable, currency), amount = self.payouts[event.payout]
        key = f"attempt:{event.payout}:{event.outcome}"
        match event.outcome:
            case "paid":
                self._post(event, key, "payout", currency, payout_clearing=amount, bank=-amount)
            case "rejected":
                self._post(event, key, "payout", currency, payout_clearing=amount, **{payable: -amount})
            case "returned":
                # Back at the bank, through clearing, to the payee.
                self._post(event, key, "payout", currency, bank=amount, **{payable: -amount})

    def _held(self, payee: str, at: datetime) -> bool:
        """Whether any hold is open, by what was known at an instant."""
        return any(
            hold.payee == payee and hold.known < at and not any(closed < at for closed in closings)
            for hold, closings in self._holds.values()
        )

    def _version(self, kind: type[V], thing: str, at: datetime, known_before: datetime) -> V | None:
        """The version of a thing that is valid at an instant, of those known by another."""
        valid = [
            version
            for version in self._versions[kind, thing]
            if isinstance(version, kind) and version.at <= at and version.known <= known_before
        ]
        return max(valid, key=lambda version: version.at, default=None)

    # --- closing a period ----------------------------------------------------------------------------------------

    def _close(self, period: Period) -> None:
        assert self._sealed is None or self._sealed.end <= period.start
        run = _Run(self, period, self._closed)
        run.royalties()
        run.refunds()
        run.late()
        run.release()
        run.fall_back()
        run.adjust()
        run.post()
        self._closed += 1
        self._sealed = period


class _Run:
    """What one period's close decides."""

    def __init__(self, books: Books, period: Period, order: int) -> None:
        self.books = books
        self.period = period
        self.order = order
        self.last = period.end - INSTANT
        self.made: list[Line] = []
        self.journals: dict[str, list[tuple[Account, int]]] = defaultdict(list)
        self.statement_moves: dict[str, list[tuple[Account, int]]] = defaultdict(list)
        self.items: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(ITEMS, 0))

    def _known(self, event: Event) -> bool:
        return event.known < self.period.cutoff

    def _usage(self, at: datetime) -> str:
        return next((p.period for p in self.books._known_periods if p.start <= at < p.end), "")

    def _at(self, kind: type[V], thing: str, at: datetime) -> V | None:
        return self.books._version(kind, thing, at, self.period.cutoff - INSTANT)

    def _card(self, sale: Sale) -> RateCard:
        card = self._at(RateCard, sale.card, sale.at)
        assert card is not None, f"{sale.sale} names a card without a version at its time"
        return card

    # Royalties ---------------------------------------------------------------------------------------------------

    def royalties(self) -> None:
        """Slice and divide the sales whose accounting period this is."""
        sales = [
            sale
            for sale in self.books._open_sales.values()
            if sale.at < self.period.end and self._known(sale)
        ]
        slices: dict[str, int] = {}
        pools: dict[tuple[str, datetime, str], list[Sale]] = defaultdict(list)
        for sale in sales:
            card = self._card(sale)
            base = max(0, sale.price - sale.tax - sale.deductions)
            match card.model:
                case "fee":
                    slices[sale.sale] = card.fee
                case "percentage":
                    slices[sale.sale] = base * card.rate // PPB
                case "pool":
                    pools[card.card, card.at, sale.currency].append(sale)
        for inside in pools.values():
            bases = {sale.sale: max(0, sale.price - sale.tax - sale.deductions) for sale in inside}
            slices |= divide(sum(bases.values()) * self._card(inside[0]).rate // PPB, bases)
        for sale in sorted(sales, key=lambda sale: sale.sale.encode()):
            amount = max(slices[sale.sale], self._card(sale).guarantee.get(sale.currency, 0))
            self._distribute(sale, amount, "royalty", "royalty_expense")
            del self.books._open_sales[sale.sale]

    def _distribute(self, sale: Sale, amount: int, kind: str, source: str) -> bool:
        """Divide a slice, or what is left of it, over players and payees; whether it could be."""
        books, card = self.books, self._card(sale)
        reason, weights = "", {}
        match card.key:
            case "proxy":
                weights = dict(card.weights)
            case "equal":
                read = books._reads.get(sale.image)
                if read is None or not self._known(read):
                    reason = "pending"
                elif not read.artists:
                    reason = "unattributed"
                else:
                    weights = dict.fromkeys(read.artists, 1)
            case "attribution":
                attribution = books._attributions.get(sale.image)
                if attribution is None or not self._known(attribution):
                    reason = "pending"
                elif attribution.shares is None:
                    reason = "unattributed"
                else:
                    weights = dict(attribution.shares)
        if reason:
            if kind == "royalty" or reason == "unattributed":
                self._line(sale, "", "", reason, amount, source, f"suspense_{reason}")
            return reason == "unattributed"
        # Integer shares that sum to 10^9, however they come about.
        shares = divide(PPB, weights)
        artists = {player: share for player, share in shares.items() if player != CONTENT}
        if card.spread and any(artists.values()):
            more = divide(shares.get(CONTENT, 0), artists)
            shares = {player: share + more[player] for player, share in artists.items()}
        for player, part in divide(amount, shares).items():
            self._player(sale, card, player, part, kind, source)
        return True

    def _player(self, sale: Sale, card: RateCard, player: str, part: int, kind: str, source: str) -> None:
        def to(payee: str, amount: int) -> None:
            self._line(sale, player, payee, kind, amount, source, f"royalties_payable:{payee}")

        if player == CONTENT:
            to(card.developer, part)
            return
        out = self._at(OptOut, player, sale.at)
        free = self._at(PublicDomain, player, sale.at)
        contract = self._at(Contract, player, sale.at)
        if out is not None and out.out:
            self._line(sale, player, "", kind, part, source, "suspense_unattributed")
        elif free is not None and free.free:
            to(card.fund or card.developer, part)
        elif contract is not None and contract.splits is not None:
            for payee, amount in divide(part, contract.splits).items():
                to(payee, amount)
        else:
            self._line(sale, player, player, kind, part, source, f"suspense_unclaimed:{player}")

    def _line(
        self, sale: Sale, player: str, payee: str, kind: str, amount: int, source: str, target: str
    ) -> None:
        if not amount:
            return
        line = Line(
            sale.sale,
            sale.image,
            player,
            payee,
            kind,
            sale.currency,
            sale.territory,
            amount,
            self._usage(sale.at),
            self.period.period,
            source,
            target,
            since=self.books._refunded[sale.sale],
            order=self.order,
        )
        self.made.append(line)
        self.books.lines.append(line)
        self.books._lines_of[sale.sale].append(line)
        if target.startswith("suspense_"):
            self.books._waiting.append(line)

    # Refunds -----------------------------------------------------------------------------------------------------

    def refunds(self) -> None:
        """Reverse the lines of what was refunded: against reserve, payable, or the suspense that holds them."""
        books = self.books
        ready = [
            refund for refund in books._open_refunds if refund.at < self.period.end and self._known(refund)
        ]
        for refund in sorted(ready, key=lambda refund: (refund.at, refund.refund.encode())):
            books._open_refunds.remove(refund)
            self._refund(refund)

    def _refund(self, refund: Refund) -> None:
        books, sale = self.books, self.books._sales[refund.sale]
        assert sale.sale not in books._open_sales, "a refund does not come before its sale"
        books._refunded[sale.sale] += refund.amount
        moves: list[tuple[Account, int]] = []
        owed: dict[str, int] = defaultdict(int)
        for line in books._lines_of[sale.sale]:
            if line.moved:
                continue
            since = books._refunded[sale.sale] - line.since
            back = line.amount * since // (sale.price - line.since) - line.reversed
            if not back:
                continue
            line.reversed += back
            moves.append((("royalty_expense", sale.currency), -back))
            books.lines.append(
                Line(
                    sale.sale,
                    sale.image,
                    line.player,
                    line.payee,
                    "refund",
                    sale.currency,
                    sale.territory,
                    -back,
                    line.usage,
                    self.period.period,
                    line.target,
                    "royalty_expense",
                    corrects=refund.refund,
                    order=self.order,
                )
            )
            if line.target.startswith("suspense_"):
                books.happened.add(f"a refund of what is {line.target.split(':')[0]}")
                moves.append(((line.target, sale.currency), back))
                continue
            if line.since:
                books.happened.add("a refund of a line that is net of one")
            owed[line.payee] += back
            group = books._taxes[line.order, line.payee, sale.currency][sale.territory]
            group.total -= back
            given = group.withheld - group.owed() if line.order < self.order else 0
            group.withheld -= given
            moves.append(((f"tax_withheld:{sale.territory}", sale.currency), given))
            moves.append(((f"royalties_payable:{line.payee}", sale.currency), -given))
            self.items[line.payee, sale.currency]["tax"] += given
        for payee, back in owed.items():
            used = self._use_reserve(payee, sale.currency, back)
            if used:
                books.happened.add(f"a refund takes {'all' if used == back else 'a part'} from a reserve")
            moves.append(((f"reserve:{payee}", sale.currency), used))
            moves.append(((f"royalties_payable:{payee}", sale.currency), back - used))
            self.items[payee, sale.currency]["refunds"] -= back
            self.items[payee, sale.currency]["reserves"] += used
        self.books.ledger.post(f"refund:{refund.refund}:royalties", "run", self.last, moves)

    def _use_reserve(self, payee: str, currency: str, wanted: int) -> int:
        """Take from what is held back, oldest first."""
        used = 0
        for held in self.books._reserves[payee, currency]:
            part = min(held.left, wanted - used)
            held.left -= part
            used += part
        return used

    # What waited -------------------------------------------------------------------------------------------------

    def _waiting(self, prefix: str) -> list[Line]:
        return [line for line in self.books._waiting if not line.moved and line.target.startswith(prefix)]

    def late(self) -> None:
        """Divide what was pending in earlier periods and is attributed now."""
        for line in self._waiting("suspense_pending"):
            if line.order == self.order:
                continue
            if self._distribute(self.books._sales[line.sale], line.left, "late", line.target):
                line.moved = True

    def release(self) -> None:
        """Give an artist who has a contract now what waited for her, line by line."""
        for line in self._waiting("suspense_unclaimed:"):
            if line.order == self.order:
                continue
            contract = self._at(Contract, line.player, self.last)
            if contract is None or contract.splits is None:
                continue
            self._move(line, contract.splits, "released")

    def fall_back(self) -> None:
        """Divide what nobody could be found for in time by the published key."""
        fallback = self._at(Fallback, "", self.last)
        if fallback is None:
            return
        for line in self._waiting("suspense_unclaimed:") + self._waiting("suspense_unattributed"):
            if self.order - line.order >= fallback.after:
                self._move(line, fallback.splits, "fallback")

    def _move(self, line: Line, splits: Mapping[str, int], kind: str) -> None:
        for payee, amount in divide(line.left, splits).items():
            sale = self.books._sales[line.sale]
            self._line(sale, line.player, payee, kind, amount, line.target, f"royalties_payable:{payee}")
        line.moved = True

    def adjust(self) -> None:
        """Take the adjustments of this period."""
        books = self.books
        for entry in list(books._open_adjustments):
            if entry.at < self.period.end and self._known(entry):
                books._open_adjustments.remove(entry)
                line = Line(
                    entry.adjustment,
                    "",
                    "",
                    entry.payee,
                    "adjustment",
                    entry.currency,
                    entry.territory,
                    entry.amount,
                    self.period.period,
                    self.period.period,
                    "royalty_expense",
                    f"royalties_payable:{entry.payee}",
                    order=self.order,
                )
                self.made.append(line)
                books.lines.append(line)

    # Statements --------------------------------------------------------------------------------------------------

    def post(self) -> None:
        """Post what the run decides, and draw up the statements."""
        self._post_lines()
        books = self.books
        payees = sorted(thing for kind, thing in books._versions if kind is Payee)
        for payee in payees:
            terms = self._at(Payee, payee, self.last)
            if terms is not None:
                self._statement(terms)

    def _post_lines(self) -> None:
        expected = {"royalty": "royalties", "late": "late", "released": "late", "fallback": "late"}
        for line in self.made:
            moves = [
                ((line.source, line.currency), line.amount),
                ((line.target, line.currency), -line.amount),
            ]
            if line.target.startswith("suspense_"):
                where = line.target.removeprefix("suspense_").split(":")[0]
                self.journals[f"run:{self.period.period}:{where}:{line.currency}"] += moves
                continue
            self.items[line.payee, line.currency][expected.get(line.kind, "adjustments")] += line.amount
            if line.territory is not None:
                self.books._taxes[self.order, line.payee, line.currency][line.territory].total += line.amount
            if line.kind == "fallback":
                self.journals[f"run:{self.period.period}:fallback:{line.currency}"] += moves
            elif line.player == CONTENT:
                self.journals[f"run:{self.period.period}:content:{line.currency}"] += moves
            else:
                self.statement_moves[line.payee] += moves
        for key in sorted(self.journals):
            self.books.ledger.post(key, "run", self.last, self.journals[key])

    def _statement(self, terms: Payee) -> None:
        books, ledger, payee = self.books, self.books.ledger, terms.payee
        account = f"royalties_payable:{payee}"
        moves = self.statement_moves[payee]
        currencies = {terms.currency} | {c for name, c in ledger.accounts() if name == account}
        currencies |= {currency for (of, currency) in self.items if of == payee}
        currencies |= {currency for (of, currency) in books._reserves if of == payee}
        for currency in sorted(currencies):
            items = self.items[payee, currency]
            moves += self._reserve(payee, currency, items)
            moves += self._tax(payee, currency, items)
        for currency in sorted(currencies - {terms.currency}):
            balance = -ledger.before((account, currency), self.period.end) - _sum(moves, (account, currency))
            if not balance:
                continue
            up, down = books._exchange[self.period.period].rates[currency, terms.currency]
            converted = balance * up // down
            self.items[payee, currency]["fx"] -= balance
            self.items[payee, terms.currency]["fx"] += converted
            moves += [
                ((account, currency), balance),
                (("fx_position", currency), -balance),
                ((account, terms.currency), -converted),
                (("fx_position", terms.currency), converted),
            ]
        moves += self._recoup(terms, moves)
        ledger.post(f"statement:{self.period.period}:{payee}:{terms.currency}", "run", self.last, moves)
        self._summarise(terms, currencies)

    def _reserve(self, payee: str, currency: str, items: dict[str, int]) -> list[tuple[Account, int]]:
        released = 0
        for held in self.books._reserves[payee, currency]:
            due = held.due(self.order)
            held.left -= due
            released += due
        terms = self._at(Reserve, payee, self.last)
        taken = 0
        if terms is not None:
            earned = items["royalties"] + items["late"] + items["adjustments"]
            taken = max(0, earned) * terms.rate // PPB
            self.books._reserves[payee, currency].append(Held(self.order, taken, taken, terms.schedule))
        items["reserves"] += released - taken
        return [
            ((f"royalties_payable:{payee}", currency), taken - released),
            ((f"reserve:{payee}", currency), released - taken),
        ]

    def _tax(self, payee: str, currency: str, items: dict[str, int]) -> list[tuple[Account, int]]:
        terms = self._at(TaxProfile, payee, self.last)
        if terms is None:
            return []
        moves: list[tuple[Account, int]] = []
        for territory, group in self.books._taxes[self.order, payee, currency].items():
            group.rate = terms.rates.get(territory, terms.otherwise)
            group.withheld = group.owed()
            items["tax"] -= group.withheld
            moves.append(((f"royalties_payable:{payee}", currency), group.withheld))
            moves.append(((f"tax_withheld:{territory}", currency), -group.withheld))
        return moves

    def _recoup(self, terms: Payee, moves: Sequence[tuple[Account, int]]) -> list[tuple[Account, int]]:
        account = (f"royalties_payable:{terms.payee}", terms.currency)
        decided = -_sum(moves, account)
        then = decided - self.books.ledger.before(account, self.period.end)
        now = decided - self.books.ledger.now(account)
        available = max(0, min(then, now))
        recouped = 0
        short = max(0, now) < max(0, then)
        for paid, advance, left in sorted(
            self.books._advances, key=lambda entry: (entry[0], entry[1].advance.encode())
        ):
            owes = (advance.payee, advance.currency) == (terms.payee, terms.currency)
            if owes and paid < self.period.end:
                part = min(left[0], available - recouped)
                if short and left[0] > part:
                    self.books.happened.add("a recoupment is less because of a payout since")
                left[0] -= part
                recouped += part
        self.items[terms.payee, terms.currency]["recoupment"] -= recouped
        return [(account, recouped), ((f"advances:{terms.payee}", terms.currency), -recouped)]

    def _summarise(self, terms: Payee, currencies: set[str]) -> None:
        ledger, payee = self.books.ledger, terms.payee
        start, end = self.period.start, self.period.end
        columns: dict[str, Column] = {}
        for currency in sorted(currencies):
            account = (f"royalties_payable:{payee}", currency)
            column = Column(opening=-ledger.before(account, start), moves=self.items[payee, currency])
            column.moves["payments"] = -ledger.moved(account, "payout", start, end)
            column.moves["claims"] = -ledger.moved(account, "claim", start, end)
            column.closing = -ledger.before(account, end)
            total = column.opening + sum(column.moves.values())
            assert total == column.closing, (self.period.period, payee, currency, column)
            active = any(column.moves.values()) or ledger.active(account, start, end)
            if column.opening or column.closing or active:
                columns[currency] = column
        zero = self._at(ZeroStatements, "", self.last)
        if not columns:
            if zero is None or not zero.wanted:
                return
            self.books.happened.add("a zero statement")
        columns.setdefault(terms.currency, Column())
        summary = Summary(self.period.period, payee, terms.currency, columns)
        closing = columns[terms.currency].closing
        if closing <= 0:
            pass
        elif self.books._held(payee, self.period.cutoff):
            summary.held = closing
        elif closing < terms.minimum:
            summary.below_minimum = closing
        else:
            summary.below_unit = closing % unit(terms.currency)
            summary.payable = closing - summary.below_unit
        self.books.summaries.append(summary)


def _sum(moves: Iterable[tuple[Account, int]], account: Account) -> int:
    return sum(amount for of, amount in moves if of == account)


def recompute(events: Iterable[Event]) -> Books:
    """Recompute the books from raw events."""
    return Books().replay(events)
