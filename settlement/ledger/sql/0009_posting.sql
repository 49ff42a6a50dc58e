-- Posting by COPY straight into journals and postings, and guarantees that cost a statement, not a row.

-- Guarantee 1, checked where the lines arrive: once for a statement, however many lines it writes. Every line is on an
-- account of its currency and in a journal of its number of lines and booking date; a journal whose last line is there
-- balances in every currency. Foreign keys said the first two by a query for every line, which was most of the cost of
-- posting, and were off in replica mode; accounts and journals are never deleted, so nobody has to hold their rows. The
-- journal's own check, at commit, has only to count: what has all its lines has been found to balance.
-- By index, whatever the planner makes of tables that were small when the plan was made.
CREATE FUNCTION guard.check_postings() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    refused record;
    unbalanced text;
BEGIN
    SELECT n.journal_id, n.line, n.currency INTO refused
        FROM added AS n LEFT JOIN ONLY ledger.account AS a ON a.id = n.account_id
        WHERE a.currency IS DISTINCT FROM n.currency LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'line % of journal % is on an account that does not exist in %',
            refused.line, refused.journal_id, refused.currency
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'posting_account_id_currency_fkey';
    END IF;
    -- Lines of one journal and currency together. If all of the journal's are among them they sum to nothing here and now;
    -- if not, and the last number is taken, its lines of earlier statements are counted and summed with them.
    -- sum() of bigint is numeric: it cannot overflow.
    SELECT n.journal_id, j.key, j.lines = n.lines AND j.booked_at = n.booked_at AS fits INTO refused
        FROM (SELECT journal_id, lines, booked_at, currency, count(*) AS here, sum(amount) AS total
              FROM added GROUP BY journal_id, lines, booked_at, currency) AS n
        LEFT JOIN ONLY ledger.journal AS j ON j.id = n.journal_id
        WHERE (j.lines = n.lines AND j.booked_at = n.booked_at) IS NOT TRUE
           OR CASE WHEN n.here = n.lines THEN n.total <> 0
                   ELSE EXISTS (SELECT FROM ONLY ledger.posting AS p WHERE p.journal_id = n.journal_id AND p.line = n.lines)
                        AND (SELECT sum(c.here) = n.lines AND bool_or(c.total <> 0)
                             FROM (SELECT count(*) AS here, sum(p.amount) AS total FROM ONLY ledger.posting AS p
                                   WHERE p.journal_id = n.journal_id GROUP BY p.currency) AS c) END
        LIMIT 1;
    IF FOUND AND refused.fits IS NOT TRUE THEN
        RAISE EXCEPTION 'lines of journal % (%) are of another number of lines or booking date than it, or there is none',
            refused.journal_id, coalesce(refused.key, 'none')
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'posting_journal_id_lines_booked_at_fkey';
    ELSIF FOUND THEN
        SELECT string_agg(c.currency || ' ' || c.total, ', ') INTO unbalanced
            FROM (SELECT p.currency, sum(p.amount) AS total FROM ONLY ledger.posting AS p
                  WHERE p.journal_id = refused.journal_id GROUP BY p.currency) AS c WHERE c.total <> 0;
        RAISE EXCEPTION 'journal % (%) does not balance: %', refused.journal_id, refused.key, unbalanced
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'journal_balances';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_postings() OWNER TO royalty_guard;
CREATE TRIGGER posting_checked AFTER INSERT ON ledger.posting
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_postings();
ALTER TABLE ledger.posting ENABLE ALWAYS TRIGGER posting_checked;
ALTER TABLE ledger.posting DROP CONSTRAINT posting_account_id_currency_fkey,
    DROP CONSTRAINT posting_journal_id_lines_booked_at_fkey;
ALTER TABLE ledger.journal DROP CONSTRAINT journal_id_lines_booked_at_key;
ALTER TABLE ledger.account DROP CONSTRAINT account_id_currency_key;

-- The journal's check at commit: exactly the lines that it declares. Once it has run no line number is free (primary key,
-- line BETWEEN 1 AND lines, number of lines as declared).
CREATE OR REPLACE FUNCTION guard.check_journal() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    IF (SELECT count(*) FROM ONLY ledger.posting WHERE journal_id = NEW.id) <> NEW.lines THEN
        RAISE EXCEPTION 'journal % (%) declares % lines and has %', NEW.id, NEW.key, NEW.lines,
            (SELECT count(*) FROM ONLY ledger.posting WHERE journal_id = NEW.id)
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'journal_lines_complete';
    END IF;
    RETURN NULL;
END
$$;

-- A writer takes ids from the sequence before it writes, because the lines that go with them name them. So ids are the
-- writer's to say, as far as the sequence has given them: no journal can lie in the way of one to come.
GRANT INSERT (id) ON ledger.journal TO settlement, payer;
GRANT USAGE ON SEQUENCE ledger.journal_id_seq TO settlement, payer;
CREATE FUNCTION guard.check_journal_ids() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    refused record;
BEGIN
    SELECT id, key INTO refused FROM added
        WHERE id NOT BETWEEN 1 AND coalesce(pg_sequence_last_value('ledger.journal_id_seq'), 0) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'journal % has the id %, which ledger.journal_id_seq has not given', refused.key, refused.id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'journal_id_given';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_journal_ids() OWNER TO royalty_guard;
CREATE TRIGGER journal_id_given AFTER INSERT ON ledger.journal
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_journal_ids();
ALTER TABLE ledger.journal ENABLE ALWAYS TRIGGER journal_id_given;

-- Hardly any journal reverses another: an index of those that do.
ALTER TABLE ledger.journal DROP CONSTRAINT journal_reverses_key;
CREATE UNIQUE INDEX journal_reverses_key ON ledger.journal (reverses) WHERE reverses IS NOT NULL;
