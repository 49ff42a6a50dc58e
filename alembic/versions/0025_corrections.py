"""Corrections of closed periods: an original, what it should have been, and the difference as a later period's line."""

from collections.abc import Sequence

from alembic import op

from database.migrate import driver_of, earlier_definition, run_sql_file

revision: str = "0025"
down_revision: str | None = "0024"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    connection = op.get_bind()
    run_sql_file(connection, "settlement/sql/0025_corrections.sql")
    run_sql_file(connection, "settlement/audit/sql/0025_correction_views.sql")


def downgrade() -> None:
    execute = driver_of(op.get_bind()).execute
    terms = "settlement/audit/sql/0017_terms.sql"
    money = "settlement/audit/sql/0018_money_views.sql"
    answers = "settlement/sql/0019_payout_answers.sql"
    execute("SET ROLE audit_owner")
    execute("""
        DROP VIEW audit.correction_faults, audit.adjustment_lines, audit.correction_sales, audit.corrections,
            audit.frozen_correction, audit.frozen_correction_sale, audit.frozen_correction_contract,
            audit.frozen_correction_application, audit.frozen_royalty_line
    """)
    for path, begins in (
        (terms, "CREATE OR REPLACE VIEW audit.slice_conservation "),
        (terms, "CREATE OR REPLACE VIEW audit.suspense_ageing "),
        (money, "CREATE VIEW audit.money_faults "),
        (money, "CREATE OR REPLACE VIEW audit.statement_tie_out "),
        (answers, "CREATE OR REPLACE VIEW audit.approvals "),
        (terms, "CREATE OR REPLACE VIEW audit.frozen_royalty_line "),
    ):
        execute(earlier_definition(path, begins))
    execute("""
        COMMENT ON VIEW audit.frozen_royalty_line IS
            'rows of the table royalty_line that a closed period depends on or consists of, as they are hashed for the log';
        GRANT SELECT ON audit.frozen_royalty_line TO auditor, settlement;
        CREATE OR REPLACE VIEW audit.frozen_approval AS
            SELECT p.period_id AS frozen_in, t.id::text COLLATE "C" AS frozen_key, t.id, t.kind, t.subject,
                   t.content_sha256, t.maker, t.checker, t.recorded_at
            FROM settlement.royalty_run AS p JOIN settlement.approval AS t ON t.id = p.approval_id
    """)
    execute("RESET ROLE")
    execute("SET ROLE royalty_owner")
    execute(
        earlier_definition(
            "settlement/sql/0017_terms.sql", "CREATE OR REPLACE VIEW settlement.statement_line"
        )
    )
    execute("RESET ROLE")
    # With a statement's column, as 0018 adds it to the view of 0017.
    columns = earlier_definition(money, "DO $$", "$$;")
    execute(columns)
    execute("""
        DROP TRIGGER adjustments_replace_what_is_taken ON settlement.royalty_line;
        ALTER TABLE settlement.royalty_line
            DROP CONSTRAINT royalty_line_natural_key,
            ADD CONSTRAINT royalty_line_sale_id_kind_player_payee_id_refund_id_cor_2a95
                UNIQUE NULLS NOT DISTINCT (sale_id, kind, player, payee_id, refund_id, corrects),
            DROP CONSTRAINT royalty_line_adjustment_takes_or_gives,
            DROP CONSTRAINT royalty_line_kind_known,
            ADD CONSTRAINT royalty_line_kind_known
                CHECK (kind IN ('royalty', 'pending', 'unattributed', 'late', 'refund')) NOT VALID,
            DROP COLUMN correction_id CASCADE;
        DROP INDEX settlement.royalty_line_taken_back_once;
        DROP TABLE settlement.correction_application, settlement.correction_withdrawal,
            settlement.correction_contract, settlement.correction_sale, settlement.correction;
        DROP FUNCTION guard.check_adjustments(), guard.check_correction_end(), guard.check_correction_part(),
            guard.check_correction(), guard.correct_in_turn();
        ALTER TABLE settlement.approval DROP CONSTRAINT approval_kind_known,
            ADD CONSTRAINT approval_kind_known CHECK (
                kind IN ('period', 'payout_batch', 'advance', 'payout_correction')) NOT VALID;
    """)
