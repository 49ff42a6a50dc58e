-- A batch goes to the bank in files or by a provider's API, never both: which is fixed with its attempts. What the provider
-- reports is kept before it is acted upon.

SET ROLE royalty_owner;
CREATE TABLE settlement.provider_batch (
    batch_id text NOT NULL,
    provider text NOT NULL,
    actor text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT provider_batch_pkey PRIMARY KEY (batch_id),
    CONSTRAINT provider_batch_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES settlement.payout_batch (batch_id)
);

CREATE TABLE settlement.provider_event (
    id bigint GENERATED ALWAYS AS IDENTITY,
    provider text NOT NULL,
    event_id text NOT NULL,
    reference text NOT NULL,
    attempt_id text,
    says text NOT NULL,
    amount_micros bigint NOT NULL,
    currency character(3) NOT NULL,
    occurred_at timestamptz NOT NULL,
    reason text NOT NULL,
    source text NOT NULL,
    actor text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT provider_event_pkey PRIMARY KEY (id),
    CONSTRAINT provider_event_provider_event_id_key UNIQUE (provider, event_id),
    CONSTRAINT provider_event_attempt_id_fkey FOREIGN KEY (attempt_id) REFERENCES settlement.payout_attempt (attempt_id),
    CONSTRAINT provider_event_says_known CHECK
        (says IN ('noted', 'unknown', 'accepted', 'rejected', 'paid', 'returned')),
    CONSTRAINT provider_event_source_known CHECK (source IN ('answer', 'webhook', 'list'))
);
CREATE INDEX provider_event_attempt_id_idx ON settlement.provider_event (attempt_id);

CREATE TABLE settlement.provider_match (
    provider_event_id bigint NOT NULL,
    result text NOT NULL,
    actor text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT provider_match_pkey PRIMARY KEY (provider_event_id),
    CONSTRAINT provider_match_provider_event_id_fkey FOREIGN KEY (provider_event_id)
        REFERENCES settlement.provider_event (id),
    CONSTRAINT provider_match_result_known CHECK (result IN ('recorded', 'known', 'noted'))
);

CREATE TABLE settlement.provider_position (
    id bigint GENERATED ALWAYS AS IDENTITY,
    provider text NOT NULL,
    cursor text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT provider_position_pkey PRIMARY KEY (id)
);
CREATE INDEX provider_position_provider_id_idx ON settlement.provider_position (provider, id);
RESET ROLE;

CALL guard.make_append_only('settlement.provider_batch');
CALL guard.make_append_only('settlement.provider_event');
CALL guard.make_append_only('settlement.provider_match');
CALL guard.make_append_only('settlement.provider_position');

-- The way is chosen before there is anything a bank could be told.
CREATE FUNCTION guard.check_provider_batch() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM ONLY settlement.payout AS p
               JOIN ONLY settlement.payout_attempt AS a ON a.payout_id = p.payout_id
               WHERE p.batch_id = NEW.batch_id) THEN
        RAISE EXCEPTION 'payout batch % is reserved already: it goes the way that was chosen then', NEW.batch_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'rail_fixed_with_attempts';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_provider_batch() OWNER TO royalty_guard;
CREATE TRIGGER rail_fixed_with_attempts AFTER INSERT ON settlement.provider_batch
    FOR EACH ROW EXECUTE FUNCTION guard.check_provider_batch();
ALTER TABLE settlement.provider_batch ENABLE ALWAYS TRIGGER rail_fixed_with_attempts;

CREATE FUNCTION guard.check_payout_file() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM ONLY settlement.provider_batch AS b WHERE b.batch_id = NEW.batch_id) THEN
        RAISE EXCEPTION 'payout batch % goes by a provider: it has no file', NEW.batch_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'file_of_file_batch';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_payout_file() OWNER TO royalty_guard;
CREATE TRIGGER file_of_file_batch AFTER INSERT ON settlement.payout_file
    FOR EACH ROW EXECUTE FUNCTION guard.check_payout_file();
ALTER TABLE settlement.payout_file ENABLE ALWAYS TRIGGER file_of_file_batch;

GRANT SELECT ON settlement.provider_batch TO royalty_guard;
GRANT SELECT, INSERT ON settlement.provider_batch, settlement.provider_event, settlement.provider_match,
    settlement.provider_position TO payer;

-- Everything a provider said, through whichever door. Open: it waits, or names no payment of ours.
SET ROLE audit_owner;
CREATE VIEW audit.provider_events AS
SELECT e.id AS provider_event_id, e.provider, e.event_id, e.says, e.reference, e.attempt_id, e.amount_micros,
       e.currency::text AS currency, e.occurred_at, e.reason, e.source, m.result, m.result IS NULL AS open, e.actor,
       e.recorded_at
FROM settlement.provider_event AS e
LEFT JOIN settlement.provider_match AS m ON m.provider_event_id = e.id;
RESET ROLE;
COMMENT ON VIEW audit.provider_events IS 'what a payment provider said of each attempt, as it came';
GRANT SELECT ON audit.provider_events TO auditor;
