"""The log against the rows, and both against heads that have left the database.

Everything is recomputed from rows: each record's digest, each leaf, the root. With the leaf-hash file of a checkpoint
the row that was altered, removed, inserted or renumbered is named; with a head alone, the stretch of the log that is
not what it was. docs/proof-format.md describes every byte.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import psycopg
from sqlalchemy.orm import Session

from database.engine import psycopg_connection
from database.errors import Invalid
from settlement.audit.verify import SHOWN, CheckResult
from settlement.ledger import merkle
from settlement.ledger.checkpoints import Head, VerifierKey, open_note, parse_head
from settlement.ledger.log import ENTRY, ROW_RECORDS, SUBTREE, Leaf, entry
from settlement.ledger.records import (
    Row,
    copy_rows,
    escaped,
    journal_digests,
    keyed_rows,
    row_digests,
    rows_root,
    unescaped,
)
from settlement.ledger.seals import seal_queries
from settlement.periods.frozen import TABLES, frozen_query, reference

HEADER = b"royalty-leaves/1\n"
"""First line of a leaf-hash file."""

_CHUNK = 50_000
_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was logged."""

    check: str
    text: str


@dataclass(slots=True)
class Proof:
    """What the comparison found."""

    size: int = 0
    """Leaves in the log."""
    root: bytes = merkle.EMPTY
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is covered, and what is not."""

    def found(self, check: str, text: str) -> None:
        """Note something that is not as it was."""
        self.findings.append(Finding(check, text))


LOG = "the log is whole"
ROWS = "rows are as logged"
SEALS = "seals hold"
SIGNED = "checkpoints are as signed"
KEPT = "the books are those of the checkpoint"

PROVES: Mapping[str, str] = {
    LOG: "The log's leaves are numbered without a gap, and its stored tree is the tree of its leaves.",
    ROWS: "Every account, journal, statement, frozen row, closing balance and migration has the bytes that were "
    "logged, and what is sealed is in the log.",
    SEALS: "Every seal names the log's head of its moment, and its closing balances are the sums of the postings.",
    SIGNED: "Every checkpoint is signed by a key that is trusted, and its root is that of the log's first leaves.",
    KEPT: "The log begins with the leaves whose head the checkpoint names: nothing that it covers was changed.",
}


def verify_log(
    session: Session,
    *,
    keys: Sequence[VerifierKey],
    head: Head | None = None,
    leaves: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Proof:
    """Recompute the log from the rows and compare it with what is stored, and with what the caller kept.

    Args:
        session: of the role `auditor`; in a REPEATABLE READ transaction if somebody may be writing.
        keys: the public keys that are trusted.
        head: that of the checkpoint which the caller kept, its signature verified.
        leaves: the leaf-hash file of that checkpoint; None: what differs is narrowed down, not named.
        progress: told what is being done.

    Raises:
        Invalid: the leaf-hash file is not that of the checkpoint.
    """
    tell = progress or (lambda _: None)
    connection = psycopg_connection(session)
    proof = Proof()
    tell("rows")
    recomputed = dict(_records(connection))
    tell("journals")
    hashes, counts = _compare(connection, recomputed, proof)
    proof.size = len(hashes)
    tree = _Tree(hashes)
    proof.root = tree.root(proof.size)
    tell("tree")
    _check_nodes(connection, tree, proof)
    _check_seals(connection, tree, proof)
    signed = _check_checkpoints(connection, tree, keys, proof)
    if head is not None:
        tell("checkpoint")
        _check_head(tree, head, signed, proof)
        if leaves is not None:
            with leaves.open("rb") as opened:
                _name(connection, opened, head, hashes, recomputed, proof)
    covered = head.size if head is not None else max(signed, default=0)
    _note_cover(connection, covered, counts, proof)
    return proof


# Recomputing ----------------------------------------------------------------------------------------------------------


def _records(connection: psycopg.Connection[Any]) -> Iterator[tuple[_Key, bytes]]:
    """Every record but journals, by kind and reference, with its SHA-256."""
    for kind in ROW_RECORDS:
        for reference_, digest in row_digests(connection, f"SELECT * FROM audit.record_{kind}"):  # noqa: S608
            yield (kind, reference_), digest
    with connection.cursor(name="statements") as cursor:
        cursor.itersize = 500
        cursor.execute("SELECT reference, body FROM audit.record_statement")
        for name, body in cursor:
            yield ("statement", name), sha256(body.encode()).digest()
    for (name,) in connection.execute("SELECT name FROM audit.seals").fetchall():
        yield ("seal", name), rows_root(connection, seal_queries(name))
    for period_id in _closed(connection):
        for table in TABLES:
            query = frozen_query(connection, period_id, table)
            yield ("table", reference(period_id, table)), rows_root(connection, [query])


def _closed(connection: psycopg.Connection[Any]) -> list[str]:
    # A period whose run was removed is closed all the same.
    rows = connection.execute(
        "SELECT period_id FROM audit.periods WHERE state = 'closed' OR closed_by IS NOT NULL ORDER BY period_id"
    )
    return [period_id for (period_id,) in rows.fetchall()]


def _stored(connection: psycopg.Connection[Any], first: int) -> Iterator[tuple[int, bytes]]:
    """A stretch of the stored log: indexes and entries."""
    query = (
        "SELECT index, kind, reference, sha256 FROM audit.log"  # noqa: S608
        f" WHERE index >= {first} AND index < {first + _CHUNK} ORDER BY index"
    )
    for line in copy_rows(connection, query):
        index, fields = line.split(b"\t", 1)
        yield int(index), ENTRY + fields  # COPY writes a leaf's fields as its entry has them


def _parsed(leaf_entry: bytes) -> tuple[_Key, bytes]:
    """Key and digest in an entry."""
    _, kind, name, digest = leaf_entry[:-1].split(b"\t")
    return (kind.decode(), unescaped(name)), bytes.fromhex(digest.decode())


def _compare(
    connection: psycopg.Connection[Any], recomputed: Mapping[_Key, bytes], proof: Proof
) -> tuple[list[bytes], Counter[str]]:
    """Match rows and stored leaves; the hash of every leaf, and how many records of each kind are in no leaf."""
    hashes: list[bytes] = []
    rows = {entry(*key, digest) for key, digest in recomputed.items()}
    logged: set[bytes] = set()
    batches = journal_digests(connection)
    place, more_leaves, more_journals = 0, True, True
    while more_leaves or more_journals:
        if more_leaves:
            before = len(hashes)
            for index, leaf_entry in _stored(connection, place):
                if index != len(hashes):
                    proof.found(LOG, f"leaf {index} stands where leaf {len(hashes)} should be")
                hashes.append(merkle.leaf_hash(leaf_entry))
                logged.add(leaf_entry)
            place += _CHUNK
            more_leaves = len(hashes) > before or place < _end(connection)
        # About as many journals as leaves, so that neither side waits for long.
        taken = 0
        while more_journals and taken < _CHUNK:
            batch = next(batches, None)
            more_journals = batch is not None
            rows.update(entry("journal", name, digest) for name, digest in batch or ())
            taken += len(batch or ())
        same = rows & logged
        rows -= same
        logged -= same
    for number, manifest, digest in connection.execute(
        "SELECT number, manifest, after_sha256 FROM audit.schema_changes"
    ).fetchall():
        # The record has the manifest's digest, and the table the manifest.
        if sha256(manifest.encode()).hexdigest() != digest:
            proof.found(ROWS, f"schema_change {number}: its manifest was altered after it was logged")
    there = dict(_parsed(leaf_entry) for leaf_entry in rows)
    for key in sorted(_parsed(leaf_entry)[0] for leaf_entry in logged):
        if there.pop(key, None) is not None:
            proof.found(ROWS, f"{_named(key)} was altered after it was logged")
        else:
            proof.found(ROWS, f"{_named(key)} is in the log and is there no more: it was removed or renamed")
    return hashes, _unlogged(connection, there, proof)


def _end(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT coalesce(max(index), -1) + 1 FROM audit.log").fetchone()
    assert row is not None
    return int(row[0])


def _named(key: _Key) -> str:
    return f"{key[0]} {key[1]}"


def _unlogged(connection: psycopg.Connection[Any], rows: Mapping[_Key, bytes], proof: Proof) -> Counter[str]:
    """Faults of records that should be in the log; how many others of each kind are not in it yet."""
    waiting = Counter(kind for kind, _ in rows)
    sealed = {
        name
        for (name,) in connection.execute(
            "SELECT name FROM audit.seals WHERE log_size IS NOT NULL"
        ).fetchall()
    }
    late = {
        name
        for (name,) in connection.execute(
            "SELECT reference FROM audit.record_journal WHERE reference = ANY(%s)"
            " AND booked_at < (SELECT max(sealed_before) FROM audit.seals WHERE log_size IS NOT NULL)",
            ([name for kind, name in rows if kind == "journal"],),
        ).fetchall()
    }
    for kind, name in sorted(rows):
        period_id = name.split("/")[0]
        if kind == "journal" and name in late:
            proof.found(ROWS, f"journal {name} was inserted below the last seal: it is not in the log")
        elif kind == "table" and rows[kind, name] == merkle.root([]):
            # A period that was closed before there was this table has no leaf for it, and no rows.
            pass
        elif kind in ("statement", "table", "seal") and period_id in sealed:
            proof.found(ROWS, f"{kind} {name} is not in the log, and its period is sealed: it was inserted")
        else:
            continue
        waiting[kind] -= 1
    return +waiting


class _Tree:
    """Roots of a log's beginnings."""

    def __init__(self, hashes: Sequence[bytes]) -> None:
        self.hashes = hashes
        self.subtrees = [
            merkle.root(hashes[start : start + SUBTREE])
            for start in range(0, len(hashes) - SUBTREE + 1, SUBTREE)
        ]

    def root(self, size: int) -> bytes:
        """Root of the first ``size`` leaves, of which there are so many."""
        whole = size // SUBTREE
        tail = self.hashes[whole * SUBTREE : size]
        return merkle.root([*self.subtrees[:whole], *([merkle.root(tail)] if tail else [])])


# Checks of what is stored ---------------------------------------------------------------------------------------------


def _check_nodes(connection: psycopg.Connection[Any], tree: _Tree, proof: Proof) -> None:
    for level, expected in ((0, tree.hashes), (8, tree.subtrees)):
        query = f"SELECT position, hash FROM audit.log_nodes WHERE level = {level} ORDER BY position"  # noqa: S608
        here = 0
        for line in copy_rows(connection, query):
            place, _, stored = line[:-1].partition(b"\t")
            # COPY writes a bytea as `\\x...`.
            if int(place) != here or here >= len(expected) or stored[3:].decode() != expected[here].hex():
                proof.found(LOG, f"node {int(place)} of level {level} is not that of its leaves")
            here = int(place) + 1
        if here < len(expected):
            proof.found(LOG, f"nodes of level {level} end at {here} instead of {len(expected)}")


def _check_seals(connection: psycopg.Connection[Any], tree: _Tree, proof: Proof) -> None:
    for name, size, root, index in connection.execute(
        "SELECT s.name, s.log_size, s.log_root, l.index FROM audit.seals AS s"
        " LEFT JOIN audit.log AS l ON l.kind = 'seal' AND l.reference = s.name WHERE s.log_size IS NOT NULL"
    ).fetchall():
        if size > len(tree.hashes) or tree.root(size).hex() != root or index != size:
            proof.found(SEALS, f"seal {name} names another head than the log's first {size} leaves have")
    for fault in connection.execute(_CLOSINGS).fetchall():
        proof.found(SEALS, ", ".join(str(part) for part in fault if part is not None))


# Every posting lies in the first seal that ends after it.
_CLOSINGS = """
WITH ends AS (SELECT coalesce(array_agg(sealed_before ORDER BY sealed_before), '{}') AS at FROM audit.seals),
place AS (SELECT name, (row_number() OVER (ORDER BY sealed_before) - 1)::integer AS place FROM audit.seals),
posted AS (
    SELECT width_bucket(p.booked_at, e.at) AS place, p.account, sum(p.amount) FILTER (WHERE p.amount > 0) AS debits,
           sum(p.amount) FILTER (WHERE p.amount < 0) AS credits
    FROM audit.record_posting AS p CROSS JOIN ends AS e
    WHERE p.booked_at < e.at[cardinality(e.at)] GROUP BY 1, 2
),
said AS (
    SELECT o.place, b.*, lag(b.closing) OVER w AS last_closing, lag(o.place) OVER w AS last_place
    FROM audit.closing_balances AS b JOIN place AS o ON o.name = b.seal
    WINDOW w AS (PARTITION BY b.account ORDER BY o.place)
)
SELECT 'seal ' || coalesce(s.seal, o.name), coalesce(s.account, p.account),
       'debits ' || coalesce(s.debits, 0) || ' and credits ' || coalesce(s.credits, 0),
       'the postings say ' || coalesce(p.debits, 0) || ' and ' || coalesce(p.credits, 0)
FROM said AS s FULL JOIN posted AS p ON p.place = s.place AND p.account = s.account
LEFT JOIN place AS o ON o.place = p.place
WHERE coalesce(s.debits, 0) <> coalesce(p.debits, 0) OR coalesce(s.credits, 0) <> coalesce(p.credits, 0)
UNION ALL
SELECT 'seal ' || seal, account, 'opens with ' || opening, 'the last one closed with ' || coalesce(last_closing, 0)
FROM said WHERE opening <> coalesce(last_closing, 0)
    OR place > 0 AND last_place IS NOT NULL AND last_place <> place - 1
"""


def _check_checkpoints(
    connection: psycopg.Connection[Any], tree: _Tree, keys: Sequence[VerifierKey], proof: Proof
) -> dict[int, bytes]:
    """Roots by size that a trusted key has signed, as the stored checkpoints say."""
    signed: dict[int, bytes] = {}
    for size, root, note in connection.execute(
        "SELECT size, root, note FROM audit.checkpoints ORDER BY size"
    ).fetchall():
        try:
            text, by = open_note(note, keys)
            head = parse_head(text)
        except Invalid as error:
            proof.found(SIGNED, f"checkpoint {size}: {error}")
            continue
        if not by and keys:
            proof.found(SIGNED, f"checkpoint {size} is signed by no key that is trusted")
        elif by:
            signed[head.size] = head.root
        if (head.size, head.root.hex()) != (size, root):
            proof.found(SIGNED, f"checkpoint {size} says {head.size} leaves and another root than its row")
        elif size > len(tree.hashes):
            proof.found(SIGNED, f"checkpoint {size} is of more leaves than the log's {len(tree.hashes)}")
        elif tree.root(size) != head.root:
            proof.found(SIGNED, f"checkpoint {size} has another root than the log's first {size} leaves")
    return signed


def _check_head(tree: _Tree, head: Head, signed: Mapping[int, bytes], proof: Proof) -> None:
    """The head that was kept; where it does not fit, the first stretch between signed heads that does not."""
    here = len(tree.hashes)
    if head.size <= here and tree.root(head.size) == head.root:
        return
    heads = sorted({**signed, head.size: head.root}.items())
    good = 0
    for size, root in heads:
        if size > head.size or size > here or tree.root(size) != root:
            break
        good = size
    bad = min(size for size, _ in heads if size > good)
    if head.size > here:
        proof.found(
            KEPT, f"the checkpoint covers {head.size} leaves, and the log has {here}: leaves were removed"
        )
    proof.found(KEPT, f"leaves {good} to {min(bad, head.size) - 1} of the log are not those that were signed")


# The leaf-hash file ---------------------------------------------------------------------------------------------------


def write_leaves(session: Session, head: Head, file: BinaryIO) -> None:
    """Write the leaf-hash file of a head: every leaf, and below a tree of rows the key and hash of each row.

    Raises:
        Invalid: the rows are not those that were logged; nothing that is written then is of use.
    """
    connection = psycopg_connection(session)
    file.write(HEADER)
    hashes = []
    for first in range(0, head.size, _CHUNK):
        for index, leaf_entry in list(_stored(connection, first)):
            if index >= head.size:
                break
            key, digest = _parsed(leaf_entry)
            hashes.append(merkle.leaf_hash(leaf_entry))
            file.write(f"{key[0]}\t{escaped(key[1])}\t{digest.hex()}\n".encode())
            if key[0] not in ("seal", "table"):
                continue
            rows = []
            for row in _tree_rows(connection, key):
                rows.append(row.hash)
                file.write(f"\t{escaped(row.key)}\t{row.hash.hex()}\n".encode())
            if merkle.root(rows) != digest:
                raise Invalid(f"{_named(key)} was altered after it was logged: `royalty verify` says more")
    if len(hashes) != head.size or merkle.stream_root(hashes) != head.root:
        raise Invalid("the log is not that of its checkpoint any more: `royalty verify` says more")


def _tree_rows(connection: psycopg.Connection[Any], key: _Key) -> Iterator[Row]:
    if key[0] == "seal":
        queries: Sequence[str] = seal_queries(key[1])
    else:
        period_id, table = key[1].split("/", 1)
        if table not in TABLES:
            return
        queries = [frozen_query(connection, period_id, table)]
    for query in queries:
        yield from keyed_rows(connection, query)


def _name(
    connection: psycopg.Connection[Any],
    file: BinaryIO,
    head: Head,
    hashes: Sequence[bytes],
    recomputed: Mapping[_Key, bytes],
    proof: Proof,
) -> None:
    """Compare the leaf-hash file with the log and the rows, and name what differs."""
    kept: list[bytes] = []
    differing: dict[_Key, tuple[int, bytes]] = {}
    for leaf, rows in _read(file):
        index = len(kept)
        key = (leaf.kind, leaf.reference)
        kept.append(merkle.leaf_hash(entry(*leaf)))
        if leaf.kind in ("seal", "table") and merkle.root([row.hash for row in rows]) != leaf.sha256:
            raise Invalid(f"the leaf-hash file contradicts itself at {_named(key)}: take another copy")
        if index >= len(hashes) or hashes[index] != kept[index]:
            differing[key] = index, leaf.sha256
        if leaf.kind in ("seal", "table") and recomputed.get(key) != leaf.sha256:
            _name_rows(key, rows, list(_tree_rows(connection, key)), proof)
    if len(kept) != head.size or merkle.stream_root(kept) != head.root:
        raise Invalid(
            "the leaf-hash file is not that of this checkpoint: use the one that was exported with it"
        )
    if differing:
        _name_leaves(connection, differing, proof)


def _read(file: BinaryIO) -> Iterator[tuple[Leaf, list[Row]]]:
    if file.readline() != HEADER:
        raise Invalid("this is no leaf-hash file: its first line is missing")
    leaf: Leaf | None = None
    rows: list[Row] = []
    try:
        for line in file:
            kind, name, digest = line.decode().removesuffix("\n").split("\t")
            name = name.replace("\\\\", "\\")
            if kind:
                if leaf is not None:
                    yield leaf, rows
                leaf, rows = Leaf(kind, name, bytes.fromhex(digest)), []
            else:
                rows.append(Row(name, bytes.fromhex(digest)))
    except ValueError as error:
        raise Invalid("the leaf-hash file cannot be read: take another copy") from error
    if leaf is not None:
        yield leaf, rows


def _name_rows(key: _Key, kept: Sequence[Row], here: Sequence[Row], proof: Proof) -> None:
    then, now = dict(kept), dict(here)
    where = key[1] if key[0] == "table" else _named(key)
    moved = {hash: name for name, hash in now.items() if name not in then}
    for name, hash in then.items():
        if name not in now:
            again = moved.get(hash)
            what = f"is {again} now: it was renumbered" if again is not None else "was removed"
            proof.found(KEPT, f"{where}: {name} {what}")
        elif now[name] != hash:
            proof.found(KEPT, f"{where}: {name} was altered")
    for name in now.keys() - then.keys():
        proof.found(KEPT, f"{where}: {name} was inserted")
    if len(here) != len(now):
        proof.found(KEPT, f"{where}: rows of one key were inserted")


def _name_leaves(
    connection: psycopg.Connection[Any], differing: Mapping[_Key, tuple[int, bytes]], proof: Proof
) -> None:
    """Differences between the file's leaves and the stored ones, by what became of each record."""
    places = [index for index, _ in differing.values()]
    first, last = min(places), max(places)
    now: dict[_Key, tuple[int, bytes]] = {}
    for start in range(first, last + 1, _CHUNK):
        for index, leaf_entry in _stored(connection, start):
            if index <= last:
                key, digest = _parsed(leaf_entry)
                now[key] = index, digest
    for key, (index, digest) in differing.items():
        if key not in now:
            proof.found(KEPT, f"{_named(key)}, leaf {index}, was removed from the log")
        elif now[key][1] != digest:
            proof.found(KEPT, f"{_named(key)}, leaf {index}, was altered, and the log with it")
        elif now[key][0] != index:
            proof.found(KEPT, f"{_named(key)}, leaf {index}, was renumbered to {now[key][0]}")
    kept = set(places)
    for key, (index, _) in now.items():
        if index in kept and key not in differing:
            proof.found(KEPT, f"{_named(key)}, leaf {index}, was inserted into the log")


# What is not covered --------------------------------------------------------------------------------------------------


def _note_cover(
    connection: psycopg.Connection[Any], covered: int, waiting: Mapping[str, int], proof: Proof
) -> None:
    newer = dict(
        connection.execute(
            "SELECT kind, count(*) FROM audit.log WHERE index >= %s GROUP BY kind ORDER BY kind", (covered,)
        ).fetchall()
    )
    proof.notes.append(f"covered: the first {covered} of {proof.size} leaves of the log")
    if newer:
        proof.notes.append(f"newer than that, and not covered: {_counted(newer)}")
    if waiting:
        proof.notes.append(f"not in the log yet, and not covered: {_counted(waiting)}")
    proof.notes.append(
        "never covered: rows of periods that are not closed, payouts beside their journals, users and personal data"
    )


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {kind.replace('_', ' ')}" for kind, count in sorted(counts.items()))


def results(proof: Proof, milliseconds: int, *, kept: bool) -> tuple[CheckResult, ...]:
    """The findings as results of named checks; the last one only where a checkpoint was kept."""
    checks = [check for check in PROVES if kept or check != KEPT]
    found = {
        check: list(dict.fromkeys(f.text for f in proof.findings if f.check == check)) for check in checks
    }
    return tuple(
        CheckResult(check, PROVES[check], tuple(texts[:SHOWN]), len(texts) > SHOWN, milliseconds)
        for check, texts in found.items()
    )
