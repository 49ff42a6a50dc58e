"""The catalogue as it stands: every artist and where her share goes."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """One artist in force."""

    artist_id: str
    name: str
    aliases: tuple[str, ...]
    splits: dict[str, int]
    """Payee id to ppb; empty: nobody has a contract for her, her shares are unclaimed."""


def catalogue_rows(session: Session) -> list[CatalogueRow]:
    """Every artist with the splits of the contract valid now, by id."""
    rows = session.execute(
        text(
            """
            SELECT a.artist_id, a.name, a.aliases,
                   coalesce(jsonb_object_agg(s.payee_id, s.share_ppb) FILTER (WHERE s.payee_id IS NOT NULL), '{}')
            FROM attribution.artist AS a
            LEFT JOIN LATERAL (
                SELECT c.id FROM settlement.contract_version AS c
                WHERE c.artist_id = a.artist_id AND c.valid_from <= now()
                ORDER BY c.valid_from DESC LIMIT 1) AS c ON true
            LEFT JOIN settlement.contract_split AS s ON s.contract_version_id = c.id
            GROUP BY a.artist_id, a.name, a.aliases
            ORDER BY a.artist_id COLLATE "C"
            """
        )
    )
    return [CatalogueRow(artist, name, tuple(aliases), splits) for artist, name, aliases, splits in rows]
