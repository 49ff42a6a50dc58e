"""What a run does at every step, as the roles that do it."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from database.errors import Conflict, Invalid, NotFound, Refused
from database.roles import Role
from settlement.payouts import run
from settlement.payouts.holds import open_hold, open_holds, release_hold
from settlement.payouts.models import batch_rows, batches
from settlement.payouts.outcomes import Outcome, record_outcomes
from tests.settlement.payouts.desk import (
    AT,
    BATCH,
    OWED,
    RESERVED,
    acting,
    approve,
    attempts,
    change_details,
    create,
    files,
    ledger,
    owe,
    paid,
    report,
    reserve,
    state,
    states,
    submit,
    submitted,
)


def hold(payee: str) -> int:
    with acting(Role.PAYER) as opened:
        return open_hold(opened, payee, "dispute", "ann")


def why(batch_id: str) -> dict[str, str]:
    """Why payees of a batch were left out when it was reserved."""
    with acting(Role.PAYER) as opened:
        rows = opened.execute(
            text(
                "SELECT p.payee_id, e.detail ->> 'why' FROM settlement.payout_event AS e JOIN settlement.payout AS p"
                " USING (payout_id) WHERE e.state = 'cancelled' AND p.batch_id = :batch"
            ),
            {"batch": batch_id},
        )
        return {payee: reason for payee, reason in rows}  # noqa: C416


def test_batches_are_numbered_and_listed(owing: Session) -> None:
    owe(5_000_000, "pay-1", currency="USD")
    first = submitted()
    owe(5_000_000, "pay-1")
    assert (first, create(), create("USD")) == (BATCH, "EUR-20261104-2", "USD-20261104-1")
    with acting(Role.PAYER) as opened:
        assert [(batch.batch_id, now) for batch, now in batches(opened)] == [
            ("USD-20261104-1", "draft"),
            ("EUR-20261104-2", "draft"),
            (BATCH, "submitted"),
        ]
        assert [batch.batch_id for batch, _ in batches(opened, "USD")] == ["USD-20261104-1"]


@pytest.mark.parametrize("now", ["draft", "approved", "submitting"])
def test_one_unfinished_batch_in_a_currency(owing: Session, now: str) -> None:
    create()
    if now != "draft":
        approve(BATCH)
    if now == "submitting":
        reserve(BATCH)
    with pytest.raises(Conflict, match=f"batch {BATCH} is {now}: submit it or cancel it"):
        create()


def test_maker_is_not_checker(owing: Session) -> None:
    create()
    with pytest.raises(Refused, match="ann made batch"):
        approve(BATCH, "ann")
    with pytest.raises(Refused, match="is not approved"):
        submit(BATCH)
    approve(BATCH)
    with pytest.raises(Conflict, match="is approved: nothing is left to approve"):
        approve(BATCH, "carl")


def test_the_payer_cannot_approve(owing: Session) -> None:
    create()
    with (
        pytest.raises(ProgrammingError, match="permission denied for table approval"),
        acting(Role.PAYER) as opened,
    ):
        run.approve_batch(opened, BATCH, "bob")


TAMPER = """
SET LOCAL event_triggers = off;
ALTER TABLE settlement.payout DISABLE TRIGGER USER;
UPDATE settlement.payout SET {change} WHERE payee_id = 'pay-1';
ALTER TABLE settlement.payout ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE settlement.payout ENABLE ALWAYS TRIGGER payout_joins_batch;
"""


@pytest.mark.parametrize(
    "change", ["amount_micros = 12330000", "party_version = 2", "decision = 'held', amount_micros = 0"]
)
def test_what_a_superuser_altered_is_not_approved_nor_paid(owing: Session, change: str) -> None:
    create()
    with acting(Role.ADMIN) as opened:
        opened.execute(text(TAMPER.format(change=change)))
    with pytest.raises(Conflict, match="are not what was made"):
        approve(BATCH)


def test_what_a_superuser_altered_after_the_approval_is_not_paid(owing: Session) -> None:
    create()
    approve(BATCH)
    with acting(Role.ADMIN) as opened:
        opened.execute(text(TAMPER.format(change="amount_micros = 1")))
    with pytest.raises(Conflict, match="are not what was made"):
        submit(BATCH)
    assert ledger() == OWED


def test_no_such_batch(owing: Session) -> None:
    for step in (submit, approve, states):
        with pytest.raises(NotFound, match="no payout batch EUR-1"):
            step("EUR-1")


def test_cancelled(owing: Session) -> None:
    create()
    approve(BATCH)
    with acting(Role.PAYER) as opened:
        run.cancel_batch(opened, BATCH, "ann")
    assert state(BATCH) == "cancelled"
    assert set(states(BATCH).values()) == {"cancelled"}
    for step in (submit, approve, _cancel):
        with pytest.raises(Conflict, match="is cancelled"):
            step(BATCH)
    assert ledger() == OWED
    assert create() == "EUR-20261104-2"


def _cancel(batch_id: str) -> None:
    with acting(Role.PAYER) as opened:
        run.cancel_batch(opened, batch_id, "ann")


def test_reserved_is_too_late_to_cancel(owing: Session) -> None:
    create()
    approve(BATCH)
    reserve(BATCH)
    with pytest.raises(Conflict, match="is submitting: it cannot be cancelled"):
        _cancel(BATCH)


def test_what_changed_since_creation_leaves_a_payee_out(owing: Session) -> None:
    owe(40_000_000, "pay-dev")
    create()
    approve(BATCH)
    hold("pay-1")
    owe(-19_950_000, "pay-2")  # below the minimum now
    with acting(Role.ADMIN) as opened:
        change_details(opened, "pay-3", iban="DK9520000123456789")
    owe(-1, "pay-dev")  # above the minimum still, and less than what was approved
    with pytest.raises(
        Refused, match=f"nobody in batch {BATCH} can be paid any more: run `royalty payout cancel"
    ):
        submit(BATCH)
    assert state(BATCH) == "approved"
    owe(1, "pay-dev")
    content = submit(BATCH)
    assert list(paid(content).values()) == ["40.00"]
    assert why(BATCH) == {"pay-1": "held", "pay-2": "below_minimum", "pay-3": "bank_details_changed"}
    report("paid", *attempts(BATCH).values())
    assert state(BATCH) == "settled"
    assert ledger()["payout_clearing"] == 0
    # The next run takes up those who were left out.
    with acting(Role.PAYER) as opened:
        release_hold(opened, open_holds(opened)[0].id, "decided", "ann")
    assert list(paid(submit_new()).values()) == ["12.34", "30.00"]


def submit_new() -> bytes:
    batch_id = create()
    approve(batch_id)
    return submit(batch_id)


def test_less_than_approved_is_left_out_and_more_waits(owing: Session) -> None:
    create()
    approve(BATCH)
    owe(-1_000_000, "pay-2")
    owe(1_000_000, "pay-3")
    assert list(paid(submit(BATCH)).values()) == ["12.34", "30.00"]
    assert why(BATCH) == {"pay-2": "balance"}
    assert ledger() == RESERVED | {
        "payout_clearing": -42_340_000,
        "royalties_payable:pay-2": -19_000_000,
        "royalties_payable:pay-3": -1_000_000,
    }


def test_the_file_is_what_was_approved(owing: Session) -> None:
    """A new account of the platform after the approval does not change the file; erased details stop it."""
    create()
    approve(BATCH)
    reserve(BATCH)
    with acting(Role.PAYER) as opened:
        before = files(opened, BATCH)
    with acting(Role.ADMIN) as opened:
        change_details(opened, "platform", iban="NL91ABNA0417164300", bic="ABNANL2A")
        change_details(opened, "pay-1", iban="NL91ABNA0417164300")
    with acting(Role.PAYER) as opened:
        assert files(opened, BATCH) == before
    assert b"DE89370400440532013000" in before[1] and b"NL91ABNA0417164300" in before[1]
    with acting(Role.ADMIN) as opened:
        opened.execute(text("DELETE FROM party.party_version WHERE payee_id = 'pay-1'"))
    with (
        pytest.raises(Conflict, match=r"the bank details of pay-1 .* have been erased"),
        acting(Role.PAYER) as opened,
    ):
        files(opened, BATCH)


def test_no_file_before_the_money_is_reserved(owing: Session) -> None:
    create()
    with acting(Role.PAYER) as opened:
        with pytest.raises(Conflict, match="is draft: reserve it first"):
            run.bank_files(opened, BATCH)
        with pytest.raises(Conflict, match="is draft: reserve it first"):
            run.handed_over(opened, BATCH, {1: b"x"}, "ann", AT)


@pytest.mark.parametrize("changed", [{"iban": ""}, {"iban": "DE89370400440532013001"}])
def test_a_platform_without_an_account_pays_nobody(owing: Session, changed: dict[str, str]) -> None:
    with acting(Role.ADMIN) as opened:
        change_details(opened, "platform", **changed)
    with pytest.raises(Invalid, match=r"the platform has no IBAN|IBAN DE89\.\.\.01 is wrong"):
        create()


def test_outcomes_of_every_kind_and_twice(owing: Session) -> None:
    submitted()
    one, two, three = (attempts(BATCH)[payee] for payee in ("pay-1", "pay-2", "pay-3"))
    assert report("paid", one) == ["recorded"]
    assert state(BATCH) == "partially_settled"
    assert report("rejected", two, reason="AM04") == ["recorded"]
    assert report("paid", one, two, "EUR-9-9") == [
        "known",
        "a payout that is rejected cannot become paid",
        "no such attempt",
    ]
    assert report("returned", three) == ["a payout that is submitted cannot become returned"]
    assert state(BATCH) == "partially_settled"
    assert report("paid", three, three) == ["recorded", "known"]
    assert state(BATCH) == "settled"
    assert ledger() == RESERVED | {
        "royalties_payable:pay-2": -20_000_000,
        "payout_clearing": 0,
        "bank": -42_340_000,
    }
    for _ in range(2):
        report("returned", three, reason="account closed")
        assert ledger() == RESERVED | {
            "royalties_payable:pay-2": -20_000_000,
            "royalties_payable:pay-3": -30_000_000,
            "payout_clearing": 0,
            "bank": -12_340_000,
        }
    with acting(Role.PAYER) as opened:
        assert [(h.payee_id, h.reason) for h in open_holds(opened)] == [
            ("pay-3", f"payment {three} came back: account closed")
        ]
    assert states(BATCH) == {"pay-1": "paid", "pay-2": "rejected", "pay-3": "returned"}
    # What was rejected is paid by the next run, what was returned waits for the hold.
    assert list(paid(submit_new()).values()) == ["20.00"]


def test_paid_and_returned_in_one_report(owing: Session) -> None:
    submitted()
    outcomes = [Outcome(f"{BATCH}-1-1", "paid", AT), Outcome(f"{BATCH}-1-1", "returned", AT)]
    with acting(Role.PAYER) as opened:
        assert [result for _, result in record_outcomes(opened, outcomes, "ann")] == ["recorded", "recorded"]
    assert ledger() == RESERVED | {
        "royalties_payable:pay-1": -12_345_678,
        "payout_clearing": -50_000_000,
        "bank": 0,
    }


def test_a_batch_of_which_nothing_was_taken_has_failed(owing: Session) -> None:
    submitted()
    report("rejected", *attempts(BATCH).values())
    assert state(BATCH) == "failed"
    assert ledger() == OWED | {"payout_clearing": 0}


def test_no_outcome(owing: Session) -> None:
    with pytest.raises(Invalid, match="lost is not an outcome"):
        report("lost", "EUR-1")
    assert report("paid") == []


def test_the_portal_reads_its_own_payees_payouts(owing: Session) -> None:
    submitted()
    with acting(Role.PORTAL) as opened:
        assert opened.scalar(text("SELECT count(*) FROM settlement.payout_event")) == 0


def test_everybody_in_a_batch(owing: Session) -> None:
    hold("pay-2")
    submitted()
    with acting(Role.PAYER) as opened:
        assert [
            (r.payee_id, r.balance, r.amount, r.decision, r.state, r.attempt_id)
            for r in batch_rows(opened, BATCH)
        ] == [
            ("pay-1", 12_345_678, 12_340_000, "pay", "submitted", f"{BATCH}-1-1"),
            ("pay-2", 20_000_000, 0, "held", "held", None),
            ("pay-3", 30_000_000, 30_000_000, "pay", "submitted", f"{BATCH}-2-1"),
        ]
