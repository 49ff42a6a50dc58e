"""What the bank answers, kept and matched; several files in one payout batch; reconciliation for the auditor."""

from collections.abc import Sequence

from alembic import op

from database.migrate import run_sql_file

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    run_sql_file(op.get_bind(), "settlement/sql/0012_bank_messages.sql")
    run_sql_file(op.get_bind(), "settlement/audit/sql/0012_payout_reconciliation.sql")


def downgrade() -> None:
    op.execute("""
        DROP VIEW audit.payout_reconciliation, audit.bank_lines, audit.bank_statements, audit.bank_messages;
        SET ROLE audit_owner;
        CREATE OR REPLACE VIEW audit.payouts AS
        SELECT p.payout_id, p.batch_id, p.payee_id, p.currency::text AS currency, p.balance_micros, p.amount_micros,
               p.decision, p.party_version, t.attempt_id, e.state, e.occurred_at AS state_since, b.execution_date,
               b.maker, a.checker, a.recorded_at AS approved_at, f.name AS file, encode(f.sha256, 'hex') AS file_sha256,
               b.recorded_at
        FROM settlement.payout AS p
        JOIN settlement.payout_batch AS b ON b.batch_id = p.batch_id
        LEFT JOIN settlement.payout_attempt AS t ON t.payout_id = p.payout_id
        LEFT JOIN settlement.payout_file AS f ON f.batch_id = p.batch_id
        LEFT JOIN settlement.approval AS a ON a.kind = 'payout_batch' AND a.subject = p.batch_id
            AND a.content_sha256 = b.content_sha256
        LEFT JOIN LATERAL (SELECT e.state, e.occurred_at FROM settlement.payout_event AS e
                           WHERE e.payout_id = p.payout_id ORDER BY e.number DESC LIMIT 1) AS e ON true;
        RESET ROLE;
        DROP TABLE settlement.bank_match, settlement.bank_entry, settlement.bank_statement, settlement.bank_message;
        REVOKE MAINTAIN ON settlement.payout_attempt, settlement.payout_event FROM payer;
        ALTER TABLE settlement.payout_file DROP CONSTRAINT payout_file_pkey, DROP COLUMN number,
            ADD CONSTRAINT payout_file_pkey PRIMARY KEY (batch_id);
        ALTER TABLE settlement.payout_attempt DROP COLUMN file;
    """)
