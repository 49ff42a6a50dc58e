"""The application: what is served where. No business rules and no SQL live in this package."""

from collections.abc import Mapping
from functools import partial
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.routing import APIRoute

from api import documentation, problems
from api.limits import AttemptLimit
from api.metrics import Metrics
from api.middleware import BodyLimit, Observed
from api.routers import (
    advances,
    catalogue,
    claims,
    corrections,
    disputes,
    ingestion,
    monitoring,
    operations,
    portal,
    tax,
    tokens,
    webhooks,
)
from attribution.jobs import images_per_second, unfinished_jobs
from database.engine import session
from database.migrate import newest_revision
from database.roles import Role

MAX_BODY_BYTES = 8 * 1024 * 1024
"""A batch of 1,000 images with everything about them is below 4 MiB."""

TAGS = [
    {"name": "access", "description": "Tokens and keys."},
    {"name": "ingestion", "description": "What a platform sends: images, sales, refunds."},
    {"name": "catalogue", "description": "Terms, and the artists who are looked for."},
    {"name": "portal", "description": "What an artist reads: her own, and nothing of anybody else."},
    {"name": "operations", "description": "Periods and payout batches; maker and checker are two people."},
    {"name": "webhooks", "description": "What payout providers send, each message signed."},
    {"name": "monitoring", "description": "For machines that watch this one."},
]


def _name(route: APIRoute) -> str:
    # Stable: the function's name, not one made of the path.
    return route.name


def _queue() -> tuple[Mapping[str, int], float]:
    with session(Role.ATTRIBUTION) as opened:
        return unfinished_jobs(opened), images_per_second(opened)


def create_app() -> FastAPI:
    """A new application. Connects to nothing until the first request."""
    app = FastAPI(
        title="Royalty API",
        version=version("royalty"),
        docs_url=None,
        redoc_url=None,
        openapi_tags=TAGS,
        generate_unique_id_function=_name,
        redirect_slashes=False,
    )
    app.state.metrics = Metrics(_queue)
    app.state.login_guard = tokens.LoginGuard()
    app.state.public_limit = AttemptLimit(*catalogue.PER_ADDRESS)
    app.state.schema_version = newest_revision()
    problems.install(app)
    app.add_middleware(BodyLimit, limit=MAX_BODY_BYTES)
    app.add_middleware(Observed, metrics=app.state.metrics)  # added last is outermost
    for router in (
        tokens.router,
        ingestion.router,
        catalogue.router,
        portal.router,
        operations.router,
        advances.router,
        tax.router,
        claims.router,
        corrections.router,
        disputes.router,
        webhooks.router,
        monitoring.router,
        documentation.router,
    ):
        app.include_router(router)
    app.openapi = partial(documentation.describe, app)  # type: ignore[method-assign]
    return app
