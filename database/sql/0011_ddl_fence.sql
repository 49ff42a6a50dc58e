-- The database's own defence: guards that see everything, a fence around the schema, and a record of every change of it.

-- Guards see every row, whoever writes -----------------------------------------------------------------------------

-- Functions that look rows up run as the guard, which reads and writes nothing else and is bound by no policy: what a check
-- finds cannot depend on what its writer is allowed to see. That replaces the policies `guard_all`, which had no effect on
-- functions that ran with the writer's rights.
ALTER ROLE royalty_guard BYPASSRLS;
DO $$
DECLARE
    guarding text;
    policy record;
BEGIN
    FOREACH guarding IN ARRAY ARRAY['check_journal', 'refuse_sealed', 'check_attribution', 'check_attribution_part', 'check_share_slot',
                                    'check_coalition', 'check_contract', 'check_split', 'check_refund', 'check_period', 'check_lines',
                                    'check_statements', 'check_payout', 'check_batch_event', 'check_payout_attempt',
                                    'check_payout_event', 'check_closing_balances'] LOOP
        EXECUTE format('ALTER FUNCTION guard.%I() SECURITY DEFINER', guarding);
        EXECUTE format('REVOKE ALL ON FUNCTION guard.%I() FROM PUBLIC', guarding);
    END LOOP;
    -- Those that run once for every row keep one plan, by index, like check_journal.
    FOREACH guarding IN ARRAY ARRAY['check_attribution', 'check_contract', 'check_split', 'check_refund'] LOOP
        EXECUTE format('ALTER FUNCTION guard.%I() SET plan_cache_mode = force_generic_plan', guarding);
        EXECUTE format('ALTER FUNCTION guard.%I() SET enable_seqscan = off', guarding);
    END LOOP;
    FOR policy IN SELECT p.polrelid::regclass AS relation FROM pg_policy AS p WHERE p.polname = 'guard_all' LOOP
        EXECUTE format('DROP POLICY guard_all ON %s', policy.relation);
    END LOOP;
END
$$;

-- One writer at a time, who sees what the one before has committed: two refunds, numberings or overlapping periods at once would
-- each be right alone. An older snapshot would not see the other even after waiting.
CREATE FUNCTION guard.write_in_turn() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION '%.% is written in READ COMMITTED transactions, not in %', TG_TABLE_SCHEMA, TG_TABLE_NAME,
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'invalid_transaction_state', CONSTRAINT = 'written_in_turn';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended(TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME, 0));
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.write_in_turn() OWNER TO royalty_guard;
CREATE TRIGGER in_turn BEFORE INSERT ON settlement.refund FOR EACH STATEMENT EXECUTE FUNCTION guard.write_in_turn();
CREATE TRIGGER in_turn BEFORE INSERT ON settlement.statement FOR EACH STATEMENT EXECUTE FUNCTION guard.write_in_turn();
CREATE TRIGGER in_turn BEFORE INSERT ON settlement.period FOR EACH STATEMENT EXECUTE FUNCTION guard.write_in_turn();
ALTER TABLE settlement.refund ENABLE ALWAYS TRIGGER in_turn;
ALTER TABLE settlement.statement ENABLE ALWAYS TRIGGER in_turn;
ALTER TABLE settlement.period ENABLE ALWAYS TRIGGER in_turn;

-- Everybody may take every advisory lock, and whoever holds the ledger's stops all posting: who writes nothing takes none.
DO $$
DECLARE
    locking regprocedure;
BEGIN
    FOR locking IN SELECT p.oid FROM pg_proc AS p
                   WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname ~ '^pg_(try_)?advisory_' LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', locking);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO royalty_owner, royalty_guard, settlement, payer, approver, attribution', locking);
    END LOOP;
END
$$;

-- Nor do logins write beside the tables: into large objects, and straight into the server's log of changes.
DO $$
DECLARE
    writing regprocedure;
BEGIN
    FOR writing IN SELECT p.oid FROM pg_proc AS p WHERE p.pronamespace = 'pg_catalog'::regnamespace
                   AND (p.proname ~ '^(lo_|lowrite$)' OR p.proname = 'pg_logical_emit_message') LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', writing);
    END LOOP;
END
$$;

-- Nobody stands in the way of a close -------------------------------------------------------------------------------

-- Keys and accounts are for ever, and those of a close can be foretold: whoever posted under its key, or opened an account of
-- its with another class, would stop it for good. So who pays posts nothing under the keys of others, and an account of the
-- posting matrix has its class, whoever opens it.
CREATE FUNCTION guard.check_key() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    refused text;
BEGIN
    IF session_user <> 'payer' THEN
        RETURN NULL;
    END IF;
    SELECT key INTO refused FROM added
        WHERE split_part(key, ':', 1) IN ('sale', 'refund', 'run', 'statement') LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'journal % is not for payer to post', refused
            USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'journal_key_of_its_writer';
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION guard.check_account() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    refused record;
BEGIN
    SELECT a.code, a.class, c.class AS expected INTO refused FROM added AS a
        JOIN (VALUES ('bank', 'asset'), ('receivable', 'asset'), ('payout_clearing', 'liability'),
                     ('royalties_payable', 'liability'), ('suspense_pending', 'liability'),
                     ('suspense_unattributed', 'liability'), ('suspense_unclaimed', 'liability'),
                     ('tax_collected', 'liability'), ('revenue', 'income'), ('royalty_expense', 'expense'))
            AS c (name, class) ON c.name = split_part(a.code, ':', 1)
        WHERE c.class <> a.class LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'account % is of class %, not %', refused.code, refused.expected, refused.class
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'account_class_of_its_name';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_key() OWNER TO royalty_guard;
ALTER FUNCTION guard.check_account() OWNER TO royalty_guard;
CREATE TRIGGER journal_key_of_its_writer AFTER INSERT ON ledger.journal
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_key();
CREATE TRIGGER account_class_of_its_name AFTER INSERT ON ledger.account
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_account();
ALTER TABLE ledger.journal ENABLE ALWAYS TRIGGER journal_key_of_its_writer;
ALTER TABLE ledger.account ENABLE ALWAYS TRIGGER account_class_of_its_name;

-- The platform's letterhead -----------------------------------------------------------------------------------------

-- What heads every statement, and not where the platform banks: of its party a payee reads name, address, mail and tax
-- number, found by the digest that her statement's body names.
DROP POLICY platform ON party.party_version;
REVOKE SELECT (platform_payee_id) ON settlement.platform_version FROM portal;
SET ROLE royalty_owner;
CREATE VIEW settlement.letterhead WITH (security_barrier = true) AS
SELECT v.payee_id, v.digest, jsonb_strip_nulls(jsonb_build_object(
           'name', v.details -> 'name', 'address', v.details -> 'address', 'email', v.details -> 'email',
           'tax_id', v.details -> 'tax_id')) AS details
FROM party.party_version AS v
WHERE v.payee_id IN (SELECT p.platform_payee_id FROM settlement.platform_version AS p)
    -- Nobody who is no payee's user reads it over the portal.
    AND (CURRENT_USER <> 'portal' OR EXISTS (
        SELECT FROM access.payee_access AS a
        WHERE a.user_id = nullif(current_setting('app.user_id', true), '')::bigint));
GRANT SELECT ON settlement.letterhead TO settlement, portal;

-- Schema changes ----------------------------------------------------------------------------------------------------

-- One row for each migration, with the manifest of what it left (database/manifest.py). Written by migrations only.
CREATE TABLE ledger.schema_change (
    number bigint CONSTRAINT schema_change_pkey PRIMARY KEY,
    revision_from text NOT NULL,
    revision_to text NOT NULL,
    server text NOT NULL,
    format integer NOT NULL,
    before_sha256 bytea NOT NULL CONSTRAINT schema_change_before_sha256_length CHECK (octet_length(before_sha256) = 32),
    after_sha256 bytea NOT NULL,
    unrecorded text[] NOT NULL,
    manifest text NOT NULL,
    actor text NOT NULL,
    created_by text NOT NULL DEFAULT SESSION_USER,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT schema_change_number_positive CHECK (number > 0),
    CONSTRAINT schema_change_after_is_manifest CHECK (after_sha256 = sha256(convert_to(manifest, 'UTF8')))
);
RESET ROLE;
CALL guard.make_append_only('ledger.schema_change');
SET ROLE audit_owner;
CREATE VIEW audit.schema_changes AS
SELECT number, revision_from, revision_to, server, format, encode(before_sha256, 'hex') AS before_sha256,
       encode(after_sha256, 'hex') AS after_sha256, unrecorded, manifest, actor, created_by, recorded_at
FROM ledger.schema_change;
-- What the log's leaf of a change is the digest of; the manifest's own digest is in it.
CREATE VIEW audit.record_schema_change AS
SELECT number::text AS reference, number, revision_from, revision_to, server, format, before_sha256, after_sha256, unrecorded,
       actor, created_by, recorded_at
FROM ledger.schema_change;
COMMENT ON VIEW audit.record_schema_change IS 'a migration as the log hashes it: docs/proof-format.md';
GRANT SELECT ON audit.record_schema_change TO auditor, settlement, payer;
COMMENT ON VIEW audit.schema_changes IS 'what each migration left; unrecorded: what it found changed since the one before';
RESET ROLE;

-- The log takes what is there: a leaf for what is yet to come would stand in its place for good.
GRANT SELECT ON ledger.schema_change TO royalty_guard;
CREATE FUNCTION guard.check_leaves() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    refused text;
BEGIN
    SELECT a.kind || ' ' || a.reference INTO refused FROM added AS a
        LEFT JOIN ONLY ledger.journal AS j ON a.kind = 'journal' AND j.key = a.reference
        LEFT JOIN ONLY ledger.account AS c ON a.kind = 'account' AND c.code = a.reference
        LEFT JOIN ONLY settlement.statement AS s ON a.kind = 'statement' AND s.statement_id = a.reference
        LEFT JOIN ONLY settlement.royalty_run AS r ON a.kind = 'table' AND r.period_id = split_part(a.reference, '/', 1)
        LEFT JOIN ONLY ledger.seal AS e ON a.kind = 'seal' AND e.name = a.reference
        LEFT JOIN ONLY ledger.checkpoint AS p ON a.kind = 'checkpoint' AND p.size::text = a.reference
        LEFT JOIN ONLY ledger.schema_change AS m ON a.kind = 'schema_change' AND m.number::text = a.reference
        WHERE a.kind IN ('journal', 'account', 'statement', 'table', 'seal', 'checkpoint', 'schema_change')
            AND coalesce(j.key, c.code, s.statement_id, r.period_id, e.name, p.size::text, m.number::text) IS NULL
        LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'there is no % that could be logged', refused
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'log_of_records';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_leaves() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_leaves() FROM PUBLIC;
CREATE TRIGGER log_of_records AFTER INSERT ON ledger.log_leaf
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_leaves();
ALTER TABLE ledger.log_leaf ENABLE ALWAYS TRIGGER log_of_records;

-- The fence ---------------------------------------------------------------------------------------------------------

-- No change of the schema but by `royalty db migrate`: everything that these event triggers do not know to be harmless is
-- refused, to the owner of the tables and to a superuser too, whatever session_replication_role says. A superuser who sets
-- event_triggers = off (as the migrations do), or who writes into the catalogue, is not stopped but found:
-- `royalty verify` compares the catalogue with the manifest that the last migration recorded.

-- Harmless: temporary objects and the broker's queues, as long as they neither inherit from a table elsewhere nor refer to one;
-- and rebuilding an index. What has no schema of its own (triggers, rules, policies, grants, casts, schemas) is not.
CREATE FUNCTION guard.refuse_ddl() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    refused text;
BEGIN
    SELECT c.command_tag || coalesce(' ' || c.object_identity, ' on a ' || lower(c.object_type), '') INTO refused
    FROM pg_event_trigger_ddl_commands() AS c
    LEFT JOIN pg_class AS r ON c.classid = 'pg_class'::regclass AND r.oid = c.objid
    WHERE c.command_tag <> 'REINDEX' AND (
        coalesce(c.schema_name, '') NOT IN ('pg_temp', 'pgmq')
        -- A queue is its workers' own; something of ours that was moved there is not.
        OR c.schema_name = 'pgmq' AND (c.object_type NOT IN ('table', 'index', 'sequence')
            OR r.relowner <> (SELECT n.nspowner FROM pg_namespace AS n WHERE n.nspname = 'pgmq'))
        OR EXISTS (SELECT FROM pg_inherits AS i JOIN pg_class AS p ON p.oid = i.inhparent
                   WHERE i.inhrelid = r.oid AND p.relnamespace <> r.relnamespace)
        OR EXISTS (SELECT FROM pg_constraint AS k JOIN pg_class AS p ON p.oid = k.confrelid
                   WHERE k.conrelid = r.oid AND p.relnamespace <> r.relnamespace))
    LIMIT 1;
    IF refused IS NOT NULL THEN
        RAISE EXCEPTION 'the schema is fenced: % is refused; change it by a migration (royalty db migrate)', refused
            USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'ddl_fence';
    END IF;
END
$$;
CREATE FUNCTION guard.refuse_drop() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    refused text;
BEGIN
    -- A trigger, default or policy has no schema of its own: its table's is the first part of its address.
    SELECT d.object_type || ' ' || d.object_identity INTO refused FROM pg_event_trigger_dropped_objects() AS d
    WHERE NOT d.is_temporary
        AND coalesce(d.schema_name, d.address_names[1], '') NOT IN ('pg_temp', 'pgmq')
        -- What lies beside a table that is dropped.
        AND NOT (coalesce(d.schema_name, '') = 'pg_toast' AND NOT d.original)
    LIMIT 1;
    IF refused IS NOT NULL THEN
        RAISE EXCEPTION 'the schema is fenced: dropping % is refused; change it by a migration (royalty db migrate)', refused
            USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'drop_fence';
    END IF;
END
$$;
-- What takes the fence with it has to be refused before it begins: afterwards there is none that could.
CREATE FUNCTION guard.refuse_start() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'the schema is fenced: % is refused; change it by a migration (royalty db migrate)', tg_tag
        USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'start_fence';
END
$$;
ALTER FUNCTION guard.refuse_start() OWNER TO royalty_guard;
ALTER FUNCTION guard.refuse_ddl() OWNER TO royalty_guard;
ALTER FUNCTION guard.refuse_drop() OWNER TO royalty_guard;

CREATE EVENT TRIGGER ddl_fence ON ddl_command_end EXECUTE FUNCTION guard.refuse_ddl();
CREATE EVENT TRIGGER drop_fence ON sql_drop EXECUTE FUNCTION guard.refuse_drop();
CREATE EVENT TRIGGER start_fence ON ddl_command_start
    WHEN TAG IN ('DROP FUNCTION', 'DROP ROUTINE', 'DROP SCHEMA', 'DROP OWNED', 'DROP EXTENSION', 'DROP LANGUAGE')
    EXECUTE FUNCTION guard.refuse_start();
ALTER EVENT TRIGGER start_fence ENABLE ALWAYS;
ALTER EVENT TRIGGER ddl_fence ENABLE ALWAYS;
ALTER EVENT TRIGGER drop_fence ENABLE ALWAYS;
