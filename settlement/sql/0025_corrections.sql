-- Corrections of closed periods: proposed by one person with a preview of who wins and loses, approved by another, applied
-- once, as lines of kind `adjustment` of the next period that is closed. A line that is corrected is taken back as it stands
-- (net of refunds; `corrects` names it), and what the sale pays by the other method version or terms is given anew. What is
-- given is a line like any other: refunds, releases and the next correction find it.

SET ROLE royalty_owner;
CREATE TABLE settlement.correction (
    correction_id text NOT NULL,
    kind text NOT NULL,
    method_id bigint,
    rate_card_version_id bigint,
    payee_id text,
    currency char(3),
    territory char(2),
    amount_micros bigint,
    reason text NOT NULL,
    content text NOT NULL,
    content_sha256 bytea NOT NULL,
    actor text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT correction_pkey PRIMARY KEY (correction_id),
    CONSTRAINT correction_method_id_fkey FOREIGN KEY (method_id) REFERENCES attribution.method_version (id),
    CONSTRAINT correction_rate_card_version_id_fkey FOREIGN KEY (rate_card_version_id)
        REFERENCES settlement.rate_card_version (id),
    CONSTRAINT correction_payee_id_fkey FOREIGN KEY (payee_id) REFERENCES settlement.payee (payee_id),
    CONSTRAINT correction_correction_id_form CHECK (correction_id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    CONSTRAINT correction_kind_known CHECK (kind IN ('reattribution', 'terms', 'manual')),
    CONSTRAINT correction_says_what CHECK (
        (kind = 'reattribution') = (method_id IS NOT NULL)
        AND (kind = 'terms' OR rate_card_version_id IS NULL)
        AND (kind = 'manual' OR territory IS NULL)
        AND num_nonnulls(payee_id, currency, amount_micros) = CASE kind WHEN 'manual' THEN 3 ELSE 0 END),
    CONSTRAINT correction_codes_form CHECK (currency ~ '^[A-Z]{3}$' AND territory ~ '^[A-Z]{2}$'),
    CONSTRAINT correction_amount_not_zero CHECK (amount_micros <> 0),
    CONSTRAINT correction_said_why CHECK (btrim(reason) <> ''),
    CONSTRAINT correction_content_sha256_of_content CHECK (content_sha256 = sha256(convert_to(content, 'UTF8')))
);

-- The sales that it divides anew: by which attribution (none where the rate card's key needs none), under which rate card,
-- and what they pay then and paid before, all players together.
CREATE TABLE settlement.correction_sale (
    correction_id text NOT NULL,
    sale_id bigint NOT NULL,
    attribution_id bigint,
    rate_card_version_id bigint NOT NULL,
    slice_before_micros bigint NOT NULL,
    slice_micros bigint NOT NULL,
    CONSTRAINT correction_sale_pkey PRIMARY KEY (correction_id, sale_id),
    -- At commit: a correction comes after its sales, and nothing joins it then.
    CONSTRAINT correction_sale_correction_id_fkey FOREIGN KEY (correction_id)
        REFERENCES settlement.correction (correction_id) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT correction_sale_sale_id_fkey FOREIGN KEY (sale_id) REFERENCES settlement.sale_slice (sale_id),
    CONSTRAINT correction_sale_attribution_id_fkey FOREIGN KEY (attribution_id) REFERENCES attribution.attribution (id),
    CONSTRAINT correction_sale_rate_card_version_id_fkey FOREIGN KEY (rate_card_version_id)
        REFERENCES settlement.rate_card_version (id),
    CONSTRAINT correction_sale_not_negative CHECK (slice_before_micros >= 0 AND slice_micros >= 0)
);
CREATE INDEX correction_sale_sale_id_idx ON settlement.correction_sale (sale_id);

-- Contract versions that hold for it whatever the date of the sale.
CREATE TABLE settlement.correction_contract (
    correction_id text NOT NULL,
    artist_id text NOT NULL,
    contract_version_id bigint NOT NULL,
    CONSTRAINT correction_contract_pkey PRIMARY KEY (correction_id, artist_id),
    CONSTRAINT correction_contract_correction_id_fkey FOREIGN KEY (correction_id)
        REFERENCES settlement.correction (correction_id) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT correction_contract_contract_version_id_fkey FOREIGN KEY (contract_version_id)
        REFERENCES settlement.contract_version (id)
);

CREATE TABLE settlement.correction_withdrawal (
    correction_id text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT correction_withdrawal_pkey PRIMARY KEY (correction_id),
    CONSTRAINT correction_withdrawal_correction_id_fkey FOREIGN KEY (correction_id)
        REFERENCES settlement.correction (correction_id),
    CONSTRAINT correction_withdrawal_said_why CHECK (btrim(reason) <> '')
);

-- The close that applied it. One for each, for ever.
CREATE TABLE settlement.correction_application (
    correction_id text NOT NULL,
    period_id text NOT NULL,
    approval_id bigint NOT NULL,
    CONSTRAINT correction_application_pkey PRIMARY KEY (correction_id),
    CONSTRAINT correction_application_correction_id_fkey FOREIGN KEY (correction_id)
        REFERENCES settlement.correction (correction_id),
    CONSTRAINT correction_application_period_id_fkey FOREIGN KEY (period_id) REFERENCES settlement.period (period_id),
    CONSTRAINT correction_application_approval_id_key UNIQUE (approval_id),
    CONSTRAINT correction_application_approval_id_fkey FOREIGN KEY (approval_id) REFERENCES settlement.approval (id)
);
CREATE INDEX correction_application_period_id_idx ON settlement.correction_application (period_id);

ALTER TABLE settlement.approval DROP CONSTRAINT approval_kind_known,
    ADD CONSTRAINT approval_kind_known CHECK (
        kind IN ('period', 'payout_batch', 'advance', 'payout_correction', 'correction'));

ALTER TABLE settlement.royalty_line
    ADD COLUMN correction_id text,
    DROP CONSTRAINT royalty_line_kind_known,
    ADD CONSTRAINT royalty_line_kind_known CHECK (
        kind IN ('royalty', 'pending', 'unattributed', 'late', 'refund', 'adjustment')),
    ADD CONSTRAINT royalty_line_correction_if_kind CHECK ((kind = 'adjustment') = (correction_id IS NOT NULL)),
    ADD CONSTRAINT royalty_line_adjustment_takes_or_gives CHECK (
        kind <> 'adjustment' OR amount_micros <> 0 AND (amount_micros < 0) = (corrects IS NOT NULL)),
    DROP CONSTRAINT royalty_line_sale_id_kind_player_payee_id_refund_id_cor_2a95,
    ADD CONSTRAINT royalty_line_natural_key UNIQUE NULLS NOT DISTINCT
        (sale_id, kind, player, payee_id, refund_id, corrects, correction_id);
-- No line is taken back twice.
CREATE UNIQUE INDEX royalty_line_taken_back_once ON settlement.royalty_line (corrects) WHERE kind = 'adjustment';
CREATE INDEX royalty_line_correction_id_idx ON settlement.royalty_line (correction_id) WHERE kind = 'adjustment';
RESET ROLE;

CALL guard.make_append_only('settlement.correction');
CALL guard.make_append_only('settlement.correction_sale');
CALL guard.make_append_only('settlement.correction_contract');
CALL guard.make_append_only('settlement.correction_withdrawal');
CALL guard.make_append_only('settlement.correction_application');
GRANT SELECT, INSERT ON settlement.correction, settlement.correction_sale, settlement.correction_contract,
    settlement.correction_withdrawal, settlement.correction_application TO settlement;
GRANT SELECT ON settlement.correction, settlement.correction_sale, settlement.correction_contract,
    settlement.correction_withdrawal, settlement.correction_application TO royalty_guard;
GRANT SELECT ON settlement.correction, settlement.correction_withdrawal, settlement.correction_application TO approver;

-- Guards --------------------------------------------------------------------------------------------------------------

-- One writer at a time, of all these tables together: of two that were each right alone, the second sees the first.
CREATE FUNCTION guard.correct_in_turn() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION '%.% is written in READ COMMITTED transactions, not in %', TG_TABLE_SCHEMA, TG_TABLE_NAME,
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'invalid_transaction_state', CONSTRAINT = 'written_in_turn';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('settlement.correction', 0));
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.correct_in_turn() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.correct_in_turn() FROM PUBLIC;

-- A correction is whole when it is written: its sales and contracts come before it, and none after it. Its sales were paid in
-- a closed period, pay now what it says they pay, and are in no other correction that is still to be applied.
CREATE FUNCTION guard.check_correction() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    sales bigint := (SELECT count(*) FROM ONLY settlement.correction_sale AS x WHERE x.correction_id = NEW.correction_id);
    contracts bigint := (SELECT count(*) FROM ONLY settlement.correction_contract AS x
                         WHERE x.correction_id = NEW.correction_id);
    broken bigint;
BEGIN
    IF (NEW.kind = 'manual') <> (sales = 0) OR NEW.kind <> 'terms' AND contracts > 0
        OR (NEW.content::jsonb ->> 'correction') IS DISTINCT FROM NEW.correction_id
        OR (NEW.content::jsonb ->> 'sales')::bigint IS DISTINCT FROM sales THEN
        RAISE EXCEPTION 'correction % has % sales and % contracts, which is not what it says', NEW.correction_id, sales,
            contracts USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'correction_is_whole';
    END IF;
    SELECT x.sale_id INTO broken
    FROM ONLY settlement.correction_sale AS x
    JOIN ONLY settlement.sale_slice AS c ON c.sale_id = x.sale_id
    LEFT JOIN LATERAL (
        SELECT e.slice_micros FROM ONLY settlement.correction_sale AS e
        JOIN ONLY settlement.correction_application AS a ON a.correction_id = e.correction_id
        JOIN ONLY settlement.period AS p ON p.period_id = a.period_id
        WHERE e.sale_id = x.sale_id ORDER BY p.ends_at DESC LIMIT 1
    ) AS e ON true
    WHERE x.correction_id = NEW.correction_id AND x.slice_before_micros <> coalesce(e.slice_micros, c.slice_micros) LIMIT 1;
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION 'sale % does not pay what correction % says it pays', broken, NEW.correction_id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'correction_of_what_is_paid';
    END IF;
    SELECT x.sale_id INTO broken
    FROM ONLY settlement.correction_sale AS x
    JOIN ONLY settlement.correction_sale AS e ON e.sale_id = x.sale_id AND e.correction_id <> x.correction_id
    WHERE x.correction_id = NEW.correction_id
        AND NOT EXISTS (SELECT FROM ONLY settlement.correction_withdrawal AS w WHERE w.correction_id = e.correction_id)
        AND NOT EXISTS (SELECT FROM ONLY settlement.correction_application AS a WHERE a.correction_id = e.correction_id)
    LIMIT 1;
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION 'sale % is in another correction that is not applied yet', broken
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'one_open_correction_of_a_sale';
    END IF;
    IF EXISTS (SELECT FROM ONLY settlement.correction_contract AS x
               JOIN ONLY settlement.contract_version AS v ON v.id = x.contract_version_id
               WHERE x.correction_id = NEW.correction_id AND v.artist_id <> x.artist_id) THEN
        RAISE EXCEPTION 'correction % names an artist''s contract for another', NEW.correction_id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'correction_names_her_contract';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_correction() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_correction() FROM PUBLIC;
CREATE TRIGGER correction_is_whole AFTER INSERT ON settlement.correction
    FOR EACH ROW EXECUTE FUNCTION guard.check_correction();
ALTER TABLE settlement.correction ENABLE ALWAYS TRIGGER correction_is_whole;

CREATE FUNCTION guard.check_correction_part() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known text := (SELECT c.correction_id FROM ONLY settlement.correction AS c
                   WHERE c.correction_id IN (SELECT a.correction_id FROM added AS a) LIMIT 1);
BEGIN
    IF known IS NOT NULL THEN
        RAISE EXCEPTION 'nothing joins correction %, which is proposed already', known
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'correction_is_whole';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_correction_part() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_correction_part() FROM PUBLIC;
CREATE TRIGGER joins_before AFTER INSERT ON settlement.correction_sale
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_correction_part();
CREATE TRIGGER joins_before AFTER INSERT ON settlement.correction_contract
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_correction_part();
ALTER TABLE settlement.correction_sale ENABLE ALWAYS TRIGGER joins_before;
ALTER TABLE settlement.correction_contract ENABLE ALWAYS TRIGGER joins_before;

-- Applied by the close of an approved period, as another person approved it; withdrawn, if at all, before that.
CREATE FUNCTION guard.check_correction_end() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM ONLY settlement.correction_application AS a
               JOIN ONLY settlement.correction_withdrawal AS w ON w.correction_id = a.correction_id
               WHERE a.correction_id = NEW.correction_id) THEN
        RAISE EXCEPTION 'correction % cannot be applied and withdrawn', NEW.correction_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'correction_ends_once';
    END IF;
    IF TG_TABLE_NAME = 'correction_application' AND NOT EXISTS (
        SELECT FROM ONLY settlement.correction AS c
        JOIN ONLY settlement.correction_application AS x ON x.correction_id = c.correction_id
        JOIN ONLY settlement.approval AS a ON a.id = x.approval_id AND a.kind = 'correction' AND a.subject = c.correction_id
            AND a.content_sha256 = c.content_sha256 AND a.maker = c.actor
        JOIN ONLY settlement.period AS p ON p.period_id = x.period_id AND p.state = 'approved'
        WHERE c.correction_id = NEW.correction_id) THEN
        RAISE EXCEPTION 'correction % is applied by the close of an approved period, as another person approved it',
            NEW.correction_id USING ERRCODE = 'restrict_violation', CONSTRAINT = 'correction_applied_as_approved';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_correction_end() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_correction_end() FROM PUBLIC;
CREATE TRIGGER correction_ends_once AFTER INSERT ON settlement.correction_application
    FOR EACH ROW EXECUTE FUNCTION guard.check_correction_end();
CREATE TRIGGER correction_ends_once AFTER INSERT ON settlement.correction_withdrawal
    FOR EACH ROW EXECUTE FUNCTION guard.check_correction_end();
ALTER TABLE settlement.correction_application ENABLE ALWAYS TRIGGER correction_ends_once;
ALTER TABLE settlement.correction_withdrawal ENABLE ALWAYS TRIGGER correction_ends_once;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['correction', 'correction_sale', 'correction_contract', 'correction_withdrawal',
                                'correction_application'] LOOP
        EXECUTE format('CREATE TRIGGER in_turn BEFORE INSERT ON settlement.%I FOR EACH STATEMENT'
                       ' EXECUTE FUNCTION guard.correct_in_turn()', name);
        EXECUTE format('ALTER TABLE settlement.%I ENABLE ALWAYS TRIGGER in_turn', name);
    END LOOP;
END
$$;

-- What an adjustment takes back is a line as it stands, of the same holder, whole; what is given in its place adds up to it, or
-- to what the sale pays by the corrected terms, less what was refunded of it. Of a corrected sale nothing else is left that
-- could still be refunded or released. Only the close that applies a correction writes its lines.
CREATE FUNCTION guard.check_adjustments() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    broken text;
BEGIN
    IF NOT EXISTS (SELECT FROM added AS l WHERE l.kind IN ('adjustment', 'refund')) THEN
        RETURN NULL;
    END IF;
    SELECT 'line ' || l.corrects INTO broken
    FROM added AS l JOIN ONLY settlement.royalty_line AS d ON d.corrects = l.corrects AND d.kind = 'adjustment'
    WHERE l.kind = 'refund' LIMIT 1;
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION '% was taken back by a correction: what was given in its place is refunded', broken
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'corrected_lines_are_refunded_no_more';
    END IF;
    SELECT 'line ' || coalesce(l.corrects, l.id) INTO broken
    FROM added AS l LEFT JOIN ONLY settlement.royalty_line AS o ON o.id = l.corrects
    WHERE l.kind = 'adjustment' AND l.corrects IS NOT NULL AND (
        o.id IS NULL OR (o.sale_id, o.currency, o.destination) <> (l.sale_id, l.currency, l.destination)
        OR (o.player, o.payee_id) IS DISTINCT FROM (l.player, l.payee_id)
        OR o.kind IN ('refund', 'pending') OR o.kind = 'adjustment' AND o.corrects IS NOT NULL
        OR EXISTS (SELECT FROM ONLY settlement.royalty_line AS d
                   WHERE d.sale_id = o.sale_id AND d.corrects = o.id AND d.kind = 'late')
        OR l.amount_micros <> -(o.amount_micros + coalesce((
            SELECT sum(r.amount_micros) FROM ONLY settlement.royalty_line AS r
            WHERE r.sale_id = o.sale_id AND r.corrects = o.id AND r.kind = 'refund'), 0))) LIMIT 1;
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION 'an adjustment does not take back % as it stands', broken
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'adjustments_take_back_what_is_there';
    END IF;
    SELECT a.correction_id || ' of sale ' || a.sale_id INTO broken
    FROM (SELECT DISTINCT l.correction_id, l.sale_id, l.period_id FROM added AS l WHERE l.kind = 'adjustment') AS a
    LEFT JOIN ONLY settlement.correction_sale AS x ON x.correction_id = a.correction_id AND x.sale_id = a.sale_id
    LEFT JOIN ONLY settlement.correction_application AS y ON y.correction_id = a.correction_id AND y.period_id = a.period_id
    LEFT JOIN ONLY settlement.period AS p ON p.period_id = a.period_id AND p.state = 'approved'
    LEFT JOIN ONLY settlement.sale AS s ON s.id = a.sale_id
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(l.amount_micros) FILTER (WHERE l.corrects IS NULL), 0) AS given,
               coalesce(-sum(l.amount_micros) FILTER (WHERE l.corrects IS NOT NULL), 0) AS taken
        FROM ONLY settlement.royalty_line AS l
        WHERE l.sale_id = a.sale_id AND l.kind = 'adjustment' AND l.correction_id = a.correction_id
    ) AS m
    CROSS JOIN LATERAL (SELECT coalesce(sum(b.refunded_micros), 0) AS refunded FROM ONLY settlement.refund_reversal AS b
                        WHERE b.sale_id = a.sale_id) AS r
    WHERE x.sale_id IS NULL OR y.period_id IS NULL OR p.period_id IS NULL
        OR m.given <> CASE WHEN x.slice_micros = x.slice_before_micros THEN m.taken
                           ELSE x.slice_micros - div(x.slice_micros::numeric * r.refunded, s.price_micros) END
        OR EXISTS (
            SELECT FROM ONLY settlement.royalty_line AS l
            WHERE l.sale_id = a.sale_id AND l.kind <> 'refund'
                AND NOT (l.kind = 'adjustment' AND (l.corrects IS NOT NULL OR l.correction_id = a.correction_id))
                AND NOT EXISTS (SELECT FROM ONLY settlement.royalty_line AS d WHERE d.sale_id = l.sale_id
                                AND d.corrects = l.id AND d.kind IN ('late', 'adjustment'))
                AND l.amount_micros + coalesce((SELECT sum(d.amount_micros) FROM ONLY settlement.royalty_line AS d
                                                WHERE d.sale_id = l.sale_id AND d.corrects = l.id AND d.kind = 'refund'), 0) <> 0)
    LIMIT 1;
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION 'the adjustments of correction % do not replace what its lines left', broken
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'adjustments_replace_what_is_taken';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_adjustments() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_adjustments() FROM PUBLIC;
CREATE TRIGGER adjustments_replace_what_is_taken AFTER INSERT ON settlement.royalty_line
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_adjustments();
ALTER TABLE settlement.royalty_line ENABLE ALWAYS TRIGGER adjustments_replace_what_is_taken;

-- What people read -------------------------------------------------------------------------------------------------------

-- A line that was given by a correction is named by it, and shows the rate card and slice that hold since; one that takes a
-- line back ends in `taken`. Otherwise as in 0018.
DO $$
DECLARE
    definition text := $view$
SELECT
    l.id,
    l.payee_id,
    coalesce(w.statement_id, l.period_id || '/' || l.payee_id || '/' || l.currency) AS statement_id,
    coalesce(r.external_id || '/', '') || coalesce(l.correction_id || '/', '') || s.external_id
        || CASE
            WHEN l.player IS NOT NULL THEN '/' || l.player || '/' || coalesce(l.payee_id, l.player)
            WHEN l.payee_id IS NOT NULL THEN '/unattributed/' || l.payee_id
            -- A whole slice that left pending for good stands beside the line that put it there.
            WHEN 'late' IN (l.kind, o.kind) OR l.kind = 'adjustment' THEN '/unattributed'
            ELSE ''
        END
        || CASE WHEN l.kind = 'adjustment' AND l.corrects IS NOT NULL THEN '/taken' ELSE '' END AS line,
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
    coalesce(x.slice_micros, c.slice_micros) AS slice,
    l.amount_micros AS amount,
    l.currency::text AS currency,
    CASE WHEN l.kind = 'refund' OR l.kind = 'adjustment' AND l.corrects IS NOT NULL THEN
        coalesce(o.correction_id || '/', '') || s.external_id
        || CASE
            WHEN o.player IS NOT NULL THEN '/' || o.player || '/' || coalesce(o.payee_id, o.player)
            WHEN o.payee_id IS NOT NULL THEN '/unattributed/' || o.payee_id
            WHEN o.kind IN ('late', 'adjustment') THEN '/unattributed'
            ELSE ''
        END
    END AS corrects
FROM settlement.royalty_line AS l
JOIN settlement.period AS p ON p.period_id = l.period_id
JOIN settlement.sale AS s ON s.id = l.sale_id
JOIN settlement.sale_slice AS c ON c.sale_id = l.sale_id
JOIN attribution.image AS i ON i.id = s.image_id
LEFT JOIN settlement.refund AS r ON r.id = l.refund_id
LEFT JOIN settlement.royalty_line AS o ON o.id = l.corrects
LEFT JOIN settlement.correction_sale AS x ON x.sale_id = l.sale_id
    AND x.correction_id = CASE WHEN l.corrects IS NULL THEN l.correction_id ELSE o.correction_id END
JOIN settlement.rate_card_version AS k ON k.id = coalesce(x.rate_card_version_id, c.rate_card_version_id)
LEFT JOIN settlement.contract_version AS t ON t.id = l.contract_version_id
LEFT JOIN attribution.attribution AS a ON a.id = l.attribution_id
LEFT JOIN attribution.method_version AS m ON m.id = a.method_id
LEFT JOIN settlement.statement_column AS w
    ON w.payee_id = l.payee_id AND w.period_id = l.period_id AND w.currency = l.currency
$view$;
BEGIN
    EXECUTE 'SET ROLE royalty_owner';
    EXECUTE 'CREATE OR REPLACE VIEW settlement.statement_line WITH (security_invoker = true) AS ' || definition;
    EXECUTE 'SET ROLE audit_owner';
    EXECUTE 'CREATE OR REPLACE VIEW audit.statement_line AS ' || definition;
    EXECUTE 'RESET ROLE';
END
$$;
GRANT SELECT ON settlement.correction_sale TO portal;
ALTER TABLE settlement.correction_sale ENABLE ROW LEVEL SECURITY;
-- Once it is applied: what is only proposed is on no statement.
CREATE POLICY own ON settlement.correction_sale FOR SELECT TO portal
    USING (EXISTS (SELECT FROM settlement.royalty_line AS l WHERE l.sale_id = correction_sale.sale_id
                   AND l.correction_id = correction_sale.correction_id));
