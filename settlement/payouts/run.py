"""Payout runs: who is paid what, approval, reservation, hand-over to the bank, and what the bank says afterwards.

    create -> approve (another person) -> reserve -> hand over -> record what the bank reports

Every step is idempotent and leaves the books right if the process dies after it. An attempt is committed before the
bank hears of it, and its id is the key under which the bank knows it. The edge commits after each step.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import rfc8785
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from database.errors import Conflict, Invalid, NotFound, Refused
from settlement import posting
from settlement.balance import of_which
from settlement.ledger import balances, post
from settlement.money import check_currency, to_decimal
from settlement.payees import PartyVersion, parties_of, party_of
from settlement.payouts.holds import open_holds
from settlement.payouts.models import (
    BatchEvent,
    Payout,
    PayoutAttempt,
    PayoutBatch,
    PayoutEvent,
    PayoutFile,
)
from settlement.payouts.pain001 import BankAccount, Payment, PaymentFile, payment_file_bytes
from settlement.periods.models import Approval, Period
from settlement.rates import platform_at, platform_now


@dataclass(frozen=True, slots=True)
class Decision:
    """What a run does for one payee, and why."""

    payee_id: str
    balance: int
    """The payee's ledger balance in micros."""
    amount: int
    """What is paid: whole minor units, in micros; 0 where nothing is."""
    decision: str
    """pay | held | below_minimum | no_bank_details"""
    party_version: int | None


def plan(session: Session, currency: str) -> list[Decision]:
    """Whom a run in this currency would pay now, by payee id; payees with nothing to their credit are left out.

    Raises:
        Refused: no period has been closed yet, so nothing is due.
    """
    check_currency(currency)
    closed = session.scalar(select(func.max(Period.ends_at)).where(Period.state == "closed"))
    if closed is None:
        raise Refused("no period is closed yet, so nothing is due: close one with `royalty period close`")
    minimum = int(platform_at(session, closed).minimum_payout.get(currency, "0"))
    owed = {
        posting.PAYABLE.owner_of(code): -balance
        for code, balance in balances(session, f"{posting.PAYABLE.name}:").items()
        if code.endswith(f":{currency}") and balance < 0
    }
    held = {hold.payee_id for hold in open_holds(session)}
    reachable = {
        payee_id: version
        for payee_id, (version, details) in parties_of(session, owed).items()
        if details.get("iban") and details.get("name")
    }
    decisions = []
    for payee_id, balance in sorted(owed.items()):
        parts = of_which(balance, minimum, currency, held=payee_id in held)
        if parts.held:
            decision = "held"
        elif parts.below_minimum or parts.payable == 0:
            decision = "below_minimum"
        elif payee_id not in reachable:
            decision = "no_bank_details"
        else:
            decision = "pay"
        amount = parts.payable if decision == "pay" else 0
        decisions.append(Decision(payee_id, balance, amount, decision, reachable.get(payee_id)))
    return decisions


def create_batch(session: Session, currency: str, execution_date: date, maker: str) -> PayoutBatch:
    """Fix whom a run pays. Posts nothing; a checker must approve exactly this content.

    Raises:
        Conflict: another batch in this currency is unfinished: its payouts would be counted twice.
        Refused: nothing is due.
    """
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('payout batch', 0))"))
    for batch in session.scalars(select(PayoutBatch).where(PayoutBatch.currency == currency)):
        state = batch_state(session, batch.batch_id)
        if state in ("draft", "approved", "submitting"):
            raise Conflict(
                f"batch {batch.batch_id} is {state}: submit it or cancel it before another one in {currency} is made"
            )
    decisions = plan(session, currency)
    if not any(decision.amount for decision in decisions):
        raise Refused(f"nobody can be paid in {currency} now; `royalty payout create --dry-run` shows why")
    prefix = f"{currency}-{execution_date:%Y%m%d}-"
    number = (
        1
        + session.scalars(
            select(func.count()).select_from(PayoutBatch).where(PayoutBatch.batch_id.startswith(prefix))
        ).one()
    )
    batch = PayoutBatch(
        batch_id=f"{prefix}{number}",
        currency=currency,
        execution_date=execution_date,
        content_sha256=_content_digest(currency, execution_date, decisions),
        maker=maker,
    )
    session.add(batch)
    session.flush()
    session.add_all(
        Payout(
            payout_id=f"{batch.batch_id}/{decision.payee_id}",
            batch_id=batch.batch_id,
            payee_id=decision.payee_id,
            currency=currency,
            balance_micros=decision.balance,
            amount_micros=decision.amount,
            decision=decision.decision,
            party_version=decision.party_version,
        )
        for decision in decisions
    )
    session.flush()
    _batch_event(session, batch.batch_id, "draft", maker)
    now = datetime.now(UTC)
    session.add_all(
        PayoutEvent(
            payout_id=f"{batch.batch_id}/{decision.payee_id}",
            state="ready" if decision.amount else "held",
            detail={"decision": decision.decision},
            actor=maker,
            occurred_at=now,
        )
        for decision in decisions
    )
    session.flush()
    return batch


def approve_batch(session: Session, batch_id: str, checker: str) -> None:
    """Approve the content of a batch, as the role `approver`.

    Raises:
        Refused: the checker made the batch herself.
        Conflict: the batch is past approval, or its rows are not what its digest says.
    """
    batch = _batch(session, batch_id)
    if batch.maker == checker:
        raise Refused(f"{checker} made batch {batch_id}: another operator must approve it")
    if _recomputed_digest(session, batch) != batch.content_sha256:
        raise Conflict(f"the payouts of batch {batch_id} are not what was made: run `royalty verify`")
    if batch_state(session, batch_id) != "draft":
        raise Conflict(f"batch {batch_id} is {batch_state(session, batch_id)}: nothing is left to approve")
    session.add(
        Approval(
            kind="payout_batch",
            subject=batch_id,
            content_sha256=batch.content_sha256,
            maker=batch.maker,
            checker=checker,
        )
    )
    session.flush()


def cancel_batch(session: Session, batch_id: str, actor: str) -> None:
    """Give up a batch that has not been submitted.

    Raises:
        Conflict: money has been reserved for it.
    """
    _batch(session, batch_id, lock=True)
    state = batch_state(session, batch_id)
    if state not in ("draft", "approved"):
        raise Conflict(f"batch {batch_id} is {state}: it cannot be cancelled any more")
    _batch_event(session, batch_id, "cancelled", actor)


def reserve(session: Session, batch_id: str, actor: str, at: datetime) -> list[PayoutAttempt]:
    """Move what the batch pays from payable to clearing, one attempt each; the same attempts when run again.

    A payee who has come under a hold or owes less than the batch says since it was made is left out, with an event.

    Raises:
        Refused: nobody has approved this content.
        Conflict: the batch is cancelled or past this step.
    """
    batch = _batch(session, batch_id, lock=True)
    approval = session.scalar(
        select(Approval).where(
            Approval.kind == "payout_batch",
            Approval.subject == batch_id,
            Approval.content_sha256 == batch.content_sha256,
        )
    )
    if approval is None:
        raise Refused(
            f"batch {batch_id} is not approved: another operator runs `royalty payout approve {batch_id}`"
        )
    state = batch_state(session, batch_id)
    if state == "submitting":
        return _attempts(session, batch_id)
    if state != "approved":
        raise Conflict(f"batch {batch_id} is {state}: nothing is left to submit")
    today = {decision.payee_id: decision for decision in plan(session, batch.currency)}
    payouts = list(
        session.scalars(
            select(Payout)
            .where(Payout.batch_id == batch_id, Payout.decision == "pay")
            .order_by(Payout.payee_id)
        )
    )
    attempts, entries = [], []
    for number, payout in enumerate(payouts, start=1):
        now = today.get(payout.payee_id)
        if now is None or now.decision != "pay" or now.amount < payout.amount_micros:
            why = "balance" if now is None or now.decision == "pay" else now.decision
            _payout_event(session, payout.payout_id, None, "cancelled", actor, at, {"why": why})
            continue
        attempt = PayoutAttempt(
            attempt_id=f"{batch_id}-{number}-1",
            payout_id=payout.payout_id,
            number=1,
            amount_micros=payout.amount_micros,
        )
        attempts.append(attempt)
        entries.append(
            posting.payout_reserved(
                attempt.attempt_id,
                payout.payee_id,
                batch.currency,
                attempt.amount_micros,
                booked_at=at,
                actor=actor,
                approved_by=approval.checker,
            )
        )
    session.add_all(attempts)
    session.flush()
    for attempt in attempts:
        _payout_event(session, attempt.payout_id, attempt.attempt_id, "reserved", actor, at)
    post(session, entries)
    _batch_event(session, batch_id, "submitting", actor)
    return attempts


def payment_file(session: Session, batch_id: str) -> tuple[str, bytes]:
    """Name and bytes (pain.001.001.09) of what the bank gets for a reserved batch; the same bytes every time.

    Raises:
        Conflict: nothing is reserved yet.
        Invalid: somebody's bank details cannot be written into a file.
    """
    batch = _batch(session, batch_id)
    attempts = _attempts(session, batch_id)
    reserved_at = session.scalar(
        select(BatchEvent.recorded_at).where(
            BatchEvent.batch_id == batch_id, BatchEvent.state == "submitting"
        )
    )
    if reserved_at is None:
        raise Conflict(f"batch {batch_id} is {batch_state(session, batch_id)}: reserve it first")
    payouts = {
        payout.payout_id: payout
        for payout in session.scalars(select(Payout).where(Payout.batch_id == batch_id))
    }
    details = _party_versions(session, payouts.values())
    platform = platform_now(session)
    if platform is None:
        raise NotFound("no platform terms are loaded: run `royalty catalogue load FILE`")
    debtor = party_of(session, platform.platform_payee_id)
    if not debtor.get("iban"):
        raise Invalid("the platform has no IBAN: add it to the catalogue file and load it again")
    payments = []
    for attempt in attempts:
        payee = details[payouts[attempt.payout_id].payee_id]
        payments.append(
            Payment(
                end_to_end_id=attempt.attempt_id,
                amount=attempt.amount_micros,
                creditor=BankAccount.of(payee),
                remittance=f"Royalties {batch_id}",
            )
        )
    content = payment_file_bytes(
        PaymentFile(
            key=batch_id,
            created_at=reserved_at,
            execution_date=batch.execution_date,
            currency=batch.currency,
            debtor=BankAccount.of(debtor),
            payments=payments,
        )
    )
    return f"{batch_id}.pain.001.xml", content


def handed_over(session: Session, batch_id: str, name: str, content: bytes, actor: str, at: datetime) -> None:
    """Record that the bank has the file. Running it again with the same bytes changes nothing.

    Raises:
        Conflict: another file was handed over for this batch.
    """
    _batch(session, batch_id, lock=True)
    digest = hashlib.sha256(content).digest()
    known = session.get(PayoutFile, batch_id)
    if known is not None:
        if known.sha256 != digest:
            raise Conflict(f"another file was handed over for batch {batch_id}: compare {known.name}")
        return
    session.add(PayoutFile(batch_id=batch_id, name=name, sha256=digest))
    for attempt in _attempts(session, batch_id):
        _payout_event(session, attempt.payout_id, attempt.attempt_id, "submitted", actor, at)
    _batch_event(session, batch_id, "submitted", actor)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the bank says became of one attempt."""

    attempt_id: str
    state: str
    """paid | rejected | returned"""
    at: datetime
    reason: str = ""


_FROM = {
    "paid": {"submitted", "accepted", "unknown"},
    "rejected": {"submitted", "accepted", "unknown"},
    "returned": {"paid"},
}


def record_outcomes(session: Session, outcomes: Iterable[Outcome], actor: str) -> list[tuple[Outcome, str]]:
    """Post what the bank reports; the same report twice changes nothing.

    Returns:
        Each outcome with `recorded`, `known`, or why it was not taken.
    """
    given = list(outcomes)
    rows = session.execute(
        select(PayoutAttempt, Payout)
        .join(Payout, Payout.payout_id == PayoutAttempt.payout_id)
        .where(PayoutAttempt.attempt_id.in_([outcome.attempt_id for outcome in given]))
        .with_for_update(of=Payout)
        .order_by(Payout.payout_id)
    ).all()
    attempts = {attempt.attempt_id: (attempt, payout) for attempt, payout in rows}
    states = _payout_states(session, [payout.payout_id for _, payout in rows])
    result, entries, batches = [], [], set()
    for outcome in given:
        if outcome.state not in _FROM:
            raise Invalid(f"{outcome.state} is not an outcome; a bank reports paid, rejected or returned")
        if outcome.attempt_id not in attempts:
            result.append((outcome, "no such attempt"))
            continue
        attempt, payout = attempts[outcome.attempt_id]
        history = states[payout.payout_id]
        if outcome.state in history:
            result.append((outcome, "known"))
            continue
        if history[-1] not in _FROM[outcome.state]:
            result.append((outcome, f"a payout that is {history[-1]} cannot become {outcome.state}"))
            continue
        book = posting.PAYOUT_OUTCOMES[outcome.state]
        entries.extend(
            book(
                attempt.attempt_id,
                payout.payee_id,
                payout.currency,
                attempt.amount_micros,
                booked_at=outcome.at,
                actor=actor,
            )
        )
        _payout_event(
            session,
            payout.payout_id,
            attempt.attempt_id,
            outcome.state,
            actor,
            outcome.at,
            {"reason": outcome.reason},
        )
        history.append(outcome.state)
        batches.add(payout.batch_id)
        result.append((outcome, "recorded"))
    post(session, entries)
    session.flush()
    for batch_id in sorted(batches):
        _settle(session, batch_id, actor)
    return result


def _settle(session: Session, batch_id: str, actor: str) -> None:
    """Derive the batch's state from its payouts'."""
    paid = select(PayoutAttempt.payout_id).join(Payout, Payout.payout_id == PayoutAttempt.payout_id)
    ids = list(session.scalars(paid.where(Payout.batch_id == batch_id)))
    latest = [states[-1] for states in _payout_states(session, ids).values()]
    finished = [state in ("paid", "rejected", "returned") for state in latest]
    state = "settled" if all(finished) else "partially_settled"
    if batch_state(session, batch_id) not in (state, "settled"):
        _batch_event(session, batch_id, state, actor)


def batch_state(session: Session, batch_id: str) -> str:
    """A batch's state: its newest event's; a draft that somebody has approved is approved."""
    state = session.scalar(
        select(BatchEvent.state)
        .where(BatchEvent.batch_id == batch_id)
        .order_by(BatchEvent.id.desc())
        .limit(1)
    )
    if state != "draft":
        return state or "draft"
    approved = session.scalar(
        select(Approval.id)
        .join(PayoutBatch, (PayoutBatch.batch_id == Approval.subject))
        .where(
            Approval.kind == "payout_batch",
            Approval.subject == batch_id,
            Approval.content_sha256 == PayoutBatch.content_sha256,
        )
    )
    return "draft" if approved is None else "approved"


@dataclass(frozen=True, slots=True)
class PayoutRow:
    """One payee of a batch, for tables."""

    payee_id: str
    balance: int
    amount: int
    decision: str
    state: str
    attempt_id: str | None


def batch_rows(session: Session, batch_id: str) -> list[PayoutRow]:
    """Everybody in a batch with the newest state, by payee."""
    _batch(session, batch_id)
    rows = session.execute(
        select(Payout, PayoutAttempt.attempt_id)
        .outerjoin(PayoutAttempt, PayoutAttempt.payout_id == Payout.payout_id)
        .where(Payout.batch_id == batch_id)
        .order_by(Payout.payee_id)
    ).all()
    states = _payout_states(session, [payout.payout_id for payout, _ in rows])
    return [
        PayoutRow(
            payout.payee_id,
            payout.balance_micros,
            payout.amount_micros,
            payout.decision,
            states[payout.payout_id][-1],
            attempt_id,
        )
        for payout, attempt_id in rows
    ]


def batches(session: Session) -> list[PayoutBatch]:
    """Every batch, newest first."""
    return list(session.scalars(select(PayoutBatch).order_by(PayoutBatch.recorded_at.desc())))


def _batch(session: Session, batch_id: str, *, lock: bool = False) -> PayoutBatch:
    if lock:
        # An advisory lock, because a batch is append-only and nobody may update (or lock) its row.
        session.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended('payout:' || :id, 0))"), {"id": batch_id}
        )
    batch = session.get(PayoutBatch, batch_id)
    if batch is None:
        raise NotFound(f"no payout batch {batch_id}; `royalty payout list` shows what there is")
    return batch


def _content_digest(currency: str, execution_date: date, decisions: Sequence[Decision]) -> bytes:
    content: dict[str, Any] = {
        "currency": currency,
        "execution_date": execution_date.isoformat(),
        "payouts": [
            {
                "payee": decision.payee_id,
                "amount": to_decimal(decision.amount),
                "decision": decision.decision,
                "party_version": decision.party_version,
            }
            for decision in decisions
        ],
    }
    return hashlib.sha256(rfc8785.dumps(content)).digest()


def _recomputed_digest(session: Session, batch: PayoutBatch) -> bytes:
    decisions = [
        Decision(row.payee_id, row.balance_micros, row.amount_micros, row.decision, row.party_version)
        for row in session.scalars(select(Payout).where(Payout.batch_id == batch.batch_id))
    ]
    decisions.sort(key=lambda decision: decision.payee_id)
    return _content_digest(batch.currency, batch.execution_date, decisions)


def _attempts(session: Session, batch_id: str) -> list[PayoutAttempt]:
    statement = (
        select(PayoutAttempt)
        .join(Payout, Payout.payout_id == PayoutAttempt.payout_id)
        .where(Payout.batch_id == batch_id)
        .order_by(Payout.payee_id)
    )
    return list(session.scalars(statement))


def _payout_states(session: Session, payout_ids: Sequence[str]) -> dict[str, list[str]]:
    rows = session.execute(
        select(PayoutEvent.payout_id, PayoutEvent.state)
        .where(PayoutEvent.payout_id.in_(payout_ids))
        .order_by(PayoutEvent.id)
    ).all()
    states: dict[str, list[str]] = {payout_id: [] for payout_id in payout_ids}
    for payout_id, state in rows:
        states[payout_id].append(state)
    return states


def _party_versions(session: Session, payouts: Iterable[Payout]) -> dict[str, Mapping[str, object]]:
    """Bank details as they were when the batch was made: what was approved is what is paid to."""
    wanted = {payout.payee_id: payout.party_version for payout in payouts if payout.party_version is not None}
    rows = session.scalars(select(PartyVersion).where(PartyVersion.payee_id.in_(wanted)))
    return {row.payee_id: row.details for row in rows if wanted[row.payee_id] == row.version}


def _batch_event(session: Session, batch_id: str, state: str, actor: str) -> None:
    session.add(BatchEvent(batch_id=batch_id, state=state, actor=actor))
    session.flush()


def _payout_event(
    session: Session,
    payout_id: str,
    attempt_id: str | None,
    state: str,
    actor: str,
    at: datetime,
    detail: Mapping[str, str] | None = None,
) -> None:
    session.add(
        PayoutEvent(
            payout_id=payout_id,
            attempt_id=attempt_id,
            state=state,
            actor=actor,
            occurred_at=at,
            detail=dict(detail or {}),
        )
    )
