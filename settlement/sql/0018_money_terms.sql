-- What lies between royalty lines and a statement's closing: rates of exchange, tax profiles, reserves and advances as
-- they were agreed; and what each close made of them.

SET ROLE royalty_owner;

-- Terms ---------------------------------------------------------------------------------------------------------------

-- One unit of the source is worth `rate_trillionths` / 10^12 units of the target, from `valid_from` to the next version.
CREATE TABLE settlement.fx_rate (
    id bigint GENERATED ALWAYS AS IDENTITY,
    source_currency char(3) NOT NULL,
    target_currency char(3) NOT NULL,
    valid_from timestamptz NOT NULL,
    rate_trillionths bigint NOT NULL,
    source text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT fx_rate_pkey PRIMARY KEY (id),
    CONSTRAINT fx_rate_source_currency_target_currency_valid_from_key
        UNIQUE (source_currency, target_currency, valid_from),
    CONSTRAINT fx_rate_currencies CHECK (source_currency ~ '^[A-Z]{3}$' AND target_currency ~ '^[A-Z]{3}$'
        AND source_currency <> target_currency),
    CONSTRAINT fx_rate_rate_positive CHECK (rate_trillionths > 0),
    CONSTRAINT fx_rate_source_named CHECK (source <> '')
);

-- Ppb withheld by territory of the sale; the default is for those not named. All zero ends it.
CREATE TABLE settlement.tax_profile_version (
    id bigint GENERATED ALWAYS AS IDENTITY,
    payee_id text NOT NULL,
    valid_from timestamptz NOT NULL,
    default_ppb bigint NOT NULL,
    rates jsonb NOT NULL DEFAULT '{}',
    actor text NOT NULL,
    reason text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT tax_profile_version_pkey PRIMARY KEY (id),
    CONSTRAINT tax_profile_version_payee_id_valid_from_key UNIQUE (payee_id, valid_from),
    CONSTRAINT tax_profile_version_payee_id_fkey FOREIGN KEY (payee_id) REFERENCES settlement.payee (payee_id),
    CONSTRAINT tax_profile_version_default_in_range CHECK (default_ppb BETWEEN 0 AND 1000000000),
    CONSTRAINT tax_profile_version_rates_form CHECK (jsonb_typeof(rates) = 'object'
        AND NOT jsonb_path_exists(rates, '$.keyvalue() ? (!(@.key like_regex "^[A-Z]{2}$"))')
        AND NOT jsonb_path_exists(rates, 'strict $.* ? (@.type() != "number" || @ < 0 || @ > 1000000000 || @ % 1 != 0)'))
);

RESET ROLE;
-- A schedule of release: whole periods after the one it was taken in, to ppb; together all of it. Rate 0 has none.
CREATE FUNCTION guard.is_release(release jsonb, rate bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_typeof(release) = 'object'
        AND NOT jsonb_path_exists(release, '$.keyvalue() ? (!(@.key like_regex "^[1-9][0-9]{0,2}$"))')
        AND NOT jsonb_path_exists(release, 'strict $.* ? (@.type() != "number" || @ <= 0 || @ % 1 != 0)')
        AND (SELECT coalesce(sum(part.value::numeric), 0) FROM jsonb_each_text(release) AS part)
            = CASE rate WHEN 0 THEN 0 ELSE 1000000000 END
$$;
ALTER FUNCTION guard.is_release(jsonb, bigint) OWNER TO royalty_guard;
SET ROLE royalty_owner;

CREATE TABLE settlement.reserve_version (
    id bigint GENERATED ALWAYS AS IDENTITY,
    payee_id text NOT NULL,
    valid_from timestamptz NOT NULL,
    rate_ppb bigint NOT NULL,
    release jsonb NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT reserve_version_pkey PRIMARY KEY (id),
    CONSTRAINT reserve_version_payee_id_valid_from_key UNIQUE (payee_id, valid_from),
    CONSTRAINT reserve_version_payee_id_fkey FOREIGN KEY (payee_id) REFERENCES settlement.payee (payee_id),
    CONSTRAINT reserve_version_rate_in_range CHECK (rate_ppb BETWEEN 0 AND 1000000000),
    CONSTRAINT reserve_version_release_whole CHECK (guard.is_release(release, rate_ppb))
);

-- Agreed by one person; paid once another has approved it (`settlement.approval` of kind advance, by its digest).
CREATE TABLE settlement.advance (
    advance_id text NOT NULL,
    payee_id text NOT NULL,
    currency char(3) NOT NULL,
    amount_micros bigint NOT NULL,
    content_sha256 bytea NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT advance_pkey PRIMARY KEY (advance_id),
    CONSTRAINT advance_payee_id_fkey FOREIGN KEY (payee_id) REFERENCES settlement.payee (payee_id),
    CONSTRAINT advance_advance_id_form CHECK (advance_id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    CONSTRAINT advance_amount_positive CHECK (amount_micros > 0),
    CONSTRAINT advance_content_sha256_length CHECK (octet_length(content_sha256) = 32)
);
CREATE INDEX advance_payee_id_idx ON settlement.advance (payee_id);

ALTER TABLE settlement.platform_version ADD COLUMN zero_statements boolean NOT NULL DEFAULT false;
ALTER TABLE settlement.approval DROP CONSTRAINT approval_kind_known,
    ADD CONSTRAINT approval_kind_known CHECK (kind IN ('period', 'payout_batch', 'advance'));

-- What a close decided ------------------------------------------------------------------------------------------------

-- The columns of a statement that are not in its payout currency: they close at 0.
CREATE TABLE settlement.statement_column (
    period_id text NOT NULL,
    payee_id text NOT NULL,
    currency char(3) NOT NULL,
    statement_id text NOT NULL,
    opening bigint NOT NULL,
    royalties bigint NOT NULL,
    late bigint NOT NULL,
    adjustments bigint NOT NULL,
    refunds bigint NOT NULL,
    reserves bigint NOT NULL,
    recoupment bigint NOT NULL,
    tax bigint NOT NULL,
    claims bigint NOT NULL,
    fx bigint NOT NULL,
    payments bigint NOT NULL,
    closing bigint NOT NULL,
    CONSTRAINT statement_column_pkey PRIMARY KEY (payee_id, period_id, currency),
    CONSTRAINT statement_column_statement_id_fkey FOREIGN KEY (statement_id)
        REFERENCES settlement.statement (statement_id) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT statement_column_summary_adds_up CHECK (opening + royalties + late + adjustments + refunds + reserves
        + recoupment + tax + claims + fx + payments = closing),
    CONSTRAINT statement_column_closes_at_zero CHECK (closing = 0 AND recoupment = 0)
);
CREATE INDEX statement_column_statement_id_idx ON settlement.statement_column (statement_id);

CREATE TABLE settlement.conversion (
    period_id text NOT NULL,
    payee_id text NOT NULL,
    currency char(3) NOT NULL,
    fx_rate_id bigint NOT NULL,
    source_micros bigint NOT NULL,
    target_micros bigint NOT NULL,
    CONSTRAINT conversion_pkey PRIMARY KEY (payee_id, period_id, currency),
    CONSTRAINT conversion_period_id_fkey FOREIGN KEY (period_id) REFERENCES settlement.period (period_id),
    CONSTRAINT conversion_payee_id_fkey FOREIGN KEY (payee_id) REFERENCES settlement.payee (payee_id),
    CONSTRAINT conversion_fx_rate_id_fkey FOREIGN KEY (fx_rate_id) REFERENCES settlement.fx_rate (id),
    CONSTRAINT conversion_source_not_zero CHECK (source_micros <> 0)
);

CREATE TABLE settlement.reserve (
    period_id text NOT NULL,
    payee_id text NOT NULL,
    currency char(3) NOT NULL,
    reserve_version_id bigint NOT NULL,
    basis_micros bigint NOT NULL,
    amount_micros bigint NOT NULL,
    CONSTRAINT reserve_pkey PRIMARY KEY (payee_id, currency, period_id),
    CONSTRAINT reserve_period_id_fkey FOREIGN KEY (period_id) REFERENCES settlement.period (period_id),
    CONSTRAINT reserve_payee_id_fkey FOREIGN KEY (payee_id) REFERENCES settlement.payee (payee_id),
    CONSTRAINT reserve_reserve_version_id_fkey FOREIGN KEY (reserve_version_id)
        REFERENCES settlement.reserve_version (id),
    CONSTRAINT reserve_amounts CHECK (amount_micros BETWEEN 1 AND basis_micros)
);

-- What left a reserve: released by its schedule, or used for a refund.
CREATE TABLE settlement.reserve_use (
    id bigint GENERATED ALWAYS AS IDENTITY,
    period_id text NOT NULL,
    payee_id text NOT NULL,
    currency char(3) NOT NULL,
    taken_in text NOT NULL,
    refund_id bigint,
    amount_micros bigint NOT NULL,
    CONSTRAINT reserve_use_pkey PRIMARY KEY (id),
    CONSTRAINT reserve_use_once UNIQUE NULLS NOT DISTINCT (payee_id, currency, taken_in, period_id, refund_id),
    CONSTRAINT reserve_use_period_id_fkey FOREIGN KEY (period_id) REFERENCES settlement.period (period_id),
    CONSTRAINT reserve_use_taken_in_fkey FOREIGN KEY (payee_id, currency, taken_in)
        REFERENCES settlement.reserve (payee_id, currency, period_id),
    CONSTRAINT reserve_use_refund_id_fkey FOREIGN KEY (refund_id) REFERENCES settlement.refund (id),
    CONSTRAINT reserve_use_amount_positive CHECK (amount_micros > 0)
);
CREATE INDEX reserve_use_period_id_idx ON settlement.reserve_use (period_id);

CREATE TABLE settlement.tax_determination (
    period_id text NOT NULL,
    payee_id text NOT NULL,
    currency char(3) NOT NULL,
    territory char(2) NOT NULL,
    tax_profile_version_id bigint NOT NULL,
    rate_ppb bigint NOT NULL,
    base_micros bigint NOT NULL,
    withheld_micros bigint NOT NULL,
    CONSTRAINT tax_determination_pkey PRIMARY KEY (payee_id, period_id, currency, territory),
    CONSTRAINT tax_determination_period_id_fkey FOREIGN KEY (period_id) REFERENCES settlement.period (period_id),
    CONSTRAINT tax_determination_payee_id_fkey FOREIGN KEY (payee_id) REFERENCES settlement.payee (payee_id),
    CONSTRAINT tax_determination_tax_profile_version_id_fkey FOREIGN KEY (tax_profile_version_id)
        REFERENCES settlement.tax_profile_version (id),
    CONSTRAINT tax_determination_rate_in_range CHECK (rate_ppb BETWEEN 0 AND 1000000000),
    CONSTRAINT tax_determination_floor_of_rate CHECK
        (withheld_micros = div(greatest(base_micros, 0)::numeric * rate_ppb, 1000000000))
);

-- Refunds of lines on which an earlier period withheld tax: what they take off its base, and the tax given back.
CREATE TABLE settlement.tax_reversal (
    refund_id bigint NOT NULL,
    period_id text NOT NULL,
    payee_id text NOT NULL,
    taxed_in text NOT NULL,
    currency char(3) NOT NULL,
    territory char(2) NOT NULL,
    base_micros bigint NOT NULL,
    given_back_micros bigint NOT NULL,
    CONSTRAINT tax_reversal_pkey PRIMARY KEY (payee_id, taxed_in, currency, territory, refund_id),
    CONSTRAINT tax_reversal_period_id_fkey FOREIGN KEY (period_id) REFERENCES settlement.period (period_id),
    CONSTRAINT tax_reversal_refund_id_fkey FOREIGN KEY (refund_id) REFERENCES settlement.refund (id),
    CONSTRAINT tax_reversal_taxed_in_fkey FOREIGN KEY (payee_id, taxed_in, currency, territory)
        REFERENCES settlement.tax_determination (payee_id, period_id, currency, territory),
    CONSTRAINT tax_reversal_amounts CHECK (base_micros > 0 AND given_back_micros BETWEEN 0 AND base_micros)
);
CREATE INDEX tax_reversal_period_id_idx ON settlement.tax_reversal (period_id);

CREATE TABLE settlement.recoupment (
    period_id text NOT NULL,
    advance_id text NOT NULL,
    amount_micros bigint NOT NULL,
    CONSTRAINT recoupment_pkey PRIMARY KEY (advance_id, period_id),
    CONSTRAINT recoupment_period_id_fkey FOREIGN KEY (period_id) REFERENCES settlement.period (period_id),
    CONSTRAINT recoupment_advance_id_fkey FOREIGN KEY (advance_id) REFERENCES settlement.advance (advance_id),
    CONSTRAINT recoupment_amount_positive CHECK (amount_micros > 0)
);
CREATE INDEX recoupment_period_id_idx ON settlement.recoupment (period_id);
RESET ROLE;

CALL guard.make_append_only('settlement.fx_rate');
CALL guard.make_append_only('settlement.tax_profile_version');
CALL guard.make_append_only('settlement.reserve_version');
CALL guard.make_append_only('settlement.advance');
CALL guard.make_append_only('settlement.statement_column');
CALL guard.make_append_only('settlement.conversion');
CALL guard.make_append_only('settlement.reserve');
CALL guard.make_append_only('settlement.reserve_use');
CALL guard.make_append_only('settlement.tax_determination');
CALL guard.make_append_only('settlement.tax_reversal');
CALL guard.make_append_only('settlement.recoupment');

-- A conversion is floor(source x rate), at a rate from its currency to the payee's.
CREATE FUNCTION guard.check_conversions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    broken text;
BEGIN
    SELECT added.period_id || '/' || added.payee_id || '/' || added.currency INTO broken
    FROM added
    JOIN ONLY settlement.fx_rate AS r ON r.id = added.fx_rate_id
    JOIN ONLY settlement.payee AS p ON p.payee_id = added.payee_id
    WHERE r.source_currency <> added.currency OR r.target_currency <> p.currency
        OR added.target_micros <> floor(added.source_micros::numeric * r.rate_trillionths * 0.000000000001) LIMIT 1;
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION 'conversion % is not what its rate makes of it', broken
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'converted_once_by_the_rate';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_conversions() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_conversions() FROM PUBLIC;
CREATE TRIGGER converted_once_by_the_rate AFTER INSERT ON settlement.conversion
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_conversions();
ALTER TABLE settlement.conversion ENABLE ALWAYS TRIGGER converted_once_by_the_rate;

-- No reserve gives more than was taken.
CREATE FUNCTION guard.check_reserve_uses() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    broken text;
BEGIN
    SELECT r.period_id || '/' || r.payee_id || '/' || r.currency INTO broken
    FROM (SELECT DISTINCT payee_id, currency, taken_in FROM added) AS a
    JOIN ONLY settlement.reserve AS r
        ON r.payee_id = a.payee_id AND r.currency = a.currency AND r.period_id = a.taken_in
    WHERE r.amount_micros < (SELECT sum(u.amount_micros) FROM ONLY settlement.reserve_use AS u
                             WHERE u.payee_id = r.payee_id AND u.currency = r.currency AND u.taken_in = r.period_id)
    LIMIT 1;
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION 'reserve % gives more than was taken', broken
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'reserve_never_below_zero';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_reserve_uses() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_reserve_uses() FROM PUBLIC;
CREATE TRIGGER reserve_never_below_zero AFTER INSERT ON settlement.reserve_use
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_reserve_uses();
ALTER TABLE settlement.reserve_use ENABLE ALWAYS TRIGGER reserve_never_below_zero;

-- No advance is recouped beyond what was paid.
CREATE FUNCTION guard.check_recoupments() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    broken text;
BEGIN
    SELECT a.advance_id INTO broken
    FROM (SELECT DISTINCT advance_id FROM added) AS n
    JOIN ONLY settlement.advance AS a ON a.advance_id = n.advance_id
    WHERE a.amount_micros < (SELECT sum(r.amount_micros) FROM ONLY settlement.recoupment AS r
                             WHERE r.advance_id = a.advance_id) LIMIT 1;
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION 'advance % is recouped beyond what it was', broken
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'advance_never_below_zero';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_recoupments() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_recoupments() FROM PUBLIC;
CREATE TRIGGER advance_never_below_zero AFTER INSERT ON settlement.recoupment
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_recoupments();
ALTER TABLE settlement.recoupment ENABLE ALWAYS TRIGGER advance_never_below_zero;

-- A statement is in its payee's payout currency; what it opens with is what the last one closed with, in every column; its
-- numbers have no gap; what its foreign columns were converted into is its own column's exchange.
CREATE OR REPLACE FUNCTION guard.check_statements() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
    SELECT added.statement_id INTO broken FROM added
    JOIN ONLY settlement.payee AS p ON p.payee_id = added.payee_id WHERE p.currency <> added.currency LIMIT 1;
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION 'statement % is not in its payee''s payout currency', broken
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'statement_in_payout_currency';
    END IF;
    SELECT added.statement_id INTO broken FROM added
    LEFT JOIN (SELECT c.payee_id, c.period_id, sum(c.target_micros) AS amount
               FROM ONLY settlement.conversion AS c WHERE c.period_id IN (SELECT n.period_id FROM added AS n)
               GROUP BY 1, 2) AS c ON c.payee_id = added.payee_id AND c.period_id = added.period_id
    WHERE added.fx <> coalesce(c.amount, 0) LIMIT 1;
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION 'the exchange of statement % is not the sum of its conversions', broken
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'fx_is_its_conversions';
    END IF;
    IF (SELECT max(number) - count(*) FROM ONLY settlement.statement) <> 0 THEN
        RAISE EXCEPTION 'statement numbers have a gap'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'numbers_gapless';
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION guard.check_columns() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    broken text;
BEGIN
    -- Others closed at 0. One of before there were columns may have a balance, in a statement of its own.
    SELECT added.statement_id || ' in ' || added.currency INTO broken FROM added
    JOIN ONLY settlement.period AS p ON p.period_id = added.period_id
    LEFT JOIN LATERAL (
        SELECT x.closing FROM (
            SELECT s.closing, q.ends_at FROM ONLY settlement.statement AS s
            JOIN ONLY settlement.period AS q ON q.period_id = s.period_id
            WHERE s.payee_id = added.payee_id AND s.currency = added.currency AND q.ends_at <= p.starts_at
            UNION ALL
            SELECT c.closing, q.ends_at FROM ONLY settlement.statement_column AS c
            JOIN ONLY settlement.period AS q ON q.period_id = c.period_id
            WHERE c.payee_id = added.payee_id AND c.currency = added.currency AND q.ends_at <= p.starts_at) AS x
        ORDER BY x.ends_at DESC LIMIT 1) AS before ON true
    WHERE added.opening <> coalesce(before.closing, 0)
        OR left(added.statement_id, -3) <> added.period_id || '/' || added.payee_id || '/'
        OR right(added.statement_id, 3) = added.currency
        OR added.fx <> -coalesce((SELECT c.source_micros FROM ONLY settlement.conversion AS c
                                  WHERE c.payee_id = added.payee_id AND c.period_id = added.period_id
                                      AND c.currency = added.currency), 0) LIMIT 1;
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION 'the column of statement % does not open with the last closing, or converts something else', broken
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'column_of_a_statement';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_columns() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_columns() FROM PUBLIC;
CREATE TRIGGER column_of_a_statement AFTER INSERT ON settlement.statement_column
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_columns();
ALTER TABLE settlement.statement_column ENABLE ALWAYS TRIGGER column_of_a_statement;

-- One writer at a time, as of refunds: two at once would each be right alone.
CREATE TRIGGER in_turn BEFORE INSERT ON settlement.reserve_use FOR EACH STATEMENT EXECUTE FUNCTION guard.write_in_turn();
CREATE TRIGGER in_turn BEFORE INSERT ON settlement.recoupment FOR EACH STATEMENT EXECUTE FUNCTION guard.write_in_turn();
ALTER TABLE settlement.reserve_use ENABLE ALWAYS TRIGGER in_turn;
ALTER TABLE settlement.recoupment ENABLE ALWAYS TRIGGER in_turn;

-- The keys and accounts of the posting matrix, those of money terms with them: see 0011.
CREATE OR REPLACE FUNCTION guard.check_key() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    refused text;
BEGIN
    IF session_user <> 'payer' THEN
        RETURN NULL;
    END IF;
    SELECT key INTO refused FROM added
        WHERE split_part(key, ':', 1) IN ('sale', 'refund', 'run', 'statement', 'advance', 'remittance') LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'journal % is not for payer to post', refused
            USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'journal_key_of_its_writer';
    END IF;
    RETURN NULL;
END
$$;
CREATE OR REPLACE FUNCTION guard.check_account() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    refused record;
BEGIN
    SELECT a.code, a.class, c.class AS expected INTO refused FROM added AS a
        JOIN (VALUES ('bank', 'asset'), ('receivable', 'asset'), ('payout_clearing', 'liability'),
                     ('royalties_payable', 'liability'), ('suspense_pending', 'liability'),
                     ('suspense_unattributed', 'liability'), ('suspense_unclaimed', 'liability'),
                     ('tax_collected', 'liability'), ('revenue', 'income'), ('royalty_expense', 'expense'),
                     ('reserve', 'liability'), ('tax_withheld', 'liability'), ('advances', 'asset'),
                     ('fx_position', 'asset'))
            AS c (name, class) ON c.name = split_part(a.code, ':', 1)
        WHERE c.class <> a.class LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'account % is of class %, not %', refused.code, refused.expected, refused.class
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'account_class_of_its_name';
    END IF;
    RETURN NULL;
END
$$;

-- Grants --------------------------------------------------------------------------------------------------------------

GRANT SELECT, INSERT ON settlement.fx_rate, settlement.tax_profile_version, settlement.reserve_version, settlement.advance,
    settlement.statement_column, settlement.conversion, settlement.reserve, settlement.reserve_use,
    settlement.tax_determination, settlement.tax_reversal, settlement.recoupment TO settlement;
GRANT SELECT ON settlement.fx_rate, settlement.advance, settlement.conversion, settlement.statement_column,
    settlement.reserve, settlement.reserve_use TO royalty_guard;
GRANT SELECT ON settlement.recoupment TO royalty_guard;
GRANT SELECT ON settlement.advance TO approver;
GRANT SELECT ON settlement.statement_column TO portal;
ALTER TABLE settlement.statement_column ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON settlement.statement_column FOR SELECT TO portal
    USING (payee_id = ANY (ARRAY(SELECT a.payee_id FROM access.payee_access AS a)));

-- Terms as a close freezes them: nobody adds one of these from here to its commit.
CREATE FUNCTION settlement.keep_money_terms() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    LOCK TABLE ONLY settlement.fx_rate, settlement.tax_profile_version, settlement.reserve_version, settlement.advance
        IN SHARE MODE;
END
$$;
ALTER FUNCTION settlement.keep_money_terms() OWNER TO royalty_owner;
REVOKE ALL ON FUNCTION settlement.keep_money_terms() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION settlement.keep_money_terms() TO settlement;
