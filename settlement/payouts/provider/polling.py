"""Providers are asked what has become of payments: by the command and by the schedule, the same way."""

from database.settings import get_settings
from settlement.payouts.provider.configuration import configured_provider
from settlement.payouts.provider.rail import Polled, ProviderRail
from settlement.payouts.rail import Transactions


def providers() -> list[str]:
    """The names of all providers that are configured for a currency."""
    return sorted(set(get_settings().payout_providers.values()))


def poll_provider(name: str, transactions: Transactions, actor: str) -> Polled:
    """Ask one provider; it is told nothing new.

    Args:
        name: one of `providers`.
        transactions: as the role `payer`.
        actor: on whose behalf.

    Raises:
        NotFound, Invalid: it is not configured as it should be.
        Unavailable: it is closed or does not answer.
    """
    return ProviderRail(configured_provider(name)).poll(transactions, actor)
