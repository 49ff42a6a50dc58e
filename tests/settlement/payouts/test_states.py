"""The order of states, attacked by raw SQL with the roles that may write."""

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from database.roles import Role
from tests.settlement.payouts.desk import BATCH, acting, approve, create, report, reserve, state, submit

ONE = f"{BATCH}/pay-1"

EVENT = (
    "INSERT INTO settlement.payout_event (payout_id, number, attempt_id, state, actor, occurred_at) VALUES"
    f" ('{ONE}', {{number}}, {{attempt}}, '{{state}}', 'eve', now())"
)
BATCH_EVENT = (
    "INSERT INTO settlement.batch_event (batch_id, number, state, actor)"
    f" VALUES ('{BATCH}', {{}}, '{{}}', 'eve')"
)
ATTEMPT = (
    "INSERT INTO settlement.payout_attempt (attempt_id, payout_id, number, amount_micros)"
    f" VALUES ('mine', '{ONE}', {{number}}, {{amount}})"
)
PAYOUT = (
    "INSERT INTO settlement.payout (payout_id, batch_id, payee_id, currency, balance_micros, amount_micros, decision)"
    " VALUES ('mine', '{batch}', 'pay-dev', '{currency}', 10000, 10000, 'pay')"
)
APPROVAL = (
    "INSERT INTO settlement.approval (kind, subject, content_sha256, maker, checker)"
    " SELECT 'payout_batch', batch_id, {digest}, {maker}, {checker} FROM settlement.payout_batch"
)

DRAFT, APPROVED, RESERVED, SUBMITTED, PAID, REJECTED, CANCELLED = range(7)


def advance(stage: int) -> None:
    create()
    if stage == CANCELLED:
        with acting(Role.PAYER) as opened:
            opened.execute(text(BATCH_EVENT.format(2, "cancelled")))
        return
    if stage >= APPROVED:
        approve(BATCH)
    if stage >= RESERVED:
        reserve(BATCH)
    if stage >= SUBMITTED:
        submit(BATCH)
    if stage >= PAID:
        report("paid" if stage == PAID else "rejected", f"{BATCH}-1-1")


def refused(statement: str, role: Role = Role.PAYER) -> str:
    """The constraint that refuses it, or what the server says."""
    with pytest.raises(DBAPIError) as caught, acting(role) as opened:
        opened.execute(text(statement))
    assert isinstance(caught.value.orig, psycopg.Error)
    return caught.value.orig.diag.constraint_name or str(caught.value.orig)


@pytest.mark.parametrize(
    ("stage", "number", "becomes"),
    [
        (DRAFT, 2, "submitted"),
        (DRAFT, 2, "paid"),
        (DRAFT, 3, "reserved"),
        (DRAFT, 7, "ready"),
        (RESERVED, 3, "paid"),
        (RESERVED, 3, "cancelled"),
        (RESERVED, 3, "ready"),
        (SUBMITTED, 4, "returned"),
        (SUBMITTED, 4, "submitted"),
        (SUBMITTED, 4, "cancelled"),
        (SUBMITTED, 5, "paid"),
        (PAID, 5, "rejected"),
        (PAID, 5, "paid"),
        (REJECTED, 5, "paid"),
        (REJECTED, 5, "returned"),
    ],
)
def test_a_payout_takes_no_short_cut(owing: Session, stage: int, number: int, becomes: str) -> None:
    advance(stage)
    attempt = f"'{BATCH}-1-1'" if stage >= RESERVED else "NULL"
    assert refused(EVENT.format(number=number, attempt=attempt, state=becomes)) == "payout_states_in_order"


def test_a_place_in_a_history_is_taken_once(owing: Session) -> None:
    advance(PAID)
    taken = EVENT.format(number=4, attempt=f"'{BATCH}-1-1'", state="rejected")
    assert refused(taken) == "payout_event_payout_id_number_key"
    assert refused(BATCH_EVENT.format(2, "cancelled")) == "batch_event_batch_id_number_key"


def test_an_event_names_the_payouts_own_attempt(owing: Session) -> None:
    advance(SUBMITTED)
    for attempt in ("NULL", f"'{BATCH}-2-1'"):
        assert refused(EVENT.format(number=4, attempt=attempt, state="paid")) == "payout_states_in_order"


def test_what_is_held_is_not_made_ready(owing: Session) -> None:
    with acting(Role.PAYER) as opened:
        opened.execute(
            text(
                "INSERT INTO settlement.payout_batch"
                " (batch_id, currency, execution_date, debtor_id, debtor_version, content_sha256, maker)"
                " VALUES ('mine', 'EUR', '2026-11-04', 'platform', 1, 'x', 'eve');"
            )
        )
        opened.execute(text(PAYOUT.format(batch="mine", currency="EUR").replace("10000, 'pay'", "0, 'held'")))
    ready = EVENT.format(number=1, attempt="NULL", state="ready").replace(ONE, "mine")
    assert refused(ready) == "payout_states_in_order"
    other = (
        PAYOUT.format(batch="mine", currency="USD").replace("('mine'", "('other'").replace("pay-dev", "pay-1")
    )
    assert refused(other) == "payouts_fixed_with_draft"


@pytest.mark.parametrize("stage", [DRAFT, APPROVED, SUBMITTED])
def test_nobody_joins_a_batch_that_is_made(owing: Session, stage: int) -> None:
    advance(stage)
    assert refused(PAYOUT.format(batch=BATCH, currency="EUR")) == "payouts_fixed_with_draft"


@pytest.mark.parametrize(
    ("stage", "number", "becomes"),
    [
        (DRAFT, 2, "submitting"),
        (DRAFT, 2, "submitted"),
        (DRAFT, 3, "submitting"),
        (DRAFT, 9, "draft"),
        (APPROVED, 3, "submitted"),
        (APPROVED, 3, "settled"),
        (RESERVED, 4, "cancelled"),
        (RESERVED, 4, "approved"),
        (SUBMITTED, 5, "submitting"),
        (SUBMITTED, 5, "cancelled"),
        (CANCELLED, 3, "approved"),
        (CANCELLED, 3, "submitting"),
    ],
)
def test_a_batch_takes_no_short_cut(owing: Session, stage: int, number: int, becomes: str) -> None:
    advance(stage)
    assert refused(BATCH_EVENT.format(number, becomes)) == "batch_states_in_order"


def test_the_payer_cannot_say_that_a_batch_is_approved(owing: Session) -> None:
    advance(DRAFT)
    assert refused(BATCH_EVENT.format(2, "approved")) == "batch_approved_by_checker"


@pytest.mark.parametrize(
    ("digest", "maker", "checker", "constraint"),
    [
        ("content_sha256", "'carl'", "maker", "approval_of_batch_as_made"),
        ("sha256('other')", "maker", "'bob'", "approval_of_batch_as_made"),
        ("content_sha256", "maker", "maker", "approval_maker_is_not_checker"),
    ],
)
def test_an_approval_is_of_the_batch_as_it_was_made(
    owing: Session, digest: str, maker: str, checker: str, constraint: str
) -> None:
    advance(DRAFT)
    approval = APPROVAL.format(digest=digest, maker=maker, checker=checker)
    assert refused(approval, Role.APPROVER) == constraint
    assert state(BATCH) == "draft"


def test_what_is_cancelled_is_not_approved(owing: Session) -> None:
    advance(CANCELLED)
    approval = APPROVAL.format(digest="content_sha256", maker="maker", checker="'bob'")
    assert refused(approval, Role.APPROVER) == "batch_event_batch_id_number_key"


@pytest.mark.parametrize(
    ("stage", "number", "amount"),
    [
        (DRAFT, 1, 12_340_000),
        (APPROVED, 1, 12_340_000),
        (RESERVED, 2, 12_340_000),
        (SUBMITTED, 2, 12_340_000),
        (REJECTED, 2, 12_340_000),
    ],
)
def test_no_second_attempt_and_none_before_its_time(
    owing: Session, stage: int, number: int, amount: int
) -> None:
    advance(stage)
    assert refused(ATTEMPT.format(number=number, amount=amount)) == "attempt_of_ready_payout"


@pytest.mark.parametrize("number", [1, 4])
def test_events_and_attempts_of_no_payout_are_refused(owing: Session, number: int) -> None:
    advance(SUBMITTED)
    for state_of in ("ready", "held", "paid"):
        attempt = "NULL" if number == 1 else f"'{BATCH}-1-1'"
        event = EVENT.format(number=number, attempt=attempt, state=state_of).replace(ONE, "nobody")
        assert refused(event) == "payout_states_in_order"
    attempt = ATTEMPT.format(number=1, amount=12_340_000).replace(ONE, "nobody")
    assert refused(attempt) == "attempt_of_ready_payout"
    unknown = EVENT.format(number=4, attempt="'no such attempt'", state="paid")
    assert refused(unknown) == "payout_states_in_order"


def test_an_attempt_is_of_the_amount_approved(owing: Session) -> None:
    advance(APPROVED)
    with acting(Role.PAYER) as opened:
        opened.execute(text(BATCH_EVENT.format(3, "submitting")))
    for number, amount in ((1, 12_340_001), (2, 12_340_000)):
        assert refused(ATTEMPT.format(number=number, amount=amount)) == "attempt_of_ready_payout"


@pytest.mark.parametrize("table", ["payout_event", "batch_event", "payout_attempt", "payout", "payout_batch"])
@pytest.mark.parametrize("change", ["UPDATE settlement.{} SET actor = 'eve'", "DELETE FROM settlement.{}"])
def test_history_stays(owing: Session, table: str, change: str) -> None:
    statement = change.format(table).replace("actor", {"payout_batch": "maker"}.get(table, "actor"))
    if "actor" in statement and table in ("payout", "payout_attempt"):
        statement = statement.replace("actor = 'eve'", "amount_micros = 1")
    assert "permission denied" in refused(statement)


def test_temporary_tables_do_not_fool_the_guard(owing: Session) -> None:
    advance(SUBMITTED)
    fake = "CREATE TEMP TABLE payout_event AS SELECT * FROM settlement.payout_event;"
    with (
        pytest.raises(DBAPIError, match="cannot go from submitted to returned"),
        acting(Role.PAYER) as opened,
    ):
        for statement in (
            fake,
            f"UPDATE pg_temp.payout_event SET state = 'paid' WHERE payout_id = '{ONE}'",
            "SET LOCAL search_path = pg_temp, settlement",
            EVENT.format(number=4, attempt=f"'{BATCH}-1-1'", state="returned"),
        ):
            opened.execute(text(statement))


def test_functions_belong_to_roles_nobody_logs_in_as(owing: Session) -> None:
    rows = owing.execute(
        text(
            "SELECT p.proname, r.rolname, p.proconfig, r.rolcanlogin FROM pg_proc AS p JOIN pg_roles AS r"
            " ON r.oid = p.proowner WHERE p.proname ~ '^(check_payout|check_batch|apply_batch)'"
        )
    ).all()
    assert {row.proname: row.rolname for row in rows} == {
        "check_payout": "royalty_guard",
        "check_batch_event": "royalty_guard",
        "check_payout_attempt": "royalty_guard",
        "check_payout_event": "royalty_guard",
        "check_payout_file": "royalty_guard",
        "apply_batch_approval": "royalty_owner",
    }
    for row in rows:
        assert "search_path=pg_catalog, pg_temp" in row.proconfig and not row.rolcanlogin


def test_an_answer_counts_on_from_the_one_before(owing: Session) -> None:
    advance(SUBMITTED)
    for place, says in ((1, "paid"), (2, "rejected"), (2, "rejected"), (3, "paid"), (3, "returned")):
        report(says, f"{BATCH}-{place}-1")
    with acting(Role.PAYER) as opened:
        rows = opened.execute(
            text("SELECT number, waiting, paid, rejected FROM settlement.batch_progress ORDER BY number")
        ).all()
    assert rows == [(1, 2, 1, 0), (2, 1, 1, 1), (3, 0, 2, 1)]
    assert state(BATCH) == "settled"
    assert "permission denied" in refused("UPDATE settlement.batch_progress SET waiting = 9")
    # A count that is not that of the events is seen by whoever looks.
    faults = text("SELECT paid, paid_due FROM audit.batch_progress_faults")
    with acting(Role.AUDITOR) as opened:
        assert opened.execute(faults).all() == []
    with acting(Role.PAYER) as opened:
        opened.execute(
            text(
                "INSERT INTO settlement.batch_progress (batch_id, number, waiting, paid, rejected)"
                " VALUES (:batch, 4, 0, 3, 0)"
            ),
            {"batch": BATCH},
        )
    with acting(Role.AUDITOR) as opened:
        assert opened.execute(faults).all() == [(3, 2)]
