"""A platform's history at random, month by month: through the services and their roles, and as the oracle's events.

Whatever happens is done to the database by the service that does it in production, in a transaction of the role that
may, and told to the oracle (`tests.settlement.oracle`) as a plain event. A seed gives one history.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.orm import Session

from attribution.generation import Image
from attribution.ingest import Status
from attribution.results import ImageResult, MeasuredCoalition, MethodVersionRow, Placebo, record_results
from attribution.shapley import PlaceboLevel, UnattributedReason, settle_game
from database.engine import session
from database.errors import Refused
from database.roles import Role
from settlement import posting
from settlement.advances import approve_advance, pay_advance, record_advance
from settlement.audit.verify import verify
from settlement.claims import approve_decision, carry_out, open_claim, propose_decision
from settlement.contracts import Contract, record_contracts
from settlement.corrections.decisions import approve_correction
from settlement.corrections.proposal import propose_manual
from settlement.fx import TRILLION, FxRate, record_fx_rates
from settlement.ledger import Entry, balances, post
from settlement.money import minor_unit, to_decimal
from settlement.payouts import run
from settlement.payouts.holds import open_hold, open_holds, release_hold
from settlement.payouts.models import batch_rows
from settlement.payouts.outcomes import Outcome, record_outcomes
from settlement.periods.approval import approve, calculate, submit
from settlement.periods.calendar import cut_off
from settlement.periods.close import close
from settlement.rates import PlatformTerms, RateCard, record_platform, record_rate_cards
from settlement.remittances import remit_tax
from settlement.reserves import ReserveTerms, record_reserve_terms
from settlement.sales import parse_refund, parse_sale, record_refunds, record_sales
from settlement.tax import TaxProfile, record_tax_profiles
from tests.settlement.events import load_terms
from tests.settlement.oracle import events as told
from tests.settlement.oracle.division import divide
from tests.settlement.oracle.recompute import ITEMS, Books
from tests.settlement.payouts.desk import digests, files
from tests.settlement.periods.conftest import looked_at

NO_SERVICE_YET: tuple[type[told.Event], ...] = ()
"""What the oracle knows and no service does yet: an action of `TwoYears.ACTIONS` for each, once there is one."""

ZONE = ZoneInfo("Europe/Berlin")
FIRST_YEAR = 2023
LOGICAL = datetime(2100, 1, 1, tzinfo=ZONE)
"""When things become known is told to the oracle as an order: a second apart from here on."""
PPB = told.PPB
CURRENCIES = ("EUR", "USD", "JPY")
"""What is sold in."""
WORTH = {"EUR": 1000, "USD": 900, "JPY": 6, "KWD": 3000}
TERRITORIES = ("DE", "US", "JP", "NO")
PAYEES = {
    **{f"pay-{number}": "EUR" for number in range(6)},
    "pay-usd": "USD",
    "pay-jpy": "JPY",
    "pay-kwd": "KWD",
    "pay-poor": "EUR",
    "pay-dev": "EUR",
    "pay-fund": "EUR",
}
WITHOUT_BANK = "pay-poor"
ARTISTS = [f"art-{number:02}" for number in range(14)]
MINIMUM = {"EUR": 100_000, "USD": 1_000_000, "JPY": 100_000_000, "KWD": 0}
KINDS = {"pay-dev": "model_developer", "pay-fund": "fund"}
CATALOGUE = (
    f"""
platform:
  id: platform
  name: Lumen Pictures GmbH
  address: {{street: Torstrasse, building: "1", postcode: "10119", town: Berlin, country: DE}}
  iban: DE89370400440532013000
  bic: COBADEFFXXX
  currency: EUR
  valid_from: {FIRST_YEAR}-01-01
  zone: {ZONE.key}
  default_rate_card: standard
  model_developer: pay-dev
  minimum_payout: {{EUR: "0.10", USD: "1.00", JPY: "100"}}
  fallback: {{after_periods: 3, key: {{pay-fund: "66.6666667", pay-1: "33.3333333"}}}}
  dispute: {{contact: royalties@example.com, days: 365}}
payees:
"""
    + "".join(
        f"  - {{id: {payee}, kind: {KINDS.get(payee, 'person')}, currency: {currency}, name: Payee {payee}"
        + (
            ""
            if payee == WITHOUT_BANK
            else ", iban: NL91ABNA0417164300, bic: ABNANL2A, address: {town: Utrecht, country: NL}"
        )
        + "}\n"
        for payee, currency in PAYEES.items()
    )
    + "artists:\n"
    + "".join(f"  - {{id: {artist}, name: Artist {artist}}}\n" for artist in ARTISTS)
    + f"""rate_cards:
  - {{id: standard, valid_from: {FIRST_YEAR}-01-01, model: per_image, rate: "30"}}
"""
)
FALLBACK = told.Fallback(
    at=datetime(FIRST_YEAR, 1, 1, tzinfo=ZONE),
    after=3,
    splits={"pay-fund": 666_666_667, "pay-1": 333_333_333},
)
WEIGHTS = {"C": 7, "art-01": 5, "art-03": 3, "art-05": 1, "art-06": 1, "art-11": 2}
SHA = hashlib.sha256(b"two years").digest()
GAP = 20_000_000


def month_start(number: int) -> datetime:
    """When a month begins in the platform's zone, counted from the first."""
    return datetime(FIRST_YEAR + number // 12, number % 12 + 1, 1, tzinfo=ZONE)


class TwoYears:
    """One history. ``size`` is about how many images a month brings; sales are a half more."""

    def __init__(self, seed: int, size: int) -> None:
        self.rng = random.Random(seed)
        self.size = size
        self.month = 0
        self.ticks = 0
        self.events: list[told.Event] = []
        self.unread = 0  # how many of them the oracle has read
        self.oracle = Books()
        self.counts: Counter[str] = Counter()
        self.image_ids: dict[str, int] = {}
        self.unattributed: list[str] = []
        self.sales: dict[str, told.Sale] = {}
        self.refunded: Counter[str] = Counter()
        self.terms: dict[tuple[str, str], set[datetime]] = {}
        self.rates: dict[tuple[str, str], tuple[int, int]] = {}
        self.attempts: dict[str, str] = {}
        self.holds: dict[int, str] = {}
        self.withheld: Counter[tuple[str, str]] = Counter()
        self.claims: dict[str, tuple[str, str, int]] = {}

    # Small things ----------------------------------------------------------------------------------------------------

    def tick(self) -> datetime:
        self.ticks += 1
        return LOGICAL + timedelta(seconds=self.ticks)

    def tell(self, event: told.Event) -> None:
        self.events.append(event)
        self.counts[type(event).__name__] += 1

    def name(self, what: str) -> str:
        """An id of its own, of any form: ties are broken by it."""
        self.counts[f"names of {what}"] += 1
        return f"{what}-{self.counts[f'names of {what}']}{self.rng.choice(['', '_', '.z', 'Z'])}"

    def moment(self, month: int | None = None) -> datetime:
        start, end = month_start(number := self.month if month is None else month), month_start(number + 1)
        return start + timedelta(
            microseconds=self.rng.randrange(int((end - start) / timedelta(microseconds=1)))
        )

    def earlier(self) -> datetime:
        """A moment of this month, or seldom of one before."""
        late = self.rng.random() < 0.1
        return self.moment(max(0, self.month - self.rng.choice([1, 1, 2, 5])) if late else None)

    def day(self, kind: str, thing: str) -> datetime | None:
        """The start of a day of this month on which no version of the thing begins yet."""
        start = month_start(self.month) + timedelta(days=self.rng.randrange(27))
        start = datetime(start.year, start.month, start.day, tzinfo=ZONE)
        known = self.terms.setdefault((kind, thing), set())
        if start in known:
            return None
        known.add(start)
        return start

    def amount(self) -> int:
        return self.rng.choice(
            [
                self.rng.randrange(1, 200),
                self.rng.randrange(1, 10**6),
                *[self.rng.randrange(10**6, 10**9)] * 6,
            ]
        )

    def parts(self, names: list[str]) -> dict[str, int]:
        weights = {name: self.rng.randrange(1, 10**6) for name in names}
        return {name: part for name, part in divide(PPB, weights).items() if part}

    # Terms -----------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The first terms."""
        start = month_start(0)
        with session(Role.SETTLEMENT) as opened:
            load_terms(opened, CATALOGUE)
        known = self.tick()
        for payee, currency in PAYEES.items():
            self.tell(
                told.Payee(
                    at=start, recorded=known, payee=payee, currency=currency, minimum=MINIMUM[currency]
                )
            )
        self.tell(FALLBACK)
        card = told.RateCard(
            at=start,
            recorded=known,
            card="standard",
            model="percentage",
            rate=300_000_000,
            developer="pay-dev",
        )
        self.tell(card)
        self.terms["card", "standard"] = {start}
        for name in ("fee", "pool", "pool-equal", "spread", "table"):
            self.card(name, start)
        for artist in ARTISTS[:8]:
            self.contract(artist, start, "active")
        self.contract("art-11", start, "public_domain")
        with session(Role.ADMIN) as opened:
            method = MethodVersionRow(
                sha256=SHA, name="two-years", document={"baseline": "excluded", "minimum_gap": GAP}
            )
            opened.add(method)
            opened.flush()
            self.method = method.id
            self.levels = {
                (players, slot): PlaceboLevel(1_000_003 * slot, 30_000_000 + players)
                for players in range(2, 5)
                for slot in range(1, players)
            }
            opened.add_all(
                Placebo(
                    method_id=method.id,
                    weights_sha256=SHA,
                    players=players,
                    slot=slot,
                    mean=level.mean,
                    mean_standard_error=1,
                    threshold=level.threshold,
                    threshold_standard_error=1,
                    names=40,
                    evidence={},
                )
                for (players, slot), level in self.levels.items()
            )

    def card(self, name: str, valid_from: datetime) -> None:
        rate = self.rng.randrange(50_000_000, 400_000_000)
        fee = name == "fee"
        pool = name.startswith("pool")
        key = {"fee": "equal", "pool-equal": "equal", "table": "proxy"}.get(name, "attribution")
        spread = name == "spread" or (name == "pool" and self.rng.random() < 0.5)
        guarantee = self.rng.randrange(1, 50_000) if name == "table" else None
        fund = self.rng.choice([None, "pay-fund"])
        given = RateCard(
            rate_card_id=name,
            valid_from=valid_from,
            model="period_pool" if pool else "per_image",
            rate_ppb=None if fee else rate,
            fee_micros=rate // 1000 if fee else None,
            currency="EUR" if fee or guarantee else None,
            content_to="artists" if spread else "model_developer",
            distribution_key=key,
            minimum_micros=guarantee,
            weights=WEIGHTS if key == "proxy" else None,
            public_domain_payee_id=fund,
        )
        with session(Role.SETTLEMENT) as opened:
            assert record_rate_cards(opened, [given], actor="mara", reason="test") == 1
        self.tell(
            told.RateCard(
                at=valid_from,
                recorded=self.tick(),
                card=name,
                model="fee" if fee else "pool" if pool else "percentage",
                developer="pay-dev",
                fee=rate // 1000 if fee else 0,
                rate=0 if fee else rate,
                guarantee={"EUR": guarantee} if guarantee else {},
                key=key,  # type: ignore[arg-type]
                spread=spread,
                fund=fund,
                weights=WEIGHTS if key == "proxy" else {},
            )
        )

    def change_card(self) -> None:
        name = self.rng.choice(["standard", "fee", "pool", "pool-equal", "spread", "table"])
        valid_from = self.day("card", name)
        if valid_from is not None:
            self.card(name, valid_from)

    def contract(self, artist: str, valid_from: datetime, status: str) -> None:
        """An artist's version: of the contract, and of what it says about opting out and the public domain."""
        splits = (
            self.parts(self.rng.sample([p for p in PAYEES if p != "pay-dev"], self.rng.randrange(1, 4)))
            if status == "active"
            else {}
        )
        given = Contract(f"contract-{artist}", artist, valid_from, splits, status)  # type: ignore[arg-type]
        with session(Role.SETTLEMENT) as opened:
            assert record_contracts(opened, [given], actor="mara", reason="test") == 1
        self.terms.setdefault(("contract", artist), set()).add(valid_from)
        known = self.tick()
        self.tell(told.Contract(at=valid_from, recorded=known, artist=artist, splits=splits or None))
        self.tell(told.OptOut(at=valid_from, recorded=known, artist=artist, out=status == "opted_out"))
        self.tell(
            told.PublicDomain(at=valid_from, recorded=known, artist=artist, free=status == "public_domain")
        )

    def change_contract(self) -> None:
        """An assignment, an end, an opting out, a return; a first contract may begin long before."""
        artist = self.rng.choice([artist for artist in ARTISTS if artist != "art-11"])
        status = self.rng.choice(["active", "active", "active", "ended", "opted_out"])
        if not self.terms.get(("contract", artist)):
            self.contract(artist, month_start(self.rng.randrange(self.month + 1)), "active")
            return
        valid_from = self.day("contract", artist)
        if valid_from is not None:
            self.contract(artist, valid_from, status)

    def change_tax(self) -> None:
        payee = self.rng.choice(list(PAYEES))
        valid_from = self.day("tax", payee)
        if valid_from is None:
            return
        rates = {t: self.rng.randrange(0, 400_000_000) for t in self.rng.sample(TERRITORIES, 2)}
        otherwise = self.rng.choice([0, 300_000_000])
        with session(Role.SETTLEMENT) as opened:
            profile = TaxProfile(payee, valid_from, otherwise, rates)
            assert record_tax_profiles(opened, [profile], actor="mara", reason="test") == 1
        self.tell(
            told.TaxProfile(
                at=valid_from, recorded=self.tick(), payee=payee, rates=rates, otherwise=otherwise
            )
        )

    def change_reserve(self) -> None:
        payee = self.rng.choice(list(PAYEES))
        valid_from = self.day("reserve", payee)
        if valid_from is None:
            return
        rate = self.rng.choice([0, self.rng.randrange(1, 500_000_000), 200_000_000])
        after = self.rng.sample(range(1, 7), self.rng.randrange(1, 4))
        release = (
            {int(name): part for name, part in self.parts([str(n) for n in after]).items()} if rate else {}
        )
        with session(Role.SETTLEMENT) as opened:
            terms = ReserveTerms(payee, valid_from, rate, release)
            assert record_reserve_terms(opened, [terms], actor="mara", reason="test") == 1
        self.tell(
            told.Reserve(
                at=valid_from,
                recorded=self.tick(),
                payee=payee,
                rate=rate,
                schedule=tuple(sorted(release.items())),
            )
        )

    def change_platform(self) -> None:
        """Another minimum and another fallback key, from this month's first day on."""
        valid_from = month_start(self.month)
        known = self.terms.setdefault(("platform", ""), {month_start(0)})
        if valid_from in known:
            return
        known.add(valid_from)
        minimum = {currency: self.rng.choice([0, 1, 4]) * micros for currency, micros in MINIMUM.items()}
        zero = self.rng.random() < 0.5
        after, splits = self.rng.randrange(1, 6), self.parts(["pay-fund", "pay-0", "pay-usd"])
        terms = PlatformTerms(
            valid_from=valid_from,
            platform_payee_id="platform",
            model_developer_id="pay-dev",
            default_rate_card_id="standard",
            zone=ZONE.key,
            minimum_payout={currency: str(micros) for currency, micros in minimum.items()},
            dispute_contact="royalties@example.com",
            dispute_days=None,
            zero_statements=zero,
            fallback_after_periods=after,
            fallback_key=splits,
        )
        with session(Role.SETTLEMENT) as opened:
            assert record_platform(opened, terms, actor="mara", reason="test") == 1
        told_at = self.tick()
        self.tell(told.Fallback(at=valid_from, recorded=told_at, after=after, splits=splits))
        self.tell(told.ZeroStatements(at=valid_from, recorded=told_at, wanted=zero))
        for payee, currency in PAYEES.items():
            self.tell(
                told.Payee(
                    at=valid_from, recorded=told_at, payee=payee, currency=currency, minimum=minimum[currency]
                )
            )

    def exchange(self) -> None:
        """The month's rates: some are new."""
        given = []
        for source in sorted({*CURRENCIES, *PAYEES.values()}):
            for target in sorted(set(PAYEES.values()) - {source}):
                if (source, target) not in self.rates or self.rng.random() < 0.3:
                    # About what they are worth, so that nothing grows over two years.
                    about = WORTH[source] * TRILLION // WORTH[target]
                    trillionths = about * self.rng.randrange(800_000, 1_200_000) // 10**6
                    self.rates[source, target] = trillionths, TRILLION
                    given.append(FxRate(source, target, month_start(self.month), trillionths, "ECB"))
        with session(Role.SETTLEMENT) as opened:
            assert record_fx_rates(opened, given, actor="mara", reason="test") == len(given)
        self.tell(
            told.Exchange(
                at=month_start(self.month), recorded=self.tick(), period=self.period, rates=dict(self.rates)
            )
        )

    # Images and sales ------------------------------------------------------------------------------------------------

    @property
    def period(self) -> str:
        return f"{month_start(self.month):%Y-%m}"

    def images(self) -> None:
        names = [self.name("img") for _ in range(self.size)]
        with session(Role.ADMIN) as opened:
            rows = [
                Image(
                    external_id=name,
                    content_sha256=hashlib.sha256(name.encode()).digest(),
                    prompt_sha256=hashlib.sha256(name.encode()).digest(),
                    seed=1,
                    width=64,
                    height=64,
                    steps=2,
                    guidance=7,
                    scheduler="DDIMScheduler",
                    scheduler_config={},
                    model="miniature",
                    weights_sha256=SHA,
                    generated_at=month_start(self.month),
                )
                for name in names
            ]
            opened.add_all(rows)
            opened.flush()
            self.image_ids |= {row.external_id: row.id for row in rows}
        self.unattributed += names

    def attribute(self) -> None:
        """Most of what waits, with random shares; what stays is pending, some of it for ever."""
        now = [image for image in self.unattributed if self.rng.random() < 0.7]
        self.unattributed = [image for image in self.unattributed if image not in set(now)]
        results = []
        known = self.tick()
        for image in now:
            artists = tuple(self.rng.sample(ARTISTS, self.rng.choice([0, 1, 1, 1, 2, 2, 3])))
            result = self.result(image, artists)
            results.append(result)
            shares = (
                {player.player: player.share_ppb for player in result.players}
                if result.reason is None
                else None
            )
            self.tell(told.Read(at=known, image=image, artists=artists))
            self.tell(told.Attribution(at=known, image=image, shares=shares, reason=result.reason))
        with session(Role.ATTRIBUTION) as opened:
            assert len(record_results(opened, self.method, results)) == len(results)

    def result(self, image: str, artists: tuple[str, ...]) -> ImageResult:
        players = len(artists) + 1
        reason: UnattributedReason | None = UnattributedReason.NO_RECOGNISED_ARTIST
        settled, values = None, []
        if artists:
            values = [self.rng.randrange(0, 700_000_000) for _ in range(1 << players)]
            values[-1] = PPB
            if self.rng.random() < 0.05:
                values[0] = PPB - self.rng.randrange(GAP + 1)
            placebo = [self.levels[players, slot] for slot in range(1, players)]
            settled = settle_game(values, artists, placebo, minimum_gap=GAP)
            reason = settled.reason
        return ImageResult(
            image_id=self.image_ids[image],
            reason=reason,
            players=settled.players if settled else (),
            coalitions=[MeasuredCoalition(mask, value, SHA, SHA) for mask, value in enumerate(values)],
            fidelity=None,
            reading={"players": list(artists)},
            environment={},
        )

    def sell(self, count: int | None = None) -> None:
        records = []
        for _ in range(self.size * 3 // 2 if count is None else count):
            card = self.rng.choice(
                ["standard"] * 4 + ["fee", "pool", "pool", "pool-equal", "spread", "table"]
            )
            currency = "EUR" if card in ("fee", "table") else self.rng.choice(CURRENCIES)
            # Now and then 10^9 JPY.
            price = 10**15 if currency == "JPY" and self.rng.random() < 0.05 else self.amount()
            tax = self.rng.choice([0, price // 6, self.rng.randrange(price + 1)])
            fee = self.rng.choice([0, price // 20, self.rng.randrange(price + 1)])
            at = self.earlier()
            sale = told.Sale(
                at=at,
                recorded=self.tick(),
                sale=self.name("sale"),
                image=self.rng.choice(list(self.image_ids)[-3 * self.size :]),
                card=card,
                currency=currency,
                price=price,
                tax=tax,
                deductions=fee,
                territory=self.rng.choice(TERRITORIES),
            )
            self.sales[sale.sale] = sale
            self.tell(sale)
            records.append(
                parse_sale(
                    {
                        "external_id": sale.sale,
                        "image": sale.image,
                        "sold_at": at,
                        "territory": sale.territory,
                        "currency": sale.currency,
                        "price": to_decimal(price),
                        "tax": to_decimal(tax),
                        self.rng.choice(["payment_fee", "marketplace_fee", "other_deduction"]): to_decimal(
                            fee
                        ),
                        "rate_card": None if card == "standard" else card,
                    }
                )
            )
        with session(Role.SETTLEMENT) as opened:
            outcomes = record_sales(opened, records, actor="shop")
        assert {outcome.status for outcome in outcomes} == {Status.RECORDED}
        with session(Role.SETTLEMENT) as opened:
            again = record_sales(opened, records[:2], actor="shop")
        assert {outcome.status for outcome in again} == {Status.KNOWN}

    def refund(self, count: int | None = None) -> None:
        records = []
        for name in self.rng.sample(
            list(self.sales), min(len(self.sales), self.size // 6 if count is None else count)
        ):
            sale = self.sales[name]
            left = sale.price - self.refunded[name]
            if not left:
                continue
            amount = self.rng.choice([left, self.rng.randrange(1, left + 1)])
            self.refunded[name] += amount
            refund = told.Refund(
                at=max(sale.at, self.earlier()),
                recorded=self.tick(),
                refund=self.name("refund"),
                sale=name,
                amount=amount,
            )
            self.tell(refund)
            records.append(
                parse_refund(
                    {
                        "external_id": refund.refund,
                        "sale": name,
                        "refunded_at": refund.at,
                        "amount": to_decimal(amount),
                        "kind": self.rng.choice(["refund", "chargeback"]),
                    }
                )
            )
        with session(Role.SETTLEMENT) as opened:
            outcomes = record_refunds(opened, records, actor="shop")
        assert {outcome.status for outcome in outcomes} <= {Status.RECORDED}

    # Money -----------------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        payee, amount, name = self.rng.choice(list(PAYEES)), self.amount(), self.name("advance")
        paid_at = self.earlier()
        with session(Role.SETTLEMENT) as opened:
            assert record_advance(opened, name, payee, amount, actor="mara", reason="test")
        with session(Role.APPROVER) as opened:
            approve_advance(opened, name, checker="chen")
        with session(Role.SETTLEMENT) as opened:
            assert pay_advance(opened, name, paid_at=paid_at, actor="pia")
        self.tell(
            told.Advance(
                at=paid_at,
                recorded=self.tick(),
                advance=name,
                payee=payee,
                currency=PAYEES[payee],
                amount=amount,
            )
        )

    def adjust(self) -> None:
        """An amount by hand, to or from a payee, taxed somewhere or nowhere."""
        payee, currency = self.rng.choice(list(PAYEES)), self.rng.choice(CURRENCIES)
        amount = self.amount() * self.rng.choice([1, 1, -1])
        territory, name = self.rng.choice([None, *TERRITORIES]), self.name("adjustment")
        with session(Role.SETTLEMENT) as opened:
            standing = propose_manual(
                opened, name, payee, currency, amount, actor="mara", reason="test", territory=territory
            )
        digest = standing.correction.content_sha256
        with session(Role.APPROVER) as opened:
            approve_correction(opened, name, checker="chen", content_sha256=digest)
        self.tell(
            told.Adjustment(
                at=month_start(self.month),
                recorded=self.tick(),
                adjustment=name,
                payee=payee,
                currency=currency,
                amount=amount,
                territory=territory,
            )
        )

    def cash(self) -> None:
        amount, at, name, currency = (
            self.amount(),
            self.earlier(),
            self.name("cash"),
            self.rng.choice(CURRENCIES),
        )
        entry = Entry(
            "cash",
            f"cash:{name}",
            at,
            at.date(),
            [posting.BANK.line(amount, currency), posting.RECEIVABLE.line(-amount, currency)],
            "ann",
            movable=True,
        )
        with session(Role.SETTLEMENT) as opened:
            post(opened, [entry])
        self.tell(told.Cash(at=at, recorded=self.tick(), entry=name, currency=currency, amount=amount))

    def remit(self) -> None:
        """Some of the tax that is withheld goes to a territory's authority."""
        self.read()
        owed = {
            account: -amount // minor_unit(account[1])
            for account, amount in self.oracle.ledger.accounts().items()
            if account[0].startswith("tax_withheld:") and -amount >= minor_unit(account[1])
        }
        if not owed:
            return
        (account, currency), most = self.rng.choice(list(owed.items()))
        territory = account.removeprefix("tax_withheld:")
        amount = self.rng.randrange(1, most + 1) * minor_unit(currency)
        name, at = self.name("remittance"), self.moment()
        with session(Role.SETTLEMENT) as opened:
            assert remit_tax(opened, name, territory, currency, amount, paid_at=at, actor="pia")
        self.tell(
            told.Remittance(
                at=at, recorded=self.tick(), entry=name, territory=territory, currency=currency, amount=amount
            )
        )

    def claim(self) -> None:
        """Of a payee's balance by another; seldom by somebody who is no payee, or in a currency that nobody is owed."""
        payee = self.rng.choice(list(PAYEES))
        claimant = self.rng.choice([*sorted(PAYEES.keys() - {payee}), "stranger"])
        currency = self.rng.choice([PAYEES[payee]] * 5 + ["EUR", "NOK"])
        name, amount, at = self.name("claim"), self.amount(), self.earlier()
        with session(Role.SETTLEMENT) as opened:
            moved = open_claim(
                opened,
                name,
                payee,
                claimant,
                amount,
                currency,
                reason="test",
                evidence="file",
                claimed_at=at,
                actor="mara",
            ).moved_micros
        self.claims[name] = payee, claimant, moved
        self.tell(
            told.Claim(at=at, recorded=self.tick(), claim=name, payee=payee, currency=currency, amount=amount)
        )

    def decide(self) -> None:
        """For the payee, for the claimant, or between them."""
        if not self.claims:
            return
        name = self.rng.choice(list(self.claims))
        payee, claimant, moved = self.claims.pop(name)
        awarded = 0 if claimant == "stranger" else self.rng.choice([0, moved, self.rng.randrange(moved + 1)])
        at = self.moment()
        with session(Role.SETTLEMENT) as opened:
            digest = propose_decision(opened, name, awarded, reason="test", maker="mara").content_sha256
        with session(Role.APPROVER) as opened:
            approve_decision(opened, name, digest, checker="chen")
        with session(Role.SETTLEMENT) as opened:
            assert carry_out(opened, name, decided_at=at, actor="mara") == (moved > 0)
        winner, given_back = (claimant, moved - awarded) if awarded else (payee, 0)
        self.tell(
            told.ClaimDecided(at=at, recorded=self.tick(), claim=name, winner=winner, given_back=given_back)
        )

    def hold(self) -> None:
        payee = self.rng.choice(list(PAYEES))
        with session(Role.PAYER) as opened:
            open_hold(opened, payee, "dispute", "ann")
        self.see_holds()

    def release(self) -> None:
        if not self.holds:
            return
        number = self.rng.choice(list(self.holds))
        with session(Role.PAYER) as opened:
            release_hold(opened, number, "decided", "ann")
        del self.holds[number]
        at = self.tick()
        self.tell(told.HoldClosed(at=at, hold=str(number)))

    def see_holds(self) -> None:
        """Holds that were opened, by a person or because money came back."""
        with session(Role.PAYER) as opened:
            found = {hold.id: hold.payee_id for hold in open_holds(opened)}
        for number in sorted(found.keys() - self.holds.keys()):
            self.tell(told.Hold(at=self.tick(), hold=str(number), payee=found[number]))
        self.holds = found

    def pay(self) -> None:
        """A payout run in one currency, from its draft to the bank; some are given up, some come under a hold."""
        if not self.month:
            return
        currency = self.rng.choice(["EUR", "EUR", "USD", "JPY", "KWD"])
        at = self.moment()
        batch = None
        try:
            with session(Role.PAYER) as opened:
                batch = run.create_batch(opened, currency, at.date(), "ann").batch_id
        except Refused:
            pass
        if batch is not None:
            if self.rng.random() < 0.1:
                with session(Role.PAYER) as opened:
                    run.cancel_batch(opened, batch, "ann")
                return
            with session(Role.APPROVER) as opened:
                run.approve_batch(opened, batch, "bob")
            if self.rng.random() < 0.2:
                self.hold()
        asked = {}
        for payee in sorted(PAYEES):
            if PAYEES[payee] == currency and payee != WITHOUT_BANK:
                known = self.tick()
                asked[payee] = f"{currency}-{self.ticks}"
                self.tell(told.Payout(at=at, recorded=known, payout=asked[payee], payee=payee))
        self.read()
        due = {payee: payout for payee, payout in asked.items() if payout in self.oracle.payouts}
        if batch is None:
            assert not due, f"the oracle pays {sorted(due)}, the run nobody"
            return
        try:
            with session(Role.PAYER) as opened:
                run.reserve(opened, batch, "ann", at)
        except Refused:
            assert not due, f"the oracle pays {sorted(due)}, the run nobody any more"
            with session(Role.PAYER) as opened:
                run.cancel_batch(opened, batch, "ann")
            return
        with session(Role.PAYER) as opened:
            contents = files(opened, batch)
            run.handed_over(opened, batch, digests(contents), "ann", at)
            rows = [row for row in batch_rows(opened, batch) if row.attempt_id]
        assert {row.payee_id for row in rows} == due.keys()
        self.attempts |= {str(row.attempt_id): due[row.payee_id] for row in rows}

    def bank(self) -> None:
        """What the bank says, some of it months later, some of it twice."""
        for attempt, payout in list(self.attempts.items()):
            ways: list[tuple[Literal["paid", "rejected", "returned"], ...]] = [("paid",)] * 3
            ways += [(), (), ("rejected",), ("paid", "returned")]
            way = self.rng.choice(ways)
            if not way:
                continue
            at = self.moment()
            for state in (self.rng.choice(["accepted", "unknown"]), *way):
                with session(Role.PAYER) as opened:
                    outcomes = record_outcomes(opened, [Outcome(attempt, state, at)] * 2, "ann")
                assert [result for _, result in outcomes] == ["recorded", "known"]
            for outcome in way:
                self.tell(told.PayoutEnded(at=at, recorded=self.tick(), payout=payout, outcome=outcome))
            del self.attempts[attempt]
        self.see_holds()

    # A month ---------------------------------------------------------------------------------------------------------

    ACTIONS: MappingProxyType[str, tuple[int, Callable[["TwoYears"], None]]] = MappingProxyType(
        {
            "change_card": (2, change_card),
            "change_contract": (5, change_contract),
            "change_tax": (3, change_tax),
            "change_reserve": (3, change_reserve),
            "change_platform": (1, change_platform),
            "advance": (3, advance),
            "adjust": (2, adjust),
            "cash": (2, cash),
            "remit": (1, remit),
            "claim": (2, claim),
            "decide": (2, decide),
            "hold": (1, hold),
            "release": (2, release),
            "pay": (4, pay),
            "bank": (2, bank),
        }
    )
    """What happens at random in a month, by how often, beside images, attributions, sales and refunds."""

    def live(self) -> None:
        """One month, from its first image to its close; afterwards the next one has begun."""
        self.exchange()
        self.images()
        self.attribute()
        names = [name for name, (weight, _) in self.ACTIONS.items() for _ in range(weight)]
        for name in self.rng.choices(names, k=12):
            self.ACTIONS[name][1](self)
        self.sell()
        self.refund()
        self.attribute()
        for name in self.rng.choices(names, k=3):
            self.ACTIONS[name][1](self)
        self.close()

    def close(self) -> None:
        period, start, end = self.period, month_start(self.month), month_start(self.month + 1)
        with session(Role.SETTLEMENT) as opened:
            cut_off(opened, period)
        cutoff = self.tick()
        # Recorded between the cut-off and the close: accounted in the next period, booked in this one.
        self.sell(3)
        self.refund(2)
        self.attribute()
        if self.rng.random() < 0.5:
            self.month += 1
            self.pay()
            self.bank()
            self.month -= 1
        with session(Role.SETTLEMENT) as opened:
            draft = calculate(opened, period, actor="mara")
        with session(Role.SETTLEMENT) as opened:
            submit(opened, period)
        with session(Role.APPROVER) as opened:
            approve(
                opened,
                period,
                checker="chen",
                **looked_at(draft),
            )
        with session(Role.SETTLEMENT) as opened:
            close(opened, period, actor="mara")
        closed = told.Period(at=self.tick(), period=period, start=start, end=end, cutoff=cutoff)
        self.tell(closed)
        self.read()
        self.compare(closed)
        self.month += 1

    def read(self) -> None:
        """Let the oracle read what is new."""
        self.oracle.replay(self.events[self.unread :])
        self.unread = len(self.events)

    # What both say ---------------------------------------------------------------------------------------------------

    def compare(self, period: told.Period) -> None:
        """Lines and summaries of a closed period, and balances at its end and now, are the oracle's, to the micro."""
        with session(Role.ADMIN) as opened:
            assert system_lines(opened, period.period) == oracle_lines(self.oracle, period.period)
            assert system_summaries(opened, period.period) == oracle_summaries(self.oracle, period.period)
            self.compare_balances(opened, None)
            self.compare_balances(opened, period)

    def compare_all(self) -> None:
        """Balances at the end of every period that is closed: what came too late for one is in none that is sealed."""
        with session(Role.ADMIN) as opened:
            for event in self.events:
                if isinstance(event, told.Period):
                    self.compare_balances(opened, event)

    def compare_balances(self, opened: Session, period: told.Period | None) -> None:
        """Of every account, at a period's end or now."""
        last = None if period is None else period.end - timedelta(microseconds=1)
        found = {code: amount for code, amount in balances(opened, "", last).items() if amount}
        ledger = self.oracle.ledger
        expected = {
            f"{account[0]}:{account[1]}": amount
            for account, now in ledger.accounts().items()
            if (amount := now if period is None else ledger.before(account, period.end))
        }
        assert found == expected


def audit(views: tuple[str, ...]) -> None:
    """The auditor finds nothing: in the views that must be empty, and by every check there is."""
    with session(Role.AUDITOR) as opened:
        for view in views:
            assert opened.execute(text(f"SELECT * FROM audit.{view} LIMIT 5")).all() == [], view
        report = verify(opened)
    assert report.ok, [(result.name, result.faults) for result in report.results if not result.ok]


def system_lines(opened: Session, period: str) -> Counter[tuple[str | int, ...]]:
    """Usage period, refund, sale, player, where the money lies, and amount of every line of a period."""
    rows = opened.execute(
        text(
            """
            SELECT c.usage_period, coalesce(f.external_id, ''), s.external_id, coalesce(l.player, ''),
                   CASE l.destination WHEN 'payee' THEN 'royalties_payable:' || l.payee_id
                                      WHEN 'unclaimed' THEN 'suspense_unclaimed:' || l.player
                                      ELSE 'suspense_' || l.destination END, l.amount_micros
            FROM settlement.royalty_line AS l JOIN settlement.sale AS s ON s.id = l.sale_id
            JOIN settlement.sale_slice AS c ON c.sale_id = l.sale_id
            LEFT JOIN settlement.refund AS f ON f.id = l.refund_id WHERE l.period_id = :period
            UNION ALL
            SELECT a.period_id, '', c.correction_id, '', 'royalties_payable:' || c.payee_id, c.amount_micros
            FROM settlement.correction AS c
            JOIN settlement.correction_application AS a ON a.correction_id = c.correction_id
            WHERE a.period_id = :period AND c.kind = 'manual'
            """
        ),
        {"period": period},
    )
    return Counter((*(str(name) for name in names), int(amount)) for *names, amount in rows)


def oracle_lines(books: Books, period: str) -> Counter[tuple[str | int, ...]]:
    """The same of the oracle's."""
    return Counter(
        (
            line.usage,
            line.corrects,
            line.sale,
            line.player,
            line.source if line.corrects else line.target,
            line.amount,
        )
        for line in books.lines
        if line.accounting == period
    )


Summaries = dict[tuple[str, str], tuple[int, ...]]
"""By payee and currency: opening, `ITEMS`, closing; for the payout currency its four parts too."""


def system_summaries(opened: Session, period: str) -> Summaries:
    """Every column of every statement of a period, but those that are zero."""
    items = ", ".join(ITEMS)
    rows = opened.execute(
        text(
            f"""
            SELECT payee_id, currency, opening, {items}, closing, payable, held, below_minimum, below_unit
            FROM settlement.statement WHERE period_id = :period
            UNION ALL
            SELECT payee_id, currency, opening, {items}, closing, NULL, NULL, NULL, NULL
            FROM settlement.statement_column WHERE period_id = :period
            """
        ),
        {"period": period},
    )
    return {
        (payee, currency): tuple(int(figure) for figure in figures if figure is not None)
        for payee, currency, *figures in rows
    }


def oracle_summaries(books: Books, period: str) -> Summaries:
    """The same of the oracle's."""
    return {
        (summary.payee, currency): (
            column.opening,
            *(column.moves[item] for item in ITEMS),
            column.closing,
            *(
                (summary.payable, summary.held, summary.below_minimum, summary.below_unit)
                if currency == summary.currency
                else ()
            ),
        )
        for summary in books.summaries
        if summary.period == period
        for currency, column in summary.columns.items()
    }
