"""Disputes: what a payee objects to in her own statement, and what she was answered.

A dispute moves nothing and holds nothing up; an operator who wants to wait with a payout opens a hold beside it. It is
about a statement, or one line or sale of it, and is answered once, with a reason that the payee reads. An accepted one
may name the correction that came of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, cast
from zoneinfo import ZoneInfo

from sqlalchemy import CheckConstraint, ForeignKey, Index, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from database.base import Base, Key, RecordedAt
from database.errors import Conflict, Invalid, NotFound, Refused
from settlement.corrections.models import Correction
from settlement.payees import Payee
from settlement.periods.models import Period
from settlement.statements.body import parse
from settlement.statements.models import Statement, find_statement

MAX_WORDS = 4000
"""Characters of a payee's own words."""

Outcome = Literal["accepted", "rejected"]


class Dispute(Base):
    """What a payee objects to. Her words lie apart, in `DisputeWords`."""

    __tablename__ = "dispute"
    __table_args__ = (
        CheckConstraint("about IN ('statement', 'line', 'sale')", name="about_known"),
        CheckConstraint("(about = 'statement') = (subject IS NULL)", name="subject_if_part"),
        CheckConstraint("split_part(statement_id, '/', 2) = payee_id", name="of_own_statement"),
        Index(None, "payee_id"),
        Index(None, "statement_id"),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    payee_id: Mapped[str] = mapped_column(ForeignKey(Payee.payee_id))
    statement_id: Mapped[str] = mapped_column(ForeignKey(Statement.statement_id))
    about: Mapped[str]
    """statement, line or sale."""
    subject: Mapped[str | None]
    """The line's or sale's id as the statement writes it; None: the whole statement."""
    actor: Mapped[str | None]
    """The operator who opened it for the payee; None: she did, in the portal."""
    recorded_at: Mapped[RecordedAt]


class DisputeWords(Base):
    """What the payee says is wrong: hers, and erased with her."""

    __tablename__ = "dispute_words"
    __table_args__ = (
        CheckConstraint(f"btrim(words) <> '' AND length(words) <= {MAX_WORDS}", name="length"),
        {"schema": "party"},
    )

    dispute_id: Mapped[int] = mapped_column(ForeignKey(Dispute.id), primary_key=True, autoincrement=False)
    words: Mapped[str]


class DisputeAnswer(Base):
    """What came of a dispute."""

    __tablename__ = "dispute_answer"
    __table_args__ = (
        CheckConstraint("outcome IN ('accepted', 'rejected')", name="outcome_known"),
        CheckConstraint("btrim(reason) <> ''", name="said_why"),
        CheckConstraint("correction_id IS NULL OR outcome = 'accepted'", name="corrects_if_accepted"),
        {"schema": "settlement"},
    )

    dispute_id: Mapped[int] = mapped_column(ForeignKey(Dispute.id), primary_key=True, autoincrement=False)
    outcome: Mapped[str]
    reason: Mapped[str]
    """Read by the payee."""
    correction_id: Mapped[str | None] = mapped_column(ForeignKey(Correction.correction_id))
    """The correction that an accepted one led to; None: nothing is to be corrected, or not yet."""
    actor: Mapped[str]
    recorded_at: Mapped[RecordedAt]


@dataclass(frozen=True, slots=True)
class DisputeView:
    """A dispute from its opening to its answer."""

    number: int
    payee_id: str
    statement_id: str
    about: str
    subject: str | None
    words: str | None
    """None: erased."""
    opened_at: datetime
    outcome: str | None
    """None: it is open."""
    reason: str | None
    correction_id: str | None
    answered_at: datetime | None


def open_dispute(
    session: Session,
    statement_id: str,
    words: str,
    *,
    line: str | None = None,
    sale: str | None = None,
    actor: str | None = None,
    now: datetime | None = None,
) -> int:
    """Open a dispute about a statement, or a line or sale of it; returns its number. The same again is the same one.

    Args:
        session: role `settlement`.
        statement_id: `<period>/<payee>/<currency>`; who asks may read it, which the caller has made sure of.
        words: what is wrong, in the payee's own words.
        line: a line's id, as the statement writes it.
        sale: a sale's id; not both.
        actor: the operator who opens it for the payee; None: the payee herself, until the day that the statement says.
        now: instead of the clock.

    Raises:
        NotFound: no such statement, or it has no such line or sale.
        Invalid: no words or too many, or a line and a sale.
        Refused: the time to dispute is over.
        Conflict: another dispute about the same is open.
    """
    if not words.strip() or len(words) > MAX_WORDS or "\x00" in words:
        raise Invalid(f"say what is wrong, in at most {MAX_WORDS} characters")
    if line is not None and sale is not None:
        raise Invalid("a dispute is about a line or a sale, not both")
    statement = find_statement(session, statement_id)
    about, subject = (
        ("line", line) if line is not None else ("sale", sale) if sale is not None else ("statement", None)
    )
    if subject is not None and not _has(session, statement_id, about, subject):
        raise NotFound(f"statement {statement_id} has no {about} {subject[:200]}; its lines say what it has")
    until = parse(statement.body.encode())["dispute"]["until"]
    if actor is None and until is not None:
        zone = session.scalar(select(Period.zone).where(Period.period_id == statement.period_id))
        if (now or datetime.now(UTC)).astimezone(ZoneInfo(str(zone))).date().isoformat() > until:
            raise Refused(f"statement {statement_id} could be disputed until {until}: write to the platform")
    # One at a time, as the table's trigger has it: two that are the same would both be new.
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('settlement.dispute', 0))"))
    for number, said in session.execute(
        select(Dispute.id, DisputeWords.words)
        .outerjoin(DisputeWords, DisputeWords.dispute_id == Dispute.id)
        .where(
            Dispute.statement_id == statement_id,
            Dispute.about == about,
            Dispute.subject.is_not_distinct_from(subject),
            ~select(DisputeAnswer).where(DisputeAnswer.dispute_id == Dispute.id).exists(),
        )
    ):
        if said == words:
            return int(number)
        raise Conflict(f"dispute {number} about this is open: wait for its answer")
    dispute = Dispute(
        payee_id=statement.payee_id, statement_id=statement_id, about=about, subject=subject, actor=actor
    )
    session.add(dispute)
    session.flush()
    session.add(DisputeWords(dispute_id=dispute.id, words=words))
    session.flush()
    return dispute.id


def answer_dispute(
    session: Session,
    number: int,
    outcome: Outcome,
    reason: str,
    *,
    actor: str,
    correction_id: str | None = None,
) -> None:
    """Answer a dispute, once.

    Args:
        session: role `settlement`.
        number: which one.
        outcome: accepted or rejected.
        reason: why; the payee reads it.
        actor: who answers.
        correction_id: the correction that an accepted one led to.

    Raises:
        NotFound: no such dispute, or no such correction.
        Invalid: no reason, or a correction of what was rejected.
        Conflict: it is answered already.
    """
    find_dispute(session, number)
    if not reason.strip():
        raise Invalid("say why: the payee reads it")
    if correction_id is not None and outcome != "accepted":
        raise Invalid("a dispute that is rejected leads to no correction")
    if correction_id is not None and session.get(Correction, correction_id) is None:
        raise NotFound(
            f"no correction {correction_id} is proposed; `royalty correction list` shows what there is"
        )
    before = session.get(DisputeAnswer, number)
    if before is not None:
        raise Conflict(f"dispute {number} was {before.outcome} already, by {before.actor}")
    session.add(
        DisputeAnswer(
            dispute_id=number, outcome=outcome, reason=reason, correction_id=correction_id, actor=actor
        )
    )
    session.flush()


def disputes(
    session: Session, *, before: int | None = None, limit: int = 200, only_open: bool = False
) -> list[DisputeView]:
    """Disputes that the session's role may see, newest first, at most ``limit`` with a number below ``before``."""
    rows = session.execute(text(_DISPUTES), {"before": before, "limit": limit, "only_open": only_open})
    return [DisputeView(**cast("Mapping[str, object]", row)) for row in rows.mappings()]  # type: ignore[arg-type]


def find_dispute(session: Session, number: int) -> DisputeView:
    """A dispute by its number.

    Raises:
        NotFound: there is none, or the session's user may not see it.
    """
    found = disputes(session, before=number + 1, limit=1)
    if not found or found[0].number != number:
        raise NotFound(f"there is no dispute {number}")
    return found[0]


def _has(session: Session, statement_id: str, column: str, subject: str) -> bool:
    # Of the payee's lines of that period: by their index.
    period, payee, _ = statement_id.split("/")
    query = f"""
        SELECT EXISTS (SELECT FROM settlement.statement_line
                       WHERE payee_id = :payee AND period = :period AND statement_id = :statement
                           AND {"line" if column == "line" else "sale"} = :subject)
    """  # noqa: S608  (one of two columns)
    return bool(
        session.scalar(
            text(query), {"payee": payee, "period": period, "statement": statement_id, "subject": subject}
        )
    )


# Columns that the role `portal` may read, and no other; its rows are the user's.
_DISPUTES = """
SELECT d.id AS number, d.payee_id, d.statement_id, d.about, d.subject, w.words, d.recorded_at AS opened_at, a.outcome,
       a.reason, a.correction_id, a.recorded_at AS answered_at
FROM settlement.dispute AS d
LEFT JOIN party.dispute_words AS w ON w.dispute_id = d.id
LEFT JOIN settlement.dispute_answer AS a ON a.dispute_id = d.id
WHERE (CAST(:before AS bigint) IS NULL OR d.id < :before) AND NOT (:only_open AND a.dispute_id IS NOT NULL)
ORDER BY d.id DESC LIMIT :limit
"""
