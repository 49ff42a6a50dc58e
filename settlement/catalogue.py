"""The catalogue as it stands: every artist and where her share goes, and every version of every term."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
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

    thing: str
    valid_from: datetime
    valid_to: datetime | None
    """The next version's start; None: it is the last."""
    says: Mapping[str, Any]
    actor: str
    reason: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every version of every term, by thing and start."""

    platform: list[TermVersion]
    rate_cards: list[TermVersion]
    contracts: list[TermVersion]


def catalogue_terms(session: Session) -> Catalogue:
    """Every version of the platform's terms, rate cards and contracts. Ids only: no names, no accounts."""
    return Catalogue(*(_versions(session, *parts) for parts in _TERMS))


def _versions(session: Session, table: str, thing: str, says: str) -> list[TermVersion]:
    rows = session.execute(
        text(
            f"""
            SELECT {thing}, valid_from, lead(valid_from) OVER (PARTITION BY {thing} ORDER BY valid_from), {says},
                   actor, reason, recorded_at
            FROM {table} AS v ORDER BY {thing} COLLATE "C", valid_from
            """  # noqa: S608  (made of constants)
        )
    )
    return [TermVersion(*row) for row in rows]


_RECORD = "to_jsonb(v) - '{id,valid_from,actor,reason,recorded_at}'::text[]".replace("::", "\\:\\:")
_TERMS = (
    ("settlement.platform_version", "platform_payee_id", _RECORD),
    ("settlement.rate_card_version", "rate_card_id", f"jsonb_strip_nulls({_RECORD})"),
    (
        "settlement.contract_version",
        "artist_id",
        "jsonb_build_object('contract', contract_id, 'status', status, 'splits', ("
        " SELECT jsonb_object_agg(s.payee_id, s.share_ppb) FROM settlement.contract_split AS s"
        " WHERE s.contract_version_id = v.id))",
    ),
)
