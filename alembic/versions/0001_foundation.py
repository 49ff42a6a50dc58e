"""Roles, schemas, tables, guards and grants."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from database.base import XID8
from database.migrate import run_sql_file

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    run_sql_file(op.get_bind(), "database/sql/0001_roles.sql")
    run_sql_file(op.get_bind(), "database/sql/0001_append_only.sql")
    # Tables belong to a role nobody logs in as.
    op.execute("SET ROLE royalty_owner")
    op.create_table(
        "user",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("username ~ '^[a-z0-9][a-z0-9._@+-]{1,63}$'", name=op.f("user_username_form")),
        sa.PrimaryKeyConstraint("id", name=op.f("user_pkey")),
        sa.UniqueConstraint("username", name=op.f("user_username_key")),
        schema="access",
    )
    op.create_table(
        "artist_version",
        sa.Column("artist_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("aliases", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "artist_id <> 'C' AND artist_id <> ''", name=op.f("artist_version_artist_id_free")
        ),
        sa.CheckConstraint("name <> ''", name=op.f("artist_version_name_not_empty")),
        sa.CheckConstraint("version > 0", name=op.f("artist_version_version_positive")),
        sa.PrimaryKeyConstraint("artist_id", "version", name=op.f("artist_version_pkey")),
        schema="attribution",
    )
    op.create_table(
        "image",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("content_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("prompt_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.BigInteger(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.Column("guidance", sa.Numeric(), nullable=False),
        sa.Column("scheduler", sa.Text(), nullable=False),
        sa.Column("scheduler_config", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("eta", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("weights_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("latents_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("file", sa.Text(), nullable=True),
        sa.Column("file_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("customer", sa.Text(), nullable=True),
        sa.Column("artists", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("extra", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("generated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("external_id <> ''", name=op.f("image_external_id_not_empty")),
        sa.CheckConstraint("octet_length(content_sha256) = 32", name=op.f("image_content_sha256_length")),
        sa.CheckConstraint("octet_length(prompt_sha256) = 32", name=op.f("image_prompt_sha256_length")),
        sa.CheckConstraint("octet_length(weights_sha256) = 32", name=op.f("image_weights_sha256_length")),
        sa.CheckConstraint("steps BETWEEN 1 AND 1000", name=op.f("image_steps_in_range")),
        sa.CheckConstraint(
            "width BETWEEN 8 AND 4096 AND height BETWEEN 8 AND 4096", name=op.f("image_size_in_range")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("image_pkey")),
        sa.UniqueConstraint("external_id", name=op.f("image_external_id_key")),
        schema="attribution",
    )
    op.create_index(
        op.f("image_generated_at_idx"), "image", ["generated_at"], unique=False, schema="attribution"
    )
    op.create_table(
        "method_version",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("document", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("octet_length(sha256) = 32", name=op.f("method_version_sha256_length")),
        sa.PrimaryKeyConstraint("id", name=op.f("method_version_pkey")),
        sa.UniqueConstraint("sha256", name=op.f("method_version_sha256_key")),
        schema="attribution",
    )
    op.create_table(
        "account",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("class", sa.Text(), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "class IN ('asset', 'liability', 'equity', 'income', 'expense')", name=op.f("account_class_known")
        ),
        sa.CheckConstraint("code ~ (':' || currency || '$')", name=op.f("account_code_ends_in_currency")),
        sa.CheckConstraint(
            r"code !~ '[\x01-\x1f\x7f]'", name=op.f("account_code_without_control_characters")
        ),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("account_currency_iso")),
        sa.PrimaryKeyConstraint("id", name=op.f("account_pkey")),
        sa.UniqueConstraint("code", name=op.f("account_code_key")),
        sa.UniqueConstraint("id", "currency", name=op.f("account_id_currency_key")),
        schema="ledger",
    )
    op.create_table(
        "journal",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("booked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("value_date", sa.Date(), nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("content_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("reverses", sa.BigInteger(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), server_default=sa.text("SESSION_USER"), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("key <> ''", name=op.f("journal_key_not_empty")),
        sa.CheckConstraint(
            r"(kind || key) !~ '[\x01-\x1f\x7f]'", name=op.f("journal_without_control_characters")
        ),
        sa.CheckConstraint(
            "booked_at >= '1970-01-01+00' AND booked_at < '10000-01-01+00'"
            " AND value_date >= '1970-01-01' AND value_date < '10000-01-01'",
            name=op.f("journal_dates_in_range"),
        ),
        sa.CheckConstraint("lines >= 2", name=op.f("journal_two_lines_or_more")),
        sa.CheckConstraint("octet_length(content_sha256) = 32", name=op.f("journal_content_sha256_length")),
        sa.CheckConstraint("reverses <> id", name=op.f("journal_reverses_another")),
        sa.ForeignKeyConstraint(["reverses"], ["ledger.journal.id"], name=op.f("journal_reverses_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("journal_pkey")),
        sa.UniqueConstraint("id", "lines", "booked_at", name=op.f("journal_id_lines_booked_at_key")),
        sa.UniqueConstraint("key", name=op.f("journal_key_key")),
        sa.UniqueConstraint("reverses", name=op.f("journal_reverses_key")),
        schema="ledger",
    )
    op.create_index(
        op.f("journal_booked_at_idx"),
        "journal",
        ["booked_at"],
        unique=False,
        schema="ledger",
        postgresql_using="brin",
    )
    op.create_table(
        "seal",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sealed_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("seal_pkey")),
        sa.UniqueConstraint("sealed_before", name=op.f("seal_sealed_before_key")),
        schema="ledger",
    )
    op.create_table(
        "approval",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("content_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("maker", sa.Text(), nullable=False),
        sa.Column("checker", sa.Text(), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("kind IN ('period', 'payout_batch')", name=op.f("approval_kind_known")),
        sa.CheckConstraint("maker <> checker", name=op.f("approval_maker_is_not_checker")),
        sa.PrimaryKeyConstraint("id", name=op.f("approval_pkey")),
        sa.UniqueConstraint(
            "kind", "subject", "content_sha256", name=op.f("approval_kind_subject_content_sha256_key")
        ),
        schema="settlement",
    )
    op.create_table(
        "contract_version",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("contract_id", sa.Text(), nullable=False),
        sa.Column("artist_id", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("status IN ('active', 'ended')", name=op.f("contract_version_status_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("contract_version_pkey")),
        sa.UniqueConstraint(
            "artist_id", "valid_from", name=op.f("contract_version_artist_id_valid_from_key")
        ),
        schema="settlement",
    )
    op.create_table(
        "payee",
        sa.Column("payee_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("payee_currency_iso")),
        sa.CheckConstraint(
            "kind IN ('person', 'estate', 'society', 'company', 'model_developer', 'fund')",
            name=op.f("payee_kind_known"),
        ),
        sa.CheckConstraint("payee_id <> ''", name=op.f("payee_payee_id_not_empty")),
        sa.PrimaryKeyConstraint("payee_id", name=op.f("payee_pkey")),
        schema="settlement",
    )
    op.create_table(
        "payout_batch",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.Column("execution_date", sa.Date(), nullable=False),
        sa.Column("debtor_id", sa.Text(), nullable=False),
        sa.Column("debtor_version", sa.BigInteger(), nullable=False),
        sa.Column("content_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("maker", sa.Text(), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["debtor_id"], ["settlement.payee.payee_id"], name=op.f("payout_batch_debtor_id_fkey")
        ),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("payout_batch_pkey")),
        schema="settlement",
    )
    op.create_table(
        "period",
        sa.Column("period_id", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cut_off_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "state IN ('open', 'cut_off', 'calculated', 'in_review', 'approved', 'closed')",
            name=op.f("period_state_known"),
        ),
        sa.CheckConstraint("starts_at < ends_at AND cut_off_at >= ends_at", name=op.f("period_interval")),
        sa.CheckConstraint("state = 'open' OR cut_off_at IS NOT NULL", name=op.f("period_cut_off_known")),
        sa.PrimaryKeyConstraint("period_id", name=op.f("period_pkey")),
        sa.UniqueConstraint("ends_at", name=op.f("period_ends_at_key")),
        sa.UniqueConstraint("starts_at", name=op.f("period_starts_at_key")),
        schema="settlement",
    )
    op.create_table(
        "rate_card_version",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("rate_card_id", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("rate_ppb", sa.BigInteger(), nullable=True),
        sa.Column("fee_micros", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.CHAR(length=3), nullable=True),
        sa.Column("content_to", sa.Text(), nullable=False),
        sa.Column("distribution_key", sa.Text(), nullable=False),
        sa.Column("terms", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(rate_ppb IS NULL) <> (fee_micros IS NULL) AND (fee_micros IS NULL) = (currency IS NULL) AND (model = 'per_image' OR rate_ppb IS NOT NULL)",
            name=op.f("rate_card_version_rate_or_fee"),
        ),
        sa.CheckConstraint(
            "content_to IN ('model_developer', 'artists')", name=op.f("rate_card_version_content_to_known")
        ),
        sa.CheckConstraint(
            "distribution_key IN ('attribution', 'equal', 'proxy')",
            name=op.f("rate_card_version_distribution_key_known"),
        ),
        sa.CheckConstraint(
            "model IN ('per_image', 'period_pool')", name=op.f("rate_card_version_model_known")
        ),
        sa.CheckConstraint("fee_micros >= 0", name=op.f("rate_card_version_fee_not_negative")),
        sa.CheckConstraint("rate_ppb BETWEEN 0 AND 1000000000", name=op.f("rate_card_version_rate_in_range")),
        sa.PrimaryKeyConstraint("id", name=op.f("rate_card_version_pkey")),
        sa.UniqueConstraint(
            "rate_card_id", "valid_from", name=op.f("rate_card_version_rate_card_id_valid_from_key")
        ),
        schema="settlement",
    )
    op.create_table(
        "payee_access",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("payee_id", sa.Text(), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["user_id"], ["access.user.id"], name=op.f("payee_access_user_id_fkey")),
        sa.PrimaryKeyConstraint("user_id", "payee_id", name=op.f("payee_access_pkey")),
        schema="access",
    )
    op.create_table(
        "attribution",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("image_id", sa.BigInteger(), nullable=False),
        sa.Column("method_id", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("players", sa.SmallInteger(), nullable=False),
        sa.Column("denominator", sa.BigInteger(), nullable=False),
        sa.Column("fidelity", sa.BigInteger(), nullable=True),
        sa.Column("reading", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("environment", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("written_by", XID8(), server_default=sa.text("pg_current_xact_id()"), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(status = 'unattributed') = (reason IS NOT NULL)",
            name=op.f("attribution_reason_if_unattributed"),
        ),
        sa.CheckConstraint(
            "status = 'unattributed' OR players >= 2", name=op.f("attribution_players_if_attributed")
        ),
        sa.CheckConstraint("status IN ('attributed', 'unattributed')", name=op.f("attribution_status_known")),
        sa.ForeignKeyConstraint(
            ["image_id"], ["attribution.image.id"], name=op.f("attribution_image_id_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["method_id"], ["attribution.method_version.id"], name=op.f("attribution_method_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("attribution_pkey")),
        sa.UniqueConstraint("image_id", "method_id", name=op.f("attribution_image_id_method_id_key")),
        schema="attribution",
    )
    op.create_index(
        op.f("attribution_recorded_at_idx"),
        "attribution",
        ["recorded_at"],
        unique=False,
        schema="attribution",
    )
    op.create_table(
        "attribution_job",
        sa.Column("image_id", sa.BigInteger(), nullable=False),
        sa.Column("method_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("leased_by", sa.Text(), nullable=True),
        sa.Column(
            "next_attempt_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(state = 'leased') = (leased_until IS NOT NULL)", name=op.f("attribution_job_lease_has_end")
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'leased', 'done', 'failed')", name=op.f("attribution_job_state_known")
        ),
        sa.CheckConstraint("attempts >= 0", name=op.f("attribution_job_attempts_not_negative")),
        sa.ForeignKeyConstraint(
            ["image_id"], ["attribution.image.id"], name=op.f("attribution_job_image_id_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["method_id"], ["attribution.method_version.id"], name=op.f("attribution_job_method_id_fkey")
        ),
        sa.PrimaryKeyConstraint("image_id", "method_id", name=op.f("attribution_job_pkey")),
        schema="attribution",
    )
    op.create_index(
        "attribution_job_open_idx",
        "attribution_job",
        ["next_attempt_at", "image_id"],
        unique=False,
        schema="attribution",
        postgresql_where=sa.text("state IN ('pending', 'leased')"),
    )
    op.create_table(
        "placebo",
        sa.Column("method_id", sa.BigInteger(), nullable=False),
        sa.Column("weights_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("players", sa.SmallInteger(), nullable=False),
        sa.Column("slot", sa.SmallInteger(), nullable=False),
        sa.Column("mean", sa.BigInteger(), nullable=False),
        sa.Column("mean_standard_error", sa.BigInteger(), nullable=False),
        sa.Column("threshold", sa.BigInteger(), nullable=False),
        sa.Column("threshold_standard_error", sa.BigInteger(), nullable=False),
        sa.Column("names", sa.BigInteger(), nullable=False),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("names >= 40", name=op.f("placebo_names_enough")),
        sa.CheckConstraint(
            "players BETWEEN 2 AND 64 AND slot BETWEEN 1 AND players - 1", name=op.f("placebo_slot_in_game")
        ),
        sa.CheckConstraint("threshold >= 0", name=op.f("placebo_threshold_not_negative")),
        sa.ForeignKeyConstraint(
            ["method_id"], ["attribution.method_version.id"], name=op.f("placebo_method_id_fkey")
        ),
        sa.PrimaryKeyConstraint("method_id", "weights_sha256", "players", "slot", name=op.f("placebo_pkey")),
        schema="attribution",
    )
    op.create_table(
        "prompt_text",
        sa.Column("image_id", sa.BigInteger(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("negative_prompt", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["image_id"], ["attribution.image.id"], name=op.f("prompt_text_image_id_fkey")
        ),
        sa.PrimaryKeyConstraint("image_id", name=op.f("prompt_text_pkey")),
        schema="attribution",
    )
    op.create_table(
        "posting",
        sa.Column("journal_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("line", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("booked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.CheckConstraint("amount <> 0", name=op.f("posting_amount_not_zero")),
        sa.CheckConstraint("amount > '-9223372036854775808'", name=op.f("posting_amount_reversible")),
        sa.CheckConstraint("line BETWEEN 1 AND lines", name=op.f("posting_line_in_journal")),
        sa.ForeignKeyConstraint(
            ["account_id", "currency"],
            ["ledger.account.id", "ledger.account.currency"],
            name=op.f("posting_account_id_currency_fkey"),
        ),
        sa.ForeignKeyConstraint(
            ["journal_id", "lines", "booked_at"],
            ["ledger.journal.id", "ledger.journal.lines", "ledger.journal.booked_at"],
            name=op.f("posting_journal_id_lines_booked_at_fkey"),
        ),
        sa.PrimaryKeyConstraint("journal_id", "line", name=op.f("posting_pkey")),
        schema="ledger",
    )
    op.create_index(
        "posting_account_idx",
        "posting",
        ["account_id", "booked_at", "journal_id"],
        unique=False,
        schema="ledger",
        postgresql_include=["amount"],
    )
    op.create_table(
        "party_version",
        sa.Column("payee_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["payee_id"], ["settlement.payee.payee_id"], name=op.f("party_version_payee_id_fkey")
        ),
        sa.PrimaryKeyConstraint("payee_id", "version", name=op.f("party_version_pkey")),
        schema="party",
    )
    op.create_table(
        "batch_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "state IN ('draft', 'approved', 'submitting', 'submitted', 'partially_settled', 'settled', 'failed', 'cancelled')",
            name=op.f("batch_event_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["settlement.payout_batch.batch_id"], name=op.f("batch_event_batch_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("batch_event_pkey")),
        sa.UniqueConstraint("batch_id", "number", name=op.f("batch_event_batch_id_number_key")),
        schema="settlement",
    )
    op.create_table(
        "contract_split",
        sa.Column("contract_version_id", sa.BigInteger(), nullable=False),
        sa.Column("payee_id", sa.Text(), nullable=False),
        sa.Column("share_ppb", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("share_ppb BETWEEN 1 AND 1000000000", name=op.f("contract_split_share_in_range")),
        sa.ForeignKeyConstraint(
            ["contract_version_id"],
            ["settlement.contract_version.id"],
            name=op.f("contract_split_contract_version_id_fkey"),
        ),
        sa.ForeignKeyConstraint(
            ["payee_id"], ["settlement.payee.payee_id"], name=op.f("contract_split_payee_id_fkey")
        ),
        sa.PrimaryKeyConstraint("contract_version_id", "payee_id", name=op.f("contract_split_pkey")),
        schema="settlement",
    )
    op.create_table(
        "hold",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("payee_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("expected_until", sa.Date(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column(
            "opened_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["payee_id"], ["settlement.payee.payee_id"], name=op.f("hold_payee_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("hold_pkey")),
        schema="settlement",
    )
    op.create_index(op.f("hold_payee_id_idx"), "hold", ["payee_id"], unique=False, schema="settlement")
    op.create_table(
        "payout",
        sa.Column("payout_id", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("payee_id", sa.Text(), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.Column("balance_micros", sa.BigInteger(), nullable=False),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("party_version", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "amount_micros BETWEEN 0 AND balance_micros AND (decision = 'pay') = (amount_micros > 0)",
            name=op.f("payout_amount_if_paid"),
        ),
        sa.CheckConstraint(
            "decision IN ('pay', 'held', 'below_minimum', 'below_unit', 'no_bank_details', 'bad_bank_details')",
            name=op.f("payout_decision_known"),
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["settlement.payout_batch.batch_id"], name=op.f("payout_batch_id_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["payee_id"], ["settlement.payee.payee_id"], name=op.f("payout_payee_id_fkey")
        ),
        sa.PrimaryKeyConstraint("payout_id", name=op.f("payout_pkey")),
        sa.UniqueConstraint("batch_id", "payee_id", name=op.f("payout_batch_id_payee_id_key")),
        schema="settlement",
    )
    op.create_table(
        "payout_file",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["settlement.payout_batch.batch_id"], name=op.f("payout_file_batch_id_fkey")
        ),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("payout_file_pkey")),
        schema="settlement",
    )
    op.create_table(
        "platform_version",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("platform_payee_id", sa.Text(), nullable=False),
        sa.Column("model_developer_id", sa.Text(), nullable=False),
        sa.Column("default_rate_card_id", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("minimum_payout", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("dispute_contact", sa.Text(), nullable=False),
        sa.Column("dispute_days", sa.Integer(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["model_developer_id"],
            ["settlement.payee.payee_id"],
            name=op.f("platform_version_model_developer_id_fkey"),
        ),
        sa.ForeignKeyConstraint(
            ["platform_payee_id"],
            ["settlement.payee.payee_id"],
            name=op.f("platform_version_platform_payee_id_fkey"),
        ),
        sa.CheckConstraint("dispute_days > 0", name=op.f("platform_version_dispute_days_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("platform_version_pkey")),
        sa.UniqueConstraint("valid_from", name=op.f("platform_version_valid_from_key")),
        schema="settlement",
    )
    op.create_table(
        "royalty_run",
        sa.Column("period_id", sa.Text(), nullable=False),
        sa.Column("inputs_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("draft_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("approval_id", sa.BigInteger(), nullable=False),
        sa.Column("totals", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("closed_by", sa.Text(), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["approval_id"], ["settlement.approval.id"], name=op.f("royalty_run_approval_id_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["period_id"], ["settlement.period.period_id"], name=op.f("royalty_run_period_id_fkey")
        ),
        sa.PrimaryKeyConstraint("period_id", name=op.f("royalty_run_pkey")),
        sa.UniqueConstraint("approval_id", name=op.f("royalty_run_approval_id_key")),
        schema="settlement",
    )
    op.create_table(
        "run_draft",
        sa.Column("period_id", sa.Text(), nullable=False),
        sa.Column("inputs_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("draft_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("totals", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("calculated_by", sa.Text(), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["period_id"], ["settlement.period.period_id"], name=op.f("run_draft_period_id_fkey")
        ),
        sa.PrimaryKeyConstraint("period_id", name=op.f("run_draft_pkey")),
        schema="settlement",
    )
    op.create_table(
        "sale",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("content_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("image_id", sa.BigInteger(), nullable=False),
        sa.Column("sold_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("territory", sa.CHAR(length=2), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.Column("price_micros", sa.BigInteger(), nullable=False),
        sa.Column("tax_micros", sa.BigInteger(), nullable=False),
        sa.Column("payment_fee_micros", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("marketplace_fee_micros", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("other_deduction_micros", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("rate_card_id", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("sale_currency_iso")),
        sa.CheckConstraint("external_id <> ''", name=op.f("sale_external_id_not_empty")),
        sa.CheckConstraint("territory ~ '^[A-Z]{2}$'", name=op.f("sale_territory_iso")),
        sa.CheckConstraint(
            "payment_fee_micros >= 0 AND marketplace_fee_micros >= 0 AND other_deduction_micros >= 0",
            name=op.f("sale_deductions_not_negative"),
        ),
        sa.CheckConstraint(
            "price_micros > 0 AND tax_micros BETWEEN 0 AND price_micros", name=op.f("sale_price_and_tax")
        ),
        sa.ForeignKeyConstraint(["image_id"], ["attribution.image.id"], name=op.f("sale_image_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("sale_pkey")),
        sa.UniqueConstraint("external_id", name=op.f("sale_external_id_key")),
        schema="settlement",
    )
    op.create_index(op.f("sale_image_id_idx"), "sale", ["image_id"], unique=False, schema="settlement")
    op.create_index(op.f("sale_sold_at_idx"), "sale", ["sold_at"], unique=False, schema="settlement")
    op.create_table(
        "statement",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("statement_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("period_id", sa.Text(), nullable=False),
        sa.Column("payee_id", sa.Text(), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.Column("journal_id", sa.BigInteger(), nullable=True),
        sa.Column("opening", sa.BigInteger(), nullable=False),
        sa.Column("royalties", sa.BigInteger(), nullable=False),
        sa.Column("late", sa.BigInteger(), nullable=False),
        sa.Column("adjustments", sa.BigInteger(), nullable=False),
        sa.Column("refunds", sa.BigInteger(), nullable=False),
        sa.Column("reserves", sa.BigInteger(), nullable=False),
        sa.Column("recoupment", sa.BigInteger(), nullable=False),
        sa.Column("tax", sa.BigInteger(), nullable=False),
        sa.Column("claims", sa.BigInteger(), nullable=False),
        sa.Column("fx", sa.BigInteger(), nullable=False),
        sa.Column("payments", sa.BigInteger(), nullable=False),
        sa.Column("closing", sa.BigInteger(), nullable=False),
        sa.Column("payable", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.Column("below_minimum", sa.BigInteger(), nullable=False),
        sa.Column("below_unit", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("octet_length(sha256) = 32", name=op.f("statement_sha256_length")),
        sa.CheckConstraint(
            "opening + royalties + late + adjustments + refunds + reserves + recoupment + tax + claims + fx + payments = closing",
            name=op.f("statement_summary_adds_up"),
        ),
        sa.CheckConstraint(
            "payable + held + below_minimum + below_unit = greatest(closing, 0)",
            name=op.f("statement_closing_is_explained"),
        ),
        sa.ForeignKeyConstraint(
            ["journal_id"], ["ledger.journal.id"], name=op.f("statement_journal_id_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["payee_id"], ["settlement.payee.payee_id"], name=op.f("statement_payee_id_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["period_id"], ["settlement.period.period_id"], name=op.f("statement_period_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("statement_pkey")),
        sa.UniqueConstraint("journal_id", name=op.f("statement_journal_id_key")),
        sa.UniqueConstraint("number", name=op.f("statement_number_key")),
        sa.UniqueConstraint(
            "payee_id", "currency", "period_id", name=op.f("statement_payee_id_currency_period_id_key")
        ),
        sa.UniqueConstraint("sha256", name=op.f("statement_sha256_key")),
        sa.UniqueConstraint("statement_id", name=op.f("statement_statement_id_key")),
        schema="settlement",
    )
    op.create_table(
        "attribution_share",
        sa.Column("attribution_id", sa.BigInteger(), nullable=False),
        sa.Column("slot", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("player", sa.Text(), nullable=False),
        sa.Column("phi_numerator", sa.BigInteger(), nullable=False),
        sa.Column("placebo_mean", sa.BigInteger(), nullable=True),
        sa.Column("adjusted_numerator", sa.BigInteger(), nullable=False),
        sa.Column("placebo_threshold", sa.BigInteger(), nullable=True),
        sa.Column("paid_numerator", sa.BigInteger(), nullable=False),
        sa.Column("share_ppb", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("(slot = 0) = (player = 'C')", name=op.f("attribution_share_content_in_slot_0")),
        sa.CheckConstraint(
            "(slot = 0) = (placebo_mean IS NULL) AND (slot = 0) = (placebo_threshold IS NULL)",
            name=op.f("attribution_share_placebo_for_artists"),
        ),
        sa.CheckConstraint("paid_numerator >= 0", name=op.f("attribution_share_paid_not_negative")),
        sa.CheckConstraint(
            "share_ppb BETWEEN 0 AND 1000000000", name=op.f("attribution_share_share_in_range")
        ),
        sa.ForeignKeyConstraint(
            ["attribution_id"],
            ["attribution.attribution.id"],
            name=op.f("attribution_share_attribution_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("attribution_id", "slot", name=op.f("attribution_share_pkey")),
        sa.UniqueConstraint(
            "attribution_id", "player", name=op.f("attribution_share_attribution_id_player_key")
        ),
        schema="attribution",
    )
    op.create_table(
        "coalition_value",
        sa.Column("attribution_id", sa.BigInteger(), nullable=False),
        sa.Column("coalition", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("picture_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("prompt_sha256", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("coalition >= 0", name=op.f("coalition_value_coalition_not_negative")),
        sa.ForeignKeyConstraint(
            ["attribution_id"],
            ["attribution.attribution.id"],
            name=op.f("coalition_value_attribution_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("attribution_id", "coalition", name=op.f("coalition_value_pkey")),
        schema="attribution",
    )
    op.create_table(
        "hold_release",
        sa.Column("hold_id", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column(
            "released_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["hold_id"], ["settlement.hold.id"], name=op.f("hold_release_hold_id_fkey")),
        sa.PrimaryKeyConstraint("hold_id", name=op.f("hold_release_pkey")),
        schema="settlement",
    )
    op.create_table(
        "payout_attempt",
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("payout_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("length(attempt_id) <= 35", name=op.f("payout_attempt_end_to_end_id_length")),
        sa.ForeignKeyConstraint(
            ["payout_id"], ["settlement.payout.payout_id"], name=op.f("payout_attempt_payout_id_fkey")
        ),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("payout_attempt_pkey")),
        sa.UniqueConstraint("payout_id", "number", name=op.f("payout_attempt_payout_id_number_key")),
        schema="settlement",
    )
    op.create_table(
        "refund",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("content_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("sale_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("refunded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("external_id <> ''", name=op.f("refund_external_id_not_empty")),
        sa.CheckConstraint("kind IN ('refund', 'chargeback')", name=op.f("refund_kind_known")),
        sa.CheckConstraint("amount_micros > 0", name=op.f("refund_amount_positive")),
        sa.ForeignKeyConstraint(["sale_id"], ["settlement.sale.id"], name=op.f("refund_sale_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("refund_pkey")),
        sa.UniqueConstraint("external_id", name=op.f("refund_external_id_key")),
        schema="settlement",
    )
    op.create_index(
        op.f("refund_refunded_at_idx"), "refund", ["refunded_at"], unique=False, schema="settlement"
    )
    op.create_index(op.f("refund_sale_id_idx"), "refund", ["sale_id"], unique=False, schema="settlement")
    op.create_table(
        "sale_slice",
        sa.Column("sale_id", sa.BigInteger(), nullable=False),
        sa.Column("period_id", sa.Text(), nullable=False),
        sa.Column("usage_period", sa.Text(), nullable=False),
        sa.Column("rate_card_version_id", sa.BigInteger(), nullable=False),
        sa.Column("base_micros", sa.BigInteger(), nullable=False),
        sa.Column("slice_micros", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.CheckConstraint("base_micros >= 0 AND slice_micros >= 0", name=op.f("sale_slice_not_negative")),
        sa.ForeignKeyConstraint(
            ["period_id"], ["settlement.period.period_id"], name=op.f("sale_slice_period_id_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["rate_card_version_id"],
            ["settlement.rate_card_version.id"],
            name=op.f("sale_slice_rate_card_version_id_fkey"),
        ),
        sa.ForeignKeyConstraint(["sale_id"], ["settlement.sale.id"], name=op.f("sale_slice_sale_id_fkey")),
        sa.PrimaryKeyConstraint("sale_id", name=op.f("sale_slice_pkey")),
        schema="settlement",
    )
    op.create_index(
        op.f("sale_slice_period_id_idx"), "sale_slice", ["period_id"], unique=False, schema="settlement"
    )
    op.create_table(
        "refund_reversal",
        sa.Column("refund_id", sa.BigInteger(), nullable=False),
        sa.Column("sale_id", sa.BigInteger(), nullable=False),
        sa.Column("period_id", sa.Text(), nullable=False),
        sa.Column("refunded_micros", sa.BigInteger(), nullable=False),
        sa.Column("reversed_micros", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "refunded_micros > 0 AND reversed_micros >= 0", name=op.f("refund_reversal_amounts")
        ),
        sa.ForeignKeyConstraint(
            ["period_id"], ["settlement.period.period_id"], name=op.f("refund_reversal_period_id_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["refund_id"], ["settlement.refund.id"], name=op.f("refund_reversal_refund_id_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["sale_id"], ["settlement.sale.id"], name=op.f("refund_reversal_sale_id_fkey")
        ),
        sa.PrimaryKeyConstraint("refund_id", name=op.f("refund_reversal_pkey")),
        schema="settlement",
    )
    op.create_index(
        op.f("refund_reversal_sale_id_idx"), "refund_reversal", ["sale_id"], unique=False, schema="settlement"
    )
    op.create_table(
        "payout_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("payout_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("attempt_id", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "state IN ('held', 'ready', 'reserved', 'submitted', 'accepted', 'paid', 'returned', 'rejected', 'unknown', 'cancelled')",
            name=op.f("payout_event_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["attempt_id"],
            ["settlement.payout_attempt.attempt_id"],
            name=op.f("payout_event_attempt_id_fkey"),
        ),
        sa.ForeignKeyConstraint(
            ["payout_id"], ["settlement.payout.payout_id"], name=op.f("payout_event_payout_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("payout_event_pkey")),
        sa.UniqueConstraint("payout_id", "number", name=op.f("payout_event_payout_id_number_key")),
        schema="settlement",
    )
    op.create_table(
        "royalty_line",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("period_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("sale_id", sa.BigInteger(), nullable=False),
        sa.Column("player", sa.Text(), nullable=True),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("payee_id", sa.Text(), nullable=True),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.Column("attribution_id", sa.BigInteger(), nullable=True),
        sa.Column("share_ppb", sa.BigInteger(), nullable=True),
        sa.Column("contract_version_id", sa.BigInteger(), nullable=True),
        sa.Column("split_ppb", sa.BigInteger(), nullable=True),
        sa.Column("distribution_key", sa.Text(), nullable=False),
        sa.Column("refund_id", sa.BigInteger(), nullable=True),
        sa.Column("corrects", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(destination = 'payee') = (payee_id IS NOT NULL)", name=op.f("royalty_line_payee_if_destination")
        ),
        sa.CheckConstraint(
            "(kind = 'refund') = (refund_id IS NOT NULL)", name=op.f("royalty_line_refund_if_kind")
        ),
        sa.CheckConstraint(
            "destination IN ('payee', 'unclaimed', 'pending', 'unattributed')",
            name=op.f("royalty_line_destination_known"),
        ),
        sa.CheckConstraint(
            "kind <> 'refund' OR (corrects IS NOT NULL AND amount_micros < 0)",
            name=op.f("royalty_line_refund_corrects"),
        ),
        sa.CheckConstraint(
            "kind IN ('royalty', 'pending', 'unattributed', 'late', 'refund')",
            name=op.f("royalty_line_kind_known"),
        ),
        sa.ForeignKeyConstraint(
            ["corrects"], ["settlement.royalty_line.id"], name=op.f("royalty_line_corrects_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["refund_id"], ["settlement.refund.id"], name=op.f("royalty_line_refund_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("royalty_line_pkey")),
        sa.UniqueConstraint(
            "sale_id",
            "kind",
            "player",
            "payee_id",
            "refund_id",
            "corrects",
            name=op.f("royalty_line_sale_id_kind_player_payee_id_refund_id_corrects_key"),
            postgresql_nulls_not_distinct=True,
        ),
        schema="settlement",
    )
    op.create_index(
        "royalty_line_payee_idx",
        "royalty_line",
        ["payee_id", "period_id", "currency", "id"],
        unique=False,
        schema="settlement",
    )
    op.create_index(
        op.f("royalty_line_period_id_idx"), "royalty_line", ["period_id"], unique=False, schema="settlement"
    )
    op.create_index(
        "royalty_line_pending_idx",
        "royalty_line",
        ["sale_id"],
        unique=False,
        schema="settlement",
        postgresql_where=sa.text("kind = 'pending'"),
    )
    op.execute("RESET ROLE")
    run_sql_file(op.get_bind(), "attribution/sql/0001_attribution_guard.sql")
    run_sql_file(op.get_bind(), "settlement/ledger/sql/0001_ledger_guard.sql")
    run_sql_file(op.get_bind(), "settlement/sql/0001_settlement_guard.sql")
    run_sql_file(op.get_bind(), "settlement/sql/0001_statement_lines.sql")
    run_sql_file(op.get_bind(), "database/sql/0001_grants.sql")


def downgrade() -> None:
    # Roles stay: other databases of the server use them.
    for schema in ("audit", "settlement", "ledger", "attribution", "party", "access", "guard"):
        op.execute(f"DROP SCHEMA {schema} CASCADE")
    op.execute("GRANT ALL ON SCHEMA public TO PUBLIC")
