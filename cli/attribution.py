"""`royalty attribution`: how far the workers are, what they attribute with, and its calibration."""

import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from attribution import jobs
from cli.operator import operator
from cli.screen import percent, progress, show, table
from database.engine import session
from database.errors import Invalid, NotFound, UserError
from database.roles import Role

if TYPE_CHECKING:
    from attribution.verify import Verification

NOT_CONFIRMED = 1
NOT_RENDERED = 3
"""Exit codes of `verify`: something contradicts what is recorded; something could not be rendered again here."""

group = typer.Typer(no_args_is_help=True, help="Attribution: progress, method, calibration.")


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(group, name="attribution")


@group.command()
def status(
    watch: Annotated[bool, typer.Option(help="Stay until nothing is open, with a progress bar.")] = False,
) -> None:
    """Show how many images are attributed, how fast, and what waits or failed."""
    if watch:
        with progress("attributing") as advance:
            while True:
                with session(Role.ATTRIBUTION) as opened:
                    found = jobs.status(opened)
                advance(found.done + found.failed, found.done + found.failed + found.open)
                if not found.open:
                    break
                time.sleep(0.5)
    with session(Role.ATTRIBUTION) as opened:
        found = jobs.status(opened)
    rows = [(name, getattr(found, name)) for name in ("pending", "leased", "done", "failed")]
    show(table("Attribution", ("state", "images"), rows, right=("images",)))
    left = "" if found.seconds_left is None else f", {found.seconds_left:.0f} s left"
    show(f"{found.per_second:.2f} images/s over the last minute{left}")
    for title, reasons in (
        ("Why images wait or are tried again", found.waiting),
        ("Why images failed", found.failures),
    ):
        if reasons:
            given = [(number, escape(why)) for why, number in reasons.items()]
            show(table(title, ("images", "reason"), given, right=("images",)))
    if found.failures:
        show("next: put right what the reasons name, then `royalty attribution retry`")


@group.command()
def retry() -> None:
    """Try failed images again."""
    operator("images:write")
    with session(Role.ATTRIBUTION) as opened:
        number = jobs.retry_failed(opened)
    show(f"{number} images are queued again")


@group.command()
def verify(
    images: Annotated[list[str] | None, typer.Argument(help="External ids of images.")] = None,
    period_id: Annotated[
        str | None, typer.Option("--period", help="All attributions that earned something in this period.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="So many, drawn at random: of the period, or of all.")
    ] = None,
) -> None:
    """Render attributed images again and compare values, pictures and shares with what is recorded.

    Exit code 0: all confirmed. 1: something contradicts the books. 3: something could not be rendered again here.
    """
    from attribution.verify import Verification, recorded_attribution
    from attribution.verify import verify as render_again
    from cli.model import configured_model

    chosen = _chosen(images or [], period_id, sample)
    model = configured_model()
    found: list[Verification] = []
    failures: list[tuple[str, str]] = []
    with progress("verifying") as advance:
        for external_id, key in chosen:
            try:
                with session(Role.ATTRIBUTION) as opened:
                    recorded = recorded_attribution(opened, external_id, key)
                found.append(render_again(recorded, model))
            except NotFound:
                raise
            except UserError as error:
                failures.append((external_id, error.message))
            advance(len(found) + len(failures), len(chosen))
    if len(chosen) == 1 and found:
        _show_verification(found[0])
    elif found:
        _show_verifications(found)
    if failures:
        cells = [(escape(external_id), escape(why)) for external_id, why in failures]
        show(table("Not rendered again", ("image", "why"), cells))
    wrong = [check.external_id for check in found if not check.agrees]
    if wrong:
        show(f"[red]not confirmed[/red]: {escape(', '.join(wrong))}")
        raise typer.Exit(NOT_CONFIRMED)
    if failures:
        raise typer.Exit(NOT_RENDERED)
    show(f"confirmed: {len(found)} of {len(chosen)}")


def _chosen(images: Sequence[str], period_id: str | None, sample: int | None) -> list[tuple[str, int | None]]:
    """Which attributions to verify: external id and key; without a key the newest method version's."""
    from attribution.verify import drawn_attributions
    from settlement.audit.explain import cited_attributions

    if bool(images) == bool(period_id or sample):
        raise Invalid("name images, or say --period or --sample N: `royalty attribution verify --help`")
    if images:
        return [(external_id, None) for external_id in dict.fromkeys(images)]
    if period_id is None:
        with session(Role.ATTRIBUTION) as opened:
            drawn = drawn_attributions(opened, sample or 1)
        if not drawn:
            raise NotFound("no image is attributed yet; `royalty attribution status` shows the queue")
        return list(drawn)
    with session(Role.SETTLEMENT) as opened:
        cited = cited_attributions(opened, period_id)
    return list(random.sample(cited, min(sample or len(cited), len(cited))))


@group.command("read")
def read_one(
    prompt: Annotated[str, typer.Argument(help="A prompt as logged, in quotation marks.")],
    artists: Annotated[
        list[str] | None, typer.Option("--artist", help="Id of an artist the platform says is named.")
    ] = None,
) -> None:
    """Show which artists of the catalogue a prompt names: which words, which alias, and why; and why others do not."""
    from attribution.catalogue import artists as catalogue
    from attribution.game import build_game
    from attribution.known_names import read_gate
    from attribution.name_index import NameIndex
    from attribution.prompt_reading import Finding, Verdict
    from attribution.registration import configured_method
    from cli.model import configured_model

    model = configured_model()
    with session(Role.ATTRIBUTION) as opened:
        known = catalogue(opened)
        gate = read_gate(opened, configured_method(opened, model), model.weights_sha256, known)
    if not known:
        raise NotFound("there are no artists yet; `royalty catalogue load FILE`")
    game = build_game(
        prompt,
        NameIndex(known),
        window_end=model.window_end(prompt),
        explicit=artists or (),
        recognised=None if gate is None else gate.read,
    )
    players = set(game.artists)

    def note(finding: Finding) -> str:
        artist_id = finding.artist_id
        if not finding.in_window:
            return ", beyond the text window: earns nothing"
        if finding.verdict is not Verdict.MENTION:
            return ""
        if gate is not None and artist_id in gate.unmeasured:
            return ", not measured yet: `royalty artists recognise`"
        return "" if artist_id in players else ", the model does not know the name: content"

    rows = [
        (
            escape(finding.words),
            escape(f"{finding.rule} {finding.alias!r} of {finding.artist_id}"),
            finding.distance or None,
            f"[green]{finding.verdict}[/green]" if finding.artist_id in game.artists else finding.verdict,
            escape(finding.why) + note(finding),
        )
        for finding in game.reading.findings
    ]
    columns = ("words", "match", "letters off", "read as", "why")
    show(
        table("Words like an artist's name", columns, rows, right=("letters off",))
        if rows
        else "no such words"
    )
    show(f"artists: {escape(', '.join(game.artists)) or 'nobody'}")
    show(f"canonical prompt: {escape(game.canonical_prompt)!r}")
    if game.artists:
        show(f"content alone: {escape(game.prompt(1))!r}")


def _show_verification(found: "Verification") -> None:
    """One image, coalition by coalition and player by player."""
    coalitions = [
        (
            escape(" + ".join(check.players)) or "nobody",
            f"{check.recorded / 1e9:+.9f}",
            f"{check.measured / 1e9:+.9f}",
            check.measured - check.recorded,
            "the same" if check.same_picture else "another",
            "the same" if check.same_prompt else "[red]another[/red]",
        )
        for check in found.coalitions
    ]
    columns = ("coalition", "v then", "v now", "difference", "picture", "words")
    if coalitions:
        show(table(escape(f"{found.external_id}, {found.method}"), columns, coalitions, right=columns[1:4]))
        shares = [
            (
                escape(check.player),
                percent(check.recorded),
                percent(check.measured),
                check.measured - check.recorded,
            )
            for check in found.shares
        ]
        headings = ("player", "share then", "share now", "difference, ppb")
        show(table("Shares", headings, shares, right=headings[1:]))
    for name, reason in (("then", found.recorded_reason), ("now", found.measured_reason)):
        if reason is not None:
            show(f"unattributed {name}: {reason}")
    show(
        f"largest difference {found.largest_difference}, tolerance {found.tolerance} (10^-9 of v);"
        f" {found.same_pictures} of {len(found.coalitions)} pictures the same to the last bit"
    )
    follow = "follow" if found.shares_follow else "[red]do not follow[/red]"
    show(f"the recorded shares {follow} from the recorded values")
    for difference in found.differences:
        show(f"rendered elsewhere than then: {difference}")


def _show_verifications(found: "Sequence[Verification]") -> None:
    """Many images, a line each."""
    rows = [
        (
            "[green]confirmed[/green]" if check.agrees else "[red]differs[/red]",
            escape(check.external_id),
            escape(check.method),
            len(check.coalitions),
            check.same_pictures,
            check.largest_difference,
            check.tolerance,
        )
        for check in found
    ]
    columns = ("", "image", "method", "coalitions", "same pictures", "largest difference", "tolerance")
    show(table("Rendered again", columns, rows, right=columns[3:]))
    for difference in sorted({line for check in found for line in check.differences}):
        show(f"rendered elsewhere than then: {difference}")
