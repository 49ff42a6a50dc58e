"""What an auditor asks of the ledger."""

from collections.abc import Sequence

from alembic import op

from database.migrate import run_sql_file

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

VIEWS = (
    "control_totals",
    "cut_off",
    "hold_changes",
    "journal_activity",
    "journal_entry_tests",
    "log_gaps",
    "log_totals",
    "payables_control",
    "payout_bank",
    "payout_faults",
    "payout_journals",
    "postings",
    "powers",
    "row_security",
    "seal_faults",
)


def upgrade() -> None:
    run_sql_file(op.get_bind(), "settlement/audit/sql/0010_auditors_room.sql")


def downgrade() -> None:
    # What it says of older views may stay: it is true of them.
    op.execute(f"DROP VIEW {', '.join(f'audit.{name}' for name in VIEWS)}")
