"""What each artist earned, over all closed periods: the sub-ledger added up by player."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class ArtistEarnings:
    """One artist in one currency, or the content (player `C`)."""

    player: str
    name: str
    currency: str
    named: int
    """Attributed images whose prompt names her."""
    paid: int
    """Of these, images that paid her: she moved them by more than a made-up name does."""
    mean_share: int
    """Mean share of the images that paid her, in ppb, rounded down."""
    earned: int
    """Royalties, late lines and refunds together, in micros."""
    unclaimed: int
    """Of these, what waits for a contract."""


def artist_earnings(session: Session) -> list[ArtistEarnings]:
    """Everybody who was named or earned anything, the best paid first."""
    rows = session.execute(
        text(
            """
            WITH named AS (
                SELECT s.player, count(DISTINCT a.image_id) AS named,
                       count(DISTINCT a.image_id) FILTER (WHERE s.share_ppb > 0) AS paid,
                       coalesce(div(sum(s.share_ppb) FILTER (WHERE s.share_ppb > 0),
                                    count(*) FILTER (WHERE s.share_ppb > 0)), 0)::bigint AS mean_share
                FROM attribution.attribution_share AS s
                JOIN attribution.attribution AS a ON a.id = s.attribution_id
                WHERE a.status = 'attributed' GROUP BY s.player
            ), earned AS (
                SELECT player, currency, sum(amount_micros)::bigint AS earned,
                       coalesce(sum(amount_micros) FILTER (WHERE destination = 'unclaimed'), 0)::bigint AS unclaimed
                FROM settlement.royalty_line WHERE player IS NOT NULL GROUP BY player, currency
            )
            SELECT n.player, coalesce(t.name, 'the model'), e.currency, n.named, n.paid, n.mean_share,
                   coalesce(e.earned, 0), coalesce(e.unclaimed, 0)
            FROM named AS n
            LEFT JOIN earned AS e ON e.player = n.player
            LEFT JOIN attribution.artist AS t ON t.artist_id = n.player
            ORDER BY coalesce(e.earned, 0) DESC, n.player COLLATE "C"
            """
        )
    )
    return [
        ArtistEarnings(player, name, str(currency or "").strip(), *map(int, figures))
        for player, name, currency, *figures in rows
    ]
