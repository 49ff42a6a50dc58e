"""Statements of nothing: every payee gets one where the platform wants that, and none otherwise."""

import json
from datetime import UTC, datetime
from pathlib import Path

import jsonschema_rs
import pytest
from sqlalchemy.orm import Session

from settlement.periods.calendar import open_period
from settlement.statements import body as statement_body
from settlement.statements.body import MOVEMENTS, parse
from settlement.statements.files import statement_files
from settlement.statements.models import issued_statements
from tests.settlement.events import CATALOGUE, load_terms
from tests.settlement.periods.conftest import settle_in

SCHEMA = json.loads((Path(statement_body.__file__).parent / "schema.json").read_text())
NOW = datetime(2026, 11, 2, tzinfo=UTC)


@pytest.mark.parametrize("wanted", [True, False])
def test_who_earned_nothing(db: Session, wanted: bool) -> None:
    platform = "  currency: EUR\n  valid_from"
    assert CATALOGUE.count(platform) == 1
    terms = CATALOGUE.replace(
        platform, f"  currency: EUR\n  zero_statements: {str(wanted).lower()}\n  valid_from"
    )
    load_terms(db, terms)
    open_period(db, "2026-10", now=NOW)
    closing = settle_in(db, "2026-10")
    issued = issued_statements(db)
    # Everybody but the platform itself, numbered without gaps; nothing is posted for them.
    assert [(s.number, s.payee_id) for s in issued] == (
        [(1, "pay-1"), (2, "pay-2"), (3, "pay-dev")] if wanted else []
    )
    assert (closing.statements, closing.journals) == (len(issued), 0)
    for statement in issued:
        assert statement.journal_id is None
        assert {getattr(statement, name) for name in ("opening", *MOVEMENTS, "closing")} == {0}
        document = parse(statement.body.encode())
        jsonschema_rs.validate(SCHEMA, document, validate_formats=True)
        assert document["lines"]["count"] == 0
        files = statement_files(db, statement.statement_id)
        assert files["csv"].decode().count("\r\n") == 2
        assert files["pdf"].startswith(b"%PDF")
