"""`royalty claim`: what third parties claim of a payee's money, and whose it is."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.operator import operator
from cli.screen import money, show, table
from database.engine import session
from database.errors import Invalid
from database.roles import Role
from settlement import claims
from settlement.money import from_decimal

group = typer.Typer(
    no_args_is_help=True, help="Third parties who claim what a payee is owed: the money waits in suspense."
)


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(group, name="claim")


ClaimId = Annotated[str, typer.Argument(help="The claim's id, for example of the case.")]


@group.command("open")
def open_claim(
    claim_id: ClaimId,
    payee: Annotated[str, typer.Argument(help="Whose money is claimed.")],
    amount: Annotated[str, typer.Argument(help="What is claimed, for example 120.00.")],
    currency: Annotated[str, typer.Argument(help="ISO 4217 code, for example EUR.")],
    claimant: Annotated[str, typer.Option(help="Who claims it: her id as a payee, now or later.")],
    reason: Annotated[str, typer.Option(help="What is claimed, without names.")],
    evidence: Annotated[str, typer.Option(help="Where what was handed in is kept.")],
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="When a decision is expected.")
    ] = None,
) -> None:
    """Move what is claimed, as far as it is there, from the payee's balance into suspense."""
    actor = operator("payouts:write").username
    with session(Role.SETTLEMENT) as opened:
        claim = claims.open_claim(
            opened,
            claim_id,
            payee,
            claimant,
            from_decimal(amount),
            currency,
            reason=reason,
            evidence=evidence,
            claimed_at=datetime.now(UTC),
            actor=actor,
            expected_until=until.date() if until else None,
        )
    show(
        f"claim {claim_id} is open: {money(claim.moved_micros, currency)} of {payee}'s balance waits in suspense;"
        " the rest can be paid"
    )
    show(f"next: `royalty claim decide {claim_id} --award AMOUNT --reason ...`")


@group.command("decide")
def decide(
    claim_id: ClaimId,
    award: Annotated[
        str | None, typer.Option(help="What the claimant gets; the rest goes back to the payee. 0: nothing.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why it is decided so.")] = "",
    approve: Annotated[
        str | None,
        typer.Option(
            help="Approve the decision with this digest, which another operator proposed, and carry it out; its first"
            " 12 digits will do."
        ),
    ] = None,
) -> None:
    """Propose what becomes of a claim, or approve what another operator proposed. Stopped half-way, run it again."""
    if (award is None) == (approve is None):
        raise Invalid("propose with --award AMOUNT --reason ..., or approve with --approve DIGEST")
    if award is not None:
        maker = operator("payouts:write").username
        with session(Role.SETTLEMENT) as opened:
            decision = claims.propose_decision(
                opened, claim_id, from_decimal(award), reason=reason, maker=maker
            )
            digest = decision.content_sha256.hex()[:12]
        show("proposed; nothing is posted yet")
        show(f"next: another operator runs `royalty claim decide {claim_id} --approve {digest}`")
        return
    checker = operator("payouts:approve").username
    with session(Role.APPROVER) as opened:
        newest = claims.newest_decision(opened, claim_id)
        digest = str(approve).lower()
        seen = newest is not None and len(digest) >= 12 and newest.content_sha256.hex().startswith(digest)
        claims.approve_decision(
            opened, claim_id, newest.content_sha256 if newest and seen else b"", checker=checker
        )
    with session(Role.SETTLEMENT) as opened:
        claims.carry_out(opened, claim_id, decided_at=datetime.now(UTC), actor=checker)
        status = claims.claim_status(opened, claim_id)
    claim, decision_made = status.claim, status.decision
    assert decision_made is not None
    back = claim.moved_micros - decision_made.awarded_micros
    show(
        f"claim {claim_id} is decided: {money(decision_made.awarded_micros, claim.currency)} to {claim.claimant_id},"
        f" {money(back, claim.currency)} back to {claim.payee_id}"
    )


@group.command("list")
def list_claims() -> None:
    """Show every claim and how far it has come."""
    found: list[claims.ClaimStatus] = []
    with session(Role.SETTLEMENT) as opened:
        while page := claims.claims(opened, after=found[-1].claim.claim_id if found else "", limit=1_000):
            found += page
    rows = [
        (
            status.claim.claim_id,
            status.claim.payee_id,
            status.claim.claimant_id,
            money(status.claim.amount_micros, status.claim.currency),
            money(status.claim.moved_micros, status.claim.currency),
            status.state,
            money(status.decision.awarded_micros, status.claim.currency) if status.decision else "",
        )
        for status in found
    ]
    columns = ("claim", "payee", "claimant", "claimed", "moved", "state", "awarded")
    show(table("Ownership claims", columns, rows, right=("claimed", "moved", "awarded")))


@group.command("show")
def show_claim(claim_id: ClaimId) -> None:
    """Show one claim with its decision, and the digest to approve."""
    with session(Role.SETTLEMENT) as opened:
        status = claims.claim_status(opened, claim_id)
    claim, decision = status.claim, status.decision
    rows: list[tuple[str, object]] = [
        ("payee", claim.payee_id),
        ("claimant", claim.claimant_id),
        ("claimed", money(claim.amount_micros, claim.currency)),
        ("moved", money(claim.moved_micros, claim.currency)),
        ("reason", claim.reason),
        ("evidence", claim.evidence),
        ("opened", f"{claim.claimed_at:%Y-%m-%d} by {claim.actor}"),
        ("decision expected", claim.expected_until),
        ("state", status.state),
    ]
    if decision is not None:
        rows += [
            ("to the claimant", money(decision.awarded_micros, claim.currency)),
            ("back to the payee", money(claim.moved_micros - decision.awarded_micros, claim.currency)),
            ("because", decision.reason),
            ("proposed by", decision.maker),
            ("approved by", status.checker),
            ("digest", decision.content_sha256.hex()),
        ]
    show(table(f"Claim {claim_id}", ("what", "says"), rows))
