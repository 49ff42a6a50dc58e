-- A person's data go, her books stay: one function for a payee, one for a customer, and a record of who asked and why.

SET ROLE royalty_owner;
-- Every erasure and export, by opaque id. `erased` counts rows.
CREATE TABLE party.privacy_request (
    id bigint GENERATED ALWAYS AS IDENTITY,
    request text NOT NULL,
    kind text NOT NULL,
    subject text NOT NULL,
    erased bigint,
    actor text NOT NULL,
    reason text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT privacy_request_pkey PRIMARY KEY (id),
    CONSTRAINT privacy_request_request_known CHECK (request IN ('erase', 'export')),
    CONSTRAINT privacy_request_kind_known CHECK (kind IN ('payee', 'customer')),
    CONSTRAINT privacy_request_erased_counted CHECK ((erased IS NOT NULL) = (request = 'erase')),
    CONSTRAINT privacy_request_said_why CHECK (subject <> '' AND actor <> '' AND reason <> '')
);
-- A payee is erased once: what came after is another payee.
CREATE UNIQUE INDEX privacy_request_payee_erased_idx ON party.privacy_request (subject)
    WHERE request = 'erase' AND kind = 'payee';
RESET ROLE;
CALL guard.make_append_only('party.privacy_request');
GRANT SELECT, INSERT ON party.privacy_request TO settlement;
-- Whether somebody is named in what banks and operators wrote.
GRANT SELECT ON settlement.bank_entry, settlement.bank_match, settlement.bank_message, settlement.payout_correction,
    settlement.provider_event TO settlement;

GRANT USAGE ON SCHEMA party, access TO royalty_guard;
GRANT SELECT, INSERT ON party.privacy_request TO royalty_guard;
GRANT SELECT, INSERT, DELETE ON party.party_version TO royalty_guard;
GRANT SELECT, DELETE ON party.bank_account_version, party.screening_finding, access."user", access.payee_access
    TO royalty_guard;
GRANT DELETE ON attribution.prompt_text TO royalty_guard;
GRANT SELECT, DELETE ON settlement.payee_customer, settlement.sale_buyer TO royalty_guard;

-- No data come back by a catalogue file that still has them: neither who she is nor which customer.
CREATE FUNCTION guard.refuse_erased_payee() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM added AS v JOIN ONLY party.privacy_request AS e
                   ON e.subject = v.payee_id AND e.request = 'erase' AND e.kind = 'payee') THEN
        RAISE EXCEPTION 'an erased payee takes no personal data; give who comes back another id'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'erased_payee';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.refuse_erased_payee() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.refuse_erased_payee() FROM PUBLIC;
CREATE TRIGGER erased_payee AFTER INSERT ON party.party_version
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.refuse_erased_payee();
ALTER TABLE party.party_version ENABLE ALWAYS TRIGGER erased_payee;
CREATE TRIGGER erased_payee AFTER INSERT ON settlement.payee_customer
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.refuse_erased_payee();
ALTER TABLE settlement.payee_customer ENABLE ALWAYS TRIGGER erased_payee;

-- Every version of name, address, mail, tax id and account, what screening found, which customer she is, and users who were
-- there for her alone.
-- A version that says "(erased)" takes their place, so that later periods have a party to name.
CREATE FUNCTION guard.erase_payee(erased_payee text, asked_by text, why text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    newest bigint;
    gone bigint := 0;
    found bigint;
    salt bytea := pg_catalog.uuid_send(pg_catalog.gen_random_uuid());
BEGIN
    -- Whoever is writing a version of hers is waited for; whoever comes later sees that she was erased.
    LOCK TABLE party.party_version IN SHARE ROW EXCLUSIVE MODE;
    SELECT max(v.version) INTO newest FROM ONLY party.party_version AS v WHERE v.payee_id = erased_payee;
    DELETE FROM party.screening_finding AS f WHERE f.payee_id = erased_payee;
    GET DIAGNOSTICS found = ROW_COUNT;
    gone := gone + found;
    DELETE FROM settlement.payee_customer AS c WHERE c.payee_id = erased_payee;
    GET DIAGNOSTICS found = ROW_COUNT;
    gone := gone + found;
    DELETE FROM party.bank_account_version AS b WHERE b.payee_id = erased_payee;
    GET DIAGNOSTICS found = ROW_COUNT;
    gone := gone + found;
    DELETE FROM party.party_version AS v WHERE v.payee_id = erased_payee;
    GET DIAGNOSTICS found = ROW_COUNT;
    gone := gone + found;
    IF newest IS NOT NULL THEN
        INSERT INTO party.party_version (payee_id, version, salt, details, actor, reason, digest)
        VALUES (erased_payee, newest + 1, salt, '{"name": "(erased)"}', asked_by, 'erased',
                sha256(salt || convert_to('{"name":"(erased)"}', 'UTF8')));
    END IF;
    -- A user's name is often her mail address. Whoever may do more, or reads others' statements too, is somebody else.
    WITH theirs AS (
        DELETE FROM access.payee_access AS a WHERE a.payee_id = erased_payee RETURNING a.user_id
    ), own AS (
        SELECT t.user_id FROM theirs AS t JOIN ONLY access."user" AS u ON u.id = t.user_id
        WHERE u.scopes <@ ARRAY['statements:read']
          AND NOT EXISTS (SELECT FROM ONLY access.payee_access AS o
                          WHERE o.user_id = t.user_id AND o.payee_id <> erased_payee)
    )
    -- The foreign key is checked when the statement ends, and then neither row is there.
    DELETE FROM access."user" AS u USING own WHERE u.id = own.user_id;
    GET DIAGNOSTICS found = ROW_COUNT;
    gone := gone + found;
    INSERT INTO party.privacy_request (request, kind, subject, erased, actor, reason)
    VALUES ('erase', 'payee', erased_payee, gone, asked_by, why);
    RETURN gone;
END
$$;
ALTER FUNCTION guard.erase_payee(text, text, text) OWNER TO royalty_guard;

-- The words of every prompt that was logged for a customer, and that she is the buyer of sales and a payee. Digests of
-- prompts stay, and with them what was proved.
CREATE FUNCTION guard.erase_customer(erased_customer text, asked_by text, why text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    gone bigint;
    found bigint;
    -- As `settlement.sales.customer_sha256` makes it.
    hashed bytea := sha256(convert_to('customer', 'UTF8') || '\x00'::bytea || convert_to(erased_customer, 'UTF8'));
BEGIN
    DELETE FROM attribution.prompt_text AS t USING attribution.image AS i
    WHERE i.id = t.image_id AND i.customer = erased_customer;
    GET DIAGNOSTICS gone = ROW_COUNT;
    DELETE FROM settlement.sale_buyer AS b WHERE b.customer_sha256 = hashed;
    GET DIAGNOSTICS found = ROW_COUNT;
    gone := gone + found;
    DELETE FROM settlement.payee_customer AS c WHERE c.customer_sha256 = hashed;
    GET DIAGNOSTICS found = ROW_COUNT;
    gone := gone + found;
    INSERT INTO party.privacy_request (request, kind, subject, erased, actor, reason)
    VALUES ('erase', 'customer', erased_customer, gone, asked_by, why);
    RETURN gone;
END
$$;
ALTER FUNCTION guard.erase_customer(text, text, text) OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.erase_payee(text, text, text), guard.erase_customer(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION guard.erase_payee(text, text, text), guard.erase_customer(text, text, text) TO settlement;

SET ROLE audit_owner;
CREATE VIEW audit.privacy_requests AS
SELECT id, request, kind, subject, erased, actor, reason, recorded_at FROM party.privacy_request;
COMMENT ON VIEW audit.privacy_requests IS
    'whose personal data were erased or handed out, when, by whom and why; erased counts rows';
GRANT SELECT ON audit.privacy_requests TO auditor;
RESET ROLE;
