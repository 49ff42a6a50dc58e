"""Issuing a period's statements: one query per section for all payees together, one canonical body each.

Runs inside a close, after the lines are written and the journals posted, on the temporary tables of the calculation
(`settlement.periods.calculation`).
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.orm import Session

from database.engine import psycopg_connection
from database.errors import Conflict
from settlement.balance import of_which
from settlement.fx import TRILLION
from settlement.payees import party_digests
from settlement.periods.calendar import last_instant
from settlement.periods.models import Period
from settlement.posting import (
    ADVANCE_PAID,
    CLAIM_KINDS,
    PAYABLE,
    PAYMENT_KINDS,
    REFUND_ROYALTIES,
    STATEMENT,
)
from settlement.rates import PlatformVersion, platform_at
from settlement.statements.body import (
    MOVEMENTS,
    Adjustment,
    AdvanceBalance,
    Body,
    Column,
    Computation,
    Conversion,
    Counts,
    Dispute,
    Earned,
    Earning,
    Entries,
    Entry,
    ForeignYear,
    Header,
    HeldBack,
    Hold,
    Method,
    OpenDispute,
    PartyReference,
    Pool,
    StatementPeriod,
    Summary,
    TaxSum,
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
    "If you think that something here is wrong, open a dispute in the portal, or write to the address below: name this "
    "statement and the line or sale, and say what is wrong."
)

Progress = Callable[[str, int, int], None]


class Account(NamedTuple):
    """Whose statement: a payee in her payout currency."""

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
            column, parts = sections.own(account), body.summary.of_which
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


_SUMMARY = ("opening", *MOVEMENTS, "closing")
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
            FROM pg_temp.run_column AS s
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
    """What earlier statements of one payee say: her chart, and this year's columns by currency."""

    history: tuple[Earned, ...] = ()
    columns: Mapping[str, Column] = field(default_factory=dict)


class _Sections:
    """Every section of every statement, each by payee and currency, as its query found it."""

    def __init__(self, session: Session, period: Period) -> None:
        self._session = session
        self._period = period
        self._zone = ZoneInfo(period.zone)
        connection = psycopg_connection(session)
        for statement in _DETAIL:
            connection.execute(statement, {"period": period.period_id})
        self.accounts = self._grouped(_COLUMN_ROWS, Column)
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
        self._claims = self._grouped(_CLAIMS, Entry)
        self._adjustments = self._grouped(_ADJUSTMENTS, Adjustment)
        self._steps = {name: self._grouped(query, self._step) for name, query in _STEPS.items()}
        self._conversions = self._grouped(_CONVERSIONS, Conversion)
        self._taxes = self._grouped(_TAXES, TaxSum)
        self._reserves = self._grouped(_RESERVES, HeldBack)
        self._advances = self._grouped(_ADVANCES, AdvanceBalance)
        self._holds = self._by_payee(_HOLDS, self._hold)
        self._disputes = self._by_payee(_DISPUTES, self._dispute)
        self._past = self._earlier()
        counts = next(iter(self._rows(_COUNTS)))
        self._counts = (Counts(*counts[:3]), Counts(*counts[3:6]), counts[6])

    def bodies(self) -> Iterator[tuple[Account, Body]]:
        """The statements, by payee and currency in byte order."""
        for account in self.accounts:
            yield account, self._body(account)

    def own(self, account: Account) -> Column:
        """The statement's column in its payout currency."""
        return next(column for column in self.accounts[account] if column.currency == account.currency)

    def _body(self, account: Account) -> Body:
        columns, own = tuple(self.accounts[account]), self.own(account)
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
                columns=columns,
                of_which=of_which(own.closing, minimum, account.currency, held=bool(holds)),
            ),
            computation=Computation(
                pools=tuple(self._pools[account]),
                sales=sales,
                images=images,
                images_without_file=without_file,
                methods=tuple(self._methods[account]),
            ),
            earnings=tuple(self._earnings[account]),
            history=(*past.history, Earned(period.period_id, own.royalties + own.late + own.fx)),
            top_images=tuple(self._top_images[account]),
            lines=Detail(sum(total.lines for total in totals), totals, self._digests[account]),
            year_to_date=_year_to_date(f"{start.year}", account.currency, [*past.columns.values(), *columns]),
            dispute=Dispute(
                text=DISPUTE,
                contact=platform.dispute_contact,
                until=None if platform.dispute_days is None else end + timedelta(days=platform.dispute_days),
            ),
            adjustments=tuple(self._adjustments[account]),
            entries=Entries(
                refunds=tuple(self._refunds[account]),
                payments=tuple(self._payments[account]),
                claims=tuple(self._claims[account]),
                **{name: tuple(entries[account]) for name, entries in self._steps.items()},
            ),
            holds=holds,
            disputes=tuple(self._disputes[account.payee_id]),
            conversions=tuple(self._conversions[account]),
            taxes=tuple(self._taxes[account]),
            reserves=tuple(self._reserves[account]),
            advances=tuple(self._advances[account]),
        )

    def _refund(self, refund: str, currency: str, amount: int) -> Entry:
        day = self._day(last_instant(self._period))
        return Entry(day, REFUND_ROYALTIES.key.format(refund=refund), currency, amount)

    def _step(self, key: str, currency: str, amount: int) -> Entry:
        """What a step of the order at close moved: at the period's last instant, in the statement's journal."""
        return Entry(self._day(last_instant(self._period)), key, currency, amount)

    def _earlier(self) -> defaultdict[Account, _Past]:
        """By the statement's account; sums of this year by currency, the chart by period."""
        charts: defaultdict[Account, dict[str, int]] = defaultdict(dict)
        sums: defaultdict[Account, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        year = self._day(self._period.starts_at).year
        for payee_id, payout, period_id, starts_at, currency, *amounts in self._rows(_EARLIER):
            account = Account(payee_id, payout)
            figures = dict(zip(MOVEMENTS, amounts, strict=True))
            if currency == payout:
                charts[account][period_id] = figures["royalties"] + figures["late"] + figures["fx"]
            if self._day(starts_at).year == year:
                sums[account][currency].update(figures)
        past: defaultdict[Account, _Past] = defaultdict(_Past)
        for account in charts.keys() | sums.keys():
            past[account] = _Past(
                tuple(Earned(*item) for item in list(charts[account].items())[-(HISTORY - 1) :]),
                {currency: Column(currency, **figures) for currency, figures in sums[account].items()},
            )
        return past

    def _hold(self, opened_at: datetime, number: int, reason: str, expected: date | None) -> Hold:
        return Hold(self._day(opened_at), f"hold:{number}", reason, expected)

    def _dispute(self, opened_at: datetime, number: int, statement: str, about: str | None) -> OpenDispute:
        return OpenDispute(self._day(opened_at), f"dispute:{number}", statement, about)

    def _by_payee(self, query: str, make: Callable[..., _Item]) -> defaultdict[str, list[_Item]]:
        found: defaultdict[str, list[_Item]] = defaultdict(list)
        for payee_id, *fields in self._rows(query):
            found[payee_id].append(make(*fields))
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
            "zone": self._period.zone,
            "payment_kinds": PAYMENT_KINDS,
            "claim_kinds": CLAIM_KINDS,
        }
        return psycopg_connection(self._session).execute(query, parameters).fetchall()

    def _day(self, moment: Any) -> date:
        day: date = moment.astimezone(self._zone).date()
        return day


def _year_to_date(year: str, payout: str, columns: Iterable[Column]) -> YearToDate:
    """Sums of a year's columns, each currency by itself."""
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for column in columns:
        sums[column.currency].update(
            earned=column.royalties + column.late + column.adjustments,
            refunds=column.refunds,
            tax=column.tax,
            payments=column.payments,
            fx=column.fx,
        )
    own = sums.pop(payout)
    return YearToDate(
        year,
        earned=own["earned"],
        refunds=own["refunds"],
        tax=own["tax"],
        payments=own["payments"],
        fx=own["fx"],
        foreign=tuple(
            ForeignYear(currency, figures["earned"], figures["refunds"], figures["tax"], figures["fx"])
            for currency, figures in sums.items()
        ),
    )


def _digests(session: Session) -> defaultdict[Account, str]:
    """The digest of each statement's lines, from the very bytes that the database emits for them."""
    query = f"""
        COPY (SELECT payee_id, payout, {", ".join(FIELDS)} FROM pg_temp.run_detail
              ORDER BY payee_id COLLATE "C", payout, line COLLATE "C") TO STDOUT
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
    SELECT id, payee_id COLLATE "C" AS payee_id, right(statement_id, 3) AS payout, currency, line COLLATE "C" AS line,
           kind, period, usage_period, usage_date, territory COLLATE "C" AS territory, sale COLLATE "C" AS sale,
           image COLLATE "C" AS image, model COLLATE "C" AS model, player COLLATE "C" AS player, method, share,
           distribution_key, rate_card, contract, split, base, slice, amount, corrects
    FROM settlement.statement_line WHERE period = %(period)s AND payee_id IS NOT NULL
    """,
    "ANALYZE pg_temp.run_detail",
]
_RATE_CARDS = "SELECT DISTINCT payee_id, payout, rate_card FROM pg_temp.run_detail"
_CONTRACTS = "SELECT DISTINCT payee_id, payout, contract FROM pg_temp.run_detail WHERE contract IS NOT NULL"
# Few shares have a standard error: they are looked for by themselves.
_METHODS = """
SELECT d.payee_id, d.payout, m.name, encode(m.sha256, 'hex'), max(e.prompt_standard_error_ppb)
FROM pg_temp.run_detail AS d JOIN settlement.royalty_line AS l ON l.id = d.id
JOIN attribution.attribution AS a ON a.id = l.attribution_id JOIN attribution.method_version AS m ON m.id = a.method_id
LEFT JOIN (SELECT attribution_id, player, prompt_standard_error_ppb FROM attribution.attribution_share
           WHERE prompt_standard_error_ppb IS NOT NULL) AS e
    ON e.attribution_id = l.attribution_id AND e.player = l.player
GROUP BY 1, 2, 3, 4
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
SELECT d.payee_id, d.payout, p.rate_card, p.currency, p.model, p.sales, p.base, p.slices, d.own
FROM (SELECT payee_id, payout, currency, rate_card, sum(amount)::bigint AS own FROM pg_temp.run_detail
      WHERE kind = 'royalty' GROUP BY 1, 2, 3, 4) AS d
JOIN pool AS p ON p.rate_card = d.rate_card AND p.currency = d.currency
"""
_EARNINGS = """
SELECT payee_id, payout, usage_period, model, territory, currency, kind, count(*), sum(sales)::bigint,
       sum(base)::bigint, sum(amount)::bigint
FROM (
    -- By image first, and not count(DISTINCT image), which sorts everything.
    SELECT payee_id, payout, usage_period, model, territory, currency, kind, count(*) AS sales, sum(base) AS base,
           sum(amount) AS amount
    FROM (
        -- A payee may earn on one sale through several players: it is one sale, and its base counts once.
        SELECT payee_id, payout, currency, kind, any_value(usage_period) AS usage_period, any_value(model) AS model,
               any_value(territory) AS territory, any_value(image) AS image, any_value(base) AS base,
               sum(amount) AS amount
        FROM pg_temp.run_detail WHERE kind IN ('royalty', 'late')
        GROUP BY payee_id, payout, currency, kind, sale
    ) AS sold GROUP BY payee_id, payout, currency, usage_period, model, territory, kind, image
) AS seen GROUP BY payee_id, payout, currency, usage_period, model, territory, kind
"""
# Of several currencies those that earned most in the payout currency.
_TOP_IMAGES = f"""
SELECT payee_id, payout, image, player, share, currency, amount
FROM (
    SELECT e.*, row_number() OVER (PARTITION BY e.payee_id, e.payout
                                   ORDER BY e.amount * coalesce(x.rate, {TRILLION}) DESC, e.image COLLATE "C",
                                            e.player COLLATE "C") AS place
    FROM (SELECT payee_id, payout, image, player, max(share) AS share, currency, sum(amount)::bigint AS amount
          -- What the fallback key gave to the payee, no image of hers earned.
          FROM pg_temp.run_detail WHERE kind IN ('royalty', 'late') AND distribution_key <> 'manual'
          GROUP BY 1, 2, 3, 4, 6) AS e
    LEFT JOIN (SELECT c.payee_id, c.currency, r.rate_trillionths::numeric AS rate FROM pg_temp.run_conversion AS c
               JOIN settlement.fx_rate AS r ON r.id = c.fx_rate_id) AS x
        ON x.payee_id = e.payee_id AND x.currency = e.currency
) AS ranked WHERE place <= %(top)s
"""  # noqa: S608  (made of constants)
_TOTALS = """
SELECT payee_id, payout, kind, currency, count(*), sum(amount)::bigint FROM pg_temp.run_detail
GROUP BY payee_id, payout, currency, kind ORDER BY payee_id COLLATE "C", payout, kind, currency
"""
_REFUNDS = """
SELECT d.payee_id, d.payout, r.external_id, d.currency, sum(d.amount)::bigint
FROM pg_temp.run_detail AS d JOIN settlement.royalty_line AS l ON l.id = d.id
JOIN settlement.refund AS r ON r.id = l.refund_id
WHERE d.kind = 'refund' GROUP BY 1, 2, 3, 4
"""
_COLUMN_ROWS = f"""
SELECT payee_id, payout, currency, opening, {", ".join(MOVEMENTS)}, closing FROM pg_temp.run_column
ORDER BY payee_id, payout, currency
"""  # noqa: S608  (names of columns)
_PAYMENTS = """
SELECT m.payee_id, c.payout, m.day, m.key, m.currency, m.amount
FROM pg_temp.run_payment AS m JOIN pg_temp.run_column AS c ON c.payee_id = m.payee_id AND c.currency = m.currency
WHERE m.amount <> 0 AND m.kind = ANY(%(payment_kinds)s)
"""
_CLAIMS = """
SELECT m.payee_id, c.payout, m.day, m.key, m.currency, m.amount
FROM pg_temp.run_payment AS m JOIN pg_temp.run_column AS c ON c.payee_id = m.payee_id AND c.currency = m.currency
WHERE m.amount <> 0 AND m.kind = ANY(%(claim_kinds)s)
"""
# Of corrections, by the accounting and usage period of the sales: what was taken back, and what is given instead; the
# lines themselves are in the detail. Amounts by hand. And a journal that is neither a payout's nor a
# claim's: what it reverses, or what it posts by itself.
_ADJUSTMENTS = """
SELECT l.payee_id, l.payout, l.line, coalesce(s.statement_id, l.line), l.usage_period, l.currency, l.original,
       l.corrected, l.corrected - l.original, c.reason
FROM (
    SELECT d.payee_id, d.payout, l.correction_id, x.period_id, d.usage_period, d.currency,
           l.correction_id || '/' || x.period_id || '/' || d.usage_period AS line,
           coalesce(-sum(d.amount) FILTER (WHERE d.amount < 0), 0)::bigint AS original,
           coalesce(sum(d.amount) FILTER (WHERE d.amount > 0), 0)::bigint AS corrected
    FROM pg_temp.run_detail AS d JOIN settlement.royalty_line AS l ON l.id = d.id
    JOIN settlement.sale_slice AS x ON x.sale_id = l.sale_id
    WHERE d.kind = 'adjustment' GROUP BY 1, 2, 3, 4, 5, 6
) AS l
JOIN pg_temp.run_correction AS c ON c.correction_id = l.correction_id
LEFT JOIN settlement.statement AS s
    ON s.payee_id = l.payee_id AND s.currency = l.payout AND s.period_id = l.period_id
UNION ALL
SELECT m.payee_id, c.payout, m.correction_id, m.correction_id, %(period)s, m.currency, 0, m.amount, m.amount, m.reason
FROM pg_temp.run_correction AS m JOIN pg_temp.run_column AS c ON c.payee_id = m.payee_id AND c.currency = m.currency
WHERE m.kind = 'manual'
UNION ALL
SELECT m.payee_id, c.payout, m.key, coalesce(m.reversed, m.key), coalesce(m.reversed_in, %(period)s), m.currency,
       CASE WHEN m.reversed IS NULL THEN 0 ELSE -m.amount END,
       CASE WHEN m.reversed IS NULL THEN m.amount ELSE 0 END, m.amount, m.kind
FROM pg_temp.run_payment AS m JOIN pg_temp.run_column AS c ON c.payee_id = m.payee_id AND c.currency = m.currency
WHERE m.amount <> 0 AND NOT (m.kind = ANY(%(payment_kinds)s) OR m.kind = ANY(%(claim_kinds)s))
"""
# What each step of the order at close moved, by the key of what it moved.
_STEPS = {
    "reserves": """
        SELECT u.payee_id, c.payout, 'reserve:' || u.taken_in || coalesce(':used:' || u.refund, ':released'),
               u.currency, u.amount
        FROM pg_temp.run_reserve_use AS u
        JOIN pg_temp.run_column AS c ON c.payee_id = u.payee_id AND c.currency = u.currency
        UNION ALL
        SELECT r.payee_id, c.payout, 'reserve:' || %(period)s || ':taken', r.currency, -r.amount
        FROM pg_temp.run_reserve AS r
        JOIN pg_temp.run_column AS c ON c.payee_id = r.payee_id AND c.currency = r.currency""",
    "tax": """
        SELECT t.payee_id, c.payout, 'tax:' || t.territory, t.currency, -t.withheld
        FROM pg_temp.run_tax AS t JOIN pg_temp.run_column AS c ON c.payee_id = t.payee_id AND c.currency = t.currency
        WHERE t.withheld <> 0
        UNION ALL
        SELECT t.payee_id, c.payout, 'tax:' || t.territory || ':' || t.taxed_in || ':refunded:' || t.refund, t.currency,
               t.given_back
        FROM pg_temp.run_tax_reversal AS t
        JOIN pg_temp.run_column AS c ON c.payee_id = t.payee_id AND c.currency = t.currency
        WHERE t.given_back <> 0""",
    "fx": """
        SELECT payee_id, payout, 'fx:' || currency, currency, -source FROM pg_temp.run_conversion
        UNION ALL
        SELECT payee_id, payout, 'fx:' || currency, payout, target FROM pg_temp.run_conversion WHERE target <> 0""",
    "recoupment": f"""
        SELECT payee_id, currency, {ADVANCE_PAID.key_sql(advance="advance_id")}, currency, -amount
        FROM pg_temp.run_recoupment WHERE amount <> 0""",  # noqa: S608  (made of the matrix)
}
_CONVERSIONS = """
SELECT c.payee_id, c.payout, c.currency, c.source, r.rate_trillionths, r.source,
       (r.valid_from AT TIME ZONE %(zone)s)::date, c.target
FROM pg_temp.run_conversion AS c JOIN settlement.fx_rate AS r ON r.id = c.fx_rate_id
"""
_TAXES = """
SELECT t.payee_id, c.payout, t.territory::text, t.currency, t.base, t.rate, t.withheld
FROM pg_temp.run_tax AS t JOIN pg_temp.run_column AS c ON c.payee_id = t.payee_id AND c.currency = t.currency
"""
_RESERVES = """
SELECT h.payee_id, p.currency, h.taken_in, h.currency, h.taken,
       (h.remaining - coalesce((SELECT sum(u.amount) FROM pg_temp.run_reserve_use AS u WHERE u.payee_id = h.payee_id
                                AND u.currency = h.currency AND u.taken_in = h.taken_in), 0))::bigint
FROM (SELECT payee_id, currency, taken_in, taken, remaining FROM pg_temp.run_lot
      UNION ALL SELECT payee_id, currency, %(period)s, amount, amount FROM pg_temp.run_reserve) AS h
JOIN settlement.payee AS p ON p.payee_id = h.payee_id
"""
_ADVANCES = """
SELECT r.payee_id, r.currency, r.advance_id, a.amount_micros, r.remaining::bigint, r.amount,
       (r.remaining - r.amount)::bigint
FROM pg_temp.run_recoupment AS r JOIN settlement.advance AS a ON a.advance_id = r.advance_id
"""
# As they were at the cut-off, whenever the period is closed.
_HOLDS = """
SELECT h.payee_id, h.opened_at, h.id, h.reason, h.expected_until
FROM settlement.hold AS h LEFT JOIN settlement.hold_release AS r ON r.hold_id = h.id
WHERE h.opened_at < %(cut_off)s AND (r.hold_id IS NULL OR r.released_at >= %(cut_off)s)
"""
_DISPUTES = """
SELECT d.payee_id, d.recorded_at, d.id, d.statement_id, d.subject
FROM settlement.dispute AS d LEFT JOIN settlement.dispute_answer AS a ON a.dispute_id = d.id
WHERE d.recorded_at < %(cut_off)s AND (a.dispute_id IS NULL OR a.recorded_at >= %(cut_off)s)
"""
_EARLIER = f"""
SELECT s.payee_id, s.payout, s.period_id, p.starts_at, s.currency, {", ".join(MOVEMENTS)}
FROM (
    SELECT payee_id, currency AS payout, currency, period_id, {", ".join(MOVEMENTS)} FROM settlement.statement
    UNION ALL
    SELECT payee_id, right(statement_id, 3), currency, period_id, {", ".join(MOVEMENTS)}
    FROM settlement.statement_column
) AS s JOIN settlement.period AS p ON p.period_id = s.period_id
WHERE p.starts_at < %(starts_at)s AND p.starts_at > CAST(%(starts_at)s AS timestamptz) - interval '25 months'
ORDER BY p.starts_at
"""  # noqa: S608  (names of columns)
_COUNTS = """
SELECT count(*) FILTER (WHERE a.status = 'attributed'), count(*) FILTER (WHERE a.status IS NULL),
       count(*) FILTER (WHERE a.status = 'unattributed'),
       count(DISTINCT s.image_id) FILTER (WHERE a.status = 'attributed'),
       count(DISTINCT s.image_id) FILTER (WHERE a.status IS NULL),
       count(DISTINCT s.image_id) FILTER (WHERE a.status = 'unattributed'),
       count(DISTINCT s.image_id) FILTER (WHERE a.status = 'attributed' AND a.fidelity IS NULL)
FROM pg_temp.run_sale AS s LEFT JOIN pg_temp.run_attribution AS a ON a.image_id = s.image_id
"""
