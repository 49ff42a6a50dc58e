"""Pictures in artists' pages, where the platform's policy allows them; failed attributions found by an index."""

from collections.abc import Sequence

from alembic import op

revision: str = "0020"
down_revision: str | None = "0019"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # Row-level security leaves the images that earned the reader something; the name of a file is made of hashes.
    op.execute("""
        GRANT SELECT (file, file_sha256) ON attribution.image TO portal;
        CREATE INDEX attribution_job_failed_idx ON attribution.attribution_job (image_id) WHERE state = 'failed';
    """)


def downgrade() -> None:
    op.execute("""
        DROP INDEX attribution.attribution_job_failed_idx;
        REVOKE SELECT (file, file_sha256) ON attribution.image FROM portal;
    """)
