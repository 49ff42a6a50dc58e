"""The ledger's log, seals with closing balances, checkpoints."""

from collections.abc import Sequence

from alembic import op

from database.migrate import run_sql_file

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    run_sql_file(op.get_bind(), "settlement/ledger/sql/0008_ledger_log.sql")


def downgrade() -> None:
    pass
