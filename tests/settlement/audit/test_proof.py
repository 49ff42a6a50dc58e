"""What a superuser changed, with every guard off, is found and named against a checkpoint that was kept."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from database.engine import engine, psycopg_connection, session
from database.errors import Invalid
from database.roles import Role
from settlement.audit.proof import KEPT, LOG, ROWS, SIGNED, Proof, verify_log, write_leaves
from settlement.ledger import checkpoints, log, merkle
from settlement.ledger.checkpoints import Head
from settlement.ledger.records import journal_digests
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
    "character": "coalesce(chr(ascii({c}) # 1) || substr({c}, 2), 'XXX')",
    "bytea": "coalesce(set_byte({c}, 0, get_byte({c}, 0) # 1), '\\x01')",
    "timestamp with time zone": "{c} + interval '1 microsecond'",
    "date": "{c} + 1",
    "boolean": "NOT {c}",
    "jsonb": """coalesce({c}, '{{}}') || '{{"flipped": 1}}'""",
    "xid8": "(pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint + 7)::text::xid8",
    "ARRAY": "array_append({c}, 'x')",
    "name": "'flipped'",
}


NOT_IN_THESE_BOOKS = {
    f"settlement.{name}"
    for name in (
        "fx_rate",
        "tax_profile_version",
        "reserve_version",
        "advance",
        "statement_column",
        "conversion",
        "reserve",
        "reserve_use",
        "tax_determination",
        "tax_reversal",
        "recoupment",
        "correction",
        "correction_sale",
        "correction_contract",
        "correction_application",
    )
}
"""Covered tables without a row here: nobody is taxed, held back or paid in advance, everybody is paid in EUR, and
nothing is corrected (`tests.settlement.corrections` has those)."""


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


@pytest.fixture(scope="module")
def kept(books: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with session(Role.SETTLEMENT) as own:
        checkpoint = checkpoints.sign_head(own, "ann")
    head = Head(checkpoint.origin, checkpoint.size, checkpoint.root)
    leaves = tmp_path_factory.mktemp("kept") / "checkpoint.leaves"
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


def test_untouched_books_hold(kept: Kept) -> None:
    with kept.after() as verify:
        proof = verify()
    assert texts(proof) == []
    assert proof.size == kept.head.size + 1
    assert "covered: the first" in proof.notes[0] and "1 x checkpoint" in proof.notes[1]


def test_every_column_of_every_covered_table(kept: Kept) -> None:
    """Whatever column there is, of whatever type: another value in one row is found."""
    missed, columns, empty = [], 0, set()
    for table in (*LEDGER, *TABLES):
        schema, name = table.split(".")
        if not kept.own.scalar(text(f"SELECT EXISTS (SELECT FROM {table})")):
            empty.add(table)
            continue
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
    assert columns > 200
    assert missed == []
    assert sorted(empty) == sorted(NOT_IN_THESE_BOOKS)


def test_the_row_is_named(kept: Kept) -> None:
    """What the issue asks for by name: each change, and the words that say which record it was."""
    changes = {
        "UPDATE attribution.coalition_value SET value = value + 1 WHERE attribution_id = 1 AND coalition = 3":
            "2026-10/attribution.coalition_value: 1/3 was altered",
        "UPDATE settlement.rate_card_version SET rate_ppb = rate_ppb + 1":
            "2026-11/settlement.rate_card_version: 1 was altered",
        "UPDATE settlement.sale SET price_micros = price_micros + 1 WHERE external_id = 'sale-3'":
            "2026-10/settlement.sale: sale-3 was altered",
        "DELETE FROM settlement.royalty_line WHERE id = (SELECT max(id) FROM settlement.royalty_line)":
            "was removed",
        "INSERT INTO settlement.contract_split SELECT contract_version_id, 'platform', 1 FROM"
        " settlement.contract_split LIMIT 1": "settlement.contract_split: 1/platform was inserted",
        "UPDATE settlement.payee SET payee_id = 'pay-9' WHERE payee_id = 'pay-2'":
            "settlement.payee: pay-9 was inserted",
        "UPDATE ledger.posting SET amount = amount + 1 WHERE journal_id = 1": "journal sale:sale-1 was altered",
        "UPDATE ledger.journal SET key = 'sale:x' WHERE key = 'sale:sale-1'":
            "journal sale:sale-1 is in the log and is there no more",
        "DELETE FROM ledger.journal WHERE id = (SELECT max(id) FROM ledger.journal)": "there no more",
        "UPDATE ledger.account SET id = id + 1000 WHERE code = 'bank:EUR'; UPDATE ledger.posting SET"
        " account_id = account_id + 1000 WHERE account_id = (SELECT id - 1000 FROM ledger.account WHERE code ="
        " 'bank:EUR')": "account bank:EUR was altered",
        "DELETE FROM ledger.seal WHERE name = '2026-11'": "seal 2026-11 is in the log and is there no more",
        "INSERT INTO ledger.journal (id, kind, key, booked_at, value_date, lines, content_sha256, actor)"
        " VALUES (999, 'sale', 'sale:late', '2026-10-05', '2026-10-05', 2, sha256('x'), 'x')":
            "journal sale:late was inserted below the last seal",
        "UPDATE settlement.statement SET body = replace(body, '0.1', '0.2') WHERE statement_id = '2026-10/pay-1/EUR'":
            "statement 2026-10/pay-1/EUR was altered",
        "UPDATE ledger.checkpoint SET note = replace(note, chr(10) || chr(8212), chr(10) || chr(8212) || 'x')":
            "signature",
    }  # fmt: skip
    for change, words in changes.items():
        with kept.after(*change.split("; ")) as verify:
            found = texts(verify())
        assert any(words in finding for finding in found), (change, found)


def test_rows_and_log_changed_together(kept: Kept) -> None:
    """Somebody who changes a row, its leaf and the tree's nodes: found against what was kept, and only there named."""
    with kept.after("UPDATE ledger.journal SET actor = 'mallory' WHERE key = 'sale:sale-2'") as verify:
        assert texts(verify(head=False), ROWS) == ["journal sale:sale-2 was altered after it was logged"]
        kept.own.execute(text("SET LOCAL ROLE postgres"))
        index, _ = _relog(kept.own, "journal", "sale:sale-2")
        kept.own.execute(text("SET LOCAL ROLE auditor"))
        proof = verify()
        assert texts(proof, ROWS) == [] and texts(proof, LOG) == []
        assert f"journal sale:sale-2, leaf {index}, was altered, and the log with it" in texts(proof, KEPT)
        # The stored checkpoint is signed: without a copy outside it still shows that something is wrong, not what.
        assert "has another root" in texts(verify(head=False), SIGNED)[0]
        narrowed = texts(verify(leaves=False), KEPT)
        assert narrowed == [f"leaves 0 to {kept.head.size - 1} of the log are not those that were signed"]


def _relog(own: Session, kind: str, reference: str) -> tuple[int, bytes]:
    """Make the log agree with a record as it is now, as somebody with all rights and our code would."""
    digests = dict(d for batch in journal_digests(psycopg_connection(own)) for d in batch)
    own.execute(
        text("UPDATE ledger.log_leaf SET sha256 = :s WHERE kind = :k AND reference = :r"),
        {"s": digests[reference], "k": kind, "r": reference},
    )
    found = log.find(own, kind, reference)
    assert found is not None
    own.execute(
        text("UPDATE ledger.log_node SET hash = :h WHERE level = 0 AND position = :p"),
        {"h": merkle.leaf_hash(log.entry(kind, reference, found[1])), "p": found[0]},
    )
    return found


def test_the_end_cut_off(kept: Kept) -> None:
    size = kept.head.size
    with kept.after(
        f"DELETE FROM ledger.log_leaf WHERE index >= {size - 3}",
        f"DELETE FROM ledger.log_node WHERE level = 0 AND position >= {size - 3}",
        "DELETE FROM ledger.checkpoint",
    ) as verify:
        found = texts(verify())
        assert any("leaves were removed" in finding for finding in found)
        assert any(f"leaf {size - 1}, was removed from the log" in finding for finding in found)


def test_a_file_of_another_checkpoint_is_refused(kept: Kept) -> None:
    head = Head(kept.head.origin, kept.head.size, bytes(32))
    with kept.after(), pytest.raises(Invalid, match="not that of this checkpoint"):
        verify_log(kept.own, keys=checkpoints.verifier_keys(), head=head, leaves=kept.leaves)
    with (
        kept.after("UPDATE settlement.sale SET tax_micros = tax_micros + 1"),
        pytest.raises(Invalid, match="altered"),
    ):
        write_leaves(kept.own, kept.head, io.BytesIO())
