-- Gates before approval: what each found is kept with the draft, and what a checker lets pass is on record for ever.

SET ROLE royalty_owner;
-- A draft of before there were gates has none, and so cannot be approved: it is calculated again.
ALTER TABLE settlement.run_draft ADD COLUMN gates jsonb NOT NULL DEFAULT '{}';
ALTER TABLE settlement.run_draft ALTER COLUMN gates DROP DEFAULT;
ALTER TABLE settlement.platform_version ADD COLUMN pending_limit_ppb bigint,
    ADD CONSTRAINT platform_version_pending_limit_is_share CHECK (pending_limit_ppb BETWEEN 0 AND 1000000000);

CREATE TABLE settlement.gate_acceptance (
    id bigint GENERATED ALWAYS AS IDENTITY,
    period_id text NOT NULL,
    draft_sha256 bytea NOT NULL,
    gate text NOT NULL,
    findings jsonb NOT NULL,
    reason text NOT NULL,
    checker text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT gate_acceptance_pkey PRIMARY KEY (id),
    CONSTRAINT gate_acceptance_period_id_fkey FOREIGN KEY (period_id) REFERENCES settlement.period (period_id),
    CONSTRAINT gate_acceptance_draft_sha256_length CHECK (octet_length(draft_sha256) = 32),
    CONSTRAINT gate_acceptance_said_why CHECK (btrim(reason) <> '')
);
CREATE INDEX gate_acceptance_period_id_draft_sha256_idx ON settlement.gate_acceptance (period_id, draft_sha256);
RESET ROLE;
CALL guard.make_append_only('settlement.gate_acceptance');
GRANT SELECT ON settlement.gate_acceptance TO settlement, royalty_guard;
GRANT SELECT, INSERT ON settlement.gate_acceptance TO approver;

-- Whose account was changed, and whose is another's too: told by keyed digests, which nobody but who pays may read. So who
-- calculates is told the answer and not the digests.

-- Of each payee the account in force, the last version before it whose account was another, and the first after that. Her
-- first account is no change; the same account recorded again, with another name or under another key, is none either.
CREATE FUNCTION settlement.accounts_changed(after timestamptz) RETURNS TABLE (payee_id text, since timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH newest AS (
        SELECT DISTINCT ON (b.payee_id) b.payee_id, b.key_id, b.fingerprint FROM party.bank_account_version AS b
        ORDER BY b.payee_id, b.version DESC, b.recorded_at DESC
    ), version AS (
        SELECT b.payee_id, b.version, min(b.recorded_at) AS recorded_at FROM party.bank_account_version AS b GROUP BY 1, 2
    ), other AS (
        SELECT v.payee_id, max(v.version) AS version
        FROM version AS v JOIN newest AS n ON n.payee_id = v.payee_id
        WHERE NOT EXISTS (SELECT FROM party.bank_account_version AS b
                          WHERE b.payee_id = v.payee_id AND b.version = v.version
                            AND b.key_id = n.key_id AND b.fingerprint = n.fingerprint)
        GROUP BY 1
    )
    SELECT v.payee_id, min(v.recorded_at) FROM other AS o
    JOIN version AS v ON v.payee_id = o.payee_id AND v.version > o.version
    GROUP BY 1 HAVING min(v.recorded_at) > after
$$;
CREATE FUNCTION settlement.shared_accounts() RETURNS TABLE (payee_id text, others text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH newest AS (
        SELECT DISTINCT ON (p.payee_id) p.payee_id, p.version FROM party.party_version AS p
        ORDER BY p.payee_id, p.version DESC
    ), account AS (
        SELECT b.payee_id, b.key_id, b.fingerprint FROM newest AS n
        JOIN party.bank_account_version AS b ON b.payee_id = n.payee_id AND b.version = n.version
    ), shared AS (
        SELECT a.key_id, a.fingerprint FROM account AS a GROUP BY 1, 2 HAVING count(*) > 1
    )
    SELECT a.payee_id, array_agg(DISTINCT o.payee_id ORDER BY o.payee_id)
    FROM shared AS s
    JOIN account AS a ON a.key_id = s.key_id AND a.fingerprint = s.fingerprint
    JOIN account AS o ON o.key_id = s.key_id AND o.fingerprint = s.fingerprint AND o.payee_id <> a.payee_id
    GROUP BY 1
$$;
ALTER FUNCTION settlement.accounts_changed(timestamptz) OWNER TO royalty_owner;
ALTER FUNCTION settlement.shared_accounts() OWNER TO royalty_owner;
REVOKE ALL ON FUNCTION settlement.accounts_changed(timestamptz), settlement.shared_accounts() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION settlement.accounts_changed(timestamptz), settlement.shared_accounts() TO settlement, payer;

-- As before; and a period is approved only if its draft passed every gate, or its approval's checker has accepted word for
-- word what a gate found that may be accepted.
CREATE OR REPLACE FUNCTION guard.check_period() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    states text[] := ARRAY['open', 'cut_off', 'calculated', 'in_review', 'approved', 'closed'];
    gates text[] := ARRAY['conservation', 'continuity', 'negative_balances', 'pending_share', 'new_bank_details',
                          'shared_accounts'];
    draft settlement.run_draft;
    shut text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF EXISTS (SELECT FROM ONLY settlement.period AS other WHERE other.period_id <> NEW.period_id
                   AND other.starts_at < NEW.ends_at AND NEW.starts_at < other.ends_at) THEN
            RAISE EXCEPTION 'period % overlaps another', NEW.period_id
                USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'periods_do_not_overlap';
        END IF;
        IF NEW.state <> 'open' THEN
            RAISE EXCEPTION 'a period begins open' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSE
        IF (NEW.period_id, NEW.starts_at, NEW.ends_at, NEW.zone, NEW.recorded_at)
           IS DISTINCT FROM (OLD.period_id, OLD.starts_at, OLD.ends_at, OLD.zone, OLD.recorded_at)
           -- The cut-off is set once, by the step that cuts the period off.
           OR NEW.cut_off_at IS DISTINCT FROM OLD.cut_off_at AND NOT (OLD.cut_off_at IS NULL AND OLD.state = 'open') THEN
            RAISE EXCEPTION 'the bounds of period % are fixed', OLD.period_id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'period_bounds_fixed';
        END IF;
        -- A calculation may be thrown away and made again until somebody has approved it; nothing else goes back.
        IF NEW.state <> OLD.state
           AND pg_catalog.array_position(states, NEW.state) <> pg_catalog.array_position(states, OLD.state) + 1
           AND NOT (NEW.state = 'calculated' AND OLD.state IN ('in_review', 'approved')) THEN
            RAISE EXCEPTION 'period % cannot go from % to %', OLD.period_id, OLD.state, NEW.state
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'period_moves_forward';
        END IF;
        IF NEW.state = 'approved' THEN
            SELECT d.* INTO draft FROM ONLY settlement.run_draft AS d WHERE d.period_id = NEW.period_id;
            IF NOT EXISTS (
                SELECT FROM ONLY settlement.approval AS a WHERE a.kind = 'period' AND a.subject = NEW.period_id
                AND a.content_sha256 = draft.draft_sha256) THEN
                RAISE EXCEPTION 'nobody has approved this draft of period %', NEW.period_id
                    USING ERRCODE = 'restrict_violation', CONSTRAINT = 'period_approved_by_checker';
            END IF;
            SELECT g.gate INTO shut FROM unnest(gates) AS g (gate)
            WHERE draft.gates -> g.gate -> 'found' IS DISTINCT FROM '0'::jsonb AND (
                draft.gates -> g.gate IS NULL OR g.gate IN ('conservation', 'continuity') OR NOT EXISTS (
                    SELECT FROM ONLY settlement.gate_acceptance AS w
                    JOIN ONLY settlement.approval AS a ON a.kind = 'period' AND a.subject = w.period_id
                        AND a.content_sha256 = w.draft_sha256 AND a.checker = w.checker
                    WHERE w.period_id = NEW.period_id AND w.draft_sha256 = draft.draft_sha256 AND w.gate = g.gate
                        AND w.findings = draft.gates -> g.gate))
            LIMIT 1;
            IF shut IS NOT NULL THEN
                RAISE EXCEPTION 'the gate % of period % has findings that nobody accepted', shut, NEW.period_id
                    USING ERRCODE = 'restrict_violation', CONSTRAINT = 'period_passed_its_gates';
            END IF;
        END IF;
        IF NEW.state = 'closed' AND NOT EXISTS (
            SELECT FROM ONLY settlement.royalty_run AS r JOIN ONLY settlement.approval AS a ON a.id = r.approval_id
            WHERE r.period_id = NEW.period_id AND a.kind = 'period' AND a.subject = NEW.period_id
            AND a.content_sha256 = r.draft_sha256) THEN
            RAISE EXCEPTION 'period % has no run that was approved', NEW.period_id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'period_closed_as_approved';
        END IF;
    END IF;
    RETURN NULL;
END
$$;

SET ROLE audit_owner;
CREATE VIEW audit.gate_acceptances AS
SELECT period_id, encode(draft_sha256, 'hex') AS draft_sha256, gate, (findings ->> 'found')::bigint AS found, findings,
       reason, checker, recorded_at
FROM settlement.gate_acceptance;
CREATE OR REPLACE VIEW audit.platform_changes AS
SELECT valid_from, lead(valid_from) OVER (ORDER BY valid_from) AS valid_to, platform_payee_id, model_developer_id,
       default_rate_card_id, zone, minimum_payout, actor, reason, recorded_at,
       recorded_at > valid_from AS recorded_after_its_start, bank_details_cooling_off_days,
       fallback_after_periods, fallback_key, zero_statements, pending_limit_ppb
FROM settlement.platform_version;
CREATE OR REPLACE VIEW audit.frozen_platform_version AS
SELECT p.period_id AS frozen_in, t.id::text COLLATE "C" AS frozen_key, t.id, t.valid_from, t.platform_payee_id,
       t.model_developer_id, t.default_rate_card_id, t.zone, t.minimum_payout, t.dispute_contact, t.dispute_days, t.actor,
       t.reason, t.recorded_at, t.bank_details_cooling_off_days, t.fallback_after_periods,
       t.fallback_key, t.zero_statements, t.pending_limit_ppb
FROM settlement.royalty_run AS p JOIN settlement.platform_version AS t ON t.recorded_at < p.recorded_at;
COMMENT ON VIEW audit.gate_acceptances IS
    'what a checker let pass when a period was approved: the gate, what it had found, why and who';
GRANT SELECT ON audit.gate_acceptances TO auditor;
RESET ROLE;
