"""Issuing a period's statements: one query per section for all payees together, one canonical body each.

Runs inside a close, after the lines are written and the journals posted, on the temporary tables of the calculation
(`settlement.periods.calculation`).
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.orm import Session

from database.engine import psycopg_connection
from database.errors import Conflict
from settlement.balance import of_which
from settlement.payees import party_digests
from settlement.periods.calendar import last_instant
from settlement.periods.models import Period
from settlement.posting import PAYABLE, REFUND_ROYALTIES, STATEMENT
from settlement.rates import PlatformVersion, platform_at
from settlement.statements.body import (
    Body,
    Column,
    Computation,
    Counts,
    Dispute,
    Earned,
    Earning,
    Entries,
    Entry,
    Header,
    Hold,
    Method,
    PartyReference,
    Pool,
    StatementPeriod,
    Summary,
    TopImage,
    YearToDate,
    canonical,
)
from settlement.statements.detail import FIELDS, Detail, Total

TOP_IMAGES = 5
"""How many of the images that earned most a statement names."""

HISTORY = 24
"""How many periods the chart of earnings goes back, this one included."""

DISPUTE = (
    "If you think that something here is wrong, write to the address below, name this statement and the line, "
    "and say what is wrong."
)

Progress = Callable[[str, int, int], None]


class Account(NamedTuple):
    """Whose statement: a payee in one currency."""

    payee_id: str
    currency: str


def issue_statements(session: Session, period: Period, progress: Progress | None = None) -> int:
    """Write the period's statements, numbered on from the last one, by payee and currency in byte order.

    Returns:
        How many.

    Raises:
        ValueError: a summary does not agree with the ledger, or a statement's parts do not add up: a defect.
    """
    check_ledger(session, period)
    sections = _Sections(session, period)
    number = session.execute(text("SELECT coalesce(max(number), 0) FROM settlement.statement")).scalar_one()
    journals = _journals(session, period, sections.accounts)
    issued = 0
    with (
        psycopg_connection(session).cursor() as cursor,
        cursor.copy(f"COPY settlement.statement ({', '.join(_COLUMNS)}) FROM STDIN") as copy,
    ):
        for account, body in sections.bodies():
            issued += 1
            content = canonical(body)
            column, parts = body.summary.columns[0], body.summary.of_which
            copy.write_row(
                (
                    body.header.statement,
                    number + issued,
                    period.period_id,
                    account.payee_id,
                    account.currency,
                    journals.get(_key(period, account)),
                    *(getattr(column, name) for name in _SUMMARY),
                    *parts,
                    content.decode(),
                    hashlib.sha256(content).digest(),
                )
            )
            if progress is not None and issued % 500 == 0:
                progress("statements", issued, len(sections.accounts))
    if progress is not None:
        progress("statements", issued, len(sections.accounts))
    return issued


_SUMMARY = (
    "opening",
    "royalties",
    "late",
    "adjustments",
    "refunds",
    "reserves",
    "recoupment",
    "tax",
    "claims",
    "fx",
    "payments",
    "closing",
)
_COLUMNS = (
    "statement_id",
    "number",
    "period_id",
    "payee_id",
    "currency",
    "journal_id",
    *_SUMMARY,
    "payable",
    "held",
    "below_minimum",
    "below_unit",
    "body",
    "sha256",
)


def _key(period: Period, account: Account) -> str:
    return STATEMENT.key.format(period=period.period_id, payee=account.payee_id, currency=account.currency)


def check_ledger(session: Session, period: Period) -> None:
    """A statement closes with the ledger's balance at the period's last instant, and every balance has one.

    Raises:
        Conflict: it does not, because something was posted into the period since it was calculated.
    """
    row = session.execute(
        text(
            f"""
            WITH ledger AS (
                SELECT {PAYABLE.owner_sql("a.code")} COLLATE "C" AS payee_id, a.currency, -sum(p.amount) AS balance
                FROM ledger.account AS a JOIN ledger.posting AS p ON p.account_id = a.id
                WHERE starts_with(a.code, '{PAYABLE.name}:') AND p.booked_at < :ends_at
                GROUP BY a.code, a.currency
            )
            SELECT coalesce(s.payee_id, l.payee_id), coalesce(s.currency, l.currency), coalesce(s.closing, 0),
                   coalesce(l.balance, 0)
            FROM pg_temp.run_statement AS s
            FULL JOIN ledger AS l ON l.payee_id = s.payee_id AND l.currency = s.currency
            WHERE coalesce(s.closing, 0) <> coalesce(l.balance, 0) LIMIT 1
            """  # noqa: S608  (made of the matrix)
        ),
        {"ends_at": period.ends_at},
    ).first()
    if row is not None:
        raise Conflict(
            f"the statement of {row[0]} would close with {row[2]} micros of {row[1]}, the ledger with {row[3]}:"
            f" something was posted meanwhile; calculate period {period.period_id} again"
        )


def _journals(session: Session, period: Period, accounts: Iterable[Account]) -> dict[str, int]:
    """Journal id by key of the statements' journals of this period."""
    rows = session.execute(
        text("SELECT key, id FROM ledger.journal WHERE key = ANY(:keys)"),
        {"keys": [_key(period, account) for account in accounts]},
    )
    return {row.key: row.id for row in rows}


_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class _Past:
    """What earlier statements of one payee say."""

    history: tuple[Earned, ...] = ()
    earned: int = 0
    refunds: int = 0
    tax: int = 0
    payments: int = 0


class _Sections:
    """Every section of every statement, each by payee and currency, as its query found it."""

    def __init__(self, session: Session, period: Period) -> None:
        self._session = session
        self._period = period
        self._zone = ZoneInfo(period.zone)
        connection = psycopg_connection(session)
        for statement in _DETAIL:
            connection.execute(statement, {"period": period.period_id})
        self.accounts = {
            Account(row[0], row[1]): tuple(row[2:])
            for row in self._rows(
                "SELECT payee_id, currency, opening, royalties, late, refunds, payments, closing"
                ' FROM pg_temp.run_statement ORDER BY payee_id COLLATE "C", currency'
            )
        }
        self._platform: PlatformVersion = platform_at(session, last_instant(period))
        assert period.cut_off_at is not None
        self._parties = party_digests(session, period.cut_off_at)
        self._rate_cards = self._texts(_RATE_CARDS)
        self._contracts = self._texts(_CONTRACTS)
        self._pools = self._grouped(_POOLS, Pool)
        self._methods = self._grouped(_METHODS, Method)
        self._earnings = self._grouped(_EARNINGS, Earning)
        self._top_images = self._grouped(_TOP_IMAGES, TopImage)
        self._totals = self._grouped(_TOTALS, Total)
        self._digests = _digests(session)
        self._refunds = self._grouped(_REFUNDS, self._refund)
        self._payments = self._grouped(_PAYMENTS, Entry)
        self._holds = self._by_payee(_HOLDS)
        self._past = self._earlier()
        counts = next(iter(self._rows(_COUNTS)))
        self._counts = (Counts(*counts[:3]), Counts(*counts[3:6]), counts[6])

    def bodies(self) -> Iterator[tuple[Account, Body]]:
        """The statements, by payee and currency in byte order."""
        for account, summary in self.accounts.items():
            yield account, self._body(account, summary)

    def _body(self, account: Account, summary: tuple[int, ...]) -> Body:
        opening, royalties, late, refunds, payments, closing = summary
        period, platform, past = self._period, self._platform, self._past[account]
        start = self._day(period.starts_at)
        end = self._day(period.ends_at)
        sales, images, without_file = self._counts
        holds = tuple(self._holds[account.payee_id])
        minimum = int(platform.minimum_payout.get(account.currency, "0"))
        totals = tuple(self._totals[account])
        return Body(
            header=Header(
                period=StatementPeriod(period.period_id, start, end, period.zone),
                payee=PartyReference(account.payee_id, self._parties[account.payee_id]),
                platform=PartyReference(
                    platform.platform_payee_id, self._parties[platform.platform_payee_id]
                ),
                currency=account.currency,
                rate_cards=tuple(self._rate_cards[account]),
                contracts=tuple(self._contracts[account]),
            ),
            summary=Summary(
                columns=(
                    Column(
                        account.currency,
                        opening=opening,
                        royalties=royalties,
                        late=late,
                        refunds=refunds,
                        payments=payments,
                        closing=closing,
                    ),
                ),
                of_which=of_which(closing, minimum, account.currency, held=bool(holds)),
            ),
            computation=Computation(
                pools=tuple(self._pools[account]),
                sales=sales,
                images=images,
                images_without_file=without_file,
                methods=tuple(self._methods[account]),
            ),
            earnings=tuple(self._earnings[account]),
            history=(*past.history, Earned(period.period_id, royalties + late)),
            top_images=tuple(self._top_images[account]),
            lines=Detail(sum(total.lines for total in totals), totals, self._digests[account]),
            year_to_date=YearToDate(
                f"{start.year}",
                earned=past.earned + royalties + late,
                refunds=past.refunds + refunds,
                tax=past.tax,
                payments=past.payments + payments,
            ),
            dispute=Dispute(
                text=DISPUTE,
                contact=platform.dispute_contact,
                until=None if platform.dispute_days is None else end + timedelta(days=platform.dispute_days),
            ),
            entries=Entries(refunds=tuple(self._refunds[account]), payments=tuple(self._payments[account])),
            holds=holds,
        )

    def _refund(self, refund: str, currency: str, amount: int) -> Entry:
        day = self._day(last_instant(self._period))
        return Entry(day, REFUND_ROYALTIES.key.format(refund=refund), currency, amount)

    def _earlier(self) -> defaultdict[Account, _Past]:
        grouped: defaultdict[Account, list[Any]] = defaultdict(list)
        for payee_id, currency, *row in self._rows(_EARLIER):
            grouped[Account(payee_id, currency)].append(row)
        year = self._day(self._period.starts_at).year
        past: defaultdict[Account, _Past] = defaultdict(_Past)
        for account, rows in grouped.items():
            this_year = [row for row in rows if self._day(row[1]).year == year]
            past[account] = _Past(
                history=tuple(Earned(row[0], row[2] + row[3]) for row in rows[-(HISTORY - 1) :]),
                earned=sum(row[2] + row[3] + row[4] for row in this_year),
                refunds=sum(row[5] for row in this_year),
                tax=sum(row[6] for row in this_year),
                payments=sum(row[7] for row in this_year),
            )
        return past

    def _by_payee(self, query: str) -> defaultdict[str, list[Hold]]:
        found: defaultdict[str, list[Hold]] = defaultdict(list)
        for payee_id, opened_at, key, reason, expected in self._rows(query):
            found[payee_id].append(Hold(self._day(opened_at), f"hold:{key}", reason, expected))
        return found

    def _grouped(self, query: str, make: Callable[..., _Item]) -> defaultdict[Account, list[_Item]]:
        found: defaultdict[Account, list[_Item]] = defaultdict(list)
        for payee_id, currency, *fields in self._rows(query):
            found[Account(payee_id, currency)].append(make(*fields))
        return found

    def _texts(self, query: str) -> defaultdict[Account, list[str]]:
        return self._grouped(query, str)

    def _rows(self, query: str) -> Iterable[tuple[Any, ...]]:
        parameters: Mapping[str, Any] = {
            "period": self._period.period_id,
            "starts_at": self._period.starts_at,
            "cut_off": self._period.cut_off_at,
            "top": TOP_IMAGES,
        }
        return psycopg_connection(self._session).execute(query, parameters).fetchall()

    def _day(self, moment: Any) -> date:
        day: date = moment.astimezone(self._zone).date()
        return day


def _digests(session: Session) -> defaultdict[Account, str]:
    """The digest of each statement's lines, from the very bytes that the database emits for them."""
    query = f"""
        COPY (SELECT payee_id, currency, {", ".join(FIELDS)} FROM pg_temp.run_detail
              ORDER BY payee_id COLLATE "C", currency, line COLLATE "C") TO STDOUT
    """  # noqa: S608  (names of fields)
    digests: defaultdict[tuple[bytes, bytes], Any] = defaultdict(hashlib.sha256)
    connection = psycopg_connection(session)
    connection.execute("SET LOCAL DateStyle = 'ISO'")
    rest = b""
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        for block in copy:
            # No newline but a row's own: COPY escapes those of texts.
            *rows, rest = (rest + bytes(block)).split(b"\n")
            for row in rows:
                payee_id, currency, record = row.split(b"\t", 2)
                digests[payee_id, currency].update(record + b"\n")
    nothing = hashlib.sha256().hexdigest()
    return defaultdict(
        lambda: nothing,
        {
            Account(payee.decode(), code.decode()): found.hexdigest()
            for (payee, code), found in digests.items()
        },
    )


# The period's lines of payees, as they are shown to them: joined once for all sections, sorted by bytes and not by a
# language's rules, which costs twice the time.
_DETAIL = [
    "DROP TABLE IF EXISTS pg_temp.run_detail",
    """
    CREATE TEMP TABLE run_detail ON COMMIT DROP AS
    SELECT id, payee_id COLLATE "C" AS payee_id, currency, line COLLATE "C" AS line, kind, period, usage_period,
           usage_date, territory COLLATE "C" AS territory, sale COLLATE "C" AS sale, image COLLATE "C" AS image,
           model COLLATE "C" AS model, player COLLATE "C" AS player, method, share, distribution_key, rate_card,
           contract, split, base, slice, amount, corrects
    FROM settlement.statement_line WHERE period = %(period)s AND payee_id IS NOT NULL
    """,
    "ANALYZE pg_temp.run_detail",
]
_RATE_CARDS = "SELECT DISTINCT payee_id, currency, rate_card FROM pg_temp.run_detail"
_CONTRACTS = "SELECT DISTINCT payee_id, currency, contract FROM pg_temp.run_detail WHERE contract IS NOT NULL"
_METHODS = """
SELECT DISTINCT d.payee_id, d.currency, m.name, encode(m.sha256, 'hex')
FROM pg_temp.run_detail AS d JOIN settlement.royalty_line AS l ON l.id = d.id
JOIN attribution.attribution AS a ON a.id = l.attribution_id JOIN attribution.method_version AS m ON m.id = a.method_id
"""
_POOLS = """
WITH pool AS (
    SELECT k.rate_card_id || '@' || (k.valid_from AT TIME ZONE p.zone)::date AS rate_card, c.currency::text AS currency,
           k.model, count(*) AS sales, sum(c.base_micros)::bigint AS base, sum(c.slice_micros)::bigint AS slices
    FROM settlement.sale_slice AS c
    JOIN settlement.rate_card_version AS k ON k.id = c.rate_card_version_id
    JOIN settlement.period AS p ON p.period_id = c.period_id
    WHERE c.period_id = %(period)s GROUP BY 1, 2, 3
)
SELECT d.payee_id, d.currency, p.rate_card, p.currency, p.model, p.sales, p.base, p.slices, d.own
FROM (SELECT payee_id, currency, rate_card, sum(amount)::bigint AS own FROM pg_temp.run_detail
      WHERE kind = 'royalty' GROUP BY 1, 2, 3) AS d
JOIN pool AS p ON p.rate_card = d.rate_card AND p.currency = d.currency
"""
_EARNINGS = """
SELECT payee_id, currency, usage_period, model, territory, currency, kind, count(DISTINCT image), count(*),
       sum(base)::bigint, sum(amount)::bigint
FROM (
    -- A payee may earn on one sale through several players: it is one sale, and its base counts once.
    SELECT payee_id, currency, kind, sale, any_value(usage_period) AS usage_period, any_value(model) AS model,
           any_value(territory) AS territory, any_value(image) AS image, any_value(base) AS base, sum(amount) AS amount
    FROM pg_temp.run_detail WHERE kind IN ('royalty', 'late') GROUP BY payee_id, currency, kind, sale
) AS sold GROUP BY payee_id, currency, usage_period, model, territory, kind
"""
_TOP_IMAGES = """
SELECT payee_id, currency, image, player, share, currency, amount
FROM (
    SELECT *, row_number() OVER (PARTITION BY payee_id, currency
                                 ORDER BY amount DESC, image COLLATE "C", player COLLATE "C") AS place
    FROM (SELECT payee_id, currency, image, player, max(share) AS share, sum(amount)::bigint AS amount
          FROM pg_temp.run_detail WHERE kind IN ('royalty', 'late') GROUP BY 1, 2, 3, 4) AS earned
) AS ranked WHERE place <= %(top)s
"""
_TOTALS = """
SELECT payee_id, currency, kind, currency, count(*), sum(amount)::bigint FROM pg_temp.run_detail
GROUP BY payee_id, currency, kind ORDER BY payee_id COLLATE "C", currency, kind
"""
_REFUNDS = """
SELECT d.payee_id, d.currency, r.external_id, d.currency, sum(d.amount)::bigint
FROM pg_temp.run_detail AS d JOIN settlement.royalty_line AS l ON l.id = d.id
JOIN settlement.refund AS r ON r.id = l.refund_id
WHERE d.kind = 'refund' GROUP BY 1, 2, 3
"""
_PAYMENTS = "SELECT payee_id, currency, day, key, currency, amount FROM pg_temp.run_payment WHERE amount <> 0"
# As they were at the cut-off, whenever the period is closed.
_HOLDS = """
SELECT h.payee_id, h.opened_at, h.id, h.reason, h.expected_until
FROM settlement.hold AS h LEFT JOIN settlement.hold_release AS r ON r.hold_id = h.id
WHERE h.opened_at < %(cut_off)s AND (r.hold_id IS NULL OR r.released_at >= %(cut_off)s)
"""
_EARLIER = """
SELECT s.payee_id, s.currency, s.period_id, p.starts_at, s.royalties, s.late, s.adjustments, s.refunds, s.tax,
       s.payments
FROM settlement.statement AS s JOIN settlement.period AS p ON p.period_id = s.period_id
WHERE p.starts_at < %(starts_at)s AND p.starts_at > CAST(%(starts_at)s AS timestamptz) - interval '25 months'
ORDER BY p.starts_at
"""
_COUNTS = """
SELECT count(*) FILTER (WHERE a.status = 'attributed'), count(*) FILTER (WHERE a.status IS NULL),
       count(*) FILTER (WHERE a.status = 'unattributed'),
       count(DISTINCT s.image_id) FILTER (WHERE a.status = 'attributed'),
       count(DISTINCT s.image_id) FILTER (WHERE a.status IS NULL),
       count(DISTINCT s.image_id) FILTER (WHERE a.status = 'unattributed'),
       count(DISTINCT s.image_id) FILTER (WHERE a.status = 'attributed' AND a.fidelity IS NULL)
FROM pg_temp.run_sale AS s LEFT JOIN pg_temp.run_attribution AS a ON a.image_id = s.image_id
"""
