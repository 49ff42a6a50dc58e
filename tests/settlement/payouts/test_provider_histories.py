"""Random histories against the model bank: whatever dies or is lost, its ledger is ours at the end."""

from pathlib import Path
from random import Random

import psycopg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from psycopg.sql import SQL, Identifier

from benchmarks.payout_simulation import (
    CURRENCIES,
    FAULTS,
    SUFFIXES,
    History,
    add_payees,
    payee_of,
    random_run,
)
from database.engine import engine, session
from database.roles import Role

RANDOM_HISTORIES = 100
STATEFUL_HISTORIES = 100

_faults = st.lists(st.sampled_from(FAULTS), max_size=6)
_dies_at = st.none() | st.integers(0, 40)


@pytest.fixture(scope="module")
def people(october: str) -> None:
    """The payees, in a database that does not wait for its disk: what is killed here are processes, not machines."""
    with session(Role.ADMIN) as opened:
        add_payees(opened)
    with psycopg.connect(october, autocommit=True) as connection:
        connection.execute(
            SQL("ALTER DATABASE {} SET synchronous_commit = off").format(Identifier(connection.info.dbname))
        )
    for role in Role:
        engine(role).dispose()


@pytest.mark.timeout(900)
def test_histories_that_share_a_run(people: None, tmp_path: Path) -> None:
    with session(Role.ADMIN) as opened:
        add_payees(opened, 8)
    assert random_run(CURRENCIES[-1], tmp_path, Random(5), 8) > 8


@pytest.mark.timeout(900)
def test_100_random_histories(people: None, tmp_path: Path) -> None:
    payments = [
        random_run(currency, tmp_path, Random(currency)) for currency in CURRENCIES[:RANDOM_HISTORIES]
    ]
    assert sum(payments) > 2 * RANDOM_HISTORIES


@pytest.mark.timeout(900)
def test_100_histories_that_hypothesis_looks_for(people: None, tmp_path: Path) -> None:
    currencies = iter(CURRENCIES[RANDOM_HISTORIES:])

    class Histories(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.history = History(next(currencies), tmp_path)

        def teardown(self) -> None:
            try:
                self.history.finish()
            finally:
                self.history.close()

        @rule(
            suffixes=st.lists(st.sampled_from(SUFFIXES), min_size=1, max_size=6, unique=True),
            amount=st.integers(1, 9_999_999),
        )
        def month(self, suffixes: list[str], amount: int) -> None:
            self.history.month({payee_of(suffix): amount for suffix in suffixes})

        @rule(faults=_faults, dies_at=_dies_at)
        def submit(self, faults: list[str], dies_at: int | None) -> None:
            self.history.submit(faults, dies_at)

        @rule(faults=_faults, dies_at=_dies_at)
        def poll(self, faults: list[str], dies_at: int | None) -> None:
            self.history.poll(faults, dies_at)

        @rule(order=st.integers(0, 5), lost=st.integers(0, 2), dies_at=_dies_at)
        def webhooks(self, order: int, lost: int, dies_at: int | None) -> None:
            self.history.webhooks(Random(order), lost, dies_at)

        @rule(count=st.integers(1, 5))
        def days(self, count: int) -> None:
            self.history.days(count)

        @rule()
        def release(self) -> None:
            self.history.release()

        @invariant()
        def books_agree(self) -> None:
            self.history.check()

    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=STATEFUL_HISTORIES,
            stateful_step_count=8,
            deadline=None,
            database=None,
            print_blob=True,
        ),
    )
