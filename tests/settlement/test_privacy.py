"""After an erasure no byte of that person is in a dump of the database, and every proof stays valid."""

import base64
import json
import subprocess
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from psycopg.errors import IntegrityError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from attribution.generation import ImageRecord
from attribution.ingest import Status, log_images
from database import identity
from database.engine import embedded_server, session
from database.errors import Conflict, Invalid, NotFound, Refused
from database.roles import Role
from settlement.audit.verify import verify
from settlement.bank_details import BankDetails
from settlement.own_purchases import record_customers
from settlement.payees import PartyVersion, PayeeRecord, record_payees
from settlement.payouts.holds import open_hold
from settlement.personal_data import ERASED, KEPT, WORDS
from settlement.privacy import erase_customer, erase_payee, export_customer, export_payee, is_payee
from settlement.sales import SaleRecord, customer_sha256, record_sales
from settlement.statements.files import statement_files
from tests.settlement.books import write_books

IBAN = "NL91ABNA0417164300"
DETAILS: dict[str, Any] = {
    "name": 'Žofia "Zo" Wieczorek\\Łuk',
    "address": {
        "street": "Große Mühlengasse",
        "building": "17 b",
        "postcode": "98765",
        "town": "Hügelstadt",
        "country": "DE",
    },
    "email": "zofia.wieczorek@post.example",
    "tax_id": "TIN-55-418-907",
    "language": "de",
}
HERS = [
    DETAILS["name"],
    DETAILS["address"]["street"],
    DETAILS["address"]["town"],
    DETAILS["email"],
    DETAILS["tax_id"],
    IBAN,
    "4300",
    "zofia.portal@post.example",
]
PROMPT = "a lighthouse keeper's birthday, for Aunt Philomena"
NEGATIVE = "no seagulls whatsoever"
BOUGHT = SaleRecord(
    external_id="sale-private",
    image="img-1",
    sold_at=datetime(2026, 12, 1, 12, tzinfo=UTC),
    territory="DE",
    currency="EUR",
    price=1_000_000,
    buyer="buyer-7",
)


def forms(word: str) -> list[str]:
    """How a dump may write it: as it is, in JSON, in hexadecimal, in base64 at each of three places."""
    plain = word.encode()
    written = [word, json.dumps(word)[1:-1], json.dumps(word, ensure_ascii=False)[1:-1]]
    encoded = [base64.b64encode(b" " * shift + plain)[4:-4].decode() for shift in range(3)]
    copied = [form.replace("\\", "\\\\") for form in written]
    return [*written, *copied, plain.hex(), *(form for form in encoded if len(form) > 6)]


def dump(database: str) -> str:
    return subprocess.run(
        [str(embedded_server().program("pg_dump")), database], capture_output=True, text=True, check=True
    ).stdout  # fmt: skip


def found(content: str, words: list[str]) -> set[str]:
    lower = content.casefold()
    return {word for word in words if any(form.casefold() in lower for form in forms(word))}


@pytest.fixture(scope="module")
def books(module_database: str) -> str:
    with session(Role.ADMIN) as own:
        write_books(own)
        record_payees(
            own,
            [PayeeRecord("pay-1", "person", "EUR", DETAILS, BankDetails(IBAN, "ABNANL2A"))],
            actor="ann",
            reason="moved",
        )
    with session(Role.IDENTITY) as own:
        scopes = ["statements:read"]
        identity.add_user(own, "zofia.portal@post.example", "a long password", scopes, ["pay-1"])
        identity.add_user(own, "society", "a long password", scopes, ["pay-1", "pay-2"])
    image = ImageRecord(
        external_id="img-private",
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        seed=1,
        steps=2,
        guidance=Decimal(7),
        width=64,
        height=64,
        scheduler="DDIMScheduler",
        scheduler_config={},
        model="sd-v1-5",
        weights_sha256=b"1" * 32,
        customer="customer-7",
        file="2026/img-private.png",
        generated_at=datetime(2026, 10, 1, tzinfo=UTC),
    )
    with session(Role.ATTRIBUTION) as own:
        log_images(own, [image])
    with session(Role.SETTLEMENT) as own:
        assert [outcome.status for outcome in record_sales(own, [BOUGHT], actor="shop")] == [Status.RECORDED]
        record_customers(own, {"pay-1": "her-customer", "pay-2": "buyer-7"}, actor="ann", reason="asked")
    return module_database


def _verified() -> list[tuple[str, tuple[str, ...]]]:
    with session(Role.AUDITOR) as own:
        return [(result.name, result.faults) for result in verify(own).results if not result.ok]


def test_every_column_is_classified(db: Session) -> None:
    """A new column that can hold text or bytes is a person's, an operator's words, or neither: somebody says which."""
    there = {
        tuple(row)
        for row in db.execute(
            text(
                """
                SELECT n.nspname || '.' || c.relname, a.attname::text FROM pg_attribute AS a
                JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
                JOIN pg_type AS t ON t.oid = a.atttypid
                LEFT JOIN pg_type AS e ON e.oid = t.typelem AND t.typcategory = 'A'
                WHERE c.relkind IN ('r', 'p', 'm') AND a.attnum > 0 AND NOT a.attisdropped
                  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
                  AND coalesce(e.typname, t.typname) NOT IN
                      ('bool', 'int2', 'int4', 'int8', 'numeric', 'date', 'timestamp', 'timestamptz', 'interval',
                       'xid8', 'float8', 'int8multirange')
                """
            )
        )
    }
    said = [
        (table, column)
        for part in (ERASED, KEPT)
        for table, columns in part.items()
        for column in columns.split()
    ]
    said += WORDS
    assert len(said) == len(set(said))
    assert sorted(set(said) ^ there) == []


def test_a_payee_is_erased_to_the_last_byte(books: str) -> None:
    before = dump(books)
    # The account is encrypted, so that only its mask can be found.
    assert found(before, HERS) == set(HERS) - {IBAN}
    faults = _verified()
    with session(Role.SETTLEMENT) as own, pytest.raises(Refused, match="pay-1 is owed 28565 micros of EUR"):
        erase_payee(own, "pay-1", actor="dora", reason="she asked")
    with session(Role.SETTLEMENT) as own, pytest.raises(Invalid, match="names pay-1"):
        erase_payee(own, "pay-1", actor="dora", reason=f"{DETAILS['email']} asked", unpaid=True)
    with session(Role.SETTLEMENT) as own:
        done = erase_payee(own, "pay-1", actor="dora", reason="she asked", unpaid=True)
    # Two versions with an account each, which customer she is, and the user who was there for her alone.
    assert (done.erased, done.named, done.artists) == (6, (), ("art-1",))
    assert "2026-11_pay-1_EUR.pdf wherever it was exported or sent" in done.files
    after = dump(books)
    assert found(after, HERS) == set()
    assert "pay-1" in after and _verified() == faults

    with session(Role.SETTLEMENT) as own:
        assert b"(erased)" not in statement_files(own, "2026-11/pay-1/EUR", ["json"])["json"]
        statement_files(own, "2026-11/pay-1/EUR", ["pdf"])
        assert not own.scalar(text("SELECT count(*) FROM settlement.payee_customer WHERE payee_id = 'pay-1'"))
        assert [v.details for v in own.query(PartyVersion).filter_by(payee_id="pay-1")] == [
            {"name": "(erased)"}
        ]
        with pytest.raises(Conflict, match="erased already"):
            erase_payee(own, "pay-1", actor="dora", reason="again")
    with session(Role.SETTLEMENT) as own, pytest.raises(Conflict, match="take the payee out of the file"):
        record_payees(own, [PayeeRecord("pay-1", "person", "EUR", DETAILS)], actor="ann", reason="old file")
    with session(Role.SETTLEMENT) as own, pytest.raises(DBAPIError) as refused:
        own.add(
            PartyVersion(
                payee_id="pay-1", version=9, salt=b"x", details=DETAILS, actor="ann", reason="by hand"
            )
        )
        own.flush()
    assert isinstance(refused.value.orig, IntegrityError) and "takes no personal data" in str(
        refused.value.orig
    )
    with session(Role.SETTLEMENT) as own, pytest.raises(DBAPIError, match="takes no personal data"):
        record_customers(own, {"pay-1": "her-customer"}, actor="ann", reason="old file")
    with session(Role.IDENTITY) as own:
        assert own.scalars(text('SELECT username FROM access."user"')).all() == ["society"]
    with session(Role.AUDITOR) as own:
        requests = own.execute(
            text("SELECT request, kind, subject, erased, actor, reason FROM audit.privacy_requests")
        )
        assert requests.all() == [("erase", "payee", "pay-1", 6, "dora", "she asked")]


def test_a_customers_words_are_erased(books: str) -> None:
    words = [PROMPT, NEGATIVE, "Philomena"]
    assert found(dump(books), words) == set(words)
    faults = _verified()
    with session(Role.SETTLEMENT) as own:
        held = export_customer(own, "customer-7", actor="dora", reason="asked for a copy")
        assert held["tables"]["attribution.prompt_text"][0]["prompt"] == PROMPT
        assert held["files"] == ["images/2026/img-private.png"]
        waiting = own.scalar(text("SELECT count(*) FROM attribution.attribution_job WHERE state = 'pending'"))
        if waiting:
            with pytest.raises(Refused, match="still to be attributed"):
                erase_customer(own, "customer-7", actor="dora", reason="asked")
        done = erase_customer(own, "customer-7", actor="dora", reason="asked", unattributed=True)
    assert (done.erased, done.files) == (1, ("images/2026/img-private.png",))
    content = dump(books)
    assert found(content, words) == set() and "customer-7" in content
    assert _verified() == faults
    with session(Role.SETTLEMENT) as own, pytest.raises(NotFound, match="no image was logged"):
        erase_customer(own, "customer-8", actor="dora", reason="asked")


def test_what_a_customer_bought_is_erased(books: str) -> None:
    """By trying references nobody finds her any more: neither by a hash of hers, nor by a sale's content."""
    tries = [customer_sha256("buyer-7").hex(), "buyer-7"]
    assert found(dump(books), tries) == {tries[0]}
    faults = _verified()
    with session(Role.SETTLEMENT) as own:
        held = export_customer(own, "buyer-7", actor="dora", reason="asked for a copy")["tables"]
        assert [row["sale"] for row in held["settlement.sale_buyer"]] == ["sale-private"]
        assert [row["payee_id"] for row in held["settlement.payee_customer"]] == ["pay-2"]
        assert erase_customer(own, "buyer-7", actor="dora", reason="asked").erased == 2
    assert found(dump(books), tries) == {"buyer-7"}  # the request itself, by opaque id
    assert _verified() == faults
    with session(Role.SETTLEMENT) as own, pytest.raises(NotFound, match="no sale names her"):
        erase_customer(own, "buyer-7", actor="dora", reason="again")
    with session(Role.SETTLEMENT) as own:
        assert [o.status for o in record_sales(own, [BOUGHT], actor="shop")] == [Status.KNOWN]
        assert not own.scalar(text("SELECT count(*) FROM settlement.sale_buyer"))


def test_everything_held_of_a_payee_is_handed_out(books: str) -> None:
    details = DETAILS | {"name": "Second Person"}
    with session(Role.SETTLEMENT) as own:
        record_payees(
            own,
            [PayeeRecord("pay-2", "person", "EUR", details, BankDetails(IBAN))],
            actor="ann",
            reason="moved",
        )
        open_hold(own, "pay-2", "Second Person moved away", "ann")
    with session(Role.SETTLEMENT) as own, session(Role.PAYER) as payer, session(Role.IDENTITY) as users:
        assert is_payee(own, "pay-2") and not is_payee(own, "customer-7")
        held = export_payee(own, payer, users, "pay-2", actor="dora", reason="asked for a copy")
    assert json.loads(json.dumps(held)) == held
    tables = held["tables"]
    newest = tables["party.party_version"][-1]
    assert (newest["details"], newest["account"]) == (details, {"iban": IBAN, "bic": None})
    assert [row["username"] for row in tables["access.user"]] == ["society"]
    assert sum(row["amount"] for row in tables["ledger.posting"]) == -168_324
    assert {row["statement_id"] for row in tables["settlement.statement"]} == {
        "2026-10/pay-2/EUR",
        "2026-11/pay-2/EUR",
    }
    assert tables["settlement.royalty_line"] and tables["settlement.hold"]
    assert "pay-1" not in json.dumps(
        [row for name, rows in tables.items() if name != "settlement.statement" for row in rows]
    )

    with session(Role.SETTLEMENT) as own:
        done = erase_payee(own, "pay-2", actor="dora", reason="asked", unpaid=True)
    # Words that stay are named, so that an operator knows what a reason should not have said.
    assert done.named == ("settlement.hold.reason: 1",)


def test_the_platform_is_nobody_to_erase(books: str) -> None:
    with session(Role.SETTLEMENT) as own:
        for payee in ("platform", "pay-dev"):
            with pytest.raises(Refused, match="statements must go on naming it"):
                erase_payee(own, payee, actor="dora", reason="asked")
        with pytest.raises(NotFound, match="there is no payee nobody"):
            erase_payee(own, "nobody", actor="dora", reason="asked")
