"""Random months of the whole flow of money against plain arithmetic: sales, refunds, closes, holds and payouts.

Every step is a transaction of the role that does it. It may die before any of its statements, or before its commit;
then nothing of it is there, and the same step again does what it would have done. After each step the ledger's
balances, now and at the end of every closed period, are the model's, and the auditor finds nothing.
"""

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import event, select, text
from sqlalchemy.orm import Session

from attribution.ingest import Status
from database.engine import engine, session
from database.errors import Conflict, Refused
from database.roles import Role
from settlement import posting
from settlement.audit.verify import CHECKS, verify
from settlement.ledger import Entry, balances, log, post, reverse, sealed_before
from settlement.money import to_decimal
from settlement.payouts import run
from settlement.payouts.holds import open_hold, open_holds, release_hold
from settlement.payouts.models import batch_rows, batch_state
from settlement.payouts.outcomes import Outcome, record_outcomes
from settlement.periods.approval import approve, calculate, draft_of, submit
from settlement.periods.calendar import cut_off
from settlement.periods.close import close
from settlement.sales import RefundRecord, parse_sale, record_refunds, record_sales
from settlement.statements.models import Statement
from tests.settlement.events import CATALOGUE, add_images, load_terms, method
from tests.settlement.histories import histories
from tests.settlement.ledger.witness import Witness
from tests.settlement.payouts.desk import digests, files, paid
from tests.settlement.periods.conftest import GAMES, attribute, november, october

T = TypeVar("T")
# Shares are given here, not measured, and nobody touches the guards.
CHECKED = [c for c in CHECKS if c.name not in ("shares follow from coalition values", "guards are in place")]
CENT, MINIMUM, PPB = 10_000, 100_000, 10**9
PAYEES = ("pay-1", "pay-2")
SHARES = {
    "img-1": {"C": 609_771_573, "art-1": 299_492_386, "art-2": 90_736_041},
    "img-2": {"C": 688_414_634, "art-1": 311_585_366},
    "img-3": {"C": 774_004_193, "art-2": 0, "art-3": 225_995_807},
    "img-4": {"C": 623_456_790, "art-3": 376_543_210},
}
HOLDERS = {
    "C": {"royalties_payable:pay-dev": PPB},
    "art-1": {"royalties_payable:pay-1": 700_000_000, "royalties_payable:pay-2": 300_000_000},
    "art-2": {"royalties_payable:pay-2": PPB},
    "art-3": {"suspense_unclaimed:art-3": PPB},
}
ENDS = [datetime(2025 + month // 12, month % 12 + 1, 1, tzinfo=UTC) for month in range(1, 21)]
MONTHS = [f"{end - timedelta(days=1):%Y-%m}" for end in ENDS]


def divide(total: int, weights: dict[str, int]) -> dict[str, int]:
    """Largest remainder, ties by name in byte order."""
    whole = sum(weights.values())
    parts = {name: total * weight // whole for name, weight in weights.items()}
    by_rest = sorted(weights, key=lambda name: (-(total * weights[name] % whole), name.encode()))
    for name in by_rest[: total - sum(parts.values())]:
        parts[name] += 1
    return parts


@dataclass
class Line:
    holder: str
    amount: int
    since: int = 0
    """What had been refunded of the sale's price before."""
    back: int = 0


@dataclass
class Sale:
    image: str
    price: int
    tax: int
    base: int
    lines: list[Line] = field(default_factory=list)
    refunded: int = 0
    """In the periods that are closed."""
    asked_back: int = 0
    """By all refunds there are."""
    settled: bool = False


class Killed(BaseException):
    """The process dies here: the transaction that is open is lost."""


@contextmanager
def killed_before(role: Role, statement: int) -> Any:
    """The process dies before its n-th statement, or before its commit if it has fewer; 0: it lives."""
    left = statement

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise Killed

    if statement:
        event.listen(engine(role), "before_cursor_execute", count)
    try:
        yield
    finally:
        if statement:
            event.remove(engine(role), "before_cursor_execute", count)


number = st.integers(0, 99)
# Before which of its statements a step dies; 0: it lives.
dies = st.one_of(st.just(0), st.integers(1, 60))
# How often each happens, and with what. One rule chooses, because of many rules a history leaves most out.
ACTIONS: dict[str, tuple[int, dict[str, st.SearchStrategy[Any]]]] = {
    "sell": (
        5,
        {
            "image": st.sampled_from(sorted(SHARES)),
            "price": st.one_of(st.integers(1, 50), st.integers(10**6, 10**9), st.just(10**15)),
            "tax": st.integers(0, 30),
            "fee": st.integers(0, 120),
            "months_late": st.integers(0, 2),
            "statement": dies,
        },
    ),
    "refund": (2, {"number": number, "part": st.integers(1, 100), "statement": dies}),
    "attribute_late": (1, {}),
    "cash_from_customers": (1, {"amount": st.integers(1, 10**9), "statement": dies}),
    "reverse_cash": (1, {"number": number, "statement": dies}),
    "go_on_closing": (5, {"steps": st.integers(1, 6), "statement": dies}),
    "close_again": (1, {"statement": dies}),
    "hold_or_release": (1, {"payee": st.sampled_from(PAYEES), "statement": dies}),
    "go_on_paying": (5, {"steps": st.integers(1, 4), "statement": dies}),
    "cancel": (1, {"statement": dies}),
    "the_bank_says": (
        4,
        {
            "words": st.lists(st.sampled_from(["paid", "paid", "rejected", "returned"]), max_size=4),
            "statement": dies,
        },
    ),
}
actions = st.sampled_from([name for name, (weight, _) in ACTIONS.items() for _ in range(weight)]).flatmap(
    lambda name: st.tuples(st.just(name), st.fixed_dictionaries(ACTIONS[name][1]))
)


class MoneyFlow(RuleBasedStateMachine):
    """One platform from its first sale on."""

    new_database: Callable[[], AbstractContextManager[str]]

    def __init__(self) -> None:
        super().__init__()
        self.database = self.new_database()
        self.database.__enter__()
        with session(Role.SETTLEMENT) as opened:
            load_terms(opened, CATALOGUE.replace("2026-01-01", "2025-01-01"))
        with session(Role.ADMIN) as opened:
            add_images(opened, *GAMES)
            method(opened)
        self.witness = Witness()
        self.attributed: set[str] = set()
        for image in ("img-1", "img-2", "img-3"):
            self.attribute(image)
        self.open = 0  # the first month that is not cut off
        self.closed = 0  # how many months are closed
        self.state = "open"  # of the month that is being closed
        self.frozen: tuple[list[str], list[tuple[str, int]], set[str]] = ([], [], set())
        self.sales: dict[str, Sale] = {}
        self.refunds: list[tuple[str, int]] = []  # not closed yet
        self.journals: list[tuple[datetime, Counter[str]]] = []
        self.cash: dict[str, int] = {}  # entries of cash by key
        self.reversed: dict[str, tuple[str, datetime]] = {}  # of them: under which key, and when
        self.held: set[str] = set()
        self.batch, self.batch_state = "", "none"
        self.approved: dict[str, int] = {}
        self.attempts: dict[str, tuple[str, int, str]] = {}  # attempt: payee, amount, what became of it

    def teardown(self) -> None:
        self.database.__exit__(None, None, None)

    # What the books should say ----------------------------------------------------------------------------------------

    @property
    def sealed(self) -> datetime:
        return ENDS[self.closed - 1] if self.closed else datetime(2025, 1, 1, tzinfo=UTC)

    @property
    def now(self) -> datetime:
        """A moment in the open month."""
        return ENDS[self.open] - timedelta(days=10)

    def book(self, at: datetime, **amounts: int) -> None:
        """A journal, which moves to the open period if its own is sealed."""
        codes = {name.replace("__", ":"): amount for name, amount in amounts.items()}
        self.journals.append((max(at, self.sealed), Counter(codes)))

    def at(self, moment: datetime | None = None) -> dict[str, int]:
        total: Counter[str] = Counter()
        for booked_at, amounts in self.journals:
            if moment is None or booked_at <= moment:
                total.update(amounts)
        return {f"{code}:EUR": amount for code, amount in total.items() if amount}

    def due(self, payee: str) -> int:
        owed = -self.at().get(f"royalties_payable:{payee}:EUR", 0)
        return 0 if payee in self.held or owed < MINIMUM else owed // CENT * CENT

    def step(
        self, role: Role, real: Callable[[Session], T], statement: int, refused: bool = False
    ) -> T | None:
        """A transaction; if it is to die, it does and is repeated. Refused, it leaves nothing behind."""
        if statement:
            with (
                pytest.raises((Killed, Conflict, Refused) if refused else Killed),
                killed_before(role, statement),
                session(role) as opened,
            ):
                real(opened)
                raise Killed
            self.the_books_are_the_models()
        if refused:
            with pytest.raises((Conflict, Refused)), session(role) as opened:
                real(opened)
            return None
        with session(role) as opened:
            return real(opened)

    @rule(action=actions)
    def happens(self, action: tuple[str, dict[str, Any]]) -> None:
        name, facts = action
        getattr(self, name)(**facts)

    # Sales and what becomes of them -----------------------------------------------------------------------------------

    @initialize(price=st.integers(10**6, 10**9))
    def first_month(self, price: int) -> None:
        """A month of two sales, closed: from then on there is something to pay."""
        self.sell("img-1", price, 0, 0, 0, 0)
        self.sell("img-4", price, 19, 5, 0, 0)
        for _ in range(5):
            self.closing_step(0)

    def sell(self, image: str, price: int, tax: int, fee: int, months_late: int, statement: int) -> None:
        """Tax and fee in percent of the price; it may have happened in a month that is sealed."""
        sale = Sale(image, price, price * tax // 100, 0)
        deduction = price * fee // 100
        sale.base = max(price - sale.tax - deduction, 0)
        sold_at = max(self.now - timedelta(days=31 * months_late), datetime(2025, 1, 2, tzinfo=UTC))
        name = f"sale-{len(self.sales)}"
        record = parse_sale(
            {
                "external_id": name,
                "image": image,
                "sold_at": sold_at,
                "territory": "DE",
                "currency": "EUR",
                "price": to_decimal(price),
                "tax": to_decimal(sale.tax),
                "payment_fee": to_decimal(deduction),
            }
        )
        self.step(
            Role.SETTLEMENT,
            lambda opened: (
                [o.status for o in record_sales(opened, [record], actor="shop")] == [Status.RECORDED]
            ),
            statement,
        )
        self.sales[name] = sale
        self.book(sold_at, receivable=price, revenue=sale.tax - price, tax_collected=-sale.tax)

    def refund(self, number: int, part: int, statement: int) -> None:
        name = list(self.sales)[number % len(self.sales)]
        sale = self.sales[name]
        left = sale.price - sale.asked_back
        if not left:
            return
        amount = max(left * part // 100, 1)
        record = RefundRecord.model_validate(
            {
                "external_id": f"refund-{len(self.journals)}",
                "sale": name,
                "refunded_at": self.now,
                "amount": to_decimal(amount),
            }
        )
        self.step(
            Role.SETTLEMENT,
            lambda opened: (
                [o.status for o in record_refunds(opened, [record], actor="shop")] == [Status.RECORDED]
            ),
            statement,
        )
        upto = sale.asked_back + amount
        tax = sale.tax * upto // sale.price - sale.tax * sale.asked_back // sale.price
        sale.asked_back = upto
        self.refunds.append((name, amount))
        self.book(self.now, receivable=-amount, revenue=amount - tax, tax_collected=tax)

    def attribute_late(self) -> None:
        if "img-4" not in self.attributed:
            self.attribute("img-4")

    def attribute(self, image: str) -> None:
        with session(Role.ATTRIBUTION) as opened:
            attribute(opened, image)
        self.attributed.add(image)

    def cash_from_customers(self, amount: int, statement: int) -> None:
        key = f"cash:{len(self.cash)}"
        at = self.now
        entry = Entry(
            "cash",
            key,
            at,
            at.date(),
            [posting.BANK.line(amount, "EUR"), posting.RECEIVABLE.line(-amount, "EUR")],
            "ann",
            movable=True,
        )
        self.step(Role.SETTLEMENT, lambda opened: post(opened, [entry]), statement)
        self.cash[key] = amount
        self.book(at, bank=amount, receivable=-amount)

    def reverse_cash(self, number: int, statement: int) -> None:
        """Once; the second time under another key is refused, under the same it is the first."""
        if not self.cash:
            return
        key = list(self.cash)[number % len(self.cash)]
        new_key = f"{key}:reversed:{number % 2}"
        there, at = self.reversed.get(key, (new_key, self.now))
        self.step(
            Role.SETTLEMENT,
            lambda opened: reverse(opened, key, new_key, at, "ann"),
            statement,
            refused=there != new_key,
        )
        if key not in self.reversed:
            self.reversed[key] = new_key, at
            self.book(at, bank=-self.cash[key], receivable=self.cash[key])

    # Periods ----------------------------------------------------------------------------------------------------------

    def go_on_closing(self, statement: int, steps: int) -> None:
        """Some steps of cutting off, calculating, handing in, approving and closing; the first may die."""
        for step in range(steps):
            if self.open < len(ENDS) - 1:
                self.closing_step(0 if step else statement)

    def closing_step(self, statement: int) -> None:
        month = MONTHS[self.closed]
        if self.state == "open":
            self.step(Role.SETTLEMENT, lambda opened: cut_off(opened, month), statement)
            new = [name for name, sale in self.sales.items() if not sale.settled]
            self.frozen = new, self.refunds, set(self.attributed)
            self.refunds = []
            self.open += 1
            self.state = "cut_off"
        elif self.state == "cut_off":
            self.step(Role.SETTLEMENT, lambda opened: calculate(opened, month, actor="mara"), statement)
            self.state = "calculated"
        elif self.state == "calculated":
            self.step(Role.SETTLEMENT, lambda opened: submit(opened, month), statement)
            self.state = "in_review"
        elif self.state == "in_review":

            def approve_it(opened: Session) -> None:
                approve(opened, month, checker="chen", content_sha256=draft_of(opened, month).sha256)

            self.step(Role.APPROVER, approve_it, statement)
            self.state = "approved"
        elif self.state == "approved":
            self.step(Role.SETTLEMENT, lambda opened: close(opened, month, actor="mara"), statement)
            self.settle()
            self.closed += 1
            self.state = "open"

    def settle(self) -> None:
        """What a run decides, booked at the last instant of its period."""
        new, refunds, attributed = self.frozen
        moved: Counter[str] = Counter()

        def give(sale: Sale, line: Line, source: str) -> None:
            if line.amount:
                sale.lines.append(line)
                moved[line.holder] -= line.amount
                moved[source] += line.amount

        def share(sale: Sale, amount: int, source: str) -> None:
            for player, part in divide(amount, SHARES[sale.image]).items():
                for holder, micros in divide(part, HOLDERS[player]).items():
                    give(sale, Line(holder, micros, sale.refunded), source)

        for name in new:
            sale = self.sales[name]
            sale.settled = True
            part = sale.base * 3 // 10
            if sale.image in attributed:
                share(sale, part, "royalty_expense")
            else:
                give(sale, Line("suspense_pending", part), "royalty_expense")
        for name, amount in refunds:
            sale = self.sales[name]
            sale.refunded += amount
            for line in sale.lines:
                back = line.amount * (sale.refunded - line.since) // (sale.price - line.since) - line.back
                line.back += back
                moved[line.holder] += back
                moved["royalty_expense"] -= back
        for sale in self.sales.values():
            for line in [line for line in sale.lines if line.holder == "suspense_pending"]:
                if sale.image in attributed:
                    sale.lines.remove(line)
                    share(sale, line.amount - line.back, "suspense_pending")
        self.journals.append((ENDS[self.closed] - timedelta(microseconds=1), moved))

    def close_again(self, statement: int) -> None:
        month = MONTHS[self.closed - 1]
        self.step(Role.SETTLEMENT, lambda opened: close(opened, month, actor="mara"), statement, refused=True)

    # Payouts ----------------------------------------------------------------------------------------------------------

    def hold_or_release(self, payee: str, statement: int) -> None:
        def change(opened: Session) -> None:
            if payee not in self.held:
                open_hold(opened, payee, "dispute", "ann")
                return
            for hold in open_holds(opened):
                if hold.payee_id == payee:
                    release_hold(opened, hold.id, "decided", "ann")

        self.step(Role.PAYER, change, statement)
        self.held ^= {payee}

    def go_on_paying(self, statement: int, steps: int) -> None:
        """Some steps of making a batch, approving, reserving, handing over; the first may die."""
        for step in range(steps):
            self.paying_step(0 if step else statement)

    def paying_step(self, statement: int) -> None:
        if self.batch_state == "draft":
            self.step(Role.APPROVER, lambda opened: run.approve_batch(opened, self.batch, "bob"), statement)
            self.batch_state = "approved"
        elif self.batch_state == "approved":
            pays = {payee: amount for payee, amount in self.approved.items() if self.due(payee) >= amount}
            at = self.now
            self.step(
                Role.PAYER,
                lambda opened: run.reserve(opened, self.batch, "ann", at),
                statement,
                refused=not pays,
            )
            if not pays:
                self.cancel(0)
                return
            with session(Role.PAYER) as opened:
                rows = {row.payee_id: row.attempt_id for row in batch_rows(opened, self.batch)}
            for payee, amount in pays.items():
                self.attempts[str(rows[payee])] = payee, amount, "reserved"
                self.book(at, **{f"royalties_payable__{payee}": amount, "payout_clearing": -amount})
            self.batch_state = "submitting"
        elif self.batch_state == "submitting":
            self.step(Role.PAYER, self.hand_over, statement)
            self.attempts |= {
                attempt: (payee, amount, "submitted")
                for attempt, (payee, amount, became) in self.attempts.items()
                if became == "reserved"
            }
            self.batch_state = "submitted"
        else:
            amounts = {payee: self.due(payee) for payee in PAYEES if self.due(payee)}
            created = self.step(
                Role.PAYER,
                lambda opened: run.create_batch(opened, "EUR", ENDS[self.open].date(), "ann").batch_id,
                statement,
                refused=not amounts,
            )
            if created is not None:
                self.batch, self.batch_state, self.approved = created, "draft", amounts

    def hand_over(self, opened: Session) -> None:
        contents = files(opened, self.batch)
        told = {attempt: amount for content in contents.values() for attempt, amount in paid(content).items()}
        assert {attempt: int(amount.replace(".", "")) * CENT for attempt, amount in told.items()} == {
            attempt: amount for attempt, (_, amount, became) in self.attempts.items() if became == "reserved"
        }
        run.handed_over(opened, self.batch, digests(contents), "ann", self.now)

    def cancel(self, statement: int) -> None:
        if self.batch_state not in ("draft", "approved"):
            return
        self.step(Role.PAYER, lambda opened: run.cancel_batch(opened, self.batch, "ann"), statement)
        self.batch_state = "cancelled"

    def the_bank_says(self, words: list[str], statement: int) -> None:
        """One word for each of the newest attempts; some come too early, too late or for the second time."""
        at = self.now
        told = [Outcome(a, word, at) for a, word in zip(reversed(self.attempts), words, strict=False)]
        comes_after = {"paid": "submitted", "rejected": "submitted", "returned": "paid"}
        expected = [self.attempts[o.attempt_id][2] == comes_after[o.state] for o in told]
        results = self.step(Role.PAYER, lambda opened: record_outcomes(opened, told, "ann"), statement)
        assert [result == "recorded" for _, result in results or []] == expected
        for outcome in (o for o, taken in zip(told, expected, strict=True) if taken):
            payee, amount, _ = self.attempts[outcome.attempt_id]
            self.attempts[outcome.attempt_id] = payee, amount, outcome.state
            if outcome.state == "paid":
                self.book(at, payout_clearing=amount, bank=-amount)
            elif outcome.state == "rejected":
                self.book(at, **{"payout_clearing": amount, f"royalties_payable__{payee}": -amount})
            else:
                self.book(at, **{"bank": amount, f"royalties_payable__{payee}": -amount})
                self.held.add(payee)

    # After each step --------------------------------------------------------------------------------------------------

    @invariant()
    def the_books_are_the_models(self) -> None:
        with session(Role.PAYER) as reader:
            now = balances(reader, "")
            assert {code: amount for code, amount in now.items() if amount} == self.at()
            assert sum(now.values()) == 0
            for end in ENDS[: self.closed]:
                moment = end - timedelta(microseconds=1)
                then = balances(reader, "", moment)
                assert {code: amount for code, amount in then.items() if amount} == self.at(moment), moment
            assert sealed_before(reader) == (self.sealed if self.closed else None)
            if self.batch:
                state = batch_state(reader, self.batch)
                assert state == self.batch_state or self.batch_state == "submitted"

    @invariant()
    def statements_say_it(self) -> None:
        with session(Role.SETTLEMENT) as reader:
            records = self.witness.look(reader)
            issued = {("statement", name) for name in reader.scalars(select(Statement.statement_id))}
            closings = {(s.period_id, s.payee_id): s.closing for s in reader.scalars(select(Statement))}
        assert {record for record in records if record[0] == "statement"} == issued
        assert {period for period, _ in closings} <= set(MONTHS[: self.closed])
        for number in range(self.closed):
            then = self.at(ENDS[number] - timedelta(microseconds=1))
            for payee in (*PAYEES, "pay-dev"):
                owed = -then.get(f"royalties_payable:{payee}:EUR", 0)
                assert closings.get((MONTHS[number], payee), 0) == owed

    @invariant()
    def the_auditor_finds_nothing(self) -> None:
        with session(Role.AUDITOR) as auditor:
            report = verify(auditor, CHECKED)
        assert report.ok, [(result.name, result.faults) for result in report.results if not result.ok]


def test_random_flows_of_money(new_database: Callable[[], AbstractContextManager[str]]) -> None:
    MoneyFlow.new_database = staticmethod(new_database)
    run_state_machine_as_test(MoneyFlow, settings=histories(3, 20))


def test_payers_book_while_periods_are_closed(database: str) -> None:
    """Closing and booking take their locks in one order: nobody is refused, and what is sealed is in the log."""
    over = threading.Event()
    booked: Counter[str] = Counter()
    failed: list[Exception] = []

    def book(payer: str) -> None:
        while not over.is_set():
            at = datetime(2026, 10, 20, tzinfo=UTC)
            lines = [posting.BANK.line(1, "EUR"), posting.RECEIVABLE.line(-1, "EUR")]
            entry = Entry("cash", f"{payer}:{booked[payer]}", at, at.date(), lines, payer, movable=True)
            try:
                with session(Role.PAYER) as opened:
                    post(opened, [entry])
                    if booked[payer] % 2:  # as a payout does
                        log.sequence_journals(opened)
            except Exception as error:
                failed.append(error)
                return
            booked[payer] += 1

    payers = [threading.Thread(target=book, args=(name,)) for name in ("ann", "bob", "eve")]
    for payer in payers:
        payer.start()
    try:
        october()
        november()
    finally:
        over.set()
        for payer in payers:
            payer.join(60)
    assert not failed and min(booked[name] for name in ("ann", "bob", "eve")) > 2
    with session(Role.SETTLEMENT) as reader:
        # The example pays 180000 and nothing comes in.
        assert balances(reader, "bank:")["bank:EUR"] == booked.total() - 180_000
        logged = {reference for kind, reference in Witness().look(reader) if kind == "journal"}
        sealed = set(
            reader.scalars(
                text("SELECT key FROM ledger.journal WHERE booked_at < :sealed"),
                {"sealed": sealed_before(reader)},
            )
        )
    assert sealed and sealed <= logged
    with session(Role.AUDITOR) as auditor:
        # The example's payout has no batch.
        report = verify(auditor, [check for check in CHECKS if check.name != "payouts tie to the bank"])
    assert report.ok, [(result.name, result.faults) for result in report.results if not result.ok]
