"""Keys of the bank details: what encrypts them at rest, and what tells equal ones without decrypting them.

One secret of 32 bytes (`BANK_DETAILS_KEY`), from which two keys are derived (HKDF-SHA-256, RFC 5869): one for
AES-256-GCM, one for HMAC-SHA-256. A key is known by an id that is derived as well, so that it stands beside each
ciphertext and cannot be mixed up. On one machine without the variable, the secret is a file under `ROYALTY_HOME/keys`,
made once.
"""

import base64
import hmac
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from database.errors import Invalid, Unavailable
from database.identity import write_secret
from database.settings import get_settings

_NONCE = 12


@dataclass(frozen=True, slots=True)
class BankKey:
    """One key: ``key_id`` names it; nothing of it is ever shown."""

    key_id: str
    _cipher: AESGCM = field(repr=False, compare=False)
    _mac: bytes = field(repr=False, compare=False)

    @classmethod
    def of(cls, secret: bytes) -> "BankKey":
        """The key that is made of a secret of 32 bytes."""
        return cls(
            _derived(secret, "id")[:8].hex(), AESGCM(_derived(secret, "cipher")), _derived(secret, "mac")
        )

    def encrypt(self, plain: bytes, bound_to: bytes) -> bytes:
        """Nonce (random, 12 bytes), ciphertext and tag; it can be read only beside what it is bound to."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, plain, bound_to)

    def decrypt(self, sealed: bytes, bound_to: bytes) -> bytes:
        """What was encrypted. Raises `Invalid` if it was changed, or moved to another row."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], bound_to)
        except (InvalidTag, ValueError):
            raise Invalid(
                "the bank details are not as they were written: load them again from their source"
            ) from None

    def digest(self, purpose: str, content: bytes) -> bytes:
        """HMAC-SHA-256 of some content for one purpose: equal for equal content, worthless without the key."""
        return hmac.digest(self._mac, purpose.encode() + b"\0" + content, "sha256")


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The key that encrypts, and those before it, which are still read."""

    keys: Sequence[BankKey]

    @property
    def current(self) -> BankKey:
        """The key with which new rows are written."""
        return self.keys[0]

    def key(self, key_id: str) -> BankKey:
        """A key by its id. Raises `Unavailable` if this process does not have it."""
        for key in self.keys:
            if key.key_id == key_id:
                return key
        raise Unavailable(
            f"bank details are encrypted under key {key_id}, which this process does not have: "
            "set it as BANK_DETAILS_KEY or BANK_DETAILS_KEY_PREVIOUS"
        )

    def has(self, key_id: str) -> bool:
        """Whether this process has the key."""
        return any(key.key_id == key_id for key in self.keys)


def key_ring() -> KeyRing:
    """The process's keys, from the environment; without it, on one machine, from the key file.

    Raises:
        Unavailable: there is no key, and the database is a server's, so that a key of this machine alone would be none.
        Invalid: a key is not 32 bytes in base64.
    """
    settings = get_settings()
    given = settings.bank_details_key.get_secret_value() if settings.bank_details_key else ""
    if not given:
        if settings.database_url is not None:
            raise Unavailable(
                "bank details are encrypted, and this process has no key for them: set BANK_DETAILS_KEY"
                " (32 bytes in base64: openssl rand -base64 32)"
            )
        path = settings.royalty_home / "keys" / "bank-details.key"
        if not path.exists():
            write_secret(path, base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
        given = path.read_text()
    previous = settings.bank_details_key_previous
    return _ring(given.strip(), previous.get_secret_value() if previous else "")


@lru_cache(maxsize=2)
def _ring(current: str, previous: str) -> KeyRing:
    earlier = [text.strip() for text in previous.split(",") if text.strip()]
    return KeyRing(
        [
            BankKey.of(_secret(text, name))
            for name, text in [
                ("BANK_DETAILS_KEY", current),
                *(("BANK_DETAILS_KEY_PREVIOUS", text) for text in earlier),
            ]
        ]
    )


def _secret(text: str, name: str) -> bytes:
    try:
        secret = base64.b64decode(text, validate=True)
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise Invalid(f"{name} is not 32 bytes in base64: make one with `openssl rand -base64 32`")
    return secret


def _derived(secret: bytes, purpose: str) -> bytes:
    return HKDF(SHA256(), 32, None, f"royalty bank details/1 {purpose}".encode()).derive(secret)
