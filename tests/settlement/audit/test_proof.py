"""What a superuser changed, with every guard off, is found and named against a checkpoint that was kept."""

import io
from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from database.engine import psycopg_connection
from database.errors import Invalid
from settlement.audit.proof import KEPT, LOG, ROWS, SIGNED, verify_log, write_leaves
from settlement.ledger import checkpoints, log, merkle
from settlement.ledger.checkpoints import Head
from settlement.ledger.records import journal_digests
from settlement.periods.frozen import TABLES
from tests.settlement.audit.kept import LEDGER, Kept, keeping, not_found, texts
from tests.settlement.audit.test_proof_of_money import MONEY_TABLES


@pytest.fixture(scope="module")
def kept(books: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with keeping(tmp_path_factory.mktemp("kept")) as kept:
        yield kept


def test_untouched_books_hold(kept: Kept) -> None:
    with kept.after() as verify:
        proof = verify()
    assert texts(proof) == []
    assert proof.size == kept.head.size + 1
    assert "covered: the first" in proof.notes[0] and "1 x checkpoint" in proof.notes[1]


def test_every_column_of_every_covered_table(kept: Kept) -> None:
    """Whatever column there is, of whatever type: another value in one row is found. Tables of money terms: beside."""
    columns, missed = not_found(kept, [table for table in (*LEDGER, *TABLES) if table not in MONEY_TABLES])
    assert columns > 200
    assert missed == []


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
