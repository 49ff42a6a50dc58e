"""What every request passes through: a request id, the log, the metrics, a limit on the body, and the last catch."""

import re
import secrets
import time

import structlog
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import Metrics
from api.problems import KINDS, problem_response
from database.logs import described

_GIVEN_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

log = structlog.get_logger()


class Observed:
    """Names, times, logs and counts each request; turns what nobody caught into a problem without details."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except Exception as error:
            log.error("defect", **described(error))
            if not status:
                answer = problem_response(
                    request_id,
                    KINDS["defect"],
                    f"this is a defect; tell operations the request id {request_id}",
                )
                await answer(scope, receive, observed)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "unmatched")
            # 499, as nginx has it: the client went away before an answer began.
            self._metrics.request(scope["method"], route, status or 499, seconds)
            log.info(
                "request",
                method=scope["method"],
                route=route,
                status=status or 499,
                duration_ms=round(seconds * 1000, 1),
                user_id=state.get("user_id"),
            )


class BodyLimit:
    """Refuses a body above `limit` bytes: at once where its length is declared, else as soon as it is exceeded."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._limit:
            detail = f"the body is larger than {self._limit} bytes; send the rows in smaller batches"
            answer = problem_response(scope["state"]["request_id"], KINDS["too-large"], detail)
            await answer(scope, receive, send)
            return
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise HTTPException(413)  # FastAPI passes it on to our handler
            return message

        await self._app(scope, limited, send)


def _request_id(scope: Scope) -> str:
    """The caller's id if it is harmless, so that a request can be followed through several systems; else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _GIVEN_ID.fullmatch(value):
            return str(value, "ascii")
    return secrets.token_hex(16)
