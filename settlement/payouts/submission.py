"""Submission of a batch: its money reserved, and the bank told, on the rail that is configured for its currency."""

from collections.abc import Callable
from datetime import datetime

from database.settings import get_settings
from settlement.payouts import run
from settlement.payouts.bank_messages.intake import apply_open
from settlement.payouts.models import batch_state, find_batch
from settlement.payouts.plan import hold_named
from settlement.payouts.provider.configuration import configured_provider, provider_of
from settlement.payouts.provider.models import ProviderBatch
from settlement.payouts.provider.rail import ProviderRail
from settlement.payouts.rail import FileRail, Rail, Transactions


def submit(
    transactions: Transactions,
    batch_id: str,
    actor: str,
    at: datetime,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Reserve and hand over, in several commits, each of which may be the last before a crash; then run it again.

    Args:
        transactions: as the role `payer`.
        batch_id: an approved batch, or one whose submission was stopped.
        actor: who submits it.
        at: when it is handed to the bank.
        progress: called with how many attempts a provider has been told of, and of how many.

    Returns:
        What was done, a line each, for people.

    Raises:
        Refused, Conflict, NotFound, Unavailable: see `run.reserve` and the rails.
    """
    with transactions() as session:
        currency = find_batch(session, batch_id).currency
        name = provider_of(currency)
        if batch_state(session, batch_id) == "approved":
            # Committed by itself: a hold stays, whatever becomes of the batch.
            hold_named(session, currency, actor)
    if name is not None:
        configured_provider(name)  # what is not configured is said before money is reserved
    with transactions() as session:
        per_file = get_settings().payout_file_limit
        run.reserve(session, batch_id, actor, at, per_file=per_file, provider=name)
        way = session.get(ProviderBatch, batch_id)
    rail: Rail
    if way is None:
        rail = FileRail(get_settings().royalty_home / "payouts")
    else:
        rail = ProviderRail(configured_provider(way.provider), progress)
    done = rail.hand_over(transactions, batch_id, actor, at)
    with transactions() as session:
        apply_open(session, [batch_id], actor)  # what the bank answered before the hand-over was recorded
    return [f"give {path} to the bank" for path in done] if way is None else done
