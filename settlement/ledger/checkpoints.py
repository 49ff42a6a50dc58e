"""Checkpoints: heads of the log as C2SP signed notes (tlog-checkpoint, signed-note), signed with Ed25519.

The private key is a file under `ROYALTY_HOME/keys`, never in the database; public keys and the notes that hand over
from one key to the next lie under `ROYALTY_HOME/checkpoints`, to be given away. Only the operator's command signs: a
process without the key appends to the log like any other, and somebody who has the key signs the head later.
"""

import base64
import binascii
import json
import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from database.errors import Conflict, Invalid, Unavailable
from database.identity import write_secret
from database.settings import get_settings
from settlement.ledger import log
from settlement.ledger.models import Checkpoint

_ED25519 = b"\x01"
_NAME = re.compile(r"[^\s+]+")
_HANDOVER = "royalty-key-handover/1"


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key and the name it signs under; its text form is `<name>+<key id>+<base64 of 0x01 and the key>`."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """The four bytes that a signature line begins with."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"

    @classmethod
    def read(cls, text: str) -> "VerifierKey":
        """Raises `Invalid` if a text is no Ed25519 verifier key."""
        try:
            name, id, encoded = text.strip().split("+", 2)
            key = base64.b64decode(encoded, validate=True)
            found = cls(name, key[1:])
            if _NAME.fullmatch(name) and key[:1] == _ED25519 and len(key) == 33 and found.id.hex() == id:
                return found
        except (ValueError, binascii.Error):
            pass
        raise Invalid(
            f"{text.strip()!r} is no verifier key: `royalty checkpoint keys` prints them as name+id+key"
        )

    def verifies(self, text: bytes, signature: bytes) -> bool:
        """Whether a signature of these bytes is this key's."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class Head:
    """What a checkpoint says: the log's name, its size and its root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note's text, which is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key, the name it signs under, and its place in the sequence of keys."""

    number: int
    key: VerifierKey
    private: Ed25519PrivateKey

    def line(self, text: str) -> str:
        """The signature line of a note with this text."""
        signature = base64.b64encode(self.key.id + self.private.sign(text.encode())).decode()
        return f"\u2014 {self.key.name} {signature}\n"


def signed(text: str, signers: Sequence[Signer]) -> str:
    """A signed note."""
    return text + "\n" + "".join(signer.line(text) for signer in signers)


def open_note(note: str, keys: Collection[VerifierKey]) -> tuple[str, list[VerifierKey]]:
    """A note's text and those of the keys that have signed it.

    Raises:
        Invalid: it is no note, or a signature that claims to be one of the keys' is not.
    """
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise Invalid("this is no signed note: text, an empty line, and signatures are expected")
    text += "\n"
    found = []
    for line in signatures.splitlines():
        match = re.fullmatch("\u2014 ([^\\s+]+) ([A-Za-z0-9+/=]+)", line)
        if match is None:
            raise Invalid(f"{line!r} is no signature line of a signed note")
        try:
            data = base64.b64decode(match[2], validate=True)
        except (ValueError, binascii.Error) as error:
            raise Invalid(f"{line!r} is no signature line of a signed note") from error
        for key in keys:
            if (key.name, key.id) == (match[1], data[:4]):
                if not key.verifies(text.encode(), data[4:]):
                    raise Invalid(
                        f"the signature of {key.name}+{key.id.hex()} is not of this text: it was changed"
                    )
                found.append(key)
    return text, found


def read_head(note: str, keys: Collection[VerifierKey]) -> Head:
    """The head that a checkpoint says, signed by one of the keys in the name of its log.

    Raises:
        Invalid: it is no checkpoint, none of the keys has signed it, or only for another log.
    """
    text, by = open_note(note, keys)
    if not by:
        raise Invalid("none of the keys given has signed this checkpoint")
    head = parse_head(text)
    if head.origin not in {key.name for key in by}:
        raise Invalid(f"this checkpoint is of the log {head.origin}, and was signed for another")
    return head


def parse_head(text: str) -> Head:
    """The head in a checkpoint's text. Raises `Invalid` if it is none."""
    lines = text.split("\n")
    try:
        origin, size, root = lines[:3]
        head = Head(origin, int(size), base64.b64decode(root, validate=True))
    except (ValueError, binascii.Error) as error:
        raise Invalid("this is no checkpoint: origin, size and root are expected") from error
    if len(head.root) != 32 or not text.startswith(head.text()):
        raise Invalid("this is no checkpoint: origin, size and root are expected")
    return head


# Keys -----------------------------------------------------------------------------------------------------------------


def keys_directory() -> Path:
    """Where the private key lies: for the operator who signs, and nobody else."""
    return get_settings().royalty_home / "keys"


def public_directory() -> Path:
    """Where checkpoints, public keys and handovers lie, to be given away."""
    return get_settings().royalty_home / "checkpoints"


def verifier_keys() -> list[VerifierKey]:
    """This installation's public keys, the first one first, each after the first handed over to by the one before.

    Raises:
        Invalid: a key was not handed over to.
    """
    keys: list[VerifierKey] = []
    for path in sorted(public_directory().glob("key-*.txt")):
        key = VerifierKey.read(path.read_text())
        if keys:
            handover = path.with_name(path.name.replace("key-", "handover-"))
            if not handover.exists():
                break  # a rotation that was killed here: it goes on with the next one
            _check_handover(handover.read_text(), keys[-1], key)
        keys.append(key)
    return keys


def trusted_keys(given: Sequence[VerifierKey], handovers: Sequence[str]) -> list[VerifierKey]:
    """The keys that somebody gives, and those that they have handed over to, by the handovers' notes."""
    keys = list(given)
    for note in handovers:
        text = note.split("\n")
        if len(text) >= 4 and text[0] == _HANDOVER:
            old, new = VerifierKey.read(text[2]), VerifierKey.read(text[3])
            if old in keys and new not in keys:
                _check_handover(note, old, new)
                keys.append(new)
    return keys


def handovers() -> list[str]:
    """The notes that hand over from one key to the next, in order."""
    return [path.read_text() for path in sorted(public_directory().glob("handover-*.txt"))]


def signer(session: Session) -> Signer:
    """The key that signs now; made where this log was never signed.

    Raises:
        Unavailable: the log was signed before, and the key is not here.
    """
    found = _signers()
    if found:
        return found[-1]
    if session.scalar(select(Checkpoint.size).limit(1)) is not None:
        raise Unavailable(f"the key that signs this log is not in {keys_directory()}: run this where it lies")
    return _make(1, get_settings().log_origin or f"royalty/{secrets.token_hex(4)}")


def rotate(session: Session) -> Signer:
    """Make a new key, sign the handover with the old one and the new one, and delete the old private key.

    Killed anywhere, the next call goes on where it stood. What the old key has signed stays verifiable.
    """
    old = signer(session)
    path = keys_directory() / f"checkpoint-{old.number + 1:04}.json"
    new = _load(path) if path.exists() else _make(old.number + 1, old.key.name)
    text = f"{_HANDOVER}\n{old.key.name}\n{old.key}\n{new.key}\n"
    _publish(f"handover-{new.number:04}.txt", signed(text, [old, new]))
    _secret(old.number).unlink(missing_ok=True)
    return new


def _check_handover(note: str, old: VerifierKey, new: VerifierKey) -> None:
    text, by = open_note(note, [old, new])
    if text != f"{_HANDOVER}\n{old.name}\n{old}\n{new}\n" or {*by} != {old, new}:
        raise Invalid(f"key {new.id.hex()} was not handed over to by key {old.id.hex()}")


def _secret(number: int) -> Path:
    return keys_directory() / f"checkpoint-{number:04}.json"


def _signers() -> list[Signer]:
    """The keys here that sign: a key after the first one does so from its handover on."""
    return [
        _load(path)
        for path in sorted(keys_directory().glob("checkpoint-*.json"))
        if path == _secret(1) or (public_directory() / f"handover-{path.stem[-4:]}.txt").exists()
    ]


def _load(path: Path) -> Signer:
    try:
        document = json.loads(path.read_text())
        private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(document["private"]))
        name, number = str(document["name"]), int(document["number"])
    except (OSError, ValueError, KeyError) as error:
        raise Unavailable(f"{path} cannot be read as a signing key: restore it from its backup") from error
    return Signer(number, VerifierKey(name, private.public_key().public_bytes_raw()), private)


def _make(number: int, name: str) -> Signer:
    if not _NAME.fullmatch(name):
        raise Invalid(f"LOG_ORIGIN {name!r} cannot name a log: no spaces and no plus")
    private = Ed25519PrivateKey.generate()
    path = _secret(number)
    write_secret(
        path, json.dumps({"number": number, "name": name, "private": private.private_bytes_raw().hex()})
    )
    made = _load(path)  # whoever came first
    _publish(f"key-{number:04}.txt", f"{made.key}\n")
    return made


def _publish(name: str, text: str) -> None:
    path = public_directory().joinpath(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(text)
    unfinished.replace(path)


# Checkpoints ----------------------------------------------------------------------------------------------------------


def sign_head(session: Session, actor: str) -> Checkpoint:
    """Append everything committed to the log, sign its head, and append the checkpoint.

    Where nothing but the last checkpoint's own leaf has come since and the key is still the same, that one again.
    """
    log.sequence_journals(session)
    key = signer(session)
    size = log.size(session)
    last = newest_checkpoint(session)
    if last is not None and last.size + 1 == size and open_note(last.note, [key.key])[1]:
        return last
    head = Head(key.key.name, size, log.root(session))
    if last is not None and last.origin != head.origin:
        raise Conflict(
            f"this log is {last.origin}, and the key here is of {head.origin}: use the right ROYALTY_HOME"
        )
    made = Checkpoint(
        size=size, origin=head.origin, root=head.root, note=signed(head.text(), [key]), actor=actor
    )
    session.add(made)
    session.flush()
    log.sequence_journals(session)
    return made


def newest_checkpoint(session: Session) -> Checkpoint | None:
    """The checkpoint of the most leaves; None if the log was never signed."""
    return session.scalar(select(Checkpoint).order_by(Checkpoint.size.desc()).limit(1))
