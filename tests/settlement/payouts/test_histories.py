"""Random histories of five payees against a plain model: nobody is paid twice and nothing is lost, whatever dies."""

from collections import Counter
from itertools import islice, product
from string import ascii_uppercase

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from database.engine import session
from database.errors import Conflict, Refused
from database.roles import Role
from settlement.ledger import post
from settlement.payouts import run
from settlement.payouts.holds import open_hold, open_holds, release_hold
from settlement.payouts.outcomes import Outcome, record_outcomes
from tests.settlement.payouts.desk import AT, approve, attempts, create, debts, digests, files, paid

PAYEES = ("pay-1", "pay-2", "pay-3", "pay-4", "pay-5")
CENT = 10_000
OWED = 5_678_901
# A currency with cents for each history: balances and batches of one do not meet those of another.
CURRENCIES = ["".join(letters) for letters in islice(product("Q", ascii_uppercase, ascii_uppercase), 150)]
_next_currency = iter(CURRENCIES)


SAYS = st.lists(st.sampled_from(["paid", "paid", "rejected", "returned", ""]), min_size=8, max_size=8)


class Killed(BaseException):
    """The process dies here: the transaction that is open is lost."""


class Histories(RuleBasedStateMachine):
    """One currency's payouts, in the database and in a few dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.currency = next(_next_currency)
        self.owed = Counter(dict.fromkeys(PAYEES, OWED))
        self.held: set[str] = set()
        self.batch = ""
        self.state = "none"
        self.amounts: dict[str, int] = {}
        self.payments: dict[str, tuple[str, int]] = {}  # what the bank is told: attempt to payee and amount
        self.outcome: dict[str, str] = {}  # by attempt
        self.bank: Counter[str] = Counter()  # the model bank's own ledger, by payee

    def teardown(self) -> None:
        """Holds are the payees', not a currency's: none is left for the next history."""
        if self.held:
            with session(Role.PAYER) as opened:
                for hold in open_holds(opened):
                    release_hold(opened, hold.id, "over", "ann")

    def due(self, payee: str) -> int:
        return 0 if payee in self.held else max(self.owed[payee], 0) // CENT * CENT

    def statements(self, amounts: dict[str, int]) -> None:
        with session(Role.SETTLEMENT) as opened:
            post(
                opened, [e for p, amount in amounts.items() for e in debts(amount, p, currency=self.currency)]
            )
        self.owed.update(amounts)

    def hold_or_release(self, payee: str) -> None:
        with session(Role.PAYER) as opened:
            if payee in self.held:
                for hold in open_holds(opened):
                    if hold.payee_id == payee:
                        release_hold(opened, hold.id, "decided", "ann")
            else:
                open_hold(opened, payee, "dispute", "ann")
        self.held ^= {payee}

    @rule(
        payee=st.sampled_from(PAYEES),
        amounts=st.lists(st.integers(-9_000_000, 9_000_000).filter(bool), max_size=5),
        between=st.sampled_from(["", "", "hold", "release", "statement", "cancel"]),
        dies=st.sampled_from(["", "", "", "before reserved", "reserved", "told", "before recorded"]),
        says=SAYS,
        dies_again=st.booleans(),
    )
    def month(
        self, payee: str, amounts: list[int], between: str, dies: str, says: list[str], dies_again: bool
    ) -> None:
        """A statement, a run (or what is left of one that died), and the bank's word."""
        if between == "release":
            for held in sorted(self.held):
                self.hold_or_release(held)
        self.statements(dict(zip(PAYEES, amounts, strict=False)))
        self.payout_run(payee, between, dies)
        self.bank_says(says, dies_again)

    def payout_run(self, payee: str, between: str, dies: str) -> None:
        if self.state not in ("draft", "approved", "submitting"):
            amounts = {payee: self.due(payee) for payee in PAYEES if self.due(payee)}
            if not amounts:
                with pytest.raises(Refused):
                    create(self.currency)
                return
            self.batch, self.state, self.amounts = create(self.currency), "draft", amounts
        if between == "hold":
            self.hold_or_release(payee)
        elif between == "statement":
            self.statements({payee: -CENT})
        elif between == "cancel" and self.state != "submitting":
            with session(Role.PAYER) as opened:
                run.cancel_batch(opened, self.batch, "ann")
            self.state = "cancelled"
        if self.state == "draft":
            approve(self.batch, "bob")
            self.state = "approved"
        self.submit(dies)

    def submit(self, dies: str) -> None:
        """The command, which may die before a commit, after it, or once the bank has the file."""
        pays = {payee: amount for payee, amount in self.amounts.items() if self.due(payee) >= amount}
        refused = self.state == "cancelled" or (self.state == "approved" and not pays)
        try:
            with session(Role.PAYER) as opened:
                run.reserve(opened, self.batch, "ann", AT)
                if dies == "before reserved":
                    raise Killed
            if self.state == "approved":
                self.state = "submitting"
                for payee, amount in pays.items():
                    self.owed[payee] -= amount
                self.payments |= {
                    attempt: (payee, pays[payee]) for payee, attempt in attempts(self.batch).items()
                }
            if dies == "reserved":
                raise Killed
            with session(Role.PAYER) as opened:
                contents = files(opened, self.batch)
            content = contents[1]
            told = {attempt: int(amount.replace(".", "")) * CENT for attempt, amount in paid(content).items()}
            assert told == {
                attempt: amount
                for attempt, (_, amount) in self.payments.items()
                if attempt.startswith(f"{self.batch}-")
            }
            if dies == "told":
                raise Killed
            with session(Role.PAYER) as opened:
                run.handed_over(opened, self.batch, digests(contents), "ann", AT)
                if dies == "before recorded":
                    raise Killed
            if self.state == "submitting":
                self.state = "submitted"
                self.outcome |= dict.fromkeys(told, "submitted")
        except Killed:
            assert not refused
        except (Conflict, Refused):
            assert refused
        else:
            assert not refused

    def bank_says(self, says: list[str], dies: bool) -> None:
        """One word for each payment, the newest first; some come too early, too late or for the second time."""
        outcomes = [
            Outcome(attempt, word, AT)
            for attempt, word in zip(reversed(self.payments), says, strict=False)
            if word
        ]
        before = {"paid": "submitted", "rejected": "submitted", "returned": "paid"}
        expected = ["recorded" if self.outcome.get(o.attempt_id) == before[o.state] else "" for o in outcomes]
        try:
            with session(Role.PAYER) as opened:
                results = record_outcomes(opened, outcomes, "ann")
                assert [result if result == "recorded" else "" for _, result in results] == expected
                if dies:
                    raise Killed
        except Killed:
            return
        for outcome, recorded in zip(outcomes, expected, strict=True):
            if not recorded:
                continue
            payee, amount = self.payments[outcome.attempt_id]
            self.outcome[outcome.attempt_id] = outcome.state
            if outcome.state != "rejected":
                self.bank[payee] += amount if outcome.state == "paid" else -amount
            if outcome.state != "paid":
                self.owed[payee] += amount
            if outcome.state == "returned":
                self.held.add(payee)

    @invariant()
    def books_are_the_models(self) -> None:
        with session(Role.PAYER) as opened:
            rows = opened.execute(
                text(
                    "SELECT left(a.code, -4), sum(p.amount)::bigint FROM ledger.account AS a"
                    " JOIN ledger.posting AS p ON p.account_id = a.id WHERE a.currency = :currency GROUP BY a.code"
                ),
                {"currency": self.currency},
            )
            found = {code: total for code, total in rows}  # noqa: C416
        payable = {payee: -found.get(f"royalties_payable:{payee}", 0) for payee in PAYEES}
        assert payable == {payee: self.owed[payee] for payee in PAYEES}
        on_its_way = sum(
            amount
            for attempt, (_, amount) in self.payments.items()
            if self.outcome.get(attempt, "submitted") == "submitted"
        )
        assert -found.get("payout_clearing", 0) == on_its_way
        assert -found.get("bank", 0) == sum(self.bank.values())


def test_random_histories(october: str) -> None:
    with session(Role.SETTLEMENT) as opened:
        post(opened, [entry for code in CURRENCIES for entry in debts(OWED, *PAYEES, currency=code)])
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=60, stateful_step_count=4, deadline=None, database=None, print_blob=True
        ),
    )
