"""The page is enough: a verifier that shares no line with ours agrees with it, and finds what a superuser did."""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from database.embedded import EmbeddedServer
from database.engine import conninfo, session
from database.roles import Role
from tests.second_verifier import verifier
from tests.second_verifier.verifier import Checkpoint, Entry, Finding, Key, Leaves, Psql, Refused, Report
from tests.settlement.books import write_books

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "proof-format.md").read_text()
VECTORS: dict[str, Any] = json.loads(PAGE.rpartition("```json")[2].partition("```")[0])
KEYS = [Key.parse(text) for text in VECTORS["keys"]]
SEEDS = [b"\x01" * 32, b"\x02" * 32]
FILE = VECTORS["statement_file"]
TEXT = VECTORS["checkpoint"].partition("\n\n")[0] + "\n"


def hashes(texts: list[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


def signature(text: str, number: int = 0) -> str:
    signed = Ed25519PrivateKey.from_private_bytes(SEEDS[number]).sign(text.encode())
    return f"— {KEYS[number].name} {base64.b64encode(KEYS[number].id + signed).decode()}\n"


def test_the_verifier_shares_no_line_with_ours() -> None:
    source = Path(verifier.__file__).read_text()
    imported = set(re.findall(r"^(?:from|import) (\w+)", source, re.MULTILINE))
    assert imported <= set(sys.stdlib_module_names)


# The golden vectors


def test_rows_and_leaves() -> None:
    for name in ("account", "journal"):
        assert sha256(VECTORS[name]["record"].encode()).hexdigest() == VECTORS[name]["sha256"]
    rows = VECTORS["rows"]
    leaves = [verifier.leaf_hash(record.encode()) for record in rows["records"]]
    assert leaves == hashes(rows["leaf_hashes"])
    assert verifier.root(leaves).hex() == rows["root"]
    assert verifier.root([]).hex() == rows["empty_root"]
    read = [verifier.value(field) for field in rows["records"][0][:-1].encode().split(b"\t")]
    assert read == ["1", "back\\slash, tab \t, newline \n", None]
    for vector in VECTORS["entries"]:
        _, kind, reference, digest = vector["entry"][:-1].split("\t")
        entry = Entry(kind, reference.replace("\\\\", "\\"), digest)
        assert entry.data().decode() == vector["entry"]
        assert entry.hash().hex() == vector["leaf_hash"]


def test_trees_and_their_proofs() -> None:
    leaves = hashes([vector["leaf_hash"] for vector in VECTORS["entries"]])
    assert [verifier.root(leaves[:size]).hex() for size in range(5)] == VECTORS["roots"]
    given = VECTORS["inclusion"]
    found = verifier.root_by_inclusion(2, given["size"], leaves[2], hashes(given["proof"]))
    assert found.hex() == VECTORS["roots"][4]
    given = VECTORS["consistency"]
    first, second = (bytes.fromhex(VECTORS["roots"][given[name]]) for name in ("first", "second"))
    verifier.check_consistency(given["first"], first, given["second"], second, hashes(given["proof"]))
    for proof in (given["proof"][:-1], given["proof"][::-1], [*given["proof"], given["proof"][0]], []):
        with pytest.raises(Refused):
            verifier.check_consistency(given["first"], first, given["second"], second, hashes(proof))
    with pytest.raises(Refused):
        verifier.check_consistency(given["first"], second, given["second"], first, hashes(given["proof"]))


def inclusion(leaves: list[bytes], index: int) -> list[bytes]:
    """RFC 6962, section 2.1.1, as it is written there."""
    if len(leaves) == 1:
        return []
    k = 1 << (len(leaves) - 1).bit_length() - 1
    if index < k:
        return [*inclusion(leaves[:k], index), verifier.root(leaves[k:])]
    return [*inclusion(leaves[k:], index - k), verifier.root(leaves[:k])]


def consistency(first: int, leaves: list[bytes], known: bool = True) -> list[bytes]:
    """RFC 6962, section 2.1.2, as it is written there."""
    if first == len(leaves):
        return [] if known else [verifier.root(leaves)]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    if first <= k:
        return [*consistency(first, leaves[:k], known), verifier.root(leaves[k:])]
    return [*consistency(first - k, leaves[k:], False), verifier.root(leaves[:k])]


def test_proofs_of_every_shape() -> None:
    leaves = [verifier.leaf_hash(bytes([number])) for number in range(33)]
    for size in range(1, 34):
        tree = leaves[:size]
        for index in range(size):
            proof = inclusion(tree, index)
            assert verifier.root_by_inclusion(index, size, tree[index], proof) == verifier.root(tree)
            head = verifier.root(tree[: index + 1])
            verifier.check_consistency(
                index + 1, head, size, verifier.root(tree), consistency(index + 1, tree)
            )


def test_signatures_are_those_of_another_implementation() -> None:
    for number, seed in enumerate(SEEDS):
        private = Ed25519PrivateKey.from_private_bytes(seed)
        assert KEYS[number].public == private.public_key().public_bytes_raw()
        for message in (b"", b"a", b"x" * 200):
            signed = private.sign(message)
            assert verifier.signed_by(KEYS[number].public, message, signed)
            assert not verifier.signed_by(KEYS[1 - number].public, message, signed)
            assert not verifier.signed_by(KEYS[number].public, message + b"!", signed)
            s = int.from_bytes(signed[32:], "little") + 2**252 + 27742317777372353535851937790883648493
            assert not verifier.signed_by(
                KEYS[number].public, message, signed[:32] + s.to_bytes(32, "little")
            )


def test_notes() -> None:
    checkpoint = Checkpoint.parse(VECTORS["checkpoint"], KEYS[:1])
    assert (checkpoint.origin, checkpoint.size) == (KEYS[0].name, 4)
    assert checkpoint.root.hex() == VECTORS["roots"][4]
    assert TEXT + "\n" + signature(TEXT) == VECTORS["checkpoint"]
    assert Checkpoint.parse(VECTORS["checkpoint"] + signature(TEXT, 1), KEYS[:1]) == checkpoint
    extended = TEXT + "extension\n"
    assert Checkpoint.parse(f"{extended}\n{signature(extended)}", KEYS) == checkpoint
    assert verifier.trusted(KEYS[:1], [VECTORS["handover"]]) == KEYS
    assert verifier.trusted(KEYS[1:], [VECTORS["handover"]]) == KEYS[1:]
    for text in (VECTORS["keys"][0].replace("ecc9fb7d", "5e9fe02e"), VECTORS["keys"][0][:-4], "x", ""):
        with pytest.raises(Refused):
            Key.parse(text)
    half = "".join(VECTORS["handover"].splitlines(keepends=True)[:-1])
    with pytest.raises(Refused, match="both"):
        verifier.trusted(KEYS[:1], [half])


@pytest.mark.parametrize(
    "note",
    [
        TEXT + "\n" + signature(TEXT, 1),
        TEXT + "\n" + signature(TEXT + "x"),
        TEXT + "\n" + signature(TEXT) + signature(TEXT + "x"),
        TEXT.replace("\n4\n", "\n5\n") + "\n" + signature(TEXT),
        VECTORS["checkpoint"][:-1],
        VECTORS["checkpoint"].replace("\n", "\r\n"),
        VECTORS["checkpoint"].replace("—", "-"),
        TEXT,
        *(
            f"{text}\n{signature(text)}"
            for text in (
                TEXT.replace("\n4\n", "\n04\n"),
                TEXT.replace("\n4\n", "\n+4\n"),
                TEXT.replace("\n4\n", "\n４\n"),
                TEXT.replace("=\n", "\n"),
                TEXT.replace("ftG4=", "ftG5="),
                TEXT.replace(KEYS[0].name, "another.example.org/log"),
            )
        ),
    ],
)
def test_deformed_notes_are_refused(note: str) -> None:
    with pytest.raises(Refused):
        Checkpoint.parse(note, KEYS[:1])


def test_statement_s_file() -> None:
    found = verifier.check_statement(FILE.encode(), KEYS[:1])
    assert (found.reference, found.checkpoint) == (
        "2026-10/pay-1/EUR",
        Checkpoint.parse(VECTORS["checkpoint"], KEYS),
    )
    assert json.dumps(found.sha256) in FILE
    body = FILE.partition('{"statement":')[2].partition(',"proof"')[0]
    assert verifier.canonical(json.loads(body)) == body
    # RFC 8785 sorts by UTF-16 code units.
    assert verifier.canonical({"\uffff": 1, "\U00010000": [None, True, '\x1f\n"\\é/']}) == (
        '{"\U00010000":[null,true,"\\u001f\\n\\"\\\\é/"],"\uffff":1}'
    )


def changed(path: str, given: object) -> str:
    file = json.loads(FILE)
    *within, last = path.split(".")
    place = file
    for name in within:
        place = place[name]
    place[last] = given
    return json.dumps(file, ensure_ascii=False)


INCLUSION = VECTORS["inclusion"]["proof"]


@pytest.mark.parametrize(
    "file",
    [
        FILE[:-2],
        FILE + "x",
        FILE.replace('{"statement":', '{"statement":{"statement":"another"},"statement":', 1),
        FILE.replace('"format":"royalty-statement/1"', '"format":"x","format":"royalty-statement/1"', 1),
        FILE.replace('"index":2', '"index":2.0'),
        changed("extra", 1),
        changed("statement.format", "royalty-statement/2"),
        changed("statement.statement", "2026-10/pay-2/EUR"),
        changed("statement.amount", 0.5),
        changed("proof.format", "royalty-statement-proof/2"),
        changed("proof.leaf", None),
        changed("proof.leaf.index", 3),
        changed("proof.leaf.index", -2),
        changed("proof.leaf.index", "2"),
        changed("proof.leaf.kind", "seal"),
        changed("proof.leaf.reference", "2026-10/pay-2/EUR"),
        changed("proof.leaf.sha256", "0" * 64),
        changed("proof.seal", None),
        changed("proof.seal.name", "2026-11"),
        changed("proof.seal.root", "0" * 64),
        changed("proof.seal.size", 3),
        changed("proof.seal.inclusion", INCLUSION[:1]),
        changed("proof.checkpoint.note", TEXT),
        changed("proof.checkpoint.inclusion", INCLUSION[:1]),
        changed("proof.checkpoint.inclusion", INCLUSION[::-1]),
        changed("proof.checkpoint.inclusion", INCLUSION + INCLUSION),
        changed("proof.checkpoint.inclusion", [INCLUSION[0].upper(), INCLUSION[1]]),
        changed("proof.checkpoint.inclusion", [1, 2]),
    ],
)
def test_deformed_files_are_refused(file: str) -> None:
    with pytest.raises(Refused):
        verifier.check_statement(file.encode(), KEYS)


def test_what_a_file_without_signature_proves() -> None:
    with pytest.raises(Refused, match="trusted"):
        verifier.check_statement(FILE.encode(), KEYS[1:])
    assert verifier.check_statement(changed("proof", None).encode(), KEYS).checkpoint is None
    assert verifier.check_statement(changed("proof.checkpoint", None).encode(), KEYS).checkpoint is None


# The live database


class Installation:
    """The worked example's database, settled and sealed by the real commands."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._environment = os.environ | {"XDG_CONFIG_HOME": str(directory / "config"), "NO_COLOR": "1"}
        self.psql = str(EmbeddedServer.program("psql"))
        self.conninfo = conninfo(Role.AUDITOR)

    def royalty(self, *words: str, given: str = "") -> str:
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *words],
            cwd=ROOT,
            env=self._environment,
            input=given,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def export(self, name: str) -> Path:
        self.royalty("checkpoint", "export", str(self.directory / name))
        return self.directory / name

    def key(self, number: int) -> str:
        return next(self.directory.glob(f"*/key-{number:04}.txt")).read_text()

    def verify(self, directory: Path, database: str | None = None) -> Report:
        checkpoint, leaves, keys = verifier.read_directory(directory, [Key.parse(self.key(1))])
        with Psql(self.psql, self._auditor(database)) as opened:
            return verifier.verify(opened.copy, checkpoint, leaves, keys)

    def _auditor(self, database: str | None) -> str:
        return psycopg.conninfo.make_conninfo(self.conninfo, **({"dbname": database} if database else {}))


@pytest.fixture(scope="module")
def installation(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    with session(Role.ADMIN) as opened:
        write_books(opened)
    made = Installation(tmp_path_factory.mktemp("auditor"))
    made.royalty(
        "users",
        "add",
        "mara",
        "--scope",
        "runs:write",
        "--scope",
        "statements:read",
        given="a long password 1\n",
    )
    made.royalty("login", "mara", given="a long password 1\n")
    made.royalty("seal")
    made.export("first")
    made.royalty("statement", "export", "2026-11", "--to", str(made.directory / "statements"))
    made.royalty("checkpoint", "rotate")
    made.royalty("seal")
    made.export("second")
    return made


def test_live_database_agrees(installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("first", "second"):
        report = installation.verify(installation.directory / name)
        assert report.agrees
        assert not report.unlogged
        arguments = ["--key", installation.key(1), "--psql", installation.psql]
        directory = str(installation.directory / name)
        assert verifier.main(["database", directory, *arguments, "--conninfo", installation.conninfo]) == 0
        assert f"agrees with checkpoint {report.size}" in capsys.readouterr().out


def test_checkpoints_are_consistent_and_the_handover_is_needed(installation: Installation) -> None:
    first, _, _ = verifier.read_directory(installation.directory / "first", [Key.parse(installation.key(1))])
    second, leaves, _ = verifier.read_directory(
        installation.directory / "second", [Key.parse(installation.key(1))]
    )
    assert first.size < second.size
    assert leaves is not None and leaves.root(first.size) == first.root
    proof = installation.royalty("checkpoint", "consistency", str(first.size), str(second.size))
    verifier.check_consistency(first.size, first.root, second.size, second.root, hashes(proof.split()))
    note = next((installation.directory / "second").glob("checkpoint-*.txt")).read_text()
    with pytest.raises(Refused, match="trusted"):
        Checkpoint.parse(note, [Key.parse(installation.key(1))])


def test_statements_of_the_example(installation: Installation) -> None:
    files = sorted((installation.directory / "statements").glob("*.json"))
    assert len(files) == 3
    for path in files:
        found = verifier.check_statement(path.read_bytes(), [Key.parse(installation.key(1))])
        assert found.checkpoint is not None
        assert verifier.main(["statement", str(path), "--key", installation.key(1)]) == 0
        assert verifier.main(["statement", str(path), "--key", installation.key(2)]) == 1
        # The body is in the file byte for byte.
        body = verifier.canonical(json.loads(path.read_text())["statement"])
        assert path.read_text().startswith(f'{{"statement":{body},"proof":')


def test_leaf_hash_file_proves_itself(installation: Installation) -> None:
    file = next((installation.directory / "first").glob("*.leaves")).read_bytes()
    leaves = Leaves.parse(file)
    assert leaves.root(len(leaves.entries))
    for deformed in (
        file[:-1],
        file.replace(b"royalty-leaves/1", b"royalty-leaves/2"),
        file.replace(b"\tsale-1\t", b"\tsale-1\\\t"),
        re.sub(rb"(\tsale-1\t)[0-9a-f]{8}", rb"\g<1>00000000", file),
        re.sub(rb"\tsale-1\t[0-9a-f]{64}\n", b"", file, count=1),
    ):
        with pytest.raises(Refused):
            Leaves.parse(deformed)


# A superuser's tampering

Tamper = Callable[..., str]
_TABLES = (
    "SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger"
    " WHERE NOT tgisinternal AND tgrelid::regclass::text ~ '^(ledger|settlement|attribution)[.]'"
)


@pytest.fixture
def tamper(installation: Installation) -> Iterator[Tamper]:
    """Makes a copy of the database in which a superuser has done that, all guards switched off."""
    admin = conninfo(Role.ADMIN)
    name = psycopg.conninfo.conninfo_to_dict(admin)["dbname"]
    server = psycopg.conninfo.make_conninfo(admin, dbname="postgres")

    def make(*statements: str) -> str:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )
            connection.execute(f"CREATE DATABASE tampered TEMPLATE {name}")
        with psycopg.connect(psycopg.conninfo.make_conninfo(admin, dbname="tampered")) as connection:
            connection.execute("SET event_triggers = off")
            for (table,) in connection.execute(_TABLES).fetchall():
                connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
            for statement in statements:
                assert connection.execute(statement).rowcount
        return "tampered"

    yield make
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS tampered WITH (FORCE)")


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            "UPDATE settlement.sale SET price_micros = price_micros + 1 WHERE external_id = 'sale-1'",
            [Finding("altered", "table", "2026-10/settlement.sale", "sale-1")],
        ),
        (
            "DELETE FROM attribution.coalition_value WHERE attribution_id = 3 AND coalition = 5",
            [Finding("removed", "table", "2026-10/attribution.coalition_value", "3/5")],
        ),
        (
            "INSERT INTO settlement.contract_split (contract_version_id, payee_id, share_ppb) VALUES (1, 'pay-dev', 1)",
            [
                Finding("inserted", "table", f"2026-{month}/settlement.contract_split", "1/pay-dev")
                for month in (10, 11)
            ],
        ),
        (
            "UPDATE ledger.account SET recorded_at = recorded_at + interval '1 microsecond' WHERE code = 'bank:EUR'",
            [Finding("altered", "account", "bank:EUR")],
        ),
        (
            "UPDATE ledger.posting SET amount = amount * 2 WHERE journal_id ="
            " (SELECT id FROM ledger.journal WHERE key = 'sale:sale-5')",
            [Finding("altered", "journal", "sale:sale-5")],
        ),
        (
            "DELETE FROM ledger.journal WHERE key = 'sale:sale-6'",
            [Finding("removed", "journal", "sale:sale-6")],
        ),
        (
            "UPDATE ledger.closing_balance SET debits = debits + 1, closing = closing + 1 WHERE seal = '2026-10'"
            " AND account_id = (SELECT id FROM ledger.account WHERE code = 'revenue:EUR')",
            [Finding("altered", "seal", "2026-10", "revenue:EUR")],
        ),
        (
            "UPDATE ledger.seal SET actor = 'eve' WHERE name = '2026-11'",
            [Finding("altered", "seal", "2026-11", "2026-11")],
        ),
        (
            "UPDATE settlement.statement SET body = replace(body, 'pay-1', 'pay-2')"
            " WHERE statement_id = '2026-10/pay-1/EUR'",
            [
                Finding("altered", "statement", "2026-10/pay-1/EUR"),
                Finding("altered", "table", "2026-10/settlement.statement", "2026-10/pay-1/EUR"),
            ],
        ),
        (
            "UPDATE settlement.statement SET statement_id = '2026-10/pay-9/EUR'"
            " WHERE statement_id = '2026-10/pay-1/EUR'",
            [
                Finding("inserted", "table", "2026-10/settlement.statement", "2026-10/pay-9/EUR"),
                Finding("removed", "table", "2026-10/settlement.statement", "2026-10/pay-1/EUR"),
                Finding("renumbered", "statement", "2026-10/pay-1/EUR"),
            ],
        ),
        (
            "UPDATE ledger.log_leaf SET sha256 = sha256('') WHERE reference = 'sale:sale-5'",
            [Finding("altered in the log", "journal", "sale:sale-5")],
        ),
    ],
)
def test_superuser_s_changes_have_a_name(
    installation: Installation, tamper: Tamper, statement: str, expected: list[Finding]
) -> None:
    report = installation.verify(installation.directory / "first", tamper(statement))
    assert sorted(report.findings) == expected
    assert not report.agrees


def test_changes_of_row_and_log_are_found_without_the_leaf_hash_file(
    installation: Installation, tamper: Tamper, tmp_path: Path
) -> None:
    """A change is known to be there, but has no name: the log says the same as the row."""
    row = "SELECT id, code, class, currency, recorded_at FROM audit.record_account WHERE code = 'bank:EUR'"
    change = "UPDATE ledger.account SET recorded_at = 'epoch' WHERE code = 'bank:EUR'"
    name = tamper(change)
    admin = psycopg.conninfo.make_conninfo(conninfo(Role.ADMIN), dbname=name)
    with Psql(installation.psql, admin) as opened:
        digest = sha256(b"".join(verifier.lines(opened.copy, row))).digest()
    with psycopg.connect(admin) as connection:
        connection.execute("UPDATE ledger.log_leaf SET sha256 = %s WHERE reference = 'bank:EUR'", (digest,))
    note = next((installation.directory / "first").glob("checkpoint-*.txt"))
    (tmp_path / note.name).write_bytes(note.read_bytes())
    without = installation.verify(tmp_path, name)
    assert not without.findings
    assert f"the first {without.size} leaves of the log do not give the checkpoint's root" in without.faults
    named = installation.verify(installation.directory / "first", name).findings
    assert Finding("altered", "account", "bank:EUR") in named


@pytest.mark.parametrize(
    ("statement", "refusal"),
    [
        ("DELETE FROM ledger.log_leaf WHERE index >= 80", "cut off"),
        ("DELETE FROM ledger.log_leaf WHERE index = 7", "no leaf 7"),
        ("UPDATE ledger.log_leaf SET index = index + 1000 WHERE index = 0", "no leaf 0"),
    ],
)
def test_truncated_log_is_refused(
    installation: Installation, tamper: Tamper, statement: str, refusal: str
) -> None:
    name = tamper(statement)
    with pytest.raises(Refused, match=refusal):
        installation.verify(installation.directory / "first", name)


def test_what_psql_refuses_is_refused(installation: Installation) -> None:
    with Psql(installation.psql, installation.conninfo) as opened, pytest.raises(Refused, match="secret"):
        list(opened.copy("COPY (SELECT 1 FROM secret) TO STDOUT"))
