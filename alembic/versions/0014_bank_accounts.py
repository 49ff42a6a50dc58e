"""Bank accounts of payees, apart from their other personal data and encrypted; cooling-off; screening."""

import json
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.orm import Session

from database.migrate import run_sql_file
from settlement.bank_details import BankDetails, encrypted, mask, opened_account

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    connection = op.get_bind()
    run_sql_file(connection, "settlement/sql/0014_bank_accounts.sql")
    _seal(connection)
    op.create_check_constraint(
        op.f("party_version_account_apart"), "party_version", "NOT details ? 'iban'", schema="party"
    )
    _mask_statements(connection)


def _seal(connection: sa.Connection) -> None:
    """Move accounts out of the personal data. The recorded digests stay: they cover the account too."""
    kept = connection.execute(
        sa.text("SELECT payee_id, version, details, actor, reason, recorded_at FROM party.party_version"
                " WHERE details ? 'iban'")
    ).all()  # fmt: skip
    for payee_id, version, details, actor, reason, recorded_at in kept:
        iban = details["iban"].replace(" ", "")
        if iban:
            row = encrypted(payee_id, version, BankDetails(iban, details.get("bic") or None), actor, reason)
            connection.execute(
                sa.text(
                    "INSERT INTO party.bank_account_version (payee_id, version, key_id, ciphertext, masked,"
                    " fingerprint, content, actor, reason, recorded_at) VALUES (:payee_id, :version, :key_id,"
                    " :ciphertext, :masked, :fingerprint, :content, :actor, :reason, :recorded_at)"
                ),
                {
                    name: getattr(row, name)
                    for name in "payee_id version key_id ciphertext masked fingerprint content actor reason".split()
                }
                | {"recorded_at": recorded_at},
            )
        connection.execute(
            sa.text(
                "UPDATE party.party_version SET details = details - 'iban' - 'bic'"
                " WHERE payee_id = :payee AND version = :version"
            ),
            {"payee": payee_id, "version": version},
        )


def _mask_statements(connection: sa.Connection) -> None:
    """The platform's own account, as banks' files named it."""
    named = connection.execute(
        sa.text("SELECT DISTINCT account FROM settlement.bank_statement WHERE account IS NOT NULL")
    ).scalars()
    accounts = named.all()
    if accounts:
        op.execute("ALTER TABLE settlement.bank_statement DISABLE TRIGGER append_only")
        for account in accounts:
            connection.execute(
                sa.text("UPDATE settlement.bank_statement SET account = :masked WHERE account = :account"),
                {"account": account, "masked": mask(account)},
            )
        op.execute("ALTER TABLE settlement.bank_statement ENABLE ALWAYS TRIGGER append_only")


def downgrade() -> None:
    connection = op.get_bind()
    op.drop_constraint(op.f("party_version_account_apart"), "party_version", schema="party")
    versions = connection.execute(
        sa.text("SELECT DISTINCT payee_id, version FROM party.bank_account_version")
    ).all()
    with Session(connection, join_transaction_mode="create_savepoint") as session:
        accounts = {
            (payee_id, version): opened_account(session, payee_id, version) for payee_id, version in versions
        }
    for (payee_id, version), account in accounts.items():
        if account is not None:
            put_back = {"iban": account.iban} | ({"bic": account.bic} if account.bic else {})
            connection.execute(
                sa.text(
                    "UPDATE party.party_version SET details = details || CAST(:account AS jsonb)"
                    " WHERE payee_id = :payee AND version = :version"
                ),
                {"payee": payee_id, "version": version, "account": json.dumps(put_back)},
            )
    op.execute("""
        DROP VIEW audit.screening_findings, audit.screenings, audit.shared_bank_accounts, audit.bank_detail_changes,
            audit.platform_changes, audit.frozen_platform_version;
        SET ROLE audit_owner;
        CREATE VIEW audit.frozen_platform_version AS
        SELECT p.period_id AS frozen_in, t.id::text COLLATE "C" AS frozen_key, t.id, t.valid_from, t.platform_payee_id,
               t.model_developer_id, t.default_rate_card_id, t.zone, t.minimum_payout, t.dispute_contact, t.dispute_days,
               t.actor, t.reason, t.recorded_at
        FROM settlement.royalty_run AS p JOIN settlement.platform_version AS t ON t.recorded_at < p.recorded_at;
        GRANT SELECT ON audit.frozen_platform_version TO auditor, settlement;
        CREATE VIEW audit.platform_changes AS
        SELECT valid_from, lead(valid_from) OVER (ORDER BY valid_from) AS valid_to, platform_payee_id,
               model_developer_id, default_rate_card_id, zone, minimum_payout, actor, reason, recorded_at,
               recorded_at > valid_from AS recorded_after_its_start
        FROM settlement.platform_version;
        CREATE VIEW audit.bank_detail_changes AS
        SELECT payee_id, version, details ->> 'iban' IS DISTINCT FROM lag(details ->> 'iban') OVER w AS account_changed,
               details ->> 'name' IS DISTINCT FROM lag(details ->> 'name') OVER w AS name_changed, actor, reason,
               recorded_at
        FROM party.party_version WINDOW w AS (PARTITION BY payee_id ORDER BY version);
        RESET ROLE;
        GRANT SELECT ON audit.platform_changes, audit.bank_detail_changes TO auditor;
        DROP TABLE settlement.screening, party.screening_finding, party.bank_account_version;
        ALTER TABLE settlement.payout DROP CONSTRAINT payout_decision_known,
            ADD CONSTRAINT payout_decision_known CHECK (decision IN
                ('pay', 'held', 'below_minimum', 'below_unit', 'no_bank_details', 'bad_bank_details')) NOT VALID;
        ALTER TABLE settlement.platform_version DROP COLUMN bank_details_cooling_off_days;
    """)
