"""Payouts by a provider's API against the model bank, in one process, where everything that may go wrong does.

The provider rail, its adapter, the events and the ledger are those of production; the model bank's service is the real
one, called without a network. A history is driven from outside, by hypothesis in the tests and by a random generator in
the benchmark. It can die at every boundary: before and after each commit, before and after each call.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice, product
from pathlib import Path
from random import Random
from string import ascii_uppercase

from sqlalchemy import text
from sqlalchemy.orm import Session

from database.engine import session
from database.errors import Refused, Unavailable
from database.roles import Role
from fakebank.bank import Bank
from fakebank.courses import COURSES
from fakebank.service import Service, signed
from settlement import posting
from settlement.bank_details import BankDetails
from settlement.ledger import Entry, post
from settlement.money import MICROS
from settlement.payees import PayeeRecord, record_payees
from settlement.payouts import run
from settlement.payouts.holds import open_holds, release_hold
from settlement.payouts.models import batches
from settlement.payouts.provider.http import Answer, HttpProvider
from settlement.payouts.provider.interface import NoAnswer, NotTaken
from settlement.payouts.provider.rail import ProviderRail, take

KEY = "key of the model bank"
SECRET = "whsec_" + "c2VjcmV0IG9mIHRoZSBtb2RlbCBiYW5rLCBmb3IgdGVzdHM="

AT = datetime(2026, 11, 4, 9, tzinfo=UTC)
CENT = 10_000

SUFFIXES = ("00", "01", *COURSES)
"""Each payee's account ends in one of these, which decides what the model bank does with her payments."""

CURRENCIES = ["".join(letters) for letters in islice(product("Q", ascii_uppercase, ascii_uppercase), 676)]
"""Currencies with cents for histories: balances and batches of one do not meet those of another."""

FAULTS = ("", "", "", "", "refused", "lost request", "lost answer", "busy", "broken", "mute")
"""What becomes of a call: nothing, on the network, or at the bank."""


class Killed(BaseException):
    """The process dies here: the transaction that is open is lost."""


def iban(number: int, suffix: str) -> str:
    """A German IBAN that is well formed and belongs to nobody, with a suffix of the caller's choice."""
    account = f"37040044{number:08}{suffix}"
    return f"DE{98 - int(account + '131400') % 97:02}{account}"


def payee_of(suffix: str, place: int = 0) -> str:
    """The payee whose account has this suffix; where several histories share a run, ``place`` says whose."""
    return f"pay-course-{suffix}-{place}" if place else f"pay-course-{suffix}"


def add_payees(opened: Session, histories: int = 1) -> None:
    """A payee for each suffix, with all that a payment in any currency needs; for so many histories in one run."""
    record_payees(
        opened,
        [
            payee_record(payee_of(suffix, place), place * len(SUFFIXES) + number, suffix)
            for place in range(histories)
            for number, suffix in enumerate(SUFFIXES)
        ],
        actor="simulation",
        reason="simulation",
    )


def payee_record(payee_id: str, number: int, suffix: str) -> PayeeRecord:
    """A person with an account of the model bank."""
    details = {
        "name": f"Payee {number}",
        "address": {"town": "Berlin", "country": "DE"},
    }
    account = BankDetails(iban(number, suffix), "COBADEFFXXX")
    return PayeeRecord(payee_id, "person", "EUR", details, account)


def owe(opened: Session, currency: str, amounts: dict[str, int], key: str) -> None:
    """Post that payees are owed amounts, in micros."""
    post(
        opened,
        [
            Entry(
                kind=posting.STATEMENT.kind,
                key=f"statement:{key}:{payee}:{currency}",
                booked_at=AT,
                value_date=AT.date(),
                lines=[
                    posting.EXPENSE.line(amount, currency),
                    posting.PAYABLE.line(-amount, currency, payee),
                ],
                actor="simulation",
            )
            for payee, amount in amounts.items()
        ],
    )


@dataclass
class Line:
    """The wire between the rail and the bank's service, and what is wrong with it: a fault for each call to come."""

    service: Service
    boundary: "Boundaries"
    faults: list[str] = field(default_factory=list)

    def __call__(self, method: str, path: str, body: bytes | None) -> Answer:
        """`settlement.payouts.provider.http.Transport`."""
        fault = self.faults.pop(0) if self.faults else ""
        self.boundary.pass_one()
        match fault:
            case "refused":
                raise NotTaken("no connection")
            case "lost request":
                raise NoAnswer("time-out")
            case "busy" | "broken" | "mute":
                self.service.reply("POST", "/control/outage", f"Bearer {KEY}", _outage(fault))
        reply = self.service.reply(method, path, f"Bearer {KEY}", body or b"")
        self.boundary.pass_one()
        if reply.mute or fault == "lost answer":
            raise NoAnswer("time-out")
        return Answer(reply.status, reply.body, None if reply.retry_after is None else str(reply.retry_after))


def _outage(kind: str) -> bytes:
    return b'{"kind": "%s", "calls": 1}' % kind.encode()


@dataclass
class Boundaries:
    """Counts down to the boundary at which the process dies; None: it lives."""

    left: int | None = None

    def pass_one(self) -> None:
        """One more place where a process may die."""
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Killed


class History:
    """One currency's payouts: what we think of them in the database, what the bank thinks of them in its own books.

    Args:
        currency: one of `CURRENCIES` that no other history has.
        directory: where the bank keeps its file.
        per_call: how many payments the bank is told of at once.
    """

    def __init__(self, currency: str, directory: Path, per_call: int = 3) -> None:
        self.currency = currency
        self.boundary = Boundaries()
        self.bank = Bank(directory / f"{currency}.sqlite", AT)
        self.line = Line(Service(self.bank, KEY), self.boundary)
        self.name = f"bank-{currency.lower()}"
        self.provider = HttpProvider(self.name, self.line, [SECRET], per_call=per_call)
        self.rail = ProviderRail(self.provider, patience=timedelta(seconds=5), pause=lambda wait: None)
        self.owed: dict[str, int] = {}
        self.months = 0

    def close(self) -> None:
        """Close the bank, and release holds: they are the payees', not a currency's."""
        self.bank.close()
        self.release()

    @contextmanager
    def transactions(self) -> Iterator[Session]:
        """A transaction that may die before and after its commit."""
        with session(Role.PAYER) as opened:
            yield opened
            self.boundary.pass_one()
        self.boundary.pass_one()

    # What may happen ------------------------------------------------------------------------------------------------

    def month(self, amounts: dict[str, int]) -> None:
        """Statements, in micros by payee; and a batch is made and approved if there is none on its way."""
        self.months += 1
        with session(Role.SETTLEMENT) as opened:
            owe(opened, self.currency, amounts, f"{self.currency}-{self.months}")
        for payee, amount in amounts.items():
            self.owed[payee] = self.owed.get(payee, 0) + amount
        with session(Role.PAYER) as opened:
            if any(
                state in ("draft", "approved", "submitting") for _, state in batches(opened, self.currency)
            ):
                return
            try:
                batch = run.create_batch(opened, self.currency, date(2026, 11, 4), "ann")
            except Refused:
                return  # nobody is owed a cent, or everybody is held
        with session(Role.APPROVER) as opened:
            run.approve_batch(opened, batch.batch_id, "bob")

    def submit(self, faults: Sequence[str] = (), dies_at: int | None = None) -> None:
        """Submit whatever is not finished, again or for the first time; it may die."""
        with session(Role.PAYER) as opened:
            unfinished = [
                batch.batch_id
                for batch, state in batches(opened, self.currency)
                if state in ("approved", "submitting", "submitted", "partially_settled")
            ]
        with self._ending(faults, dies_at):
            for batch_id in unfinished:
                with self.transactions() as opened:
                    run.reserve(opened, batch_id, "ann", AT, provider=self.name)
                self.rail.hand_over(self.transactions, batch_id, "ann", AT)

    def poll(self, faults: Sequence[str] = (), dies_at: int | None = None) -> None:
        """Ask the bank; it may die."""
        with self._ending(faults, dies_at):
            self.rail.poll(self.transactions, "ann")

    def webhooks(
        self, order: Random, lost: int = 0, dies_at: int | None = None, at_most: int = 1_000
    ) -> None:
        """Deliver what the bank sends: shuffled, some twice, some never, each as a request of its own."""
        due = self.bank.due_webhooks(1_000)
        order.shuffle(due)
        with self._ending((), dies_at):
            for number, event in [*due[lost : lost + at_most], *due[lost : lost + 2]]:
                headers, body = signed(SECRET, event, int(time.time()))
                events = self.provider.verify(headers, body, datetime.now(UTC))
                take(self.transactions, self.name, events, "webhook", f"provider {self.name}")
                self.bank.webhook_sent(number)

    def days(self, count: int) -> None:
        """The bank's clock moves on."""
        self.bank.advance(count)

    def release(self) -> None:
        """Somebody has looked at the holds."""
        with session(Role.PAYER) as opened:
            for hold in open_holds(opened):
                release_hold(opened, hold.id, "looked at", "ann")

    @contextmanager
    def _ending(self, faults: Sequence[str], dies_at: int | None) -> Iterator[None]:
        self.line.faults[:] = faults
        self.boundary.left = dies_at
        try:
            yield
        except (Killed, Unavailable):
            pass  # dead, or it has lost its patience
        finally:
            self.line.faults.clear()
            self.boundary.left = None

    # What must be true ----------------------------------------------------------------------------------------------

    def check(self) -> dict[str, tuple[str, int, str]]:
        """Hold our books against the bank's; returns each attempt's payee, amount and state.

        Raises:
            AssertionError: they contradict each other.
        """
        with session(Role.PAYER) as opened:
            attempts = {
                attempt: (payee, amount, state)
                for attempt, payee, amount, state in opened.execute(
                    text(_ATTEMPTS), {"currency": self.currency}
                )
            }
            balances = {
                code: int(total)
                for code, total in opened.execute(text(_BALANCES), {"currency": self.currency})
            }
        booked = {name: _micros(total) for name, total in self.bank.ledger()["payments"].items()}
        assert booked.keys() <= attempts.keys(), "the bank has paid what nobody told it"
        waiting = dict.fromkeys(self.owed, 0)
        for attempt, (payee, amount, state) in attempts.items():
            at_bank = booked.get(attempt)
            assert at_bank in (None, 0, amount), f"{attempt}: the bank has booked {at_bank} of {amount}"
            if state == "paid":
                # Returned since, perhaps: then we have not heard of it yet.
                assert at_bank is not None, f"{attempt} is paid, and not by the bank"
            elif state == "returned":
                assert at_bank == 0, f"{attempt} is returned, and not by the bank"
            elif state == "rejected":
                assert at_bank is None, f"{attempt} is rejected, and the bank has paid it"
            elif state == "reserved":
                assert self.bank.payments([attempt])[attempt] is None, (
                    f"{attempt} is not told, and the bank knows"
                )
            if state in ("reserved", "submitted", "accepted", "unknown"):
                waiting[payee] += amount
        for payee, owed in self.owed.items():
            ours = sum(
                amount for name, amount, state in attempts.values() if name == payee and state == "paid"
            )
            balance = -balances.get(f"royalties_payable:{payee}", 0)
            assert owed == balance + waiting[payee] + ours, f"{payee} has lost or won"
        assert -balances.get("payout_clearing", 0) == sum(waiting.values())
        assert -balances.get("bank", 0) == sum(
            amount for _, amount, state in attempts.values() if state == "paid"
        )
        return attempts

    def finish(self) -> None:
        """Everything calms down: no more faults, time passes, all news arrives. Then both books are the same.

        Raises:
            AssertionError: they are not.
        """
        for _ in range(3):  # an account may bring two calls down, and be told of in the third
            self.submit()
        self.days(10)
        self.poll()
        attempts = self.check()
        booked = {name: _micros(total) for name, total in self.bank.ledger()["payments"].items()}
        ours = {
            attempt: amount if state == "paid" else 0
            for attempt, (_, amount, state) in attempts.items()
            if state in ("paid", "returned")
        }
        assert ours == booked, "the bank's ledger is not ours"
        stuck = {attempt: found for attempt, found in attempts.items() if found[2] not in FINISHED}
        forgotten = {one: found for one, found in stuck.items() if "-course-97" not in found[0]}
        assert not forgotten, f"forgotten: {forgotten}"
        assert not any(self.bank.payments(sorted(stuck)).values())


FINISHED = ("paid", "returned", "rejected")


def _micros(amount: str) -> int:
    return int(Decimal(amount) * MICROS)


_ATTEMPTS = """
SELECT t.attempt_id, p.payee_id, t.amount_micros,
       (SELECT e.state FROM settlement.payout_event AS e WHERE e.payout_id = p.payout_id
        ORDER BY e.number DESC LIMIT 1)
FROM settlement.payout_attempt AS t JOIN settlement.payout AS p ON p.payout_id = t.payout_id
WHERE p.currency = :currency
"""

_BALANCES = """
SELECT left(a.code, -4), sum(p.amount)::bigint FROM ledger.account AS a
JOIN ledger.posting AS p ON p.account_id = a.id WHERE a.currency = :currency GROUP BY a.code
"""


def random_run(currency: str, directory: Path, drawn: Random, histories: int = 1) -> int:
    """One run as the random generator has it, checked after every step and at its end; returns its payments.

    A run is one history or several, each with payees, amounts, courses and months of its own. Those of a run share its
    batches, and with them the calls, the faults and the deaths; money that one of them won from another would show.

    Raises:
        AssertionError: somebody was paid twice, or something was lost.
    """
    many = histories > 1
    history = History(currency, directory, per_call=25 if many else 3)
    try:
        for _ in range(drawn.randint(1, 2)):
            amounts = {
                payee_of(suffix, place): drawn.randint(1, 9_999_999)
                for place in range(histories)
                for suffix in drawn.sample(SUFFIXES, drawn.randint(1, 5))
            }
            history.month(amounts)
            for _ in range(drawn.randint(1, 3)):
                faults = drawn.choices(FAULTS, k=8 + histories)
                dies_at = drawn.choice((None, drawn.randint(0, 36 + 4 * histories)))
                match drawn.choice(("submit", "submit", "poll", "webhooks", "days")):
                    case "submit":
                        history.submit(faults, dies_at)
                    case "poll":
                        history.poll(faults, dies_at)
                    case "webhooks":
                        history.webhooks(drawn, drawn.randint(0, 2), dies_at, at_most=20)
                    case _:
                        history.days(drawn.randint(1, 5))
                history.check()
            if drawn.random() < 0.5:
                history.release()
        history.finish()
        return len(history.check())
    finally:
        history.close()
