"""Standard errors, further seeds and sampled games."""

from collections.abc import Sequence
from pathlib import Path

from alembic import op

from database.migrate import driver_of, run_sql_file

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    run_sql_file(op.get_bind(), "attribution/sql/0016_estimates.sql")


def downgrade() -> None:
    connection = op.get_bind()
    op.execute("""
        DROP VIEW audit.attribution_conservation, audit.attribution_completeness, audit.recomputed_prompt_shares,
            audit.recomputed_shares, audit.sampled_values, audit.sampled_marginals, audit.further_seeds,
            audit.standard_errors, audit.frozen_attribution_share, audit.frozen_attribution;
        SET ROLE royalty_owner;
        ALTER TABLE attribution.attribution DROP COLUMN further_seeds, DROP COLUMN orders;
        ALTER TABLE attribution.attribution_share
            DROP COLUMN prompt_standard_error_ppb, DROP COLUMN prompt_share_ppb, DROP COLUMN standard_error;
        RESET ROLE;
        SET ROLE audit_owner;
        CREATE VIEW audit.frozen_attribution AS
        SELECT p.period_id AS frozen_in, t.id::text COLLATE "C" AS frozen_key, t.id, t.image_id, t.method_id, t.status,
               t.reason, t.players, t.denominator, t.fidelity, t.reading, t.environment, t.written_by, t.recorded_at
        FROM (SELECT DISTINCT l.period_id, l.attribution_id FROM settlement.royalty_line AS l) AS p
        JOIN attribution.attribution AS t ON t.id = p.attribution_id;
        CREATE VIEW audit.frozen_attribution_share AS
        SELECT p.period_id AS frozen_in, (t.attribution_id || '/' || t.slot) COLLATE "C" AS frozen_key, t.attribution_id,
               t.slot, t.player, t.phi_numerator, t.placebo_mean, t.adjusted_numerator, t.placebo_threshold,
               t.paid_numerator, t.share_ppb
        FROM (SELECT DISTINCT l.period_id, l.attribution_id FROM settlement.royalty_line AS l) AS p
        JOIN attribution.attribution_share AS t ON t.attribution_id = p.attribution_id;
        GRANT SELECT ON audit.frozen_attribution, audit.frozen_attribution_share TO auditor, settlement;
        RESET ROLE;
    """)
    # The views and the guard as 0007 and 0011 left them.
    root = Path(__file__).resolve().parents[2]
    views = (root / "settlement/audit/sql/0007_audit_views.sql").read_text()
    start, end = (
        views.index("-- Everything between v(S) and a share"),
        views.index("-- From shares to statements"),
    )
    guard = (root / "attribution/sql/0001_attribution_guard.sql").read_text()
    check = guard[guard.index("CREATE FUNCTION guard.check_attribution()") : guard.index("ALTER FUNCTION")]
    driver = driver_of(connection)
    driver.execute(f"SET ROLE audit_owner; {views[start:end]} RESET ROLE".encode())
    driver.execute(
        check.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)
        .replace(
            "SET search_path = pg_catalog, pg_temp",
            "SECURITY DEFINER SET search_path = pg_catalog, pg_temp"
            " SET plan_cache_mode = force_generic_plan SET enable_seqscan = off",
            1,
        )
        .encode()
    )
