-- Players other than names: the adapters an image was made with, and whose they are. What absence does to them is in
-- `attribution.game`: without its owner an adapter is not there, and the base weights render.

SET ROLE royalty_owner;
CREATE TABLE attribution.image_adapter (
    image_id bigint NOT NULL,
    place smallint NOT NULL,
    sha256 bytea NOT NULL,
    scale numeric NOT NULL,
    artist text NOT NULL,
    CONSTRAINT image_adapter_pkey PRIMARY KEY (image_id, place),
    CONSTRAINT image_adapter_image_id_sha256_key UNIQUE (image_id, sha256),
    CONSTRAINT image_adapter_image_id_fkey FOREIGN KEY (image_id) REFERENCES attribution.image (id),
    CONSTRAINT image_adapter_place_in_list CHECK (place BETWEEN 1 AND 8),
    CONSTRAINT image_adapter_sha256_length CHECK (octet_length(sha256) = 32),
    CONSTRAINT image_adapter_scale_in_range CHECK (scale BETWEEN -10 AND 10 AND scale <> 0),
    CONSTRAINT image_adapter_artist_not_empty CHECK (artist <> '')
);
RESET ROLE;
CALL guard.make_append_only('attribution.image_adapter');
GRANT SELECT, INSERT ON attribution.image_adapter TO attribution;
GRANT SELECT ON attribution.image_adapter TO settlement, royalty_guard, audit_owner;

-- What an image was made with is logged with it, and not later: the digest of the log's row covers it. The row's own age
-- says how many transactions ago it was written: 0 in this one, less in its savepoints.
CREATE FUNCTION guard.check_image_part() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM added JOIN ONLY attribution.image AS i ON i.id = added.image_id
               WHERE pg_catalog.age(i.xmin) > 0) THEN
        RAISE EXCEPTION 'a logged image takes no further adapters'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'image_is_final';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_image_part() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_image_part() FROM PUBLIC;
CREATE TRIGGER image_final AFTER INSERT ON attribution.image_adapter
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_image_part();
ALTER TABLE attribution.image_adapter ENABLE ALWAYS TRIGGER image_final;

SET ROLE audit_owner;
CREATE VIEW audit.image_adapters AS
SELECT i.external_id AS image, a.place, encode(a.sha256, 'hex') AS sha256, a.scale, a.artist AS artist_id, n.name
FROM attribution.image_adapter AS a
JOIN attribution.image AS i ON i.id = a.image_id
LEFT JOIN audit.artist AS n ON n.artist_id = a.artist;
COMMENT ON VIEW audit.image_adapters IS
    'adapters (LoRA files, by SHA-256) that images were made with, how strongly, and the artists they belong to';
GRANT SELECT ON audit.image_adapters TO auditor;
RESET ROLE;
