"""What is sealed takes no journal, whoever writes and whenever the transaction began."""

import threading

import psycopg
import pytest

from database.roles import Role
from tests.settlement.ledger.raw import Connection, connected, count, journal, open_books, refused


@pytest.fixture(autouse=True)
def _books(database: str) -> None:
    open_books()


SEAL = "INSERT INTO ledger.seal (name, sealed_before, actor) VALUES (%s, %s, 'ann')"


def test_a_sealed_period_is_closed_to_all() -> None:
    with connected() as connection:
        connection.execute(SEAL, ("2026-10", "2026-11-01 00:00+00"))
    for role in (Role.SETTLEMENT, Role.PAYER, Role.ADMIN):
        with refused("journal_not_in_sealed_period"), connected(role) as connection:
            journal(connection, "late", 5, -5)
    with refused("journal_not_in_sealed_period"), connected() as connection:
        connection.execute("CREATE TEMP TABLE added (key text, booked_at timestamptz)")
        journal(connection, "late", 5, -5)
    with refused("journal_not_in_sealed_period"), connected(Role.ADMIN) as connection:
        connection.execute("SET session_replication_role = replica")
        journal(connection, "late", 5, -5)


def test_a_seal_waits_for_who_is_posting() -> None:
    """A writer that began before the seal is inside it, and the seal comes after it."""
    with connected() as writer, connected() as sealer:
        journal(writer, "before the seal", 5, -5)

        def seal() -> None:
            sealer.execute(SEAL, ("2026-10", "2026-11-01"))
            sealer.commit()

        sealing = threading.Thread(target=seal)
        sealing.start()
        sealing.join(0.3)
        assert sealing.is_alive()
        writer.commit()
        sealing.join(30)
        assert not sealing.is_alive()
    assert count("ledger.journal") == 2


def test_a_late_committer_is_refused() -> None:
    """A transaction older than the seal that posts after it does not land inside."""
    with connected() as writer, connected() as sealer:
        writer.execute("SELECT count(*) FROM ledger.journal")
        sealer.execute(SEAL, ("2026-10", "2026-11-01"))
        results: list[str | None] = []
        posting = threading.Thread(target=lambda: results.append(_try(writer)))
        posting.start()
        posting.join(0.3)
        assert posting.is_alive()  # it waits for the seal, and sees it
        sealer.commit()
        posting.join(30)
        assert results == ["journal_not_in_sealed_period"]


def _try(connection: Connection) -> str | None:
    try:
        journal(connection, "late", 5, -5)
        connection.commit()
    except psycopg.Error as error:
        connection.rollback()
        return error.diag.constraint_name
    return None


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("role", [Role.SETTLEMENT, Role.ADMIN])
def test_an_old_snapshot_does_not_look_past_a_seal(isolation: str, role: Role) -> None:
    """In these levels a transaction would not see a seal made since it began: it may not post at all."""
    with connected(role) as writer, connected() as sealer:
        writer.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
        writer.execute("SELECT count(*) FROM ledger.journal")
        sealer.execute(SEAL, ("2026-10", "2026-11-01"))
        sealer.commit()
        assert _try(writer) == "journal_sees_every_seal"
    assert count("ledger.journal") == 1
