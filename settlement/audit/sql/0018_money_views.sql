-- What an auditor reads of currencies, tax, reserves and advances; statements by column; and the statements' tie-out with
-- all of it.

-- A line stands on its payee's statement: in the payout currency, or in the line's own where there was one of its own.
DO $$
DECLARE
    definition text := pg_get_viewdef('settlement.statement_line'::regclass);
BEGIN
    definition := regexp_replace(definition,
        '\(\(\(\(l\.period_id \|\| ''/''::text\) \|\| l\.payee_id\) \|\| ''/''::text\) \|\| \(l\.currency\)::text\) AS statement_id',
        'coalesce(w.statement_id, l.period_id || ''/'' || l.payee_id || ''/'' || l.currency) AS statement_id');
    definition := regexp_replace(definition, ';\s*$', '');
    definition := regexp_replace(definition, 'FROM \(+settlement\.royalty_line l\M', '\&');
    IF definition !~ 'w\.statement_id' THEN
        RAISE EXCEPTION 'settlement.statement_line is not as this migration knows it';
    END IF;
    definition := definition || ' LEFT JOIN settlement.statement_column AS w'
        ' ON w.payee_id = l.payee_id AND w.period_id = l.period_id AND w.currency = l.currency';
    EXECUTE 'SET ROLE royalty_owner';
    EXECUTE 'CREATE OR REPLACE VIEW settlement.statement_line WITH (security_invoker = true) AS ' || definition;
    EXECUTE 'SET ROLE audit_owner';
    EXECUTE 'CREATE OR REPLACE VIEW audit.statement_line AS ' || definition;
    EXECUTE 'RESET ROLE';
END
$$;

SET ROLE audit_owner;

CREATE VIEW audit.statement_columns AS
SELECT s.statement_id, s.period_id, s.payee_id, s.currency::text AS currency, true AS payout_currency, s.opening,
       s.royalties, s.late, s.adjustments, s.refunds, s.reserves, s.recoupment, s.tax, s.claims, s.fx, s.payments, s.closing
FROM settlement.statement AS s
UNION ALL
SELECT c.statement_id, c.period_id, c.payee_id, c.currency::text, false, c.opening, c.royalties, c.late, c.adjustments,
       c.refunds, c.reserves, c.recoupment, c.tax, c.claims, c.fx, c.payments, c.closing
FROM settlement.statement_column AS c;
COMMENT ON VIEW audit.statement_columns IS
    'the columns of every statement: one in the payout currency and one for each other that something was sold in';

CREATE VIEW audit.exchange_rates AS
SELECT source_currency::text AS source_currency, target_currency::text AS target_currency, valid_from,
       lead(valid_from) OVER w AS valid_to, rate_trillionths, lag(rate_trillionths) OVER w AS previous_rate_trillionths,
       source, actor, reason, recorded_at, recorded_at > valid_from AS recorded_after_its_start,
       (SELECT count(*) FROM settlement.conversion AS c WHERE c.fx_rate_id = r.id) AS conversions
FROM settlement.fx_rate AS r WINDOW w AS (PARTITION BY source_currency, target_currency ORDER BY valid_from);
COMMENT ON VIEW audit.exchange_rates IS
    'rates of exchange in 10^-12 units of the target for one of the source: who entered them, whence, and how often they were used';

CREATE VIEW audit.tax_profile_changes AS
SELECT payee_id, valid_from, lead(valid_from) OVER w AS valid_to, default_ppb, lag(default_ppb) OVER w AS previous_default_ppb,
       rates, lag(rates) OVER w AS previous_rates, actor, reason, recorded_at,
       recorded_at > valid_from AS recorded_after_its_start
FROM settlement.tax_profile_version WINDOW w AS (PARTITION BY payee_id ORDER BY valid_from);
COMMENT ON VIEW audit.tax_profile_changes IS 'what is withheld from whom: ppb by territory, and for all others';

CREATE VIEW audit.reserve_term_changes AS
SELECT payee_id, valid_from, lead(valid_from) OVER w AS valid_to, rate_ppb, lag(rate_ppb) OVER w AS previous_rate_ppb, release,
       actor, reason, recorded_at, recorded_at > valid_from AS recorded_after_its_start
FROM settlement.reserve_version WINDOW w AS (PARTITION BY payee_id ORDER BY valid_from);
COMMENT ON VIEW audit.reserve_term_changes IS
    'what is held back from whom: rate, and the parts released after so many whole periods, in ppb';

CREATE VIEW audit.conversions AS
SELECT p.currency::text AS target_currency, c.period_id || '/' || c.payee_id || '/' || p.currency AS statement_id, c.period_id,
       c.payee_id, c.currency::text AS source_currency, c.source_micros, r.rate_trillionths, r.valid_from AS rate_valid_from,
       r.source AS rate_source, c.target_micros
FROM settlement.conversion AS c
JOIN settlement.fx_rate AS r ON r.id = c.fx_rate_id
JOIN settlement.payee AS p ON p.payee_id = c.payee_id;
COMMENT ON VIEW audit.conversions IS 'what each statement converted, and by which rate';

CREATE VIEW audit.reserves AS
SELECT r.period_id, r.payee_id, r.currency::text AS currency, r.basis_micros, v.rate_ppb, r.amount_micros, v.release,
       coalesce(u.used, 0) AS used_for_refunds, coalesce(u.released, 0) AS released,
       r.amount_micros - coalesce(u.used, 0) - coalesce(u.released, 0) AS remaining
FROM settlement.reserve AS r
JOIN settlement.reserve_version AS v ON v.id = r.reserve_version_id
LEFT JOIN LATERAL (
    SELECT sum(u.amount_micros) FILTER (WHERE u.refund_id IS NOT NULL) AS used,
           sum(u.amount_micros) FILTER (WHERE u.refund_id IS NULL) AS released
    FROM settlement.reserve_use AS u
    WHERE u.payee_id = r.payee_id AND u.currency = r.currency AND u.taken_in = r.period_id
) AS u ON true;
COMMENT ON VIEW audit.reserves IS 'what each period held back from whom, what became of it, and what is left';

CREATE VIEW audit.reserve_uses AS
SELECT u.period_id, u.payee_id, u.currency::text AS currency, u.taken_in, r.external_id AS refund, u.amount_micros
FROM settlement.reserve_use AS u LEFT JOIN settlement.refund AS r ON r.id = u.refund_id;
COMMENT ON VIEW audit.reserve_uses IS 'what left reserves: for a refund, or without one released by its schedule';

CREATE VIEW audit.tax_register AS
SELECT d.period_id, d.payee_id, d.currency::text AS currency, d.territory::text AS territory, NULL AS taxed_in, NULL AS refund,
       d.base_micros, d.rate_ppb, d.withheld_micros
FROM settlement.tax_determination AS d
UNION ALL
SELECT t.period_id, t.payee_id, t.currency::text, t.territory::text, t.taxed_in, r.external_id, -t.base_micros, d.rate_ppb,
       -t.given_back_micros
FROM settlement.tax_reversal AS t
JOIN settlement.refund AS r ON r.id = t.refund_id
JOIN settlement.tax_determination AS d ON d.payee_id = t.payee_id AND d.period_id = t.taxed_in AND d.currency = t.currency
    AND d.territory = t.territory;
COMMENT ON VIEW audit.tax_register IS
    'tax withheld by period, payee, currency and territory; below zero what a later refund gave back of it';

CREATE VIEW audit.advances AS
SELECT a.advance_id, a.payee_id, a.currency::text AS currency, a.amount_micros, a.actor AS maker, p.checker, j.booked_at AS paid_at,
       coalesce(r.amount, 0) AS recouped, CASE WHEN j.key IS NULL THEN NULL ELSE a.amount_micros - coalesce(r.amount, 0) END
       AS outstanding, a.reason, a.recorded_at
FROM settlement.advance AS a
LEFT JOIN settlement.approval AS p ON p.kind = 'advance' AND p.subject = a.advance_id AND p.content_sha256 = a.content_sha256
LEFT JOIN ledger.journal AS j ON j.key = 'advance:' || a.advance_id
LEFT JOIN (SELECT advance_id, sum(amount_micros) AS amount FROM settlement.recoupment GROUP BY advance_id) AS r
    ON r.advance_id = a.advance_id;
COMMENT ON VIEW audit.advances IS 'advances agreed: who approved them, when they were paid, what is recouped';

CREATE VIEW audit.recoupments AS
SELECT r.period_id, r.advance_id, a.payee_id, a.currency::text AS currency, r.amount_micros
FROM settlement.recoupment AS r JOIN settlement.advance AS a ON a.advance_id = r.advance_id;
COMMENT ON VIEW audit.recoupments IS 'what each period took back of which advance';

-- The accounts between payable and cash against the rows that moved them, and the rows against their terms.
CREATE VIEW audit.money_faults AS
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
-- By territory, what was sold there: royalties and late lines, net of refunds of lines of the same period.
SELECT d.period_id || '/' || d.payee_id || '/' || d.currency, 'taxed base of ' || d.territory, coalesce(l.amount, 0),
       d.base_micros
FROM settlement.tax_determination AS d
LEFT JOIN (
    SELECT l.period_id, l.payee_id, l.currency, s.territory, sum(l.amount_micros) AS amount
    FROM settlement.royalty_line AS l
    JOIN settlement.sale AS s ON s.id = l.sale_id
    LEFT JOIN settlement.royalty_line AS o ON o.id = l.corrects
    WHERE l.payee_id IS NOT NULL AND (l.kind <> 'refund' OR o.period_id = l.period_id)
        AND EXISTS (SELECT FROM settlement.tax_determination AS t
                    WHERE t.payee_id = l.payee_id AND t.period_id = l.period_id)
    GROUP BY 1, 2, 3, 4
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
COMMENT ON VIEW audit.money_faults IS
    'must be empty: reserves, tax, advances and conversions against the ledger, and against the rates they follow from';

-- Each statement's columns against their lines, the steps behind them and the payee's accounts, for every closed period. A
-- payee who has lines or movements has one statement. A journal that is neither the statement's, a refund's nor a payout's is
-- an adjustment.
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
    WHERE l.payee_id IS NOT NULL GROUP BY 1, 2, 3, 4
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

-- An opening is the last closing, and a balance is carried into every next closed period, in every column.
CREATE OR REPLACE VIEW audit.balance_chain AS
WITH closed AS (
    SELECT period_id, row_number() OVER (ORDER BY ends_at) AS place FROM settlement.period WHERE state = 'closed'
),
chain AS (
    SELECT s.statement_id, s.opening, s.closing, c.place, lag(s.statement_id) OVER w AS previous,
           lag(s.closing) OVER w AS previous_closing, lead(c.place) OVER w AS next_place
    FROM audit.statement_columns AS s JOIN closed AS c ON c.period_id = s.period_id
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

-- An approval of an advance is of what was paid.
CREATE OR REPLACE VIEW audit.approvals AS
SELECT a.kind, a.subject, a.maker, a.checker, a.recorded_at, encode(a.content_sha256, 'hex') AS content_sha256,
       CASE a.kind WHEN 'period' THEN r.draft_sha256 = a.content_sha256 WHEN 'advance' THEN d.content_sha256 = a.content_sha256
           ELSE b.content_sha256 = a.content_sha256 END AS is_of_what_was_done
FROM settlement.approval AS a
LEFT JOIN settlement.royalty_run AS r ON a.kind = 'period' AND r.period_id = a.subject AND r.approval_id = a.id
LEFT JOIN settlement.payout_batch AS b ON a.kind = 'payout_batch' AND b.batch_id = a.subject
LEFT JOIN settlement.advance AS d ON a.kind = 'advance' AND d.advance_id = a.subject;

-- What a closed period was made of, as in 0008. A period that was closed before these tables has no row in them.
DO $$
DECLARE
    relation regclass;
    key text;
    membership text;
    terms text := 'settlement.royalty_run AS p JOIN %s AS t ON t.recorded_at < p.recorded_at';
    name text;
BEGIN
    FOR relation, key, membership IN VALUES
        ('settlement.platform_version'::regclass, 't.id::text', format(terms, 'settlement.platform_version')),
        ('settlement.fx_rate', 't.id::text', format(terms, 'settlement.fx_rate')),
        ('settlement.tax_profile_version', 't.id::text', format(terms, 'settlement.tax_profile_version')),
        ('settlement.reserve_version', 't.id::text', format(terms, 'settlement.reserve_version')),
        ('settlement.advance', 't.advance_id', format(terms, 'settlement.advance')),
        ('settlement.conversion', 't.payee_id || ''/'' || t.currency', 'settlement.conversion AS t'),
        ('settlement.reserve', 't.payee_id || ''/'' || t.currency', 'settlement.reserve AS t'),
        ('settlement.reserve_use', 't.id::text', 'settlement.reserve_use AS t'),
        ('settlement.tax_determination', 't.payee_id || ''/'' || t.currency || ''/'' || t.territory',
         'settlement.tax_determination AS t'),
        ('settlement.tax_reversal', 't.payee_id || ''/'' || t.taxed_in || ''/'' || t.currency || ''/'' || t.territory || ''/'' || t.refund_id',
         'settlement.tax_reversal AS t'),
        ('settlement.recoupment', 't.advance_id', 'settlement.recoupment AS t'),
        ('settlement.statement_column', 't.payee_id || ''/'' || t.currency', 'settlement.statement_column AS t')
    LOOP
        name := 'frozen_' || (SELECT relname FROM pg_class WHERE oid = relation);
        EXECUTE format('CREATE OR REPLACE VIEW audit.%I AS SELECT %s.period_id AS frozen_in, (%s) COLLATE "C" AS frozen_key, %s FROM %s',
            name, CASE WHEN membership ~ ' AS p' THEN 'p' ELSE 't' END, key,
            (SELECT string_agg(format('t.%I', attname), ', ' ORDER BY attnum) FROM pg_attribute
             WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped), membership);
        EXECUTE format('GRANT SELECT ON audit.%I TO auditor, settlement', name);
        EXECUTE format('COMMENT ON VIEW audit.%I IS %L', name, 'rows of the table ' || substr(name, 8)
                       || ' that a closed period depends on or consists of, as they are hashed for the log');
    END LOOP;
END
$$;

GRANT SELECT ON audit.statement_columns, audit.exchange_rates, audit.tax_profile_changes, audit.reserve_term_changes,
    audit.conversions, audit.reserves, audit.reserve_uses, audit.tax_register, audit.advances, audit.recoupments,
    audit.money_faults TO auditor;
RESET ROLE;
