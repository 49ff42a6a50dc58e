"""The demonstration's last screens: who earned what and why, the books, the payouts, and what to try next."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import column, select
from sqlalchemy import table as table_

from cli.proofs import run_with_progress, show_report
from cli.screen import amount, percent, show, table
from cli.statements import issued
from database.engine import session
from database.roles import Role
from database.settings import get_settings
from settlement.earnings import artist_earnings
from settlement.ledger import trial_balance
from settlement.ledger.checkpoints import verifier_keys
from settlement.payouts.models import batch_rows, batches
from settlement.periods.calendar import find_period
from settlement.statements.files import file_name


def report(
    directory: Path, periods: Sequence[str], checkpoint: Path, *, password_file: Path, seconds: float
) -> None:
    """Print everything a person wants to see at the end."""
    show()
    _earners()
    for period_id in periods:
        _statements(period_id, directory)
    for period_id in periods:
        _trial_balance(period_id)
    _payouts()
    # Verified against as an auditor would who has kept it.
    show(f"checkpoint {checkpoint}")
    show_report(run_with_progress(checkpoint))
    show()
    statement = directory / file_name(issued(periods[-1])[0], "json")
    _next_steps(statement, password_file)
    show(f"done in {seconds:.0f} s")


def _earners() -> None:
    with session(Role.SETTLEMENT) as opened:
        found = artist_earnings(opened)
    rows = [
        (
            row.name,
            row.named + row.unrecognised,
            row.paid,
            percent(row.mean_share) if row.paid else "",
            amount(row.earned, row.currency) if row.currency else "",
            "no contract: waits as unclaimed"
            if row.unclaimed
            else ""
            if row.paid
            else "the model does not know the name"
            if row.unrecognised
            else "no more than a made-up name",
        )
        for row in found
    ]
    columns = ("who", "named in", "paid for", "mean share", "earned", "")
    show(
        table(
            "Who earned what, and why: images that name and pay them, EUR", columns, rows, right=columns[1:5]
        )
    )
    show()


def _statements(period_id: str, directory: Path) -> None:
    rows = [
        (
            statement.number,
            statement.payee_id,
            *(
                amount(getattr(statement, name), statement.currency)
                for name in ("opening", "royalties", "late", "refunds", "payments", "closing")
            ),
            file_name(statement, "pdf"),
        )
        for statement in issued(period_id)
    ]
    columns = ("no.", "payee", "opening", "royalties", "late", "refunds", "payments", "closing", "file")
    show(
        table(
            f"Statements of {period_id}, EUR, in {directory}",
            columns,
            rows,
            right=(columns[0], *columns[2:8]),
        )
    )
    show()


def _trial_balance(period_id: str) -> None:
    with session(Role.SETTLEMENT) as opened:
        period = find_period(opened, period_id)
        found = trial_balance(opened, period.starts_at, period.ends_at)
    rows = [
        (
            row.code,
            *(amount(part, row.currency) for part in (row.opening, row.debits, row.credits, row.closing)),
        )
        for row in found
    ]
    total = sum(row.closing for row in found)
    rows.append(("sum", "", "", "", amount(total, found[0].currency)))
    columns = ("account", "opening", "debits", "credits", "closing")
    show(
        table(
            f"Trial balance of {period_id}: debits above zero, credits below",
            columns,
            rows,
            right=columns[1:],
        )
    )
    show()


def _payouts() -> None:
    with session(Role.PAYER) as opened:
        rows = [
            (batch.batch_id, row.payee_id, amount(row.balance, batch.currency),
             amount(row.amount, batch.currency) if row.amount else "", row.state, row.decision.replace("_", " "))
            for batch, _ in reversed(batches(opened))
            for row in batch_rows(opened, batch.batch_id)
        ]  # fmt: skip
    columns = ("batch", "payee", "owed", "pays", "state", "decision")
    show(table("Payouts, EUR", columns, rows, right=("owed", "pays")))
    show(f"payment files (pain.001): {get_settings().royalty_home / 'payouts'}")
    show()


def _next_steps(statement: Path, password_file: Path) -> None:
    with session(Role.AUDITOR) as opened:
        line: str = opened.execute(
            select(column("line"))
            .select_from(table_("royalty_lines", schema="audit"))
            .where(column("kind") == "royalty", column("player") != "C")
            .order_by(column("line_id"))
            .limit(1)
        ).scalar_one()
    show("[bold]Next[/bold]")
    rows = [
        (
            "royalty serve",
            f"the API: http://127.0.0.1:8000/docs; amara's and lucia's passwords: {password_file}",
        ),
        ("royalty db psql --as auditor", "the books in SQL: SELECT * FROM audit.trial_balance;"),
        ("royalty demo --model stable-diffusion-v1-5/stable-diffusion-v1-5", "the same on the real model"),
        (f"royalty explain {line}", "one line, from the payout down to its coalition values"),
        (
            f"royalty statement verify {statement} --key {verifier_keys()[0]}",
            "a statement, without the database, against the signed log",
        ),
    ]
    show(table("", ("", ""), [(f".venv/bin/{command}", what) for command, what in rows]))
