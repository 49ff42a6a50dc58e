"""`royalty period`: cut off, calculate, have approved, close."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.operator import operator
from cli.screen import amount, money, progress, show, table
from database.engine import session
from database.errors import Invalid
from database.roles import Role
from settlement.ledger import sequence_journals
from settlement.periods.approval import Draft, approve, calculate, draft_of, submit
from settlement.periods.calendar import cut_off, ensure_periods, find_period, open_period
from settlement.periods.close import Closing, close, dry_run, last_totals
from settlement.periods.gates import Gate
from settlement.periods.totals import (
    FigureDifference,
    PayeeDifference,
    RunTotals,
    differences,
    figure_differences,
)

group = typer.Typer(no_args_is_help=True, help="Accounting periods: cut off, calculate, approve, close.")

MOVERS_SHOWN = 20

PeriodId = Annotated[str, typer.Argument(help="Year and month, such as 2026-10.")]


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(group, name="period")


@group.command("list")
def list_periods() -> None:
    """Show every period and where it stands."""
    with session(Role.SETTLEMENT) as opened:
        rows = [
            (period.period_id, f"{period.starts_at:%Y-%m-%d %H:%M}", f"{period.ends_at:%Y-%m-%d %H:%M}", period.zone,
             period.state.replace("_", " "))
            for period in ensure_periods(opened)
        ]  # fmt: skip
    show(table("Periods", ("period", "starts (UTC)", "ends (UTC)", "zone", "state"), rows))


@group.command("open")
def open_command(
    period_id: PeriodId,
    cut_off_at: Annotated[
        datetime | None,
        typer.Option("--cut-off", formats=["%Y-%m-%dT%H:%M"], help="When it is cut off, in UTC."),
    ] = None,
) -> None:
    """Make a period ahead of its first sale, or fix the moment of its cut-off."""
    operator("runs:write")
    with session(Role.SETTLEMENT) as opened:
        period = open_period(
            opened, period_id, cut_off_at=cut_off_at.replace(tzinfo=UTC) if cut_off_at else None
        )
    fixed = f"; its cut-off is {period.cut_off_at:%Y-%m-%d %H:%M} UTC" if period.cut_off_at else ""
    show(f"period {period.period_id} is {period.state.replace('_', ' ')}{fixed}")


@group.command("cut-off")
def cut_off_command(period_id: PeriodId) -> None:
    """Keep what is recorded from now on for a later period."""
    operator("runs:write")
    with session(Role.SETTLEMENT) as opened:
        period = cut_off(opened, period_id)
    show(f"period {period_id} is cut off at {period.cut_off_at:%Y-%m-%d %H:%M:%S} UTC")


@group.command("calculate")
def calculate_command(period_id: PeriodId) -> None:
    """Calculate a period that is cut off and hand it in for review; again after a correction."""
    actor = operator("runs:write").username
    draft = hand_in(period_id, actor)
    show_totals(draft.totals)
    show(f"next: another operator looks at `royalty period review {period_id}` and approves")


@group.command("review")
def review(period_id: PeriodId) -> None:
    """Show what waits for approval, with its digest; of a period that is approved or closed, what it came to."""
    with session(Role.SETTLEMENT) as opened:
        period = find_period(opened, period_id)
        draft = draft_of(opened, period_id)
        last = last_totals(opened, period)
        state = period.state
    show_totals(draft.totals)
    show_differences(figure_differences(draft.totals, last), differences(draft.totals, last))
    show_gates(draft.gates)
    show(f"calculated by {draft.calculated_by}; digest {draft.sha256.hex()}")
    if state == "closed":
        show(f"period {period_id} is closed: nothing is left to approve")
        return
    if state == "approved":
        show(f"approved; next: `royalty period close {period_id}`")
        return
    accept = "".join(f' --accept {gate.name}="REASON"' for gate in draft.gates if not gate.passed)
    if accept:
        accept = f" --gates {draft.gates_sha256.hex()[:12]}{accept}"
    show(f"next: `royalty period approve {period_id} {draft.sha256.hex()[:12]}{accept}`")


@group.command("approve")
def approve_command(
    period_id: PeriodId,
    digest: Annotated[
        str, typer.Argument(help="The digest you have seen in the review; its first 12 digits will do.")
    ],
    accept: Annotated[
        list[str] | None,
        typer.Option(metavar="GATE=REASON", help="Let what a gate found pass, and say why. May be repeated."),
    ] = None,
    gates: Annotated[
        str,
        typer.Option(
            help="The digest of what the gates found, as the review shows it: needed with --accept."
        ),
    ] = "",
) -> None:
    """Approve exactly the calculation that was reviewed; never one's own."""
    checker = operator("runs:approve").username
    accepted = {}
    for given in accept or ():
        gate, found, reason = given.partition("=")
        if not found:
            raise Invalid(
                f'{given!r} accepts nothing: write the gate, =, and why, as in negative_balances="a refund"'
            )
        accepted[gate] = reason
    approve_draft(period_id, checker, digest, accepted, gates)
    show(f"period {period_id} is approved by {checker}; next: `royalty period close {period_id}`")


@group.command("close")
def close_command(
    period_id: PeriodId,
    only_show: Annotated[
        bool, typer.Option("--dry-run", help="Show what it would write; write nothing.")
    ] = False,
) -> None:
    """Close a period. Run it again at any time: it goes on from where the period stands."""
    actor = operator("runs:write").username
    if only_show:
        with progress("calculating") as advance, session(Role.SETTLEMENT) as opened:
            closing = dry_run(opened, period_id, progress=lambda _, done, total: advance(done, total))
            opened.rollback()
        show_closing(closing)
        show("dry run: nothing was written")
        return
    with session(Role.SETTLEMENT) as opened:
        state = find_period(opened, period_id).state
    if state in ("open", "cut_off", "calculated"):
        draft = hand_in(period_id, actor)
        show_totals(draft.totals)
        show(f"calculated; digest {draft.sha256.hex()}")
        show(f"next: another operator runs `royalty period approve {period_id} {draft.sha256.hex()[:12]}`")
        return
    closing = close_period(period_id, actor)
    show_closing(closing)
    show(f"period {period_id} is closed: {closing.statements} statements, {closing.journals} journals")
    show(f"next: `royalty statement export {period_id}`, `royalty payout create CURRENCY`")


def hand_in(period_id: str, actor: str) -> Draft:
    """Cut off if that is still to do, calculate, and put up for review."""
    with session(Role.SETTLEMENT) as opened:
        cut_off(opened, period_id)
    with progress(f"calculating {period_id}") as advance, session(Role.SETTLEMENT) as opened:
        calculate(opened, period_id, actor=actor, progress=lambda _, done, total: advance(done, total))
        return submit(opened, period_id)


def approve_draft(
    period_id: str,
    checker: str,
    digest: str,
    accepted: Mapping[str, str] | None = None,
    gates_digest: str = "",
) -> None:
    """Approve the draft whose digest begins so, and accept what its gates found, each with a reason."""

    def seen(sha256: bytes, beginning: str) -> bytes:
        return sha256 if len(beginning) >= 12 and sha256.hex().startswith(beginning.lower()) else b""

    with session(Role.APPROVER) as opened:
        draft = draft_of(opened, period_id)
        approve(
            opened,
            period_id,
            checker=checker,
            content_sha256=seen(draft.sha256, digest),
            accepted=accepted,
            gates_sha256=seen(draft.gates_sha256, gates_digest),
        )


def close_period(period_id: str, actor: str) -> Closing:
    """Close an approved period with a progress bar."""
    # Most of the log beforehand: a close keeps whoever posts waiting while it appends the rest.
    with session(Role.SETTLEMENT) as opened:
        sequence_journals(opened)
    with progress(f"closing {period_id}") as advance, session(Role.SETTLEMENT) as opened:
        return close(opened, period_id, actor=actor, progress=lambda _, done, total: advance(done, total))


def show_totals(totals: RunTotals) -> None:
    """Print what a calculation comes to."""
    rows = [
        (
            currency.currency,
            *(
                amount(getattr(currency, name), currency.currency)
                for name in (
                    "base",
                    "slices",
                    "paid",
                    "unclaimed",
                    "pending",
                    "unattributed",
                    "late",
                    "refunds",
                    "adjustments",
                )
            ),
        )
        for currency in totals.currencies
    ]
    columns = (
        "currency",
        "royalty base",
        "royalties",
        "to payees",
        "unclaimed",
        "pending",
        "unattributed",
        "late",
        "refunds",
        "adjustments",
    )
    show(table(f"Period {totals.period_id}", columns, rows, right=columns[1:]))
    show(
        f"{totals.sales} sales: {totals.attributed} attributed, {totals.pending} pending,"
        f" {totals.unattributed} unattributed; {totals.refunds} refunds; {totals.lines} lines"
    )


def show_closing(closing: Closing) -> None:
    """Print what a close wrote or would write, beside the last period, and what its gates found."""
    show_totals(closing.totals)
    show_differences(closing.figures, closing.differences)
    show_gates(closing.gates)


def show_differences(figures: Sequence[FigureDifference], payees: Sequence[PayeeDifference]) -> None:
    """Print the period's figures beside the last one's, and who earned more or less."""
    right = ("last period", "this period", "difference")
    changed = [figure for figure in figures if figure.last or figure.this]
    rows = [(figure.figure, *_sides(figure)) for figure in changed]
    show(table("Beside the last period", ("figure", *right, "change"), rows, right=(*right, "change")))
    movers = sorted(payees, key=lambda mover: (-abs(mover.difference), mover.payee_id))
    rows = [(mover.payee_id, *_sides(mover)) for mover in movers[:MOVERS_SHOWN]]
    title = "Earned" if len(movers) <= MOVERS_SHOWN else f"Earned: the {MOVERS_SHOWN} that moved most"
    show(table(title, ("payee", *right, "change"), rows, right=(*right, "change")))


def show_gates(gates: Sequence[Gate]) -> None:
    """Print every gate, and of those that found something what."""
    rows = [(gate.name, "passed" if gate.passed else str(gate.found), *_first(gate)) for gate in gates]
    show(table("Gates", ("gate", "found", "about", "amount", "what"), rows, right=("found", "amount")))


def _first(gate: Gate) -> tuple[str, str, str]:
    """Subjects, amounts and notes of what is kept of a gate's findings, one line for each; notes once."""
    amounts = [
        money(found.amount, found.currency) if found.currency and found.amount is not None else ""
        for found in gate.findings
    ]
    notes = dict.fromkeys(found.note for found in gate.findings)
    return ("\n".join(found.subject for found in gate.findings), "\n".join(amounts), "\n".join(notes))


def _sides(pair: FigureDifference | PayeeDifference) -> tuple[str, str, str, str]:
    """Last, this, difference and its percentage."""
    change = "new" if not pair.last else f"{pair.difference * 100 / abs(pair.last):+.1f} %"
    last, this, difference = (money(part, pair.currency) for part in (pair.last, pair.this, pair.difference))
    return last, this, difference, change
