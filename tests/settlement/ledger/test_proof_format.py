"""docs/proof-format.md: its golden vectors are what our code makes, its columns are the views', its program works."""

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text
from sqlalchemy.orm import Session

from database.errors import Invalid
from settlement.ledger import merkle
from settlement.ledger.checkpoints import (
    Head,
    Signer,
    VerifierKey,
    open_note,
    read_head,
    signed,
    trusted_keys,
)
from settlement.ledger.log import ROW_RECORDS, entry
from settlement.periods.frozen import TABLES
from settlement.statements.proof import FORMAT, statement_file, verify_file

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "proof-format.md"
VECTORS = Path(__file__).with_name("proof_vectors.json")

ACCOUNT = "3\treceivable:EUR\tasset\tEUR\t2026-10-01 08:00:00.000001+00\n"
JOURNAL = [
    "7\tsale\tsale:sale\\\\1\t2026-10-05 12:00:00+00\t2026-10-05\t2\t\\\\x"
    + "ab" * 32
    + "\t\\N\timport\t\\N\t"
    "settlement\t2026-10-05 12:00:01.5+00\n",
    "7\t1\t2\t2026-10-05 12:00:00+00\t3\t11900000\tEUR\treceivable:EUR\n",
    "7\t2\t2\t2026-10-05 12:00:00+00\t4\t-11900000\tEUR\trevenue:EUR\n",
]
ROWS = ["1\tback\\\\slash, tab \\t, newline \\n\t\\N\n", "2\t\u00e9\t{a,b}\n", '3\t\t{"k": 1}\n']
BODY = '{"format":"royalty-statement/1","statement":"2026-10/pay-1/EUR"}'


def signer(number: int) -> Signer:
    private = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
    key = VerifierKey("royalties.example.org/log", private.public_key().public_bytes_raw())
    return Signer(number, key, private)


def make_vectors() -> dict[str, Any]:
    """Everything from the inputs above, by our code."""
    rows = [merkle.leaf_hash(row.encode()) for row in ROWS]
    records = [
        ("account", "receivable:EUR", sha256(ACCOUNT.encode()).digest()),
        ("journal", "sale:sale\\1", sha256("".join(JOURNAL).encode()).digest()),
        ("statement", "2026-10/pay-1/EUR", sha256(BODY.encode()).digest()),
        ("table", "2026-10/settlement.sale", merkle.root(rows)),
    ]
    leaves = [merkle.leaf_hash(entry(*record)) for record in records]
    size = len(leaves)
    root = merkle.root(leaves)
    old, new = signer(1), signer(2)
    note = signed(Head(old.key.name, size, root).text(), [old])
    handover = signed(f"royalty-key-handover/1\n{old.key.name}\n{old.key}\n{new.key}\n", [old, new])
    inclusion = [node.hex() for node in merkle.inclusion_proof(leaves, 2)]
    proof = {
        "format": FORMAT,
        "leaf": {"index": 2, "kind": "statement", "reference": records[2][1], "sha256": records[2][2].hex()},
        "seal": {"name": "2026-10", "size": size, "root": root.hex(), "inclusion": inclusion},
        "checkpoint": {"note": note, "inclusion": inclusion},
    }
    return {
        "account": {"record": ACCOUNT, "sha256": records[0][2].hex()},
        "journal": {"record": "".join(JOURNAL), "sha256": records[1][2].hex()},
        "rows": {
            "records": ROWS,
            "leaf_hashes": [row.hex() for row in rows],
            "root": merkle.root(rows).hex(),
            "empty_root": merkle.EMPTY.hex(),
        },
        "entries": [
            {"entry": entry(*record).decode(), "leaf_hash": leaf.hex()}
            for record, leaf in zip(records, leaves, strict=True)
        ],
        "roots": [merkle.root(leaves[:count]).hex() for count in range(size + 1)],
        "inclusion": {"index": 2, "size": size, "proof": inclusion},
        "consistency": {
            "first": 3,
            "second": size,
            "proof": [node.hex() for node in merkle.consistency_proof(leaves, 3)],
        },
        "keys": [str(old.key), str(new.key)],
        "checkpoint": note,
        "handover": handover,
        "statement_file": statement_file(BODY.encode(), proof).decode(),
    }


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_vectors_are_ours_and_the_pages() -> None:
    stored = json.loads(VECTORS.read_text())
    assert stored == make_vectors()
    assert [json.loads(block) for block in blocks("json")] == [stored]


def test_notes_are_what_the_standard_says() -> None:
    """Against the public key of Go's checksum database, a signed note's best known, and texts that were changed."""
    key = VerifierKey.read("sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8")
    assert str(key) == "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
    vectors = make_vectors()
    old, new = (VerifierKey.read(key) for key in vectors["keys"])
    head = read_head(vectors["checkpoint"], [old])
    assert (head.size, head.root.hex()) == (4, vectors["roots"][4])
    assert trusted_keys([old], [vectors["handover"]]) == [old, new]
    assert trusted_keys([new], [vectors["handover"]]) == [new]
    with pytest.raises(Invalid, match="changed"):
        open_note(vectors["checkpoint"].replace("\n4\n", "\n3\n"), [old])
    with pytest.raises(Invalid, match="none of the keys"):
        read_head(vectors["checkpoint"], [new])
    for broken in ("", "text\n", "a\n\n\u2014 x y\n", "a\n\nno signature\n"):
        with pytest.raises(Invalid):
            read_head(broken, [old])
    for broken in ("x", "name+00000000+AAAA", str(old)[:-4] + "AAA=", str(old).replace("+", " +", 1)):
        with pytest.raises(Invalid):
            VerifierKey.read(broken)


def test_columns_are_the_views(db: Session) -> None:
    """The page names every record's columns in their order; another column is another format."""
    listed = dict(re.findall(r"^\| `(\w[\w.]*)` \| `([\w, ]+)` \|", PAGE.read_text(), re.MULTILINE))
    views = {f"record_{kind}": 1 for kind in (*ROW_RECORDS, "journal")}
    views |= {"record_posting": 0} | {"frozen_" + table.split(".")[1]: 2 for table in TABLES}
    for view, keys in views.items():
        columns = db.scalars(
            text(
                "SELECT attname FROM pg_attribute WHERE attrelid = CAST(:view AS regclass) AND attnum > 0"
                " ORDER BY attnum"
            ),
            {"view": f"audit.{view}"},
        ).all()
        assert listed[view].split(", ") == list(columns[keys:]), view
        table = next((t for t in TABLES if view == "frozen_" + t.split(".")[1]), None)
        if table is not None:
            own = db.scalars(
                text(
                    "SELECT attname FROM pg_attribute WHERE attrelid = CAST(:table AS regclass) AND attnum > 0"
                    " AND NOT attisdropped ORDER BY attnum"
                ),
                {"table": table},
            ).all()
            assert list(columns[keys:]) == list(own), f"{table} has a column that is not frozen"


def test_the_artists_program(tmp_path: Path) -> None:
    """The page's program, in Python without anything installed, accepts the file and refuses a changed one."""
    [program] = blocks("python")
    assert program.count("\n") <= 45
    (tmp_path / "check.py").write_text(program)
    vectors = make_vectors()

    def run(content: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "statement.json").write_text(content)
        (tmp_path / "checkpoint.txt").write_text(vectors["checkpoint"])
        command = [sys.executable, "-I", "check.py", "statement.json", "checkpoint.txt"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    content = vectors["statement_file"]
    good = run(content)
    assert good.returncode == 0 and "is in the log of 4 leaves" in good.stdout, good.stderr
    assert verify_file(content.encode(), VerifierKey.read(vectors["keys"][0]))[1] is not None
    root = base64.b64decode(vectors["checkpoint"].split("\n")[2]).hex()
    other = json.loads(content)
    other["proof"]["checkpoint"]["inclusion"][0] = root
    for changed in (content.replace("pay-1", "pay-2"), json.dumps(other)):
        assert run(changed).returncode != 0
        with pytest.raises(Invalid):
            verify_file(changed.encode(), VerifierKey.read(vectors["keys"][0]))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda file: file.replace(b'{"statement":', b'{"statement":{"forged":"1"},"statement":', 1),
            "one name twice",
        ),
        (
            lambda file: file.replace(b'"name":"2026-10"', b'"name":"2026-11"'),
            "not that of the statement's period",
        ),
        (
            lambda file: file.replace(b'"format":"royalty-statement/1"', b'"format":"royalty-statement/2"'),
            "changed",
        ),
    ],
)
def test_a_deformed_statement_file_is_refused(change: Callable[[bytes], bytes], problem: str) -> None:
    file = json.loads(VECTORS.read_text())["statement_file"].encode()
    verify_file(file)
    with pytest.raises(Invalid, match=problem):
        verify_file(change(file))


def test_a_checkpoint_signed_for_another_log_is_refused() -> None:
    seed = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
    key = VerifierKey("one.example.org/log", seed.public_key().public_bytes_raw())
    signer = Signer(1, key, seed)
    for origin, fits in (("one.example.org/log", True), ("two.example.org/log", False)):
        note = signed(Head(origin, 1, b"\x01" * 32).text(), [signer])
        if fits:
            assert read_head(note, [key]).origin == origin
        else:
            with pytest.raises(Invalid, match="signed for another"):
                read_head(note, [key])
