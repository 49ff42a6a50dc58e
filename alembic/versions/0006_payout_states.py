"""Payout batches, payouts and attempts go their way in one order only."""

from collections.abc import Sequence

from alembic import op

from database.migrate import run_sql_file

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    run_sql_file(op.get_bind(), "settlement/sql/0006_payout_states.sql")


def downgrade() -> None:
    op.execute("""
        DROP TRIGGER payout_state ON settlement.payout_event;
        DROP TRIGGER attempt_of_ready_payout ON settlement.payout_attempt;
        DROP TRIGGER batch_approval_applies ON settlement.approval;
        DROP TRIGGER batch_state ON settlement.batch_event;
        DROP TRIGGER payout_joins_batch ON settlement.payout;
        DROP FUNCTION guard.check_payout_event();
        DROP FUNCTION guard.check_payout_attempt();
        DROP FUNCTION guard.apply_batch_approval();
        DROP FUNCTION guard.check_batch_event();
        DROP FUNCTION guard.check_payout();
    """)
