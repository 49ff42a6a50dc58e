"""`royalty verify` and `royalty explain`: the books recomputed, and one cent traced to its coalition values."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from time import monotonic_ns
from typing import Annotated

import typer

from attribution.generation import is_logged
from cli.screen import progress, show, table
from database.engine import session
from database.errors import Invalid, NotFound
from database.roles import Role
from settlement.audit.explain import cited_by
from settlement.audit.explain import explain as explain_line
from settlement.audit.proof import results as log_results
from settlement.audit.proof import verify_log
from settlement.audit.verify import Report
from settlement.audit.verify import verify as run_checks
from settlement.ledger.checkpoints import VerifierKey, handovers, read_head, trusted_keys, verifier_keys


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(verify)
    app.command()(explain)


def verify(
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="A checkpoint that you kept; its leaf-hash file (.leaves) beside it names what differs."
        ),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            help="Verifier key that you trust (`royalty checkpoint keys`); default: this installation's."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Recompute everything that can be recomputed, as the auditor; exit 1 if anything contradicts the books."""
    report = run_with_progress(checkpoint, [VerifierKey.read(text) for text in key or ()])
    if as_json:
        checks = [asdict(result) for result in report.results]
        print(json.dumps({"ok": report.ok, "checks": checks, "notes": report.notes}, indent=2))
    else:
        show_report(report)
    if not report.ok:
        raise typer.Exit(1)


def run_with_progress(checkpoint: Path | None = None, keys: Sequence[VerifierKey] = ()) -> Report:
    """All checks, and the log against rows and checkpoints, with a progress bar.

    Args:
        checkpoint: a signed note; with its leaf-hash file beside it (the same name, `.leaves`), what differs is named.
        keys: trusted; none: this installation's. What they have handed over to is trusted too.
    """
    trusted = trusted_keys(keys, handovers()) if keys else verifier_keys()
    head = leaves = None
    if checkpoint is not None:
        try:
            head = read_head(checkpoint.read_text(), trusted)
        except OSError as error:
            raise NotFound(
                f"{checkpoint} cannot be read ({error.strerror}): name a checkpoint file"
            ) from error
        leaves = checkpoint.with_suffix(".leaves") if checkpoint.with_suffix(".leaves").exists() else None
    with progress("verifying") as advance, session(Role.AUDITOR) as opened:
        # One snapshot: who posts meanwhile is seen whole or not at all.
        opened.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        report = run_checks(opened, progress=lambda _, done, total: advance(done, total))
        begun = monotonic_ns()
        proof = verify_log(opened, keys=trusted, head=head, leaves=leaves)
        took = (monotonic_ns() - begun) // 1_000_000
        results = log_results(proof, took, kept=head is not None)
    return Report((*report.results, *results), tuple(proof.notes))


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
    for note in report.notes:
        show(note)
    if report.ok:
        show("everything holds")


def explain(
    line: Annotated[
        str,
        typer.Argument(
            help="A line's id, or its name: sale-1/art-1/pay-1. With --html, an image's external id too."
        ),
    ],
    html: Annotated[
        Path | None,
        typer.Option(
            help="Write a page to look at and print: the image, its coalitions as pictures, words, evidence."
        ),
    ] = None,
) -> None:
    """Trace one royalty line from payout and statement down to image, prompt, seed and coalition values."""
    if html is not None:
        _write_page(line, html)
        return
    with session(Role.AUDITOR) as opened:
        found = explain_line(opened, line)
    rows = [
        (step.name if number == 0 else "", item.name, item.value)
        for step in found.steps
        for number, item in enumerate(step.items)
    ]
    show(table(f"{found.line} (line {found.line_id})", ("step", "", ""), rows))


def _write_page(name: str, to: Path) -> None:
    """Write the page of an image, or of a line's image by the attribution that the line cites."""
    from attribution.verify import recorded_attribution
    from cli.model import configured_model
    from settlement.audit.image_page import operators_page

    image, key = name, None
    with session(Role.ATTRIBUTION) as opened:
        logged = is_logged(opened, name)
    if not logged:
        with session(Role.AUDITOR) as opened:
            image, key = cited_by(opened, name)
    with session(Role.ATTRIBUTION) as opened:
        recorded = recorded_attribution(opened, image, key)
    try:
        to.write_text(operators_page(recorded, configured_model), encoding="utf-8")
    except OSError as error:
        raise Invalid(
            f"{to} cannot be written ({error.strerror}): name a file in a directory that is there"
        ) from error
    show(f"written: {to}")
