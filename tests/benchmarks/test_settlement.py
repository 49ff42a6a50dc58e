"""The books of settlement's benchmark: as the services would have made them, and sound."""

from datetime import UTC

from sqlalchemy import text

from attribution.ingest import Status
from benchmarks.settlement_books import Size, fill
from database.engine import session
from database.roles import Role
from settlement.audit.verify import verify
from settlement.money import to_decimal
from settlement.sales import SaleRecord, record_sales

_SALES = """
SELECT s.external_id, i.external_id AS image, s.sold_at, s.territory, s.currency, s.price_micros, s.tax_micros,
       s.payment_fee_micros, s.rate_card_id
FROM settlement.sale AS s JOIN attribution.image AS i ON i.id = s.image_id
"""


def test_books_are_as_the_services_make_them(database: str) -> None:
    fill(Size(images=40, payees=8))
    with session(Role.SETTLEMENT) as opened:
        records = [
            SaleRecord.model_validate(
                {
                    "external_id": row.external_id,
                    "image": row.image,
                    "sold_at": row.sold_at.astimezone(UTC),
                    "territory": row.territory,
                    "currency": row.currency,
                    "price": to_decimal(row.price_micros),
                    "tax": to_decimal(row.tax_micros),
                    "payment_fee": to_decimal(row.payment_fee_micros),
                    "rate_card": row.rate_card_id,
                }
            )
            for row in opened.execute(text(_SALES))
        ]
        assert len(records) == 40
        # Known with the very same content, and posted: nothing is left to do.
        assert {o.status for o in record_sales(opened, records, actor="benchmark")} == {Status.KNOWN}
    with session(Role.AUDITOR) as opened:
        report = verify(opened)
    assert [result.name for result in report.results if result.faults] == []
