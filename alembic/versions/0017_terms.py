"""What earns, and for whom: pools, keys, contracts, claims on unclaimed shares."""

from collections.abc import Sequence

from alembic import op

from database.migrate import driver_of, earlier_definition, run_sql_file

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    connection = op.get_bind()
    run_sql_file(connection, "settlement/sql/0017_terms.sql")
    run_sql_file(connection, "settlement/audit/sql/0017_terms.sql")


def downgrade() -> None:
    execute = driver_of(op.get_bind()).execute
    views = "settlement/audit/sql/0007_audit_views.sql"
    execute("""
        DROP TRIGGER late_lines_move_what_waits ON settlement.royalty_line;
        DROP TRIGGER version_start ON settlement.platform_version;
        DROP TRIGGER version_start ON settlement.rate_card_version;
        DROP TRIGGER version_start ON settlement.contract_version;
        DROP TRIGGER given_parts ON settlement.platform_version;
        DROP TRIGGER given_parts ON settlement.rate_card_version;
        DROP FUNCTION guard.check_late_lines();
        DROP FUNCTION guard.check_version_start();
        DROP FUNCTION guard.check_given_parts();
        REVOKE SELECT (id, rate_card_id, valid_from, model, rate_ppb, fee_micros, minimum_micros, currency, content_to,
                       distribution_key) ON settlement.rate_card_version FROM portal;
        GRANT SELECT ON settlement.rate_card_version TO portal;
    """)
    execute("SET ROLE royalty_owner")
    execute(
        earlier_definition("settlement/sql/0001_statement_lines.sql", "CREATE VIEW settlement.statement_line")
    )
    execute("SET ROLE audit_owner")
    execute("""
        DO $$ BEGIN
            EXECUTE 'CREATE OR REPLACE VIEW audit.statement_line AS '
                || pg_get_viewdef('settlement.statement_line'::regclass);
        END $$
    """)
    # Before the views whose columns it reads lose some.
    execute(earlier_definition(views, "CREATE FUNCTION audit.explain", "END;"))
    execute("DROP VIEW audit.rate_changes, audit.platform_changes, audit.frozen_platform_version,"
               " audit.frozen_rate_card_version, audit.frozen_royalty_line")  # fmt: skip
    accounts = "settlement/sql/0014_bank_accounts.sql"
    for path, name in (
        (views, "slice_conservation"),
        (views, "division_conservation"),
        (views, "suspense_ageing"),
        (views, "rate_changes"),
        (accounts, "platform_changes"),
        (accounts, "frozen_platform_version"),
    ):
        kind = "CREATE VIEW" if path == views else "CREATE OR REPLACE VIEW"
        execute(earlier_definition(path, f"{kind} audit.{name} "))
    execute("""
        CREATE VIEW audit.frozen_rate_card_version AS
        SELECT p.period_id AS frozen_in, t.id::text COLLATE "C" AS frozen_key, t.id, t.rate_card_id, t.valid_from,
               t.model, t.rate_ppb, t.fee_micros, t.currency, t.content_to, t.distribution_key, t.terms, t.actor,
               t.reason, t.recorded_at
        FROM settlement.royalty_run AS p JOIN settlement.rate_card_version AS t ON t.recorded_at < p.recorded_at;
        CREATE VIEW audit.frozen_royalty_line AS
        SELECT t.period_id AS frozen_in, t.id::text COLLATE "C" AS frozen_key, t.id, t.period_id, t.kind, t.sale_id,
               t.player, t.destination, t.payee_id, t.amount_micros, t.currency, t.attribution_id, t.share_ppb,
               t.contract_version_id, t.split_ppb, t.distribution_key, t.refund_id, t.corrects
        FROM settlement.royalty_line AS t;
        COMMENT ON VIEW audit.rate_changes
            IS 'rates, by the moment from which they hold, and those before; by whom and why';
        COMMENT ON VIEW audit.platform_changes
            IS 'the platform''s terms, by the moment from which they hold; by whom and why';
        GRANT SELECT ON audit.frozen_rate_card_version, audit.frozen_royalty_line, audit.frozen_platform_version
            TO auditor, settlement;
        GRANT SELECT ON audit.rate_changes, audit.platform_changes TO auditor;
        SET ROLE royalty_owner;
        DROP INDEX settlement.royalty_line_unclaimed_idx;
        DROP INDEX settlement.royalty_line_suspense_idx;
        ALTER TABLE settlement.royalty_line DROP CONSTRAINT royalty_line_late_corrects, DROP COLUMN platform_version_id;
        ALTER TABLE settlement.contract_version DROP CONSTRAINT contract_version_status_known,
            ADD CONSTRAINT contract_version_status_known CHECK (status IN ('active', 'ended')) NOT VALID;
        ALTER TABLE settlement.platform_version DROP COLUMN fallback_after_periods, DROP COLUMN fallback_key;
        ALTER TABLE settlement.rate_card_version DROP CONSTRAINT rate_card_version_rate_or_fee,
            DROP COLUMN minimum_micros, DROP COLUMN weights, DROP COLUMN public_domain_payee_id,
            ADD CONSTRAINT rate_card_version_rate_or_fee CHECK (
                (rate_ppb IS NULL) <> (fee_micros IS NULL) AND (fee_micros IS NULL) = (currency IS NULL)
                AND (model = 'per_image' OR rate_ppb IS NOT NULL)) NOT VALID;
        RESET ROLE;
    """)
