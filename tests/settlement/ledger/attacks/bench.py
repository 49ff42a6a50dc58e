"""Where attacks are tried: a connection as somebody, in a transaction that is always rolled back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import psycopg
from psycopg import IsolationLevel, sql

from database.engine import conninfo
from database.roles import Role
from tests.settlement.ledger.attacks.matrix import APPEND_ONLY, Attack

Connection = psycopg.Connection[tuple[Any, ...]]

_ROLES = {
    "owner": (Role.ADMIN, "SET ROLE royalty_owner"),
    "superuser": (Role.ADMIN, ""),
    "replica": (Role.ADMIN, "SET session_replication_role = replica"),
    "lying operators": (Role.ADMIN, "SET search_path = evil, pg_catalog"),
}
_LYING = """
CREATE SCHEMA evil;
CREATE FUNCTION evil.differ(bigint, integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
CREATE FUNCTION evil.differ(numeric, integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
CREATE OPERATOR evil.<> (LEFTARG = bigint, RIGHTARG = integer, FUNCTION = evil.differ);
CREATE OPERATOR evil.<> (LEFTARG = numeric, RIGHTARG = integer, FUNCTION = evil.differ);
CREATE FUNCTION evil.differ(bigint, bigint) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
CREATE FUNCTION evil.differ(numeric, bigint) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
CREATE OPERATOR evil.<> (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.differ);
CREATE OPERATOR evil.<> (LEFTARG = numeric, RIGHTARG = bigint, FUNCTION = evil.differ);
GRANT USAGE ON SCHEMA evil TO PUBLIC;
"""


def outcome(attack: Attack, change: str = "", *, plain: bool = False) -> str:
    """What comes of an attack: a constraint's name, an error's class, `nothing`, or `success`.

    Args:
        attack: what is tried, as its role.
        change: SQL that a superuser runs first, in the same transaction and with the fence down.
        plain: try it on tables of the same shape without guards, which belong to everybody.
    """
    login, become = _ROLES.get(attack.role) or (Role(attack.role), "")
    prepared = bool(change) or plain or attack.role == "lying operators"
    somebody = _elsewhere(attack.meanwhile) if attack.meanwhile else nullcontext()
    with somebody, psycopg.connect(conninfo(Role.ADMIN if prepared else login)) as connection:
        connection.isolation_level = IsolationLevel[attack.isolation.replace(" ", "_")]
        try:
            if prepared:
                connection.execute("SET event_triggers = off; SET lock_timeout = '5s'")
                if attack.role == "lying operators":
                    connection.execute(_LYING)
                if plain:
                    _unguarded(connection)
                if change:
                    connection.execute(change.encode())
                if not plain:
                    connection.execute("SET event_triggers = on")
                if login is not Role.ADMIN:
                    connection.execute(
                        sql.SQL("SET SESSION AUTHORIZATION {}").format(sql.Identifier(login.value))
                    )
            if login is Role.AUDITOR:
                connection.execute("SET TRANSACTION READ WRITE")
            if become:
                connection.execute(become.encode())
            return _tried(connection, attack.sql, plain=plain)
        finally:
            connection.rollback()


def _tried(connection: Connection, statements: str, *, plain: bool) -> str:
    if plain:
        for schema in ("ledger", "settlement"):
            statements = statements.replace(f"{schema}.", "plain.").replace(
                f"SCHEMA {schema}", "SCHEMA plain"
            )
    try:
        if "{leaf}" in statements:
            row = connection.execute("SELECT coalesce(max(index), -1) + 1 FROM ledger.log_leaf").fetchone()
            assert row
            statements = statements.replace("{leaf}", str(row[0]))
        cursor = connection.execute(statements.encode())
        while cursor.nextset():
            pass
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except psycopg.Error as error:
        return error.diag.constraint_name or type(error).__name__
    return "nothing" if cursor.rowcount == 0 and not plain else "success"


def _unguarded(connection: Connection) -> None:
    """The ledger's tables without what guards them: their columns, defaults and rows."""
    connection.execute("CREATE SCHEMA plain")
    for table in APPEND_ONLY:
        connection.execute(
            f"CREATE TABLE plain.{table} (LIKE ledger.{table} INCLUDING DEFAULTS INCLUDING IDENTITY);"
            f"INSERT INTO plain.{table} OVERRIDING SYSTEM VALUE SELECT * FROM ledger.{table};"
            f"ALTER TABLE plain.{table} OWNER TO royalty_owner"
        )
    connection.execute(
        "GRANT ALL ON SCHEMA plain TO PUBLIC; GRANT ALL ON ALL TABLES IN SCHEMA plain TO PUBLIC;"
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA plain TO PUBLIC"
    )


@contextmanager
def _elsewhere(statements: str) -> Iterator[None]:
    with psycopg.connect(conninfo(Role.ADMIN)) as other:
        other.execute(statements.encode())
        yield
        other.rollback()


def without(object: str) -> str:
    """SQL that takes one defence away, as the matrix names it."""
    kind, _, rest = object.partition(" ")
    handlers: dict[str, Callable[[str], str]] = {
        "constraint": lambda of: "ALTER TABLE {1} DROP CONSTRAINT {0} CASCADE".format(*of.split(" on ")),
        "trigger": lambda of: "DROP TRIGGER {} ON {}".format(*of.split(" on ")),
        "always": _not_always,
        "event": lambda of: f"DROP EVENT TRIGGER {of.removeprefix('trigger ')}",
        "index": lambda of: f"DROP INDEX {of}",
        "owner": lambda of: f"ALTER FUNCTION {of.removeprefix('of ')} OWNER TO royalty_owner",
        "search_path": lambda of: f"ALTER FUNCTION {of.removeprefix('of ')} RESET search_path",
        "no": lambda of: _granted(of),
        "policy": lambda of: "ALTER POLICY {} ON {} USING (true)".format(*of.split(" on ")),
        "check": lambda of: "ALTER POLICY {} ON {} WITH CHECK (true)".format(
            *of.removeprefix("of policy ").split(" on ")
        ),
        "row-level": lambda of: f"ALTER TABLE {of.removeprefix('security of ')} DISABLE ROW LEVEL SECURITY",
    }
    if kind in handlers:
        return handlers[kind](rest)
    member, _, group = object.partition(" is no member of ")
    return f"GRANT {group} TO {member}"


def _not_always(of: str) -> str:
    name, _, table = of.partition(" on ")
    return f"ALTER TABLE {table} ENABLE TRIGGER {name}" if table else f"ALTER EVENT TRIGGER {name} ENABLE"


def _granted(of: str) -> str:
    what, _, role = of.rpartition(" for ")
    return f"GRANT {what} TO {role}"
