"""What an artist reads: her statements, lines, balances, payouts, holds, and what an image's attribution says of her.

Every query runs as the role `portal` in a transaction that `act_for` has bound to a user. Row-level security and column
privileges are the fence: a query here that forgot a condition would still give nobody another's row.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from database.errors import NotFound
from settlement.balance import OfWhich, of_which
from settlement.statements.body import MOVEMENTS

CONTENT = "content"
"""What the player `C` is called."""

ANOTHER = "another artist"
"""What an artist is called to whom the reader has no contract."""


@dataclass(frozen=True, slots=True)
class PayeeView:
    """A payee whose statements the user may read."""

    payee_id: str
    kind: str
    currency: str
    """Payout currency."""
    name: str | None
    """None where it was erased or never given."""


@dataclass(frozen=True, slots=True)
class BalanceView:
    """What the ledger owes a payee in one currency now, in micros; below zero the payee owes."""

    payee_id: str
    currency: str
    balance: int
    minimum: int | None
    """The least that is paid out; None until a period has been closed."""
    of_which: OfWhich | None
    """What a payout would do with it; None while the minimum is unknown."""


@dataclass(frozen=True, slots=True)
class StatementView:
    """An issued statement's summary; amounts in micros."""

    number: int
    statement_id: str
    period_id: str
    payee_id: str
    currency: str
    sha256: str
    issued_at: datetime
    opening: int
    movements: dict[str, int]
    """By name, in the order in which a reader adds them up."""
    closing: int
    of_which: OfWhich


@dataclass(frozen=True, slots=True)
class LineView:
    """One line of a statement; amounts in micros, shares in ppb."""

    id: int
    """Where a page ends; not the line's public id."""
    line: str
    kind: str
    usage_period: str
    usage_date: date
    territory: str
    sale: str
    image: str
    model: str
    player: str
    """The reader's own artist's name, `content`, or `another artist`."""
    method: str | None
    share: int | None
    distribution_key: str
    rate_card: str
    contract: str | None
    split: int | None
    base: int
    slice: int
    amount: int
    currency: str
    corrects: str | None


@dataclass(frozen=True, slots=True)
class ShareView:
    """One player's part of an image, in ppb."""

    player: str
    own: bool
    share: int


@dataclass(frozen=True, slots=True)
class AttributionView:
    """How an image that earned something for the reader was attributed, and what it earned."""

    image: str
    model: str
    status: str | None
    """None: paid by a key that needs no attribution."""
    method: str | None
    shares: tuple[ShareView, ...]
    """Adding up to 10^9, the other artists' together as one; empty where there is no attribution."""
    other_artists: int
    """How many `another artist` stands for."""
    earned: tuple[tuple[str, int], ...]
    """Currency and micros of all the reader's lines on this image."""


@dataclass(frozen=True, slots=True)
class PayoutView:
    """A payee in a payout run, and how far it has come."""

    number: int
    """Where a page ends."""
    payout_id: str
    payee_id: str
    currency: str
    balance: int
    amount: int
    decision: str
    state: str
    state_at: datetime
    reference: str | None
    """The payment's EndToEndId: what the bank's statement shows."""


@dataclass(frozen=True, slots=True)
class HoldView:
    """A flag that stops or stopped a payee's payouts."""

    number: int
    payee_id: str
    reason: str
    opened_at: datetime
    expected_until: date | None
    released_at: datetime | None
    release_reason: str | None


def act_for(session: Session, user_id: int) -> None:
    """Bind this transaction to a user: read-only, and her own rows only.

    The setting ends with the transaction, so that a pooled connection never carries one user into another's request.
    """
    session.execute(
        text(
            "SELECT set_config('transaction_read_only', 'on', true), set_config('app.user_id', :user_id, true)"
        ),
        {"user_id": str(user_id)},
    )


def payees(session: Session) -> list[PayeeView]:
    """The payees whose statements the user may read, by id."""
    rows = session.execute(
        text("""
            SELECT p.payee_id, p.kind, p.currency::text, v.name
            FROM settlement.payee AS p
            LEFT JOIN LATERAL (
                SELECT details ->> 'name' AS name FROM party.party_version AS v
                WHERE v.payee_id = p.payee_id ORDER BY v.version DESC LIMIT 1) AS v ON true
            ORDER BY p.payee_id COLLATE "C"
        """)
    )
    return [PayeeView(*row) for row in rows]


def balances(session: Session) -> list[BalanceView]:
    """What each payee is owed now, by payee and currency."""
    rows = session.execute(
        text("""
            SELECT b.payee_id, b.currency, b.balance, b.minimum,
                   EXISTS (SELECT FROM settlement.hold AS h WHERE h.payee_id = b.payee_id AND NOT EXISTS (
                       SELECT FROM settlement.hold_release AS r WHERE r.hold_id = h.id)) AS held
            FROM settlement.payee_balance AS b
            ORDER BY b.payee_id COLLATE "C", b.currency COLLATE "C"
        """)
    )
    return [
        BalanceView(
            payee_id,
            currency,
            balance,
            minimum,
            None if minimum is None else of_which(balance, minimum, currency, held=held),
        )
        for payee_id, currency, balance, minimum, held in rows
    ]


def statements(session: Session, *, before: int | None, limit: int) -> list[StatementView]:
    """Issued statements, newest first, at most ``limit`` with a number below ``before``."""
    own = session.scalars(text("SELECT payee_id FROM access.payee_access")).all()
    rows = session.execute(
        text(f"""
            SELECT number, statement_id, period_id, payee_id, currency::text AS currency,
                   encode(sha256, 'hex') AS sha256, recorded_at,
                   opening, {", ".join(MOVEMENTS)}, closing, payable, held, below_minimum, below_unit
            FROM settlement.statement
            -- Named once more beside the policy, which a plan cannot look up in an index.
            WHERE payee_id = ANY(:own) AND (CAST(:before AS bigint) IS NULL OR number < :before)
            ORDER BY number DESC LIMIT :limit
        """),  # noqa: S608  (column names of ours)
        {"own": list(own), "before": before, "limit": limit},
    )
    return [
        StatementView(
            number=row.number,
            statement_id=row.statement_id,
            period_id=row.period_id,
            payee_id=row.payee_id,
            currency=row.currency,
            sha256=row.sha256,
            issued_at=row.recorded_at,
            opening=row.opening,
            movements={name: row._mapping[name] for name in MOVEMENTS},
            closing=row.closing,
            of_which=OfWhich(row.payable, row.held, row.below_minimum, row.below_unit),
        )
        for row in rows
    ]


def statement_sha256(session: Session, statement_id: str) -> str:
    """The identity of an issued statement, in hex, without reading its body. Raises `NotFound`."""
    found = session.scalar(
        text("SELECT encode(sha256, 'hex') FROM settlement.statement WHERE statement_id = :id"),
        {"id": statement_id},
    )
    if found is None:
        raise _no_statement(statement_id)
    return str(found)


def statement_body(session: Session, statement_id: str) -> str:
    """An issued statement's canonical body. Raises `NotFound`."""
    found = session.scalar(
        text("SELECT body FROM settlement.statement WHERE statement_id = :id"), {"id": statement_id}
    )
    if found is None:
        raise _no_statement(statement_id)
    return str(found)


def statement_lines(session: Session, statement_id: str, *, after: int, limit: int) -> list[LineView]:
    """At most ``limit`` lines of a statement, in the order they were written, after the line of that id.

    Raises:
        NotFound: there is no such statement, or it is not the user's.
    """
    statement = session.execute(
        text(
            "SELECT statement_id, payee_id, period_id, currency FROM settlement.statement WHERE statement_id = :id"
        ),
        {"id": statement_id},
    ).one_or_none()
    if statement is None:
        raise _no_statement(statement_id)
    # The page's keys first, from one index, whatever the number of lines; the view's joins are for these rows only.
    page = session.scalars(
        text("""
            SELECT id FROM settlement.royalty_line
            WHERE payee_id = :payee AND period_id = :period AND id > :after AND currency = ANY (ARRAY(
                SELECT CAST(:currency AS char(3))
                UNION ALL
                SELECT c.currency FROM settlement.statement_column AS c WHERE c.statement_id = :statement))
            ORDER BY id LIMIT :limit
        """),
        {
            "payee": statement.payee_id,
            "period": statement.period_id,
            "currency": statement.currency,
            "statement": statement.statement_id,
            "after": after,
            "limit": limit,
        },
    ).all()
    rows = session.execute(
        text("""
            SELECT id, line, kind, usage_period, usage_date, territory, sale, image, model, player, method, share,
                   distribution_key, rate_card, contract, split, base, slice, amount, currency, corrects
            FROM settlement.statement_line WHERE id = ANY(:page) ORDER BY id
        """),
        {"page": list(page)},
    ).all()
    names = _names(session, (row.player for row in rows))
    return [LineView(**{**row._mapping, "player": names.get(row.player, ANOTHER)}) for row in rows]


def image_attribution(session: Session, external_id: str) -> AttributionView:
    """How one of the images that earned for the user was attributed.

    Raises:
        NotFound: there is no such image, or it has earned the user nothing.
    """
    image = session.execute(
        text("SELECT id, external_id, model FROM attribution.image WHERE external_id = :external_id"),
        {"external_id": external_id},
    ).one_or_none()
    if image is None:
        raise NotFound(
            f"no image {external_id} has earned you anything; a statement's lines name those that have"
        )
    lines = session.execute(
        text("""
            SELECT l.currency::text AS currency, sum(l.amount_micros)::bigint AS amount, max(l.attribution_id) AS cited
            FROM settlement.royalty_line AS l JOIN settlement.sale AS s ON s.id = l.sale_id
            WHERE s.image_id = :image GROUP BY l.currency ORDER BY 1
        """),
        {"image": image.id},
    ).all()
    cited = max((line.cited for line in lines if line.cited is not None), default=None)
    attribution = session.execute(
        text("""
            SELECT a.id, a.status, a.players, m.name AS method
            FROM attribution.attribution AS a JOIN attribution.method_version AS m ON m.id = a.method_id
            WHERE a.id = :cited
        """),
        {"cited": cited},
    ).one_or_none()
    shares: tuple[ShareView, ...] = ()
    others = 0
    if attribution is not None:
        # Row-level security leaves the user's own artists and the content: everybody else's part is what remains.
        rows = session.execute(
            text(
                "SELECT player, share_ppb FROM attribution.attribution_share WHERE attribution_id = :id ORDER BY slot"
            ),
            {"id": attribution.id},
        ).all()
        names = _names(session, (row.player for row in rows))
        shares = tuple(
            ShareView(names.get(row.player, ANOTHER), row.player != "C", row.share_ppb) for row in rows
        )
        others = attribution.players - len(rows)
        if others:
            shares += (ShareView(ANOTHER, False, 10**9 - sum(share.share for share in shares)),)
    return AttributionView(
        image=image.external_id,
        model=image.model,
        status=None if attribution is None else attribution.status,
        method=None if attribution is None else attribution.method,
        shares=shares,
        other_artists=others,
        earned=tuple((line.currency, line.amount) for line in lines),
    )


def payouts(session: Session, *, before: int | None, limit: int) -> list[PayoutView]:
    """The payees' payouts with their newest state, newest first, at most ``limit`` with a number below ``before``."""
    rows = session.execute(
        text("""
            SELECT made.id, p.payout_id, p.payee_id, p.currency::text, p.balance_micros, p.amount_micros, p.decision,
                   newest.state, newest.occurred_at, newest.attempt_id
            FROM settlement.payout AS p
            JOIN settlement.payout_event AS made ON made.payout_id = p.payout_id AND made.number = 1
            JOIN LATERAL (
                SELECT state, occurred_at, attempt_id FROM settlement.payout_event AS e
                WHERE e.payout_id = p.payout_id ORDER BY e.number DESC LIMIT 1) AS newest ON true
            WHERE CAST(:before AS bigint) IS NULL OR made.id < :before
            ORDER BY made.id DESC LIMIT :limit
        """),
        {"before": before, "limit": limit},
    )
    return [PayoutView(*row) for row in rows]


def holds(session: Session) -> list[HoldView]:
    """Every hold on the user's payees, newest first."""
    rows = session.execute(
        text("""
            SELECT h.id, h.payee_id, h.reason, h.opened_at, h.expected_until, r.released_at, r.reason
            FROM settlement.hold AS h LEFT JOIN settlement.hold_release AS r ON r.hold_id = h.id
            ORDER BY h.id DESC
        """)
    )
    return [HoldView(*row) for row in rows]


def _names(session: Session, players: Iterable[str | None]) -> dict[str, str]:
    """What to call players: the user's own artists by name, content; others are missing."""
    wanted: Sequence[str] = sorted({player for player in players if player is not None and player != "C"})
    names = {"C": CONTENT}
    if wanted:
        rows = session.execute(
            text("""
                SELECT DISTINCT ON (artist_id) artist_id, name FROM attribution.artist_version
                WHERE artist_id = ANY(:wanted) ORDER BY artist_id, version DESC
            """),
            {"wanted": wanted},
        )
        names |= {str(artist_id): str(name) for artist_id, name in rows}
    return names


def _no_statement(statement_id: str) -> NotFound:
    return NotFound(f"you have no statement {statement_id}; GET /v1/statements lists those you have")
