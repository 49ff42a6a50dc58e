"""What stands beside a statement's body in its file: that it is in the log, under heads that others keep.

Against the head of the seal that closed its period, for ever the same; and against the first signed checkpoint that
covers that seal, once there is one. Computed when asked for. docs/proof-format.md says how to check it without us.
"""

import json
from contextlib import suppress
from typing import Any

import rfc8785
from sqlalchemy import text
from sqlalchemy.orm import Session

from database.errors import Invalid
from settlement.ledger import log, merkle
from settlement.ledger.checkpoints import Head, VerifierKey, open_note, read_head, verifier_keys
from settlement.ledger.log import Prover, entry
from settlement.statements.body import identity

FORMAT = "royalty-statement-proof/1"


class StatementProofs:
    """Proofs of statements, one after the other, each tree read once."""

    def __init__(self, session: Session) -> None:
        """``session``: of any role that may read the statements; an artist's own are enough."""
        self._session = session
        self._trees: dict[int, Prover] = {}
        self._keys = verifier_keys()

    def of(self, statement_id: str) -> dict[str, Any] | None:
        """The proof's document; None if the statement is of a period that was closed before there was a log."""
        period_id = statement_id.split("/")[0]
        leaf = log.find(self._session, "statement", statement_id)
        seal = log.find(self._session, "seal", period_id)
        if leaf is None or seal is None:
            return None
        index, sha256 = leaf
        # The seal's leaf comes right after the head that it names.
        size = seal[0]
        tree = self._tree(size)
        signed = self._signed(size)
        return {
            "format": FORMAT,
            "leaf": {
                "index": index,
                "kind": "statement",
                "reference": statement_id,
                "sha256": sha256.hex(),
            },
            "seal": {
                "name": period_id,
                "size": size,
                "root": tree.root().hex(),
                "inclusion": [node.hex() for node in tree.inclusion(index)],
            },
            "checkpoint": None
            if signed is None
            else {
                "note": signed[1],
                "inclusion": [node.hex() for node in self._tree(signed[0]).inclusion(index)],
            },
        }

    def _signed(self, size: int) -> tuple[int, str] | None:
        """Size and note of the first checkpoint that covers so many leaves and is signed by a key of the log."""
        for found, note in self._session.execute(
            text("SELECT size, note FROM ledger.checkpoint WHERE size >= :size ORDER BY size"), {"size": size}
        ):
            # Who may write checkpoints need not have the key. A machine without the public keys cannot tell.
            with suppress(Invalid):
                if not self._keys or open_note(note, self._keys)[1]:
                    return found, note
        return None

    def _tree(self, size: int) -> Prover:
        if size not in self._trees:
            self._trees[size] = Prover(self._session, size)
        return self._trees[size]


def statement_file(body: bytes, proof: dict[str, Any] | None) -> bytes:
    """A statement's JSON file: its body, byte for byte as issued, and the proof."""
    return b'{"statement":' + body + b',"proof":' + rfc8785.dumps(proof) + b"}\n"


def verify_file(content: bytes, key: VerifierKey | None = None) -> tuple[str, Head | None]:
    """Check a statement's file, offline.

    Args:
        content: the file.
        key: the key that is trusted to sign the log's heads; None: the proof is checked against the seal's head only.

    Returns:
        The SHA-256 of the body, in hex, and the signed head that covers it; None without a key.

    Raises:
        Invalid: it is no statement file, or its proof does not hold; the message says what.
    """
    try:
        document = json.loads(content, object_pairs_hook=_once)
        proof = document["proof"]
        sha256 = identity(rfc8785.dumps(document["statement"]))
        if proof is None:
            raise Invalid("this file has no proof: its period was closed before there was a log")
        leaf, seal, checkpoint = proof["leaf"], proof["seal"], proof["checkpoint"]
        if (proof["format"], leaf["kind"]) != (FORMAT, "statement"):
            raise Invalid(f"this is no proof of the form {FORMAT}")
        if (leaf["sha256"], leaf["reference"]) != (sha256, document["statement"]["statement"]):
            raise Invalid("the proof is of another statement than this one, or this one was changed")
        if seal["name"] != leaf["reference"].split("/")[0]:
            raise Invalid(
                f"the proof names the seal {seal['name']}, which is not that of the statement's period"
            )
        hash = merkle.leaf_hash(entry("statement", leaf["reference"], bytes.fromhex(sha256)))
        if not _includes(leaf["index"], seal["size"], hash, seal["inclusion"], bytes.fromhex(seal["root"])):
            raise Invalid(f"the statement is not in the log that seal {seal['name']} names")
        if key is None:
            return sha256, None
        if checkpoint is None:
            raise Invalid("this file has no checkpoint: fetch it again after the next `royalty seal`")
        head = read_head(checkpoint["note"], [key])
        if not _includes(leaf["index"], head.size, hash, checkpoint["inclusion"], head.root):
            raise Invalid("the statement is not in the log that the checkpoint names")
        return sha256, head
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Invalid("this is no statement file: a statement and its proof are expected") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names differ: of a name that comes twice, programs show one or the other value."""
    document = dict(pairs)
    if len(document) < len(pairs):
        raise Invalid(
            "the file has an object with one name twice: it was made to show different readers different things"
        )
    return document


def _includes(index: int, size: int, leaf: bytes, proof: list[str], root: bytes) -> bool:
    return merkle.verify_inclusion(index, size, leaf, [bytes.fromhex(node) for node in proof], root)
