"""Merkle trees of RFC 6962, section 2: roots, inclusion and consistency proofs, and their verification. Pure.

A tree is the list of its leaf hashes. Every hash of a proof is the root of a range of leaves, so a proof is first a
list of ranges (`inclusion_ranges`, `consistency_ranges`); how a range's root is found, from leaves or from stored
nodes, is the caller's.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import islice

EMPTY = sha256().digest()
"""Root of a tree without leaves."""

LEAF = b"\x00"
"""What a leaf's data is hashed behind."""

# Leaves of a complete subtree that is made in one go.
_BLOCK = 1 << 16

Range = tuple[int, int]
"""Leaves [first, last + 1), by index."""


def leaf_hash(entry: bytes) -> bytes:
    """Hash of one leaf: SHA-256 of a zero byte and the leaf's data."""
    return sha256(LEAF + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256 of a one byte and its two children."""
    return sha256(b"\x01" + left + right).digest()


def root(hashes: Sequence[bytes]) -> bytes:
    """Root over hashes of leaves, or over roots of complete subtrees of one size of which the last may be incomplete.

    Level by level, a last node without sibling going up as it is: the same tree as the recursive definition's, which
    splits at the largest power of two below the number of leaves.
    """
    if not hashes:
        return EMPTY
    level = list(hashes)
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        level = [
            sha256(b"\x01" + left + right).digest()
            for left, right in zip(level[::2], level[1::2], strict=False)
        ]
        level += odd
    return level[0]


def stream_root(hashes: Iterable[bytes]) -> bytes:
    """`root` of any number of leaf hashes, in little memory."""
    rest = iter(hashes)
    blocks: list[bytes] = []
    while block := list(islice(rest, _BLOCK)):
        blocks.append(root(block))
    return root(blocks)


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """What an inclusion proof of leaf ``index`` in the tree of the first ``size`` leaves is made of, leaf first.

    Raises ValueError if there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} in a tree of {size}")
    ranges: list[Range] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return ranges[::-1]


def consistency_ranges(first: int, second: int) -> list[Range]:
    """What a proof is made of that the tree of ``first`` leaves is the beginning of the tree of ``second``.

    Nothing where that needs no proof: the empty tree, and two trees of one size. Raises ValueError unless
    0 <= first <= second.
    """
    if not 0 <= first <= second:
        raise ValueError(f"a tree of {first} leaves is not the beginning of one of {second}")
    if first in (0, second):
        return []
    ranges: list[Range] = []
    start, end = 0, second
    # Whether the first tree's part of this range is a subtree whose root the verifier knows: the first root.
    known = True
    while first != end:
        middle = start + _split(end - start)
        if first <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
            known = False
    if not known:
        ranges.append((start, end))
    return ranges[::-1]


def inclusion_proof(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The inclusion proof of leaf ``index`` in a tree, from the hashes of all its leaves."""
    return _proof(hashes, inclusion_ranges(index, len(hashes)))


def consistency_proof(hashes: Sequence[bytes], first: int) -> list[bytes]:
    """The proof that the tree of the first ``first`` leaves is the beginning of the tree of all."""
    return _proof(hashes, consistency_ranges(first, len(hashes)))


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf of this hash is leaf ``index`` of the tree of ``size`` leaves and this root."""
    if not 0 <= index < size:
        return False
    ranges = inclusion_ranges(index, size)
    if len(ranges) != len(proof):
        return False
    found = leaf
    for (start, _), other in zip(ranges, proof, strict=True):
        found = node_hash(found, other) if start > index else node_hash(other, found)
    return found == root


def verify_consistency(
    first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether the tree of ``first`` leaves and its root is the beginning of that of ``second`` leaves and its root."""
    if not 0 <= first <= second:
        return False
    if first == second:
        return not proof and first_root == second_root
    if first == 0:
        return not proof and first_root == EMPTY
    ranges = consistency_ranges(first, second)
    if len(ranges) != len(proof):
        return False
    given = dict(zip(ranges, proof, strict=True))
    if first & (first - 1) == 0:
        # A first tree that is itself a node of the second is not sent: the verifier has it.
        given[0, first] = first_root

    def build(start: int, end: int, size: int) -> bytes:
        """Root over [start, end) of the tree of the first ``size`` leaves, from what was given."""
        end = min(end, size)
        if (start, end) in given:
            return given[start, end]
        middle = start + _split(end - start)
        return node_hash(build(start, middle, size), build(middle, end, size))

    return build(0, first, first) == first_root and build(0, second, second) == second_root


def _split(size: int) -> int:
    """The largest power of two below ``size``. Raises ValueError below two."""
    if size < 2:
        raise ValueError("a leaf has no parts")
    return 1 << ((size - 1).bit_length() - 1)


def _proof(hashes: Sequence[bytes], ranges: Iterable[Range]) -> list[bytes]:
    return [root(hashes[start:end]) for start, end in ranges]
