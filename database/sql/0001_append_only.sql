-- History is append-only. The guard's functions belong to a role that owns no table, so that the owner of the tables cannot
-- replace them; they pin search_path and qualify names, because a temporary table of the same name would fool them.
CREATE FUNCTION guard.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only: % is refused; record a correction instead', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation';
END
$$;
ALTER FUNCTION guard.refuse_change() OWNER TO royalty_guard;

-- Guard one table: statement triggers, ENABLE ALWAYS, so that session_replication_role does not switch them off.
CREATE PROCEDURE guard.make_append_only(relation regclass)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT'
                   ' EXECUTE FUNCTION guard.refuse_change()', relation);
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER append_only', relation);
END
$$;
ALTER PROCEDURE guard.make_append_only(regclass) OWNER TO royalty_guard;
REVOKE ALL ON PROCEDURE guard.make_append_only(regclass) FROM PUBLIC;
