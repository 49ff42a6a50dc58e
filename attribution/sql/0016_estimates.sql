-- Sampled games, further seeds and their standard errors.

SET ROLE royalty_owner;
ALTER TABLE attribution.attribution
    ADD COLUMN orders integer,
    ADD COLUMN further_seeds jsonb,
    ADD CONSTRAINT attribution_orders_are_counted CHECK (orders IS NULL OR orders >= 4 AND denominator = orders);
ALTER TABLE attribution.attribution_share
    ADD COLUMN standard_error bigint,
    ADD COLUMN prompt_share_ppb bigint,
    ADD COLUMN prompt_standard_error_ppb bigint,
    ADD CONSTRAINT attribution_share_standard_error_not_negative CHECK (standard_error >= 0),
    ADD CONSTRAINT attribution_share_prompt_share_in_range
        CHECK (prompt_share_ppb BETWEEN 0 AND 1000000000 AND prompt_standard_error_ppb >= 0),
    ADD CONSTRAINT attribution_share_prompt_share_with_its_error
        CHECK ((prompt_share_ppb IS NULL) = (prompt_standard_error_ppb IS NULL));
RESET ROLE;

-- A game of which orders are drawn has values of those coalitions that the orders pass; of nobody and everybody always.
CREATE OR REPLACE FUNCTION guard.check_attribution() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    found bigint;
    total numeric;
    measured bigint;
    ends bigint;
BEGIN
    SELECT count(*), coalesce(sum(share_ppb), 0) INTO found, total
        FROM ONLY attribution.attribution_share WHERE attribution_id = NEW.id;
    SELECT count(*), count(*) FILTER (WHERE coalition IN (0, (1::bigint << NEW.players) - 1)) INTO measured, ends
        FROM ONLY attribution.coalition_value WHERE attribution_id = NEW.id;
    IF NEW.status = 'attributed' AND (found <> NEW.players OR total <> 1000000000) THEN
        RAISE EXCEPTION 'attribution % has % shares of % players, summing to %', NEW.id, found, NEW.players, total
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'shares_sum_to_one';
    END IF;
    IF NEW.status = 'unattributed' AND total <> 0 THEN
        RAISE EXCEPTION 'attribution % is unattributed and pays shares', NEW.id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'unattributed_pays_nobody';
    END IF;
    IF NEW.status = 'attributed' AND NEW.orders IS NULL AND measured <> (1::bigint << NEW.players) THEN
        RAISE EXCEPTION 'attribution % has % coalition values of %', NEW.id, measured, 1::bigint << NEW.players
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'coalitions_complete';
    END IF;
    IF NEW.status = 'attributed' AND NEW.orders IS NOT NULL AND (measured <= NEW.players OR ends <> 2) THEN
        RAISE EXCEPTION 'attribution % draws orders and has % coalition values, % of nobody and everybody',
            NEW.id, measured, ends
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'coalitions_complete';
    END IF;
    RETURN NULL;
END
$$;

SET ROLE audit_owner;

-- What is frozen of an attribution: the new columns behind the others.
CREATE OR REPLACE VIEW audit.frozen_attribution AS
SELECT p.period_id AS frozen_in, t.id::text COLLATE "C" AS frozen_key, t.id, t.image_id, t.method_id, t.status, t.reason,
       t.players, t.denominator, t.fidelity, t.reading, t.environment, t.written_by, t.recorded_at, t.orders,
       t.further_seeds
FROM (SELECT DISTINCT l.period_id, l.attribution_id FROM settlement.royalty_line AS l) AS p
JOIN attribution.attribution AS t ON t.id = p.attribution_id;

CREATE OR REPLACE VIEW audit.frozen_attribution_share AS
SELECT p.period_id AS frozen_in, (t.attribution_id || '/' || t.slot) COLLATE "C" AS frozen_key, t.attribution_id, t.slot,
       t.player, t.phi_numerator, t.placebo_mean, t.adjusted_numerator, t.placebo_threshold, t.paid_numerator, t.share_ppb,
       t.standard_error, t.prompt_share_ppb, t.prompt_standard_error_ppb
FROM (SELECT DISTINCT l.period_id, l.attribution_id FROM settlement.royalty_line AS l) AS p
JOIN attribution.attribution_share AS t ON t.attribution_id = p.attribution_id;

CREATE VIEW audit.standard_errors AS
SELECT a.id AS attribution_id, i.external_id AS image, m.name AS method, s.slot, s.player, a.orders, s.standard_error,
       1 + jsonb_array_length(a.further_seeds) AS seeds, s.share_ppb, s.prompt_share_ppb, s.prompt_standard_error_ppb
FROM attribution.attribution_share AS s
JOIN attribution.attribution AS a ON a.id = s.attribution_id
JOIN attribution.image AS i ON i.id = a.image_id
JOIN attribution.method_version AS m ON m.id = a.method_id
WHERE a.orders IS NOT NULL OR a.further_seeds IS NOT NULL;
COMMENT ON VIEW audit.standard_errors IS
    'of Shapley values where orders were drawn (10^-9 of v), and of prompts that were played from several seeds (ppb); the shares paid are the logged seed''s';

CREATE VIEW audit.further_seeds AS
SELECT a.id AS attribution_id, i.external_id AS image, f.number, (f.seed ->> 'seed')::bigint AS seed, v.coalition,
       (f.seed -> 'values' ->> v.place)::bigint AS value, f.seed -> 'picture_sha256' ->> v.place AS picture_sha256
FROM attribution.attribution AS a
JOIN attribution.image AS i ON i.id = a.image_id
CROSS JOIN LATERAL jsonb_array_elements(a.further_seeds) WITH ORDINALITY AS f (seed, number)
CROSS JOIN LATERAL (SELECT c.coalition, (row_number() OVER (ORDER BY c.coalition) - 1)::integer AS place
                    FROM attribution.coalition_value AS c WHERE c.attribution_id = a.id) AS v;
COMMENT ON VIEW audit.further_seeds IS 'v(S) of every coalition from each further seed of a prompt, in 10^-9';

-- The counted pairs of orders of games that are not exact, drawn again: who follows from method and image, not from us.
--     order = slots sorted by SHA-256(method's SHA-256 || pair || slot || image), numbers as 4 bytes; then its reverse
CREATE VIEW audit.sampled_marginals AS
WITH joining AS (
    SELECT a.id AS attribution_id, a.players, d.pair, s.slot,
           -- With this player, and all who come before her in the order.
           sum(1::bigint << s.slot) OVER (
               PARTITION BY a.id, d.pair
               ORDER BY sha256(m.sha256 || int4send(d.pair) || int4send(s.slot) || convert_to(i.external_id, 'UTF8'))
           )::bigint AS so_far
    FROM attribution.attribution AS a
    JOIN attribution.image AS i ON i.id = a.image_id
    JOIN attribution.method_version AS m ON m.id = a.method_id
    -- The pilot's pairs come first and are not counted.
    CROSS JOIN LATERAL generate_series((m.document ->> 'pilot_pairs')::integer,
                                       (m.document ->> 'pilot_pairs')::integer + a.orders / 2 - 1) AS d (pair)
    CROSS JOIN LATERAL generate_series(0, a.players - 1) AS s (slot)
    WHERE a.orders IS NOT NULL
)
SELECT j.attribution_id, j.pair, j.slot, forward_with.value - forward_before.value AS forward,
       backward_with.value - backward_before.value AS backward
FROM joining AS j
LEFT JOIN attribution.coalition_value AS forward_with
    ON forward_with.attribution_id = j.attribution_id AND forward_with.coalition = j.so_far
LEFT JOIN attribution.coalition_value AS forward_before
    ON forward_before.attribution_id = j.attribution_id AND forward_before.coalition = j.so_far - (1::bigint << j.slot)
LEFT JOIN attribution.coalition_value AS backward_before
    ON backward_before.attribution_id = j.attribution_id
    AND backward_before.coalition = (1::bigint << j.players) - 1 - j.so_far
LEFT JOIN attribution.coalition_value AS backward_with
    ON backward_with.attribution_id = j.attribution_id
    AND backward_with.coalition = (1::bigint << j.players) - 1 - j.so_far + (1::bigint << j.slot);
COMMENT ON VIEW audit.sampled_marginals IS
    'what each player adds in each counted order of joining, and in its reverse, where orders were drawn; NULL: a value is missing';

CREATE VIEW audit.sampled_values AS
SELECT attribution_id, slot, count(*) AS pairs, sum(forward + backward) AS phi,
       CASE WHEN count(*) > 1 THEN floor(sqrt(div(
           count(*) * sum((forward + backward)::numeric ^ 2) - sum(forward + backward) ^ 2,
           4 * count(*)::numeric ^ 2 * (count(*) - 1)))) END AS standard_error,
       count(*) = count(forward + backward) AS complete
FROM audit.sampled_marginals GROUP BY attribution_id, slot;
COMMENT ON VIEW audit.sampled_values IS
    'Shapley values where orders were drawn, times their number, with standard errors, computed again from coalition values';

-- Everything between v(S) and a share, computed again in exact numbers. phi and what follows are times the denominator:
-- players! where all coalitions were valued, the number of orders where orders were drawn.
CREATE OR REPLACE VIEW audit.recomputed_shares AS
WITH weight AS (
    -- |S|! (n - |S| - 1)! by the size of S.
    SELECT n AS players, array_agg(factorial(size) * factorial(n - size - 1) ORDER BY size) AS by_size
    FROM generate_series(1, 20) AS n, generate_series(0, n - 1) AS size GROUP BY n
),
value AS (
    SELECT attribution_id, array_agg(value ORDER BY coalition) AS of, min(coalition) AS first, max(coalition) AS last
    FROM attribution.coalition_value GROUP BY attribution_id
),
game AS (
    SELECT a.id AS attribution_id, a.image_id, a.method_id, a.status, a.reason, a.players, a.orders,
           coalesce(a.orders, factorial(a.players)) AS unit,
           v.of, v.of[cardinality(v.of)] - v.of[1] AS gap, v.of[1] AS empty,
           coalesce(m.document ->> 'baseline', 'excluded') AS baseline,
           coalesce((m.document ->> 'minimum_gap')::bigint, 0) AS minimum_gap
    FROM attribution.attribution AS a
    JOIN attribution.method_version AS m ON m.id = a.method_id
    JOIN value AS v ON v.attribution_id = a.id
    -- One that lacks a value has no game; `attribution_completeness` names it.
    WHERE a.players > 0 AND v.first = 0 AND v.last = (1::bigint << a.players) - 1
      AND CASE WHEN a.orders IS NULL THEN cardinality(v.of) = 1::bigint << a.players
               ELSE (SELECT bool_and(s.complete) FROM audit.sampled_values AS s WHERE s.attribution_id = a.id) END
),
-- One reference to each of these: the planner knows nothing of the rows of one that it keeps, and would nest loops over it.
adjusted AS (
    SELECT g.*, s.slot, s.player, p.phi, b.mean, b.threshold, p.standard_error,
           CASE WHEN s.slot = 0 THEN p.phi + coalesce(sum(b.mean) OVER one, 0) * g.unit
                ELSE p.phi - b.mean * g.unit END AS adjusted
    FROM game AS g
    JOIN attribution.attribution_share AS s ON s.attribution_id = g.attribution_id
    JOIN attribution.image AS i ON i.id = g.image_id
    LEFT JOIN weight AS w ON w.players = g.players AND g.orders IS NULL
    LEFT JOIN attribution.placebo AS b ON b.method_id = g.method_id AND b.weights_sha256 = i.weights_sha256
        AND b.players = g.players AND b.slot = s.slot
    CROSS JOIN LATERAL (
        SELECT sum(CASE WHEN c.member = 1 THEN w.by_size[c.size] ELSE -w.by_size[c.size + 1] END * c.value) AS phi,
               NULL::numeric AS standard_error
        FROM (SELECT x.value, bit_count((x.place - 1)::bit(64)) AS size, ((x.place - 1) >> s.slot) & 1 AS member
              FROM unnest(g.of) WITH ORDINALITY AS x (value, place)) AS c
        WHERE g.orders IS NULL
        HAVING g.orders IS NULL
        UNION ALL
        SELECT d.phi, d.standard_error FROM audit.sampled_values AS d
        WHERE g.orders IS NOT NULL AND d.attribution_id = g.attribution_id AND d.slot = s.slot
    ) AS p
    WINDOW one AS (PARTITION BY g.attribution_id)
),
earned AS (
    SELECT *, CASE WHEN slot > 0 AND adjusted > greatest(0, threshold) * unit THEN adjusted ELSE 0 END AS earned
    FROM adjusted
),
decided AS (
    SELECT *, sum(earned) OVER (PARTITION BY attribution_id) AS artists,
           CASE WHEN gap <= minimum_gap THEN 'below_threshold'
                WHEN sum(earned) OVER (PARTITION BY attribution_id) = 0 THEN 'no_artist_earns' END AS due_reason
    FROM earned
),
paid AS (
    SELECT *,
           CASE WHEN due_reason IS NOT NULL OR status = 'unattributed' THEN 0
                WHEN slot > 0 THEN earned
                ELSE greatest(0, greatest(0, gap * unit - artists)
                                 + CASE baseline WHEN 'model' THEN empty * unit ELSE 0 END) END AS paid
    FROM decided
),
parts AS (
    SELECT *, sum(paid) OVER (PARTITION BY attribution_id) AS whole,
           coalesce(div(paid * 1000000000, nullif(sum(paid) OVER (PARTITION BY attribution_id), 0)), 0) AS part,
           coalesce(mod(paid * 1000000000, nullif(sum(paid) OVER (PARTITION BY attribution_id), 0)), 0) AS rest
    FROM paid
)
SELECT attribution_id, image_id, slot, player, status, reason, due_reason, phi, mean AS placebo_mean, adjusted,
       threshold AS placebo_threshold, paid,
       CASE WHEN whole = 0 THEN 0 ELSE
           part + CASE WHEN row_number() OVER (PARTITION BY attribution_id ORDER BY rest DESC, player COLLATE "C")
                       <= 1000000000 - sum(part) OVER (PARTITION BY attribution_id) THEN 1 ELSE 0 END
       END AS share_ppb,
       standard_error
FROM parts;

-- Shares over all seeds of a prompt with their jackknife standard errors, from what each seed counts for pay.
CREATE VIEW audit.recomputed_prompt_shares AS
WITH seed AS (
    SELECT s.attribution_id, 0::bigint AS number, s.slot::integer AS slot, s.paid_numerator::numeric AS paid
    FROM attribution.attribution_share AS s JOIN attribution.attribution AS a ON a.id = s.attribution_id
    WHERE a.further_seeds IS NOT NULL
    UNION ALL
    SELECT a.id, f.number, p.place::integer - 1, p.paid::numeric
    FROM attribution.attribution AS a
    CROSS JOIN LATERAL jsonb_array_elements(a.further_seeds) WITH ORDINALITY AS f (seed, number)
    CROSS JOIN LATERAL jsonb_array_elements_text(f.seed -> 'paid') WITH ORDINALITY AS p (paid, place)
    WHERE a.further_seeds IS NOT NULL
),
part AS (
    SELECT *, sum(paid) OVER (PARTITION BY attribution_id, slot) AS hers,
           sum(paid) OVER (PARTITION BY attribution_id, number) AS total,
           sum(paid) OVER (PARTITION BY attribution_id) AS whole
    FROM seed
),
without AS (
    SELECT *, div((hers - paid) * 1000000000, nullif(whole - total, 0)) AS share FROM part
)
SELECT attribution_id, slot, count(*) AS seeds,
       CASE WHEN count(*) = count(share) THEN div(min(hers) * 1000000000, min(whole)) END AS prompt_share_ppb,
       CASE WHEN count(*) = count(share) THEN
           floor(sqrt(div((count(*) - 1) * (count(*) * sum(share ^ 2) - sum(share) ^ 2), count(*)::numeric ^ 2)))
       END AS prompt_standard_error_ppb
FROM without GROUP BY attribution_id, slot;
COMMENT ON VIEW audit.recomputed_prompt_shares IS
    'shares over all seeds of an image''s prompt, and the prompt''s standard error, computed again from what each seed pays';

CREATE OR REPLACE VIEW audit.attribution_conservation AS
SELECT i.external_id AS image, r.attribution_id, c.player, c.item, c.recorded, c.recomputed
FROM audit.recomputed_shares AS r
JOIN attribution.attribution_share AS s ON s.attribution_id = r.attribution_id AND s.slot = r.slot
JOIN attribution.image AS i ON i.id = r.image_id
LEFT JOIN audit.recomputed_prompt_shares AS q ON q.attribution_id = r.attribution_id AND q.slot = r.slot
CROSS JOIN LATERAL (VALUES
    (r.player, 'phi', s.phi_numerator::numeric, r.phi),
    (r.player, 'placebo mean', s.placebo_mean::numeric, r.placebo_mean::numeric),
    (r.player, 'phi beyond the placebo', s.adjusted_numerator::numeric, r.adjusted),
    (r.player, 'placebo threshold', s.placebo_threshold::numeric, r.placebo_threshold::numeric),
    (r.player, 'paid', s.paid_numerator::numeric, r.paid),
    (r.player, 'share', s.share_ppb::numeric, r.share_ppb),
    (r.player, 'standard error', s.standard_error::numeric, r.standard_error),
    (r.player, 'share over the prompt''s seeds', s.prompt_share_ppb::numeric, q.prompt_share_ppb),
    (r.player, 'standard error of the prompt', s.prompt_standard_error_ppb::numeric, q.prompt_standard_error_ppb),
    -- An image that the game leaves without pay must say why, and one that it pays must not.
    (NULL, coalesce(r.reason, 'attributed') || ', but due is ' || coalesce(r.due_reason, 'attributed'), NULL,
     CASE WHEN r.slot = 0 AND (r.status = 'attributed' AND r.due_reason IS NOT NULL
               OR r.reason IN ('below_threshold', 'no_artist_earns') AND r.reason IS DISTINCT FROM r.due_reason)
          THEN 0 END)) AS c (player, item, recorded, recomputed)
WHERE c.recorded IS DISTINCT FROM c.recomputed;

CREATE OR REPLACE VIEW audit.attribution_completeness AS
SELECT i.external_id AS image, a.id AS attribution_id, c.item, c.recorded, c.expected
FROM attribution.attribution AS a
JOIN attribution.image AS i ON i.id = a.image_id
JOIN attribution.method_version AS m ON m.id = a.method_id
LEFT JOIN (SELECT attribution_id, count(*) AS shares, sum(share_ppb) AS share_ppb
           FROM attribution.attribution_share GROUP BY attribution_id) AS s ON s.attribution_id = a.id
LEFT JOIN (SELECT attribution_id, count(*) AS values, min(coalition) AS first, max(coalition) AS last
           FROM attribution.coalition_value GROUP BY attribution_id) AS v ON v.attribution_id = a.id
CROSS JOIN LATERAL (VALUES
    ('number of shares', coalesce(s.shares, 0)::numeric, a.players::numeric, a.status = 'attributed'),
    ('sum of shares', coalesce(s.share_ppb, 0), CASE a.status WHEN 'attributed' THEN 1000000000 ELSE 0 END::numeric, true),
    ('denominator', a.denominator::numeric, coalesce(a.orders, factorial(a.players)), a.status = 'attributed'),
    ('number of coalition values', coalesce(v.values, 0)::numeric, (1::bigint << a.players)::numeric,
     a.orders IS NULL AND (a.status = 'attributed' OR v.values IS NOT NULL)),
    ('first coalition', coalesce(v.first, 0)::numeric, 0::numeric, v.values IS NOT NULL),
    ('last coalition', coalesce(v.last, 0)::numeric, ((1::bigint << a.players) - 1)::numeric, v.values IS NOT NULL),
    ('marginals of drawn orders', CASE WHEN a.orders IS NOT NULL THEN (
         SELECT count(d.forward + d.backward) FROM audit.sampled_marginals AS d WHERE d.attribution_id = a.id) END::numeric,
     (a.orders / 2 * a.players)::numeric, a.orders IS NOT NULL),
    -- Of the sample are so many thousandths of images, by a hash of method and image.
    ('further seeds', coalesce(jsonb_array_length(a.further_seeds), 0)::numeric,
     CASE WHEN mod(('x' || encode(substring(sha256('seed' || m.sha256 || int4send(0) || convert_to(i.external_id, 'UTF8'))
                                            FOR 8), 'hex'))::bit(64)::bigint::numeric + 18446744073709551616, 18446744073709551616)
               % 1000 < coalesce((m.document ->> 'seeds_permille')::integer, 0)
          THEN (m.document ->> 'seeds')::integer - 1 ELSE 0 END::numeric, a.status = 'attributed')
    ) AS c (item, recorded, expected, applies)
WHERE c.applies AND c.recorded <> c.expected;

RESET ROLE;
