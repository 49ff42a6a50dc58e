"""Closing a period: the approved calculation becomes lines, journals and statements, once and for good.

Everything happens in one transaction: killed anywhere, nothing of it is there, and the next attempt writes the same
bytes. Two closes at once: one wins, the other says so.
"""

from dataclasses import dataclass
from importlib.metadata import version

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from database.engine import psycopg_connection
from database.errors import Conflict
from settlement.ledger import append, keep_writers_out, seal, sequence_journals
from settlement.payouts.models import keep_balances
from settlement.periods.adjustments import ADJUSTMENT_WRITES
from settlement.periods.approval import Draft, approval_of, compute_draft, draft_of
from settlement.periods.calculation import Progress
from settlement.periods.calendar import find_period, require_earlier_closed
from settlement.periods.frozen import freeze
from settlement.periods.gates import Gate, require_sound
from settlement.periods.journals import post_run
from settlement.periods.models import Period, RoyaltyRun
from settlement.periods.order import ORDER_WRITES
from settlement.periods.totals import (
    FigureDifference,
    PayeeDifference,
    RunTotals,
    differences,
    figure_differences,
)
from settlement.statements.issue import check_ledger, issue_statements


@dataclass(frozen=True, slots=True)
class Closing:
    """What a close wrote, or would write."""

    period_id: str
    totals: RunTotals
    differences: list[PayeeDifference]
    """Earnings beside the last period's."""
    figures: list[FigureDifference]
    """The period's figures beside the last one's."""
    gates: tuple[Gate, ...]
    statements: int
    journals: int
    """0 where nothing was posted: a dry run."""


def close(session: Session, period_id: str, *, actor: str, progress: Progress | None = None) -> Closing:
    """Close an approved period: calculate again, refuse anything but what was approved, write, post, issue, seal.

    Args:
        session: the caller's transaction, role `settlement`; nothing is there until the caller commits.
        period_id: such as `2026-10`.
        actor: who closes.
        progress: told about each stage.

    Raises:
        Conflict: the period is not approved, or closed already; an earlier one is not closed; what would be written is
            not what was approved, or fails a gate that must hold; or another close is running.
    """
    period = find_period(session, period_id)
    alone = session.execute(text("SELECT pg_try_advisory_xact_lock(hashtextextended('settlement.close', 0))"))
    if not alone.scalar_one():
        raise Conflict("another close is running: wait until it is done, then look at `royalty period list`")
    session.refresh(period, with_for_update=True)
    if period.state == "closed":
        raise Conflict(f"period {period_id} is closed already: its statements are issued")
    require_earlier_closed(session, period)
    if period.state != "approved":
        raise Conflict(f"period {period_id} is {period.state.replace('_', ' ')}: {_NEXT[period.state]}")
    approved = draft_of(session, period_id)
    approval = approval_of(session, approved)
    if approval is None:
        raise Conflict(f"nobody has approved this draft of period {period_id}")
    # What a recoupment may take is what is there now: no payout and no claim takes of it before the commit.
    for currency in session.scalars(
        text("SELECT DISTINCT currency FROM settlement.advance ORDER BY currency")
    ):
        keep_balances(session, currency)
    draft = compute_draft(session, period, actor=actor, progress=progress)
    if (draft.inputs_sha256, draft.sha256) != (approved.inputs_sha256, approved.sha256):
        raise Conflict(
            f"period {period_id} is not what was approved any more: something it is made of has changed since; "
            "calculate it again and have that approved"
        )
    require_sound(period_id, draft.gates)
    last = last_totals(session, period)
    _write(session, period_id, progress)
    tell = progress or _silent
    tell("posting", 0, 1)
    posted = post_run(session, period_id, actor=actor, approved_by=approval.checker)
    tell("sections", 0, 1)
    statements = issue_statements(session, period, progress)
    tell("recording the run", 0, 1)
    # What was known when the period was closed is a set of rows that must not change any more.
    session.execute(text("SELECT settlement.keep_terms(), settlement.keep_money_terms()"))
    session.add(
        RoyaltyRun(
            period_id=period_id,
            inputs_sha256=draft.inputs_sha256,
            draft_sha256=draft.sha256,
            approval_id=approval.id,
            totals=draft.totals.document(),
            closed_by=actor,
            code_version=version("royalty"),
        )
    )
    session.flush()
    period.state = "closed"
    session.flush()
    frozen = freeze(session, period_id, progress)
    tell("logging and sealing", 0, 1)
    # Last, because it waits for whoever is posting now and keeps others waiting until the commit.
    keep_writers_out(session)
    sequence_journals(session)
    append(session, frozen)
    seal(session, period_id, period.ends_at, actor)
    # Whoever posted into the period after the statements were made is on none of them, and could never be again.
    check_ledger(session, period)
    tell("closed", 1, 1)
    return _closing(draft, last, statements, posted.posted)


def dry_run(session: Session, period_id: str, *, progress: Progress | None = None) -> Closing:
    """What a close would write, without writing: the same calculation, on the events recorded so far.

    Raises:
        Conflict: the period is closed, or an earlier one is not.
    """
    period = find_period(session, period_id)
    if period.state == "closed":
        raise Conflict(f"period {period_id} is closed already: its statements are issued")
    require_earlier_closed(session, period)
    draft = compute_draft(session, period, actor="dry run", progress=progress)
    last = last_totals(session, period)
    # One for each payee, whatever the number of its columns.
    statements = len({payee.payee_id for payee in draft.totals.payees})
    return _closing(draft, last, statements, 0)


def _closing(draft: Draft, last: RunTotals | None, statements: int, journals: int) -> Closing:
    return Closing(
        draft.period_id,
        draft.totals,
        differences(draft.totals, last),
        figure_differences(draft.totals, last),
        draft.gates,
        statements,
        journals,
    )


def last_totals(session: Session, period: Period) -> RunTotals | None:
    """Totals of the last period closed before this one; None for the first."""
    document = session.scalar(
        select(RoyaltyRun.totals)
        .join(Period, Period.period_id == RoyaltyRun.period_id)
        .where(Period.ends_at <= period.starts_at)
        .order_by(Period.ends_at.desc())
        .limit(1)
    )
    return None if document is None else RunTotals.read(document)


def _silent(stage: str, done: int, total: int) -> None:
    """Who does not want to know."""


_NEXT = {
    "open": "cut it off, calculate it, put it up for review and have it approved first",
    "cut_off": "calculate it, put it up for review and have it approved first",
    "calculated": "put it up for review and have it approved first",
    "in_review": "another person must approve it first",
}


def _write(session: Session, period_id: str, progress: Progress | None) -> None:
    """The calculation's rows, from the temporary tables, in an order of their own."""
    connection = psycopg_connection(session)
    for number, (stage, statement) in enumerate(_WRITE):
        if progress is not None:
            progress(stage, number, len(_WRITE))
        for part in statement.split(";\n"):
            connection.execute(part, {"period": period_id})


_WRITE = (
    (
        "writing slices",
        """
        INSERT INTO settlement.sale_slice (sale_id, period_id, usage_period, rate_card_version_id, base_micros,
                                           slice_micros, currency)
        SELECT sale_id, %(period)s, usage_period, rate_card_version_id, base, slice, currency
        FROM pg_temp.run_sale ORDER BY sale
        """,
    ),
    (
        "writing lines",
        """
        INSERT INTO settlement.royalty_line (period_id, kind, sale_id, player, destination, payee_id, amount_micros,
                                             currency, attribution_id, share_ppb, contract_version_id, split_ppb,
                                             distribution_key)
        SELECT %(period)s, kind, sale_id, player, destination, payee_id, amount, currency, attribution_id, share_ppb,
               contract_version_id, split_ppb, distribution_key
        FROM pg_temp.run_line WHERE kind NOT IN ('refund', 'late', 'adjustment')
        ORDER BY sale, player NULLS FIRST, payee_id NULLS FIRST
        """,
    ),
    (
        "writing refunds",
        """
        INSERT INTO settlement.royalty_line (period_id, kind, sale_id, player, destination, payee_id, amount_micros,
                                             currency, attribution_id, share_ppb, contract_version_id, split_ppb,
                                             distribution_key, refund_id, corrects, platform_version_id)
        SELECT %(period)s, r.kind, r.sale_id, r.player, r.destination, r.payee_id, r.amount, r.currency,
               r.attribution_id, r.share_ppb, r.contract_version_id, r.split_ppb, r.distribution_key, r.refund_id,
               coalesce(r.corrects, l.id), r.platform_version_id
        FROM pg_temp.run_line AS r
        -- A line of this very run got its id just now.
        LEFT JOIN settlement.royalty_line AS l ON r.corrects IS NULL AND l.sale_id = r.sale_id
            AND l.kind = r.corrects_kind AND l.period_id = %(period)s AND l.player IS NOT DISTINCT FROM r.player
            AND l.payee_id IS NOT DISTINCT FROM r.payee_id
        WHERE r.kind = 'refund' ORDER BY r.refund, r.sale, r.player NULLS FIRST, r.payee_id NULLS FIRST
        """,
    ),
    (
        # After the refunds, which they are net of.
        "writing late lines",
        """
        INSERT INTO settlement.royalty_line (period_id, kind, sale_id, player, destination, payee_id, amount_micros,
                                             currency, attribution_id, share_ppb, contract_version_id, split_ppb,
                                             distribution_key, corrects, platform_version_id)
        SELECT %(period)s, kind, sale_id, player, destination, payee_id, amount, currency, attribution_id, share_ppb,
               contract_version_id, split_ppb, distribution_key, corrects, platform_version_id
        FROM pg_temp.run_line WHERE kind = 'late'
        ORDER BY sale, corrects, player NULLS FIRST, payee_id NULLS FIRST
        """,
    ),
    (
        "writing reversals",
        """
        INSERT INTO settlement.refund_reversal (refund_id, sale_id, period_id, refunded_micros, reversed_micros)
        SELECT r.refund_id, r.sale_id, %(period)s, r.amount, coalesce(-sum(l.amount), 0)
        FROM pg_temp.run_refund AS r LEFT JOIN pg_temp.run_line AS l ON l.refund_id = r.refund_id
        GROUP BY r.refund_id, r.sale_id, r.refund, r.amount ORDER BY r.refund
        """,
    ),
    *ADJUSTMENT_WRITES,
    *ORDER_WRITES,
    ("analysing", "ANALYZE settlement.sale_slice, settlement.royalty_line"),
)
