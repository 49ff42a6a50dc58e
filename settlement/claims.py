"""Ownership claims: a third party says that what a payee is owed belongs to it.

    open (the money waits in suspense) -> decision proposed -> approved by another person -> carried out

Opening moves the smaller of the claim and a balance above zero from the payee's payable to suspense; nothing else of
hers is held up. Who opens and who proposes may be one person; who approves is another than both. What the decision
awards goes to the claimant, who is a registered payee by then, and the rest back to the payee.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from sqlalchemy import CHAR, CheckConstraint, ForeignKey, Index, func, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from database.base import Base, RecordedAt
from database.errors import Conflict, Invalid, NotFound, Refused
from settlement.ledger import balance, post
from settlement.ledger.models import Journal
from settlement.money import MAX_MICROS, check_currency, format_money, to_decimal
from settlement.payees import Payee
from settlement.payouts.models import keep_balances
from settlement.periods.models import Approval
from settlement.posting import CLAIM_DECIDED, CLAIM_OPENED, PAYABLE

KIND = "ownership_claim"
"""The kind of a decision's approval."""

_ID = "'^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'"


class OwnershipClaim(Base):
    """A claim as it was opened, and what it moved into suspense."""

    __tablename__ = "ownership_claim"
    __table_args__ = (
        CheckConstraint(f"claim_id ~ {_ID}", name="claim_id_form"),
        CheckConstraint(f"claimant_id ~ {_ID}", name="claimant_id_form"),
        CheckConstraint("claimant_id <> payee_id", name="of_another"),
        CheckConstraint("amount_micros > 0 AND moved_micros BETWEEN 0 AND amount_micros", name="amounts"),
        CheckConstraint("btrim(reason) <> '' AND btrim(evidence) <> ''", name="said_why"),
        Index(None, "payee_id"),
        {"schema": "settlement"},
    )

    claim_id: Mapped[str] = mapped_column(primary_key=True)
    payee_id: Mapped[str] = mapped_column(ForeignKey(Payee.payee_id))
    """Whose money is claimed."""
    claimant_id: Mapped[str]
    """Who claims it, by the opaque id that she has or will have as a payee."""
    currency: Mapped[str] = mapped_column(CHAR(3))
    amount_micros: Mapped[int]
    """What is claimed."""
    moved_micros: Mapped[int]
    """What there was of it: 0 where nothing was owed."""
    reason: Mapped[str]
    evidence: Mapped[str]
    """Where what was handed in is kept: a reference."""
    expected_until: Mapped[date | None]
    """When a decision is expected."""
    claimed_at: Mapped[datetime]
    actor: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class ClaimDecision(Base):
    """A decision as one person proposes it: the newest can be approved, and one only ever is."""

    __tablename__ = "claim_decision"
    __table_args__ = (
        CheckConstraint("awarded_micros >= 0 AND number > 0", name="awarded"),
        CheckConstraint("btrim(reason) <> ''", name="said_why"),
        CheckConstraint("octet_length(content_sha256) = 32", name="content_sha256_length"),
        {"schema": "settlement"},
    )

    claim_id: Mapped[str] = mapped_column(ForeignKey(OwnershipClaim.claim_id), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    awarded_micros: Mapped[int]
    """What the claimant gets of what was moved; the rest goes back to the payee."""
    reason: Mapped[str]
    content_sha256: Mapped[bytes]
    """What is approved: `decision_digest`."""
    maker: Mapped[str]
    recorded_at: Mapped[RecordedAt]


@dataclass(frozen=True, slots=True)
class ClaimStatus:
    """A claim and how far it has come."""

    claim: OwnershipClaim
    decision: ClaimDecision | None
    """The approved one; until then the newest that was proposed."""
    checker: str | None
    decided: bool
    """Whether the decision is carried out."""

    @property
    def state(self) -> str:
        """open, proposed, approved or decided."""
        if self.decided:
            return "decided"
        return "approved" if self.checker else "proposed" if self.decision else "open"


def decision_digest(claim: OwnershipClaim, number: int, awarded_micros: int, reason: str) -> bytes:
    """SHA-256 of what a decision says of which claim: what the checker approves. The database computes it as well."""
    content = (
        "claim",
        claim.claim_id,
        str(number),
        claim.payee_id,
        claim.claimant_id,
        claim.currency,
        str(claim.moved_micros),
        str(awarded_micros),
        reason,
    )
    return hashlib.sha256("\n".join(content).encode()).digest()


def open_claim(
    session: Session,
    claim_id: str,
    payee_id: str,
    claimant_id: str,
    amount_micros: int,
    currency: str,
    *,
    reason: str,
    evidence: str,
    claimed_at: datetime,
    actor: str,
    expected_until: date | None = None,
) -> OwnershipClaim:
    """Open a claim and move what there is of it into suspense. The same claim again: nothing happens.

    Args:
        session: role `settlement`.
        claim_id: its own id, for example of the case.
        payee_id: whose money is claimed.
        claimant_id: who claims it; she need not be a payee yet.
        amount_micros: what is claimed, above zero.
        currency: of the payee's balance that it is claimed from.
        reason: what is claimed, without names.
        evidence: where what was handed in is kept.
        claimed_at: when it is booked; in the open period if its own is sealed.
        actor: who opens it.
        expected_until: when a decision is expected.

    Raises:
        NotFound: no such payee.
        Invalid: the amount is not above zero, there is no such currency, or a payee claims her own money.
        Conflict: the id stands for another claim.
    """
    if session.get(Payee, payee_id) is None:
        raise NotFound(f"no payee {payee_id}; look it up in the catalogue file")
    check_currency(currency)
    if not 0 < amount_micros <= MAX_MICROS:
        raise Invalid(f"claim {claim_id} is of {to_decimal(amount_micros)}: a claim is above zero")
    if claimant_id == payee_id:
        raise Invalid(f"{payee_id} cannot claim her own money: what she objects to is a dispute")
    if not reason.strip() or not evidence.strip():
        raise Invalid("say what is claimed and where the evidence is kept")
    keep_balances(session, currency)
    said = (payee_id, claimant_id, currency, amount_micros)
    before = session.get(OwnershipClaim, claim_id)
    if before is not None:
        if (before.payee_id, before.claimant_id, before.currency, before.amount_micros) != said:
            raise Conflict(
                f"claim {claim_id} is recorded otherwise: {format_money(before.amount_micros, before.currency)} of "
                f"{before.payee_id} for {before.claimant_id}; give the other one an id of its own"
            )
        return before
    moved = max(0, min(amount_micros, -balance(session, PAYABLE.code(currency, payee_id))))
    claim = OwnershipClaim(
        claim_id=claim_id,
        payee_id=payee_id,
        claimant_id=claimant_id,
        currency=currency,
        amount_micros=amount_micros,
        moved_micros=moved,
        reason=reason,
        evidence=evidence,
        expected_until=expected_until,
        claimed_at=claimed_at,
        actor=actor,
    )
    session.add(claim)
    session.flush()
    if moved:
        names = {"claim": claim_id, "payee": payee_id}
        post(session, [CLAIM_OPENED.entry(moved, currency, names, booked_at=claimed_at, actor=actor)])
    return claim


def propose_decision(
    session: Session, claim_id: str, awarded_micros: int, *, reason: str, maker: str
) -> ClaimDecision:
    """Propose what becomes of a claim. Nothing moves; another person approves it. A newer proposal replaces it.

    Args:
        session: role `settlement`.
        claim_id: which claim.
        awarded_micros: what the claimant gets, from 0 to what was moved; the rest goes back to the payee.
        reason: why; for whoever approves it, and for auditors.
        maker: who proposes it.

    Raises:
        NotFound: no such claim.
        Invalid: below zero, or no reason.
        Refused: more than was moved is awarded, or something to a claimant who is not a registered payee.
        Conflict: the claim is decided already.
    """
    claim = find_claim(session, claim_id)
    if awarded_micros < 0:
        raise Invalid(
            f"{to_decimal(awarded_micros)} cannot be awarded: award from none to all of what was moved"
        )
    if awarded_micros > claim.moved_micros:
        raise Refused(
            f"claim {claim_id} holds {format_money(claim.moved_micros, claim.currency)}: award from none to all of it"
        )
    if not reason.strip():
        raise Invalid("say why it is decided so")
    if awarded_micros and session.get(Payee, claim.claimant_id) is None:
        raise Refused(
            f"{claim.claimant_id} is no payee: load her with the catalogue file before something is awarded to her"
        )
    if approval_of_claim(session, claim_id) is not None:
        raise Conflict(f"claim {claim_id} is decided already; `royalty claim show {claim_id}`")
    number = 1 + (
        session.scalar(
            select(func.count()).select_from(ClaimDecision).where(ClaimDecision.claim_id == claim_id)
        )
        or 0
    )
    decision = ClaimDecision(
        claim_id=claim_id,
        number=number,
        awarded_micros=awarded_micros,
        reason=reason,
        content_sha256=decision_digest(claim, number, awarded_micros, reason),
        maker=maker,
    )
    session.add(decision)
    session.flush()
    return decision


def approve_decision(session: Session, claim_id: str, content_sha256: bytes, *, checker: str) -> Approval:
    """Approve the decision with this digest; a second time, nothing changes.

    Args:
        session: a transaction of the role `approver`, which may do nothing else.
        claim_id: which claim.
        content_sha256: digest of the decision that the checker has seen.
        checker: the authenticated person; neither who opened the claim nor who proposed the decision.

    Raises:
        NotFound: no such claim.
        Refused: nothing is proposed, or the checker is the opener or the maker.
        Conflict: another decision is the newest or approved already.
    """
    claim = find_claim(session, claim_id)
    decision = newest_decision(session, claim_id)
    if decision is None:
        raise Refused(f"no decision of claim {claim_id} is proposed yet")
    if checker in (claim.actor, decision.maker):
        raise Refused(
            f"{checker} has {'opened' if checker == claim.actor else 'proposed the decision of'} claim {claim_id}:"
            " another person must approve it"
        )
    if decision.content_sha256 != content_sha256:
        raise Conflict(
            f"the decision of claim {claim_id} is not the one you have seen: look at it again and approve that"
        )
    before = approval_of_claim(session, claim_id)
    if before is not None:
        return before
    approval = Approval(
        kind=KIND, subject=claim_id, content_sha256=content_sha256, maker=decision.maker, checker=checker
    )
    session.add(approval)
    session.flush()
    return approval


def carry_out(session: Session, claim_id: str, *, decided_at: datetime, actor: str) -> bool:
    """Post an approved decision: the money leaves suspense. Done already, or nothing was moved: False.

    Args:
        session: role `settlement`.
        claim_id: which claim.
        decided_at: when it is booked; in the open period if its own is sealed.
        actor: who does it.

    Raises:
        NotFound: no such claim.
        Refused: nobody has approved a decision.
    """
    claim = find_claim(session, claim_id)
    approval = approval_of_claim(session, claim_id)
    if approval is None:
        raise Refused(f"no decision of claim {claim_id} is approved: another person must do so")
    if not claim.moved_micros or _is_posted(session, claim_id):
        return False
    decision = session.scalars(
        select(ClaimDecision).where(
            ClaimDecision.claim_id == claim_id, ClaimDecision.content_sha256 == approval.content_sha256
        )
    ).one()
    parts = (
        (claim.claimant_id, decision.awarded_micros),
        (claim.payee_id, claim.moved_micros - decision.awarded_micros),
    )
    entries = [
        CLAIM_DECIDED.entry(
            part,
            claim.currency,
            {"claim": claim_id, "payee": payee},
            booked_at=decided_at,
            actor=actor,
            approved_by=approval.checker,
        )
        for payee, part in parts
        if part
    ]
    # One journal, whoever gets a part of it.
    lines = [line for entry in entries for line in entry.lines]
    return post(session, [replace(entries[0], lines=lines)]).posted == 1


def find_claim(session: Session, claim_id: str) -> OwnershipClaim:
    """A claim by its id. Raises `NotFound` if there is none."""
    claim = session.get(OwnershipClaim, claim_id)
    if claim is None:
        raise NotFound(f"no claim {claim_id} is recorded; `royalty claim list` shows what there is")
    return claim


def newest_decision(session: Session, claim_id: str) -> ClaimDecision | None:
    """The decision of a claim that was proposed last; None if there is none."""
    return session.scalar(
        select(ClaimDecision)
        .where(ClaimDecision.claim_id == claim_id)
        .order_by(ClaimDecision.number.desc())
        .limit(1)
    )


def approval_of_claim(session: Session, claim_id: str) -> Approval | None:
    """The approval of a claim's decision; None if there is none."""
    return session.scalar(select(Approval).where(Approval.kind == KIND, Approval.subject == claim_id))


def claims(
    session: Session, *, claim_ids: Sequence[str] | None = None, after: str = "", limit: int = 200
) -> list[ClaimStatus]:
    """Claims with what became of them, by id in byte order: those named, or at most ``limit`` after an id."""
    query = select(OwnershipClaim).order_by(OwnershipClaim.claim_id.collate("C"))
    if claim_ids is None:
        query = query.where(OwnershipClaim.claim_id.collate("C") > after).limit(limit)
    else:
        query = query.where(OwnershipClaim.claim_id.in_(claim_ids))
    found = list(session.scalars(query))
    ids = [claim.claim_id for claim in found]
    approvals = {
        approval.subject: approval
        for approval in session.scalars(
            select(Approval).where(Approval.kind == KIND, Approval.subject.in_(ids))
        )
    }
    decisions: dict[str, ClaimDecision] = {}
    for decision in session.scalars(
        select(ClaimDecision).where(ClaimDecision.claim_id.in_(ids)).order_by(ClaimDecision.number)
    ):
        approved = approvals.get(decision.claim_id)
        if approved is None or approved.content_sha256 == decision.content_sha256:
            decisions[decision.claim_id] = decision
    keys = {CLAIM_DECIDED.key.format(claim=claim_id): claim_id for claim_id in ids}
    posted = {keys[key] for key in session.scalars(select(Journal.key).where(Journal.key.in_(keys)))}
    return [
        ClaimStatus(
            claim,
            decisions.get(claim.claim_id),
            approvals[claim.claim_id].checker if claim.claim_id in approvals else None,
            claim.claim_id in posted or (claim.moved_micros == 0 and claim.claim_id in approvals),
        )
        for claim in found
    ]


def claim_status(session: Session, claim_id: str) -> ClaimStatus:
    """One claim with what became of it. Raises `NotFound` if there is none."""
    return claims(session, claim_ids=[find_claim(session, claim_id).claim_id])[0]


def _is_posted(session: Session, claim_id: str) -> bool:
    key = CLAIM_DECIDED.key.format(claim=claim_id)
    return (
        session.scalar(text("SELECT EXISTS (SELECT FROM ledger.journal WHERE key = :key)"), {"key": key})
        is True
    )
