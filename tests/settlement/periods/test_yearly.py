"""The transparency report says what the year's statements say, to the micro, and nothing else."""

import io
from collections import Counter

import pytest
from pypdf import PdfReader
from sqlalchemy.orm import Session

from database.errors import NotFound
from settlement.money import from_decimal
from settlement.statements.body import MOVEMENTS, parse
from settlement.statements.files import statement_lines, yearly_files
from settlement.statements.models import issued_statements
from settlement.statements.yearly import yearly_report


def test_it_ties_to_the_statements(books: Session) -> None:
    for payee in ("pay-1", "pay-2", "pay-dev"):
        issued = issued_statements(books, payee_id=payee)
        report = parse(yearly_report(books, payee, 2026))
        assert [row["sha256"] for row in report["statements"]] == [s.sha256.hex() for s in issued]
        (summary,) = report["summary"]
        assert from_decimal(summary["opening"]) == issued[0].opening
        assert from_decimal(summary["closing"]) == issued[-1].closing
        for name in MOVEMENTS:
            assert from_decimal(summary[name]) == sum(getattr(s, name) for s in issued), name

        lines = [line for s in issued for line in statement_lines(books, s)]
        earned: Counter[tuple[str, str, str, str]] = Counter()
        for line in lines:
            if line.kind in ("royalty", "late"):
                earned[line.model, line.territory, line.usage_period, line.kind] += line.amount
        assert {
            (row["model"], row["territory"], row["usage_period"], row["kind"]): from_decimal(row["amount"])
            for row in report["earnings"]
        } == earned
        assert report["images"] == len({line.image for line in lines if line.kind in ("royalty", "late")})

        pools = [pool for s in issued for pool in parse(s.body.encode())["computation"]["pools"]]
        for name, kept in (("own", 0), ("base", 0), ("kept", 1)):
            total = sum(from_decimal(row[name]) for row in report["rate_cards"])
            parts = [p["base"] for p in pools] if kept else [p[name] for p in pools]
            expected = sum(map(from_decimal, parts)) - kept * sum(from_decimal(p["slices"]) for p in pools)
            assert total == expected and total > 0, name


def test_the_files(books: Session) -> None:
    files = yearly_files(books, "pay-1", 2026)
    assert files == yearly_files(books, "pay-1", 2026)
    assert files["json"] == yearly_report(books, "pay-1", 2026)
    pdf = PdfReader(io.BytesIO(files["pdf"]))
    assert pdf.attachments["transparency.json"] == [files["json"]]
    assert pdf.xmp_metadata is not None and b"<pdfuaid:part>1" in pdf.xmp_metadata.stream.get_data()
    text = " ".join(page.extract_text() for page in pdf.pages)
    assert "Transparency report 2026" in text and "Mara Vell" in text and "2026-11/pay-1/EUR" in text
    for payee, year, message in (
        ("pay-1", 2025, "no statement was issued to pay-1 for 2025"),
        ("nobody", 2026, "there is no payee nobody"),
    ):
        with pytest.raises(NotFound, match=message):
            yearly_report(books, payee, year)
