"""Answers of banks and providers, looked at again: a payout's events are checked by the statement, not by the row."""

from collections.abc import Sequence
from pathlib import Path

from alembic import op
from sqlalchemy import text

from database.migrate import run_sql_file

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    run_sql_file(op.get_bind(), "settlement/sql/0019_payout_answers.sql")


def downgrade() -> None:
    op.execute("""
        DROP VIEW audit.bank_account_faults;
        DROP TABLE settlement.batch_progress;
        ALTER TABLE settlement.payout_attempt ADD CONSTRAINT payout_attempt_payout_id_fkey
            FOREIGN KEY (payout_id) REFERENCES settlement.payout (payout_id);
        ALTER TABLE settlement.payout_event
            ADD CONSTRAINT payout_event_payout_id_fkey FOREIGN KEY (payout_id) REFERENCES settlement.payout (payout_id),
            ADD CONSTRAINT payout_event_attempt_id_fkey
                FOREIGN KEY (attempt_id) REFERENCES settlement.payout_attempt (attempt_id);
    """)
    states = Path(__file__).parents[2].joinpath("settlement/sql/0006_payout_states.sql").read_text()
    for function in ("check_payout_attempt", "check_payout_event"):
        _, _, rest = states.partition(f"CREATE FUNCTION guard.{function}()")
        body, _, _ = rest.partition("ALTER FUNCTION")
        op.execute(text(f"CREATE OR REPLACE FUNCTION guard.{function}(){body}".replace(":", r"\:")))
