"""The bank's API, apart from the network: a request in, a reply out."""

import hmac
import json
import threading
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fakebank.bank import Bank, Unreadable

MAX_PAYMENTS = 1_000


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back: a status and an object, whole, or cut in the middle, or nothing at all."""

    status: int
    content: dict[str, Any]
    mute: bool = False
    garbled: bool = False
    retry_after: int | None = None

    @property
    def body(self) -> bytes:
        """The bytes that are sent."""
        whole = json.dumps(self.content).encode()
        return whole[: len(whole) // 2] if self.garbled else whole


class Service:
    """A bank behind its API.

    Args:
        bank: whose it is.
        key: what a caller must bear.
    """

    def __init__(self, bank: Bank, key: str) -> None:
        self.bank = bank
        self._key = key
        self._lock = threading.Lock()
        self._outages: list[str] = []

    def reply(self, method: str, target: str, authorization: str, body: bytes) -> Reply:
        """Answer one request."""
        if not hmac.compare_digest(authorization.encode(), f"Bearer {self._key}".encode()):
            return Reply(401, {"error": "who are you?"})
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        try:
            given = json.loads(body) if body else {}
            if not isinstance(given, dict):
                raise Unreadable("the body is no object")
            if parts.path.startswith("/control/"):
                return self._control(method, parts.path, given)
            return self._outage() or self._bank(method, parts.path, query, given)
        except (Unreadable, ValueError, TypeError, KeyError) as error:
            return Reply(422, {"error": str(error)})

    def _bank(self, method: str, path: str, query: dict[str, list[str]], given: dict[str, Any]) -> Reply:
        match method, path:
            case "POST", "/v1/payments":
                payments = given["payments"]
                if not isinstance(payments, list) or not 0 < len(payments) <= MAX_PAYMENTS:
                    raise Unreadable(f"a call tells of 1 to {MAX_PAYMENTS} payments")
                told = self.bank.tell(given["currency"], payments)
                return Reply(200, {"events": told.events}, told.mute, told.garbled)
            case "GET", "/v1/payments":
                return Reply(200, {"payments": self.bank.payments(query.get("id", []))})
            case "GET", "/v1/events":
                events, following = self.bank.events(int(query.get("after", ["0"])[0]))
                return Reply(200, {"events": events, "next": str(following)})
        return Reply(404, {"error": "there is nothing here"})

    def _control(self, method: str, path: str, given: dict[str, Any]) -> Reply:
        """What only a model has: its clock, its outages, and a look into its books."""
        match method, path:
            case "POST", "/control/advance":
                return Reply(200, {"now": self.bank.advance(int(given["days"])).isoformat()})
            case "POST", "/control/outage":
                with self._lock:
                    self._outages += [str(given["kind"])] * int(given["calls"])
                return Reply(200, {})
            case "GET", "/control/ledger":
                return Reply(200, dict(self.bank.ledger()))
        return Reply(404, {"error": "there is nothing here"})

    def _outage(self) -> Reply | None:
        """What the next call gets instead of an answer, if an outage was asked for."""
        with self._lock:
            if not self._outages:
                return None
            kind = self._outages.pop(0)
        match kind:
            case "busy":
                return Reply(429, {"error": "too many calls"}, retry_after=0)
            case "closed":
                return Reply(503, {"error": "closed"})
            case "broken":
                return Reply(500, {"error": "a defect"})
            case _:
                return Reply(200, {}, mute=True)


def signed(secret: str, event: dict[str, Any], at: int) -> tuple[dict[str, str], bytes]:
    """Headers and body of a webhook, signed as Standard Webhooks 1.0 has it; ``at`` in seconds since 1970."""
    body = json.dumps(event).encode()
    key = b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{event['id']}.{at}.".encode() + body, sha256).digest()
    headers = {
        "content-type": "application/json",
        "webhook-id": event["id"],
        "webhook-timestamp": str(at),
        "webhook-signature": "v1," + b64encode(digest).decode(),
    }
    return headers, body
