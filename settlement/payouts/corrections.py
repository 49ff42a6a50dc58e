"""A payment that the bank refused and has booked all the same: two people say so, and the refusal is taken back.

    propose -> approve (another person) -> carry out

The refusal's journal is reversed exactly, the payout is on its way again, and the booking is taken as any other.
Nothing of it happens by itself: the bank has contradicted itself, and the payee's balance has had the money since.
"""

import hashlib
from datetime import UTC, datetime

from sqlalchemy import Select, select, text
from sqlalchemy.orm import Session

from database.errors import Conflict, Invalid, NotFound, Refused
from settlement import posting
from settlement.ledger import post, sequence_journals
from settlement.payouts.bank_messages.intake import apply_open, booked_though_refused
from settlement.payouts.bank_messages.models import PayoutCorrection
from settlement.payouts.models import Payout, PayoutAttempt, find_batch, lock_payouts, newest_events
from settlement.payouts.outcomes import reopen
from settlement.periods.models import Approval

_KIND = "payout_correction"


def propose(session: Session, entry_id: int, reason: str, maker: str) -> list[str]:
    """Say that what a line of the bank books is paid, though it was refused. Posts nothing.

    Args:
        session: as the role `payer`.
        entry_id: an open line that waits for nothing else.
        reason: how that is known; for whoever approves it, and for auditors.
        maker: who says so.

    Returns:
        The attempts that it is about.

    Raises:
        NotFound: there is no such line.
        Conflict: it is proposed already, or the line books nothing that was refused.
        Invalid: no reason.
    """
    if not reason.strip():
        raise Invalid("say how it is known that the bank has paid: --reason TEXT")
    lock_payouts(session, "bank messages")
    known = session.scalar(_of_line(entry_id).limit(1))
    if known is not None:
        raise Conflict(
            f"{known.maker} has proposed it already: another operator runs"
            f" `royalty payout correct {entry_id} --approve`"
        )
    attempts = booked_though_refused(session, entry_id)
    other = session.scalar(select(PayoutCorrection).where(PayoutCorrection.attempt_id.in_(attempts)).limit(1))
    if other is not None:
        raise Conflict(
            f"{other.maker} has proposed it by line {other.bank_entry_id}: another operator runs"
            f" `royalty payout correct {other.bank_entry_id} --approve`"
        )
    if not attempts:
        raise Conflict(
            f"line {entry_id} is no booking of a payment that was refused, or waits for something else as well:"
            " `royalty payout reconcile` says what for"
        )
    amounts = session.execute(
        select(PayoutAttempt.attempt_id, PayoutAttempt.amount_micros)
        .where(PayoutAttempt.attempt_id.in_(attempts))
        .order_by(PayoutAttempt.attempt_id.collate("C"))
    ).all()
    # As guard.check_payout_event has it, which reads it again when the refusal is taken back.
    content = [str(entry_id), *(f"{attempt} {amount}" for attempt, amount in amounts), "", reason]
    digest = hashlib.sha256("\n".join(content).encode()).digest()
    session.add_all(
        PayoutCorrection(
            attempt_id=attempt, bank_entry_id=entry_id, reason=reason, maker=maker, content_sha256=digest
        )
        for attempt, _ in amounts
    )
    session.flush()
    return [attempt for attempt, _ in amounts]


def approve(session: Session, entry_id: int, checker: str) -> None:
    """Approve what another person proposed, as the role `approver`; a second time, nothing changes.

    Raises:
        NotFound: nobody has proposed it.
        Refused: the checker proposed it herself.
    """
    known = session.scalar(_of_line(entry_id).limit(1))
    if known is None:
        raise NotFound(
            f"nobody has said that line {entry_id} is paid: `royalty payout correct {entry_id} --reason ...`"
        )
    if known.maker == checker:
        raise Refused(f"{checker} proposed it: another operator must approve it")
    approved = select(Approval.id).where(
        Approval.kind == _KIND,
        Approval.subject == str(entry_id),
        Approval.content_sha256 == known.content_sha256,
    )
    if session.scalar(approved) is None:
        session.add(
            Approval(
                kind=_KIND,
                subject=str(entry_id),
                content_sha256=known.content_sha256,
                maker=known.maker,
                checker=checker,
            )
        )
        session.flush()


def carry_out(session: Session, entry_id: int, actor: str) -> list[str]:
    """Reverse the refusals and take the booking, once; stopped half-way, it is simply run again.

    Args:
        session: as the role `payer`.
        entry_id: a line whose correction is approved.
        actor: who does it.

    Returns:
        The attempts that are paid now; none if they were before.

    Raises:
        Conflict: nobody has approved it, or the line cannot be taken any more.
    """
    lock_payouts(session, "bank messages")
    checker = session.scalar(
        select(Approval.checker)
        .join(PayoutCorrection, PayoutCorrection.content_sha256 == Approval.content_sha256)
        .where(
            Approval.kind == _KIND,
            Approval.subject == str(entry_id),
            PayoutCorrection.bank_entry_id == entry_id,
        )
        .limit(1)
    )
    if checker is None:
        raise Conflict(f"the correction by line {entry_id} is not approved")
    rows = session.execute(
        select(PayoutAttempt.attempt_id, PayoutAttempt.amount_micros, Payout)
        .join(Payout, Payout.payout_id == PayoutAttempt.payout_id)
        .join(PayoutCorrection, PayoutCorrection.attempt_id == PayoutAttempt.attempt_id)
        .where(PayoutCorrection.bank_entry_id == entry_id)
        .order_by(PayoutAttempt.attempt_id.collate("C"))
    ).all()
    batch_id = rows[0][2].batch_id
    find_batch(session, batch_id, lock=True)
    payouts = [payout.payout_id for _, _, payout in rows]
    newest = newest_events(session, payouts)
    if all(newest[payout_id][1] in ("paid", "returned") for payout_id in payouts):
        return []
    if sorted(booked_though_refused(session, entry_id)) != sorted(attempt for attempt, _, _ in rows):
        raise Conflict(
            f"line {entry_id} cannot be taken as it was approved: `royalty payout reconcile` says why"
        )
    now = datetime.now(UTC)
    session.execute(
        text(
            """
            INSERT INTO settlement.payout_event (payout_id, number, attempt_id, state, detail, actor, occurred_at)
            SELECT payout, number, attempt, 'submitted', jsonb_build_object('correction', CAST(:entry AS bigint)),
                   :actor, :at
            FROM unnest(CAST(:payouts AS text[]), CAST(:numbers AS integer[]), CAST(:attempts AS text[]))
                AS e (payout, number, attempt)
            """
        ),
        {
            "payouts": payouts,
            "numbers": [newest[payout_id][0] + 1 for payout_id in payouts],
            "attempts": [attempt for attempt, _, _ in rows],
            "entry": entry_id,
            "actor": actor,
            "at": now,
        },
    )
    post(
        session,
        [
            posting.PAYOUT_CORRECTED.entry(
                amount,
                payout.currency,
                {"attempt": attempt, "payee": payout.payee_id},
                booked_at=now,
                actor=actor,
                approved_by=checker,
            )
            for attempt, amount, payout in rows
        ],
    )
    sequence_journals(session)
    reopen(session, batch_id, actor, len(rows))
    _, _, waiting = apply_open(session, [batch_id], actor)
    if entry_id in waiting:
        raise Conflict(f"line {entry_id} cannot be taken: {waiting[entry_id]}")
    return [attempt for attempt, _, _ in rows]


def _of_line(entry_id: int) -> Select[PayoutCorrection]:
    return select(PayoutCorrection).where(PayoutCorrection.bank_entry_id == entry_id)
