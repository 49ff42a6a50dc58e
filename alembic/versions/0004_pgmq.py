"""The embedded broker: pgmq's tables and functions in a schema of the workers' own."""

from collections.abc import Sequence

import psycopg
import sqlalchemy as sa
from alembic import op
from pgmq.install import get_embedded_install_sql

revision: str = "0004"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    connection = op.get_bind()
    # A server with the extension has a schema of this name already; there Celery needs a BROKER_URL.
    if connection.scalar(sa.text("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'pgmq')")):
        return
    # Celery makes its queues when it starts, and each is a table: the role that runs workers and wakes them owns the schema.
    # Nothing in it but wake-ups: losing it loses no work.
    op.execute("CREATE SCHEMA pgmq AUTHORIZATION attribution")
    # The package's script says CREATE SCHEMA IF NOT EXISTS, which asks for the right to even where the schema exists.
    database = connection.scalar(sa.text("SELECT quote_ident(current_database())"))
    op.execute(f"GRANT CREATE ON DATABASE {database} TO attribution")
    op.execute("SET LOCAL ROLE attribution")
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    driver.execute(get_embedded_install_sql().encode())
    op.execute("RESET ROLE")
    op.execute(f"REVOKE CREATE ON DATABASE {database} FROM attribution")


def downgrade() -> None:
    op.execute("""
        DO $$
        BEGIN
            IF EXISTS (SELECT FROM pg_namespace WHERE nspname = 'pgmq' AND nspowner = 'attribution'::regrole) THEN
                DROP SCHEMA pgmq CASCADE;
            END IF;
        END
        $$
    """)
