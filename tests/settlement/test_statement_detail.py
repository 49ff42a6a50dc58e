"""A statement's lines: their records, their digest, and the CSV."""

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settlement.money import from_decimal
from settlement.statements.csv import COLUMNS, detail_csv
from settlement.statements.detail import FIELDS, Detail, Line, Total, record, summarise
from tests.settlement.statement_example import LINES

texts = st.text(st.characters(codec="utf-8"), min_size=1)


def rows(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def test_a_record_is_a_copy_row() -> None:
    assert record(LINES[0]) == (
        b"refund-1/sale-2/art-1/pay-1\trefund\t2026-11\t2026-10\t2026-10-06\tDE\tsale-2\timg-2\tsd-v1-5\tart-1\t"
        b"exact-1\t311585366\tattribution\tstandard-1\tcontract-1\t700000000\t1000000\t300000\t-65433\tEUR\t"
        b"sale-2/art-1/pay-1\n"
    )
    awkward = replace(LINES[1], sale="a\tb\\N\n", contract=None)
    assert b"\ta\\tb\\\\N\\n\t" in record(awkward)
    assert b"\tstandard-1\t\\N\t" in record(awkward)


@given(texts, texts)
def test_records_are_injective(one: str, other: str) -> None:
    first, second = replace(LINES[1], sale=one, image=other), replace(LINES[1], sale=other, image=one)
    assert (record(first) == record(second)) == (one == other)
    assert record(first).count(b"\t") == len(FIELDS) - 1
    assert record(first).count(b"\n") == 1


def test_the_detail_of_the_example() -> None:
    assert summarise(LINES) == Detail(
        3,
        (Total("refund", "EUR", 1, -65_433), Total("royalty", "EUR", 2, 89_067)),
        hashlib.sha256(b"".join(map(record, LINES))).hexdigest(),
    )
    assert summarise([]) == Detail(0, (), hashlib.sha256(b"").hexdigest())


@pytest.mark.parametrize("lines", [LINES[::-1], [*LINES, LINES[-1]]])
def test_lines_out_of_order_are_refused(lines: list[Line]) -> None:
    with pytest.raises(ValueError, match="out of order"):
        summarise(lines)


def test_the_file_adds_up() -> None:
    data = b"".join(detail_csv(LINES))
    assert data == b"".join(detail_csv(LINES))
    assert data.startswith((",".join(COLUMNS) + "\r\n").encode())
    assert data.endswith(b"\r\n")
    read = rows(data)
    assert [row["record"] for row in read] == ["line"] * 3 + ["total"] * 2 + ["sha256"]
    for total in read[3:5]:
        of_kind = [row for row in read[:3] if row["kind"] == total["kind"]]
        assert int(total["row"]) == len(of_kind)
        assert from_decimal(total["amount"]) == sum(from_decimal(row["amount"]) for row in of_kind)
    assert (read[5]["row"], read[5]["line"]) == ("3", summarise(LINES).sha256)
    assert read[0]["amount"] == "-0.065433"
    assert read[0]["share"] == "0.311585366"
    assert read[0]["usage_date"] == "2026-10-06"
    assert read[1]["corrects"] == ""


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\n=1", "＝1+1"])
def test_a_formula_is_disarmed_in_text_only(text: str) -> None:
    row = rows(b"".join(detail_csv([replace(LINES[0], image=text)])))[0]
    assert row["image"] == "'" + text
    assert row["amount"].startswith("-")


@given(texts.filter(lambda text: text[0] not in "=+-@\t\r\n＝＋－＠"))
def test_text_comes_back(text: str) -> None:
    assert rows(b"".join(detail_csv([replace(LINES[0], image=text)])))[0]["image"] == text


def test_the_file_is_written_as_the_lines_come() -> None:
    taken = 0

    def many() -> Iterator[Line]:
        nonlocal taken
        for number in range(5_000):
            taken += 1
            yield replace(LINES[1], line=f"sale-{number:06}/art-1/pay-1")

    pieces = detail_csv(many())
    first = next(pieces)
    assert taken < 1_000
    assert len(rows(first + b"".join(pieces))) == 5_002
