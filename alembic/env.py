"""How migrations run: as superuser, one transaction each, one process at a time, never waiting long for a lock."""

from importlib import import_module

from alembic import context
from sqlalchemy import Connection, text

from database.base import Base
from database.engine import engine
from database.roles import Role

# Every module with models, so that autogenerate and the drift test see the whole schema.
for module in (
    "attribution.catalogue",
    "attribution.generation",
    "attribution.jobs",
    "attribution.results",
    "database.identity",
    "settlement.contracts",
    "settlement.ledger.models",
    "settlement.payees",
    "settlement.payouts.models",
    "settlement.periods.models",
    "settlement.rates",
    "settlement.sales",
    "settlement.statements.models",
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
    connection.commit()
    try:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            transaction_per_migration=True,
            include_schemas=True,
            include_name=_ours,
            compare_server_default=True,
            version_table_schema="public",
        )
        with context.begin_transaction():
            context.run_migrations()
    finally:
        connection.rollback()
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
