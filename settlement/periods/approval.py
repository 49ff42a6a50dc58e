"""A period's calculation, its review and its approval by a second person."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import rfc8785
from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from database.errors import Conflict, Invalid, NotFound, Refused
from settlement.periods.calculation import Progress, calculate_lines, inputs_digest, lines_digest
from settlement.periods.calendar import find_period, require_earlier_closed
from settlement.periods.gates import GATES, Gate, look
from settlement.periods.models import Approval, GateAcceptance, Period, RunDraft
from settlement.periods.totals import RunTotals, collect_totals


@dataclass(frozen=True, slots=True)
class Draft:
    """A calculation under review. ``sha256`` is what is approved: of the inputs, every line and every summary.

    What its gates found is no part of it: an account that is changed after the approval does not undo that. Who accepts
    a finding names ``gates_sha256`` as well: calculated again, the same draft may have found something else.
    """

    period_id: str
    inputs_sha256: bytes
    sha256: bytes
    totals: RunTotals
    calculated_by: str
    gates: tuple[Gate, ...]

    @property
    def gates_sha256(self) -> bytes:
        """Digest of what its gates found."""
        return hashlib.sha256(rfc8785.dumps({gate.name: gate.document() for gate in self.gates})).digest()


def calculate(session: Session, period_id: str, *, actor: str, progress: Progress | None = None) -> Draft:
    """Calculate a period that is cut off and keep the result as its draft; an earlier draft is thrown away.

    Until it is closed, a period may be calculated again: what was in review or approved is so no more.

    Args:
        session: the caller's transaction, role `settlement`.
        period_id: such as `2026-10`.
        actor: the maker.
        progress: told about each stage.

    Raises:
        Conflict: the period is still open or closed already, or an earlier one is not closed.
    """
    period = _locked(session, period_id)
    if period.state == "open":
        raise Conflict(f"period {period_id} is open: cut it off first (`royalty period cut-off {period_id}`)")
    if period.state == "closed":
        raise Conflict(f"period {period_id} is closed: what is left to correct belongs to an open period")
    require_earlier_closed(session, period)
    draft = compute_draft(session, period, actor=actor, progress=progress)
    values = {
        "inputs_sha256": draft.inputs_sha256,
        "draft_sha256": draft.sha256,
        "totals": draft.totals.document(),
        "calculated_by": actor,
        "gates": {gate.name: gate.document() for gate in draft.gates},
        "recorded_at": text("clock_timestamp()"),
    }
    session.execute(
        insert(RunDraft)
        .values(period_id=period_id, **values)
        .on_conflict_do_update(index_elements=[RunDraft.period_id], set_=values)
    )
    period.state = "calculated"
    session.flush()
    return draft


def compute_draft(session: Session, period: Period, *, actor: str, progress: Progress | None = None) -> Draft:
    """Calculate without writing anything; the result stays in the transaction's temporary tables."""
    calculate_lines(session, period, progress)
    totals = collect_totals(session, period.period_id)
    if progress is not None:
        progress("hashing", 1, 1)
    inputs = inputs_digest(session)
    content: dict[str, Any] = {
        "period": period.period_id,
        "inputs": inputs.hex(),
        "lines": lines_digest(session).hex(),
        "totals": totals.document(),
    }
    digest = hashlib.sha256(rfc8785.dumps(content)).digest()
    return Draft(period.period_id, inputs, digest, totals, actor, look(session, period))


def draft_of(session: Session, period_id: str) -> Draft:
    """The draft of a period that was calculated.

    Raises:
        NotFound: it has none.
    """
    row = session.get(RunDraft, period_id, populate_existing=True)
    if row is None:
        raise NotFound(
            f"period {period_id} is not calculated: do that first (`royalty period calculate {period_id}`)"
        )
    return Draft(
        period_id,
        row.inputs_sha256,
        row.draft_sha256,
        RunTotals.read(row.totals),
        row.calculated_by,
        tuple(Gate.read(name, row.gates[name]) for name in GATES if name in row.gates),
    )


def submit(session: Session, period_id: str) -> Draft:
    """Put a calculated period up for review.

    If the very same content was approved before, and its gates find nothing that was not accepted then, it is approved
    again.

    Raises:
        Conflict: the period is not calculated, or closed.
    """
    period = _locked(session, period_id)
    if period.state not in ("calculated", "in_review"):
        raise Conflict(_wrong_state(period, "put up for review", "calculated"))
    draft = draft_of(session, period_id)
    period.state = "in_review"
    session.flush()
    approval = approval_of(session, draft)
    if approval is not None and not _left_shut(session, draft, approval.checker):
        period.state = "approved"
        session.flush()
    return draft


def approve(
    session: Session,
    period_id: str,
    *,
    checker: str,
    content_sha256: bytes,
    accepted: Mapping[str, str] | None = None,
    gates_sha256: bytes | None = None,
) -> Approval:
    """Approve the draft that is in review.

    Args:
        session: a transaction of the role `approver`, which may do nothing else.
        period_id: such as `2026-10`.
        checker: the authenticated person; never the maker.
        content_sha256: digest of the draft that the checker has looked at (`Draft.sha256`).
        accepted: why the findings of a gate may pass, by the gate's name; needed for each that found something.
        gates_sha256: digest of the findings that she has looked at (`Draft.gates_sha256`); needed to accept any.

    Raises:
        Refused: the checker is the maker, or a gate that must hold does not.
        Conflict: the period is not in review, its draft or what its gates found is another by now, or a gate found
            something that is not accepted.
        Invalid: a gate is accepted that found nothing, or without a reason.
    """
    period = session.get(Period, period_id, populate_existing=True)
    if period is None:
        raise NotFound(f"there is no period {period_id}")
    if period.state != "in_review":
        raise Conflict(_wrong_state(period, "approved", "in review"))
    draft = draft_of(session, period_id)
    if draft.sha256 != content_sha256:
        raise Conflict(f"period {period_id} was calculated again since you looked at it: look again")
    if draft.calculated_by == checker:
        raise Refused(f"{checker} has calculated period {period_id}: another person must approve it")
    if accepted and draft.gates_sha256 != gates_sha256:
        raise Conflict(
            f"the gates of period {period_id} did not find what you accept: look again (`royalty period review"
            f" {period_id}`)"
        )
    _accept(session, draft, checker, accepted or {})
    approval = Approval(
        kind="period",
        subject=period_id,
        content_sha256=draft.sha256,
        maker=draft.calculated_by,
        checker=checker,
    )
    session.add(approval)
    session.flush()
    return approval


def _accept(session: Session, draft: Draft, checker: str, accepted: Mapping[str, str]) -> None:
    """Record what the checker lets pass, before the approval that needs it."""
    if len(draft.gates) < len(GATES):
        raise Conflict(f"period {draft.period_id} was calculated before there were gates: calculate it again")
    shut = {gate.name: gate for gate in draft.gates if not gate.passed}
    for gate in shut.values():
        if gate.must_hold:
            raise Refused(
                f"{gate.sentence(draft.period_id)}; nobody can accept that: `royalty verify` finds the cause"
            )
    for name, reason in accepted.items():
        if name not in GATES:
            raise Invalid(f"there is no gate {name}: choose from {', '.join(GATES)}")
        if name not in shut:
            raise Invalid(
                f"the gate {name} found nothing in period {draft.period_id}: there is nothing to accept"
            )
        if not reason.strip():
            raise Invalid(f"say why what the gate {name} found may pass")
    known = _accepted(session, draft, checker)
    for name in accepted:
        if shut[name] not in known:
            session.add(
                GateAcceptance(
                    period_id=draft.period_id,
                    draft_sha256=draft.sha256,
                    gate=name,
                    findings=shut[name].document(),
                    reason=accepted[name],
                    checker=checker,
                )
            )
    session.flush()
    left = _left_shut(session, draft, checker)
    if left:
        raise Conflict(
            f"{left[0].sentence(draft.period_id)}; look at it, then accept it with a reason"
            f" (`--accept {left[0].name}=REASON`)"
        )


def _left_shut(session: Session, draft: Draft, checker: str) -> list[Gate]:
    """Gates that found what this checker has not accepted, word for word."""
    known = _accepted(session, draft, checker)
    return [gate for gate in draft.gates if not gate.passed and (gate.must_hold or gate not in known)]


def _accepted(session: Session, draft: Draft, checker: str) -> set[Gate]:
    rows = session.execute(
        select(GateAcceptance.gate, GateAcceptance.findings).where(
            GateAcceptance.period_id == draft.period_id,
            GateAcceptance.draft_sha256 == draft.sha256,
            GateAcceptance.checker == checker,
        )
    )
    return {Gate.read(gate, findings) for gate, findings in rows}


def approval_of(session: Session, draft: Draft) -> Approval | None:
    """The approval of a draft with this very content; None if there is none."""
    return session.scalar(
        select(Approval).where(
            Approval.kind == "period",
            Approval.subject == draft.period_id,
            Approval.content_sha256 == draft.sha256,
        )
    )


def _locked(session: Session, period_id: str) -> Period:
    """The period, locked until the transaction ends: two commands on one period follow each other."""
    find_period(session, period_id)
    return session.scalars(
        select(Period)
        .where(Period.period_id == period_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()


def _wrong_state(period: Period, action: str, needed: str) -> str:
    state = period.state.replace("_", " ")
    return f"period {period.period_id} is {state}: only one that is {needed} can be {action}"
