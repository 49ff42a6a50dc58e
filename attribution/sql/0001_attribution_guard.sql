-- Attribution's guarantees.

-- The shares of an attributed image are its players', one each, and sum to 10^9; checked once per attribution, at commit.
-- A row added after that check has run (SET CONSTRAINTS ALL IMMEDIATE) finds no free slot or coalition: see below.
CREATE FUNCTION guard.check_attribution() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found bigint;
    total numeric;
    measured bigint;
BEGIN
    SELECT count(*), coalesce(sum(share_ppb), 0) INTO found, total
        FROM ONLY attribution.attribution_share WHERE attribution_id = NEW.id;
    SELECT count(*) INTO measured FROM ONLY attribution.coalition_value WHERE attribution_id = NEW.id;
    IF NEW.status = 'attributed' AND (found <> NEW.players OR total <> 1000000000) THEN
        RAISE EXCEPTION 'attribution % has % shares of % players, summing to %', NEW.id, found, NEW.players, total
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'shares_sum_to_one';
    END IF;
    IF NEW.status = 'unattributed' AND total <> 0 THEN
        RAISE EXCEPTION 'attribution % is unattributed and pays shares', NEW.id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'unattributed_pays_nobody';
    END IF;
    IF NEW.status = 'attributed' AND measured <> (1 << NEW.players) THEN
        RAISE EXCEPTION 'attribution % has % coalition values of %', NEW.id, measured, 1 << NEW.players
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'coalitions_complete';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_attribution() OWNER TO royalty_guard;
CREATE CONSTRAINT TRIGGER attribution_complete AFTER INSERT ON attribution.attribution
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION guard.check_attribution();
ALTER TABLE attribution.attribution ENABLE ALWAYS TRIGGER attribution_complete;

-- A share or a coalition value belongs to the transaction that writes its attribution, and to no later one.
CREATE FUNCTION guard.check_attribution_part() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM added JOIN ONLY attribution.attribution AS a ON a.id = added.attribution_id
               WHERE a.written_by <> pg_catalog.pg_current_xact_id()) THEN
        RAISE EXCEPTION 'a committed attribution takes no further rows'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'attribution_is_final';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_attribution_part() OWNER TO royalty_guard;
CREATE TRIGGER attribution_final AFTER INSERT ON attribution.attribution_share
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_attribution_part();
CREATE TRIGGER attribution_final AFTER INSERT ON attribution.coalition_value
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_attribution_part();

-- With the primary keys this leaves exactly as many places as the game has players and coalitions.
CREATE FUNCTION guard.check_share_slot() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM added JOIN ONLY attribution.attribution AS a ON a.id = added.attribution_id
               WHERE added.slot < 0 OR added.slot >= a.players) THEN
        RAISE EXCEPTION 'a share has a slot that its game does not have'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'share_slot_in_game';
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION guard.check_coalition() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM added JOIN ONLY attribution.attribution AS a ON a.id = added.attribution_id
               WHERE added.coalition >= 1 << a.players) THEN
        RAISE EXCEPTION 'a value belongs to a coalition that its game does not have'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'coalition_in_game';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION guard.check_share_slot() OWNER TO royalty_guard;
ALTER FUNCTION guard.check_coalition() OWNER TO royalty_guard;
CREATE TRIGGER share_slot_in_game AFTER INSERT ON attribution.attribution_share
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_share_slot();
CREATE TRIGGER coalition_in_game AFTER INSERT ON attribution.coalition_value
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard.check_coalition();
ALTER TABLE attribution.attribution_share ENABLE ALWAYS TRIGGER share_slot_in_game;
ALTER TABLE attribution.coalition_value ENABLE ALWAYS TRIGGER coalition_in_game;
ALTER TABLE attribution.attribution_share ENABLE ALWAYS TRIGGER attribution_final;
ALTER TABLE attribution.coalition_value ENABLE ALWAYS TRIGGER attribution_final;

CALL guard.make_append_only('attribution.artist_version');
CALL guard.make_append_only('attribution.method_version');
CALL guard.make_append_only('attribution.placebo');
CALL guard.make_append_only('attribution.image');
CALL guard.make_append_only('attribution.attribution');
CALL guard.make_append_only('attribution.coalition_value');
CALL guard.make_append_only('attribution.attribution_share');

GRANT USAGE ON SCHEMA attribution TO royalty_guard;

CREATE VIEW attribution.artist WITH (security_invoker = true) AS
    SELECT DISTINCT ON (artist_id) artist_id, version, name, aliases, recorded_at
    FROM attribution.artist_version ORDER BY artist_id, version DESC;
ALTER VIEW attribution.artist OWNER TO royalty_owner;
