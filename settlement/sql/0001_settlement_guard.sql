-- Settlement's guarantees.

-- A contract version's splits sum to 10^9, and an ended one has none.
CREATE FUNCTION guard.check_contract() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    total numeric;
BEGIN
    SELECT coalesce(sum(share_ppb), 0) INTO total FROM ONLY settlement.contract_split WHERE contract_version_id = NEW.id;
    IF total <> (CASE NEW.status WHEN 'active' THEN 1000000000 ELSE 0 END) THEN
        RAISE EXCEPTION 'contract % of % splits % ppb', NEW.contract_id, NEW.artist_id, total
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'splits_sum_to_one';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_contract() OWNER TO royalty_guard;
CREATE CONSTRAINT TRIGGER contract_splits AFTER INSERT ON settlement.contract_version
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION guard.check_contract();
ALTER TABLE settlement.contract_version ENABLE ALWAYS TRIGGER contract_splits;

-- A split that arrives later would break the sum without its contract's check running: check it from its own side too.
CREATE FUNCTION guard.check_split() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (SELECT sum(share_ppb) FROM ONLY settlement.contract_split
        WHERE contract_version_id = NEW.contract_version_id) <> 1000000000 THEN
        RAISE EXCEPTION 'the splits of contract version % do not sum to 1', NEW.contract_version_id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'splits_sum_to_one';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_split() OWNER TO royalty_guard;
CREATE CONSTRAINT TRIGGER contract_splits AFTER INSERT ON settlement.contract_split
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION guard.check_split();
ALTER TABLE settlement.contract_split ENABLE ALWAYS TRIGGER contract_splits;

-- All refunds of a sale together never exceed its price. Transactions that write refunds wait for each other.
CREATE FUNCTION guard.check_refund() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    price bigint;
BEGIN
    -- Not the sale's row: writers may not update sales, and locking a row needs that. Not a lock per sale either: a bulk
    -- of refunds would fill the server's lock table.
    PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('settlement.refund', 0));
    SELECT price_micros INTO price FROM ONLY settlement.sale WHERE id = NEW.sale_id;
    IF (SELECT sum(amount_micros) FROM ONLY settlement.refund WHERE sale_id = NEW.sale_id) > price THEN
        RAISE EXCEPTION 'the refunds of sale % exceed its price', NEW.sale_id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'refunds_within_price';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_refund() OWNER TO royalty_guard;
CREATE TRIGGER refund_within_price AFTER INSERT ON settlement.refund FOR EACH ROW EXECUTE FUNCTION guard.check_refund();
ALTER TABLE settlement.refund ENABLE ALWAYS TRIGGER refund_within_price;

-- A period's state moves forward only, one step at a time; its bounds never change; periods do not overlap. It is approved
-- only if somebody who may approve has approved this draft, and closed only with the run that was approved.
CREATE FUNCTION guard.check_period() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    states text[] := ARRAY['open', 'cut_off', 'calculated', 'in_review', 'approved', 'closed'];
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
        IF NEW.state = 'approved' AND NOT EXISTS (
            SELECT FROM ONLY settlement.approval AS a JOIN ONLY settlement.run_draft AS d ON d.draft_sha256 = a.content_sha256
            WHERE a.kind = 'period' AND a.subject = NEW.period_id AND d.period_id = NEW.period_id) THEN
            RAISE EXCEPTION 'nobody has approved this draft of period %', NEW.period_id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'period_approved_by_checker';
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
ALTER FUNCTION guard.check_period() OWNER TO royalty_guard;
CREATE TRIGGER period_state AFTER INSERT OR UPDATE ON settlement.period FOR EACH ROW EXECUTE FUNCTION guard.check_period();
ALTER TABLE settlement.period ENABLE ALWAYS TRIGGER period_state;
CREATE TRIGGER period_stays BEFORE DELETE OR TRUNCATE ON settlement.period
    FOR EACH STATEMENT EXECUTE FUNCTION guard.refuse_change();
ALTER TABLE settlement.period ENABLE ALWAYS TRIGGER period_stays;

-- An approval of a period is of the draft that is in review, and moves the period on: the checker's role may insert the
-- approval and nothing else.
CREATE FUNCTION guard.apply_approval() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.kind = 'period' THEN
        UPDATE settlement.period AS p SET state = 'approved' FROM settlement.run_draft AS d
        WHERE p.period_id = NEW.subject AND p.state = 'in_review' AND d.period_id = p.period_id
            AND d.draft_sha256 = NEW.content_sha256 AND d.calculated_by = NEW.maker;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'no draft of period % by % with this digest is in review', NEW.subject, NEW.maker
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'approval_of_draft_in_review';
        END IF;
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.apply_approval() OWNER TO royalty_owner;
REVOKE ALL ON FUNCTION guard.apply_approval() FROM PUBLIC;
CREATE TRIGGER approval_applies AFTER INSERT ON settlement.approval FOR EACH ROW EXECUTE FUNCTION guard.apply_approval();
ALTER TABLE settlement.approval ENABLE ALWAYS TRIGGER approval_applies;

-- Cutting a period off: wait until every event that is being written is committed, keep new ones out until the cut-off is
-- committed, and say what time it is then. So an event recorded before the cut-off is seen by the calculation, always.
CREATE FUNCTION settlement.now_without_writers() RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    LOCK TABLE ONLY settlement.sale, settlement.refund, attribution.attribution IN SHARE MODE;
    RETURN pg_catalog.clock_timestamp();
END
$$;
ALTER FUNCTION settlement.now_without_writers() OWNER TO royalty_owner;
REVOKE ALL ON FUNCTION settlement.now_without_writers() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION settlement.now_without_writers() TO settlement;

-- What a line names exists. Once for all lines of a statement: a foreign key per row took most of a close's time. What is
-- named is append-only, so it stays.
CREATE FUNCTION guard.check_lines() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    missing text;
BEGIN
    SELECT what INTO missing FROM (
        SELECT 'period ' || l.period_id AS what FROM added AS l WHERE NOT EXISTS (
            SELECT FROM ONLY settlement.period AS p WHERE p.period_id = l.period_id)
        UNION ALL
        SELECT 'sale ' || l.sale_id FROM added AS l WHERE NOT EXISTS (
            SELECT FROM ONLY settlement.sale AS s WHERE s.id = l.sale_id)
        UNION ALL
        SELECT 'payee ' || l.payee_id FROM added AS l WHERE l.payee_id IS NOT NULL AND NOT EXISTS (
            SELECT FROM ONLY settlement.payee AS p WHERE p.payee_id = l.payee_id)
        UNION ALL
        SELECT 'attribution ' || l.attribution_id FROM added AS l WHERE l.attribution_id IS NOT NULL AND NOT EXISTS (
            SELECT FROM ONLY attribution.attribution AS a WHERE a.id = l.attribution_id)
        UNION ALL
        SELECT 'contract version ' || l.contract_version_id FROM added AS l
        WHERE l.contract_version_id IS NOT NULL AND NOT EXISTS (
            SELECT FROM ONLY settlement.contract_version AS c WHERE c.id = l.contract_version_id)
    ) AS found LIMIT 1;
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'a royalty line names %, which does not exist', missing
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'lines_name_what_exists';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_lines() OWNER TO royalty_guard;
CREATE TRIGGER lines_name_what_exists AFTER INSERT ON settlement.royalty_line
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_lines();
ALTER TABLE settlement.royalty_line ENABLE ALWAYS TRIGGER lines_name_what_exists;

-- Opening equals the last closing of the same payee and currency; numbers are gapless.
CREATE FUNCTION guard.check_statements() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    broken text;
BEGIN
    SELECT added.statement_id INTO broken FROM added
    JOIN ONLY settlement.period AS p ON p.period_id = added.period_id
    LEFT JOIN LATERAL (
        SELECT s.closing FROM ONLY settlement.statement AS s JOIN ONLY settlement.period AS q ON q.period_id = s.period_id
        WHERE s.payee_id = added.payee_id AND s.currency = added.currency AND q.ends_at <= p.starts_at
        ORDER BY q.ends_at DESC LIMIT 1) AS before ON true
    WHERE added.opening <> coalesce(before.closing, 0) LIMIT 1;
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION 'statement % does not open with the last closing', broken
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'opening_is_last_closing';
    END IF;
    IF (SELECT max(number) - count(*) FROM ONLY settlement.statement) <> 0 THEN
        RAISE EXCEPTION 'statement numbers have a gap'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'numbers_gapless';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_statements() OWNER TO royalty_guard;
CREATE TRIGGER statements_chain AFTER INSERT ON settlement.statement
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_statements();
ALTER TABLE settlement.statement ENABLE ALWAYS TRIGGER statements_chain;

CALL guard.make_append_only('settlement.payee');
CALL guard.make_append_only('settlement.contract_version');
CALL guard.make_append_only('settlement.contract_split');
CALL guard.make_append_only('settlement.rate_card_version');
CALL guard.make_append_only('settlement.platform_version');
CALL guard.make_append_only('settlement.sale');
CALL guard.make_append_only('settlement.refund');
CALL guard.make_append_only('settlement.approval');
CALL guard.make_append_only('settlement.royalty_run');
CALL guard.make_append_only('settlement.sale_slice');
CALL guard.make_append_only('settlement.refund_reversal');
CALL guard.make_append_only('settlement.royalty_line');
CALL guard.make_append_only('settlement.statement');
CALL guard.make_append_only('settlement.hold');
CALL guard.make_append_only('settlement.hold_release');
CALL guard.make_append_only('settlement.payout_batch');
CALL guard.make_append_only('settlement.payout');
CALL guard.make_append_only('settlement.payout_attempt');
CALL guard.make_append_only('settlement.payout_event');
CALL guard.make_append_only('settlement.batch_event');
CALL guard.make_append_only('settlement.payout_file');

GRANT USAGE ON SCHEMA settlement TO royalty_guard;
