"""Terms written past the services are refused; releases, fallback and guarantees that were falsified are found."""

import json

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from settlement.audit.verify import CHECKS, verify
from tests.settlement.events import add_images, attribute, cannot_attribute, load_terms
from tests.settlement.periods.conftest import settle_in
from tests.settlement.periods.test_terms import FALLBACK, TERMS, sell

BY_NAME = {check.name: check for check in CHECKS}
DIVIDED, SLICED = "lines divide by shares and splits", "slices follow from sales and rate cards"
LATE = (
    "(SELECT l.id FROM settlement.royalty_line AS l JOIN settlement.sale AS s ON s.id = l.sale_id"
    " WHERE l.kind = 'late' AND s.external_id = '{}' AND l.payee_id = '{}')"
)
RELEASED, FELL_TO_FUND, FELL_TO_3 = (
    LATE.format(*names) for names in (("sale-1", "pay-1"), ("sale-2", "pay-fund"), ("sale-2", "pay-3"))
)

FALSIFIED = {
    "the split of a release": (DIVIDED, f"UPDATE settlement.royalty_line SET split_ppb = 9 WHERE id = {RELEASED}"),
    "the payee of a release": (DIVIDED, f"UPDATE settlement.royalty_line SET payee_id = 'pay-2' WHERE id = {RELEASED}"),
    "the contract of a release": (
        DIVIDED,
        "UPDATE settlement.contract_split SET payee_id = 'pay-2' WHERE contract_version_id ="
        " (SELECT id FROM settlement.contract_version WHERE contract_id = 'contract-4')",
    ),
    "parts by the fallback key": (
        DIVIDED,
        "UPDATE settlement.royalty_line SET amount_micros = amount_micros +"
        f" CASE id WHEN {FELL_TO_3} THEN 1 ELSE -1 END WHERE id IN ({FELL_TO_3}, {FELL_TO_FUND})",
    ),
    "the fallback key": (
        DIVIDED,
        """UPDATE settlement.platform_version SET fallback_key = '{"pay-fund": 500000000, "pay-3": 500000000}'""",
    ),
    "a guarantee": (SLICED, "UPDATE settlement.rate_card_version SET minimum_micros = minimum_micros + 1"),
    "a guaranteed slice": (
        SLICED,
        "UPDATE settlement.sale_slice SET slice_micros = slice_micros - 1 WHERE sale_id ="
        " (SELECT id FROM settlement.sale WHERE external_id = 'sale-3')",
    ),
}  # fmt: skip


@pytest.fixture
def settled(db: Session) -> Session:
    """July to September: a share is released, others fall to the key, and one sale pays what is guaranteed."""
    load_terms(db, TERMS.replace("dispute:", f"{FALLBACK}\n  dispute:"))
    add_images(db, "img", "none", "sure")
    attribute(db, "img", {"C": 0, "art-3": 500_000_000, "art-4": 500_000_000})
    attribute(db, "sure", {"C": 500_000_000, "art-1": 500_000_000})
    cannot_attribute(db, "none", reason="below_threshold")
    sell(db, "sale-1", 7)
    sell(db, "sale-2", 7, image="none")
    sell(db, "sale-3", 7, image="sure", card="sure", base=1_000_000)
    settle_in(db, "2026-07")
    settle_in(db, "2026-08")
    contract = '  - {id: contract-4, artist: art-4, valid_from: 2026-09-30, splits: {pay-1: "100"}}\n'
    load_terms(db, f"contracts:\n{contract}")
    settle_in(db, "2026-09")
    return db


def test_releases_fallback_and_guarantees_are_recomputed(settled: Session) -> None:
    checks = [BY_NAME[DIVIDED], BY_NAME[SLICED]]
    assert verify(settled, checks).ok
    settled.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
    settled.execute(text("SET LOCAL event_triggers = off"))
    for table in ("royalty_line", "platform_version", "rate_card_version", "contract_split", "sale_slice"):
        settled.execute(text(f"ALTER TABLE settlement.{table} DISABLE TRIGGER ALL"))
    missed = []
    for what, (check, statement) in FALSIFIED.items():
        with settled.begin_nested() as savepoint:
            settled.connection().exec_driver_sql(statement)
            if not any(result.faults for result in verify(settled, [BY_NAME[check]]).results):
                missed.append(what)
            savepoint.rollback()
    assert missed == []


def again(db: Session, table: str, **changes: str) -> None:
    """Insert a copy of a table's first row with some columns changed, as SQL expressions."""
    columns = [
        name
        for (name,) in db.execute(
            text(
                "SELECT attname FROM pg_attribute WHERE attrelid = CAST(:t AS regclass) AND attnum > 0"
                " AND NOT attisdropped AND attname NOT IN ('id', 'recorded_at') ORDER BY attnum"
            ),
            {"t": table},
        )
    ]
    values = ", ".join(changes.get(name, name) for name in columns)
    statement = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table} ORDER BY id LIMIT 1"
    with db.begin_nested() as savepoint:
        db.connection().exec_driver_sql(statement)
        savepoint.rollback()


def test_a_version_does_not_begin_in_a_closed_period(db: Session) -> None:
    load_terms(db, TERMS)
    settle_in(db, "2026-07")
    for table in ("platform_version", "rate_card_version", "contract_version"):
        with pytest.raises(IntegrityError, match="would change terms of a closed period"):
            again(db, f"settlement.{table}", valid_from="'2026-07-31 23:59:59+00'")
        again(db, f"settlement.{table}", valid_from="'2026-08-01 00:00:00+00'")
    # Another thing's first version may go back.
    again(db, "settlement.rate_card_version", valid_from="'2026-07-01'", rate_card_id="'another'")


def test_a_fallback_key_names_payees_and_sums_to_one(db: Session) -> None:
    load_terms(db, TERMS)

    def platform(**key: object) -> None:
        given = f"'{json.dumps(key)}'::jsonb"
        again(
            db,
            "settlement.platform_version",
            valid_from="'2030-01-01'",
            fallback_key=given,
            fallback_after_periods="2",
        )

    platform(**{"pay-1": 400_000_000, "pay-2": 600_000_000})
    for key in ({"pay-1": 999_999_999}, {"pay-1": 10**9, "pay-2": 1}, {"pay-9": 10**9}):
        with pytest.raises(IntegrityError, match="names payees, and their parts sum to 10"):
            platform(**key)
    for wrong in (
        {},
        {"pay-1": 0},
        {"pay-1": -1},
        {"pay-1": 10**9 + 1, "pay-2": -1},
        {"pay-1": "1000000000"},
    ):
        with pytest.raises(IntegrityError, match="parts are whole numbers above zero"):
            platform(**wrong)
    with pytest.raises(IntegrityError, match="parts are whole numbers above zero"):
        platform(**{"pay-1": 0.5, "pay-2": 999_999_999.5})
    with pytest.raises(IntegrityError, match="fallback_whole"):
        again(db, "settlement.platform_version", valid_from="'2030-01-01'", fallback_after_periods="2")


def test_weights_are_whole_numbers_above_zero(db: Session) -> None:
    load_terms(db, TERMS)

    def card(weights: str, key: str = "'proxy'") -> None:
        again(
            db,
            "settlement.rate_card_version",
            valid_from="'2030-01-01'",
            distribution_key=key,
            weights=f"'{weights}'::jsonb",
        )

    card('{"C": 1, "art-1": 2}')
    for wrong in (
        "{}",
        "[1]",
        '{"C": 0}',
        '{"C": -1}',
        '{"C": 1.5}',
        '{"C": "1"}',
        '{"C": null}',
        '{"C": 1e20}',
    ):
        with pytest.raises(IntegrityError, match="parts are whole numbers above zero"):
            card(wrong)
    with pytest.raises(IntegrityError, match="weights_if_proxy"):
        card('{"C": 1}', "'attribution'")
