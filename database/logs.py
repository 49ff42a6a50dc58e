"""Structured logs: one JSON object per line on standard output, without personal data.

A request's line says request id, method, route template, status, duration and user id. Addresses, bodies, queries,
tokens and names never reach a log; an unexpected error is logged by type and place, because its message may quote data.
"""

import logging
import sys
import traceback
from typing import Any

import structlog
from sqlalchemy.exc import DBAPIError

_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
]


def configure() -> None:
    """Write the process's logs as JSON, those of libraries included."""
    structlog.configure(
        processors=[*_SHARED, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def described(error: BaseException) -> dict[str, Any]:
    """An unexpected error for the log: types and places of the whole chain, the database's code, and no message."""
    chain: list[dict[str, Any]] = []
    current: BaseException | None = error
    while current is not None and len(chain) < 5:
        link: dict[str, Any] = {
            "type": f"{type(current).__module__}.{type(current).__qualname__}",
            "places": [
                f"{frame.filename}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(current.__traceback__)[-15:]
            ],
        }
        if isinstance(current, DBAPIError):
            link["sqlstate"] = getattr(current.orig, "sqlstate", None)
            diagnostics = getattr(current.orig, "diag", None)
            link["constraint"] = getattr(diagnostics, "constraint_name", None)
        chain.append(link)
        current = current.__cause__ or current.__context__
    return {"error": chain}
