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
            ('paid', 'returned'))
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
