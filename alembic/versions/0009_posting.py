"""Posting straight into journals and postings."""

from collections.abc import Sequence
from pathlib import Path

from alembic import op
from sqlalchemy import text

from database.migrate import run_sql_file

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    run_sql_file(op.get_bind(), "settlement/ledger/sql/0009_posting.sql")


def downgrade() -> None:
    op.execute("""
        DROP INDEX ledger.posting_booked_at_idx;
        DROP INDEX ledger.journal_reverses_key;
        ALTER TABLE ledger.journal ADD CONSTRAINT journal_reverses_key UNIQUE (reverses);
        DROP TRIGGER journal_noted ON ledger.journal;
        DROP FUNCTION guard.note_journals();
        DROP TABLE guard.unchecked;
        DROP FUNCTION guard.check_journal();
        REVOKE SELECT ON SEQUENCE ledger.journal_id_seq FROM royalty_guard;
        REVOKE USAGE ON SEQUENCE ledger.journal_id_seq FROM settlement, payer;
        REVOKE INSERT (id) ON ledger.journal FROM settlement, payer;
        ALTER TABLE ledger.account ADD CONSTRAINT account_id_currency_key UNIQUE (id, currency);
        ALTER TABLE ledger.journal ADD CONSTRAINT journal_id_lines_booked_at_key UNIQUE (id, lines, booked_at);
        ALTER TABLE ledger.posting
            ADD CONSTRAINT posting_account_id_currency_fkey
                FOREIGN KEY (account_id, currency) REFERENCES ledger.account (id, currency),
            ADD CONSTRAINT posting_journal_id_lines_booked_at_fkey
                FOREIGN KEY (journal_id, lines, booked_at) REFERENCES ledger.journal (id, lines, booked_at);
        DROP TRIGGER posting_checked ON ledger.posting;
        DROP FUNCTION guard.check_postings();
    """)
    # As 0001 and 0007 had them.
    root = Path(__file__).parents[2] / "settlement"
    sql = (root / "ledger/sql/0001_ledger_guard.sql").read_text(encoding="utf-8")
    check = sql[
        sql.index("CREATE FUNCTION guard.check_journal()") : sql.index("CREATE FUNCTION guard.journal_text")
    ]
    sql = (root / "audit/sql/0007_audit_views.sql").read_text(encoding="utf-8")
    guards = sql[sql.index("CREATE VIEW audit.guards") : sql.index("CREATE VIEW audit.roles")]
    for statements in (check, guards.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)):
        op.execute(text(statements.replace(":", r"\:")))
