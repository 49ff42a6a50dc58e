"""Corrections of closed periods: proposed with a preview, approved by another person, applied by the next close."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from api.access import Asker, allowing
from api.amounts import Money, money
from api.fields import ID, Currency, Id, Name, NotZero, Territory, Words
from api.roles import acting
from database.engine import session
from database.roles import Role
from settlement.corrections.decisions import (
    Standing,
    approve_correction,
    corrections,
    find_correction,
    withdraw_correction,
)
from settlement.corrections.preview import read_preview
from settlement.corrections.proposal import (
    Selection,
    propose_manual,
    propose_reattribution,
    propose_terms,
)
from settlement.money import from_decimal

router = APIRouter(tags=["operations"])

_READ = ("runs:write", "runs:approve")
CorrectionId = Annotated[str, Path(pattern=ID, examples=["fix-1"])]
Names = Annotated[list[Name], Field(max_length=10_000)]
Reason = Annotated[Words, Field(examples=["split was entered wrongly"])]


class _NewCorrection(BaseModel):
    """What every proposal says."""

    id: Id = Field(examples=["fix-1"])
    reason: Reason


class _OfSales(_NewCorrection):
    """Which closed sales: those that fit every list that is not empty."""

    periods: Names = Field(default=[], examples=[["2026-10"]])
    sales: Names = []
    images: Names = []
    artists: Names = []

    def selection(self) -> Selection:
        """As the service takes it."""
        return Selection(self.periods, self.sales, self.images, self.artists)


class NewReattribution(_OfSales):
    """Closed sales, divided by another method version's results."""

    kind: Literal["reattribution"]
    method: Name = Field(description="Name or SHA-256.", examples=["default-1"])
    from_method: Name | None = Field(default=None, description="Only what is paid by this one now.")


class NewTermsCorrection(_OfSales):
    """Closed sales, paid by the terms as they stand now, or by versions that are named; one list at least."""

    kind: Literal["terms"]
    rate_card: Name | None = Field(default=None, examples=["standard-1@2026-01-01"])
    contracts: Names = Field(default=[], examples=[["contract-1@2026-01-01"]])


class NewManualCorrection(_NewCorrection):
    """An amount by hand, for what no formula covers."""

    kind: Literal["manual"]
    payee: Id = Field(examples=["pay-1"])
    currency: Currency
    amount: NotZero = Field(description="Decimal string; below zero: from her.")
    territory: Territory | None = Field(default=None, description="Where it is taxed; null: nowhere.")


NewCorrection = Annotated[
    NewReattribution | NewTermsCorrection | NewManualCorrection, Field(discriminator="kind")
]


class MoverAnswer(BaseModel):
    """What a correction changes for one payee, or for what lies in suspense, net of refunds."""

    destination: Literal["payee", "unclaimed", "unattributed"]
    holder: str = Field(description="The payee, or the artist for whom it waits.")
    original: Money
    corrected: Money
    difference: Money
    sales: int


class CorrectionTotals(BaseModel):
    """All together, in one currency."""

    original: Money
    corrected: Money
    difference: Money


class CorrectionListed(BaseModel):
    """A correction and where it stands."""

    id: str
    kind: Literal["reattribution", "terms", "manual"]
    state: Literal["proposed", "approved", "withdrawn", "applied"]
    reason: str
    maker: str
    checker: str | None = Field(description="null: nobody has approved it.")
    applied_in: str | None = Field(description="The period whose close applied it.")
    proposed_at: datetime
    content_sha256: str = Field(description="What a checker approves.")


class CorrectionAnswer(CorrectionListed):
    """A correction with its preview: who wins and who loses, as it was when it was proposed."""

    sales: int
    without_result: int = Field(description="Sales left out: their image has no result by that method.")
    totals: list[CorrectionTotals]
    movers: list[MoverAnswer]


class ApproveCorrection(BaseModel):
    """Approval of exactly what was looked at."""

    content_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$", examples=["ab" * 32])]


class WithdrawCorrection(BaseModel):
    """Why it is not made."""

    reason: Reason


@router.post(
    "/v1/corrections", **allowing("runs:write", problems=(404, 409, 422)), summary="Propose a correction"
)
def propose(asker: Asker, wanted: NewCorrection) -> CorrectionAnswer:
    """Compute a correction and keep its preview. Sent twice, it is proposed once; another person approves it."""
    with session(Role.SETTLEMENT) as opened:
        match wanted:
            case NewReattribution():
                standing = propose_reattribution(
                    opened,
                    wanted.id,
                    wanted.method,
                    actor=asker.username,
                    reason=wanted.reason,
                    selection=wanted.selection(),
                    from_method=wanted.from_method,
                )
            case NewTermsCorrection():
                standing = propose_terms(
                    opened,
                    wanted.id,
                    actor=asker.username,
                    reason=wanted.reason,
                    selection=wanted.selection(),
                    rate_card=wanted.rate_card,
                    contracts=wanted.contracts,
                )
            case NewManualCorrection():
                standing = propose_manual(
                    opened,
                    wanted.id,
                    wanted.payee,
                    wanted.currency,
                    from_decimal(wanted.amount),
                    actor=asker.username,
                    reason=wanted.reason,
                    territory=wanted.territory,
                )
        return _answer(standing)


@router.get("/v1/corrections", **allowing(*_READ), summary="All corrections")
def list_corrections() -> list[CorrectionListed]:
    """Every correction and where it stands, the last first."""
    with session(Role.SETTLEMENT) as opened:
        return [_listed(standing) for standing in corrections(opened)]


@router.get("/v1/corrections/{correction}", **allowing(*_READ, problems=(404, 422)), summary="One correction")
def read_correction(correction: CorrectionId) -> CorrectionAnswer:
    """A correction with its preview."""
    with session(Role.SETTLEMENT) as opened:
        return _answer(find_correction(opened, correction))


@router.post(
    "/v1/corrections/{correction}/approve",
    **allowing("runs:approve", problems=(404, 409, 422)),
    summary="Approve a correction",
)
def approve_what_was_seen(
    asker: Asker, correction: CorrectionId, seen: ApproveCorrection
) -> CorrectionAnswer:
    """Approve a correction that another person proposed: the next period that is cut off applies it."""
    with acting(Role.APPROVER) as opened:
        approve_correction(
            opened,
            correction,
            checker=asker.username,
            content_sha256=bytes.fromhex(seen.content_sha256),
        )
        return _answer(find_correction(opened, correction))


@router.post(
    "/v1/corrections/{correction}/withdraw",
    **allowing("runs:write", problems=(404, 409, 422)),
    summary="Withdraw a correction",
)
def withdraw(asker: Asker, correction: CorrectionId, given: WithdrawCorrection) -> CorrectionAnswer:
    """Withdraw a correction that no close has applied."""
    with session(Role.SETTLEMENT) as opened:
        return _answer(withdraw_correction(opened, correction, actor=asker.username, reason=given.reason))


def _listed(standing: Standing) -> CorrectionListed:
    correction = standing.correction
    return CorrectionListed.model_validate(
        {
            "id": correction.correction_id,
            "kind": correction.kind,
            "state": standing.state,
            "reason": correction.reason,
            "maker": correction.actor,
            "checker": standing.checker,
            "applied_in": standing.applied_in,
            "proposed_at": correction.recorded_at,
            "content_sha256": correction.content_sha256.hex(),
        }
    )


def _answer(standing: Standing) -> CorrectionAnswer:
    preview = read_preview(standing.correction.content)
    return CorrectionAnswer.model_validate(
        _listed(standing).model_dump()
        | {
            "sales": preview.sales,
            "without_result": preview.without_result,
            "totals": [
                dict(
                    zip(
                        ("original", "corrected", "difference"),
                        (money(figure, currency).model_dump() for figure in figures),
                        strict=True,
                    )
                )
                for currency, figures in preview.totals().items()
            ],
            "movers": [
                {
                    "destination": mover.destination,
                    "holder": mover.holder,
                    "original": money(mover.original, mover.currency).model_dump(),
                    "corrected": money(mover.corrected, mover.currency).model_dump(),
                    "difference": money(mover.difference, mover.currency).model_dump(),
                    "sales": mover.sales,
                }
                for mover in preview.movers
            ],
        }
    )
