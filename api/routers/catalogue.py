"""The catalogue over HTTP: operators maintain terms; anybody may read which artists are looked for."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from api.access import Asker, allowing
from api.fields import Words
from api.limits import AttemptLimit, address_group
from api.pages import After, Limit, Page, next_cursor, position
from api.problems import documented
from database.engine import session
from database.roles import Role
from settlement.catalogue import Term, term_versions
from settlement.catalogue_file import load_catalogue
from settlement.suspense import unclaimed_artists

router = APIRouter(tags=["catalogue"])

PER_ADDRESS = (60, 60.0)
"""Requests for the public list, and the window in seconds."""


class CatalogueDocument(BaseModel):
    """A catalogue, in part or whole: the fields of a catalogue file, as JSON."""

    reason: Words = Field(description="Why, for the record.", examples=["new contract"])
    catalogue: dict[str, Any] = Field(
        description="platform, payees, artists, contracts, rate_cards, as docs/catalogue.md describes them.",
        examples=[{"artists": [{"id": "art-9", "name": "Mara Vell", "aliases": ["M. Vell"]}]}],
    )


class CatalogueOutcome(BaseModel):
    """How many rows of each part were written; nothing where everything was known already."""

    written: dict[str, int] = Field(examples=[{"artists": 1}])


class TermAnswer(BaseModel):
    """One version of a term."""

    thing: str = Field(
        description="What it is of: rate card, artist, payee, platform or pair of currencies.",
        examples=["art-9"],
    )
    valid_from: datetime
    valid_to: datetime | None = Field(description="The next version's start; null: it is the last.")
    says: dict[str, Any] = Field(
        description="Shares in billionths, amounts in millionths.",
        examples=[{"contract": "c-3", "status": "active", "splits": {"pay-1": 1_000_000_000}}],
    )
    actor: str
    reason: str
    recorded_at: datetime


class UnclaimedAnswer(BaseModel):
    """An artist with royalties and without a contract."""

    artist: str
    name: str
    since: str = Field(description="Accounting period of the oldest share that waits.", examples=["2026-10"])
    until: str | None = Field(
        description="Period at whose close the published fallback key divides it; null: it waits for ever."
    )


class UnclaimedPage(BaseModel):
    """Artists by id; `next` is the `after` of the next page, null on the last."""

    items: list[UnclaimedAnswer]
    next: str | None


@router.post("/v1/catalogue", **allowing("catalogue:write", problems=(409, 422)), summary="Record terms")
def load_document(asker: Asker, document: CatalogueDocument) -> CatalogueOutcome:
    """Record what a catalogue file would: whole or not at all, nothing twice, history stays."""
    with session(Role.SETTLEMENT) as opened:
        report = load_catalogue(opened, document.catalogue, actor=asker.username, reason=document.reason)
    return CatalogueOutcome(written={name: count for name, count in asdict(report).items() if count})


@router.get(
    "/v1/catalogue/{term}",
    **allowing("catalogue:write", problems=(422,)),
    summary="Read the terms, page by page",
)
def list_terms(
    request: Request, response: Response, asker: Asker, term: Term, limit: Limit = 100, cursor: After = None
) -> Page[TermAnswer]:
    """Every version of one kind of term as it was recorded, with who recorded it and why; no personal data."""
    with session(Role.SETTLEMENT) as opened:
        found = term_versions(opened, term, after=position(cursor) or 0, limit=limit + 1)
    page = found[:limit]
    return Page(
        items=[
            TermAnswer(
                thing=version.thing,
                valid_from=version.valid_from,
                valid_to=version.valid_to,
                says=dict(version.says),
                actor=version.actor,
                reason=version.reason,
                recorded_at=version.recorded_at,
            )
            for version in page
        ],
        next=next_cursor(request, response, page[-1].id if len(found) > limit else None),
    )


@router.get("/v1/unclaimed", responses=documented(422, 429), summary="Artists we owe and cannot pay")
def list_unclaimed(
    request: Request,
    response: Response,
    after: Annotated[str, Query(max_length=64, description="The last artist of the page before.")] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 200,
) -> UnclaimedPage:
    """For everybody, without a login: are you one of them, or do you know one? No amounts."""
    guard: AttemptLimit = request.app.state.public_limit
    guard.take(address_group(request.client.host if request.client else None))
    with session(Role.SETTLEMENT) as opened:
        found = unclaimed_artists(opened, after=after.replace("\0", ""), limit=limit + 1)
    response.headers["Cache-Control"] = "public, max-age=300"
    return UnclaimedPage(
        items=[
            UnclaimedAnswer(artist=row.artist_id, name=row.name, since=row.since, until=row.until)
            for row in found[:limit]
        ],
        next=found[limit - 1].artist_id if len(found) > limit else None,
    )
