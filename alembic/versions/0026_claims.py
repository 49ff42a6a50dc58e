"""Ownership claims of third parties and disputes of payees, from their opening to their decision."""

from collections.abc import Sequence

from alembic import op

from database.migrate import driver_of, earlier_definition, run_sql_file

revision: str = "0026"
down_revision: str | None = "0025"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    run_sql_file(op.get_bind(), "settlement/sql/0026_claims.sql")


def downgrade() -> None:
    execute = driver_of(op.get_bind()).execute
    execute("SET ROLE audit_owner")
    execute(
        earlier_definition("settlement/audit/sql/0007_audit_views.sql", "CREATE VIEW audit.suspense_tie_out")
    )
    execute(earlier_definition("settlement/audit/sql/0018_money_views.sql", "CREATE VIEW audit.advances "))
    # What was put into definitions is taken out of them again, whatever else they hold by now.
    execute(r"""
        DO $$ DECLARE
            edit record;
        BEGIN
            FOR edit IN VALUES
                ('statement_tie_out', ',\s*\(''claims''::text,\s*s\.claims\)', ''),
                ('statement_tie_out', '\(''claims''::text,\s*CASE\s+WHEN .*?END\),\s*(\(''adjustments'')', '\1'),
                ('statement_tie_out', '\s*AND \(NOT starts_with\(p\.kind, ''claim_''::text\)\)', ''),
                ('statement_tie_out', ', ''claims''::text', ''),
                ('approvals', '(CASE a\.kind)\s+WHEN ''ownership_claim''::text THEN .*?(\s+WHEN ''period'')', '\1\2')
            LOOP
                EXECUTE format('CREATE OR REPLACE VIEW audit.%I AS ', edit.column1) || regexp_replace(
                    pg_get_viewdef(format('audit.%I', edit.column1)::regclass), edit.column2, edit.column3);
            END LOOP;
        END $$;
    """)
    execute("""
        DROP VIEW audit.claim_faults, audit.claim_decisions, audit.ownership_claims, audit.disputes;
        RESET ROLE;
        DO $$ BEGIN
            EXECUTE replace(pg_get_functiondef('guard.check_account()'::regprocedure),
                            ' (''suspense_disputed'', ''liability''),', '');
            EXECUTE replace(pg_get_functiondef('guard.check_key()'::regprocedure), ' ''claim'',', '');
            EXECUTE replace(regexp_replace(pg_get_functiondef('guard.erase_payee(text, text, text)'::regprocedure),
                'DELETE FROM party\\.dispute_words.*?(DELETE FROM party\\.bank_account_version)', '\\1'),
                ', ''disputes:write''', '');
            EXECUTE (
                SELECT format('ALTER TABLE settlement.approval DROP CONSTRAINT approval_kind_known,'
                              ' ADD CONSTRAINT approval_kind_known %s NOT VALID',
                              replace(replace(pg_get_constraintdef(oid), ', ''ownership_claim''::text', ''), ' NOT VALID', ''))
                FROM pg_constraint
                WHERE conrelid = 'settlement.approval'::regclass AND conname = 'approval_kind_known');
        END $$;
        DROP TRIGGER reversed_by_its_rule ON ledger.journal;
        DROP FUNCTION guard.check_reversal();
        DROP TRIGGER claim_approval ON settlement.approval;
        DROP INDEX settlement.approval_claim_decided_once;
        DROP TABLE party.dispute_words, settlement.dispute_answer, settlement.dispute, settlement.claim_decision,
            settlement.ownership_claim;
        DROP FUNCTION guard.check_claim(), guard.check_claim_decision(), guard.check_claim_approval();
    """)
    execute(
        earlier_definition(
            "settlement/sql/0018_money_terms.sql", "CREATE FUNCTION guard.check_recoupments", "$$;"
        )
    )
