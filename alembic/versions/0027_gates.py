"""What must hold before a period is approved, and who let an exception pass."""

from collections.abc import Sequence

from alembic import op

from database.migrate import driver_of, earlier_definition, run_sql_file

revision: str = "0027"
down_revision: str | None = "0026"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    run_sql_file(op.get_bind(), "settlement/sql/0027_gates.sql")


def downgrade() -> None:
    execute = driver_of(op.get_bind()).execute
    execute(
        earlier_definition(
            "settlement/sql/0001_settlement_guard.sql", "CREATE FUNCTION guard.check_period", "$$;"
        )
    )
    terms = "settlement/audit/sql/0017_terms.sql"
    execute("SET ROLE audit_owner")
    execute("DROP VIEW audit.gate_acceptances, audit.platform_changes, audit.frozen_platform_version")
    execute(earlier_definition(terms, "CREATE OR REPLACE VIEW audit.platform_changes "))
    frozen = earlier_definition(terms, "CREATE OR REPLACE VIEW audit.frozen_platform_version ")
    execute(frozen.replace(b"t.fallback_key", b"t.fallback_key, t.zero_statements"))
    execute("""
        COMMENT ON VIEW audit.platform_changes
            IS 'the platform''s terms, by the moment from which they hold; by whom and why';
        COMMENT ON VIEW audit.frozen_platform_version IS
            'rows of the table platform_version that a closed period depends on or consists of, as they are hashed for the log';
        GRANT SELECT ON audit.platform_changes TO auditor;
        GRANT SELECT ON audit.frozen_platform_version TO auditor, settlement;
        RESET ROLE;
        DROP FUNCTION settlement.accounts_changed(timestamptz), settlement.shared_accounts();
        DROP TABLE settlement.gate_acceptance;
        ALTER TABLE settlement.platform_version DROP COLUMN pending_limit_ppb;
        ALTER TABLE settlement.run_draft DROP COLUMN gates;
    """)
