"""Rows of others and rights to write, looked for in all that the catalogue has: new relations are covered too."""

# ruff: noqa: E501  (SQL stays in one piece)

from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import text

from database.engine import conninfo, session
from database.roles import Role
from settlement.corrections.decisions import approve_correction
from settlement.corrections.proposal import propose_reattribution
from settlement.ledger.log import append
from tests.settlement.books import write_books
from tests.settlement.events import attribute
from tests.settlement.ledger.attacks.bench import Connection, without
from tests.settlement.periods.conftest import settle_in

USERS = {
    "pay-1": ("pay-2", "pay-dev", "art-2", "art-3"),
    # She has a split of art-1's contract as well as art-2's own.
    "pay-2": ("pay-1", "pay-dev", "art-3"),
    "pay-dev": ("pay-1", "pay-2", "art-1", "art-2", "art-3"),
    "nobody": ("pay-1", "pay-2", "pay-dev", "art-1", "art-2", "art-3"),
}
"""Payees, each with her user, and what names others in a row that is about them."""

PAYEES = ("pay-1", "pay-2", "pay-dev")

COMMON = {
    "attribution.method_version",
    "ledger.checkpoint",
    "ledger.log_node",
    "public.alembic_version",
    "settlement.period",
    "settlement.rate_card_version",
}
"""Relations that are the same for every payee: terms, dates, hashes."""


@pytest.fixture(scope="module", autouse=True)
def _books(module_database: str) -> None:
    with session(Role.ADMIN) as own:
        write_books(own)
        issued = own.execute(text("SELECT 'statement', statement_id, sha256 FROM settlement.statement")).all()
        append(own, [(kind, statement, sha256) for kind, statement, sha256 in issued])
        # Of one sale both artists have lines, of the other one of them.
        attribute(own, "img-1", {"C": 500_000_000, "art-1": 300_000_000, "art-2": 200_000_000}, by="exact-2")
        attribute(own, "img-3", {"C": 500_000_000, "art-2": 500_000_000}, by="exact-2")
        proposed = propose_reattribution(own, "better", "exact-2", actor="ann", reason="x").correction
        approve_correction(own, "better", checker="bea", content_sha256=proposed.content_sha256)
        settle_in(own, "2026-12", datetime(2100, 1, 1, tzinfo=UTC))
    with psycopg.connect(conninfo(Role.ADMIN)) as connection:
        for payee in PAYEES:
            connection.execute(
                'WITH u AS (INSERT INTO access."user" (username, password_hash, scopes) VALUES (%s, %s, %s) RETURNING id)'
                " INSERT INTO access.payee_access (user_id, payee_id) SELECT id, %s FROM u",
                (payee, "x", [], payee),
            )
        # Something of everybody in what the example leaves empty.
        connection.execute(
            "INSERT INTO settlement.hold (payee_id, reason, actor, opened_at)"
            " SELECT payee_id, 'x', 'ann', now() FROM access.payee_access;"
            "INSERT INTO settlement.hold_release (hold_id, reason, actor, released_at)"
            " SELECT id, 'x', 'ann', now() FROM settlement.hold;"
            "INSERT INTO settlement.dispute (payee_id, statement_id, about)"
            " SELECT payee_id, statement_id, 'statement' FROM settlement.statement;"
            "INSERT INTO settlement.dispute_answer (dispute_id, outcome, reason, actor)"
            " SELECT id, 'rejected', 'x', 'ann' FROM settlement.dispute;"
            "INSERT INTO party.dispute_words SELECT id, payee_id || ' says' FROM settlement.dispute;"
            "INSERT INTO settlement.statement_column"
            " SELECT period_id, payee_id, 'USD', statement_id, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM settlement.statement"
        )


@pytest.fixture
def connection(module_database: str) -> Iterator[Connection]:
    with psycopg.connect(conninfo(Role.ADMIN)) as opened:
        opened.execute("SET event_triggers = off")
        yield opened
        opened.rollback()


def _readable(connection: Connection, role: str) -> dict[str, list[str]]:
    """Relations that a role may read a column of, with those columns."""
    rows = connection.execute(
        "SELECT format('%%I.%%I', n.nspname, c.relname), array_agg(quote_ident(a.attname)::text)"
        " FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_attribute AS a ON a.attrelid = c.oid"
        " WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
        " AND a.attnum > 0 AND NOT a.attisdropped AND has_schema_privilege(%(role)s, n.oid, 'USAGE')"
        " AND has_column_privilege(%(role)s, c.oid, a.attnum, 'SELECT') GROUP BY 1",
        {"role": role},
    ).fetchall()
    return {str(name): list(columns) for name, columns in rows}


def _seen(connection: Connection, relations: dict[str, list[str]], payee: str) -> dict[str, set[str]]:
    """Each relation's rows as the portal gives them to a payee's user."""
    found = {}
    with connection.transaction(force_rollback=True):
        connection.execute(
            "SELECT set_config('app.user_id', coalesce((SELECT user_id::text FROM access.payee_access WHERE payee_id = %s),"
            " '0'), true)",
            (payee,),
        )
        connection.execute("SET LOCAL SESSION AUTHORIZATION portal")
        for relation, columns in relations.items():
            rows = connection.execute(f"SELECT row({', '.join(columns)})::text FROM {relation}").fetchall()
            # The log's seals are everybody's, like the checkpoints that they lead to.
            found[relation] = {str(row[0]) for row in rows if ",seal," not in str(row[0])}
    return found


def _leaks(connection: Connection, relations: dict[str, list[str]]) -> set[str]:
    """Relations in which a payee sees another's row, or every row there is of several payees'."""
    seen = {payee: _seen(connection, relations, payee) for payee in USERS}
    whole = {relation: _count(connection, relation) for relation in relations}
    return {
        relation
        for relation in relations.keys() - COMMON
        if any(_names(row, others) for payee, others in USERS.items() for row in seen[payee][relation])
        or seen["nobody"][relation]
        # Of what several payees have some of, no one has all.
        or (len(seen["pay-1"][relation]) == whole[relation] > 1 and seen["pay-2"][relation])
    }


def _count(connection: Connection, relation: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {relation}").fetchone()
    assert row
    return int(row[0])


def _names(row: str, others: tuple[str, ...]) -> bool:
    return any(f"{other}{end}" in row for other in others for end in (",", ")", "/", ":", '"', "\\"))


def test_no_payee_sees_a_row_of_another(connection: Connection) -> None:
    relations = _readable(connection, "portal")
    assert relations.keys() >= COMMON | {
        "settlement.statement",
        "settlement.letterhead",
        "party.party_version",
    }
    assert _leaks(connection, relations) == set()
    assert all(_seen(connection, relations, payee)["settlement.statement"] for payee in PAYEES)


def test_every_fence_of_rows_is_needed(connection: Connection) -> None:
    """Mutation: without its policy, or with row-level security off, each table shows what is another's."""
    relations = _readable(connection, "portal")
    tables = [
        str(row[0])
        for row in connection.execute(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " JOIN pg_policy AS p ON p.polrelid = c.oid WHERE c.relrowsecurity AND p.polname = 'own' ORDER BY 1"
        )
    ]
    assert tables
    for table in tables:
        for change in (without(f"row-level security of {table}"), without(f"policy own on {table}")):
            with connection.transaction(force_rollback=True):
                connection.execute(change.encode())
                leaks = _leaks(connection, relations)
                if table == "access.payee_access":
                    # Who may see whose everything hangs on.
                    assert "settlement.statement" in leaks
                else:
                    assert table in leaks, change


def test_tables_that_the_portal_reads_are_fenced_or_common(connection: Connection) -> None:
    plain = connection.execute(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE c.relkind = 'r' AND NOT c.relrowsecurity"
    ).fetchall()
    assert {str(row[0]) for row in plain} & _readable(connection, "portal").keys() == COMMON


def test_the_platforms_bank_is_not_for_payees(connection: Connection) -> None:
    relations = _readable(connection, "portal")
    for payee in PAYEES:
        seen = _seen(connection, relations, payee)
        heads = [name for name, rows in seen.items() if any("Platform" in row for row in rows)]
        assert heads == ["settlement.letterhead"]
        assert not any("iban" in row for row in seen["settlement.letterhead"])


@pytest.mark.parametrize("user", ["", "0", "999999", None])
def test_nobody_sees_nothing(connection: Connection, user: str | None) -> None:
    """Also with the empty setting that a pooled connection keeps of the last transaction."""
    relations = _readable(connection, "portal")
    if user is not None:
        connection.execute("SELECT set_config('app.user_id', %s, true)", (user,))
    connection.execute("SET LOCAL SESSION AUTHORIZATION portal")
    for relation in relations.keys() - COMMON:
        rows = connection.execute(
            f"SELECT row({', '.join(relations[relation])})::text FROM {relation}"
        ).fetchall()
        assert [row for row in rows if ",seal," not in str(row[0])] == [], relation


def test_views_for_the_portal_ask_with_the_readers_rights(connection: Connection) -> None:
    """Or do their own fencing, and evaluate nothing of the reader's before it."""
    views = connection.execute(
        "SELECT format('%I.%I', n.nspname, c.relname), c.reloptions FROM pg_class AS c"
        " JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind = 'v'"
        " AND has_any_column_privilege('portal', c.oid, 'SELECT') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
        " AND has_schema_privilege('portal', n.oid, 'USAGE')"
    ).fetchall()
    barriers = {str(name) for name, options in views if options == ["security_barrier=true"]}
    assert all(options in (["security_invoker=true"], ["security_barrier=true"]) for _, options in views)
    assert barriers == {"settlement.payee_balance", "settlement.letterhead"}


def test_a_plain_view_over_a_fenced_table_leaks(connection: Connection) -> None:
    """Why views are made by migrations only."""
    connection.execute(
        "CREATE VIEW public.statements AS SELECT * FROM settlement.statement; GRANT SELECT ON public.statements TO portal"
    )
    relations = _readable(connection, "portal")
    assert "public.statements" in _leaks(connection, relations)


def test_the_auditor_reads_views_only_and_calls_nothing_that_writes(connection: Connection) -> None:
    held = connection.execute(
        "SELECT format('%I.%I', n.nspname, c.relname), p.privilege FROM pg_class AS c"
        " JOIN pg_namespace AS n ON n.oid = c.relnamespace CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE',"
        " 'TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN']) AS p (privilege)"
        " WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
        " AND has_table_privilege('auditor', c.oid, p.privilege)"
        " AND NOT (n.nspname = 'audit' AND c.relkind = 'v' AND p.privilege = 'SELECT')"
    ).fetchall()
    assert held == []
    functions = connection.execute(
        "SELECT p.oid::regprocedure::text, p.provolatile, p.prosecdef FROM pg_proc AS p"
        " JOIN pg_namespace AS n ON n.oid = p.pronamespace WHERE p.oid >= 16384 AND n.nspname <> 'pgmq'"
        " AND has_schema_privilege('auditor', n.oid, 'USAGE') AND has_function_privilege('auditor', p.oid, 'EXECUTE')"
        " AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)"
    ).fetchall()
    assert functions
    assert [name for name, volatility, definer in functions if volatility == "v" or definer] == []


def test_guards_are_pinned_owned_and_always_on(connection: Connection) -> None:
    """Every trigger of ours, and every function that one calls; and no function that anybody else could have made."""
    unpinned = connection.execute(
        "SELECT p.oid::regprocedure::text FROM pg_proc AS p WHERE p.pronamespace = 'guard'::regnamespace"
        " AND p.prolang <> (SELECT oid FROM pg_language WHERE lanname = 'sql')"
        " AND NOT 'search_path=pg_catalog, pg_temp' = ANY (coalesce(p.proconfig, '{}'))"
    ).fetchall()
    off = connection.execute(
        "SELECT t.tgname, t.tgrelid::regclass::text FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid"
        " JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE NOT t.tgisinternal AND n.nspname NOT IN ('pgmq')"
        " AND (t.tgenabled <> 'A' OR (SELECT p.pronamespace FROM pg_proc AS p WHERE p.oid = t.tgfoid)"
        " <> 'guard'::regnamespace)"
    ).fetchall()
    callable = connection.execute(
        "SELECT p.oid::regprocedure::text FROM pg_proc AS p WHERE p.pronamespace = 'guard'::regnamespace AND p.prosecdef"
        " AND has_function_privilege('public', p.oid, 'EXECUTE')"
    ).fetchall()
    assert (unpinned, off, callable) == ([], [], [])
