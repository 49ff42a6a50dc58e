"""The adapter for a provider with a small JSON API; docs/payouts.md describes it, and `python -m fakebank` speaks it.

    POST /v1/payments                {"currency", "execution_date", "payments": [...]} -> {"events": [...]}
    GET  /v1/payments?id=..&id=..    {"payments": {"<id>": [events] | null}}
    GET  /v1/events?after=CURSOR     {"events": [...], "next": "CURSOR"}

A connection is made for each call: an idle one that the other side has closed could not be told from a lost answer.
Redirects are not followed, and no call is repeated here.
"""

import http.client
import json
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlencode, urlsplit

from database.errors import Invalid, Refused
from settlement.money import check_currency, from_decimal, minor_to_decimal, to_minor
from settlement.payouts.bank_messages.codes import DUPLICATES
from settlement.payouts.pain001 import Payment
from settlement.payouts.provider.interface import Event, NoAnswer, NotTaken
from settlement.payouts.provider.webhook import check_signature

MAX_ANSWER = 8 * 1024 * 1024
"""Bytes; a page of events or a call's payments are far below."""

_SAYS = {
    "payment.accepted": "accepted",
    "payment.rejected": "rejected",
    "payment.paid": "paid",
    "payment.returned": "returned",
}
_IDENTIFIER = re.compile(r"[\x21-\x7e]{1,100}")
_CODE = re.compile(r"[A-Za-z0-9_-]{0,35}")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: ``retry_after`` is the header of that name, as it came."""

    status: int
    body: bytes
    retry_after: str | None = None


Transport = Callable[[str, str, bytes | None], Answer]
"""Method, path with query, body: one call over the network. Raises `NoAnswer` or `NotTaken`."""


@dataclass(frozen=True, slots=True)
class Network:
    """Calls to one host, each within ``timeout`` from its first byte to the last of the answer."""

    url: str
    key: str = field(repr=False)
    timeout: timedelta

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
            raise Invalid(
                f"{self.url} is no address for payments: write https://HOST (http on loopback only)"
            )

    def __call__(self, method: str, path: str, body: bytes | None) -> Answer:
        """`Transport`."""
        parts = urlsplit(self.url)
        seconds = self.timeout.total_seconds()
        ends = time.monotonic() + seconds
        host = parts.hostname or ""
        connection = (
            http.client.HTTPSConnection(
                host, parts.port, timeout=seconds, context=ssl.create_default_context()
            )
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, parts.port, timeout=seconds)
        )
        try:
            try:
                connection.connect()
            except OSError as error:
                raise NotTaken(f"no connection ({type(error).__name__})") from error
            try:
                headers = {"Authorization": f"Bearer {self.key}", "Accept": "application/json"}
                if body is not None:
                    headers["Content-Type"] = "application/json"
                connection.request(method, parts.path.rstrip("/") + path, body, headers)
                response = connection.getresponse()
                content = bytearray()
                while chunk := response.read1(1 << 16):
                    content += chunk
                    if time.monotonic() > ends or len(content) > MAX_ANSWER:
                        raise NoAnswer("the answer takes too long or is too large")
                if response.length:
                    raise NoAnswer("the answer ends too early")
                return Answer(response.status, bytes(content), response.headers.get("Retry-After"))
            except (OSError, http.client.HTTPException) as error:
                raise NoAnswer(type(error).__name__) from error
        finally:
            connection.close()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class HttpProvider:
    """`Provider` over HTTP; ``secrets`` are those of its webhooks, two while one is being replaced."""

    name: str
    transport: Transport
    secrets: Sequence[str] = field(repr=False)
    per_call: int = 100

    def submit(self, payments: Sequence[Payment], currency: str, execution_date: date) -> list[Event]:
        """`Provider.submit`."""
        body = {
            "currency": currency,
            "execution_date": execution_date.isoformat(),
            "payments": [_payment(payment, currency) for payment in payments],
        }
        answer = self._call("POST", "/v1/payments", json.dumps(body).encode())
        return [_event(event) for event in _items(answer, "events")]

    def ask(self, attempt_ids: Sequence[str]) -> Mapping[str, list[Event] | None]:
        """`Provider.ask`."""
        query = urlencode([("id", attempt_id) for attempt_id in attempt_ids])
        found = self._call("GET", f"/v1/payments?{query}").get("payments")
        # Only what is said counts: an attempt that is left out has not been found to be unknown.
        if not isinstance(found, dict) or not found.keys() >= set(attempt_ids):
            raise NoAnswer("the answer says nothing of a payment that was asked about")
        return {
            attempt_id: None
            if found[attempt_id] is None
            else [_event(event) for event in _items(found, attempt_id)]
            for attempt_id in attempt_ids
        }

    def since(self, cursor: str) -> tuple[list[Event], str]:
        """`Provider.since`."""
        answer = self._call("GET", f"/v1/events?{urlencode({'after': cursor})}")
        following = answer.get("next")
        if not isinstance(following, str) or not _IDENTIFIER.fullmatch(following):
            raise NoAnswer("the answer has no cursor")
        return [_event(event) for event in _items(answer, "events")], following

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> list[Event]:
        """`Provider.verify`."""
        webhook_id = check_signature(self.secrets, headers, body, now)
        try:
            event = _event(json.loads(body))
        except (ValueError, RecursionError, NoAnswer):
            raise Invalid("the webhook cannot be read: it is not an event as documented") from None
        if event.event_id != webhook_id:
            raise Invalid("the webhook's id is not its event's")
        return [event]

    def _call(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        answer = self.transport(method, path, body)
        if answer.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            given = answer.retry_after or ""
            wait = int(given) * 1000 if given.isascii() and given.isdecimal() and len(given) < 6 else None
            raise NotTaken(f"it answered {answer.status}", wait)
        if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise Refused(f"provider {self.name} does not know us: check its key in the environment")
        if answer.status != HTTPStatus.OK:
            raise NoAnswer(f"it answered {answer.status}")
        try:
            found = json.loads(answer.body)
        except (ValueError, RecursionError):
            raise NoAnswer("the answer is not JSON") from None
        if not isinstance(found, dict):
            raise NoAnswer("the answer is no object")
        return found


def _payment(payment: Payment, currency: str) -> dict[str, Any]:
    creditor = payment.creditor
    found: dict[str, Any] = {
        "id": payment.end_to_end_id,
        "amount": minor_to_decimal(to_minor(payment.amount, currency), currency),
        "name": creditor.name,
        "iban": creditor.iban.replace(" ", ""),
        "remittance": payment.remittance,
    }
    if creditor.bic:
        found["bic"] = creditor.bic
    if creditor.address is not None:
        found["country"] = creditor.address.country
        found["town"] = creditor.address.town
    return found


def _items(answer: Mapping[str, Any], name: str) -> list[Any]:
    found = answer.get(name)
    if not isinstance(found, list):
        raise NoAnswer(f"the answer has no list of {name}")
    return found


def _event(given: object) -> Event:
    """An event as documented. Raises `NoAnswer` on anything else: nothing is taken from what is half understood."""
    if not isinstance(given, dict):
        raise NoAnswer("an event is no object")
    event_id, kind, reference = _text(given, "id"), _text(given, "type"), _text(given, "payment")
    try:
        at = datetime.fromisoformat(_text(given, "at"))
        amount = from_decimal(_text(given, "amount"))
        currency = check_currency(_text(given, "currency"))
    except (ValueError, Invalid):
        raise NoAnswer("an event has a time, amount or currency that cannot be read") from None
    if at.tzinfo is None or not 2000 <= at.year < 2100 or amount <= 0:
        raise NoAnswer("an event has a time without a zone or an amount that is none")
    if not (_IDENTIFIER.fullmatch(event_id) and _IDENTIFIER.fullmatch(reference)):
        raise NoAnswer("an event has an id that cannot be kept")
    reason = _text(given, "reason") if "reason" in given else ""
    reason = reason if _CODE.fullmatch(reason) else ""
    says = _SAYS.get(kind, "noted")
    if says == "rejected" and reason in DUPLICATES:
        says = "unknown"  # it has the payment already; what became of that one is to be found out
    return Event(event_id, reference, says, amount, currency, at.astimezone(UTC), reason)


def _text(given: Mapping[str, object], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str):
        raise NoAnswer(f"an event has no {name}")
    return value


def check_name(name: str) -> str:
    """A provider's name, which stands in addresses and variables. Raises `Invalid` if it cannot."""
    if not _NAME.fullmatch(name):
        raise Invalid(f"{name!r} is no name for a provider: write small letters, digits and hyphens")
    return name
