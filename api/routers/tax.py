"""Withheld tax: what the authorities are due, and what was paid to them."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.access import Asker, allowing
from api.amounts import Money, money
from api.fields import AboveZero, Currency, Moment, Territory
from database.engine import session
from database.errors import Conflict
from database.roles import Role
from settlement.money import from_decimal
from settlement.remittances import REFERENCE, remit_tax, tax_due

router = APIRouter(tags=["operations"])


class TaxDueAnswer(BaseModel):
    """What was withheld for one territory in one currency, and what became of it."""

    territory: str
    withheld: Money
    given_back: Money = Field(description="To payees, with refunds of what had been taxed.")
    remitted: Money
    due: Money = Field(description="Below zero: the authority owes it.")


class NewRemittance(BaseModel):
    """Withheld tax that the bank has paid to an authority."""

    reference: Annotated[
        str,
        Field(
            pattern=REFERENCE, description="The authority's or the bank's.", examples=["2026-10/US-1042-S"]
        ),
    ]
    territory: Territory
    currency: Currency
    amount: AboveZero
    paid_at: Moment


class RemittanceAnswer(BaseModel):
    """A remittance as it is posted."""

    reference: str
    territory: str
    amount: Money
    new: bool = Field(description="false: it was posted before.")


@router.get("/v1/tax/due", **allowing("payouts:write", "payouts:approve"), summary="Tax due")
def read_tax_due() -> list[TaxDueAnswer]:
    """What is withheld and not remitted yet, by territory and currency."""
    with session(Role.SETTLEMENT) as opened:
        return [
            TaxDueAnswer(
                territory=row.territory,
                withheld=money(row.withheld, row.currency),
                given_back=money(row.given_back, row.currency),
                remitted=money(row.remitted, row.currency),
                due=money(row.due, row.currency),
            )
            for row in tax_due(opened)
        ]


@router.post(
    "/v1/tax/remittances",
    **allowing("payouts:write", problems=(409, 422)),
    summary="Say that tax was remitted",
)
def create_remittance(asker: Asker, wanted: NewRemittance) -> RemittanceAnswer:
    """Post that withheld tax was paid to its authority, never more than is due. Sent twice, it is posted once."""
    if wanted.paid_at > datetime.now(UTC):
        raise Conflict("paid_at is in the future: say when the bank has paid it")
    amount = from_decimal(wanted.amount)
    with session(Role.SETTLEMENT) as opened:
        new = remit_tax(
            opened,
            wanted.reference,
            wanted.territory,
            wanted.currency,
            amount,
            paid_at=wanted.paid_at,
            actor=asker.username,
        )
    return RemittanceAnswer(
        reference=wanted.reference,
        territory=wanted.territory,
        amount=money(amount, wanted.currency),
        new=new,
    )
