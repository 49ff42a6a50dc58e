"""The order at close: what happens to a payee's royalties on their way to her statement's closing.

Refunds, releases, new reserves, tax, conversion, recoupment: `ORDER` is that sequence, and nothing else decides it.
Each step works on whole sets, in temporary tables, on one row for each payee and currency (`run_column`): a statement's
column, whose closing is always the sum of its other figures. Divisions are `div`, of NUMERIC products; what may be
below zero is floored further down.
"""

from collections.abc import Callable

from sqlalchemy.orm import Session

from database.engine import psycopg_connection
from database.errors import Conflict
from settlement.fx import TRILLION
from settlement.money import PPB
from settlement.periods.lines import Check, Stage
from settlement.posting import ADVANCE_PAID, PAYABLE
from settlement.statements.body import MOVEMENTS

ORDER_TABLES = (
    "run_column",
    "run_lot",
    "run_reserve_use",
    "run_reserve",
    "run_tax",
    "run_tax_reversal",
    "run_conversion",
    "run_recoupment",
)
"""What the steps fill."""

# What the lines and other journals come to, before any step.
_COLUMNS = f"""
CREATE TEMP TABLE run_column (
    payee_id text COLLATE "C" NOT NULL, currency char(3) NOT NULL,
    -- The currency of the statement that the column stands in.
    payout char(3) NOT NULL,
    opening bigint NOT NULL DEFAULT 0,
    {", ".join(f"{name} bigint NOT NULL DEFAULT 0" for name in MOVEMENTS)},
    closing bigint NOT NULL GENERATED ALWAYS AS (opening + {" + ".join(MOVEMENTS)}) STORED
) ON COMMIT DROP;
INSERT INTO pg_temp.run_column (payee_id, currency, payout, opening, royalties, late, adjustments, refunds, claims,
                                payments)
WITH opening AS (
    -- Foreign columns close at 0; a statement of before there were columns may be in a foreign currency.
    SELECT DISTINCT ON (s.payee_id, s.currency) s.payee_id, s.currency, s.closing
    FROM (SELECT payee_id, currency, period_id, closing FROM settlement.statement
          UNION ALL SELECT payee_id, currency, period_id, closing FROM settlement.statement_column) AS s
    JOIN settlement.period AS p ON p.period_id = s.period_id
    WHERE p.ends_at < %(ends_at)s ORDER BY s.payee_id, s.currency, p.ends_at DESC
),
movement AS (
    SELECT payee_id, currency, NULL::numeric AS opening, sum(amount) FILTER (WHERE kind = 'royalty') AS royalties,
           sum(amount) FILTER (WHERE kind = 'refund') AS refunds,
           sum(amount) FILTER (WHERE kind NOT IN ('royalty', 'refund', 'adjustment')) AS late,
           sum(amount) FILTER (WHERE kind = 'adjustment') AS adjustments, NULL::numeric AS claims,
           NULL::numeric AS payments, true AS active
    FROM pg_temp.run_line WHERE payee_id IS NOT NULL GROUP BY payee_id, currency
    UNION ALL
    SELECT payee_id, currency, NULL, NULL, NULL, NULL, amount, NULL, NULL, true
    FROM pg_temp.run_correction WHERE kind = 'manual'
    UNION ALL
    SELECT payee_id, currency, NULL, NULL, NULL, NULL,
           sum(amount) FILTER (WHERE NOT (kind = ANY(%(payment_kinds)s) OR kind = ANY(%(claim_kinds)s))),
           sum(amount) FILTER (WHERE kind = ANY(%(claim_kinds)s)),
           sum(amount) FILTER (WHERE kind = ANY(%(payment_kinds)s)), true
    FROM pg_temp.run_payment GROUP BY payee_id, currency
    UNION ALL
    SELECT payee_id, currency, closing, NULL, NULL, NULL, NULL, NULL, NULL, closing <> 0 FROM opening
)
SELECT m.payee_id, m.currency, p.currency, coalesce(sum(opening), 0), coalesce(sum(royalties), 0),
       coalesce(sum(late), 0), coalesce(sum(adjustments), 0), coalesce(sum(refunds), 0), coalesce(sum(claims), 0),
       coalesce(sum(payments), 0)
FROM movement AS m JOIN settlement.payee AS p ON p.payee_id = m.payee_id
GROUP BY m.payee_id, m.currency, p.currency HAVING bool_or(active);
ANALYZE pg_temp.run_column
"""  # noqa: S608  (names of columns)

# Refunds take from what is held back, the oldest first: both laid end to end, each refund takes what it lies upon.
_REFUNDS = """
CREATE TEMP TABLE run_lot ON COMMIT DROP AS
SELECT r.payee_id COLLATE "C" AS payee_id, r.currency, r.period_id AS taken_in, p.ends_at, r.reserve_version_id,
       r.amount_micros AS taken, r.amount_micros - r.used AS remaining,
       sum(r.amount_micros - r.used) OVER (PARTITION BY r.payee_id, r.currency ORDER BY p.ends_at) AS upto
FROM (
    SELECT r.*, coalesce((SELECT sum(u.amount_micros) FROM settlement.reserve_use AS u
                          WHERE u.payee_id = r.payee_id AND u.currency = r.currency AND u.taken_in = r.period_id), 0)
           AS used
    FROM settlement.reserve AS r
) AS r JOIN settlement.period AS p ON p.period_id = r.period_id
WHERE r.amount_micros > r.used;
CREATE TEMP TABLE run_reserve_use (
    payee_id text COLLATE "C" NOT NULL, currency char(3) NOT NULL, taken_in text NOT NULL, refund_id bigint,
    refund text COLLATE "C", amount bigint NOT NULL
) ON COMMIT DROP;
WITH refund AS (
    SELECT l.payee_id, l.currency, l.refund_id, l.refund, l.amount,
           sum(l.amount) OVER (PARTITION BY l.payee_id, l.currency ORDER BY r.refunded_at, l.refund) AS upto
    FROM (SELECT payee_id, currency, refund_id, refund, -sum(amount) AS amount FROM pg_temp.run_line
          WHERE kind = 'refund' AND payee_id IN (SELECT payee_id FROM pg_temp.run_lot)
          GROUP BY payee_id, currency, refund_id, refund) AS l
    JOIN settlement.refund AS r ON r.id = l.refund_id
)
INSERT INTO pg_temp.run_reserve_use (payee_id, currency, taken_in, refund_id, refund, amount)
SELECT h.payee_id, h.currency, h.taken_in, r.refund_id, r.refund,
       least(h.upto, r.upto) - greatest(h.upto - h.remaining, r.upto - r.amount)
FROM pg_temp.run_lot AS h JOIN refund AS r ON r.payee_id = h.payee_id AND r.currency = h.currency
WHERE least(h.upto, r.upto) > greatest(h.upto - h.remaining, r.upto - r.amount)
"""

# What the schedule names for so many whole periods after, as far as it is still there.
_RELEASES = f"""
INSERT INTO pg_temp.run_reserve_use (payee_id, currency, taken_in, amount)
SELECT payee_id, currency, taken_in, least(due, remaining)
FROM (
    SELECT h.payee_id, h.currency, h.taken_in,
           h.remaining - coalesce((SELECT sum(u.amount) FROM pg_temp.run_reserve_use AS u WHERE u.payee_id = h.payee_id
                                   AND u.currency = h.currency AND u.taken_in = h.taken_in), 0) AS remaining,
           div(h.taken::numeric * (s.before + s.part), {PPB}) - div(h.taken::numeric * s.before, {PPB}) AS due
    FROM pg_temp.run_lot AS h
    JOIN settlement.reserve_version AS v ON v.id = h.reserve_version_id
    CROSS JOIN LATERAL (SELECT count(*) AS periods FROM settlement.period AS q
                        WHERE q.ends_at > h.ends_at AND q.ends_at <= %(ends_at)s) AS after
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(r.value::numeric) FILTER (WHERE r.key::integer < after.periods), 0) AS before,
               coalesce(sum(r.value::numeric) FILTER (WHERE r.key::integer = after.periods), 0) AS part
        FROM jsonb_each_text(v.release) AS r
    ) AS s
) AS due WHERE least(due, remaining) > 0
"""  # noqa: S608  (made of constants)

_RESERVES = f"""
CREATE TEMP TABLE run_reserve ON COMMIT DROP AS
WITH version AS (
    SELECT DISTINCT ON (payee_id) payee_id, id, rate_ppb FROM settlement.reserve_version
    WHERE valid_from <= %(last_instant)s ORDER BY payee_id, valid_from DESC
)
SELECT payee_id, currency, reserve_version_id, basis, div(basis::numeric * rate_ppb, {PPB})::bigint AS amount
FROM (
    SELECT c.payee_id, c.currency, v.id AS reserve_version_id, v.rate_ppb, c.royalties + c.late + c.adjustments AS basis
    FROM pg_temp.run_column AS c JOIN version AS v ON v.payee_id = c.payee_id
) AS due WHERE basis > 0 AND div(basis::numeric * rate_ppb, {PPB}) > 0;
-- A release may be all that moves in its currency.
INSERT INTO pg_temp.run_column (payee_id, currency, payout)
SELECT DISTINCT u.payee_id, u.currency, p.currency
FROM pg_temp.run_reserve_use AS u JOIN settlement.payee AS p ON p.payee_id = u.payee_id
WHERE NOT EXISTS (SELECT FROM pg_temp.run_column AS c WHERE c.payee_id = u.payee_id AND c.currency = u.currency);
UPDATE pg_temp.run_column AS c SET reserves = m.amount
FROM (SELECT payee_id, currency, sum(amount) AS amount
      FROM (SELECT payee_id, currency, amount FROM pg_temp.run_reserve_use
            UNION ALL SELECT payee_id, currency, -amount FROM pg_temp.run_reserve) AS moved
      GROUP BY payee_id, currency) AS m
WHERE c.payee_id = m.payee_id AND c.currency = m.currency
"""  # noqa: S608  (made of constants)

# Refunds of this run's own lines reduce the sum that is taxed; those of earlier lines give back what they were taxed.
# An amount by hand is taxed where it says, or nowhere.
_TAX = f"""
CREATE TEMP TABLE run_tax ON COMMIT DROP AS
WITH profile AS (
    SELECT DISTINCT ON (payee_id) payee_id, id, default_ppb, rates FROM settlement.tax_profile_version
    WHERE valid_from <= %(last_instant)s ORDER BY payee_id, valid_from DESC
)
SELECT payee_id, currency, territory, tax_profile_version_id, rate, base,
       div(greatest(base, 0)::numeric * rate, {PPB})::bigint AS withheld
FROM (
    SELECT l.payee_id, l.currency, l.territory, p.id AS tax_profile_version_id,
           coalesce((p.rates ->> l.territory::text)::bigint, p.default_ppb) AS rate, sum(l.amount)::bigint AS base
    FROM (
        SELECT l.payee_id, l.currency, s.territory, l.amount
        FROM pg_temp.run_line AS l JOIN settlement.sale AS s ON s.id = l.sale_id
        WHERE l.kind <> 'refund' OR l.corrects IS NULL
        UNION ALL
        SELECT payee_id, currency, territory, amount FROM pg_temp.run_correction WHERE territory IS NOT NULL
    ) AS l
    JOIN profile AS p ON p.payee_id = l.payee_id
    GROUP BY l.payee_id, l.currency, l.territory, p.id, p.rates, p.default_ppb
) AS taxed;
CREATE TEMP TABLE run_tax_reversal ON COMMIT DROP AS
SELECT payee_id, currency, territory, taxed_in, refund_id, refund, base,
       (div(greatest(taxed - upto + base, 0)::numeric * rate, {PPB})
        - div(greatest(taxed - upto, 0)::numeric * rate, {PPB}))::bigint AS given_back
FROM (
    SELECT l.payee_id, l.currency, l.territory, l.taxed_in, l.refund_id, l.refund, l.base, d.rate_ppb AS rate,
           d.base_micros AS taxed,
           sum(l.base) OVER (PARTITION BY l.payee_id, l.currency, l.territory, l.taxed_in
                             ORDER BY r.refunded_at, l.refund)
           + coalesce((SELECT sum(e.base_micros) FROM settlement.tax_reversal AS e
                       WHERE e.payee_id = l.payee_id AND e.taxed_in = l.taxed_in AND e.currency = l.currency
                           AND e.territory = l.territory), 0) AS upto
    FROM (
        SELECT l.payee_id, l.currency, s.territory, o.period_id AS taxed_in, l.refund_id, l.refund,
               -sum(l.amount)::bigint AS base
        FROM pg_temp.run_line AS l
        JOIN settlement.royalty_line AS o ON o.id = l.corrects
        JOIN settlement.sale AS s ON s.id = l.sale_id
        WHERE l.kind = 'refund' AND l.payee_id IS NOT NULL
        GROUP BY l.payee_id, l.currency, s.territory, o.period_id, l.refund_id, l.refund
    ) AS l
    JOIN settlement.tax_determination AS d ON d.payee_id = l.payee_id AND d.period_id = l.taxed_in
        AND d.currency = l.currency AND d.territory = l.territory
    JOIN settlement.refund AS r ON r.id = l.refund_id
) AS later;
UPDATE pg_temp.run_column AS c SET tax = m.amount
FROM (SELECT payee_id, currency, sum(amount) AS amount
      FROM (SELECT payee_id, currency, -withheld AS amount FROM pg_temp.run_tax
            UNION ALL SELECT payee_id, currency, given_back FROM pg_temp.run_tax_reversal) AS moved
      GROUP BY payee_id, currency) AS m
WHERE c.payee_id = m.payee_id AND c.currency = m.currency
"""  # noqa: S608  (made of constants)

# What a foreign column came to, once; floor(source x rate), and `div` goes towards zero.
_CONVERSION = f"""
CREATE TEMP TABLE run_conversion ON COMMIT DROP AS
SELECT c.payee_id, c.currency, c.payout, r.id AS fx_rate_id, c.closing AS source,
       (div(c.closing::numeric * r.rate_trillionths, {TRILLION})
        - CASE WHEN mod(c.closing::numeric * r.rate_trillionths, {TRILLION}) < 0 THEN 1 ELSE 0 END)::bigint AS target
FROM pg_temp.run_column AS c
LEFT JOIN LATERAL (
    SELECT r.id, r.rate_trillionths FROM settlement.fx_rate AS r
    WHERE r.source_currency = c.currency AND r.target_currency = c.payout AND r.valid_from <= %(last_instant)s
    ORDER BY r.valid_from DESC LIMIT 1
) AS r ON true
WHERE c.currency <> c.payout AND c.closing <> 0;
INSERT INTO pg_temp.run_column (payee_id, currency, payout)
SELECT DISTINCT c.payee_id, c.payout, c.payout FROM pg_temp.run_column AS c
WHERE c.currency <> c.payout AND NOT EXISTS (
    SELECT FROM pg_temp.run_column AS own WHERE own.payee_id = c.payee_id AND own.currency = c.payout);
UPDATE pg_temp.run_column AS c SET fx = m.amount
FROM (SELECT payee_id, currency, -source AS amount FROM pg_temp.run_conversion
      UNION ALL
      SELECT payee_id, payout, coalesce(sum(target), 0) FROM pg_temp.run_conversion GROUP BY payee_id, payout) AS m
WHERE c.payee_id = m.payee_id AND c.currency = m.currency
"""  # noqa: S608  (made of constants)

_WITHOUT_RATE = """
SELECT currency, payout FROM pg_temp.run_conversion WHERE fx_rate_id IS NULL ORDER BY currency, payout LIMIT 1
"""

# Advances that were paid by the period's last instant, laid end to end, the oldest first, upon what there is. A payout
# of the next period may have taken of it already: not more than is there now.
_RECOUPMENT = f"""
CREATE TEMP TABLE run_recoupment ON COMMIT DROP AS
WITH owed AS (
    SELECT a.payee_id COLLATE "C" AS payee_id, a.currency, a.advance_id COLLATE "C" AS advance_id, a.remaining,
           sum(a.remaining) OVER (PARTITION BY a.payee_id, a.currency ORDER BY j.booked_at, a.advance_id COLLATE "C")
           AS upto
    FROM (
        SELECT a.*, a.amount_micros - coalesce((SELECT sum(r.amount_micros) FROM settlement.recoupment AS r
                                                WHERE r.advance_id = a.advance_id), 0) AS remaining
        FROM settlement.advance AS a
    ) AS a
    JOIN ledger.journal AS j ON j.key = {ADVANCE_PAID.key_sql(advance="a.advance_id")}
    WHERE a.remaining > 0 AND j.booked_at < %(ends_at)s
        AND NOT EXISTS (SELECT FROM ledger.journal AS r WHERE r.reverses = j.id)
),
available AS (
    SELECT c.payee_id, c.currency, c.closing, c.closing + coalesce(m.amount, 0) AS now
    FROM pg_temp.run_column AS c
    LEFT JOIN LATERAL (
        SELECT -sum(p.amount) AS amount FROM ledger.posting AS p
        WHERE p.account_id = (SELECT a.id FROM ledger.account AS a
                              WHERE a.code = {PAYABLE.sql("c.payee_id::text", "c.currency")})
            AND p.booked_at >= %(ends_at)s
    ) AS m ON true
    WHERE c.currency = c.payout AND c.payee_id IN (SELECT payee_id FROM owed)
)
SELECT o.payee_id, o.currency, o.advance_id, o.remaining, v.closing AS balance, v.now,
       greatest(least(o.remaining, least(v.closing, v.now) - (o.upto - o.remaining)), 0)::bigint AS amount
FROM owed AS o JOIN available AS v ON v.payee_id = o.payee_id AND v.currency = o.currency;
UPDATE pg_temp.run_column AS c SET recoupment = m.amount
FROM (SELECT payee_id, currency, -sum(amount) AS amount FROM pg_temp.run_recoupment GROUP BY payee_id, currency) AS m
WHERE c.payee_id = m.payee_id AND c.currency = m.currency
"""  # noqa: S608  (made of constants)

# Every payee gets a statement where the platform's terms at the period's last instant say so.
_ZERO_STATEMENTS = """
INSERT INTO pg_temp.run_column (payee_id, currency, payout)
SELECT p.payee_id, p.currency, p.currency FROM settlement.payee AS p
WHERE p.recorded_at < %(cut_off)s
    AND (SELECT v.zero_statements FROM settlement.platform_version AS v WHERE v.valid_from <= %(last_instant)s
         ORDER BY v.valid_from DESC LIMIT 1)
    AND p.payee_id NOT IN (SELECT v.platform_payee_id FROM settlement.platform_version AS v)
    AND NOT EXISTS (SELECT FROM pg_temp.run_column AS c WHERE c.payee_id = p.payee_id AND c.currency = p.currency)
"""


def _check_rates(session: Session) -> None:
    missing = psycopg_connection(session).execute(_WITHOUT_RATE).fetchone()
    if missing is not None:
        raise Conflict(
            f"no rate of exchange from {missing[0]} to {missing[1]} is in force at the period's end: enter it "
            "(`fx_rates` of a catalogue file), then calculate again"
        )


def _stage(
    name: str, script: str, check: Callable[[Session], None] | None = None
) -> tuple[str, list[str], Check | None]:
    return name, script.split(";\n"), check


ORDER: list[Stage] = [
    _stage("refunds from reserves", _REFUNDS),
    _stage("releases", _RELEASES),
    _stage("new reserves", _RESERVES),
    _stage("tax", _TAX),
    _stage("conversion", _CONVERSION, _check_rates),
    _stage("recoupment", _RECOUPMENT),
]
"""The order at close."""

ORDER_STAGES: list[Stage] = [
    _stage("balances", _COLUMNS),
    *ORDER,
    _stage("statements", _ZERO_STATEMENTS + ";\nANALYZE pg_temp.run_column"),
]

ORDER_INPUTS = {
    "fx_rates": """
        SELECT source_currency, target_currency, valid_from, rate_trillionths, source FROM settlement.fx_rate
        WHERE id IN (SELECT fx_rate_id FROM pg_temp.run_conversion)
        ORDER BY source_currency, target_currency, valid_from""",
    "reserve_terms": """
        SELECT payee_id, valid_from, rate_ppb, release FROM settlement.reserve_version
        WHERE id IN (SELECT reserve_version_id FROM pg_temp.run_reserve
                     UNION SELECT reserve_version_id FROM pg_temp.run_lot)
        ORDER BY payee_id COLLATE "C", valid_from""",
    "held_back": """
        SELECT payee_id, currency, taken_in, remaining FROM pg_temp.run_lot ORDER BY payee_id, currency, ends_at""",
    "tax_profiles": """
        SELECT payee_id, valid_from, default_ppb, rates FROM settlement.tax_profile_version
        WHERE id IN (SELECT tax_profile_version_id FROM pg_temp.run_tax) ORDER BY payee_id COLLATE "C", valid_from""",
    "advances": """
        SELECT advance_id, payee_id, currency, remaining, balance, now FROM pg_temp.run_recoupment
        ORDER BY advance_id""",
}
"""What went in, by natural keys: see `calculation.inputs_digest`."""

ORDER_OUTPUTS = {
    "reserve_uses": """
        SELECT payee_id, currency, taken_in, refund, amount FROM pg_temp.run_reserve_use
        ORDER BY payee_id, currency, taken_in, refund NULLS FIRST""",
    "reserves": "SELECT payee_id, currency, basis, amount FROM pg_temp.run_reserve ORDER BY payee_id, currency",
    "tax": """
        SELECT payee_id, currency, territory, rate, base, withheld FROM pg_temp.run_tax
        ORDER BY payee_id, currency, territory""",
    "tax_reversals": """
        SELECT payee_id, currency, territory, taxed_in, refund, base, given_back FROM pg_temp.run_tax_reversal
        ORDER BY payee_id, currency, territory, taxed_in, refund""",
    "conversions": """
        SELECT payee_id, currency, payout, source, target FROM pg_temp.run_conversion ORDER BY payee_id, currency""",
    "recoupments": "SELECT advance_id, amount FROM pg_temp.run_recoupment ORDER BY advance_id",
    "statements": f"""
        SELECT payee_id, currency, payout, opening, {", ".join(MOVEMENTS)}, closing FROM pg_temp.run_column
        ORDER BY payee_id, currency""",  # noqa: S608  (names of columns)
}
"""What came out."""

ORDER_WRITES = (
    (
        "writing columns",
        f"""
        INSERT INTO settlement.conversion (payee_id, period_id, currency, fx_rate_id, source_micros, target_micros)
        SELECT payee_id, %(period)s, currency, fx_rate_id, source, target FROM pg_temp.run_conversion
        ORDER BY payee_id, currency;
        INSERT INTO settlement.statement_column (payee_id, period_id, currency, statement_id, opening,
                                                 {", ".join(MOVEMENTS)}, closing)
        SELECT payee_id, %(period)s, currency, %(period)s || '/' || payee_id || '/' || payout, opening,
               {", ".join(MOVEMENTS)}, closing
        FROM pg_temp.run_column WHERE currency <> payout ORDER BY payee_id, currency
        """,  # noqa: S608  (names of columns)
    ),
    (
        "writing reserves",
        """
        INSERT INTO settlement.reserve_use (period_id, payee_id, currency, taken_in, refund_id, amount_micros)
        SELECT %(period)s, payee_id, currency, taken_in, refund_id, amount FROM pg_temp.run_reserve_use
        ORDER BY payee_id, currency, taken_in, refund NULLS FIRST;
        INSERT INTO settlement.reserve (payee_id, currency, period_id, reserve_version_id, basis_micros, amount_micros)
        SELECT payee_id, currency, %(period)s, reserve_version_id, basis, amount FROM pg_temp.run_reserve
        ORDER BY payee_id, currency
        """,
    ),
    (
        "writing tax",
        """
        INSERT INTO settlement.tax_reversal (payee_id, taxed_in, currency, territory, refund_id, period_id, base_micros,
                                             given_back_micros)
        SELECT payee_id, taxed_in, currency, territory, refund_id, %(period)s, base, given_back
        FROM pg_temp.run_tax_reversal ORDER BY payee_id, taxed_in, currency, territory, refund;
        INSERT INTO settlement.tax_determination (payee_id, period_id, currency, territory, tax_profile_version_id,
                                                  rate_ppb, base_micros, withheld_micros)
        SELECT payee_id, %(period)s, currency, territory, tax_profile_version_id, rate, base, withheld
        FROM pg_temp.run_tax ORDER BY payee_id, currency, territory
        """,
    ),
    (
        "writing recoupments",
        """
        INSERT INTO settlement.recoupment (advance_id, period_id, amount_micros)
        SELECT advance_id, %(period)s, amount FROM pg_temp.run_recoupment WHERE amount > 0 ORDER BY advance_id
        """,
    ),
)
"""What a close writes of it, as (stage, statements)."""
