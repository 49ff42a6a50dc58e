"""Issued statements. Append-only; the body's bytes are kept as issued."""

from sqlalchemy import CHAR, CheckConstraint, ForeignKey, Index, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, defer, mapped_column

from database.base import Base, Key, RecordedAt
from database.errors import NotFound
from settlement.ledger.models import Journal
from settlement.payees import Payee
from settlement.periods.models import Period
from settlement.statements.body import MOVEMENTS


class Statement(Base):
    """What one payee earned in one period and currency: issued once, numbered without gaps."""

    __tablename__ = "statement"
    __table_args__ = (
        UniqueConstraint("payee_id", "currency", "period_id"),
        CheckConstraint(f"opening + {' + '.join(MOVEMENTS)} = closing", name="summary_adds_up"),
        CheckConstraint(
            "payable + held + below_minimum + below_unit = greatest(closing, 0)", name="closing_is_explained"
        ),
        CheckConstraint("octet_length(sha256) = 32", name="sha256_length"),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    statement_id: Mapped[str] = mapped_column(unique=True)
    """`<period>/<payee>/<currency>`: derives from the thing."""
    number: Mapped[int] = mapped_column(unique=True)
    """Gapless, given at issue."""
    period_id: Mapped[str] = mapped_column(ForeignKey(Period.period_id))
    payee_id: Mapped[str] = mapped_column(ForeignKey(Payee.payee_id))
    currency: Mapped[str] = mapped_column(CHAR(3))
    journal_id: Mapped[int | None] = mapped_column(ForeignKey(Journal.id), unique=True)
    """The journal that posts what this statement decides; None where it decides nothing."""
    opening: Mapped[int]
    royalties: Mapped[int]
    late: Mapped[int]
    adjustments: Mapped[int]
    refunds: Mapped[int]
    reserves: Mapped[int]
    recoupment: Mapped[int]
    tax: Mapped[int]
    claims: Mapped[int]
    fx: Mapped[int]
    payments: Mapped[int]
    closing: Mapped[int]
    payable: Mapped[int]
    held: Mapped[int]
    below_minimum: Mapped[int]
    below_unit: Mapped[int]
    body: Mapped[str]
    """Canonical JSON (RFC 8785)."""
    sha256: Mapped[bytes] = mapped_column(unique=True)
    """SHA-256 of the body: the statement's identity and ETag."""
    recorded_at: Mapped[RecordedAt]


class StatementColumn(Base):
    """A statement's column in another currency than it is paid out in: summed, converted once, closed at 0."""

    __tablename__ = "statement_column"
    __table_args__ = (
        CheckConstraint(f"opening + {' + '.join(MOVEMENTS)} = closing", name="summary_adds_up"),
        CheckConstraint("closing = 0 AND recoupment = 0", name="closes_at_zero"),
        Index(None, "statement_id"),
        {"schema": "settlement"},
    )

    payee_id: Mapped[str] = mapped_column(primary_key=True)
    period_id: Mapped[str] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(CHAR(3), primary_key=True)
    statement_id: Mapped[str] = mapped_column(
        ForeignKey(Statement.statement_id, deferrable=True, initially="DEFERRED")
    )
    opening: Mapped[int]
    """0, but where the last statement of before there were columns closed with a balance in this currency."""
    royalties: Mapped[int]
    late: Mapped[int]
    adjustments: Mapped[int]
    refunds: Mapped[int]
    reserves: Mapped[int]
    recoupment: Mapped[int]
    tax: Mapped[int]
    claims: Mapped[int]
    fx: Mapped[int]
    payments: Mapped[int]
    closing: Mapped[int]


def find_statement(session: Session, statement_id: str) -> Statement:
    """An issued statement by its id, `<period>/<payee>/<currency>`.

    Raises:
        NotFound: there is none, or the session's user may not see it.
    """
    found = session.scalar(select(Statement).where(Statement.statement_id == statement_id))
    if found is None:
        raise NotFound(
            f"there is no statement {statement_id}: write <period>/<payee>/<currency>, for example 2026-10/pay-1/EUR"
        )
    return found


def issued_statements(
    session: Session, *, period_id: str | None = None, payee_id: str | None = None
) -> list[Statement]:
    """Issued statements by number, without their bodies, which load on demand; all, or a period's or a payee's."""
    query = select(Statement).options(defer(Statement.body)).order_by(Statement.number)
    if period_id is not None:
        query = query.where(Statement.period_id == period_id)
    if payee_id is not None:
        query = query.where(Statement.payee_id == payee_id)
    return list(session.scalars(query))
