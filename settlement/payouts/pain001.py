"""The payment file for the bank: ISO 20022 `pain.001.001.09`, customer credit transfer initiation.

Deterministic: identifiers come from the batch and its attempts, the time of creation is passed in. A file made again
is the same file, so that the bank's own check for duplicates protects against paying twice. Addresses are structured,
as banks require from November 2026 on. The message follows the ISO schema and the EPC's rules for SEPA in euro.
"""

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Self

from schwifty import BIC, IBAN
from schwifty.exceptions import InvalidChecksumDigits, InvalidCountryCode, InvalidLength, SchwiftyException

from database.errors import Invalid
from settlement.money import minor_to_decimal, to_minor
from settlement.party import Address
from settlement.payouts.sepa_text import sepa_identifier, sepa_text

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"

SEPA_LIMIT = 999_999_999_990_000
"""The largest SEPA credit transfer, in micros: 999,999,999.99 EUR."""


_REASONS = {
    InvalidLength: "its length does not suit its country",
    InvalidCountryCode: "it begins with no country that has IBANs",
    InvalidChecksumDigits: "its check digits do not match, so it is probably mistyped",
}


@dataclass(frozen=True, slots=True)
class BankAccount:
    """An account and who holds it. ``bic`` may be left out: in SEPA the IBAN is enough."""

    name: str
    iban: str
    bic: str | None = None
    address: Address | None = None

    @classmethod
    def of(cls, details: Mapping[str, Any]) -> Self:
        """The account in a party version's details, which must have a name and an IBAN."""
        return cls(
            details["name"], details["iban"], details.get("bic") or None, Address.of(details.get("address"))
        )

    def check(self) -> None:
        """Raise `Invalid` if no file can carry the account: a name, address, IBAN or BIC that a bank would refuse."""
        _party(ET.Element("CdtTrfTxInf"), "Cdtr", self)
        check_iban(self.iban)
        if self.bic:
            check_bic(self.bic)


@dataclass(frozen=True, slots=True)
class Payment:
    """One credit transfer: ``amount`` in micros, whole minor units; ``end_to_end_id`` reaches the creditor's bank."""

    end_to_end_id: str
    amount: int
    creditor: BankAccount
    remittance: str


def check_iban(text: str) -> str:
    """The IBAN in its compact form. Raises `Invalid` with the reason (length, country, check digits)."""
    try:
        return IBAN(text).compact
    except SchwiftyException as error:
        # Messages end in logs and bank details are personal: neither the IBAN nor the library's text, which quotes it.
        reason = _REASONS.get(type(error), "it is not built like an IBAN of its country")
        raise Invalid(f"IBAN {text[:4]}...{text[-2:]} is wrong: {reason}. Check it with the payee") from None


def check_bic(text: str) -> str:
    """The BIC in its compact form. Raises `Invalid` with the reason."""
    try:
        return BIC(text).compact
    except SchwiftyException as error:
        raise Invalid(f"BIC {text!r} is wrong ({error}): check it with the payee") from None


@dataclass(frozen=True, slots=True)
class PaymentFile:
    """What one file says: a batch of payments in one currency, out of one account, on one day.

    ``key`` is the batch's id, at most 35 characters: it identifies the message and its payment block. ``currency`` is
    an ISO 4217 code: euro goes as SEPA, with charges shared by its rule. ``created_at`` has a zone; whole seconds of it
    are kept. ``payments`` come in the order of the file.
    """

    key: str
    created_at: datetime
    execution_date: date
    currency: str
    debtor: BankAccount
    payments: Sequence[Payment]


def payment_file_bytes(file: PaymentFile) -> bytes:
    """The file's bytes: XML in UTF-8.

    Raises:
        Invalid: an IBAN, BIC, identifier, name or country that the bank would refuse; the message says which.
        ValueError: no payment, an amount that is not above zero or not in whole minor units, an end-to-end id twice,
            or a time without a zone.
    """
    payments, currency, debtor = file.payments, file.currency, file.debtor
    if not payments or any(payment.amount <= 0 for payment in payments):
        raise ValueError("a payment file needs payments, each above zero")
    if len({payment.end_to_end_id for payment in payments}) < len(payments):
        raise ValueError("two payments have the same end-to-end id")
    if file.created_at.tzinfo is None:
        raise ValueError("the time of creation has no zone")
    sepa = currency == "EUR"
    total = _decimal(sum(payment.amount for payment in payments), currency)
    identifier = sepa_identifier(file.key)

    document = ET.Element("Document", xmlns=NAMESPACE)
    initiation = ET.SubElement(document, "CstmrCdtTrfInitn")
    header = ET.SubElement(initiation, "GrpHdr")
    _text(header, "MsgId", identifier)
    _text(header, "CreDtTm", file.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    _text(header, "NbOfTxs", str(len(payments)))
    _text(header, "CtrlSum", total)
    _text(header, "InitgPty/Nm", sepa_text(debtor.name, 70))

    block = ET.SubElement(initiation, "PmtInf")
    _text(block, "PmtInfId", identifier)
    _text(block, "PmtMtd", "TRF")
    _text(block, "BtchBookg", "true")
    _text(block, "NbOfTxs", str(len(payments)))
    _text(block, "CtrlSum", total)
    if sepa:
        _text(block, "PmtTpInf/SvcLvl/Cd", "SEPA")
    _text(block, "ReqdExctnDt/Dt", file.execution_date.isoformat())
    _party(block, "Dbtr", debtor)
    _text(block, "DbtrAcct/Id/IBAN", check_iban(debtor.iban))
    if debtor.bic:
        _text(block, "DbtrAgt/FinInstnId/BICFI", check_bic(debtor.bic))
    else:
        _text(block, "DbtrAgt/FinInstnId/Othr/Id", "NOTPROVIDED")
    _text(block, "ChrgBr", "SLEV" if sepa else "SHAR")
    for payment in payments:
        if sepa and payment.amount > SEPA_LIMIT:
            raise Invalid(f"payment {payment.end_to_end_id} is above SEPA's limit of 999,999,999.99 EUR")
        _transfer(block, payment, currency)
    ET.indent(document)
    content: bytes = ET.tostring(document, encoding="UTF-8", xml_declaration=True)
    return content + b"\n"


def _transfer(block: ET.Element, payment: Payment, currency: str) -> None:
    transfer, creditor = ET.SubElement(block, "CdtTrfTxInf"), payment.creditor
    _text(transfer, "PmtId/EndToEndId", sepa_identifier(payment.end_to_end_id))
    amount = _text(transfer, "Amt/InstdAmt", _decimal(payment.amount, currency))
    amount.set("Ccy", currency)
    if creditor.bic:
        _text(transfer, "CdtrAgt/FinInstnId/BICFI", check_bic(creditor.bic))
    _party(transfer, "Cdtr", creditor)
    _text(transfer, "CdtrAcct/Id/IBAN", check_iban(creditor.iban))
    _text(transfer, "RmtInf/Ustrd", sepa_text(payment.remittance, 140))


def _party(parent: ET.Element, tag: str, account: BankAccount) -> None:
    party = ET.SubElement(parent, tag)
    _text(party, "Nm", sepa_text(account.name, 70))
    if account.address is None:
        return
    address, given = ET.SubElement(party, "PstlAdr"), account.address
    for name, text, length in (
        ("StrtNm", given.street, 70),
        ("BldgNb", given.building, 16),
        ("PstCd", given.postcode, 16),
        ("TwnNm", given.town, 35),
    ):
        if text:
            _text(address, name, sepa_text(text, length))
    if not (len(given.country) == 2 and given.country.isascii() and given.country.isupper()):
        raise Invalid(
            f"{given.country!r} is not a country: write two capital letters as in ISO 3166, for example DE"
        )
    _text(address, "Ctry", given.country)


def _decimal(micros: int, currency: str) -> str:
    return minor_to_decimal(to_minor(micros, currency), currency)


def _text(parent: ET.Element, path: str, text: str) -> ET.Element:
    """Add the elements of ``path`` under ``parent``, the last one with a text."""
    for tag in path.split("/"):
        parent = ET.SubElement(parent, tag)
    parent.text = text
    return parent
