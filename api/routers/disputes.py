"""Disputes: an artist objects to her own statement and reads the answer; operators answer.

What an artist may dispute the database's row-level security decides: she opens a dispute about a statement that she can
read. It is written by the role `settlement`, because the role that reads for her writes nothing.
"""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field

from api.access import Asker, allowing
from api.pages import After, Limit, Page, next_cursor, position
from api.routers.portal import SCOPE, as_artist, not_kept
from database.engine import session
from database.roles import Role
from settlement import disputes, portal

router = APIRouter()

_OPERATORS = ("runs:write", "runs:approve")
Number = Annotated[int, Path(ge=1, le=2**62, description="The dispute's number.", examples=[3])]


class NewDispute(BaseModel):
    """What is wrong, and where."""

    statement: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*/[A-Z]{3}$",
            max_length=140,
            description="`period/payee/currency`: one of yours.",
            examples=["2026-10/pay-1/EUR"],
        ),
    ]
    line: Annotated[
        str | None,
        Field(
            max_length=400,
            pattern=r"^[^\x00]+$",
            description="One line of it, by its id.",
            examples=["sale-1/art-1/pay-1"],
        ),
    ] = None
    sale: Annotated[
        str | None,
        Field(max_length=200, pattern=r"^[^\x00]+$", description="One sale of it; not with `line`."),
    ] = None
    words: Annotated[
        str,
        Field(
            min_length=1,
            max_length=disputes.MAX_WORDS,
            pattern=r"^[^\x00]+$",
            description="What is wrong.",
            examples=["This picture was sold twice."],
        ),
    ]


class AnswerAnswer(BaseModel):
    """What came of a dispute."""

    outcome: str = Field(description="accepted or rejected.", examples=["accepted"])
    reason: str
    correction: str | None = Field(description="The correction that it led to; null: none.")
    answered_at: datetime


class DisputeAnswer(BaseModel):
    """A dispute from its opening to its answer."""

    number: int
    payee: str
    statement: str
    about: str = Field(description="statement, line or sale.", examples=["line"])
    subject: str | None = Field(description="Which line or sale; null: the whole statement.")
    words: str | None = Field(description="null: erased.")
    opened_at: datetime
    answer: AnswerAnswer | None = Field(description="null: it is open.")

    @classmethod
    def of(cls, view: disputes.DisputeView) -> "DisputeAnswer":
        """From the service's."""
        return cls(
            number=view.number,
            payee=view.payee_id,
            statement=view.statement_id,
            about=view.about,
            subject=view.subject,
            words=view.words,
            opened_at=view.opened_at,
            answer=None
            if view.outcome is None or view.reason is None or view.answered_at is None
            else AnswerAnswer(
                outcome=view.outcome,
                reason=view.reason,
                correction=view.correction_id,
                answered_at=view.answered_at,
            ),
        )


class NewAnswer(BaseModel):
    """An operator's answer, which the payee reads."""

    outcome: Literal["accepted", "rejected"]
    reason: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2_000,
            pattern=r"^[^\x00]+$",
            examples=["The second sale was a refund and a new sale."],
        ),
    ]
    correction: Annotated[
        str | None,
        Field(
            max_length=64,
            pattern=r"^[A-Za-z0-9._-]+$",
            description="The correction that an accepted one leads to.",
        ),
    ] = None


@router.post(
    "/v1/disputes",
    **allowing("disputes:write", problems=(404, 409, 422)),
    tags=["portal"],
    summary="Dispute a statement of mine",
)
def open_dispute(asker: Asker, response: Response, wanted: NewDispute) -> DisputeAnswer:
    """Object to one of your statements, or a line or sale of it. Sent twice, it is one dispute."""
    with as_artist(asker) as opened:
        # Another's is not there.
        portal.statement_sha256(opened, wanted.statement)
    with session(Role.SETTLEMENT) as opened:
        number = disputes.open_dispute(
            opened, wanted.statement, wanted.words, line=wanted.line, sale=wanted.sale
        )
        made = disputes.find_dispute(opened, number)
    not_kept(response)
    return DisputeAnswer.of(made)


@router.get("/v1/disputes", **allowing(SCOPE, problems=(422,)), tags=["portal"], summary="My disputes")
def list_disputes(
    request: Request, response: Response, asker: Asker, limit: Limit = 50, cursor: After = None
) -> Page[DisputeAnswer]:
    """What you have objected to and what was answered, newest first."""
    with as_artist(asker) as opened:
        found = disputes.disputes(opened, before=position(cursor), limit=limit + 1)
    not_kept(response)
    page = found[:limit]
    return Page(
        items=[DisputeAnswer.of(view) for view in page],
        next=next_cursor(request, response, page[-1].number if len(found) > limit else None),
    )


@router.get(
    "/v1/disputes/{number}",
    **allowing(SCOPE, problems=(404, 422)),
    tags=["portal"],
    summary="One of my disputes",
)
def read_dispute(response: Response, asker: Asker, number: Number) -> DisputeAnswer:
    """A dispute of yours, and its answer."""
    with as_artist(asker) as opened:
        view = disputes.find_dispute(opened, number)
    not_kept(response)
    return DisputeAnswer.of(view)


@router.get(
    "/v1/dispute-desk",
    **allowing(*_OPERATORS, problems=(422,)),
    tags=["operations"],
    summary="Disputes of every payee",
)
def list_all(
    request: Request,
    response: Response,
    limit: Limit = 50,
    cursor: After = None,
    only_open: Annotated[bool, Query(description="Only those that wait for an answer.")] = True,
) -> Page[DisputeAnswer]:
    """What payees objected to, newest first."""
    with session(Role.SETTLEMENT) as opened:
        found = disputes.disputes(opened, before=position(cursor), limit=limit + 1, only_open=only_open)
    page = found[:limit]
    return Page(
        items=[DisputeAnswer.of(view) for view in page],
        next=next_cursor(request, response, page[-1].number if len(found) > limit else None),
    )


@router.post(
    "/v1/dispute-desk/{number}/answer",
    **allowing("runs:write", problems=(404, 409, 422)),
    tags=["operations"],
    summary="Answer a dispute",
)
def answer_dispute(asker: Asker, number: Number, wanted: NewAnswer) -> DisputeAnswer:
    """Answer a dispute, once. The payee reads the reason."""
    with session(Role.SETTLEMENT) as opened:
        disputes.answer_dispute(
            opened,
            number,
            wanted.outcome,
            wanted.reason,
            actor=asker.username,
            correction_id=wanted.correction,
        )
        return DisputeAnswer.of(disputes.find_dispute(opened, number))
