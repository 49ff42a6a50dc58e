"""A payment that the bank refused and booked all the same: two people correct it, and nobody does it alone."""

import pytest
from sqlalchemy import TextClause, text
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
    holds,
    ledger,
    state,
    states,
    submitted,
    take,
)
from tests.settlement.payouts.test_bank_messages import (
    BATCH_BOOKED,
    CHARGED,
    ONE,
    PAID,
    REFUSED,
    STATEMENT,
    THREE,
    TWO,
    booking,
    one_payment,
)

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


def event_of(payee: str) -> TextClause:
    """What whoever is the role `payer` may try: another state of a payout."""
    return text(
        "INSERT INTO settlement.payout_event (payout_id, number, attempt_id, state, actor, occurred_at)"
        " SELECT payout_id, max(number) + 1, max(attempt_id), :state, 'ann', now() FROM settlement.payout_event"
        f" WHERE payout_id = '{BATCH}/{payee}' GROUP BY payout_id"
    )


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
    assert all("was refused and is booked" in " ".join(holds()[f"pay-{number}"]) for number in (1, 2, 3))
    assert len(propose(line.entry_id)) == 3
    approve(line.entry_id)
    assert len(carry_out(line.entry_id)) == 3
    assert ledger() == CHARGED and state(BATCH) == "settled"
    assert (waiting(), checks(), faults()) == ([], {}, [])


def test_a_batch_that_was_settled_before_anything_was_counted(owing: Session) -> None:
    """As one is whose answers came before its progress was kept."""
    submitted()
    take(REFUSED)
    take(BATCH_BOOKED)
    (line,) = waiting()
    propose(line.entry_id)
    approve(line.entry_id)
    owing.execute(text("SET LOCAL ROLE NONE"))
    for statement in (
        "SET LOCAL event_triggers = off",
        "ALTER TABLE settlement.batch_progress DISABLE TRIGGER ALL",
        "DELETE FROM settlement.batch_progress",
    ):
        owing.execute(text(statement))
    assert carry_out(line.entry_id) == [TWO]
    assert (ledger(), state(BATCH), checks(), faults()) == (PAID, "settled", {}, [])


def test_what_is_proposed_by_one_line_is_not_proposed_by_another(owing: Session) -> None:
    submitted()
    take(REFUSED)
    take(BATCH_BOOKED)
    take(booking("20.00", one_payment("20.00", "0.00").replace(THREE, TWO)))
    first, second = waiting()
    propose(first.entry_id)
    with pytest.raises(Conflict, match=f"has proposed it by line {first.entry_id}"):
        propose(second.entry_id)
    approve(first.entry_id)
    assert carry_out(first.entry_id) == [TWO]
    assert waiting() == [] and ledger() == PAID


def test_the_charges_of_a_corrected_payment_are_posted_with_it(owing: Session) -> None:
    submitted()
    take(REFUSED)
    take(booking("20.35", one_payment("20.00", "0.35").replace(THREE, TWO)))
    (line,) = waiting()
    assert "bank_charges" not in ledger()
    propose(line.entry_id)
    approve(line.entry_id)
    carry_out(line.entry_id)
    assert ledger()["bank_charges"] == 350_000


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
    event = event_of("pay-2")
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


def test_an_approval_is_of_what_was_proposed_and_used_once(owing: Session) -> None:
    submitted()
    take(REFUSED)
    take(booking("20.00", one_payment("20.00", "0.00").replace(THREE, TWO)))
    (line,) = waiting()
    propose(line.entry_id)
    approve(line.entry_id)
    # Another payment that is put to it afterwards, with or without the same words, was approved by nobody.
    for reason in ("reason", "'another'"):
        with (
            pytest.raises(DBAPIError, match="pay-1 cannot go from rejected to submitted"),
            acting(Role.PAYER) as opened,
        ):
            opened.execute(
                text(
                    "INSERT INTO settlement.payout_correction"
                    " (attempt_id, bank_entry_id, reason, maker, content_sha256)"
                    f" SELECT '{ONE}', bank_entry_id, {reason}, maker, content_sha256"
                    " FROM settlement.payout_correction"
                )
            )
            opened.execute(event_of("pay-1"), {"state": "rejected"})
            opened.execute(event_of("pay-1"), {"state": "submitted"})
    # What was corrected is not refused, and corrected, again.
    with (
        pytest.raises(DBAPIError, match="pay-2 cannot go from submitted to rejected"),
        acting(Role.PAYER) as opened,
    ):
        opened.execute(event_of("pay-2"), {"state": "submitted"})
        opened.execute(event_of("pay-2"), {"state": "rejected"})
