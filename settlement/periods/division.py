"""Dividing amounts over players and payees, in SQL: the one division that every line comes from.

The arithmetic is that of `settlement.allocation`, in whole bigints, which is several times as fast as NUMERIC; ties go
by id under ``COLLATE "C"``.
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
SELECT sale_id, player, share,
       part + CASE WHEN row_number() OVER (PARTITION BY sale_id ORDER BY rest DESC, player) <= missing
                   THEN 1 ELSE 0 END AS amount
FROM (
    SELECT *, sum(rest) OVER (PARTITION BY sale_id) / {PPB} AS missing
    FROM (
        SELECT p.sale_id, h.player, h.share, {_part("p.amount", "h.share")} AS part,
               {_rest("p.amount", "h.share")} AS rest
        FROM pg_temp.run_pot AS p
        JOIN pg_temp.run_share AS h ON h.basis = p.basis AND h.content_to = p.content_to
            AND h.distribution_key = p.distribution_key
    ) AS parts
) AS counted;
ANALYZE pg_temp.run_part;
WITH {VERSIONS},
holder AS MATERIALIZED (
    SELECT p.*, c.id AS contract_version_id,
           CASE WHEN p.player = '{CONTENT}' THEN 'payee'
                -- An artist without a contract: her share waits for her.
                WHEN c.id IS NULL THEN 'unclaimed'
                WHEN c.status = 'opted_out' THEN 'unattributed' ELSE 'payee' END AS destination,
           CASE WHEN p.player = '{CONTENT}' THEN p.model_developer_id
                WHEN c.status = 'public_domain' THEN p.public_domain_to ELSE s.payee_id END COLLATE "C" AS payee_id,
           CASE WHEN p.player = '{CONTENT}' OR c.status = 'public_domain' THEN {PPB} ELSE s.share_ppb END AS split_ppb
    FROM (SELECT t.kind, t.sale_id, t.sale, t.currency, t.attribution_id, t.distribution_key, t.model_developer_id,
                 t.public_domain_to, t.sold_at, t.corrects, t.correction_id, d.player, d.share, d.amount
          FROM pg_temp.run_part AS d JOIN pg_temp.run_pot AS t ON t.sale_id = d.sale_id WHERE d.amount > 0) AS p
    {contract}
    LEFT JOIN settlement.contract_split AS s ON s.contract_version_id = c.id
)
INSERT INTO pg_temp.run_line (kind, sale_id, sale, player, destination, payee_id, amount, currency, attribution_id,
                              share_ppb, contract_version_id, split_ppb, distribution_key, corrects, correction_id)
SELECT kind, sale_id, sale, player, destination, payee_id, got, currency, attribution_id, share, contract_version_id,
       split_ppb, distribution_key, corrects, correction_id
FROM (
    -- Most have one payee, who gets all of it.
    SELECT *, amount AS got FROM holder WHERE coalesce(split_ppb, {PPB}) = {PPB}
    UNION ALL
    SELECT {_HOLDER}, part + CASE WHEN row_number() OVER (PARTITION BY sale_id, player ORDER BY rest DESC, payee_id)
                                       <= missing THEN 1 ELSE 0 END
    FROM (
        SELECT *, sum(rest) OVER (PARTITION BY sale_id, player) / {PPB} AS missing
        FROM (
            SELECT *, {_part("amount", "split_ppb")} AS part, {_rest("amount", "split_ppb")} AS rest
            FROM holder WHERE split_ppb <> {PPB}
        ) AS parts
    ) AS counted
) AS lines WHERE got > 0;
DROP TABLE pg_temp.run_part, pg_temp.run_pot
""".split(";\n")  # noqa: S608  (made of constants)


_HOLDER = """kind, sale_id, sale, currency, attribution_id, distribution_key, model_developer_id, public_domain_to,
           sold_at, corrects, correction_id, player, share, amount, contract_version_id, destination, payee_id,
           split_ppb"""


def _part(amount: str, share: str) -> str:
    """SQL of floor(amount x share / 10^9), from expressions of bigint: amount = q x 10^9 + r, so nothing overflows."""
    return f"({amount} / {PPB} * {share} + mod({amount}, {PPB}) * {share} / {PPB})"


def _rest(amount: str, share: str) -> str:
    """SQL of (amount x share) mod 10^9, an integer; where shares sum to 10^9, rests sum to what the parts lack."""
    return f"mod(mod({amount}, {PPB}) * {share}, {PPB})::integer"
