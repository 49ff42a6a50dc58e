-- What earns, and for whom: guarantees, given weights, the public domain, opting out, and how money leaves suspense. A line of
-- kind `late` moves what another line put into suspense (`corrects`): pending, unclaimed or unattributed.

SET ROLE royalty_owner;
ALTER TABLE settlement.rate_card_version
    ADD COLUMN minimum_micros bigint,
    ADD COLUMN weights jsonb,
    ADD COLUMN public_domain_payee_id text,
    DROP CONSTRAINT rate_card_version_rate_or_fee,
    ADD CONSTRAINT rate_card_version_rate_or_fee CHECK (
        (rate_ppb IS NULL) <> (fee_micros IS NULL)
        AND (fee_micros IS NULL AND minimum_micros IS NULL) = (currency IS NULL)
        AND (model = 'per_image' OR rate_ppb IS NOT NULL AND minimum_micros IS NULL)),
    ADD CONSTRAINT rate_card_version_minimum_of_rate CHECK (
        minimum_micros IS NULL OR minimum_micros > 0 AND rate_ppb IS NOT NULL),
    ADD CONSTRAINT rate_card_version_weights_if_proxy CHECK ((distribution_key = 'proxy') = (weights IS NOT NULL)),
    ADD CONSTRAINT rate_card_version_public_domain_payee_id_fkey
        FOREIGN KEY (public_domain_payee_id) REFERENCES settlement.payee (payee_id);
ALTER TABLE settlement.platform_version
    ADD COLUMN fallback_after_periods integer,
    ADD COLUMN fallback_key jsonb,
    ADD CONSTRAINT platform_version_fallback_whole CHECK (
        (fallback_key IS NULL) = (fallback_after_periods IS NULL) AND fallback_after_periods > 0);
ALTER TABLE settlement.contract_version
    DROP CONSTRAINT contract_version_status_known,
    ADD CONSTRAINT contract_version_status_known CHECK (status IN ('active', 'ended', 'opted_out', 'public_domain'));
ALTER TABLE settlement.royalty_line
    ADD COLUMN platform_version_id bigint,
    ADD CONSTRAINT royalty_line_late_corrects CHECK (kind <> 'late' OR corrects IS NOT NULL);
CREATE INDEX royalty_line_unclaimed_idx ON settlement.royalty_line (player)
    WHERE destination = 'unclaimed' AND kind <> 'refund';
CREATE INDEX royalty_line_suspense_idx ON settlement.royalty_line (period_id)
    WHERE destination IN ('unclaimed', 'unattributed') AND kind <> 'refund';

-- A line's id when it has a payee and no player: the fallback key's part of a slice that nobody can be found for.
CREATE OR REPLACE VIEW settlement.statement_line WITH (security_invoker = true) AS
SELECT
    l.id,
    l.payee_id,
    l.period_id || '/' || l.payee_id || '/' || l.currency AS statement_id,
    coalesce(r.external_id || '/', '') || s.external_id
        || CASE
            WHEN l.player IS NOT NULL THEN '/' || l.player || '/' || coalesce(l.payee_id, l.player)
            WHEN l.payee_id IS NOT NULL THEN '/unattributed/' || l.payee_id
            -- A whole slice that left pending for good stands beside the line that put it there.
            WHEN 'late' IN (l.kind, o.kind) THEN '/unattributed'
            ELSE ''
        END AS line,
    l.kind,
    l.period_id AS period,
    c.usage_period,
    (s.sold_at AT TIME ZONE p.zone)::date AS usage_date,
    s.territory::text AS territory,
    s.external_id AS sale,
    i.external_id AS image,
    i.model,
    l.player,
    m.name AS method,
    l.share_ppb AS share,
    l.distribution_key,
    k.rate_card_id || '@' || (k.valid_from AT TIME ZONE p.zone)::date AS rate_card,
    t.contract_id || '@' || (t.valid_from AT TIME ZONE p.zone)::date AS contract,
    l.split_ppb AS split,
    c.base_micros AS base,
    c.slice_micros AS slice,
    l.amount_micros AS amount,
    l.currency::text AS currency,
    CASE WHEN l.kind = 'refund' THEN
        s.external_id
        || CASE
            WHEN o.player IS NOT NULL THEN '/' || o.player || '/' || coalesce(o.payee_id, o.player)
            WHEN o.payee_id IS NOT NULL THEN '/unattributed/' || o.payee_id
            WHEN o.kind = 'late' THEN '/unattributed'
            ELSE ''
        END
    END AS corrects
FROM settlement.royalty_line AS l
JOIN settlement.period AS p ON p.period_id = l.period_id
JOIN settlement.sale AS s ON s.id = l.sale_id
JOIN settlement.sale_slice AS c ON c.sale_id = l.sale_id
JOIN settlement.rate_card_version AS k ON k.id = c.rate_card_version_id
JOIN attribution.image AS i ON i.id = s.image_id
LEFT JOIN settlement.refund AS r ON r.id = l.refund_id
LEFT JOIN settlement.royalty_line AS o ON o.id = l.corrects
LEFT JOIN settlement.contract_version AS t ON t.id = l.contract_version_id
LEFT JOIN attribution.attribution AS a ON a.id = l.attribution_id
LEFT JOIN attribution.method_version AS m ON m.id = a.method_id;
RESET ROLE;

-- A payee reads the card that she is paid by, and not the weights of others.
REVOKE SELECT ON settlement.rate_card_version FROM portal;
GRANT SELECT (id, rate_card_id, valid_from, model, rate_ppb, fee_micros, minimum_micros, currency, content_to,
              distribution_key) ON settlement.rate_card_version TO portal;

-- Guards --------------------------------------------------------------------------------------------------------------

-- What a table of terms gives to whom: whole numbers above zero; a fallback key's payees exist and their parts sum to 10^9.
CREATE FUNCTION guard.check_given_parts() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    given jsonb := CASE TG_TABLE_NAME WHEN 'platform_version' THEN to_jsonb(NEW) -> 'fallback_key'
                                      ELSE to_jsonb(NEW) -> 'weights' END;
BEGIN
    IF given IS NULL OR given = 'null' THEN
        RETURN NULL;
    END IF;
    IF jsonb_typeof(given) <> 'object' OR given = '{}' OR EXISTS (
        SELECT FROM jsonb_each(given) AS g
        WHERE jsonb_typeof(g.value) <> 'number' OR g.value::text !~ '^[1-9][0-9]{0,14}$') THEN
        RAISE EXCEPTION 'parts are whole numbers above zero'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'given_parts';
    END IF;
    IF TG_TABLE_NAME = 'platform_version' AND (
        (SELECT sum(g.value::numeric) FROM jsonb_each_text(given) AS g) <> 1000000000
        OR EXISTS (SELECT FROM jsonb_each(given) AS g WHERE NOT EXISTS (
            SELECT FROM ONLY settlement.payee AS p WHERE p.payee_id = g.key))) THEN
        RAISE EXCEPTION 'a fallback key names payees, and their parts sum to 10^9 ppb'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'fallback_key_sums_to_one';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_given_parts() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_given_parts() FROM PUBLIC;
CREATE TRIGGER given_parts AFTER INSERT ON settlement.platform_version
    FOR EACH ROW EXECUTE FUNCTION guard.check_given_parts();
ALTER TABLE settlement.platform_version ENABLE ALWAYS TRIGGER given_parts;
CREATE TRIGGER given_parts AFTER INSERT ON settlement.rate_card_version
    FOR EACH ROW EXECUTE FUNCTION guard.check_given_parts();
ALTER TABLE settlement.rate_card_version ENABLE ALWAYS TRIGGER given_parts;

-- A version that follows another begins in an open period: what a closed one was paid by does not change afterwards, not even
-- for sales of it that come late. The first version of a thing may go back: there was nothing before it.
CREATE FUNCTION guard.check_version_start() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    closed timestamptz := (SELECT max(p.ends_at) FROM ONLY settlement.period AS p WHERE p.state = 'closed');
    follows boolean;
BEGIN
    IF closed IS NULL OR NEW.valid_from >= closed THEN
        RETURN NULL;
    END IF;
    CASE TG_TABLE_NAME
        WHEN 'platform_version' THEN
            follows := EXISTS (SELECT FROM ONLY settlement.platform_version AS v WHERE v.id <> NEW.id);
        WHEN 'rate_card_version' THEN
            follows := EXISTS (SELECT FROM ONLY settlement.rate_card_version AS v
                               WHERE v.id <> NEW.id AND v.rate_card_id = NEW.rate_card_id);
        ELSE
            follows := EXISTS (SELECT FROM ONLY settlement.contract_version AS v
                               WHERE v.id <> NEW.id AND v.artist_id = NEW.artist_id);
    END CASE;
    IF follows THEN
        RAISE EXCEPTION 'a version from % on would change terms of a closed period', NEW.valid_from
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'version_begins_in_open_period';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_version_start() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_version_start() FROM PUBLIC;
CREATE TRIGGER version_start AFTER INSERT ON settlement.platform_version
    FOR EACH ROW EXECUTE FUNCTION guard.check_version_start();
ALTER TABLE settlement.platform_version ENABLE ALWAYS TRIGGER version_start;
CREATE TRIGGER version_start AFTER INSERT ON settlement.rate_card_version
    FOR EACH ROW EXECUTE FUNCTION guard.check_version_start();
ALTER TABLE settlement.rate_card_version ENABLE ALWAYS TRIGGER version_start;
CREATE TRIGGER version_start AFTER INSERT ON settlement.contract_version
    FOR EACH ROW EXECUTE FUNCTION guard.check_version_start();
ALTER TABLE settlement.contract_version ENABLE ALWAYS TRIGGER version_start;

-- What leaves suspense is what lay there: the late lines that move a line's money add up to it, net of what refunds took
-- back of it. Once for all lines of a statement, which writes all that move one line's money together.
CREATE FUNCTION guard.check_late_lines() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    broken bigint;
BEGIN
    SELECT moved.corrects INTO broken
    FROM (SELECT DISTINCT l.corrects FROM added AS l WHERE l.kind = 'late') AS moved
    LEFT JOIN ONLY settlement.royalty_line AS o ON o.id = moved.corrects
    CROSS JOIN LATERAL (
        SELECT sum(m.amount_micros) FILTER (WHERE m.kind = 'late') AS late,
               coalesce(sum(m.amount_micros) FILTER (WHERE m.kind = 'refund'), 0) AS refunded,
               count(*) FILTER (WHERE m.kind NOT IN ('late', 'refund') OR m.currency <> o.currency
                                      OR m.kind = 'late' AND m.amount_micros <= 0) AS wrong
        FROM ONLY settlement.royalty_line AS m WHERE m.sale_id = o.sale_id AND m.corrects = o.id
    ) AS m
    WHERE o.id IS NULL OR o.destination = 'payee' OR o.kind = 'refund' OR m.wrong > 0
        OR m.late IS DISTINCT FROM o.amount_micros + m.refunded
        OR EXISTS (SELECT FROM added AS l WHERE l.kind = 'late' AND l.corrects = o.id AND l.sale_id <> o.sale_id)
    LIMIT 1;
    IF broken IS NULL THEN
        SELECT l.platform_version_id INTO broken FROM added AS l
        WHERE l.platform_version_id IS NOT NULL AND NOT EXISTS (
            SELECT FROM ONLY settlement.platform_version AS v WHERE v.id = l.platform_version_id) LIMIT 1;
        IF broken IS NULL THEN
            RETURN NULL;
        END IF;
        RAISE EXCEPTION 'a royalty line names platform version %, which does not exist', broken
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'lines_name_what_exists';
    END IF;
    RAISE EXCEPTION 'late lines do not move what line % left in suspense', broken
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'late_lines_move_what_waits';
END
$$;
ALTER FUNCTION guard.check_late_lines() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_late_lines() FROM PUBLIC;
CREATE TRIGGER late_lines_move_what_waits AFTER INSERT ON settlement.royalty_line
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_late_lines();
ALTER TABLE settlement.royalty_line ENABLE ALWAYS TRIGGER late_lines_move_what_waits;
