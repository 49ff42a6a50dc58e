-- What third parties claim of a payee's money, and what payees object to in their statements.

SET ROLE royalty_owner;
-- A claim as it was opened, and what it moved from the payee's payable to suspense: the smaller of it and what she was owed.
CREATE TABLE settlement.ownership_claim (
    claim_id text NOT NULL,
    payee_id text NOT NULL,
    claimant_id text NOT NULL,
    currency char(3) NOT NULL,
    amount_micros bigint NOT NULL,
    moved_micros bigint NOT NULL,
    reason text NOT NULL,
    evidence text NOT NULL,
    expected_until date,
    claimed_at timestamptz NOT NULL,
    actor text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT ownership_claim_pkey PRIMARY KEY (claim_id),
    CONSTRAINT ownership_claim_payee_id_fkey FOREIGN KEY (payee_id) REFERENCES settlement.payee (payee_id),
    CONSTRAINT ownership_claim_claim_id_form CHECK (claim_id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    CONSTRAINT ownership_claim_claimant_id_form CHECK (claimant_id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    CONSTRAINT ownership_claim_of_another CHECK (claimant_id <> payee_id),
    CONSTRAINT ownership_claim_amounts CHECK (amount_micros > 0 AND moved_micros BETWEEN 0 AND amount_micros),
    CONSTRAINT ownership_claim_said_why CHECK (btrim(reason) <> '' AND btrim(evidence) <> '')
);
CREATE INDEX ownership_claim_payee_id_idx ON settlement.ownership_claim (payee_id);

-- A decision as one person proposes it; in force once another has approved the newest. What is not awarded goes back.
CREATE TABLE settlement.claim_decision (
    claim_id text NOT NULL,
    number bigint NOT NULL,
    awarded_micros bigint NOT NULL,
    reason text NOT NULL,
    content_sha256 bytea NOT NULL,
    maker text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT claim_decision_pkey PRIMARY KEY (claim_id, number),
    CONSTRAINT claim_decision_claim_id_fkey FOREIGN KEY (claim_id) REFERENCES settlement.ownership_claim (claim_id),
    CONSTRAINT claim_decision_awarded CHECK (awarded_micros >= 0 AND number > 0),
    CONSTRAINT claim_decision_said_why CHECK (btrim(reason) <> ''),
    CONSTRAINT claim_decision_content_sha256_length CHECK (octet_length(content_sha256) = 32)
);

-- What a payee objects to: a statement, or one line or sale of it. It moves nothing. Who opened it for her; NULL: she did.
CREATE TABLE settlement.dispute (
    id bigint GENERATED ALWAYS AS IDENTITY,
    payee_id text NOT NULL,
    statement_id text NOT NULL,
    about text NOT NULL,
    subject text,
    actor text,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT dispute_pkey PRIMARY KEY (id),
    CONSTRAINT dispute_payee_id_fkey FOREIGN KEY (payee_id) REFERENCES settlement.payee (payee_id),
    CONSTRAINT dispute_statement_id_fkey FOREIGN KEY (statement_id) REFERENCES settlement.statement (statement_id),
    CONSTRAINT dispute_about_known CHECK (about IN ('statement', 'line', 'sale')),
    CONSTRAINT dispute_subject_if_part CHECK ((about = 'statement') = (subject IS NULL)),
    -- <period>/<payee>/<currency>; neither a payee's id nor a period's has a slash.
    CONSTRAINT dispute_of_own_statement CHECK (split_part(statement_id, '/', 2) = payee_id)
);
CREATE INDEX dispute_payee_id_idx ON settlement.dispute (payee_id);
CREATE INDEX dispute_statement_id_idx ON settlement.dispute (statement_id);

CREATE TABLE settlement.dispute_answer (
    dispute_id bigint NOT NULL,
    outcome text NOT NULL,
    reason text NOT NULL,
    correction_id text,
    actor text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT dispute_answer_pkey PRIMARY KEY (dispute_id),
    CONSTRAINT dispute_answer_dispute_id_fkey FOREIGN KEY (dispute_id) REFERENCES settlement.dispute (id),
    CONSTRAINT dispute_answer_correction_id_fkey FOREIGN KEY (correction_id)
        REFERENCES settlement.correction (correction_id),
    CONSTRAINT dispute_answer_outcome_known CHECK (outcome IN ('accepted', 'rejected')),
    CONSTRAINT dispute_answer_said_why CHECK (btrim(reason) <> ''),
    CONSTRAINT dispute_answer_corrects_if_accepted CHECK (correction_id IS NULL OR outcome = 'accepted')
);

-- A payee's own words are hers, and go when she is erased.
CREATE TABLE party.dispute_words (
    dispute_id bigint NOT NULL,
    words text NOT NULL,
    CONSTRAINT dispute_words_pkey PRIMARY KEY (dispute_id),
    CONSTRAINT dispute_words_dispute_id_fkey FOREIGN KEY (dispute_id) REFERENCES settlement.dispute (id),
    CONSTRAINT dispute_words_length CHECK (btrim(words) <> '' AND length(words) <= 4000)
);
RESET ROLE;

CALL guard.make_append_only('settlement.ownership_claim');
CALL guard.make_append_only('settlement.claim_decision');
CALL guard.make_append_only('settlement.dispute');
CALL guard.make_append_only('settlement.dispute_answer');

-- One writer at a time, as of refunds.
CREATE TRIGGER in_turn BEFORE INSERT ON settlement.ownership_claim FOR EACH STATEMENT EXECUTE FUNCTION guard.write_in_turn();
CREATE TRIGGER in_turn BEFORE INSERT ON settlement.claim_decision FOR EACH STATEMENT EXECUTE FUNCTION guard.write_in_turn();
CREATE TRIGGER in_turn BEFORE INSERT ON settlement.dispute FOR EACH STATEMENT EXECUTE FUNCTION guard.write_in_turn();
ALTER TABLE settlement.ownership_claim ENABLE ALWAYS TRIGGER in_turn;
ALTER TABLE settlement.claim_decision ENABLE ALWAYS TRIGGER in_turn;
ALTER TABLE settlement.dispute ENABLE ALWAYS TRIGGER in_turn;

-- What a claim says it moved its journal has moved, and not more than there was.
CREATE FUNCTION guard.check_claim() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    payable text := 'royalties_payable:' || NEW.payee_id || ':' || NEW.currency;
    posted text[];
    due text[];
BEGIN
    SELECT array_agg(a.code || ' ' || p.amount ORDER BY p.amount) INTO posted
    FROM ONLY ledger.journal AS j
    JOIN ONLY ledger.posting AS p ON p.journal_id = j.id
    JOIN ONLY ledger.account AS a ON a.id = p.account_id
    WHERE j.key = 'claim:' || NEW.claim_id || ':opened';
    IF NEW.moved_micros > 0 THEN
        due := ARRAY['suspense_disputed:' || NEW.currency || ' ' || -NEW.moved_micros, payable || ' ' || NEW.moved_micros];
    END IF;
    IF posted IS DISTINCT FROM due THEN
        RAISE EXCEPTION 'the journal of claim % does not move what the claim says', NEW.claim_id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'claim_moves_what_it_says';
    END IF;
    IF NEW.moved_micros > 0 AND (
        SELECT sum(p.amount) FROM ONLY ledger.posting AS p
        WHERE p.account_id = (SELECT a.id FROM ONLY ledger.account AS a WHERE a.code = payable)) > 0 THEN
        RAISE EXCEPTION 'claim % moves more than payee % is owed', NEW.claim_id, NEW.payee_id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'claim_within_balance';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_claim() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_claim() FROM PUBLIC;
-- At the commit: the journal is posted beside the claim.
CREATE CONSTRAINT TRIGGER claim_moves_what_it_says AFTER INSERT ON settlement.ownership_claim
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION guard.check_claim();
ALTER TABLE settlement.ownership_claim ENABLE ALWAYS TRIGGER claim_moves_what_it_says;

-- What is approved is the digest of what is decided; it is for a registered payee; and what is decided stays so.
CREATE FUNCTION guard.check_claim_decision() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    claim record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('claim:' || NEW.claim_id, 0));
    SELECT c.payee_id, c.claimant_id, c.currency, c.moved_micros INTO claim
    FROM ONLY settlement.ownership_claim AS c WHERE c.claim_id = NEW.claim_id;
    IF NEW.awarded_micros > claim.moved_micros THEN
        RAISE EXCEPTION 'claim % is awarded more than it moved', NEW.claim_id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'awarded_of_what_was_moved';
    END IF;
    IF NEW.awarded_micros > 0 AND NOT EXISTS (
        SELECT FROM ONLY settlement.payee AS p WHERE p.payee_id = claim.claimant_id) THEN
        RAISE EXCEPTION 'claimant % of claim % is no payee', claim.claimant_id, NEW.claim_id
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'awarded_to_a_payee';
    END IF;
    IF NEW.content_sha256 <> sha256(convert_to(concat_ws(E'\n', 'claim', NEW.claim_id, NEW.number, claim.payee_id,
            claim.claimant_id, claim.currency, claim.moved_micros, NEW.awarded_micros, NEW.reason), 'UTF8')) THEN
        RAISE EXCEPTION 'the digest of decision % of claim % is of something else', NEW.number, NEW.claim_id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'digest_of_the_decision';
    END IF;
    IF NEW.number <> 1 + (SELECT count(*) FROM ONLY settlement.claim_decision AS d
                          WHERE d.claim_id = NEW.claim_id AND d.number < NEW.number)
        OR EXISTS (SELECT FROM ONLY settlement.approval AS a
                   WHERE a.kind = 'ownership_claim' AND a.subject = NEW.claim_id) THEN
        RAISE EXCEPTION 'claim % is decided already', NEW.claim_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'claim_decided_once';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_claim_decision() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_claim_decision() FROM PUBLIC;
CREATE TRIGGER claim_decided_once AFTER INSERT ON settlement.claim_decision
    FOR EACH ROW EXECUTE FUNCTION guard.check_claim_decision();
ALTER TABLE settlement.claim_decision ENABLE ALWAYS TRIGGER claim_decided_once;

-- An approval is of the newest decision that was proposed, and by nobody who opened the claim.
CREATE FUNCTION guard.check_claim_approval() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('claim:' || NEW.subject, 0));
    IF NOT EXISTS (
        SELECT FROM (SELECT d.content_sha256, d.maker FROM ONLY settlement.claim_decision AS d
                     WHERE d.claim_id = NEW.subject ORDER BY d.number DESC LIMIT 1) AS newest
        WHERE newest.content_sha256 = NEW.content_sha256 AND newest.maker = NEW.maker) THEN
        RAISE EXCEPTION 'no such decision of claim % is proposed by %', NEW.subject, NEW.maker
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'approval_of_newest_decision';
    END IF;
    IF EXISTS (SELECT FROM ONLY settlement.ownership_claim AS c
               WHERE c.claim_id = NEW.subject AND c.actor = NEW.checker) THEN
        RAISE EXCEPTION '% has opened claim % and cannot approve its decision', NEW.checker, NEW.subject
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'opener_is_not_checker';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_claim_approval() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_claim_approval() FROM PUBLIC;
CREATE TRIGGER claim_approval AFTER INSERT ON settlement.approval
    FOR EACH ROW WHEN (NEW.kind = 'ownership_claim') EXECUTE FUNCTION guard.check_claim_approval();
ALTER TABLE settlement.approval ENABLE ALWAYS TRIGGER claim_approval;
-- Decided once, for good.
CREATE UNIQUE INDEX approval_claim_decided_once ON settlement.approval (subject) WHERE kind = 'ownership_claim';
DO $$ BEGIN
    EXECUTE (
        SELECT format('ALTER TABLE settlement.approval DROP CONSTRAINT approval_kind_known, ADD CONSTRAINT approval_kind_known %s',
                      replace(pg_get_constraintdef(oid), '''period''::text', '''period''::text, ''ownership_claim''::text'))
        FROM pg_constraint WHERE conrelid = 'settlement.approval'::regclass AND conname = 'approval_kind_known');
END $$;

-- The matrix has another account, and other keys that whoever pays does not post under.
DO $$ BEGIN
    EXECUTE replace(pg_get_functiondef('guard.check_account()'::regprocedure), '(''suspense_pending'', ''liability''),',
                    '(''suspense_pending'', ''liability''), (''suspense_disputed'', ''liability''),');
    EXECUTE replace(pg_get_functiondef('guard.check_key()'::regprocedure), '''sale'', ''refund'',',
                    '''sale'', ''refund'', ''claim'',');
    IF pg_get_functiondef('guard.check_account()'::regprocedure) !~ 'suspense_disputed'
        OR pg_get_functiondef('guard.check_key()'::regprocedure) !~ '''claim''' THEN
        RAISE EXCEPTION 'the guards of keys and accounts are not as this migration knows them';
    END IF;
END $$;

-- What rows of their own explain is not reversed beside them: a reserve, withheld tax, an advance, an exchange, suspense or a
-- payout under way would be one thing by its rows and another by the ledger. An advance that nothing is recouped of is
-- returned, a refusal that the bank takes back is corrected, each by its own rule; what else was wrong is corrected by what
-- decided it. Looked at for journals that reverse one, and no others.
CREATE FUNCTION guard.check_reversal() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    reversed record;
    explained text;
BEGIN
    SELECT j.key, j.kind INTO reversed FROM ONLY ledger.journal AS j WHERE j.id = NEW.reverses;
    IF (reversed.kind, NEW.kind) IN (('payout_rejected', 'payout_corrected'), ('advance', 'advance_returned')) THEN
        -- As `write_in_turn` has it: a close that recoups is waited for.
        IF reversed.kind = 'advance' THEN
            PERFORM pg_advisory_xact_lock(hashtextextended('settlement.recoupment', 0));
            IF EXISTS (SELECT FROM ONLY settlement.recoupment AS r WHERE 'advance:' || r.advance_id = reversed.key) THEN
                RAISE EXCEPTION 'journal % is of an advance of which something is recouped', reversed.key
                    USING ERRCODE = 'restrict_violation', CONSTRAINT = 'returned_before_recouped';
            END IF;
        END IF;
        RETURN NULL;
    END IF;
    SELECT split_part(a.code, ':', 1) INTO explained
    FROM ONLY ledger.posting AS p JOIN ONLY ledger.account AS a ON a.id = p.account_id
    WHERE p.journal_id = NEW.reverses AND split_part(a.code, ':', 1) IN (
        'reserve', 'tax_withheld', 'advances', 'fx_position', 'suspense_pending', 'suspense_unclaimed',
        'suspense_unattributed', 'suspense_disputed', 'payout_clearing') ORDER BY 1 LIMIT 1;
    IF explained IS NOT NULL THEN
        RAISE EXCEPTION 'journal % moves %, which rows of its own explain: %', reversed.key, explained,
            CASE WHEN reversed.kind = 'advance' THEN 'say that the advance came back (`royalty advance return`)'
                 WHEN reversed.kind = 'tax_remitted' THEN 'remit so much less the next time'
                 WHEN starts_with(reversed.kind, 'claim_') THEN 'decide the claim (`royalty claim decide`)'
                 WHEN starts_with(reversed.kind, 'payout_') THEN 'say what the bank has done (`royalty payout settle`)'
                 ELSE 'correct what it decided (`royalty correction propose`)' END
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'reversed_by_its_rule';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_reversal() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_reversal() FROM PUBLIC;
CREATE TRIGGER reversed_by_its_rule AFTER INSERT ON ledger.journal
    FOR EACH ROW WHEN (NEW.reverses IS NOT NULL) EXECUTE FUNCTION guard.check_reversal();
ALTER TABLE ledger.journal ENABLE ALWAYS TRIGGER reversed_by_its_rule;

-- Nor is an advance recouped that came back.
DO $$ DECLARE
    definition text := pg_get_functiondef('guard.check_recoupments()'::regprocedure);
    edited text := replace(definition, E'    RETURN NULL;\nEND', concat_ws(E'\n',
        '    SELECT n.advance_id INTO broken FROM added AS n',
        '    JOIN ONLY ledger.journal AS j ON j.key = ''advance:'' || n.advance_id || '':returned'' LIMIT 1;',
        '    IF broken IS NOT NULL THEN',
        '        RAISE EXCEPTION ''advance % came back and is not recouped'', broken',
        '            USING ERRCODE = ''integrity_constraint_violation'', CONSTRAINT = ''returned_before_recouped'';',
        '    END IF;',
        '    RETURN NULL;', 'END'));
BEGIN
    IF edited = definition THEN
        RAISE EXCEPTION 'guard.check_recoupments is not as this migration knows it';
    END IF;
    EXECUTE edited;
END $$;

-- Whoever is erased loses the words of her disputes; a user who may open disputes for her alone is there for her alone too.
DO $$ DECLARE
    definition text := pg_get_functiondef('guard.erase_payee(text, text, text)'::regprocedure);
BEGIN
    definition := replace(definition, 'DELETE FROM party.bank_account_version AS b WHERE', concat_ws(E'\n    ',
        'DELETE FROM party.dispute_words AS w USING settlement.dispute AS d',
        'WHERE d.id = w.dispute_id AND d.payee_id = erased_payee;',
        'GET DIAGNOSTICS found = ROW_COUNT;',
        'gone := gone + found;',
        'DELETE FROM party.bank_account_version AS b WHERE'));
    definition := replace(definition, 'ARRAY[''statements:read'']', 'ARRAY[''statements:read'', ''disputes:write'']');
    IF definition !~ 'dispute_words' OR definition !~ 'disputes:write' THEN
        RAISE EXCEPTION 'guard.erase_payee is not as this migration knows it';
    END IF;
    EXECUTE definition;
END $$;

-- Grants --------------------------------------------------------------------------------------------------------------

GRANT SELECT, INSERT ON settlement.ownership_claim, settlement.claim_decision, settlement.dispute, settlement.dispute_answer,
    party.dispute_words TO settlement;
GRANT SELECT ON settlement.ownership_claim, settlement.claim_decision TO approver;
GRANT SELECT ON settlement.ownership_claim, settlement.claim_decision, settlement.dispute TO royalty_guard;
GRANT SELECT, DELETE ON party.dispute_words TO royalty_guard;
GRANT SELECT (id, payee_id, statement_id, about, subject, recorded_at) ON settlement.dispute TO portal;
GRANT SELECT (dispute_id, outcome, reason, correction_id, recorded_at) ON settlement.dispute_answer TO portal;
GRANT SELECT ON party.dispute_words TO portal;
ALTER TABLE settlement.dispute ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON settlement.dispute FOR SELECT TO portal
    USING (payee_id = ANY (ARRAY(SELECT a.payee_id FROM access.payee_access AS a)));
CREATE POLICY guard_all ON settlement.dispute FOR SELECT TO royalty_guard USING (true);
ALTER TABLE settlement.dispute_answer ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON settlement.dispute_answer FOR SELECT TO portal
    USING (dispute_id IN (SELECT d.id FROM settlement.dispute AS d));
ALTER TABLE party.dispute_words ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON party.dispute_words FOR SELECT TO portal
    USING (dispute_id IN (SELECT d.id FROM settlement.dispute AS d));
CREATE POLICY guard_all ON party.dispute_words TO royalty_guard USING (true);

-- What an auditor reads ---------------------------------------------------------------------------------------------

SET ROLE audit_owner;
CREATE VIEW audit.ownership_claims AS
SELECT c.claim_id, c.payee_id, c.claimant_id, c.currency::text AS currency, c.amount_micros AS claimed, c.moved_micros AS moved,
       CASE WHEN j.key IS NOT NULL OR c.moved_micros = 0 AND a.id IS NOT NULL THEN 'decided'
            WHEN a.id IS NOT NULL THEN 'approved' WHEN d.number IS NOT NULL THEN 'proposed' ELSE 'open' END AS state,
       d.awarded_micros AS awarded, c.moved_micros - d.awarded_micros AS given_back, c.actor AS opened_by, d.maker, a.checker,
       c.claimed_at, o.booked_at, j.booked_at AS decided_at, c.reason, c.evidence, d.reason AS decided_because,
       c.expected_until, c.recorded_at
FROM settlement.ownership_claim AS c
LEFT JOIN settlement.approval AS a ON a.kind = 'ownership_claim' AND a.subject = c.claim_id
-- The one that was approved; until then the newest.
LEFT JOIN LATERAL (SELECT d.* FROM settlement.claim_decision AS d
                   WHERE d.claim_id = c.claim_id AND d.content_sha256 = coalesce(a.content_sha256, d.content_sha256)
                   ORDER BY d.number DESC LIMIT 1) AS d ON true
LEFT JOIN ledger.journal AS o ON o.key = 'claim:' || c.claim_id || ':opened'
LEFT JOIN ledger.journal AS j ON j.key = 'claim:' || c.claim_id || ':decided';
COMMENT ON VIEW audit.ownership_claims IS
    'what third parties claimed of payees'' money, what was moved to suspense for it, and who decided whose it is';

CREATE VIEW audit.claim_decisions AS
SELECT d.claim_id, d.number, d.awarded_micros AS awarded, d.reason, d.maker, a.checker, a.recorded_at AS approved_at,
       encode(d.content_sha256, 'hex') AS content_sha256, d.recorded_at
FROM settlement.claim_decision AS d
LEFT JOIN settlement.approval AS a ON a.kind = 'ownership_claim' AND a.subject = d.claim_id
    AND a.content_sha256 = d.content_sha256;
COMMENT ON VIEW audit.claim_decisions IS 'every decision of a claim that was proposed; the one that was approved has a checker';

-- Every moved amount is in suspense, or was decided once: by account what each claim's journals should have moved and did.
CREATE VIEW audit.claim_faults AS
WITH due AS (
    SELECT 'claim:' || c.claim_id || ':opened' AS key, 'royalties_payable:' || c.payee_id || ':' || c.currency AS account,
           c.moved AS amount FROM audit.ownership_claims AS c
    UNION ALL
    SELECT 'claim:' || c.claim_id || ':opened', 'suspense_disputed:' || c.currency, -c.moved FROM audit.ownership_claims AS c
    UNION ALL
    SELECT 'claim:' || c.claim_id || ':decided', v.account, v.amount
    FROM audit.ownership_claims AS c
    CROSS JOIN LATERAL (VALUES
        ('suspense_disputed:' || c.currency, c.moved),
        ('royalties_payable:' || c.claimant_id || ':' || c.currency, -c.awarded),
        ('royalties_payable:' || c.payee_id || ':' || c.currency, -c.given_back)) AS v (account, amount)
    -- Approved by two people; one that is approved and not posted yet still lies in suspense.
    WHERE c.state = 'decided' AND c.checker <> c.maker AND c.checker <> c.opened_by
),
-- By key and by account: who posts there posts what a claim decides, and what a claim decides is posted nowhere else.
posted AS (
    SELECT j.key, a.code AS account, p.amount
    FROM ledger.journal AS j
    JOIN ledger.posting AS p ON p.journal_id = j.id
    JOIN ledger.account AS a ON a.id = p.account_id
    WHERE j.id IN (SELECT x.id FROM ledger.journal AS x WHERE starts_with(x.key, 'claim:')
                   UNION
                   SELECT l.journal_id FROM ledger.posting AS l JOIN ledger.account AS s ON s.id = l.account_id
                   WHERE starts_with(s.code, 'suspense_disputed:'))
)
SELECT x.key, x.account, sum(x.due) AS expected, sum(x.posted) AS found
FROM (SELECT key, account, amount AS due, 0 AS posted FROM due
      UNION ALL SELECT key, account, 0, amount FROM posted) AS x
GROUP BY x.key, x.account HAVING sum(x.due) <> sum(x.posted);
COMMENT ON VIEW audit.claim_faults IS
    'must be empty: what ownership claims moved, and what two people decided of them, against their journals';

-- As in 0007, with what is claimed.
CREATE OR REPLACE VIEW audit.suspense_tie_out AS
SELECT coalesce(l.account, b.account) AS account, coalesce(l.amount, 0) AS lines_say, coalesce(b.amount, 0) AS ledger_says
FROM (
    SELECT x.account, sum(x.amount) AS amount
    FROM (SELECT 'suspense_' || destination || ':' || coalesce(artist_id || ':', '') || currency AS account, amount
          FROM audit.suspense_ageing
          UNION ALL
          SELECT 'suspense_disputed:' || currency, moved FROM audit.ownership_claims WHERE state <> 'decided') AS x
    GROUP BY x.account
) AS l
FULL JOIN (
    SELECT a.code AS account, -sum(p.amount) AS amount
    FROM ledger.account AS a JOIN ledger.posting AS p ON p.account_id = a.id
    WHERE starts_with(a.code, 'suspense_') GROUP BY a.code HAVING sum(p.amount) <> 0
) AS b ON b.account = l.account
WHERE coalesce(l.amount, 0) <> coalesce(b.amount, 0);

-- As in 0018; and an advance that came back is not outstanding.
CREATE OR REPLACE VIEW audit.advances AS
SELECT a.advance_id, a.payee_id, a.currency::text AS currency, a.amount_micros, a.actor AS maker, p.checker, j.booked_at AS paid_at,
       coalesce(r.amount, 0) AS recouped, CASE WHEN j.key IS NULL THEN NULL WHEN b.key IS NOT NULL THEN 0
       ELSE a.amount_micros - coalesce(r.amount, 0) END AS outstanding, a.reason, a.recorded_at
FROM settlement.advance AS a
LEFT JOIN settlement.approval AS p ON p.kind = 'advance' AND p.subject = a.advance_id AND p.content_sha256 = a.content_sha256
LEFT JOIN ledger.journal AS j ON j.key = 'advance:' || a.advance_id
LEFT JOIN ledger.journal AS b ON b.key = 'advance:' || a.advance_id || ':returned'
LEFT JOIN (SELECT advance_id, sum(amount_micros) AS amount FROM settlement.recoupment GROUP BY advance_id) AS r
    ON r.advance_id = a.advance_id;

CREATE VIEW audit.disputes AS
SELECT d.id AS dispute, d.payee_id, d.statement_id, d.about, d.subject, w.words, d.actor AS opened_by, d.recorded_at AS opened_at,
       a.outcome, a.reason, a.correction_id, a.actor AS answered_by, a.recorded_at AS answered_at
FROM settlement.dispute AS d
LEFT JOIN party.dispute_words AS w ON w.dispute_id = d.id
LEFT JOIN settlement.dispute_answer AS a ON a.dispute_id = d.id;
COMMENT ON VIEW audit.disputes IS
    'what payees objected to, in their own words while those are kept, and what was answered; opened_by null: by the payee';

-- Claims have an item of their own, and are no adjustments: in the definition that there is.
DO $$ DECLARE
    definition text := pg_get_viewdef('audit.statement_tie_out'::regclass);
    edit record;
    edited text;
BEGIN
    FOR edit IN VALUES
        ('(\(''payments''::text,\s*s\.payments\))', '\1, (''claims''::text, s.claims)'),
        ('(\(''adjustments''::text,\s*CASE)', '(''claims''::text, CASE WHEN p.name = ''royalties_payable'' AND starts_with(p.kind, ''claim_'')'
            ' THEN p.amount ELSE (0)::numeric END), \1'),
        ('(NOT starts_with\(p\.kind, ''payout_''::text\))', '\1 AND NOT starts_with(p.kind, ''claim_''::text)'),
        ('(''payments''::text, ''reserves''::text, ''adjustments''::text)(\]\)\) THEN sums\.ledger)', '\1, ''claims''::text\2')
    LOOP
        edited := regexp_replace(definition, edit.column1, edit.column2);
        IF edited = definition THEN
            RAISE EXCEPTION 'audit.statement_tie_out is not as this migration knows it: %', edit.column1;
        END IF;
        definition := edited;
    END LOOP;
    EXECUTE 'CREATE OR REPLACE VIEW audit.statement_tie_out AS ' || definition;
END $$;

-- As in 0019, with claims: approved is the decision that is kept.
DO $$ DECLARE
    definition text := pg_get_viewdef('audit.approvals'::regclass);
    edited text := regexp_replace(definition, '(CASE a\.kind)',
        '\1 WHEN ''ownership_claim''::text THEN EXISTS (SELECT FROM settlement.claim_decision AS cd'
        ' WHERE cd.claim_id = a.subject AND cd.content_sha256 = a.content_sha256 AND cd.maker = a.maker)');
BEGIN
    IF edited = definition THEN
        RAISE EXCEPTION 'audit.approvals is not as this migration knows it';
    END IF;
    EXECUTE 'CREATE OR REPLACE VIEW audit.approvals AS ' || edited;
END $$;
RESET ROLE;
