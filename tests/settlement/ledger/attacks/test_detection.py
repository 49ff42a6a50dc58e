"""What a superuser can do with the fence down is found by `royalty verify`, and named."""

# ruff: noqa: E501  (SQL stays in one piece)

import psycopg
import pytest
from sqlalchemy.orm import Session

from database.engine import conninfo, engine, session
from database.roles import Role
from settlement.audit.verify import CHECKS, verify
from tests.settlement.books import write_books
from tests.settlement.ledger.attacks.matrix import APPEND_ONLY, ATTACKS

SCHEMA = "the schema is the one last migrated"
POSTED = "journals say what was posted"

DETECTED = [
    ("SET event_triggers = off; DROP TRIGGER append_only ON ledger.posting", SCHEMA, "trigger append_only on ledger.posting"),
    ("SET event_triggers = off; ALTER TABLE ledger.posting ENABLE TRIGGER append_only", SCHEMA,
     "trigger append_only on ledger.posting"),
    ("SET event_triggers = off; GRANT UPDATE ON ledger.posting TO settlement", SCHEMA,
     "grant of UPDATE on table ledger.posting to settlement"),
    ("SET event_triggers = off; CREATE VIEW public.payees AS SELECT * FROM party.party_version", SCHEMA, "view public.payees"),
    ("SET event_triggers = off; CREATE SCHEMA evil", SCHEMA, "schema evil"),
    ("ALTER EVENT TRIGGER ddl_fence DISABLE", SCHEMA, "event trigger ddl_fence"),
    ("DROP EVENT TRIGGER drop_fence", SCHEMA, "event trigger drop_fence"),
    ("UPDATE pg_trigger SET tgenabled = 'D' WHERE tgname = 'append_only'", SCHEMA, "trigger append_only on"),
    ("UPDATE pg_proc SET prosrc = 'BEGIN RETURN NULL; END' WHERE proname = 'check_postings'", SCHEMA,
     "function guard.check_postings()"),
    ("REASSIGN OWNED BY royalty_guard TO royalty_owner", SCHEMA, "function guard.check_attribution()"),
    ("GRANT royalty_owner TO settlement", SCHEMA, "membership of settlement in royalty_owner"),
    ("ALTER ROLE portal BYPASSRLS", SCHEMA, "role portal"),
    ("ALTER ROLE royalty_owner LOGIN", SCHEMA, "role royalty_owner"),
    ("ALTER ROLE settlement SET session_replication_role = replica", SCHEMA, "setting of session_replication_role"),
    ("SET event_triggers = off; ALTER TABLE ledger.posting DISABLE TRIGGER ALL; UPDATE ledger.posting SET amount = amount + 1"
     " WHERE journal_id = 1; ALTER TABLE ledger.posting ENABLE TRIGGER ALL", "journals are whole", "does not balance"),
    ("SET event_triggers = off; ALTER TABLE ledger.posting DISABLE TRIGGER ALL; UPDATE ledger.posting SET amount = 2 * amount"
     " WHERE journal_id = 1", POSTED, "sale:sale-1"),
]  # fmt: skip
"""What is done, the check that finds it, and what it names."""


@pytest.fixture(scope="module", autouse=True)
def _books(module_database: str) -> None:
    with session(Role.ADMIN) as own:
        write_books(own)


@pytest.mark.parametrize(("statements", "check", "named"), DETECTED, ids=[row[0] for row in DETECTED])
def test_what_a_superuser_did_is_found_and_named(statements: str, check: str, named: str) -> None:
    (asked,) = (known for known in CHECKS if known.name == check)
    with engine(Role.ADMIN).connect() as connection:
        transaction = connection.begin()
        with Session(connection) as own:
            connection.exec_driver_sql("SET LOCAL ROLE auditor")
            assert verify(own, [asked]).ok
            connection.exec_driver_sql("RESET ROLE")
            driver = connection.connection.driver_connection
            assert isinstance(driver, psycopg.Connection)
            driver.execute(statements.encode())
            connection.exec_driver_sql("SET LOCAL ROLE auditor")
            (result,) = verify(own, [asked]).results
        transaction.rollback()
    assert any(named in fault for fault in result.faults), result.faults


def test_the_page_is_the_matrix() -> None:
    # Here, because it reads DETECTED of this module.
    from tests.settlement.ledger.attacks.page import PAGE, page

    assert PAGE.read_text() == page(), "run: python -m tests.settlement.ledger.attacks.page"


def test_every_defence_of_the_ledger_is_attacked() -> None:
    """What the catalogue has of constraints and triggers in the ledger is what the page names."""
    with psycopg.connect(conninfo(Role.ADMIN)) as connection:
        rows = connection.execute(
            "SELECT format('constraint %s on ledger.%s', k.conname, c.relname) FROM pg_constraint AS k"
            " JOIN pg_class AS c ON c.oid = k.conrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " WHERE n.nspname = 'ledger' AND k.contype IN ('c', 'p', 'u', 'f', 'x')"
            " AND k.conname !~ '^closing_balance_.*_fkey$'"
            " UNION ALL SELECT format('trigger %s on ledger.%s', t.tgname, c.relname) FROM pg_trigger AS t"
            " JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " WHERE n.nspname = 'ledger' AND NOT t.tgisinternal"
            " UNION ALL SELECT format('event trigger %s', evtname) FROM pg_event_trigger"
        ).fetchall()
        tables = connection.execute(
            "SELECT relname::text FROM pg_class WHERE relnamespace = 'ledger'::regnamespace AND relkind = 'r'"
        ).fetchall()
    named = {defence for attack in ATTACKS for defence in attack.by}
    assert {str(row[0]) for row in rows} - named == set()
    assert {str(row[0]) for row in tables} == set(APPEND_ONLY)
