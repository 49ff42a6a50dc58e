"""The catalogue as it stands: every artist and where her share goes, and every version of every term."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """One artist in force."""

    artist_id: str
    name: str
    aliases: tuple[str, ...]
    status: str
    """Of the contract valid now: `active`, `opted_out`, `public_domain`; `unclaimed`: nobody has one for her."""
    splits: dict[str, int]
    """Payee id to ppb; empty unless the contract is active."""


def catalogue_rows(session: Session) -> list[CatalogueRow]:
    """Every artist with the contract valid now, by id."""
    rows = session.execute(
        text(
            """
            SELECT a.artist_id, a.name, a.aliases, coalesce(nullif(c.status, 'ended'), 'unclaimed'),
                   coalesce(jsonb_object_agg(s.payee_id, s.share_ppb) FILTER (WHERE s.payee_id IS NOT NULL), '{}')
            FROM attribution.artist AS a
            LEFT JOIN LATERAL (
                SELECT c.id, c.status FROM settlement.contract_version AS c
                WHERE c.artist_id = a.artist_id AND c.valid_from <= now()
                ORDER BY c.valid_from DESC LIMIT 1) AS c ON true
            LEFT JOIN settlement.contract_split AS s ON s.contract_version_id = c.id
            GROUP BY a.artist_id, a.name, a.aliases, c.status
            ORDER BY a.artist_id COLLATE "C"
            """
        )
    )
    return [CatalogueRow(artist, name, tuple(aliases), *rest) for artist, name, aliases, *rest in rows]


@dataclass(frozen=True, slots=True)
class TermVersion:
    """One version of a term: of which thing, from when until when, what it says, who recorded it, why and when."""

    id: int
    thing: str
    valid_from: datetime
    valid_to: datetime | None
    """The next version's start; None: it is the last."""
    says: Mapping[str, Any]
    actor: str
    reason: str
    recorded_at: datetime


class Term(StrEnum):
    """What there are versions of."""

    PLATFORM = "platform"
    RATE_CARDS = "rate_cards"
    CONTRACTS = "contracts"
    TAX_PROFILES = "tax_profiles"
    RESERVES = "reserves"
    FX_RATES = "fx_rates"


def term_versions(session: Session, term: Term, *, after: int = 0, limit: int) -> list[TermVersion]:
    """Versions of one kind of term in the order in which they were recorded. Ids only: no names, no accounts.

    Args:
        session: the caller's transaction.
        term: which kind.
        after: `TermVersion.id` of the last one of the page before.
        limit: how many at most.
    """
    table, thing, says = _TERMS[term]
    rows = session.execute(
        text(
            f"""
            SELECT v.id, {thing}, v.valid_from,
                   (SELECT min(n.valid_from) FROM {table} AS n
                    WHERE {_same(thing)} AND n.valid_from > v.valid_from),
                   {says}, v.actor, v.reason, v.recorded_at
            FROM {table} AS v WHERE v.id > :after ORDER BY v.id LIMIT :limit
            """  # noqa: S608  (made of constants)
        ),
        {"after": after, "limit": limit},
    )
    return [TermVersion(*row) for row in rows]


def _same(thing: str) -> str:
    """SQL: `n` is a version of the same thing as `v`."""
    return f"{thing.replace('v.', 'n.')} = {thing}"


_RECORD = "jsonb_strip_nulls(to_jsonb(v) - '{id,valid_from,actor,reason,recorded_at}'\\:\\:text[])"
# The table, what its versions are of, and what one says.
_TERMS = {
    Term.PLATFORM: ("settlement.platform_version", "v.platform_payee_id", _RECORD),
    Term.RATE_CARDS: ("settlement.rate_card_version", "v.rate_card_id", _RECORD),
    Term.CONTRACTS: (
        "settlement.contract_version",
        "v.artist_id",
        "jsonb_build_object('contract', v.contract_id, 'status', v.status, 'splits', ("
        " SELECT jsonb_object_agg(s.payee_id, s.share_ppb) FROM settlement.contract_split AS s"
        " WHERE s.contract_version_id = v.id))",
    ),
    Term.TAX_PROFILES: ("settlement.tax_profile_version", "v.payee_id", _RECORD),
    Term.RESERVES: ("settlement.reserve_version", "v.payee_id", _RECORD),
    Term.FX_RATES: ("settlement.fx_rate", "v.source_currency || '/' || v.target_currency", _RECORD),
}
