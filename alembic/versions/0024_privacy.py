"""A person's data can be erased and handed out, and who asked for it is on record."""

from collections.abc import Sequence

from alembic import op

from database.migrate import run_sql_file

revision: str = "0024"
down_revision: str | None = "0022"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    run_sql_file(op.get_bind(), "settlement/sql/0024_privacy.sql")


def downgrade() -> None:
    op.execute("""
        DROP VIEW audit.privacy_requests;
        DROP FUNCTION guard.erase_payee(text, text, text), guard.erase_customer(text, text, text);
        DROP TRIGGER erased_payee ON party.party_version;
        DROP TRIGGER erased_payee ON settlement.payee_customer;
        DROP FUNCTION guard.refuse_erased_payee();
        REVOKE DELETE ON attribution.prompt_text FROM royalty_guard;
        REVOKE ALL ON settlement.payee_customer, settlement.sale_buyer FROM royalty_guard;
        REVOKE ALL ON party.party_version, party.bank_account_version, party.screening_finding,
            access."user", access.payee_access FROM royalty_guard;
        REVOKE USAGE ON SCHEMA party, access FROM royalty_guard;
        REVOKE SELECT ON settlement.bank_entry, settlement.bank_match, settlement.bank_message,
            settlement.payout_correction, settlement.provider_event FROM settlement;
        DROP TABLE party.privacy_request;
    """)
