"""Somebody who looks at the log after every step, keeps each head, and has every later one proved to go on from it."""

import random
from hashlib import sha256

from sqlalchemy import text
from sqlalchemy.orm import Session

from settlement.ledger import log, merkle
from tests.settlement.ledger.test_merkle import recursive


class Witness:
    """The heads seen until now."""

    def __init__(self) -> None:
        self.heads = {0: sha256(b"").digest()}

    def look(self, reader: Session) -> set[tuple[str, str]]:
        """Check the log as this transaction sees it; kind and reference of its records.

        Dense from 0; its stored root is that of its leaves; leaves are proved to be in it, and every head to be its
        beginning.
        """
        rows = reader.execute(
            text("SELECT index, kind, reference, sha256 FROM ledger.log_leaf ORDER BY index")
        ).all()
        assert [index for index, *_ in rows] == list(range(len(rows)))
        hashes = [sha256(b"\0" + log.entry(*leaf)).digest() for _, *leaf in rows]
        prover = log.Prover(reader)
        head = recursive(hashes)
        assert (prover.size, prover.root()) == (len(hashes), head)
        for index in random.Random(len(hashes)).sample(range(len(hashes)), min(3, len(hashes))):
            proof = prover.inclusion(index)
            assert merkle.verify_inclusion(index, len(hashes), hashes[index], proof, head)
        for size, earlier in self.heads.items():
            proof = prover.consistency(size)
            assert merkle.verify_consistency(size, len(hashes), earlier, head, proof)
        assert self.heads.setdefault(len(hashes), head) == head
        return {(row.kind, row.reference) for row in rows}
