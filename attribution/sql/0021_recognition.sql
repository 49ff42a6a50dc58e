-- Which names a model knows, with the evidence; artists that turned out to be one; and customers who buy what pays them.

SET ROLE royalty_owner;

-- What made-up names do, by the terms of a method version on a model: measured once.
CREATE TABLE attribution.recognition_scale (
    id bigint GENERATED ALWAYS AS IDENTITY,
    sha256 bytea NOT NULL,
    method_id bigint NOT NULL,
    recognition_sha256 bytea NOT NULL,
    weights_sha256 bytea NOT NULL,
    threshold bigint NOT NULL,
    level_ppb bigint NOT NULL,
    document jsonb NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT recognition_scale_pkey PRIMARY KEY (id),
    CONSTRAINT recognition_scale_sha256_key UNIQUE (sha256),
    CONSTRAINT recognition_scale_recognition_sha256_weights_sha256_key UNIQUE (recognition_sha256, weights_sha256),
    CONSTRAINT recognition_scale_method_id_fkey FOREIGN KEY (method_id) REFERENCES attribution.method_version (id),
    CONSTRAINT recognition_scale_hashes_length CHECK (octet_length(sha256) = 32
        AND octet_length(recognition_sha256) = 32 AND octet_length(weights_sha256) = 32),
    CONSTRAINT recognition_scale_level_in_range CHECK (level_ppb BETWEEN 1 AND 100000000)
);

-- What one name does. Kept apart from the verdict, so that measuring goes on where it was broken off.
CREATE TABLE attribution.recognition_measure (
    scale_id bigint NOT NULL,
    name text NOT NULL,
    distances bigint[] NOT NULL,
    moves bytea NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT recognition_measure_pkey PRIMARY KEY (scale_id, name),
    CONSTRAINT recognition_measure_scale_id_fkey FOREIGN KEY (scale_id) REFERENCES attribution.recognition_scale (id),
    CONSTRAINT recognition_measure_distances_there CHECK (cardinality(distances) >= 2)
);

CREATE TABLE attribution.recognition (
    scale_id bigint NOT NULL,
    name text NOT NULL,
    movement bigint NOT NULL,
    threshold bigint NOT NULL,
    taken_for text[] NOT NULL,
    hits smallint NOT NULL,
    classes integer NOT NULL,
    chance_ppb bigint NOT NULL,
    level_ppb bigint NOT NULL,
    recognised boolean NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT recognition_pkey PRIMARY KEY (scale_id, name),
    CONSTRAINT recognition_scale_id_name_fkey FOREIGN KEY (scale_id, name)
        REFERENCES attribution.recognition_measure (scale_id, name),
    CONSTRAINT recognition_both_tests
        CHECK (recognised = (movement > threshold AND chance_ppb <= level_ppb)),
    CONSTRAINT recognition_hits_in_range CHECK (hits BETWEEN 0 AND cardinality(taken_for) AND classes >= 2)
);

-- Two artists in the catalogue that are one person: from then on the one bears the other's names too.
CREATE TABLE attribution.artist_merge (
    artist_id text NOT NULL,
    into_id text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT artist_merge_pkey PRIMARY KEY (artist_id),
    CONSTRAINT artist_merge_two_artists CHECK (artist_id <> into_id),
    CONSTRAINT artist_merge_reason_given CHECK (reason <> '' AND actor <> '')
);
CREATE INDEX artist_merge_into_id_idx ON attribution.artist_merge (into_id);

-- Who bought, as the platform calls its customers, hashed: only whether two are the same is ever asked. Whoever knows all
-- references can find the one behind a hash, so these are personal data, and can be erased.
CREATE TABLE settlement.sale_buyer (
    sale_id bigint NOT NULL,
    customer_sha256 bytea NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT sale_buyer_pkey PRIMARY KEY (sale_id),
    CONSTRAINT sale_buyer_sale_id_fkey FOREIGN KEY (sale_id) REFERENCES settlement.sale (id),
    CONSTRAINT sale_buyer_customer_sha256_length CHECK (octet_length(customer_sha256) = 32)
);
CREATE INDEX sale_buyer_customer_sha256_idx ON settlement.sale_buyer (customer_sha256);

CREATE TABLE settlement.payee_customer (
    payee_id text NOT NULL,
    customer_sha256 bytea NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT payee_customer_pkey PRIMARY KEY (payee_id, customer_sha256),
    CONSTRAINT payee_customer_payee_id_fkey FOREIGN KEY (payee_id) REFERENCES settlement.payee (payee_id),
    CONSTRAINT payee_customer_customer_sha256_length CHECK (octet_length(customer_sha256) = 32)
);
CREATE INDEX payee_customer_customer_sha256_idx ON settlement.payee_customer (customer_sha256);

GRANT SELECT, INSERT ON attribution.recognition_scale, attribution.recognition_measure, attribution.recognition
    TO attribution;
GRANT SELECT ON attribution.recognition_scale, attribution.recognition_measure, attribution.recognition TO settlement;
GRANT SELECT ON attribution.artist_merge TO attribution, settlement, royalty_guard;
GRANT INSERT ON attribution.artist_merge TO settlement, attribution;
GRANT SELECT ON attribution.recognition_scale TO royalty_guard;
GRANT SELECT, INSERT ON settlement.sale_buyer, settlement.payee_customer TO settlement;
RESET ROLE;

CALL guard.make_append_only('attribution.recognition_scale');
CALL guard.make_append_only('attribution.recognition_measure');
CALL guard.make_append_only('attribution.recognition');
CALL guard.make_append_only('attribution.artist_merge');

-- A verdict is by its scale's terms.
CREATE FUNCTION guard.check_recognition() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM added JOIN ONLY attribution.recognition_scale AS s ON s.id = added.scale_id
               WHERE added.threshold <> s.threshold OR added.level_ppb <> s.level_ppb) THEN
        RAISE EXCEPTION 'a name is judged by other terms than its scale''s'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'recognition_by_its_scale';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_recognition() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_recognition() FROM PUBLIC;
CREATE TRIGGER recognition_by_its_scale AFTER INSERT ON attribution.recognition
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_recognition();
ALTER TABLE attribution.recognition ENABLE ALWAYS TRIGGER recognition_by_its_scale;

-- Merging goes one step: nobody is merged into an artist who is gone, and nobody goes who has taken others in.
CREATE FUNCTION guard.check_artist_merge() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('artist merge'));
    IF EXISTS (SELECT FROM ONLY attribution.artist_merge AS m WHERE m.artist_id = NEW.into_id)
       OR EXISTS (SELECT FROM ONLY attribution.artist_merge AS m WHERE m.into_id = NEW.artist_id) THEN
        RAISE EXCEPTION 'artist % cannot be merged into %: one of them was merged before', NEW.artist_id, NEW.into_id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'artist_merge_one_step';
    END IF;
    IF (SELECT count(DISTINCT a.artist_id) FROM ONLY attribution.artist_version AS a
        WHERE a.artist_id IN (NEW.artist_id, NEW.into_id)) <> 2 THEN
        RAISE EXCEPTION 'artist % or % is not in the catalogue', NEW.artist_id, NEW.into_id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'artist_merge_of_artists';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_artist_merge() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_artist_merge() FROM PUBLIC;
CREATE TRIGGER artist_merge_one_step AFTER INSERT ON attribution.artist_merge
    FOR EACH ROW EXECUTE FUNCTION guard.check_artist_merge();
ALTER TABLE attribution.artist_merge ENABLE ALWAYS TRIGGER artist_merge_one_step;

CREATE FUNCTION guard.check_artist_in_force() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM added JOIN ONLY attribution.artist_merge AS m ON m.artist_id = added.artist_id) THEN
        RAISE EXCEPTION 'an artist who was merged into another takes no new version'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'artist_in_force';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_artist_in_force() OWNER TO royalty_guard;
REVOKE ALL ON FUNCTION guard.check_artist_in_force() FROM PUBLIC;
CREATE TRIGGER artist_in_force AFTER INSERT ON attribution.artist_version
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_artist_in_force();
ALTER TABLE attribution.artist_version ENABLE ALWAYS TRIGGER artist_in_force;

SET ROLE audit_owner;

CREATE VIEW audit.recognition_scales AS
SELECT s.id AS scale_id, encode(s.sha256, 'hex') AS sha256, v.name AS method, encode(s.weights_sha256, 'hex') AS weights_sha256,
       s.threshold, s.level_ppb, jsonb_array_length(s.document -> 'names') AS made_up_names,
       s.document -> 'probes' AS probes, s.document -> 'settings' AS settings, s.recorded_at
FROM attribution.recognition_scale AS s JOIN attribution.method_version AS v ON v.id = s.method_id;
COMMENT ON VIEW audit.recognition_scales IS
    'what made-up names do to the pictures of a model (10^-9 of 1 - cosine): a known name moves them more than the threshold';

CREATE VIEW audit.recognition AS
SELECT r.scale_id, r.name, r.recognised, r.movement, r.threshold, r.hits, cardinality(r.taken_for) AS probes,
       r.classes, r.chance_ppb, r.level_ppb, r.taken_for, m.distances, encode(sha256(m.moves), 'hex') AS moves_sha256,
       r.recorded_at
FROM attribution.recognition AS r
JOIN attribution.recognition_measure AS m ON m.scale_id = r.scale_id AND m.name = r.name;
COMMENT ON VIEW audit.recognition IS
    'which names a model knows: mean movement against made-up names, and probes told apart from all other names against chance';

CREATE VIEW audit.unrecognised_names AS
SELECT i.external_id AS image, a.id AS attribution_id, a.status, a.reason, n.artist_id, t.name AS artist, r.name,
       r.movement, r.threshold, r.hits, cardinality(r.taken_for) AS probes, r.classes, r.chance_ppb, r.level_ppb,
       a.recorded_at
FROM attribution.attribution AS a
JOIN attribution.image AS i ON i.id = a.image_id
CROSS JOIN LATERAL jsonb_array_elements_text(a.reading -> 'unrecognised') AS n (artist_id)
LEFT JOIN LATERAL (SELECT v.name, v.name || v.aliases AS names FROM attribution.artist_version AS v
                   WHERE v.artist_id = n.artist_id AND v.recorded_at < a.recorded_at
                   ORDER BY v.version DESC LIMIT 1) AS t ON true
LEFT JOIN attribution.recognition_scale AS s ON encode(s.sha256, 'hex') = a.reading ->> 'recognition_scale'
LEFT JOIN attribution.recognition AS r
    ON r.scale_id = s.id AND r.name = ANY (t.names) AND r.recorded_at < a.recorded_at;
COMMENT ON VIEW audit.unrecognised_names IS
    'artists whom a prompt names and the model does not know, so that their words are content: with the evidence, a line for each of their names';

-- Everything between the distances and the verdict, computed again.
CREATE VIEW audit.recognition_faults AS
WITH scale AS (
    SELECT s.id, s.threshold, s.level_ppb,
           (SELECT array_agg(made_up.movement ORDER BY made_up.movement) FROM (
                SELECT floor(avg(d.value::numeric)) AS movement
                FROM jsonb_array_elements(s.document -> 'names') WITH ORDINALITY AS n (name, place),
                     jsonb_array_elements_text(n.name -> 'distances') AS d (value) GROUP BY n.place) AS made_up) AS movements,
           (v.document ->> 'recognition') AS rule
    FROM attribution.recognition_scale AS s JOIN attribution.method_version AS v ON v.id = s.method_id
), verdict AS (
    SELECT r.*, cardinality(r.taken_for) AS probes, cardinality(m.distances) AS measured,
           (SELECT floor(avg(d)) FROM unnest(m.distances) AS d) AS movement_again,
           (SELECT count(*) FROM unnest(r.taken_for) AS t WHERE t = r.name) AS hits_again
    FROM attribution.recognition AS r
    JOIN attribution.recognition_measure AS m ON m.scale_id = r.scale_id AND m.name = r.name
), chance AS (
    SELECT v.*, (SELECT ceil(sum(factorial(v.probes) / factorial(k) / factorial(v.probes - k)
                                 * power((v.classes - 1)::numeric, v.probes - k)) * 1000000000
                             / power(v.classes::numeric, v.probes))
                 FROM generate_series(v.hits_again, v.probes) AS k) AS chance_again
    FROM verdict AS v
)
SELECT id AS scale_id, NULL::text AS name, 'threshold' AS item, threshold::numeric AS recorded,
       movements[ceil(cardinality(movements) * 0.950)::integer] AS expected
FROM scale WHERE rule = 'names-1' AND threshold <> movements[ceil(cardinality(movements) * 0.950)::integer]
UNION ALL
SELECT scale_id, name, 'movement', movement, movement_again FROM verdict WHERE movement <> movement_again
UNION ALL
SELECT scale_id, name, 'probes', probes, measured FROM verdict WHERE probes <> measured
UNION ALL
SELECT scale_id, name, 'hits', hits, hits_again FROM verdict WHERE hits <> hits_again
UNION ALL
SELECT scale_id, name, 'chance', chance_ppb, chance_again FROM chance WHERE chance_ppb <> chance_again
UNION ALL
SELECT c.scale_id, c.name, 'recognised', c.recognised::integer, (c.movement_again > s.threshold AND c.chance_again <= s.level_ppb)::integer
FROM chance AS c JOIN scale AS s ON s.id = c.scale_id
WHERE c.recognised <> (c.movement_again > s.threshold AND c.chance_again <= s.level_ppb);
COMMENT ON VIEW audit.recognition_faults IS
    'must be empty: names whose verdict does not follow from the recorded distances and classifications';

CREATE VIEW audit.artist_merges AS
SELECT m.artist_id, a.name, m.into_id, b.name AS into_name, m.actor, m.reason, m.recorded_at
FROM attribution.artist_merge AS m
LEFT JOIN LATERAL (SELECT v.name FROM attribution.artist_version AS v WHERE v.artist_id = m.artist_id
                   ORDER BY v.version DESC LIMIT 1) AS a ON true
LEFT JOIN LATERAL (SELECT v.name FROM attribution.artist_version AS v WHERE v.artist_id = m.into_id
                   ORDER BY v.version DESC LIMIT 1) AS b ON true;
COMMENT ON VIEW audit.artist_merges IS
    'artists of the catalogue that turned out to be one: by whom and why; what was attributed before keeps its ids';

CREATE VIEW audit.own_purchases AS
SELECT s.external_id AS sale, i.external_id AS image, s.sold_at, s.currency::text AS currency, s.price_micros, c.payee_id,
       h.player AS artist_id, h.share_ppb, v.name AS method,
       (SELECT coalesce(sum(l.amount_micros), 0)::bigint FROM settlement.royalty_line AS l
        WHERE l.sale_id = s.id AND l.payee_id = c.payee_id) AS royalties_micros
FROM settlement.sale_buyer AS b
JOIN settlement.payee_customer AS c ON c.customer_sha256 = b.customer_sha256
JOIN settlement.sale AS s ON s.id = b.sale_id
JOIN attribution.image AS i ON i.id = s.image_id
JOIN attribution.attribution AS a ON a.image_id = s.image_id
JOIN attribution.method_version AS v ON v.id = a.method_id
JOIN attribution.attribution_share AS h ON h.attribution_id = a.id AND h.share_ppb > 0
WHERE EXISTS (SELECT FROM settlement.contract_version AS k
              JOIN settlement.contract_split AS p ON p.contract_version_id = k.id
              WHERE k.artist_id = h.player AND p.payee_id = c.payee_id);
COMMENT ON VIEW audit.own_purchases IS
    'sales whose customer is paid for the image herself; they are settled like all others, and somebody is to look at them';

RESET ROLE;
