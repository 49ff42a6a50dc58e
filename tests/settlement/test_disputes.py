"""Disputes of payees: about what, opened and answered once, hers alone to read, on her next statement while open."""

from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from database.engine import conninfo, engine
from database.engine import session as open_session
from database.errors import Conflict, Invalid, NotFound, Refused
from database.roles import Role
from settlement.disputes import answer_dispute, disputes, find_dispute, open_dispute
from settlement.ledger import balances
from settlement.privacy import erase_payee, export_payee
from settlement.statements.body import parse
from settlement.statements.models import find_statement
from tests.settlement.periods.conftest import november, october, settle

HERS = "2026-10/pay-1/EUR"


@pytest.fixture(scope="module")
def settled(module_database: str) -> str:
    """October closed, for the module's tests to share."""
    october()
    return module_database


@pytest.fixture
def closed(settled: str) -> Iterator[Session]:
    """October closed, in a superuser's transaction that is rolled back."""
    with engine(Role.ADMIN).connect() as connection, Session(connection, expire_on_commit=False) as db:
        yield db
        db.rollback()


def test_a_dispute_is_about_a_statement_a_line_or_a_sale_of_it(closed: Session) -> None:
    before = balances(closed, "")
    numbers = [
        open_dispute(closed, HERS, "all of it is wrong"),
        open_dispute(closed, HERS, "my share", line="sale-1/art-1/pay-1"),
        open_dispute(closed, HERS, "sold twice", sale="sale-2"),
    ]
    found = disputes(closed)
    assert [(view.number, view.about, view.subject, view.payee_id) for view in found] == [
        (numbers[2], "sale", "sale-2", "pay-1"),
        (numbers[1], "line", "sale-1/art-1/pay-1", "pay-1"),
        (numbers[0], "statement", None, "pay-1"),
    ]
    assert [view.number for view in disputes(closed, before=numbers[2], limit=1)] == [numbers[1]]
    # It moves nothing and holds nothing up.
    assert balances(closed, "") == before
    assert closed.execute(text("SELECT * FROM settlement.hold")).all() == []


def test_the_same_again_is_the_same_dispute(closed: Session) -> None:
    number = open_dispute(closed, HERS, "sold twice", sale="sale-2")
    assert open_dispute(closed, HERS, "sold twice", sale="sale-2") == number
    with pytest.raises(Conflict, match=f"dispute {number} about this is open"):
        open_dispute(closed, HERS, "something else", sale="sale-2")
    answer_dispute(closed, number, "rejected", "two copies were sold", actor="mara")
    # Answered: she may object again.
    assert open_dispute(closed, HERS, "sold twice", sale="sale-2") > number


def test_what_cannot_be_disputed(closed: Session) -> None:
    for statement, words, about, error in (
        ("2026-10/nobody/EUR", "x", {}, NotFound),
        (HERS, "  ", {}, Invalid),
        (HERS, "x" * 4001, {}, Invalid),
        (HERS, "\x00", {}, Invalid),
        (HERS, "x", {"line": "sale-1/art-1/pay-1", "sale": "sale-1"}, Invalid),
        (HERS, "x", {"line": "sale-1/art-1/pay-2"}, NotFound),
        (HERS, "x", {"sale": "sale-3"}, NotFound),
        (HERS, "x", {"sale": "' OR true --"}, NotFound),
        (HERS, "x", {"sale": ""}, NotFound),
    ):
        with pytest.raises(error):
            open_dispute(closed, statement, words, line=about.get("line"), sale=about.get("sale"))
    assert disputes(closed) == []


def test_until_the_day_that_the_statement_says(closed: Session) -> None:
    until = parse(find_statement(closed, HERS).body.encode())["dispute"]["until"]
    assert until == "2027-11-01"
    last, after = datetime(2027, 11, 1, 23, tzinfo=UTC), datetime(2027, 11, 2, tzinfo=UTC)
    number = open_dispute(closed, HERS, "late", now=last)
    answer_dispute(closed, number, "rejected", "no", actor="mara")
    with pytest.raises(Refused, match="could be disputed until 2027-11-01"):
        open_dispute(closed, HERS, "too late", now=after)
    # An operator may take it all the same.
    assert open_dispute(closed, HERS, "too late", now=after, actor="mara") > number


def test_it_is_answered_once_with_a_reason(closed: Session) -> None:
    number = open_dispute(closed, HERS, "all of it is wrong", actor="mara")
    with pytest.raises(NotFound, match="no dispute"):
        answer_dispute(closed, number + 1, "rejected", "no", actor="mara")
    with pytest.raises(Invalid, match="say why"):
        answer_dispute(closed, number, "rejected", " ", actor="mara")
    with pytest.raises(Invalid, match="leads to no correction"):
        answer_dispute(closed, number, "rejected", "no", actor="mara", correction_id="c-1")
    with pytest.raises(NotFound, match="no correction c-1"):
        answer_dispute(closed, number, "accepted", "yes", actor="mara", correction_id="c-1")
    answer_dispute(closed, number, "accepted", "yes", actor="mara")
    view = find_dispute(closed, number)
    assert (view.outcome, view.reason, view.correction_id) == ("accepted", "yes", None)
    assert disputes(closed, only_open=True) == []
    with pytest.raises(Conflict, match=f"dispute {number} was accepted already, by mara"):
        answer_dispute(closed, number, "rejected", "no", actor="chen")
    [row] = closed.execute(text("SELECT opened_by, answered_by, words FROM audit.disputes")).all()
    assert tuple(row) == ("mara", "mara", "all of it is wrong")


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        (
            "INSERT INTO settlement.dispute (payee_id, statement_id, about) VALUES ('pay-2', '{}', 'statement')",
            "dispute_of_own_statement",
        ),
        (
            "INSERT INTO settlement.dispute (payee_id, statement_id, about) VALUES ('pay-1', '{}', 'line')",
            "dispute_subject_if_part",
        ),
        (
            "INSERT INTO settlement.dispute_answer (dispute_id, outcome, reason, actor)"
            " SELECT id, 'perhaps', 'x', 'y' FROM settlement.dispute",
            "dispute_answer_outcome_known",
        ),
        ("UPDATE settlement.dispute SET subject = NULL", "append-only"),
        ("DELETE FROM settlement.dispute_answer", "append-only"),
    ],
)
def test_the_database_refuses(closed: Session, statement: str, constraint: str) -> None:
    open_dispute(closed, HERS, "all of it is wrong")
    with pytest.raises(DBAPIError, match=constraint):
        closed.connection().exec_driver_sql(statement.format(HERS))


@pytest.mark.parametrize("role", [Role.PORTAL, Role.PAYER, Role.APPROVER])
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO settlement.dispute (payee_id, statement_id, about)"
        " VALUES ('pay-1', '2026-10/pay-1/EUR', 'statement')",
        "INSERT INTO settlement.dispute_answer (dispute_id, outcome, reason, actor) VALUES (1, 'accepted', 'x', 'y')",
        "DELETE FROM party.dispute_words",
    ],
)
def test_nobody_else_writes_them(settled: str, role: Role, statement: str) -> None:
    with psycopg.connect(conninfo(role)) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)


def test_the_next_statement_tells_what_is_open(database: str) -> None:
    october()
    with open_session(Role.SETTLEMENT) as session:
        first = open_dispute(session, HERS, "sold twice", sale="sale-2")
        second = open_dispute(session, HERS, "my share", line="sale-1/art-1/pay-1")
        answer_dispute(session, second, "rejected", "as agreed", actor="mara")
        open_dispute(session, "2026-10/pay-2/EUR", "and me?")
    november(pay=lambda: None)
    with open_session(Role.SETTLEMENT) as session:
        body = parse(find_statement(session, "2026-11/pay-1/EUR").body.encode())
        assert [(dispute["key"], dispute["statement"], dispute["about"]) for dispute in body["disputes"]] == [
            (f"dispute:{first}", HERS, "sale-2")
        ]
        assert body["summary"]["of_which"]["held"] == "0.000000"
        answer_dispute(session, first, "accepted", "it was", actor="mara")
    settle("2026-12", datetime(2027, 1, 1, tzinfo=UTC))
    with open_session(Role.SETTLEMENT) as session:
        body = parse(find_statement(session, "2026-12/pay-1/EUR").body.encode())
        assert body["disputes"] == []


def test_her_words_go_with_her(database: str) -> None:
    october()
    with open_session(Role.SETTLEMENT) as session:
        number = open_dispute(session, HERS, "I, Mara Vell, was sold twice")
        answer_dispute(session, number, "rejected", "no", actor="mara")
    with (
        open_session(Role.SETTLEMENT) as session,
        open_session(Role.PAYER) as payer,
        open_session(Role.IDENTITY) as identity,
    ):
        tables = export_payee(session, payer, identity, "pay-1", actor="ops", reason="asked")["tables"]
        assert tables["party.dispute_words"] == [
            {"dispute_id": number, "words": "I, Mara Vell, was sold twice"}
        ]
        assert tables["settlement.dispute_answer"][0]["outcome"] == "rejected"
    with open_session(Role.SETTLEMENT) as session:
        erase_payee(session, "pay-1", actor="ops", reason="asked", unpaid=True)
    with open_session(Role.SETTLEMENT) as session:
        view = find_dispute(session, number)
        assert (view.words, view.outcome) == (None, "rejected")
