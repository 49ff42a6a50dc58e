"""No change of the schema but by a migration."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from database.migrate import run_sql_file
from settlement.party import party_digest

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


# Policies that had no effect, as 0001, 0005 and 0008 made them.
_GUARD_ALL = (
    "settlement.statement",
    "settlement.royalty_line",
    "settlement.payee",
    "settlement.payout",
    "settlement.hold",
    "attribution.attribution_share",
    "ledger.log_leaf",
)


def upgrade() -> None:
    connection = op.get_bind()
    op.execute("SET ROLE royalty_owner")
    op.add_column("party_version", sa.Column("digest", sa.LargeBinary(), nullable=True), schema="party")
    op.execute("RESET ROLE")
    for payee_id, version, salt, details in connection.execute(
        sa.text("SELECT payee_id, version, salt, details FROM party.party_version")
    ).all():
        connection.execute(
            sa.text(
                "UPDATE party.party_version SET digest = :digest WHERE payee_id = :payee AND version = :version"
            ),
            {"digest": bytes.fromhex(party_digest(salt, details)), "payee": payee_id, "version": version},
        )
    op.alter_column("party_version", "digest", nullable=False, schema="party")
    op.create_check_constraint(
        op.f("party_version_digest_length"), "party_version", "octet_length(digest) = 32", schema="party"
    )
    run_sql_file(connection, "database/sql/0011_ddl_fence.sql")


def downgrade() -> None:
    # Alterations of the guards' functions stay until 0001 is undone: they refuse nothing that was allowed before.
    op.execute("""
        DROP EVENT TRIGGER start_fence;
        DROP EVENT TRIGGER ddl_fence;
        DROP EVENT TRIGGER drop_fence;
        DROP FUNCTION guard.refuse_start();
        DROP FUNCTION guard.refuse_ddl();
        DROP FUNCTION guard.refuse_drop();
        DROP VIEW audit.schema_changes, audit.record_schema_change;
        DROP TRIGGER journal_key_of_its_writer ON ledger.journal;
        DROP FUNCTION guard.check_key();
        DROP TRIGGER account_class_of_its_name ON ledger.account;
        DROP FUNCTION guard.check_account();
        DROP TRIGGER log_of_records ON ledger.log_leaf;
        DROP FUNCTION guard.check_leaves();
        DROP TABLE ledger.schema_change;
        DROP TRIGGER in_turn ON settlement.refund;
        DROP TRIGGER in_turn ON settlement.statement;
        DROP TRIGGER in_turn ON settlement.period;
        DROP FUNCTION guard.write_in_turn();
        DROP VIEW settlement.letterhead;
        ALTER TABLE party.party_version DROP COLUMN digest;
        GRANT SELECT (platform_payee_id) ON settlement.platform_version TO portal;
        CREATE POLICY platform ON party.party_version FOR SELECT TO portal
            USING (payee_id IN (SELECT v.platform_payee_id FROM settlement.platform_version AS v)
                   AND EXISTS (SELECT FROM access.payee_access));
    """)
    op.execute("""
        DO $$
        DECLARE
            taken regprocedure;
        BEGIN
            FOR taken IN SELECT p.oid FROM pg_proc AS p
                           WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname ~ '^pg_(try_)?advisory_' LOOP
                EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM royalty_owner, royalty_guard, settlement, payer,'
                               ' attribution', taken);
                EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', taken);
            END LOOP;
            FOR taken IN SELECT p.oid FROM pg_proc AS p WHERE p.pronamespace = 'pg_catalog'::regnamespace
                           AND (p.proname ~ '^(lo_|lowrite$)' OR p.proname = 'pg_logical_emit_message')
                           AND p.proname NOT IN ('lo_import', 'lo_export') LOOP
                EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', taken);
            END LOOP;
        END
        $$
    """)
    for relation in _GUARD_ALL:
        op.execute(f"CREATE POLICY guard_all ON {relation} FOR SELECT TO royalty_guard USING (true)")
