-- The ledger's guarantees. Each function pins search_path and qualifies names.

-- Guarantee 1: every journal balances per currency and has exactly the lines it declares. One check per journal, on its
-- header, at commit: a per-line trigger would re-sum the journal for every line. Once it has run no line number is free, so
-- nothing can be added (primary key, line BETWEEN 1 AND lines, foreign key on lines).
-- One plan, and by index: one made anew for every journal takes longer than the check, and one that was made when the table
-- was small would scan it for every journal.
CREATE FUNCTION guard.check_journal() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    found bigint;
    unbalanced text;
BEGIN
    -- sum() of bigint is numeric: it cannot overflow.
    SELECT coalesce(sum(here), 0), string_agg(currency || ' ' || total, ', ') FILTER (WHERE total <> 0)
        INTO found, unbalanced
        FROM (SELECT currency, count(*) AS here, sum(amount) AS total FROM ONLY ledger.posting
              WHERE journal_id = NEW.id GROUP BY currency) AS by_currency;
    IF found <> NEW.lines THEN
        RAISE EXCEPTION 'journal % (%) declares % lines and has %', NEW.id, NEW.key, NEW.lines, found
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'journal_lines_complete';
    END IF;
    IF unbalanced IS NOT NULL THEN
        RAISE EXCEPTION 'journal % (%) does not balance: %', NEW.id, NEW.key, unbalanced
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'journal_balances';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_journal() OWNER TO royalty_guard;
CREATE CONSTRAINT TRIGGER journal_balances AFTER INSERT ON ledger.journal
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION guard.check_journal();
ALTER TABLE ledger.journal ENABLE ALWAYS TRIGGER journal_balances;

-- Canonical bytes of a journal: what `content_sha256` is the digest of, in UTF-8. The header line, then one line per posting
-- in order; fields separated by tabs, lines ended by newlines, neither of which a field can contain (CHECK), so no two
-- journals share bytes. Instants in UTC to the microsecond, dates in ISO 8601, amounts in micros, no reversal as nothing.
-- One definition for writing, replaying and verifying; bodies are parsed here and now, so no search_path can bend them.
CREATE FUNCTION guard.journal_text(kind text, key text, booked_at timestamptz, value_date date, lines integer, reverses text)
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN 'journal/1' || E'\t' || kind || E'\t' || key
    || E'\t' || to_char(booked_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    || E'\t' || to_char(value_date::timestamp, 'YYYY-MM-DD')
    || E'\t' || lines::text || E'\t' || coalesce(reverses, '') || E'\n';
CREATE FUNCTION guard.posting_text(line integer, account text, amount bigint)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN line::text || E'\t' || account || E'\t' || amount::text || E'\n';
ALTER FUNCTION guard.journal_text(text, text, timestamptz, date, integer, text) OWNER TO royalty_guard;
ALTER FUNCTION guard.posting_text(integer, text, bigint) OWNER TO royalty_guard;

-- Guarantee 5: a sealed period takes no journal. Writers share a lock that sealing takes alone, so a writer that began
-- before the seal either commits before it or is refused; it never lands inside it. A snapshot older than the seal would not
-- see it even after waiting: journals are written in READ COMMITTED, where every statement takes a new one.
CREATE FUNCTION guard.lock_seal_shared() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'journals are written in READ COMMITTED transactions, not in %',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'invalid_transaction_state', CONSTRAINT = 'journal_sees_every_seal';
    END IF;
    PERFORM pg_catalog.pg_advisory_xact_lock_shared(pg_catalog.hashtextextended('ledger.seal', 0));
    RETURN NULL;
END
$$;
CREATE FUNCTION guard.lock_seal() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('ledger.seal', 0));
    RETURN NULL;
END
$$;
CREATE FUNCTION guard.refuse_sealed() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    sealed timestamptz;
    refused text;
BEGIN
    SELECT max(sealed_before) INTO sealed FROM ONLY ledger.seal;
    SELECT key INTO refused FROM added WHERE booked_at < sealed LIMIT 1;
    IF refused IS NOT NULL THEN
        RAISE EXCEPTION 'journal % is booked before %, which is sealed; book it in the open period', refused, sealed
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'journal_not_in_sealed_period';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.lock_seal_shared() OWNER TO royalty_guard;
ALTER FUNCTION guard.lock_seal() OWNER TO royalty_guard;
ALTER FUNCTION guard.refuse_sealed() OWNER TO royalty_guard;
CREATE TRIGGER journal_locks_seal BEFORE INSERT ON ledger.journal
    FOR EACH STATEMENT EXECUTE FUNCTION guard.lock_seal_shared();
CREATE TRIGGER journal_not_sealed AFTER INSERT ON ledger.journal
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.refuse_sealed();
CREATE TRIGGER seal_locks BEFORE INSERT ON ledger.seal FOR EACH STATEMENT EXECUTE FUNCTION guard.lock_seal();
ALTER TABLE ledger.journal ENABLE ALWAYS TRIGGER journal_locks_seal;
ALTER TABLE ledger.journal ENABLE ALWAYS TRIGGER journal_not_sealed;
ALTER TABLE ledger.seal ENABLE ALWAYS TRIGGER seal_locks;

-- Guarantee 3: no change to what is written.
CALL guard.make_append_only('ledger.account');
CALL guard.make_append_only('ledger.journal');
CALL guard.make_append_only('ledger.posting');
CALL guard.make_append_only('ledger.seal');

-- The guard reads what it checks.
GRANT USAGE ON SCHEMA ledger TO royalty_guard;
