"""Withheld tax goes to its authority: never more than there is, under one reference once, and everybody can see it."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from database import engine
from database.errors import Conflict, Invalid, Refused
from database.roles import Role
from settlement.ledger import Entry, balance, post
from settlement.posting import PAYABLE, REFUND_ROYALTIES, STATEMENT, TAX_WITHHELD
from settlement.remittances import TaxDue, remit_tax, tax_due

WITHHELD = datetime(2026, 10, 31, 22, tzinfo=UTC)
PAID = datetime(2026, 11, 10, 12, tzinfo=UTC)


def withhold(
    session: Session, amount: int = 100_000_000, territory: str = "US", currency: str = "EUR"
) -> None:
    """A statement that withholds tax; below zero: a refund that gives it back."""
    rule = STATEMENT if amount > 0 else REFUND_ROYALTIES
    sides = [PAYABLE.line(amount, currency, "pay-1"), TAX_WITHHELD.line(-amount, currency, territory)]
    key = f"{rule.kind}:{territory}:{currency}:{amount}"
    post(session, [Entry(rule.kind, key, WITHHELD, WITHHELD.date(), sides, "ann", movable=True)])


def remit(
    session: Session, amount: int = 60_000_000, reference: str = "r-1", paid_at: datetime = PAID, **other: str
) -> bool:
    where = {"territory": "US", "currency": "EUR", "actor": "ann"} | other
    return remit_tax(session, reference, amount_micros=amount, paid_at=paid_at, **where)


def test_a_remittance_is_posted_once_and_shown(db: Session) -> None:
    withhold(db)
    withhold(db, 7_000_000, "DE", "USD")
    assert remit(db)
    assert not remit(db)
    with pytest.raises(Conflict):
        remit(db, 1_000_000)
    assert balance(db, "tax_withheld:US:EUR") == -40_000_000
    assert balance(db, "bank:EUR") == -60_000_000
    assert tax_due(db) == [
        TaxDue("DE", "USD", 7_000_000, 0, 0, 7_000_000),
        TaxDue("US", "EUR", 100_000_000, 0, 60_000_000, 40_000_000),
    ]
    [journal] = db.execute(
        text("SELECT kind, actor, value_date FROM ledger.journal WHERE key = 'remittance:r-1'")
    ).all()
    assert journal == ("tax_remitted", "ann", PAID.date())


def test_never_more_than_is_withheld(db: Session) -> None:
    withhold(db)
    with pytest.raises(Refused, match=r"100\.01 EUR is more than US is due: 100\.00 EUR of tax is withheld"):
        remit(db, 100_010_000)
    with pytest.raises(Refused, match=r"more than US is due: 0\.00 EUR"):
        remit(db, 10_000, paid_at=datetime(2026, 10, 30, tzinfo=UTC))  # before it was withheld
    with pytest.raises(Refused, match="more than DE is due"):
        remit(db, 10_000, territory="DE")
    with pytest.raises(Refused, match="more than US is due"):
        remit(db, 10_000, currency="USD")
    assert remit(db, 100_000_000)
    with pytest.raises(Refused, match=r"more than US is due: 0\.00 EUR"):
        remit(db, 10_000, "r-2")


def test_what_is_given_back_later_is_the_authoritys_debt(db: Session) -> None:
    withhold(db)
    assert remit(db, 100_000_000)
    withhold(db, -30_000_000)
    assert tax_due(db) == [TaxDue("US", "EUR", 100_000_000, 30_000_000, 100_000_000, -30_000_000)]
    with pytest.raises(Refused, match=r"more than US is due: 0\.00 EUR"):
        remit(db, 10_000, "r-2")


def test_what_is_no_remittance(db: Session) -> None:
    withhold(db)
    for territory in ("USA", "us", ""):
        with pytest.raises(Invalid, match="is not a territory"):
            remit(db, territory=territory)
    for reference in ("", "a\nb", "a\n", " a", "x" * 65):
        with pytest.raises(Invalid, match="is not a reference"):
            remit(db, reference=reference)
    with pytest.raises(Invalid, match="not a currency"):
        remit(db, currency="euro")
    for amount in (0, -10_000, 5_000):
        with pytest.raises(Invalid, match="an amount above zero that a bank can pay"):
            remit(db, amount)


def test_two_at_once_do_not_pay_twice(database: str) -> None:
    with engine.session(Role.SETTLEMENT) as first:
        withhold(first)

    def second() -> bool:
        with engine.session(Role.SETTLEMENT) as opened:
            opened.execute(text("SET LOCAL statement_timeout = '30s'"))
            return remit(opened, reference="r-2")

    with ThreadPoolExecutor(1) as pool:
        with engine.session(Role.SETTLEMENT) as first:
            assert remit(first)
            running = pool.submit(second)
            # It has asked for its turn before the first one ends.
            waits = text(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database ="
                " (SELECT oid FROM pg_database WHERE datname = current_database()))"
            )
            while not first.scalar(waits) and not running.done():
                time.sleep(0.02)
            assert not running.done()
        with pytest.raises(Refused, match=r"more than US is due: 40\.00 EUR"):
            running.result(30)


def test_the_auditor_reads_it(database: str) -> None:
    with engine.session(Role.SETTLEMENT) as opened:
        withhold(opened)
        remit(opened)
    with engine.session(Role.AUDITOR) as opened:
        assert opened.execute(
            text(
                "SELECT territory, currency, withheld, given_back, remitted, due, last_remitted_on FROM audit.tax_due"
            )
        ).all() == [("US", "EUR", 100_000_000, 0, 60_000_000, 40_000_000, PAID.date())]
