"""The PDF: the same bytes again, the body inside, everything on it, and any name at all."""

import io
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import date
from multiprocessing import get_context
from pathlib import Path

import pytest
from pypdf import PdfReader

from settlement.balance import of_which
from settlement.money import from_decimal, to_decimal
from settlement.party import Address, Party
from settlement.statements.body import (
    Body,
    Column,
    Computation,
    Earned,
    Entries,
    Summary,
    canonical,
    identity,
    parse,
)
from settlement.statements.detail import summarise
from settlement.statements.pdf import PdfInput, Renderer, render_file, start_renderer
from tests.settlement.statement_example import BODY, long_body

PAYEE = Party(
    "Ada Łukaszewicz", Address("Köln", "DE", "Große Brinkgasse", "21a", "50672"), "ada@example.com", "DE123"
)
PLATFORM = Party("Example Images", Address("Berlin", "DE"))


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer()


def pdf(renderer: Renderer, body: Body, payee: Party | None = PAYEE) -> bytes:
    return renderer.pdf(
        canonical(body), number=1042, issued=date(2026, 12, 2), payee=payee, platform=PLATFORM
    )


def texts(file: bytes) -> list[str]:
    # Lines may break anywhere, and long ids carry invisible places to break at.
    pages = PdfReader(io.BytesIO(file)).pages
    return [" ".join(page.extract_text().replace("\u200b", "").split()) for page in pages]


def test_the_same_statement_is_the_same_file(renderer: Renderer) -> None:
    assert pdf(renderer, BODY) == pdf(renderer, BODY) == pdf(Renderer(), BODY)


def test_the_body_is_inside_and_its_hash_on_every_page(renderer: Renderer) -> None:
    file = pdf(renderer, BODY)
    assert PdfReader(io.BytesIO(file)).attachments["statement.json"] == [canonical(BODY)]
    pages = texts(file)
    assert all(identity(canonical(BODY)) in page for page in pages)
    assert all(f"Page {number} of {len(pages)}" in page for number, page in enumerate(pages, 1))


def test_the_file_is_tagged_and_archival(renderer: Renderer) -> None:
    metadata = PdfReader(io.BytesIO(pdf(renderer, BODY))).xmp_metadata
    assert metadata is not None
    xmp = metadata.stream.get_data()
    assert b"<pdfuaid:part>1" in xmp
    assert b"<pdfaid:part>3" in xmp


def test_what_a_reader_looks_for_is_there(renderer: Renderer) -> None:
    text = " ".join(texts(pdf(renderer, BODY)))
    for expected in (
        "Example Images",
        "Ada Łukaszewicz",
        "Große Brinkgasse 21a",
        "No. 1042",
        "2026-11/pay-1/EUR",
        "1 November 2026 – 30 November 2026",
        "2 December 2026",
        "Opening balance, carried from the last statement 0,184931",
        "Royalties of this period 0,089067",
        "Refunds −0,065433",
        "Payments since the last statement −0,180000",
        "Closing balance on 30 November 2026 0,028565",
        "Below the minimum payout, carried forward 0,028565",
        "img-1 art-1 29,9492 % 0,062894",
        "refund:refund-1:royalties",
        "Shares measure the effect of naming an artist",
        "royalties@example.com",
    ):
        assert expected in text
    for absent in ("Reserves", "Holds", "Adjustments", "Ownership claims"):
        assert absent not in text


def test_a_long_statement_has_every_row_and_repeats_headers(renderer: Renderer) -> None:
    body = long_body(150)
    pages = texts(pdf(renderer, body))
    text = " ".join(pages)
    assert len(pages) > 4
    for row in body.earnings:
        assert f"{row.usage_period} {row.model} {row.territory}" in text
    for page in pages[1:3]:
        assert "Used in Image model Territory" in page
    for section in ("Holds", "Adjustments", "Ownership claims", "Reserves", "Currency conversion"):
        assert section in text
    assert "1.234 of the attributed images" in text


@pytest.mark.parametrize(
    ("country", "language", "paper", "amount", "day"),
    [
        ("DE", "de", None, "1.234.567,800000", "30. November 2026"),
        ("US", "en", None, "1,234,567.800000", "November 30, 2026"),
        ("US", "de", None, "1.234.567,800000", "30. November 2026"),
        ("IN", "en", None, "12,34,567.800000", "30 November 2026"),
        ("CH", "de", None, "1’234’567.800000", "30. November 2026"),
        ("FR", "fr", "letter", "1 234 567,800000", "30 novembre 2026"),
        ("PL", "pl", None, "1 234 567,800000", "30 listopada 2026"),
        ("CA", "fr", "a4", "1 234 567,800000", "30 novembre 2026"),
        ("GR", "el", None, "1.234.567,800000", "30 Νοεμβρίου 2026"),
        # The fonts have no such letters for dates; right to left, and no language at all, are read in English.
        ("JP", "ja", None, "1,234,567.800000", "November 30, 2026"),
        ("AE", "ar", None, "1,234,567.800000", "November 30, 2026"),
        ("XX", "zz", None, "1,234,567.800000", "November 30, 2026"),
    ],
)
def test_amounts_dates_and_paper_are_the_payees(
    renderer: Renderer, country: str, language: str, paper: str | None, amount: str, day: str
) -> None:
    payee = Party("Ada", Address("Town", country), language=language, paper=paper)
    opening = 1_234_567_800_000
    own = replace(BODY.summary.columns[0], opening=opening, payments=-opening, closing=23_634)
    body = replace(
        BODY,
        summary=Summary((own,), of_which(23_634, 100_000, "EUR", held=False)),
        entries=replace(BODY.entries, payments=(replace(BODY.entries.payments[0], amount=-opening),)),
    )
    file = pdf(renderer, body, payee)
    text = " ".join(texts(file))
    assert f"last statement {amount}" in text
    assert f"Closing balance on {day} 0" in text
    letter = paper == "letter" or country == "US"
    width, height = PdfReader(io.BytesIO(file)).pages[0].mediabox[2:]
    assert (round(width), round(height)) == ((612, 792) if letter else (595, 842))
    # Tagged and archival in every language: no letter lacks its shape.
    metadata = PdfReader(io.BytesIO(file)).xmp_metadata
    assert metadata is not None and b"<pdfuaid:part>1" in metadata.stream.get_data()


def test_an_address_is_written_as_its_country_does() -> None:
    def lines(country: str) -> list[str]:
        return Address("Town", country, "High Street", "5", "12345").lines()

    assert lines("DE") == ["High Street 5", "12345 Town", "DE"]
    assert lines("FR") == ["5 High Street", "12345 Town", "FR"]
    assert lines("US") == ["5 High Street", "Town 12345", "US"]


@pytest.mark.parametrize("currency", ["JPY", "KWD", "CLF"])
def test_grey_digits_follow_the_currency(renderer: Renderer, currency: str) -> None:
    text = " ".join(texts(pdf(renderer, long_body(3, currency))))
    assert "1.000.000,000000" in text


@pytest.mark.parametrize(
    "name",
    [
        "山田太郎 🎨",
        "محمد بن سلمان",
        "שלום",
        "Ελένη Жанна",
        '#set page(fill: red) *b* $x$ "</b>\\ @ref <a> // /* \n\t-',
        "x" * 400,
        "e\u0301\u200b\u202e",
    ],
)
def test_any_name_can_be_printed(renderer: Renderer, name: str) -> None:
    file = pdf(renderer, BODY, Party(name))
    assert file == pdf(renderer, BODY, Party(name))
    assert len(texts(file)) == 2
    assert PdfReader(io.BytesIO(file)).attachments["statement.json"] == [canonical(BODY)]


def test_an_erased_payee_still_has_a_statement(renderer: Renderer) -> None:
    assert "(erased)" in texts(pdf(renderer, BODY, None))[0]


def test_a_statement_without_anything(renderer: Renderer) -> None:
    empty = replace(
        BODY,
        summary=Summary((Column("EUR"),), of_which(0, 0, "EUR", held=False)),
        computation=Computation(),
        earnings=(),
        history=(Earned("2026-11", 0),),
        top_images=(),
        lines=summarise([]),
        entries=Entries(),
    )
    text = " ".join(texts(pdf(renderer, empty)))
    assert "Closing balance on 30 November 2026 0,000000" in text
    assert "Earnings over time" not in text
    assert "Images that earned most" not in text


def test_a_process_of_its_own_makes_the_same_file(renderer: Renderer, tmp_path: Path) -> None:
    given = PdfInput(canonical(BODY), 1042, date(2026, 12, 2), PAYEE, PLATFORM)
    with ProcessPoolExecutor(2, get_context("spawn"), start_renderer) as pool:
        made = [pool.submit(render_file, given, tmp_path / f"{n}.pdf") for n in range(2)]
        files = [future.result().read_bytes() for future in made]
    assert files == [pdf(renderer, BODY)] * 2
    assert [path.suffix for path in tmp_path.iterdir()] == [".pdf"] * 2


def test_rows_without_end_are_counted_and_summed_and_all_attached(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("settlement.statements.pdf.MOST_ROWS", 250)
    body = long_body(400, "EUR")
    file = pdf(renderer, body)
    text = " ".join(texts(file))
    document = parse(canonical(body))
    left_out = [from_decimal(row["amount"]) for row in document["earnings"][250:] if row["currency"] == "EUR"]
    total = f"{to_decimal(sum(left_out)).replace('.', ',')}"
    assert f"{len(document['earnings']) - 250} more rows, {total[:-10]}.{total[-10:]} EUR" in text
    assert PdfReader(io.BytesIO(file)).attachments["statement.json"] == [canonical(body)]
