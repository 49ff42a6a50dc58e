"""What an auditor reads: views and functions, and the rights to them."""

from collections.abc import Sequence

from alembic import op

from database.migrate import run_sql_file

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SCHEMAS = "party, attribution, ledger, settlement"


def upgrade() -> None:
    run_sql_file(op.get_bind(), "settlement/audit/sql/0007_audit_views.sql")


def downgrade() -> None:
    op.execute("DROP OWNED BY auditor")
    op.execute("DROP SCHEMA audit CASCADE")
    op.execute("CREATE SCHEMA audit AUTHORIZATION audit_owner")
    op.execute(
        f"ALTER DEFAULT PRIVILEGES FOR ROLE royalty_owner IN SCHEMA {SCHEMAS} REVOKE SELECT ON TABLES FROM audit_owner"
    )
    op.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA {SCHEMAS}, access FROM audit_owner")
    op.execute(f"REVOKE USAGE ON SCHEMA {SCHEMAS}, access FROM audit_owner")
