"""Remittance advices: they add up, name the payment, mask the account, and are the same bytes again."""

import io
from dataclasses import replace

import pytest
from pypdf import PdfReader
from sqlalchemy import text
from sqlalchemy.orm import Session

from database.errors import Conflict, NotFound
from database.roles import Role
from settlement.bank_details import mask
from settlement.payouts.advice import Advice, AdviceRenderer, advices
from tests.settlement.books import write_books
from tests.settlement.payouts.desk import BATCH, acting, create, report, submitted


@pytest.fixture(scope="module")
def renderer() -> AdviceRenderer:
    return AdviceRenderer()


def of(batch_id: str) -> dict[str, Advice]:
    with acting(Role.SETTLEMENT) as opened:
        return {advice.payout_id.split("/")[1]: advice for advice in advices(opened, batch_id)}


def test_an_advice_adds_up_and_says_where_it_goes(owing: Session, renderer: AdviceRenderer) -> None:
    submitted()
    advice = of(BATCH)["pay-1"]
    # No statement was issued in this test's October: the payment is of a balance that was brought forward.
    assert advice.rows() == [("Brought forward", 12_345_678)]
    assert (advice.balance, advice.amount, advice.stays) == (12_345_678, 12_340_000, 5_678)
    assert advice.account == "FR** **** 2606"
    mail = advice.text()
    assert mail.startswith(f"Subject: Payment advice {BATCH}-1-1\n\nDear Mara Vell,\n\nwe have told our bank")
    assert (
        "  Paid                       12.34 EUR\n" in mail and "  EndToEndId    EUR-20261104-1-1-1\n" in mail
    )
    assert "FR1420041010050500013M02606" not in mail
    pdf = renderer.pdf(advice)
    assert pdf == AdviceRenderer().pdf(advice)
    printed = PdfReader(io.BytesIO(pdf)).pages[0].extract_text()
    for words in (
        "Mara Vell",
        "Lumen Pictures GmbH",
        "12.34 EUR",
        "0.005678 EUR",
        "FR** **** 2606",
        f"{BATCH}-1-1",
    ):
        assert words in printed
    assert "13M02606" not in printed


@pytest.mark.parametrize(
    ("outcomes", "words"),
    [
        (("paid",), "our bank has paid you"),
        (("rejected",), "could not pay"),
        (("paid", "returned"), "came back"),
    ],
)
def test_an_advice_says_what_became_of_it(owing: Session, outcomes: tuple[str, ...], words: str) -> None:
    submitted()
    for outcome in outcomes:
        report(outcome, f"{BATCH}-1-1")
    assert words in of(BATCH)["pay-1"].text()


def test_only_of_a_batch_that_was_handed_over(owing: Session) -> None:
    create()
    with pytest.raises(Conflict, match="is not handed over"):
        of(BATCH)
    with pytest.raises(NotFound, match="no payout batch EUR-1"):
        of("EUR-1")


def test_a_name_that_the_fonts_lack(owing: Session, renderer: AdviceRenderer) -> None:
    submitted()
    advice = of(BATCH)["pay-2"]
    assert advice.payee is not None
    assert renderer.pdf(replace(advice, payee=replace(advice.payee, name="山田 太郎"))).startswith(b"%PDF")


def test_whoever_is_erased_has_no_name_and_no_account(owing: Session, renderer: AdviceRenderer) -> None:
    submitted()
    with acting(Role.ADMIN) as opened:
        opened.execute(text("DELETE FROM party.party_version WHERE payee_id = 'pay-1'"))
    advice = of(BATCH)["pay-1"]
    assert (advice.payee, advice.account) == (None, None)
    assert "Dear (erased)" in advice.text()
    assert "(erased)" in PdfReader(io.BytesIO(renderer.pdf(advice))).pages[0].extract_text()


def test_masked() -> None:
    assert mask("de89 3704 0044 0532 0130 00") == "de** **** 3000"


@pytest.fixture
def books(db: Session) -> Session:
    """Two closed periods with statements and payouts: the worked example."""
    write_books(db)
    return db


def test_the_statements_that_a_payment_settles(books: Session) -> None:
    handed_over = books.scalars(text("SELECT DISTINCT batch_id FROM settlement.payout_file ORDER BY 1")).all()
    made = [advice for batch_id in handed_over for advice in advices(books, batch_id)]
    assert made
    for advice in made:
        assert sum(amount for _, amount in advice.rows()) == advice.balance == advice.amount + advice.stays
        assert advice.statements and advice.other == 0
        assert (
            f"Statement No. {advice.statements[0].number}, {advice.statements[0].period_id}" in advice.text()
        )
