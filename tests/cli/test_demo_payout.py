"""The demonstration's payment by a provider: one refused, one returned, one that the bank does not answer for."""

from datetime import date

import pytest

from benchmarks.payout_simulation import owe, payee_of, payee_record
from cli.demo import _pay_by_provider
from database.engine import session
from database.roles import Role
from settlement.payees import record_payees
from settlement.payouts.models import batches
from tests.settlement.payouts.desk import close_october, load_terms, states


def test_one_refused_one_returned_one_unanswered(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    suffixes = ("00", "90", "92", "93")
    with session(Role.ADMIN) as opened:
        load_terms(opened)
        close_october(opened)
        records = [payee_record(payee_of(suffix), number, suffix) for number, suffix in enumerate(suffixes)]
        record_payees(opened, records, actor="test", reason="test")
        owe(opened, "EUR", {payee_of(suffix): 20_000_000 for suffix in suffixes}, "test")
    for _ in range(2):  # a second demonstration pays nobody twice
        _pay_by_provider(date(2026, 11, 5))
        told = capsys.readouterr().out
        assert "40.00 EUR to 2 payees" in told
        assert "pay-course-90 rejected, pay-course-92 returned" in " ".join(told.split())
    with session(Role.PAYER) as opened:
        ((batch, state),) = batches(opened, "EUR")
    assert state == "settled"
    assert states(batch.batch_id) == {
        payee_of("00"): "paid",
        payee_of("90"): "rejected",
        payee_of("92"): "returned",
        payee_of("93"): "paid",
    }
