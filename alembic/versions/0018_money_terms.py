"""Several currencies, tax, reserves and advances at close."""

from collections.abc import Sequence

from alembic import op

from database.migrate import driver_of, earlier_definition, run_sql_file

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    connection = op.get_bind()
    run_sql_file(connection, "settlement/sql/0018_money_terms.sql")
    run_sql_file(connection, "settlement/audit/sql/0018_money_views.sql")


def downgrade() -> None:
    execute = driver_of(op.get_bind()).execute
    views = "settlement/audit/sql/0007_audit_views.sql"
    execute("SET ROLE royalty_owner")
    execute(
        earlier_definition(
            "settlement/sql/0017_terms.sql", "CREATE OR REPLACE VIEW settlement.statement_line"
        )
    )
    execute("SET ROLE audit_owner")
    execute("""
        DO $$ BEGIN
            EXECUTE 'CREATE OR REPLACE VIEW audit.statement_line AS '
                || pg_get_viewdef('settlement.statement_line'::regclass);
        END $$
    """)
    for name in ("statement_tie_out", "balance_chain", "approvals"):
        execute(earlier_definition(views, f"CREATE VIEW audit.{name} "))
    execute("""
        DROP VIEW audit.money_faults, audit.statement_columns, audit.exchange_rates, audit.tax_profile_changes,
            audit.reserve_term_changes, audit.conversions, audit.reserves, audit.reserve_uses, audit.tax_register,
            audit.advances, audit.recoupments, audit.frozen_fx_rate, audit.frozen_tax_profile_version,
            audit.frozen_reserve_version, audit.frozen_advance, audit.frozen_conversion, audit.frozen_reserve,
            audit.frozen_reserve_use, audit.frozen_tax_determination, audit.frozen_tax_reversal,
            audit.frozen_recoupment, audit.frozen_statement_column, audit.frozen_platform_version
    """)
    execute("RESET ROLE")
    execute(
        earlier_definition(
            "settlement/sql/0001_settlement_guard.sql", "CREATE FUNCTION guard.check_statements", "$$;"
        )
    )
    for name in ("check_key", "check_account"):
        execute(earlier_definition("database/sql/0011_ddl_fence.sql", f"CREATE FUNCTION guard.{name}", "$$;"))
    execute("""
        ALTER FUNCTION guard.check_statements() SECURITY DEFINER;
        DROP TABLE settlement.recoupment, settlement.tax_reversal, settlement.tax_determination, settlement.reserve_use,
            settlement.reserve, settlement.conversion, settlement.statement_column, settlement.advance,
            settlement.reserve_version, settlement.tax_profile_version, settlement.fx_rate;
        DROP FUNCTION guard.check_conversions(), guard.check_reserve_uses(), guard.check_recoupments(),
            guard.check_columns(), guard.is_release(jsonb, bigint), settlement.keep_money_terms();
        ALTER TABLE settlement.platform_version DROP COLUMN zero_statements;
        ALTER TABLE settlement.approval DROP CONSTRAINT approval_kind_known,
            ADD CONSTRAINT approval_kind_known CHECK (kind IN ('period', 'payout_batch')) NOT VALID;
        SET ROLE audit_owner;
        DO $$ BEGIN
            EXECUTE 'CREATE VIEW audit.frozen_platform_version AS SELECT p.period_id AS frozen_in,'
                ' t.id::text COLLATE "C" AS frozen_key, '
                || (SELECT string_agg(format('t.%I', attname), ', ' ORDER BY attnum) FROM pg_attribute
                    WHERE attrelid = 'settlement.platform_version'::regclass AND attnum > 0 AND NOT attisdropped)
                || ' FROM settlement.royalty_run AS p JOIN settlement.platform_version AS t'
                   ' ON t.recorded_at < p.recorded_at';
        END $$;
        COMMENT ON VIEW audit.frozen_platform_version IS
            'rows of the table platform_version that a closed period depends on or consists of, as they are hashed for the log';
        GRANT SELECT ON audit.frozen_platform_version TO auditor, settlement;
        RESET ROLE;
    """)
