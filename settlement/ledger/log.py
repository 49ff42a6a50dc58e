"""The log: an append-only Merkle tree (RFC 6962) over records that are final. Knows kinds and digests, not meanings.

Journals are written without waiting for each other; the log is where they get their order, under one advisory lock, in
the transactions that close, pay and seal. What is not committed is not there yet, and is taken up the next time.

A leaf's data (its entry) is `royalty-leaf/1`, the record's kind, its reference and the SHA-256 of its bytes in hex,
separated by tabs and ended by a newline; a backslash in a reference is written twice, as COPY does.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from database.engine import psycopg_connection
from database.errors import Conflict, NotFound
from settlement.ledger import merkle
from settlement.ledger.records import escaped, journal_digests, row_digests

ROW_RECORDS = ("account", "schema_change", "checkpoint")
"""Kinds of records that are one row each: of the view `audit.record_<kind>`, whose first column is the reference."""

ENTRY = b"royalty-leaf/1\t"
"""What every leaf's data begins with."""

SUBTREE = 1 << 8
"""Leaves of the subtrees whose roots are kept: `ledger.log_node`, level 8."""

_BATCH = 50_000
_MANY = 1000


class Leaf(NamedTuple):
    """A record in the log: what it is, which one, and the SHA-256 of its bytes."""

    kind: str
    reference: str
    sha256: bytes


def entry(kind: str, reference: str, sha256: bytes) -> bytes:
    """A leaf's data."""
    return ENTRY + f"{kind}\t{escaped(reference)}\t{sha256.hex()}\n".encode()


def size(session: Session) -> int:
    """How many leaves the log has."""
    return int(
        session.scalar(text("SELECT coalesce(max(position), -1) + 1 FROM ledger.log_node WHERE level = 0"))
        or 0
    )


def lock(session: Session) -> None:
    """Keep others from appending until the transaction ends. Who seals takes the seal's lock first."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('ledger.log', 0))"))


def append(session: Session, records: Iterable[tuple[str, str, bytes]]) -> int:
    """Append records (kind, reference, SHA-256) that are not in the log yet, in their order.

    Returns:
        How many were appended. One that is there already with the same digest is left alone.

    Raises:
        Conflict: a record of this kind and reference is in the log with another digest.
    """
    lock(session)
    appended = 0
    batch: dict[tuple[str, str], Leaf] = {}
    for record in records:
        leaf = Leaf(*record)
        same = batch.setdefault(leaf[:2], leaf)
        if same != leaf:
            raise _altered(leaf)
        if len(batch) == _BATCH:
            appended += _append(session, _new(session, batch))
            batch.clear()
    return appended + _append(session, _new(session, batch))


def sequence_journals(session: Session) -> int:
    """Append what is committed, or written by this transaction, and not in the log yet: journals and `ROW_RECORDS`.

    Returns:
        How many journals.
    """
    lock(session)
    connection = psycopg_connection(session)
    session.flush()
    for kind in ROW_RECORDS:
        rows = row_digests(
            connection,
            f"SELECT * FROM audit.record_{kind} AS r WHERE NOT EXISTS (SELECT FROM ledger.log_leaf AS l"  # noqa: S608
            f" WHERE l.kind = '{kind}' AND l.reference = r.reference) ORDER BY 2",
        )
        _append(session, [Leaf(kind, *row) for row in rows])
    # What was sealed with the log's head is in the log: a seal sees to it.
    journals = 0
    for batch in journal_digests(
        connection,
        "booked_at >= coalesce((SELECT max(sealed_before) FROM ledger.seal WHERE log_size IS NOT NULL), '-infinity')"
        " AND NOT EXISTS (SELECT FROM ledger.log_leaf AS l WHERE l.kind = 'journal' AND l.reference = j.reference)",
    ):
        journals += _append(session, [Leaf("journal", *journal) for journal in batch])
    if journals >= _MANY:
        # Or the next look for what is missing would be planned for the log as it was.
        connection.execute("ANALYZE ledger.log_leaf (kind, reference)")
    return journals


class Prover:
    """The tree of the log's first leaves: its root, and proofs in it, one after the other.

    Roots of complete subtrees are read once; then a proof costs a few hashes and at most two reads.
    """

    def __init__(self, session: Session, leaves: int | None = None) -> None:
        """``leaves``: how many; None for all. Raises `NotFound` if the log is shorter."""
        here = size(session)
        if leaves is not None and not 0 <= leaves <= here:
            raise NotFound(f"the log has {here} leaves, not {leaves}")
        self.size = here if leaves is None else leaves
        self._session = session
        self._block: tuple[int, list[bytes]] = (-1, [])
        level = _nodes(session, 8, 0, self.size // SUBTREE)
        self._levels = {8: level}
        while len(level) > 1:
            level = [merkle.node_hash(*pair) for pair in zip(level[::2], level[1::2], strict=False)]
            self._levels[max(self._levels) + 1] = level

    def root(self) -> bytes:
        """The tree's root."""
        return self._root(0, self.size)

    def inclusion(self, index: int) -> list[bytes]:
        """The proof (RFC 6962, 2.1.1) that leaf ``index`` is in the tree. Raises `NotFound` if there is none."""
        if not 0 <= index < self.size:
            raise NotFound(f"there is no leaf {index} among the first {self.size}")
        return [self._root(*part) for part in merkle.inclusion_ranges(index, self.size)]

    def consistency(self, first: int) -> list[bytes]:
        """The proof (RFC 6962, 2.1.2) that the tree of ``first`` leaves is this one's beginning."""
        if not 0 <= first <= self.size:
            raise NotFound(f"a tree of {first} leaves is not the beginning of one of {self.size}")
        return [self._root(*part) for part in merkle.consistency_ranges(first, self.size)]

    def _root(self, start: int, end: int) -> bytes:
        """Root over leaves [start, end), a node of the tree."""
        width = end - start
        level = (width - 1).bit_length() if width else 0
        if width > SUBTREE and width == 1 << level:
            return self._levels[level][start >> level]
        if width == SUBTREE:
            return self._levels[8][start // SUBTREE]
        if width > SUBTREE:
            middle = start + (1 << (level - 1))
            return merkle.node_hash(self._root(start, middle), self._root(middle, end))
        block = start // SUBTREE
        if self._block[0] != block:
            first = block * SUBTREE
            self._block = block, _nodes(self._session, 0, first, min(first + SUBTREE, self.size))
        return merkle.root(self._block[1][start - block * SUBTREE : end - block * SUBTREE])


def root(session: Session, size: int | None = None) -> bytes:
    """Root of the tree of the first ``size`` leaves; None for all.

    Raises:
        NotFound: the log is shorter.
    """
    return Prover(session, size).root()


def inclusion_proof(session: Session, index: int, size: int) -> list[bytes]:
    """The proof (RFC 6962, 2.1.1) that leaf ``index`` is in the tree of the first ``size`` leaves.

    Raises:
        NotFound: there is no such leaf, or no such tree.
    """
    return Prover(session, size).inclusion(index)


def consistency_proof(session: Session, first: int, second: int) -> list[bytes]:
    """The proof (RFC 6962, 2.1.2) that the tree of ``first`` leaves is the beginning of the tree of ``second``.

    Raises:
        NotFound: the log is shorter, or ``first`` is larger than ``second``.
    """
    return Prover(session, second).consistency(first)


def find(session: Session, kind: str, reference: str) -> tuple[int, bytes] | None:
    """Index and SHA-256 of a record's leaf; None if it is not in the log, or not for this role to see."""
    row = session.execute(
        text("SELECT index, sha256 FROM ledger.log_leaf WHERE kind = :kind AND reference = :reference"),
        {"kind": kind, "reference": reference},
    ).one_or_none()
    return None if row is None else (row[0], row[1])


def _nodes(session: Session, level: int, first: int, end: int) -> list[bytes]:
    found = session.scalars(
        text(
            "SELECT hash FROM ledger.log_node WHERE level = :level AND position >= :first AND position < :end"
            " ORDER BY position"
        ),
        {"level": level, "first": first, "end": end},
    ).all()
    if len(found) != end - first:
        raise Conflict("nodes of the log are missing: `royalty verify` says what else is")
    return list(found)


def _new(session: Session, batch: dict[tuple[str, str], Leaf]) -> list[Leaf]:
    """Those that are not in the log yet."""
    if not batch:
        return []
    there = session.execute(
        text(
            """
            SELECT l.kind, l.reference, l.sha256
            FROM unnest(CAST(:kinds AS text[]), CAST(:references AS text[])) AS r (kind, reference)
            JOIN ledger.log_leaf AS l ON l.kind = r.kind AND l.reference = r.reference
            """
        ),
        {"kinds": [kind for kind, _ in batch], "references": [reference for _, reference in batch]},
    )
    known = {Leaf(*row) for row in there}
    new = [leaf for leaf in batch.values() if leaf not in known]
    changed = {leaf[:2] for leaf in known} & {leaf[:2] for leaf in new}
    if changed:
        raise _altered(batch[min(changed)])
    return new


def _altered(leaf: Leaf) -> Conflict:
    return Conflict(
        f"{leaf.kind} {leaf.reference} is in the log with other content: it was changed after it was logged;"
        " `royalty verify` says what else was"
    )


def _append(session: Session, leaves: Sequence[Leaf]) -> int:
    """Write leaves at the log's end, under the lock; their nodes the database writes (trigger)."""
    if not leaves:
        return 0
    connection = psycopg_connection(session)
    first = session.execute(text("SELECT coalesce(max(index), -1) + 1 FROM ledger.log_leaf")).scalar_one()
    if size(session) < first:
        raise Conflict("nodes of the log are missing: `royalty verify` says what else is")
    # Not COPY: it does not write a table with policies, and the payer's role has no way around them.
    connection.execute(
        "INSERT INTO ledger.log_leaf (index, kind, reference, sha256)"
        " SELECT %s + place - 1, kind, reference, sha256"
        # Binary: as text, each element is looked through for what must be escaped.
        " FROM unnest(%b::text[], %b::text[], %b::bytea[]) WITH ORDINALITY AS l (kind, reference, sha256, place)",
        (
            first,
            [leaf.kind for leaf in leaves],
            [leaf.reference for leaf in leaves],
            [leaf.sha256 for leaf in leaves],
        ),
    )
    return len(leaves)
