"""The payment file: valid against ISO's schema, the same bytes again, and agreeing with another writer."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from importlib.resources import files
from typing import Any

import pytest
import xmlschema
from hypothesis import given
from hypothesis import strategies as st
from schwifty import IBAN
from schwifty.exceptions import SchwiftyException
from sepaxml import SepaTransfer

from database.errors import Invalid
from settlement.bank_details import BankDetails
from settlement.money import to_decimal
from settlement.party import Address, Party
from settlement.payouts.pain001 import (
    NAMESPACE,
    SEPA,
    BankAccount,
    Payment,
    PaymentFile,
    check_bic,
    check_iban,
    payment_file_chunks,
)
from settlement.payouts.sepa_text import sepa_identifier, sepa_text

IBANS = [
    "DE89370400440532013000",
    "FR1420041010050500013M02606",
    "NL91ABNA0417164300",
    "CH9300762011623852957",
]
DEBTOR = BankAccount(
    "Example Images GmbH",
    "DE75512108001245126199",
    "SOGEDEFFXXX",
    Address("Berlin", "DE", "Torstraße", "7", "10119"),
)
PAYMENTS = [
    Payment(
        "EUR-2026-11-05-1-a1",
        180_000,
        BankAccount("Ada Łukaszewicz", IBANS[0], "COBADEFFXXX"),
        "Royalties 2026-10",
    ),
    Payment(
        "EUR-2026-11-05-1-a2",
        1_234_567_890_000,
        BankAccount("O’Brien & Sønner", IBANS[2], None, Address("Århus", "DK", "Vestergade")),
        "Royalties",
    ),
]
CREATED = datetime(2026, 11, 5, 10, 0, 0, 123456, UTC)
NS = {"": NAMESPACE}


@pytest.fixture(scope="module")
def schema() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(str(files("sepaxml") / "schemas" / "pain.001.001.09.xsd"))


def build(payments: list[Payment] = PAYMENTS, **changes: Any) -> bytes:
    arguments: dict[str, Any] = {
        "currency": "EUR",
        "debtor": DEBTOR,
        "execution_date": date(2026, 11, 5),
        "created_at": CREATED,
        "count": len(payments),
        "total": sum(payment.amount for payment in payments),
    }
    return b"".join(
        payment_file_chunks(PaymentFile("EUR-2026-11-05-1", **arguments | changes), iter(payments))
    )


def found(file: bytes, path: str) -> list[str | None]:
    return [element.text for element in ET.fromstring(file).findall(path, NS)]


def test_the_file_is_valid_and_says_what_it_should(schema: xmlschema.XMLSchema) -> None:
    file = build()
    schema.validate(file.decode())
    assert found(file, ".//MsgId") == found(file, ".//PmtInfId") == ["EUR-2026-11-05-1"]
    assert found(file, ".//CreDtTm") == ["2026-11-05T10:00:00Z"]
    assert found(file, ".//NbOfTxs") == ["2", "2"]
    assert found(file, ".//CtrlSum") == ["1234568.07", "1234568.07"]
    assert found(file, ".//ReqdExctnDt/Dt") == ["2026-11-05"]
    assert found(file, ".//SvcLvl/Cd") == ["SEPA"]
    assert found(file, ".//ChrgBr") == ["SLEV"]
    assert found(file, ".//InstdAmt") == ["0.18", "1234567.89"]
    assert found(file, ".//EndToEndId") == [payment.end_to_end_id for payment in PAYMENTS]
    assert found(file, ".//Cdtr/Nm") == ["Ada Lukaszewicz", "O'Brien + Sonner"]
    assert found(file, ".//CdtrAgt/FinInstnId/BICFI") == ["COBADEFFXXX"]
    assert found(file, ".//Cdtr/PstlAdr/TwnNm") == ["Arhus"]
    assert found(file, ".//Cdtr/PstlAdr/Ctry") == ["DK"]


def test_the_same_batch_is_the_same_file() -> None:
    berlin = CREATED.astimezone(timezone(timedelta(hours=1))).replace(microsecond=0)
    assert build() == build() == build(created_at=berlin)


def test_another_writer_says_the_same(schema: xmlschema.XMLSchema) -> None:
    def address(given: Address | None) -> dict[str, Any]:
        if given is None:
            return {}
        parts = {
            "street_name": given.street,
            "building_number": given.building,
            "postcode": given.postcode,
            "town": given.town,
            "country": given.country,
        }
        return {"address": {name: sepa_text(part, 70) for name, part in parts.items() if part}}

    other = SepaTransfer(
        {"name": DEBTOR.name, "IBAN": DEBTOR.iban, "BIC": DEBTOR.bic, "batch": True, "currency": "EUR"}
        | address(DEBTOR.address),
        schema="pain.001.001.09",
        clean=False,
    )
    for payment in PAYMENTS:
        creditor = payment.creditor
        other.add_payment(
            {
                "name": sepa_text(creditor.name, 70),
                "IBAN": creditor.iban,
                "amount": payment.amount // 10_000,
                "description": payment.remittance,
                "endtoend_id": payment.end_to_end_id,
                "execution_date": date(2026, 11, 5),
            }
            | ({"BIC": creditor.bic} if creditor.bic else {})
            | address(creditor.address)
        )

    def said(file: bytes) -> list[tuple[str, str | None, dict[str, str]]]:
        # Its identifiers are random and its time is the clock's.
        own = {"MsgId", "PmtInfId", "CreDtTm", "InstrId"}  # and it names a payment once
        elements = ((element.tag.split("}")[1], element) for element in ET.fromstring(file).iter())
        return [
            (tag, (element.text or "").strip(), dict(element.attrib))
            for tag, element in elements
            if tag not in own
        ]

    theirs = other.export()
    schema.validate(theirs.decode())
    assert said(build()) == said(theirs)


def test_a_bank_without_bic_and_other_currencies(schema: xmlschema.XMLSchema) -> None:
    file = build(currency="CHF", debtor=replace(DEBTOR, bic=None))
    schema.validate(file.decode())
    assert found(file, ".//DbtrAgt//Othr/Id") == ["NOTPROVIDED"]
    assert found(file, ".//SvcLvl/Cd") == []
    assert found(file, ".//ChrgBr") == ["SHAR"]
    yen = [replace(PAYMENTS[0], amount=18_000_000)]
    assert found(build(yen, currency="JPY"), ".//InstdAmt") == ["18"]


names = st.one_of(
    st.text(min_size=1), st.text(st.characters(categories=["L", "M", "Z", "P"]), min_size=1)
).map(lambda text: "a" + text)


@given(
    st.lists(
        st.builds(
            Payment,
            end_to_end_id=st.uuids().map(lambda uuid: uuid.hex),
            amount=st.integers(1, 99_999_999_999).map(lambda cents: cents * 10_000),
            creditor=st.builds(
                BankAccount,
                name=names,
                iban=st.sampled_from(IBANS),
                bic=st.sampled_from([None, "COBADEFF", "SOGEDEFFXXX"]),
                address=st.none()
                | st.builds(
                    Address,
                    town=names,
                    country=st.sampled_from(["DE", "GB"]),
                    street=st.none() | names,
                    building=st.none() | names,
                    postcode=st.none() | names,
                ),
            ),
            remittance=names,
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda payment: payment.end_to_end_id,
    )
)
def test_whatever_people_are_called_the_file_is_valid(
    schema: xmlschema.XMLSchema, payments: list[Payment]
) -> None:
    file = build(payments)
    schema.validate(file.decode())
    assert file.isascii()
    assert found(file, ".//InstdAmt") == [to_decimal(payment.amount)[:-4] for payment in payments]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Jürgen Groß", "Jurgen Gross"),
        ("Łucja Żółć", "Lucja Zolc"),
        ("Ægir Þórsson", "Aegir Thorsson"),
        ("Ελένη Ψαρρά", "Eleni Psarra"),
        ("Жанна Ёлкина-Цой", "Zhanna Elkina-Tsoy"),
        ("Nguyễn  Phước\tĐức", "Nguyen Phuoc Duc"),
        ("Müller & Söhne_KG", "Muller + Sohne-KG"),
        ("山田 Taro", ".. Taro"),
        ("e\u0301\u200b\u202eve", "eve"),
        ("Dvořák; [“x”] {y}", "Dvorak, ('x') (y)"),
        ("ﬁ ①", "fi 1"),
    ],
)
def test_names_in_sepa_letters(name: str, written: str) -> None:
    assert sepa_text(name, 70) == written


@pytest.mark.parametrize("name", ["山田太郎", "🎨", "", " ", "---"])
def test_a_name_without_any_latin_letter_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="Latin letters"):
        sepa_text(name, 70)


def test_long_texts_are_cut() -> None:
    assert sepa_text("ab " * 40, 70) == ("ab " * 40)[:70].strip()


@pytest.mark.parametrize("text", ["", "/a", "a/", "a//b", "a" * 36, "ä", "a\n", "a_b", " a", "a "])
def test_identifiers_that_banks_refuse(text: str) -> None:
    with pytest.raises(Invalid, match="cannot identify a payment"):
        sepa_identifier(text)


@pytest.mark.parametrize(
    ("iban", "reason"),
    [
        ("DE89370400440532013001", "check digits"),
        ("DE8937040044053201300", "length"),
        ("QQ89370400440532013000", "country"),
        ("DE89370400440532013!00", "not built like"),
        ("DE89ABCD00440532013000", "not built like"),
        ("not an iban at all", "not built like"),
        ("", "not built like"),
    ],
)
def test_a_wrong_iban_is_refused_without_being_repeated(iban: str, reason: str) -> None:
    with pytest.raises(Invalid, match=reason) as error:
        check_iban(iban)
    assert not iban or iban[4:-2] not in error.value.message


@given(data=st.data())
def test_an_iban_is_one_exactly_if_schwifty_says_so(data: st.DataObject) -> None:
    country = data.draw(st.sampled_from(sorted(SEPA | {"MU", "SC", "BR", "US", "XX", "SV", "TR"})))
    try:
        text = str(IBAN.random(country, use_registry=False, random=data.draw(st.randoms())))
    except SchwiftyException:
        text = f"{country}89370400440532013000"
    place = data.draw(st.integers(0, len(text)))
    wrong = text[:place] + data.draw(st.text("0123456789AZaz -É٣", max_size=2)) + text[place + 1 :]
    for candidate in (text, wrong, text[:2] + data.draw(st.sampled_from(["00", "01", "99"])) + text[4:]):
        try:
            known = str(IBAN(candidate))
        except SchwiftyException:
            known = None
        try:
            ours = check_iban(candidate)
        except Invalid:
            ours = None
        assert ours == known


def test_ibans_and_bics_are_written_compactly() -> None:
    assert check_iban("de89 3704 0044 0532 0130 00") == "DE89370400440532013000"
    assert check_bic("cobadeff xxx") == "COBADEFFXXX"
    with pytest.raises(Invalid, match="BIC 'NOPE' is wrong"):
        check_bic("NOPE")


def test_what_must_not_reach_a_bank() -> None:
    with pytest.raises(ValueError, match="needs payments"):
        build([])
    with pytest.raises(ValueError, match="above zero"):
        build([replace(PAYMENTS[0], amount=0)])
    with pytest.raises(ValueError, match="whole number of minor units"):
        build([replace(PAYMENTS[0], amount=184_931)])
    with pytest.raises(ValueError, match="same end-to-end id"):
        build([PAYMENTS[0], PAYMENTS[0]])
    with pytest.raises(ValueError, match="no zone"):
        build(created_at=CREATED.replace(tzinfo=None))
    with pytest.raises(Invalid, match="limit"):
        build([replace(PAYMENTS[0], amount=10**15)])
    with pytest.raises(Invalid, match="not a country"):
        build(
            [replace(PAYMENTS[0], creditor=replace(PAYMENTS[0].creditor, address=Address("Bonn", "Germany")))]
        )


def test_accounts_and_parties_come_from_details() -> None:
    details = {
        "name": "Ada",
        "address": {"street": "Torstraße", "building": None, "town": "Berlin", "country": "DE"},
        "email": "ada@example.com",
    }
    address = Address("Berlin", "DE", "Torstraße")
    assert BankAccount.of(details, BankDetails(IBANS[0])) == BankAccount("Ada", IBANS[0], None, address)
    assert Party.of(details) == Party("Ada", address, "ada@example.com")
    assert Party.of({"name": "Ada", "address": {"country": "DE"}}) == Party("Ada")
    assert BankAccount.of({"name": "Ada"}, BankDetails(IBANS[0], "X")) == BankAccount("Ada", IBANS[0], "X")
