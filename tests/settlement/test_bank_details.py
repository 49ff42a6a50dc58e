"""Bank accounts at rest: encrypted, bound to their row, masked, compared without reading, rotated, moved."""

import base64
import os
import re
from collections.abc import Callable, Iterator

import psycopg
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from database.engine import session
from database.errors import Invalid, Unavailable
from database.migrate import migrate
from database.roles import Role
from database.settings import get_settings
from settlement.bank_details import (
    BankAccountVersion,
    BankDetails,
    Sealed,
    accounts_changed,
    encrypted,
    opened_account,
    rekey,
    sealed_accounts,
    shared_accounts,
)
from settlement.bank_keys import key_ring
from settlement.party import party_digest
from settlement.payees import PayeeRecord, parties_of, party_digests, record_payees
from settlement.payouts.pain001 import BankAccount

IBANS = ("DE02120300000000202051", "FR1420041010050500013M02606")
KEYS = tuple(base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2, 3))
Set = Callable[..., None]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Set]:
    """Sets variables and has the process read them."""

    def put(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()

    yield put
    monkeypatch.undo()
    get_settings.cache_clear()


def record(db: Session, payee: str, iban: str | None, bic: str | None = None, name: str = "Mara") -> int:
    """Record a payee; returns how many versions were written."""
    account = BankDetails(iban, bic) if iban else None
    return record_payees(
        db, [PayeeRecord(payee, "person", "EUR", {"name": name}, account)], actor="ann", reason="test"
    )[1]


def rows(db: Session) -> list[tuple[str, int, str]]:
    versions = select(BankAccountVersion).order_by(
        BankAccountVersion.payee_id, BankAccountVersion.version, BankAccountVersion.recorded_at
    )
    return [(row.payee_id, row.version, row.key_id) for row in db.scalars(versions)]


def test_at_rest_nothing_of_it_is_readable(db: Session) -> None:
    record(db, "pay-1", IBANS[0], "BYLADEM1001")
    assert opened_account(db, "pay-1", 1) == BankDetails(IBANS[0], "BYLADEM1001")
    row = db.scalars(select(BankAccountVersion)).one()
    stored = repr([getattr(row, column.key) for column in BankAccountVersion.__table__.columns])
    assert row.masked == "DE** **** 2051" and IBANS[0][4:] not in stored and "BYLADEM" not in stored
    assert parties_of(db, ["pay-1"]) == {"pay-1": (1, {"name": "Mara"})}
    again = encrypted("pay-1", 1, BankDetails(IBANS[0], "BYLADEM1001"), "ann", "test")
    assert again.ciphertext != row.ciphertext and again.fingerprint == row.fingerprint


def test_a_row_that_was_moved_or_changed_is_not_read() -> None:
    row = encrypted("pay-1", 1, BankDetails(IBANS[0]), "ann", "test")

    def sealed(payee: str, version: int, ciphertext: bytes) -> Sealed:
        return Sealed(payee, version, row.key_id, row.masked, row.fingerprint, ciphertext)

    ring = key_ring()
    assert sealed("pay-1", 1, row.ciphertext).open(ring) == BankDetails(IBANS[0])
    flipped = row.ciphertext[:-1] + bytes([row.ciphertext[-1] ^ 1])
    for moved in (
        sealed("pay-2", 1, row.ciphertext),
        sealed("pay-1", 2, row.ciphertext),
        sealed("pay-1", 1, flipped),
        sealed("pay-1", 1, b""),
    ):
        with pytest.raises(Invalid, match="not as they were written") as error:
            moved.open(ring)
        assert IBANS[0] not in str(error.value)


def test_nothing_shows_an_account() -> None:
    account = BankDetails(IBANS[0], "BYLADEM1001")
    shown = repr(
        [
            account,
            PayeeRecord("pay-1", "person", "EUR", {}, account),
            BankAccount.of({"name": "Mara"}, account),
            encrypted("pay-1", 1, account, "ann", "test"),
            key_ring(),
        ]
    )
    assert IBANS[0][4:-4] not in shown and "2051" in shown


def test_a_version_for_every_change_and_no_other(db: Session) -> None:
    assert record(db, "pay-1", IBANS[0]) == 1
    assert record(db, "pay-1", IBANS[0]) == 0
    assert record(db, "pay-1", IBANS[0], "BYLADEM1001") == 1
    assert record(db, "pay-1", IBANS[0], "BYLADEM1001", name="Mara Vell") == 1
    assert record(db, "pay-1", None, name="Mara Vell") == 1
    assert record(db, "pay-1", None, name="Mara Vell") == 0
    assert [version for _, version, _ in rows(db)] == [1, 2, 3]


def test_what_counts_as_a_change_of_account(db: Session) -> None:
    record(db, "pay-1", IBANS[0])
    record(db, "pay-1", IBANS[0], "BYLADEM1001", name="Mara Vell")
    record(db, "pay-2", IBANS[0])
    record(db, "pay-3", None)
    record(db, "pay-3", IBANS[1])
    assert accounts_changed(db, 7) == {}, "a first account, another name or BIC is no change"
    record(db, "pay-1", IBANS[1])
    (since,) = db.scalars(select(BankAccountVersion.recorded_at).where(BankAccountVersion.version == 3))
    record(db, "pay-1", IBANS[1], name="M. Vell")
    assert accounts_changed(db, 7) == {"pay-1": since}, "the same account again does not begin anew"
    assert accounts_changed(db, 0) == {}
    record(db, "pay-1", IBANS[0])
    assert accounts_changed(db, 7)["pay-1"] > since, "the way back is a change too"


def test_a_change_is_over_after_so_many_days(db: Session) -> None:
    record(db, "pay-1", IBANS[0])
    record(db, "pay-1", None)
    row = encrypted("pay-1", 2, BankDetails(IBANS[1]), "ann", "test")
    row.recorded_at = db.execute(select(func.now() - text("interval '7 days'"))).scalar_one()
    db.add(row)
    db.flush()
    assert accounts_changed(db, 7) == {} and accounts_changed(db, 8).keys() == {"pay-1"}


def test_accounts_of_several_payees(db: Session) -> None:
    for payee in ("pay-1", "pay-2", "pay-3"):
        record(db, payee, IBANS[0])
    record(db, "pay-3", IBANS[1])
    assert shared_accounts(db) == {"pay-1": ["pay-2"], "pay-2": ["pay-1"]}
    assert db.execute(text("SELECT account, payees FROM audit.shared_bank_accounts")).all() == [
        ("DE** **** 2051", ["pay-1", "pay-2"])
    ]


def test_keys_change_and_nothing_is_lost(db: Session, environment: Set) -> None:
    environment(BANK_DETAILS_KEY=KEYS[0])
    first = key_ring().current.key_id
    for payee in ("pay-1", "pay-2", "pay-3"):
        record(db, payee, IBANS[0])
    environment(BANK_DETAILS_KEY=KEYS[1])
    second = key_ring().current.key_id
    with pytest.raises(Unavailable, match=f"key {first}, which this process does not have"):
        record(db, "pay-1", IBANS[0])
    with pytest.raises(Unavailable, match=first):
        rekey(db, "ann")
    environment(BANK_DETAILS_KEY_PREVIOUS=f"{KEYS[2]}, {KEYS[0]}")
    assert record(db, "pay-1", IBANS[0]) == 0
    assert record(db, "pay-1", IBANS[0], name="Mara Vell") == 1
    assert record(db, "pay-2", IBANS[1]) == 1
    assert rows(db)[:3] == [("pay-1", 1, first), ("pay-1", 1, second), ("pay-1", 2, second)]
    assert accounts_changed(db, 7).keys() == {"pay-2"}, "another key is no other account"
    assert rekey(db, "ann") == 2
    assert rekey(db, "ann") == 0
    assert accounts_changed(db, 7).keys() == {"pay-2"}
    assert shared_accounts(db) == {"pay-1": ["pay-3"], "pay-3": ["pay-1"]}
    environment(BANK_DETAILS_KEY_PREVIOUS="")
    opened = sealed_accounts(db, {"pay-1": 2, "pay-2": 1, "pay-3": 1})
    assert {payee: sealed.open(key_ring()).iban for payee, sealed in opened.items()} == {
        "pay-1": IBANS[0],
        "pay-2": IBANS[0],
        "pay-3": IBANS[0],
    }
    changes = "SELECT payee_id, version, account_changed FROM audit.bank_detail_changes ORDER BY 1, 2"
    assert db.execute(text(changes)).all() == [
        ("pay-1", 1, True),
        ("pay-1", 2, False),
        ("pay-2", 1, True),
        ("pay-2", 2, True),
        ("pay-3", 1, True),
    ]


def test_a_key_is_the_environment_s_or_a_file_of_this_user(environment: Set) -> None:
    path = get_settings().royalty_home / "keys" / "bank-details.key"
    made = key_ring().current
    assert path.stat().st_mode & 0o777 == 0o600 and key_ring().current == made
    assert path.read_text().strip() not in repr(key_ring())
    environment(BANK_DETAILS_KEY=KEYS[0])
    assert key_ring().current != made and KEYS[0] not in repr(get_settings())
    for wrong in ("short", base64.b64encode(b"x" * 31).decode(), "ü" * 44):
        environment(BANK_DETAILS_KEY=wrong)
        with pytest.raises(Invalid, match="BANK_DETAILS_KEY is not 32 bytes in base64") as error:
            key_ring()
        assert wrong not in str(error.value)


def test_on_a_server_there_is_no_key_of_one_machine(environment: Set) -> None:
    environment(DATABASE_URL="postgresql://db.example.org/royalty")
    with pytest.raises(Unavailable, match="set BANK_DETAILS_KEY"):
        key_ring()


@pytest.mark.parametrize("column", ["ciphertext", "fingerprint", "content"])
def test_only_who_pays_reads_accounts(database: str, column: str) -> None:
    with session(Role.SETTLEMENT) as opened:
        record(opened, "pay-1", IBANS[0])
    readers = set()
    for role in set(Role) - {Role.ADMIN}:
        with psycopg.connect(re.sub(r"user=\w+", f"user={role.value}", database)) as connection:
            try:
                connection.execute(f"SELECT {column} FROM party.bank_account_version".encode())
                readers.add(role)
            except psycopg.errors.InsufficientPrivilege:
                pass
    assert readers == {Role.PAYER} | ({Role.SETTLEMENT} if column == "content" else set())


def test_no_account_among_the_other_data(database: str) -> None:
    with session(Role.SETTLEMENT) as opened:
        record(opened, "pay-1", IBANS[0])
    with (
        psycopg.connect(database) as connection,
        pytest.raises(psycopg.errors.CheckViolation, match="account_apart"),
    ):
        connection.execute('UPDATE party.party_version SET details = details || \'{"iban": "DE02"}\'')


def test_erased_with_the_other_data(database: str) -> None:
    with session(Role.SETTLEMENT) as opened:
        record(opened, "pay-1", IBANS[0])
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM party.party_version")
        assert connection.execute("SELECT count(*) FROM party.bank_account_version").fetchone() == (0,)


def test_migration_moves_what_there_is_and_back(database: str) -> None:
    """The digests that issued statements name stay, and cover what they covered."""
    migrate("0013")
    details = {"name": "Mara", "iban": IBANS[0], "bic": "BYLADEM1001", "email": "mara@example.com"}
    digest = party_digest(b"salt", details)
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO settlement.payee (payee_id, kind, currency, actor) VALUES ('pay-1', 'person', 'EUR', 'ann')"
        )
        connection.execute(
            "INSERT INTO party.party_version (payee_id, version, salt, details, digest, actor, reason)"
            " VALUES ('pay-1', 1, 'salt', %s, decode(%s, 'hex'), 'ann', 'start')",
            (psycopg.types.json.Jsonb(details), digest),
        )
        connection.execute(
            "INSERT INTO settlement.bank_message (sha256, kind, version, message_id, name, actor)"
            " VALUES (sha256(''), 'camt.053', '08', 'M', 'x.xml', 'ann')"
        )
        connection.execute(
            "INSERT INTO settlement.bank_statement (bank_message_id, number, statement_id, account)"
            " SELECT id, 1, 'S', %s FROM settlement.bank_message",
            (IBANS[1],),
        )
    migrate()
    with session(Role.PAYER) as opened:
        version, kept = parties_of(opened, ["pay-1"])["pay-1"]
        account = opened_account(opened, "pay-1", version)
        assert account is not None and kept == {"name": "Mara", "email": "mara@example.com"}
        assert party_digest(b"salt", kept | {"iban": account.iban, "bic": account.bic}) == digest
        accounts = opened.scalars(text("SELECT account FROM settlement.bank_statement")).all()
        assert accounts == ["FR** **** 2606"]
    with session(Role.ADMIN) as opened:
        now = opened.execute(select(func.clock_timestamp())).scalar_one()
        assert party_digests(opened, now) == {"pay-1": digest}
        (recorded,) = opened.execute(
            text("SELECT v.recorded_at = b.recorded_at FROM party.party_version AS v"
                 " JOIN party.bank_account_version AS b USING (payee_id, version)")
        ).scalars()  # fmt: skip
        assert recorded
    same = PayeeRecord("pay-1", "person", "EUR", kept, BankDetails(IBANS[0], "BYLADEM1001"))
    with session(Role.SETTLEMENT) as opened:
        assert record_payees(opened, [same], actor="ann", reason="again") == (0, 0)
    migrate("0013")
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT details FROM party.party_version").fetchone() == (details,)
    migrate()
    assert os.environ["ROYALTY_HOME"] == str(get_settings().royalty_home)
