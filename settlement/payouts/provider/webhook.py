"""Signatures of webhooks, as Standard Webhooks 1.0 has them (standardwebhooks.com): HMAC-SHA256 over id, time and body.

    webhook-id, webhook-timestamp (seconds), webhook-signature: one or more `v1,<base64>`, apart by blanks

A secret is `whsec_` and base64. While one is being replaced both are good.
"""

import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256

from database.errors import Invalid, Unauthenticated

TOLERANCE = timedelta(minutes=5)
"""How far a webhook's time may be from ours: what is older is taken for a replay."""

_PREFIX = "whsec_"
_MIN_BYTES = 24
_MAX_SIGNATURES = 8


def secret_bytes(secret: str) -> bytes:
    """The key in a secret. Raises `Invalid` if it is not built like one or too short to be safe."""
    try:
        key = b64decode(secret.removeprefix(_PREFIX), validate=True)
    except Base64Error:
        key = b""
    if not secret.startswith(_PREFIX) or len(key) < _MIN_BYTES:
        raise Invalid(
            f"a webhook secret is not {_PREFIX} and base64 of {_MIN_BYTES} bytes or more: copy it from the provider"
        )
    return key


def signature(secret: str, webhook_id: str, timestamp: str, body: bytes) -> str:
    """The value of `webhook-signature`."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + b64encode(hmac.new(secret_bytes(secret), signed, sha256).digest()).decode()


def check_signature(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: datetime) -> str:
    """The webhook's id, if one of the secrets has signed it within `TOLERANCE` of now.

    Raises:
        Unauthenticated: otherwise; which of the reasons it is helps nobody but an attacker.
    """
    webhook_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    given = headers.get("webhook-signature", "").split()[:_MAX_SIGNATURES]
    in_time = (
        timestamp.isascii()
        and timestamp.isdecimal()
        and len(timestamp) <= 11
        and abs(int(now.timestamp()) - int(timestamp)) <= int(TOLERANCE.total_seconds())
    )
    good = False
    for secret in secrets:
        expected = signature(secret, webhook_id, timestamp, body).encode()
        for one in given:
            good |= hmac.compare_digest(expected, one.encode())
    if not (good and in_time and webhook_id):
        raise Unauthenticated("the webhook is not signed as it should be, or its time is not now")
    return webhook_id
