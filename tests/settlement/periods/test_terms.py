"""What earns and for whom: guarantees, given weights, the public domain, opting out, and the ways out of suspense."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from attribution.ingest import Status
from settlement.earnings import artist_earnings
from settlement.ledger import balances
from settlement.money import to_decimal
from settlement.sales import RefundRecord, parse_sale, record_refunds, record_sales
from tests.settlement.events import CATALOGUE, add_images, attribute, cannot_attribute, load_terms
from tests.settlement.periods.conftest import settle_in

TERMS = (
    CATALOGUE.replace(
        "  - {id: pay-dev,",
        "  - {id: pay-3, kind: estate, currency: EUR, name: Three}\n"
        "  - {id: pay-fund, kind: fund, currency: EUR, name: Fund}\n  - {id: pay-dev,",
    )
    .replace("  - {id: art-3,", "  - {id: art-4, name: Ines Faro}\n  - {id: art-3,")
    .replace(
        "rate_cards:",
        """rate_cards:
  - {id: sure, valid_from: 2026-01-01, model: per_image, rate: "1", minimum: {EUR: "0.05"}}
  - {id: domain, valid_from: 2026-01-01, model: per_image, rate: "30", public_domain_to: pay-fund}
  - {id: table, valid_from: 2026-01-01, model: per_image, rate: "30", distribution_key: proxy,
     weights: {C: 5, art-1: 3, art-3: 3}}
  - {id: table-spread, valid_from: 2026-01-01, model: period_pool, rate: "30", distribution_key: proxy,
     content_to: artists, weights: {C: 7, art-1: 2, art-2: 1}}""",
    )
)
FALLBACK = 'fallback: {after_periods: 2, key: {pay-fund: "66.6666667", pay-3: "33.3333333"}}'
THREE = "  - {id: contract-3, artist: art-3, valid_from: "


def sell(
    db: Session, name: str, month: int, image: str = "img", card: str | None = None, base: int = 10**7
) -> None:
    """A sale of this base on the 5th, recorded now; without tax."""
    record = parse_sale(
        {
            "external_id": name,
            "image": image,
            "sold_at": datetime(2026, month, 5, tzinfo=UTC),
            "territory": "DE",
            "currency": "EUR",
            "price": to_decimal(max(base, 1)),
            "other_deduction": to_decimal(max(1 - base, 0)),
            "rate_card": card,
        }
    )
    [outcome] = record_sales(db, [record], actor="shop")
    assert outcome.status is Status.RECORDED, outcome


def refund(db: Session, name: str, sale: str, month: int, amount: int) -> None:
    record = RefundRecord.model_validate(
        {
            "external_id": name,
            "sale": sale,
            "refunded_at": datetime(2026, month, 20, tzinfo=UTC),
            "amount": to_decimal(amount),
        }
    )
    [outcome] = record_refunds(db, [record], actor="shop")
    assert outcome.status is Status.RECORDED, outcome


def lines(db: Session, period: str) -> dict[str, tuple[str, int]]:
    """Line to kind and amount."""
    rows = db.execute(
        text("SELECT line, kind, amount FROM settlement.statement_line WHERE period = :period"),
        {"period": period},
    )
    return {line: (kind, amount) for line, kind, amount in rows}


def held(db: Session) -> dict[str, int]:
    """What is owed to payees and lies in suspense, by account without currency; the books agree with the lines."""
    for view in (
        "slice_conservation",
        "division_conservation",
        "suspense_tie_out",
        "statement_tie_out",
        "balance_chain",
    ):
        assert db.execute(text(f"SELECT * FROM audit.{view}")).all() == [], view
    return {
        code.removesuffix(":EUR").removeprefix("royalties_payable:"): -amount
        for code, amount in balances(db, "").items()
        if code.startswith(("royalties_payable:", "suspense_")) and amount
    }


def test_a_sale_pays_its_guarantee_at_least(db: Session) -> None:
    load_terms(db, TERMS)
    add_images(db, "img")
    for number, base in enumerate((-500, 1, 4_999_999, 5_000_100, 90_000_000)):
        sell(db, f"sale-{number}", 8, card="sure", base=base)
    settle_in(db, "2026-08")
    slices = db.execute(text("SELECT slice_micros FROM settlement.sale_slice ORDER BY sale_id")).scalars()
    assert list(slices) == [50_000, 50_000, 50_000, 50_001, 900_000]
    [refused] = record_sales(
        db,
        [
            parse_sale(
                {"external_id": "yen", "image": "img", "sold_at": datetime(2026, 9, 1, tzinfo=UTC), "territory": "JP",
                 "currency": "JPY", "price": "100", "rate_card": "sure"}
            )
        ],
        actor="shop",
    )  # fmt: skip
    assert refused.reason == "rate card sure guarantees an amount in EUR, the sale is in JPY"


def test_a_table_of_weights_pays_whatever_the_image(db: Session) -> None:
    """Content among them: nothing is pending, and nothing depends on whether the image could be attributed."""
    load_terms(db, TERMS)
    add_images(db, "img", "never")
    cannot_attribute(db, "img")
    sell(db, "sale-1", 8, image="img", card="table")
    sell(db, "sale-2", 8, image="never", card="table")
    sell(db, "sale-3", 8, image="never", card="table-spread")
    sell(db, "sale-4", 8, image="img", card="table-spread", base=1)
    settle_in(db, "2026-08")
    # 5/11, 3/11, 3/11 of 10^9 ppb, the ppb left over to the larger remainder; then of 3,000,000.
    one = {"C/pay-dev": 1_363_636, "art-1/pay-1": 572_727, "art-1/pay-2": 245_455, "art-3/art-3": 818_182}
    # 7 of 10 are content's, spread 2:1; ppb 666,666,667 and 333,333,333 of the pool but for its last micro.
    spread = {"art-1/pay-1": 1_400_000, "art-1/pay-2": 600_000, "art-2/pay-2": 1_000_000}
    assert lines(db, "2026-08") == {
        **{
            f"{sale}/{line}": ("royalty", amount)
            for sale in ("sale-1", "sale-2")
            for line, amount in one.items()
        },
        **{f"sale-3/{line}": ("royalty", amount) for line, amount in spread.items()},
    }
    shares = db.execute(
        text(
            "SELECT DISTINCT distribution_key, player, share_ppb, attribution_id FROM settlement.royalty_line"
            " WHERE sale_id IN (SELECT id FROM settlement.sale WHERE external_id IN ('sale-1', 'sale-3')) ORDER BY 3, 2"
        )
    ).all()
    assert [tuple(row) for row in shares] == [
        ("proxy", "art-1", 272_727_273, None),
        ("proxy", "art-3", 272_727_273, None),
        ("proxy", "art-2", 333_333_333, None),
        ("proxy", "C", 454_545_454, None),
        ("proxy", "art-1", 666_666_667, None),
    ]
    held(db)


def test_public_domain_goes_where_the_rate_card_says(db: Session) -> None:
    load_terms(db, TERMS.replace("rate_cards:", f"{THREE}2026-09-01, public_domain: true}}\nrate_cards:"))
    add_images(db, "img")
    attribute(db, "img", {"C": 400_000_000, "art-3": 600_000_000})
    for month in (8, 9):
        sell(db, f"dev-{month}", month)
        sell(db, f"fund-{month}", month, card="domain")
    settle_in(db, "2026-08")
    assert held(db) == {"pay-dev": 2_400_000, "suspense_unclaimed:art-3": 3_600_000}
    settle_in(db, "2026-09")
    # What was unclaimed before stays so: no split says whose it is.
    assert held(db) == {
        "pay-dev": 2 * 2_400_000 + 1_800_000,
        "pay-fund": 1_800_000,
        "suspense_unclaimed:art-3": 3_600_000,
    }
    assert lines(db, "2026-09")["dev-9/art-3/pay-dev"] == ("royalty", 1_800_000)


def test_an_artist_who_opts_out_leaves_her_share_unattributed(db: Session) -> None:
    """From the day on; pending sales of before are still hers, and the fallback key divides the rest in the end."""
    terms = TERMS.replace("rate_cards:", "  - {id: c, artist: art-2, valid_from: 2026-08-03, opted_out: true}\n"
                          "rate_cards:").replace("dispute:", f"{FALLBACK}\n  dispute:")  # fmt: skip
    load_terms(db, terms)
    add_images(db, "img", "late")
    attribute(db, "img", {"C": 500_000_000, "art-2": 500_000_000})
    sell(db, "before", 7)
    sell(db, "after", 8)
    sell(db, "late-after", 8, image="late")
    settle_in(db, "2026-07")
    assert held(db) == {"pay-dev": 1_500_000, "pay-2": 1_500_000}
    settle_in(db, "2026-08")
    assert lines(db, "2026-08") == {
        "after/C/pay-dev": ("royalty", 1_500_000),
        "after/art-2/art-2": ("royalty", 1_500_000),
        "late-after": ("pending", 3_000_000),
    }
    assert held(db)["suspense_unattributed"] == 1_500_000
    ageing = "SELECT reason, amount FROM audit.suspense_ageing WHERE destination = 'unattributed'"
    assert [tuple(row) for row in db.execute(text(ageing))] == [("opted_out", 1_500_000)]
    attribute(db, "late", {"C": 500_000_000, "art-2": 500_000_000})
    settle_in(db, "2026-09")
    assert held(db)["suspense_unattributed"] == 3_000_000
    settle_in(db, "2026-10")
    # Two whole periods after August: August's; what came in September waits on.
    assert lines(db, "2026-10") == {
        "after/art-2/pay-fund": ("late", 1_000_000),
        "after/art-2/pay-3": ("late", 500_000),
    }
    assert held(db)["suspense_unattributed"] == 1_500_000
    [earned] = [row.earned for row in artist_earnings(db) if row.player == "art-2"]
    assert earned == 1_500_000


def test_registration_releases_line_by_line_by_the_split_valid_then(db: Session) -> None:
    load_terms(db, TERMS)
    add_images(db, "img", "late")
    attribute(db, "img", {"C": 1, "art-3": 999_999_999})
    sell(db, "sale-1", 7)
    sell(db, "sale-2", 7)
    sell(db, "sale-3", 7, image="late")
    settle_in(db, "2026-07")
    assert held(db) == {"suspense_unclaimed:art-3": 6_000_000, "suspense_pending": 3_000_000}
    # A third of sale-1 is given back in August, before she registers; the rest of it after.
    refund(db, "r-1", "sale-1", 8, 3_333_333)
    attribute(db, "late", {"C": 0, "art-3": 1_000_000_000})
    load_terms(db, f'contracts:\n{THREE}2026-08-31, splits: {{pay-1: "10", pay-3: "90"}}}}\n')
    sell(db, "sale-4", 8)
    settle_in(db, "2026-08")
    # Sold before the contract's day: sale-4 is unclaimed still, and so is what leaves pending now.
    assert lines(db, "2026-08") == {
        "r-1/sale-1/art-3/art-3": ("refund", -999_999),
        "sale-1/art-3/pay-1": ("late", 200_000),
        "sale-1/art-3/pay-3": ("late", 1_800_001),
        "sale-2/art-3/pay-1": ("late", 300_000),
        "sale-2/art-3/pay-3": ("late", 2_700_000),
        "sale-3/art-3/art-3": ("late", 3_000_000),
        "sale-4/art-3/art-3": ("royalty", 3_000_000),
    }
    assert held(db) == {"pay-1": 500_000, "pay-3": 4_500_001, "suspense_unclaimed:art-3": 6_000_000}
    [summary] = db.execute(
        text("SELECT late, royalties, closing FROM settlement.statement WHERE payee_id = 'pay-3'")
    ).all()
    assert tuple(summary) == (4_500_001, 0, 4_500_001)

    # The split has changed by then: what was released stays with whom it was released to.
    load_terms(db, f'contracts:\n{THREE}2026-09-15, splits: {{pay-2: "100"}}}}\n')
    refund(db, "r-2", "sale-1", 9, 6_666_667)
    settle_in(db, "2026-09")
    assert lines(db, "2026-09") == {
        "r-2/sale-1/art-3/pay-1": ("refund", -200_000),
        "r-2/sale-1/art-3/pay-3": ("refund", -1_800_001),
        "sale-3/art-3/pay-2": ("late", 3_000_000),
        "sale-4/art-3/pay-2": ("late", 3_000_000),
    }
    assert held(db) == {"pay-1": 300_000, "pay-3": 2_700_000, "pay-2": 6_000_000}
    [her] = [row for row in artist_earnings(db) if row.player == "art-3"]
    assert (her.earned, her.unclaimed) == (9_000_000, 0)
    settle_in(db, "2026-10")
    assert lines(db, "2026-10") == {}


def test_the_fallback_key_divides_what_waited_long_enough(db: Session) -> None:
    load_terms(db, TERMS.replace("dispute:", f"{FALLBACK}\n  dispute:"))
    add_images(db, "img", "none", "open")
    attribute(db, "img", {"C": 0, "art-3": 500_000_000, "art-4": 500_000_000})
    cannot_attribute(db, "none", reason="below_threshold")
    sell(db, "sale-1", 7)
    sell(db, "sale-2", 7, image="none")
    sell(db, "sale-3", 7, image="open")
    settle_in(db, "2026-07")
    settle_in(db, "2026-08")
    waiting = {
        "suspense_unclaimed:art-3": 1_500_000,
        "suspense_unclaimed:art-4": 1_500_000,
        "suspense_unattributed": 3_000_000,
        "suspense_pending": 3_000_000,
    }
    assert held(db) == waiting
    # She registers in the last moment; a part of what nobody can be found for is refunded.
    contract = '  - {id: contract-4, artist: art-4, valid_from: 2026-09-30, splits: {pay-1: "100"}}\n'
    load_terms(db, f"contracts:\n{contract}")
    refund(db, "r-1", "sale-2", 9, 1_000_000)
    settle_in(db, "2026-09")
    assert lines(db, "2026-09") == {
        "r-1/sale-2": ("refund", -300_000),
        "sale-1/art-3/pay-3": ("late", 500_000),
        "sale-1/art-3/pay-fund": ("late", 1_000_000),
        "sale-1/art-4/pay-1": ("late", 1_500_000),
        "sale-2/unattributed/pay-3": ("late", 900_000),
        "sale-2/unattributed/pay-fund": ("late", 1_800_000),
    }
    keys = db.execute(
        text(
            "SELECT DISTINCT distribution_key, split_ppb, platform_version_id IS NULL FROM settlement.royalty_line"
            " WHERE kind = 'late' ORDER BY 2"
        )
    )
    assert [tuple(row) for row in keys] == [
        ("manual", 333_333_333, False),
        ("manual", 666_666_667, False),
        ("attribution", 1_000_000_000, True),
    ]
    assert held(db) == {
        "pay-1": 1_500_000,
        "pay-3": 1_400_000,
        "pay-fund": 2_800_000,
        "suspense_pending": 3_000_000,
    }
    # A refund takes the rest back from those who have it now; pending money waits for its attribution, however long.
    refund(db, "r-2", "sale-2", 10, 9_000_000)
    settle_in(db, "2026-10")
    assert lines(db, "2026-10") == {
        "r-2/sale-2/unattributed/pay-3": ("refund", -900_000),
        "r-2/sale-2/unattributed/pay-fund": ("refund", -1_800_000),
    }
    assert held(db)["suspense_pending"] == 3_000_000
    db.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))


def test_late_lines_move_exactly_what_waits(db: Session) -> None:
    """Written past the services: too much, too little, somebody's royalties, or another sale's money."""
    load_terms(db, TERMS)
    add_images(db, "img")
    attribute(db, "img", {"C": 500_000_000, "art-3": 500_000_000})
    sell(db, "sale-1", 8)
    sell(db, "sale-2", 8)
    settle_in(db, "2026-08")
    settle_in(db, "2026-09")
    of = {
        (sale, player): key
        for sale, player, key in db.execute(
            text("SELECT sale_id, player, id FROM settlement.royalty_line ORDER BY sale_id")
        )
    }
    [first, second] = sorted({sale for sale, _ in of})
    insert = (
        "INSERT INTO settlement.royalty_line (period_id, kind, sale_id, player, destination, payee_id, amount_micros,"
        " currency, distribution_key, split_ppb, corrects) VALUES ('2026-09', 'late', :sale, 'art-3', 'payee',"
        " 'pay-1', :amount, 'EUR', 'attribution', 1000000000, :corrects)"
    )
    for sale, amount, corrects in (
        (first, 1_500_001, of[first, "art-3"]),
        (first, 1_499_999, of[first, "art-3"]),
        (first, 1_500_000, of[first, "C"]),
        (second, 1_500_000, of[first, "art-3"]),
    ):
        with pytest.raises(IntegrityError, match="do not move what line"), db.begin_nested():
            db.execute(text(insert), {"sale": sale, "amount": amount, "corrects": corrects})
    db.execute(text(insert), {"sale": first, "amount": 1_500_000, "corrects": of[first, "art-3"]})
    with pytest.raises(IntegrityError, match="late_corrects"), db.begin_nested():
        db.execute(text(insert), {"sale": second, "amount": 1, "corrects": None})


def test_permuting_what_arrives_changes_nothing(db: Session) -> None:
    """The same sales recorded in another order give the same lines: pools, ties, suspense and all."""
    found: list[Counter[tuple[str, str, int]]] = []
    names = [f"sale-{number}" for number in range(9)]
    for order in (names, names[::-1], [*names[4:], *names[:4]]):
        with db.begin_nested() as savepoint:
            load_terms(db, TERMS)
            add_images(db, "img", "none")
            attribute(db, "img", {"C": 333_333_333, "art-1": 333_333_333, "art-3": 333_333_334})
            cannot_attribute(db, "none", recognised=["art-2", "art-4"])
            for name in order:
                number = int(name[-1])
                sell(
                    db,
                    name,
                    8,
                    image=("img", "none")[number % 2],
                    card=("table-spread", "table", None)[number % 3],
                    base=7 * number + 1,
                )
            settle_in(db, "2026-08")
            found.append(
                Counter((name, kind, amount) for name, (kind, amount) in lines(db, "2026-08").items())
            )
            savepoint.rollback()
    assert found[0] == found[1] == found[2]


def test_refunding_everything_leaves_nobody_anything(db: Session) -> None:
    """Royalties, pools, what is pending, unattributed, released and given to the fallback key: all exact."""
    terms = TERMS.replace("dispute:", f"{FALLBACK.replace('2, key', '1, key')}\n  dispute:")
    load_terms(db, terms)
    add_images(db, "img", "none", "open")
    attribute(db, "img", {"C": 333_333_333, "art-1": 333_333_333, "art-3": 222_222_222, "art-4": 111_111_112})
    cannot_attribute(db, "none")
    sold = {}
    for number in range(12):
        name, base = f"sale-{number:02}", 10**7 + 7 * number + 1
        sold[name] = base
        sell(
            db,
            name,
            7,
            ("img", "none", "open", "img")[number % 4],
            (None, "table-spread", "domain")[number % 3],
            base,
        )
    settle_in(db, "2026-07")
    # A part before anything is released, a part with it, the rest afterwards.
    for number, (name, base) in enumerate(sold.items()):
        if number % 2:
            refund(db, f"a-{name}", name, 8, base // 3)
    load_terms(db, f'contracts:\n{THREE}2026-08-31, splits: {{pay-1: "33.3333333", pay-3: "66.6666667"}}}}\n')
    settle_in(db, "2026-08")
    assert {kind for kind, _ in lines(db, "2026-08").values()} == {"late", "refund"}
    attribute(db, "open", {"C": 0, "art-3": 1, "art-4": 999_999_999})
    settle_in(db, "2026-09")
    for number, (name, base) in enumerate(sold.items()):
        refund(db, f"b-{name}", name, 10, base - base // 3 if number % 2 else base)
    settle_in(db, "2026-10")
    assert held(db) == {}
