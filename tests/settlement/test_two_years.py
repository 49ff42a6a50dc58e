"""Two years of everything at random: the system's books are an independent recomputation's, to the micro.

`TWO_YEARS_SEED=7` in the environment tells another history than the one of every run.
"""

import os
import random

import pytest

from tests.settlement.audit.test_views import MUST_BE_EMPTY
from tests.settlement.oracle import events
from tests.settlement.oracle.recompute import Books, recompute
from tests.settlement.two_years import NO_SERVICE_YET, TwoYears, audit

SEED = int(os.environ.get("TWO_YEARS_SEED", "2"))


HAPPENS = {
    "a line is royalty",
    "a line is pending",
    "a line is unattributed",
    "a line is late",
    "a line is released",
    "a line is fallback",
    "a line is refund",
    "a line is adjustment",
    "tax is given back",
    "reserves are released",
    "an advance is recouped",
    "a recoupment is less because of a payout since",
    "payouts come back",
    "a payout is paid",
    "a payout is rejected",
    "a payout is returned",
    *(f"{currency} is paid out" for currency in ("EUR", "USD", "JPY", "KWD")),
    "a claim takes",
    "a claim gives",
    "a balance is below zero",
    "a balance is held",
    "a balance is below the minimum",
    "a balance is payable",
    "a zero statement",
    "a refund takes all from a reserve",
    "a refund takes a part from a reserve",
    "a refund of a line that is net of one",
    *(f"a refund of what is suspense_{what}" for what in ("pending", "unattributed", "unclaimed")),
}
"""What a history must bring, so that nothing is compared in vain."""


def happened(books: Books) -> set[str]:
    """What of `HAPPENS` a history brought."""
    found = books.happened | {f"a line is {line.kind}" for line in books.lines}
    found |= {f"{currency} is paid out" for (_, currency), _ in books.payouts.values()}
    for summary in books.summaries:
        for column in summary.columns.values():
            for item, words in (
                ("tax", "tax is given back"),
                ("reserves", "reserves are released"),
                ("payments", "payouts come back"),
            ):
                if column.moves[item] > 0:
                    found.add(words)
            if column.moves["claims"]:
                found.add("a claim gives" if column.moves["claims"] > 0 else "a claim takes")
            if column.moves["recoupment"]:
                found.add("an advance is recouped")
            if column.closing < 0:
                found.add("a balance is below zero")
        for amount, words in (
            (summary.held, "held"),
            (summary.below_minimum, "below the minimum"),
            (summary.payable, "payable"),
        ):
            if amount:
                found.add(f"a balance is {words}")
    return found & HAPPENS


def live_through(seed: int, months: int, size: int, audited: int) -> TwoYears:
    """A history whose books are compared after each close, and audited after every so many."""
    history = TwoYears(seed, size)
    history.begin()
    for month in range(months):
        history.live()
        if month % audited == audited - 1:
            audit(MUST_BE_EMPTY)
    history.compare_all()
    audit(MUST_BE_EMPTY)
    # From the first event to the last, in whatever order they are told: the same books.
    again = recompute(random.Random(seed).sample(history.events, len(history.events)))
    assert again.ledger.accounts() == history.oracle.ledger.accounts()
    assert again.summaries == history.oracle.summaries
    return history


def test_two_years(database: str) -> None:
    history = live_through(SEED, months=24, size=20, audited=8)
    told = {type(event) for event in history.events}
    kinds = {
        kind
        for kind in vars(events).values()
        if isinstance(kind, type)
        and issubclass(kind, events.Event)
        and kind not in (events.Event, events.Version)
    }
    assert told == kinds - set(NO_SERVICE_YET), "something never happens, or has a service by now"
    assert HAPPENS - happened(history.oracle) == set()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [SEED + 1, SEED + 2])
def test_two_years_of_thousands_of_images(database: str, seed: int) -> None:
    history = live_through(seed, months=24, size=200, audited=1)
    assert len(history.image_ids) == 24 * 200
    assert HAPPENS - happened(history.oracle) == set()
