"""`royalty verify` and `royalty explain`: the books recomputed, and one cent traced to its coalition values."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from cli.screen import progress, show, table
from database.engine import session
from database.roles import Role
from settlement.audit.explain import explain as explain_line
from settlement.audit.verify import Report
from settlement.audit.verify import verify as run_checks


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(verify)
    app.command()(explain)


def verify(
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Recompute everything that can be recomputed, as the auditor; exit 1 if anything contradicts the books."""
    report = run_with_progress()
    if as_json:
        print(
            json.dumps({"ok": report.ok, "checks": [asdict(result) for result in report.results]}, indent=2)
        )
    else:
        show_report(report)
    if not report.ok:
        raise typer.Exit(1)


def run_with_progress() -> Report:
    """All checks, with a progress bar."""
    with progress("verifying") as advance, session(Role.AUDITOR) as opened:
        return run_checks(opened, progress=lambda _, done, total: advance(done, total))


def show_report(report: Report) -> None:
    """Print every check, and what contradicts it."""
    rows = [
        (
            "[green]holds[/green]" if result.ok else "[red]broken[/red]",
            result.name,
            f"{result.milliseconds} ms",
        )
        for result in report.results
    ]
    show(table("Verification", ("", "check", "took"), rows, right=("took",)))
    for result in report.results:
        for fault in result.faults:
            show(f"[red]{result.name}[/red]: {fault}")
        if result.more:
            show(f"[red]{result.name}[/red]: and others")
    if report.ok:
        show("everything holds; nothing here proves what a superuser may have changed on every side at once")


def explain(
    line: Annotated[str, typer.Argument(help="A line's id, or its name: sale-1/art-1/pay-1")],
) -> None:
    """Trace one royalty line from payout and statement down to image, prompt, seed and coalition values."""
    with session(Role.AUDITOR) as opened:
        found = explain_line(opened, line)
    rows = [
        (step.name if number == 0 else "", item.name, item.value)
        for step in found.steps
        for number, item in enumerate(step.items)
    ]
    show(table(f"{found.line} (line {found.line_id})", ("step", "", ""), rows))
