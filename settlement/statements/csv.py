"""A statement's lines as CSV: for spreadsheets, for scripts, and for adding up.

RFC 4180 in UTF-8 with a header row; ISO dates, '.' decimals, no thousands marks; the same lines give the same bytes.
The first column says what a record is: `line`; after them `total`, one per kind and currency, with the number of lines
in ``row`` and their sum in ``amount``; and last `sha256`, with the number of all lines in ``row`` and in ``line`` their
digest, which stands in the statement's body too.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import date

from settlement.money import share_to_decimal, to_decimal
from settlement.statements.detail import FIELDS, Line, Tally, values

COLUMNS = ("record", "row", *FIELDS)

_SHARES = frozenset({"share", "split"})
# Also the full-width forms, which some spreadsheets read as the same, and a line break before a sign.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_PIECE = 1 << 16


def detail_csv(lines: Iterable[Line]) -> Iterator[bytes]:
    """The file in pieces of about 64 KiB, written as ``lines`` come: any number of them in constant memory.

    Raises ValueError if the lines do not come by id in byte order, each once.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    tally = Tally()
    writer.writerow(COLUMNS)
    for row, line in enumerate(lines, 1):
        tally.add(line)
        writer.writerow(("line", row, *map(_cell, FIELDS, values(line))))
        if text.tell() >= _PIECE:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    detail = tally.detail()
    sparse = csv.DictWriter(text, COLUMNS, lineterminator="\r\n")
    for total in detail.totals:
        amount = to_decimal(total.amount)
        sparse.writerow(
            {
                "record": "total",
                "row": total.lines,
                "kind": total.kind,
                "amount": amount,
                "currency": total.currency,
            }
        )
    sparse.writerow({"record": "sha256", "row": detail.count, "line": detail.sha256})
    yield text.getvalue().encode()


def _cell(name: str, value: str | int | date | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return share_to_decimal(value) if name in _SHARES else to_decimal(value)
    if isinstance(value, date):
        return value.isoformat()
    return disarmed(value)


def disarmed(text: str) -> str:
    """Text as a spreadsheet shows it, where it would otherwise run it as a formula. Not for amounts with a minus."""
    return f"'{text}" if text.startswith(_FORMULA) else text
