-- What an auditor asks of the ledger: control totals, journal-entry tests, cut-off, payouts against the bank, who could
-- have changed it. Views of `audit_owner`, like those of 0007; the auditor has SELECT on them by default privilege.

SET ROLE audit_owner;

-- Population and cut-off ----------------------------------------------------------------------------------------------

-- Every posting with its journal and without its period: no join but by key, so that a million of them stream.
CREATE VIEW audit.postings AS
SELECT p.journal_id, p.line, p.booked_at, a.code AS account, a.class, a.currency::text AS currency, p.amount, j.kind,
       j.key, j.value_date, j.lines, j.reverses AS reverses_journal_id, j.actor, j.approved_by, j.created_by, j.recorded_at
FROM ledger.posting AS p
JOIN ledger.journal AS j ON j.id = p.journal_id
JOIN ledger.account AS a ON a.id = p.account_id;
COMMENT ON VIEW audit.postings IS 'every line of every journal, in a form that streams: exports are made of it';

CREATE VIEW audit.control_totals AS
SELECT q.period_id, coalesce(j.kind, 'all kinds') AS kind, s.currency::text AS currency, count(*) AS journals,
       sum(s.lines)::bigint AS lines, sum(s.debits) AS debits, sum(s.credits) AS credits, min(j.id) AS first_journal_id,
       max(j.id) AS last_journal_id, min(j.recorded_at) AS first_recorded_at, max(j.recorded_at) AS last_recorded_at
FROM (
    SELECT journal_id, currency, count(*) AS lines, sum(greatest(amount, 0)) AS debits, -sum(least(amount, 0)) AS credits
    FROM ledger.posting GROUP BY journal_id, currency
) AS s
JOIN ledger.journal AS j ON j.id = s.journal_id
LEFT JOIN settlement.period AS q ON j.booked_at >= q.starts_at AND j.booked_at < q.ends_at
GROUP BY GROUPING SETS ((q.period_id, j.kind, s.currency), (q.period_id, s.currency));
COMMENT ON VIEW audit.control_totals IS
    'how many journals and lines, and the sum of their debits and credits, by period, kind and currency';

CREATE VIEW audit.journal_activity AS
SELECT q.period_id, j.kind, j.actor, j.approved_by, j.created_by,
       extract(hour FROM j.recorded_at AT TIME ZONE 'UTC')::integer AS entered_hour,
       count(*) AS journals, min(j.recorded_at) AS first_entered_at, max(j.recorded_at) AS last_entered_at,
       min(j.booked_at) AS first_booked_at, max(j.booked_at) AS last_booked_at
FROM ledger.journal AS j
LEFT JOIN settlement.period AS q ON j.booked_at >= q.starts_at AND j.booked_at < q.ends_at
GROUP BY 1, 2, 3, 4, 5, 6;
COMMENT ON VIEW audit.journal_activity IS
    'how many journals, by period, kind, actor, approver, database login and hour of entry (UTC); entered and booked from, to';

CREATE VIEW audit.cut_off AS
SELECT j.id AS journal_id, j.key, j.kind, j.value_date, j.booked_at, q.period_id, j.recorded_at, r.period_id AS recorded_in,
       j.recorded_at - j.booked_at AS delay,
       CASE WHEN q.period_id IS NULL THEN 'in no period'
            -- Events have the value date of UTC, whatever the period's zone.
            WHEN j.value_date < (q.starts_at AT TIME ZONE 'UTC')::date THEN 'moved here: its own period was sealed'
            WHEN j.recorded_at >= q.ends_at THEN 'recorded after the end of its period'
            WHEN j.recorded_at < j.booked_at THEN 'recorded before it was due'
            ELSE 'in time' END AS timing
FROM ledger.journal AS j
LEFT JOIN settlement.period AS q ON j.booked_at >= q.starts_at AND j.booked_at < q.ends_at
LEFT JOIN settlement.period AS r ON j.recorded_at >= r.starts_at AND j.recorded_at < r.ends_at;
COMMENT ON VIEW audit.cut_off IS
    'booking date against the moment of recording; what a run decides is always recorded after the end of its period';

-- Journal-entry tests: the traits of AS 2401.61 and AU-C 240, as booleans by line -------------------------------------

CREATE VIEW audit.journal_entry_tests AS
WITH account_use AS (
    SELECT split_part(a.code, ':', 1) AS name, sum(u.lines) AS lines
    FROM (SELECT account_id, count(*) AS lines FROM ledger.posting GROUP BY account_id) AS u
    JOIN ledger.account AS a ON a.id = u.account_id GROUP BY 1
),
actor_use AS (SELECT actor, count(*) AS journals FROM ledger.journal GROUP BY actor),
line AS (
    SELECT p.journal_id, p.line, j.key, j.kind, q.period_id, p.booked_at, j.recorded_at, a.code AS account,
           a.currency::text AS currency, p.amount, j.actor, j.approved_by, j.created_by,
           p.amount % 100000000 = 0 AS round_amount,
           u.lines < 10 AS rare_account,
           w.journals < 10 AS rare_actor,
           coalesce(p.booked_at >= q.ends_at - interval '1 day', false) AS period_end,
           coalesce(j.recorded_at >= q.ends_at, false) AS recorded_late,
           EXISTS (SELECT FROM ledger.seal AS s
                   WHERE s.sealed_before > p.booked_at AND s.recorded_at < j.recorded_at) AS after_close,
           extract(isodow FROM j.recorded_at AT TIME ZONE 'UTC') > 5 AS at_weekend,
           j.kind !~ '\S' OR j.actor !~ '\S' AS undescribed,
           j.approved_by IS NULL AS not_approved,
           coalesce(j.approved_by = j.actor, false) AS self_approved,
           j.reverses IS NOT NULL AS reversal,
           r.id IS NOT NULL AS reversed,
           j.created_by NOT IN ('settlement', 'payer') AS other_login
    FROM ledger.posting AS p
    JOIN ledger.journal AS j ON j.id = p.journal_id
    JOIN ledger.account AS a ON a.id = p.account_id
    LEFT JOIN settlement.period AS q ON j.booked_at >= q.starts_at AND j.booked_at < q.ends_at
    LEFT JOIN ledger.journal AS r ON r.reverses = j.id
    LEFT JOIN account_use AS u ON u.name = split_part(a.code, ':', 1)
    LEFT JOIN actor_use AS w ON w.actor = j.actor
)
SELECT *, round_amount::integer + rare_account::integer + rare_actor::integer + period_end::integer + recorded_late::integer
          + after_close::integer + at_weekend::integer + undescribed::integer + not_approved::integer
          + self_approved::integer + reversal::integer + reversed::integer + other_login::integer AS traits
FROM line;
COMMENT ON VIEW audit.journal_entry_tests IS
    'traits of entries that deserve a look (AS 2401.61), by line; each column''s comment says when it is true';
COMMENT ON COLUMN audit.journal_entry_tests.round_amount IS 'a whole multiple of 100.000000';
COMMENT ON COLUMN audit.journal_entry_tests.rare_account IS 'fewer than 10 lines ever on accounts of that name (up to the first colon)';
COMMENT ON COLUMN audit.journal_entry_tests.rare_actor IS 'fewer than 10 journals ever by that actor';
COMMENT ON COLUMN audit.journal_entry_tests.period_end IS 'booked within the last 24 hours of its period, as what a run decides always is';
COMMENT ON COLUMN audit.journal_entry_tests.recorded_late IS 'recorded after the end of its period, as what a run decides always is';
COMMENT ON COLUMN audit.journal_entry_tests.after_close IS 'recorded after its booking date was sealed: no login but a superuser can';
COMMENT ON COLUMN audit.journal_entry_tests.at_weekend IS 'recorded on a Saturday or Sunday (UTC)';
COMMENT ON COLUMN audit.journal_entry_tests.undescribed IS 'kind or actor is blank';
COMMENT ON COLUMN audit.journal_entry_tests.not_approved IS 'names no approver; sales, refunds and what the bank reports need none';
COMMENT ON COLUMN audit.journal_entry_tests.self_approved IS 'maker and checker are one person';
COMMENT ON COLUMN audit.journal_entry_tests.reversal IS 'reverses another journal';
COMMENT ON COLUMN audit.journal_entry_tests.reversed IS 'was reversed by another journal';
COMMENT ON COLUMN audit.journal_entry_tests.other_login IS 'written by another database login than settlement and payer';
COMMENT ON COLUMN audit.journal_entry_tests.traits IS 'how many of them are true';

-- Control accounts ----------------------------------------------------------------------------------------------------

CREATE VIEW audit.payables_control AS
SELECT q.period_id, s.currency, sum(s.statements) AS statements, sum(s.closing) AS statements_say,
       sum(s.balance) AS ledger_says, sum(s.closing) - sum(s.balance) AS difference
FROM settlement.period AS q
CROSS JOIN LATERAL (
    SELECT t.currency::text AS currency, count(*) AS statements, sum(t.closing) AS closing, 0 AS balance
    FROM settlement.statement AS t WHERE t.period_id = q.period_id GROUP BY t.currency
    UNION ALL
    SELECT a.currency::text, 0, 0, -sum(p.amount)
    FROM ledger.account AS a JOIN ledger.posting AS p ON p.account_id = a.id
    WHERE starts_with(a.code, 'royalties_payable:') AND p.booked_at < q.ends_at GROUP BY a.currency
) AS s
WHERE q.state = 'closed' GROUP BY q.period_id, s.currency;
COMMENT ON VIEW audit.payables_control IS
    'what the statements of a closed period say is owed to all payees, against their accounts; difference must be 0';

-- The log and the seals ----------------------------------------------------------------------------------------------

CREATE VIEW audit.log_totals AS
SELECT kind, count(*) AS leaves, min(index) AS first_index, max(index) AS last_index, min(recorded_at) AS first_recorded_at,
       max(recorded_at) AS last_recorded_at
FROM ledger.log_leaf GROUP BY kind;
COMMENT ON VIEW audit.log_totals IS 'how many records of each kind are in the log';

-- What a log of everything that is final cannot have. Newer records than the last seal may wait for the next one.
CREATE VIEW audit.log_gaps AS
SELECT x.place, x.kind, x.reference, x.fault
FROM (
    SELECT l.index AS place, l.kind, l.reference,
           'follows ' || coalesce('leaf ' || l.before, 'the beginning') AS fault
    FROM (SELECT index, kind, reference, lag(index) OVER (ORDER BY index) AS before FROM ledger.log_leaf) AS l
    WHERE l.index <> coalesce(l.before + 1, 0)
    UNION ALL
    SELECT l.index, l.kind, l.reference, 'is in the log and nowhere else'
    FROM ledger.log_leaf AS l
    LEFT JOIN ledger.journal AS j ON l.kind = 'journal' AND j.key = l.reference
    LEFT JOIN settlement.statement AS t ON l.kind = 'statement' AND t.statement_id = l.reference
    LEFT JOIN ledger.seal AS s ON l.kind = 'seal' AND s.name = l.reference
    LEFT JOIN ledger.checkpoint AS c ON l.kind = 'checkpoint' AND c.size::text = l.reference
    WHERE l.kind IN ('journal', 'statement', 'seal', 'checkpoint')
        AND coalesce(j.key, t.statement_id, s.name, c.size::text) IS NULL
    UNION ALL
    SELECT l.index, 'journal', j.key, 'is sealed, and not in the log before its seal'
    FROM ledger.journal AS j
    CROSS JOIN LATERAL (SELECT s.log_size FROM ledger.seal AS s WHERE s.sealed_before > j.booked_at
                        ORDER BY s.sealed_before LIMIT 1) AS s
    LEFT JOIN ledger.log_leaf AS l ON l.kind = 'journal' AND l.reference = j.key
    WHERE s.log_size IS NOT NULL AND (l.index IS NULL OR l.index >= s.log_size)
    UNION ALL
    SELECT l.index, 'statement', t.statement_id, 'is sealed, and not in the log before its seal'
    FROM settlement.statement AS t
    JOIN settlement.period AS q ON q.period_id = t.period_id
    JOIN ledger.seal AS s ON s.sealed_before = q.ends_at
    LEFT JOIN ledger.log_leaf AS l ON l.kind = 'statement' AND l.reference = t.statement_id
    WHERE s.log_size IS NOT NULL AND (l.index IS NULL OR l.index >= s.log_size)
) AS x;
COMMENT ON VIEW audit.log_gaps IS 'must be empty: missing places in the log, and sealed journals and statements that it lacks';

-- Each seal's balances against the postings that it sealed.
CREATE VIEW audit.seal_faults AS
WITH seal AS (SELECT name, (row_number() OVER (ORDER BY sealed_before) - 1)::integer AS place FROM ledger.seal),
-- A posting belongs to the first seal after it.
ends AS (SELECT array_agg(sealed_before ORDER BY sealed_before) AS at FROM ledger.seal),
sums AS (
    SELECT s.place, b.account_id, b.opening, b.debits, b.credits, b.closing, 1 AS balances, 0 AS debits_due, 0 AS credits_due
    FROM ledger.closing_balance AS b JOIN seal AS s ON s.name = b.seal
    UNION ALL
    SELECT width_bucket(p.booked_at, e.at), p.account_id, 0, 0, 0, 0, 0, sum(greatest(p.amount, 0)), sum(least(p.amount, 0))
    FROM ledger.posting AS p CROSS JOIN ends AS e
    WHERE p.booked_at < e.at[cardinality(e.at)] GROUP BY 1, 2
),
one AS (
    SELECT place, account_id, sum(opening) AS opening, sum(debits) AS debits, sum(credits) AS credits, sum(closing) AS closing,
           sum(balances) AS balances, sum(debits_due) AS debits_due, sum(credits_due) AS credits_due
    FROM sums GROUP BY place, account_id
),
chain AS (
    SELECT *, coalesce(sum(debits_due + credits_due) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)
                  AS opening_due,
           lead(place) OVER w AS next_place
    FROM one WINDOW w AS (PARTITION BY account_id ORDER BY place)
)
SELECT s.name AS seal, a.code AS account, f.item, f.sealed, f.due
FROM chain AS c
JOIN seal AS s ON s.place = c.place
LEFT JOIN ledger.account AS a ON a.id = c.account_id
CROSS JOIN LATERAL (VALUES
    ('opening', c.opening, c.opening_due), ('debits', c.debits, c.debits_due), ('credits', c.credits, c.credits_due),
    ('closing', c.closing, c.opening_due + c.debits_due + c.credits_due), ('balances', c.balances, 1),
    ('balances carried into the next seal',
     CASE WHEN c.next_place IS DISTINCT FROM c.place + 1 THEN 0 ELSE 1 END,
     CASE WHEN c.place < (SELECT max(place) FROM seal) THEN 1
          WHEN c.next_place IS NULL THEN 0 ELSE 1 END)) AS f (item, sealed, due)
WHERE f.sealed <> f.due;
COMMENT ON VIEW audit.seal_faults IS 'must be empty: closing balances of seals that are not the sum of the postings before them';

-- Payouts against the bank --------------------------------------------------------------------------------------------

-- Each attempt with the journals of its events and what they moved.
CREATE VIEW audit.payout_journals AS
SELECT t.attempt_id, t.payout_id, p.payee_id, p.currency::text AS currency, t.amount_micros AS amount, o.outcome,
       e.occurred_at, e.actor, j.id AS journal_id, j.key, j.booked_at, coalesce(m.payable, 0) AS payable,
       coalesce(m.clearing, 0) AS clearing, coalesce(m.bank, 0) AS bank,
       o.payable * t.amount_micros AS payable_due, o.clearing * t.amount_micros AS clearing_due,
       o.bank * t.amount_micros AS bank_due
FROM settlement.payout_attempt AS t
JOIN settlement.payout AS p ON p.payout_id = t.payout_id
-- By outcome: what moves, as multiples of the amount, debits positive.
CROSS JOIN (VALUES ('reserved', 1, -1, 0), ('paid', 0, 1, -1), ('rejected', -1, 1, 0), ('returned', -1, 0, 1))
    AS o (outcome, payable, clearing, bank)
LEFT JOIN LATERAL (SELECT v.occurred_at, v.actor FROM settlement.payout_event AS v
                   WHERE v.payout_id = t.payout_id AND v.attempt_id = t.attempt_id AND v.state = o.outcome
                   ORDER BY v.number LIMIT 1) AS e ON true
LEFT JOIN ledger.journal AS j ON j.key = 'attempt:' || t.attempt_id || ':' || o.outcome
LEFT JOIN LATERAL (
    SELECT sum(l.amount) FILTER (WHERE a.code = 'royalties_payable:' || p.payee_id || ':' || p.currency) AS payable,
           sum(l.amount) FILTER (WHERE a.code = 'payout_clearing:' || p.currency) AS clearing,
           sum(l.amount) FILTER (WHERE a.code = 'bank:' || p.currency) AS bank
    FROM ledger.posting AS l JOIN ledger.account AS a ON a.id = l.account_id WHERE l.journal_id = j.id
) AS m ON true
WHERE e.occurred_at IS NOT NULL OR j.id IS NOT NULL;
COMMENT ON VIEW audit.payout_journals IS
    'payout, attempt, event and journal side by side, and what the journal moved against what that event moves';

CREATE VIEW audit.payout_bank AS
SELECT p.payout_id, p.payee_id, p.currency, t.attempt_id, t.amount_micros AS amount, p.state, p.file, p.file_sha256,
       p.execution_date, max(j.booked_at) FILTER (WHERE j.bank <> 0) AS bank_booked_at,
       max(j.key) FILTER (WHERE j.outcome = 'paid') AS bank_journal,
       coalesce(sum(j.payable), 0) AS payable, coalesce(sum(j.clearing), 0) AS clearing, coalesce(sum(j.bank), 0) AS bank
FROM audit.payouts AS p
JOIN settlement.payout_attempt AS t ON t.payout_id = p.payout_id AND t.attempt_id = p.attempt_id
LEFT JOIN audit.payout_journals AS j ON j.attempt_id = t.attempt_id
GROUP BY p.payout_id, p.payee_id, p.currency, t.attempt_id, t.amount_micros, p.state, p.file, p.file_sha256,
         p.execution_date;
COMMENT ON VIEW audit.payout_bank IS
    'each payment: its attempt (the EndToEndId on the bank''s statement), file, state, and what it moved in the ledger';

CREATE VIEW audit.payout_faults AS
SELECT x.payout_id, x.attempt_id, x.fault
FROM (
    SELECT j.payout_id, j.attempt_id, f.fault, f.found
    FROM audit.payout_journals AS j CROSS JOIN LATERAL (VALUES
        (j.outcome || ' has no journal', j.journal_id IS NULL),
        (j.key || ' has no event', j.occurred_at IS NULL),
        (j.key || ' moves payable ' || j.payable || ', clearing ' || j.clearing || ', bank ' || j.bank,
         j.journal_id IS NOT NULL
         AND (j.payable, j.clearing, j.bank) IS DISTINCT FROM (j.payable_due, j.clearing_due, j.bank_due))
    ) AS f (fault, found)
    UNION ALL
    SELECT t.payout_id, t.attempt_id, 'is of ' || t.amount_micros || ', the payout of ' || p.amount_micros,
           t.amount_micros <> p.amount_micros
    FROM settlement.payout_attempt AS t JOIN settlement.payout AS p ON p.payout_id = t.payout_id
    UNION ALL
    SELECT t.payout_id, t.attempt_id, 'was never reserved',
           NOT EXISTS (SELECT FROM audit.payout_journals AS j WHERE j.attempt_id = t.attempt_id AND j.outcome = 'reserved')
    FROM settlement.payout_attempt AS t
    UNION ALL
    SELECT NULL, NULL, j.key || ' is of no attempt', true
    FROM ledger.journal AS j
    WHERE starts_with(j.kind, 'payout_') AND NOT EXISTS (
        SELECT FROM settlement.payout_attempt AS t WHERE j.key = 'attempt:' || t.attempt_id || ':' || substr(j.kind, 8))
    UNION ALL
    SELECT e.payout_id, e.attempt_id, 'reserved while hold ' || h.id || ' was open', true
    FROM settlement.payout_event AS e
    JOIN settlement.payout AS p ON p.payout_id = e.payout_id
    JOIN settlement.hold AS h ON h.payee_id = p.payee_id AND h.opened_at < e.recorded_at
    LEFT JOIN settlement.hold_release AS r ON r.hold_id = h.id
    WHERE e.state = 'reserved' AND (r.released_at IS NULL OR r.released_at > e.recorded_at)
) AS x
WHERE x.found;
COMMENT ON VIEW audit.payout_faults IS
    'must be empty: payouts, attempts, events and bank journals that do not tie, and payments made under a hold';

CREATE VIEW audit.hold_changes AS
SELECT h.id AS hold_id, h.payee_id, c.change, c.at, c.actor, c.reason, h.expected_until, c.change = 'released'
       AND c.actor = h.actor AS by_who_opened_it
FROM settlement.hold AS h LEFT JOIN settlement.hold_release AS r ON r.hold_id = h.id
CROSS JOIN LATERAL (VALUES ('opened', h.opened_at, h.actor, h.reason), ('released', r.released_at, r.actor, r.reason))
    AS c (change, at, actor, reason)
WHERE c.at IS NOT NULL;
COMMENT ON VIEW audit.hold_changes IS 'every hold opened and released: when, by whom, why';

-- Who could have changed it -------------------------------------------------------------------------------------------

-- Beside the grants: what a role may do by what it is, owns, or belongs to.
CREATE VIEW audit.powers AS
WITH RECURSIVE held (role, held) AS (
    SELECT oid, oid FROM pg_roles
    UNION
    SELECT h.role, m.roleid FROM held AS h JOIN pg_auth_members AS m ON m.member = h.held
)
SELECT r.rolname::text AS role, r.rolcanlogin AS can_login, p.power,
       CASE WHEN t.oid <> r.oid THEN t.rolname::text END AS through
FROM held AS h
JOIN pg_roles AS r ON r.oid = h.role
JOIN pg_roles AS t ON t.oid = h.held
CROSS JOIN LATERAL (
    SELECT 'superuser: can do anything, switch guards off included' WHERE t.rolsuper
    UNION ALL SELECT 'sees and writes past row-level security' WHERE t.rolbypassrls AND NOT t.rolsuper
    UNION ALL SELECT 'makes roles' WHERE t.rolcreaterole AND NOT t.rolsuper
    UNION ALL SELECT 'replicates' WHERE t.rolreplication AND NOT t.rolsuper
    UNION ALL SELECT 'is the predefined role ' || t.rolname WHERE starts_with(t.rolname::text, 'pg_') AND t.oid <> r.oid
    UNION ALL SELECT 'owns the database' FROM pg_database AS d WHERE d.datname = current_database() AND d.datdba = t.oid
    UNION ALL SELECT 'owns schema ' || n.nspname FROM pg_namespace AS n WHERE n.nspowner = t.oid AND n.nspname IN
        ('access', 'party', 'attribution', 'ledger', 'settlement', 'audit', 'guard')
) AS p (power)
WHERE r.rolname !~ '^pg_';
COMMENT ON VIEW audit.powers IS
    'what roles may do beyond their grants: superusers, BYPASSRLS, ownership, membership; every row of a role that can log in needs a reason';

CREATE VIEW audit.row_security AS
SELECT n.nspname::text AS schema, c.relname::text AS object, c.relforcerowsecurity AS forced, p.polname::text AS policy,
       CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
           ELSE 'ALL' END AS command,
       ARRAY(SELECT pg_get_userbyid(u.role)::text FROM unnest(p.polroles) AS u (role) ORDER BY 1) AS roles,
       regexp_replace(pg_get_expr(p.polqual, p.polrelid), '\s+', ' ', 'g') AS rows_seen,
       regexp_replace(pg_get_expr(p.polwithcheck, p.polrelid), '\s+', ' ', 'g') AS rows_written
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_policy AS p ON p.polrelid = c.oid
WHERE c.relrowsecurity AND n.nspname IN ('access', 'party', 'attribution', 'ledger', 'settlement');
COMMENT ON VIEW audit.row_security IS 'tables under row-level security, and which rows their policies show to whom';

-- What the views of 0007 are about ------------------------------------------------------------------------------------

COMMENT ON VIEW audit.accounts IS 'every account with its balance now, and how much and when it was used';
COMMENT ON VIEW audit.approvals IS 'who approved what of whom; is_of_what_was_done: what was approved is what was done';
COMMENT ON VIEW audit.artist IS 'artists as they are called now';
COMMENT ON VIEW audit.artist_versions IS 'names and aliases of artists, as they were changed, by whom and why';
COMMENT ON VIEW audit.attribution_shares IS 'from the Shapley value to the share of each player of each image; numerators over players!';
COMMENT ON VIEW audit.attributions IS 'which image was attributed by which method, or why it could not be';
COMMENT ON VIEW audit.bank_detail_changes IS 'that bank details or names of payees changed, when, by whom and why; not the details';
COMMENT ON VIEW audit.coalition_values IS 'v(S) of every coalition of every image, in 10^-9, with the SHA-256 of its picture and prompt';
COMMENT ON VIEW audit.contract_changes IS 'splits between payees, by the moment from which they hold, and those before; by whom and why';
COMMENT ON VIEW audit.general_ledger IS 'each account line by line with its running balance; filter on account';
COMMENT ON VIEW audit.grants IS 'privileges on tables, columns, functions and schemas, from the server''s catalogue';
COMMENT ON VIEW audit.guards IS 'the triggers that keep history as it was written; enabled must be A: on, whatever the session says';
COMMENT ON VIEW audit.holds IS 'holds on payees, and their release';
COMMENT ON VIEW audit.images IS 'the generation log: words, seed, settings, hashes';
COMMENT ON VIEW audit.journal_contents IS 'the canonical text of every journal and its SHA-256 as recorded; hash it yourself';
COMMENT ON VIEW audit.journal_lines IS 'every line of every journal with its period';
COMMENT ON VIEW audit.journals IS 'every journal with its period, actor, approver, database login and both clocks';
COMMENT ON VIEW audit.methods IS 'method versions, whole';
COMMENT ON VIEW audit.payees IS 'payees by name; addresses and bank details are not here';
COMMENT ON VIEW audit.payout_clearing IS 'what each payout moved, and what should lie in clearing for it';
COMMENT ON VIEW audit.payout_events IS 'what happened to each payout, in order';
COMMENT ON VIEW audit.payouts IS 'each payee of each batch: paid how much, or why not; maker, checker, file';
COMMENT ON VIEW audit.periods IS 'periods: who calculated, approved, closed and sealed them, when, and which digests';
COMMENT ON VIEW audit.placebo_levels IS 'what made-up names earn, which is taken off before anybody is paid';
COMMENT ON VIEW audit.platform_changes IS 'the platform''s terms, by the moment from which they hold; by whom and why';
COMMENT ON VIEW audit.rate_changes IS 'rates, by the moment from which they hold, and those before; by whom and why';
COMMENT ON VIEW audit.recomputed_shares IS 'shares computed here from v(S) and the placebo levels in exact numbers';
COMMENT ON VIEW audit.refunds IS 'refunds and chargebacks, and what they took back of royalties';
COMMENT ON VIEW audit.roles IS 'database roles: who can log in, is superuser, sees every row, belongs to whom';
COMMENT ON VIEW audit.royalty_lines IS 'who gets what of which sale: base, slice, share, split, amount';
COMMENT ON VIEW audit.sales IS 'what was sold, its base, slice and rate card';
COMMENT ON VIEW audit.seals IS 'before which instants the ledger is final, sealed by whom, when, and the head of the log then';
COMMENT ON VIEW audit.statement_line IS 'the lines of statements exactly as their CSV and digest have them';
COMMENT ON VIEW audit.statements IS 'every statement: summary, body as issued, SHA-256 of the body';
COMMENT ON VIEW audit.suspense_ageing IS 'what is pending, unattributed or unclaimed, and since when';
COMMENT ON VIEW audit.trial_balance IS 'by period and account: opening + debits + credits = closing, credits negative';
COMMENT ON VIEW audit.unclaimed IS 'what lies there for artists without a contract';
COMMENT ON VIEW audit.users IS 'who can log in to the platform, and their scopes';
COMMENT ON VIEW audit.checkpoints IS 'signed heads of the log that have left the database';
COMMENT ON VIEW audit.closing_balances IS 'what each seal fixed of every account, by booking date';
COMMENT ON VIEW audit.log IS 'the log as it is stored: place, kind, reference, SHA-256 of the record';
COMMENT ON VIEW audit.log_nodes IS 'hashes of complete subtrees of the log, as they are stored';
COMMENT ON VIEW audit.record_account IS 'accounts, as their records are hashed for the log';
COMMENT ON VIEW audit.record_checkpoint IS 'checkpoints, as their records are hashed for the log';
COMMENT ON VIEW audit.record_closing_balance IS 'closing balances, as their records are hashed for the log';
COMMENT ON VIEW audit.record_journal IS 'journals'' headers, as their records are hashed for the log';
COMMENT ON VIEW audit.record_posting IS 'postings, as their journals'' records are hashed for the log';
COMMENT ON VIEW audit.record_seal IS 'seals, as their records are hashed for the log';
COMMENT ON VIEW audit.record_statement IS 'bodies of statements, as they are hashed for the log';
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'audit'::regnamespace AND relname ~ '^frozen_' LOOP
        EXECUTE format('COMMENT ON VIEW audit.%I IS %L', name, 'rows of the table ' || substr(name, 8)
                       || ' that a closed period depends on or consists of, as they are hashed for the log');
    END LOOP;
END
$$;
COMMENT ON FUNCTION audit.amount(numeric, text) IS 'micros for people: 12340000 of EUR is 12.340000 EUR';
COMMENT ON FUNCTION audit.billionths(numeric) IS 'shares, rates and v for people, with nine decimals';
COMMENT ON FUNCTION audit.explain(bigint) IS 'everything behind one royalty line, by its line_id, down to the coalition values';
COMMENT ON FUNCTION audit.instant(timestamptz) IS 'an instant for people, in UTC';
COMMENT ON FUNCTION audit.ratio(numeric, numeric) IS 'numerator over denominator, in 10^-9, for people';

RESET ROLE;
