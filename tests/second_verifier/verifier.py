"""A second verifier of the ledger's proofs, written from docs/proof-format.md alone, in Python without packages.

It imports nothing of this repository and has no database driver: whoever calls it gives it a function that runs a
`COPY (...) TO STDOUT` and yields its bytes. As a program it asks the program `psql`:

    python verifier.py statement FILE --key VKEY [--handover FILE]
    python verifier.py database DIRECTORY --key VKEY --conninfo CONNINFO [--psql PROGRAM]
    python verifier.py consistency FIRST SECOND PROOF --key VKEY [--handover FILE]

Exit status 0 if everything agrees, 1 if not.
"""

import argparse
import base64
import binascii
import json
import re
import secrets
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256, sha512
from pathlib import Path
from typing import Any, NoReturn

Copy = Callable[[str], Iterable[bytes]]
"""Runs one `COPY (...) TO STDOUT` and gives its output in pieces of any length."""

SETTINGS = {
    "DateStyle": "ISO, YMD",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
}
"""What the session that runs the COPY has to have set."""


class Refused(Exception):
    """What was given does not prove what it claims to prove."""


# Trees


def leaf_hash(data: bytes) -> bytes:
    """Hash of one leaf of a tree."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node of a tree."""
    return sha256(b"\x01" + left + right).digest()


def root(hashes: Iterable[bytes]) -> bytes:
    """Root of the tree of these leaf hashes."""
    # Complete subtrees from left to right, each with its height: what a binary counter does with its digits.
    complete: list[tuple[int, bytes]] = []
    for given in hashes:
        height, hash = 0, given
        while complete and complete[-1][0] == height:
            height, hash = height + 1, node_hash(complete.pop()[1], hash)
        complete.append((height, hash))
    if not complete:
        return sha256(b"").digest()
    _, top = complete.pop()
    while complete:
        top = node_hash(complete.pop()[1], top)
    return top


def root_by_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """The root of the tree of `size` leaves that the inclusion proof of leaf `index` leads to.

    Raises:
        Refused: the proof cannot be one of this leaf.
    """
    if not 0 <= index < size:
        raise Refused(f"leaf {index} is not in a tree of {size} leaves")
    node, last, hash = index, size - 1, leaf
    for other in proof:
        if last == 0:
            raise Refused("the inclusion proof is too long")
        if node & 1 or node == last:
            hash = node_hash(other, hash)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            hash = node_hash(hash, other)
        node, last = node >> 1, last >> 1
    if last:
        raise Refused("the inclusion proof is too short")
    return hash


def check_consistency(
    first: int, first_root: bytes, second: int, second_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree of the first root is the beginning of that of the second.

    Raises:
        Refused: the proof does not show that.
    """
    if not 0 <= first <= second:
        raise Refused(f"a log of {second} leaves has no beginning of {first}")
    if first in (0, second):
        expected = sha256(b"").digest() if first == 0 else second_root
        if proof or first_root != expected:
            raise Refused("the consistency proof does not fit the roots")
        return
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    if not path:
        raise Refused("the consistency proof is too short")
    node, last = first - 1, second - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = path[0]
    for other in path[1:]:
        if last == 0:
            raise Refused("the consistency proof is too long")
        if node & 1 or node == last:
            old, new = node_hash(other, old), node_hash(other, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, other)
        node, last = node >> 1, last >> 1
    if last:
        raise Refused("the consistency proof is too short")
    if (old, new) != (first_root, second_root):
        raise Refused("the consistency proof does not lead from the one root to the other")


# Ed25519 (RFC 8032, section 5.1)

_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT_OF_MINUS_ONE = pow(2, (_P - 1) // 4, _P)
_Point = tuple[int, int, int, int]
"""(X, Y, Z, T) with x = X/Z, y = Y/Z and xy = T/Z."""


def _add(one: _Point, other: _Point) -> _Point:
    a = (one[1] - one[0]) * (other[1] - other[0]) % _P
    b = (one[1] + one[0]) * (other[1] + other[0]) % _P
    c = 2 * one[3] * other[3] * _D % _P
    d = 2 * one[2] * other[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(factor: int, point: _Point) -> _Point:
    product: _Point = (0, 1, 1, 0)
    while factor:
        if factor & 1:
            product = _add(product, point)
        point, factor = _add(point, point), factor >> 1
    return product


def _same(one: _Point, other: _Point) -> bool:
    return (one[0] * other[2] - other[0] * one[2]) % _P == 0 and (
        one[1] * other[2] - other[1] * one[2]
    ) % _P == 0


def _point(given: bytes) -> _Point | None:
    """The point that 32 bytes name, None if they name none."""
    y = int.from_bytes(given, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT_OF_MINUS_ONE % _P
    if (x * x - square) % _P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


_Y = 4 * pow(5, -1, _P) % _P
_BASE = _point(_Y.to_bytes(32, "little")) or (0, 1, 1, 0)


def signed_by(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether this is the public key's Ed25519 signature of the message."""
    if len(public) != 32 or len(signature) != 64:
        return False
    key, r, s = _point(public), _point(signature[:32]), int.from_bytes(signature[32:], "little")
    if key is None or r is None or s >= _ORDER:
        return False
    h = int.from_bytes(sha512(signature[:32] + public + message).digest(), "little") % _ORDER
    return _same(_times(s, _BASE), _add(r, _times(h, key)))


# Signed notes


def _base64(given: str, what: str) -> bytes:
    try:
        data = base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(f"{what} is not base64") from error
    if base64.b64encode(data).decode() != given:
        raise Refused(f"{what} is not the base64 of its bytes")
    return data


@dataclass(frozen=True)
class Key:
    """A verifier key: `<name>+<key id>+<base64 of 0x01 and the public key>`."""

    name: str
    id: bytes
    public: bytes

    @classmethod
    def parse(cls, text: str) -> "Key":
        """The key of this text.

        Raises:
            Refused: it is not a verifier key, or the key id is another key's.
        """
        parts = text.strip().split("+", 2)
        if len(parts) != 3:
            raise Refused("a verifier key is name+id+key")
        name, id, data = parts[0], parts[1], _base64(parts[2], "the verifier key")
        if not name or any(character.isspace() for character in name):
            raise Refused("a verifier key has a name without spaces")
        if len(data) != 33 or data[0] != 1:
            raise Refused("the verifier key is not one of Ed25519")
        expected = sha256(name.encode() + b"\n" + data).digest()[:4]
        if id != expected.hex():
            raise Refused("the verifier key's id is another key's")
        return cls(name, expected, data[1:])


@dataclass(frozen=True)
class Note:
    """A signed note: its text, last newline included, and its signatures by name and key id."""

    text: str
    signatures: tuple[tuple[str, bytes, bytes], ...]

    @classmethod
    def parse(cls, note: str) -> "Note":
        """Take a note apart.

        Raises:
            Refused: it is no signed note.
        """
        text, separator, lines = note.rpartition("\n\n")
        if not separator or not lines.endswith("\n"):
            raise Refused("this is not a signed note")
        signatures = []
        for line in lines[:-1].split("\n"):
            match = re.fullmatch(r"— ([^ ]+) ([^ ]+)", line)
            if match is None:
                raise Refused("a line after the note's text is no signature")
            data = _base64(match[2], "a signature")
            if len(data) < 5:
                raise Refused("a signature is too short")
            signatures.append((match[1], data[:4], data[4:]))
        return cls(text + "\n", tuple(signatures))

    def signers(self, keys: Iterable[Key]) -> list[Key]:
        """Those of the keys that have signed the note; signatures of other keys are ignored.

        Raises:
            Refused: a signature under the name and id of one of the keys is not its signature.
        """
        found = []
        for key in dict.fromkeys(keys):
            for name, id, signature in self.signatures:
                if (name, id) == (key.name, key.id):
                    if not signed_by(key.public, self.text.encode(), signature):
                        raise Refused(f"a signature of {key.name} is forged, or the note was changed")
                    found.append(key)
        return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Checkpoint:
    """A log's head: origin, size and root."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, note: str, keys: Iterable[Key]) -> "Checkpoint":
        """The checkpoint of a note that one of the keys has signed.

        Raises:
            Refused: none has, or the note is no checkpoint.
        """
        parsed = Note.parse(note)
        lines = parsed.text.split("\n")
        # Lines after the third are extensions: signed, and nothing to this verifier.
        if len(lines) < 4:
            raise Refused("a checkpoint has three lines")
        origin, size, head = lines[:3]
        if not origin or re.fullmatch("0|[1-9][0-9]*", size) is None:
            raise Refused("a checkpoint has an origin and a size")
        data = _base64(head, "the checkpoint's root")
        if len(data) != 32:
            raise Refused("the checkpoint's root is not a SHA-256")
        if not [key for key in parsed.signers(keys) if key.name == origin]:
            raise Refused("no key that is trusted has signed this checkpoint")
        return cls(origin, int(size), data)


def trusted(keys: Iterable[Key], handovers: Iterable[str]) -> list[Key]:
    """The keys, and those that they were handed over to.

    Raises:
        Refused: a handover is not signed by both its keys.
    """
    known = dict.fromkeys(keys)
    steps = []
    for handover in handovers:
        note = Note.parse(handover)
        lines = note.text.split("\n")
        if len(lines) != 5 or lines[0] != "royalty-key-handover/1" or lines[4]:
            raise Refused("this is not a key's handover")
        old, new = Key.parse(lines[2]), Key.parse(lines[3])
        if not old.name == new.name == lines[1]:
            raise Refused("a handover is between two keys of one name")
        if len(note.signers([old, new])) != 2:
            raise Refused("a handover is signed by both its keys")
        steps.append((old, new))
    while True:
        gained = [new for old, new in steps if old in known and new not in known]
        if not gained:
            return list(known)
        known |= dict.fromkeys(gained)


# Leaves, and the leaf-hash file


def _doubled(text: str) -> str:
    return text.replace("\\", "\\\\")


def _undoubled(text: str) -> str:
    if "\\" in text.replace("\\\\", ""):
        raise Refused("a backslash is written twice")
    return text.replace("\\\\", "\\")


@dataclass(frozen=True)
class Entry:
    """One leaf of the log."""

    kind: str
    reference: str
    sha256: str

    def data(self) -> bytes:
        """The leaf's data in the log's tree."""
        return f"royalty-leaf/1\t{self.kind}\t{_doubled(self.reference)}\t{self.sha256}\n".encode()

    def hash(self) -> bytes:
        """The leaf's hash in the log's tree."""
        return leaf_hash(self.data())


Row = tuple[str, bytes]
"""Key and leaf hash of one row of the tree below a leaf."""


@dataclass(frozen=True)
class Leaves:
    """A leaf-hash file: the log's leaves, and the rows below those that are trees of rows."""

    entries: list[Entry]
    rows: dict[int, list[Row]]

    @classmethod
    def parse(cls, file: bytes) -> "Leaves":
        """Take the file apart, and check that the rows below each leaf give its digest.

        Raises:
            Refused: it is no such file, or contradicts itself.
        """
        lines = _text(file, "the leaf-hash file").split("\n")
        if lines[0] != "royalty-leaves/1" or lines[-1]:
            raise Refused("this is not a leaf-hash file")
        entries: list[Entry] = []
        rows: dict[int, list[Row]] = {}
        for line in lines[1:-1]:
            fields = line.split("\t")
            if len(fields) != 3 or re.fullmatch("[0-9a-f]{64}", fields[2]) is None:
                raise Refused("a line of the leaf-hash file is none")
            name = _undoubled(fields[1])
            if fields[0]:
                entries.append(Entry(fields[0], name, fields[2]))
                if fields[0] in ("table", "seal"):
                    rows[len(entries) - 1] = []
            elif len(entries) - 1 not in rows:
                raise Refused("the leaf-hash file has rows below a leaf that has none")
            else:
                rows[len(entries) - 1].append((name, bytes.fromhex(fields[2])))
        for index, below in rows.items():
            if root(hash for _, hash in below).hex() != entries[index].sha256:
                raise Refused(f"the rows below leaf {index} of the leaf-hash file do not give its digest")
        return cls(entries, rows)

    def root(self, size: int) -> bytes:
        """The root of the first leaves.

        Raises:
            Refused: there are fewer.
        """
        if size > len(self.entries):
            raise Refused(f"the leaf-hash file has {len(self.entries)} leaves, not {size}")
        return root(entry.hash() for entry in self.entries[:size])


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Refused(f"{what} is not UTF-8") from error


# A statement's file


def canonical(value: object) -> str:
    """Canonical JSON (RFC 8785) of what statements are made of: no fractions.

    Raises:
        Refused: the value has no canonical form here.
    """
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int):
        if abs(value) >= 2**53:
            raise Refused("a number is too large for JSON")
        return str(value)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise Refused("a text is not Unicode") from error
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{','.join(map(canonical, value))}]"
    if isinstance(value, dict):
        # Names are sorted by their UTF-16 code units, which is another order than that of code points.
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return f"{{{','.join(f'{canonical(name)}:{canonical(value[name])}' for name in names)}}}"
    raise Refused("a statement has no such value")


def _parse_json(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise Refused("a name stands twice in an object: readers differ in what they make of it")
        return dict(pairs)

    def no_fraction(text: str) -> NoReturn:
        raise Refused(f"{text} is no number of a statement")

    try:
        return json.loads(text, object_pairs_hook=once, parse_float=no_fraction, parse_constant=no_fraction)
    except (ValueError, RecursionError) as error:
        raise Refused("the file is not JSON") from error


def _member(value: Any, name: str, kind: type, what: str) -> Any:
    found = value.get(name) if isinstance(value, dict) else None
    if type(found) is not kind:
        raise Refused(f"the proof has no {name} of its {what}")
    return found


def _hash(text: object) -> bytes:
    if not isinstance(text, str) or re.fullmatch("[0-9a-f]{64}", text) is None:
        raise Refused("a hash of the proof is none")
    return bytes.fromhex(text)


@dataclass(frozen=True)
class Statement:
    """What a statement's file proves. Without a checkpoint it is whole, and in no log that anybody has signed."""

    reference: str
    sha256: str
    checkpoint: Checkpoint | None
    seal_root: bytes | None


def check_statement(file: bytes, keys: Iterable[Key]) -> Statement:
    """Check a statement's file, offline.

    Raises:
        Refused: it or its proof was changed, or none of the keys has signed its checkpoint.
    """
    whole = _parse_json(_text(file, "the file"))
    if not isinstance(whole, dict) or set(whole) != {"statement", "proof"}:
        raise Refused("a statement's file has a statement and a proof")
    body, proof = whole["statement"], whole["proof"]
    reference = _member(body, "statement", str, "statement")
    digest = sha256(canonical(body).encode()).hexdigest()
    if proof is None:
        return Statement(reference, digest, None, None)
    if _member(proof, "format", str, "format") != "royalty-statement-proof/1":
        raise Refused("the proof has another format")
    leaf = _member(proof, "leaf", dict, "proof")
    index = _member(leaf, "index", int, "leaf")
    entry = Entry("statement", reference, digest)
    if {name: leaf.get(name) for name in ("kind", "reference", "sha256")} != vars(entry):
        raise Refused("the proof is another statement's, or the statement was changed")
    seal = _member(proof, "seal", dict, "proof")
    if not reference.startswith(_member(seal, "name", str, "seal") + "/"):
        raise Refused("the proof's seal is another period's")
    seal_root = _hash(seal.get("root"))
    found = root_by_inclusion(
        index,
        _member(seal, "size", int, "seal"),
        entry.hash(),
        [_hash(one) for one in _member(seal, "inclusion", list, "seal")],
    )
    if found != seal_root:
        raise Refused("the statement is not in the seal's log")
    given = proof.get("checkpoint")
    if given is None:
        return Statement(reference, digest, None, seal_root)
    checkpoint = Checkpoint.parse(_member(given, "note", str, "checkpoint"), keys)
    found = root_by_inclusion(
        index,
        checkpoint.size,
        entry.hash(),
        [_hash(one) for one in _member(given, "inclusion", list, "checkpoint")],
    )
    if found != checkpoint.root:
        raise Refused("the statement is not in the checkpoint's log")
    return Statement(reference, digest, checkpoint, seal_root)


# Rows of the database

RECORDS = {
    "account": ("record_account", "id, code, class, currency, recorded_at"),
    "schema_change": (
        "record_schema_change",
        "number, revision_from, revision_to, server, format, before_sha256, after_sha256, unrecorded, actor,"
        " created_by, recorded_at",
    ),
    "checkpoint": ("record_checkpoint", "size, origin, root, note, actor, created_by, recorded_at"),
}
"""Kinds of leaf whose digest is that of one row: view and columns."""

JOURNAL = (
    "id, kind, key, booked_at, value_date, lines, content_sha256, reverses, actor, approved_by, created_by,"
    " recorded_at"
)
POSTING = "journal_id, line, lines, booked_at, account_id, amount, currency, account"
SEAL = "name, sealed_before, actor, recorded_at, log_size, log_root"
CLOSING_BALANCE = "seal, account_id, opening, debits, credits, closing, code, class, currency"

_ATTRIBUTION = {
    "image",
    "attribution",
    "coalition_value",
    "attribution_share",
    "method_version",
    "placebo",
}
FROZEN = {
    f"{'attribution' if table in _ATTRIBUTION else 'settlement'}.{table}": columns
    for table, columns in {
        "period": "period_id, starts_at, ends_at, cut_off_at, zone, state, recorded_at",
        "royalty_run": "period_id, inputs_sha256, draft_sha256, approval_id, totals, closed_by, code_version,"
        " recorded_at",
        "approval": "id, kind, subject, content_sha256, maker, checker, recorded_at",
        "platform_version": "id, valid_from, platform_payee_id, model_developer_id, default_rate_card_id, zone,"
        " minimum_payout, dispute_contact, dispute_days, actor, reason, recorded_at, bank_details_cooling_off_days,"
        " fallback_after_periods, fallback_key, zero_statements, pending_limit_ppb",
        "rate_card_version": "id, rate_card_id, valid_from, model, rate_ppb, fee_micros, currency, content_to,"
        " distribution_key, terms, actor, reason, recorded_at, minimum_micros, weights, public_domain_payee_id",
        "contract_version": "id, contract_id, artist_id, valid_from, status, actor, reason, recorded_at",
        "contract_split": "contract_version_id, payee_id, share_ppb",
        "payee": "payee_id, kind, currency, actor, recorded_at",
        "sale": "id, external_id, content_sha256, image_id, sold_at, territory, currency, price_micros, tax_micros,"
        " payment_fee_micros, marketplace_fee_micros, other_deduction_micros, rate_card_id, actor, recorded_at",
        "refund": "id, external_id, content_sha256, sale_id, kind, refunded_at, amount_micros, actor, recorded_at",
        "image": "id, external_id, content_sha256, prompt_sha256, seed, width, height, steps, guidance, scheduler,"
        " scheduler_config, eta, model, weights_sha256, latents_sha256, file, file_sha256, customer, artists, extra,"
        " generated_at, recorded_at",
        "attribution": "id, image_id, method_id, status, reason, players, denominator, fidelity, reading,"
        " environment, written_by, recorded_at, orders, further_seeds",
        "coalition_value": "attribution_id, coalition, value, picture_sha256, prompt_sha256",
        "attribution_share": "attribution_id, slot, player, phi_numerator, placebo_mean, adjusted_numerator,"
        " placebo_threshold, paid_numerator, share_ppb, standard_error, prompt_share_ppb, prompt_standard_error_ppb",
        "method_version": "id, sha256, name, document, recorded_at",
        "placebo": "method_id, weights_sha256, players, slot, mean, mean_standard_error, threshold,"
        " threshold_standard_error, names, evidence, recorded_at",
        "sale_slice": "sale_id, period_id, usage_period, rate_card_version_id, base_micros, slice_micros, currency",
        "refund_reversal": "refund_id, sale_id, period_id, refunded_micros, reversed_micros",
        "royalty_line": "id, period_id, kind, sale_id, player, destination, payee_id, amount_micros, currency,"
        " attribution_id, share_ppb, contract_version_id, split_ppb, distribution_key, refund_id, corrects,"
        " platform_version_id, correction_id",
        "statement": "id, statement_id, number, period_id, payee_id, currency, journal_id, opening, royalties, late,"
        " adjustments, refunds, reserves, recoupment, tax, claims, fx, payments, closing, payable, held,"
        " below_minimum, below_unit, body, sha256, recorded_at",
        "fx_rate": "id, source_currency, target_currency, valid_from, rate_trillionths, source, actor,"
        " reason, recorded_at",
        "tax_profile_version": "id, payee_id, valid_from, default_ppb, rates, actor, reason, recorded_at",
        "reserve_version": "id, payee_id, valid_from, rate_ppb, release, actor, reason, recorded_at",
        "advance": "advance_id, payee_id, currency, amount_micros, content_sha256, actor, reason, recorded_at",
        "conversion": "period_id, payee_id, currency, fx_rate_id, source_micros, target_micros",
        "reserve": "period_id, payee_id, currency, reserve_version_id, basis_micros, amount_micros",
        "reserve_use": "id, period_id, payee_id, currency, taken_in, refund_id, amount_micros",
        "tax_determination": "period_id, payee_id, currency, territory, tax_profile_version_id, rate_ppb, base_micros,"
        " withheld_micros",
        "tax_reversal": "refund_id, period_id, payee_id, taxed_in, currency, territory, base_micros,"
        " given_back_micros",
        "recoupment": "period_id, advance_id, amount_micros",
        "statement_column": "period_id, payee_id, currency, statement_id, opening, royalties, late, adjustments,"
        " refunds, reserves, recoupment, tax, claims, fx, payments, closing",
        "correction": "correction_id, kind, method_id, rate_card_version_id, payee_id, currency, territory,"
        " amount_micros, reason, content, content_sha256, actor, recorded_at",
        "correction_sale": "correction_id, sale_id, attribution_id, rate_card_version_id, slice_before_micros,"
        " slice_micros",
        "correction_contract": "correction_id, artist_id, contract_version_id",
        "correction_application": "correction_id, period_id, approval_id",
    }.items()
}
"""Columns of the frozen rows of each table, in the order of the leaves."""

_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}


def value(field: bytes) -> str | None:
    """The value of one field of COPY's text format, None for NULL."""
    if field == b"\\N":
        return None
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), field.decode(), flags=re.DOTALL)


def lines(copy: Copy, query: str) -> Iterator[bytes]:
    """The lines of a COPY, newlines included, whatever pieces they come in."""
    rest = b""
    for piece in copy(f"COPY ({query}) TO STDOUT"):
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line + b"\n" for line in whole)
    if rest:
        raise Refused("a COPY ended within a line")


def _leading(line: bytes, count: int) -> tuple[list[str], bytes]:
    """The first columns as values (NULL as the empty text), and the bytes of the row behind them."""
    *first, rest = line.split(b"\t", count)
    return [value(one) or "" for one in first], rest


@dataclass
class Digests:
    """What the rows of a database give: digests by kind and reference, and rows below tables and seals."""

    found: dict[tuple[str, str], str] = field(default_factory=dict)
    rows: dict[tuple[str, str], list[Row]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def add(self, kind: str, reference: str, digest: str) -> None:
        """Note the digest of one record."""
        if (kind, reference) in self.found:
            self.faults.append(f"there are two rows of {kind} {reference}")
        self.found[kind, reference] = digest


def read_digests(copy: Copy) -> Digests:
    """Read every row that can be behind a leaf, and compute the digests anew."""
    digests = Digests()
    for kind, (view, columns) in RECORDS.items():
        for line in lines(copy, f"SELECT reference, {columns} FROM audit.{view}"):
            (reference,), row = _leading(line, 1)
            digests.add(kind, reference, sha256(row).hexdigest())
    _read_journals(copy, digests)
    for line in lines(copy, "SELECT statement_id, body FROM audit.statements"):
        (reference,), body = _leading(line, 1)
        digests.add("statement", reference, sha256((value(body[:-1]) or "").encode()).hexdigest())
    for table, columns in FROZEN.items():
        query = (
            f"SELECT frozen_in, frozen_key, {columns} FROM audit.frozen_{table.partition('.')[2]}"
            ' ORDER BY frozen_in COLLATE "C", frozen_key COLLATE "C"'
        )
        for line in lines(copy, query):
            (period, key), row = _leading(line, 2)
            digests.rows.setdefault(("table", f"{period}/{table}"), []).append((key, leaf_hash(row)))
    _read_seals(copy, digests)
    for (kind, reference), rows in digests.rows.items():
        digests.add(kind, reference, root(hash for _, hash in rows).hex())
    return digests


def _read_journals(copy: Copy, digests: Digests) -> None:
    hashes = {}
    references = {}
    for line in lines(copy, f"SELECT reference, {JOURNAL} FROM audit.record_journal"):
        (reference,), row = _leading(line, 1)
        id = row.partition(b"\t")[0]
        hashes[id], references[id] = sha256(row), reference
    for row in lines(copy, f"SELECT {POSTING} FROM audit.record_posting ORDER BY journal_id, line"):
        id = row.partition(b"\t")[0]
        if id in hashes:
            hashes[id].update(row)
        else:
            digests.faults.append(f"a posting has the journal {id.decode()}, which is gone")
    for id, hash in hashes.items():
        digests.add("journal", references[id], hash.hexdigest())


def _read_seals(copy: Copy, digests: Digests) -> None:
    for row in lines(copy, f"SELECT {SEAL} FROM audit.record_seal"):
        name = value(row.partition(b"\t")[0]) or ""
        digests.rows["seal", name] = [(name, leaf_hash(row))]
    sums: Counter[tuple[str, str, str]] = Counter()
    query = (
        f'SELECT {CLOSING_BALANCE} FROM audit.record_closing_balance ORDER BY code COLLATE "C", account_id'
    )
    for row in lines(copy, query):
        fields = [value(one) or "" for one in row[:-1].split(b"\t")]
        name, code, currency = fields[0], fields[6], fields[8]
        opening, debits, credits, closing = map(int, fields[2:6])
        if opening + debits + credits != closing:
            digests.faults.append(f"the closing balance of {code} in seal {name} does not add up")
        sums[name, currency, "openings"] += opening
        sums[name, currency, "closings"] += closing
        if ("seal", name) in digests.rows:
            digests.rows["seal", name].append((code, leaf_hash(row)))
        else:
            digests.faults.append(f"a closing balance of {code} has the seal {name}, which is gone")
    digests.faults += [
        f"the {what} of seal {name} in {currency} do not sum to zero"
        for (name, currency, what), total in sums.items()
        if total
    ]


def read_log(copy: Copy) -> list[Entry]:
    """The log, in order.

    Raises:
        Refused: its numbers have a gap, or a record is in it twice.
    """
    log: list[Entry] = []
    for line in lines(copy, "SELECT index, kind, reference, sha256 FROM audit.log ORDER BY index"):
        index, kind, reference, digest = (value(one) or "" for one in line[:-1].split(b"\t"))
        if index != str(len(log)):
            raise Refused(f"the log has no leaf {len(log)}")
        log.append(Entry(kind, reference, digest))
    if len({(entry.kind, entry.reference) for entry in log}) != len(log):
        raise Refused("a record is in the log twice")
    return log


# The comparison


@dataclass(frozen=True, order=True)
class Finding:
    """One difference: what happened to which record, and below tables and seals to which row."""

    what: str
    kind: str
    reference: str
    key: str | None = None

    def __str__(self) -> str:
        row = "" if self.key is None else f", row {self.key}"
        return f"{self.what}: {self.kind} {self.reference}{row}"


@dataclass(frozen=True)
class Report:
    """What a verification found, how far the log is covered, and what is in the database but not in the log."""

    size: int
    findings: list[Finding]
    faults: list[str]
    notes: list[str]
    unlogged: list[tuple[str, str]]

    @property
    def agrees(self) -> bool:
        """Whether nothing contradicts the checkpoint."""
        return not self.findings and not self.faults


def compare_rows(then: Sequence[Row], now: Sequence[Row], kind: str, reference: str) -> list[Finding]:
    """What happened to the rows below one leaf, by key."""
    gone, new = (
        list((Counter(then) - Counter(now)).elements()),
        list((Counter(now) - Counter(then)).elements()),
    )
    keys = {key for key, _ in gone} & {key for key, _ in new}
    hashes = {hash for _, hash in gone} & {hash for _, hash in new}
    found = []
    for key, hash in gone:
        if key not in keys:
            found.append(Finding("renumbered" if hash in hashes else "removed", kind, reference, key))
    for key, hash in new:
        if key in keys:
            found.append(Finding("altered", kind, reference, key))
        elif hash not in hashes:
            found.append(Finding("inserted", kind, reference, key))
    return found


def verify(copy: Copy, checkpoint: Checkpoint, leaves: Leaves | None, keys: Iterable[Key]) -> Report:
    """Recompute the log from the rows of a database, and compare it with a checkpoint and its leaf-hash file.

    Args:
        copy: runs COPY for a session that has `SETTINGS` and sees one state of the database throughout.
        checkpoint: what is believed.
        leaves: the checkpoint's leaf-hash file; without it a change is known to be there, and has no name.
        keys: those that may have signed the checkpoints that are stored in the database.

    Raises:
        Refused: the log has gaps, is shorter than the checkpoint, or the leaf-hash file is another checkpoint's.
    """
    if leaves is not None and (
        len(leaves.entries) != checkpoint.size or leaves.root(checkpoint.size) != checkpoint.root
    ):
        raise Refused("the leaf-hash file is not this checkpoint's")
    log = read_log(copy)
    if len(log) < checkpoint.size:
        raise Refused(f"the log was cut off: it has {len(log)} leaves, the checkpoint {checkpoint.size}")
    digests = read_digests(copy)
    faults = list(digests.faults)
    findings: list[Finding] = []
    hashes = [entry.hash() for entry in log]
    if root(hashes[: checkpoint.size]) != checkpoint.root:
        faults.append(f"the first {checkpoint.size} leaves of the log do not give the checkpoint's root")
    believed = list(log)
    if leaves is not None:
        for then, now in zip(leaves.entries, log, strict=False):
            if then != now:
                findings.append(Finding("altered in the log", then.kind, then.reference))
        believed[: checkpoint.size] = leaves.entries
    known = {(entry.kind, entry.reference) for entry in believed}
    unlogged = sorted(set(digests.found) - known)
    for index, entry in enumerate(believed):
        then_rows = leaves.rows.get(index) if leaves is not None and index < checkpoint.size else None
        findings += _compare(entry, then_rows, digests, unlogged)
    stored_faults, notes = _check_stored(copy, hashes, keys)
    return Report(checkpoint.size, findings, faults + stored_faults, notes, unlogged)


def _compare(
    then: Entry, rows: list[Row] | None, digests: Digests, unlogged: Sequence[tuple[str, str]]
) -> list[Finding]:
    name = (then.kind, then.reference)
    if then.kind == "table":
        if then.reference.rpartition("/")[2] not in FROZEN:
            return [Finding("of no table that is known", *name)]
        digests.found.setdefault(name, root([]).hex())
    now = digests.found.get(name)
    if now == then.sha256:
        return []
    if now is None:
        # Renumbered, if its bytes are there under a name that no leaf has.
        moved = any(
            kind == then.kind and digests.found[kind, reference] == then.sha256
            for kind, reference in unlogged
        )
        return [Finding("renumbered" if moved else "removed", *name)]
    if rows is None:
        return [Finding("altered", *name)]
    return compare_rows(rows, digests.rows.get(name, []), *name) or [Finding("altered", *name)]


def _check_stored(copy: Copy, hashes: Sequence[bytes], keys: Iterable[Key]) -> tuple[list[str], list[str]]:
    """Compare what the database says of its own log, in checkpoints, seals and manifests, with that log.

    Returns:
        The differences, and which checkpoints none of the keys has signed: those prove nothing.
    """
    faults, notes = [], []
    keys = list(keys)
    for line in lines(copy, "SELECT size, note FROM audit.checkpoints ORDER BY size"):
        size, note = (value(one) or "" for one in line[:-1].split(b"\t"))
        try:
            stored = Checkpoint.parse(note, keys)
        except Refused as refused:
            notes.append(f"the stored checkpoint {size}: {refused}")
            continue
        if str(stored.size) != size or size_root(hashes, stored.size) != stored.root:
            faults.append(f"the log differs from the stored checkpoint {size}")
    for line in lines(copy, "SELECT name, log_size, encode(log_root, 'hex') FROM audit.record_seal"):
        name, log_size, log_root = (value(one) for one in line[:-1].split(b"\t"))
        if log_size is not None and (size_root(hashes, int(log_size)) or b"").hex() != log_root:
            faults.append(f"the log differs from the one that seal {name} has seen")
    for line in lines(copy, "SELECT number, after_sha256, manifest FROM audit.schema_changes"):
        number, digest, manifest = (value(one) for one in line[:-1].split(b"\t"))
        if manifest is not None and sha256(manifest.encode()).hexdigest() != digest:
            faults.append(f"the manifest of schema change {number} was altered")
    return faults, notes


def size_root(hashes: Sequence[bytes], size: int) -> bytes | None:
    """The root of the first leaves, None if there are fewer."""
    return root(hashes[:size]) if size <= len(hashes) else None


# The program


class Psql:
    """One session of the program psql, in one transaction: every COPY sees the same state of the database."""

    def __init__(self, program: str, conninfo: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the session
        self._process = subprocess.Popen(
            [program, "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", conninfo],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        settings = "".join(f"SET {name} = '{given}';\n" for name, given in SETTINGS.items())
        self._begin = f"{settings}BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\n"

    def __enter__(self) -> "Psql":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def copy(self, query: str) -> Iterator[bytes]:
        """The lines of a COPY; read them all before the next one."""
        # Nobody who can write rows can know this line beforehand.
        end = secrets.token_hex(32)
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(f"{self._begin}{query};\nSELECT '{end}';\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail()
        self._begin = ""
        for line in self._process.stdout:
            if line == f"{end}\n".encode():
                return
            yield line
        self._fail()

    def _fail(self) -> NoReturn:
        self._process.wait()
        self._errors.seek(0)
        raise Refused(f"psql: {self._errors.read().decode(errors='replace').strip()}")


def read_directory(directory: Path, keys: Iterable[Key]) -> tuple[Checkpoint, Leaves | None, list[Key]]:
    """The newest checkpoint of a directory, its leaf-hash file, and the keys that are trusted.

    Raises:
        Refused: there is none, a signature is missing, or an older one is not the beginning of the newest.
    """
    handovers = [_text(path.read_bytes(), path.name) for path in sorted(directory.glob("handover-*.txt"))]
    all_keys = trusted(keys, handovers)
    found = sorted(
        (
            (Checkpoint.parse(_text(path.read_bytes(), path.name), all_keys), path)
            for path in directory.glob("checkpoint-*.txt")
        ),
        key=lambda pair: pair[0].size,
    )
    if not found:
        raise Refused(f"there is no checkpoint in {directory}")
    *older, (newest, path) = found
    file = path.with_suffix(".leaves")
    leaves = Leaves.parse(file.read_bytes()) if file.exists() else None
    for checkpoint, _ in older:
        if checkpoint.origin != newest.origin:
            raise Refused(f"checkpoint {checkpoint.size} is of another log")
        if leaves is not None and leaves.root(checkpoint.size) != checkpoint.root:
            raise Refused(f"checkpoint {checkpoint.size} is not the beginning of checkpoint {newest.size}")
    return newest, leaves, all_keys


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    statement = commands.add_parser("statement", help="check a statement's file, offline")
    statement.add_argument("file", type=Path)
    database = commands.add_parser("database", help="check a database against a directory of checkpoints")
    database.add_argument("directory", type=Path)
    database.add_argument("--conninfo", required=True, help="libpq connection string of the role auditor")
    database.add_argument("--psql", default="psql", help="the program psql")
    consistency = commands.add_parser("consistency", help="check that a checkpoint's log begins another's")
    for name in ("first", "second", "proof"):
        consistency.add_argument(name, type=Path)
    for command in (statement, database, consistency):
        command.add_argument("--key", action="append", default=[], help="a verifier key that is trusted")
    for command in (statement, consistency):
        command.add_argument("--handover", action="append", default=[], type=Path)
    given = parser.parse_args(arguments)
    try:
        return _run(given)
    except (Refused, OSError) as refused:
        print(f"REFUSED: {refused}")
        return 1


def _run(given: argparse.Namespace) -> int:
    keys = [Key.parse(text) for text in given.key]
    if given.command == "database":
        checkpoint, leaves, keys = read_directory(given.directory, keys)
        with Psql(given.psql, given.conninfo) as session:
            report = verify(session.copy, checkpoint, leaves, keys)
        for line in (*report.faults, *report.findings, *report.notes):
            print(line)
        print(f"{len(report.unlogged)} records are not in the log yet")
        print(
            f"{checkpoint.origin}: {'agrees with' if report.agrees else 'DIFFERS from'} checkpoint {checkpoint.size}"
        )
        return 0 if report.agrees else 1
    keys = trusted(keys, [_text(path.read_bytes(), path.name) for path in given.handover])
    if given.command == "consistency":
        first, second = (
            Checkpoint.parse(_text(path.read_bytes(), path.name), keys)
            for path in (given.first, given.second)
        )
        if first.origin != second.origin:
            raise Refused("the checkpoints are of two logs")
        proof = [_hash(line) for line in _text(given.proof.read_bytes(), "the proof").split()]
        check_consistency(first.size, first.root, second.size, second.root, proof)
        print(f"checkpoint {first.size} is the beginning of checkpoint {second.size}")
        return 0
    found = check_statement(given.file.read_bytes(), keys)
    if found.checkpoint is None:
        print(f"{found.reference} (SHA-256 {found.sha256}) is whole, and in no log that is signed yet")
        return 1
    print(
        f"{found.reference} (SHA-256 {found.sha256}) is in the signed log of {found.checkpoint.size} leaves"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
