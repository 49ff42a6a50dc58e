"""Reader of `pain.002`, the customer payment status report: every version, and the dialects of its levels.

A status stands at the group (the whole file), at the payment information (the whole file too: ours have one each) or at
the transaction. A transaction without a status of its own has that of the level above it.
"""

from collections.abc import Iterable, Iterator
from xml.etree.ElementTree import Element

from settlement.payouts.bank_messages.codes import DUPLICATES, STATUS, Says
from settlement.payouts.bank_messages.lines import Line, code, micros, money, reference
from settlement.payouts.bank_messages.stream import child, children, text_at


def lines(events: Iterable[tuple[str, str, Element]]) -> Iterator[Line]:
    """The lines of a report, from the events after its header."""
    group: Element | None = None
    block: Element | None = None
    for event, name, element in events:
        if event == "start":
            if name == "OrgnlPmtInfAndSts":
                block = element
        elif name == "OrgnlGrpInfAndSts":
            group = element
            yield from _whole(element, "GrpSts", reference(text_at(element, "OrgnlMsgId")))
        elif name == "TxInfAndSts":
            yield _transaction(element, group, block)
        elif name == "OrgnlPmtInfAndSts":
            file = reference(text_at(element, "OrgnlPmtInfId")) or reference(text_at(group, "OrgnlMsgId"))
            yield from _whole(element, "PmtInfSts", file)
            block = None


def _whole(element: Element, tag: str, file: str | None) -> Iterator[Line]:
    """What is said of a whole file; nothing is where the level has no status."""
    status = text_at(element, tag)
    if status is None:
        return
    says, reason, problem = _meaning(status, [element])
    total = micros(text_at(element, "OrgnlCtrlSum"))
    if file is None:
        problem = "it names no file"
    yield Line(says, file=file, amount=total, status=code(status), reason=reason, problem=problem)


def _transaction(element: Element, group: Element | None, block: Element | None) -> Line:
    status = text_at(element, "TxSts") or text_at(block, "PmtInfSts") or text_at(group, "GrpSts")
    levels = [level for level in (element, block, group) if level is not None]
    says, reason, problem = _meaning(status, levels)
    ids = (text_at(element, f"Orgnl{name}") for name in ("EndToEndId", "InstrId", "TxId"))
    references = tuple(dict.fromkeys(found for found in map(reference, ids) if found))
    amounts = child(child(element, "OrgnlTxRef"), "Amt")
    instructed = child(amounts, "InstdAmt")
    amount, currency = money(instructed)
    if instructed is not None and amount is None:
        problem = "its amount cannot be read"
    return Line(
        says,
        references=references,
        amount=amount,
        currency=currency,
        status=code(status),
        reason=reason,
        bank_reference=reference(text_at(element, "AcctSvcrRef")),
        problem=problem or (None if references else "it names no payment"),
    )


def _meaning(status: str | None, levels: list[Element]) -> tuple[Says, str | None, str | None]:
    """What a status says, the reason of the nearest level that gives one, and a problem."""
    reason = next(
        (
            found
            for level in levels
            for information in children(level, "StsRsnInf")
            for found in (text_at(information, "Rsn/Cd") or text_at(information, "Rsn/Prtry"),)
            if found
        ),
        None,
    )
    if status is None:
        return Says.UNCLEAR, code(reason), "it has no status"
    if status not in STATUS:
        return Says.UNCLEAR, code(reason), f"its status {status[:10]!r} is not known"
    says = STATUS[status][0]
    # Refused because the bank has it already: the first one may have been paid, so nothing may be given back.
    if says is Says.REJECTED and reason in DUPLICATES:
        says = Says.UNKNOWN
    return says, code(reason), None
