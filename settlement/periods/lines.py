"""From sales to royalty lines, in SQL: slices, shares, royalties, refunds, and what leaves suspense.

The first stages of a period's calculation (`settlement.periods.calculation`). Every step works on whole sets, in
temporary tables that vanish with the transaction. The arithmetic is that of `settlement.allocation`: products are
NUMERIC, divisions `div` and `mod`, ties go by id under ``COLLATE "C"``.

Money that cannot be paid yet lies in suspense, as a line of its own: *pending* until its image is attributed,
*unclaimed* while an artist has no contract, *unattributed* where nobody can be found or an artist opted out. A line of
kind `late` moves it on, in a later period, and names that line: by the attribution; by the contract in force at the end
of the period in which an artist has registered; or, after the whole periods that the platform's terms name, by their
fallback key.
"""

from collections.abc import Callable
from typing import Any

from psycopg.rows import tuple_row
from sqlalchemy.orm import Session

from database.engine import psycopg_connection
from database.errors import Conflict
from settlement.allocation import largest_remainder, spread_content
from settlement.money import PPB
from settlement.periods.adjustments import (
    ADJUSTMENT_INPUTS,
    ADJUSTMENT_TABLES,
    ADJUSTMENTS,
    CORRECTED,
    CORRECTIONS,
    LIVE,
    NOT_ADJUSTED,
)
from settlement.periods.division import VERSIONS, divide
from settlement.posting import UNCLAIMED

Check = Callable[[Session], None]
Stage = tuple[str, list[Any], Check | None]
"""What the stage is called, its statements, and what must hold after them."""


def _check_terms(session: Session) -> None:
    row = psycopg_connection(session).execute(_WITHOUT_TERMS).fetchone()
    if row is not None and row[0]:
        raise Conflict(
            f"{row[0]} sales have no terms in force, the first is {row[1]} of {row[2]}: load a catalogue with platform "
            "terms and rate card valid then, a fee in the sale's currency"
        )


def _given_shares(session: Session) -> None:
    """Shares of the rate cards whose key is a table of weights: one of each, whatever the number of sales."""
    connection = psycopg_connection(session)
    cards: list[tuple[int, str, str, dict[str, int]]] = (
        connection.cursor(row_factory=tuple_row)
        .execute(
            "SELECT -id, content_to, distribution_key, weights FROM settlement.rate_card_version"
            " WHERE -id IN (SELECT table_of FROM pg_temp.run_sale UNION SELECT table_of FROM pg_temp.run_corrected)"
        )
        .fetchall()
    )
    with (
        connection.cursor() as cursor,
        cursor.copy(
            "COPY pg_temp.run_share (basis, content_to, distribution_key, player, share) FROM STDIN"
        ) as copy,
    ):
        for basis, content_to, key, weights in cards:
            shares = largest_remainder(PPB, weights)
            if content_to == "artists":
                shares = spread_content(shares)
            for player, share in shares.items():
                copy.write_row((basis, content_to, key, player, share))


def _check_conserved(session: Session) -> None:
    """Every slice must have gone somewhere, to the micro: anything else is a defect, and nothing may be posted."""
    row = psycopg_connection(session).execute(_NOT_CONSERVED).fetchone()
    if row is not None:
        raise ValueError(f"sale {row[0]} pays {row[1]} micros, but its lines sum to {row[2]}")


def _check_adjusted(session: Session) -> None:
    """What corrections give must be what they take, or what is left of a corrected slice, to the micro."""
    row = psycopg_connection(session).execute(NOT_ADJUSTED).fetchone()
    if row is not None:
        raise ValueError(f"sale {row[0]} is corrected to {row[1]} micros, but its adjustments give {row[2]}")


LINE_TABLES = (
    "run_sale",
    "run_pending",
    "run_attribution",
    "run_way",
    "run_share",
    "run_pot",
    "run_part",
    "run_line",
    "run_refund",
    "run_release",
    *ADJUSTMENT_TABLES,
)
"""The temporary tables that the stages here make."""


def sales_with_terms(card: str, which: str) -> str:
    """A statement that makes `run_sale`: sales with terms and base, their slices to come.

    Args:
        card: joins to the sale `s` and the platform's terms `p` the rate card's version `k`.
        which: the condition that selects the sales.
    """
    return f"""
CREATE TEMP TABLE run_sale ON COMMIT DROP AS
WITH {VERSIONS}
SELECT s.id AS sale_id, s.external_id COLLATE "C" AS sale, s.image_id, s.sold_at, s.price_micros AS price, s.currency,
       to_char(s.sold_at AT TIME ZONE %(zone)s, 'YYYY-MM') AS usage_period,
       p.model_developer_id, k.id AS rate_card_version_id, k.model, k.rate_ppb, k.fee_micros,
       k.minimum_micros, k.currency AS fee_currency, k.content_to, k.distribution_key,
       coalesce(k.public_domain_payee_id, p.model_developer_id) AS public_domain_to,
       -- Where the card has a table of weights, whom it pays does not depend on the image. Not an attribution's id.
       CASE k.distribution_key WHEN 'proxy' THEN -k.id END AS table_of,
       greatest(s.price_micros::numeric - s.tax_micros - s.payment_fee_micros - s.marketplace_fee_micros
                - s.other_deduction_micros, 0)::bigint AS base,
       NULL::bigint AS slice
FROM settlement.sale AS s
LEFT JOIN platform AS p ON s.sold_at >= p.valid_from AND s.sold_at < p.valid_to
{card}
WHERE {which}
"""  # noqa: S608  (made of constants)


# Those of the period that ended up in no earlier one.
_SALES = sales_with_terms(
    """LEFT JOIN card AS k ON k.rate_card_id = coalesce(s.rate_card_id, p.default_rate_card_id)
    AND s.sold_at >= k.valid_from AND s.sold_at < k.valid_to""",
    """s.sold_at < %(ends_at)s AND s.recorded_at < %(cut_off)s
    AND NOT EXISTS (SELECT FROM settlement.sale_slice AS c WHERE c.sale_id = s.id)""",
)

_WITHOUT_TERMS = """
SELECT count(*), min(sale), min(sold_at)::date FROM pg_temp.run_sale
WHERE model_developer_id IS NULL OR rate_card_version_id IS NULL OR fee_currency <> currency
"""

# A pool is floored, then divided over its sales by base; a sale of its own is floored and not below the guarantee, or
# pays the fee.
SLICES = """
UPDATE pg_temp.run_sale AS s SET slice = d.slice FROM (
    SELECT sale_id, coalesce(fee_micros, greatest(div(base::numeric * rate_ppb, %(ppb)s)::bigint, minimum_micros))
               AS slice
    FROM pg_temp.run_sale WHERE model = 'per_image'
    UNION ALL
    SELECT sale_id,
           (part + CASE WHEN row_number() OVER (PARTITION BY rate_card_version_id, currency
                                                ORDER BY rest DESC, sale) <= missing THEN 1 ELSE 0 END)::bigint
    FROM (
        SELECT *, total - sum(part) OVER (PARTITION BY rate_card_version_id, currency) AS missing
        FROM (
            SELECT *, coalesce(div(total * base, nullif(whole, 0)), 0) AS part,
                   coalesce(mod(total * base, nullif(whole, 0)), 0) AS rest
            FROM (
                SELECT sale_id, sale, rate_card_version_id, currency, base, sum(base) OVER pool AS whole,
                       div(sum(base) OVER pool * rate_ppb, %(ppb)s) AS total
                FROM pg_temp.run_sale WHERE model = 'period_pool'
                WINDOW pool AS (PARTITION BY rate_card_version_id, currency)
            ) AS pooled
        ) AS parts
    ) AS counted
) AS d WHERE d.sale_id = s.sale_id
"""

# Slices of earlier periods that still wait for their image's attribution, as far as refunds have left them.
_PENDING = f"""
CREATE TEMP TABLE run_pending ON COMMIT DROP AS
WITH {VERSIONS}
SELECT l.id AS line_id, l.sale_id, s.external_id COLLATE "C" AS sale, s.image_id, s.sold_at, l.currency,
       p.model_developer_id, k.content_to, k.distribution_key,
       coalesce(k.public_domain_payee_id, p.model_developer_id) AS public_domain_to,
       l.amount_micros + coalesce((SELECT sum(r.amount_micros) FROM settlement.royalty_line AS r
                                   WHERE r.sale_id = l.sale_id AND r.corrects = l.id), 0)::bigint AS amount
FROM settlement.royalty_line AS l
JOIN settlement.sale AS s ON s.id = l.sale_id
JOIN settlement.sale_slice AS c ON c.sale_id = l.sale_id
JOIN settlement.rate_card_version AS k ON k.id = c.rate_card_version_id
JOIN platform AS p ON s.sold_at >= p.valid_from AND s.sold_at < p.valid_to
WHERE l.kind = 'pending' AND NOT EXISTS (
    SELECT FROM settlement.royalty_line AS d WHERE d.sale_id = l.sale_id AND d.kind = 'late' AND d.corrects = l.id)
"""  # noqa: S608  (made of constants)

# The first attribution of an image that was recorded stands, whichever method version made it.
_ATTRIBUTIONS = """
CREATE TEMP TABLE run_attribution ON COMMIT DROP AS
SELECT DISTINCT ON (a.image_id) a.image_id, a.id AS attribution_id, a.method_id, a.status, a.reason, a.fidelity
FROM attribution.attribution AS a
WHERE a.recorded_at < %(cut_off)s
    AND a.image_id IN (SELECT image_id FROM pg_temp.run_sale UNION ALL SELECT image_id FROM pg_temp.run_pending)
ORDER BY a.image_id, a.recorded_at, a.id
"""

# Shares as the rate cards want them, once per way of dividing and what it is based on: an attribution, or (below zero)
# a rate card's table. As attributed, ...
_SHARES = """
CREATE TEMP TABLE run_share ON COMMIT DROP AS
SELECT w.attribution_id AS basis, w.content_to, w.distribution_key, s.player COLLATE "C" AS player,
       s.share_ppb AS share
FROM pg_temp.run_way AS w JOIN attribution.attribution_share AS s ON s.attribution_id = w.attribution_id
WHERE w.distribution_key = 'attribution' AND w.content_to = 'model_developer' AND w.status = 'attributed'
"""
_WAYS = """
CREATE TEMP TABLE run_way ON COMMIT DROP AS
SELECT DISTINCT a.attribution_id, a.status, w.content_to, w.distribution_key
FROM (SELECT image_id, content_to, distribution_key FROM pg_temp.run_sale WHERE table_of IS NULL
      UNION ALL SELECT image_id, content_to, distribution_key FROM pg_temp.run_pending) AS w
JOIN pg_temp.run_attribution AS a ON a.image_id = w.image_id
UNION
SELECT a.id, a.status, c.content_to, c.distribution_key
FROM pg_temp.run_corrected AS c JOIN attribution.attribution AS a ON a.id = c.attribution_id WHERE c.table_of IS NULL
"""

# ... with content's share spread over the artists, or equal among the artists that were recognised: largest remainder.
_OTHER_SHARES = """
WITH weighed AS (
    SELECT w.attribution_id, w.content_to, w.distribution_key, s.player COLLATE "C" AS player, s.share_ppb AS own,
           s.share_ppb AS weight, c.share_ppb AS total
    FROM pg_temp.run_way AS w
    JOIN attribution.attribution_share AS s ON s.attribution_id = w.attribution_id AND s.player <> %(content)s
    JOIN attribution.attribution_share AS c ON c.attribution_id = w.attribution_id AND c.player = %(content)s
    WHERE w.distribution_key = 'attribution' AND w.content_to = 'artists' AND w.status = 'attributed'
    UNION ALL
    SELECT w.attribution_id, w.content_to, w.distribution_key, n.player, 0, 1, %(ppb)s
    FROM pg_temp.run_way AS w JOIN attribution.attribution AS a ON a.id = w.attribution_id
    CROSS JOIN LATERAL (
        SELECT s.player COLLATE "C" AS player FROM attribution.attribution_share AS s
        WHERE s.attribution_id = w.attribution_id AND s.slot > 0
        UNION
        -- Where no game was played, the reading still says whom it would have been played with.
        SELECT jsonb_array_elements_text(a.reading -> 'players')
        WHERE jsonb_typeof(a.reading -> 'players') = 'array'
    ) AS n
    WHERE w.distribution_key = 'equal'
),
divided AS (
    SELECT *, coalesce(div(total::numeric * weight, nullif(whole, 0)), 0) AS part,
           coalesce(mod(total::numeric * weight, nullif(whole, 0)), 0) AS rest
    FROM (SELECT *, sum(weight) OVER (PARTITION BY attribution_id, content_to, distribution_key) AS whole
          FROM weighed) AS w
)
INSERT INTO pg_temp.run_share (basis, content_to, distribution_key, player, share)
SELECT attribution_id, content_to, distribution_key, player,
       (own + part + CASE WHEN row_number() OVER (PARTITION BY attribution_id, content_to, distribution_key
                                                  ORDER BY rest DESC, player) <= missing THEN 1 ELSE 0 END
       )::bigint AS share
FROM (SELECT *, total - sum(part) OVER (PARTITION BY attribution_id, content_to, distribution_key) AS missing
      FROM divided) AS counted
"""

_LINES = """
CREATE TEMP TABLE run_line (
    kind text NOT NULL, sale_id bigint NOT NULL, sale text COLLATE "C" NOT NULL, player text COLLATE "C",
    destination text NOT NULL, payee_id text COLLATE "C", amount bigint NOT NULL, currency char(3) NOT NULL,
    attribution_id bigint, share_ppb bigint, contract_version_id bigint, split_ppb bigint,
    distribution_key text NOT NULL, refund_id bigint, refund text COLLATE "C", corrects bigint,
    -- Kind of the line that a refund takes back: of this run where `corrects` is not known yet.
    corrects_kind text, platform_version_id bigint, correction_id text COLLATE "C"
) ON COMMIT DROP
"""

# A slice goes whole into suspense where its image is not attributed, or cannot be.
_WHOLE_SLICES = """
INSERT INTO pg_temp.run_line (kind, sale_id, sale, destination, amount, currency, attribution_id, distribution_key)
SELECT w.kind, s.sale_id, s.sale, w.kind, s.slice, s.currency, a.attribution_id, s.distribution_key
FROM pg_temp.run_sale AS s
LEFT JOIN pg_temp.run_attribution AS a ON a.image_id = s.image_id
CROSS JOIN LATERAL (SELECT CASE WHEN a.attribution_id IS NULL THEN 'pending' ELSE 'unattributed' END AS kind) AS w
WHERE s.slice > 0 AND s.table_of IS NULL AND NOT EXISTS (
    SELECT FROM pg_temp.run_share AS h WHERE h.basis = a.attribution_id AND h.content_to = s.content_to
        AND h.distribution_key = s.distribution_key)
"""

_POTS = """
CREATE TEMP TABLE run_pot ON COMMIT DROP AS
SELECT 'royalty' AS kind, s.sale_id, s.sale, s.slice AS amount, s.currency, a.attribution_id,
       coalesce(s.table_of, a.attribution_id) AS basis, s.content_to, s.distribution_key, s.model_developer_id,
       s.public_domain_to, s.sold_at, NULL::bigint AS corrects, NULL::text AS correction_id
FROM pg_temp.run_sale AS s LEFT JOIN pg_temp.run_attribution AS a ON a.image_id = s.image_id AND s.table_of IS NULL
WHERE s.slice > 0 AND coalesce(s.table_of, a.attribution_id) IS NOT NULL
"""

# The period's refunds, each with what was refunded of the same sale before it.
_REFUNDS = """
CREATE TEMP TABLE run_refund ON COMMIT DROP AS
SELECT r.id AS refund_id, r.external_id COLLATE "C" AS refund, r.sale_id, s.external_id COLLATE "C" AS sale,
       s.price_micros AS price, r.amount_micros AS amount,
       coalesce((SELECT sum(b.refunded_micros) FROM settlement.refund_reversal AS b WHERE b.sale_id = r.sale_id), 0)
       + coalesce(sum(r.amount_micros) OVER (PARTITION BY r.sale_id ORDER BY r.refunded_at, r.external_id COLLATE "C"
                                             ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
FROM settlement.refund AS r JOIN settlement.sale AS s ON s.id = r.sale_id
WHERE r.refunded_at < %(ends_at)s AND r.recorded_at < %(cut_off)s
    AND NOT EXISTS (SELECT FROM settlement.refund_reversal AS d WHERE d.refund_id = r.id)
"""

# Every line of a refunded sale is taken back in proportion, cumulatively: the lines of this run, and those of earlier
# ones that hold the money. A late line, or one that a correction gave, was made net of the refunds before it, so it
# counts from then.
_REVERSALS = f"""
INSERT INTO pg_temp.run_line (kind, sale_id, sale, player, destination, payee_id, amount, currency, attribution_id,
                              share_ppb, contract_version_id, split_ppb, distribution_key, refund_id, refund, corrects,
                              corrects_kind, platform_version_id)
SELECT 'refund', r.sale_id, r.sale, o.player, o.destination, o.payee_id, -back.amount, o.currency, o.attribution_id,
       o.share_ppb, o.contract_version_id, o.split_ppb, o.distribution_key, r.refund_id, r.refund, o.line_id, o.kind,
       o.platform_version_id
FROM pg_temp.run_refund AS r
JOIN (
    SELECT NULL::bigint AS line_id, n.kind, n.sale_id, n.player, n.destination, n.payee_id, n.amount, n.currency,
           n.attribution_id, n.share_ppb, n.contract_version_id, n.split_ppb, n.distribution_key, n.platform_version_id,
           0 AS since
    FROM pg_temp.run_line AS n WHERE n.sale_id IN (SELECT sale_id FROM pg_temp.run_refund)
    UNION ALL
    SELECT l.id, l.kind, l.sale_id, l.player, l.destination, l.payee_id, l.amount_micros, l.currency, l.attribution_id,
           l.share_ppb, l.contract_version_id, l.split_ppb, l.distribution_key, l.platform_version_id,
           CASE WHEN l.kind IN ('late', 'adjustment') THEN coalesce((
               SELECT sum(b.refunded_micros) FROM settlement.refund_reversal AS b
               JOIN settlement.period AS q ON q.period_id = b.period_id
               JOIN settlement.period AS m ON m.period_id = l.period_id
               WHERE b.sale_id = l.sale_id AND q.ends_at <= m.ends_at), 0) ELSE 0 END
    FROM settlement.royalty_line AS l
    WHERE l.sale_id IN (SELECT sale_id FROM pg_temp.run_refund) AND {LIVE}
) AS o ON o.sale_id = r.sale_id
CROSS JOIN LATERAL (
    SELECT (div(o.amount * (r.before + r.amount - o.since), nullif(r.price - o.since, 0))
            - div(o.amount * (r.before - o.since), nullif(r.price - o.since, 0)))::bigint AS amount
) AS back
WHERE back.amount > 0
"""  # noqa: S608  (made of constants)

# Late attributions, net of refunds, those of this run included.
_NET_PENDING = """
UPDATE pg_temp.run_pending AS p SET amount = p.amount + b.amount
FROM (SELECT corrects, sum(amount)::bigint AS amount FROM pg_temp.run_line
      WHERE kind = 'refund' AND corrects_kind = 'pending' GROUP BY corrects) AS b
WHERE b.corrects = p.line_id
"""

_LATE_UNATTRIBUTED = """
INSERT INTO pg_temp.run_line (kind, sale_id, sale, destination, amount, currency, attribution_id, distribution_key,
                              corrects)
SELECT 'late', p.sale_id, p.sale, 'unattributed', p.amount, p.currency, a.attribution_id, p.distribution_key,
       p.line_id
FROM pg_temp.run_pending AS p JOIN pg_temp.run_attribution AS a ON a.image_id = p.image_id
WHERE p.amount > 0 AND NOT EXISTS (
    SELECT FROM pg_temp.run_share AS h WHERE h.basis = a.attribution_id AND h.content_to = p.content_to
        AND h.distribution_key = p.distribution_key)
"""

_LATE_POTS = """
CREATE TEMP TABLE run_pot ON COMMIT DROP AS
SELECT 'late' AS kind, p.sale_id, p.sale, p.amount, p.currency, a.attribution_id, a.attribution_id AS basis,
       p.content_to, p.distribution_key, p.model_developer_id, p.public_domain_to, p.sold_at, p.line_id AS corrects,
       NULL::text AS correction_id
FROM pg_temp.run_pending AS p JOIN pg_temp.run_attribution AS a ON a.image_id = p.image_id
WHERE p.amount > 0
"""

# What earlier periods put into suspense and now leaves it for good: an artist's unclaimed shares once a contract says
# whom to pay, by the splits in force when this is booked; after enough whole periods everything unclaimed or
# unattributed, by the fallback key. Net of refunds, those of this run included.
_RELEASES = f"""
CREATE TEMP TABLE run_release ON COMMIT DROP AS
WITH {VERSIONS},
registered AS (
    SELECT c.artist_id, c.id FROM contract AS c
    WHERE c.status = 'active' AND %(last_instant)s >= c.valid_from AND %(last_instant)s < c.valid_to
),
fallback AS (
    SELECT p.id, q.period_id FROM platform AS p JOIN settlement.period AS q ON p.fallback_after_periods <= (
        SELECT count(*) FROM settlement.period AS w WHERE w.starts_at >= q.ends_at AND w.ends_at <= %(ends_at)s)
    WHERE %(last_instant)s >= p.valid_from AND %(last_instant)s < p.valid_to
),
due AS (
    SELECT l.*, r.id AS released_by, NULL::bigint AS fallback_of FROM settlement.royalty_line AS l
    JOIN registered AS r ON r.artist_id = l.player
    WHERE l.destination = 'unclaimed' AND l.amount_micros > 0 AND l.player IN (
        -- Those who have something there, of all who ever registered.
        SELECT {UNCLAIMED.owner_sql("a.code")} FROM ledger.account AS a
        WHERE starts_with(a.code, '{UNCLAIMED.name}:')
            AND (SELECT sum(p.amount) FROM ledger.posting AS p WHERE p.account_id = a.id) <> 0)
    UNION ALL
    SELECT l.*, NULL, f.id FROM fallback AS f JOIN settlement.royalty_line AS l ON l.period_id = f.period_id
    WHERE l.destination IN ('unclaimed', 'unattributed') AND l.amount_micros > 0 AND NOT EXISTS (
        SELECT FROM registered AS r WHERE r.artist_id = l.player AND l.destination = 'unclaimed')
)
SELECT * FROM (
    SELECT d.id AS line_id, d.sale_id, s.external_id COLLATE "C" AS sale, d.player COLLATE "C" AS player, d.currency,
           d.attribution_id, d.share_ppb, d.distribution_key, d.released_by, d.fallback_of,
           (d.amount_micros
            + coalesce((SELECT sum(r.amount_micros) FROM settlement.royalty_line AS r
                        WHERE r.sale_id = d.sale_id AND r.kind = 'refund' AND r.corrects = d.id), 0)
            + coalesce(n.amount, 0))::bigint AS amount
    FROM due AS d
    JOIN settlement.sale AS s ON s.id = d.sale_id
    LEFT JOIN (SELECT corrects, sum(amount) AS amount FROM pg_temp.run_line WHERE kind = 'refund'
               GROUP BY corrects) AS n ON n.corrects = d.id
    -- What a correction has taken back waits no more, this run's included.
    WHERE d.sale_id NOT IN (SELECT sale_id FROM pg_temp.run_corrected) AND NOT EXISTS (
        SELECT FROM settlement.royalty_line AS m
        WHERE m.sale_id = d.sale_id AND m.kind IN ('late', 'adjustment') AND m.corrects = d.id)
) AS waiting WHERE amount > 0
"""  # noqa: S608  (made of constants)

_RELEASED = """
INSERT INTO pg_temp.run_line (kind, sale_id, sale, player, destination, payee_id, amount, currency, attribution_id,
                              share_ppb, contract_version_id, split_ppb, distribution_key, corrects,
                              platform_version_id)
SELECT 'late', sale_id, sale, player, 'payee', payee_id, got, currency, attribution_id, share_ppb, released_by,
       split_ppb, CASE WHEN fallback_of IS NULL THEN distribution_key ELSE 'manual' END, line_id, fallback_of
FROM (
    SELECT *, (part + CASE WHEN row_number() OVER (PARTITION BY line_id ORDER BY rest DESC, payee_id) <= missing
                           THEN 1 ELSE 0 END)::bigint AS got
    FROM (
        SELECT *, amount - sum(part) OVER (PARTITION BY line_id) AS missing
        FROM (
            SELECT w.*, h.payee_id COLLATE "C" AS payee_id, h.split_ppb,
                   div(w.amount::numeric * h.split_ppb, %(ppb)s) AS part,
                   mod(w.amount::numeric * h.split_ppb, %(ppb)s) AS rest
            FROM pg_temp.run_release AS w
            CROSS JOIN LATERAL (
                SELECT s.payee_id, s.share_ppb AS split_ppb FROM settlement.contract_split AS s
                WHERE s.contract_version_id = w.released_by
                UNION ALL
                SELECT f.key, f.value::bigint FROM settlement.platform_version AS v
                CROSS JOIN LATERAL jsonb_each_text(v.fallback_key) AS f WHERE v.id = w.fallback_of
            ) AS h
        ) AS parts
    ) AS counted
) AS lines WHERE got > 0
"""

_NOT_CONSERVED = """
SELECT sale, sum(due), sum(got) FROM (
    SELECT sale, slice AS due, 0 AS got FROM pg_temp.run_sale
    UNION ALL
    SELECT p.sale, p.amount, 0 FROM pg_temp.run_pending AS p
    JOIN pg_temp.run_attribution AS a ON a.image_id = p.image_id
    UNION ALL
    SELECT sale, amount, 0 FROM pg_temp.run_release
    UNION ALL
    SELECT sale, 0, amount FROM pg_temp.run_line WHERE kind NOT IN ('refund', 'adjustment')
) AS both_sides GROUP BY sale HAVING sum(due) <> sum(got) LIMIT 1
"""

SALES: Stage = ("sales and terms", [_SALES, "ANALYZE pg_temp.run_sale"], _check_terms)
"""The period's sales; of a proposed correction, which has no period, none."""

TO_ADJUSTMENTS: list[Stage] = [
    ("corrected sales", CORRECTED, None),
    (
        "attributions",
        [
            _PENDING,
            "ANALYZE pg_temp.run_pending",
            _ATTRIBUTIONS,
            "ANALYZE pg_temp.run_attribution",
            _WAYS,
            _SHARES,
            _OTHER_SHARES,
        ],
        _given_shares,
    ),
    (
        "royalties",
        [
            "ANALYZE pg_temp.run_share",
            _LINES,
            _WHOLE_SLICES,
            _POTS,
            "ANALYZE pg_temp.run_pot",
            *divide(),
        ],
        None,
    ),
    ("refunds", [_REFUNDS, "ANALYZE pg_temp.run_refund", "ANALYZE pg_temp.run_line", _REVERSALS], None),
    ("adjustments", ADJUSTMENTS, _check_adjusted),
]
"""From attributions to royalties, refunds and corrections."""

LINE_STAGES: list[Stage] = [
    SALES,
    ("slices", [SLICES, "ANALYZE pg_temp.run_sale"], None),
    ("corrections", [*CORRECTIONS], None),
    *TO_ADJUSTMENTS,
    (
        "out of suspense",
        [
            _RELEASES,
            "ANALYZE pg_temp.run_release",
            _NET_PENDING,
            _LATE_UNATTRIBUTED,
            _LATE_POTS,
            "ANALYZE pg_temp.run_pot",
            *divide(),
            _RELEASED,
        ],
        _check_conserved,
    ),
]
"""In their order: royalties, refunds, corrections, then what leaves suspense, which is net of the refunds."""

_TERMS_USED = """
SELECT DISTINCT rate_card_version_id AS id FROM pg_temp.run_sale
UNION SELECT c.rate_card_version_id FROM pg_temp.run_pending AS p
JOIN settlement.sale_slice AS c ON c.sale_id = p.sale_id
UNION SELECT rate_card_version_id FROM pg_temp.run_corrected
"""
LINE_INPUTS = {
    **ADJUSTMENT_INPUTS,
    "sales": """
        SELECT s.external_id, encode(s.content_sha256, 'hex') FROM settlement.sale AS s
        JOIN pg_temp.run_sale AS r ON r.sale_id = s.id ORDER BY s.external_id COLLATE "C" """,
    "refunds": """
        SELECT f.external_id, encode(f.content_sha256, 'hex') FROM settlement.refund AS f
        JOIN pg_temp.run_refund AS r ON r.refund_id = f.id ORDER BY f.external_id COLLATE "C" """,
    "pending": 'SELECT sale, amount FROM pg_temp.run_pending ORDER BY sale COLLATE "C"',
    "released": """
        SELECT sale, player, amount, released_by IS NULL FROM pg_temp.run_release
        ORDER BY sale COLLATE "C", player COLLATE "C" NULLS FIRST""",
    "attributions": """
        SELECT i.external_id, encode(m.sha256, 'hex'), a.status, a.reason, a.fidelity
        FROM pg_temp.run_attribution AS a JOIN attribution.image AS i ON i.id = a.image_id
        JOIN attribution.method_version AS m ON m.id = a.method_id ORDER BY i.external_id COLLATE "C" """,
    "shares": """
        SELECT i.external_id, encode(m.sha256, 'hex'), h.content_to, h.distribution_key, h.player, h.share
        FROM pg_temp.run_share AS h JOIN attribution.attribution AS a ON a.id = h.basis
        JOIN attribution.method_version AS m ON m.id = a.method_id
        JOIN attribution.image AS i ON i.id = a.image_id
        ORDER BY i.external_id COLLATE "C", m.sha256, h.content_to, h.distribution_key, h.player COLLATE "C" """,
    "platform": """
        SELECT valid_from, platform_payee_id, model_developer_id, default_rate_card_id, zone, minimum_payout,
               dispute_contact, dispute_days, fallback_after_periods, fallback_key
        FROM settlement.platform_version ORDER BY valid_from""",
    "rate_cards": f"""
        SELECT rate_card_id, valid_from, model, rate_ppb, fee_micros, minimum_micros, currency, content_to,
               distribution_key, weights, public_domain_payee_id
        FROM settlement.rate_card_version WHERE id IN ({_TERMS_USED}) ORDER BY rate_card_id COLLATE "C", valid_from""",  # noqa: S608
    "contracts": """
        SELECT c.contract_id, c.artist_id, c.valid_from, c.status, s.payee_id, s.share_ppb
        FROM settlement.contract_version AS c LEFT JOIN settlement.contract_split AS s ON s.contract_version_id = c.id
        WHERE c.id IN (SELECT contract_version_id FROM pg_temp.run_line)
        ORDER BY c.contract_id COLLATE "C", c.artist_id COLLATE "C", c.valid_from, s.payee_id COLLATE "C" """,
}
"""What the lines follow from, by name: queries whose rows are hashed."""
LINE_OUTPUTS = {
    "slices": """
        SELECT sale, usage_period, base, slice, currency FROM pg_temp.run_sale ORDER BY sale COLLATE "C" """,
    "lines": """
        SELECT refund, sale, kind, player, destination, payee_id, amount, currency, share_ppb, split_ppb,
               distribution_key, corrects_kind, correction_id
        FROM pg_temp.run_line
        ORDER BY sale COLLATE "C", refund COLLATE "C" NULLS FIRST, kind, corrects_kind, player COLLATE "C" NULLS FIRST,
                 payee_id COLLATE "C" NULLS FIRST, amount""",
}
"""The slices and lines, likewise."""
