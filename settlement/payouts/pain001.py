"""The payment file for the bank: ISO 20022 `pain.001.001.09`, customer credit transfer initiation.

Deterministic: identifiers come from the batch and its attempts, the time of creation is passed in. A file made again
is the same file, so that the bank's own check for duplicates protects against paying twice. It is written as a stream,
payment by payment, so that memory does not grow with it. Addresses are structured, as banks require from November 2026
on. The message follows the ISO schema, the EPC's rules for SEPA in euro, and what banks ask for elsewhere.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache
from string import ascii_uppercase
from typing import Any, NamedTuple, Self

from schwifty import BIC, IBAN
from schwifty.exceptions import InvalidChecksumDigits, InvalidCountryCode, InvalidLength, SchwiftyException

from database.errors import Invalid
from settlement.bank_details import BankDetails
from settlement.money import minor_to_decimal, to_minor
from settlement.party import Address
from settlement.payouts.sepa_text import sepa_identifier, sepa_text

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"

SEPA_LIMIT = 999_999_999_990_000
"""The largest SEPA credit transfer, in micros: 999,999,999.99 EUR."""

MAX_PAYMENTS = 100_000
"""Payments in one file where no other limit is set; banks take 10,000 to 100,000."""

EEA = frozenset(
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IS IT LI LT LU LV MT NL NO PL PT RO SE SI SK".split()
)
"""Countries of the European Economic Area, by the letters their IBANs begin with."""

SEPA = EEA | frozenset("AD AL CH GB GI MC MD ME MK RS SM VA".split())
"""Countries whose accounts a SEPA credit transfer reaches. Source: EPC409-09, list of SEPA scheme countries."""

_REASONS = {
    InvalidLength: "its length does not suit its country",
    InvalidCountryCode: "it begins with no country that has IBANs",
    InvalidChecksumDigits: "its check digits do not match, so it is probably mistyped",
}
_COUNTRY = re.compile(r"[A-Z]{2}")
_COMPACT = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{1,30}")
_NUMERALS = {ord(letter): str(number) for number, letter in enumerate(ascii_uppercase, start=10)}
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class BankAccount:
    """An account and who holds it. ``bic`` may be left out where the IBAN is enough, which is in SEPA."""

    name: str
    iban: str = field(repr=False)
    bic: str | None = None
    address: Address | None = None

    @classmethod
    def of(cls, details: Mapping[str, Any], account: BankDetails) -> Self:
        """A party's account: her details, which must have a name, and where she banks."""
        return cls(details["name"], account.iban, account.bic, Address.of(details.get("address")))

    def check(self, currency: str | None = None) -> None:
        """Raise `Invalid` if no file can carry the account; the message says what to mend.

        Args:
            currency: what it would be paid in; None for the platform's own account, which pays.
        """
        _party("Cdtr", self, "")
        iban = check_iban(self.iban)
        if self.bic:
            check_bic(self.bic)
        if currency == "EUR":
            if iban[:2] not in SEPA:
                raise Invalid(
                    f"the account is in {iban[:2]}, which SEPA does not reach: ask the payee for an account in SEPA"
                )
            if iban[:2] not in EEA and self.address is None:
                raise Invalid(
                    f"the account is in {iban[:2]}, outside the EEA: banks want the payee's town and country"
                )
        elif currency is not None:
            if not self.bic:
                raise Invalid(
                    f"a payment in {currency} goes by the bank's BIC: ask the payee for it, or pay her in EUR"
                )
            if self.address is None:
                raise Invalid(f"a payment in {currency} needs the payee's town and country: ask her for them")


@dataclass(frozen=True, slots=True)
class Payment:
    """One credit transfer: ``amount`` in micros, whole minor units; ``end_to_end_id`` reaches the creditor's bank."""

    end_to_end_id: str
    amount: int
    creditor: BankAccount
    remittance: str


def check_iban(text: str) -> str:
    """The IBAN in its compact form. Raises `Invalid` with the reason (length, country, check digits)."""
    if _is_iban(text):
        return text
    try:
        return IBAN(text).compact
    except SchwiftyException as error:
        # Messages end in logs and bank details are personal: neither the IBAN nor the library's text, which quotes it.
        reason = _REASONS.get(type(error), "it is not built like an IBAN of its country")
        raise Invalid(f"IBAN {text[:4]}...{text[-2:]} is wrong: {reason}. Check it with the payee") from None


class _Form(NamedTuple):
    """How a country builds its IBANs, as schwifty's registry has it."""

    length: int
    bban: re.Pattern[str]


@lru_cache(maxsize=256)
def _form(country: str) -> _Form | None:
    try:
        spec = IBAN(country + "00", allow_invalid=True).spec
    except SchwiftyException:
        return None
    return _Form(spec.iban_length, spec.regex)


def _is_iban(text: str) -> bool:
    """Whether it is an IBAN in its compact form: what schwifty checks, without making an object of each part.

    A file of a hundred thousand payments asks for as many.
    """
    if not _COMPACT.fullmatch(text):
        return False
    form = _form(text[:2])
    if form is None or len(text) != form.length or not form.bban.match(text[4:]):
        return False
    # ISO 7064, mod 97-10: a letter is its place in the alphabet and nine.
    digits = (text[4:] + text[:2]).translate(_NUMERALS)
    return 98 - int(digits + "00") % 97 == int(text[2:4])


@lru_cache(maxsize=4096)
def check_bic(text: str) -> str:
    """The BIC in its compact form. Raises `Invalid` with the reason."""
    try:
        return BIC(text).compact
    except SchwiftyException as error:
        raise Invalid(f"BIC {text!r} is wrong ({error}): check it with the payee") from None


@dataclass(frozen=True, slots=True)
class PaymentFile:
    """What stands around a file's payments: all in one currency, out of one account, on one day.

    ``message_id``, at most 35 characters, identifies the message and its one payment block. ``currency`` is an ISO 4217
    code: euro goes as SEPA, with charges shared by its rule. ``created_at`` has a zone; whole seconds of it are kept.
    ``count`` and ``total`` (micros) are of the payments that will come: they stand at the head of the file.
    """

    message_id: str
    created_at: datetime
    execution_date: date
    currency: str
    debtor: BankAccount
    count: int
    total: int


def payment_file_chunks(file: PaymentFile, payments: Iterable[Payment]) -> Iterator[bytes]:
    """The file's bytes, XML in UTF-8, some 64 KiB at a time. Not before its end is it known to be good.

    Raises:
        Invalid: an IBAN, BIC, identifier, name or country that the bank would refuse; the message says which.
        ValueError: no payment, an amount that is not above zero or not in whole minor units, an end-to-end id twice,
            payments of another number or sum than the head says, or a time without a zone.
    """
    if file.count < 1:
        raise ValueError("a payment file needs payments, each above zero")
    if file.created_at.tzinfo is None:
        raise ValueError("the time of creation has no zone")
    sepa = file.currency == "EUR"
    written = [_head(file)]
    size = count = total = 0
    known = set()
    for payment in payments:
        if payment.amount <= 0:
            raise ValueError("a payment file needs payments, each above zero")
        if sepa and payment.amount > SEPA_LIMIT:
            raise Invalid(f"payment {payment.end_to_end_id} is above SEPA's limit of 999,999,999.99 EUR")
        known.add(payment.end_to_end_id)
        count += 1
        if len(known) < count:
            raise ValueError("two payments have the same end-to-end id")
        total += payment.amount
        written.append(_transfer(payment, file.currency))
        size += len(written[-1])
        if size >= _CHUNK:
            yield "".join(written).encode()
            written.clear()
            size = 0
    if (count, total) != (file.count, file.total):
        raise ValueError("there are payments of another number or sum than the head of the file says")
    written.append("    </PmtInf>\n  </CstmrCdtTrfInitn>\n</Document>\n")
    yield "".join(written).encode()


def _head(file: PaymentFile) -> str:
    debtor, sepa = file.debtor, file.currency == "EUR"
    identifier = sepa_identifier(file.message_id)
    sums = f"<NbOfTxs>{file.count}</NbOfTxs>\n{{0}}<CtrlSum>{_decimal(file.total, file.currency)}</CtrlSum>"
    agent = f"<BICFI>{check_bic(debtor.bic)}</BICFI>" if debtor.bic else "<Othr><Id>NOTPROVIDED</Id></Othr>"
    # SEPA knows one priority; elsewhere the bank is told that the ordinary one is meant.
    kind = "<SvcLvl><Cd>SEPA</Cd></SvcLvl>" if sepa else "<InstrPrty>NORM</InstrPrty>"
    return f"""\
<?xml version='1.0' encoding='UTF-8'?>
<Document xmlns="{NAMESPACE}">
  <CstmrCdtTrfInitn>
    <GrpHdr>
      <MsgId>{identifier}</MsgId>
      <CreDtTm>{file.created_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}</CreDtTm>
      {sums.format(" " * 6)}
      <InitgPty><Nm>{sepa_text(debtor.name, 70)}</Nm></InitgPty>
    </GrpHdr>
    <PmtInf>
      <PmtInfId>{identifier}</PmtInfId>
      <PmtMtd>TRF</PmtMtd>
      <BtchBookg>true</BtchBookg>
      {sums.format(" " * 6)}
      <PmtTpInf>{kind}</PmtTpInf>
      <ReqdExctnDt><Dt>{file.execution_date.isoformat()}</Dt></ReqdExctnDt>
{_party("Dbtr", debtor, " " * 6)}
      <DbtrAcct><Id><IBAN>{check_iban(debtor.iban)}</IBAN></Id></DbtrAcct>
      <DbtrAgt><FinInstnId>{agent}</FinInstnId></DbtrAgt>
      <ChrgBr>{"SLEV" if sepa else "SHAR"}</ChrgBr>
"""


def _transfer(payment: Payment, currency: str) -> str:
    creditor, identifier = payment.creditor, sepa_identifier(payment.end_to_end_id)
    agent = (
        f"        <CdtrAgt><FinInstnId><BICFI>{check_bic(creditor.bic)}</BICFI></FinInstnId></CdtrAgt>\n"
        if creditor.bic
        else ""
    )
    amount = _decimal(payment.amount, currency)
    return f"""\
      <CdtTrfTxInf>
        <PmtId><InstrId>{identifier}</InstrId><EndToEndId>{identifier}</EndToEndId></PmtId>
        <Amt><InstdAmt Ccy="{currency}">{amount}</InstdAmt></Amt>
{agent}{_party("Cdtr", creditor, " " * 8)}
        <CdtrAcct><Id><IBAN>{check_iban(creditor.iban)}</IBAN></Id></CdtrAcct>
        <RmtInf><Ustrd>{sepa_text(payment.remittance, 140)}</Ustrd></RmtInf>
      </CdtTrfTxInf>
"""


def _party(tag: str, account: BankAccount, indent: str) -> str:
    """The element of who holds an account. The permitted characters need no escaping in XML."""
    name, given = f"<Nm>{sepa_text(account.name, 70)}</Nm>", account.address
    if given is None:
        return f"{indent}<{tag}>{name}</{tag}>"
    if not _COUNTRY.fullmatch(given.country):
        raise Invalid(
            f"{given.country!r} is not a country: write two capital letters as in ISO 3166, for example DE"
        )
    parts = "".join(
        f"<{part}>{sepa_text(text, length)}</{part}>"
        for part, text, length in (
            ("StrtNm", given.street, 70),
            ("BldgNb", given.building, 16),
            ("PstCd", given.postcode, 16),
            ("TwnNm", given.town, 35),
        )
        if text
    )
    address = f"<PstlAdr>{parts}<Ctry>{given.country}</Ctry></PstlAdr>"
    return f"{indent}<{tag}>{name}{address}</{tag}>"


def _decimal(micros: int, currency: str) -> str:
    return minor_to_decimal(to_minor(micros, currency), currency)
