-- A batch goes to the bank in as many files as the bank's limit of payments in one demands; which file carries an attempt is
-- fixed with the attempt. And what the bank answers: messages, their statements and lines, and what became of each line.

SET ROLE royalty_owner;
ALTER TABLE settlement.payout_attempt ADD COLUMN file integer NOT NULL DEFAULT 1,
    ADD CONSTRAINT payout_attempt_file_positive CHECK (file > 0);
ALTER TABLE settlement.payout_file ADD COLUMN number integer NOT NULL DEFAULT 1,
    ADD CONSTRAINT payout_file_number_positive CHECK (number > 0),
    DROP CONSTRAINT payout_file_pkey,
    ADD CONSTRAINT payout_file_pkey PRIMARY KEY (batch_id, number);

CREATE TABLE settlement.bank_message (
    id bigint GENERATED ALWAYS AS IDENTITY,
    sha256 bytea NOT NULL,
    kind text NOT NULL,
    version text NOT NULL,
    message_id text NOT NULL,
    created_at timestamptz,
    name text NOT NULL,
    actor text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT bank_message_pkey PRIMARY KEY (id),
    CONSTRAINT bank_message_sha256_key UNIQUE (sha256),
    CONSTRAINT bank_message_sha256_length CHECK (octet_length(sha256) = 32),
    CONSTRAINT bank_message_kind_known CHECK (kind IN ('pain.002', 'camt.053', 'camt.054'))
);
CREATE INDEX bank_message_kind_message_id_idx ON settlement.bank_message (kind, message_id);

CREATE TABLE settlement.bank_statement (
    bank_message_id bigint NOT NULL,
    number integer NOT NULL,
    statement_id text NOT NULL,
    account text,
    currency character(3),
    opening_micros bigint,
    closing_micros bigint,
    closing_on date,
    CONSTRAINT bank_statement_pkey PRIMARY KEY (bank_message_id, number),
    CONSTRAINT bank_statement_bank_message_id_fkey FOREIGN KEY (bank_message_id) REFERENCES settlement.bank_message (id)
);

CREATE TABLE settlement.bank_entry (
    id bigint GENERATED ALWAYS AS IDENTITY,
    bank_message_id bigint NOT NULL,
    number integer NOT NULL,
    statement integer,
    entry integer,
    entry_micros bigint,
    says text NOT NULL,
    attempt_id text,
    batch_id text,
    file integer,
    reference text,
    amount_micros bigint,
    currency text,
    charges_micros bigint,
    booked_on date,
    status text,
    reason text,
    bank_reference text,
    problem text,
    CONSTRAINT bank_entry_pkey PRIMARY KEY (id),
    CONSTRAINT bank_entry_bank_message_id_number_key UNIQUE (bank_message_id, number),
    CONSTRAINT bank_entry_bank_message_id_fkey FOREIGN KEY (bank_message_id) REFERENCES settlement.bank_message (id),
    CONSTRAINT bank_entry_bank_message_id_statement_fkey FOREIGN KEY (bank_message_id, statement)
        REFERENCES settlement.bank_statement (bank_message_id, number),
    CONSTRAINT bank_entry_attempt_id_fkey FOREIGN KEY (attempt_id) REFERENCES settlement.payout_attempt (attempt_id),
    CONSTRAINT bank_entry_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES settlement.payout_batch (batch_id),
    CONSTRAINT bank_entry_says_known CHECK
        (says IN ('noted', 'unknown', 'accepted', 'rejected', 'paid', 'returned', 'mismatch', 'unclear')),
    CONSTRAINT bank_entry_file_of_batch CHECK ((batch_id IS NULL) = (file IS NULL)),
    CONSTRAINT bank_entry_attempt_or_file CHECK (attempt_id IS NULL OR batch_id IS NULL)
);
CREATE INDEX bank_entry_attempt_id_idx ON settlement.bank_entry (attempt_id);
CREATE INDEX bank_entry_batch_id_file_idx ON settlement.bank_entry (batch_id, file);

CREATE TABLE settlement.bank_match (
    id bigint GENERATED ALWAYS AS IDENTITY,
    bank_entry_id bigint NOT NULL,
    attempt_id text,
    result text NOT NULL,
    reason text,
    actor text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT bank_match_pkey PRIMARY KEY (id),
    CONSTRAINT bank_match_bank_entry_id_attempt_id_key UNIQUE NULLS NOT DISTINCT (bank_entry_id, attempt_id),
    CONSTRAINT bank_match_bank_entry_id_fkey FOREIGN KEY (bank_entry_id) REFERENCES settlement.bank_entry (id),
    CONSTRAINT bank_match_attempt_id_fkey FOREIGN KEY (attempt_id) REFERENCES settlement.payout_attempt (attempt_id),
    CONSTRAINT bank_match_result_known CHECK (result IN ('recorded', 'known', 'noted', 'dismissed')),
    CONSTRAINT bank_match_reason_if_dismissed CHECK ((result = 'dismissed') = (reason IS NOT NULL))
);
CREATE INDEX bank_match_attempt_id_idx ON settlement.bank_match (attempt_id);
RESET ROLE;

CALL guard.make_append_only('settlement.bank_message');
CALL guard.make_append_only('settlement.bank_statement');
CALL guard.make_append_only('settlement.bank_entry');
CALL guard.make_append_only('settlement.bank_match');

GRANT SELECT, INSERT ON settlement.bank_message, settlement.bank_statement, settlement.bank_entry, settlement.bank_match
    TO payer;
-- A large message is read back as soon as it is written: the planner must know of it.
GRANT MAINTAIN ON settlement.bank_entry, settlement.bank_match, settlement.payout_attempt, settlement.payout_event TO payer;
