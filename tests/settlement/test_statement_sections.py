"""The sections as CSV: all that the body says, control totals that a reader can check, no formulas."""

import csv
import io
import json
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from settlement.money import from_decimal
from settlement.statements.body import canonical, identity, parse
from settlement.statements.csv import detail_csv
from settlement.statements.sections import _TOTALLED, COLUMNS, sections_csv
from tests.settlement.statement_example import BODY, LINES, long_body


def rows(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def leaves(value: Any) -> Counter[str]:
    match value:
        case dict():
            return sum((leaves(item) for item in value.values()), Counter[str]())
        case list():
            return sum((leaves(item) for item in value), Counter[str]())
        case None:
            return Counter()
    return Counter([str(value)])


@pytest.mark.parametrize("body", [BODY, long_body(40, "EUR"), long_body(5, "KWD")])
def test_all_that_the_body_says_is_there(body: Any) -> None:
    data = sections_csv(canonical(body))
    assert data == sections_csv(canonical(body))
    said = [row for row in rows(data) if row["record"] not in ("total", "sha256")]
    cells = Counter(value for row in said for name, value in row.items() if name not in ("record", "row"))
    document = parse(canonical(body))
    missing = leaves(document) - cells
    # What the body says beside the data: its own format, and digests of parties, which this table has no use for.
    expected = {document["format"], document["header"]["payee"]["party_digest"]}
    assert set(missing) == expected | {document["header"]["platform"]["party_digest"]}
    assert [row["row"] for row in said if row["record"] == "earning"] == [
        str(n) for n in range(1, len(body.earnings) + 1)
    ]


def test_control_totals_are_sums_of_their_records() -> None:
    body = canonical(long_body(40, "EUR"))
    read = rows(sections_csv(body))
    totals = [row for row in read if row["record"] == "total"]
    assert {row["name"] for row in totals} == set(_TOTALLED)
    for total in totals:
        records = [
            row
            for row in read
            if row["record"] == total["name"] and (row["currency"] or "EUR") == total["currency"]
        ]
        assert int(total["row"]) == len(records)
        field = _TOTALLED[total["name"]]
        assert from_decimal(total["amount"]) == sum(from_decimal(row[field]) for row in records)
    by_name = {(row["name"], row["currency"]): from_decimal(row["amount"]) for row in totals}
    summary = {row["currency"]: row for row in read if row["record"] == "summary"}
    for currency, column in summary.items():
        # The sections tie to the summary that stands in the same file.
        for name in ("refunds", "claims", "payments", "fx", "recoupment"):
            assert by_name.get((name, currency), 0) == from_decimal(column[name]), name
        assert by_name["earning", currency] == from_decimal(column["royalties"]) + from_decimal(
            column["late"]
        )
    assert read[-1]["name"] == identity(body)
    assert int(read[-1]["row"]) == len(read) - len(totals) - 1


def test_no_text_is_a_formula() -> None:
    hold = {
        "opened": "2026-11-01",
        "key": "hold:1",
        "reason": "=HYPERLINK(1)",
        "expected": None,
        "closed": None,
    }
    document = parse(canonical(BODY)) | {"holds": [hold]}
    read = rows(sections_csv(json.dumps(document).encode()))
    assert next(row for row in read if row["record"] == "hold")["reason"] == "'=HYPERLINK(1)"
    # Amounts are numbers: they keep their minus.
    assert next(row for row in read if row["record"] == "summary")["refunds"] == "-0.065433"


def test_a_statement_of_the_first_format_is_written_too() -> None:
    document = parse(canonical(BODY))
    for section in ("conversions", "taxes", "reserves", "advances", "disputes"):
        del document[section]
    for field in ("fx", "foreign"):
        del document["year_to_date"][field]
    assert rows(sections_csv(json.dumps(document).encode()))[0].keys() == set(COLUMNS)


def test_fifty_thousand_lines() -> None:
    """Whatever their number, the file adds up, and is written in seconds."""
    many = (replace(LINES[1], line=f"sale-{n:06}/art-1/pay-1", amount=n - 25_000) for n in range(50_000))
    began = time.process_time()
    data = b"".join(detail_csv(many))
    assert time.process_time() - began < 20
    read = rows(data)
    total = next(row for row in read if row["record"] == "total")
    assert (total["row"], total["amount"]) == ("50000", "-0.025000")
    assert sum(from_decimal(row["amount"]) for row in read if row["record"] == "line") == -25_000
    assert (read[-1]["record"], read[-1]["row"]) == ("sha256", "50000")
