-- What the terms of 0017 change for the auditor: the same views and columns, new columns at the end.

SET ROLE audit_owner;
DO $$
BEGIN
    EXECUTE 'CREATE OR REPLACE VIEW audit.statement_line AS ' || pg_get_viewdef('settlement.statement_line'::regclass);
END
$$;

-- A slice's lines add up to it; what left suspense is what was there; refunds take back what they say, and not too much.
CREATE OR REPLACE VIEW audit.slice_conservation AS
WITH line AS (
    SELECT id, sale_id, kind, destination, amount_micros AS amount, currency, refund_id, corrects FROM settlement.royalty_line
),
taken_back AS (
    SELECT corrects, -sum(amount) AS amount FROM line WHERE kind = 'refund' GROUP BY corrects
),
released AS (
    SELECT corrects, sum(amount) AS amount FROM line WHERE kind = 'late' GROUP BY corrects
)
SELECT s.external_id AS sale, c.item, c.expected, c.found
FROM (
    SELECT coalesce(x.sale_id, l.sale_id) AS sale_id, 'lines of the slice' AS item, x.slice_micros::numeric AS expected,
           coalesce(l.amount, 0) AS found
    FROM settlement.sale_slice AS x
    FULL JOIN (SELECT sale_id, sum(amount) AS amount FROM line WHERE kind IN ('royalty', 'pending', 'unattributed')
               GROUP BY sale_id) AS l ON l.sale_id = x.sale_id
    UNION ALL
    SELECT x.sale_id, 'currency of line ' || l.id, NULL, 0 FROM settlement.sale_slice AS x
    JOIN line AS l ON l.sale_id = x.sale_id AND l.currency <> x.currency
    UNION ALL
    SELECT p.sale_id, 'late lines of what was in suspense', p.amount - coalesce(t.amount, 0), r.amount
    FROM released AS r JOIN line AS p ON p.id = r.corrects LEFT JOIN taken_back AS t ON t.corrects = p.id
    UNION ALL
    SELECT sale_id, 'late line ' || id || ' corrects something in suspense', 1, count(*) FILTER (WHERE waiting)
    FROM (SELECT l.sale_id, l.id, coalesce(p.destination <> 'payee' AND p.kind <> 'refund', false) AS waiting
          FROM line AS l LEFT JOIN line AS p ON p.id = l.corrects WHERE l.kind = 'late') AS late GROUP BY sale_id, id
    UNION ALL
    SELECT b.sale_id, 'lines of refund ' || b.refund_id, -b.reversed_micros, coalesce(sum(l.amount), 0)
    FROM settlement.refund_reversal AS b LEFT JOIN line AS l ON l.refund_id = b.refund_id
    GROUP BY b.refund_id, b.sale_id, b.reversed_micros
    UNION ALL
    SELECT l.sale_id, 'a refund of line ' || l.id || ' beyond it', l.amount, t.amount
    FROM taken_back AS t JOIN line AS l ON l.id = t.corrects WHERE t.amount > l.amount
    UNION ALL
    -- A sale that was refunded whole pays nothing: each line is taken back, what lies in suspense unless it was released.
    SELECT l.sale_id, 'line ' || l.id || ' of a sale refunded whole', l.amount, coalesce(t.amount, 0)
    FROM (SELECT sale_id, sum(refunded_micros) AS refunded FROM settlement.refund_reversal GROUP BY sale_id) AS b
    JOIN settlement.sale AS s ON s.id = b.sale_id AND s.price_micros = b.refunded
    JOIN line AS l ON l.sale_id = b.sale_id AND l.kind <> 'refund'
    LEFT JOIN taken_back AS t ON t.corrects = l.id
    LEFT JOIN released AS r ON r.corrects = l.id
    WHERE r.corrects IS NULL
) AS c
JOIN settlement.sale AS s ON s.id = c.sale_id
WHERE c.expected IS DISTINCT FROM c.found;

-- Each line is its share, then its split, of what was divided: floored, and the micros left over to the largest remainders,
-- ties by id in byte order. Share and split are those of the attribution and of the contract in force at the sale, as known
-- when the period was closed; what leaves suspense goes by the contract, or the fallback key, in force at the period's end.
CREATE OR REPLACE VIEW audit.division_conservation AS
WITH line AS (
    SELECT l.id, l.sale_id, l.kind, l.player COLLATE "C" AS player, l.payee_id COLLATE "C" AS payee_id, l.destination,
           l.period_id, l.amount_micros::numeric AS amount, l.share_ppb::numeric AS share, l.split_ppb::numeric AS split,
           l.attribution_id, l.distribution_key, l.corrects, l.platform_version_id,
           -- What left suspense for good was one line's, and only its payees share it.
           coalesce(o.destination, 'pending') = 'pending' AS of_players,
           sum(l.amount_micros) OVER one AS part, row_number() OVER (one ORDER BY l.id) AS nth
    FROM settlement.royalty_line AS l
    LEFT JOIN (SELECT id, destination FROM settlement.royalty_line WHERE destination <> 'payee' AND kind <> 'refund') AS o
        ON o.id = l.corrects
    WHERE l.kind IN ('royalty', 'late') AND (l.player IS NOT NULL OR l.platform_version_id IS NOT NULL)
    WINDOW one AS (PARTITION BY l.sale_id, l.kind, l.corrects, l.player COLLATE "C")
),
part_due AS (
    SELECT id, player, part, div(pot * share, 1000000000) AS whole,
           pot - sum(div(pot * share, 1000000000)) OVER (PARTITION BY sale_id, kind) AS missing,
           row_number() OVER (PARTITION BY sale_id, kind ORDER BY mod(pot * share, 1000000000) DESC, player) AS place
    FROM (SELECT *, sum(part) OVER (PARTITION BY sale_id, kind) AS pot FROM line WHERE nth = 1 AND of_players) AS part
),
line_due AS (
    SELECT id, amount, div(part * split, 1000000000) AS whole,
           part - sum(div(part * split, 1000000000)) OVER (PARTITION BY sale_id, kind, corrects, player) AS missing,
           row_number() OVER (PARTITION BY sale_id, kind, corrects, player
                              ORDER BY mod(part * split, 1000000000) DESC, payee_id) AS place
    FROM line WHERE split < 1000000000
),
-- Each line of an artist with the terms in force for her: at the sale, or for what waited when the run was made.
term AS (
    SELECT l.id, l.destination, l.payee_id, l.split, c.id AS contract_version_id, c.status,
           coalesce(k.public_domain_payee_id, p.model_developer_id) AS public_domain_to
    FROM line AS l
    JOIN settlement.sale AS e ON e.id = l.sale_id
    JOIN settlement.sale_slice AS x ON x.sale_id = l.sale_id
    JOIN settlement.rate_card_version AS k ON k.id = x.rate_card_version_id
    JOIN settlement.period AS q ON q.period_id = l.period_id
    LEFT JOIN settlement.royalty_run AS r ON r.period_id = l.period_id
    CROSS JOIN LATERAL (SELECT CASE WHEN l.of_players THEN e.sold_at ELSE q.ends_at - interval '1 microsecond' END AS at)
        AS moment
    LEFT JOIN LATERAL (
        -- In the index's collation, or it would not be used.
        SELECT v.id, v.status FROM settlement.contract_version AS v
        WHERE v.artist_id = l.player COLLATE "default" AND v.valid_from <= moment.at
            AND v.recorded_at <= coalesce(r.recorded_at, 'infinity')
        ORDER BY v.valid_from DESC LIMIT 1
    ) AS c ON true
    LEFT JOIN LATERAL (
        SELECT v.model_developer_id FROM settlement.platform_version AS v
        WHERE c.status = 'public_domain' AND v.valid_from <= e.sold_at
            AND v.recorded_at <= coalesce(r.recorded_at, 'infinity')
        ORDER BY v.valid_from DESC LIMIT 1
    ) AS p ON true
    WHERE l.player <> 'C' AND l.platform_version_id IS NULL
)
SELECT (SELECT t.line FROM audit.statement_line AS t WHERE t.id = f.id) AS line, f.id AS line_id, f.item, f.recorded,
       f.expected
FROM (
    SELECT id, 'part of ' || player AS item, part AS recorded,
           whole + CASE WHEN place <= missing THEN 1 ELSE 0 END AS expected
    FROM part_due
    UNION ALL
    SELECT id, 'amount', amount, whole + CASE WHEN place <= missing THEN 1 ELSE 0 END FROM line_due
    UNION ALL
    SELECT l.id, 'share', l.share, s.share_ppb
    FROM line AS l
    JOIN settlement.sale_slice AS c ON c.sale_id = l.sale_id
    JOIN settlement.rate_card_version AS k ON k.id = c.rate_card_version_id
    JOIN attribution.attribution_share AS s ON s.attribution_id = l.attribution_id AND s.player = l.player
    WHERE k.content_to = 'model_developer' AND l.distribution_key = 'attribution'
    UNION ALL
    SELECT t.id, 'split', t.split, CASE t.status
        WHEN 'public_domain' THEN CASE WHEN t.payee_id = t.public_domain_to THEN 1000000000 END
        ELSE (SELECT s.share_ppb FROM settlement.contract_split AS s
              WHERE s.contract_version_id = t.contract_version_id AND s.payee_id = t.payee_id COLLATE "default") END
    FROM term AS t WHERE t.destination = 'payee'
    UNION ALL
    SELECT t.id, 'lies in suspense: ' || t.destination, 1,
           CASE WHEN t.destination = CASE t.status WHEN 'active' THEN 'payee' WHEN 'public_domain' THEN 'payee'
                                                   WHEN 'opted_out' THEN 'unattributed' ELSE 'unclaimed' END
                THEN 1 ELSE 0 END
    FROM term AS t WHERE t.destination <> 'payee'
    UNION ALL
    SELECT l.id, 'part of the fallback key', l.split, (v.fallback_key ->> l.payee_id)::numeric
    FROM line AS l
    JOIN settlement.period AS q ON q.period_id = l.period_id
    LEFT JOIN settlement.royalty_run AS r ON r.period_id = l.period_id
    LEFT JOIN LATERAL (
        SELECT v.fallback_key FROM settlement.platform_version AS v
        WHERE v.valid_from < q.ends_at AND v.recorded_at <= coalesce(r.recorded_at, 'infinity')
        ORDER BY v.valid_from DESC LIMIT 1
    ) AS v ON true
    WHERE l.platform_version_id IS NOT NULL
) AS f
WHERE f.recorded IS DISTINCT FROM f.expected;

-- What still waits, by account and the period whose lines put it there.
CREATE OR REPLACE VIEW audit.suspense_ageing AS
SELECT x.destination, x.artist_id, n.name AS artist, x.currency, x.period_id, q.ends_at AS since,
       current_date - q.ends_at::date AS days,
       (SELECT count(*) FROM settlement.period AS later
        WHERE later.starts_at >= q.ends_at AND later.state = 'closed') AS closed_periods_since,
       x.reason, x.lines, x.amount
FROM (
    SELECT l.destination, CASE l.destination WHEN 'unclaimed' THEN l.player END AS artist_id,
           l.currency::text AS currency, l.period_id, CASE l.destination WHEN 'unattributed' THEN coalesce(a.reason, 'opted_out') END AS reason,
           count(*) AS lines, sum(l.amount_micros + coalesce(m.amount, 0)) AS amount
    FROM settlement.royalty_line AS l
    LEFT JOIN attribution.attribution AS a ON a.id = l.attribution_id
    -- What left again: refunds, and late lines.
    LEFT JOIN (SELECT corrects, sum(CASE kind WHEN 'refund' THEN amount_micros ELSE -amount_micros END) AS amount
               FROM settlement.royalty_line WHERE kind IN ('refund', 'late') AND corrects IS NOT NULL
               GROUP BY corrects) AS m ON m.corrects = l.id
    WHERE l.destination <> 'payee' AND l.kind <> 'refund' AND l.amount_micros + coalesce(m.amount, 0) <> 0
    GROUP BY 1, 2, 3, 4, 5
) AS x
JOIN settlement.period AS q ON q.period_id = x.period_id
LEFT JOIN audit.artist AS n ON n.artist_id = x.artist_id;

CREATE OR REPLACE VIEW audit.rate_changes AS
SELECT rate_card_id, valid_from, lead(valid_from) OVER w AS valid_to, model, rate_ppb,
       lag(rate_ppb) OVER w AS previous_rate_ppb, fee_micros, lag(fee_micros) OVER w AS previous_fee_micros,
       currency::text AS currency, content_to, distribution_key, terms, actor, reason, recorded_at,
       recorded_at > valid_from AS recorded_after_its_start, minimum_micros, weights, public_domain_payee_id
FROM settlement.rate_card_version WINDOW w AS (PARTITION BY rate_card_id ORDER BY valid_from);

CREATE OR REPLACE VIEW audit.platform_changes AS
SELECT valid_from, lead(valid_from) OVER (ORDER BY valid_from) AS valid_to, platform_payee_id, model_developer_id,
       default_rate_card_id, zone, minimum_payout, actor, reason, recorded_at,
       recorded_at > valid_from AS recorded_after_its_start, bank_details_cooling_off_days,
       fallback_after_periods, fallback_key
FROM settlement.platform_version;

CREATE OR REPLACE VIEW audit.frozen_platform_version AS
SELECT p.period_id AS frozen_in, t.id::text COLLATE "C" AS frozen_key, t.id, t.valid_from, t.platform_payee_id,
       t.model_developer_id, t.default_rate_card_id, t.zone, t.minimum_payout, t.dispute_contact, t.dispute_days, t.actor,
       t.reason, t.recorded_at, t.bank_details_cooling_off_days, t.fallback_after_periods,
       t.fallback_key
FROM settlement.royalty_run AS p JOIN settlement.platform_version AS t ON t.recorded_at < p.recorded_at;

CREATE OR REPLACE VIEW audit.frozen_rate_card_version AS
SELECT p.period_id AS frozen_in, t.id::text COLLATE "C" AS frozen_key, t.id, t.rate_card_id, t.valid_from, t.model,
       t.rate_ppb, t.fee_micros, t.currency, t.content_to, t.distribution_key, t.terms, t.actor, t.reason, t.recorded_at,
       t.minimum_micros, t.weights, t.public_domain_payee_id
FROM settlement.royalty_run AS p JOIN settlement.rate_card_version AS t ON t.recorded_at < p.recorded_at;

CREATE OR REPLACE VIEW audit.frozen_royalty_line AS
SELECT t.period_id AS frozen_in, t.id::text COLLATE "C" AS frozen_key, t.id, t.period_id, t.kind, t.sale_id, t.player,
       t.destination, t.payee_id, t.amount_micros, t.currency, t.attribution_id, t.share_ppb, t.contract_version_id,
       t.split_ppb, t.distribution_key, t.refund_id, t.corrects, t.platform_version_id
FROM settlement.royalty_line AS t;

-- Everything behind one royalty line, from the payout down to the coalition values. Runs with the caller's rights.
CREATE OR REPLACE FUNCTION audit.explain(line_id bigint) RETURNS TABLE (place integer, step text, item text, value text)
LANGUAGE sql STABLE
BEGIN ATOMIC
WITH line AS MATERIALIZED (
    SELECT l.*, s.price_micros, s.tax_micros, s.payment_fee_micros, s.marketplace_fee_micros, s.other_deduction_micros,
           s.rate_card_model, s.fee_micros,
           (SELECT k.minimum_micros FROM audit.rate_changes AS k
            WHERE k.rate_card_id = s.rate_card_id AND k.valid_from = s.rate_card_valid_from) AS minimum_micros
    FROM audit.royalty_lines AS l JOIN audit.sales AS s ON s.sale = l.sale WHERE l.line_id = explain.line_id
),
refund AS MATERIALIZED (
    SELECT r.refund, r.amount_micros,
           (SELECT o.amount FROM audit.royalty_lines AS o
            WHERE o.line_id = (SELECT l.corrects_line_id FROM line AS l)) AS corrected
    FROM audit.refunds AS r WHERE r.refund = (SELECT l.refund FROM line AS l)
),
statement AS MATERIALIZED (
    SELECT t.* FROM line AS l JOIN audit.statements AS t ON t.statement_id = l.statement_id
),
payout AS MATERIALIZED (
    SELECT p.* FROM statement AS t JOIN audit.payouts AS p ON p.payee_id = t.payee_id AND p.currency = t.currency
        AND p.amount_micros > 0 AND p.recorded_at >= t.recorded_at
    ORDER BY p.recorded_at LIMIT 1
),
sibling AS MATERIALIZED (
    -- A value and not a join: the view joins more tables than the planner reorders, and would be made for every sale.
    SELECT o.* FROM audit.royalty_lines AS o WHERE o.sale = (SELECT l.sale FROM line AS l)
),
-- What this line took out of suspense, if it was more than the wait for an attribution.
moved AS MATERIALIZED (
    SELECT o.* FROM sibling AS o
    WHERE o.line_id = (SELECT l.corrects_line_id FROM line AS l WHERE l.kind = 'late') AND o.destination <> 'pending'
),
row (place, step, item, value) AS (
    SELECT 10, 'payout', v.* FROM payout AS p CROSS JOIN LATERAL (VALUES
        ('payout', p.payout_id), ('state', p.state), ('amount', audit.amount(p.amount_micros, p.currency)),
        ('balance it was paid from', audit.amount(p.balance_micros, p.currency)), ('attempt', p.attempt_id),
        ('made and approved by', p.maker || ', ' || p.checker), ('file', p.file)) AS v
    UNION ALL
    SELECT 20, 'statement', v.* FROM statement AS t CROSS JOIN LATERAL (VALUES
        ('statement', t.statement_id), ('number', t.number::text), ('SHA-256 of its body', t.sha256),
        ('closing balance', audit.amount(t.closing, t.currency))) AS v
    UNION ALL
    SELECT 30, 'line', v.* FROM line AS l CROSS JOIN LATERAL (VALUES
        ('line', l.line), ('kind', l.kind), ('amount', audit.amount(l.amount, l.currency)),
        ('player', l.player || coalesce(', ' || l.artist, '')),
        ('goes to', coalesce(l.payee_id, 'suspense: ' || l.destination)), ('accounting period', l.period_id),
        ('usage period', l.usage_period), ('refund', l.refund), ('corrects', l.corrects)) AS v
    UNION ALL
    SELECT 40, 'journal', v.* FROM line AS l
    JOIN audit.journal_lines AS j ON j.key = CASE
            WHEN l.kind = 'refund' THEN 'refund:' || l.refund || ':royalties'
            WHEN l.destination <> 'payee' THEN 'run:' || l.period_id || ':' || l.destination || ':' || l.currency
            WHEN l.player = 'C' THEN 'run:' || l.period_id || ':content:' || l.currency
            ELSE 'statement:' || l.period_id || ':' || l.payee_id || ':' || l.currency END
    CROSS JOIN LATERAL (VALUES (j.key || ', line ' || j.line, j.account || ' ' || audit.amount(j.amount, j.currency))) AS v
    UNION ALL
    SELECT 50, 'sale', v.* FROM line AS l CROSS JOIN LATERAL (VALUES
        ('sale', l.sale), ('sold at', audit.instant(l.sold_at)), ('territory', l.territory),
        ('price', audit.amount(l.price_micros, l.currency)), ('tax', audit.amount(l.tax_micros, l.currency)),
        ('deductions',
         audit.amount(l.payment_fee_micros + l.marketplace_fee_micros + l.other_deduction_micros, l.currency)),
        ('royalty base: price - tax - deductions, at least 0', audit.amount(l.base, l.currency))) AS v
    UNION ALL
    SELECT 60, 'slice', v.* FROM line AS l CROSS JOIN LATERAL (VALUES
        ('rate card', l.rate_card),
        ('rate', CASE WHEN l.rate IS NULL THEN audit.amount(l.fee_micros, l.currency) || ' a sale'
                      ELSE audit.billionths(l.rate) END),
        ('slice', audit.amount(l.slice, l.currency)),
        ('guaranteed', audit.amount(l.minimum_micros, l.currency)),
        ('how', CASE WHEN l.rate IS NULL THEN 'the fee'
                     WHEN l.slice = l.minimum_micros THEN 'the guarantee'
                     WHEN l.rate_card_model = 'period_pool' THEN 'the pool, divided over its sales by base'
                     ELSE 'floor(base x rate): ' || l.base || ' x ' || l.rate || ' / 10^9 = '
                          || div(l.base::numeric * l.rate, 1000000000) || ' micros' END)) AS v
    UNION ALL
    SELECT 70, 'refund', v.* FROM line AS l CROSS JOIN refund AS r CROSS JOIN LATERAL (VALUES
        ('refund', r.refund), ('given back of the price', audit.amount(r.amount_micros, l.currency)),
        ('the line it takes back', l.corrects || ', ' || audit.amount(r.corrected, l.currency)),
        ('how', 'floor(line x refunded / price), cumulatively'),
        ('amount of this line', audit.amount(l.amount, l.currency))) AS v
    UNION ALL
    SELECT 71, 'division', v.* FROM line AS l CROSS JOIN LATERAL (
        SELECT sum(o.amount) AS pot, sum(o.amount) FILTER (WHERE o.player = l.player) AS amount
        FROM sibling AS o WHERE o.kind = l.kind AND o.corrects_line_id IS NOT DISTINCT FROM l.corrects_line_id
    ) AS mine CROSS JOIN LATERAL (VALUES
        ('share of ' || l.player, audit.billionths(l.share)),
        ('exact part', mine.pot || ' x ' || l.share || ' / 10^9 = '
                       || trim_scale(mine.pot * l.share / 1000000000) || ' micros'),
        ('part of ' || l.player || ', by largest remainder', audit.amount(mine.amount, l.currency)),
        ('contract', l.contract), ('split of ' || l.payee_id, audit.billionths(l.split)),
        ('amount of this line', audit.amount(l.amount, l.currency))) AS v
    WHERE l.kind IN ('royalty', 'late') AND NOT EXISTS (SELECT FROM moved)
    UNION ALL
    SELECT 71, 'out of suspense', v.* FROM line AS l CROSS JOIN moved AS m CROSS JOIN LATERAL (VALUES
        ('waited since the period', m.period_id), ('as', m.destination), ('the line it was', m.line),
        ('amount of that line', audit.amount(m.amount, l.currency)),
        ('left of it, to all payees', audit.amount(
            (SELECT sum(o.amount) FROM sibling AS o WHERE o.kind = 'late' AND o.corrects_line_id = m.line_id), l.currency)),
        ('released by', CASE l.distribution_key WHEN 'manual' THEN 'the fallback key' ELSE 'contract ' || l.contract END),
        ('part of ' || l.payee_id, audit.billionths(l.split)),
        ('amount of this line', audit.amount(l.amount, l.currency))) AS v
    UNION ALL
    SELECT 80, 'other lines of the sale', o.kind || ' ' || o.line,
           audit.amount(o.amount, o.currency) || ' to ' || coalesce(o.payee_id, 'suspense: ' || o.destination)
    FROM sibling AS o WHERE o.line_id <> explain.line_id
    UNION ALL
    SELECT 81, 'sum', 'royalty, pending and unattributed lines of the sale',
           audit.amount(sum(o.amount) FILTER (WHERE o.kind IN ('royalty', 'pending', 'unattributed')), min(o.currency))
    FROM sibling AS o
    UNION ALL
    SELECT 90, 'image', v.* FROM line AS l JOIN audit.images AS i ON i.image = l.image CROSS JOIN LATERAL (VALUES
        ('image', i.image), ('prompt', i.prompt), ('negative prompt', nullif(i.negative_prompt, '')),
        ('seed', i.seed::text),
        ('settings', i.width || ' x ' || i.height || ', ' || i.steps || ' steps, guidance ' || trim_scale(i.guidance)
                     || ', ' || i.scheduler),
        ('model', i.model), ('SHA-256 of the weights', i.weights_sha256),
        ('SHA-256 of the initial noise', i.latents_sha256), ('file', i.file), ('SHA-256 of the file', i.file_sha256)) AS v
    UNION ALL
    SELECT 100, 'attribution', v.* FROM line AS l JOIN audit.attributions AS a ON a.attribution_id = l.attribution_id
    CROSS JOIN LATERAL (VALUES
        ('status', a.status || coalesce(': ' || a.reason, '')), ('method', a.method),
        ('SHA-256 of the method', a.method_sha256), ('fidelity', audit.billionths(a.fidelity)),
        ('recorded at', audit.instant(a.recorded_at))) AS v
    UNION ALL
    SELECT 110 + s.slot, 'player ' || s.player, v.*
    FROM line AS l JOIN audit.attribution_shares AS s ON s.attribution_id = l.attribution_id
    CROSS JOIN LATERAL (VALUES
        ('Shapley value', audit.ratio(s.phi_numerator, s.denominator)),
        ('what a made-up name does in this place', audit.billionths(s.placebo_mean)),
        ('value beyond that', audit.ratio(s.adjusted_numerator, s.denominator)),
        ('must exceed', audit.billionths(s.placebo_threshold)),
        ('counts for pay', audit.ratio(s.paid_numerator, s.denominator)), ('share', audit.billionths(s.share_ppb))) AS v
    UNION ALL
    SELECT 200 + v.coalition::integer, 'coalition {' || array_to_string(v.members, ', ') || '}', w.* FROM line AS l
    JOIN audit.coalition_values AS v ON v.attribution_id = l.attribution_id
    CROSS JOIN LATERAL (VALUES ('v', audit.billionths(v.value)), ('SHA-256 of the picture', v.picture_sha256)) AS w
)
SELECT (row_number() OVER (ORDER BY r.place, r.step, ordinality))::integer, r.step, r.item, r.value
FROM (SELECT row.*, row_number() OVER () AS ordinality FROM row WHERE row.value IS NOT NULL) AS r
ORDER BY 1;
END;

RESET ROLE;
