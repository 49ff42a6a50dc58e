"""A statement's sections as CSV: everything that its body says, a record each, in one table for spreadsheets.

As `settlement.statements.csv`, which has the lines: RFC 4180, UTF-8, ISO dates, '.' decimals, no formulas. The column
`record` names the section, `row` counts in it; every other column is a field of the body's records, empty where a
section has no such field. After them come control totals, `total` with the section in `name`, the number of its
records in `row` and their sum in `amount`, by currency; and last `sha256`, with the statement's identity in `name`.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from settlement.balance import OfWhich
from settlement.money import from_decimal, to_decimal
from settlement.statements.body import (
    Adjustment,
    AdvanceBalance,
    Column,
    Conversion,
    Counts,
    Dispute,
    Earned,
    Earning,
    Entry,
    ForeignYear,
    HeldBack,
    Hold,
    Method,
    OpenDispute,
    Pool,
    StatementPeriod,
    TaxSum,
    TopImage,
    YearToDate,
    identity,
    parse,
)
from settlement.statements.csv import disarmed
from settlement.statements.detail import Total

_RECORDS = (
    *(
        Column,
        Pool,
        Counts,
        Method,
        Earning,
        Earned,
        TopImage,
        Adjustment,
        Entry,
        Conversion,
        TaxSum,
        HeldBack,
    ),
    *(AdvanceBalance, Hold, OpenDispute, YearToDate, ForeignYear, Dispute, StatementPeriod),
)
_FIELDS = dict.fromkeys(
    (
        *("currency", "payee", "platform", "amount"),
        *(field.name for record in _RECORDS for field in fields(record) if field.name != "foreign"),
        *OfWhich._fields,
        *Total._fields,
        *("count", "images_without_file", "measures"),
    )
)
COLUMNS = ("record", "row", "name", *_FIELDS)

_TOTALLED = {
    "summary": "closing",
    "pool": "own",
    "earning": "amount",
    "history": "amount",
    "lines": "amount",
    "adjustment": "difference",
    "conversion": "amount",
    "tax": "withheld",
    "reserve": "left",
    "advance": "recouped",
    **dict.fromkeys(
        ("refunds", "reserves", "recoupment", "tax_entries", "claims", "fx", "payments"), "amount"
    ),
}
"""Of each section that has amounts, the field that its control total sums."""

_NUMBER = re.compile(r"-?\d+\.\d+")


def sections_csv(body: bytes) -> bytes:
    """The file of a statement's body, whatever the version of its format: the same body, the same bytes."""
    document = parse(body)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\r\n", restval="")
    writer.writeheader()
    payout = document["header"]["currency"]
    rows: Counter[str] = Counter()
    counts: Counter[tuple[str, str]] = Counter()
    sums: Counter[tuple[str, str]] = Counter()
    for record, values in _records(document):
        rows[record] += 1
        writer.writerow(
            {"record": record, "row": rows[record]}
            | {name: _cell(value) for name, value in values.items() if value is not None}
        )
        if (field := _TOTALLED.get(record)) is not None:
            key = record, values.get("currency", payout)
            counts[key] += 1
            sums[key] += from_decimal(values[field])
    for (record, currency), amount in sums.items():
        writer.writerow(
            {
                "record": "total",
                "name": record,
                "row": counts[record, currency],
                "currency": currency,
                "amount": to_decimal(amount),
            }
        )
    writer.writerow({"record": "sha256", "row": rows.total(), "name": identity(body)})
    return text.getvalue().encode()


def _records(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every record of a body, by section, in the order in which a reader meets them."""
    header, computation = document["header"], document["computation"]
    yield (
        "statement",
        {
            "name": document["statement"],
            "currency": header["currency"],
            "payee": header["payee"]["id"],
            "platform": header["platform"]["id"],
        },
    )
    yield "period", header["period"]
    for record in ("rate_cards", "contracts"):
        yield from ((record.removesuffix("s"), {"name": name}) for name in header[record])
    yield from (("summary", column) for column in document["summary"]["columns"])
    yield "of_which", document["summary"]["of_which"] | {"currency": header["currency"]}
    yield from (("pool", pool) for pool in computation["pools"])
    for counted in ("sales", "images"):
        yield "counts", {"name": counted} | computation[counted]
    yield "counts", {"name": "files", "images_without_file": computation["images_without_file"]}
    yield from (("method", method) for method in computation["methods"])
    yield "measures", {"measures": computation["measures"]}
    yield from (("earning", earning) for earning in document["earnings"])
    yield from (("history", earned) for earned in document["history"])
    yield from (("top_image", image) for image in document["top_images"])
    yield from (("lines", total) for total in document["lines"]["totals"])
    yield "detail", {"count": document["lines"]["count"], "sha256": document["lines"]["sha256"]}
    yield from (("adjustment", adjustment) for adjustment in document["adjustments"])
    for name, entries in document["entries"].items():
        yield from (("tax_entries" if name == "tax" else name, entry) for entry in entries)
    # Statements of before there were such sections lack them.
    for section, record in (
        ("conversions", "conversion"),
        ("taxes", "tax"),
        ("reserves", "reserve"),
        ("advances", "advance"),
        ("holds", "hold"),
        ("disputes", "open_dispute"),
    ):
        yield from ((record, one) for one in document.get(section, ()))
    year = dict(document["year_to_date"])
    foreign = year.pop("foreign", ())
    yield "year", year | {"currency": header["currency"]}
    yield from (("year", one | {"year": year["year"]}) for one in foreign)
    yield "dispute", document["dispute"]


def _cell(value: str | int) -> str:
    text = str(value)
    return text if _NUMBER.fullmatch(text) else disarmed(text)
