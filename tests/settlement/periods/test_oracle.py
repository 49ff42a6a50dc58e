"""Random months against plain Python: the same events, settled by SQL and by `settlement.allocation`, to the micro."""

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from attribution.ingest import Status
from settlement.allocation import (
    CONTENT,
    allocate_slice,
    largest_remainder,
    per_image_slice,
    pool_slices,
    reversed_part,
    spread_content,
)
from settlement.fx import FxRate, parse_rate, record_fx_rates
from settlement.ledger import balances
from settlement.money import PPB, to_decimal
from settlement.sales import RefundRecord, parse_sale, record_refunds, record_sales
from tests.settlement.events import CATALOGUE, add_images, attribute, cannot_attribute, load_terms
from tests.settlement.periods.conftest import settle_in

MONTHS = ("2026-08", "2026-09", "2026-10")
END = {month: datetime(2026, int(month[5:]) + 1, 1, tzinfo=UTC) for month in MONTHS}
TERMS = (
    CATALOGUE.replace(
        "  - {id: pay-dev,", "  - {id: pay-3, kind: estate, currency: EUR, name: Three}\n  - {id: pay-dev,"
    )
    .replace(
        "  - {id: art-3,",
        "  - {id: art-4, name: Ines Faro}\n  - {id: art-5, name: Old Master}\n  - {id: art-6, name: Nil Nolan}\n"
        "  - {id: art-3,",
    )
    .replace(
        "dispute:",
        'fallback: {after_periods: 2, key: {pay-3: "33.3333333", pay-1: "66.6666667"}}\n  dispute:',
    )
    .replace(
        "rate_cards:",
        """  - id: contract-1
    artist: art-1
    valid_from: 2026-09-05
    splits: {pay-1: "99.9999999", pay-3: "0.0000001"}
  - {id: contract-2, artist: art-2, valid_from: 2026-10-01, ended: true}
  - id: contract-4
    artist: art-4
    valid_from: 2026-01-01
    splits: {pay-1: "33.3333333", pay-2: "33.3333333", pay-3: "33.3333334"}
  - {id: contract-3, artist: art-3, valid_from: 2026-09-20, splits: {pay-2: "12.3456789", pay-3: "87.6543211"}}
  - {id: contract-5, artist: art-5, valid_from: 2026-01-01, public_domain: true}
  - {id: contract-6, artist: art-6, valid_from: 2026-09-10, opted_out: true}
rate_cards:
  - id: table
    valid_from: 2026-01-01
    model: per_image
    rate: "11"
    minimum: {EUR: "0.000777"}
    distribution_key: proxy
    weights: {C: 7, art-1: 5, art-3: 3, art-5: 1, art-6: 1}
    public_domain_to: pay-3
  - {id: standard-1, valid_from: 2026-09-15, model: per_image, rate: "24.9"}
  - {id: fee, valid_from: 2026-01-01, model: per_image, fee: {EUR: "0.100001"}, distribution_key: equal}
  - {id: pool, valid_from: 2026-01-01, model: period_pool, rate: "20"}
  - {id: pool, valid_from: 2026-09-10, model: period_pool, rate: "21.1234567", content_to: artists}
  - {id: pool-equal, valid_from: 2026-01-01, model: period_pool, rate: "7", distribution_key: equal}
  - {id: spread, valid_from: 2026-01-01, model: per_image, rate: "33.3333333", content_to: artists}""",
    )
)


class Card(NamedTuple):
    rate: int | None
    """None: the fee."""
    pool: bool = False
    spread: bool = False
    key: str = "attribution"
    minimum: int = 0
    public_domain: str = "pay-dev"


START = datetime(2026, 1, 1, tzinfo=UTC)
CARDS: dict[str, list[tuple[datetime, Card]]] = {
    "standard-1": [(datetime(2026, 9, 15, tzinfo=UTC), Card(249_000_000)), (START, Card(300_000_000))],
    "fee": [(START, Card(None, key="equal"))],
    "pool": [
        (datetime(2026, 9, 10, tzinfo=UTC), Card(211_234_567, pool=True, spread=True)),
        (START, Card(200_000_000, pool=True)),
    ],
    "pool-equal": [(START, Card(70_000_000, pool=True, key="equal"))],
    "spread": [(START, Card(333_333_333, spread=True))],
    "table": [(START, Card(110_000_000, key="proxy", minimum=777, public_domain="pay-3"))],
}
WEIGHTS = {CONTENT: 7, "art-1": 5, "art-3": 3, "art-5": 1, "art-6": 1}
FALLBACK = {"pay-3": 333_333_333, "pay-1": 666_666_667}
FEE = 100_001
THIRDS = {"pay-1": 333_333_333, "pay-2": 333_333_333, "pay-3": 333_333_334}


def splits_at(moment: datetime) -> dict[str, dict[str, int]]:
    found = {
        CONTENT: {"pay-dev": PPB},
        "art-1": {"pay-1": 999_999_999, "pay-3": 1}
        if moment >= datetime(2026, 9, 5, tzinfo=UTC)
        else {"pay-1": 700_000_000, "pay-2": 300_000_000},
        "art-4": THIRDS,
    }
    if moment < datetime(2026, 10, 1, tzinfo=UTC):
        found["art-2"] = {"pay-2": PPB}
    if moment >= datetime(2026, 9, 20, tzinfo=UTC):
        found["art-3"] = {"pay-2": 123_456_789, "pay-3": 876_543_211}
    return found


@dataclass
class Line:
    amount: int
    destination: str
    payee: str | None
    player: str | None
    kind: str
    since: int = 0
    """Refunded of the sale's price before the line was made."""
    reversed: int = 0
    month: str = ""


@dataclass
class Sale:
    name: str
    image: str
    sold_at: datetime
    currency: str
    price: int
    base: int
    card: str
    refunded: int = 0
    slice: int | None = None
    lines: list[Line] = field(default_factory=list)


@dataclass
class Oracle:
    """The books as plain Python keeps them."""

    sales: dict[str, Sale] = field(default_factory=dict)
    # image: shares, or None where it cannot be attributed; and the artists recognised.
    attributions: dict[str, tuple[dict[str, int] | None, list[str]]] = field(default_factory=dict)
    refunds: list[tuple[str, str, datetime, int]] = field(default_factory=list)
    written: dict[str, Counter[str]] = field(default_factory=dict)

    def shares(self, sale: Sale) -> dict[str, int] | None:
        """Whom the sale's slice goes to; None where it cannot be divided."""
        terms = self.terms(sale)
        if terms.key == "proxy":
            return largest_remainder(PPB, WEIGHTS)
        shares, recognised = self.attributions[sale.image]
        if terms.key == "equal":
            return largest_remainder(PPB, dict.fromkeys(recognised, 1)) if recognised else None
        return spread_content(shares) if shares is not None and terms.spread else shares

    def terms(self, sale: Sale) -> Card:
        return next(terms for start, terms in CARDS[sale.card] if start <= sale.sold_at)

    def settle(self, month: str) -> None:
        written: Counter[str] = Counter()
        new = [s for s in self.sales.values() if s.slice is None and s.sold_at < END[month]]
        pools: defaultdict[tuple[str, int, str], dict[str, int]] = defaultdict(dict)
        for sale in new:
            terms = self.terms(sale)
            if terms.pool:
                assert terms.rate is not None
                pools[sale.card, terms.rate, sale.currency][sale.name] = sale.base
            elif terms.rate is None:
                sale.slice = FEE
            else:
                sale.slice = max(per_image_slice(sale.base, terms.rate), terms.minimum)
        for (_, rate, _), bases in pools.items():
            for name, amount in pool_slices(bases, rate).items():
                self.sales[name].slice = amount
        for sale in new:
            assert sale.slice is not None
            if sale.image not in self.attributions and self.terms(sale).key != "proxy":
                self.add(written, sale, Line(sale.slice, "pending", None, None, "pending"))
            elif self.shares(sale) is None:
                self.add(written, sale, Line(sale.slice, "unattributed", None, None, "unattributed"))
            else:
                self.divide(written, sale, sale.slice, "royalty", 0)

        due = sorted(r for r in self.refunds if r[2] < END[month])
        self.refunds = [r for r in self.refunds if r not in due]
        for name, of, _, amount in sorted(due, key=lambda r: (r[2], r[0].encode())):
            sale = self.sales[of]
            sale.refunded += amount
            for line in sale.lines:
                back = (
                    reversed_part(line.amount, sale.refunded - line.since, sale.price - line.since)
                    - line.reversed
                )
                line.reversed += back
                if back:
                    written[f"{name}/{self.id(sale, line)}"] -= back

        for sale in self.sales.values():
            for line in list(sale.lines):
                self.release(written, sale, line, month)
            for line in [
                line for line in sale.lines if line.kind == "pending" and sale.image in self.attributions
            ]:
                sale.lines.remove(line)
                rest = line.amount - line.reversed
                if self.shares(sale) is None:
                    self.add(written, sale, Line(rest, "unattributed", None, None, "late", sale.refunded))
                else:
                    self.divide(written, sale, rest, "late", sale.refunded)
        for sale in self.sales.values():
            for line in sale.lines:
                line.month = line.month or month
        self.written[month] = written

    def release(self, written: Counter[str], sale: Sale, line: Line, month: str) -> None:
        """What an earlier month put into suspense, to whom a contract or the fallback key says now."""
        if not line.month or line.destination not in ("unclaimed", "unattributed"):
            return
        splits = None
        if line.destination == "unclaimed" and line.player is not None:
            splits = splits_at(END[month] - timedelta(microseconds=1)).get(line.player)
        if splits is None and MONTHS.index(month) - MONTHS.index(line.month) >= 2:
            splits = FALLBACK
        rest = line.amount - line.reversed
        if splits is None or not rest:
            return
        sale.lines.remove(line)
        for payee, micros in largest_remainder(rest, splits).items():
            self.add(written, sale, Line(micros, "payee", payee, line.player, "late", sale.refunded))

    def divide(self, written: Counter[str], sale: Sale, amount: int, kind: str, since: int) -> None:
        shares = self.shares(sale)
        assert shares is not None
        splits = splits_at(sale.sold_at) | {"art-5": {self.terms(sale).public_domain: PPB}}
        for player, payee, micros in allocate_slice(amount, shares, splits):
            out = player == "art-6" and sale.sold_at >= datetime(2026, 9, 10, tzinfo=UTC)
            destination = "payee" if payee is not None else "unattributed" if out else "unclaimed"
            self.add(written, sale, Line(micros, destination, payee, player, kind, since))

    def add(self, written: Counter[str], sale: Sale, line: Line) -> None:
        if line.amount:
            sale.lines.append(line)
            written[self.id(sale, line)] += line.amount

    @staticmethod
    def id(sale: Sale, line: Line) -> str:
        if line.player is None and line.payee is not None:
            return f"{sale.name}/unattributed/{line.payee}"
        if line.player is None:
            return f"{sale.name}/unattributed" if line.kind == "late" else sale.name
        return f"{sale.name}/{line.player}/{line.payee or line.player}"

    def held(self, destination: str) -> Counter[str]:
        """Micros by currency that lie with one kind of holder."""
        sums: Counter[str] = Counter()
        for sale in self.sales.values():
            for line in sale.lines:
                if line.destination == destination:
                    sums[sale.currency] += line.amount - line.reversed
        return sums


def make_events(db: Session, oracle: Oracle, rng: random.Random, phase: int) -> None:
    """More images, sales of this month and of earlier ones, refunds and attributions, some of older things."""
    images = [f"img-{phase}-{number}" for number in range(10)]
    add_images(db, *images)
    known = {sale.image for sale in oracle.sales.values()}
    records = []
    for number in range(25):
        name = f"sale-{phase}-{number:02}{rng.choice(['', '_', 'ä', 'Z'])}"
        month = rng.choice([*MONTHS[: phase + 1], *MONTHS])
        sold_at = END[month] - timedelta(seconds=rng.randrange(1, 28 * 86_400))
        card = rng.choice(list(CARDS))
        price = rng.choice([rng.randrange(1, 100), rng.randrange(1, 10_000_000), 10**9 * 10**6])
        tax = rng.randrange(0, price + 1) if rng.random() < 0.2 else price // 6
        fee = rng.randrange(0, price) if rng.random() < 0.3 else 0
        currency = "EUR" if card in ("fee", "table") else rng.choice(["EUR", "EUR", "JPY"])
        image = rng.choice(images + sorted(known)[:5])
        oracle.sales[name] = Sale(name, image, sold_at, currency, price, max(price - tax - fee, 0), card)
        records.append(
            parse_sale(
                {
                    "external_id": name,
                    "image": image,
                    "sold_at": sold_at,
                    "territory": rng.choice(["DE", "JP"]),
                    "currency": currency,
                    "price": to_decimal(price),
                    "tax": to_decimal(tax),
                    rng.choice(["payment_fee", "marketplace_fee", "other_deduction"]): to_decimal(fee),
                    "rate_card": None if card == "standard-1" else card,
                }
            )
        )
    assert {o.status for o in record_sales(db, records, actor="shop")} == {Status.RECORDED}

    back: Counter[str] = Counter()
    for _, of, _, amount in oracle.refunds:
        back[of] += amount
    refunds = []
    for number, sale in enumerate(rng.sample(sorted(oracle.sales.values(), key=lambda s: s.name), 12)):
        left = sale.price - sale.refunded - back[sale.name]
        if not left:
            continue
        amount = rng.choice([left, rng.randrange(1, left + 1)])
        refunded_at = sale.sold_at + timedelta(seconds=rng.randrange(0, 20 * 86_400))
        oracle.refunds.append((f"refund-{phase}-{number}", sale.name, refunded_at, amount))
        back[sale.name] += amount
        refunds.append(
            RefundRecord.model_validate(
                {
                    "external_id": f"refund-{phase}-{number}",
                    "sale": sale.name,
                    "refunded_at": refunded_at,
                    "amount": to_decimal(amount),
                }
            )
        )
    assert {o.status for o in record_refunds(db, refunds, actor="shop")} <= {Status.RECORDED}

    waiting = sorted({sale.image for sale in oracle.sales.values()} - oracle.attributions.keys())
    for image in waiting:
        if rng.random() < 0.4:
            continue
        artists = rng.sample(["art-1", "art-2", "art-3", "art-4", "art-5", "art-6"], rng.randrange(0, 4))
        if artists and rng.random() < 0.8:
            weights = {name: rng.choice([0, 1, rng.randrange(1, 10**9)]) for name in artists}
            weights[artists[0]] += 1
            shares = largest_remainder(PPB, {CONTENT: rng.choice([0, rng.randrange(1, 10**9)]), **weights})
            attribute(db, image, shares)
            oracle.attributions[image] = (shares, artists)
        else:
            cannot_attribute(db, image, recognised=artists)
            oracle.attributions[image] = (None, artists)


def exchanged(db: Session) -> dict[str, int]:
    """What conversions moved on payees' accounts: every payee is paid in EUR."""
    source, target = db.execute(
        text(
            "SELECT coalesce(sum(source_micros), 0), coalesce(sum(target_micros), 0) FROM settlement.conversion"
        )
    ).one()
    return {"JPY": -int(source), "EUR": int(target)}


@pytest.mark.parametrize("seed", range(6))
def test_random_months(db: Session, seed: int) -> None:
    rng = random.Random(seed)
    oracle = Oracle()
    load_terms(db, TERMS)
    rate = FxRate("JPY", "EUR", datetime(2026, 1, 1, tzinfo=UTC), parse_rate("0.0061"), "ECB")
    record_fx_rates(db, [rate], actor="mara", reason="test")
    kinds: set[str] = set()
    for phase, month in enumerate(MONTHS):
        make_events(db, oracle, rng, phase)
        settle_in(db, month)
        oracle.settle(month)

        rows = db.execute(
            text("SELECT line, kind, amount FROM settlement.statement_line WHERE period = :month"),
            {"month": month},
        ).all()
        assert {row.line: row.amount for row in rows} == {k: v for k, v in oracle.written[month].items() if v}
        assert len(rows) == len({row.line for row in rows})
        kinds |= {row.kind for row in rows}

        # The books agree with the lines, and hold exactly what the oracle holds.
        books = balances(db, "")
        assert all(
            -sum(
                amount
                for code, amount in books.items()
                if code.startswith(account) and code.endswith(currency)
            )
            == oracle.held(destination)[currency] + (exchanged(db)[currency] if destination == "payee" else 0)
            for account, destination in (
                ("royalties_payable:", "payee"),
                ("suspense_unclaimed:", "unclaimed"),
                ("suspense_pending:", "pending"),
                ("suspense_unattributed:", "unattributed"),
            )
            for currency in ("EUR", "JPY")
        )
        assert sum(books.values()) == 0
        owed = {
            f"royalties_payable:{row.payee_id}:{row.currency}": -row.closing
            for row in db.execute(
                text(
                    "SELECT DISTINCT ON (payee_id, currency) * FROM settlement.statement"
                    " ORDER BY payee_id, currency, number DESC"
                )
            )
        }
        assert {
            code: amount for code, amount in books.items() if code.startswith("royalties_payable") and amount
        } == {code: amount for code, amount in owed.items() if amount}
        for view in ("slice_conservation", "division_conservation", "suspense_tie_out"):
            assert db.execute(text(f"SELECT * FROM audit.{view}")).all() == [], view

    # Nothing is made and nothing lost: what is not refunded of every slice lies with somebody.
    assert all(
        sum(line.amount for line in sale.lines) <= sale.slice
        for sale in oracle.sales.values()
        if sale.slice is not None
    )
    assert kinds == {"royalty", "pending", "unattributed", "late", "refund"}
    db.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
