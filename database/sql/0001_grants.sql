-- Who may do what. Login roles have SELECT and INSERT where their work needs it, UPDATE on work in progress only, and no
-- DELETE on history. `created_by` and `recorded_at` are the database's to fill: INSERT is granted by column where it matters.

GRANT USAGE ON SCHEMA attribution TO attribution, settlement, portal;
GRANT USAGE ON SCHEMA settlement TO settlement, portal, payer, approver;
GRANT USAGE ON SCHEMA ledger TO settlement, payer, portal, approver;
GRANT USAGE ON SCHEMA party TO settlement, payer, portal;
GRANT USAGE ON SCHEMA access TO identity, portal;

-- The guard's triggers read what they check.
GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO royalty_guard;
GRANT SELECT ON ALL TABLES IN SCHEMA attribution TO royalty_guard;
GRANT SELECT ON ALL TABLES IN SCHEMA settlement TO royalty_guard;
GRANT USAGE ON SCHEMA guard TO PUBLIC;

-- attribution: logs images, keeps the queue, writes results.
GRANT SELECT, INSERT ON attribution.artist_version, attribution.method_version, attribution.placebo, attribution.image,
    attribution.prompt_text, attribution.attribution, attribution.coalition_value, attribution.attribution_share
    TO attribution;
GRANT SELECT, INSERT, UPDATE, DELETE ON attribution.attribution_job TO attribution;
GRANT SELECT ON attribution.artist TO attribution;

-- settlement: reads attribution, keeps terms, sales, periods, runs and statements, posts journals.
GRANT SELECT ON ALL TABLES IN SCHEMA attribution TO settlement;
GRANT INSERT ON attribution.artist_version TO settlement;
GRANT SELECT ON ALL TABLES IN SCHEMA settlement TO settlement;
GRANT INSERT ON settlement.payee, settlement.contract_version, settlement.contract_split, settlement.rate_card_version,
    settlement.platform_version, settlement.sale, settlement.refund, settlement.period, settlement.royalty_run,
    settlement.sale_slice, settlement.refund_reversal, settlement.royalty_line, settlement.statement, settlement.hold, settlement.hold_release
    TO settlement;
GRANT UPDATE (state, cut_off_at) ON settlement.period TO settlement;
-- A close reads what it has just written: the planner must know of it.
GRANT MAINTAIN ON settlement.sale_slice, settlement.royalty_line TO settlement;
GRANT SELECT, INSERT, UPDATE, DELETE ON settlement.run_draft TO settlement;
GRANT SELECT, INSERT ON party.party_version TO settlement;

-- The ledger's writers: who wrote a journal, and when, is not theirs to say.
GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO settlement, payer;
GRANT INSERT (code, class, currency) ON ledger.account TO settlement, payer;
GRANT INSERT (kind, key, booked_at, value_date, lines, content_sha256, reverses, actor, approved_by) ON ledger.journal
    TO settlement, payer;
GRANT INSERT ON ledger.posting TO settlement, payer;
GRANT INSERT (name, sealed_before, actor) ON ledger.seal TO settlement;

-- payer: payout batches, attempts, and their journals.
GRANT SELECT ON settlement.payee, settlement.platform_version, settlement.period, settlement.approval, settlement.hold,
    settlement.hold_release, settlement.payout_batch, settlement.payout, settlement.payout_attempt, settlement.batch_event,
    settlement.payout_event, settlement.payout_file TO payer;
GRANT INSERT ON settlement.payout_batch, settlement.payout, settlement.payout_attempt, settlement.batch_event,
    settlement.payout_event, settlement.payout_file, settlement.hold, settlement.hold_release TO payer;
GRANT SELECT ON party.party_version TO payer;

-- approver: the second pair of eyes, and nothing else.
GRANT SELECT ON settlement.period, settlement.run_draft, settlement.payout_batch, settlement.payout, settlement.batch_event,
    settlement.approval TO approver;
GRANT INSERT (kind, subject, content_sha256, maker, checker) ON settlement.approval TO approver;

-- identity: users and tokens.
GRANT SELECT, INSERT ON access."user", access.payee_access TO identity;

-- portal: an artist's own rows, by row-level security even if the API forgets a WHERE.
GRANT SELECT ON access.payee_access TO portal;
GRANT SELECT ON settlement.statement, settlement.royalty_line, settlement.payee, settlement.payout, settlement.payout_event,
    settlement.hold, settlement.hold_release TO portal;
GRANT SELECT ON settlement.period TO portal;
GRANT SELECT ON party.party_version TO portal;

ALTER TABLE access.payee_access ENABLE ROW LEVEL SECURITY;
CREATE POLICY identity_all ON access.payee_access TO identity USING (true) WITH CHECK (true);
CREATE POLICY own ON access.payee_access FOR SELECT TO portal
    USING (user_id = nullif(pg_catalog.current_setting('app.user_id', true), '')::bigint);

DO $$
DECLARE
    relation text;
BEGIN
    FOREACH relation IN ARRAY ARRAY['settlement.statement', 'settlement.royalty_line', 'settlement.payee', 'settlement.payout',
                                    'settlement.hold', 'party.party_version'] LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', relation);
        -- payee_access is itself fenced by user, so this needs no user of its own. An array, because a plan can look an
        -- array's elements up in an index, and IN (SELECT ...) reads the whole table.
        EXECUTE format('CREATE POLICY own ON %s FOR SELECT TO portal'
                       ' USING (payee_id = ANY (ARRAY(SELECT a.payee_id FROM access.payee_access AS a)))', relation);
    END LOOP;
    FOREACH relation IN ARRAY ARRAY['settlement.payee', 'settlement.payout', 'settlement.hold', 'party.party_version'] LOOP
        EXECUTE format('CREATE POLICY payer_all ON %s TO payer USING (true) WITH CHECK (true)', relation);
    END LOOP;
    EXECUTE 'CREATE POLICY approver_all ON settlement.payout FOR SELECT TO approver USING (true)';
    -- The guard's checks must see every row, whoever writes.
    FOREACH relation IN ARRAY ARRAY['settlement.statement', 'settlement.royalty_line', 'settlement.payee', 'settlement.payout',
                                    'settlement.hold'] LOOP
        EXECUTE format('CREATE POLICY guard_all ON %s FOR SELECT TO royalty_guard USING (true)', relation);
    END LOOP;
END
$$;

ALTER TABLE settlement.payout_event ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON settlement.payout_event FOR SELECT TO portal USING (payout_id IN (SELECT p.payout_id FROM settlement.payout AS p));
CREATE POLICY payer_all ON settlement.payout_event TO payer USING (true) WITH CHECK (true);
ALTER TABLE settlement.hold_release ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON settlement.hold_release FOR SELECT TO portal USING (hold_id IN (SELECT h.id FROM settlement.hold AS h));
CREATE POLICY payer_all ON settlement.hold_release TO payer USING (true) WITH CHECK (true);
