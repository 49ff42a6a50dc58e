"""Which names a model knows; artists that are one; customers who buy what pays them."""

from collections.abc import Sequence

from alembic import op

from database.migrate import run_sql_file

revision: str = "0021"
down_revision: str | None = "0020"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    run_sql_file(op.get_bind(), "attribution/sql/0021_recognition.sql")


def downgrade() -> None:
    op.execute("""
        DROP VIEW audit.own_purchases, audit.artist_merges, audit.recognition_faults, audit.unrecognised_names,
            audit.recognition, audit.recognition_scales;
        DROP TRIGGER artist_in_force ON attribution.artist_version;
        DROP TABLE settlement.payee_customer, settlement.sale_buyer, attribution.artist_merge, attribution.recognition,
            attribution.recognition_measure, attribution.recognition_scale;
        DROP FUNCTION guard.check_recognition(), guard.check_artist_merge(), guard.check_artist_in_force();
    """)
