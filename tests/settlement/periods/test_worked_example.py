"""The worked example, from v(S) to the trial balance: every figure, through the services, as their roles."""

import hashlib
from datetime import UTC, datetime

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from settlement.ledger import trial_balance
from settlement.statements.body import parse
from settlement.statements.models import Statement
from tests.settlement.worked_example import LINES, REVERSED, SLICES

# payee: opening, royalties, late, refunds, payments, closing, payable, below minimum, below one unit
SUMMARIES = {
    "2026-10/pay-1/EUR": (0, 184_931, 0, 0, 0, 184_931, 180_000, 0, 4_931),
    "2026-10/pay-2/EUR": (0, 130_975, 0, 0, 0, 130_975, 130_000, 0, 975),
    "2026-10/pay-dev/EUR": (0, 1_715_100, 0, 0, 0, 1_715_100, 1_710_000, 0, 5_100),
    "2026-11/pay-1/EUR": (184_931, 89_067, 0, -65_433, -180_000, 28_565, 0, 28_565, 0),
    "2026-11/pay-2/EUR": (130_975, 65_392, 0, -28_043, 0, 168_324, 160_000, 0, 8_324),
    "2026-11/pay-dev/EUR": (1_715_100, 265_541, 561_111, -206_524, 0, 2_335_228, 2_330_000, 0, 5_228),
}
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
refund:refund-1:royalties [2026-11-30]: royalties_payable:pay-dev +206524, royalties_payable:pay-1 +65433, royalties_payable:pay-2 +28043, royalty_expense -300000
run:2026-11:content:EUR [2026-11-30]: suspense_pending +561111, royalties_payable:pay-dev -826652, royalty_expense +265541
run:2026-11:unclaimed:EUR [2026-11-30]: suspense_pending +338889, suspense_unclaimed:art-3 -338889
statement:2026-11:pay-1:EUR [2026-11-30]: royalty_expense +89067, royalties_payable:pay-1 -89067
statement:2026-11:pay-2:EUR [2026-11-30]: royalty_expense +65392, royalties_payable:pay-2 -65392
"""  # noqa: E501  (as the example writes them)
# account: debits, credits, closing of October; debits, credits, closing of November
TRIAL_BALANCE = {
    "bank:EUR": (0, 0, 0, 0, -180_000, -180_000),
    "payout_clearing:EUR": (0, 0, 0, 180_000, -180_000, 0),
    "receivable:EUR": (13_090_000, 0, 13_090_000, 1_666_000, -1_190_000, 13_566_000),
    "revenue:EUR": (0, -11_000_000, -11_000_000, 1_000_000, -1_400_000, -11_400_000),
    "royalties_payable:pay-1:EUR": (0, -184_931, -184_931, 245_433, -89_067, -28_565),
    "royalties_payable:pay-2:EUR": (0, -130_975, -130_975, 28_043, -65_392, -168_324),
    "royalties_payable:pay-dev:EUR": (0, -1_715_100, -1_715_100, 206_524, -826_652, -2_335_228),
    "royalty_expense:EUR": (3_270_000, 0, 3_270_000, 420_000, -300_000, 3_390_000),
    "suspense_pending:EUR": (0, -900_000, -900_000, 900_000, 0, 0),
    "suspense_unclaimed:art-3:EUR": (0, -338_994, -338_994, 0, -338_889, -677_883),
    "tax_collected:EUR": (0, -2_090_000, -2_090_000, 190_000, -266_000, -2_166_000),
}


def test_the_worked_example(books: Session) -> None:
    slices = books.execute(
        text(
            "SELECT s.external_id, c.slice_micros FROM settlement.sale_slice c JOIN settlement.sale s ON s.id = sale_id"
        )
    )
    assert dict(slices.all()) == SLICES

    lines = {
        row.line: row
        for row in books.execute(
            text(
                "SELECT v.*, l.destination FROM settlement.statement_line v JOIN settlement.royalty_line l USING (id)"
            )
        )
    }
    pending = lines.pop("sale-4")
    assert (pending.kind, pending.period, pending.destination, pending.amount) == (
        "pending",
        "2026-10",
        "pending",
        900_000,
    )
    assert {name: row.amount for name, row in lines.items() if row.kind != "refund"} == LINES
    assert {name: (row.amount, row.corrects) for name, row in lines.items() if row.kind == "refund"} == {
        f"refund-1/{corrected}": (-amount, corrected) for corrected, amount in REVERSED.items()
    }
    assert {name for name, row in lines.items() if row.kind == "late"} == {
        "sale-4/C/pay-dev",
        "sale-4/art-3/art-3",
    }
    assert {name for name, row in lines.items() if row.period == "2026-11"} == {
        name for name in lines if name[:6] in ("sale-4", "sale-5", "sale-6", "refund")
    }
    assert all(
        row.usage_period == ("2026-11" if row.sale in ("sale-5", "sale-6") else "2026-10")
        for row in lines.values()
    )

    summaries = {
        s.statement_id: (
            *(s.opening, s.royalties, s.late, s.refunds, s.payments, s.closing),
            *(s.payable, s.below_minimum, s.below_unit),
        )
        for s in books.scalars(select(Statement))
    }
    assert summaries == SUMMARIES

    journals = books.execute(
        text(
            """
            SELECT j.key || ' [' || (j.booked_at AT TIME ZONE 'UTC')::date || ']' AS journal,
                   array_agg(left(a.code, -4) || to_char(p.amount, 'FMSG9999999990') ORDER BY 1) AS lines
            FROM ledger.journal j JOIN ledger.posting p ON p.journal_id = j.id
            JOIN ledger.account a ON a.id = p.account_id
            GROUP BY j.id
            """
        )
    )
    expected = {}
    for line in JOURNALS.strip().splitlines():
        journal, postings = line.split("]: ")
        expected[f"{journal}]"] = sorted(postings.replace(" ", "").split(","))
    assert {row.journal: sorted(row.lines) for row in journals} == expected
    assert {
        row.booked_at
        for row in books.execute(text("SELECT booked_at FROM ledger.journal WHERE kind = 'statement'"))
    } == {
        datetime(2026, 10, 31, 23, 59, 59, 999_999, UTC),
        datetime(2026, 11, 30, 23, 59, 59, 999_999, UTC),
    }

    october = trial_balance(books, datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC))
    november = trial_balance(books, datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
    first = {row.code: (row.debits, row.credits, row.closing) for row in october}
    assert {
        row.code: (*first.get(row.code, (0, 0, 0)), row.debits, row.credits, row.closing) for row in november
    } == (TRIAL_BALANCE)
    for rows in (october, november):
        assert sum(row.debits + row.credits for row in rows) == sum(row.closing for row in rows) == 0


def test_the_statements_say_it(books: Session) -> None:
    statements = {s.statement_id: s for s in books.scalars(select(Statement).order_by(Statement.number))}
    assert [s.number for s in statements.values()] == [1, 2, 3, 4, 5, 6]
    assert [s for s in statements if statements[s].journal_id is None] == [
        "2026-10/pay-dev/EUR",
        "2026-11/pay-dev/EUR",
    ]
    for statement in statements.values():
        assert hashlib.sha256(statement.body.encode()).digest() == statement.sha256
    body = parse(statements["2026-11/pay-1/EUR"].body.encode())
    assert body["header"]["rate_cards"] == ["standard-1@2026-01-01"]
    assert body["header"]["contracts"] == ["contract-1@2026-01-01"]
    assert body["entries"]["payments"] == [
        {"date": "2026-11-05", "key": "attempt:payout-1:reserved", "currency": "EUR", "amount": "-0.180000"}
    ]
    assert body["entries"]["refunds"] == [
        {"date": "2026-11-30", "key": "refund:refund-1:royalties", "currency": "EUR", "amount": "-0.065433"}
    ]
    assert body["history"] == [
        {"period": "2026-10", "amount": "0.184931"},
        {"period": "2026-11", "amount": "0.089067"},
    ]
    assert body["year_to_date"] == {
        "year": "2026",
        "earned": "0.273998",
        "refunds": "-0.065433",
        "tax": "0.000000",
        "payments": "-0.180000",
        "fx": "0.000000",
        "foreign": [],
    }
    assert body["computation"]["pools"] == [
        {
            "rate_card": "standard-1@2026-01-01",
            "currency": "EUR",
            "model": "per_image",
            "sales": 2,
            "base": "1.400000",
            "slices": "0.420000",
            "own": "0.089067",
        }
    ]
    assert body["dispute"]["until"] == "2027-12-01"
    october = parse(statements["2026-10/pay-dev/EUR"].body.encode())
    assert october["computation"]["sales"] == {"attributed": 3, "pending": 1, "unattributed": 0}
    assert october["computation"]["images_without_file"] == 3
    late = parse(statements["2026-11/pay-dev/EUR"].body.encode())
    assert [(e["kind"], e["usage_period"], e["amount"]) for e in late["earnings"]] == [
        ("late", "2026-10", "0.561111"),
        ("royalty", "2026-11", "0.265541"),
    ]
