"""Sentences of the specification that the worked example has no numbers for, with numbers worked out by hand."""

from datetime import UTC, datetime, timedelta

from tests.settlement.oracle.division import divide
from tests.settlement.oracle.events import (
    CONTENT,
    PPB,
    Adjustment,
    Advance,
    Attribution,
    Claim,
    ClaimDecided,
    Contract,
    Event,
    Exchange,
    Fallback,
    Payee,
    Period,
    RateCard,
    Refund,
    Reserve,
    Sale,
    TaxProfile,
)
from tests.settlement.oracle.recompute import Books, Column, recompute

MONTHS = [datetime(2026, month, 1, tzinfo=UTC) for month in range(1, 8)]
NAMES = [f"2026-{month:02}" for month in range(1, 7)]
DAY = timedelta(days=1)
START = MONTHS[0]
HALF = PPB // 2
CARD = RateCard(at=START, card="card", model="percentage", rate=HALF, developer="dev")
PAYEES = [Payee(at=START, payee="ann", currency="EUR"), Payee(at=START, payee="dev", currency="EUR")]
ANN = Contract(at=START, artist="art-a", splits={"ann": PPB})


def periods(count: int) -> list[Event]:
    return [
        Period(at=end, period=name, start=start, end=end, cutoff=end)
        for name, start, end in zip(NAMES[:count], MONTHS, MONTHS[1:], strict=False)
    ]


def sale(name: str, base: int, at: datetime = START, currency: str = "EUR", territory: str = "US") -> Sale:
    return Sale(at=at, sale=name, image=name, card="card", currency=currency, price=base, territory=territory)


def all_art_a(image: str, at: datetime = START) -> Attribution:
    return Attribution(at=at, image=image, shares={CONTENT: 0, "art-a": PPB})


def column(books: Books, period: str, payee: str = "ann", currency: str = "EUR") -> Column:
    (found,) = (s for s in books.summaries if (s.period, s.payee) == (period, payee))
    return found.columns[currency]


def test_ties_go_to_the_first_id_in_byte_order() -> None:
    assert divide(1, {"b": 1, "a": 1, "C": 1}) == {"b": 0, "a": 0, "C": 1}
    assert divide(11, {"a": 1, "b": 1, "c": 1}) == {"a": 4, "b": 4, "c": 3}


def test_a_later_refund_gives_back_the_difference_of_the_tax() -> None:
    books = recompute(
        [
            CARD,
            *PAYEES,
            ANN,
            TaxProfile(at=START, payee="ann", rates={"US": 300_000_000}),
            sale("s", 1_999),
            all_art_a("s"),
            *periods(2),
            Refund(at=MONTHS[1] + DAY, refund="r", sale="s", amount=1_000),
        ]
    )
    # 999 x 30 % is 299; what is left, 999 - 499 = 500, owes 150.
    assert column(books, "2026-01").moves["tax"] == -299
    assert column(books, "2026-02").moves["tax"] == 149
    assert column(books, "2026-02").moves["refunds"] == -499
    assert books.ledger.now(("tax_withheld:US", "EUR")) == -150


def test_reserves_are_held_before_tax_used_oldest_first_and_released_on_schedule() -> None:
    books = recompute(
        [
            CARD,
            *PAYEES,
            ANN,
            Reserve(at=START, payee="ann", rate=200_000_000, schedule=((1, HALF), (2, HALF))),
            sale("s", 2_000),
            all_art_a("s"),
            Refund(at=MONTHS[1] + DAY, refund="r", sale="s", amount=500),
            *periods(3),
        ]
    )
    # 200 held; 250 refunded: the reserve is used up, 50 from the balance, nothing is left to release.
    assert column(books, "2026-01").closing == 800
    assert column(books, "2026-02").moves["reserves"] == 200
    assert column(books, "2026-02").closing == 750
    assert books.ledger.now(("reserve:ann", "EUR")) == 0


def test_foreign_columns_close_at_zero_and_advances_are_recouped_from_what_was_converted() -> None:
    books = recompute(
        [
            CARD,
            *PAYEES,
            ANN,
            Advance(at=START, advance="adv", payee="ann", currency="EUR", amount=700),
            sale("s", 2_001, currency="USD"),
            all_art_a("s"),
            Exchange(at=START, period="2026-01", rates={("USD", "EUR"): (9, 10)}),
            *periods(1),
        ]
    )
    assert column(books, "2026-01", currency="USD").closing == 0
    assert column(books, "2026-01").moves["fx"] == 900
    assert column(books, "2026-01").moves["recoupment"] == -700
    assert column(books, "2026-01").closing == 200


def test_unclaimed_is_released_on_registration_or_follows_the_fallback_key() -> None:
    nobody = [sale("s", 2_000), all_art_a("s"), CARD, *PAYEES, *periods(4)]
    registered = recompute([*nobody, Contract(at=MONTHS[1] + DAY, artist="art-a", splits={"ann": PPB})])
    assert column(registered, "2026-02").moves["late"] == 1_000
    fallen = recompute([*nobody, Fallback(at=START, after=2, splits={"ann": HALF, "dev": HALF})])
    assert [s.period for s in fallen.summaries] == ["2026-03", "2026-03", "2026-04", "2026-04"]
    assert column(fallen, "2026-03", "dev").moves["late"] == 500


def test_a_line_made_after_a_partial_refund_is_net_of_it_and_reverses_the_rest() -> None:
    books = recompute(
        [
            CARD,
            *PAYEES,
            ANN,
            sale("s", 3_000),
            Refund(at=START + DAY, refund="r1", sale="s", amount=1_000),
            all_art_a("s", MONTHS[1]),
            Refund(at=MONTHS[2], refund="r2", sale="s", amount=500),
            Refund(at=MONTHS[3], refund="r3", sale="s", amount=1_500),
            *periods(4),
        ]
    )
    lines = [(line.accounting, line.kind, line.amount) for line in books.lines]
    assert lines == [
        ("2026-01", "pending", 1_500),
        ("2026-01", "refund", -500),
        ("2026-02", "late", 1_000),
        ("2026-03", "refund", -250),
        ("2026-04", "refund", -750),
    ]
    assert books.ledger.now(("royalty_expense", "EUR")) == 0


def test_a_pool_is_floored_and_divided_by_base() -> None:
    pool = RateCard(at=START, card="card", model="pool", rate=333_333_333, developer="dev")
    books = recompute(
        [
            pool,
            *PAYEES,
            ANN,
            *(sale(name, base) for name, base in (("a", 10), ("b", 10), ("c", 11))),
            *map(all_art_a, "abc"),
            *periods(1),
        ]
    )
    # floor(31 x 0.333...) = 10: 3.23, 3.23, 3.55
    assert [(line.sale, line.amount) for line in books.lines] == [("a", 3), ("b", 3), ("c", 4)]


def test_a_claim_moves_no_more_than_there_is_and_an_adjustment_without_a_territory_is_not_taxed() -> None:
    books = recompute(
        [
            CARD,
            *PAYEES,
            ANN,
            TaxProfile(at=START, payee="ann", rates={}, otherwise=HALF),
            sale("s", 2_000),
            all_art_a("s"),
            Adjustment(at=START + DAY, adjustment="a", payee="ann", currency="EUR", amount=300),
            Claim(at=MONTHS[1] + DAY, claim="c", payee="ann", currency="EUR", amount=5_000),
            ClaimDecided(at=MONTHS[2] + DAY, claim="c", winner="dev"),
            *periods(3),
        ]
    )
    # 1000 of royalties are taxed at a half, 300 of adjustment not at all: 800 to claim.
    assert column(books, "2026-01").closing == 800
    assert column(books, "2026-02").moves["claims"] == -800
    assert column(books, "2026-03", "dev").moves["claims"] == 800
    assert books.ledger.now(("suspense_disputed", "EUR")) == 0
