"""Ownership claims: opened by one person, which moves money into suspense; decided by two."""

from datetime import UTC, date, datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from api.access import Asker, allowing
from api.amounts import Money, money
from api.fields import ID, AboveZero, Currency, Day, Id, NotNegative, Words
from api.roles import acting
from database.engine import session
from database.roles import Role
from settlement import claims
from settlement.money import from_decimal

router = APIRouter(tags=["operations"])

_READ = ("payouts:write", "payouts:approve")
_SHA256 = r"^[0-9a-f]{64}$"
ClaimId = Annotated[str, Path(pattern=ID, examples=["case-7"])]


class NewClaim(BaseModel):
    """A third party's claim of what a payee is owed."""

    id: Id = Field(examples=["case-7"])
    payee: Id = Field(description="Whose money is claimed.", examples=["pay-1"])
    claimant: Id = Field(description="Who claims it: her id as a payee, now or later.", examples=["pay-2"])
    amount: AboveZero
    currency: Currency
    reason: Words = Field(description="Without names.", examples=["the contract was assigned"])
    evidence: Words = Field(description="Where what was handed in is kept.", examples=["file 2026/17"])
    expected_until: Day | None = Field(default=None, description="When a decision is expected.")


class NewDecision(BaseModel):
    """What becomes of a claim."""

    award: NotNegative = Field(
        description="What the claimant gets of what was moved; the rest goes back to the payee."
    )
    reason: Words = Field(examples=["the assignment is not signed"])


class ApproveDecision(BaseModel):
    """Approval of exactly the decision that was looked at."""

    content_sha256: Annotated[str, Field(pattern=_SHA256, description="The decision's, as it was shown.")]


class DecisionAnswer(BaseModel):
    """A decision of a claim: the approved one, until then the newest that was proposed."""

    award: Money
    back: Money = Field(description="What goes back to the payee.")
    reason: str
    maker: str
    checker: str | None = Field(description="null: nobody has approved it yet.")
    content_sha256: str = Field(description="What a checker approves.")


class ClaimAnswer(BaseModel):
    """A claim and how far it has come."""

    id: str
    payee: str
    claimant: str
    claimed: Money
    moved: Money = Field(
        description="The smaller of the claim and what the payee was owed: it waits in suspense."
    )
    state: str = Field(description="open, proposed, approved or decided.", examples=["open"])
    reason: str
    evidence: str
    opened_at: datetime
    opened_by: str
    expected_until: date | None
    decision: DecisionAnswer | None

    @classmethod
    def of(cls, status: claims.ClaimStatus) -> "ClaimAnswer":
        """From the service's."""
        claim, decision = status.claim, status.decision
        return cls(
            id=claim.claim_id,
            payee=claim.payee_id,
            claimant=claim.claimant_id,
            claimed=money(claim.amount_micros, claim.currency),
            moved=money(claim.moved_micros, claim.currency),
            state=status.state,
            reason=claim.reason,
            evidence=claim.evidence,
            opened_at=claim.claimed_at,
            opened_by=claim.actor,
            expected_until=claim.expected_until,
            decision=None
            if decision is None
            else DecisionAnswer(
                award=money(decision.awarded_micros, claim.currency),
                back=money(claim.moved_micros - decision.awarded_micros, claim.currency),
                reason=decision.reason,
                maker=decision.maker,
                checker=status.checker,
                content_sha256=decision.content_sha256.hex(),
            ),
        )


@router.post(
    "/v1/claims", **allowing("payouts:write", problems=(404, 409, 422)), summary="Open an ownership claim"
)
def open_claim(asker: Asker, wanted: NewClaim) -> ClaimAnswer:
    """Move what is claimed, as far as the payee is owed it, into suspense. Sent twice, it is opened once."""
    with session(Role.SETTLEMENT) as opened:
        claims.open_claim(
            opened,
            wanted.id,
            wanted.payee,
            wanted.claimant,
            from_decimal(wanted.amount),
            wanted.currency,
            reason=wanted.reason,
            evidence=wanted.evidence,
            claimed_at=datetime.now(UTC),
            actor=asker.username,
            expected_until=wanted.expected_until,
        )
        return ClaimAnswer.of(claims.claim_status(opened, wanted.id))


@router.get("/v1/claims", **allowing(*_READ), summary="Ownership claims")
def list_claims() -> list[ClaimAnswer]:
    """Every claim, by id."""
    with session(Role.SETTLEMENT) as opened:
        found: list[claims.ClaimStatus] = []
        while page := claims.claims(opened, after=found[-1].claim.claim_id if found else "", limit=1_000):
            found += page
        return [ClaimAnswer.of(status) for status in found]


@router.get("/v1/claims/{claim}", **allowing(*_READ, problems=(404, 422)), summary="One ownership claim")
def read_claim(claim: ClaimId) -> ClaimAnswer:
    """A claim, what was moved for it, and its decision."""
    with session(Role.SETTLEMENT) as opened:
        return ClaimAnswer.of(claims.claim_status(opened, claim))


@router.post(
    "/v1/claims/{claim}/decision",
    **allowing("payouts:write", problems=(404, 409, 422)),
    summary="Propose what becomes of a claim",
)
def propose_decision(asker: Asker, claim: ClaimId, wanted: NewDecision) -> ClaimAnswer:
    """Propose a decision. Nothing moves until another person has approved it; a newer proposal replaces it."""
    with session(Role.SETTLEMENT) as opened:
        claims.propose_decision(
            opened, claim, from_decimal(wanted.award), reason=wanted.reason, maker=asker.username
        )
        return ClaimAnswer.of(claims.claim_status(opened, claim))


@router.post(
    "/v1/claims/{claim}/approve",
    **allowing("payouts:approve", problems=(404, 409, 422)),
    summary="Approve the decision of a claim",
)
def approve_decision(asker: Asker, claim: ClaimId, seen: ApproveDecision) -> ClaimAnswer:
    """Approve a decision that another person proposed, of a claim that another person opened, and carry it out.

    Sent twice, it is carried out once.
    """
    with acting(Role.APPROVER) as opened:
        claims.approve_decision(opened, claim, bytes.fromhex(seen.content_sha256), checker=asker.username)
    with session(Role.SETTLEMENT) as opened:
        claims.carry_out(opened, claim, decided_at=datetime.now(UTC), actor=asker.username)
        return ClaimAnswer.of(claims.claim_status(opened, claim))
