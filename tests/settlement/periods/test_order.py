"""The order at close against plain Python: what random months' lines come to after reserves, tax, exchange, advances.

The lines are taken as they are (`test_oracle` has them); everything behind them is computed again here, one number at a
time, with arithmetic of its own.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from settlement.advances import approve_advance, pay_advance, record_advance
from settlement.fx import FxRate, converted, parse_rate, record_fx_rates
from settlement.ledger import balances, post
from settlement.posting import PAYOUT_PAID, PAYOUT_RESERVED
from settlement.reserves import ReserveTerms, record_reserve_terms, scheduled
from settlement.statements.body import MOVEMENTS, parse
from settlement.tax import TaxProfile, record_tax_profiles, withheld
from tests.settlement.events import load_terms
from tests.settlement.periods.conftest import settle_in
from tests.settlement.periods.test_oracle import END, MONTHS, TERMS, Oracle, make_events

PAYOUT = {"pay-1": "EUR", "pay-2": "JPY", "pay-3": "KWD", "pay-dev": "EUR"}
CATALOGUE = TERMS.replace(
    "{id: pay-2, kind: person, currency: EUR", "{id: pay-2, kind: person, currency: JPY"
).replace("{id: pay-3, kind: estate, currency: EUR", "{id: pay-3, kind: estate, currency: KWD")
# Rates by pair, from their days on; floor(x * numerator / denominator).
RATES: dict[tuple[str, str], list[Any]] = {
    ("EUR", "JPY"): [((2026, 1, 1), "163.27"), ((2026, 9, 1), "158.999999999999")],
    ("JPY", "EUR"): [((2026, 1, 1), "0.006123456789"), ((2026, 10, 15), "0.0062")],
    ("EUR", "KWD"): [((2026, 1, 1), "0.335")],
    ("JPY", "KWD"): [((2026, 1, 1), "0.002055000001")],
}
# Percent of each territory, from a day on; the rest has the default.
TAXES: dict[str, list[Any]] = {
    "pay-1": [((2026, 1, 1), 15, {"JP": 30}), ((2026, 9, 30), 0, {"JP": 7})],
    "pay-2": [((2026, 9, 1), 20, {})],
    "pay-dev": [((2026, 1, 1), 0, {"DE": 5})],
}
RESERVES: dict[str, list[Any]] = {
    "pay-1": [((2026, 1, 1), 10, {1: 50, 2: 50})],
    "pay-2": [((2026, 1, 1), 33, {1: 100}), ((2026, 10, 1), 0, {})],
    "pay-dev": [((2026, 9, 1), 5, {2: 100})],
}
PERCENT = 10_000_000


def moment(day: tuple[int, int, int]) -> datetime:
    return datetime(*day, tzinfo=UTC)


def at(versions: list[tuple[Any, ...]], month: str) -> tuple[Any, ...] | None:
    """The version in force at the month's last instant."""
    found = [version for version in versions if moment(version[0]) < END[month]]
    return found[-1] if found else None


@dataclass
class Books:
    """What plain Python keeps of every payee."""

    balance: Counter[tuple[str, str]] = field(default_factory=Counter)
    reserves: dict[tuple[str, str], list[list[Any]]] = field(default_factory=lambda: defaultdict(list))
    """Payee and currency to [place of the month taken in, taken, left, schedule], oldest first."""
    taxed: dict[tuple[str, str, str, str], list[int]] = field(default_factory=dict)
    """Month, payee, currency, territory to [base, percent, refunded since]."""
    advances: dict[str, list[list[Any]]] = field(default_factory=lambda: defaultdict(list))
    """Payee to [id, left], oldest first."""

    def settle(
        self, month: str, lines: Sequence[Any], paid: Counter[tuple[str, str]], later: Counter[str]
    ) -> dict[tuple[str, str], Counter[str]]:
        """Columns of the month's statements by payee and currency.

        ``paid`` is what payouts moved in the month, ``later`` what they have moved since.
        """
        place = MONTHS.index(month)
        columns: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for key, balance in self.balance.items():
            if balance:
                columns[key]["opening"] = balance
        for key, amount in paid.items():
            columns[key]["payments"] += amount
        names = {"royalty": "royalties", "late": "late", "refund": "refunds"}
        for line in lines:
            columns[line.payee_id, line.currency][names[line.kind]] += line.amount_micros

        for line in sorted(
            (line for line in lines if line.kind == "refund"),
            key=lambda line: (line.refunded_at, line.refund.encode()),
        ):
            # Which line of a refund comes first makes no difference to a sum.
            due = -line.amount_micros
            for lot in self.reserves[line.payee_id, line.currency]:
                used = min(due, lot[2])
                lot[2] -= used
                due -= used
                columns[line.payee_id, line.currency]["reserves"] += used
        for key, lots in self.reserves.items():
            for lot in lots:
                schedule = lot[3]
                before = sum(part for after, part in schedule.items() if after < place - lot[0])
                upto = sum(part for after, part in schedule.items() if after <= place - lot[0])
                due = lot[1] * upto // 100 - lot[1] * before // 100
                released = min(due, lot[2])
                if released:
                    lot[2] -= released
                    columns[key]["reserves"] += released
        for (payee, currency), column in columns.items():
            terms = at(RESERVES.get(payee, []), month)
            basis = column["royalties"] + column["late"]
            if terms is not None and basis > 0:
                taken = basis * terms[1] // 100
                if taken:
                    column["reserves"] -= taken
                    self.reserves[payee, currency].append([place, taken, taken, terms[2]])

        sums: Counter[tuple[str, str, str]] = Counter()
        for line in lines:
            if line.kind != "refund" or line.corrected_in == month:
                sums[line.payee_id, line.currency, line.territory] += line.amount_micros
        for (payee, currency, territory), base in sums.items():
            terms = at(TAXES.get(payee, []), month)
            if terms is not None:
                percent = terms[2].get(territory, terms[1])
                self.taxed[month, payee, currency, territory] = [base, percent, 0]
                columns[payee, currency]["tax"] -= max(base, 0) * percent // 100
        for line in lines:
            taxed = self.taxed.get((line.corrected_in, line.payee_id, line.currency, line.territory))
            if line.kind == "refund" and line.corrected_in != month and taxed is not None:
                base, percent, since = taxed
                back = -line.amount_micros
                taxed[2] += back
                columns[line.payee_id, line.currency]["tax"] += (
                    max(base - since, 0) * percent // 100 - max(base - since - back, 0) * percent // 100
                )

        for (payee, currency), column in list(columns.items()):
            own = PAYOUT[payee]
            source = sum(column.values())
            if currency != own and source:
                rate = at(RATES[currency, own], month)
                assert rate is not None
                whole, _, decimals = rate[1].partition(".")
                column["fx"] -= source
                columns[payee, own]["fx"] += source * int(whole + decimals) // 10 ** len(decimals)
            elif currency != own:
                columns[payee, own]["fx"] += 0

        for payee, advances in self.advances.items():
            own_column = columns.get((payee, PAYOUT[payee]))
            if own_column is None:
                continue
            closing = sum(own_column.values())
            left = max(min(closing, closing + later[payee]), 0)
            for advance in advances:
                back = min(left, advance[1])
                advance[1] -= back
                left -= back
                own_column["recoupment"] -= back
        self.balance = Counter({key: sum(column.values()) for key, column in columns.items()})
        return columns


_LINES = """
SELECT l.payee_id, l.currency::text AS currency, l.kind, l.amount_micros, s.territory::text AS territory,
       r.external_id AS refund, r.refunded_at, o.period_id AS corrected_in
FROM settlement.royalty_line AS l JOIN settlement.sale AS s ON s.id = l.sale_id
LEFT JOIN settlement.refund AS r ON r.id = l.refund_id LEFT JOIN settlement.royalty_line AS o ON o.id = l.corrects
WHERE l.period_id = :month AND l.payee_id IS NOT NULL
"""


def record_terms(db: Session) -> None:
    who = {"actor": "mara", "reason": "test"}
    load_terms(db, CATALOGUE)
    rates = [
        FxRate(source, target, moment(day), parse_rate(rate), "ECB")
        for (source, target), versions in RATES.items()
        for day, rate in versions
    ]
    assert record_fx_rates(db, rates, **who) == 5 + 1
    assert record_fx_rates(db, rates, **who) == 0
    profiles = [
        TaxProfile(
            payee, moment(day), default * PERCENT, {t: rate * PERCENT for t, rate in territories.items()}
        )
        for payee, versions in TAXES.items()
        for day, default, territories in versions
    ]
    assert record_tax_profiles(db, profiles, **who) == 4
    assert record_tax_profiles(db, profiles, **who) == 0
    terms = [
        ReserveTerms(payee, moment(day), rate * PERCENT, {n: part * PERCENT for n, part in release.items()})
        for payee, versions in RESERVES.items()
        for day, rate, release in versions
    ]
    assert record_reserve_terms(db, terms, **who) == 4
    assert record_reserve_terms(db, terms, **who) == 0


def advance(db: Session, number: int, payee: str, amount: int, paid_at: datetime) -> None:
    assert record_advance(db, f"advance-{number}", payee, amount, actor="mara", reason="test")
    approve_advance(db, f"advance-{number}", checker="chen")
    assert pay_advance(db, f"advance-{number}", paid_at=paid_at, actor="pia")


def pay_out(db: Session, name: str, payee: str, amount: int, when: datetime) -> None:
    facts = (amount, PAYOUT[payee], {"attempt": name, "payee": payee})
    reserved = PAYOUT_RESERVED.entry(*facts, booked_at=when, actor="pia", approved_by="chen")
    post(db, [reserved, PAYOUT_PAID.entry(*facts, booked_at=when, actor="pia")])


def must_be_empty(db: Session) -> None:
    for view in (
        "money_faults",
        "statement_tie_out",
        "balance_chain",
        "journal_faults",
        "slice_conservation",
    ):
        assert db.execute(text(f"SELECT * FROM audit.{view}")).all() == [], view


@pytest.mark.parametrize("seed", range(4))
def test_random_months(db: Session, seed: int) -> None:
    rng = random.Random(seed)
    events, books = Oracle(), Books()
    record_terms(db)
    seen: Counter[str] = Counter()
    later: Counter[str] = Counter()
    for phase, month in enumerate(MONTHS):
        make_events(db, events, rng, phase)
        for number, payee in enumerate(rng.sample(sorted(PAYOUT), 3)):
            amount = rng.choice([1, rng.randrange(1, 10**7), 10**15])
            paid_at = END[month] - timedelta(days=rng.randrange(1, 20), seconds=number)
            advance(db, 10 * phase + number, payee, amount, paid_at)
            books.advances[payee].append([paid_at, f"advance-{10 * phase + number}", amount])
        for advances in books.advances.values():
            advances.sort(key=lambda entry: (entry[0], entry[1]))
        books_advances = {
            payee: [entry[1:] for entry in entries] for payee, entries in books.advances.items()
        }
        dated = {entry[1]: entry[0] for entries in books.advances.values() for entry in entries}
        paid: Counter[tuple[str, str]] = Counter()
        for payee, amount in later.items():
            paid[payee, PAYOUT[payee]] += amount
        later = Counter()
        # Paid after the month and before its close: what was there at its end is not all there any more.
        for payee in sorted(PAYOUT):
            balance = books.balance[payee, PAYOUT[payee]] + paid[payee, PAYOUT[payee]]
            if balance > 0 and rng.random() < 0.6 and phase < len(MONTHS) - 1:
                amount = rng.randrange(1, balance + 1)
                pay_out(db, f"out-{phase}-{payee}", payee, amount, END[month] + timedelta(hours=1))
                later[payee] -= amount
        settle_in(db, month)

        books.advances = defaultdict(list, books_advances)
        expected = books.settle(month, db.execute(text(_LINES), {"month": month}).all(), paid, later)
        books.advances = defaultdict(
            list,
            {
                payee: [[dated[name], name, left] for name, left in entries]
                for payee, entries in books.advances.items()
            },
        )
        found = {
            (row.payee_id, row.currency): row
            for row in db.execute(
                text("SELECT * FROM audit.statement_columns WHERE period_id = :month"), {"month": month}
            )
        }
        for key, column in expected.items():
            figures = {name: getattr(found[key], name) for name in ("opening", *MOVEMENTS)}
            assert figures == {name: column[name] for name in figures}, (month, key)
            seen.update({name: 1 for name, figure in figures.items() if figure})
            assert found[key].closing == (sum(column.values()) if key[1] == PAYOUT[key[0]] else 0)
        assert not any(row.closing for key, row in found.items() if key not in expected)
        assert {row.payee_id: row.currency for row in found.values() if row.payout_currency} == {
            payee: PAYOUT[payee] for payee, _ in expected
        }
        must_be_empty(db)
        owed = {code: -amount for code, amount in balances(db, "reserve:").items() if amount}
        assert owed == {
            f"reserve:{payee}:{currency}": left
            for (payee, currency), lots in books.reserves.items()
            if (left := sum(lot[2] for lot in lots))
        }
    assert seen.keys() >= {"royalties", "refunds", "reserves", "tax", "fx", "recoupment"}
    # Each body was checked when it was made; its year adds up to its columns.
    for payee, body in db.execute(
        text("SELECT payee_id, body FROM settlement.statement WHERE period_id = :month"),
        {"month": MONTHS[-1]},
    ):
        year = parse(body.encode())["year_to_date"]
        sums = db.execute(
            text("SELECT sum(tax), sum(fx) FROM settlement.statement WHERE payee_id = :payee"),
            {"payee": payee},
        ).one()
        assert (micros(year["tax"]), micros(year["fx"])) == tuple(map(int, sums))
        foreign = {
            row.currency: (int(row.tax), int(row.fx))
            for row in db.execute(
                text(
                    "SELECT currency::text, sum(tax) AS tax, sum(fx) AS fx FROM settlement.statement_column"
                    " WHERE payee_id = :payee GROUP BY 1"
                ),
                {"payee": payee},
            )
        }
        assert {
            row["currency"]: (micros(row["tax"]), micros(row["converted"])) for row in year["foreign"]
        } == foreign
    db.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))


def micros(amount: str) -> int:
    return int(amount.replace(".", ""))


@given(
    amount=st.integers(0, 10**18),
    parts=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 10**9)), min_size=1, max_size=5),
)
def test_a_schedule_releases_all_of_it(amount: int, parts: list[tuple[int, int]]) -> None:
    schedule = dict(parts)
    last = max(schedule)
    schedule[last] += 10**9 * len(schedule) - sum(schedule.values())
    whole = sum(schedule.values())
    release = {after: part * 10**9 // whole for after, part in schedule.items()}
    release[last] += 10**9 - sum(release.values())
    assert sum(scheduled(amount, release, after) for after in range(1, last + 1)) == amount
    assert all(scheduled(amount, release, after) >= 0 for after in range(last + 3))


@given(
    base=st.integers(-(10**15), 10**15),
    rate=st.integers(0, 10**9),
    refunds=st.lists(st.integers(1, 10**15), max_size=5),
)
def test_refunds_in_parts_give_back_all_the_tax(base: int, rate: int, refunds: list[int]) -> None:
    left, given_back = base, 0
    for refund in refunds:
        given_back += withheld(left, rate) - withheld(left - refund, rate)
        left -= refund
    assert withheld(base, rate) - given_back == withheld(left, rate) >= 0
    if left <= 0:
        assert given_back == withheld(base, rate)


def test_exchange_is_floored_below_zero_too() -> None:
    assert converted(1_000_001, parse_rate("0.5")) == 500_000
    assert converted(-1_000_001, parse_rate("0.5")) == -500_001
    assert converted(-1, 1) == -1
    assert converted(10**18, 999_999_999_999) == 999_999_999_999_000_000
