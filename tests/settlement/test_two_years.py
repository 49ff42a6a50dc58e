"""Two years of everything at random: the system's books are an independent recomputation's, to the micro."""

import os

from tests.settlement.audit.test_views import MUST_BE_EMPTY
from tests.settlement.oracle import events
from tests.settlement.oracle.recompute import recompute
from tests.settlement.two_years import NO_SERVICE_YET, TwoYears, audit

SEED = int(os.environ.get("TWO_YEARS_SEED", "1"))


def live_through(seed: int, months: int, size: int, audited: int) -> TwoYears:
    """A history whose books are compared after each close, and audited after every so many."""
    history = TwoYears(seed, size)
    history.begin()
    for month in range(months):
        history.live()
        if month % audited == audited - 1:
            audit(MUST_BE_EMPTY)
    audit(MUST_BE_EMPTY)
    # From the first event to the last, told in another order: the same books.
    again = recompute(history.events)
    assert again.ledger.accounts() == history.oracle.ledger.accounts()
    assert again.summaries == history.oracle.summaries
    return history


def test_two_years(database: str) -> None:
    history = live_through(SEED, months=24, size=20, audited=12)
    told = {type(event) for event in history.events}
    kinds = {
        kind
        for kind in vars(events).values()
        if isinstance(kind, type)
        and issubclass(kind, events.Event)
        and kind not in (events.Event, events.Version)
    }
    assert told == kinds - set(NO_SERVICE_YET), "something never happens, or has a service by now"
