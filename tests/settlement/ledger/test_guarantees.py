"""What must never be false in the ledger, attacked by raw SQL: as every login, as the owner, and as a superuser."""

import threading

import pytest
from psycopg import errors

from database.roles import Role
from tests.settlement.ledger.raw import (
    HEADER,
    LINE,
    Connection,
    connected,
    count,
    journal,
    open_books,
    refused,
)


@pytest.fixture(scope="module", autouse=True)
def _books(module_database: str) -> None:
    open_books()


# 1. A journal balances in every currency, and has two lines or more and those that it declares.


@pytest.mark.parametrize("role", [Role.SETTLEMENT, Role.PAYER, Role.ADMIN])
@pytest.mark.parametrize(
    ("amounts", "declared", "constraint"),
    [
        ((5, -4), None, "journal_balances"),
        ((5, 5), None, "journal_balances"),
        ((), 2, "journal_lines_complete"),
        ((5,), 2, "journal_lines_complete"),
        ((5, -5), 3, "journal_lines_complete"),
        ((5, -5), 1, "journal_two_lines_or_more"),
        ((5,), 1, "journal_two_lines_or_more"),
        ((5, -5, 1), 2, "posting_line_in_journal"),
        ((5, 0, -5), None, "posting_amount_not_zero"),
        ((-(2**63), 2**63 - 1, 1), None, "posting_amount_reversible"),
    ],
)
def test_only_whole_balanced_journals_commit(
    role: Role, amounts: tuple[int, ...], declared: int | None, constraint: str
) -> None:
    before = count("ledger.journal")
    with refused(constraint), connected(role) as connection:
        journal(connection, "bad", *amounts, declared=declared)
    assert count("ledger.journal") == before


def test_currencies_balance_each() -> None:
    with refused("journal_balances"), connected() as connection:
        row = connection.execute(HEADER, ("two", 2)).fetchone()
        assert row
        connection.execute(LINE, (row[0], 1, 2, 5, "bank:EUR"))
        connection.execute(LINE, (row[0], 2, 2, -5, "till:USD"))


def test_a_sum_beyond_a_bigint_is_added_up() -> None:
    most = 2**63 - 1
    with connected() as connection:
        journal(connection, "large", most, -most, most, -most)
    with refused("journal_balances"), connected() as connection:
        journal(connection, "wraps", *([most] * 4))


def test_a_lines_currency_is_its_accounts() -> None:
    with refused("posting_account_id_currency_fkey"), connected() as connection:
        row = connection.execute(HEADER, ("two", 2)).fetchone()
        assert row
        connection.execute(LINE.replace(", currency FROM", ", 'USD' FROM"),
                           (row[0], 1, 2, 5, "bank:EUR"))  # fmt: skip


def test_a_lines_booking_date_is_its_journals() -> None:
    with refused("posting_journal_id_lines_booked_at_fkey"), connected() as connection:
        row = connection.execute(HEADER, ("two", 2)).fetchone()
        assert row
        connection.execute(LINE.replace("10-05 12:00", "11-05 12:00"), (row[0], 1, 2, 5, "bank:EUR"))


@pytest.mark.parametrize("value", ["'NaN'::numeric", "'Infinity'::numeric", "9223372036854775808"])
def test_amounts_are_whole_numbers_in_range(value: str) -> None:
    with pytest.raises((errors.DataError, errors.FeatureNotSupported)), connected() as connection:
        connection.execute(LINE.replace("id, %s,", f"id, {value},"), (1, 1, 2, "bank:EUR"))


@pytest.mark.parametrize("when", ["infinity", "-infinity", "1969-12-31 23:59+00", "10000-01-01 00:00+00"])
def test_journals_are_booked_in_years_that_programs_can_read(when: str) -> None:
    with refused("journal_dates_in_range"), connected() as connection:
        connection.execute(HEADER.replace("2026-10-05 12:00+00", when), ("odd", 2))


@pytest.mark.parametrize("key", ["a\tb", "a\nb", "\x7f", ""])
def test_keys_cannot_bend_the_canonical_text(key: str) -> None:
    with pytest.raises(errors.CheckViolation), connected() as connection:
        connection.execute(HEADER, (key, 2))


# 2. Nothing joins a journal whose check has run.


LATER = [(1, 3, 2), (1, 3, 3), (1, 2, 2), (1, 0, 2), (1, -1, 2)]


@pytest.mark.parametrize("role", [Role.SETTLEMENT, Role.ADMIN])
@pytest.mark.parametrize(("journal_id", "line", "lines"), LATER)
def test_no_line_joins_a_committed_journal(role: Role, journal_id: int, line: int, lines: int) -> None:
    before = count()
    with pytest.raises(errors.IntegrityError), connected(role) as connection:
        connection.execute(LINE, (journal_id, line, lines, 7, "bank:EUR"))
    assert count() == before


@pytest.mark.parametrize("constraints", ["ALL", "guard.journal_balances"])
def test_no_line_joins_after_the_check_was_spent(constraints: str) -> None:
    """SET CONSTRAINTS .. IMMEDIATE runs the deferred check early: afterwards no line number is free."""
    before = count("ledger.journal")
    for line, lines in ((3, 2), (3, 3), (2, 2)):
        with pytest.raises(errors.IntegrityError), connected() as connection:
            id = journal(connection, "spent", 5, -5)
            connection.execute(f"SET CONSTRAINTS {constraints} IMMEDIATE")
            connection.execute("SET CONSTRAINTS ALL DEFERRED")
            connection.execute(LINE, (id, line, lines, 7, "bank:EUR"))
    with refused("journal_lines_complete"), connected() as connection:
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        connection.execute(HEADER, ("header first", 2))
    with connected() as connection:  # a rolled back savepoint leaves the check to run
        journal(connection, f"saved {constraints}", 5, -5)
        connection.execute("SAVEPOINT here")
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        connection.execute("ROLLBACK TO here")
    assert count("ledger.journal") == before + 1


def test_lines_may_come_in_parts_before_the_check() -> None:
    with connected() as connection:
        row = connection.execute(HEADER, ("parts", 2)).fetchone()
        assert row
        connection.execute(LINE, (row[0], 1, 2, 5, "bank:EUR"))
        connection.execute("SAVEPOINT here")
        connection.execute(LINE, (row[0], 2, 2, -5, "till:EUR"))


@pytest.mark.parametrize("order", [(1, 2, 3, 4), (4, 3, 2, 1), (2, 4, 1, 3)])
@pytest.mark.parametrize("last", [-5, -6])
def test_lines_may_come_in_any_order(order: tuple[int, ...], last: int) -> None:
    """Whatever line comes last, the journal balances with it or is refused."""
    lines = {1: (5, "bank:EUR"), 2: (7, "bank:USD"), 3: (-7, "till:USD"), 4: (last, "till:EUR")}
    before = count()
    with connected() as connection:
        row = connection.execute(HEADER, (f"order {order} {last}", 4)).fetchone()
        assert row
        for line in order[:-1]:
            connection.execute(LINE, (row[0], line, 4, *lines[line]))
        with refused("journal_lines_complete"), connection.transaction():
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        if last == -6:
            with refused("journal_balances"):
                connection.execute(LINE, (row[0], order[-1], 4, *lines[order[-1]]))
            connection.rollback()
        else:
            connection.execute(LINE, (row[0], order[-1], 4, *lines[order[-1]]))
    assert count() == before + (4 if last == -5 else 0)


def test_a_check_that_was_rolled_back_is_to_be_made() -> None:
    """All lines in one statement need no check at commit; taken back, they do."""
    lines = (
        "INSERT INTO ledger.posting (journal_id, line, lines, booked_at, account_id, amount, currency)"
        " SELECT j.id, l.line, 2, j.booked_at, a.id, l.amount, 'EUR' FROM ledger.journal AS j,"
        " (VALUES (1, 5), (2, -5)) AS l (line, amount), ledger.account AS a WHERE j.key = %s AND a.code = 'bank:EUR'"
    )
    with refused("journal_lines_complete"), connected() as connection:
        connection.execute(HEADER, ("taken back", 2))
        connection.execute("SAVEPOINT here")
        connection.execute(lines, ("taken back",))
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        connection.execute("ROLLBACK TO here")
    with connected() as connection:
        connection.execute(HEADER, ("kept", 2))
        connection.execute(lines, ("kept",))
    for role in Role:
        if role is not Role.ADMIN:
            with (
                pytest.raises((errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)),
                connected(role) as own,
            ):
                own.execute("DELETE FROM guard.unchecked")
    assert count("guard.unchecked") == 0


def test_ids_and_authorship_are_the_databases() -> None:

    def forged(column: str, value: str) -> str:
        statement = HEADER.replace("actor)", f"actor, {column})").replace(
            "'mallory')", f"'mallory', {value})"
        )
        return statement.replace("VALUES", "OVERRIDING SYSTEM VALUE VALUES")

    for column, value in (("created_by", "'ann'"), ("recorded_at", "now()")):
        with pytest.raises(errors.InsufficientPrivilege), connected() as connection:
            connection.execute(forged(column, value), ("forged", 2))
    for role in (Role.SETTLEMENT, Role.ADMIN):
        for value in (
            "0",
            "-1",
            "9223372036854775807",
            "1 + pg_sequence_last_value('ledger.journal_id_seq')",
        ):
            with refused("journal_id_given"), connected(role) as connection:
                connection.execute(forged("id", value), ("forged", 2))
    with pytest.raises(errors.InsufficientPrivilege), connected() as connection:
        connection.execute("SELECT setval('ledger.journal_id_seq', 99)")
    with connected(Role.PAYER) as connection:
        journal(connection, "second", 1, -1)
    with connected(Role.ADMIN) as connection:
        rows = connection.execute(
            "SELECT key, created_by FROM ledger.journal WHERE key IN ('first', 'second') ORDER BY key"
        ).fetchall()
    assert rows == [("first", "settlement"), ("second", "payer")]


# 3. Nothing that is written changes.


CHANGES = [
    "UPDATE ledger.posting SET amount = amount + 1",
    "UPDATE ledger.posting SET amount = amount WHERE false",
    "DELETE FROM ledger.posting",
    "TRUNCATE ledger.posting",
    "TRUNCATE ledger.journal CASCADE",
    "UPDATE ledger.journal SET booked_at = booked_at - interval '1 year'",
    "DELETE FROM ledger.journal",
    "UPDATE ledger.account SET code = 'till2:EUR' WHERE code = 'till:EUR'",
    "DELETE FROM ledger.account WHERE code = 'bank:USD'",
    "UPDATE ledger.seal SET sealed_before = '2020-01-01'",
    "DELETE FROM ledger.seal",
    "INSERT INTO ledger.account (code, class, currency) VALUES ('bank:EUR', 'asset', 'EUR')"
    " ON CONFLICT (code) DO UPDATE SET class = 'income'",
    "MERGE INTO ledger.posting AS p USING ledger.journal AS j ON j.id = p.journal_id WHEN MATCHED THEN DELETE",
]


@pytest.mark.parametrize("change", CHANGES)
def test_nobody_changes_what_is_written(change: str) -> None:
    before = _rows()
    for role in Role:
        expected = errors.RestrictViolation if role is Role.ADMIN else errors.InsufficientPrivilege
        with pytest.raises((expected, errors.ReadOnlySqlTransaction)), connected(role) as connection:
            connection.execute(change)
    for settings in ("SET ROLE royalty_owner", "SET session_replication_role = replica"):
        with pytest.raises(errors.RestrictViolation), connected(Role.ADMIN) as connection:
            connection.execute(settings)
            connection.execute(change)
    assert _rows() == before


def _rows() -> list[object]:
    with connected(Role.ADMIN) as connection:
        return [
            connection.execute(f"SELECT * FROM ledger.{table} ORDER BY 1, 2").fetchall()
            for table in ("account", "journal", "posting", "seal")
        ]


@pytest.mark.parametrize(
    "role", [role for role in Role if role not in (Role.ADMIN, Role.SETTLEMENT, Role.PAYER)]
)
def test_others_cannot_write_or_read(role: Role) -> None:
    for statement in (
        "INSERT INTO ledger.account (code, class, currency) VALUES ('x:EUR', 'asset', 'EUR')",
        "SELECT * FROM ledger.posting",
        "SELECT * FROM ledger.journal",
    ):
        with (
            pytest.raises((errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)),
            connected(role) as own,
        ):
            own.execute(statement)


@pytest.mark.parametrize("role", list(Role))
def test_nobody_but_settlement_seals(role: Role) -> None:
    if role in (Role.SETTLEMENT, Role.ADMIN):
        return
    with (
        pytest.raises((errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)),
        connected(role) as connection,
    ):
        connection.execute("INSERT INTO ledger.seal (name, sealed_before, actor) VALUES ('x', now(), 'x')")


def test_login_roles_own_nothing_and_join_no_role() -> None:
    """Said once for all statements above: no login can become the owner or the guard."""
    with connected(Role.ADMIN) as connection:
        members = connection.execute(
            "SELECT m.rolname, r.rolname FROM pg_auth_members AS a JOIN pg_roles AS m ON m.oid = a.member"
            " JOIN pg_roles AS r ON r.oid = a.roleid"
            " WHERE r.rolname IN ('royalty_owner', 'royalty_guard', 'audit_owner')"
        ).fetchall()
        owned = connection.execute(
            "SELECT c.relname, pg_get_userbyid(c.relowner) FROM pg_class AS c"
            " JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " WHERE n.nspname = 'ledger' AND pg_get_userbyid(c.relowner) <> 'royalty_owner'"
        ).fetchall()
        guards = connection.execute(
            "SELECT p.proname FROM pg_proc AS p JOIN pg_trigger AS t ON t.tgfoid = p.oid"
            " JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " WHERE n.nspname = 'ledger' AND NOT t.tgisinternal AND (pg_get_userbyid(p.proowner) <> 'royalty_guard'"
            " OR t.tgenabled <> 'A' OR NOT 'search_path=pg_catalog, pg_temp' = ANY(p.proconfig))"
        ).fetchall()
    assert (members, owned, guards) == ([], [], [])


# Names that shadow the ledger's.


@pytest.mark.parametrize("role", [Role.SETTLEMENT, Role.ADMIN])
def test_temporary_tables_of_the_same_names_fool_nobody(role: Role) -> None:
    with refused("journal_balances"), connected(role) as connection:
        connection.execute(
            "CREATE TEMP TABLE posting (journal_id bigint, line integer, lines integer, amount bigint, currency text);"
            "CREATE TEMP TABLE added (key text, booked_at timestamptz);"
            "INSERT INTO pg_temp.posting SELECT g, l, 2, 0, 'EUR'"
            " FROM generate_series(1, 99) AS g, generate_series(1, 2) AS l;"
            "SET search_path = pg_temp, ledger, public"
        )
        journal(connection, "shadow", 5, -4)


def test_functions_and_operators_of_the_same_names_fool_nobody() -> None:
    with refused("journal_balances"), connected(Role.ADMIN) as connection:
        connection.execute(
            "SET event_triggers = off;"
            "CREATE SCHEMA evil;"
            "CREATE FUNCTION evil.zero(numeric, bigint) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT 0::numeric';"
            "CREATE AGGREGATE evil.sum(bigint) (SFUNC = evil.zero, STYPE = numeric, INITCOND = '0');"
            "CREATE FUNCTION evil.same(numeric, integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';"
            "CREATE OPERATOR evil.<> (LEFTARG = numeric, RIGHTARG = integer, FUNCTION = evil.same);"
            "SET search_path = evil, pg_catalog"
        )
        journal(connection, "shadow", 5, -4)


def test_a_child_table_does_not_count() -> None:
    """Lines in a table that inherits from postings are not the journal's."""
    with refused("journal_lines_complete"), connected(Role.ADMIN) as connection:
        connection.execute("SET event_triggers = off")
        connection.execute("CREATE TABLE public.more () INHERITS (ledger.posting)")
        row = connection.execute(HEADER, ("child", 2)).fetchone()
        assert row
        connection.execute(LINE.replace("ledger.posting", "public.more"), (row[0], 1, 2, 5, "bank:EUR"))
        connection.execute(LINE.replace("ledger.posting", "public.more"), (row[0], 2, 2, -5, "till:EUR"))


def test_replica_mode_skips_no_check() -> None:
    with refused("journal_balances"), connected(Role.ADMIN) as connection:
        connection.execute("SET session_replication_role = replica")
        journal(connection, "replica", 5, -4)
    with pytest.raises(errors.InsufficientPrivilege), connected() as connection:
        connection.execute("SET session_replication_role = replica")


# 4. One journal for one key.


def test_the_same_key_twice_at_once() -> None:
    """The second waits for the first and is refused, or written if the first is rolled back."""
    for commit in (True, False):
        with connected() as one, connected() as two:
            journal(one, f"same {commit}", 5, -5)
            outcome: list[str] = []

            def second(two: Connection = two, commit: bool = commit, outcome: list[str] = outcome) -> None:
                try:
                    journal(two, f"same {commit}", 6, -6)
                    two.commit()
                    outcome.append("written")
                except errors.UniqueViolation:
                    two.rollback()
                    outcome.append("refused")

            waiting = threading.Thread(target=second)
            waiting.start()
            waiting.join(0.3)
            assert waiting.is_alive()
            if commit:
                one.commit()
            else:
                one.rollback()
            waiting.join(30)
            assert outcome == ["refused" if commit else "written"]


def test_a_journal_is_reversed_once() -> None:
    statement = HEADER.replace("actor)", "actor, reverses)").replace("'mallory')", "'mallory', 1)")
    with connected() as connection:
        row = connection.execute(statement, ("undo", 2)).fetchone()
        assert row
        connection.execute(LINE, (row[0], 1, 2, -5, "bank:EUR"))
        connection.execute(LINE, (row[0], 2, 2, 5, "till:EUR"))
    with refused("journal_reverses_key"), connected() as connection:
        connection.execute(statement, ("undo again", 2))
