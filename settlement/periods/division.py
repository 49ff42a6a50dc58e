"""Dividing amounts over players and payees, in SQL: the one division that every line comes from.

The arithmetic is that of `settlement.allocation`: products are NUMERIC, divisions `div` and `mod`, ties go by id under
``COLLATE "C"``.
"""

from settlement.allocation import CONTENT
from settlement.money import PPB

VERSIONS = """
    platform AS (
        SELECT *, lead(valid_from, 1, 'infinity') OVER (ORDER BY valid_from) AS valid_to
        FROM settlement.platform_version
    ),
    card AS (
        SELECT *, lead(valid_from, 1, 'infinity') OVER (PARTITION BY rate_card_id ORDER BY valid_from) AS valid_to
        FROM settlement.rate_card_version
    ),
    contract AS (
        SELECT *, lead(valid_from, 1, 'infinity') OVER (PARTITION BY artist_id ORDER BY valid_from) AS valid_to
        FROM settlement.contract_version
    )"""
"""Common table expressions of terms with their ends: the next version's start."""

AT_USAGE = """LEFT JOIN contract AS c ON c.artist_id = p.player AND c.status <> 'ended'
        AND p.sold_at >= c.valid_from AND p.sold_at < c.valid_to"""
"""Joins the contract that is in force at the sale."""


def divide(contract: str = AT_USAGE) -> list[str]:
    """Statements that divide what lies in `run_pot`, a pot for each sale, into `run_line`, and drop it.

    Each amount over the image's players, by `run_share`, then each player's amount over her payees: largest remainder,
    twice.

    Args:
        contract: joins to `p`, a player's part, the contract `c` that it is paid by.
    """
    return f"""
CREATE TEMP TABLE run_part ON COMMIT DROP AS
SELECT kind, sale_id, sale, currency, attribution_id, distribution_key, model_developer_id, public_domain_to, sold_at,
       corrects, correction_id, player, share,
       (part + CASE WHEN row_number() OVER (PARTITION BY sale_id ORDER BY rest DESC, player) <= missing
                    THEN 1 ELSE 0 END)::bigint AS amount
FROM (
    SELECT *, amount - sum(part) OVER (PARTITION BY sale_id) AS missing
    FROM (
        SELECT p.*, h.player, h.share, div(p.amount::numeric * h.share, %(ppb)s) AS part,
               mod(p.amount::numeric * h.share, %(ppb)s) AS rest
        FROM pg_temp.run_pot AS p
        JOIN pg_temp.run_share AS h ON h.basis = p.basis AND h.content_to = p.content_to
            AND h.distribution_key = p.distribution_key
    ) AS parts
) AS counted;
ANALYZE pg_temp.run_part;
WITH {VERSIONS},
holder AS (
    SELECT p.*, c.id AS contract_version_id, h.destination, h.payee_id COLLATE "C" AS payee_id, h.split_ppb
    FROM pg_temp.run_part AS p
    {contract}
    CROSS JOIN LATERAL (
        SELECT 'payee' AS destination, p.model_developer_id AS payee_id, {PPB} AS split_ppb WHERE p.player = '{CONTENT}'
        UNION ALL
        SELECT 'payee', s.payee_id, s.share_ppb FROM settlement.contract_split AS s WHERE s.contract_version_id = c.id
        UNION ALL
        SELECT 'payee', p.public_domain_to, {PPB} WHERE c.status = 'public_domain'
        UNION ALL
        SELECT 'unattributed', NULL, NULL WHERE c.status = 'opted_out'
        UNION ALL
        -- An artist without a contract: her share waits for her.
        SELECT 'unclaimed', NULL, NULL WHERE p.player <> '{CONTENT}' AND c.id IS NULL
    ) AS h
    WHERE p.amount > 0
)
INSERT INTO pg_temp.run_line (kind, sale_id, sale, player, destination, payee_id, amount, currency, attribution_id,
                              share_ppb, contract_version_id, split_ppb, distribution_key, corrects, correction_id)
SELECT kind, sale_id, sale, player, destination, payee_id, got, currency, attribution_id, share, contract_version_id,
       split_ppb, distribution_key, corrects, correction_id
FROM (
    SELECT *, (part + CASE WHEN row_number() OVER (PARTITION BY sale_id, player ORDER BY rest DESC, payee_id) <= missing
                           THEN 1 ELSE 0 END)::bigint AS got
    FROM (
        SELECT *, amount - sum(part) OVER (PARTITION BY sale_id, player) AS missing
        FROM (
            SELECT *, div(amount::numeric * coalesce(split_ppb, {PPB}), {PPB}) AS part,
                   mod(amount::numeric * coalesce(split_ppb, {PPB}), {PPB}) AS rest
            FROM holder
        ) AS parts
    ) AS counted
) AS lines WHERE got > 0;
DROP TABLE pg_temp.run_part, pg_temp.run_pot
""".split(";\n")  # noqa: S608  (made of constants)
