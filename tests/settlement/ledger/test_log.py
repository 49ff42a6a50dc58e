"""The log has no gap and no second place, whoever appends; it takes what is committed, and proves it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from database.engine import session
from database.errors import Conflict, NotFound, Unavailable
from database.roles import Role
from database.settings import get_settings
from settlement.ledger import checkpoints, log, merkle, seal
from tests.settlement.ledger.raw import connected, count, journal, open_books, refused

LEAF = "INSERT INTO ledger.log_leaf (index, kind, reference, sha256) VALUES (%s, 'journal', %s, sha256(%s))"


@pytest.fixture(autouse=True)
def _books(database: str) -> None:
    open_books()


def test_nobody_leaves_a_gap() -> None:
    with session(Role.SETTLEMENT) as own:
        log.sequence_journals(own)
        end = log.size(own)
    for role in (Role.SETTLEMENT, Role.PAYER, Role.ADMIN):
        for index in (end + 1, end + 7):
            with refused("log_is_dense"), connected(role) as connection:
                connection.execute(LEAF, (index, f"x{index}", b"x"))
        with refused("log_leaf_pkey"), connected(role) as connection:
            connection.execute(LEAF, (0, "again", b"x"))
        with refused("log_sees_its_end"), connected(role) as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute(LEAF, (end, "x", b"x"))
    with refused("log_leaf_kind_reference_key"), connected() as connection:
        connection.execute(LEAF, (end, "first", b"x"))
    with refused("log_leaf_without_control_characters"), connected() as connection:
        connection.execute(LEAF, (end, "a\tb", b"x"))


def test_a_seal_fixes_what_is_there() -> None:
    """Its closing balances are complete whoever seals, and its head is the log's."""
    with refused("seal_names_the_head"), connected() as connection:
        connection.execute(
            "INSERT INTO ledger.seal (name, sealed_before, actor, log_size, log_root)"
            " VALUES ('x', '2026-11-01', 'x', 99, sha256('x'))"
        )
    with connected() as connection:
        connection.execute(
            "INSERT INTO ledger.seal (name, sealed_before, actor) VALUES ('2026-10', '2026-11-01', 'x')"
        )
    with connected(Role.ADMIN) as connection:
        rows = connection.execute(
            "SELECT account, opening::int, debits::int, credits::int, closing::int FROM audit.closing_balances"
            " ORDER BY account"
        ).fetchall()
        assert rows == [("bank:EUR", 0, 5, 0, 5), ("till:EUR", 0, 0, -5, -5)]
    for statement, constraint in (
        ("INSERT INTO ledger.closing_balance SELECT '2026-10', id, 0, 0, 0, 0 FROM ledger.account"
         " WHERE currency = 'USD'", "closing_balances_written_once"),
        ("INSERT INTO ledger.seal (name, sealed_before, actor) VALUES ('2026-09', '2026-10-01', 'x')",
         "seals_follow_each_other"),
    ):  # fmt: skip
        with refused(constraint), connected(Role.ADMIN) as connection:
            connection.execute(statement)
    with pytest.raises(Conflict, match="sealed already"), session(Role.SETTLEMENT) as own:
        seal(own, "2026-09", datetime(2026, 10, 1, tzinfo=UTC), "ann")


def test_what_is_not_committed_comes_the_next_time() -> None:
    with connected() as late:
        journal(late, "late", 5, -5)
        with session(Role.SETTLEMENT) as own:
            assert log.sequence_journals(own) == 1
            assert log.find(own, "journal", "late") is None
            before = log.size(own)
    with session(Role.PAYER) as own:
        assert log.sequence_journals(own) == 1
        assert log.sequence_journals(own) == 0
        found = log.find(own, "journal", "late")
        assert found is not None and found[0] == before
    # Accounts, the migrations and two journals, in the order they were taken up.
    assert count("ledger.log_leaf") == 4 + count("ledger.schema_change") + 2


def test_proofs_of_a_log_of_many_blocks() -> None:
    leaves = [("x", f"a\\{number}", number.to_bytes(32, "big")) for number in range(1000)]
    with session(Role.SETTLEMENT) as own:
        assert log.append(own, leaves[:300]) == 300
        assert log.append(own, leaves[200:]) == 700
        with pytest.raises(Conflict, match="in the log with other content"):
            log.append(own, [("x", "a\\7", bytes(32))])
        hashes = [merkle.leaf_hash(log.entry(*leaf)) for leaf in leaves]
        for size in (0, 1, 255, 256, 257, 511, 513, 768, 1000):
            assert log.root(own, size) == merkle.root(hashes[:size])
            for index in (0, 1, size // 2, size - 1):
                if 0 <= index < size:
                    proof = log.inclusion_proof(own, index, size)
                    assert proof == merkle.inclusion_proof(hashes[:size], index)
                first = min(max(index, 0), size)
                assert log.consistency_proof(own, first, size) == merkle.consistency_proof(
                    hashes[:size], first
                )
        for wrong in ((1000, 1000), (-1, 10), (0, 1001)):
            with pytest.raises(NotFound):
                log.inclusion_proof(own, *wrong)


def test_keys_hand_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotation that is killed goes on; old notes stay good; without the key nobody signs."""
    monkeypatch.setenv("ROYALTY_HOME", str(tmp_path))
    home = get_settings().model_copy(update={"royalty_home": tmp_path})
    monkeypatch.setattr(checkpoints, "get_settings", lambda: home)
    with session(Role.SETTLEMENT) as own:
        first = checkpoints.sign_head(own, "ann")
        assert checkpoints.sign_head(own, "ann").size == first.size
        [old] = checkpoints.verifier_keys()
        # Killed after the new key was written: the old one signs until the handover is there.
        checkpoints._make(2, old.name)
        assert checkpoints.signer(own).key == old and checkpoints.verifier_keys() == [old]
        new = checkpoints.rotate(own).key
        assert checkpoints.verifier_keys() == [old, new]
        assert checkpoints.trusted_keys([old], checkpoints.handovers()) == [old, new]
        second = checkpoints.sign_head(own, "ann")
        assert checkpoints.read_head(second.note, [new]).size == second.size > first.size
        assert checkpoints.read_head(first.note, [old]).root == first.root
        assert not (tmp_path / "keys" / "checkpoint-0001.json").exists()
        assert (tmp_path / "keys" / "checkpoint-0002.json").stat().st_mode & 0o077 == 0
        proof = log.consistency_proof(own, first.size, second.size)
        assert merkle.verify_consistency(first.size, second.size, first.root, second.root, proof)
        (tmp_path / "keys" / "checkpoint-0002.json").unlink()
        with pytest.raises(Unavailable, match="is not in"):
            checkpoints.sign_head(own, "ann")


def test_an_artist_sees_hashes_of_others_and_no_more() -> None:
    with session(Role.SETTLEMENT) as own:
        log.sequence_journals(own)
    with session(Role.PORTAL) as own:
        assert own.execute(text("SELECT count(*) FROM ledger.log_leaf")).scalar_one() == 0
        assert log.find(own, "journal", "first") is None
        assert len(log.inclusion_proof(own, 0, log.size(own))) > 0
