"""What an artist reads beyond her statements and lines: balances and attributions, fenced by the database."""

from collections.abc import Sequence

from alembic import op

from database.migrate import run_sql_file

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    run_sql_file(op.get_bind(), "settlement/sql/0005_portal.sql")


def downgrade() -> None:
    op.execute("""
        REVOKE SELECT ON public.alembic_version FROM identity, attribution, settlement, portal;
        REVOKE USAGE ON SCHEMA public FROM identity, attribution, settlement, portal;
        DROP POLICY guard_all ON attribution.attribution_share;
        DROP POLICY own ON attribution.attribution_share;
        ALTER TABLE attribution.attribution_share DISABLE ROW LEVEL SECURITY;
        REVOKE SELECT (attribution_id, slot, player, share_ppb) ON attribution.attribution_share FROM portal;
        REVOKE SELECT (status, players) ON attribution.attribution FROM portal;
        DROP POLICY own ON attribution.artist_version;
        ALTER TABLE attribution.artist_version DISABLE ROW LEVEL SECURITY;
        REVOKE SELECT (artist_id, version, name) ON attribution.artist_version FROM portal;
        DROP VIEW settlement.payee_balance;
    """)
