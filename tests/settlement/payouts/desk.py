"""What an operator does in these tests, each step as the role that does it, and what can be seen afterwards."""

import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from hashlib import sha256
from io import BytesIO
from itertools import count
from pathlib import Path

from sqlalchemy.orm import Session

from database.engine import session
from database.roles import Role
from settlement import posting
from settlement.bank_details import BankDetails, encrypted, opened_account
from settlement.catalogue_file import load_catalogue
from settlement.ledger import Entry, balances, post
from settlement.payees import PartyVersion, parties_of
from settlement.payouts import run
from settlement.payouts.bank_messages.intake import Taken, take_file
from settlement.payouts.holds import open_holds
from settlement.payouts.models import batch_rows, batch_state
from settlement.payouts.outcomes import Outcome, record_outcomes
from settlement.payouts.pain001 import NAMESPACE
from settlement.payouts.reconcile import payout_checks
from settlement.periods.approval import approve as approve_draft
from settlement.periods.approval import calculate
from settlement.periods.approval import submit as submit_draft
from settlement.periods.calendar import cut_off, open_period
from settlement.periods.close import close

AT = datetime(2026, 11, 3, 12, tzinfo=UTC)
DAY = date(2026, 11, 4)
OCTOBER = "2026-10"
BATCH = "EUR-20261104-1"
OWED = {
    "royalties_payable:pay-1": -12_345_678,
    "royalties_payable:pay-2": -20_000_000,
    "royalties_payable:pay-3": -30_000_000,
}
RESERVED = {
    "payout_clearing": -62_340_000,
    "royalties_payable:pay-1": -5_678,
    "royalties_payable:pay-2": 0,
    "royalties_payable:pay-3": 0,
}

# The minimum rises on the very instant at which October ends: October's own is 0.10 EUR.
CATALOGUE = """
platform:
  id: platform
  name: Lumen Pictures GmbH
  address: {{street: Torstrasse, building: "1", postcode: "10119", town: Berlin, country: DE}}
  iban: DE89370400440532013000
  bic: COBADEFFXXX
  currency: EUR
  valid_from: {valid_from}
  zone: Europe/Berlin
  default_rate_card: standard
  model_developer: pay-dev
  minimum_payout: {{EUR: "{minimum}", USD: "1.00"}}
  dispute: {{contact: royalties@example.com, days: 365}}
payees:
  - {{id: pay-1, kind: person, currency: EUR, name: Mara Vell, iban: FR1420041010050500013M02606, bic: PSSTFRPPPAR,
     address: {{town: Paris, country: FR}}}}
  - {{id: pay-2, kind: estate, currency: EUR, name: Estate of Øskar Lindt, iban: NL91ABNA0417164300, bic: ABNANL2A,
     address: {{town: Utrecht, country: NL}}}}
  - {{id: pay-3, kind: person, currency: EUR, name: Iben Holm, iban: DK5000400440116243, bic: NDEADKKKXXX,
     address: {{town: Århus, country: DK}}}}
  - {{id: pay-4, kind: company, currency: EUR, name: Fourth Ltd, iban: NL91ABNA0417164300, bic: ABNANL2A,
     address: {{town: Delft, country: NL}}}}
  - {{id: pay-5, kind: society, currency: EUR, name: Fifth Society, iban: DE75512108001245126199, bic: SOGEDEFFXXX,
     address: {{town: Mainz, country: DE}}}}
  - {{id: pay-dev, kind: model_developer, currency: EUR, name: Model Makers Ltd, iban: DE75512108001245126199}}
  - {{id: pay-poor, kind: person, currency: EUR, name: Without Bank}}
rate_cards:
  - {{id: standard, valid_from: 2026-01-01, model: per_image, rate: "30"}}
"""

_entries = count()


def debts(amount: int, *payees: str, currency: str = "EUR") -> list[Entry]:
    """Journals that say that the payees are owed ``amount`` micros each (below zero: that they owe it)."""
    number = next(_entries)
    return [
        Entry(
            kind=posting.STATEMENT.kind,
            key=f"statement:2026-10-{number}:{payee}:{currency}",
            booked_at=AT,
            value_date=AT.date(),
            lines=[posting.EXPENSE.line(amount, currency), posting.PAYABLE.line(-amount, currency, payee)],
            actor="test",
        )
        for payee in payees
    ]


def post_owed(opened: Session, amount: int, *payees: str, currency: str = "EUR") -> None:
    """Post that the payees are owed ``amount`` micros each."""
    post(opened, debts(amount, *payees, currency=currency))


def owe(amount: int, *payees: str, currency: str = "EUR") -> None:
    """The same in a transaction of its own."""
    with acting(Role.SETTLEMENT) as opened:
        post_owed(opened, amount, *payees, currency=currency)


def load_terms(opened: Session) -> None:
    for valid_from, minimum in (("2026-01-01", "0.10"), ("2026-11-01", "1000.00")):
        catalogue = CATALOGUE.format(valid_from=valid_from, minimum=minimum)
        load_catalogue(opened, catalogue, actor="test", reason="test")


def close_october(opened: Session) -> None:
    """October 2026 in Berlin, closed without a sale."""
    open_period(opened, OCTOBER, now=AT)
    cut_off(opened, OCTOBER, now=AT)
    calculate(opened, OCTOBER, actor="ann")
    draft = submit_draft(opened, OCTOBER)
    approve_draft(opened, OCTOBER, checker="bob", content_sha256=draft.sha256)
    close(opened, OCTOBER, actor="ann")


class Desk:
    """How the helpers below open a transaction as a role."""

    open: Callable[[Role], AbstractContextManager[Session]] = staticmethod(session)


def acting(role: Role) -> AbstractContextManager[Session]:
    """A transaction as a role: a real one, or a savepoint of the test's own (see conftest.py)."""
    return Desk.open(role)


def post_debts(opened: Session) -> None:
    """Three payees are owed 12.345678, 20 and 30 EUR."""
    post_owed(opened, 12_345_678, "pay-1")
    post_owed(opened, 20_000_000, "pay-2")
    post_owed(opened, 30_000_000, "pay-3")


def create(currency: str = "EUR") -> str:
    with acting(Role.PAYER) as opened:
        return run.create_batch(opened, currency, DAY, "ann").batch_id


def approve(batch_id: str, checker: str = "bob") -> None:
    with acting(Role.APPROVER) as opened:
        run.approve_batch(opened, batch_id, checker)


def submit(batch_id: str) -> bytes:
    """What the command does, without the files on disk; returns them one after the other."""
    with acting(Role.PAYER) as opened:
        run.reserve(opened, batch_id, "ann", AT)
    with acting(Role.PAYER) as opened:
        contents = files(opened, batch_id)
    with acting(Role.PAYER) as opened:
        run.handed_over(opened, batch_id, digests(contents), "ann", AT)
    return b"".join(contents.values())


def files(opened: Session, batch_id: str) -> dict[int, bytes]:
    """The bytes of a batch's files, by number."""
    return {
        file.number: b"".join(run.file_chunks(opened, batch_id, file.number))
        for file in run.bank_files(opened, batch_id)
    }


def digests(contents: dict[int, bytes]) -> dict[int, bytes]:
    """What `handed_over` takes."""
    return {number: sha256(content).digest() for number, content in contents.items()}


def reserve(batch_id: str) -> None:
    """The first of the three steps of `submit` only."""
    with acting(Role.PAYER) as opened:
        run.reserve(opened, batch_id, "ann", AT)


def submitted(currency: str = "EUR") -> str:
    batch_id = create(currency)
    approve(batch_id)
    submit(batch_id)
    return batch_id


def report(state: str, *attempts: str, reason: str = "") -> list[str]:
    with acting(Role.PAYER) as opened:
        outcomes = [Outcome(attempt, state, AT, reason) for attempt in attempts]
        return [result for _, result in record_outcomes(opened, outcomes, "ann")]


def state(batch_id: str) -> str:
    with acting(Role.PAYER) as opened:
        return batch_state(opened, batch_id)


def states(batch_id: str) -> dict[str, str]:
    """Newest state by payee."""
    with acting(Role.PAYER) as opened:
        return {row.payee_id: row.state for row in batch_rows(opened, batch_id)}


def attempts(batch_id: str) -> dict[str, str]:
    """Attempt by payee."""
    with acting(Role.PAYER) as opened:
        return {row.payee_id: row.attempt_id for row in batch_rows(opened, batch_id) if row.attempt_id}


def ledger(currency: str = "EUR") -> dict[str, int]:
    """Balances that payouts move, by account without the currency."""
    with acting(Role.PAYER) as opened:
        found = balances(opened, "")
    return {
        code.removesuffix(f":{currency}"): total
        for code, total in found.items()
        if code.endswith(f":{currency}") and not code.startswith("royalty_expense")
    }


def change_details(
    opened: Session, payee: str, *, iban: str | None = None, bic: str | None = None, **changed: object
) -> None:
    """A new version of a payee's details, and of her account; without an IBAN if it is given empty."""
    version, details = parties_of(opened, [payee])[payee]
    known = opened_account(opened, payee, version)
    row = PartyVersion(
        payee_id=payee,
        version=version + 1,
        salt=b"salt",
        details=details | changed,
        actor="test",
        reason="test",
    )
    opened.add(row)
    opened.flush()
    iban = iban if iban is not None else known.iban if known else ""
    if iban:
        account = BankDetails(iban, bic if bic is not None else known.bic if known else None)
        opened.add(encrypted(payee, version + 1, account, "test", "test"))
        opened.flush()


def paid(content: bytes) -> dict[str, str]:
    """End-to-end id and amount of every payment in a file."""
    root = ET.fromstring(content)
    name = {"p": NAMESPACE}
    return {
        str(transfer.findtext("p:PmtId/p:EndToEndId", namespaces=name)): str(
            transfer.findtext("p:Amt/p:InstdAmt", namespaces=name)
        )
        for transfer in root.iterfind(".//p:CdtTrfTxInf", name)
    }


BANK_FILES = Path(__file__).parent / "bank_files"


def take(content: bytes | str, name: str = "bank.xml") -> Taken:
    """Import a bank's file, or one of `bank_files` by its name."""
    if isinstance(content, str):
        name, content = content, (BANK_FILES / content).read_bytes()
    with acting(Role.PAYER) as opened:
        return take_file(opened, BytesIO(content), name, "ann")


def holds() -> dict[str, list[str]]:
    """Why payees are held, by payee."""
    found: dict[str, list[str]] = {}
    with acting(Role.PAYER) as opened:
        for hold in open_holds(opened):
            found.setdefault(hold.payee_id, []).append(hold.reason)
    return found


def checks() -> dict[str, tuple[str | None, str | None]]:
    """Fault and attention by payee, of every payout that has one."""
    with acting(Role.AUDITOR) as opened:
        return {
            check.payout_id.split("/")[1]: (check.fault, check.attention) for check in payout_checks(opened)
        }
