"""What readers of bank messages give: a header, statements, and lines, whatever the message and the bank's dialect."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NamedTuple
from xml.etree.ElementTree import Element

from settlement.money import MAX_MICROS, MICROS
from settlement.payouts.bank_messages.codes import Says

_DECIMAL = re.compile(r"\+?([0-9]{1,18})(?:\.([0-9]{0,6})0*)?")
_NO_REFERENCE = frozenset({"NOTPROVIDED", "NOT PROVIDED", "NONREF", "NOTAVAILABLE", "UNKNOWN", "N/A"})
_MAX_REFERENCE = 70


@dataclass(frozen=True, slots=True)
class Header:
    """What kind of message it is, and what the bank calls it."""

    kind: str
    """pain.002 | camt.053 | camt.054"""
    version: str
    """Two digits of the schema's version; empty where the namespace does not tell."""
    message_id: str
    created_at: datetime | None


class Statement(NamedTuple):
    """One account's statement or notification in a message; balances in micros, None where there are none."""

    number: int
    statement_id: str
    account: str | None
    currency: str | None
    opening: int | None
    closing: int | None
    closing_on: date | None


class Line(NamedTuple):
    """One thing that a message says: of one payment, or of all payments of a file of ours."""

    says: Says
    references: tuple[str, ...] = ()
    """Ids that may be an attempt's: of one and the same payment."""
    file: str | None = None
    """The message or payment information of ours that is meant as a whole, where no payment is."""
    amount: int | None = None
    """Micros; of a booking below zero where money goes out. Of a whole file its sum."""
    currency: str | None = None
    on: date | None = None
    """Booking date."""
    status: str | None = None
    reason: str | None = None
    bank_reference: str | None = None
    """The bank's own, of the booking."""
    charges: int | None = None
    statement: int | None = None
    entry: int | None = None
    """Place of the booking in its statement: several lines are details of one."""
    entry_amount: int | None = None
    problem: str | None = None
    """Why it cannot be taken as it stands."""


def micros(text: str | None) -> int | None:
    """Micros of an amount as banks write it (`20`, `20.0`, `+20.00`); None if there is none or it is no amount."""
    match = _DECIMAL.fullmatch(text) if text else None
    if match is None:
        return None
    amount = int(match[1]) * MICROS + int((match[2] or "").ljust(6, "0"))
    return amount if amount <= MAX_MICROS else None


def money(element: Element | None) -> tuple[int | None, str | None]:
    """Micros and currency of an element like `<Amt Ccy="EUR">20.00</Amt>`."""
    if element is None:
        return None, None
    return micros((element.text or "").strip()), element.get("Ccy")


def reference(text: str | None) -> str | None:
    """An id that identifies something; None for what banks write where they have none."""
    if not text or text.upper() in _NO_REFERENCE or len(text) > _MAX_REFERENCE or not text.isprintable():
        return None
    return text


def code(text: str | None) -> str | None:
    """A code, standard or the bank's own, cut to 35 characters."""
    return text[:35] if text and text.isprintable() else None


def day(text: str | None) -> date | None:
    """The day of a date, or of a date with a time, as it stands there; None if it is none."""
    try:
        return date.fromisoformat(text[:10]) if text else None
    except ValueError:
        return None


def instant(text: str | None) -> datetime | None:
    """A date with a time; without a zone it is taken for UTC."""
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found
