"""What approved corrections of closed periods come to: lines taken back as they stand, and others given in their place.

A correction names sales, and for each the attribution, rate card and slice by which it is divided anew
(`settlement.corrections`). What its live lines hold, net of every refund, is taken back line by line; the same amount,
or what refunds have left of a corrected slice, is divided by the very SQL that divides a period's sales. So a refund
between proposal and close changes amounts and needs no new proposal; differences of a slice that stays sum to 0; and
what is given is a line like any other for whatever comes later: it is net of the refunds before it, and a refund of the
rest ends it exactly.

A correction is taken by the first calculation whose cut-off is after its approval. An artist without a contract at the
sale who has one at the period's end is paid by that at once, as a release would a period later.
"""

from settlement.periods.division import VERSIONS, divide

ADJUSTMENT_TABLES = (
    "run_correction",
    "run_correction_sale",
    "run_correction_contract",
    "run_corrected",
    "run_live",
)
"""The temporary tables that the statements here make."""

LIVE = """l.kind <> 'refund' AND (l.kind <> 'adjustment' OR l.corrects IS NULL) AND NOT EXISTS (
        SELECT FROM settlement.royalty_line AS d
        WHERE d.sale_id = l.sale_id AND d.kind IN ('late', 'adjustment') AND d.corrects = l.id)"""
"""Whether a royalty line `l` holds money that no other line took over."""

TABLES = """
CREATE TEMP TABLE run_correction (
    correction_id text COLLATE "C" NOT NULL, kind text NOT NULL, payee_id text COLLATE "C", currency char(3),
    territory char(2), amount bigint, reason text NOT NULL, content_sha256 bytea, approval_id bigint
) ON COMMIT DROP;
CREATE TEMP TABLE run_correction_sale (
    correction_id text COLLATE "C" NOT NULL, sale_id bigint NOT NULL, attribution_id bigint,
    rate_card_version_id bigint NOT NULL, slice_before bigint NOT NULL, slice bigint NOT NULL
) ON COMMIT DROP;
CREATE TEMP TABLE run_correction_contract (
    correction_id text COLLATE "C" NOT NULL, artist_id text NOT NULL, contract_version_id bigint NOT NULL
) ON COMMIT DROP
""".split(";\n")
"""The corrections of a run, in tables: from the permanent ones, or from a proposal that is not written yet."""

CORRECTIONS = [
    *TABLES,
    """
    INSERT INTO pg_temp.run_correction (correction_id, kind, payee_id, currency, territory, amount, reason,
                                        content_sha256, approval_id)
    SELECT c.correction_id, c.kind, c.payee_id, c.currency, c.territory, c.amount_micros, c.reason, c.content_sha256,
           a.id
    FROM settlement.correction AS c
    JOIN settlement.approval AS a ON a.kind = 'correction' AND a.subject = c.correction_id
        AND a.content_sha256 = c.content_sha256
    WHERE a.recorded_at < %(cut_off)s
        AND NOT EXISTS (SELECT FROM settlement.correction_withdrawal AS w WHERE w.correction_id = c.correction_id)
        AND NOT EXISTS (SELECT FROM settlement.correction_application AS y WHERE y.correction_id = c.correction_id)
    """,
    """
    INSERT INTO pg_temp.run_correction_sale (correction_id, sale_id, attribution_id, rate_card_version_id,
                                             slice_before, slice)
    SELECT x.correction_id, x.sale_id, x.attribution_id, x.rate_card_version_id, x.slice_before_micros, x.slice_micros
    FROM settlement.correction_sale AS x JOIN pg_temp.run_correction AS c ON c.correction_id = x.correction_id
    """,
    """
    INSERT INTO pg_temp.run_correction_contract (correction_id, artist_id, contract_version_id)
    SELECT x.correction_id, x.artist_id, x.contract_version_id
    FROM settlement.correction_contract AS x JOIN pg_temp.run_correction AS c ON c.correction_id = x.correction_id
    """,
]
"""Fill them with the corrections that are approved and not applied."""

CORRECTED = [
    "ANALYZE pg_temp.run_correction_sale",
    f"""
    CREATE TEMP TABLE run_corrected ON COMMIT DROP AS
    WITH {VERSIONS}
    SELECT x.correction_id, x.sale_id, s.external_id COLLATE "C" AS sale, x.attribution_id, x.rate_card_version_id,
           x.slice_before, x.slice, s.sold_at, s.currency, s.price_micros AS price, k.content_to, k.distribution_key,
           CASE k.distribution_key WHEN 'proxy' THEN -k.id END AS table_of, p.model_developer_id,
           coalesce(k.public_domain_payee_id, p.model_developer_id) AS public_domain_to
    FROM pg_temp.run_correction_sale AS x
    JOIN settlement.sale AS s ON s.id = x.sale_id
    JOIN settlement.rate_card_version AS k ON k.id = x.rate_card_version_id
    JOIN platform AS p ON s.sold_at >= p.valid_from AND s.sold_at < p.valid_to
    """,  # noqa: S608  (made of constants)
    "ANALYZE pg_temp.run_corrected",
]
"""Their sales with everything that divides them."""

_LIVE_LINES = f"""
CREATE TEMP TABLE run_live ON COMMIT DROP AS
SELECT * FROM (
    SELECT x.correction_id, x.sale, l.id AS line_id, l.sale_id, l.player COLLATE "C" AS player, l.destination,
           l.payee_id COLLATE "C" AS payee_id, l.currency, l.attribution_id, l.share_ppb, l.contract_version_id,
           l.split_ppb, l.distribution_key, l.platform_version_id,
           (l.amount_micros
            + coalesce((SELECT sum(r.amount_micros) FROM settlement.royalty_line AS r
                        WHERE r.sale_id = l.sale_id AND r.kind = 'refund' AND r.corrects = l.id), 0)
            + coalesce(n.amount, 0))::bigint AS amount
    FROM pg_temp.run_corrected AS x
    JOIN settlement.royalty_line AS l ON l.sale_id = x.sale_id
    LEFT JOIN (SELECT corrects, sum(amount) AS amount FROM pg_temp.run_line WHERE kind = 'refund'
               GROUP BY corrects) AS n ON n.corrects = l.id
    WHERE {LIVE}
) AS held WHERE amount > 0
"""  # noqa: S608  (made of constants)

_TAKEN = """
INSERT INTO pg_temp.run_line (kind, sale_id, sale, player, destination, payee_id, amount, currency, attribution_id,
                              share_ppb, contract_version_id, split_ppb, distribution_key, corrects,
                              platform_version_id, correction_id)
SELECT 'adjustment', sale_id, sale, player, destination, payee_id, -amount, currency, attribution_id, share_ppb,
       contract_version_id, split_ppb, distribution_key, line_id, platform_version_id, correction_id
FROM pg_temp.run_live
"""

_POTS = """
CREATE TEMP TABLE run_pot ON COMMIT DROP AS
SELECT * FROM (
    SELECT 'adjustment' AS kind, x.sale_id, x.sale,
           CASE WHEN x.slice = x.slice_before THEN coalesce(l.amount, 0)
                ELSE (x.slice - div(x.slice::numeric * r.refunded, x.price))::bigint END AS amount,
           x.currency, x.attribution_id, coalesce(x.table_of, x.attribution_id) AS basis, x.content_to,
           x.distribution_key, x.model_developer_id, x.public_domain_to, x.sold_at, NULL::bigint AS corrects,
           x.correction_id
    FROM pg_temp.run_corrected AS x
    LEFT JOIN (SELECT sale_id, sum(amount)::bigint AS amount FROM pg_temp.run_live GROUP BY sale_id) AS l
        ON l.sale_id = x.sale_id
    LEFT JOIN (SELECT sale_id, sum(amount) AS amount FROM pg_temp.run_refund GROUP BY sale_id) AS n
        ON n.sale_id = x.sale_id
    CROSS JOIN LATERAL (
        SELECT coalesce(n.amount, 0) + coalesce(sum(b.refunded_micros), 0) AS refunded
        FROM settlement.refund_reversal AS b WHERE b.sale_id = x.sale_id
    ) AS r
) AS pot WHERE amount > 0
"""

# By an attribution that pays nobody, all of it.
_UNATTRIBUTED = """
INSERT INTO pg_temp.run_line (kind, sale_id, sale, destination, amount, currency, attribution_id, distribution_key,
                              correction_id)
SELECT 'adjustment', p.sale_id, p.sale, 'unattributed', p.amount, p.currency, p.attribution_id, p.distribution_key,
       p.correction_id
FROM pg_temp.run_pot AS p WHERE NOT EXISTS (
    SELECT FROM pg_temp.run_share AS h WHERE h.basis = p.basis AND h.content_to = p.content_to
        AND h.distribution_key = p.distribution_key)
"""

# The version that the correction names for the artist, or that is in force at the sale, or else at the period's end.
_CONTRACT = """LEFT JOIN pg_temp.run_correction_contract AS w
        ON w.correction_id = p.correction_id AND w.artist_id = p.player
    LEFT JOIN LATERAL (
        SELECT v.id, v.status FROM contract AS v
        WHERE v.artist_id = p.player COLLATE "default" AND v.status <> 'ended' AND (
            v.id = w.contract_version_id
            OR w.contract_version_id IS NULL AND (
                p.sold_at >= v.valid_from AND p.sold_at < v.valid_to
                OR v.status = 'active' AND %(last_instant)s >= v.valid_from AND %(last_instant)s < v.valid_to))
        ORDER BY v.valid_from <= p.sold_at AND v.valid_to > p.sold_at DESC LIMIT 1
    ) AS c ON true"""

ADJUSTMENTS = [
    _LIVE_LINES,
    "ANALYZE pg_temp.run_live",
    _TAKEN,
    _POTS,
    "ANALYZE pg_temp.run_pot",
    _UNATTRIBUTED,
    *divide(_CONTRACT),
]
"""Take back and give; after the refunds of the run, which both are net of."""

NOT_ADJUSTED = """
SELECT x.sale, m.due, m.given
FROM pg_temp.run_corrected AS x
CROSS JOIN LATERAL (SELECT coalesce(sum(b.refunded_micros), 0) AS amount FROM settlement.refund_reversal AS b
                    WHERE b.sale_id = x.sale_id) AS b
LEFT JOIN (SELECT sale_id, sum(amount) AS amount FROM pg_temp.run_refund GROUP BY sale_id) AS n
    ON n.sale_id = x.sale_id
LEFT JOIN (SELECT sale_id, -sum(amount) FILTER (WHERE amount < 0) AS taken,
                  sum(amount) FILTER (WHERE amount > 0) AS given
           FROM pg_temp.run_line WHERE kind = 'adjustment' GROUP BY sale_id) AS l ON l.sale_id = x.sale_id
CROSS JOIN LATERAL (
    SELECT CASE WHEN x.slice = x.slice_before THEN coalesce(l.taken, 0)
                ELSE x.slice - div(x.slice::numeric * (b.amount + coalesce(n.amount, 0)), x.price) END AS due,
           coalesce(l.given, 0) AS given
) AS m
WHERE m.due <> m.given LIMIT 1
"""

ADJUSTMENT_WRITES = (
    (
        "writing corrections",
        """
        INSERT INTO settlement.correction_application (correction_id, period_id, approval_id)
        SELECT correction_id, %(period)s, approval_id FROM pg_temp.run_correction ORDER BY correction_id;
        INSERT INTO settlement.royalty_line (period_id, kind, sale_id, player, destination, payee_id, amount_micros,
                                             currency, attribution_id, share_ppb, contract_version_id, split_ppb,
                                             distribution_key, corrects, platform_version_id, correction_id)
        SELECT %(period)s, kind, sale_id, player, destination, payee_id, amount, currency, attribution_id, share_ppb,
               contract_version_id, split_ppb, distribution_key, corrects, platform_version_id, correction_id
        FROM pg_temp.run_line WHERE kind = 'adjustment'
        ORDER BY correction_id, sale, corrects NULLS LAST, player NULLS FIRST, payee_id NULLS FIRST
        """,
    ),
)
"""What a close writes of it, after the refunds' reversals."""

ADJUSTMENT_INPUTS = {
    "corrections": """
        SELECT correction_id, encode(content_sha256, 'hex') FROM pg_temp.run_correction ORDER BY correction_id""",
    "corrected": """
        SELECT x.correction_id, x.sale, sum(l.amount) FROM pg_temp.run_corrected AS x
        LEFT JOIN pg_temp.run_live AS l ON l.sale_id = x.sale_id
        GROUP BY x.correction_id, x.sale ORDER BY x.sale""",
}
"""What went in, by natural keys: what a correction says is in its content."""
