-- Attempts and events of payouts name what exists: said by the statement's own check, which reads payout and attempt
-- anyway, and no longer by a query for every row, which was more than half of what a batch of a hundred thousand cost.
-- Payouts and attempts are never deleted, so nobody has to hold their rows; and unlike a foreign key the check stays on in
-- replica mode.

CREATE OR REPLACE FUNCTION guard.check_payout_attempt() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    first CONSTANT integer := 1;
    broken text;
BEGIN
    SELECT added.attempt_id INTO broken
    FROM added LEFT JOIN ONLY settlement.payout AS p ON p.payout_id = added.payout_id
    WHERE p.payout_id IS NULL
        OR added.number <> first OR added.amount_micros <> p.amount_micros OR p.decision <> 'pay'
        OR EXISTS (SELECT FROM ONLY settlement.payout_event AS e WHERE e.payout_id = p.payout_id AND e.state <> 'ready')
        OR (SELECT e.state FROM ONLY settlement.batch_event AS e WHERE e.batch_id = p.batch_id
            ORDER BY e.number DESC LIMIT 1) IS DISTINCT FROM 'submitting'
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'attempt % is not of a payout that is ready in a batch that is being submitted', broken
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'attempt_of_ready_payout';
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION guard.check_payout_event() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    first CONSTANT integer := 1;
    broken record;
BEGIN
    SELECT added.payout_id, coalesce(before.state, 'nothing') AS was, added.state AS becomes INTO broken
    FROM added
    LEFT JOIN ONLY settlement.payout AS p ON p.payout_id = added.payout_id
    LEFT JOIN ONLY settlement.payout_event AS before
        ON before.payout_id = added.payout_id AND before.number = added.number - first
    LEFT JOIN ONLY settlement.payout_attempt AS a ON a.attempt_id = added.attempt_id
    WHERE p.payout_id IS NULL
        OR (added.number = first) <> (added.state IN ('held', 'ready'))
        OR (coalesce(before.state, ''), added.state) NOT IN (VALUES
            ('', 'held'), ('', 'ready'),
            ('ready', 'reserved'), ('ready', 'cancelled'),
            ('reserved', 'submitted'),
            ('submitted', 'accepted'), ('submitted', 'paid'), ('submitted', 'rejected'), ('submitted', 'unknown'),
            ('accepted', 'paid'), ('accepted', 'rejected'),
            ('unknown', 'accepted'), ('unknown', 'paid'), ('unknown', 'rejected'),
            ('paid', 'returned'), ('rejected', 'submitted'))
        -- A refusal is taken back only if two people have said that the bank has booked the payment all the same: by a
        -- booking of it, and of what was proposed when it was approved. Nothing is refused again after that.
        OR before.state = 'rejected' AND NOT EXISTS (
            SELECT FROM ONLY settlement.payout_correction AS c
            JOIN ONLY settlement.bank_entry AS b ON b.id = c.bank_entry_id AND b.says = 'paid'
                AND (b.attempt_id = a.attempt_id OR b.batch_id = p.batch_id AND b.file = a.file)
            JOIN ONLY settlement.approval AS x ON x.kind = 'payout_correction' AND x.subject = c.bank_entry_id::text
                AND x.content_sha256 = c.content_sha256 AND x.maker = c.maker
            WHERE c.attempt_id = added.attempt_id AND c.content_sha256 = (
                SELECT sha256(convert_to(c.bank_entry_id || E'\n' || string_agg(t.attempt_id || ' ' || t.amount_micros
                           || E'\n', '' ORDER BY t.attempt_id COLLATE "C") || E'\n' || c.reason, 'UTF8'))
                FROM ONLY settlement.payout_correction AS every
                JOIN ONLY settlement.payout_attempt AS t ON t.attempt_id = every.attempt_id
                WHERE every.bank_entry_id = c.bank_entry_id AND every.reason = c.reason))
        OR added.state = 'rejected' AND EXISTS (
            SELECT FROM ONLY settlement.payout_event AS e
            WHERE e.payout_id = added.payout_id AND e.state = 'rejected' AND e.number < added.number)
        OR (added.state = 'ready') AND p.decision <> 'pay' OR (added.state = 'held') AND p.decision = 'pay'
        -- What a bank may hear of names the payout's own attempt, the rest none.
        OR CASE WHEN added.state IN ('held', 'ready', 'cancelled') THEN added.attempt_id IS NOT NULL
                ELSE a.payout_id IS DISTINCT FROM added.payout_id END
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'payout % cannot go from % to %', broken.payout_id, broken.was, broken.becomes
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'payout_states_in_order';
    END IF;
    RETURN NULL;
END
$$;

ALTER TABLE settlement.payout_attempt DROP CONSTRAINT payout_attempt_payout_id_fkey;
ALTER TABLE settlement.payout_event DROP CONSTRAINT payout_event_payout_id_fkey,
    DROP CONSTRAINT payout_event_attempt_id_fkey;

-- How far a batch is: rows that each say the sum so far, so that an answer for one payment does not count a hundred thousand.
-- None is written before a batch is submitted; the first one counts.
SET ROLE royalty_owner;
CREATE TABLE settlement.batch_progress (
    batch_id text NOT NULL,
    number integer NOT NULL,
    waiting integer NOT NULL,
    paid integer NOT NULL,
    rejected integer NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT batch_progress_pkey PRIMARY KEY (batch_id, number),
    CONSTRAINT batch_progress_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES settlement.payout_batch (batch_id),
    CONSTRAINT batch_progress_counts CHECK (number > 0 AND waiting >= 0 AND paid >= 0 AND rejected >= 0)
);
RESET ROLE;
CALL guard.make_append_only('settlement.batch_progress');
GRANT SELECT, INSERT ON settlement.batch_progress TO payer;

-- Whoever pays is debited: a statement that books a batch's payments on another account is another's, or the file was given
-- to another bank. Accounts are compared as they are kept here, masked.
SET ROLE audit_owner;
CREATE VIEW audit.bank_account_faults AS
SELECT DISTINCT m.message_id, s.statement_id, s.account, b.batch_id, d.masked AS debtor_account
FROM settlement.bank_entry AS e
JOIN settlement.bank_statement AS s ON s.bank_message_id = e.bank_message_id AND s.number = e.statement
JOIN settlement.bank_message AS m ON m.id = e.bank_message_id
LEFT JOIN settlement.payout_attempt AS t ON t.attempt_id = e.attempt_id
LEFT JOIN settlement.payout AS p ON p.payout_id = t.payout_id
JOIN settlement.payout_batch AS b ON b.batch_id = coalesce(p.batch_id, e.batch_id)
LEFT JOIN LATERAL (SELECT min(a.masked) AS masked FROM party.bank_account_version AS a
                   WHERE a.payee_id = b.debtor_id AND a.version = b.debtor_version) AS d ON true
WHERE e.says IN ('paid', 'returned') AND s.account IS NOT NULL AND d.masked <> s.account;
RESET ROLE;
COMMENT ON VIEW audit.bank_account_faults IS
    'must be empty: statements that book a batch''s payments on another account than it pays from; accounts masked';
GRANT SELECT ON audit.bank_account_faults TO auditor;

-- What a bank takes for itself: lines that say so, posted to an account of their own.
ALTER TABLE settlement.bank_entry DROP CONSTRAINT bank_entry_says_known, ADD CONSTRAINT bank_entry_says_known CHECK
    (says IN ('noted', 'unknown', 'accepted', 'rejected', 'paid', 'returned', 'mismatch', 'charge', 'unclear'));
DO $$ BEGIN
    EXECUTE replace(pg_get_functiondef('guard.check_account()'::regprocedure), '(''bank'', ''asset''),',
                    '(''bank'', ''asset''), (''bank_charges'', ''expense''),');
END $$;

SET ROLE audit_owner;
CREATE VIEW audit.bank_charges AS
SELECT j.key, j.booked_at, a.currency::text AS currency, l.amount AS amount_micros, j.actor, j.recorded_at
FROM ledger.journal AS j
JOIN ledger.posting AS l ON l.journal_id = j.id
JOIN ledger.account AS a ON a.id = l.account_id
WHERE j.kind = 'bank_charge' AND starts_with(a.code, 'bank_charges:');
RESET ROLE;
COMMENT ON VIEW audit.bank_charges IS
    'what banks charged, from their statements: by the payment and what became of it, or by the bank''s own reference';
GRANT SELECT ON audit.bank_charges TO auditor;

-- That the bank has booked what it had refused: said by one person, approved by another, and only then corrected.
SET ROLE royalty_owner;
CREATE TABLE settlement.payout_correction (
    attempt_id text NOT NULL,
    bank_entry_id bigint NOT NULL,
    reason text NOT NULL,
    maker text NOT NULL,
    content_sha256 bytea NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT payout_correction_pkey PRIMARY KEY (attempt_id),
    CONSTRAINT payout_correction_attempt_id_fkey FOREIGN KEY (attempt_id) REFERENCES settlement.payout_attempt (attempt_id),
    CONSTRAINT payout_correction_bank_entry_id_fkey FOREIGN KEY (bank_entry_id) REFERENCES settlement.bank_entry (id),
    CONSTRAINT payout_correction_content_sha256_length CHECK (octet_length(content_sha256) = 32)
);
CREATE INDEX payout_correction_bank_entry_id_idx ON settlement.payout_correction (bank_entry_id);
ALTER TABLE settlement.approval DROP CONSTRAINT approval_kind_known,
    ADD CONSTRAINT approval_kind_known CHECK (kind IN ('period', 'payout_batch', 'advance', 'payout_correction'));
RESET ROLE;
CALL guard.make_append_only('settlement.payout_correction');
GRANT SELECT, INSERT ON settlement.payout_correction TO payer;
GRANT SELECT ON settlement.payout_correction TO approver;

-- As in 0006; and a batch that was finished waits again for a payment whose refusal is taken back.
CREATE OR REPLACE FUNCTION guard.check_batch_event() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    broken record;
BEGIN
    SELECT added.batch_id, coalesce(p.state, 'nothing') AS was, added.state AS becomes INTO broken
    FROM added LEFT JOIN ONLY settlement.batch_event AS p
        ON p.batch_id = added.batch_id AND p.number = added.number - 1
    WHERE (added.number = 1) <> (added.state = 'draft')
        OR (coalesce(p.state, ''), added.state) NOT IN (VALUES
            ('', 'draft'),
            ('draft', 'approved'), ('draft', 'cancelled'),
            ('approved', 'submitting'), ('approved', 'cancelled'),
            ('submitting', 'submitted'),
            ('submitted', 'partially_settled'), ('submitted', 'settled'), ('submitted', 'failed'),
            ('partially_settled', 'settled'), ('partially_settled', 'failed'),
            ('settled', 'partially_settled'), ('failed', 'partially_settled'))
        OR p.state IN ('settled', 'failed') AND NOT EXISTS (
            SELECT FROM ONLY settlement.payout AS y
            JOIN ONLY settlement.payout_attempt AS t ON t.payout_id = y.payout_id
            JOIN ONLY settlement.payout_correction AS c ON c.attempt_id = t.attempt_id
            JOIN ONLY settlement.approval AS x ON x.kind = 'payout_correction' AND x.subject = c.bank_entry_id::text
                AND x.content_sha256 = c.content_sha256 AND x.maker = c.maker
            WHERE y.batch_id = added.batch_id)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'payout batch % cannot go from % to %', broken.batch_id, broken.was, broken.becomes
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'batch_states_in_order';
    END IF;
    -- Approved is what another person approved, by its digest.
    SELECT added.batch_id INTO broken
    FROM added JOIN ONLY settlement.payout_batch AS b ON b.batch_id = added.batch_id
    WHERE added.state = 'approved' AND NOT EXISTS (
        SELECT FROM ONLY settlement.approval AS a
        WHERE a.kind = 'payout_batch' AND a.subject = b.batch_id AND a.content_sha256 = b.content_sha256
            AND a.maker = b.maker AND a.checker = added.actor)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'nobody has approved this content of payout batch %', broken.batch_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'batch_approved_by_checker';
    END IF;
    RETURN NULL;
END
$$;

SET ROLE audit_owner;
-- As in 0010 and 0007, with corrections.
CREATE OR REPLACE VIEW audit.payout_journals AS
SELECT t.attempt_id, t.payout_id, p.payee_id, p.currency::text AS currency, t.amount_micros AS amount, o.outcome,
       e.occurred_at, e.actor, j.id AS journal_id, j.key, j.booked_at, coalesce(m.payable, 0) AS payable,
       coalesce(m.clearing, 0) AS clearing, coalesce(m.bank, 0) AS bank,
       o.payable * t.amount_micros AS payable_due, o.clearing * t.amount_micros AS clearing_due,
       o.bank * t.amount_micros AS bank_due
FROM settlement.payout_attempt AS t
JOIN settlement.payout AS p ON p.payout_id = t.payout_id
-- By outcome: what moves, as multiples of the amount, debits positive.
CROSS JOIN (VALUES ('reserved', 1, -1, 0), ('paid', 0, 1, -1), ('rejected', -1, 1, 0), ('returned', -1, 0, 1),
                   ('corrected', 1, -1, 0))
    AS o (outcome, payable, clearing, bank)
LEFT JOIN LATERAL (SELECT v.occurred_at, v.actor FROM settlement.payout_event AS v
                   WHERE v.payout_id = t.payout_id AND v.attempt_id = t.attempt_id AND (v.state = o.outcome OR o.outcome = 'corrected' AND v.state = 'submitted' AND v.detail ? 'correction')
                   ORDER BY v.number LIMIT 1) AS e ON true
LEFT JOIN ledger.journal AS j ON j.key = 'attempt:' || t.attempt_id || ':' || o.outcome
LEFT JOIN LATERAL (
    SELECT sum(l.amount) FILTER (WHERE a.code = 'royalties_payable:' || p.payee_id || ':' || p.currency) AS payable,
           sum(l.amount) FILTER (WHERE a.code = 'payout_clearing:' || p.currency) AS clearing,
           sum(l.amount) FILTER (WHERE a.code = 'bank:' || p.currency) AS bank
    FROM ledger.posting AS l JOIN ledger.account AS a ON a.id = l.account_id WHERE l.journal_id = j.id
) AS m ON true
WHERE e.occurred_at IS NOT NULL OR j.id IS NOT NULL;

CREATE OR REPLACE VIEW audit.payout_clearing AS
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
    FROM unnest(ARRAY['reserved', 'paid', 'rejected', 'returned', 'corrected']) AS o (outcome)
    JOIN ledger.journal AS j ON j.key = 'attempt:' || p.attempt_id || ':' || o.outcome
    JOIN ledger.posting AS l ON l.journal_id = j.id
    JOIN ledger.account AS a ON a.id = l.account_id
) AS m ON true;

-- As in 0018.
CREATE OR REPLACE VIEW audit.approvals AS
SELECT a.kind, a.subject, a.maker, a.checker, a.recorded_at, encode(a.content_sha256, 'hex') AS content_sha256,
       CASE a.kind WHEN 'period' THEN r.draft_sha256 = a.content_sha256 WHEN 'advance' THEN d.content_sha256 = a.content_sha256
           WHEN 'payout_correction' THEN c.content_sha256 = a.content_sha256
           ELSE b.content_sha256 = a.content_sha256 END AS is_of_what_was_done
FROM settlement.approval AS a
LEFT JOIN settlement.royalty_run AS r ON a.kind = 'period' AND r.period_id = a.subject AND r.approval_id = a.id
LEFT JOIN settlement.payout_batch AS b ON a.kind = 'payout_batch' AND b.batch_id = a.subject
LEFT JOIN settlement.advance AS d ON a.kind = 'advance' AND d.advance_id = a.subject
LEFT JOIN LATERAL (SELECT c.content_sha256 FROM settlement.payout_correction AS c
                   WHERE a.kind = 'payout_correction' AND c.bank_entry_id::text = a.subject LIMIT 1) AS c ON true;

CREATE VIEW audit.payout_corrections AS
SELECT c.attempt_id, c.bank_entry_id AS entry_id, c.reason, c.maker, x.checker, x.recorded_at AS approved_at,
       e.occurred_at AS carried_out_at, c.recorded_at
FROM settlement.payout_correction AS c
LEFT JOIN settlement.approval AS x ON x.kind = 'payout_correction' AND x.subject = c.bank_entry_id::text
    AND x.content_sha256 = c.content_sha256
LEFT JOIN settlement.payout_event AS e ON e.attempt_id = c.attempt_id AND e.state = 'submitted' AND e.detail ? 'correction';
RESET ROLE;
COMMENT ON VIEW audit.payout_corrections IS
    'payments that the bank had refused and booked all the same: who said so, who approved it, when it was corrected';
GRANT SELECT ON audit.payout_corrections TO auditor;

SET ROLE audit_owner;
CREATE VIEW audit.batch_progress_faults AS
SELECT n.batch_id, n.number, n.waiting, c.waiting AS waiting_due, n.paid, c.paid AS paid_due, n.rejected,
       c.rejected AS rejected_due
FROM (SELECT DISTINCT ON (p.batch_id) p.* FROM settlement.batch_progress AS p ORDER BY p.batch_id, p.number DESC) AS n
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE e.state IN ('submitted', 'accepted', 'unknown')) AS waiting,
           count(*) FILTER (WHERE e.state IN ('paid', 'returned')) AS paid,
           count(*) FILTER (WHERE e.state = 'rejected') AS rejected
    FROM (SELECT DISTINCT ON (v.payout_id) v.state FROM settlement.payout AS y
          JOIN settlement.payout_event AS v ON v.payout_id = y.payout_id
          WHERE y.batch_id = n.batch_id ORDER BY v.payout_id, v.number DESC) AS e
) AS c
WHERE (n.waiting, n.paid, n.rejected) <> (c.waiting, c.paid, c.rejected);
RESET ROLE;
COMMENT ON VIEW audit.batch_progress_faults IS
    'must be empty: batches whose kept counts of payouts are not those of the payouts'' events';
GRANT SELECT ON audit.batch_progress_faults TO auditor;
