"""A payment that the bank refused and booked all the same: two people correct it, and nobody does it alone."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from database.errors import Conflict, Invalid, NotFound, Refused
from database.roles import Role
from settlement.payouts import corrections
from settlement.payouts.bank_messages.intake import OpenLine, open_lines
from tests.settlement.payouts.desk import (
    BATCH,
    RESERVED,
    acting,
    checks,
    ledger,
    state,
    states,
    submitted,
    take,
)
from tests.settlement.payouts.test_bank_messages import BATCH_BOOKED, CHARGED, PAID, REFUSED, STATEMENT, TWO

GROUP_REFUSED = "pain002_14_group_rejected.xml"


def waiting() -> list[OpenLine]:
    with acting(Role.PAYER) as opened:
        return [line for line in open_lines(opened) if line.ours]


def propose(line: int, reason: str = "the bank's desk, by telephone", maker: str = "ann") -> list[str]:
    with acting(Role.PAYER) as opened:
        return corrections.propose(opened, line, reason, maker)


def approve(line: int, checker: str = "bob") -> None:
    with acting(Role.APPROVER) as opened:
        corrections.approve(opened, line, checker)


def carry_out(line: int) -> list[str]:
    with acting(Role.PAYER) as opened:
        return corrections.carry_out(opened, line, "bob")


def faults() -> list[tuple[object, ...]]:
    with acting(Role.AUDITOR) as opened:
        return [tuple(row) for row in opened.execute(text("SELECT * FROM audit.payout_faults"))]


def test_a_refused_payment_that_is_booked_is_corrected_by_two(owing: Session) -> None:
    submitted()
    take(REFUSED)
    take(BATCH_BOOKED)
    (line,) = waiting()
    before = ledger()
    with pytest.raises(NotFound, match="nobody has said"):
        approve(line.entry_id)
    with pytest.raises(Invalid, match="say how it is known"):
        propose(line.entry_id, " ")
    assert propose(line.entry_id) == [TWO]
    with pytest.raises(Conflict, match="ann has proposed it already"):
        propose(line.entry_id)
    assert "ann says that it is paid: another operator runs" in waiting()[0].why
    with pytest.raises(Conflict, match="is not approved"):
        carry_out(line.entry_id)
    with pytest.raises(Refused, match="another operator must approve"):
        approve(line.entry_id, "ann")
    assert ledger() == before
    for _ in range(2):
        approve(line.entry_id)
    assert carry_out(line.entry_id) == [TWO]
    assert carry_out(line.entry_id) == []  # a second time, after a crash or by mistake
    assert ledger() == PAID
    assert (states(BATCH)["pay-2"], state(BATCH)) == ("paid", "settled")
    assert (waiting(), checks(), faults()) == ([], {}, [])
    with acting(Role.ADMIN) as opened:
        row = opened.execute(
            text(
                "SELECT c.attempt_id, c.maker, c.checker, r.key, j.approved_by FROM audit.payout_corrections AS c"
                " JOIN audit.approvals AS a ON a.kind = 'payout_correction' AND a.is_of_what_was_done"
                " JOIN ledger.journal AS j ON j.key = :key JOIN ledger.journal AS r ON r.id = j.reverses"
            ),
            {"key": f"attempt:{TWO}:corrected"},
        ).one()
    assert tuple(row) == (TWO, "ann", "bob", f"attempt:{TWO}:rejected", "bob")


def test_a_whole_file_refused_and_booked(owing: Session) -> None:
    """A batch that had failed is settled; the statement's booking of the whole is what shows it."""
    submitted()
    take(GROUP_REFUSED)
    assert state(BATCH) == "failed"
    take(STATEMENT)
    (line,) = waiting()
    assert len(propose(line.entry_id)) == 3
    approve(line.entry_id)
    assert len(carry_out(line.entry_id)) == 3
    assert ledger() == CHARGED and state(BATCH) == "settled"
    assert (waiting(), checks(), faults()) == ([], {}, [])


def test_only_a_booking_of_what_was_refused_is_corrected(owing: Session) -> None:
    submitted()
    with pytest.raises(NotFound, match="no line 0"):
        propose(0)
    taken = take(STATEMENT)  # a receipt that is nobody's
    with pytest.raises(Conflict, match="no booking of a payment that was refused"):
        propose(taken.open[0].entry_id)


def test_nobody_corrects_alone_by_sql(owing: Session) -> None:
    submitted()
    take(REFUSED)
    take(BATCH_BOOKED)
    (line,) = waiting()
    propose(line.entry_id)
    event = text(
        "INSERT INTO settlement.payout_event (payout_id, number, attempt_id, state, actor, occurred_at)"
        " SELECT payout_id, max(number) + 1, max(attempt_id), :state, 'ann', now() FROM settlement.payout_event"
        f" WHERE payout_id = '{BATCH}/pay-2' GROUP BY payout_id"
    )
    for becomes in ("submitted", "paid"):
        with (
            pytest.raises(DBAPIError, match=f"cannot go from rejected to {becomes}"),
            acting(Role.PAYER) as opened,
        ):
            opened.execute(event, {"state": becomes})
    with (
        pytest.raises(DBAPIError, match="cannot go from settled to partially_settled"),
        acting(Role.PAYER) as opened,
    ):
        opened.execute(
            text(
                "INSERT INTO settlement.batch_event (batch_id, number, state, actor)"
                " SELECT batch_id, max(number) + 1, 'partially_settled', 'ann' FROM settlement.batch_event"
                " GROUP BY batch_id"
            )
        )
    with pytest.raises(DBAPIError, match="maker_is_not_checker"), acting(Role.APPROVER) as opened:
        opened.execute(
            text(
                "INSERT INTO settlement.approval (kind, subject, content_sha256, maker, checker)"
                " SELECT 'payout_correction', bank_entry_id::text, content_sha256, maker, maker"
                " FROM settlement.payout_correction"
            )
        )
    for statement in ("DELETE FROM", "UPDATE"):
        changed = " SET reason = 'x'" if statement == "UPDATE" else ""
        with pytest.raises(DBAPIError, match="permission denied"), acting(Role.PAYER) as opened:
            opened.execute(text(f"{statement} settlement.payout_correction{changed}"))
    assert ledger() == RESERVED | {
        "payout_clearing": 0,
        "bank": -42_340_000,
        "royalties_payable:pay-2": -20_000_000,
    }
