-- The ledger's log: an append-only Merkle tree (RFC 6962) over everything that is final; seals with their closing balances;
-- checkpoints, the signed heads that have left the database. docs/proof-format.md says what the bytes are.

SET ROLE royalty_owner;

CREATE TABLE ledger.log_leaf (
    index bigint CONSTRAINT log_leaf_pkey PRIMARY KEY,
    kind text NOT NULL,
    reference text NOT NULL,
    sha256 bytea NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT log_leaf_index_not_negative CHECK (index >= 0),
    -- Fields of the leaf's entry, which tabs and newlines separate.
    CONSTRAINT log_leaf_without_control_characters CHECK ((kind || reference) !~ '[\x01-\x1f\x7f]'),
    CONSTRAINT log_leaf_sha256_length CHECK (octet_length(sha256) = 32),
    -- A record is in the log once.
    CONSTRAINT log_leaf_kind_reference_key UNIQUE (kind, reference)
);

-- Roots of complete subtrees of 2^level leaves: level 0, the leaves' own hashes, and level 8. Written with the leaves
-- (trigger), and recomputed by who verifies. With them a proof in a log of a
-- million leaves reads a few thousand rows, and who may not read the leaves of others can still be given one.
CREATE TABLE ledger.log_node (
    level smallint NOT NULL,
    position bigint NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT log_node_pkey PRIMARY KEY (level, position),
    CONSTRAINT log_node_level_kept CHECK (level IN (0, 8)),
    CONSTRAINT log_node_hash_length CHECK (octet_length(hash) = 32)
);

-- Every account's trial balance over what a seal sealed, by booking date: debits above zero, credits below.
CREATE TABLE ledger.closing_balance (
    seal text NOT NULL,
    account_id bigint NOT NULL,
    opening numeric(38, 0) NOT NULL,
    debits numeric(38, 0) NOT NULL,
    credits numeric(38, 0) NOT NULL,
    closing numeric(38, 0) NOT NULL,
    CONSTRAINT closing_balance_pkey PRIMARY KEY (seal, account_id),
    CONSTRAINT closing_balance_seal_fkey FOREIGN KEY (seal) REFERENCES ledger.seal (name),
    CONSTRAINT closing_balance_account_id_fkey FOREIGN KEY (account_id) REFERENCES ledger.account (id),
    CONSTRAINT closing_balance_sides CHECK (debits >= 0 AND credits <= 0),
    CONSTRAINT closing_balance_adds_up CHECK (opening + debits + credits = closing)
);

-- The head at the moment of the seal: everything below `log_size` was logged before it; NULL in seals older than the log.
ALTER TABLE ledger.seal
    ADD COLUMN log_size bigint,
    ADD COLUMN log_root bytea,
    ADD CONSTRAINT seal_head_whole CHECK ((log_size IS NULL) = (log_root IS NULL)),
    ADD CONSTRAINT seal_log_root_length CHECK (octet_length(log_root) = 32),
    ADD CONSTRAINT seal_log_size_not_negative CHECK (log_size >= 0),
    -- Fields of leaves' entries, short enough for the log's index: a record that the log cannot take would stop every seal.
    ADD CONSTRAINT seal_name_loggable CHECK (name ~ '^[^\x01-\x1f\x7f]+$' AND octet_length(name) <= 1000),
    ADD CONSTRAINT seal_in_range CHECK (sealed_before >= '1970-01-01+00' AND sealed_before < '10000-01-01+00');
ALTER TABLE ledger.journal ADD CONSTRAINT journal_key_loggable CHECK (octet_length(key) <= 1000);
ALTER TABLE ledger.account ADD CONSTRAINT account_code_loggable CHECK (octet_length(code) <= 1000);

CREATE TABLE ledger.checkpoint (
    size bigint CONSTRAINT checkpoint_pkey PRIMARY KEY,
    origin text NOT NULL,
    root bytea NOT NULL,
    note text NOT NULL,
    actor text NOT NULL,
    created_by text NOT NULL DEFAULT session_user,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT checkpoint_size_not_negative CHECK (size >= 0),
    CONSTRAINT checkpoint_root_length CHECK (octet_length(root) = 32),
    -- The note's text says the same, whoever signed it.
    CONSTRAINT checkpoint_says_its_head CHECK (
        starts_with(note, origin || E'\n' || size || E'\n' || encode(root, 'base64') || E'\n'))
);
RESET ROLE;

GRANT SELECT ON ledger.log_leaf, ledger.log_node, ledger.checkpoint TO royalty_guard;
GRANT INSERT ON ledger.log_node TO royalty_guard;

-- One level up in a tree of RFC 6962: the node above each pair of hashes; a last one without sibling goes up as it is.
CREATE FUNCTION guard.level_above(hashes bytea[]) RETURNS bytea[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT array_agg(CASE n.children WHEN 1 THEN n.hashed ELSE sha256(decode('01', 'hex') || n.hashed) END ORDER BY n.pair)
    FROM (SELECT (h.place - 1) / 2 AS pair, count(*) AS children, string_agg(h.hash, ''::bytea ORDER BY h.place) AS hashed
          FROM unnest(hashes) WITH ORDINALITY AS h (hash, place) GROUP BY 1) AS n
);
ALTER FUNCTION guard.level_above(bytea[]) OWNER TO royalty_guard;
-- The root of the first `size` leaves, from the nodes.
CREATE FUNCTION guard.log_root(size bigint) RETURNS bytea
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    whole bytea[];
    rest bytea[];
BEGIN
    SELECT array_agg(hash ORDER BY position) INTO whole FROM ONLY ledger.log_node WHERE level = 8 AND position < size >> 8;
    SELECT array_agg(hash ORDER BY position) INTO rest FROM ONLY ledger.log_node
        WHERE level = 0 AND position >= size >> 8 << 8 AND position < size;
    WHILE cardinality(rest) > 1 LOOP
        rest := guard.level_above(rest);
    END LOOP;
    whole := whole || rest;
    WHILE cardinality(whole) > 1 LOOP
        whole := guard.level_above(whole);
    END LOOP;
    RETURN coalesce(whole[1], sha256(''));
END
$$;
ALTER FUNCTION guard.log_root(bigint) OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.log_root(bigint) FROM PUBLIC;

-- The log has no gap: whoever appends takes the log's lock alone, and goes on exactly where it ends. Under a lock and not by
-- a sequence, which loses numbers to rollbacks. A snapshot older than the lock would not see where the log ends.
CREATE FUNCTION guard.lock_log() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the log is written in READ COMMITTED transactions, not in %',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'invalid_transaction_state', CONSTRAINT = 'log_sees_its_end';
    END IF;
    PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('ledger.log', 0));
    RETURN NULL;
END
$$;
-- And the nodes are the guard's to write: one that is not that of its leaves, or is missing, would spoil the log for good.
CREATE FUNCTION guard.check_log() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    first bigint;
    last bigint;
    here bigint;
    hashes bytea[];
BEGIN
    SELECT min(index), max(index), count(*) INTO first, last, here FROM added;
    -- The indexes are distinct (primary key): no gap among them, and the one before them is there.
    IF here > 0 AND (last - first + 1 <> here OR first > 0 AND NOT EXISTS (
        SELECT FROM ONLY ledger.log_leaf WHERE index = first - 1)) THEN
        RAISE EXCEPTION 'leaves % to % do not go on where the log ends', first, last
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'log_is_dense';
    END IF;
    INSERT INTO ledger.log_node (level, position, hash)
        SELECT 0, index, sha256(decode('00', 'hex') || convert_to(
            concat_ws(E'\t', 'royalty-leaf/1', kind, replace(reference, E'\\', E'\\\\'), encode(sha256, 'hex')) || E'\n', 'UTF8'))
        FROM added;
    -- Subtrees that are complete now.
    SELECT array_agg(hash ORDER BY position) INTO hashes FROM ONLY ledger.log_node
        WHERE level = 0 AND position >= first >> 8 << 8 AND position < (last + 1) >> 8 << 8;
    IF hashes IS NOT NULL THEN
        FOR level IN 1..8 LOOP
            hashes := guard.level_above(hashes);
        END LOOP;
        INSERT INTO ledger.log_node (level, position, hash)
            SELECT 8, (first >> 8) + h.place - 1, h.hash FROM unnest(hashes) WITH ORDINALITY AS h (hash, place);
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.lock_log() OWNER TO royalty_guard;
ALTER FUNCTION guard.check_log() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_log() FROM PUBLIC;
CREATE TRIGGER log_locks BEFORE INSERT ON ledger.log_leaf FOR EACH STATEMENT EXECUTE FUNCTION guard.lock_log();
CREATE TRIGGER log_is_dense AFTER INSERT ON ledger.log_leaf
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_log();
ALTER TABLE ledger.log_leaf ENABLE ALWAYS TRIGGER log_locks;
ALTER TABLE ledger.log_leaf ENABLE ALWAYS TRIGGER log_is_dense;

-- A checkpoint is of this log: its root is that of the first leaves, and its name the one that the log always had. Whose
-- signature it carries is for the verifier: no key is in the database.
CREATE FUNCTION guard.check_checkpoint() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.size > (SELECT coalesce(max(index), -1) + 1 FROM ONLY ledger.log_leaf)
        OR NEW.root <> guard.log_root(NEW.size)
        OR EXISTS (SELECT FROM ONLY ledger.checkpoint WHERE origin <> NEW.origin) THEN
        RAISE EXCEPTION 'checkpoint % of % is not of this log', NEW.size, NEW.origin
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'checkpoint_of_the_log';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_checkpoint() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_checkpoint() FROM PUBLIC;
CREATE TRIGGER checkpoint_of_the_log AFTER INSERT ON ledger.checkpoint
    FOR EACH ROW EXECUTE FUNCTION guard.check_checkpoint();
ALTER TABLE ledger.checkpoint ENABLE ALWAYS TRIGGER checkpoint_of_the_log;

-- A seal's closing balances: the last seal's closings, and every posting booked since. Written by the seal itself, so that
-- they are complete whoever seals; no login may write one.
CREATE FUNCTION guard.write_closing_balances(sealed ledger.seal) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH last AS (
        SELECT name, sealed_before FROM ONLY ledger.seal WHERE sealed_before < sealed.sealed_before
        ORDER BY sealed_before DESC LIMIT 1
    )
    INSERT INTO ledger.closing_balance (seal, account_id, opening, debits, credits, closing)
    SELECT sealed.name, m.account_id, sum(m.opening), sum(m.debits), sum(m.credits),
           sum(m.opening) + sum(m.debits) + sum(m.credits)
    FROM (
        SELECT b.account_id, b.closing AS opening, 0::numeric AS debits, 0::numeric AS credits
        FROM ONLY ledger.closing_balance AS b JOIN last ON last.name = b.seal
        UNION ALL
        SELECT p.account_id, 0, coalesce(sum(p.amount) FILTER (WHERE p.amount > 0), 0),
               coalesce(sum(p.amount) FILTER (WHERE p.amount < 0), 0)
        FROM ONLY ledger.posting AS p
        WHERE p.booked_at < sealed.sealed_before
            AND p.booked_at >= coalesce((SELECT last.sealed_before FROM last), '-infinity')
        GROUP BY p.account_id
    ) AS m
    GROUP BY m.account_id;
END;
ALTER FUNCTION guard.write_closing_balances(ledger.seal) OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.write_closing_balances(ledger.seal) FROM PUBLIC;
GRANT SELECT, INSERT ON ledger.closing_balance TO royalty_guard;

-- Seals follow each other: one below the last would change what that one opened with. And what they fix must be seen whole.
CREATE FUNCTION guard.check_seal() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'seals are made in READ COMMITTED transactions, not in %',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'invalid_transaction_state', CONSTRAINT = 'seal_sees_every_journal';
    END IF;
    IF EXISTS (SELECT FROM ONLY ledger.seal WHERE sealed_before > NEW.sealed_before) THEN
        RAISE EXCEPTION 'seal % is before the last one', NEW.name
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'seals_follow_each_other';
    END IF;
    IF NEW.log_size <> (SELECT coalesce(max(index), -1) + 1 FROM ONLY ledger.log_leaf)
        OR NEW.log_root <> guard.log_root(NEW.log_size) THEN
        RAISE EXCEPTION 'seal % names a head of % leaves that is not the log''s', NEW.name, NEW.log_size
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'seal_names_the_head';
    END IF;
    PERFORM guard.write_closing_balances(NEW);
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_seal() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_seal() FROM PUBLIC;
CREATE TRIGGER seals_follow_each_other AFTER INSERT ON ledger.seal FOR EACH ROW EXECUTE FUNCTION guard.check_seal();
ALTER TABLE ledger.seal ENABLE ALWAYS TRIGGER seals_follow_each_other;

-- A seal's closing balances come all at once and sum to zero in every currency; nothing joins them later.
CREATE FUNCTION guard.check_closing_balances() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    broken text;
BEGIN
    SELECT a.seal INTO broken FROM (SELECT seal, count(*) AS here FROM added GROUP BY seal) AS a
    WHERE a.here <> (SELECT count(*) FROM ONLY ledger.closing_balance AS b WHERE b.seal = a.seal) LIMIT 1;
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION 'the closing balances of seal % are written already', broken
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'closing_balances_written_once';
    END IF;
    SELECT a.seal INTO broken FROM added AS a JOIN ONLY ledger.account AS c ON c.id = a.account_id
    GROUP BY a.seal, c.currency HAVING sum(a.opening) <> 0 OR sum(a.closing) <> 0 LIMIT 1;
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION 'the closing balances of seal % do not sum to zero', broken
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'closing_balances_sum_to_zero';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_closing_balances() OWNER TO royalty_guard;
CREATE TRIGGER closing_balances_whole AFTER INSERT ON ledger.closing_balance
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_closing_balances();
ALTER TABLE ledger.closing_balance ENABLE ALWAYS TRIGGER closing_balances_whole;

CALL guard.make_append_only('ledger.log_leaf');
CALL guard.make_append_only('ledger.log_node');
CALL guard.make_append_only('ledger.closing_balance');
CALL guard.make_append_only('ledger.checkpoint');

-- Seals from before the log get their closing balances now.
DO $$
DECLARE
    old ledger.seal;
BEGIN
    FOR old IN SELECT * FROM ledger.seal ORDER BY sealed_before LOOP
        PERFORM guard.write_closing_balances(old);
    END LOOP;
END
$$;

-- Who appends: whoever closes and whoever pays. When, and the index's place, are not theirs to say.
GRANT SELECT ON ledger.log_leaf, ledger.log_node, ledger.closing_balance, ledger.checkpoint TO settlement, payer;
GRANT INSERT (index, kind, reference, sha256) ON ledger.log_leaf TO settlement, payer;
-- Who has appended much looks for what is missing: the planner must know of it.
GRANT MAINTAIN ON ledger.log_leaf TO settlement, payer;
GRANT INSERT (log_size, log_root) ON ledger.seal TO settlement;
GRANT INSERT (size, origin, root, note, actor) ON ledger.checkpoint TO settlement;

-- An artist's proof: her own statements' leaves, the seals', and of all others nothing but hashes; and the signed heads.
GRANT SELECT (index, kind, reference, sha256) ON ledger.log_leaf TO portal;
GRANT SELECT ON ledger.log_node TO portal;
GRANT SELECT (size, origin, root, note) ON ledger.checkpoint TO portal;
ALTER TABLE ledger.log_leaf ENABLE ROW LEVEL SECURITY;
CREATE POLICY guard_all ON ledger.log_leaf FOR SELECT TO royalty_guard USING (true);
-- Who pays logs what is committed, and nothing of a close: a leaf in the place of a seal's would stop the seal for good.
CREATE POLICY payer_all ON ledger.log_leaf TO payer USING (true)
    WITH CHECK (kind IN ('account', 'checkpoint', 'journal', 'schema_change'));
CREATE POLICY own ON ledger.log_leaf FOR SELECT TO portal
    USING (kind = 'seal' OR kind = 'statement' AND EXISTS (
        SELECT FROM settlement.statement AS s WHERE s.statement_id = reference));

-- Records as they are hashed: the reference first, then the row's columns in the order of the format. One definition for
-- writing and for verifying, with the rights of `audit_owner`: the auditor has no privilege on a table.
SET ROLE audit_owner;

CREATE VIEW audit.record_account AS
SELECT code AS reference, id, code, class, currency, recorded_at FROM ledger.account;

CREATE VIEW audit.record_journal AS
SELECT key AS reference, id, kind, key, booked_at, value_date, lines, content_sha256, reverses, actor, approved_by,
       created_by, recorded_at
FROM ledger.journal;

CREATE VIEW audit.record_posting AS
SELECT p.journal_id, p.line, p.lines, p.booked_at, p.account_id, p.amount, p.currency, a.code AS account
FROM ledger.posting AS p LEFT JOIN ledger.account AS a ON a.id = p.account_id;

CREATE VIEW audit.record_seal AS
SELECT name AS seal, name AS key, name, sealed_before, actor, recorded_at, log_size, log_root FROM ledger.seal;

CREATE VIEW audit.record_closing_balance AS
SELECT b.seal, a.code AS key, b.account_id, b.opening, b.debits, b.credits, b.closing, a.code, a.class,
       a.currency
FROM ledger.closing_balance AS b LEFT JOIN ledger.account AS a ON a.id = b.account_id;

CREATE VIEW audit.record_statement AS SELECT statement_id AS reference, body, period_id, number FROM settlement.statement;

CREATE VIEW audit.record_checkpoint AS
SELECT size::text AS reference, size, origin, root, note, actor, created_by, recorded_at FROM ledger.checkpoint;

-- The log as it is stored. Verify it by hashing the records.
CREATE VIEW audit.log AS
SELECT index, kind, reference, encode(sha256, 'hex') AS sha256, recorded_at FROM ledger.log_leaf;

CREATE VIEW audit.log_nodes AS SELECT level, position, hash FROM ledger.log_node;

CREATE VIEW audit.checkpoints AS
SELECT size, origin, encode(root, 'hex') AS root, note, actor, created_by, recorded_at FROM ledger.checkpoint;

CREATE VIEW audit.closing_balances AS
SELECT b.seal, a.code AS account, a.class, a.currency::text AS currency, b.opening, b.debits, b.credits, b.closing
FROM ledger.closing_balance AS b JOIN ledger.account AS a ON a.id = b.account_id;

CREATE OR REPLACE VIEW audit.seals AS
SELECT name, sealed_before, actor, recorded_at, log_size, encode(log_root, 'hex') AS log_root FROM ledger.seal;

-- What a closed period was made of and what it made: rows that never change again. First the period and the key that names
-- the row, then every column of its table as it stands now, in the order of the format.
DO $$
DECLARE
    relation regclass;
    key text;
    membership text;
    attributions text := '(SELECT DISTINCT l.period_id, l.attribution_id FROM settlement.royalty_line AS l) AS p';
    terms text := 'settlement.royalty_run AS p JOIN %s AS t ON t.recorded_at < p.recorded_at';
BEGIN
    FOR relation, key, membership IN VALUES
        ('settlement.period'::regclass, 't.period_id',
         'settlement.royalty_run AS p JOIN settlement.period AS t ON t.period_id = p.period_id'),
        ('settlement.royalty_run', 't.period_id',
         'settlement.royalty_run AS p JOIN settlement.royalty_run AS t ON t.period_id = p.period_id'),
        ('settlement.approval', 't.id::text',
         'settlement.royalty_run AS p JOIN settlement.approval AS t ON t.id = p.approval_id'),
        -- Terms as they were known when the period was closed, those not in force included: one more would have been.
        ('settlement.platform_version', 't.id::text', format(terms, 'settlement.platform_version')),
        ('settlement.rate_card_version', 't.id::text', format(terms, 'settlement.rate_card_version')),
        ('settlement.contract_version', 't.id::text', format(terms, 'settlement.contract_version')),
        ('settlement.contract_split', 't.contract_version_id || ''/'' || t.payee_id',
         'settlement.royalty_run AS p JOIN settlement.contract_version AS v ON v.recorded_at < p.recorded_at'
         ' JOIN settlement.contract_split AS t ON t.contract_version_id = v.id'),
        ('settlement.payee', 't.payee_id', format(terms, 'settlement.payee')),
        -- What was sold, and how it was made.
        ('settlement.sale', 't.external_id',
         'settlement.sale_slice AS p JOIN settlement.sale AS t ON t.id = p.sale_id'),
        ('settlement.refund', 't.external_id',
         'settlement.refund_reversal AS p JOIN settlement.refund AS t ON t.id = p.refund_id'),
        ('attribution.image', 't.external_id',
         '(SELECT DISTINCT c.period_id, s.image_id FROM settlement.sale_slice AS c JOIN settlement.sale AS s'
         ' ON s.id = c.sale_id) AS p JOIN attribution.image AS t ON t.id = p.image_id'),
        -- The attributions that were paid by, and everything they follow from.
        ('attribution.attribution', 't.id::text',
         attributions || ' JOIN attribution.attribution AS t ON t.id = p.attribution_id'),
        ('attribution.coalition_value', 't.attribution_id || ''/'' || t.coalition',
         attributions || ' JOIN attribution.coalition_value AS t ON t.attribution_id = p.attribution_id'),
        ('attribution.attribution_share', 't.attribution_id || ''/'' || t.slot',
         attributions || ' JOIN attribution.attribution_share AS t ON t.attribution_id = p.attribution_id'),
        ('attribution.method_version', 't.id::text',
         '(SELECT DISTINCT l.period_id, a.method_id FROM settlement.royalty_line AS l JOIN attribution.attribution AS a'
         ' ON a.id = l.attribution_id) AS p JOIN attribution.method_version AS t ON t.id = p.method_id'),
        ('attribution.placebo', 't.method_id || ''/'' || encode(t.weights_sha256, ''hex'') || ''/'' || t.players || ''/'' || t.slot',
         '(SELECT DISTINCT l.period_id, a.method_id, i.weights_sha256, a.players FROM settlement.royalty_line AS l'
         ' JOIN attribution.attribution AS a ON a.id = l.attribution_id JOIN attribution.image AS i ON i.id = a.image_id)'
         ' AS p JOIN attribution.placebo AS t ON t.method_id = p.method_id AND t.weights_sha256 = p.weights_sha256'
         ' AND t.players = p.players'),
        -- What the close wrote.
        ('settlement.sale_slice', 't.sale_id::text', 'settlement.sale_slice AS t'),
        ('settlement.refund_reversal', 't.refund_id::text', 'settlement.refund_reversal AS t'),
        ('settlement.royalty_line', 't.id::text', 'settlement.royalty_line AS t'),
        ('settlement.statement', 't.statement_id', 'settlement.statement AS t')
    LOOP
        EXECUTE format('CREATE VIEW audit.%I AS SELECT %s.period_id AS frozen_in, (%s) COLLATE "C" AS frozen_key, %s FROM %s',
            'frozen_' || (SELECT relname FROM pg_class WHERE oid = relation),
            CASE WHEN membership ~ ' AS p' THEN 'p' ELSE 't' END, key,
            (SELECT string_agg(format('t.%I', attname), ', ' ORDER BY attnum) FROM pg_attribute
             WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped), membership);
        EXECUTE format('GRANT SELECT ON audit.%I TO auditor, settlement',
            'frozen_' || (SELECT relname FROM pg_class WHERE oid = relation));
    END LOOP;
END
$$;

GRANT SELECT ON audit.record_account, audit.record_journal, audit.record_posting, audit.record_checkpoint
    TO auditor, settlement, payer;
GRANT SELECT ON audit.record_seal, audit.record_closing_balance, audit.record_statement TO auditor, settlement;
GRANT SELECT ON audit.log, audit.log_nodes, audit.checkpoints, audit.closing_balances TO auditor;
GRANT USAGE ON SCHEMA audit TO settlement, payer;
RESET ROLE;

-- Terms as a close freezes them: nobody adds one from here to its commit, so that "known at the close" is a set of rows that
-- never changes.
CREATE FUNCTION settlement.keep_terms() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    LOCK TABLE ONLY settlement.platform_version, settlement.rate_card_version, settlement.contract_version,
        settlement.contract_split, settlement.payee IN SHARE MODE;
END
$$;
ALTER FUNCTION settlement.keep_terms() OWNER TO royalty_owner;
REVOKE ALL ON FUNCTION settlement.keep_terms() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION settlement.keep_terms() TO settlement;
