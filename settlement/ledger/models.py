"""Accounts, journals and postings. What must never be false the database enforces (`sql/0001_ledger_guard.sql`)."""

from datetime import date, datetime

from sqlalchemy import (
    CHAR,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    UniqueConstraint,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from database.base import Base, Key, RecordedAt


class Account(Base):
    """One account in one currency. Closed, never deleted."""

    __tablename__ = "account"
    __table_args__ = (
        CheckConstraint("class IN ('asset', 'liability', 'equity', 'income', 'expense')", name="class_known"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_iso"),
        # The code ends in its currency, so that one name can exist in several and a report cannot mix them.
        CheckConstraint("code ~ (':' || currency || '$')", name="code_ends_in_currency"),
        # Codes, kinds and keys are fields of a journal's canonical text, which tabs and newlines separate.
        CheckConstraint(r"code !~ '[\x01-\x1f\x7f]'", name="code_without_control_characters"),
        # Target of the posting's foreign key: a posting's currency is its account's.
        UniqueConstraint("id", "currency"),
        {"schema": "ledger"},
    )

    id: Mapped[Key]
    code: Mapped[str] = mapped_column(unique=True)
    """`royalties_payable:<payee>:<currency>`."""
    account_class: Mapped[str] = mapped_column("class")
    currency: Mapped[str] = mapped_column(CHAR(3))
    recorded_at: Mapped[RecordedAt]


class Journal(Base):
    """One balanced entry. Never changed; a correction is a reversal and the right one."""

    __tablename__ = "journal"
    __table_args__ = (
        CheckConstraint("lines >= 2", name="two_lines_or_more"),
        CheckConstraint("key <> ''", name="key_not_empty"),
        CheckConstraint(r"(kind || key) !~ '[\x01-\x1f\x7f]'", name="without_control_characters"),
        # Not infinite, and nothing that other languages' dates cannot hold.
        CheckConstraint(
            "booked_at >= '1970-01-01+00' AND booked_at < '10000-01-01+00'"
            " AND value_date >= '1970-01-01' AND value_date < '10000-01-01'",
            name="dates_in_range",
        ),
        CheckConstraint("octet_length(content_sha256) = 32", name="content_sha256_length"),
        CheckConstraint("reverses <> id", name="reverses_another"),
        # Target of the posting's foreign key: see Posting.
        UniqueConstraint("id", "lines", "booked_at"),
        # BRIN, because journals come about in the order of time; and a btree would be taken for the foreign key check
        # of postings, which then reads every journal of a period's last instant for each of their lines.
        Index(None, "booked_at", postgresql_using="brin"),
        {"schema": "ledger"},
    )

    id: Mapped[Key]
    kind: Mapped[str]
    key: Mapped[str] = mapped_column(unique=True)
    """Idempotency key, permanent: the thing and the event."""
    booked_at: Mapped[datetime]
    """Booking date: decides the period."""
    value_date: Mapped[date]
    lines: Mapped[int] = mapped_column(Integer)
    content_sha256: Mapped[bytes]
    """SHA-256 of kind, key, dates, lines and reversal (`guard.journal_text`): another under the same key is refused."""
    reverses: Mapped[int | None] = mapped_column(ForeignKey("ledger.journal.id"), unique=True)
    actor: Mapped[str]
    """The authenticated person or process that asked for it."""
    approved_by: Mapped[str | None]
    created_by: Mapped[str] = mapped_column(server_default=func.session_user())
    """The database login; no role may set it."""
    recorded_at: Mapped[RecordedAt]


class Posting(Base):
    """One line of a journal: debit positive, credit negative, in micros."""

    __tablename__ = "posting"
    __table_args__ = (
        # With the primary key (journal, line), `line BETWEEN 1 AND lines` and the journal's declared number of lines, a
        # journal whose check has run has no free line number left: nothing can join it, in any transaction.
        ForeignKeyConstraint(
            ["journal_id", "lines", "booked_at"],
            ["ledger.journal.id", "ledger.journal.lines", "ledger.journal.booked_at"],
        ),
        ForeignKeyConstraint(["account_id", "currency"], ["ledger.account.id", "ledger.account.currency"]),
        CheckConstraint("line BETWEEN 1 AND lines", name="line_in_journal"),
        CheckConstraint("amount <> 0", name="amount_not_zero"),
        # The one BIGINT without an opposite: its reversal could not be posted.
        CheckConstraint("amount > '-9223372036854775808'", name="amount_reversible"),
        # Balance now, at a date, and the account's statement: one index each.
        Index("posting_account_idx", "account_id", "booked_at", "journal_id", postgresql_include=["amount"]),
        {"schema": "ledger"},
    )

    journal_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    line: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    lines: Mapped[int] = mapped_column(Integer)
    booked_at: Mapped[datetime]
    account_id: Mapped[int]
    amount: Mapped[int]
    currency: Mapped[str] = mapped_column(CHAR(3))


class Seal(Base):
    """Everything booked before `sealed_before` is final: no journal may be booked there any more."""

    __tablename__ = "seal"
    __table_args__ = ({"schema": "ledger"},)

    name: Mapped[str] = mapped_column(primary_key=True)
    """What was sealed, for people: a period's name."""
    sealed_before: Mapped[datetime] = mapped_column(unique=True)
    actor: Mapped[str]
    recorded_at: Mapped[RecordedAt]
