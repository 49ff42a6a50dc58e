"""Books with a checkpoint that was kept outside, and a superuser who may change any column of them, every guard off."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from database.engine import engine, session
from database.roles import Role
from settlement.audit.proof import Proof, verify_log, write_leaves
from settlement.ledger import checkpoints
from settlement.ledger.checkpoints import Head
from settlement.periods.frozen import TABLES

LEDGER = (
    "ledger.account",
    "ledger.journal",
    "ledger.posting",
    "ledger.seal",
    "ledger.closing_balance",
    "ledger.checkpoint",
    "ledger.schema_change",
    "ledger.log_leaf",
    "ledger.log_node",
)

# When a leaf was stored is nobody's claim: seals and checkpoints say when, and are leaves. No statement depends on the
# wait after a change of bank details, and the leaves of periods that were closed before it cover their rows without it.
UNCOVERED = {
    ("ledger.log_leaf", "recorded_at"),
}

# How a finding names a row of these.
NAMED = {
    "ledger.posting": "journal ",
    "ledger.closing_balance": "seal ",
    "ledger.log_leaf": " leaf ",
    "ledger.log_node": "node ",
}

FLIP = {
    # High bits, so that no key is another row's.
    "bigint": "coalesce({c}, 0) # 1048576",
    "integer": "coalesce({c}, 0) # 1048576",
    "smallint": "coalesce({c}, 0) # 64",
    "numeric": "coalesce({c}, 0) + 1",
    "text": "coalesce(chr(ascii({c}) # 1) || substr({c}, 2), 'x')",
    "character": "coalesce(chr(ascii({c}) # 1) || substr({c}, 2), 'XX')",
    "bytea": "coalesce(set_byte({c}, 0, get_byte({c}, 0) # 1), '\\x01')",
    "timestamp with time zone": "{c} + interval '1 microsecond'",
    "date": "{c} + 1",
    "boolean": "NOT {c}",
    "jsonb": """coalesce({c}, '{{}}') || '{{"flipped": 1}}'""",
    "xid8": "(pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint + 7)::text::xid8",
    "ARRAY": "array_append({c}, 'x')",
    "name": "'flipped'",
}


class Kept:
    """A checkpoint and its leaf-hash file, kept outside, and a superuser's transaction in which all guards are off."""

    def __init__(self, own: Session, head: Head, leaves: Path) -> None:
        self.own, self.head, self.leaves = own, head, leaves

    @contextmanager
    def after(self, *statements: str) -> Iterator[Callable[..., Proof]]:
        """What the auditor's verification finds after these statements, which are undone."""
        with self.own.begin_nested() as savepoint:
            for statement in statements:
                self.own.connection().exec_driver_sql(statement)
            self.own.execute(text("SET LOCAL ROLE auditor"))

            def verify(*, head: bool = True, leaves: bool = True) -> Proof:
                return verify_log(
                    self.own,
                    keys=checkpoints.verifier_keys(),
                    head=self.head if head else None,
                    leaves=self.leaves if head and leaves else None,
                )

            yield verify
            savepoint.rollback()


@contextmanager
def keeping(folder: Path) -> Iterator[Kept]:
    """Sign the books' head, keep it, and switch every guard off until the end."""
    with session(Role.SETTLEMENT) as own:
        checkpoint = checkpoints.sign_head(own, "ann")
    head = Head(checkpoint.origin, checkpoint.size, checkpoint.root)
    leaves = folder / "checkpoint.leaves"
    with session(Role.AUDITOR) as own, leaves.open("wb") as file:
        write_leaves(own, head, file)
    with engine(Role.ADMIN).connect() as connection, connection.begin() as transaction:
        with Session(connection, join_transaction_mode="create_savepoint") as own:
            own.execute(text("SET LOCAL event_triggers = off"))
            for table in (*LEDGER, *TABLES):
                own.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER ALL"))
                for (constraint,) in own.execute(
                    text(
                        "SELECT conname FROM pg_constraint WHERE conrelid = CAST(:t AS regclass) AND contype = 'c'"
                    ),
                    {"t": table},
                ).all():
                    own.execute(text(f'ALTER TABLE {table} DROP CONSTRAINT "{constraint}"'))
                for (column,) in own.execute(
                    text(
                        "SELECT attname FROM pg_attribute WHERE attrelid = CAST(:t AS regclass) AND attidentity <> ''"
                    ),
                    {"t": table},
                ).all():
                    own.execute(text(f"ALTER TABLE {table} ALTER COLUMN {column} DROP IDENTITY"))
            yield Kept(own, head, leaves)
        transaction.rollback()


def texts(proof: Proof, *checks: str) -> list[str]:
    return [finding.text for finding in proof.findings if not checks or finding.check in checks]


def not_found(kept: Kept, tables: Sequence[str]) -> tuple[int, list[str]]:
    """How many columns these tables have, and those of which another value in one row is not found."""
    missed, columns = [], 0
    for table in tables:
        schema, name = table.split(".")
        assert kept.own.scalar(text(f"SELECT EXISTS (SELECT FROM {table})")), table
        found = kept.own.execute(
            text(
                "SELECT column_name, data_type FROM information_schema.columns"
                " WHERE table_schema = :schema AND table_name = :name ORDER BY ordinal_position"
            ),
            {"schema": schema, "name": name},
        ).all()
        for column, kind in found:
            if (table, column) in UNCOVERED:
                continue
            columns += 1
            value = FLIP[kind].format(c=column)
            change = f'UPDATE {table} SET "{column}" = {value} WHERE ctid = (SELECT min(ctid) FROM {table})'
            with kept.after(change) as verify:
                name = NAMED.get(table, table if table in TABLES else table.split(".")[1])
                if not any(name in finding for finding in texts(verify())):
                    missed.append(f"{table}.{column}")
    return columns, missed
