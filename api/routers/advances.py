"""Advances: agreed by one person, approved by another, paid, and recouped by later closes."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from api.access import Asker, allowing
from api.amounts import Money, money
from api.fields import ID, AboveZero, Id, Moment, Words
from api.roles import acting
from database.engine import session
from database.errors import Conflict
from database.roles import Role
from settlement.advances import (
    Advance,
    approval_of_advance,
    approve_advance,
    find_advance,
    pay_advance,
    record_advance,
    return_advance,
)
from settlement.money import from_decimal

router = APIRouter(tags=["operations"])

_READ = ("payouts:write", "payouts:approve")
AdvanceId = Annotated[str, Path(pattern=ID, examples=["advance-1"])]


class NewAdvance(BaseModel):
    """An advance as agreed, in the payee's payout currency."""

    id: Id = Field(examples=["advance-1"])
    payee: Id = Field(examples=["pay-1"])
    amount: AboveZero
    reason: Words = Field(examples=["album 2027"])


class PaidAdvance(BaseModel):
    """When the bank paid it."""

    paid_at: Moment


class ReturnedAdvance(BaseModel):
    """When the bank booked that it came back."""

    returned_at: Moment


class AdvanceAnswer(BaseModel):
    """An advance and who stands for it."""

    id: str
    payee: str
    amount: Money
    maker: str
    checker: str | None = Field(description="null: nobody has approved it yet.")


@router.post(
    "/v1/advances", **allowing("payouts:write", problems=(404, 409, 422)), summary="Record an advance"
)
def create_advance(asker: Asker, wanted: NewAdvance) -> AdvanceAnswer:
    """Record an advance as agreed. Sent twice, it is recorded once; another person approves it."""
    with session(Role.SETTLEMENT) as opened:
        amount = from_decimal(wanted.amount)
        record_advance(opened, wanted.id, wanted.payee, amount, actor=asker.username, reason=wanted.reason)
        return _answer(opened, find_advance(opened, wanted.id))


@router.get("/v1/advances/{advance}", **allowing(*_READ, problems=(404, 422)), summary="One advance")
def read_advance(advance: AdvanceId) -> AdvanceAnswer:
    """An advance, and who has approved it."""
    with session(Role.SETTLEMENT) as opened:
        return _answer(opened, find_advance(opened, advance))


@router.post(
    "/v1/advances/{advance}/approve",
    **allowing("payouts:approve", problems=(404, 409, 422)),
    summary="Approve an advance",
)
def approve_one(asker: Asker, advance: AdvanceId) -> AdvanceAnswer:
    """Approve an advance that another person recorded."""
    with acting(Role.APPROVER) as opened:
        approve_advance(opened, advance, checker=asker.username)
        return _answer(opened, find_advance(opened, advance))


@router.post(
    "/v1/advances/{advance}/pay",
    **allowing("payouts:write", problems=(404, 409, 422)),
    summary="Say that an advance was paid",
)
def pay_one(asker: Asker, advance: AdvanceId, paid: PaidAdvance) -> AdvanceAnswer:
    """Post that an approved advance was paid: closes recoup it from then on. Sent twice, it is posted once."""
    if paid.paid_at > datetime.now(UTC):
        raise Conflict("paid_at is in the future: say when the bank has paid it")
    with session(Role.SETTLEMENT) as opened:
        pay_advance(opened, advance, paid_at=paid.paid_at, actor=asker.username)
        return _answer(opened, find_advance(opened, advance))


@router.post(
    "/v1/advances/{advance}/return",
    **allowing("payouts:write", problems=(404, 409, 422)),
    summary="Say that an advance came back",
)
def return_one(asker: Asker, advance: AdvanceId, returned: ReturnedAdvance) -> AdvanceAnswer:
    """Post that an advance came back before anything of it was recouped. Sent twice, it is posted once."""
    if returned.returned_at > datetime.now(UTC):
        raise Conflict("returned_at is in the future: say when the bank has booked it")
    with session(Role.SETTLEMENT) as opened:
        return_advance(opened, advance, returned_at=returned.returned_at, actor=asker.username)
        return _answer(opened, find_advance(opened, advance))


def _answer(opened: Session, advance: Advance) -> AdvanceAnswer:
    approval = approval_of_advance(opened, advance)
    return AdvanceAnswer(
        id=advance.advance_id,
        payee=advance.payee_id,
        amount=money(advance.amount_micros, advance.currency),
        maker=advance.actor,
        checker=approval.checker if approval else None,
    )
