-- Owners of image prompts are players: the pictures an image was made from, seen through an IP-Adapter, and whose they are.
-- What absence does to them is in `attribution.game`: without its owner a picture is not seen.

SET ROLE royalty_owner;
CREATE TABLE attribution.image_prompt (
    image_id bigint NOT NULL,
    place smallint NOT NULL,
    adapter_sha256 bytea NOT NULL,
    embedding_sha256 bytea NOT NULL,
    picture_sha256 bytea,
    scale numeric NOT NULL,
    artist text NOT NULL,
    CONSTRAINT image_prompt_pkey PRIMARY KEY (image_id, place),
    CONSTRAINT image_prompt_image_id_adapter_sha256_embedding_sha256_key UNIQUE (image_id, adapter_sha256, embedding_sha256),
    CONSTRAINT image_prompt_image_id_fkey FOREIGN KEY (image_id) REFERENCES attribution.image (id),
    CONSTRAINT image_prompt_place_in_list CHECK (place BETWEEN 1 AND 8),
    CONSTRAINT image_prompt_sha256_length
        CHECK (octet_length(adapter_sha256) = 32 AND octet_length(embedding_sha256) = 32),
    CONSTRAINT image_prompt_picture_sha256_length CHECK (octet_length(picture_sha256) = 32),
    CONSTRAINT image_prompt_scale_in_range CHECK (scale BETWEEN -10 AND 10 AND scale <> 0),
    CONSTRAINT image_prompt_artist_not_empty CHECK (artist <> '')
);
-- What a picture shows, as numbers. A picture may show a person: rows can be erased, as words can.
CREATE TABLE attribution.image_prompt_embedding (
    image_id bigint NOT NULL,
    place smallint NOT NULL,
    embedding bytea NOT NULL,
    CONSTRAINT image_prompt_embedding_pkey PRIMARY KEY (image_id, place),
    CONSTRAINT image_prompt_embedding_image_id_place_fkey
        FOREIGN KEY (image_id, place) REFERENCES attribution.image_prompt (image_id, place)
);
-- One hash, one owner: whoever is logged first.
CREATE TABLE attribution.material (
    sha256 bytea NOT NULL,
    kind text NOT NULL,
    artist text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT material_pkey PRIMARY KEY (sha256),
    CONSTRAINT material_sha256_length CHECK (octet_length(sha256) = 32),
    CONSTRAINT material_kind_known CHECK (kind IN ('adapter', 'picture', 'embedding')),
    CONSTRAINT material_artist_not_empty CHECK (artist <> '')
);
INSERT INTO attribution.material (sha256, kind, artist)
SELECT DISTINCT ON (a.sha256) a.sha256, 'adapter', a.artist FROM attribution.image_adapter AS a
ORDER BY a.sha256, a.image_id, a.place;
RESET ROLE;
CALL guard.make_append_only('attribution.image_prompt');
CALL guard.make_append_only('attribution.material');
GRANT SELECT, INSERT ON attribution.image_prompt, attribution.image_prompt_embedding, attribution.material TO attribution;
GRANT SELECT ON attribution.image_prompt, attribution.image_prompt_embedding, attribution.material
    TO settlement, royalty_guard;
GRANT SELECT ON attribution.image_prompt, attribution.material TO audit_owner;
-- Embeddings can be erased: no guard against deleting, and only the guard of erasures may.
GRANT DELETE ON attribution.image_prompt_embedding TO royalty_guard;

CREATE OR REPLACE FUNCTION guard.check_image_part() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM added JOIN ONLY attribution.image AS i ON i.id = added.image_id
               WHERE pg_catalog.age(i.xmin) > 0) THEN
        RAISE EXCEPTION 'a logged image takes no further adapters or image prompts'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'image_is_final';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER image_final AFTER INSERT ON attribution.image_prompt
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_image_part();
ALTER TABLE attribution.image_prompt ENABLE ALWAYS TRIGGER image_final;
CREATE TRIGGER image_final AFTER INSERT ON attribution.image_prompt_embedding
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_image_part();
ALTER TABLE attribution.image_prompt_embedding ENABLE ALWAYS TRIGGER image_final;

CREATE FUNCTION guard.check_embedding() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM added JOIN ONLY attribution.image_prompt AS p USING (image_id, place)
               WHERE pg_catalog.sha256(added.embedding) <> p.embedding_sha256) THEN
        RAISE EXCEPTION 'an embedding is not the one that its image prompt names'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'embedding_of_its_prompt';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_embedding() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_embedding() FROM PUBLIC;
CREATE TRIGGER embedding_of_its_prompt AFTER INSERT ON attribution.image_prompt_embedding
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_embedding();
ALTER TABLE attribution.image_prompt_embedding ENABLE ALWAYS TRIGGER embedding_of_its_prompt;

-- What an image was made with is logged as its owner's, or as that of the artist into whom she was merged.
CREATE FUNCTION guard.is_owner(hash bytea, given text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM ONLY attribution.material AS m
        LEFT JOIN ONLY attribution.artist_merge AS owner ON owner.artist_id = m.artist
        LEFT JOIN ONLY attribution.artist_merge AS other ON other.artist_id = given
        WHERE m.sha256 = hash AND coalesce(owner.into_id, m.artist) = coalesce(other.into_id, given))
$$;
ALTER FUNCTION guard.is_owner(bytea, text) OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.is_owner(bytea, text) FROM PUBLIC;

CREATE FUNCTION guard.check_adapter_owner() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM added WHERE NOT guard.is_owner(added.sha256, added.artist)) THEN
        RAISE EXCEPTION 'an adapter belongs to another artist than the image says'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'one_owner';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_adapter_owner() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_adapter_owner() FROM PUBLIC;
CREATE TRIGGER one_owner AFTER INSERT ON attribution.image_adapter
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_adapter_owner();
ALTER TABLE attribution.image_adapter ENABLE ALWAYS TRIGGER one_owner;

CREATE FUNCTION guard.check_picture_owner() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM added
               WHERE NOT guard.is_owner(added.embedding_sha256, added.artist)
                  OR added.picture_sha256 IS NOT NULL AND NOT guard.is_owner(added.picture_sha256, added.artist)) THEN
        RAISE EXCEPTION 'a picture belongs to another artist than the image says'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'one_owner';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_picture_owner() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_picture_owner() FROM PUBLIC;
CREATE TRIGGER one_owner AFTER INSERT ON attribution.image_prompt
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_picture_owner();
ALTER TABLE attribution.image_prompt ENABLE ALWAYS TRIGGER one_owner;

-- As before, and what the pictures showed.
CREATE OR REPLACE FUNCTION guard.erase_customer(erased_customer text, asked_by text, why text) RETURNS bigint
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
    DELETE FROM attribution.image_prompt_embedding AS e USING attribution.image AS i
    WHERE i.id = e.image_id AND i.customer = erased_customer;
    GET DIAGNOSTICS found = ROW_COUNT;
    gone := gone + found;
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

SET ROLE audit_owner;
CREATE VIEW audit.image_prompts AS
SELECT i.external_id AS image, p.place, encode(p.adapter_sha256, 'hex') AS adapter_sha256,
       encode(p.embedding_sha256, 'hex') AS embedding_sha256, encode(p.picture_sha256, 'hex') AS picture_sha256, p.scale,
       p.artist AS artist_id, n.name
FROM attribution.image_prompt AS p
JOIN attribution.image AS i ON i.id = p.image_id
LEFT JOIN audit.artist AS n ON n.artist_id = p.artist;
COMMENT ON VIEW audit.image_prompts IS
    'pictures that images were made from, by SHA-256, through which IP-Adapter and how strongly, and the artists whose they are';

CREATE VIEW audit.materials AS
SELECT encode(m.sha256, 'hex') AS sha256, m.kind, m.artist AS artist_id, n.name, m.recorded_at
FROM attribution.material AS m LEFT JOIN audit.artist AS n ON n.artist_id = m.artist;
COMMENT ON VIEW audit.materials IS
    'whose the adapters and pictures are that images were made with: one hash, one owner, the first that was logged';

CREATE VIEW audit.material_faults AS
SELECT i.external_id AS image, u.kind, encode(u.sha256, 'hex') AS sha256, u.artist AS named, m.artist AS owner
FROM (
    SELECT image_id, 'adapter' AS kind, sha256, artist FROM attribution.image_adapter
    UNION ALL
    SELECT image_id, 'embedding', embedding_sha256, artist FROM attribution.image_prompt
    UNION ALL
    SELECT image_id, 'picture', picture_sha256, artist FROM attribution.image_prompt WHERE picture_sha256 IS NOT NULL
) AS u
JOIN attribution.image AS i ON i.id = u.image_id
LEFT JOIN attribution.material AS m ON m.sha256 = u.sha256
LEFT JOIN attribution.artist_merge AS owner ON owner.artist_id = m.artist
LEFT JOIN attribution.artist_merge AS other ON other.artist_id = u.artist
WHERE coalesce(owner.into_id, m.artist) IS DISTINCT FROM coalesce(other.into_id, u.artist);
COMMENT ON VIEW audit.material_faults IS
    'must be empty: adapters and pictures that an image names another owner of than the first that was logged';
GRANT SELECT ON audit.image_prompts, audit.materials, audit.material_faults TO auditor;
RESET ROLE;
