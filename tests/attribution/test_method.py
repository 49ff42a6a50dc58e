"""Method versions: one document, one hash."""

import json
from dataclasses import fields, replace
from hashlib import sha256
from typing import Any

import pytest

from attribution.method import MethodVersion, default_method, quick_method
from attribution.pipeline import Model
from database.errors import Invalid


def test_a_version_is_its_canonical_document(tiny: Model) -> None:
    method = default_method(tiny)
    assert method.sha256 == sha256(method.canonical).digest()
    assert json.loads(method.canonical) == method.document
    assert method.canonical == json.dumps(method.document, sort_keys=True, separators=(",", ":")).encode()
    assert MethodVersion.from_document(json.loads(method.canonical)) == method
    assert method.embedding_sha256 == tiny.embedding_sha256.hex()


def test_every_field_changes_the_hash(tiny: Model) -> None:
    method = default_method(tiny)
    changed: dict[type, Any] = {str: "x", int: 77, tuple: (2,), type(None): 5}
    hashes = {method.sha256}
    for field in fields(method):
        hashes.add(replace(method, **{field.name: changed[type(getattr(method, field.name))]}).sha256)
    assert len(hashes) == len(fields(method)) + 1


def test_the_quick_version_is_another_one(tiny: Model) -> None:
    quick = quick_method(tiny)
    assert quick.sha256 != default_method(tiny).sha256
    assert (quick.protocol_steps, default_method(tiny).protocol_steps) == (2, None)


def test_documents_this_release_does_not_know_are_refused(tiny: Model) -> None:
    document = default_method(tiny).document
    for change in (
        {"format": "method-9"},
        {"game": "other"},
        {"characteristic_function": "other"},
        {"adapters": "other"},
        {"more": 1},
    ):
        with pytest.raises(Invalid, match="release"):
            MethodVersion.from_document({**document, **change})


def test_documents_of_the_first_format_keep_their_hash_and_meaning(tiny: Model) -> None:
    first = replace(default_method(tiny), format="method-1")
    assert "maximum_players" not in first.document and "embedding" not in first.document
    read = MethodVersion.from_document(json.loads(first.canonical))
    assert read.canonical == first.canonical and read.sha256 == first.sha256
    assert read.maximum_players == read.maximum_exact_players, "images with more players wait, as they did"
    assert (read.embedding, read.seeds_permille) == ("clip", 0)
    assert read.adapters is None, "images made with adapters wait"


def test_built_in_versions_can_be_carried_out(tiny: Model) -> None:
    default_method(tiny).check()
    quick_method(tiny).check()
