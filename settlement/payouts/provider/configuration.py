"""Which currencies are paid by which provider, and how it is reached: environment variables.

PAYOUT_PROVIDERS='{"USD": "nordpay"}'       currencies that go by a provider; the others go in files
PAYOUT_NORDPAY_URL, PAYOUT_NORDPAY_KEY       where, and who we are
PAYOUT_NORDPAY_WEBHOOK_SECRETS               one, or two apart by a comma while one is being replaced
PAYOUT_NORDPAY_TIMEOUT_MS                    for one call (default 10000)
"""

import os
from datetime import timedelta

from database.errors import Invalid, NotFound
from database.settings import get_settings
from settlement.payouts.provider.http import HttpProvider, Network, check_name
from settlement.payouts.provider.interface import Provider
from settlement.payouts.provider.webhook import secret_bytes

_TIMEOUT_MS = "10000"


def provider_of(currency: str) -> str | None:
    """The provider that payments in this currency go by; None: they go in files."""
    name = get_settings().payout_providers.get(currency)
    return None if name is None else check_name(name)


def configured_provider(name: str) -> Provider:
    """A provider by its name.

    Raises:
        NotFound: nothing is configured under this name.
        Invalid: what is configured cannot be; the message names the variable.
    """
    url, key = _variable(name, "URL"), _variable(name, "KEY")
    if not url or not key:
        raise NotFound(
            f"provider {name} is not configured: set PAYOUT_{_prefix(name)}_URL and PAYOUT_{_prefix(name)}_KEY"
        )
    timeout = _variable(name, "TIMEOUT_MS") or _TIMEOUT_MS
    if not (timeout.isascii() and timeout.isdecimal() and 0 < int(timeout) <= 600_000):
        raise Invalid(f"PAYOUT_{_prefix(name)}_TIMEOUT_MS is {timeout}: write milliseconds, 600000 at most")
    network = Network(url, key, timedelta(milliseconds=int(timeout)))
    return HttpProvider(name, network, webhook_secrets(name))


def webhook_secrets(name: str) -> list[str]:
    """The secrets that a provider's webhooks may be signed with; none: it sends none.

    Raises:
        Invalid: one of them is not built like a secret.
    """
    secrets = [part.strip() for part in _variable(name, "WEBHOOK_SECRETS").split(",") if part.strip()]
    for secret in secrets:
        secret_bytes(secret)
    return secrets


def _prefix(name: str) -> str:
    return check_name(name).upper().replace("-", "_")


def _variable(name: str, what: str) -> str:
    return os.environ.get(f"PAYOUT_{_prefix(name)}_{what}", "")
