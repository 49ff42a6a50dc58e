"""How migrations run: as superuser, one transaction each, one process at a time, never waiting long for a lock."""

from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import Connection, text

from database.base import Base
from database.engine import engine
from database.manifest import read_manifest
from database.migrate import driver_of
from database.roles import Role
from database.schema_change import is_comparable, record_change

# Every module with models, so that autogenerate and the drift test see the whole schema.
for module in (
    "attribution.catalogue",
    "attribution.generation",
    "attribution.jobs",
    "attribution.known_names",
    "attribution.results",
    "database.identity",
    "database.schema_change",
    "settlement.advances",
    "settlement.bank_details",
    "settlement.claims",
    "settlement.contracts",
    "settlement.corrections.models",
    "settlement.disputes",
    "settlement.fx",
    "settlement.ledger.models",
    "settlement.own_purchases",
    "settlement.payees",
    "settlement.payouts.bank_messages.models",
    "settlement.payouts.models",
    "settlement.payouts.screening",
    "settlement.payouts.provider.models",
    "settlement.periods.models",
    "settlement.rates",
    "settlement.reserves",
    "settlement.sales",
    "settlement.statements.models",
    "settlement.tax",
):
    import_module(module)

SCHEMAS = {"access", "party", "attribution", "ledger", "settlement"}


def _ours(name: str | None, kind: str, _parents: object) -> bool:
    """Compare our own schemas only; the broker's and the audit views are not tables of models."""
    return kind != "schema" or name in SCHEMAS


def _run(connection: Connection) -> None:
    # A migration that waits for a lock makes every other query wait behind it: give up instead, and be run again.
    connection.execute(text("SET lock_timeout = '4s'"))
    connection.execute(text("SET statement_timeout = '10min'"))
    # Two deployments at once: the second waits here and then finds nothing to do.
    connection.execute(text("SELECT pg_advisory_lock(hashtext('alembic'))"))
    # The schema is fenced (0011): for this connection, and for no other, the fence is down until its migrations are through.
    connection.execute(text("SET event_triggers = off"))
    schema = read_manifest(driver_of(connection))
    connection.commit()

    def record(
        ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: Mapping[str, Any]
    ) -> None:
        """Record what a migration did, in its transaction: a change cannot be committed without its record."""
        nonlocal schema
        before, schema = schema, read_manifest(driver_of(connection))
        record_change(
            connection,
            before,
            schema,
            ", ".join(step.source_revision_ids) or "base",
            ", ".join(step.destination_revision_ids) or "base",
        )

    try:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            transaction_per_migration=True,
            include_schemas=True,
            include_name=_ours,
            compare_server_default=True,
            version_table_schema="public",
            on_version_apply=record,
        )
        with context.begin_transaction():
            context.run_migrations()
        if not is_comparable(connection):
            # A newer server writes the same schema in other words: record it in these.
            revision = context.get_context().get_current_revision() or "base"
            record_change(connection, schema, schema, revision, revision)
            connection.commit()
    finally:
        connection.rollback()
        connection.execute(text("RESET event_triggers"))
        connection.execute(text("SELECT pg_advisory_unlock(hashtext('alembic'))"))
        connection.execute(text("RESET lock_timeout"))
        connection.execute(text("RESET statement_timeout"))
        connection.commit()


if context.is_offline_mode():
    raise SystemExit("migrations need a database: run `royalty db migrate`")
given = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    with engine(Role.ADMIN).connect() as connection:
        _run(connection)
