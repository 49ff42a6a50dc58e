-- Where payees bank, apart from the rest of their personal data and encrypted; the cooling-off time after a change; what
-- payees were screened against and what was found.

SET ROLE royalty_owner;
-- Like the personal data they belong to, these rows are inserted and read by login roles, and erased by the owner.
CREATE TABLE party.bank_account_version (
    payee_id text NOT NULL,
    version bigint NOT NULL,
    key_id text NOT NULL,
    ciphertext bytea NOT NULL,
    masked text NOT NULL,
    fingerprint bytea NOT NULL,
    content bytea NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT bank_account_version_pkey PRIMARY KEY (payee_id, version, key_id),
    CONSTRAINT bank_account_version_payee_id_version_fkey FOREIGN KEY (payee_id, version)
        REFERENCES party.party_version (payee_id, version) ON DELETE CASCADE,
    CONSTRAINT bank_account_version_digest_length CHECK (octet_length(fingerprint) = 32 AND octet_length(content) = 32),
    CONSTRAINT bank_account_version_masked_form CHECK (masked ~ '^(..[*]{2} )?[*]{4} .{0,4}$')
);

CREATE TABLE party.screening_finding (
    payee_id text NOT NULL,
    entry_id text NOT NULL,
    entry_sha256 bytea NOT NULL,
    matched text NOT NULL,
    list_sha256 bytea NOT NULL,
    hold_id bigint NOT NULL,
    actor text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT screening_finding_pkey PRIMARY KEY (payee_id, entry_id, entry_sha256, matched),
    CONSTRAINT screening_finding_payee_id_fkey FOREIGN KEY (payee_id) REFERENCES settlement.payee (payee_id),
    CONSTRAINT screening_finding_hold_id_fkey FOREIGN KEY (hold_id) REFERENCES settlement.hold (id),
    CONSTRAINT screening_finding_matched_known CHECK (matched IN ('name', 'account'))
);
CREATE INDEX screening_finding_hold_id_idx ON party.screening_finding (hold_id);

CREATE TABLE settlement.screening (
    batch_id text NOT NULL,
    stage text NOT NULL,
    list_name text NOT NULL,
    list_sha256 bytea NOT NULL,
    list_modified_at timestamptz NOT NULL,
    entries integer NOT NULL,
    payees integer NOT NULL,
    actor text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT screening_pkey PRIMARY KEY (batch_id, stage),
    CONSTRAINT screening_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES settlement.payout_batch (batch_id),
    CONSTRAINT screening_stage_known CHECK (stage IN ('create', 'submit')),
    CONSTRAINT screening_list_sha256_length CHECK (octet_length(list_sha256) = 32)
);

ALTER TABLE settlement.platform_version ADD COLUMN bank_details_cooling_off_days integer NOT NULL DEFAULT 0,
    ADD CONSTRAINT platform_version_cooling_off_not_negative CHECK (bank_details_cooling_off_days >= 0);
ALTER TABLE settlement.payout DROP CONSTRAINT payout_decision_known,
    ADD CONSTRAINT payout_decision_known CHECK (decision IN ('pay', 'held', 'below_minimum', 'below_unit',
        'no_bank_details', 'bad_bank_details', 'bank_details_cooling_off'));
RESET ROLE;

CALL guard.make_append_only('settlement.screening');

-- settlement writes accounts and tells equal ones; it cannot read one back. Only who pays can.
GRANT SELECT (payee_id, version, key_id, masked, content, recorded_at), INSERT ON party.bank_account_version TO settlement;
GRANT SELECT, INSERT ON party.bank_account_version, party.screening_finding, settlement.screening TO payer;
GRANT SELECT ON settlement.screening TO settlement;

-- The auditor sees that accounts changed and whose are the same; neither accounts nor their digests.
SET ROLE audit_owner;
CREATE OR REPLACE VIEW audit.bank_detail_changes AS
SELECT v.payee_id, v.version,
       CASE WHEN w.version IS NULL OR NOT EXISTS (SELECT FROM party.bank_account_version AS b
                                                  WHERE b.payee_id = w.payee_id AND b.version = w.version)
            THEN EXISTS (SELECT FROM party.bank_account_version AS a
                         WHERE a.payee_id = v.payee_id AND a.version = v.version)
            ELSE NOT EXISTS (SELECT FROM party.bank_account_version AS a
                             JOIN party.bank_account_version AS b
                                 ON b.key_id = a.key_id AND b.fingerprint = a.fingerprint
                             WHERE a.payee_id = v.payee_id AND a.version = v.version
                               AND b.payee_id = w.payee_id AND b.version = w.version) END AS account_changed,
       v.details ->> 'name' IS DISTINCT FROM w.details ->> 'name' AS name_changed, v.actor, v.reason, v.recorded_at,
       (SELECT min(a.masked) FROM party.bank_account_version AS a
        WHERE a.payee_id = v.payee_id AND a.version = v.version) AS account
FROM party.party_version AS v
LEFT JOIN party.party_version AS w ON w.payee_id = v.payee_id AND w.version = v.version - 1;

CREATE VIEW audit.shared_bank_accounts AS
SELECT min(b.masked) AS account, array_agg(DISTINCT b.payee_id ORDER BY b.payee_id) AS payees
FROM party.bank_account_version AS b
WHERE b.version = (SELECT max(v.version) FROM party.party_version AS v WHERE v.payee_id = b.payee_id)
GROUP BY b.key_id, b.fingerprint HAVING count(*) > 1;

CREATE VIEW audit.screenings AS
SELECT batch_id, stage, list_name, encode(list_sha256, 'hex') AS list_sha256, list_modified_at,
       recorded_at - list_modified_at AS list_age, entries, payees, actor, recorded_at
FROM settlement.screening;

CREATE VIEW audit.screening_findings AS
SELECT f.payee_id, f.entry_id, f.matched, encode(f.list_sha256, 'hex') AS list_sha256, f.hold_id, f.actor, f.recorded_at,
       r.released_at AS cleared_at, r.actor AS cleared_by, r.reason AS clearing_reason
FROM party.screening_finding AS f LEFT JOIN settlement.hold_release AS r ON r.hold_id = f.hold_id;

CREATE OR REPLACE VIEW audit.platform_changes AS
SELECT valid_from, lead(valid_from) OVER (ORDER BY valid_from) AS valid_to, platform_payee_id, model_developer_id,
       default_rate_card_id, zone, minimum_payout, actor, reason, recorded_at,
       recorded_at > valid_from AS recorded_after_its_start, bank_details_cooling_off_days
FROM settlement.platform_version;
-- The new term is frozen with the others. Nothing is frozen by an earlier definition: the log came with this release.
CREATE OR REPLACE VIEW audit.frozen_platform_version AS
SELECT p.period_id AS frozen_in, t.id::text COLLATE "C" AS frozen_key, t.id, t.valid_from, t.platform_payee_id,
       t.model_developer_id, t.default_rate_card_id, t.zone, t.minimum_payout, t.dispute_contact, t.dispute_days, t.actor,
       t.reason, t.recorded_at, t.bank_details_cooling_off_days
FROM settlement.royalty_run AS p JOIN settlement.platform_version AS t ON t.recorded_at < p.recorded_at;
RESET ROLE;
COMMENT ON VIEW audit.bank_detail_changes IS 'that bank details or names of payees changed, when, by whom and why; accounts masked';
COMMENT ON VIEW audit.shared_bank_accounts IS 'accounts, masked, that are those of several payees now';
COMMENT ON VIEW audit.screenings IS 'which list of names and accounts a payout batch was screened against, and how old it was';
COMMENT ON VIEW audit.screening_findings IS 'payees whom a list names, the hold that was opened, and who cleared it, why';
GRANT SELECT ON audit.shared_bank_accounts, audit.screenings, audit.screening_findings TO auditor;
