"""`royalty payout` and `royalty hold`: who is paid, approved by whom, handed to the bank, and what came of it."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from cli.operator import operator
from cli.screen import money, progress, show, table
from database.engine import session
from database.errors import NotFound, Unavailable, UserError
from database.roles import Role
from settlement.bank_details import rekey as rekey_accounts
from settlement.payouts import corrections, holds, run, submission
from settlement.payouts import reconcile as reconciliation
from settlement.payouts.advice import AdviceRenderer, advices
from settlement.payouts.bank_messages.intake import OpenLine, Taken, open_lines, take_file
from settlement.payouts.bank_messages.intake import dismiss as dismiss_line
from settlement.payouts.models import batch_rows, batches
from settlement.payouts.notices import account_notices
from settlement.payouts.outcomes import Outcome, record_outcomes
from settlement.payouts.plan import Decision, hold_named, plan
from settlement.payouts.provider.configuration import provider_of
from settlement.payouts.provider.polling import poll_provider, providers

group = typer.Typer(no_args_is_help=True, help="Pay what is owed: create, approve, submit, settle.")
hold_group = typer.Typer(
    no_args_is_help=True, help="Flags that stop a payee's payouts, never her statements."
)

_WHY = {
    "pay": "",
    "held": "a hold is open",
    "below_minimum": "below the minimum payout; carried forward",
    "below_unit": "less than the smallest coin; carried forward",
    "no_bank_details": "no IBAN or no name is known; a file reaches no account without an IBAN",
    "bad_bank_details": "no bank would take these bank details",
    "bank_details_cooling_off": "the account was changed and is not paid yet",
}


def register(app: typer.Typer) -> None:
    """Add the groups to the application."""
    app.add_typer(group, name="payout")
    app.add_typer(hold_group, name="hold")


_LONG = 200
"""Rows of a table that somebody reads; of more, those who are not paid come first, and the rest is counted."""


def _decisions(title: str, decisions: list[Decision], currency: str) -> None:
    shown = decisions
    if len(decisions) > _LONG:
        shown = sorted(decisions, key=lambda decision: decision.amount > 0)[:_LONG]
    rows = [
        (
            decision.payee_id,
            money(decision.balance, currency),
            money(decision.amount, currency) if decision.amount else "",
            decision.problem or _WHY[decision.decision],
        )
        for decision in shown
    ]
    show(table(title, ("payee", "owed", "pays", "why not"), rows, right=("owed", "pays")))
    if len(shown) < len(decisions):
        show(f"and {len(decisions) - len(shown)} more; `royalty payout show BATCH` lists everybody")
    for decision in decisions:
        if decision.shared_with:
            show(f"look at {decision.payee_id}: it has the same account as {', '.join(decision.shared_with)}")
        if decision.verified and not decision.verified.startswith("RCVC"):
            show(f"look at {decision.payee_id}: its bank said of the account {decision.verified}")
    not_paid: dict[str, list[int]] = {}
    for decision in decisions:
        if not decision.amount:
            not_paid.setdefault(decision.decision, []).append(decision.balance)
    for why, balances in not_paid.items():
        show(f"not paid, {_WHY[why]}: {len(balances)} payees, {money(sum(balances), currency)}")
    total = sum(decision.amount for decision in decisions)
    count = sum(1 for decision in decisions if decision.amount)
    show(f"{count} of {len(decisions)} payees are paid {money(total, currency)}")


@group.command()
def create(
    currency: Annotated[str, typer.Argument(help="ISO 4217 code, for example EUR.")],
    execution_date: Annotated[
        datetime | None,
        typer.Option("--execution-date", formats=["%Y-%m-%d"], help="When the bank pays (default: today)."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show who would be paid; write nothing.")
    ] = False,
) -> None:
    """Fix whom a run pays, and how much."""
    maker = operator("payouts:write").username
    if not dry_run:
        with session(Role.PAYER) as opened:
            for finding in hold_named(opened, currency, maker):
                show(f"a hold is opened on {finding.payee_id}: {finding.why}")
    with session(Role.PAYER) as opened:
        decisions = plan(opened, currency)
        if dry_run:
            _decisions(f"Would be paid in {currency}", decisions, currency)
            return
        day = execution_date.date() if execution_date else datetime.now(UTC).date()
        batch = run.create_batch(opened, currency, day, maker)
        batch_id = batch.batch_id
    _decisions(f"Batch {batch_id}", decisions, currency)
    show(f"next: another operator runs `royalty payout approve {batch_id}`")


@group.command()
def approve(batch_id: Annotated[str, typer.Argument()]) -> None:
    """Approve a batch that another operator made."""
    checker = operator("payouts:approve").username
    with session(Role.APPROVER) as opened:
        run.approve_batch(opened, batch_id, checker)
    show(f"batch {batch_id} is approved by {checker}; next: `royalty payout submit {batch_id}`")


@group.command()
def submit(
    batch_id: Annotated[str, typer.Argument()],
    on: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="When it is handed to the bank (default: now)."),
    ] = None,
) -> None:
    """Reserve the money and write the bank's file, or tell the currency's provider. Stopped half-way, run it again."""
    actor = operator("payouts:write").username
    for line in submit_batch(batch_id, actor, _moment(on)):
        show(f"batch {batch_id}: {line}")
    show("next: what the bank answers, `royalty payout import FILE`, or `royalty payout poll` for a provider")


def submit_batch(batch_id: str, actor: str, at: datetime) -> list[str]:
    """Reserve and hand over; returns what was done."""
    if provider_of(batch_id.split("-", maxsplit=1)[0]) is None:  # in files: nobody is told one by one
        return submission.submit(lambda: session(Role.PAYER), batch_id, actor, at)
    with progress("telling the provider") as advance:
        return submission.submit(lambda: session(Role.PAYER), batch_id, actor, at, advance)


@group.command()
def rekey() -> None:
    """Encrypt every account under the current key as well, after BANK_DETAILS_KEY was changed."""
    actor = operator("payouts:write").username
    with session(Role.PAYER) as opened:
        count = rekey_accounts(opened, actor)
    show(f"{count} accounts are encrypted under the current key now; the rest were already")


@group.command()
def poll() -> None:
    """Ask the providers what has become of payments. It tells them nothing new: run it as often as you like."""
    poll_providers(operator("payouts:write").username)


def poll_providers(actor: str) -> None:
    """Ask every provider that is configured, and show what came of it."""
    for name in providers():
        polled = poll_provider(name, lambda: session(Role.PAYER), actor)
        show(f"{name}: {polled.events} events since the last time, asked about {polled.asked} payments")
        if polled.unheard_of:
            batches_of = sorted({attempt.rsplit("-", 2)[0] for attempt in polled.unheard_of})
            show(
                f"{name} has never heard of {len(polled.unheard_of)} payments, {polled.unheard_of[0]} among them:"
                f" run `royalty payout submit {batches_of[0]}` again"
            )
        if polled.open:
            rows = [
                (event.event_id, event.reference, event.says, money(event.amount, event.currency), event.why)
                for event in polled.open
            ]
            columns = ("event", "payment", "says", "amount", "why it is open")
            show(table(f"Look at these with {name}", columns, rows, right=("amount",)))


@group.command()
def settle(
    batch_id: Annotated[str, typer.Argument()],
    on: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The bank's booking date (default: now).")
    ] = None,
    rejected: Annotated[list[str] | None, typer.Option(help="Attempt that the bank refused.")] = None,
    returned: Annotated[
        list[str] | None, typer.Option(help="Attempt whose money came back after it was paid.")
    ] = None,
) -> None:
    """Record what the bank did: everything paid, but for the attempts named."""
    actor = operator("payouts:write").username
    taken = settle_batch(batch_id, actor, _moment(on), rejected or [], returned or [])
    rows = [(outcome.attempt_id, outcome.state, result) for outcome, result in taken]
    show(table(f"Batch {batch_id}", ("attempt", "bank says", "result"), rows))


def settle_batch(
    batch_id: str, actor: str, at: datetime, rejected: list[str], returned: list[str]
) -> list[tuple[Outcome, str]]:
    """Record one outcome for each attempt of a batch.

    Raises:
        NotFound: an attempt is named that is not in the batch.
    """
    with session(Role.PAYER) as opened:
        attempts = [row.attempt_id for row in batch_rows(opened, batch_id) if row.attempt_id]
        unknown = (set(rejected) | set(returned)) - set(attempts)
        if unknown:
            raise NotFound(
                f"no attempt {sorted(unknown)[0]} in batch {batch_id}; `royalty payout show {batch_id}`"
            )
        outcomes = [
            Outcome(
                attempt,
                "rejected" if attempt in rejected else "returned" if attempt in returned else "paid",
                at,
            )
            for attempt in attempts
        ]
        return record_outcomes(opened, outcomes, actor)


@group.command("import")
def import_files(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="pain.002, camt.053 or camt.054 files from the bank, or folders of them (*.xml)."
        ),
    ],
) -> None:
    """Take what the bank answered. A file is taken once; in what order they come does not matter."""
    actor = operator("payouts:write").username
    paths = [path for given in files for path in _xml_in(given)]
    if not paths:
        raise NotFound(f"no .xml file in {files[0]}")
    failed = done = 0
    try:
        for path in paths:
            failed += not _import_file(path, actor)
            done += 1
    except KeyboardInterrupt:
        typer.echo(
            f"stopped: {done} of {len(paths)} files were looked at, nothing of {paths[done].name} is taken;"
            " run the same command again, what is taken is not taken twice",
            err=True,
        )
        raise typer.Exit(130) from None
    if failed:
        raise typer.Exit(1)


def _xml_in(given: Path) -> list[Path]:
    """A file, or the XML files of a folder in the order of their names, which is mostly that of their days."""
    try:
        if not given.is_dir():
            return [given]
        return sorted(path for path in given.iterdir() if path.suffix.lower() == ".xml" and path.is_file())
    except OSError as error:
        raise Unavailable(f"{given} cannot be read: {error.strerror}; nothing is taken") from None


def _import_file(path: Path, actor: str) -> bool:
    """Take one file in a transaction of its own; the others are taken whatever becomes of it."""
    try:
        with (
            path.open("rb") as file,
            progress(f"{path.name}: lines read") as advance,
            session(Role.PAYER) as opened,
        ):
            taken = take_file(opened, file, path.name, actor, lambda lines: advance(lines, 0))
    except OSError as error:
        typer.echo(f"{path}: cannot be read: {error.strerror}", err=True)
        return False
    except UserError as error:
        typer.echo(f"{path}: nothing is taken of it: {error.message}", err=True)
        return False
    _taken(taken)
    return True


def _taken(taken: Taken) -> None:
    version = f".001.{taken.version}" if taken.version else ""
    what = f"{taken.name}: {taken.kind}{version} {taken.message_id}"
    if taken.taken_before is not None:
        show(f"{what}: taken before, on {taken.taken_before:%Y-%m-%d %H:%M}; nothing changed")
        return
    if taken.same_id:
        show(f"{what}: another file with this id was taken before; each line was looked at by itself")
    ours = [line for line in taken.open if line.ours]
    results = ", ".join(f"{count} {result}" for result, count in sorted(taken.results.items()))
    show(f"{what}: {taken.lines} lines; {results or 'nothing of them applied'}; {len(taken.open)} open")
    if taken.outcomes:
        moved = ", ".join(f"{count} {state}" for state, count in sorted(taken.outcomes.items()))
        show(f"  payouts: {moved}")
    _open_lines("  Open, of our payments", ours)
    _open_lines("  Open, not of our payments", [line for line in taken.open if not line.ours][:_SHOWN])


_SHOWN = 20


def _open_lines(title: str, lines: list[OpenLine]) -> None:
    if not lines:
        return
    rows = [
        (
            line.entry_id,
            f"{line.message_id}, line {line.number}",
            line.says if line.ours else "money in" if (line.amount or 0) > 0 else "money out",
            line.reference,
            money(line.amount, line.currency) if line.amount is not None and line.currency else "",
            line.why,
        )
        for line in lines
    ]
    show(table(title, ("id", "message", "says", "names", "amount", "why"), rows, right=("amount",)))


@group.command()
def reconcile(
    batch: Annotated[list[str] | None, typer.Option(help="Only this batch; may be repeated.")] = None,
    period: Annotated[str | None, typer.Option(help="Only what was executed in this period.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Also the bank's lines that name no payment of ours.")
    ] = False,
) -> None:
    """Compare ledger, bank and statements on every payout; show what waits, and for how long."""
    operator()
    with session(Role.AUDITOR) as opened:
        batch_rows = reconciliation.batch_checks(opened, batch, period)
        payouts = reconciliation.payout_checks(opened, batch, period)
        ages = reconciliation.ageing(opened, batch, period)
        statements = reconciliation.uneven_statements(opened)
    with session(Role.PAYER) as opened:
        lines = open_lines(opened, batch_ids=batch)
    right = ("paid out", "clearing", "ledger", "bank")
    rows: list[tuple[object, ...]] = [
        (
            check.batch_id,
            f"{check.finished} of {check.payouts}",
            *(money(n, check.currency) for n in (check.amount, check.clearing, check.ledger, check.bank)),
            check.faults or "",
            check.attention or "",
        )
        for check in batch_rows
    ]
    show(table("Batches", ("batch", "finished", *right, "faults", "open"), rows, right=right))
    if ages:
        rows = [(age.days, age.payouts, money(age.amount, age.currency)) for age in ages]
        show(
            table("On its way, days since execution", ("days", "payouts", "amount"), rows, right=("amount",))
        )
    if payouts:
        rows = [
            (
                check.payout_id,
                check.state,
                money(check.amount, check.currency),
                check.fault or check.attention,
            )
            for check in payouts
        ]
        show(table("Payouts to look at", ("payout", "state", "amount", "why"), rows, right=("amount",)))
    for uneven in statements:
        show(f"statement {uneven.statement_id} in {uneven.message_id} does not add up: a line may be missing")
    _open_lines("The bank's lines that wait, of our payments", [line for line in lines if line.ours])
    others = [line for line in lines if not line.ours]
    if every:
        _open_lines("The bank's lines that name no payment of ours", others)
    elif others:
        show(f"{len(others)} lines of the bank name no payment of ours (--all lists them)")
    if any(check.faults for check in batch_rows) or statements:
        raise typer.Exit(1)
    show("ledger, bank and statements agree on every payout" if batch_rows else "no payout to reconcile")


@group.command()
def advice(
    batch_id: Annotated[str, typer.Argument()],
    to: Annotated[Path, typer.Option(help="Directory for a PDF and a mail's text for each payee.")],
) -> None:
    """Write each payee's remittance advice: what her payment settles, and where it goes."""
    operator("payouts:write")
    to.mkdir(parents=True, exist_ok=True, mode=0o700)  # names in full
    renderer, count = AdviceRenderer(), 0
    with session(Role.SETTLEMENT) as opened, progress("writing advices") as advance:
        for count, made in enumerate(advices(opened, batch_id), start=1):
            (to / f"{made.attempt_id}.pdf").write_bytes(renderer.pdf(made))
            (to / f"{made.attempt_id}.txt").write_text(made.text(), encoding="utf-8")
            advance(count, 0)
    show(f"{count} advices of batch {batch_id}, each as .pdf and .txt: {to}")


@group.command()
def notices(
    to: Annotated[Path, typer.Option(help="Directory for a mail's text for each change.")],
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Changes from this day on (default: all)."),
    ] = None,
) -> None:
    """Write to the contacts that payees had before their account was changed. The same change, the same file again."""
    operator("payouts:write")
    now = datetime.now(UTC)
    with session(Role.PAYER) as opened:
        made = account_notices(
            opened, since.replace(tzinfo=UTC) if since else datetime(1970, 1, 1, tzinfo=UTC), now
        )
    to.mkdir(parents=True, exist_ok=True, mode=0o700)  # names and mail addresses
    for notice in made:
        path = to / f"account-{quote(notice.payee_id, safe='')}-{notice.version}.txt"
        path.write_text(notice.text(), encoding="utf-8")
    show(f"{len(made)} notices of a changed account, each to the contacts before the change: {to}")


@group.command()
def dismiss(
    line: Annotated[int, typer.Argument(help="The line's id, as reconcile shows it.")],
    reason: Annotated[str, typer.Option(help="Why nothing is to be done about it.")],
) -> None:
    """Take a line of the bank off the list. It moves no money and no payout."""
    actor = operator("payouts:write").username
    with session(Role.PAYER) as opened:
        dismiss_line(opened, line, reason, actor)
    show(f"line {line} is dismissed")


@group.command()
def correct(
    line: Annotated[int, typer.Argument(help="The line's id, as reconcile shows it.")],
    reason: Annotated[str, typer.Option(help="How it is known that the bank has paid.")] = "",
    approve: Annotated[
        bool, typer.Option("--approve", help="Approve what another operator proposed, and correct it.")
    ] = False,
) -> None:
    """Say that a payment which the bank refused is paid, as this line books it. Two operators do it."""
    if not approve:
        maker = operator("payouts:write").username
        with session(Role.PAYER) as opened:
            attempts = corrections.propose(opened, line, reason, maker)
        show(f"proposed: {', '.join(attempts)} were refused, and are paid; nothing is posted yet")
        show(f"next: another operator runs `royalty payout correct {line} --approve`")
        return
    checker = operator("payouts:approve").username
    with session(Role.APPROVER) as opened:
        corrections.approve(opened, line, checker)
    with session(Role.PAYER) as opened:
        attempts = corrections.carry_out(opened, line, checker)
    if not attempts:
        show(f"line {line} was corrected before; nothing changed")
        return
    show(f"corrected: {', '.join(attempts)} are paid; what the payees are owed has gone down by it")
    show("next: `royalty hold list`, and release the holds that were opened for it")


@group.command()
def cancel(batch_id: Annotated[str, typer.Argument()]) -> None:
    """Give up a batch that has not been submitted."""
    actor = operator("payouts:write").username
    with session(Role.PAYER) as opened:
        run.cancel_batch(opened, batch_id, actor)
    show(f"batch {batch_id} is cancelled")


@group.command("list")
def list_batches() -> None:
    """Show every batch with its state."""
    with session(Role.PAYER) as opened:
        rows = [
            (batch.batch_id, batch.execution_date, batch.maker, state) for batch, state in batches(opened)
        ]
    show(table("Payout batches", ("batch", "execution", "made by", "state"), rows))


@group.command("show")
def show_batch(batch_id: Annotated[str, typer.Argument()]) -> None:
    """Show everybody in a batch."""
    currency = batch_id.split("-", maxsplit=1)[0]
    with session(Role.PAYER) as opened:
        rows = [
            (
                row.payee_id,
                money(row.balance, currency),
                money(row.amount, currency) if row.amount else "",
                row.state,
                row.attempt_id,
                _WHY[row.decision],
            )
            for row in batch_rows(opened, batch_id)
        ]
    columns = ("payee", "owed", "pays", "state", "attempt", "why not")
    show(table(f"Batch {batch_id}", columns, rows, right=("owed", "pays")))


@hold_group.command("open")
def open_hold(
    payee: Annotated[str, typer.Argument()],
    reason: Annotated[str, typer.Option(help="Shown to the payee.")],
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="When a decision is expected.")
    ] = None,
) -> None:
    """Stop a payee's payouts."""
    actor = operator("payouts:write").username
    expected: date | None = until.date() if until else None
    with session(Role.PAYER) as opened:
        number = holds.open_hold(opened, payee, reason, actor, expected)
    show(f"hold {number} is open on {payee}: statements go on, payouts stop")


@hold_group.command("release")
def release_hold(
    number: Annotated[int, typer.Argument(help="The hold's number.")],
    reason: Annotated[str, typer.Option(help="Why it ends.")],
) -> None:
    """End a hold."""
    actor = operator("payouts:write").username
    with session(Role.PAYER) as opened:
        holds.release_hold(opened, number, reason, actor)
    show(f"hold {number} is released")


@hold_group.command("list")
def list_holds() -> None:
    """Show the holds that are open."""
    with session(Role.PAYER) as opened:
        rows = [
            (h.id, h.payee_id, h.reason, f"{h.opened_at:%Y-%m-%d}", h.expected_until, h.actor)
            for h in holds.open_holds(opened)
        ]
    show(table("Open holds", ("hold", "payee", "reason", "opened", "expected until", "by"), rows))


def _moment(day: datetime | None) -> datetime:
    """Noon of a day named, in UTC, or now."""
    return day.replace(hour=12, tzinfo=UTC) if day else datetime.now(UTC)
