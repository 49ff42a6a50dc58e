-- Numbers of transactions begin anew on a server that a backup is restored on, and a writer of an attribution may name any: so
-- its recorded number alone does not say that a transaction which has come to it is the one that wrote the attribution.

-- The row's own age does: how many transactions ago it was written here. 0 in the transaction itself, less in its savepoints.
CREATE OR REPLACE FUNCTION guard.check_attribution_part() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM added JOIN ONLY attribution.attribution AS a ON a.id = added.attribution_id
               WHERE a.written_by <> pg_catalog.pg_current_xact_id() OR pg_catalog.age(a.xmin) > 0) THEN
        RAISE EXCEPTION 'a committed attribution takes no further rows'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'attribution_is_final';
    END IF;
    RETURN NULL;
END
$$;
