"""Signed webhooks of payout providers: kept, then acted upon. Sent again, or out of order, they are harmless."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from api.problems import documented
from api.roles import acting
from database.errors import Conflict, NotFound
from database.roles import Role
from settlement.payouts.provider.configuration import configured_provider, webhook_secrets
from settlement.payouts.provider.rail import take

router = APIRouter(tags=["webhooks"])

MAX_BYTES = 64 * 1024
"""An event is some hundred bytes."""

_HEADERS = [
    {
        "name": name,
        "in": "header",
        "required": True,
        "schema": {"type": "string"},
        "description": description,
    }
    for name, description in (
        ("webhook-id", "The event's id."),
        ("webhook-timestamp", "Seconds since 1970; within five minutes of now."),
        (
            "webhook-signature",
            "`v1,` and base64 of HMAC-SHA256 over id, timestamp and body, with points between.",
        ),
    )
]
_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"type": "object"},
            "example": {
                "id": "evt-1",
                "type": "payment.paid",
                "payment": "EUR-20261104-1-17-1",
                "amount": "12.34",
                "currency": "EUR",
                "at": "2026-11-05T09:00:00Z",
            },
        }
    },
}


@router.post(
    "/v1/webhooks/{provider}",
    status_code=204,
    response_class=Response,
    summary="A payout provider's news",
    responses=documented(401, 404, 409, 413, 422),
    openapi_extra={"parameters": _HEADERS, "requestBody": _BODY},
)
async def receive_webhook(
    request: Request, provider: Annotated[str, Path(pattern="^[a-z][a-z0-9-]{0,30}$", examples=["nordpay"])]
) -> None:
    """Take an event, signed as Standard Webhooks has it. One that names no payment of ours is kept and reported."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BYTES:
            raise HTTPException(413)
    await run_in_threadpool(_take, provider, dict(request.headers), bytes(body))


def _take(provider: str, headers: dict[str, str], body: bytes) -> None:
    if not webhook_secrets(provider):
        raise NotFound(f"no webhooks are expected of {provider}")
    events = configured_provider(provider).verify(headers, body, datetime.now(UTC))
    contradicting = take(lambda: acting(Role.PAYER), provider, events, "webhook", f"provider {provider}")
    if contradicting:
        raise Conflict("this event was sent before with other contents: what came first stands")
