"""What a correction says: what was asked for, and who wins and who loses by it. Its SHA-256 is what is approved."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import rfc8785

from settlement.money import from_decimal, to_decimal

FORMAT = "royalty-correction/1"


@dataclass(frozen=True, slots=True)
class Mover:
    """What a correction changes for one holder of money in one currency, in micros, net of refunds.

    ``destination`` is `payee`, or the suspense that holds it: `unclaimed` (of the artist ``holder``) or `unattributed`.
    """

    destination: str
    holder: str
    currency: str
    original: int
    corrected: int
    sales: int

    @property
    def difference(self) -> int:
        """Above zero: wins."""
        return self.corrected - self.original


@dataclass(frozen=True, slots=True)
class Preview:
    """A correction's content: ``asked`` by whoever proposed it, and what it came to then.

    Amounts follow refunds and releases until the close that applies it; sales, attributions, terms and slices do not.
    """

    correction_id: str
    asked: Mapping[str, Any]
    reason: str
    sales: int
    without_result: int
    """Sales that were asked for and are left out: no attribution by the method is there for their image."""
    divided_sha256: str
    """SHA-256 over every sale with its attribution, card and slices, and every line that is taken and given."""
    movers: tuple[Mover, ...]

    def content(self) -> str:
        """Canonical JSON (RFC 8785); counts are numbers, amounts decimal strings."""
        document: dict[str, Any] = {
            "format": FORMAT,
            "correction": self.correction_id,
            "asked": dict(self.asked),
            "reason": self.reason,
            "sales": self.sales,
            "without_result": self.without_result,
            "divided_sha256": self.divided_sha256,
            "movers": [
                {
                    "destination": mover.destination,
                    "holder": mover.holder,
                    "currency": mover.currency,
                    "original": to_decimal(mover.original),
                    "corrected": to_decimal(mover.corrected),
                    "difference": to_decimal(mover.difference),
                    "sales": mover.sales,
                }
                for mover in self.movers
            ],
        }
        return rfc8785.dumps(document).decode()

    def totals(self) -> dict[str, tuple[int, int, int]]:
        """Original, corrected and difference of all together, by currency."""
        sums: dict[str, tuple[int, int, int]] = {}
        for mover in self.movers:
            original, corrected, difference = sums.get(mover.currency, (0, 0, 0))
            sums[mover.currency] = (
                original + mover.original,
                corrected + mover.corrected,
                difference + mover.difference,
            )
        return dict(sorted(sums.items()))


def read_preview(content: str) -> Preview:
    """The preview that `Preview.content` wrote."""
    document = json.loads(content)
    return Preview(
        correction_id=document["correction"],
        asked=document["asked"],
        reason=document["reason"],
        sales=document["sales"],
        without_result=document["without_result"],
        divided_sha256=document["divided_sha256"],
        movers=tuple(
            Mover(
                mover["destination"],
                mover["holder"],
                mover["currency"],
                from_decimal(mover["original"]),
                from_decimal(mover["corrected"]),
                mover["sales"],
            )
            for mover in document["movers"]
        ),
    )


def content_sha256(content: str) -> bytes:
    """What is approved."""
    return hashlib.sha256(content.encode()).digest()
