"""Ownership claims of third parties: what they move, who decides, and what statements and auditors read of it."""

from collections.abc import Iterator
from datetime import UTC, date, datetime

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from database.engine import conninfo, engine
from database.engine import session as open_session
from database.errors import Conflict, Invalid, NotFound, Refused
from database.roles import Role
from settlement.advances import approve_advance, pay_advance, record_advance
from settlement.audit.verify import verify
from settlement.claims import (
    OwnershipClaim,
    approve_decision,
    carry_out,
    claim_status,
    claims,
    newest_decision,
    open_claim,
    propose_decision,
)
from settlement.ledger import balance, post
from settlement.posting import CLAIM_OPENED
from settlement.privacy import erase_payee
from settlement.statements.body import parse
from settlement.statements.models import find_statement
from tests.settlement.periods.conftest import november, october, settle

NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)
OWED = {"pay-1": 184_931, "pay-2": 130_975}
"""After October."""


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


def claim(session: Session, amount: int, claim_id: str = "case-1", **changes: str) -> OwnershipClaim:
    names = {"payee_id": "pay-1", "claimant_id": "pay-2", "currency": "EUR", "actor": "mara"} | changes
    return open_claim(
        session,
        claim_id,
        names["payee_id"],
        names["claimant_id"],
        amount,
        names["currency"],
        reason="says that the contract is void",
        evidence="file 7",
        claimed_at=NOON,
        actor=names["actor"],
        expected_until=date(2026, 12, 1),
    )


def decide(session: Session, awarded: int, claim_id: str = "case-1") -> bool:
    decision = propose_decision(session, claim_id, awarded, reason="as the court has it", maker="mara")
    approve_decision(session, claim_id, decision.content_sha256, checker="chen")
    return carry_out(session, claim_id, decided_at=NOON, actor="mara")


def owed(session: Session, payee: str, currency: str = "EUR") -> int:
    return -balance(session, f"royalties_payable:{payee}:{currency}")


def disputed(session: Session) -> int:
    return -balance(session, "suspense_disputed:EUR")


def as_at_commit(session: Session) -> None:
    session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
    session.execute(text("SET CONSTRAINTS ALL DEFERRED"))


def faults(session: Session) -> list[object]:
    return [
        *session.execute(text("SELECT * FROM audit.claim_faults")).all(),
        *session.execute(text("SELECT * FROM audit.suspense_tie_out")).all(),
    ]


@pytest.mark.parametrize(("claimed", "moved"), [(100_000, 100_000), (184_931, 184_931), (10**9, 184_931)])
def test_a_claim_moves_the_smaller_of_it_and_the_balance(closed: Session, claimed: int, moved: int) -> None:
    assert claim(closed, claimed).moved_micros == moved
    as_at_commit(closed)
    assert (owed(closed, "pay-1"), disputed(closed)) == (OWED["pay-1"] - moved, moved)
    assert claim_status(closed, "case-1").state == "open"
    assert faults(closed) == []
    # What is left can be paid: a claim is no hold.
    assert closed.execute(text("SELECT * FROM settlement.hold")).all() == []


@pytest.mark.parametrize("awarded", [0, 70_000, 100_000])
def test_a_decision_gives_to_the_claimant_back_or_a_part_to_each(closed: Session, awarded: int) -> None:
    claim(closed, 100_000)
    assert decide(closed, awarded)
    as_at_commit(closed)
    assert owed(closed, "pay-1") == OWED["pay-1"] - awarded
    assert owed(closed, "pay-2") == OWED["pay-2"] + awarded
    assert disputed(closed) == 0
    status = claim_status(closed, "case-1")
    assert (status.state, status.checker) == ("decided", "chen")
    assert faults(closed) == []
    [row] = closed.execute(
        text("SELECT state, awarded, given_back, checker FROM audit.ownership_claims")
    ).all()
    assert tuple(row) == ("decided", awarded, 100_000 - awarded, "chen")
    # Again: nothing more.
    assert not carry_out(closed, "case-1", decided_at=NOON, actor="mara")
    with pytest.raises(Conflict, match="decided already"):
        propose_decision(closed, "case-1", 0, reason="other", maker="mara")


def test_nothing_owed_moves_nothing_and_is_decided_all_the_same(closed: Session) -> None:
    assert claim(closed, 200_000).moved_micros == OWED["pay-1"]
    assert claim(closed, 5, "case-2").moved_micros == 0
    # Nor in a currency in which nothing was ever sold.
    assert claim(closed, 5, "case-3", currency="JPY").moved_micros == 0
    with pytest.raises(Refused, match=r"holds 0\.00 EUR: award from none to all of it"):
        propose_decision(closed, "case-2", 1, reason="why", maker="mara")
    assert not decide(closed, 0, "case-2")
    as_at_commit(closed)
    assert [status.state for status in claims(closed)] == ["open", "decided", "open"]
    assert [status.claim.claim_id for status in claims(closed, after="case-1", limit=1)] == ["case-2"]
    keys = closed.scalars(text("SELECT key FROM ledger.journal WHERE kind LIKE 'claim%'")).all()
    assert keys == ["claim:case-1:opened"]
    assert faults(closed) == []


def test_a_balance_below_zero_moves_nothing(closed: Session) -> None:
    entry = CLAIM_OPENED.entry(
        OWED["pay-1"] + 7, "EUR", {"claim": "x", "payee": "pay-1"}, booked_at=NOON, actor="mara"
    )
    post(closed, [entry])
    assert owed(closed, "pay-1") == -7
    assert claim(closed, 5).moved_micros == 0
    as_at_commit(closed)


def test_the_same_claim_again_is_the_same(closed: Session) -> None:
    first = claim(closed, 100_000)
    assert claim(closed, 100_000) is first
    assert disputed(closed) == 100_000
    with pytest.raises(Conflict, match=r"claim case-1 is recorded otherwise: 0\.10 EUR of pay-1 for pay-2"):
        claim(closed, 100_001)


def test_what_cannot_be_claimed(closed: Session) -> None:
    for changes, amount, error in (
        ({"payee_id": "nobody"}, 1, NotFound),
        ({"claimant_id": "pay-1"}, 1, Invalid),
        ({"currency": "EURO"}, 1, Invalid),
        ({}, 0, Invalid),
        ({}, -1, Invalid),
        ({}, 2**63, Invalid),
    ):
        with pytest.raises(error):
            claim(closed, amount, **changes)
    with pytest.raises(NotFound, match="no claim nothing"):
        claim_status(closed, "nothing")


def test_two_people_decide_and_neither_opened_it_alone(closed: Session) -> None:
    claim(closed, 100_000, actor="olga")
    with pytest.raises(Refused, match="is proposed yet"):
        approve_decision(closed, "case-1", b"x", checker="chen")
    with pytest.raises(Refused, match="another person must"):
        carry_out(closed, "case-1", decided_at=NOON, actor="mara")
    with pytest.raises(Invalid, match=r"-0\.000001 cannot be awarded"):
        propose_decision(closed, "case-1", -1, reason="why", maker="mara")
    with pytest.raises(Refused, match=r"holds 0\.10 EUR"):
        propose_decision(closed, "case-1", 100_001, reason="why", maker="mara")
    with pytest.raises(Invalid, match="say why"):
        propose_decision(closed, "case-1", 1, reason=" ", maker="mara")
    first = propose_decision(closed, "case-1", 100_000, reason="why", maker="mara")
    for checker, what in (("olga", "opened"), ("mara", "proposed")):
        with pytest.raises(Refused, match=f"{checker} has {what}"):
            approve_decision(closed, "case-1", first.content_sha256, checker=checker)
    # Another one was proposed since the checker looked.
    second = propose_decision(closed, "case-1", 1, reason="why", maker="mara")
    with pytest.raises(Conflict, match="is not the one you have seen"):
        approve_decision(closed, "case-1", first.content_sha256, checker="chen")
    approval = approve_decision(closed, "case-1", second.content_sha256, checker="chen")
    assert approve_decision(closed, "case-1", second.content_sha256, checker="chen") is approval
    assert claim_status(closed, "case-1").state == "approved"
    as_at_commit(closed)
    assert faults(closed) == []


def test_nothing_is_awarded_to_somebody_who_is_no_payee(closed: Session) -> None:
    claim(closed, 100_000, claimant_id="stranger")
    with pytest.raises(Refused, match="stranger is no payee: load her"):
        propose_decision(closed, "case-1", 1, reason="why", maker="mara")
    assert decide(closed, 0)
    assert owed(closed, "pay-1") == OWED["pay-1"]


CLAIM = (
    "INSERT INTO settlement.ownership_claim (claim_id, payee_id, claimant_id, currency, amount_micros, moved_micros,"
    " reason, evidence, claimed_at, actor) VALUES ('case-2', 'pay-1', 'pay-2', 'EUR', {}, {}, 'x', 'y', now(),"
    " 'mallory')"
)
DECISION = (
    "INSERT INTO settlement.claim_decision (claim_id, number, awarded_micros, reason, content_sha256, maker)"
    " VALUES ('case-1', {}, {}, 'as the court has it', {}, 'mara')"
)
RIGHT = "sha256(convert_to(E'claim\\ncase-1\\n{0}\\npay-1\\npay-2\\nEUR\\n100000\\n{1}\\nas the court has it', 'UTF8'))"
APPROVAL = (
    "INSERT INTO settlement.approval (kind, subject, content_sha256, maker, checker)"
    " SELECT 'ownership_claim', claim_id, {}, '{}', '{}' FROM settlement.claim_decision"
)


@pytest.mark.parametrize(
    ("statements", "constraint"),
    [
        ((CLAIM.format(5, 5),), "claim_moves_what_it_says"),
        ((CLAIM.format(5, 6),), "ownership_claim_amounts"),
        ((CLAIM.format(0, 0),), "ownership_claim_amounts"),
        ((CLAIM.format(5, 0).replace("pay-2", "pay-1"),), "ownership_claim_of_another"),
        (("UPDATE settlement.ownership_claim SET moved_micros = 0",), "append-only"),
        (("DELETE FROM settlement.ownership_claim",), "append-only"),
        ((DECISION.format(1, 100_001, RIGHT.format(1, 100_001)),), "awarded_of_what_was_moved"),
        ((DECISION.format(1, 5, RIGHT.format(1, 6)),), "digest_of_the_decision"),
        ((DECISION.format(2, 5, RIGHT.format(2, 5)),), "claim_decided_once"),
        ((DECISION.format(1, -5, RIGHT.format(1, -5)),), "claim_decision_awarded"),
        (
            (
                DECISION.format(1, 5, RIGHT.format(1, 5)),
                APPROVAL.format("content_sha256", "mara", "chen"),
                DECISION.format(2, 5, RIGHT.format(2, 5)),
            ),
            "claim_decided_once",
        ),
        (
            (DECISION.format(1, 5, RIGHT.format(1, 5)), APPROVAL.format("sha256('x')", "mara", "chen")),
            "approval_of_newest_decision",
        ),
        (
            (DECISION.format(1, 5, RIGHT.format(1, 5)), APPROVAL.format("content_sha256", "rita", "chen")),
            "approval_of_newest_decision",
        ),
        (
            (DECISION.format(1, 5, RIGHT.format(1, 5)), APPROVAL.format("content_sha256", "mara", "olga")),
            "opener_is_not_checker",
        ),
        (
            (DECISION.format(1, 5, RIGHT.format(1, 5)), APPROVAL.format("content_sha256", "mara", "mara")),
            "approval_maker_is_not_checker",
        ),
    ],
)
def test_the_database_refuses(closed: Session, statements: tuple[str, ...], constraint: str) -> None:
    claim(closed, 100_000, actor="olga")
    as_at_commit(closed)
    with pytest.raises(DBAPIError) as refused:
        for statement in statements:
            closed.connection().exec_driver_sql(statement)
        as_at_commit(closed)
    assert isinstance(refused.value.orig, psycopg.Error)
    assert constraint in (refused.value.orig.diag.constraint_name or str(refused.value.orig))


def test_a_decision_is_approved_once(closed: Session) -> None:
    """Also by two who each approve what is the newest to them."""
    claim(closed, 100_000, actor="olga")
    closed.connection().exec_driver_sql(DECISION.format(1, 5, RIGHT.format(1, 5)))
    closed.connection().exec_driver_sql(APPROVAL.format("content_sha256", "mara", "chen"))
    as_at_commit(closed)
    closed.connection().exec_driver_sql(
        "SET LOCAL event_triggers = off; ALTER TABLE settlement.claim_decision DISABLE TRIGGER USER"
    )
    closed.connection().exec_driver_sql(DECISION.format(2, 6, RIGHT.format(2, 6)))
    with pytest.raises(DBAPIError, match="approval_claim_decided_once"):
        closed.connection().exec_driver_sql(
            APPROVAL.format("content_sha256", "mara", "dora") + " WHERE number = 2"
        )


def test_no_claim_takes_more_than_there_is_at_the_commit(closed: Session) -> None:
    """As when somebody pays meanwhile without waiting."""
    claim(closed, OWED["pay-1"])
    entry = CLAIM_OPENED.entry(1, "EUR", {"claim": "x", "payee": "pay-1"}, booked_at=NOON, actor="mara")
    post(closed, [entry])
    with pytest.raises(DBAPIError, match="claim case-1 moves more than payee pay-1 is owed"):
        as_at_commit(closed)


@pytest.mark.parametrize("role", [Role.PAYER, Role.PORTAL, Role.APPROVER, Role.ATTRIBUTION])
def test_only_settlement_opens_claims(settled: str, role: Role) -> None:
    with psycopg.connect(conninfo(role)) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(CLAIM.format(5, 0))


def test_journals_of_claims_are_not_for_who_pays(settled: str) -> None:
    entry = CLAIM_OPENED.entry(1, "EUR", {"claim": "x", "payee": "pay-1"}, booked_at=NOON, actor="pia")
    with (
        pytest.raises(DBAPIError, match="journal claim:x:opened is not for payer"),
        open_session(Role.PAYER) as s,
    ):
        post(s, [entry])


def test_the_check_finds_what_nobody_claimed_or_decided(closed: Session) -> None:
    claim(closed, 100_000)
    decide(closed, 40_000)
    assert faults(closed) == []
    entry = CLAIM_OPENED.entry(5, "EUR", {"claim": "x", "payee": "pay-2"}, booked_at=NOON, actor="mara")
    post(closed, [entry])
    found = {tuple(row) for row in closed.execute(text("SELECT * FROM audit.claim_faults"))}
    assert found == {
        ("claim:x:opened", "royalties_payable:pay-2:EUR", 0, 5),
        ("claim:x:opened", "suspense_disputed:EUR", 0, -5),
    }
    closed.rollback()
    # Decided by nobody: the approval is gone.
    claim(closed, 100_000)
    decide(closed, 40_000)
    as_at_commit(closed)
    closed.connection().exec_driver_sql(
        "SET LOCAL event_triggers = off; ALTER TABLE settlement.approval DISABLE TRIGGER USER"
    )
    closed.execute(text("DELETE FROM settlement.approval WHERE kind = 'ownership_claim'"))
    assert len(closed.execute(text("SELECT * FROM audit.claim_faults")).all()) == 3


def test_nobody_is_erased_whose_money_waits_for_a_decision(closed: Session) -> None:
    claim(closed, OWED["pay-1"])
    for payee in ("pay-1", "pay-2"):
        with pytest.raises(Conflict, match="claim case-1 is not decided"):
            erase_payee(closed, payee, actor="ops", reason="asked", unpaid=True)
    decide(closed, OWED["pay-1"])
    assert erase_payee(closed, "pay-1", actor="ops", reason="asked").erased


def test_from_the_claim_to_the_statements(database: str) -> None:
    """Each step as its role; the statement lists claims by the keys of their journals, and everything ties."""
    october()
    with open_session(Role.SETTLEMENT) as session:
        assert claim(session, 100_000, "lost").moved_micros == 100_000
        assert claim(session, 50_000, "won", payee_id="pay-2", claimant_id="pay-1").moved_micros == 50_000
        assert claim(session, 30_000, "shared").moved_micros == 30_000
        assert claim(session, 10_000, "waits", payee_id="pay-dev").moved_micros == 10_000
        digests = {
            name: propose_decision(session, name, awarded, reason="as agreed", maker="mara").content_sha256
            for name, awarded in (("lost", 0), ("won", 50_000), ("shared", 10_000))
        }
    for name, digest in digests.items():
        with open_session(Role.APPROVER) as session:
            approve_decision(session, name, digest, checker="chen")
        with open_session(Role.SETTLEMENT) as session:
            assert carry_out(session, name, decided_at=NOON, actor="mara")
            newest = newest_decision(session, name)
            assert newest is not None and newest.content_sha256 == digest
    november(pay=lambda: None)
    with open_session(Role.ADMIN) as session:
        expected = {"pay-1": 40_000, "pay-2": -40_000, "pay-dev": -10_000}
        for payee, moved in expected.items():
            statement = find_statement(session, f"2026-11/{payee}/EUR")
            assert statement.claims == moved and statement.adjustments == 0
        entries = parse(find_statement(session, "2026-11/pay-1/EUR").body.encode())["entries"]["claims"]
        assert [(entry["key"], entry["amount"]) for entry in entries] == [
            ("claim:lost:decided", "0.100000"),
            ("claim:lost:opened", "-0.100000"),
            ("claim:shared:decided", "0.020000"),
            ("claim:shared:opened", "-0.030000"),
            ("claim:won:decided", "0.050000"),
        ]
    with open_session(Role.AUDITOR) as session:
        report = verify(session)
        assert report.ok, [(result.name, result.faults) for result in report.results if not result.ok]
        states = session.execute(text("SELECT claim_id, state FROM audit.ownership_claims")).all()
        assert {tuple(row) for row in states} == {
            ("lost", "decided"),
            ("won", "decided"),
            ("shared", "decided"),
            ("waits", "open"),
        }


def test_nobody_claims_what_a_close_recoups(database: str) -> None:
    """A claim that comes while a close takes an advance out of the balance waits, and finds what is left: nothing."""
    october()
    with open_session(Role.SETTLEMENT) as session:
        record_advance(session, "album", "pay-1", 10**6, actor="mara", reason="album")
    with open_session(Role.APPROVER) as session:
        approve_advance(session, "album", checker="chen")
    with open_session(Role.SETTLEMENT) as session:
        pay_advance(session, "album", paid_at=NOON, actor="mara")
    tried = []

    def meanwhile(stage: str, done: int, total: int) -> None:
        if stage != "posting":
            return
        with pytest.raises(DBAPIError, match="lock timeout"), open_session(Role.SETTLEMENT) as other:
            other.execute(text("SET LOCAL lock_timeout = '200ms'"))
            claim(other, OWED["pay-1"])
        tried.append(stage)

    settle("2026-11", datetime(2026, 12, 1, tzinfo=UTC), progress=meanwhile)
    assert tried == ["posting"]
    with open_session(Role.SETTLEMENT) as session:
        assert owed(session, "pay-1") == 0
        assert claim(session, OWED["pay-1"]).moved_micros == 0
