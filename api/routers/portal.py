"""What an artist reads. Row-level security is the fence: each request's transaction is bound to the token's user."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from api.access import Asker, allowing
from api.amounts import Money, Share, money
from api.html import PAGE, page_answer
from api.pages import After, Limit, Page, next_cursor, position
from database.engine import session
from database.identity import Principal
from database.roles import Role
from database.settings import get_settings
from settlement import portal
from settlement.audit.image_page import artist_page, artists_picture, write_page
from settlement.balance import OfWhich
from settlement.money import format_money, share_to_decimal
from settlement.statements.files import MEDIA_TYPES, Format, statement_files

SCOPE = "statements:read"

router = APIRouter(tags=["portal"])


class Explained(BaseModel):
    """What a balance consists of. The four add up to it, or to 0 where it is below zero."""

    payable: Money
    held: Money
    below_minimum: Money
    below_unit: Money = Field(
        description="What is less than the currency's smallest unit stays in the balance."
    )

    @classmethod
    def of(cls, parts: OfWhich, currency: str) -> "Explained":
        """From micros."""
        return cls(**{name: money(part, currency) for name, part in parts._asdict().items()})


class PayeeAnswer(BaseModel):
    """A payee whose statements you may read."""

    id: str = Field(examples=["pay-1"])
    kind: str = Field(examples=["person"])
    currency: str = Field(description="Payout currency.", examples=["EUR"])
    name: str | None = Field(description="null: erased, or never given.")


class Me(BaseModel):
    """Who is asking."""

    username: str
    scopes: list[str]
    payees: list[PayeeAnswer]


class BalanceAnswer(BaseModel):
    """What a payee is owed now."""

    payee: str
    balance: Money
    minimum: Money | None = Field(
        description="The least that is paid out; null until a period has been closed."
    )
    of_which: Explained | None = Field(description="What a payout would do with it; null like `minimum`.")


class StatementSummary(BaseModel):
    """An issued statement's summary: opening + movements = closing."""

    id: str = Field(description="`period/payee/currency`: also its address.", examples=["2026-10/pay-1/EUR"])
    number: int = Field(description="Given at issue, without gaps.")
    period: str = Field(examples=["2026-10"])
    payee: str = Field(examples=["pay-1"])
    currency: str = Field(examples=["EUR"])
    sha256: str = Field(description="Of the body: the statement's identity and ETag.")
    issued_at: datetime
    opening: Money
    movements: dict[str, Money] = Field(
        description="royalties, late, ..., payments: a plus raises what you are owed."
    )
    closing: Money
    of_which: Explained


class LineAnswer(BaseModel):
    """One line of a statement: which sale of which image earned what, and how."""

    id: str = Field(examples=["sale-1/art-1/pay-1"])
    kind: str = Field(examples=["royalty"])
    usage_period: str = Field(examples=["2026-10"])
    usage_date: date = Field(description="Day of the sale in the platform's zone.")
    territory: str = Field(examples=["DE"])
    sale: str
    image: str = Field(description="The platform's opaque id.")
    model: str
    player: str = Field(description="Your artist's name, `content`, or `another artist`.")
    method: str | None = Field(description="The attribution method; null where the key needs none.")
    share: Share | None = Field(description="The player's part of the image.")
    distribution_key: str = Field(examples=["attribution"])
    rate_card: str = Field(examples=["standard@2026-01-01"])
    contract: str | None = Field(examples=["contract-1@2026-01-01"])
    split: Share | None = Field(description="Your part of the player's.")
    base: Money = Field(description="Royalty base of the sale.")
    slice: Money = Field(description="What the sale pays in royalties, to all players together.")
    amount: Money
    corrects: str | None = Field(description="The line that this one takes back, in part or in full.")


class PlayerShare(BaseModel):
    """One player's part of an image."""

    player: str = Field(description="Your artist's name, `content`, or `another artist`.")
    own: bool
    share: Share


class ImageAttribution(BaseModel):
    """How an image that earned you something was attributed."""

    image: str
    model: str
    status: str | None = Field(
        description="attributed or unattributed; null where the key needs no attribution."
    )
    method: str | None
    shares: list[PlayerShare] = Field(
        description="They add up to 1. Other artists stand together as one, without their names."
    )
    other_artists: int = Field(description="How many `another artist` stands for.")
    earned: list[Money] = Field(description="All your lines on this image, by currency.")


class PayoutAnswer(BaseModel):
    """A payout, or why there was none."""

    id: str
    payee: str
    balance: Money
    amount: Money = Field(description="Whole units of the currency; 0 where nothing is paid.")
    decision: str = Field(
        description="pay, or why not: held, below_minimum, below_unit, no_bank_details, ..", examples=["pay"]
    )
    state: str = Field(examples=["paid"])
    state_at: datetime
    reference: str | None = Field(description="The payment's EndToEndId, as your bank shows it.")


class HoldAnswer(BaseModel):
    """A flag that stops payouts while it is open, never earnings or statements."""

    number: int
    payee: str
    reason: str
    opened_at: datetime
    expected_until: date | None = Field(description="When a decision is expected; null: unknown.")
    released_at: datetime | None = Field(description="null: it is open.")
    release_reason: str | None


_PART = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
Period = Annotated[
    str, Path(pattern=_PART, max_length=64, description="Accounting period.", examples=["2026-10"])
]
PayeeId = Annotated[str, Path(pattern=_PART, max_length=64, description="Payee.", examples=["pay-1"])]
Currency = Annotated[str, Path(pattern="^[A-Z]{3}$", description="ISO 4217.", examples=["EUR"])]

_ETAG = {"ETag": {"description": "SHA-256 of the content.", "schema": {"type": "string"}}}

_STATEMENT = "/v1/statements/{period}/{payee}/{currency}"

IMMUTABLE = "private, max-age=31536000, immutable"


@contextmanager
def as_artist(asker: Principal) -> Iterator[Session]:
    """A transaction of the role `portal`, bound to the token's user."""
    with session(Role.PORTAL) as opened:
        portal.act_for(opened, asker.user_id)
        yield opened


def not_kept(response: Response) -> None:
    """What changes must not be shown from a browser's cache, nor to whoever sits there next."""
    response.headers["Cache-Control"] = "no-store"


@router.get("/v1/me", **allowing(), summary="Who am I?")
def read_me(response: Response, asker: Asker) -> Me:
    """Your user name, what your token allows, and the payees whose statements you may read."""
    with as_artist(asker) as opened:
        found = portal.payees(opened)
    not_kept(response)
    return Me(
        username=asker.username,
        scopes=sorted(asker.scopes),
        payees=[
            PayeeAnswer(id=payee.payee_id, kind=payee.kind, currency=payee.currency, name=payee.name)
            for payee in found
        ],
    )


@router.get("/v1/balances", **allowing(SCOPE), summary="What am I owed now?")
def read_balances(response: Response, asker: Asker) -> list[BalanceAnswer]:
    """The ledger's balance of each of your payees, and what of it would be paid now."""
    with as_artist(asker) as opened:
        found = portal.balances(opened)
    not_kept(response)
    return [
        BalanceAnswer(
            payee=view.payee_id,
            balance=money(view.balance, view.currency),
            minimum=None if view.minimum is None else money(view.minimum, view.currency),
            of_which=None if view.of_which is None else Explained.of(view.of_which, view.currency),
        )
        for view in found
    ]


@router.get("/v1/statements", **allowing(SCOPE, problems=(422,)), summary="My statements")
def list_statements(
    request: Request, response: Response, asker: Asker, limit: Limit = 50, cursor: After = None
) -> Page[StatementSummary]:
    """Issued statements, newest first. They never change."""
    with as_artist(asker) as opened:
        found = portal.statements(opened, before=position(cursor), limit=limit + 1)
    not_kept(response)
    page = found[:limit]
    return Page(
        items=[
            StatementSummary(
                id=view.statement_id,
                number=view.number,
                period=view.period_id,
                payee=view.payee_id,
                currency=view.currency,
                sha256=view.sha256,
                issued_at=view.issued_at,
                opening=money(view.opening, view.currency),
                movements={name: money(moved, view.currency) for name, moved in view.movements.items()},
                closing=money(view.closing, view.currency),
                of_which=Explained.of(view.of_which, view.currency),
            )
            for view in page
        ],
        next=next_cursor(request, response, page[-1].number if len(found) > limit else None),
    )


@router.get(
    _STATEMENT,
    **allowing(
        SCOPE,
        problems=(404, 422),
        responses={
            200: {
                "description": "The body, byte for byte as issued.",
                "content": {"application/json": {"schema": {"type": "object"}}},
                "headers": _ETAG,
            },
            304: {"description": "You have it already: the ETag is the same.", "headers": _ETAG},
        },
    ),
    response_class=Response,
    summary="One statement",
)
def read_statement(
    asker: Asker,
    period: Period,
    payee: PayeeId,
    currency: Currency,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The statement's canonical body (RFC 8785), byte for byte as issued: its SHA-256 is the statement's identity."""
    statement_id = f"{period}/{payee}/{currency}"
    with as_artist(asker) as opened:
        sha256 = portal.statement_sha256(opened, statement_id)
        headers = {"ETag": f'"{sha256}"', "Cache-Control": IMMUTABLE}
        if _matches(if_none_match, sha256):
            return Response(status_code=304, headers=headers)
        body = portal.statement_body(opened, statement_id)
    return Response(body.encode(), media_type="application/json", headers=headers)


@router.get(
    f"{_STATEMENT}/lines", **allowing(SCOPE, problems=(404, 422)), summary="A statement's lines, page by page"
)
def list_lines(
    request: Request,
    response: Response,
    asker: Asker,
    period: Period,
    payee: PayeeId,
    currency: Currency,
    limit: Limit = 100,
    cursor: After = None,
) -> Page[LineAnswer]:
    """Every line that the statement adds up, in the order they were written. They never change."""
    with as_artist(asker) as opened:
        found = portal.statement_lines(
            opened, f"{period}/{payee}/{currency}", after=position(cursor) or 0, limit=limit + 1
        )
    response.headers["Cache-Control"] = IMMUTABLE
    page = found[:limit]
    return Page(
        items=[_line(view) for view in page],
        next=next_cursor(request, response, page[-1].id if len(found) > limit else None),
    )


@router.get(
    f"{_STATEMENT}/files/{{format}}",
    **allowing(
        SCOPE,
        problems=(404, 422),
        responses={
            200: {
                "description": "The file.",
                "content": {
                    "application/json": {"schema": {"type": "object"}},
                    "text/csv": {"schema": {"type": "string"}},
                    "application/pdf": {"schema": {"type": "string", "format": "binary"}},
                },
                "headers": _ETAG,
            },
            304: {"description": "You have it already: the ETag is the same.", "headers": _ETAG},
        },
    ),
    response_class=Response,
    summary="A statement as a file",
)
def read_file(
    asker: Asker,
    period: Period,
    payee: PayeeId,
    currency: Currency,
    format: Format,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The body with its proof (json), lines (csv) or sections (sections.csv) with totals, or what to print (pdf)."""
    statement_id = f"{period}/{payee}/{currency}"
    with as_artist(asker) as opened:
        content = statement_files(opened, statement_id, [format])[format]
    sha256 = hashlib.sha256(content).hexdigest()
    # Renderings stay the same bytes while the party's data and this release do, a proof until a checkpoint covers it:
    # asked for again, not kept for ever.
    headers = {"ETag": f'"{sha256}"', "Cache-Control": "private, no-cache"}
    if _matches(if_none_match, sha256):
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="{period}_{payee}_{currency}.{format}"'
    return Response(content, media_type=MEDIA_TYPES[format], headers=headers)


@router.get(
    # An image's id is the platform's own and may hold slashes.
    "/v1/images/{external_id:path}/attribution",
    **allowing(SCOPE, problems=(404, 422)),
    summary="Why an image earned me something",
)
def read_attribution(
    response: Response,
    asker: Asker,
    external_id: Annotated[str, Path(min_length=1, max_length=200, pattern=r"^[^\x00]+$")],
) -> ImageAttribution:
    """Your artists' shares of an image that earned you something; other artists stand together, without their names."""
    with as_artist(asker) as opened:
        view = portal.image_attribution(opened, external_id)
    not_kept(response)
    return ImageAttribution(
        image=view.image,
        model=view.model,
        status=view.status,
        method=view.method,
        shares=[
            PlayerShare(player=share.player, own=share.own, share=share_to_decimal(share.share))
            for share in view.shares
        ],
        other_artists=view.other_artists,
        earned=[money(amount, currency) for currency, amount in view.earned],
    )


@router.get(
    "/v1/images/{external_id:path}/attribution/page",
    **allowing(SCOPE, problems=(404, 422), responses=PAGE),
    response_class=Response,
    summary="Why an image earned me something, as a page",
)
def read_attribution_page(
    asker: Asker,
    external_id: Annotated[str, Path(min_length=1, max_length=200, pattern=r"^[^\x00]+$")],
) -> Response:
    """The same as a page that stands alone. The picture is in it where the platform's policy allows that."""
    with as_artist(asker) as opened:
        view = portal.image_attribution(opened, external_id)
        picture = artists_picture(opened, external_id) if get_settings().portal_pictures else None
    earned = [format_money(amount, currency) for currency, amount in view.earned]
    return page_answer(write_page(artist_page(view, earned, picture)))


@router.get("/v1/payouts", **allowing(SCOPE, problems=(422,)), summary="My payouts")
def list_payouts(
    request: Request, response: Response, asker: Asker, limit: Limit = 50, cursor: After = None
) -> Page[PayoutAnswer]:
    """What was paid or why it was not, newest first, each with its newest state."""
    with as_artist(asker) as opened:
        found = portal.payouts(opened, before=position(cursor), limit=limit + 1)
    not_kept(response)
    page = found[:limit]
    return Page(
        items=[
            PayoutAnswer(
                id=view.payout_id,
                payee=view.payee_id,
                balance=money(view.balance, view.currency),
                amount=money(view.amount, view.currency),
                decision=view.decision,
                state=view.state,
                state_at=view.state_at,
                reference=view.reference,
            )
            for view in page
        ],
        next=next_cursor(request, response, page[-1].number if len(found) > limit else None),
    )


@router.get("/v1/holds", **allowing(SCOPE), summary="What stops my payouts")
def read_holds(response: Response, asker: Asker) -> list[HoldAnswer]:
    """Holds on your payees, newest first, those that are over included."""
    with as_artist(asker) as opened:
        found = portal.holds(opened)
    not_kept(response)
    return [
        HoldAnswer(
            number=view.number,
            payee=view.payee_id,
            reason=view.reason,
            opened_at=view.opened_at,
            expected_until=view.expected_until,
            released_at=view.released_at,
            release_reason=view.release_reason,
        )
        for view in found
    ]


def _line(view: portal.LineView) -> LineAnswer:
    return LineAnswer(
        id=view.line,
        kind=view.kind,
        usage_period=view.usage_period,
        usage_date=view.usage_date,
        territory=view.territory,
        sale=view.sale,
        image=view.image,
        model=view.model,
        player=view.player,
        method=view.method,
        share=None if view.share is None else share_to_decimal(view.share),
        distribution_key=view.distribution_key,
        rate_card=view.rate_card,
        contract=view.contract,
        split=None if view.split is None else share_to_decimal(view.split),
        base=money(view.base, view.currency),
        slice=money(view.slice, view.currency),
        amount=money(view.amount, view.currency),
        corrects=view.corrects,
    )


def _matches(if_none_match: str | None, sha256: str) -> bool:
    """RFC 9110, section 13.1.2: weak comparison with any of a list, or `*`."""
    tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return "*" in tags or f'"{sha256}"' in tags
