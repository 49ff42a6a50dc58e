"""No change of the schema but by a migration."""

from collections.abc import Sequence

from alembic import op

from database.migrate import run_sql_file

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    run_sql_file(op.get_bind(), "database/sql/0011_ddl_fence.sql")


def downgrade() -> None:
    pass
