-- Posting by COPY straight into journals and postings, and guarantees that cost a statement, not a row.

-- Guarantee 1, checked where the lines arrive: once for a statement, however many lines it writes. Every line is on an
-- account of its currency and in a journal of its number of lines and booking date; a journal whose last line is there
-- balances in every currency. Foreign keys said the first two by a query for every line, which was most of the cost of
-- posting, and were off in replica mode; accounts and journals are never deleted, so nobody has to hold their rows. The
-- journal's own check, at commit, has only to count: what has all its lines has been found to balance.
-- By index, whatever the planner makes of tables that were small when the plan was made.
CREATE FUNCTION guard.check_postings() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    found_all record;
    refused record;
    unbalanced text;
BEGIN
    -- Lines of one journal and currency together. If all of the journal's are among them they sum to nothing here and now;
    -- if not, and the last number is taken, its lines of earlier statements are counted and summed with them.
    -- sum() of bigint is numeric: it cannot overflow.
    SELECT min(n.journal_id) AS first, max(n.journal_id) AS last, count(*) AS journals, bool_and(n.here = n.lines) AS whole,
           min(n.journal_id) FILTER (WHERE
               NOT n.on_accounts OR (j.lines = n.lines AND j.booked_at = n.booked_at) IS NOT TRUE
               OR CASE WHEN n.here = n.lines THEN n.total <> 0
                       ELSE EXISTS (SELECT FROM ONLY ledger.posting AS p
                                    WHERE p.journal_id = n.journal_id AND p.line = n.lines)
                            AND (SELECT sum(c.here) = n.lines AND bool_or(c.total <> 0)
                                 FROM (SELECT count(*) AS here, sum(p.amount) AS total FROM ONLY ledger.posting AS p
                                       WHERE p.journal_id = n.journal_id GROUP BY p.currency) AS c) END) AS refused
        INTO found_all
        FROM (SELECT p.journal_id, p.lines, p.booked_at, p.currency, count(*) AS here, sum(p.amount) AS total,
                     bool_and(a.currency IS NOT NULL AND a.currency = p.currency) AS on_accounts
              FROM added AS p LEFT JOIN ONLY ledger.account AS a ON a.id = p.account_id
              GROUP BY p.journal_id, p.lines, p.booked_at, p.currency) AS n
        LEFT JOIN ONLY ledger.journal AS j ON j.id = n.journal_id;
    IF found_all.refused IS NULL THEN
        -- All lines of all journals of one statement, and nothing else: what the check at commit would find.
        IF found_all.whole AND found_all.journals = found_all.last - found_all.first + 1 THEN
            DELETE FROM ONLY guard.unchecked WHERE first_journal = found_all.first
                AND journals = int8multirange(int8range(found_all.first, found_all.last, '[]'));
        END IF;
        RETURN NULL;
    END IF;
    SELECT p.journal_id, p.line, p.currency, a.currency IS NOT DISTINCT FROM p.currency AS on_account, j.key,
           (j.lines = p.lines AND j.booked_at = p.booked_at) IS TRUE AS in_journal
        INTO refused
        FROM added AS p LEFT JOIN ONLY ledger.account AS a ON a.id = p.account_id
        LEFT JOIN ONLY ledger.journal AS j ON j.id = p.journal_id
        WHERE p.journal_id = found_all.refused ORDER BY 4, 6, p.line LIMIT 1;
    IF NOT refused.on_account THEN
        RAISE EXCEPTION 'line % of journal % is on an account that does not exist in %',
            refused.line, refused.journal_id, refused.currency
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'posting_account_id_currency_fkey';
    ELSIF NOT refused.in_journal THEN
        RAISE EXCEPTION 'line % is in journal %, and none has that id and its number of lines and booking date',
            refused.line, refused.journal_id
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'posting_journal_id_lines_booked_at_fkey';
    END IF;
    SELECT string_agg(c.currency || ' ' || c.total, ', ') INTO unbalanced
        FROM (SELECT p.currency, sum(p.amount) AS total FROM ONLY ledger.posting AS p
              WHERE p.journal_id = refused.journal_id GROUP BY p.currency) AS c WHERE c.total <> 0;
    RAISE EXCEPTION 'journal % (%) does not balance: %', refused.journal_id, refused.key, unbalanced
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'journal_balances';
END
$$;
REVOKE ALL ON FUNCTION guard.check_postings() FROM PUBLIC;
ALTER FUNCTION guard.check_postings() OWNER TO royalty_guard;
CREATE TRIGGER posting_checked AFTER INSERT ON ledger.posting
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_postings();
ALTER TABLE ledger.posting ENABLE ALWAYS TRIGGER posting_checked;
ALTER TABLE ledger.posting DROP CONSTRAINT posting_account_id_currency_fkey,
    DROP CONSTRAINT posting_journal_id_lines_booked_at_fkey;
ALTER TABLE ledger.journal DROP CONSTRAINT journal_id_lines_booked_at_key;
ALTER TABLE ledger.account DROP CONSTRAINT account_id_currency_key;

-- The check at commit: every journal has exactly the lines that it declares. Once it has run no line number is free (primary
-- key, line BETWEEN 1 AND lines, number of lines as declared). A deferred trigger runs for a row: one for each statement,
-- which notes the journals that it wrote, so that hundreds of thousands are checked by one query. The notes are nobody's but
-- the guard's; who checks takes them away, so that there are none but of transactions under way.
CREATE UNLOGGED TABLE guard.unchecked (
    first_journal bigint CONSTRAINT unchecked_pkey PRIMARY KEY,
    journals int8multirange NOT NULL
);
ALTER TABLE guard.unchecked OWNER TO royalty_guard;
CREATE OR REPLACE FUNCTION guard.check_journal() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    refused record;
BEGIN
    DELETE FROM ONLY guard.unchecked WHERE first_journal = NEW.first_journal;
    IF NOT FOUND THEN
        RETURN NULL;  -- checked with its lines
    END IF;
    SELECT j.id, j.key, j.lines, p.here INTO refused
        FROM unnest(NEW.journals) AS n (ids)
        JOIN ONLY ledger.journal AS j ON j.id >= lower(n.ids) AND j.id < upper(n.ids)
        CROSS JOIN LATERAL (SELECT count(*) AS here FROM ONLY ledger.posting AS p WHERE p.journal_id = j.id) AS p
        WHERE p.here <> j.lines LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'journal % (%) declares % lines and has %', refused.id, refused.key, refused.lines, refused.here
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'journal_lines_complete';
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION guard.check_journal() FROM PUBLIC;
DROP TRIGGER journal_balances ON ledger.journal;
CREATE CONSTRAINT TRIGGER journal_balances AFTER INSERT ON guard.unchecked
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION guard.check_journal();
ALTER TABLE guard.unchecked ENABLE ALWAYS TRIGGER journal_balances;

-- A writer takes ids from the sequence before it writes, because the lines that go with them name them. So ids are the
-- writer's to say, as far as the sequence has given them: no journal can lie in the way of one to come.
GRANT INSERT (id) ON ledger.journal TO settlement, payer;
GRANT USAGE ON SEQUENCE ledger.journal_id_seq TO settlement, payer;
GRANT SELECT ON SEQUENCE ledger.journal_id_seq TO royalty_guard;
CREATE FUNCTION guard.note_journals() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    refused record;
BEGIN
    SELECT id, key INTO refused FROM added
        WHERE id NOT BETWEEN 1 AND coalesce(pg_sequence_last_value('ledger.journal_id_seq'), 0) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'journal % has the id %, which ledger.journal_id_seq has not given', refused.key, refused.id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'journal_id_given';
    END IF;
    INSERT INTO guard.unchecked (first_journal, journals)
        SELECT min(id), range_agg(int8range(id, id, '[]')) FROM added HAVING count(*) > 0;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.note_journals() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.note_journals() FROM PUBLIC;
CREATE TRIGGER journal_noted AFTER INSERT ON ledger.journal
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.note_journals();
ALTER TABLE ledger.journal ENABLE ALWAYS TRIGGER journal_noted;

-- Hardly any journal reverses another: an index of those that do.
ALTER TABLE ledger.journal DROP CONSTRAINT journal_reverses_key;
CREATE UNIQUE INDEX journal_reverses_key ON ledger.journal (reverses) WHERE reverses IS NOT NULL;

-- What was booked since a seal, to add to its closing balances.
CREATE INDEX posting_booked_at_idx ON ledger.posting USING brin (booked_at);

-- What an auditor sees of the guards, the one on the notes too.
CREATE OR REPLACE VIEW audit.guards AS
SELECT n.nspname::text AS schema, c.relname::text AS object, t.tgname::text AS guard, t.tgenabled::text AS enabled,
       p.oid::regprocedure::text AS function, pg_get_userbyid(p.proowner)::text AS function_owner
FROM pg_trigger AS t
JOIN pg_class AS c ON c.oid = t.tgrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_proc AS p ON p.oid = t.tgfoid
WHERE NOT t.tgisinternal AND n.nspname IN ('access', 'party', 'attribution', 'ledger', 'settlement', 'guard');
