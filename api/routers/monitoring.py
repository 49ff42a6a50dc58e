"""For machines that watch this one: alive, ready, metrics; and what a problem's `type` means."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from api.metrics import CONTENT_TYPE
from api.problems import KINDS, ProblemKind, documented
from database.engine import session
from database.errors import NotFound, Unavailable
from database.migrate import recorded_revision
from database.roles import Role

router = APIRouter(tags=["monitoring"])

_ROLES = (Role.IDENTITY, Role.ATTRIBUTION, Role.SETTLEMENT, Role.PORTAL)
"""Whom this process connects as."""


class Health(BaseModel):
    """The process answers."""

    status: str = Field(examples=["ok"])


class Readiness(BaseModel):
    """The process can do its work."""

    status: str = Field(examples=["ready"])
    schema_version: str = Field(
        description="The database's revision, which is the code's.", examples=["0001"]
    )


@router.get("/healthz", summary="Is the process alive?")
def read_health() -> Health:
    """Answers as long as the process runs; asks nothing else."""
    return Health(status="ok")


@router.get("/readyz", responses=documented(503), summary="Can the process work?")
def read_readiness(request: Request) -> Readiness:
    """Whether the database can be reached as each role that this process uses, and has this code's schema."""
    expected: str = request.app.state.schema_version
    for role in _ROLES:
        with session(role) as opened:
            found = recorded_revision(opened)
        if found != expected:
            raise Unavailable(
                f"the database's schema is {found}, this code's is {expected}; run `royalty db migrate`"
            )
    return Readiness(status="ready", schema_version=expected)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    summary="Figures for Prometheus",
)
def read_metrics(request: Request) -> Response:
    """Requests, rows sent in and open jobs. Counts only; keep it inside your network all the same."""
    rendered: bytes = request.app.state.metrics.render()
    return Response(rendered, media_type=CONTENT_TYPE)


@router.get("/problems/{code}", responses=documented(404), summary="What a problem's type means")
def read_problem(code: str) -> ProblemKind:
    """The meaning of `type` in an `application/problem+json` answer."""
    kind = KINDS.get(code)
    if kind is None:
        raise NotFound(f"no such problem; there are {', '.join(sorted(KINDS))}")
    return ProblemKind(type=kind.type, title=kind.title, status=kind.status, meaning=kind.meaning)
