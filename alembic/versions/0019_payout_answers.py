"""Answers of banks and providers, looked at again: events checked by the statement, charges, corrections."""

from collections.abc import Sequence

from alembic import op

from database.migrate import driver_of, earlier_definition, run_sql_file

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    run_sql_file(op.get_bind(), "settlement/sql/0019_payout_answers.sql")


def downgrade() -> None:
    execute = driver_of(op.get_bind()).execute
    execute("SET ROLE audit_owner")
    execute(
        earlier_definition("settlement/audit/sql/0010_auditors_room.sql", "CREATE VIEW audit.payout_journals")
    )
    execute(
        earlier_definition("settlement/audit/sql/0007_audit_views.sql", "CREATE VIEW audit.payout_clearing")
    )
    execute(
        earlier_definition(
            "settlement/audit/sql/0018_money_views.sql", "CREATE OR REPLACE VIEW audit.approvals"
        )
    )
    execute("RESET ROLE")
    for name in ("check_payout_attempt", "check_payout_event", "check_batch_event"):
        execute(
            earlier_definition(
                "settlement/sql/0006_payout_states.sql", f"CREATE FUNCTION guard.{name}", "$$;"
            )
        )
    execute("""
        DROP VIEW audit.batch_progress_faults, audit.payout_corrections, audit.bank_charges, audit.bank_account_faults;
        DROP TABLE settlement.payout_correction, settlement.batch_progress;
        DO $$ BEGIN
            EXECUTE replace(pg_get_functiondef('guard.check_account()'::regprocedure),
                            ' (''bank_charges'', ''expense''),', '');
        END $$;
        ALTER TABLE settlement.approval DROP CONSTRAINT approval_kind_known,
            ADD CONSTRAINT approval_kind_known CHECK (kind IN ('period', 'payout_batch', 'advance')) NOT VALID;
        ALTER TABLE settlement.bank_entry DROP CONSTRAINT bank_entry_says_known,
            ADD CONSTRAINT bank_entry_says_known CHECK (says IN
                ('noted', 'unknown', 'accepted', 'rejected', 'paid', 'returned', 'mismatch', 'unclear')) NOT VALID;
        ALTER TABLE settlement.payout_attempt ADD CONSTRAINT payout_attempt_payout_id_fkey
            FOREIGN KEY (payout_id) REFERENCES settlement.payout (payout_id);
        ALTER TABLE settlement.payout_event
            ADD CONSTRAINT payout_event_payout_id_fkey FOREIGN KEY (payout_id) REFERENCES settlement.payout (payout_id),
            ADD CONSTRAINT payout_event_attempt_id_fkey
                FOREIGN KEY (attempt_id) REFERENCES settlement.payout_attempt (attempt_id);
    """)
