-- Login roles, one per process, and the NOLOGIN roles that own things. Roles belong to the whole server, not to one database:
-- several databases (tests, a restore beside the original) share them, so each is made only if missing.
DO $$
DECLARE
    name text;
BEGIN
    -- Migrations of two databases on one server may run at the same time.
    PERFORM pg_advisory_xact_lock(hashtext('royalty roles'));
    FOREACH name IN ARRAY ARRAY['royalty_owner', 'royalty_guard', 'audit_owner'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        END IF;
    END LOOP;
    FOREACH name IN ARRAY ARRAY['settlement', 'attribution', 'portal', 'payer', 'approver', 'auditor', 'identity'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', name);
        END IF;
    END LOOP;
    -- COPY FROM does not work under row-level security; these two write in bulk and see every row anyway.
    ALTER ROLE settlement BYPASSRLS;
    ALTER ROLE attribution BYPASSRLS;
    -- The audit views show every row to the auditor.
    ALTER ROLE audit_owner BYPASSRLS;
    ALTER ROLE auditor SET default_transaction_read_only = on;
    ALTER ROLE auditor SET statement_timeout = '10min';
    ALTER ROLE portal SET statement_timeout = '30s';
END
$$;

CREATE SCHEMA guard AUTHORIZATION royalty_guard;
CREATE SCHEMA access AUTHORIZATION royalty_owner;
CREATE SCHEMA party AUTHORIZATION royalty_owner;
CREATE SCHEMA attribution AUTHORIZATION royalty_owner;
CREATE SCHEMA ledger AUTHORIZATION royalty_owner;
CREATE SCHEMA settlement AUTHORIZATION royalty_owner;
CREATE SCHEMA audit AUTHORIZATION audit_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
