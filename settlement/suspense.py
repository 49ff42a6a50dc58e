"""What waits in suspense for artists: the public list of those whom nobody has a contract with.

Amounts are not published: the list is for finding the artists, not for whoever would like to be one of them.
"""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from settlement.posting import UNCLAIMED


@dataclass(frozen=True, slots=True)
class UnclaimedArtist:
    """An artist whose shares wait for a contract."""

    artist_id: str
    name: str
    since: str
    """Accounting period of the oldest share that waits, such as `2026-10`."""
    until: str | None
    """The period at whose close the fallback key divides the oldest share; None: it waits for ever."""


def unclaimed_artists(session: Session, *, after: str = "", limit: int = 200) -> list[UnclaimedArtist]:
    """Artists with money unclaimed, by id in byte order: at most ``limit`` of those after an id."""
    rows = session.execute(_UNCLAIMED, {"after": after, "limit": limit})
    return [
        UnclaimedArtist(artist_id, name, since, None if periods is None else _later(since, periods))
        for artist_id, name, since, periods in rows
    ]


def _later(period_id: str, months: int) -> str:
    year, month = divmod(int(period_id[:4]) * 12 + int(period_id[5:]) - 1 + months, 12)
    return f"{year:04}-{month + 1:02}"


# First who has a balance, from the accounts; then, for a page of them only, since when, from the lines that wait.
_UNCLAIMED = text(
    f"""
    SELECT h.artist_id, coalesce(n.name, h.artist_id), w.since, t.fallback_after_periods
    FROM (
        SELECT DISTINCT {UNCLAIMED.owner_sql("a.code")} COLLATE "C" AS artist_id FROM ledger.account AS a
        WHERE starts_with(a.code, '{UNCLAIMED.name}:') AND {UNCLAIMED.owner_sql("a.code")} COLLATE "C" > :after
            AND (SELECT sum(p.amount) FROM ledger.posting AS p WHERE p.account_id = a.id) <> 0
        ORDER BY 1 LIMIT :limit
    ) AS h
    CROSS JOIN LATERAL (
        SELECT min(l.period_id) AS since FROM settlement.royalty_line AS l
        WHERE l.player = h.artist_id COLLATE "default" AND l.destination = 'unclaimed' AND l.amount_micros > 0
            AND NOT EXISTS (SELECT FROM settlement.royalty_line AS m
                            WHERE m.sale_id = l.sale_id AND m.kind IN ('late', 'adjustment') AND m.corrects = l.id)
    ) AS w
    LEFT JOIN LATERAL (
        SELECT v.fallback_after_periods FROM settlement.platform_version AS v WHERE v.valid_from <= now()
        ORDER BY v.valid_from DESC LIMIT 1
    ) AS t ON true
    LEFT JOIN attribution.artist AS n ON n.artist_id = h.artist_id
    WHERE w.since IS NOT NULL
    ORDER BY h.artist_id
    """  # noqa: S608  (made of the matrix)
)
