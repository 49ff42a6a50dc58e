"""The worked example, every number of both periods, from its facts alone."""

from datetime import UTC, datetime

import pytest

from tests.settlement.oracle.events import (
    PPB,
    Attribution,
    Contract,
    Event,
    Payee,
    Payout,
    PayoutEnded,
    Period,
    RateCard,
    Refund,
    Sale,
)
from tests.settlement.oracle.recompute import Books, recompute

OCTOBER, NOVEMBER, DECEMBER = (datetime(2026, month, 1, tzinfo=UTC) for month in (10, 11, 12))


def on(month: int, day: int) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


def _sale(name: str, image: str, at: datetime, price: int, tax: int, deductions: int = 0) -> Sale:
    return Sale(
        at=at,
        sale=name,
        image=image,
        card="standard-1",
        currency="EUR",
        price=price,
        tax=tax,
        deductions=deductions,
    )


FACTS: list[Event] = [
    RateCard(at=OCTOBER, card="standard-1", model="percentage", rate=300_000_000, developer="pay-dev"),
    Contract(at=OCTOBER, artist="art-1", splits={"pay-1": 700_000_000, "pay-2": 300_000_000}),
    Contract(at=OCTOBER, artist="art-2", splits={"pay-2": PPB}),
    *(
        Payee(at=OCTOBER, payee=payee, currency="EUR", minimum=100_000)
        for payee in ("pay-1", "pay-2", "pay-dev")
    ),
    Attribution(at=on(10, 5), image="img-1", shares={"C": 609771573, "art-1": 299492386, "art-2": 90736041}),
    Attribution(at=on(10, 6), image="img-2", shares={"C": 688414634, "art-1": 311585366}),
    Attribution(at=on(10, 10), image="img-3", shares={"C": 774004193, "art-2": 0, "art-3": 225995807}),
    Attribution(at=on(11, 12), image="img-4", shares={"C": 623456790, "art-3": 376543210}),
    _sale("sale-1", "img-1", on(10, 5), 2380000, 380000, 99999),
    _sale("sale-2", "img-2", on(10, 6), 1190000, 190000),
    _sale("sale-3", "img-3", on(10, 10), 5950000, 950000),
    _sale("sale-4", "img-4", on(10, 20), 3570000, 570000),
    Period(at=NOVEMBER, period="2026-10", start=OCTOBER, end=NOVEMBER, cutoff=NOVEMBER),
    Payout(at=on(11, 5), payout="payout-1", payee="pay-1"),
    PayoutEnded(at=on(11, 6), payout="payout-1", outcome="paid"),
    _sale("sale-5", "img-1", on(11, 8), 1190000, 190000),
    _sale("sale-6", "img-2", on(11, 9), 476000, 76000),
    Refund(at=on(11, 10), refund="refund-1", sale="sale-2", amount=1190000),
    Period(at=DECEMBER, period="2026-11", start=NOVEMBER, end=DECEMBER, cutoff=DECEMBER),
]

LINES = """
2026-10 sale-1/C/pay-dev royalty royalty_expense pay-dev 347570
2026-10 sale-1/art-1/pay-1 royalty royalty_expense pay-1 119498
2026-10 sale-1/art-1/pay-2 royalty royalty_expense pay-2 51213
2026-10 sale-1/art-2/pay-2 royalty royalty_expense pay-2 51719
2026-10 sale-2/C/pay-dev royalty royalty_expense pay-dev 206524
2026-10 sale-2/art-1/pay-1 royalty royalty_expense pay-1 65433
2026-10 sale-2/art-1/pay-2 royalty royalty_expense pay-2 28043
2026-10 sale-3/C/pay-dev royalty royalty_expense pay-dev 1161006
2026-10 sale-3/art-3/art-3 royalty royalty_expense suspense_unclaimed:art-3 338994
2026-10 sale-4 pending royalty_expense suspense_pending 900000
2026-11 sale-4/C/pay-dev late suspense_pending pay-dev 561111
2026-11 sale-4/art-3/art-3 late suspense_pending suspense_unclaimed:art-3 338889
2026-11 sale-5/C/pay-dev royalty royalty_expense pay-dev 182931
2026-11 sale-5/art-1/pay-1 royalty royalty_expense pay-1 62894
2026-11 sale-5/art-1/pay-2 royalty royalty_expense pay-2 26954
2026-11 sale-5/art-2/pay-2 royalty royalty_expense pay-2 27221
2026-11 sale-6/C/pay-dev royalty royalty_expense pay-dev 82610
2026-11 sale-6/art-1/pay-1 royalty royalty_expense pay-1 26173
2026-11 sale-6/art-1/pay-2 royalty royalty_expense pay-2 11217
2026-11 refund-1/sale-2/C/pay-dev refund pay-dev royalty_expense -206524
2026-11 refund-1/sale-2/art-1/pay-1 refund pay-1 royalty_expense -65433
2026-11 refund-1/sale-2/art-1/pay-2 refund pay-2 royalty_expense -28043
"""

# opening, royalties, late, refunds, payments, closing, payable, below minimum, below one unit
SUMMARIES = """
2026-10 pay-1 0 184931 0 0 0 184931 180000 0 4931
2026-10 pay-2 0 130975 0 0 0 130975 130000 0 975
2026-10 pay-dev 0 1715100 0 0 0 1715100 1710000 0 5100
2026-11 pay-1 184931 89067 0 -65433 -180000 28565 0 28565 0
2026-11 pay-2 130975 65392 0 -28043 0 168324 160000 0 8324
2026-11 pay-dev 1715100 265541 561111 -206524 0 2335228 2330000 0 5228
"""

JOURNALS = """
sale:sale-1 [2026-10-05]: receivable +2380000, revenue -2000000, tax_collected -380000
sale:sale-2 [2026-10-06]: receivable +1190000, revenue -1000000, tax_collected -190000
sale:sale-3 [2026-10-10]: receivable +5950000, revenue -5000000, tax_collected -950000
sale:sale-4 [2026-10-20]: receivable +3570000, revenue -3000000, tax_collected -570000
run:2026-10:content:EUR [2026-10-31]: royalty_expense +1715100, royalties_payable:pay-dev -1715100
run:2026-10:pending:EUR [2026-10-31]: royalty_expense +900000, suspense_pending -900000
run:2026-10:unclaimed:EUR [2026-10-31]: royalty_expense +338994, suspense_unclaimed:art-3 -338994
statement:2026-10:pay-1:EUR [2026-10-31]: royalty_expense +184931, royalties_payable:pay-1 -184931
statement:2026-10:pay-2:EUR [2026-10-31]: royalty_expense +130975, royalties_payable:pay-2 -130975
attempt:payout-1:reserved [2026-11-05]: royalties_payable:pay-1 +180000, payout_clearing -180000
attempt:payout-1:paid [2026-11-06]: payout_clearing +180000, bank -180000
sale:sale-5 [2026-11-08]: receivable +1190000, revenue -1000000, tax_collected -190000
sale:sale-6 [2026-11-09]: receivable +476000, revenue -400000, tax_collected -76000
refund:refund-1:sale [2026-11-10]: revenue +1000000, tax_collected +190000, receivable -1190000
refund:refund-1:royalties [2026-11-30]: royalties_payable:pay-dev +206524, royalties_payable:pay-1 +65433, \
royalties_payable:pay-2 +28043, royalty_expense -300000
run:2026-11:content:EUR [2026-11-30]: suspense_pending +561111, royalties_payable:pay-dev -826652, \
royalty_expense +265541
run:2026-11:unclaimed:EUR [2026-11-30]: suspense_pending +338889, suspense_unclaimed:art-3 -338889
statement:2026-11:pay-1:EUR [2026-11-30]: royalty_expense +89067, royalties_payable:pay-1 -89067
statement:2026-11:pay-2:EUR [2026-11-30]: royalty_expense +65392, royalties_payable:pay-2 -65392
"""

# debits and credits of October and its closing, the same of November
TRIAL_BALANCE = """
bank 0 0 0 0 -180000 -180000
payout_clearing 0 0 0 180000 -180000 0
receivable 13090000 0 13090000 1666000 -1190000 13566000
revenue 0 -11000000 -11000000 1000000 -1400000 -11400000
royalties_payable:pay-1 0 -184931 -184931 245433 -89067 -28565
royalties_payable:pay-2 0 -130975 -130975 28043 -65392 -168324
royalties_payable:pay-dev 0 -1715100 -1715100 206524 -826652 -2335228
royalty_expense 3270000 0 3270000 420000 -300000 3390000
suspense_pending 0 -900000 -900000 900000 0 0
suspense_unclaimed:art-3 0 -338994 -338994 0 -338889 -677883
tax_collected 0 -2090000 -2090000 190000 -266000 -2166000
"""


@pytest.fixture(scope="module")
def books() -> Books:
    return recompute(FACTS)


def test_every_line(books: Books) -> None:
    assert sorted(
        f"{line.accounting} {line.name} {line.kind} {line.source.removeprefix('royalties_payable:')} "
        f"{line.target.removeprefix('royalties_payable:')} {line.amount}"
        for line in books.lines
    ) == sorted(LINES.strip().splitlines())


def test_every_summary(books: Books) -> None:
    found = []
    for summary in books.summaries:
        assert set(summary.columns) == {"EUR"} and summary.held == 0
        column = summary.columns["EUR"]
        shown = ("royalties", "late", "refunds", "payments")
        assert not any(amount for item, amount in column.moves.items() if item not in shown)
        found.append(
            f"{summary.period} {summary.payee} {column.opening} "
            + " ".join(str(column.moves[item]) for item in shown)
            + f" {column.closing} {summary.payable} {summary.below_minimum} {summary.below_unit}"
        )
    assert found == SUMMARIES.strip().splitlines()


def test_every_journal(books: Books) -> None:
    def words(line: str) -> tuple[str, frozenset[str]]:
        head, _, postings = line.partition("]: ")
        return head, frozenset(postings.split(", "))

    found = [
        (
            f"{journal.key} [{journal.booked:%Y-%m-%d}",
            frozenset(f"{name} {amount:+}" for (name, _), amount in journal.postings.items()),
        )
        for journal in books.ledger.journals
    ]
    assert sorted(found, key=str) == sorted((words(line) for line in JOURNALS.strip().splitlines()), key=str)
    assert {currency for name, currency in books.ledger.accounts()} == {"EUR"}


def test_the_trial_balance(books: Books) -> None:
    found = []
    for account in sorted(books.ledger.accounts()):
        figures = []
        for start, end in ((OCTOBER, NOVEMBER), (NOVEMBER, DECEMBER)):
            moved = [
                journal.postings.get(account, 0)
                for journal in books.ledger.journals
                if start <= journal.booked < end
            ]
            figures += [sum(x for x in moved if x > 0), sum(x for x in moved if x < 0)]
            figures.append(books.ledger.before(account, end))
        found.append(f"{account[0]} " + " ".join(map(str, figures)))
    assert found == TRIAL_BALANCE.strip().splitlines()
    assert sum(books.ledger.accounts().values()) == 0


def test_replaying_in_any_order_of_telling_gives_the_same_books(books: Books) -> None:
    again = recompute(reversed(FACTS))
    assert again.ledger.accounts() == books.ledger.accounts()
    assert again.summaries == books.summaries
