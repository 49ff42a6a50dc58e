"""What the authorities are due of the tax that was withheld."""

from collections.abc import Sequence

from alembic import op

from database.migrate import run_sql_file

revision: str = "0031"
down_revision: str | None = "0028"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    run_sql_file(op.get_bind(), "settlement/audit/sql/0031_tax_due.sql")


def downgrade() -> None:
    op.execute("DROP VIEW audit.tax_due")
