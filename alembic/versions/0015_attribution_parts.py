"""An attribution takes shares and values from the transaction that wrote its row, whatever number that has."""

from collections.abc import Sequence

from alembic import op

from database.migrate import run_sql_file

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    run_sql_file(op.get_bind(), "attribution/sql/0015_attribution_parts.sql")


def downgrade() -> None:
    # As 0011 left it.
    op.execute("""
        CREATE OR REPLACE FUNCTION guard.check_attribution_part() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        BEGIN
            IF EXISTS (SELECT FROM added JOIN ONLY attribution.attribution AS a ON a.id = added.attribution_id
                       WHERE a.written_by <> pg_catalog.pg_current_xact_id()) THEN
                RAISE EXCEPTION 'a committed attribution takes no further rows'
                    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'attribution_is_final';
            END IF;
            RETURN NULL;
        END
        $$;
    """)
