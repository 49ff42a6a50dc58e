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
    op.execute("""
        DO $$
        DECLARE
            name text;
        BEGIN
            FOR name IN SELECT relname FROM pg_class
                WHERE relnamespace = 'audit'::regnamespace AND relkind = 'v' AND starts_with(relname, 'frozen_') LOOP
                EXECUTE format('DROP VIEW audit.%I', name);
            END LOOP;
        END
        $$;
        DROP FUNCTION settlement.keep_terms();
        SET ROLE audit_owner;
        DROP VIEW audit.record_account, audit.record_journal, audit.record_posting, audit.record_seal,
            audit.record_closing_balance, audit.record_statement, audit.record_checkpoint, audit.log, audit.log_nodes,
            audit.checkpoints, audit.closing_balances, audit.seals;
        CREATE VIEW audit.seals AS SELECT name, sealed_before, actor, recorded_at FROM ledger.seal;
        GRANT SELECT ON audit.seals TO auditor;
        REVOKE USAGE ON SCHEMA audit FROM settlement, payer;
        RESET ROLE;
        DROP TRIGGER seals_follow_each_other ON ledger.seal;
        DROP FUNCTION guard.check_seal();
        DROP FUNCTION guard.write_closing_balances(ledger.seal);
        DROP TABLE ledger.closing_balance, ledger.log_node, ledger.log_leaf, ledger.checkpoint;
        ALTER TABLE ledger.seal DROP COLUMN log_size, DROP COLUMN log_root,
            DROP CONSTRAINT seal_name_loggable, DROP CONSTRAINT seal_in_range;
        ALTER TABLE ledger.journal DROP CONSTRAINT journal_key_loggable;
        ALTER TABLE ledger.account DROP CONSTRAINT account_code_loggable;
        DROP FUNCTION guard.check_closing_balances();
        DROP FUNCTION guard.check_checkpoint();
        DROP FUNCTION guard.check_log();
        DROP FUNCTION guard.lock_log();
        DROP FUNCTION guard.log_root(bigint);
        DROP FUNCTION guard.level_above(bytea[]);
    """)
