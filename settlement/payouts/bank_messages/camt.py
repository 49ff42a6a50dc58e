"""Reader of `camt.053` (statement) and `camt.054` (notification): every version, and the banks' dialects.

A booking may be one payment, or a batch with its payments as details, or a batch without. A line is given for each
payment that can be told apart, else for the booking. Amounts are taken as they are booked: nothing is converted, and
nothing is added to them or taken off.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from xml.etree.ElementTree import Element

from settlement.payouts.bank_messages.codes import CHARGES, GERMAN_CHARGE, Says
from settlement.payouts.bank_messages.lines import Line, Statement, code, day, micros, money, reference
from settlement.payouts.bank_messages.stream import child, children, text_at

_STATEMENTS = frozenset({"Stmt", "Ntfctn"})


@dataclass(slots=True)
class _Booking:
    """An entry that is being read: what stands before its details is there when they come."""

    element: Element
    statement: int
    number: int
    details: int = 0
    waiting: Element | None = field(default=None)
    """The newest detail, until it is known whether it is the last."""
    charged: bool = False
    """Whether a detail names charges: what the booking names is their sum then."""


def lines(events: Iterable[tuple[str, str, Element]]) -> Iterator[Statement | Line]:
    """Each statement, and after it the lines of its bookings, from the events after the message's header."""
    number = entries = 0
    statement: Element | None = None
    booking: _Booking | None = None
    for event, name, element in events:
        if event == "start":
            if name in _STATEMENTS:
                number, entries, statement = number + 1, 0, element
            elif name == "Ntry" and statement is not None:
                if entries == 0:
                    yield _statement(statement, number)
                entries += 1
                booking = _Booking(element, number, entries)
        elif name == "TxDtls" and booking is not None:
            if booking.waiting is not None:
                yield _detail(booking, booking.waiting, only=False, last=False)
            booking.waiting = element
            booking.details += 1
        elif name == "Ntry" and booking is not None:
            if booking.waiting is not None:
                yield _detail(booking, booking.waiting, only=booking.details == 1, last=True)
            else:
                yield _detail(booking, None, only=True, last=True)
            booking = None
        elif name in _STATEMENTS and statement is not None:
            if entries == 0:
                yield _statement(statement, number)
            statement = None


def _statement(element: Element, number: int) -> Statement:
    """A statement's head; its balances stand before its bookings."""
    balances: dict[str, int] = {}
    currency = text_at(element, "Acct/Ccy")
    closing_on = None
    for balance in children(element, "Bal"):
        kind = text_at(balance, "Tp/CdOrPrtry/Cd")
        amount, of = money(child(balance, "Amt"))
        if kind is None or amount is None:
            continue
        # Several intermediate ones may follow each other: the first opening and the last closing are the statement's.
        signed = -amount if text_at(balance, "CdtDbtInd") == "DBIT" else amount
        if kind in ("OPBD", "PRCD"):
            balances.setdefault("opening", signed)
        elif kind == "CLBD":
            balances["closing"] = signed
            closing_on = day(text_at(balance, "Dt/Dt") or text_at(balance, "Dt/DtTm"))
        currency = currency or of
    account = text_at(element, "Acct/Id/IBAN") or text_at(element, "Acct/Id/Othr/Id")
    return Statement(
        number,
        (text_at(element, "Id") or "")[:70],
        account,
        currency,
        balances.get("opening"),
        balances.get("closing"),
        closing_on,
    )


def _detail(booking: _Booking, detail: Element | None, *, only: bool, last: bool) -> Line:
    """The line of one payment in a booking, or of the booking itself."""
    entry = booking.element
    entry_amount, entry_currency = money(child(entry, "Amt"))
    entry_sign = -1 if text_at(entry, "CdtDbtInd") == "DBIT" else 1
    direction = text_at(detail, "CdtDbtInd") or text_at(entry, "CdtDbtInd")
    amount, currency = _amount(detail)
    if amount is None and only:
        amount, currency = entry_amount, entry_currency
    charges = _charges(detail)
    booking.charged |= charges is not None
    if last and not booking.charged:
        charges = _charges(entry)
    amount = _without_charges(detail, amount, charges, direction)
    says, problem = _meaning(entry, detail, direction)
    references, file = _references(entry, detail)
    if direction not in ("DBIT", "CRDT"):
        problem = "it does not say whether money came or went"
    elif amount is None:
        problem = "the bank gives no amount for it that can be read"
    elif entry_amount is None:
        problem = "its booking has no amount that can be read"
    return Line(
        Says.UNCLEAR if problem and says is not Says.NOTED else says,
        references=references,
        file=file,
        amount=None if amount is None else -amount if direction == "DBIT" else amount,
        currency=currency or entry_currency,
        on=_day(entry, "BookgDt") or _day(entry, "ValDt"),
        status=code(text_at(entry, "BkTxCd/Domn/Fmly/SubFmlyCd") or text_at(entry, "BkTxCd/Prtry/Cd")),
        reason=_reason(detail),
        bank_reference=reference(text_at(detail, "Refs/AcctSvcrRef"))
        or reference(text_at(entry, "AcctSvcrRef")),
        charges=charges,
        statement=booking.statement,
        entry=booking.number,
        entry_amount=None if entry_amount is None else entry_sign * entry_amount,
        problem=problem,
    )


def _meaning(entry: Element, detail: Element | None, direction: str | None) -> tuple[Says, str | None]:
    status = text_at(entry, "Sts") or text_at(entry, "Sts/Cd") or text_at(entry, "Sts/Prtry")
    if status not in (None, "BOOK"):
        return Says.NOTED, None
    if _is_charge(entry, detail):
        return Says.CHARGE, None
    if direction == "CRDT":
        # Money that comes with a reference of ours is a return, or the reversal of a debit.
        return Says.RETURNED, None
    if text_at(entry, "RvslInd") in ("true", "1"):
        return Says.UNCLEAR, "the bank takes back what it had credited"
    return Says.PAID, None


def _is_charge(entry: Element, detail: Element | None) -> bool:
    """Whether the bank took it for itself: by its code, or because all that is booked is its charges."""
    for element in (detail, entry):
        family = text_at(element, "BkTxCd/Domn/Fmly/SubFmlyCd")
        own = text_at(element, "BkTxCd/Prtry/Cd") or ""
        if family in CHARGES or own in CHARGES or GERMAN_CHARGE in own.split("+"):
            return True
    booked, _ = money(child(entry, "Amt"))
    return detail is None and booked is not None and booked > 0 and _charges(entry) == booked


def _without_charges(
    detail: Element | None, amount: int | None, charges: int | None, direction: str | None
) -> int | None:
    """What was paid, where the bank books its charges in the same amount and says what it was told to pay."""
    instructed, _ = money(child(child(child(detail, "AmtDtls"), "InstdAmt"), "Amt"))
    if amount is not None and charges and instructed is not None:
        sign = 1 if direction == "DBIT" else -1
        if amount == instructed + sign * charges:
            return instructed
    return amount


def _amount(detail: Element | None) -> tuple[int | None, str | None]:
    """What is booked for a payment, where the bank's version of the message has it."""
    amounts = child(detail, "AmtDtls")
    for element in (
        child(detail, "Amt"),
        child(child(amounts, "TxAmt"), "Amt"),
        child(child(amounts, "InstdAmt"), "Amt"),
    ):
        if element is not None:
            return money(element)
    return None, None


def _references(entry: Element, detail: Element | None) -> tuple[tuple[str, ...], str | None]:
    """Ids that may be an attempt's; and, where there is none, the id of a file that may be meant."""
    found = child(detail, "Refs")
    ids = [text_at(found, name) for name in ("EndToEndId", "InstrId", "TxId")]
    ids.append(text_at(detail, "RtrInf/OrgnlEndToEndId"))
    batch = [text_at(found, name) for name in ("PmtInfId", "MsgId")]
    if detail is None:
        ids.append(text_at(entry, "NtryRef"))
    for information in children(child(entry, "NtryDtls"), "Btch"):
        batch += [text_at(information, name) for name in ("PmtInfId", "MsgId")]
    references = tuple(dict.fromkeys(one for one in map(reference, ids) if one))
    # The end-to-end id decides. What bears none of a payment's own may be of the whole file.
    own = any(reference(one) for one in (*ids[:2], ids[3]))
    return references, None if own else next((one for one in map(reference, batch) if one), None)


def _reason(detail: Element | None) -> str | None:
    returned = child(detail, "RtrInf")
    return code(text_at(returned, "Rsn/Cd") or text_at(returned, "Rsn/Prtry"))


def _charges(element: Element | None) -> int | None:
    """Charges that the bank names, in micros, whether they are in the amount or not."""
    total, found = 0, False
    for charges in children(element, "Chrgs"):
        sums = text_at(charges, "TtlChrgsAndTaxAmt") or text_at(charges, "Amt")
        records = [sums] if sums else [text_at(record, "Amt") for record in children(charges, "Rcrd")]
        for amount in map(micros, records):
            if amount is not None:
                total, found = total + amount, True
    return total if found else None


def _day(entry: Element, name: str) -> date | None:
    return day(text_at(entry, f"{name}/Dt") or text_at(entry, f"{name}/DtTm"))
