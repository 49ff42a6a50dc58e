"""Players other than names: owners of adapters."""

from collections.abc import Sequence

from alembic import op

from database.migrate import run_sql_file

revision: str = "0022"
down_revision: str | None = "0021"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    run_sql_file(op.get_bind(), "attribution/sql/0022_other_players.sql")


def downgrade() -> None:
    op.execute("""
        DROP VIEW audit.image_adapters;
        DROP TABLE attribution.image_adapter;
        DROP FUNCTION guard.check_image_part();
    """)
