-- What an auditor reads. The views belong to `audit_owner`, who sees every row and changes none; the auditor has SELECT
-- on the views and no privilege on a table. Amounts are micros, debits positive; shares, splits and rates are parts per
-- billion; v, phi and placebo are in units of 10^-9 (phi times players!). Views whose comment says "must be empty" are
-- checks.

GRANT USAGE ON SCHEMA access, party, attribution, ledger, settlement TO audit_owner;
GRANT SELECT ON ALL TABLES IN SCHEMA party, attribution, ledger, settlement TO audit_owner;
GRANT SELECT (id, username, scopes, recorded_at) ON access."user" TO audit_owner;
GRANT SELECT ON access.payee_access TO audit_owner;
-- Tables that later migrations make.
ALTER DEFAULT PRIVILEGES FOR ROLE royalty_owner IN SCHEMA party, attribution, ledger, settlement
    GRANT SELECT ON TABLES TO audit_owner;

SET ROLE audit_owner;

-- The same views as the services read, with the rights of `audit_owner` instead of the caller's: one definition of each.
DO $$
DECLARE
    source regclass;
BEGIN
    FOREACH source IN ARRAY ARRAY['settlement.statement_line', 'attribution.artist']::regclass[] LOOP
        EXECUTE format('CREATE VIEW audit.%I AS %s', (SELECT relname FROM pg_class
            WHERE oid = source), pg_get_viewdef(source));
    END LOOP;
END
$$;

-- The ledger ----------------------------------------------------------------------------------------------------------

CREATE VIEW audit.periods AS
SELECT p.period_id, p.starts_at, p.ends_at, p.cut_off_at, p.zone, p.state, r.closed_by, r.recorded_at AS closed_at,
       a.maker, a.checker, encode(r.inputs_sha256, 'hex') AS inputs_sha256, encode(r.draft_sha256, 'hex') AS draft_sha256,
       r.code_version, s.recorded_at AS sealed_at
FROM settlement.period AS p
LEFT JOIN settlement.royalty_run AS r ON r.period_id = p.period_id
LEFT JOIN settlement.approval AS a ON a.id = r.approval_id
LEFT JOIN ledger.seal AS s ON s.sealed_before = p.ends_at;

CREATE VIEW audit.accounts AS
SELECT a.code AS account, a.class, a.currency::text AS currency, coalesce(sum(p.amount), 0) AS balance,
       count(p.amount) AS lines, min(p.booked_at) AS first_booked_at, max(p.booked_at) AS last_booked_at
FROM ledger.account AS a LEFT JOIN ledger.posting AS p ON p.account_id = a.id
GROUP BY a.id;

CREATE VIEW audit.trial_balance AS
SELECT q.period_id, a.code AS account, a.class, a.currency::text AS currency, t.opening, t.debits, t.credits,
       t.opening + t.debits + t.credits AS closing
FROM settlement.period AS q
CROSS JOIN LATERAL (
    SELECT p.account_id, coalesce(sum(p.amount) FILTER (WHERE p.booked_at < q.starts_at), 0) AS opening,
           coalesce(sum(p.amount) FILTER (WHERE p.booked_at >= q.starts_at AND p.amount > 0), 0) AS debits,
           coalesce(sum(p.amount) FILTER (WHERE p.booked_at >= q.starts_at AND p.amount < 0), 0) AS credits
    FROM ledger.posting AS p WHERE p.booked_at < q.ends_at GROUP BY p.account_id
) AS t
JOIN ledger.account AS a ON a.id = t.account_id;

CREATE VIEW audit.trial_balance_total AS
SELECT period_id, currency, count(*) AS accounts, sum(opening) AS opening, sum(debits) AS debits, sum(credits) AS credits,
       sum(closing) AS closing
FROM audit.trial_balance GROUP BY period_id, currency;
COMMENT ON VIEW audit.trial_balance_total IS 'opening, debits + credits, and closing must be 0';

CREATE VIEW audit.journals AS
SELECT j.id AS journal_id, j.key, j.kind, j.booked_at, q.period_id, j.value_date, j.lines, v.key AS reverses, j.actor,
       j.approved_by, j.created_by, j.recorded_at, encode(j.content_sha256, 'hex') AS content_sha256
FROM ledger.journal AS j
LEFT JOIN settlement.period AS q ON j.booked_at >= q.starts_at AND j.booked_at < q.ends_at
LEFT JOIN ledger.journal AS v ON v.id = j.reverses;

CREATE VIEW audit.journal_lines AS
SELECT j.id AS journal_id, j.key, j.kind, j.booked_at, q.period_id, j.value_date, p.line, j.lines, a.code AS account,
       a.class, a.currency::text AS currency, greatest(p.amount, 0) AS debit, -least(p.amount, 0) AS credit, p.amount,
       v.key AS reverses, j.actor, j.approved_by, j.created_by, j.recorded_at
FROM ledger.journal AS j
JOIN ledger.posting AS p ON p.journal_id = j.id
JOIN ledger.account AS a ON a.id = p.account_id
LEFT JOIN settlement.period AS q ON j.booked_at >= q.starts_at AND j.booked_at < q.ends_at
LEFT JOIN ledger.journal AS v ON v.id = j.reverses;

-- A filter on the account goes below the running sum, because the sum is by account.
CREATE VIEW audit.general_ledger AS
SELECT a.code AS account, a.class, a.currency::text AS currency, p.booked_at, p.journal_id, p.line, j.key, j.kind,
       j.value_date, greatest(p.amount, 0) AS debit, -least(p.amount, 0) AS credit, p.amount,
       sum(p.amount) OVER (PARTITION BY a.code ORDER BY p.booked_at, p.journal_id, p.line
                           ROWS UNBOUNDED PRECEDING) AS balance,
       j.actor, j.approved_by, j.created_by, j.recorded_at
FROM ledger.account AS a
JOIN ledger.posting AS p ON p.account_id = a.id
JOIN ledger.journal AS j ON j.id = p.journal_id;

-- The canonical text of every journal, in UTF-8 the bytes of `content_sha256`. Hash it yourself.
CREATE VIEW audit.journal_contents AS
SELECT j.id AS journal_id, j.key,
       guard.journal_text(j.kind, j.key, j.booked_at, j.value_date, j.lines, v.key) || p.postings AS content,
       encode(j.content_sha256, 'hex') AS content_sha256
FROM ledger.journal AS j
LEFT JOIN ledger.journal AS v ON v.id = j.reverses
LEFT JOIN LATERAL (
    SELECT string_agg(guard.posting_text(p.line, a.code, p.amount), '' ORDER BY p.line) AS postings
    FROM ledger.posting AS p JOIN ledger.account AS a ON a.id = p.account_id WHERE p.journal_id = j.id
) AS p ON true;

-- What the database refuses from everybody but a superuser.
CREATE VIEW audit.journal_faults AS
WITH sums AS (
    SELECT journal_id, currency, count(*) AS here, min(line) AS first, max(line) AS last, sum(amount) AS amount,
           min(lines) AS lines, max(lines) AS most_lines, min(booked_at) AS booked_at, max(booked_at) AS last_booked_at
    FROM ledger.posting GROUP BY journal_id, currency
),
whole AS (
    SELECT journal_id, sum(here) AS here, min(first) AS first, max(last) AS last, min(lines) AS lines,
           max(most_lines) AS most_lines, min(booked_at) AS booked_at, max(last_booked_at) AS last_booked_at,
           string_agg(currency || ' ' || amount, ', ') FILTER (WHERE amount <> 0) AS unbalanced
    FROM sums GROUP BY journal_id
)
SELECT coalesce(j.id, w.journal_id) AS journal_id, j.key, f.fault
FROM ledger.journal AS j FULL JOIN whole AS w ON w.journal_id = j.id
CROSS JOIN LATERAL (VALUES
    ('lines of no journal', j.id IS NULL),
    ('declares ' || j.lines || ' lines and has ' || coalesce(w.here, 0),
     j.lines <> coalesce(w.here, 0) OR w.first <> 1 OR w.last <> j.lines OR w.lines <> j.lines OR w.most_lines <> j.lines),
    ('has fewer than two lines', j.lines < 2),
    ('does not balance: ' || w.unbalanced, w.unbalanced IS NOT NULL),
    ('its lines are booked at another time', w.booked_at <> j.booked_at
        OR w.last_booked_at <> j.booked_at)) AS f (fault, found)
WHERE f.found
UNION ALL
SELECT p.journal_id, NULL, 'line ' || p.line || ' is on no account of its currency'
FROM ledger.posting AS p LEFT JOIN ledger.account AS a ON a.id = p.account_id AND a.currency = p.currency
WHERE a.id IS NULL
UNION ALL
SELECT j.id, j.key, 'booked in a period that was sealed before it was written'
FROM ledger.seal AS s JOIN ledger.journal AS j ON j.booked_at < s.sealed_before AND j.recorded_at > s.recorded_at;
COMMENT ON VIEW audit.journal_faults IS 'must be empty: journals that are not whole or do not balance';

CREATE VIEW audit.seals AS SELECT name, sealed_before, actor, recorded_at FROM ledger.seal;

-- Attribution ---------------------------------------------------------------------------------------------------------

CREATE VIEW audit.artist_versions AS
SELECT artist_id, version, name, aliases, actor, reason, recorded_at,
       version = max(version) OVER (PARTITION BY artist_id) AS in_force
FROM attribution.artist_version;

CREATE VIEW audit.images AS
SELECT i.id AS image_id, i.external_id AS image, t.prompt, t.negative_prompt, i.seed, i.width, i.height, i.steps,
       i.guidance, i.eta, i.scheduler, i.scheduler_config, i.model, encode(i.weights_sha256, 'hex') AS weights_sha256,
       encode(i.latents_sha256, 'hex') AS latents_sha256, i.file, encode(i.file_sha256, 'hex') AS file_sha256,
       encode(t.salt, 'hex') AS prompt_salt, encode(i.prompt_sha256, 'hex') AS prompt_sha256,
       encode(i.content_sha256, 'hex') AS content_sha256, i.customer, i.artists, i.extra, i.generated_at, i.recorded_at
FROM attribution.image AS i LEFT JOIN attribution.prompt_text AS t ON t.image_id = i.id;

CREATE VIEW audit.methods AS
SELECT id AS method_id, name, encode(sha256, 'hex') AS sha256, document, recorded_at FROM attribution.method_version;

CREATE VIEW audit.placebo_levels AS
SELECT m.name AS method, encode(p.weights_sha256, 'hex') AS weights_sha256, p.players, p.slot, p.mean, p.mean_standard_error,
       p.threshold, p.threshold_standard_error, p.names, p.evidence, p.recorded_at
FROM attribution.placebo AS p JOIN attribution.method_version AS m ON m.id = p.method_id;

CREATE VIEW audit.attributions AS
SELECT a.id AS attribution_id, i.external_id AS image, m.name AS method, encode(m.sha256, 'hex') AS method_sha256,
       a.status, a.reason, a.players, a.denominator, a.fidelity, a.reading, a.environment, a.recorded_at
FROM attribution.attribution AS a
JOIN attribution.image AS i ON i.id = a.image_id
JOIN attribution.method_version AS m ON m.id = a.method_id;

CREATE VIEW audit.attribution_shares AS
SELECT a.id AS attribution_id, i.external_id AS image, m.name AS method, s.slot, s.player, n.name, a.denominator,
       s.phi_numerator, s.placebo_mean, s.adjusted_numerator, s.placebo_threshold, s.paid_numerator, s.share_ppb
FROM attribution.attribution_share AS s
JOIN attribution.attribution AS a ON a.id = s.attribution_id
JOIN attribution.image AS i ON i.id = a.image_id
JOIN attribution.method_version AS m ON m.id = a.method_id
LEFT JOIN audit.artist AS n ON n.artist_id = s.player;

CREATE VIEW audit.coalition_values AS
SELECT a.id AS attribution_id, i.external_id AS image, m.name AS method, v.coalition,
       ARRAY(SELECT s.player FROM attribution.attribution_share AS s
             WHERE s.attribution_id = v.attribution_id AND (v.coalition >> s.slot) & 1 = 1 ORDER BY s.slot) AS members,
       v.value, encode(v.picture_sha256, 'hex') AS picture_sha256, encode(v.prompt_sha256, 'hex') AS prompt_sha256
FROM attribution.coalition_value AS v
JOIN attribution.attribution AS a ON a.id = v.attribution_id
JOIN attribution.image AS i ON i.id = a.image_id
JOIN attribution.method_version AS m ON m.id = a.method_id;

-- Everything between v(S) and a share, computed again in exact numbers. phi and what follows are times players!.
--     phi_i = sum over S of |S \ i|! (n - |S \ i| - 1)! x v(S), positive where i is in S, negative where not
CREATE VIEW audit.recomputed_shares AS
WITH weight AS (
    -- |S|! (n - |S| - 1)! by the size of S.
    SELECT n AS players, array_agg(factorial(size) * factorial(n - size - 1) ORDER BY size) AS by_size
    FROM generate_series(1, 20) AS n, generate_series(0, n - 1) AS size GROUP BY n
),
value AS (
    SELECT attribution_id, array_agg(value ORDER BY coalition) AS of FROM attribution.coalition_value GROUP BY attribution_id
),
game AS (
    SELECT a.id AS attribution_id, a.image_id, a.method_id, a.status, a.reason, a.players, factorial(a.players) AS unit,
           v.of, v.of[cardinality(v.of)] - v.of[1] AS gap, v.of[1] AS empty,
           coalesce(m.document ->> 'baseline', 'excluded') AS baseline,
           coalesce((m.document ->> 'minimum_gap')::bigint, 0) AS minimum_gap
    FROM attribution.attribution AS a
    JOIN attribution.method_version AS m ON m.id = a.method_id
    JOIN value AS v ON v.attribution_id = a.id
    -- One that lacks a value has no game; `attribution_completeness` names it.
    WHERE a.players > 0 AND cardinality(v.of) = 1::bigint << a.players
),
-- One reference to each of these: the planner knows nothing of the rows of one that it keeps, and would nest loops over it.
adjusted AS (
    SELECT g.*, s.slot, s.player, p.phi, b.mean, b.threshold,
           CASE WHEN s.slot = 0 THEN p.phi + coalesce(sum(b.mean) OVER one, 0) * g.unit
                ELSE p.phi - b.mean * g.unit END AS adjusted
    FROM game AS g
    JOIN attribution.attribution_share AS s ON s.attribution_id = g.attribution_id
    JOIN attribution.image AS i ON i.id = g.image_id
    JOIN weight AS w ON w.players = g.players
    LEFT JOIN attribution.placebo AS b ON b.method_id = g.method_id AND b.weights_sha256 = i.weights_sha256
        AND b.players = g.players AND b.slot = s.slot
    CROSS JOIN LATERAL (
        SELECT sum(CASE WHEN c.member = 1 THEN w.by_size[c.size] ELSE -w.by_size[c.size + 1] END * c.value) AS phi
        FROM (SELECT x.value, bit_count((x.place - 1)::bit(64)) AS size, ((x.place - 1) >> s.slot) & 1 AS member
              FROM unnest(g.of) WITH ORDINALITY AS x (value, place)) AS c
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
       END AS share_ppb
FROM parts;

CREATE VIEW audit.attribution_conservation AS
SELECT i.external_id AS image, r.attribution_id, c.player, c.item, c.recorded, c.recomputed
FROM audit.recomputed_shares AS r
JOIN attribution.attribution_share AS s ON s.attribution_id = r.attribution_id AND s.slot = r.slot
JOIN attribution.image AS i ON i.id = r.image_id
CROSS JOIN LATERAL (VALUES
    (r.player, 'phi', s.phi_numerator::numeric, r.phi),
    (r.player, 'placebo mean', s.placebo_mean::numeric, r.placebo_mean::numeric),
    (r.player, 'phi beyond the placebo', s.adjusted_numerator::numeric, r.adjusted),
    (r.player, 'placebo threshold', s.placebo_threshold::numeric, r.placebo_threshold::numeric),
    (r.player, 'paid', s.paid_numerator::numeric, r.paid),
    (r.player, 'share', s.share_ppb::numeric, r.share_ppb),
    -- An image that the game leaves without pay must say why, and one that it pays must not.
    (NULL, coalesce(r.reason, 'attributed') || ', but due is ' || coalesce(r.due_reason, 'attributed'), NULL,
     CASE WHEN r.slot = 0 AND (r.status = 'attributed' AND r.due_reason IS NOT NULL
               OR r.reason IN ('below_threshold', 'no_artist_earns') AND r.reason IS DISTINCT FROM r.due_reason)
          THEN 0 END)) AS c (player, item, recorded, recomputed)
WHERE c.recorded IS DISTINCT FROM c.recomputed;
COMMENT ON VIEW audit.attribution_conservation IS
    'must be empty: what is recorded of attributions against what follows from coalition values and placebo table';

CREATE VIEW audit.attribution_completeness AS
SELECT i.external_id AS image, a.id AS attribution_id, c.item, c.recorded, c.expected
FROM attribution.attribution AS a
JOIN attribution.image AS i ON i.id = a.image_id
LEFT JOIN (SELECT attribution_id, count(*) AS shares, sum(share_ppb) AS share_ppb
           FROM attribution.attribution_share GROUP BY attribution_id) AS s ON s.attribution_id = a.id
LEFT JOIN (SELECT attribution_id, count(*) AS values, min(coalition) AS first, max(coalition) AS last
           FROM attribution.coalition_value GROUP BY attribution_id) AS v ON v.attribution_id = a.id
CROSS JOIN LATERAL (VALUES
    ('number of shares', coalesce(s.shares, 0)::numeric, a.players::numeric, a.status = 'attributed'),
    ('sum of shares', coalesce(s.share_ppb, 0), CASE a.status WHEN 'attributed' THEN 1000000000 ELSE 0 END::numeric, true),
    ('denominator', a.denominator::numeric, factorial(a.players), a.status = 'attributed'),
    ('number of coalition values', coalesce(v.values, 0)::numeric, (1::bigint << a.players)::numeric,
     a.status = 'attributed' OR v.values IS NOT NULL),
    ('last coalition', coalesce(v.last, 0)::numeric, ((1::bigint << a.players) - 1)::numeric, v.values IS NOT NULL)
    ) AS c (item, recorded, expected, applies)
WHERE c.applies AND c.recorded <> c.expected;
COMMENT ON VIEW audit.attribution_completeness IS
    'must be empty: attributions without all their shares and coalition values';

-- From shares to statements -------------------------------------------------------------------------------------------

CREATE VIEW audit.payees AS
SELECT p.payee_id, p.kind, p.currency::text AS currency, v.details ->> 'name' AS name, v.version AS party_version,
       p.actor, p.recorded_at
FROM settlement.payee AS p
LEFT JOIN LATERAL (SELECT v.version, v.details FROM party.party_version AS v
                   WHERE v.payee_id = p.payee_id ORDER BY v.version DESC LIMIT 1) AS v ON true;

CREATE VIEW audit.sales AS
SELECT s.id AS sale_id, s.external_id AS sale, i.external_id AS image, s.sold_at, s.territory::text AS territory,
       s.currency::text AS currency, s.price_micros, s.tax_micros, s.payment_fee_micros, s.marketplace_fee_micros,
       s.other_deduction_micros, c.base_micros, c.slice_micros, c.period_id, c.usage_period, k.rate_card_id,
       k.valid_from AS rate_card_valid_from, k.model AS rate_card_model, k.rate_ppb, k.fee_micros, s.actor, s.recorded_at,
       encode(s.content_sha256, 'hex') AS content_sha256
FROM settlement.sale AS s
JOIN attribution.image AS i ON i.id = s.image_id
LEFT JOIN settlement.sale_slice AS c ON c.sale_id = s.id
LEFT JOIN settlement.rate_card_version AS k ON k.id = c.rate_card_version_id;

CREATE VIEW audit.refunds AS
SELECT r.external_id AS refund, s.external_id AS sale, r.kind, r.refunded_at, r.amount_micros, s.currency::text AS currency,
       b.period_id, b.reversed_micros, r.actor, r.recorded_at
FROM settlement.refund AS r
JOIN settlement.sale AS s ON s.id = r.sale_id
LEFT JOIN settlement.refund_reversal AS b ON b.refund_id = r.id;

CREATE VIEW audit.royalty_lines AS
SELECT t.id AS line_id, t.line, t.statement_id, t.period AS period_id, t.kind, t.sale, s.sold_at, t.usage_period,
       t.territory, t.image, t.player, n.name AS artist, l.destination, t.payee_id, t.amount, t.currency, t.base, t.slice,
       k.rate_ppb AS rate, t.share, t.split, t.rate_card, t.contract, t.method, t.distribution_key,
       r.external_id AS refund, t.corrects, l.corrects AS corrects_line_id, l.attribution_id, k.content_to
FROM audit.statement_line AS t
JOIN settlement.royalty_line AS l ON l.id = t.id
JOIN settlement.sale AS s ON s.id = l.sale_id
JOIN settlement.sale_slice AS c ON c.sale_id = l.sale_id
JOIN settlement.rate_card_version AS k ON k.id = c.rate_card_version_id
LEFT JOIN settlement.refund AS r ON r.id = l.refund_id
LEFT JOIN audit.artist AS n ON n.artist_id = l.player;

CREATE VIEW audit.statements AS
SELECT s.statement_id, s.number, s.period_id, s.payee_id, s.currency::text AS currency, s.opening, s.royalties, s.late,
       s.adjustments, s.refunds, s.reserves, s.recoupment, s.tax, s.claims, s.fx, s.payments, s.closing, s.payable, s.held,
       s.below_minimum, s.below_unit, j.key AS journal, encode(s.sha256, 'hex') AS sha256, s.body, s.recorded_at
FROM settlement.statement AS s LEFT JOIN ledger.journal AS j ON j.id = s.journal_id;

-- A slice's lines add up to it; what left pending is what was there; refunds take back what they say, and not too much.
CREATE VIEW audit.slice_conservation AS
WITH line AS (
    SELECT id, sale_id, kind, amount_micros AS amount, currency, refund_id, corrects FROM settlement.royalty_line
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
    SELECT p.sale_id, 'late lines of what was pending', p.amount - coalesce(t.amount, 0), r.amount
    FROM released AS r JOIN line AS p ON p.id = r.corrects LEFT JOIN taken_back AS t ON t.corrects = p.id
    UNION ALL
    SELECT sale_id, 'late line ' || id || ' corrects something pending', 1, count(*) FILTER (WHERE pending)
    FROM (SELECT l.sale_id, l.id, p.kind IS NOT DISTINCT FROM 'pending' AS pending
          FROM line AS l LEFT JOIN line AS p ON p.id = l.corrects WHERE l.kind = 'late') AS late GROUP BY sale_id, id
    UNION ALL
    SELECT b.sale_id, 'lines of refund ' || b.refund_id, -b.reversed_micros, coalesce(sum(l.amount), 0)
    FROM settlement.refund_reversal AS b LEFT JOIN line AS l ON l.refund_id = b.refund_id
    GROUP BY b.refund_id, b.sale_id, b.reversed_micros
    UNION ALL
    SELECT l.sale_id, 'a refund of line ' || l.id || ' beyond it', l.amount, t.amount
    FROM taken_back AS t JOIN line AS l ON l.id = t.corrects WHERE t.amount > l.amount
    UNION ALL
    -- A sale that was refunded whole pays nothing: each line is taken back, what is pending unless it was released.
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
COMMENT ON VIEW audit.slice_conservation IS 'must be empty: what a sale pays against the lines that divide it';

-- Each line is its share, then its split, of what was divided: floored, and the micros left over to the largest remainders,
-- ties by id in byte order. Share and split are those of the attribution and of the contract in force at the sale, as known
-- when the period was closed.
CREATE VIEW audit.division_conservation AS
WITH line AS (
    SELECT id, sale_id, kind, player COLLATE "C" AS player, payee_id COLLATE "C" AS payee_id, destination, period_id,
           amount_micros::numeric AS amount, share_ppb::numeric AS share, split_ppb::numeric AS split, attribution_id,
           distribution_key, sum(amount_micros) OVER one AS part,
           row_number() OVER (PARTITION BY sale_id, kind, player COLLATE "C" ORDER BY id) AS nth
    FROM settlement.royalty_line WHERE kind IN ('royalty', 'late') AND player IS NOT NULL
    WINDOW one AS (PARTITION BY sale_id, kind, player COLLATE "C")
),
part_due AS (
    SELECT id, player, part, div(pot * share, 1000000000) AS whole,
           pot - sum(div(pot * share, 1000000000)) OVER (PARTITION BY sale_id, kind) AS missing,
           row_number() OVER (PARTITION BY sale_id, kind ORDER BY mod(pot * share, 1000000000) DESC, player) AS place
    FROM (SELECT *, sum(part) OVER (PARTITION BY sale_id, kind) AS pot FROM line WHERE nth = 1) AS part
),
line_due AS (
    SELECT id, amount, div(part * split, 1000000000) AS whole,
           part - sum(div(part * split, 1000000000)) OVER (PARTITION BY sale_id, kind, player) AS missing,
           row_number() OVER (PARTITION BY sale_id, kind, player
                              ORDER BY mod(part * split, 1000000000) DESC, payee_id) AS place
    FROM line WHERE split < 1000000000
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
    SELECT l.id, 'split', l.split, s.share_ppb
    FROM line AS l
    JOIN settlement.sale AS e ON e.id = l.sale_id
    LEFT JOIN settlement.royalty_run AS r ON r.period_id = l.period_id
    LEFT JOIN LATERAL (
        -- In the index's collation, or it would not be used.
        SELECT v.id FROM settlement.contract_version AS v
        WHERE v.artist_id = l.player COLLATE "default" AND v.valid_from <= e.sold_at
            AND v.recorded_at <= coalesce(r.recorded_at, 'infinity')
        ORDER BY v.valid_from DESC LIMIT 1
    ) AS c ON true
    LEFT JOIN settlement.contract_split AS s ON s.contract_version_id = c.id AND s.payee_id = l.payee_id
    WHERE l.destination = 'payee' AND l.player <> 'C'
) AS f
WHERE f.recorded IS DISTINCT FROM f.expected;
COMMENT ON VIEW audit.division_conservation IS 'must be empty: lines that are not their share and split of what was divided';

-- Each statement against its lines and against the payee's account, for every closed period. A payee who has lines or
-- movements has one statement. Journals of other kinds than these have no place in a summary.
CREATE VIEW audit.statement_tie_out AS
WITH closed AS (
    SELECT period_id, ends_at, (row_number() OVER (ORDER BY ends_at) - 1)::integer AS place
    FROM settlement.period WHERE state = 'closed'
),
-- A posting belongs to the first closed period that ends after it.
ends AS (SELECT coalesce(array_agg(ends_at ORDER BY ends_at), '{}') AS at FROM closed),
says AS (
    SELECT c.place, s.payee_id, s.currency, 1 AS statements, s.royalties, s.late,
           s.adjustments + s.reserves + s.recoupment + s.tax + s.fx AS decided, s.refunds, s.payments, s.closing,
           0 AS line_royalties, 0 AS line_late, 0 AS line_refunds,
           0 AS ledger_decided, 0 AS ledger_refunds, 0 AS ledger_payments, 0 AS ledger_other
    FROM settlement.statement AS s JOIN closed AS c ON c.period_id = s.period_id
    UNION ALL
    SELECT c.place, l.payee_id, l.currency, 0, 0, 0, 0, 0, 0, 0,
           coalesce(sum(l.amount_micros) FILTER (WHERE l.kind = 'royalty'), 0),
           coalesce(sum(l.amount_micros) FILTER (WHERE l.kind = 'late'), 0),
           coalesce(sum(l.amount_micros) FILTER (WHERE l.kind = 'refund'), 0), 0, 0, 0, 0
    FROM settlement.royalty_line AS l JOIN closed AS c ON c.period_id = l.period_id
    WHERE l.payee_id IS NOT NULL GROUP BY c.place, l.payee_id, l.currency
    UNION ALL
    -- What is owed is a credit, and credits are negative.
    SELECT width_bucket(p.booked_at, e.at), substr(a.code, 19, length(a.code) - 22), a.currency, 0, 0, 0, 0, 0, 0, 0, 0,
           0, 0, coalesce(-sum(p.amount) FILTER (WHERE j.kind IN ('statement', 'content')), 0),
           coalesce(-sum(p.amount) FILTER (WHERE j.kind = 'refund_royalties'), 0),
           coalesce(-sum(p.amount) FILTER (WHERE starts_with(j.kind, 'payout_')), 0),
           coalesce(-sum(p.amount) FILTER (WHERE j.kind NOT IN ('statement', 'content', 'refund_royalties')
               AND NOT starts_with(j.kind, 'payout_')), 0)
    FROM ledger.account AS a
    JOIN ledger.posting AS p ON p.account_id = a.id
    JOIN ledger.journal AS j ON j.id = p.journal_id
    CROSS JOIN ends AS e
    WHERE starts_with(a.code, 'royalties_payable:') AND p.booked_at < e.at[cardinality(e.at)]
    GROUP BY 1, 2, 3
),
total AS (
    SELECT place, payee_id, currency, sum(statements) AS statements, sum(royalties) AS royalties, sum(late) AS late,
           sum(decided) AS decided, sum(refunds) AS refunds, sum(payments) AS payments, sum(closing) AS closing,
           sum(line_royalties) AS line_royalties, sum(line_late) AS line_late, sum(line_refunds) AS line_refunds,
           sum(ledger_decided) AS ledger_decided, sum(ledger_refunds) AS ledger_refunds,
           sum(ledger_payments) AS ledger_payments, sum(ledger_other) AS ledger_other
    FROM says GROUP BY place, payee_id, currency
)
SELECT c.period_id || '/' || t.payee_id || '/' || t.currency AS statement_id, v.item, v.statement_says, v.lines_say,
       v.ledger_says
FROM (SELECT *, sum(ledger_decided + ledger_refunds + ledger_payments + ledger_other)
                OVER (PARTITION BY payee_id, currency ORDER BY place) AS balance FROM total) AS t
JOIN closed AS c ON c.place = t.place
CROSS JOIN LATERAL (VALUES
    ('number of statements', t.statements, 1, 1),
    ('royalties', t.royalties, t.line_royalties, NULL),
    ('late', t.late, t.line_late, NULL),
    ('royalties, late and what else the statement decides', t.royalties + t.late + t.decided, NULL, t.ledger_decided),
    ('refunds', t.refunds, t.line_refunds, t.ledger_refunds),
    ('payments', t.payments, NULL, t.ledger_payments),
    ('journals of other kinds', 0, NULL, t.ledger_other),
    ('closing', t.closing, NULL, t.balance)) AS v (item, statement_says, lines_say, ledger_says)
WHERE v.statement_says <> coalesce(v.lines_say, v.statement_says)
    OR v.statement_says <> coalesce(v.ledger_says, v.statement_says);
COMMENT ON VIEW audit.statement_tie_out IS 'must be empty: statements against their lines and the ledger';

-- An opening is the last closing, and a balance is carried into every next closed period.
CREATE VIEW audit.balance_chain AS
WITH closed AS (
    SELECT period_id, row_number() OVER (ORDER BY ends_at) AS place FROM settlement.period WHERE state = 'closed'
),
chain AS (
    SELECT s.statement_id, s.opening, s.closing, c.place, lag(s.statement_id) OVER w AS previous,
           lag(s.closing) OVER w AS previous_closing, lead(c.place) OVER w AS next_place
    FROM settlement.statement AS s JOIN closed AS c ON c.period_id = s.period_id
    WINDOW w AS (PARTITION BY s.payee_id, s.currency ORDER BY c.place)
)
SELECT statement_id, 'opening is not the last closing' AS fault, opening, previous,
       coalesce(previous_closing, 0) AS previous_closing
FROM chain WHERE opening <> coalesce(previous_closing, 0)
UNION ALL
SELECT chain.statement_id, 'its closing is carried into no statement of the next period', NULL, chain.statement_id,
       chain.closing
FROM chain WHERE chain.closing <> 0 AND chain.place < (SELECT max(place) FROM closed)
    AND chain.next_place IS DISTINCT FROM chain.place + 1;
COMMENT ON VIEW audit.balance_chain IS 'must be empty: statements that do not open with the last closing';

-- Suspense ------------------------------------------------------------------------------------------------------------

-- What still waits, by account and the period whose lines put it there.
CREATE VIEW audit.suspense_ageing AS
SELECT x.destination, x.artist_id, n.name AS artist, x.currency, x.period_id, q.ends_at AS since,
       current_date - q.ends_at::date AS days,
       (SELECT count(*) FROM settlement.period AS later
        WHERE later.starts_at >= q.ends_at AND later.state = 'closed') AS closed_periods_since,
       x.reason, x.lines, x.amount
FROM (
    SELECT l.destination, CASE l.destination WHEN 'unclaimed' THEN l.player END AS artist_id,
           l.currency::text AS currency, l.period_id, CASE l.destination WHEN 'unattributed' THEN a.reason END AS reason,
           count(*) AS lines, sum(l.amount_micros + coalesce(m.amount, 0)) AS amount
    FROM settlement.royalty_line AS l
    LEFT JOIN attribution.attribution AS a ON a.id = l.attribution_id
    -- What left again: refunds, and late lines of what was pending.
    LEFT JOIN (SELECT corrects, sum(CASE kind WHEN 'refund' THEN amount_micros ELSE -amount_micros END) AS amount
               FROM settlement.royalty_line WHERE kind IN ('refund', 'late') AND corrects IS NOT NULL
               GROUP BY corrects) AS m ON m.corrects = l.id
    WHERE l.destination <> 'payee' AND l.kind <> 'refund' AND l.amount_micros + coalesce(m.amount, 0) <> 0
    GROUP BY 1, 2, 3, 4, 5
) AS x
JOIN settlement.period AS q ON q.period_id = x.period_id
LEFT JOIN audit.artist AS n ON n.artist_id = x.artist_id;

CREATE VIEW audit.suspense_tie_out AS
SELECT coalesce(l.account, b.account) AS account, coalesce(l.amount, 0) AS lines_say, coalesce(b.amount, 0) AS ledger_says
FROM (
    SELECT 'suspense_' || destination || ':' || coalesce(artist_id || ':', '') || currency AS account, sum(amount) AS amount
    FROM audit.suspense_ageing GROUP BY 1
) AS l
FULL JOIN (
    SELECT a.code AS account, -sum(p.amount) AS amount
    FROM ledger.account AS a JOIN ledger.posting AS p ON p.account_id = a.id
    WHERE starts_with(a.code, 'suspense_') GROUP BY a.code HAVING sum(p.amount) <> 0
) AS b ON b.account = l.account
WHERE coalesce(l.amount, 0) <> coalesce(b.amount, 0);
COMMENT ON VIEW audit.suspense_tie_out IS 'must be empty: suspense accounts against the lines that lie there';

CREATE VIEW audit.unclaimed AS
SELECT artist_id, artist, currency, sum(amount) AS amount, sum(lines) AS lines, min(since) AS since
FROM audit.suspense_ageing WHERE destination = 'unclaimed' GROUP BY artist_id, artist, currency;

-- Payouts -------------------------------------------------------------------------------------------------------------

CREATE VIEW audit.payouts AS
SELECT p.payout_id, p.batch_id, p.payee_id, p.currency::text AS currency, p.balance_micros, p.amount_micros, p.decision,
       p.party_version, t.attempt_id, e.state, e.occurred_at AS state_since, b.execution_date, b.maker, a.checker,
       a.recorded_at AS approved_at, f.name AS file, encode(f.sha256, 'hex') AS file_sha256, b.recorded_at
FROM settlement.payout AS p
JOIN settlement.payout_batch AS b ON b.batch_id = p.batch_id
LEFT JOIN settlement.payout_attempt AS t ON t.payout_id = p.payout_id
LEFT JOIN settlement.payout_file AS f ON f.batch_id = p.batch_id
LEFT JOIN settlement.approval AS a ON a.kind = 'payout_batch' AND a.subject = p.batch_id
    AND a.content_sha256 = b.content_sha256
LEFT JOIN LATERAL (SELECT e.state, e.occurred_at FROM settlement.payout_event AS e
                   WHERE e.payout_id = p.payout_id ORDER BY e.number DESC LIMIT 1) AS e ON true;

CREATE VIEW audit.payout_events AS
SELECT payout_id, number, attempt_id, state, detail, actor, occurred_at, recorded_at FROM settlement.payout_event;

-- What each payout's journals moved. Clearing is 0 before it is reserved and once it is finished.
CREATE VIEW audit.payout_clearing AS
SELECT p.payout_id, p.payee_id, p.currency, p.amount_micros, p.attempt_id, p.state,
       p.state IN ('paid', 'rejected', 'returned') AS finished,
       CASE WHEN p.state IN ('reserved', 'submitted', 'accepted', 'unknown') THEN -p.amount_micros ELSE 0
       END AS expected_clearing,
       coalesce(m.clearing, 0) AS clearing, coalesce(m.payable, 0) AS payable, coalesce(m.bank, 0) AS bank
FROM audit.payouts AS p
LEFT JOIN LATERAL (
    SELECT sum(l.amount) FILTER (WHERE starts_with(a.code, 'payout_clearing:')) AS clearing,
           sum(l.amount) FILTER (WHERE starts_with(a.code, 'royalties_payable:')) AS payable,
           sum(l.amount) FILTER (WHERE starts_with(a.code, 'bank:')) AS bank
    FROM unnest(ARRAY['reserved', 'paid', 'rejected', 'returned']) AS o (outcome)
    JOIN ledger.journal AS j ON j.key = 'attempt:' || p.attempt_id || ':' || o.outcome
    JOIN ledger.posting AS l ON l.journal_id = j.id
    JOIN ledger.account AS a ON a.id = l.account_id
) AS m ON true;

-- Terms and people ----------------------------------------------------------------------------------------------------

CREATE VIEW audit.rate_changes AS
SELECT rate_card_id, valid_from, lead(valid_from) OVER w AS valid_to, model, rate_ppb,
       lag(rate_ppb) OVER w AS previous_rate_ppb, fee_micros, lag(fee_micros) OVER w AS previous_fee_micros,
       currency::text AS currency, content_to, distribution_key, terms, actor, reason, recorded_at,
       recorded_at > valid_from AS recorded_after_its_start
FROM settlement.rate_card_version WINDOW w AS (PARTITION BY rate_card_id ORDER BY valid_from);

CREATE VIEW audit.contract_changes AS
SELECT contract_id, artist_id, valid_from, lead(valid_from) OVER w AS valid_to, status, splits,
       lag(splits) OVER w AS previous_splits, actor, reason, recorded_at,
       recorded_at > valid_from AS recorded_after_its_start
FROM (SELECT v.*, (SELECT jsonb_object_agg(s.payee_id, s.share_ppb) FROM settlement.contract_split AS s
                   WHERE s.contract_version_id = v.id) AS splits FROM settlement.contract_version AS v) AS v
WINDOW w AS (PARTITION BY artist_id ORDER BY valid_from);

CREATE VIEW audit.platform_changes AS
SELECT valid_from, lead(valid_from) OVER (ORDER BY valid_from) AS valid_to, platform_payee_id, model_developer_id,
       default_rate_card_id, zone, minimum_payout, actor, reason, recorded_at,
       recorded_at > valid_from AS recorded_after_its_start
FROM settlement.platform_version;

-- That bank details changed, by whom and why; not the details.
CREATE VIEW audit.bank_detail_changes AS
SELECT payee_id, version, details ->> 'iban' IS DISTINCT FROM lag(details ->> 'iban') OVER w AS account_changed,
       details ->> 'name' IS DISTINCT FROM lag(details ->> 'name') OVER w AS name_changed, actor, reason, recorded_at
FROM party.party_version WINDOW w AS (PARTITION BY payee_id ORDER BY version);

CREATE VIEW audit.holds AS
SELECT h.id AS hold_id, h.payee_id, h.reason, h.expected_until, h.actor, h.opened_at, r.released_at,
       r.reason AS release_reason, r.actor AS released_by
FROM settlement.hold AS h LEFT JOIN settlement.hold_release AS r ON r.hold_id = h.id;

CREATE VIEW audit.approvals AS
SELECT a.kind, a.subject, a.maker, a.checker, a.recorded_at, encode(a.content_sha256, 'hex') AS content_sha256,
       CASE a.kind WHEN 'period' THEN r.draft_sha256 = a.content_sha256
           ELSE b.content_sha256 = a.content_sha256 END AS is_of_what_was_done
FROM settlement.approval AS a
LEFT JOIN settlement.royalty_run AS r ON a.kind = 'period' AND r.period_id = a.subject AND r.approval_id = a.id
LEFT JOIN settlement.payout_batch AS b ON a.kind = 'payout_batch' AND b.batch_id = a.subject;

CREATE VIEW audit.users AS SELECT username, scopes, recorded_at FROM access."user";

-- Who may do what, from the server's own catalogue: tables, single columns, functions and schemas.
CREATE VIEW audit.grants AS
SELECT coalesce(r.rolname, 'PUBLIC')::text AS role, g.schema, g.object, g.kind, g.columns, g.privilege, g.grantable
FROM (
    SELECT e.grantee, n.nspname::text AS schema, c.relname::text AS object,
           CASE c.relkind WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence' ELSE 'table' END AS kind, NULL::text AS columns,
           e.privilege_type AS privilege, e.is_grantable AS grantable
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL aclexplode(
        coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) AS e
    WHERE c.relkind IN ('r', 'v', 'S')
    UNION ALL
    SELECT e.grantee, n.nspname, c.relname, 'column', string_agg(a.attname, ', ' ORDER BY a.attnum), e.privilege_type,
           bool_or(e.is_grantable)
    FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL aclexplode(a.attacl) AS e
    WHERE a.attacl IS NOT NULL GROUP BY e.grantee, n.nspname, c.relname, e.privilege_type
    UNION ALL
    SELECT e.grantee, n.nspname, p.oid::regprocedure::text, 'function', NULL, e.privilege_type, e.is_grantable
    FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
    CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS e
    UNION ALL
    SELECT e.grantee, n.nspname, n.nspname, 'schema', NULL, e.privilege_type, e.is_grantable
    FROM pg_namespace AS n CROSS JOIN LATERAL aclexplode(n.nspacl) AS e
) AS g LEFT JOIN pg_roles AS r ON r.oid = g.grantee
WHERE g.schema IN ('access', 'party', 'attribution', 'ledger', 'settlement', 'audit', 'guard');

-- The triggers that keep history as it was written. `A`: on, whatever the session says.
CREATE VIEW audit.guards AS
SELECT n.nspname::text AS schema, c.relname::text AS object, t.tgname::text AS guard, t.tgenabled::text AS enabled,
       p.oid::regprocedure::text AS function, pg_get_userbyid(p.proowner)::text AS function_owner
FROM pg_trigger AS t
JOIN pg_class AS c ON c.oid = t.tgrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_proc AS p ON p.oid = t.tgfoid
WHERE NOT t.tgisinternal AND n.nspname IN ('access', 'party', 'attribution', 'ledger', 'settlement');

CREATE VIEW audit.roles AS
SELECT r.rolname::text AS role, r.rolcanlogin AS can_login, r.rolsuper AS superuser, r.rolbypassrls AS sees_every_row,
       r.rolcreaterole AS creates_roles,
       ARRAY(SELECT g.rolname::text FROM pg_auth_members AS m JOIN pg_roles AS g ON g.oid = m.roleid
             WHERE m.member = r.oid ORDER BY 1) AS member_of
FROM pg_roles AS r WHERE r.rolname !~ '^pg_';

-- From a cent to its coalitions ---------------------------------------------------------------------------------------

CREATE FUNCTION audit.amount(micros numeric, currency text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN micros < 0 THEN '-' ELSE '' END || div(abs(micros), 1000000) || '.'
    || lpad(mod(abs(micros), 1000000)::text, 6, '0') || ' ' || currency;

CREATE FUNCTION audit.billionths(value numeric) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN value < 0 THEN '-' ELSE '' END || div(abs(value), 1000000000) || '.'
    || lpad(mod(abs(value), 1000000000)::text, 9, '0');

CREATE FUNCTION audit.instant(at timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"');

-- A numerator over the attribution's denominator, rounded to 12 decimals where it does not end.
CREATE FUNCTION audit.ratio(numerator numeric, denominator numeric) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN mod(numerator, denominator) = 0 THEN audit.billionths(div(numerator, denominator))
            ELSE round(numerator / denominator / 1000000000, 12)::text
                 || ' (' || numerator || '/' || denominator || ' x 10^-9)' END;

-- Everything behind one royalty line, from the payout down to the coalition values. Runs with the caller's rights.
CREATE FUNCTION audit.explain(line_id bigint) RETURNS TABLE (place integer, step text, item text, value text)
LANGUAGE sql STABLE
BEGIN ATOMIC
WITH line AS MATERIALIZED (
    SELECT l.*, s.price_micros, s.tax_micros, s.payment_fee_micros, s.marketplace_fee_micros, s.other_deduction_micros,
           s.rate_card_model, s.fee_micros
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
        ('how', CASE WHEN l.rate IS NULL THEN 'the fee'
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
        FROM sibling AS o WHERE o.kind = l.kind
    ) AS mine CROSS JOIN LATERAL (VALUES
        ('share of ' || l.player, audit.billionths(l.share)),
        ('exact part', mine.pot || ' x ' || l.share || ' / 10^9 = '
                       || trim_scale(mine.pot * l.share / 1000000000) || ' micros'),
        ('part of ' || l.player || ', by largest remainder', audit.amount(mine.amount, l.currency)),
        ('contract', l.contract), ('split of ' || l.payee_id, audit.billionths(l.split)),
        ('amount of this line', audit.amount(l.amount, l.currency))) AS v
    WHERE l.kind IN ('royalty', 'late')
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

GRANT USAGE ON SCHEMA audit TO auditor;
GRANT SELECT ON ALL TABLES IN SCHEMA audit TO auditor;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA audit FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA audit TO auditor;
ALTER DEFAULT PRIVILEGES FOR ROLE audit_owner IN SCHEMA audit GRANT SELECT ON TABLES TO auditor;
