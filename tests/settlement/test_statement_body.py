"""The canonical body: same facts, same bytes; parts that do not add up make no statement."""

import hashlib
import json
from dataclasses import fields, replace
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import rfc8785

from settlement.fx import parse_rate
from settlement.party import party_digest
from settlement.statements import body as statement_body
from settlement.statements.body import (
    Adjustment,
    AdvanceBalance,
    Body,
    Column,
    Conversion,
    Earned,
    Entries,
    Entry,
    HeldBack,
    Hold,
    Summary,
    canonical,
    identity,
    parse,
)
from settlement.statements.detail import Detail, Total
from tests.settlement.statement_example import BODY, long_body

SCHEMA = json.loads((Path(statement_body.__file__).parent / "schema.json").read_text())


def with_column(body: Body, **changes: Any) -> Body:
    """The body with another summary, whose closing balance is below the minimum as it was."""
    column = replace(body.summary.columns[0], **changes)
    of_which = body.summary.of_which._replace(below_minimum=column.closing)
    return replace(body, summary=Summary((column,), of_which))


def test_the_worked_example() -> None:
    document = parse(canonical(BODY))
    assert document["statement"] == "2026-11/pay-1/EUR"
    assert document["summary"]["columns"] == [
        {
            "currency": "EUR",
            "opening": "0.184931",
            "royalties": "0.089067",
            "late": "0.000000",
            "adjustments": "0.000000",
            "refunds": "-0.065433",
            "reserves": "0.000000",
            "recoupment": "0.000000",
            "tax": "0.000000",
            "claims": "0.000000",
            "fx": "0.000000",
            "payments": "-0.180000",
            "closing": "0.028565",
        }
    ]
    assert document["summary"]["of_which"] == {
        "payable": "0.000000",
        "held": "0.000000",
        "below_minimum": "0.028565",
        "below_unit": "0.000000",
    }
    assert [image["image"] for image in document["top_images"]] == ["img-1", "img-2"]
    assert document["top_images"][0]["share"] == "0.299492386"
    assert document["computation"]["methods"][0]["standard_error"] is None
    assert document["adjustments"] == []


def test_the_bytes_are_golden() -> None:
    """A change here is a change of every statement's identity: it needs a new format number."""
    assert identity(canonical(BODY)) == "73e05ccfec80d87afff720ed55d91fd8ec60de0ac11a06e71f01188ea718fc95"


def test_the_bytes_are_canonical_and_their_hash_is_the_identity() -> None:
    body = canonical(BODY)
    assert rfc8785.dumps(json.loads(body)) == body
    assert identity(body) == hashlib.sha256(body).hexdigest()


def test_the_order_of_lists_does_not_matter() -> None:
    turned = replace(
        BODY,
        history=BODY.history[::-1],
        top_images=BODY.top_images[::-1],
        header=replace(BODY.header, rate_cards=("b", "a")),
    )
    straight = replace(BODY, header=replace(BODY.header, rate_cards=("a", "b")))
    assert canonical(turned) == canonical(straight)
    holds = (Hold(date(2026, 11, 2), "hold-2", "dispute"), Hold(date(2026, 11, 1), "hold-1", "bank"))
    assert canonical(replace(BODY, holds=holds)) == canonical(replace(BODY, holds=holds[::-1]))


def test_no_number_but_counts() -> None:
    def numbers(value: Any, path: str = "") -> list[str]:
        match value:
            case dict():
                return [found for key, item in value.items() for found in numbers(item, f"{path}/{key}")]
            case list():
                return [found for item in value for found in numbers(item, path)]
            case bool() | str() | None:
                return []
        return [path]

    counts = {
        "attributed",
        "pending",
        "unattributed",
        "images_without_file",
        "sales",
        "images",
        "count",
        "lines",
    }
    assert {path.rsplit("/", 1)[1] for path in numbers(parse(canonical(BODY)))} <= counts


def test_the_body_follows_the_published_schema() -> None:
    full = replace(
        with_column(BODY, adjustments=-5, closing=28_560),
        adjustments=(Adjustment("adj-1/x", "x", "2026-10", "EUR", 10, 5, -5, "wrong rate"),),
        holds=(Hold(date(2026, 11, 1), "hold-1", "bank details returned", expected=date(2026, 12, 1)),),
        lines=replace(
            BODY.lines,
            count=BODY.lines.count + 1,
            totals=(*BODY.lines.totals, Total("adjustment", "EUR", 1, -5)),
        ),
    )
    full = replace(
        full, summary=replace(full.summary, of_which=full.summary.of_which._replace(below_minimum=28_560))
    )
    for body in (BODY, full, long_body(5)):
        jsonschema_rs.validate(SCHEMA, parse(canonical(body)), validate_formats=True)


def test_the_schema_is_strict() -> None:
    jsonschema_rs.meta.validate(SCHEMA)
    validator = jsonschema_rs.validator_for(SCHEMA, validate_formats=True)
    document = parse(canonical(BODY))

    def spoiled(value: Any) -> Any:
        """Every way to take away one key, add one, or put another type in its place."""
        match value:
            case dict():
                yield value | {"surprise": "x"}
                for key, item in value.items():
                    yield {k: v for k, v in value.items() if k != key}
                    yield from (value | {key: bad} for bad in spoiled(item))
            case list():
                yield from ([bad] for item in value[:1] for bad in spoiled(item))
                yield "not a list"
            case str():
                yield 1
                yield ""
            case int():
                yield -1
                yield str(value)
            case None:
                yield 0

    wrong = list(spoiled(document))
    assert len(wrong) > 200
    assert not [bad for bad in wrong if validator.is_valid(bad)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (with_column(BODY, closing=28_566), "do not make closing"),
        (with_column(BODY, late=1, closing=28_566), "late 1 EUR, but its lines sum to 0"),
        (with_column(BODY, tax=-1, payments=-179_999), "sum to"),
        (replace(BODY, earnings=()), "royalties 89067 EUR, but its earnings sum to 0"),
        (replace(BODY, entries=replace(BODY.entries, payments=())), "payments -180000 EUR, but its entries"),
        (replace(BODY, entries=Entries()), "entries sum to 0"),
        (replace(BODY, lines=Detail(0, (), "0" * 64)), "its lines sum to 0"),
        (replace(BODY, lines=replace(BODY.lines, count=4)), "counts of lines"),
        (replace(BODY, computation=replace(BODY.computation, pools=())), "its pools sum to 0"),
        (replace(BODY, history=()), "history ends with None"),
        (replace(BODY, history=(Earned("2026-11", 1),)), "history ends with"),
        (replace(BODY, summary=replace(BODY.summary, columns=())), "no summary column in EUR"),
        (
            replace(BODY, summary=replace(BODY.summary, columns=BODY.summary.columns * 2)),
            "two summary columns",
        ),
        (
            replace(BODY, summary=replace(BODY.summary, of_which=BODY.summary.of_which._replace(payable=1))),
            "do not explain closing",
        ),
        (
            replace(
                BODY,
                summary=replace(
                    BODY.summary, of_which=BODY.summary.of_which._replace(below_minimum=0, held=28_565)
                ),
            ),
            "held without an open hold",
        ),
        (
            replace(BODY, adjustments=(Adjustment("a", "b", "2026-10", "EUR", 1, 1, 1, "x"),)),
            "its adjustments sum to 1",
        ),
        (
            replace(BODY, advances=(AdvanceBalance("a", 9, 9, 1, 9),)),
            "advance a does not add up",
        ),
        (
            replace(BODY, advances=(AdvanceBalance("a", 9, 9, 1, 8),)),
            "advances and recoupment do not agree",
        ),
        (replace(BODY, reserves=(HeldBack("2026-10", "EUR", 5, 6),)), "a reserve gives more than was taken"),
    ],
)
def test_what_does_not_add_up_is_refused(body: Body, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        canonical(body)


def test_a_foreign_currency_is_a_column_that_closes_at_zero() -> None:
    def dollars(column: Column) -> Body:
        body = with_column(BODY, fx=900_000, closing=928_565)
        pool, earning, day = BODY.computation.pools[0], BODY.earnings[0], date(2026, 11, 30)
        fx = (Entry(day, "fx", "USD", column.fx), Entry(day, "fx", "EUR", 900_000))
        return replace(
            body,
            summary=replace(body.summary, columns=(column, *body.summary.columns)),
            entries=replace(BODY.entries, fx=fx),
            earnings=(earning, replace(earning, currency="USD", amount=1_000_000)),
            computation=replace(BODY.computation, pools=(pool, replace(pool, currency="USD", own=1_000_000))),
            conversions=(Conversion("USD", 1_000_000, parse_rate("0.9"), "ECB", day, 900_000),),
            history=(BODY.history[0], Earned("2026-11", BODY.history[1].amount + 900_000)),
            lines=Detail(4, (*BODY.lines.totals, Total("royalty", "USD", 1, 1_000_000)), "0" * 64),
        )

    document = parse(canonical(dollars(Column("USD", royalties=1_000_000, fx=-1_000_000))))
    assert [column["currency"] for column in document["summary"]["columns"]] == ["EUR", "USD"]
    with pytest.raises(ValueError, match="USD is not the payout currency"):
        canonical(dollars(Column("USD", royalties=1_000_000, fx=-999_999, closing=1)))
    right = dollars(Column("USD", royalties=1_000_000, fx=-1_000_000))
    with pytest.raises(ValueError, match="USD was not converted by its rate"):
        canonical(replace(right, conversions=(replace(right.conversions[0], rate=parse_rate("0.91")),)))
    with pytest.raises(ValueError, match="its conversions come to another sum"):
        canonical(replace(right, conversions=()))


def test_every_movement_has_its_place() -> None:
    assert tuple(field.name for field in fields(Column))[1:] == (
        "opening",
        *statement_body.MOVEMENTS,
        "closing",
    )
    assert tuple(field.name for field in fields(Entries)) == statement_body.MOVEMENTS[3:]


def test_a_party_digest_hides_and_binds() -> None:
    details: dict[str, Any] = {"name": "Ada", "address": {"town": "Köln", "country": "DE"}}
    digest = party_digest(b"salt", details)
    assert digest == hashlib.sha256(b"salt" + rfc8785.dumps(details)).hexdigest()
    assert digest != party_digest(b"other", details)
