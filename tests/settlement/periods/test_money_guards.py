"""What the database refuses of reserves, tax, exchange and advances, whoever writes it."""

from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from database.engine import conninfo
from database.engine import session as open_session
from database.errors import Conflict, Invalid, NotFound, Refused
from database.roles import Role
from settlement.advances import (
    advances,
    approve_advance,
    pay_advance,
    record_advance,
    return_advance,
)
from settlement.fx import FxRate, parse_rate, rate_to_decimal, record_fx_rates
from settlement.ledger import balance, post, reverse
from settlement.periods.calendar import find_period
from settlement.posting import ADVANCE_RETURNED, CLAIM_OPENED, TAX_REMITTED
from settlement.reserves import ReserveTerms, record_reserve_terms
from settlement.tax import TaxProfile, record_tax_profiles
from tests.settlement.events import CATALOGUE, add_images, attribute, load_terms
from tests.settlement.periods.conftest import settle_in
from tests.settlement.periods.test_close import AUGUST, SHARES, refund, sell

WHO = {"actor": "mara", "reason": "test"}
START = datetime(2026, 1, 1, tzinfo=UTC)


def sell_with_every_term(db: Session) -> None:
    """August, closed: pay-1 sold in EUR and USD, with tax, reserve and an advance."""
    load_terms(db)
    add_images(db, "img-1")
    attribute(db, "img-1", SHARES)
    record_fx_rates(db, [FxRate("USD", "EUR", START, parse_rate("0.9"), "ECB")], **WHO)
    record_tax_profiles(db, [TaxProfile("pay-1", START, 100_000_000, {"US": 300_000_000})], **WHO)
    record_reserve_terms(db, [ReserveTerms("pay-1", START, 200_000_000, {1: 10**9})], **WHO)
    assert record_advance(db, "adv", "pay-1", 10**6, **WHO)
    approve_advance(db, "adv", checker="chen")
    pay_advance(db, "adv", paid_at=AUGUST, actor="pia")
    sell(db, "sale-eur")
    sell(db, "sale-usd", currency="USD", territory="US", price="2.00")
    settle_in(db, "2026-08")
    # The next one is there too.
    find_period(db, "2026-09")


@pytest.fixture
def closed(db: Session) -> Session:
    sell_with_every_term(db)
    return db


def test_the_figures(closed: Session) -> None:
    """Slice 30 %, of which art-1 has 40 % and pay-1 70 % of that: 84000 EUR and 168000 USD micros."""
    rows = {
        row.currency: row
        for row in closed.execute(text("SELECT * FROM audit.statement_columns WHERE payee_id = 'pay-1'"))
    }
    usd, eur = rows["USD"], rows["EUR"]
    assert (usd.royalties, usd.reserves, usd.tax, usd.fx) == (168_000, -33_600, -50_400, -84_000)
    assert (eur.royalties, eur.reserves, eur.tax, eur.fx) == (84_000, -16_800, -8_400, 75_600)
    assert (eur.recoupment, eur.closing) == (-(84_000 - 16_800 - 8_400 + 75_600), 0)
    sent = closed.execute(
        text(
            "SELECT account, amount FROM audit.journal_lines WHERE key = 'statement:2026-08:pay-1:EUR'"
            " ORDER BY account, amount"
        )
    ).all()
    assert sorted(sent) == sorted(
        [
            ("advances:pay-1:EUR", -134_400),
            ("fx_position:EUR", 75_600),
            ("fx_position:USD", -84_000),
            ("reserve:pay-1:EUR", -16_800),
            ("reserve:pay-1:USD", -33_600),
            ("royalties_payable:pay-1:EUR", -84_000),
            ("royalties_payable:pay-1:EUR", -75_600),
            ("royalties_payable:pay-1:EUR", 8_400),
            ("royalties_payable:pay-1:EUR", 16_800),
            ("royalties_payable:pay-1:EUR", 134_400),
            ("royalties_payable:pay-1:USD", -168_000),
            ("royalties_payable:pay-1:USD", 33_600),
            ("royalties_payable:pay-1:USD", 50_400),
            ("royalties_payable:pay-1:USD", 84_000),
            ("royalty_expense:EUR", 84_000),
            ("royalty_expense:USD", 168_000),
            ("tax_withheld:DE:EUR", -8_400),
            ("tax_withheld:US:USD", -50_400),
        ]
    )


def test_a_refund_of_everything_gives_all_of_it_back(closed: Session) -> None:
    """Against the reserve first, then the payable; the tax comes back; what is left is the advance."""
    september = datetime(2026, 9, 3, tzinfo=UTC)
    refund(closed, "r-eur", "sale-eur", "1.00", september)
    refund(closed, "r-usd", "sale-usd", "2.00", september)
    settle_in(closed, "2026-09")
    rows = {
        row.currency: row
        for row in closed.execute(
            text("SELECT * FROM audit.statement_columns WHERE payee_id = 'pay-1' AND period_id = '2026-09'")
        )
    }
    usd, eur = rows["USD"], rows["EUR"]
    assert (usd.refunds, usd.reserves, usd.tax, usd.fx) == (-168_000, 33_600, 50_400, 84_000)
    assert (eur.refunds, eur.reserves, eur.tax, eur.fx) == (-84_000, 16_800, 8_400, -75_600)
    assert eur.closing == -134_400
    left: dict[str, int] = dict(
        closed.execute(
            text(
                "SELECT code, sum(amount)::bigint FROM ledger.account AS a JOIN ledger.posting AS p"
                " ON p.account_id = a.id WHERE code ~ '^(reserve|tax_withheld|fx_position|royalty_expense|advances):'"
                " GROUP BY code"
            )
        ).all()
    )
    assert left.pop("advances:pay-1:EUR") == 10**6 - 134_400
    assert set(left.values()) == {0}
    for view in ("statement_tie_out", "money_faults", "balance_chain"):
        assert closed.execute(text(f"SELECT * FROM audit.{view}")).all() == []


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        (
            "INSERT INTO settlement.conversion (payee_id, period_id, currency, fx_rate_id, source_micros,"
            " target_micros) SELECT 'platform', '2026-08', 'USD', id, 1000, 901 FROM settlement.fx_rate",
            "converted_once_by_the_rate",
        ),
        (
            "INSERT INTO settlement.reserve_use (period_id, payee_id, currency, taken_in, amount_micros)"
            " VALUES ('2026-08', 'pay-1', 'USD', '2026-08', 33601)",
            "reserve_never_below_zero",
        ),
        (
            "INSERT INTO settlement.recoupment (period_id, advance_id, amount_micros)"
            " SELECT '2026-09', 'adv', 1000000 - 134400 + 1",
            "advance_never_below_zero",
        ),
        (
            "INSERT INTO settlement.tax_determination SELECT '2026-08', 'pay-2', 'EUR', 'DE', id, 100000000, 100, 11"
            " FROM settlement.tax_profile_version",
            "tax_determination_floor_of_rate",
        ),
        (
            "INSERT INTO settlement.reserve SELECT '2026-08', 'pay-2', 'EUR', id, 5, 6 FROM settlement.reserve_version",
            "reserve_amounts",
        ),
        (
            "INSERT INTO settlement.statement_column SELECT '2026-08', 'platform', 'USD', '2026-08/platform/EUR',"
            " 0, 5, 0, 0, 0, 0, 0, 0, 0, -4, 0, 1",
            "statement_column_closes_at_zero",
        ),
        (
            "INSERT INTO settlement.statement_column SELECT '2026-08', 'platform', 'USD', '2026-08/platform/EUR',"
            " 0, 5, 0, 0, 0, 0, 0, 0, 0, -5, 0, 0",
            "column_of_a_statement",
        ),
        ("UPDATE settlement.fx_rate SET rate_trillionths = 1", "append-only"),
        ("DELETE FROM settlement.tax_profile_version", "append-only"),
        ("TRUNCATE settlement.advance CASCADE", "append-only"),
        (
            "INSERT INTO settlement.tax_profile_version (payee_id, valid_from, default_ppb, rates, actor, reason)"
            " VALUES ('pay-1', '2027-01-01', 0, '{\"usa\": 1}', 'x', 'x')",
            "tax_profile_version_rates_form",
        ),
        (
            "INSERT INTO settlement.tax_profile_version (payee_id, valid_from, default_ppb, rates, actor, reason)"
            " VALUES ('pay-1', '2027-01-01', 0, '{\"US\": 0.5}', 'x', 'x')",
            "tax_profile_version_rates_form",
        ),
        (
            "INSERT INTO settlement.reserve_version (payee_id, valid_from, rate_ppb, release, actor, reason)"
            " VALUES ('pay-1', '2027-01-01', 5, '{\"1\": 999999999}', 'x', 'x')",
            "reserve_version_release_whole",
        ),
        (
            "INSERT INTO settlement.fx_rate (source_currency, target_currency, valid_from, rate_trillionths, source,"
            " actor, reason) VALUES ('EUR', 'EUR', '2027-01-01', 5, 'x', 'x', 'x')",
            "fx_rate_currencies",
        ),
    ],
)
def test_the_database_refuses(closed: Session, statement: str, constraint: str) -> None:
    with pytest.raises(DBAPIError) as refused, closed.begin_nested():
        closed.execute(text(statement))
        closed.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
    assert isinstance(refused.value.orig, psycopg.Error)
    assert constraint in (refused.value.orig.diag.constraint_name or str(refused.value.orig))


def test_without_a_rate_nothing_is_calculated(db: Session) -> None:
    load_terms(db, CATALOGUE)
    add_images(db, "img-1")
    attribute(db, "img-1", SHARES)
    sell(db, "sale-usd", currency="USD")
    with pytest.raises(Conflict, match="no rate of exchange from USD to EUR is in force at the period's end"):
        settle_in(db, "2026-08")


def test_an_advance_needs_two_people(database: str) -> None:
    with open_session(Role.SETTLEMENT) as session:
        load_terms(session)
        with pytest.raises(NotFound, match="no payee pay-9"):
            record_advance(session, "adv-1", "pay-9", 1, **WHO)
        with pytest.raises(Invalid, match="an advance is above zero"):
            record_advance(session, "adv-1", "pay-1", 0, **WHO)
        assert record_advance(session, "adv-1", "pay-1", 5_000_000, **WHO)
        assert not record_advance(session, "adv-1", "pay-1", 5_000_000, **WHO)
        with pytest.raises(Conflict, match=r"adv-1 is recorded otherwise: 5\.00 EUR to pay-1"):
            record_advance(session, "adv-1", "pay-1", 6_000_000, **WHO)
        with pytest.raises(Refused, match="not approved: another person than mara"):
            pay_advance(session, "adv-1", paid_at=AUGUST, actor="pia")
    with open_session(Role.APPROVER) as session:
        with pytest.raises(Refused, match="another person must approve"):
            approve_advance(session, "adv-1", checker="mara")
        approve_advance(session, "adv-1", checker="chen")
        with pytest.raises(Conflict, match="approved already"):
            approve_advance(session, "adv-1", checker="chen")
    with open_session(Role.SETTLEMENT) as session:
        assert pay_advance(session, "adv-1", paid_at=AUGUST, actor="pia")
        assert not pay_advance(session, "adv-1", paid_at=AUGUST, actor="pia")
    with psycopg.connect(conninfo(Role.AUDITOR)) as connection:
        row = connection.execute(
            "SELECT maker, checker, amount_micros, outstanding FROM audit.advances"
        ).fetchone()
        assert row == ("mara", "chen", 5_000_000, 5_000_000)
        assert connection.execute("SELECT is_of_what_was_done FROM audit.approvals").fetchall() == [(True,)]


def test_bad_terms_are_refused_in_one_line(db: Session) -> None:
    load_terms(db)
    with pytest.raises(Invalid, match="is not a rate of exchange: write digits"):
        parse_rate("1,08")
    assert rate_to_decimal(parse_rate("163.27")) == "163.270000000000"
    for bad in (TaxProfile("pay-1", START, 10**9 + 1), TaxProfile("pay-1", START, 0, {"US": -1})):
        with pytest.raises(Invalid, match="not between 0 and 100 %"):
            record_tax_profiles(db, [bad], **WHO)
    with pytest.raises(Invalid, match="'us' in the tax profile of pay-1 is not a territory"):
        record_tax_profiles(db, [TaxProfile("pay-1", START, 0, {"us": 1})], **WHO)
    for release in ({}, {1: 10**9 - 1}, {0: 10**9}):
        with pytest.raises(Invalid, match="must release 100 % within 1 to 999 periods"):
            record_reserve_terms(db, [ReserveTerms("pay-1", START, 1, release)], **WHO)
    with pytest.raises(Invalid, match="from EUR to itself is 1"):
        record_fx_rates(db, [FxRate("EUR", "EUR", START, 1, "ECB")], **WHO)


SEPTEMBER = datetime(2026, 9, 3, tzinfo=UTC)


def test_what_rows_of_its_own_explain_is_not_reversed(closed: Session) -> None:
    names = {"claim": "c", "payee": "pay-2", "territory": "DE", "remittance": "r"}
    claimed = CLAIM_OPENED.entry(5, "EUR", names, booked_at=SEPTEMBER, actor="pia")
    remitted = TAX_REMITTED.entry(5, "EUR", names, booked_at=SEPTEMBER, actor="pia")
    post(closed, [claimed, remitted])
    for key, says in (
        ("statement:2026-08:pay-1:EUR", "moves advances, .*: correct what it decided"),
        ("advance:adv", "moves advances, .*: say that the advance came back"),
        (claimed.key, "moves suspense_disputed, .*: decide the claim"),
        (remitted.key, "moves tax_withheld, .*: remit so much less"),
    ):
        with pytest.raises(Refused, match=says):
            reverse(closed, key, "reversal:1", SEPTEMBER, "pia")
    # What no rows explain can be.
    assert reverse(closed, "sale:sale-eur", "reversal:1", SEPTEMBER, "pia").posted == 1


def test_an_advance_comes_back_before_it_is_recouped(closed: Session) -> None:
    with pytest.raises(Refused, match=r"0\.134400 EUR of advance adv is recouped"):
        return_advance(closed, "adv", returned_at=SEPTEMBER, actor="pia")
    assert record_advance(closed, "new", "pay-1", 5 * 10**6, **WHO)
    with pytest.raises(Refused, match="advance new is not paid"):
        return_advance(closed, "new", returned_at=SEPTEMBER, actor="pia")
    approve_advance(closed, "new", checker="chen")
    pay_advance(closed, "new", paid_at=SEPTEMBER, actor="pia")
    assert balance(closed, "advances:pay-1:EUR") == 10**6 - 134_400 + 5 * 10**6
    assert [status.state for status in advances(closed)] == ["paid", "paid"]
    assert return_advance(closed, "new", returned_at=SEPTEMBER, actor="pia")
    assert not return_advance(closed, "new", returned_at=SEPTEMBER, actor="pia")
    assert balance(closed, "advances:pay-1:EUR") == 10**6 - 134_400
    assert [(s.advance.advance_id, s.state, s.recouped_micros) for s in advances(closed)] == [
        ("adv", "paid", 134_400),
        ("new", "returned", 0),
    ]
    with pytest.raises(Conflict, match="record what is paid now under another id"):
        pay_advance(closed, "new", paid_at=SEPTEMBER, actor="pia")
    # Earned enough for both: the other one is recouped.
    sell(closed, "sale-big", at=SEPTEMBER, price="100.00")
    settle_in(closed, "2026-09")
    rows = closed.execute(text("SELECT advance_id, outstanding FROM audit.advances ORDER BY 1")).all()
    assert [tuple(row) for row in rows] == [("adv", 0), ("new", 0)]
    assert [status.state for status in advances(closed)] == ["recouped", "returned"]
    for view in ("statement_tie_out", "money_faults", "balance_chain"):
        assert closed.execute(text(f"SELECT * FROM audit.{view}")).all() == []


def test_the_database_keeps_recouped_advances_from_coming_back(closed: Session) -> None:
    names = {"advance": "adv", "payee": "pay-1"}
    entry = ADVANCE_RETURNED.entry(10**6, "EUR", names, booked_at=SEPTEMBER, actor="pia")
    with pytest.raises(DBAPIError, match="of which something is recouped"):
        post(closed, [entry])
    assert record_advance(closed, "new", "pay-1", 10**6, **WHO)
    approve_advance(closed, "new", checker="chen")
    pay_advance(closed, "new", paid_at=SEPTEMBER, actor="pia")
    return_advance(closed, "new", returned_at=SEPTEMBER, actor="pia")
    with pytest.raises(DBAPIError, match="advance new came back and is not recouped"):
        closed.connection().exec_driver_sql(
            "INSERT INTO settlement.recoupment (period_id, advance_id, amount_micros) VALUES ('2026-08', 'new', 1)"
        )
