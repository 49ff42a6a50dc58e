"""Accounts, journals and postings. What must never be false the database enforces (`sql/0001_ledger_guard.sql`)."""

from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import (
    CHAR,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    SmallInteger,
    UniqueConstraint,
    func,
    text,
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
        # Short enough for the log's index, as keys and names of seals are: what cannot be logged would stop every seal.
        CheckConstraint("octet_length(code) <= 1000", name="code_loggable"),
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
        CheckConstraint("octet_length(key) <= 1000", name="key_loggable"),
        CheckConstraint(r"(kind || key) !~ '[\x01-\x1f\x7f]'", name="without_control_characters"),
        # Not infinite, and nothing that other languages' dates cannot hold.
        CheckConstraint(
            "booked_at >= '1970-01-01+00' AND booked_at < '10000-01-01+00'"
            " AND value_date >= '1970-01-01' AND value_date < '10000-01-01'",
            name="dates_in_range",
        ),
        CheckConstraint("octet_length(content_sha256) = 32", name="content_sha256_length"),
        CheckConstraint("reverses <> id", name="reverses_another"),
        # Journals come about in the order of time.
        Index(None, "booked_at", postgresql_using="brin"),
        # Reversed at most once. Hardly any journal reverses another: only those that do are in it.
        Index("journal_reverses_key", "reverses", unique=True, postgresql_where=text("reverses IS NOT NULL")),
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
    reverses: Mapped[int | None] = mapped_column(ForeignKey("ledger.journal.id"))
    actor: Mapped[str]
    """The authenticated person or process that asked for it."""
    approved_by: Mapped[str | None]
    created_by: Mapped[str] = mapped_column(server_default=func.session_user())
    """The database login; no role may set it."""
    recorded_at: Mapped[RecordedAt]


class Posting(Base):
    """One line of a journal: debit positive, credit negative, in micros.

    Refers to (journal_id, lines, booked_at) of its journal and (account_id, currency) of its account, which a trigger
    checks for a whole statement at once (`guard.check_postings`): foreign keys would ask twice for every line.
    """

    __tablename__ = "posting"
    __table_args__ = (
        # With the primary key (journal, line) and the journal's declared number of lines, a journal whose check has run
        # has no free line number left: nothing can join it, in any transaction.
        CheckConstraint("line BETWEEN 1 AND lines", name="line_in_journal"),
        CheckConstraint("amount <> 0", name="amount_not_zero"),
        # The one BIGINT without an opposite: its reversal could not be posted.
        CheckConstraint("amount > '-9223372036854775808'", name="amount_reversible"),
        # What was booked since a seal: postings come about in the order of time.
        Index(None, "booked_at", postgresql_using="brin"),
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
    __table_args__ = (
        CheckConstraint("(log_size IS NULL) = (log_root IS NULL)", name="head_whole"),
        CheckConstraint("octet_length(log_root) = 32", name="log_root_length"),
        CheckConstraint("log_size >= 0", name="log_size_not_negative"),
        CheckConstraint(r"name ~ '^[^\x01-\x1f\x7f]+$' AND octet_length(name) <= 1000", name="name_loggable"),
        CheckConstraint(
            "sealed_before >= '1970-01-01+00' AND sealed_before < '10000-01-01+00'", name="in_range"
        ),
        {"schema": "ledger"},
    )

    name: Mapped[str] = mapped_column(primary_key=True)
    """What was sealed, for people: a period's name."""
    sealed_before: Mapped[datetime] = mapped_column(unique=True)
    actor: Mapped[str]
    recorded_at: Mapped[RecordedAt]
    log_size: Mapped[int | None]
    """Leaves in the log just before the seal; None in seals older than the log."""
    log_root: Mapped[bytes | None]
    """Their root."""


class ClosingBalance(Base):
    """One account's trial balance over what a seal sealed, by booking date. Written by the seal (trigger)."""

    __tablename__ = "closing_balance"
    __table_args__ = (
        CheckConstraint("debits >= 0 AND credits <= 0", name="sides"),
        CheckConstraint("opening + debits + credits = closing", name="adds_up"),
        {"schema": "ledger"},
    )

    seal: Mapped[str] = mapped_column(ForeignKey(Seal.name), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey(Account.id), primary_key=True)
    # Sums of BIGINT: wider than one.
    opening: Mapped[Decimal] = mapped_column(Numeric(38, 0))
    debits: Mapped[Decimal] = mapped_column(Numeric(38, 0))
    credits: Mapped[Decimal] = mapped_column(Numeric(38, 0))
    closing: Mapped[Decimal] = mapped_column(Numeric(38, 0))


class LogLeaf(Base):
    """One leaf of the log: what record, and the SHA-256 of its bytes. Dense from 0 (trigger)."""

    __tablename__ = "log_leaf"
    __table_args__ = (
        CheckConstraint("index >= 0", name="index_not_negative"),
        CheckConstraint(r"(kind || reference) !~ '[\x01-\x1f\x7f]'", name="without_control_characters"),
        CheckConstraint("octet_length(sha256) = 32", name="sha256_length"),
        UniqueConstraint("kind", "reference"),
        {"schema": "ledger"},
    )

    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str]
    reference: Mapped[str]
    sha256: Mapped[bytes]
    recorded_at: Mapped[RecordedAt]


class LogNode(Base):
    """The root of a complete subtree of the log: leaves [position * 2^level, (position + 1) * 2^level)."""

    __tablename__ = "log_node"
    __table_args__ = (
        CheckConstraint("level IN (0, 8)", name="level_kept"),
        CheckConstraint("octet_length(hash) = 32", name="hash_length"),
        {"schema": "ledger"},
    )

    level: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    hash: Mapped[bytes]


class Checkpoint(Base):
    """A head of the log that was signed and has left the database."""

    __tablename__ = "checkpoint"
    __table_args__ = (
        CheckConstraint("size >= 0", name="size_not_negative"),
        CheckConstraint("octet_length(root) = 32", name="root_length"),
        CheckConstraint(
            r"starts_with(note, origin || E'\n' || size || E'\n' || encode(root, 'base64') || E'\n')",
            name="says_its_head",
        ),
        {"schema": "ledger"},
    )

    size: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    origin: Mapped[str]
    root: Mapped[bytes]
    note: Mapped[str]
    """A C2SP signed note."""
    actor: Mapped[str]
    created_by: Mapped[str] = mapped_column(server_default=func.session_user())
    recorded_at: Mapped[RecordedAt]
