"""A statement's files: the body as issued, lines whose digest stands in it, a PDF; also for the artist herself."""

import json
from pathlib import Path

import jsonschema_rs
import pytest
import rfc8785
from sqlalchemy import text
from sqlalchemy.orm import Session

from database import identity
from database.engine import session as open_session
from database.errors import NotFound, Unavailable
from database.roles import Role
from settlement.ledger import log
from settlement.ledger.checkpoints import Head, sign_head, signer
from settlement.statements import body as statement_body
from settlement.statements.body import identity as identity_of
from settlement.statements.body import parse
from settlement.statements.detail import summarise
from settlement.statements.files import statement_files, statement_lines, write_statement_files
from settlement.statements.models import find_statement, issued_statements
from settlement.statements.proof import verify_file
from settlement.statements.sections import sections_csv

SCHEMA = json.loads((Path(statement_body.__file__).parent / "schema.json").read_text())


def test_the_files(books: Session, tmp_path: Path) -> None:
    statements = issued_statements(books, period_id="2026-11")
    assert [s.payee_id for s in statements] == ["pay-1", "pay-2", "pay-dev"]
    assert [s.period_id for s in issued_statements(books, payee_id="pay-1")] == ["2026-10", "2026-11"]
    for statement in issued_statements(books):
        detail = summarise(statement_lines(books, statement))
        stated = parse(statement.body.encode())["lines"]
        assert (detail.count, detail.sha256) == (stated["count"], stated["sha256"])
        jsonschema_rs.validate(SCHEMA, parse(statement.body.encode()), validate_formats=True)

    paths = list(write_statement_files(books, statements, tmp_path / "out"))
    assert len(paths) == len(set(paths)) == 12
    files = statement_files(books, "2026-11/pay-1/EUR")
    assert {
        format: (tmp_path / "out" / f"2026-11_pay-1_EUR.{format}").read_bytes() for format in files
    } == files
    body = find_statement(books, "2026-11/pay-1/EUR").body.encode()
    # As bytes and as a document: the body is what was issued.
    assert files["json"].startswith(b'{"statement":' + body + b',"proof":')
    assert rfc8785.dumps(json.loads(files["json"])["statement"]) == body
    assert verify_file(files["json"])[0] == identity_of(body)
    assert files["csv"].decode().count("\r\n") == 1 + 3 + 2 + 1  # header, lines, totals, digest
    assert files["sections.csv"] == sections_csv(body)
    assert files["pdf"].startswith(b"%PDF")

    with pytest.raises(NotFound, match="there is no statement 2026-12/pay-1/EUR"):
        statement_files(books, "2026-12/pay-1/EUR")
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="cannot be written"):
        list(write_statement_files(books, statements, tmp_path / "file"))


def test_an_artist_makes_the_same_files_of_her_own_and_sees_no_others(books: Session) -> None:
    with open_session(Role.IDENTITY) as session:
        user = identity.add_user(session, "vell", "a long password", ["statements:read"], ["pay-1"])
    with open_session(Role.PORTAL) as session:
        session.execute(text("SELECT set_config('app.user_id', :id, true)"), {"id": str(user.id)})
        assert [s.statement_id for s in issued_statements(session)] == [
            "2026-10/pay-1/EUR",
            "2026-11/pay-1/EUR",
        ]
        own = statement_files(session, "2026-11/pay-1/EUR")
        with pytest.raises(NotFound):
            statement_files(session, "2026-11/pay-2/EUR")
    assert own == statement_files(books, "2026-11/pay-1/EUR")


def test_a_checkpoint_that_no_key_has_signed_is_not_handed_out(books: Session) -> None:
    def handed_out() -> str | None:
        checkpoint = json.loads(statement_files(books, "2026-10/pay-1/EUR", ["json"])["json"])["proof"][
            "checkpoint"
        ]
        return None if checkpoint is None else checkpoint["note"]

    signer(books)  # the log has a key
    size = log.size(books)
    head = Head(signer(books).key.name, size, log.root(books))
    books.execute(
        text(
            "INSERT INTO ledger.checkpoint (size, origin, root, note, actor)"
            " VALUES (:size, :origin, :root, :note, 'mallory')"
        ),
        {
            "size": size,
            "origin": head.origin,
            "root": head.root,
            "note": f"{head.text()}\n\u2014 {head.origin} {'A' * 92}\n",
        },
    )
    assert handed_out() is None
    assert sign_head(books, "ann").note == handed_out()
