"""`royalty correction`: closed periods are put right in the next one, by two people, who see who wins and who loses."""

from typing import Annotated

import typer

from cli.operator import operator
from cli.screen import amount, money, show, table
from database.engine import session
from database.errors import Invalid
from database.roles import Role
from settlement.corrections.decisions import (
    Standing,
    approve_correction,
    corrections,
    find_correction,
    withdraw_correction,
)
from settlement.corrections.preview import Mover, read_preview
from settlement.corrections.proposal import (
    Selection,
    propose_manual,
    propose_reattribution,
    propose_terms,
)
from settlement.money import from_decimal

group = typer.Typer(
    no_args_is_help=True, help="Corrections of closed periods: propose, look at, approve, withdraw."
)

CorrectionId = Annotated[str, typer.Argument(help="The correction's own id, such as fix-1.")]
SHOWN = 20
"""How many of those who win or lose most are shown."""


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(group, name="correction")


@group.command()
def propose(
    correction_id: CorrectionId,
    reason: Annotated[str, typer.Option(help="Why. It stands on statements: name nobody.")],
    method: Annotated[
        str | None,
        typer.Option(help="Divide by the results of this method version, by name or SHA-256."),
    ] = None,
    from_method: Annotated[
        str | None, typer.Option(help="Only what is paid by this method version now.")
    ] = None,
    rate_card: Annotated[
        str | None,
        typer.Option(help="The card it should have been paid by, such as standard-1@2026-01-01."),
    ] = None,
    contract: Annotated[
        list[str] | None,
        typer.Option(help="A contract's version that holds, such as contract-1@2026-01-01; repeatable."),
    ] = None,
    payee: Annotated[str | None, typer.Option(help="An amount by hand: for or from this payee.")] = None,
    by_hand: Annotated[
        str | None, typer.Option("--amount", help="The amount by hand; below zero: from her.")
    ] = None,
    currency: Annotated[str | None, typer.Option(help="Its currency, such as EUR.")] = None,
    territory: Annotated[
        str | None, typer.Option(help="Where it is taxed, such as DE; left out: nowhere.")
    ] = None,
    period: Annotated[list[str] | None, typer.Option(help="Sales paid in this period; repeatable.")] = None,
    sale: Annotated[list[str] | None, typer.Option(help="This sale; repeatable.")] = None,
    image: Annotated[list[str] | None, typer.Option(help="Sales of this image; repeatable.")] = None,
    artist: Annotated[list[str] | None, typer.Option(help="Sales that pay this artist; repeatable.")] = None,
) -> None:
    """Compute a correction and keep its preview: by another method version, by other terms, or an amount by hand."""
    actor = operator("runs:write").username
    selection = Selection(period or (), sale or (), image or (), artist or ())
    with session(Role.SETTLEMENT) as opened:
        if payee is not None:
            if by_hand is None or currency is None:
                raise Invalid("an amount by hand needs --amount and --currency")
            if method or from_method or rate_card or contract or selection.document():
                raise Invalid("an amount by hand is about no sales, method or terms: leave those options out")
            standing = propose_manual(
                opened,
                correction_id,
                payee,
                currency,
                from_decimal(by_hand),
                actor=actor,
                reason=reason,
                territory=territory,
            )
        elif by_hand is not None or currency is not None or territory is not None:
            raise Invalid("--amount, --currency and --territory are for an amount by hand: name its --payee")
        elif method is not None:
            if rate_card or contract:
                raise Invalid(
                    "propose another method and other terms one after the other, in two corrections"
                )
            standing = propose_reattribution(
                opened,
                correction_id,
                method,
                actor=actor,
                reason=reason,
                selection=selection,
                from_method=from_method,
            )
        else:
            if from_method is not None:
                raise Invalid("--from-method goes with --method")
            standing = propose_terms(
                opened,
                correction_id,
                actor=actor,
                reason=reason,
                selection=selection,
                rate_card=rate_card,
                contracts=contract or (),
            )
    show_correction(standing)
    show(f"next: another operator looks at `royalty correction show {correction_id}` and approves")


@group.command("show")
def show_command(correction_id: CorrectionId) -> None:
    """Show a correction with its preview and digest."""
    with session(Role.SETTLEMENT) as opened:
        standing = find_correction(opened, correction_id)
    show_correction(standing)
    digest = standing.correction.content_sha256.hex()
    show(f"proposed by {standing.correction.actor}; digest {digest}")
    if standing.state == "proposed":
        show(f"next: `royalty correction approve {correction_id} {digest[:12]}`")


@group.command("list")
def list_command() -> None:
    """Show every correction and where it stands."""
    with session(Role.SETTLEMENT) as opened:
        rows = [
            (
                one.correction.correction_id,
                one.correction.kind,
                one.state if one.applied_in is None else f"applied in {one.applied_in}",
                one.correction.actor,
                one.checker,
                one.correction.reason,
            )
            for one in corrections(opened)
        ]
    show(table("Corrections", ("correction", "kind", "state", "maker", "checker", "reason"), rows))


@group.command()
def approve(
    correction_id: CorrectionId,
    digest: Annotated[str, typer.Argument(help="The digest you have seen; its first 12 digits will do.")],
) -> None:
    """Approve exactly what was shown; never one's own. The next period that is cut off applies it."""
    checker = operator("runs:approve").username
    with session(Role.APPROVER) as opened:
        whole = find_correction(opened, correction_id).correction.content_sha256
        seen = whole if len(digest) >= 12 and whole.hex().startswith(digest.lower()) else b""
        approve_correction(opened, correction_id, checker=checker, content_sha256=seen)
    show(f"correction {correction_id} is approved by {checker}; the next period that is cut off applies it")


@group.command()
def withdraw(
    correction_id: CorrectionId, reason: Annotated[str, typer.Option(help="Why it is not made.")]
) -> None:
    """Withdraw a correction that no close has applied."""
    actor = operator("runs:write").username
    with session(Role.SETTLEMENT) as opened:
        withdraw_correction(opened, correction_id, actor=actor, reason=reason)
    show(f"correction {correction_id} is withdrawn")


def show_correction(standing: Standing) -> None:
    """Print what a correction changes: all together, and for those who win or lose most."""
    correction = standing.correction
    preview = read_preview(correction.content)
    where = f" in {standing.applied_in}" if standing.applied_in else ""
    show(
        f"correction {correction.correction_id} ({correction.kind}), {standing.state}{where}: {correction.reason}"
    )
    columns = ("currency", "original", "corrected", "difference")
    rows = [
        (currency, *(amount(figure, currency) for figure in figures))
        for currency, figures in preview.totals().items()
    ]
    show(table(f"{preview.sales} sales", columns, rows, right=columns[1:]))
    movers = sorted(preview.movers, key=lambda mover: abs(mover.difference), reverse=True)
    headings = ("who", "original", "corrected", "difference", "sales")
    show(
        table(
            "Who wins and who loses" + (f": {SHOWN} of {len(movers)}" if len(movers) > SHOWN else ""),
            headings,
            [
                (
                    _holder(mover),
                    *(
                        money(figure, mover.currency)
                        for figure in (mover.original, mover.corrected, mover.difference)
                    ),
                    mover.sales,
                )
                for mover in movers[:SHOWN]
            ],
            right=headings[1:],
        )
    )
    if preview.without_result:
        show(f"left out: {preview.without_result} sales whose image has no result by that method")


def _holder(mover: Mover) -> str:
    if mover.destination == "payee":
        return mover.holder
    return f"suspense: {mover.destination} {mover.holder}".rstrip()
