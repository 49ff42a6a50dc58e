"""A statement says how far the shares behind it may be off, where that was measured, and that it was not, where not."""

import io
from datetime import UTC, datetime

import pytest
from pypdf import PdfReader
from sqlalchemy.orm import Session

from settlement.money import share_to_decimal
from settlement.sales import parse_sale, record_sales
from settlement.statements.body import parse
from settlement.statements.files import statement_files
from settlement.statements.models import find_statement
from tests.settlement.events import add_images, attribute, load_terms
from tests.settlement.periods.conftest import settle_in


@pytest.mark.parametrize("errors", [(12_345_678, 4_000_000), (None, 4_000_000), (None, None)])
def test_the_largest_that_was_measured(db: Session, errors: tuple[int | None, int | None]) -> None:
    load_terms(db)
    images = ("img-1", "img-2")
    add_images(db, *images)
    for image, error in zip(images, errors, strict=True):
        attribute(db, image, {"C": 400_000_000, "art-1": 600_000_000}, error)
        sale = {
            "external_id": f"sale-{image}",
            "image": image,
            "sold_at": datetime(2026, 10, 5, tzinfo=UTC),
            "territory": "DE",
            "currency": "EUR",
            "price": "1.00",
        }
        record_sales(db, [parse_sale(sale)], actor="shop")
    settle_in(db, "2026-10")
    statement = find_statement(db, "2026-10/pay-1/EUR")
    (method,) = parse(statement.body.encode())["computation"]["methods"]
    largest = max((error for error in errors if error is not None), default=None)
    assert method["standard_error"] == (None if largest is None else share_to_decimal(largest))
    pages = PdfReader(io.BytesIO(statement_files(db, statement.statement_id, ["pdf"])["pdf"])).pages
    text = " ".join(" ".join(page.extract_text().replace("\u00a0", " ").split()) for page in pages)
    said = {12_345_678: "at most 1.2345%", 4_000_000: "at most 0.4000%", None: "not measured"}[largest]
    assert f"standard error of a share: {said}" in text
