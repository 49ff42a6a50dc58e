"""Owners of image prompts are players of the game."""

from collections.abc import Sequence

from alembic import op

from database.migrate import driver_of, earlier_definition, run_sql_file

revision: str = "0028"
down_revision: str | None = "0027"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_REPLACED = (
    ("attribution/sql/0022_other_players.sql", "CREATE FUNCTION guard.check_image_part()"),
    ("settlement/sql/0024_privacy.sql", "CREATE FUNCTION guard.erase_customer("),
)
"""Functions that are put back, and where they stood."""


def upgrade() -> None:
    run_sql_file(op.get_bind(), "attribution/sql/0028_image_prompts.sql")


def downgrade() -> None:
    for path, begins in _REPLACED:
        driver_of(op.get_bind()).execute(earlier_definition(path, begins, ends="\n$$;"))
    op.execute("""
        DROP VIEW audit.material_faults, audit.materials, audit.image_prompts;
        DROP TRIGGER one_owner ON attribution.image_adapter;
        DROP TABLE attribution.image_prompt_embedding, attribution.image_prompt, attribution.material;
        DROP FUNCTION guard.check_picture_owner(), guard.check_adapter_owner(), guard.is_owner(bytea, text),
            guard.check_embedding();
    """)
