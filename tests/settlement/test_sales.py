"""Sales and refunds: recorded once, refused with a reason, posted at once."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from attribution.ingest import Outcome, Status
from database.engine import session as open_session
from database.errors import Invalid, NotFound
from database.roles import Role
from settlement.ledger import account_statement, balances, seal
from settlement.sales import (
    Refund,
    RefundRecord,
    Sale,
    SaleRecord,
    parse_sale,
    read_refunds,
    read_sales,
    record_refunds,
    record_sales,
)
from tests.settlement.events import CATALOGUE, add_images, load_terms

SOLD = datetime(2026, 10, 5, 12, tzinfo=UTC)


def sale(name: str = "sale-1", **changes: Any) -> SaleRecord:
    given = {
        "external_id": name,
        "image": "img-1",
        "sold_at": SOLD,
        "territory": "DE",
        "currency": "EUR",
        "price": "2.38",
        "tax": "0.38",
    }
    return SaleRecord(**{**given, **changes})


def refund(name: str = "refund-1", **changes: Any) -> RefundRecord:
    given = {"external_id": name, "sale": "sale-1", "refunded_at": SOLD + timedelta(days=1), "amount": "1.00"}
    return RefundRecord(**{**given, **changes})


@pytest.fixture
def terms(db: Session) -> Session:
    load_terms(db)
    add_images(db, "img-1", "img-2")
    return db


def reasons(outcomes: list[Outcome]) -> list[str | None]:
    return [outcome.reason for outcome in outcomes if outcome.status is Status.REFUSED]


def test_a_sale_is_recorded_once_and_posted(terms: Session) -> None:
    first = record_sales(terms, [sale(), sale("sale-2"), sale()], actor="shop")
    assert [o.status for o in first] == [Status.RECORDED, Status.RECORDED, Status.KNOWN]
    again = record_sales(terms, [sale(), sale("sale-2", price="9.99")], actor="shop")
    assert [o.status for o in again] == [Status.KNOWN, Status.REFUSED]
    assert reasons(again) == [
        "sale sale-2 is recorded with other content; give another sale another external_id"
    ]
    assert balances(terms, "") == {
        "receivable:EUR": 4_760_000,
        "revenue:EUR": -4_000_000,
        "tax_collected:EUR": -760_000,
    }
    assert terms.scalar(select(func.count()).select_from(Sale)) == 2


def test_the_same_sale_in_another_spelling_is_known(terms: Session) -> None:
    record_sales(terms, [sale()], actor="shop")
    spelt = sale(price="2.380000", sold_at="2026-10-05T14:00:00+02:00", payment_fee=0)
    assert record_sales(terms, [spelt], actor="someone else")[0].status is Status.KNOWN


def test_refused_sales_do_not_keep_the_others_out(terms: Session) -> None:
    outcomes = record_sales(
        terms,
        [
            sale("a", image="img-9"),
            sale("b"),
            sale("c", rate_card="gold"),
            sale("d", sold_at=datetime(2025, 1, 1, tzinfo=UTC)),
            sale("e", rate_card="standard-1", sold_at=datetime(2025, 1, 1, tzinfo=UTC)),
        ],
        actor="shop",
    )
    assert [o.status for o in outcomes if o.status is not Status.REFUSED] == [Status.RECORDED]
    assert reasons(outcomes) == [
        "image img-9 is not logged; import the image first",
        "there is no rate card gold; add it to the catalogue and load it",
        "no platform terms are in force on 2025-01-01; load a catalogue with an earlier valid_from",
        "no platform terms are in force on 2025-01-01; load a catalogue with an earlier valid_from",
    ]
    assert terms.scalars(select(Sale.external_id)).all() == ["b"]


def test_a_fee_in_another_currency_is_refused(db: Session) -> None:
    load_terms(
        db, CATALOGUE + '  - {id: fee, valid_from: 2026-01-01, model: per_image, fee: {USD: "0.10"}}\n'
    )
    add_images(db, "img-1")
    assert reasons(record_sales(db, [sale(rate_card="fee")], actor="shop")) == [
        "rate card fee pays a fee in USD, the sale is in EUR"
    ]


def test_refunds_are_recorded_once_within_the_price_and_posted(terms: Session) -> None:
    record_sales(terms, [sale()], actor="shop")
    outcomes = record_refunds(
        terms,
        [
            refund(),
            refund("refund-2", sale="sale-9"),
            refund("refund-3", refunded_at=SOLD - timedelta(seconds=1)),
            refund("refund-4", amount="1.39"),
            refund("refund-5", amount="1.38", kind="chargeback"),
            refund(),
        ],
        actor="shop",
    )
    assert [o.status.value for o in outcomes] == [
        "recorded",
        "refused",
        "refused",
        "refused",
        "recorded",
        "known",
    ]
    assert reasons(outcomes) == [
        "sale sale-9 is not recorded; import the sale first",
        "the refund is earlier than its sale (2026-10-05T12:00:00+00:00)",
        "refunds of sale sale-1 would be 2.390000, more than its price of 2.380000 EUR",
    ]
    # A full refund gives back all of the tax, whatever its parts were.
    assert set(balances(terms, "").values()) == {0}
    assert terms.scalar(select(func.count()).select_from(Refund)) == 2
    tax = account_statement(terms, "tax_collected:EUR").lines
    assert [line.amount for line in tax] == [-380_000, 159_663, 220_337]


def test_an_event_of_a_sealed_period_is_booked_in_the_open_one(terms: Session) -> None:
    opened = datetime(2026, 11, 1, tzinfo=UTC)
    seal(terms, "2026-10", opened, actor="mara")
    record_sales(terms, [sale()], actor="shop")
    assert [line.booked_at for line in account_statement(terms, "receivable:EUR").lines] == [opened]


def test_as_the_role_of_the_process(database: str) -> None:
    with open_session(Role.SETTLEMENT) as session:
        load_terms(session)
    with open_session(Role.ADMIN) as session:
        add_images(session, "img-1")
    with open_session(Role.SETTLEMENT) as session:
        assert record_sales(session, [sale()], actor="shop")[0].status is Status.RECORDED
        assert record_refunds(session, [refund()], actor="shop")[0].status is Status.RECORDED
    with open_session(Role.SETTLEMENT) as session:
        assert session.scalar(text("SELECT count(*) FROM ledger.journal")) == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"price": 2.38}, "write the amount as text"),
        ({"price": "2,38"}, "is not an amount"),
        ({"price": "0"}, "price: must be above zero"),
        ({"price": "-1"}, "is below zero"),
        ({"tax": "2.39"}, "tax: is more than the price"),
        ({"price": "9" * 14}, "is not an amount"),
        ({"territory": "Germany"}, "pattern"),
        ({"sold_at": datetime(2026, 10, 5)}, "timezone"),  # noqa: DTZ001
        ({"external_id": "a\nb"}, "pattern"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_what_is_no_sale(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        sale(**changes)


def test_files(tmp_path: Path) -> None:
    jsonl = tmp_path / "sales.jsonl"
    jsonl.write_text(
        '{"external_id": "sale-1", "image": "img-1", "sold_at": "2026-10-05T12:00:00Z", "territory": "DE",'
        ' "currency": "EUR", "price": "2.38", "tax": "0.38", "rate_card": null}\n'
        "\n"
        "{broken\n"
        '{"external_id": "sale-2", "price": 2.5}\n'
    )
    file = read_sales(jsonl)
    assert file.lines == [(1, sale())]
    assert [(bad.number, bad.reason.split(";")[0]) for bad in file.bad] == [
        (3, "is not JSON: Expecting property name enclosed in double quotes"),
        (4, "image is missing"),
    ]
    csv = tmp_path / "sales.csv"
    csv.write_text(
        "external_id,image,sold_at,territory,currency,price,tax,rate_card\n"
        "sale-1,img-1,2026-10-05T12:00:00Z,DE,EUR,2.38,0.38,\n"
        "sale-2,img-1\n"
    )
    assert read_sales(csv).lines == [(2, sale())]
    assert [(bad.number, bad.reason) for bad in read_sales(csv).bad] == [
        (3, "has 2 cells where the header names 8")
    ]
    refunds = tmp_path / "refunds.csv"
    refunds.write_text("external_id,sale,refunded_at,amount\nrefund-1,sale-1,2026-10-06T12:00:00Z,1\n")
    assert read_refunds(refunds).lines == [(2, refund())]
    with pytest.raises(NotFound, match="there is no file"):
        read_sales(tmp_path / "nothing.csv")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(Invalid, match="it is empty"):
        read_sales(tmp_path / "empty.csv")


def test_a_sale_that_rides_along_with_its_image() -> None:
    payload = {
        "external_id": "sale-1",
        "sold_at": "2026-10-05T12:00:00Z",
        "territory": "DE",
        "currency": "EUR",
    }
    assert parse_sale({**payload, "price": "2.38", "tax": "0.38"}, "img-1") == sale()
    with pytest.raises(Invalid, match="price is missing"):
        parse_sale(payload, "img-1")
