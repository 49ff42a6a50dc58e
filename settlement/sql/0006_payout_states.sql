-- Payout batches, payouts and attempts go their way in one order only, whoever writes. Each event has its place in the
-- row's history (unique), so of two that happen at once one is refused, at every isolation level; these functions check
-- that it may follow the event in the place before. They run with the writer's rights, which include reading what they check.
-- Those that check many rows at once have a parameter (`first`) and plan_cache_mode, so that each check is planned for the
-- tables as they are now: a plan kept from a small batch would compare every row of a large one with every other.

-- Whom a batch pays is fixed once it is a draft.
CREATE FUNCTION guard.check_payout() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    broken text;
BEGIN
    SELECT added.payout_id INTO broken
    FROM added JOIN ONLY settlement.payout_batch AS b ON b.batch_id = added.batch_id
    WHERE added.currency <> b.currency
        OR EXISTS (SELECT FROM ONLY settlement.batch_event AS e WHERE e.batch_id = added.batch_id)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'payout % cannot join its batch: the batch is made already, or in another currency', broken
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'payouts_fixed_with_draft';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_payout() OWNER TO royalty_guard;
CREATE TRIGGER payout_joins_batch AFTER INSERT ON settlement.payout
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_payout();
ALTER TABLE settlement.payout ENABLE ALWAYS TRIGGER payout_joins_batch;

--     draft -> approved -> submitting -> submitted -> partially settled -> settled | failed, or cancelled before submitting
CREATE FUNCTION guard.check_batch_event() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    broken record;
BEGIN
    SELECT added.batch_id, coalesce(p.state, 'nothing') AS was, added.state AS becomes INTO broken
    FROM added LEFT JOIN ONLY settlement.batch_event AS p
        ON p.batch_id = added.batch_id AND p.number = added.number - 1
    WHERE (added.number = 1) <> (added.state = 'draft')
        OR (coalesce(p.state, ''), added.state) NOT IN (VALUES
            ('', 'draft'),
            ('draft', 'approved'), ('draft', 'cancelled'),
            ('approved', 'submitting'), ('approved', 'cancelled'),
            ('submitting', 'submitted'),
            ('submitted', 'partially_settled'), ('submitted', 'settled'), ('submitted', 'failed'),
            ('partially_settled', 'settled'), ('partially_settled', 'failed'))
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'payout batch % cannot go from % to %', broken.batch_id, broken.was, broken.becomes
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'batch_states_in_order';
    END IF;
    -- Approved is what another person approved, by its digest.
    SELECT added.batch_id INTO broken
    FROM added JOIN ONLY settlement.payout_batch AS b ON b.batch_id = added.batch_id
    WHERE added.state = 'approved' AND NOT EXISTS (
        SELECT FROM ONLY settlement.approval AS a
        WHERE a.kind = 'payout_batch' AND a.subject = b.batch_id AND a.content_sha256 = b.content_sha256
            AND a.maker = b.maker AND a.checker = added.actor)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'nobody has approved this content of payout batch %', broken.batch_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'batch_approved_by_checker';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_batch_event() OWNER TO royalty_guard;
CREATE TRIGGER batch_state AFTER INSERT ON settlement.batch_event
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_batch_event();
ALTER TABLE settlement.batch_event ENABLE ALWAYS TRIGGER batch_state;

-- An approval of a batch is of the draft as it is, and moves the batch on: the checker's role may insert the approval and
-- nothing else.
CREATE FUNCTION guard.apply_batch_approval() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO settlement.batch_event (batch_id, number, state, actor)
    SELECT b.batch_id, 2, 'approved', NEW.checker FROM ONLY settlement.payout_batch AS b
    WHERE b.batch_id = NEW.subject AND b.content_sha256 = NEW.content_sha256 AND b.maker = NEW.maker;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no payout batch % by % has this digest', NEW.subject, NEW.maker
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'approval_of_batch_as_made';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.apply_batch_approval() OWNER TO royalty_owner;
REVOKE ALL ON FUNCTION guard.apply_batch_approval() FROM PUBLIC;
CREATE TRIGGER batch_approval_applies AFTER INSERT ON settlement.approval
    FOR EACH ROW WHEN (NEW.kind = 'payout_batch') EXECUTE FUNCTION guard.apply_batch_approval();
ALTER TABLE settlement.approval ENABLE ALWAYS TRIGGER batch_approval_applies;

-- An attempt is made once for a payout that is ready, in a batch that is being submitted, of the amount approved.
CREATE FUNCTION guard.check_payout_attempt() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    first CONSTANT integer := 1;
    broken text;
BEGIN
    SELECT added.attempt_id INTO broken
    FROM added JOIN ONLY settlement.payout AS p ON p.payout_id = added.payout_id
    WHERE added.number <> first OR added.amount_micros <> p.amount_micros OR p.decision <> 'pay'
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
ALTER FUNCTION guard.check_payout_attempt() OWNER TO royalty_guard;
CREATE TRIGGER attempt_of_ready_payout AFTER INSERT ON settlement.payout_attempt
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_payout_attempt();
ALTER TABLE settlement.payout_attempt ENABLE ALWAYS TRIGGER attempt_of_ready_payout;

--     held | ready -> reserved -> submitted -> accepted -> paid -> (returned) | rejected | unknown, or cancelled before reserved
CREATE FUNCTION guard.check_payout_event() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    first CONSTANT integer := 1;
    broken record;
BEGIN
    SELECT added.payout_id, coalesce(before.state, 'nothing') AS was, added.state AS becomes INTO broken
    FROM added
    JOIN ONLY settlement.payout AS p ON p.payout_id = added.payout_id
    LEFT JOIN ONLY settlement.payout_event AS before
        ON before.payout_id = added.payout_id AND before.number = added.number - first
    LEFT JOIN ONLY settlement.payout_attempt AS a ON a.attempt_id = added.attempt_id
    WHERE (added.number = first) <> (added.state IN ('held', 'ready'))
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
ALTER FUNCTION guard.check_payout_event() OWNER TO royalty_guard;
CREATE TRIGGER payout_state AFTER INSERT ON settlement.payout_event
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_payout_event();
ALTER TABLE settlement.payout_event ENABLE ALWAYS TRIGGER payout_state;
