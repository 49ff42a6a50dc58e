"""Periods from open to closed: order, second pair of eyes, frozen inputs, kill and repeat, two at once."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from database.engine import conninfo
from database.engine import session as open_session
from database.errors import Conflict, Invalid, NotFound, Refused
from database.roles import Role
from settlement.money import to_decimal
from settlement.payouts.models import Hold
from settlement.periods import close as close_module
from settlement.periods.approval import approve, calculate, draft_of, submit
from settlement.periods.calendar import cut_off, ensure_periods, find_period, open_period, periods
from settlement.periods.close import close, dry_run
from settlement.periods.models import Period, RoyaltyLine
from settlement.posting import PAYOUT_RESERVED
from settlement.sales import RefundRecord, parse_sale, record_refunds, record_sales
from settlement.statements.body import parse
from settlement.statements.models import Statement, find_statement
from tests.settlement.events import CATALOGUE, add_images, attribute, cannot_attribute, load_terms
from tests.settlement.periods.conftest import settle_in

AUGUST = datetime(2026, 8, 10, tzinfo=UTC)
SHARES = {"C": 600_000_000, "art-1": 400_000_000}


def sell(session: Session, name: str, image: str = "img-1", at: datetime = AUGUST, **changes: str) -> None:
    given = {
        "external_id": name,
        "image": image,
        "sold_at": at,
        "territory": "DE",
        "currency": "EUR",
        "price": "1.00",
    }
    [outcome] = record_sales(session, [parse_sale({**given, **changes})], actor="shop")
    assert outcome.reason is None


def refund(session: Session, name: str, sale: str, amount: str, at: datetime) -> None:
    given = {"external_id": name, "sale": sale, "refunded_at": at, "amount": amount}
    [outcome] = record_refunds(session, [RefundRecord.model_validate(given)], actor="shop")
    assert outcome.reason is None


@pytest.fixture
def shop(db: Session) -> Session:
    """Terms, two images of which the first is attributed, and one sale in August."""
    load_terms(db)
    add_images(db, "img-1", "img-2")
    attribute(db, "img-1", SHARES)
    sell(db, "sale-1")
    return db


def lines(session: Session, period: str) -> dict[str, int]:
    rows = session.execute(
        text("SELECT line, amount FROM settlement.statement_line WHERE period = :p"), {"p": period}
    )
    return {row.line: row.amount for row in rows}


def test_months_are_made_in_the_platforms_zone_from_the_first_sale_on(db: Session) -> None:
    load_terms(db, CATALOGUE.replace("zone: UTC", "zone: Europe/Berlin"))
    add_images(db, "img-1")
    # In Berlin it is August already.
    sell(db, "sale-1", at=datetime(2026, 7, 31, 22, 30, tzinfo=UTC))
    made = ensure_periods(db, datetime(2026, 11, 15, tzinfo=UTC))
    assert [p.period_id for p in made] == ["2026-08", "2026-09", "2026-10", "2026-11"]
    assert [p.starts_at for p in made[1:]] == [p.ends_at for p in made[:-1]]
    october = made[2]
    # The clocks go back in October.
    assert (october.starts_at, october.ends_at) == (
        datetime(2026, 9, 30, 22, tzinfo=UTC),
        datetime(2026, 10, 31, 23, tzinfo=UTC),
    )
    assert ensure_periods(db, datetime(2026, 10, 1, tzinfo=UTC)) == made
    assert len(ensure_periods(db, datetime(2027, 1, 1, tzinfo=UTC))) == 6


def test_unknown_periods(shop: Session) -> None:
    with pytest.raises(Invalid, match="'2026-13' is not a period"):
        find_period(shop, "2026-13")
    with pytest.raises(NotFound, match="there is no period 2999-01 yet: it begins on 2999-01-01"):
        close(shop, "2999-01", actor="mara")
    for made in range(2):
        with pytest.raises(NotFound, match="there is no period 2026-07: the first sale is of 2026-08"):
            close(shop, "2026-07", actor="mara")
        assert len(periods(shop)) == made
        find_period(shop, "2026-08")


def test_without_terms_there_are_no_periods(db: Session) -> None:
    with pytest.raises(NotFound, match="load a catalogue first"):
        find_period(db, "2026-08")


def test_a_planned_cut_off(shop: Session) -> None:
    now = datetime(2026, 9, 1, tzinfo=UTC)
    planned = datetime(2026, 9, 4, tzinfo=UTC)
    with pytest.raises(Invalid, match="its cut-off cannot be earlier"):
        open_period(shop, "2026-08", cut_off_at=now - timedelta(seconds=1), now=now)
    with pytest.raises(Invalid, match="is past"):
        open_period(shop, "2026-08", cut_off_at=now, now=planned)
    assert open_period(shop, "2026-08", cut_off_at=planned, now=now).cut_off_at == planned
    assert open_period(shop, "2026-08", now=now).cut_off_at == planned
    with pytest.raises(Conflict, match="that stays"):
        open_period(shop, "2026-08", cut_off_at=planned + timedelta(days=1), now=now)
    with pytest.raises(Conflict, match="can be cut off from 2026-09-04 00:00 UTC on: it is too early"):
        cut_off(shop, "2026-08", now=now)
    assert cut_off(shop, "2026-08", now=planned + timedelta(hours=1)).cut_off_at == planned


def test_a_period_is_cut_off_after_its_end_and_after_the_ones_before(shop: Session) -> None:
    with pytest.raises(Conflict, match="can be cut off from 2026-09-01 00:00 UTC on"):
        cut_off(shop, "2026-08", now=datetime(2026, 8, 31, 23, 59, tzinfo=UTC))
    with pytest.raises(Conflict, match="period 2026-08 is still open: cut it off before 2026-09"):
        cut_off(shop, "2026-09")
    first = cut_off(shop, "2026-08")
    assert first.state == "cut_off" and first.cut_off_at is not None
    assert cut_off(shop, "2026-08").cut_off_at == first.cut_off_at
    # What is recorded from now on counts later, whenever it happened.
    sell(shop, "sale-2")
    settle_in(shop, "2026-08")
    assert {name[:6] for name in lines(shop, "2026-08")} == {"sale-1"}
    settle_in(shop, "2026-09")
    assert {name[:6] for name in lines(shop, "2026-09")} == {"sale-2"}
    assert (
        shop.execute(text("SELECT usage_period FROM settlement.statement_line WHERE sale = 'sale-2'"))
        .scalars()
        .all()
        == ["2026-08"] * 3
    )


def test_one_step_after_the_other(shop: Session) -> None:
    for step, reason in (
        (lambda: calculate(shop, "2026-08", actor="mara"), "is open: cut it off first"),
        (lambda: submit(shop, "2026-08"), "is open: only one that is calculated"),
        (lambda: close(shop, "2026-08", actor="mara"), "is open: cut it off, calculate it"),
    ):
        with pytest.raises(Conflict, match=reason):
            step()
    cut_off(shop, "2026-08")
    with pytest.raises(NotFound, match="is not calculated: do that first"):
        draft_of(shop, "2026-08")
    draft = calculate(shop, "2026-08", actor="mara")
    assert draft_of(shop, "2026-08") == draft
    with pytest.raises(Conflict, match="is calculated: only one that is in review can be approved"):
        approve(shop, "2026-08", checker="chen", content_sha256=draft.sha256)
    with pytest.raises(Conflict, match="is calculated: put it up for review"):
        close(shop, "2026-08", actor="mara")
    submit(shop, "2026-08")
    with pytest.raises(Refused, match="mara has calculated period 2026-08: another person must approve it"):
        approve(shop, "2026-08", checker="mara", content_sha256=draft.sha256)
    with pytest.raises(Conflict, match="was calculated again since you looked at it"):
        approve(shop, "2026-08", checker="chen", content_sha256=b"?" * 32)
    with pytest.raises(Conflict, match="is in review: another person must approve it first"):
        close(shop, "2026-08", actor="mara")
    approve(shop, "2026-08", checker="chen", content_sha256=draft.sha256)
    with pytest.raises(Conflict, match="period 2026-08 is approved: close it before 2026-09"):
        close(shop, "2026-09", actor="mara")
    with pytest.raises(Conflict, match="close it before 2026-09"):
        dry_run(shop, "2026-09")
    close(shop, "2026-08", actor="mara")
    for again in (
        lambda: close(shop, "2026-08", actor="mara"),
        lambda: dry_run(shop, "2026-08"),
        lambda: calculate(shop, "2026-08", actor="mara"),
    ):
        with pytest.raises(Conflict, match="period 2026-08 is closed"):
            again()


def test_what_changes_after_the_approval_is_refused(shop: Session) -> None:
    cut_off(shop, "2026-08")
    draft = calculate(shop, "2026-08", actor="mara")
    submit(shop, "2026-08")
    approve(shop, "2026-08", checker="chen", content_sha256=draft.sha256)
    load_terms(
        shop,
        CATALOGUE.replace(
            "contracts:",
            'contracts:\n  - {id: contract-1, artist: art-1, valid_from: 2026-08-01, splits: {pay-1: "100"}}',
        ),
    )
    with pytest.raises(Conflict, match="is not what was approved any more"):
        close(shop, "2026-08", actor="mara")
    again = calculate(shop, "2026-08", actor="mara")
    assert again.sha256 != draft.sha256
    assert find_period(shop, "2026-08").state == "calculated"


def test_the_same_content_stays_approved(shop: Session) -> None:
    cut_off(shop, "2026-08")
    draft = calculate(shop, "2026-08", actor="mara")
    submit(shop, "2026-08")
    approve(shop, "2026-08", checker="chen", content_sha256=draft.sha256)
    assert calculate(shop, "2026-08", actor="mara") == draft
    submit(shop, "2026-08")
    assert find_period(shop, "2026-08").state == "approved"
    close(shop, "2026-08", actor="mara")


def test_a_dry_run_writes_nothing_and_says_what_a_close_would(shop: Session) -> None:
    before = dry_run(shop, "2026-08")
    assert find_period(shop, "2026-08").state == "open"
    assert (before.statements, before.journals) == (3, 0)
    for table in ("royalty_line", "sale_slice", "statement", "run_draft"):
        assert shop.execute(text(f"SELECT count(*) FROM settlement.{table}")).scalar() == 0
    closing = settle_in(shop, "2026-08")
    assert (closing.totals, closing.differences) == (before.totals, before.differences)
    [euros] = closing.totals.currencies
    assert (euros.base, euros.slices, euros.paid) == (1_000_000, 300_000, 300_000)


def test_an_empty_period_closes_and_a_balance_gets_a_statement(shop: Session) -> None:
    settle_in(shop, "2026-08")
    closing = settle_in(shop, "2026-09")
    assert (closing.totals.sales, closing.totals.lines, closing.statements) == (0, 0, 3)
    body = parse(find_statement(shop, "2026-09/pay-1/EUR").body.encode())
    assert body["summary"]["columns"][0]["opening"] == body["summary"]["columns"][0]["closing"] == "0.084000"
    assert body["lines"]["count"] == 0 and body["computation"]["pools"] == []


def test_refunds_around_a_late_attribution(shop: Session) -> None:
    """Refunded while pending, in the month of its release, and after it: what is given back in all is all."""
    september, october = (datetime(2026, month, 15, tzinfo=UTC) for month in (9, 10))
    sell(shop, "sale-2", "img-2", price="1.000003")
    settle_in(shop, "2026-08")
    assert lines(shop, "2026-08")["sale-2"] == 300_000
    refund(shop, "refund-1", "sale-2", "0.333333", september)
    attribute(shop, "img-2", {"C": 500_000_000, "art-3": 500_000_000})
    settle_in(shop, "2026-09")
    back = 300_000 * 333_333 // 1_000_003
    half = (300_000 - back) // 2
    assert lines(shop, "2026-09") == {
        "refund-1/sale-2": -back,
        # Of an odd micro the first in byte order gets the larger half.
        "sale-2/C/pay-dev": 300_000 - back - half,
        "sale-2/art-3/art-3": half,
    }
    refund(shop, "refund-2", "sale-2", "0.333333", october)
    settle_in(shop, "2026-10")
    left = 1_000_003 - 333_333
    part = half * 333_333 // left
    assert lines(shop, "2026-10")["refund-2/sale-2/art-3/art-3"] == -part
    refund(shop, "refund-3", "sale-2", to_decimal(left - 333_333), october)
    settle_in(shop, "2026-11", now=max(datetime.now(UTC), datetime(2026, 12, 1, tzinfo=UTC)))
    assert lines(shop, "2026-11")["refund-3/sale-2/art-3/art-3"] == part - half
    assert (
        sum(row.amount_micros for row in shop.scalars(select(RoyaltyLine)) if row.kind in ("late", "refund"))
        == -back
    )
    total = "SELECT sum(amount) FROM settlement.statement_line WHERE sale = 'sale-2' AND kind IN ('pending', 'refund')"
    assert shop.execute(text(total)).scalar() == 0


def test_found_unattributable_late(shop: Session) -> None:
    sell(shop, "sale-2", "img-2")
    settle_in(shop, "2026-08")
    cannot_attribute(shop, "img-2")
    settle_in(shop, "2026-09")
    assert lines(shop, "2026-09") == {"sale-2/unattributed": 300_000}
    refund(shop, "refund-1", "sale-2", "1", datetime(2026, 10, 1, tzinfo=UTC))
    settle_in(shop, "2026-10")
    assert lines(shop, "2026-10") == {"refund-1/sale-2/unattributed": -300_000}


def test_a_negative_base_earns_nothing_and_a_fee_is_due_all_the_same(db: Session) -> None:
    load_terms(
        db, CATALOGUE + '  - {id: fee, valid_from: 2026-01-01, model: per_image, fee: {EUR: "0.10"}}\n'
    )
    add_images(db, "img-1")
    attribute(db, "img-1", SHARES)
    sell(db, "sale-1", marketplace_fee="2.00")
    sell(db, "sale-2", marketplace_fee="2.00", rate_card="fee")
    settle_in(db, "2026-08")
    assert lines(db, "2026-08") == {
        "sale-2/C/pay-dev": 60_000,
        "sale-2/art-1/pay-1": 28_000,
        "sale-2/art-1/pay-2": 12_000,
    }
    slices = db.execute(text("SELECT base_micros, slice_micros FROM settlement.sale_slice ORDER BY 2")).all()
    assert [tuple(row) for row in slices] == [(0, 0), (0, 100_000)]


def test_a_hold_stops_the_payout_and_not_the_statement(shop: Session) -> None:
    shop.add(Hold(payee_id="pay-2", reason="bank details are being checked", actor="ops"))
    shop.flush()
    load_terms(shop)
    settle_in(shop, "2026-08")
    statement = find_statement(shop, "2026-08/pay-2/EUR")
    assert (statement.held, statement.payable, statement.closing) == (36_000, 0, 36_000)
    [hold] = parse(statement.body.encode())["holds"]
    assert (hold["reason"], hold["closed"]) == ("bank details are being checked", None)


def test_journals_that_are_no_payouts_are_adjustments(shop: Session) -> None:
    from settlement.ledger import Entry, Line, post, reverse

    given = [Line("royalties_payable:pay-1:EUR", "liability", -5, "EUR"), Line("bank:EUR", "asset", 5, "EUR")]
    post(shop, [Entry("gift", "gift:1", AUGUST, AUGUST.date(), given, "ops")])
    reserved = PAYOUT_RESERVED.entry(
        7, "EUR", {"attempt": "oops", "payee": "pay-1"}, booked_at=AUGUST, actor="ops"
    )
    post(shop, [reserved])
    with pytest.raises(
        Refused, match=r"moves payout_clearing, which rows of its own explain: say what the bank"
    ):
        reverse(shop, reserved.key, "reversal:oops", AUGUST, "ops")
    reverse(shop, "gift:1", "reversal:oops", AUGUST, "ops")
    settle_in(shop, "2026-08")
    statement = find_statement(shop, "2026-08/pay-1/EUR")
    assert (statement.adjustments, statement.payments) == (5 - 5, -7)
    rows = parse(statement.body.encode())["adjustments"]
    assert [(row["line"], row["corrects"], row["reason"]) for row in rows] == [
        ("gift:1", "gift:1", "gift"),
        ("reversal:oops", "gift:1", "reversal"),
    ]
    assert [(row["original"], row["corrected"], row["difference"]) for row in rows] == [
        ("0.000000", "0.000005", "0.000005"),
        ("0.000005", "0.000000", "-0.000005"),
    ]
    for view in ("statement_tie_out", "money_faults", "balance_chain"):
        assert shop.execute(text(f"SELECT * FROM audit.{view}")).all() == []


def test_the_database_refuses_an_approval_or_a_close_by_hand(database: str) -> None:
    _prepare()
    with open_session(Role.SETTLEMENT) as session:
        cut_off(session, "2026-08")
        draft = calculate(session, "2026-08", actor="mara")
        submit(session, "2026-08")

    def refuses(role: Role, statement: str, reason: str) -> None:
        with psycopg.connect(conninfo(role)) as connection, pytest.raises(psycopg.Error, match=reason):
            connection.execute(statement)

    def approval(digest: bytes, maker: str, checker: str) -> str:
        return (
            "INSERT INTO settlement.approval (kind, subject, content_sha256, maker, checker)"
            f" VALUES ('period', '2026-08', '\\x{digest.hex()}', '{maker}', '{checker}')"
        )

    refuses(Role.SETTLEMENT, approval(draft.sha256, "mara", "chen"), "permission denied")
    refuses(Role.APPROVER, approval(draft.sha256, "mara", "mara"), "maker_is_not_checker")
    refuses(Role.APPROVER, approval(draft.sha256, "nobody", "chen"), "no draft of period")
    refuses(Role.APPROVER, approval(b"?" * 32, "mara", "chen"), "no draft of period")
    refuses(Role.APPROVER, "UPDATE settlement.period SET state = 'approved'", "permission denied")
    refuses(Role.SETTLEMENT, "UPDATE settlement.period SET state = 'approved'", "nobody has approved")
    refuses(
        Role.SETTLEMENT, "UPDATE settlement.period SET state = 'closed'", "cannot go from in_review to closed"
    )
    refuses(Role.SETTLEMENT, "UPDATE settlement.period SET cut_off_at = now()", "bounds of period")
    with open_session(Role.APPROVER) as session:
        approve(session, "2026-08", checker="chen", content_sha256=draft.sha256)
    refuses(Role.SETTLEMENT, "UPDATE settlement.period SET state = 'closed'", "has no run that was approved")
    with open_session(Role.SETTLEMENT) as session:
        close(session, "2026-08", actor="mara")
    refuses(Role.SETTLEMENT, "UPDATE settlement.period SET state = 'open'", "cannot go from closed to open")


def _prepare() -> None:
    with open_session(Role.SETTLEMENT) as session:
        load_terms(session)
    with open_session(Role.ADMIN) as session:
        add_images(session, "img-1", "img-2")
        attribute(session, "img-1", SHARES)
    with open_session(Role.SETTLEMENT) as session:
        for number in range(20):
            sell(session, f"sale-{number}", price=f"{number + 1}.0{number % 10}")
        find_period(session, "2026-08")


def _approved() -> None:
    _prepare()
    with open_session(Role.SETTLEMENT) as session:
        cut_off(session, "2026-08")
        draft = calculate(session, "2026-08", actor="mara")
        submit(session, "2026-08")
    with open_session(Role.APPROVER) as session:
        approve(session, "2026-08", checker="chen", content_sha256=draft.sha256)


def _bodies() -> dict[str, bytes]:
    with open_session(Role.SETTLEMENT) as session:
        return {s.statement_id: s.body.encode() for s in session.scalars(select(Statement))}


_KILLED = """
import os, signal, sys
from database.engine import session
from database.roles import Role
from settlement.periods.close import close

def close_until(last):
    def progress(stage, done, total):
        if stage == last:
            os.kill(os.getpid(), signal.SIGKILL)
    with session(Role.SETTLEMENT) as opened:
        close(opened, "2026-08", actor="mara", progress=progress)
        progress("before the commit", 1, 1)

for stage in sys.argv[1:]:
    child = os.fork()
    if not child:
        close_until(stage)
        os._exit(0)
    print(stage, os.WTERMSIG(os.waitpid(child, 0)[1]))
"""


def test_killed_anywhere_nothing_is_half_done_and_the_next_close_writes_the_same_bytes(database: str) -> None:
    _approved()
    stages = ("royalties", "writing refunds", "statements", "before the commit")
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, *stages], env=os.environ, capture_output=True, check=True
    )
    assert killed.stdout.decode().splitlines() == [f"{stage} {signal.SIGKILL.value}" for stage in stages]
    with open_session(Role.SETTLEMENT) as session:
        assert find_period(session, "2026-08").state == "approved"
        assert session.scalar(select(func.count()).select_from(RoyaltyLine)) == 0
        assert session.execute(text("SELECT count(*) FROM ledger.journal WHERE kind <> 'sale'")).scalar() == 0
    would_be: dict[str, bytes] = {}
    with pytest.raises(ZeroDivisionError), open_session(Role.SETTLEMENT) as session:
        close(session, "2026-08", actor="mara")
        would_be = {s.statement_id: s.body.encode() for s in session.scalars(select(Statement))}
        raise ZeroDivisionError
    assert would_be and not _bodies()
    with open_session(Role.SETTLEMENT) as session:
        close(session, "2026-08", actor="somebody else")
    assert _bodies() == would_be


def test_two_closes_at_once(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _approved()
    inside, go = threading.Event(), threading.Event()
    write: Callable[..., None] = close_module._write

    def slowly(*arguments: object) -> None:
        inside.set()
        assert go.wait(30)
        write(*arguments)

    monkeypatch.setattr(close_module, "_write", slowly)
    outcomes: list[object] = []

    def first() -> None:
        with open_session(Role.SETTLEMENT) as session:
            outcomes.append(close(session, "2026-08", actor="mara"))

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(30)
    with pytest.raises(Conflict, match="another close is running"), open_session(Role.SETTLEMENT) as session:
        close(session, "2026-08", actor="chen")
    go.set()
    thread.join(30)
    assert len(outcomes) == 1
    with pytest.raises(Conflict, match="closed already"), open_session(Role.SETTLEMENT) as session:
        close(session, "2026-08", actor="chen")


def test_an_event_being_written_is_in_the_period_or_after_its_cut_off(database: str) -> None:
    """The cut-off waits for a sale that is not committed yet, and the calculation sees it."""
    _prepare()
    cut: list[Period] = []

    def cutting() -> None:
        with open_session(Role.SETTLEMENT) as session:
            cut.append(cut_off(session, "2026-08"))

    thread = threading.Thread(target=cutting)
    with open_session(Role.SETTLEMENT) as session:
        sell(session, "sale-slow")
        thread.start()
        thread.join(0.5)
        assert not cut
    thread.join(30)
    with open_session(Role.SETTLEMENT) as session:
        recorded = session.execute(
            text("SELECT recorded_at FROM settlement.sale WHERE external_id = 'sale-slow'")
        ).scalar()
        assert cut[0].cut_off_at is not None and recorded is not None and recorded < cut[0].cut_off_at
        assert calculate(session, "2026-08", actor="mara").totals.sales == 21


@pytest.mark.parametrize(
    "change",
    [
        {"period_id": "1999-01"},
        {"sale_id": 999_999},
        {"payee_id": "pay-9"},
        {"attribution_id": 999_999},
        {"contract_version_id": 999_999},
    ],
)
def test_a_line_names_what_exists(shop: Session, change: dict[str, object]) -> None:
    settle_in(shop, "2026-08")
    row = shop.scalars(select(RoyaltyLine).where(RoyaltyLine.payee_id == "pay-1")).one()
    facts = {c.name: getattr(row, c.name) for c in RoyaltyLine.__table__.columns if c.name != "id"}
    with pytest.raises(DBAPIError, match="which does not exist"), shop.begin_nested():
        shop.execute(insert(RoyaltyLine).values(**{**facts, "player": "art-2", **change}))
    shop.execute(insert(RoyaltyLine).values(**{**facts, "player": "art-2"}))


def test_sealed_with_the_period(database: str) -> None:
    _approved()
    with open_session(Role.SETTLEMENT) as session:
        close(session, "2026-08", actor="mara")
        [august, *_] = periods(session)
        assert session.execute(text("SELECT sealed_before FROM ledger.seal")).scalar() == august.ends_at
    with (
        pytest.raises(DBAPIError, match="permission denied"),
        open_session(Role.SETTLEMENT) as session,
    ):
        session.execute(text("UPDATE settlement.statement SET body = ''"))
