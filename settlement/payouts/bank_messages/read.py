"""One reader for every message that a bank sends about payouts, whatever its version."""

import re
from collections.abc import Iterator
from typing import BinaryIO

from database.errors import Invalid
from settlement.payouts.bank_messages import camt, pain002
from settlement.payouts.bank_messages.lines import Header, Line, Statement, instant
from settlement.payouts.bank_messages.stream import events, text_at

_ROOTS = {
    "CstmrPmtStsRpt": "pain.002",
    "BkToCstmrStmt": "camt.053",
    "BkToCstmrDbtCdtNtfctn": "camt.054",
}
# In its first versions a message's element was named by the message.
_OLD_ROOT = re.compile(r"(pain\.002|camt\.053|camt\.054)\.001\.[0-9]{2}")
_VERSION = re.compile(r"(?:pain\.002|camt\.05[34])\.001\.([0-9]{2})")


def read(file: BinaryIO) -> tuple[Header, Iterator[Statement | Line]]:
    """A message's header, and what it says, read from the file as it is asked for.

    Raises:
        Invalid: no `pain.002`, `camt.053` or `camt.054`, or not one that can be read; also while its lines are read.
    """
    stream = events(file)
    kind, version = "", ""
    for event, name, element in stream:
        if event == "start" and not kind:
            old = _OLD_ROOT.fullmatch(name)
            kind = old[1] if old else _ROOTS.get(name, "")
            if name == "BkToCstmrAcctRpt":
                raise Invalid(
                    "this is a camt.052, what the bank expects today: wait for the camt.053 or camt.054"
                )
            if name == "CstmrCdtTrfInitn":
                raise Invalid("this is a pain.001, what we sent: import what the bank answered")
            found = _VERSION.search(element.tag)
            version = found[1] if found else version
        elif event == "end" and name == "GrpHdr" and kind:
            message_id = text_at(element, "MsgId")
            if not message_id:
                raise Invalid(f"this {kind} has no message id: it is not as a bank writes it")
            header = Header(kind, version, message_id[:140], instant(text_at(element, "CreDtTm")))
            return header, (pain002.lines if kind == "pain.002" else camt.lines)(stream)
    raise Invalid(
        f"this {kind} has no header"
        if kind
        else "this is no pain.002, camt.053 or camt.054, which is what is read"
    )
