"""RFC 6962 trees: the RFC's own vectors, every small size, and proofs that must not verify."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from settlement.ledger import merkle

# Inputs and roots of the RFC's reference implementation (Certificate Transparency's merkletree test).
INPUTS = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
FALSE = bytes(32)
HASHES = [merkle.leaf_hash(bytes([number, 7])) for number in range(131)]


def recursive(hashes: list[bytes]) -> bytes:
    """The definition, as RFC 6962 section 2.1 writes it."""
    if not hashes:
        return sha256().digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return sha256(b"\x01" + recursive(hashes[:split]) + recursive(hashes[split:])).digest()


def test_vectors() -> None:
    hashes = [merkle.leaf_hash(entry) for entry in INPUTS]
    assert merkle.root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert [merkle.root(hashes[: size + 1]).hex() for size in range(8)] == ROOTS
    assert [node.hex() for node in merkle.inclusion_proof(hashes, 5)] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    assert [node.hex() for node in merkle.consistency_proof(hashes[:7], 3)] == [
        "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7",
        "07506a85fd9dd2f120eb694f86011e5bb4662e5c415a62917033d4a9624487e7",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        merkle.root(hashes[4:7]).hex(),
    ]


@pytest.mark.parametrize("size", range(131))
def test_root_is_the_definition(size: int) -> None:
    assert merkle.root(HASHES[:size]) == recursive(HASHES[:size]) == merkle.stream_root(HASHES[:size])


@pytest.mark.parametrize("size", range(131))
def test_every_leaf_is_proved_and_nothing_else(size: int) -> None:
    hashes, root = HASHES[:size], merkle.root(HASHES[:size])
    for index in range(size):
        proof = merkle.inclusion_proof(hashes, index)
        assert merkle.verify_inclusion(index, size, hashes[index], proof, root)
        assert not merkle.verify_inclusion(index, size, HASHES[130 - index], proof, root) or 2 * index == 130
        for place in range(len(proof)):
            assert not merkle.verify_inclusion(
                index, size, hashes[index], [*proof[:place], FALSE, *proof[place + 1 :]], root
            )
            assert not merkle.verify_inclusion(
                index, size, hashes[index], proof[:place] + proof[place + 1 :], root
            )
        assert not merkle.verify_inclusion(index, size, hashes[index], [*proof, root], root)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 33, 64, 100])
def test_only_one_place_verifies(size: int) -> None:
    hashes, root = HASHES[:size], merkle.root(HASHES[:size])
    for index in range(size):
        proof = merkle.inclusion_proof(hashes, index)
        labels = [
            place
            for place in range(-1, 131)
            if merkle.verify_inclusion(place, size, hashes[index], proof, root)
        ]
        assert labels == [index]


@pytest.mark.parametrize("second", range(131))
def test_every_beginning_is_proved_and_nothing_else(second: int) -> None:
    root = merkle.root(HASHES[:second])
    for first in range(second + 1):
        begun = merkle.root(HASHES[:first])
        proof = merkle.consistency_proof(HASHES[:second], first)
        assert merkle.verify_consistency(first, second, begun, root, proof)
        assert not merkle.verify_consistency(first, second, FALSE, root, proof)
        assert not merkle.verify_consistency(first, second, begun, FALSE, proof) or 0 == first < second
        assert not merkle.verify_consistency(first, second, begun, root, [*proof, root])
        for place in range(len(proof)):
            deformed = [*proof[:place], FALSE, *proof[place + 1 :]]
            assert not merkle.verify_consistency(first, second, begun, root, deformed)
            assert not merkle.verify_consistency(
                first, second, begun, root, proof[:place] + proof[place + 1 :]
            )
    assert not merkle.verify_consistency(second + 1, second, root, root, [])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 5000), st.integers(0, 5000))
def test_large_trees(first: int, second: int) -> None:
    first, second = sorted((first, second))
    hashes = [sha256(number.to_bytes(2, "big")).digest() for number in range(second)]
    proof = merkle.consistency_proof(hashes, first)
    begun, root = merkle.root(hashes[:first]), merkle.root(hashes)
    assert merkle.verify_consistency(first, second, begun, root, proof)
    if first < second:
        assert merkle.verify_inclusion(
            first, second, hashes[first], merkle.inclusion_proof(hashes, first), root
        )


def test_what_is_not_there_is_not_proved() -> None:
    for index, size in ((0, 0), (-1, 5), (5, 5)):
        with pytest.raises(ValueError, match="no leaf"):
            merkle.inclusion_ranges(index, size)
    with pytest.raises(ValueError, match="not the beginning"):
        merkle.consistency_ranges(3, 2)
