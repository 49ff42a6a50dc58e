"""The posting matrix: the worked example to the micro, refunds in parts, and nothing that is not in it."""

import re
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from settlement import posting
from settlement.ledger import Entry, balances, post, trial_balance
from settlement.periods.journals import post_run
from settlement.sale_journals import post_refunds, post_sales
from settlement.sales import Refund
from tests.settlement.books import (
    JOURNALS,
    TRIAL_BALANCE,
    day,
    digest,
    period_bounds,
    write_books,
    write_images,
    write_sales,
    write_terms,
)
from tests.settlement.worked_example import SALES

Account = posting.Account


def test_the_worked_example_to_the_micro(db: Session) -> None:
    write_books(db)
    october = {row.code: row for row in trial_balance(db, *period_bounds("2026-10"))}
    november = {row.code: row for row in trial_balance(db, *period_bounds("2026-11"))}
    assert TRIAL_BALANCE.keys() == november.keys()
    for code, (debits, credits, closing, *rest) in TRIAL_BALANCE.items():
        if code in october:
            row = october[code]
            assert (row.opening, row.debits, row.credits, row.closing) == (0, debits, credits, closing), code
        else:
            assert (debits, credits, closing) == (0, 0, 0)
        row = november[code]
        assert (row.opening, row.debits, row.credits, row.closing) == (closing, *rest), code
    assert sum(row.debits for row in october.values()) == 16_360_000
    assert sum(row.debits for row in november.values()) == 4_836_000
    assert sum(row.closing for row in november.values()) == 0


def test_every_journal_of_the_worked_example(db: Session) -> None:
    write_books(db)
    found: dict[str, tuple[datetime, dict[str, int]]] = {}
    for key, booked_at, code, amount in db.execute(
        text(
            "SELECT j.key, j.booked_at, a.code, p.amount FROM ledger.journal AS j"
            " JOIN ledger.posting AS p ON p.journal_id = j.id JOIN ledger.account AS a ON a.id = p.account_id"
        )
    ):
        found.setdefault(key, (booked_at, {}))[1][code] = amount
    expected = {}
    for written in JOURNALS.strip().splitlines():
        key, date, lines = re.fullmatch(r"(\S+?)(?: \[(\S+)\])?: (.+)", written).groups()  # type: ignore[union-attr]
        booked_at = (
            datetime.combine(datetime.fromisoformat(date), time(12), UTC)
            if date
            else period_bounds("2026-10" if "2026-10" in key else "2026-11")[1] - timedelta(microseconds=1)
        )
        amounts = (line.split(" ") for line in lines.split(", "))
        expected[key] = booked_at, {f"{code}:EUR": int(amount) for code, amount in amounts}
    assert found == expected


def test_posting_a_run_again_changes_nothing(db: Session) -> None:
    write_books(db)
    before = db.scalar(text("SELECT count(*) FROM ledger.posting"))
    again = post_run(db, "2026-11", actor="carl")
    assert (again.posted, again.replayed) == (0, 5)
    assert db.scalar(text("SELECT count(*) FROM ledger.posting")) == before


def test_a_sale_of_a_sealed_period_is_booked_in_the_open_one(db: Session) -> None:
    write_books(db)
    sale = db.execute(
        text(
            "INSERT INTO settlement.sale (external_id, content_sha256, image_id, sold_at, territory, currency,"
            " price_micros, tax_micros, actor) SELECT 'late', content_sha256, image_id, sold_at, territory, currency,"
            " 100, 0, actor FROM settlement.sale WHERE external_id = 'sale-1' RETURNING id"
        )
    ).scalar_one()
    assert post_sales(db, [sale]).posted == 1
    assert post_sales(db, [sale]).replayed == 1
    row = db.execute(
        text("SELECT booked_at, value_date, lines FROM ledger.journal WHERE key = 'sale:late'")
    ).one()
    assert row == (period_bounds("2026-11")[1], day(10, 5).date(), 2)  # without tax, no line for it


@given(parts=st.lists(st.integers(1, 600_000), min_size=1, max_size=4), tax=st.integers(0, 2_380_000))
def test_parts_of_a_refund_give_back_tax_to_the_micro(parts: list[int], tax: int) -> None:
    """The rule, in Python: cumulative floors never give back more tax than there is, and all of it in the end."""
    price = 2_380_000
    parts = [*parts[:3], price - sum(parts[:3])]
    given, total = 0, 0
    for part in parts:
        total += part
        given += tax * total // price - tax * (total - part) // price
    assert given == tax


def test_refunds_in_parts(db: Session) -> None:
    write_terms(db)
    write_images(db)
    write_sales(db, ["sale-1"])
    sale, price = db.execute(text("SELECT id, price_micros FROM settlement.sale")).one()
    parts = [1, 777_777, 1_000_001, price - 1_777_779]
    ids = []
    for number, part in enumerate(parts):
        refund = Refund(
            external_id=f"r{number}",
            content_sha256=digest(str(number)),
            sale_id=sale,
            kind="refund",
            refunded_at=day(11, 10),
            amount_micros=part,
            actor="import",
        )
        db.add(refund)
        db.flush()
        ids.append(refund.id)
    assert post_refunds(db, ids).posted == 4
    assert post_refunds(db, ids[::-1]).replayed == 4
    assert set(balances(db, "").values()) == {0}
    tax = SALES["sale-1"][2]
    given = [
        amount
        for (amount,) in db.execute(
            text(
                "SELECT coalesce(sum(p.amount) FILTER (WHERE a.code = 'tax_collected:EUR'), 0) FROM ledger.journal AS j"
                " JOIN ledger.posting AS p ON p.journal_id = j.id JOIN ledger.account AS a ON a.id = p.account_id"
                " WHERE j.kind = 'refund_sale' GROUP BY j.key ORDER BY j.key"
            )
        )
    ]
    totals = [sum(parts[: n + 1]) for n in range(4)]
    floors = [0, *(tax * total // price for total in totals)]
    assert given == [after - before for before, after in pairwise(floors)]


def test_a_payout_that_fails_gives_the_balance_back(db: Session) -> None:
    def book(outcome: str, attempt: str) -> None:
        facts = (50_000, "EUR", {"attempt": attempt, "payee": "pay-1"})
        post(db, [posting.PAYOUT_RESERVED.entry(*facts, booked_at=day(11, 5), actor="ann")])
        assert balances(db, "payout_clearing:")["payout_clearing:EUR"] == -50_000
        steps = ["paid", "returned"] if outcome == "returned" else [outcome]
        for step in steps:
            rule = posting.PAYOUT_OUTCOMES[step]
            post(db, [rule.entry(*facts, booked_at=day(11, 6), actor="bank")])

    for outcome in ("rejected", "returned"):
        book(outcome, f"attempt-{outcome}")
        assert set(balances(db, "").values()) == {0}
    book("paid", "attempt-paid")
    assert balances(db, "") == {
        "bank:EUR": -50_000,
        "payout_clearing:EUR": 0,
        "royalties_payable:pay-1:EUR": 50_000,
    }


def test_owners_may_have_colons() -> None:
    code = posting.PAYABLE.code("EUR", "label:42")
    assert code == "royalties_payable:label:42:EUR"
    assert posting.PAYABLE.owner_of(code) == "label:42"


def test_what_is_not_in_the_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match="has no credit of bank:<currency> for sale"):
        posting.SALE.check(posting.BANK, -1)
    with pytest.raises(ValueError, match="has no debit of revenue:<currency> for sale"):
        posting.SALE.check(posting.REVENUE, 1)
    with pytest.raises(ValueError, match="do not fit"):
        posting.PAYABLE.code("EUR")
    posting.STATEMENT.check(posting.PAYABLE, 1)  # an adjustment below zero


def test_an_entry_is_made_of_what_its_rule_names() -> None:
    def entry(rule: posting.Rule, amount: int, **names: str) -> Entry:
        return rule.entry(amount, "EUR", names, booked_at=day(11, 5), actor="ann")

    with pytest.raises(ValueError, match="has no credit of advances:<payee>:<currency> for advance"):
        entry(posting.ADVANCE_PAID, -1, advance="adv-1", payee="pay-1")
    with pytest.raises(ValueError, match="advance needs the name of its payee"):
        entry(posting.ADVANCE_PAID, 1, advance="adv-1")
    with pytest.raises(ValueError, match="advance needs the name of its advance"):
        entry(posting.ADVANCE_PAID, 1, payee="pay-1")
    # Which of these rules' accounts a line is on, only the SQL of sales and of runs knows.
    for rule, name in ((posting.SALE, {"sale": "s"}), (posting.RESERVE_MOVED, {"payee": "pay-1"})):
        with pytest.raises(ValueError, match="is not made of one amount"):
            entry(rule, 1, **name)
    returned = entry(posting.PAYOUT_RETURNED, 7, attempt="a", payee="pay-1")
    assert [(line.account_code, line.amount) for line in returned.lines] == [
        ("bank:EUR", 7), ("payout_clearing:EUR", -7),
        ("payout_clearing:EUR", 7), ("royalties_payable:pay-1:EUR", -7),
    ]  # fmt: skip
    corrected = entry(posting.PAYOUT_CORRECTED, 7, attempt="a", payee="pay-1")
    assert (corrected.key, corrected.reverses) == ("attempt:a:corrected", "attempt:a:rejected")
    charge = entry(posting.BANK_CHARGE, -7, booking="b")
    assert [(line.account_code, line.amount) for line in charge.lines] == [
        ("bank_charges:EUR", -7),
        ("bank:EUR", 7),
    ]


def test_every_line_a_run_can_have_is_in_the_matrix(db: Session) -> None:
    """Each kind of line, posted alone, gives a journal whose accounts its rule names."""
    accounts = {account.name: account for rule in posting.MATRIX for account in (*rule.debit, *rule.credit)}
    write_terms(db)
    write_images(db)
    write_sales(db, ["sale-1"])
    sale = db.execute(text("SELECT id FROM settlement.sale")).scalar_one()
    refund = Refund(
        external_id="r", content_sha256=digest("r"), sale_id=sale, kind="refund", refunded_at=day(10, 9),
        amount_micros=5, actor="import",
    )  # fmt: skip
    db.add(refund)
    db.flush()
    cases = [
        (kind, source, destination, player)
        for kind in ("royalty", "late", "pending", "unattributed", "refund")
        for source in (("pending", "unclaimed", "unattributed") if kind == "late" else ("payee",))
        for destination in ("payee", "unclaimed", "pending", "unattributed")
        for player in (
            ("art-3",)
            if "unclaimed" in (source, destination)
            else ("C", "art-1", None)
            if destination == "payee"
            else ("art-1", None)
        )
        if (kind == "royalty") <= (destination != "pending")
        and (kind == "pending") <= (destination == "pending")
        and (kind == "unattributed") <= (destination == "unattributed")
        # What an artist's contract or the fallback key releases goes to payees.
        and (kind == "late") <= (destination == "payee" or (source == "pending" and destination != "pending"))
        and (source == "unattributed") <= (player != "C")
    ]
    assert len(cases) == 27
    for kind, source, destination, player in cases:
        with db.begin_nested() as savepoint:
            first = db.execute(
                text(
                    "INSERT INTO settlement.royalty_line (period_id, kind, sale_id, player, destination, payee_id,"
                    " amount_micros, currency, distribution_key) VALUES ('2026-11', 'royalty', :sale, :player,"
                    " :destination, :payee, 7, 'EUR', 'attribution') RETURNING id"
                ),
                {
                    "sale": sale,
                    "player": player if source != "pending" else None,
                    "destination": source,
                    "payee": "pay-1" if source == "payee" else None,
                },
            ).scalar_one()
            db.execute(
                text(
                    "INSERT INTO settlement.royalty_line (period_id, kind, sale_id, player, destination, payee_id,"
                    " amount_micros, currency, distribution_key, refund_id, corrects) VALUES ('2026-10', :kind, :sale,"
                    " :player, :destination, :payee, :amount, 'EUR', 'attribution', :refund, :corrects)"
                ),
                {
                    "kind": kind,
                    "sale": sale,
                    "player": player,
                    "destination": destination,
                    "payee": "pay-2" if destination == "payee" else None,
                    "amount": -7 if kind == "refund" else 7,
                    "refund": refund.id if kind == "refund" else None,
                    "corrects": first if kind in ("refund", "late") else None,
                },
            )
            assert post_run(db, "2026-10", actor="ann").posted == 1
            rows = db.execute(
                text(
                    "SELECT j.kind, a.code, a.class, p.amount FROM ledger.journal AS j"
                    " JOIN ledger.posting AS p ON p.journal_id = j.id JOIN ledger.account AS a ON a.id = p.account_id"
                    " WHERE j.kind <> 'sale'"
                )
            ).all()
            assert len(rows) == 2
            for journal_kind, code, account_class, amount in rows:
                account = accounts[code.split(":")[0]]
                assert account.account_class == account_class
                assert any(
                    rule.either_sign or account in (rule.debit if amount > 0 else rule.credit)
                    for rule in posting.MATRIX
                    if rule.kind == journal_kind and account in (*rule.debit, *rule.credit)
                ), (journal_kind, code, amount)
            savepoint.rollback()


def test_run_journals_are_dated_by_the_periods_zone(db: Session) -> None:
    write_terms(db)
    write_images(db)
    write_sales(db, ["sale-1"])
    db.execute(
        text(
            "INSERT INTO settlement.period (period_id, starts_at, ends_at, zone) VALUES"
            " ('2026-12', '2026-12-01 08:00+00', '2027-01-01 08:00+00', 'America/Los_Angeles')"
        )
    )
    db.execute(
        text(
            "INSERT INTO settlement.royalty_line (period_id, kind, sale_id, destination, amount_micros, currency,"
            " distribution_key)"
            " SELECT '2026-12', 'pending', id, 'pending', 7, 'EUR', 'attribution' FROM settlement.sale"
        )
    )
    post_run(db, "2026-12", actor="ann")
    row = db.execute(text("SELECT booked_at, value_date FROM ledger.journal WHERE kind = 'pending'")).one()
    assert row[0] == datetime(2027, 1, 1, 8, tzinfo=UTC) - timedelta(microseconds=1)
    assert str(row[1]) == "2026-12-31"


def test_the_page_is_current() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "posting-matrix.md"
    assert page.read_text(encoding="utf-8") == posting.page(), (
        "run: python -m settlement.posting > docs/posting-matrix.md"
    )


def test_a_run_without_lines_posts_nothing(db: Session) -> None:
    write_terms(db)
    assert post_run(db, "2026-10", actor="ann").posted == 0
    assert trial_balance(db, *period_bounds("2026-10")) == []
