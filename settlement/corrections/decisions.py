"""What becomes of a correction: approved by another person, withdrawn, or applied by the next close."""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from database.errors import Conflict, Invalid, NotFound, Refused
from settlement.corrections.models import Correction, CorrectionApplication, CorrectionWithdrawal
from settlement.periods.models import Approval

KIND = "correction"
"""The kind of a correction's approval."""

State = Literal["proposed", "approved", "withdrawn", "applied"]


@dataclass(frozen=True, slots=True)
class Standing:
    """A correction and where it stands."""

    correction: Correction
    checker: str | None
    """Who approved it; None: nobody has."""
    withdrawn_by: str | None
    applied_in: str | None
    """The period whose close applied it."""

    @property
    def state(self) -> State:
        """Where it stands, in one word."""
        if self.applied_in is not None:
            return "applied"
        if self.withdrawn_by is not None:
            return "withdrawn"
        return "proposed" if self.checker is None else "approved"


def corrections(session: Session, *, correction_id: str | None = None) -> list[Standing]:
    """All corrections, or one, the last first."""
    query = (
        select(Correction, Approval.checker, CorrectionWithdrawal.actor, CorrectionApplication.period_id)
        .outerjoin(
            Approval,
            (Approval.kind == KIND)
            & (Approval.subject == Correction.correction_id)
            & (Approval.content_sha256 == Correction.content_sha256),
        )
        .outerjoin(CorrectionWithdrawal, CorrectionWithdrawal.correction_id == Correction.correction_id)
        .outerjoin(CorrectionApplication, CorrectionApplication.correction_id == Correction.correction_id)
        .order_by(Correction.recorded_at.desc(), Correction.correction_id)
    )
    if correction_id is not None:
        query = query.where(Correction.correction_id == correction_id)
    return [Standing(*row) for row in session.execute(query)]


def find_correction(session: Session, correction_id: str) -> Standing:
    """A correction by its id. Raises `NotFound` if there is none."""
    found = corrections(session, correction_id=correction_id)
    if not found:
        raise NotFound(f"no correction {correction_id} is proposed")
    return found[0]


def approve_correction(
    session: Session, correction_id: str, *, checker: str, content_sha256: bytes
) -> Approval:
    """Approve a correction: the next period that is cut off after this applies it.

    Args:
        session: a transaction of the role `approver`, which may do nothing else.
        correction_id: which one.
        checker: the authenticated person; never the maker.
        content_sha256: digest of the content that the checker has looked at.

    Raises:
        NotFound: no such correction.
        Refused: the checker is the maker.
        Conflict: it is approved, withdrawn or applied already, or of another content.
    """
    standing = find_correction(session, correction_id)
    correction = standing.correction
    if standing.state != "proposed":
        raise Conflict(f"correction {correction_id} is {standing.state} already")
    if correction.content_sha256 != content_sha256:
        raise Conflict(
            f"correction {correction_id} is of another content than you have seen: look at it again"
            f" (`royalty correction show {correction_id}`)"
        )
    if correction.actor == checker:
        raise Refused(f"{checker} has proposed correction {correction_id}: another person must approve it")
    approval = Approval(
        kind=KIND,
        subject=correction_id,
        content_sha256=correction.content_sha256,
        maker=correction.actor,
        checker=checker,
    )
    session.add(approval)
    session.flush()
    return approval


def withdraw_correction(session: Session, correction_id: str, *, actor: str, reason: str) -> Standing:
    """Withdraw a correction that no close has applied; its sales are free for another.

    Raises:
        NotFound: no such correction.
        Conflict: it is applied or withdrawn already.
        Invalid: no reason is given.
    """
    standing = find_correction(session, correction_id)
    if standing.applied_in is not None:
        raise Conflict(
            f"correction {correction_id} is applied in {standing.applied_in}: propose another that takes it back"
        )
    if standing.withdrawn_by is not None:
        raise Conflict(f"correction {correction_id} is withdrawn already")
    if not reason.strip():
        raise Invalid(f"say why correction {correction_id} is withdrawn")
    session.add(CorrectionWithdrawal(correction_id=correction_id, actor=actor, reason=reason))
    session.flush()
    return find_correction(session, correction_id)
