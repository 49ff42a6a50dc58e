"""Posting straight into journals and postings."""

from collections.abc import Sequence

from alembic import op

from database.migrate import run_sql_file

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    run_sql_file(op.get_bind(), "settlement/ledger/sql/0009_posting.sql")


def downgrade() -> None:
    pass
