"""Payouts by a provider's API: which batches go there, what the provider reports, and what became of each report."""

from collections.abc import Sequence

from alembic import op

from database.migrate import run_sql_file

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    run_sql_file(op.get_bind(), "settlement/sql/0013_payout_provider.sql")


def downgrade() -> None:
    op.execute("""
        DROP VIEW audit.provider_events;
        DROP TRIGGER file_of_file_batch ON settlement.payout_file;
        DROP FUNCTION guard.check_payout_file();
        DROP TABLE settlement.provider_match, settlement.provider_event, settlement.provider_position,
            settlement.provider_batch;
        DROP FUNCTION guard.check_provider_batch();
    """)
