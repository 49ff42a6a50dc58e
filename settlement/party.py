"""Names and addresses of people and companies, as documents and bank files need them.

Personal data: it lives in one schema of its own, is passed to renderings beside the books, and enters a statement's
body only as a salted digest, so that it can be erased while every proof stays valid.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import rfc8785

# Where the postcode is after the town, the number before the street (Universal Postal Union, addressing systems).
_POSTCODE_LAST = frozenset({"AU", "CA", "GB", "IE", "IN", "NZ", "US"})
_NUMBER_FIRST = _POSTCODE_LAST | {"FR", "LU", "ZA"}


@dataclass(frozen=True, slots=True)
class Address:
    """A structured postal address, as ISO 20022 wants it: ``town`` and ``country`` (ISO 3166, two capitals) always."""

    town: str
    country: str
    street: str | None = None
    building: str | None = None
    postcode: str | None = None

    @classmethod
    def of(cls, details: Mapping[str, Any] | None) -> Self | None:
        """The address in a party's details; None where town or country is unknown."""
        if not details or not details.get("town") or not details.get("country"):
            return None
        optional = (details.get(part) or None for part in ("street", "building", "postcode"))
        return cls(details["town"], details["country"], *optional)

    def lines(self) -> list[str]:
        """The address as it is printed, without the name."""
        parts = (
            (self.building, self.street) if self.country in _NUMBER_FIRST else (self.street, self.building),
            (self.town, self.postcode) if self.country in _POSTCODE_LAST else (self.postcode, self.town),
            (self.country,),
        )
        joined = (" ".join(part for part in line if part) for line in parts)
        return [line for line in joined if line]


@dataclass(frozen=True, slots=True)
class Party:
    """Who stands on a document: a payee, or the platform itself."""

    name: str
    address: Address | None = None
    email: str | None = None
    tax_id: str | None = None
    language: str | None = None
    """ISO 639-1, two letters."""
    paper: str | None = None
    """a4 | letter; None: as is usual in the country."""

    @classmethod
    def of(cls, details: Mapping[str, Any]) -> Self:
        """The party that a party version's details describe."""
        optional = (details.get(part) for part in ("email", "tax_id", "language", "paper"))
        return cls(details["name"], Address.of(details.get("address")), *optional)


def party_digest(salt: bytes, details: Mapping[str, Any]) -> str:
    """SHA-256 in hex of ``salt`` followed by the canonical JSON (RFC 8785) of a party's details.

    The salt (random, stored beside the details and erased with them) keeps names from being guessed from the digest.
    """
    return hashlib.sha256(salt + rfc8785.dumps(dict(details))).hexdigest()
