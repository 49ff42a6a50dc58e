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
    unrecognised: int
    """Images whose prompt names her beside these, by a model that does not know her: her words are content there."""
    mean_share: int
    """Mean share of the images that paid her, in ppb, rounded down."""
    earned: int
    """Royalties, late lines and refunds together, in micros; not what the fallback key gave to others."""
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
            ), unknown AS (
                SELECT u.artist_id AS player, count(DISTINCT a.image_id) AS images
                FROM attribution.attribution AS a
                CROSS JOIN LATERAL jsonb_array_elements_text(a.reading -> 'unrecognised') AS u (artist_id)
                GROUP BY u.artist_id
            ), moved AS (
                -- What left an artist's suspense stands there with the other sign: it is hers once, if at all.
                SELECT l.player, l.currency, l.destination, l.amount_micros AS amount, l.platform_version_id AS fallback
                FROM settlement.royalty_line AS l
                WHERE l.player IS NOT NULL AND l.destination IN ('payee', 'unclaimed')
                UNION ALL
                SELECT o.player, o.currency, o.destination, -l.amount_micros, NULL
                FROM settlement.royalty_line AS l JOIN settlement.royalty_line AS o ON o.id = l.corrects
                WHERE l.kind = 'late' AND o.destination = 'unclaimed'
            ), earned AS (
                SELECT player, currency, sum(amount)::bigint AS earned,
                       coalesce(sum(amount) FILTER (WHERE destination = 'unclaimed'), 0)::bigint AS unclaimed
                FROM moved WHERE fallback IS NULL GROUP BY player, currency
            )
            SELECT player, coalesce(t.name, 'the model'), e.currency, coalesce(n.named, 0), coalesce(n.paid, 0),
                   coalesce(u.images, 0), coalesce(n.mean_share, 0), coalesce(e.earned, 0), coalesce(e.unclaimed, 0)
            FROM named AS n
            FULL JOIN unknown AS u USING (player)
            LEFT JOIN earned AS e USING (player)
            LEFT JOIN attribution.artist AS t ON t.artist_id = player
            ORDER BY coalesce(e.earned, 0) DESC, player COLLATE "C"
            """
        )
    )
    return [
        ArtistEarnings(player, name, str(currency or "").strip(), *map(int, figures))
        for player, name, currency, *figures in rows
    ]
