"""The yearly transparency report of one payee: what was earned by which models, where and how, from issued statements.

It says nothing that the statements of the year do not say: every figure is a sum over their bodies, but for the number
of different images, which is counted over the lines that those bodies fix by digest. The same statements, the same
bytes; no clock, no random id.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session, undefer

from database.errors import NotFound
from settlement.money import from_decimal, to_decimal
from settlement.payees import Payee
from settlement.periods.models import Period
from settlement.statements.body import MOVEMENTS, parse
from settlement.statements.models import Statement

FORMAT = "royalty-transparency/1"


def yearly_report(session: Session, payee_id: str, year: int) -> bytes:
    """The report as canonical JSON (RFC 8785): money as decimal strings, numbers only for counts.

    Args:
        session: of any role that may read the payee's statements; an artist's own rows are enough.
        payee_id: whose.
        year: of the days on which accounting periods start.

    Raises:
        NotFound: no statement was issued to her for that year.
    """
    statements = _statements(session, payee_id, year)
    if not statements:
        if session.get(Payee, payee_id) is None:
            raise NotFound(f"there is no payee {payee_id}; `royalty statement list` shows who has statements")
        raise NotFound(f"no statement was issued to {payee_id} for {year}")
    bodies = [parse(statement.body.encode()) for statement in statements]
    last = bodies[-1]["header"]
    report = {
        "format": FORMAT,
        "header": {
            "payee": last["payee"],
            "platform": last["platform"],
            "currency": last["currency"],
            "year": f"{year:04}",
        },
        "statements": [
            {
                "statement": statement.statement_id,
                "number": statement.number,
                "sha256": statement.sha256.hex(),
            }
            for statement in statements
        ],
        "summary": _summary(bodies),
        "earnings": _earnings(bodies),
        "rate_cards": _rate_cards(bodies),
        "taxes": _taxes(bodies),
        "images": _images(session, statements),
        "methods": _unique(method for body in bodies for method in body["computation"]["methods"]),
        "measures": bodies[-1]["computation"]["measures"],
        "contracts": sorted({contract for body in bodies for contract in body["header"]["contracts"]}),
        "dispute": bodies[-1]["dispute"],
    }
    # RFC 8785, as a statement's body: ASCII keys, small integers, everything else text.
    return json.dumps(report, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _statements(session: Session, payee_id: str, year: int) -> list[Statement]:
    issued = (
        session.query(Statement)
        .options(undefer(Statement.body))
        .join(Period, Period.period_id == Statement.period_id)
        .filter(Statement.payee_id == payee_id)
        .filter(text("extract(year FROM period.starts_at AT TIME ZONE period.zone) = :year"))
        .params(year=year)
        .order_by(Period.starts_at, Statement.currency)
    )
    return issued.all()


def _summary(bodies: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """By payout currency and currency: the first opening, every movement, the last closing."""
    openings: dict[tuple[str, str], str] = {}
    closings: dict[tuple[str, str], str] = {}
    sums: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for body in bodies:
        for column in body["summary"]["columns"]:
            key = body["header"]["currency"], column["currency"]
            openings.setdefault(key, column["opening"])
            closings[key] = column["closing"]
            sums[key].update({name: from_decimal(column[name]) for name in MOVEMENTS})
    return [
        {"payout_currency": key[0], "currency": key[1], "opening": openings[key], "closing": closings[key]}
        | {name: to_decimal(sums[key][name]) for name in MOVEMENTS}
        for key in sorted(sums)
    ]


def _earnings(bodies: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By image model, territory, usage period, kind and currency: sales, their base, and what was earned."""
    names = ("model", "territory", "usage_period", "kind", "currency")
    return _sums(
        (row for body in bodies for row in body["earnings"]), names, ("base", "amount"), counts=("sales",)
    )


def _rate_cards(bodies: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By rate card: the platform's sales under it in her periods, what all players got, and what the platform kept."""
    rows = []
    for body in bodies:
        for pool in body["computation"]["pools"]:
            kept = from_decimal(pool["base"]) - from_decimal(pool["slices"])
            rows.append(pool | {"kept": to_decimal(kept)})
    return _sums(
        rows, ("rate_card", "currency", "model"), ("base", "slices", "kept", "own"), counts=("sales",)
    )


def _taxes(bodies: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By territory and rate. Statements of before there were taxes lack them."""
    rows = (row for body in bodies for row in body.get("taxes", ()))
    return _sums(rows, ("territory", "currency", "rate"), ("base", "withheld"))


def _sums(
    rows: Iterable[Mapping[str, Any]],
    names: tuple[str, ...],
    amounts: tuple[str, ...],
    counts: tuple[str, ...] = (),
) -> list[dict[str, Any]]:
    sums: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for row in rows:
        sums[tuple(row[name] for name in names)].update(
            {name: from_decimal(row[name]) for name in amounts} | {name: row[name] for name in counts}
        )
    return [
        dict(zip(names, key, strict=True))
        | {name: to_decimal(sums[key][name]) for name in amounts}
        | {name: sums[key][name] for name in counts}
        for key in sorted(sums)
    ]


def _images(session: Session, statements: Iterable[Statement]) -> int:
    """How many different images earned in these statements' lines."""
    count: int = session.execute(
        text(
            "SELECT count(DISTINCT image) FROM settlement.statement_line"
            " WHERE statement_id = ANY (:statements) AND payee_id = ANY (:payees) AND period = ANY (:periods)"
            " AND kind IN ('royalty', 'late') AND distribution_key <> 'manual'"
        ),
        {
            "statements": [statement.statement_id for statement in statements],
            "payees": sorted({statement.payee_id for statement in statements}),
            "periods": sorted({statement.period_id for statement in statements}),
        },
    ).scalar_one()
    return count


def _unique(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(
        {json.dumps(row, sort_keys=True): row for row in rows}.values(), key=lambda row: str(row["id"])
    )
