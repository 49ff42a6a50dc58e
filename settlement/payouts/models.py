"""Holds, batches, payouts, attempts and their events. States are derived from appended events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    CHAR,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    UniqueConstraint,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Mapped, Session, mapped_column

from database.base import Base, Key, RecordedAt
from database.errors import NotFound
from settlement.payees import Payee


class Hold(Base):
    """A flag that stops a payee's payouts, never her accrual or statement."""

    __tablename__ = "hold"
    __table_args__ = (Index(None, "payee_id"), {"schema": "settlement"})

    id: Mapped[Key]
    payee_id: Mapped[str] = mapped_column(ForeignKey(Payee.payee_id))
    reason: Mapped[str]
    expected_until: Mapped[date | None]
    actor: Mapped[str]
    opened_at: Mapped[RecordedAt]


class HoldRelease(Base):
    """The end of a hold."""

    __tablename__ = "hold_release"
    __table_args__ = ({"schema": "settlement"},)

    hold_id: Mapped[int] = mapped_column(ForeignKey(Hold.id), primary_key=True)
    reason: Mapped[str]
    actor: Mapped[str]
    released_at: Mapped[RecordedAt]


class PayoutBatch(Base):
    """One payout run in one currency: whom it pays is fixed when it is made."""

    __tablename__ = "payout_batch"
    __table_args__ = ({"schema": "settlement"},)

    batch_id: Mapped[str] = mapped_column(primary_key=True)
    """`<currency>-<execution date>-<number>`."""
    currency: Mapped[str] = mapped_column(CHAR(3))
    execution_date: Mapped[date]
    debtor_id: Mapped[str] = mapped_column(ForeignKey(Payee.payee_id))
    """The platform as a party, whose account is debited, in this version of its details."""
    debtor_version: Mapped[int]
    content_sha256: Mapped[bytes]
    """Digest of everything above and of every payout in it: what the checker approves."""
    maker: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class Payout(Base):
    """One payee in one batch: what she is paid, or why not."""

    __tablename__ = "payout"
    __table_args__ = (
        UniqueConstraint("batch_id", "payee_id"),
        CheckConstraint(
            "decision IN ('pay', 'held', 'below_minimum', 'below_unit', 'no_bank_details', 'bad_bank_details',"
            " 'bank_details_cooling_off')",
            name="decision_known",
        ),
        CheckConstraint(
            "amount_micros BETWEEN 0 AND balance_micros AND (decision = 'pay') = (amount_micros > 0)",
            name="amount_if_paid",
        ),
        {"schema": "settlement"},
    )

    payout_id: Mapped[str] = mapped_column(primary_key=True)
    """`<batch>/<payee>`."""
    batch_id: Mapped[str] = mapped_column(ForeignKey(PayoutBatch.batch_id))
    payee_id: Mapped[str] = mapped_column(ForeignKey(Payee.payee_id))
    currency: Mapped[str] = mapped_column(CHAR(3))
    balance_micros: Mapped[int]
    amount_micros: Mapped[int]
    """Whole minor units, in micros; 0 where not paid."""
    decision: Mapped[str]
    party_version: Mapped[int | None]
    """Version of the bank details it goes to."""


class PayoutAttempt(Base):
    """One instruction to a bank, committed before the bank hears of it. Its id is the EndToEndId."""

    __tablename__ = "payout_attempt"
    __table_args__ = (
        UniqueConstraint("payout_id", "number"),
        CheckConstraint("length(attempt_id) <= 35", name="end_to_end_id_length"),
        CheckConstraint("file > 0", name="file_positive"),
        {"schema": "settlement"},
    )

    attempt_id: Mapped[str] = mapped_column(primary_key=True)
    payout_id: Mapped[str]
    """There is such a payout: the trigger says so, once for a statement, where a foreign key asks for every row."""
    number: Mapped[int] = mapped_column(Integer)
    amount_micros: Mapped[int]
    file: Mapped[int] = mapped_column(Integer, server_default="1")
    """Which of the batch's files carries it."""
    recorded_at: Mapped[RecordedAt]


class BatchEvent(Base):
    """What happened to a batch; its state is that of the newest event. The order of states is enforced (trigger)."""

    __tablename__ = "batch_event"
    __table_args__ = (
        CheckConstraint(
            "state IN ('draft', 'approved', 'submitting', 'submitted', 'partially_settled', 'settled', 'failed',"
            " 'cancelled')",
            name="state_known",
        ),
        # Two that happen at once cannot both come next.
        UniqueConstraint("batch_id", "number"),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    batch_id: Mapped[str] = mapped_column(ForeignKey(PayoutBatch.batch_id))
    number: Mapped[int] = mapped_column(Integer)
    """1, 2, 3 .. in the batch."""
    state: Mapped[str]
    actor: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class PayoutEvent(Base):
    """What happened to a payout; its state is that of the newest event. The order of states is enforced (trigger)."""

    __tablename__ = "payout_event"
    __table_args__ = (
        CheckConstraint(
            "state IN ('held', 'ready', 'reserved', 'submitted', 'accepted', 'paid', 'returned',"
            " 'rejected', 'unknown', 'cancelled')",
            name="state_known",
        ),
        # Two that happen at once cannot both come next.
        UniqueConstraint("payout_id", "number"),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    payout_id: Mapped[str]
    """As in `PayoutAttempt`: the trigger says that it and the attempt are there."""
    number: Mapped[int] = mapped_column(Integer)
    """1, 2, 3 .. in the payout."""
    attempt_id: Mapped[str | None]
    state: Mapped[str]
    detail: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    actor: Mapped[str]
    occurred_at: Mapped[datetime]
    recorded_at: Mapped[RecordedAt]


class BatchProgress(Base):
    """How far a batch is after what the bank has reported: written each time that it finishes some of its payouts.

    So that an answer for one payment of a hundred thousand does not count them all. The newest row is in force.
    """

    __tablename__ = "batch_progress"
    __table_args__ = (
        CheckConstraint("number > 0 AND waiting >= 0 AND paid >= 0 AND rejected >= 0", name="counts"),
        {"schema": "settlement"},
    )

    batch_id: Mapped[str] = mapped_column(ForeignKey(PayoutBatch.batch_id), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    """1, 2, 3 .. in the batch."""
    waiting: Mapped[int] = mapped_column(Integer)
    """Payouts that the bank has been told of and that are not finished."""
    paid: Mapped[int] = mapped_column(Integer)
    """Those whose money left, whether or not it came back since."""
    rejected: Mapped[int] = mapped_column(Integer)
    recorded_at: Mapped[RecordedAt]


class PayoutFile(Base):
    """A file handed to the bank, byte for byte; a batch has as many as the bank's limit of payments in one demands."""

    __tablename__ = "payout_file"
    __table_args__ = (
        CheckConstraint("number > 0", name="number_positive"),
        {"schema": "settlement"},
    )

    batch_id: Mapped[str] = mapped_column(ForeignKey(PayoutBatch.batch_id), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False, server_default="1")
    name: Mapped[str]
    sha256: Mapped[bytes]
    recorded_at: Mapped[RecordedAt]


def lock_payouts(session: Session, name: str) -> None:
    """One at a time until the transaction ends. Advisory: these rows are append-only, so nobody may lock them."""
    session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('payout:' || :name, 0))"), {"name": name}
    )


def keep_balances(session: Session, currency: str) -> None:
    """Nobody else pays of, claims or recoups out of balances in a currency until the transaction ends.

    Each looks at what there is and takes of it: at once, they would take the same money twice.
    """
    lock_payouts(session, f"balances {currency}")


def find_batch(session: Session, batch_id: str, *, lock: bool = False) -> PayoutBatch:
    """A batch by its id; ``lock``: nobody else moves it on until the transaction ends.

    Raises:
        NotFound: there is none.
    """
    if lock:
        lock_payouts(session, batch_id)
    batch = session.get(PayoutBatch, batch_id)
    if batch is None:
        raise NotFound(f"no payout batch {batch_id}; `royalty payout list` shows what there is")
    return batch


def batch_state(session: Session, batch_id: str) -> str:
    """A batch's state: its newest event's."""
    return session.scalars(
        select(BatchEvent.state)
        .where(BatchEvent.batch_id == batch_id)
        .order_by(BatchEvent.number.desc())
        .limit(1)
    ).one()


def batches(session: Session, currency: str | None = None) -> list[tuple[PayoutBatch, str]]:
    """Every batch with its state, newest first; of one currency, if named."""
    newest = (
        select(BatchEvent.batch_id, BatchEvent.state)
        .ext(distinct_on(BatchEvent.batch_id))
        .order_by(BatchEvent.batch_id, BatchEvent.number.desc())
        .subquery()
    )
    statement = (
        select(PayoutBatch, newest.c.state)
        .join(newest, newest.c.batch_id == PayoutBatch.batch_id)
        .order_by(PayoutBatch.recorded_at.desc())
    )
    if currency is not None:
        statement = statement.where(PayoutBatch.currency == currency)
    return [(batch, state) for batch, state in session.execute(statement)]


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
    find_batch(session, batch_id)
    rows = session.execute(
        select(
            Payout.payee_id,
            Payout.balance_micros,
            Payout.amount_micros,
            Payout.decision,
            PayoutEvent.state,
            PayoutAttempt.attempt_id,
        )
        .ext(distinct_on(Payout.payee_id.collate("C")))
        .join(PayoutEvent, PayoutEvent.payout_id == Payout.payout_id)
        .outerjoin(PayoutAttempt, PayoutAttempt.payout_id == Payout.payout_id)
        .where(Payout.batch_id == batch_id)
        .order_by(Payout.payee_id.collate("C"), PayoutEvent.number.desc())
    )
    return [PayoutRow(*row) for row in rows]


def newest_events(session: Session, payout_ids: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Number and state of the newest event of each of these payouts that has one."""
    rows = session.execute(
        text(
            """
            SELECT n.payout_id, e.number, e.state FROM unnest(CAST(:payouts AS text[])) AS n (payout_id)
            JOIN LATERAL (SELECT h.number, h.state FROM settlement.payout_event AS h
                          WHERE h.payout_id = n.payout_id ORDER BY h.number DESC LIMIT 1) AS e ON true
            """
        ),
        {"payouts": list(payout_ids)},
    )
    return {payout_id: (number, state) for payout_id, number, state in rows}


def record_batch_event(session: Session, batch_id: str, state: str, actor: str) -> None:
    """Append the batch's next event; the database refuses one that may not come next."""
    number = session.scalars(select(func.count()).where(BatchEvent.batch_id == batch_id)).one() + 1
    session.add(BatchEvent(batch_id=batch_id, number=number, state=state, actor=actor))
    session.flush()
