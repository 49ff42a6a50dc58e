-- Corrections for the auditor; and the views that add lines up, with those of kind `adjustment`.

SET ROLE audit_owner;

-- As in 0017: what a correction has taken back is refunded no more.
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
    -- A sale that was refunded whole pays nothing: each line is taken back, unless another stands in its place.
    SELECT l.sale_id, 'line ' || l.id || ' of a sale refunded whole', l.amount, coalesce(t.amount, 0)
    FROM (SELECT sale_id, sum(refunded_micros) AS refunded FROM settlement.refund_reversal GROUP BY sale_id) AS b
    JOIN settlement.sale AS s ON s.id = b.sale_id AND s.price_micros = b.refunded
    JOIN line AS l ON l.sale_id = b.sale_id AND l.kind <> 'refund' AND l.amount > 0
    LEFT JOIN taken_back AS t ON t.corrects = l.id
    LEFT JOIN released AS r ON r.corrects = l.id
    LEFT JOIN line AS n ON n.corrects = l.id AND n.kind = 'adjustment'
    WHERE r.corrects IS NULL AND n.corrects IS NULL
) AS c
JOIN settlement.sale AS s ON s.id = c.sale_id
WHERE c.expected IS DISTINCT FROM c.found;

-- As in 0017.
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
    -- What left again: refunds, late lines, and what a correction took back.
    LEFT JOIN (SELECT corrects, sum(CASE kind WHEN 'late' THEN -amount_micros ELSE amount_micros END) AS amount
               FROM settlement.royalty_line WHERE kind IN ('refund', 'late', 'adjustment') AND corrects IS NOT NULL
               GROUP BY corrects) AS m ON m.corrects = l.id
    WHERE l.destination <> 'payee' AND l.amount_micros > 0 AND l.amount_micros + coalesce(m.amount, 0) <> 0
    GROUP BY 1, 2, 3, 4, 5
) AS x
JOIN settlement.period AS q ON q.period_id = x.period_id
LEFT JOIN audit.artist AS n ON n.artist_id = x.artist_id;

-- As in 0018, with amounts by hand.
CREATE OR REPLACE VIEW audit.money_faults AS
WITH said AS (
    SELECT 'reserve:' || payee_id || ':' || currency AS account, -remaining AS amount FROM audit.reserves
    UNION ALL
    SELECT 'tax_withheld:' || territory || ':' || currency, -withheld_micros FROM audit.tax_register
    UNION ALL
    SELECT 'advances:' || payee_id || ':' || currency, outstanding FROM audit.advances
    UNION ALL
    SELECT 'fx_position:' || source_currency, -source_micros FROM audit.conversions
    UNION ALL
    SELECT 'fx_position:' || target_currency, target_micros FROM audit.conversions
),
ledger AS (
    SELECT a.code AS account, sum(p.amount) AS amount
    FROM ledger.account AS a
    JOIN ledger.posting AS p ON p.account_id = a.id
    JOIN ledger.journal AS j ON j.id = p.journal_id AND j.kind <> 'tax_remitted'
    WHERE a.code ~ '^(reserve|tax_withheld|advances|fx_position):' GROUP BY a.code
)
SELECT coalesce(s.account, l.account) AS subject, 'balance' AS item, coalesce(s.amount, 0) AS expected,
       coalesce(l.amount, 0) AS found
FROM (SELECT account, sum(amount) AS amount FROM said GROUP BY account) AS s
FULL JOIN ledger AS l ON l.account = s.account
WHERE coalesce(s.amount, 0) <> coalesce(l.amount, 0)
UNION ALL
SELECT period_id || '/' || payee_id || '/' || currency, 'reserve', div(basis_micros::numeric * rate_ppb, 1000000000),
       amount_micros
FROM audit.reserves WHERE amount_micros <> div(basis_micros::numeric * rate_ppb, 1000000000)
UNION ALL
SELECT s.statement_id || ' in ' || s.currency, 'basis of the reserve', s.royalties + s.late + s.adjustments, r.basis_micros
FROM audit.reserves AS r
JOIN audit.statement_columns AS s ON s.period_id = r.period_id AND s.payee_id = r.payee_id AND s.currency = r.currency
WHERE r.basis_micros <> s.royalties + s.late + s.adjustments
UNION ALL
SELECT statement_id || ' from ' || source_currency, 'conversion',
       floor(source_micros::numeric * rate_trillionths * 0.000000000001), target_micros
FROM audit.conversions WHERE target_micros <> floor(source_micros::numeric * rate_trillionths * 0.000000000001)
UNION ALL
-- By territory, what was sold there: royalties, late lines and adjustments, net of refunds of lines of the same period; and
-- amounts by hand that name it.
SELECT d.period_id || '/' || d.payee_id || '/' || d.currency, 'taxed base of ' || d.territory, coalesce(l.amount, 0),
       d.base_micros
FROM settlement.tax_determination AS d
LEFT JOIN (
    SELECT l.period_id, l.payee_id, l.currency, l.territory, sum(l.amount) AS amount
    FROM (
    SELECT l.period_id, l.payee_id, l.currency, s.territory, l.amount_micros AS amount
    FROM settlement.royalty_line AS l
    JOIN settlement.sale AS s ON s.id = l.sale_id
    LEFT JOIN settlement.royalty_line AS o ON o.id = l.corrects
    WHERE l.payee_id IS NOT NULL AND (l.kind <> 'refund' OR o.period_id = l.period_id)
        AND EXISTS (SELECT FROM settlement.tax_determination AS t
                    WHERE t.payee_id = l.payee_id AND t.period_id = l.period_id)
    UNION ALL
    SELECT y.period_id, c.payee_id, c.currency, c.territory, c.amount_micros
    FROM settlement.correction AS c JOIN settlement.correction_application AS y ON y.correction_id = c.correction_id
    WHERE c.territory IS NOT NULL
    ) AS l GROUP BY 1, 2, 3, 4
) AS l ON l.period_id = d.period_id AND l.payee_id = d.payee_id AND l.currency = d.currency AND l.territory = d.territory
WHERE d.base_micros <> coalesce(l.amount, 0)
UNION ALL
SELECT d.payee_id || ' ' || d.period_id || ' ' || d.currency || ' ' || d.territory, 'tax left after refunds',
       div(greatest(d.base_micros - t.base, 0)::numeric * d.rate_ppb, 1000000000), d.withheld_micros - t.given_back
FROM settlement.tax_determination AS d
JOIN (SELECT payee_id, taxed_in, currency, territory, sum(base_micros) AS base, sum(given_back_micros) AS given_back
      FROM settlement.tax_reversal GROUP BY 1, 2, 3, 4) AS t
    ON t.payee_id = d.payee_id AND t.taxed_in = d.period_id AND t.currency = d.currency AND t.territory = d.territory
WHERE d.withheld_micros - t.given_back <> div(greatest(d.base_micros - t.base, 0)::numeric * d.rate_ppb, 1000000000);

-- As in 0018, with adjustments.
CREATE OR REPLACE VIEW audit.statement_tie_out AS
WITH closed AS (
    SELECT period_id, ends_at, (row_number() OVER (ORDER BY ends_at) - 1)::integer AS place
    FROM settlement.period WHERE state = 'closed'
),
-- A posting belongs to the first closed period that ends after it.
ends AS (SELECT coalesce(array_agg(ends_at ORDER BY ends_at), '{}') AS at FROM closed),
item AS (
    SELECT c.place, s.payee_id, s.currency, v.item, v.amount AS says, 0 AS line, 0 AS ledger
    FROM audit.statement_columns AS s JOIN closed AS c ON c.period_id = s.period_id
    CROSS JOIN LATERAL (VALUES
        ('number of statements', 1), ('royalties', s.royalties), ('late', s.late), ('adjustments', s.adjustments),
        ('refunds', s.refunds), ('reserves', s.reserves), ('tax', s.tax), ('recoupment', s.recoupment), ('fx', s.fx),
        ('payments', s.payments), ('closing', s.closing),
        ('royalties, late and what else the statement decides',
         s.royalties + s.late + s.tax + s.recoupment + s.fx)) AS v (item, amount)
    UNION ALL
    SELECT c.place, l.payee_id, l.currency, CASE l.kind WHEN 'royalty' THEN 'royalties' WHEN 'refund' THEN 'refunds' ELSE 'late'
           END, 0, sum(l.amount_micros), 0
    FROM settlement.royalty_line AS l JOIN closed AS c ON c.period_id = l.period_id
    WHERE l.payee_id IS NOT NULL AND l.kind <> 'adjustment' GROUP BY 1, 2, 3, 4
    UNION ALL
    -- What corrections came to is posted by the statement's journal, and is an adjustment, as other journals are.
    SELECT c.place, x.payee_id, x.currency, v.item, 0, 0, v.amount
    FROM (
        SELECT l.period_id, l.payee_id, l.currency, sum(l.amount_micros) AS amount FROM settlement.royalty_line AS l
        WHERE l.payee_id IS NOT NULL AND l.kind = 'adjustment' GROUP BY 1, 2, 3
        UNION ALL
        SELECT y.period_id, m.payee_id, m.currency, m.amount_micros
        FROM settlement.correction AS m JOIN settlement.correction_application AS y ON y.correction_id = m.correction_id
        WHERE m.kind = 'manual'
    ) AS x
    JOIN closed AS c ON c.period_id = x.period_id
    CROSS JOIN LATERAL (VALUES ('adjustments', x.amount),
                               ('royalties, late and what else the statement decides', -x.amount)) AS v (item, amount)
    UNION ALL
    SELECT c.place, x.payee_id, x.currency, x.item, 0, x.amount, 0
    FROM (
        SELECT period_id, payee_id, currency::text AS currency, 'reserves' AS item, -amount_micros AS amount FROM settlement.reserve
        UNION ALL SELECT period_id, payee_id, currency, 'reserves', amount_micros FROM audit.reserve_uses
        UNION ALL SELECT period_id, payee_id, currency, 'tax', -withheld_micros FROM audit.tax_register
        UNION ALL SELECT period_id, payee_id, source_currency, 'fx', -source_micros FROM audit.conversions
        UNION ALL SELECT period_id, payee_id, target_currency, 'fx', target_micros FROM audit.conversions
        UNION ALL SELECT period_id, payee_id, currency, 'recoupment', -amount_micros FROM audit.recoupments
    ) AS x JOIN closed AS c ON c.period_id = x.period_id
    UNION ALL
    -- Given back with a refund: the statement decides it, the refund's journal posts it.
    SELECT c.place, x.payee_id, x.currency, 'royalties, late and what else the statement decides', 0, 0, -x.withheld_micros
    FROM audit.tax_register AS x JOIN closed AS c ON c.period_id = x.period_id WHERE x.refund IS NOT NULL
    UNION ALL
    -- What is owed is a credit, and credits are negative. Payable and reserve together: a reserve only divides them.
    SELECT p.place, p.owner, p.currency, v.item, 0, 0, v.amount
    FROM (
        SELECT width_bucket(p.booked_at, e.at) AS place, a.name, a.currency,
               substr(a.code, length(a.name) + 2, length(a.code) - length(a.name) - 5) AS owner, j.kind,
               -sum(p.amount) AS amount, -sum(p.amount) FILTER (WHERE p.amount > 0) AS debits
        FROM (SELECT id, code, currency::text AS currency, split_part(code, ':', 1) AS name FROM ledger.account
              WHERE starts_with(code, 'royalties_payable:') OR starts_with(code, 'reserve:')) AS a
        JOIN ledger.posting AS p ON p.account_id = a.id
        JOIN ledger.journal AS j ON j.id = p.journal_id
        CROSS JOIN ends AS e
        WHERE p.booked_at < e.at[cardinality(e.at)] GROUP BY 1, 2, 3, 4, 5
    ) AS p
    CROSS JOIN LATERAL (VALUES
        ('royalties, late and what else the statement decides',
         CASE WHEN p.kind IN ('statement', 'content', 'fallback') THEN p.amount ELSE 0 END),
        ('refunds', CASE WHEN p.kind = 'refund_royalties' THEN p.debits ELSE 0 END),
        ('payments', CASE WHEN p.name = 'royalties_payable' AND starts_with(p.kind, 'payout_') THEN p.amount ELSE 0 END),
        ('reserves', CASE WHEN p.name = 'reserve' AND p.kind IN ('statement', 'refund_royalties') THEN -p.amount ELSE 0 END),
        ('adjustments', CASE WHEN p.name = 'royalties_payable' AND p.kind NOT IN
                             ('statement', 'content', 'fallback', 'refund_royalties')
                             AND NOT starts_with(p.kind, 'payout_') THEN p.amount ELSE 0 END),
        ('balance', CASE WHEN p.name = 'royalties_payable' THEN p.amount ELSE 0 END)) AS v (item, amount)
    WHERE v.amount <> 0 OR v.item = 'balance'
),
-- Who had a movement, in any currency, has a statement: one column of hers in each.
total AS (
    SELECT place, payee_id, currency, sum(says) FILTER (WHERE item = 'number of statements') AS statements,
           sum(says) FILTER (WHERE item = 'closing') AS closing,
           sum(sum(ledger) FILTER (WHERE item = 'balance')) OVER (PARTITION BY payee_id, currency ORDER BY place) AS balance
    FROM item GROUP BY place, payee_id, currency
),
sums AS (
    SELECT place, payee_id, currency, item, sum(says) AS says, sum(line) AS line, sum(ledger) AS ledger
    FROM item WHERE item NOT IN ('number of statements', 'closing', 'balance') GROUP BY place, payee_id, currency, item
)
SELECT c.period_id || '/' || t.payee_id || '/' || t.currency AS statement_id, v.item, v.statement_says, v.lines_say,
       v.ledger_says
FROM (
    SELECT place, payee_id, currency, 'number of statements' AS item, coalesce(statements, 0) AS statement_says,
           1::numeric AS lines_say, 1::numeric AS ledger_says FROM total
    UNION ALL
    SELECT place, payee_id, currency, 'closing', coalesce(closing, 0), NULL, coalesce(balance, 0) FROM total
    UNION ALL
    SELECT place, payee_id, currency, item, says,
           CASE WHEN item IN ('royalties', 'late', 'refunds', 'reserves', 'tax', 'fx', 'recoupment') THEN line END,
           CASE WHEN item IN ('royalties, late and what else the statement decides', 'refunds', 'payments', 'reserves',
                              'adjustments') THEN ledger END
    FROM sums
) AS v
JOIN closed AS c ON c.place = v.place
CROSS JOIN LATERAL (SELECT v.payee_id, v.currency) AS t
WHERE v.statement_says <> coalesce(v.lines_say, v.statement_says)
    OR v.statement_says <> coalesce(v.ledger_says, v.statement_says);

-- As in 0019.
CREATE OR REPLACE VIEW audit.approvals AS
SELECT a.kind, a.subject, a.maker, a.checker, a.recorded_at, encode(a.content_sha256, 'hex') AS content_sha256,
       CASE a.kind WHEN 'period' THEN r.draft_sha256 = a.content_sha256 WHEN 'advance' THEN d.content_sha256 = a.content_sha256
           WHEN 'payout_correction' THEN c.content_sha256 = a.content_sha256
           WHEN 'correction' THEN k.content_sha256 = a.content_sha256
           ELSE b.content_sha256 = a.content_sha256 END AS is_of_what_was_done
FROM settlement.approval AS a
LEFT JOIN settlement.royalty_run AS r ON a.kind = 'period' AND r.period_id = a.subject AND r.approval_id = a.id
LEFT JOIN settlement.payout_batch AS b ON a.kind = 'payout_batch' AND b.batch_id = a.subject
LEFT JOIN settlement.advance AS d ON a.kind = 'advance' AND d.advance_id = a.subject
LEFT JOIN LATERAL (SELECT c.content_sha256 FROM settlement.payout_correction AS c
                   WHERE a.kind = 'payout_correction' AND c.bank_entry_id::text = a.subject LIMIT 1) AS c ON true
LEFT JOIN settlement.correction AS k ON a.kind = 'correction' AND k.correction_id = a.subject;


CREATE VIEW audit.corrections AS
SELECT c.correction_id, c.kind,
       CASE WHEN y.correction_id IS NOT NULL THEN 'applied' WHEN w.correction_id IS NOT NULL THEN 'withdrawn'
            WHEN a.id IS NOT NULL THEN 'approved' ELSE 'proposed' END AS state,
       m.name AS method, k.rate_card_id, k.valid_from AS rate_card_valid_from, c.payee_id, c.currency::text AS currency,
       c.territory::text AS territory, c.amount_micros,
       (SELECT count(*) FROM settlement.correction_sale AS s WHERE s.correction_id = c.correction_id) AS sales, c.reason,
       c.actor AS maker, c.recorded_at, a.checker, a.recorded_at AS approved_at, y.period_id AS applied_in,
       w.actor AS withdrawn_by, w.reason AS withdrawn_because, w.recorded_at AS withdrawn_at, c.content,
       encode(c.content_sha256, 'hex') AS content_sha256
FROM settlement.correction AS c
LEFT JOIN attribution.method_version AS m ON m.id = c.method_id
LEFT JOIN settlement.rate_card_version AS k ON k.id = c.rate_card_version_id
LEFT JOIN settlement.approval AS a ON a.kind = 'correction' AND a.subject = c.correction_id
    AND a.content_sha256 = c.content_sha256
LEFT JOIN settlement.correction_withdrawal AS w ON w.correction_id = c.correction_id
LEFT JOIN settlement.correction_application AS y ON y.correction_id = c.correction_id;
COMMENT ON VIEW audit.corrections IS
    'corrections of closed periods: who proposed, approved and withdrew them, the preview that was approved, and where they were applied';

CREATE VIEW audit.correction_sales AS
SELECT x.correction_id, s.external_id AS sale, y.period_id AS applied_in, x.attribution_id, x.rate_card_version_id,
       x.slice_before_micros, x.slice_micros, coalesce(l.taken, 0) AS original, coalesce(l.given, 0) AS corrected,
       coalesce(l.given, 0) - coalesce(l.taken, 0) AS difference, s.currency::text AS currency
FROM settlement.correction_sale AS x
JOIN settlement.sale AS s ON s.id = x.sale_id
LEFT JOIN settlement.correction_application AS y ON y.correction_id = x.correction_id
LEFT JOIN (SELECT correction_id, sale_id, -sum(amount_micros) FILTER (WHERE corrects IS NOT NULL) AS taken,
                  sum(amount_micros) FILTER (WHERE corrects IS NULL) AS given
           FROM settlement.royalty_line WHERE kind = 'adjustment' GROUP BY 1, 2) AS l
    ON l.correction_id = x.correction_id AND l.sale_id = x.sale_id;
COMMENT ON VIEW audit.correction_sales IS
    'the sales that each correction divides anew, what they paid and pay by it, and what its lines took back and gave';

CREATE VIEW audit.adjustment_lines AS
SELECT l.correction_id, l.id AS line_id, t.line, l.period_id, t.sale, l.player, l.destination, l.payee_id,
       l.amount_micros AS amount, l.currency::text AS currency, t.method, l.share_ppb AS share, t.contract,
       l.split_ppb AS split, l.corrects AS corrects_line_id, t.corrects, o.amount_micros AS line_was, o.period_id AS line_of
FROM settlement.royalty_line AS l
JOIN audit.statement_line AS t ON t.id = l.id
LEFT JOIN settlement.royalty_line AS o ON o.id = l.corrects
WHERE l.kind = 'adjustment';
COMMENT ON VIEW audit.adjustment_lines IS
    'what each correction took back (below zero, with the line it was) and gave in its place (above zero)';

-- Corrections against their lines: applied once, as approved and in the period of their lines; each line taken back as it
-- stood and whole; what is given adds up, is its share and split of it, and comes from the attribution that is named.
CREATE VIEW audit.correction_faults AS
WITH line AS (
    SELECT l.id, l.period_id, l.sale_id, l.player COLLATE "C" AS player, l.payee_id COLLATE "C" AS payee_id, l.destination,
           l.amount_micros::numeric AS amount, l.currency, l.attribution_id, l.share_ppb::numeric AS share,
           l.split_ppb::numeric AS split, l.distribution_key, l.corrects, l.correction_id
    FROM settlement.royalty_line AS l WHERE l.kind = 'adjustment'
),
given AS (
    SELECT l.*, sum(l.amount) OVER one AS part, row_number() OVER (one ORDER BY l.id) AS nth
    FROM line AS l WHERE l.corrects IS NULL AND l.player IS NOT NULL
    WINDOW one AS (PARTITION BY l.correction_id, l.sale_id, l.player)
),
part_due AS (
    SELECT id, player, part, div(pot * share, 1000000000) AS whole,
           pot - sum(div(pot * share, 1000000000)) OVER one AS missing,
           row_number() OVER (one ORDER BY mod(pot * share, 1000000000) DESC, player) AS place
    FROM (SELECT *, sum(part) OVER (PARTITION BY correction_id, sale_id) AS pot FROM given WHERE nth = 1) AS p
    WINDOW one AS (PARTITION BY correction_id, sale_id)
),
line_due AS (
    SELECT id, payee_id, amount, div(part * split, 1000000000) AS whole,
           part - sum(div(part * split, 1000000000)) OVER one AS missing,
           row_number() OVER (one ORDER BY mod(part * split, 1000000000) DESC, payee_id) AS place
    FROM given WHERE split < 1000000000
    WINDOW one AS (PARTITION BY correction_id, sale_id, player)
),
-- What refunds had taken of a line when its period was closed: none is made of a line that was taken back.
refunded AS (
    SELECT r.corrects, sum(r.amount_micros) AS amount FROM settlement.royalty_line AS r
    WHERE r.kind = 'refund' AND r.corrects IN (SELECT corrects FROM line) GROUP BY r.corrects
),
sale AS (
    SELECT x.correction_id, x.sale_id, x.attribution_id, x.slice_micros, x.slice_before_micros, s.price_micros,
           coalesce(sum(l.amount) FILTER (WHERE l.corrects IS NULL), 0) AS given,
           coalesce(-sum(l.amount) FILTER (WHERE l.corrects IS NOT NULL), 0) AS taken, count(l.id) AS lines,
           coalesce((SELECT sum(b.refunded_micros) FROM settlement.refund_reversal AS b
                     JOIN settlement.period AS q ON q.period_id = b.period_id
                     WHERE b.sale_id = x.sale_id AND q.ends_at <= p.ends_at), 0) AS refunded
    FROM settlement.correction_application AS y
    JOIN settlement.period AS p ON p.period_id = y.period_id
    JOIN settlement.correction_sale AS x ON x.correction_id = y.correction_id
    JOIN settlement.sale AS s ON s.id = x.sale_id
    LEFT JOIN line AS l ON l.correction_id = x.correction_id AND l.sale_id = x.sale_id
    GROUP BY x.correction_id, x.sale_id, s.price_micros, p.ends_at
)
SELECT f.correction_id, f.line_id, f.item, f.recorded, f.expected
FROM (
    SELECT c.correction_id, NULL::bigint AS line_id, 'approved by another person' AS item, 0::numeric AS recorded,
           1::numeric AS expected
    FROM settlement.correction_application AS y JOIN settlement.correction AS c ON c.correction_id = y.correction_id
    WHERE NOT EXISTS (SELECT FROM settlement.approval AS a WHERE a.id = y.approval_id AND a.kind = 'correction'
                      AND a.subject = c.correction_id AND a.content_sha256 = c.content_sha256 AND a.maker = c.actor
                      AND a.checker <> c.actor)
    UNION ALL
    SELECT correction_id, NULL, 'applied and withdrawn', 2, 1
    FROM settlement.correction_application JOIN settlement.correction_withdrawal USING (correction_id)
    UNION ALL
    SELECT l.correction_id, l.id, 'applied in the period of the line', 0, 1 FROM line AS l
    WHERE NOT EXISTS (SELECT FROM settlement.correction_application AS y
                      WHERE y.correction_id = l.correction_id AND y.period_id = l.period_id)
       OR NOT EXISTS (SELECT FROM settlement.correction_sale AS x
                      WHERE x.correction_id = l.correction_id AND x.sale_id = l.sale_id)
    UNION ALL
    SELECT correction_id, NULL, 'sales', (SELECT count(*) FROM settlement.correction_sale AS x
                                          WHERE x.correction_id = c.correction_id), (content::jsonb ->> 'sales')::numeric
    FROM settlement.correction AS c
    UNION ALL
    SELECT l.correction_id, l.id, 'takes back line ' || l.corrects, -l.amount, o.amount_micros + coalesce(r.amount, 0)
    FROM line AS l LEFT JOIN settlement.royalty_line AS o ON o.id = l.corrects AND o.sale_id = l.sale_id
        AND o.currency = l.currency AND o.destination = l.destination AND o.player IS NOT DISTINCT FROM l.player
        AND o.payee_id IS NOT DISTINCT FROM l.payee_id AND o.kind <> 'refund'
    LEFT JOIN refunded AS r ON r.corrects = l.corrects
    WHERE l.corrects IS NOT NULL
    UNION ALL
    SELECT max(correction_id), NULL, 'times that line ' || corrects || ' is taken back', count(*), 1
    FROM line WHERE corrects IS NOT NULL GROUP BY corrects
    UNION ALL
    SELECT s.correction_id, NULL, 'given for sale ' || s.sale_id, s.given,
           CASE WHEN s.slice_micros = s.slice_before_micros THEN s.taken
                ELSE s.slice_micros - div(s.slice_micros * s.refunded, s.price_micros) END
    FROM sale AS s
    UNION ALL
    -- A sale of which something is left has lines, unless it was refunded whole meanwhile.
    SELECT s.correction_id, NULL, 'lines for sale ' || s.sale_id, 0, 1
    FROM sale AS s WHERE s.lines = 0 AND s.refunded < s.price_micros AND greatest(s.slice_micros, s.slice_before_micros) > 0
    UNION ALL
    SELECT g.correction_id, g.id, 'attribution', g.attribution_id, x.attribution_id
    FROM line AS g JOIN settlement.correction_sale AS x ON x.correction_id = g.correction_id AND x.sale_id = g.sale_id
    WHERE g.corrects IS NULL AND g.distribution_key <> 'proxy'
    UNION ALL
    SELECT g.correction_id, g.id, 'share', g.share, h.share_ppb
    FROM given AS g
    JOIN settlement.correction_sale AS x ON x.correction_id = g.correction_id AND x.sale_id = g.sale_id
    JOIN settlement.rate_card_version AS k ON k.id = x.rate_card_version_id
    JOIN attribution.attribution_share AS h ON h.attribution_id = g.attribution_id AND h.player = g.player COLLATE "default"
    WHERE k.content_to = 'model_developer' AND g.distribution_key = 'attribution'
    UNION ALL
    SELECT g.correction_id, d.id, 'part of ' || d.player, d.part, d.whole + CASE WHEN d.place <= d.missing THEN 1 ELSE 0 END
    FROM part_due AS d JOIN line AS g ON g.id = d.id
    UNION ALL
    SELECT g.correction_id, d.id, 'amount of ' || d.payee_id, d.amount, d.whole + CASE WHEN d.place <= d.missing THEN 1 ELSE 0 END
    FROM line_due AS d JOIN line AS g ON g.id = d.id
) AS f
WHERE f.recorded IS DISTINCT FROM f.expected;
COMMENT ON VIEW audit.correction_faults IS
    'must be empty: corrections against their approvals and lines: applied once, each line taken back as it stood, what is given adding up';

-- What a closed period was made of, as in 0008 and 0018. Approvals: of the run, and of the corrections that it applied.
CREATE OR REPLACE VIEW audit.frozen_royalty_line AS
SELECT t.period_id AS frozen_in, t.id::text COLLATE "C" AS frozen_key, t.id, t.period_id, t.kind, t.sale_id, t.player,
       t.destination, t.payee_id, t.amount_micros, t.currency, t.attribution_id, t.share_ppb, t.contract_version_id,
       t.split_ppb, t.distribution_key, t.refund_id, t.corrects, t.platform_version_id, t.correction_id
FROM settlement.royalty_line AS t;
CREATE OR REPLACE VIEW audit.frozen_approval AS
SELECT p.period_id AS frozen_in, t.id::text COLLATE "C" AS frozen_key, t.id, t.kind, t.subject, t.content_sha256, t.maker,
       t.checker, t.recorded_at
FROM (SELECT r.period_id, r.approval_id FROM settlement.royalty_run AS r
      UNION ALL SELECT y.period_id, y.approval_id FROM settlement.correction_application AS y) AS p
JOIN settlement.approval AS t ON t.id = p.approval_id;
DO $$
DECLARE
    relation regclass;
    key text;
BEGIN
    FOR relation, key IN VALUES
        ('settlement.correction'::regclass, 't.correction_id'),
        ('settlement.correction_sale', 't.correction_id || ''/'' || t.sale_id'),
        ('settlement.correction_contract', 't.correction_id || ''/'' || t.artist_id'),
        ('settlement.correction_application', 't.correction_id')
    LOOP
        EXECUTE format('CREATE VIEW audit.frozen_%s AS SELECT p.period_id AS frozen_in, (%s) COLLATE "C" AS frozen_key, %s'
                       ' FROM settlement.correction_application AS p JOIN %s AS t ON t.correction_id = p.correction_id',
            (SELECT relname FROM pg_class WHERE oid = relation), key,
            (SELECT string_agg(format('t.%I', attname), ', ' ORDER BY attnum) FROM pg_attribute
             WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped), relation);
        EXECUTE format('GRANT SELECT ON audit.frozen_%s TO auditor, settlement',
            (SELECT relname FROM pg_class WHERE oid = relation));
        EXECUTE format('COMMENT ON VIEW audit.frozen_%s IS %L', (SELECT relname FROM pg_class WHERE oid = relation),
            'rows of the table ' || (SELECT relname FROM pg_class WHERE oid = relation)
            || ' that a closed period depends on or consists of, as they are hashed for the log');
    END LOOP;
END
$$;

GRANT SELECT ON audit.corrections, audit.correction_sales, audit.adjustment_lines, audit.correction_faults TO auditor;
RESET ROLE;
