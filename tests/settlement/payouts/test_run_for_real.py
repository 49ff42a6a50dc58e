"""A run with real logins and commits: from creation to paid, killed between the commits, and two at once."""

from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import pytest
from sqlalchemy import text

from database.engine import session
from database.errors import Conflict, Refused
from database.roles import Role
from settlement.payouts import run
from settlement.payouts.outcomes import Outcome, record_outcomes
from settlement.payouts.plan import plan
from tests.settlement.payouts.desk import (
    AT,
    BATCH,
    RESERVED,
    approve,
    attempts,
    close_october,
    create,
    digests,
    files,
    ledger,
    load_terms,
    owe,
    paid,
    post_debts,
    report,
    reserve,
    state,
    states,
    submit,
)


@pytest.fixture
def owing_for_real(database: str) -> str:
    """October closed; three payees are owed 12.345678, 20 and 30 EUR."""
    with session(Role.ADMIN) as opened:
        load_terms(opened)
        post_debts(opened)
    with (
        session(Role.PAYER) as opened,
        pytest.raises(Refused, match="no period is closed yet, so nothing is due"),
    ):
        plan(opened, "EUR")
    with session(Role.ADMIN) as opened:
        close_october(opened)
    return database


def test_from_creation_to_paid(owing_for_real: str) -> None:
    owe(99_999, "pay-dev")
    owe(5_000_000, "pay-poor")
    assert create() == BATCH
    assert state(BATCH) == "draft"
    assert states(BATCH) == dict.fromkeys(("pay-1", "pay-2", "pay-3"), "ready") | dict.fromkeys(
        ("pay-dev", "pay-poor"), "held"
    )
    approve(BATCH)
    assert state(BATCH) == "approved"
    content = submit(BATCH)
    assert paid(content) == {f"{BATCH}-1-1": "12.34", f"{BATCH}-2-1": "20.00", f"{BATCH}-3-1": "30.00"}
    assert state(BATCH) == "submitted"
    kept = {"royalties_payable:pay-dev": -99_999, "royalties_payable:pay-poor": -5_000_000}
    assert ledger() == RESERVED | kept
    assert report("paid", *attempts(BATCH).values()) == ["recorded"] * 3
    assert ledger() == RESERVED | kept | {"payout_clearing": 0, "bank": -62_340_000}
    assert state(BATCH) == "settled"
    assert {s for payee, s in states(BATCH).items() if payee in attempts(BATCH)} == {"paid"}
    with session(Role.PAYER) as opened:
        journals = opened.execute(
            text("SELECT DISTINCT kind, actor, approved_by, created_by FROM ledger.journal")
        )
        assert ("payout_reserved", "ann", "bob", "payer") in journals.all()
    # What is left is below the minimum.
    with pytest.raises(Refused, match="nobody can be paid in EUR now"):
        create()


def test_killed_after_every_commit_and_run_again(owing_for_real: str) -> None:
    create()
    approve(BATCH)
    reserve(BATCH)
    reserve(BATCH)  # killed after the first commit
    assert ledger() == RESERVED
    with session(Role.PAYER) as opened:
        first = files(opened, BATCH)
    content = submit(BATCH)  # killed before the second
    assert content == first[1]
    assert submit(BATCH) == content  # and after it
    assert ledger() == RESERVED
    assert states(BATCH) == dict.fromkeys(("pay-1", "pay-2", "pay-3"), "submitted")
    with session(Role.PAYER) as opened, pytest.raises(Conflict, match="another file was handed over"):
        run.handed_over(opened, BATCH, digests({1: content + b" "}), "ann", AT)
    # Killed in the middle of a step: nothing of it is there.
    with pytest.raises(KeyboardInterrupt), session(Role.PAYER) as opened:
        record_outcomes(opened, [Outcome(f"{BATCH}-1-1", "paid", AT)], "ann")
        raise KeyboardInterrupt
    assert ledger() == RESERVED
    assert state(BATCH) == "submitted"


def test_two_at_once_at_every_step(owing_for_real: str) -> None:
    def creator(_: int) -> str:
        try:
            return create()
        except Conflict as error:
            return error.message

    with ThreadPoolExecutor(2) as pool:
        made, refused = sorted(pool.map(creator, range(2)))
        assert made == BATCH
        assert f"batch {BATCH} is draft" in refused
        approve(BATCH)
        assert len(set(pool.map(submit, [BATCH] * 2))) == 1
        assert ledger() == RESERVED
        # The same report twice, and two that contradict each other.
        same = pool.map(lambda _: report("paid", f"{BATCH}-1-1", f"{BATCH}-2-1"), range(2))
        assert sorted(chain(*same)) == ["known"] * 2 + ["recorded"] * 2
        other = pool.map(lambda outcome: report(outcome, f"{BATCH}-3-1"), ("paid", "rejected"))
        assert list(chain(*other)).count("recorded") == 1
    assert ledger()["payout_clearing"] == 0
    assert state(BATCH) == "settled"
