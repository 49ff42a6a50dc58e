"""What platform operations do: periods from cut-off to close, and payout batches. Makers and checkers are two people.

Approving and paying are done by database roles of their own. A deployment may keep their passwords from this process;
then these requests say so, and the command line does the same.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from hashlib import sha256
from threading import Lock
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from api.access import Asker, allowing
from api.amounts import Money, money
from api.fields import Day, Moment
from api.html import PAGE, page_answer
from api.roles import acting
from database.engine import session
from database.errors import Conflict
from database.roles import Role
from database.settings import get_settings
from settlement.audit.image_page import operators_page
from settlement.payouts import run
from settlement.payouts.models import PayoutBatch, batch_rows, batch_state, batches, find_batch
from settlement.payouts.outcomes import Outcome, record_outcomes
from settlement.payouts.plan import hold_named, plan
from settlement.payouts.provider.configuration import provider_of
from settlement.periods.approval import Draft, approve, calculate, draft_of, submit
from settlement.periods.calendar import cut_off, find_period, periods
from settlement.periods.close import Closing, close, dry_run
from settlement.periods.gates import Gate
from settlement.periods.models import Period
from settlement.periods.totals import CurrencyTotals, PayeeTotals, RunTotals

router = APIRouter(tags=["operations"])

_RENDERING = Lock()
"""Held while coalitions are rendered: one page at a time, whoever asks."""

_READ_PERIODS = ("runs:write", "runs:approve")
_READ_PAYOUTS = ("payouts:write", "payouts:approve")


class PeriodAnswer(BaseModel):
    """An accounting period, [starts_at, ends_at)."""

    id: str = Field(examples=["2026-10"])
    starts_at: datetime
    ends_at: datetime
    cut_off_at: datetime | None = Field(
        description="What is recorded from then on counts later; null: not cut off."
    )
    zone: str = Field(examples=["Europe/Berlin"])
    state: str = Field(examples=["in_review"])


class CurrencyAnswer(BaseModel):
    """Where a period's money in one currency came from and went."""

    currency: str
    base: Money
    slices: Money = Field(description="What the sales pay in royalties, to everybody together.")
    paid: Money
    unclaimed: Money
    pending: Money
    unattributed: Money
    late: Money
    refunds: Money
    adjustments: Money = Field(description="What corrections of closed periods come to.")


class PayeeTotalsAnswer(BaseModel):
    """One payee's column in one currency: opening and what moved make the closing. A foreign one is converted."""

    payee: str
    currency: str
    opening: Money
    royalties: Money
    late: Money
    adjustments: Money
    refunds: Money
    reserves: Money
    recoupment: Money
    tax: Money
    claims: Money
    fx: Money
    payments: Money
    closing: Money


class TotalsAnswer(BaseModel):
    """What a calculation comes to."""

    sales: int
    attributed: int
    pending: int
    unattributed: int
    refunds: int
    lines: int
    currencies: list[CurrencyAnswer]
    payees: list[PayeeTotalsAnswer]


class FindingAnswer(BaseModel):
    """One thing that a gate found."""

    subject: str = Field(description="Payee, sale or currency.", examples=["pay-1"])
    amount: Money | None
    note: str


class GateAnswer(BaseModel):
    """What was looked at before the approval, and what was found."""

    gate: str = Field(examples=["negative_balances"])
    must_hold: bool = Field(description="Whether nobody may accept what it found.")
    found: int
    findings: list[FindingAnswer] = Field(description="The largest.")


class DraftAnswer(BaseModel):
    """A calculation that has posted nothing."""

    period: str
    content_sha256: str = Field(description="What a checker approves.")
    inputs_sha256: str
    calculated_by: str
    totals: TotalsAnswer
    gates: list[GateAnswer]
    gates_sha256: str = Field(description="What a checker names who accepts what a gate found.")


class Approve(BaseModel):
    """Approval of exactly what was looked at."""

    content_sha256: Annotated[
        str,
        Field(
            pattern="^[0-9a-f]{64}$", description="The draft's, as you have seen it.", examples=["ab" * 32]
        ),
    ]
    accepted: Annotated[
        dict[
            Annotated[str, Field(max_length=64)],
            Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00]+$")],
        ],
        Field(
            default_factory=dict,
            max_length=20,
            description="Why what a gate found may pass, by the gate's name.",
            examples=[{"negative_balances": "a refund after the payout"}],
        ),
    ]
    gates_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = Field(
        default=None,
        description="The draft's, as you have seen it: needed with `accepted`.",
        examples=["ab" * 32],
    )


class ApprovalAnswer(BaseModel):
    """The second pair of eyes."""

    subject: str
    content_sha256: str
    maker: str
    checker: str


class DifferenceAnswer(BaseModel):
    """What a payee earns in this period beside the last one."""

    payee: str
    last: Money
    this: Money
    difference: Money


class FigureAnswer(BaseModel):
    """One of a currency's figures beside the last period's."""

    figure: str = Field(examples=["slices"])
    last: Money
    this: Money
    difference: Money


class ClosingAnswer(BaseModel):
    """What a close wrote, or would write."""

    period: str
    dry_run: bool
    statements: int
    journals: int
    totals: TotalsAnswer
    differences: list[DifferenceAnswer]
    figures: list[FigureAnswer]
    gates: list[GateAnswer]


class BatchAnswer(BaseModel):
    """A payout batch."""

    id: str = Field(examples=["EUR-20261104-1"])
    currency: str
    execution_date: date
    maker: str
    state: str = Field(examples=["draft"])


class DecisionAnswer(BaseModel):
    """What a batch does for one payee."""

    payee: str
    balance: Money
    amount: Money
    decision: str = Field(examples=["pay"])
    why: str | None = Field(default=None, description="More of why not, where a plan has more to say.")
    shared_with: list[str] = Field(
        default=[], description="Other payees with the same account, as a plan sees it: look at them."
    )
    state: str | None = Field(description="null: only planned.")
    attempt: str | None = Field(description="The payment's EndToEndId; null: none was made.")


class BatchWithRows(BatchAnswer):
    """A payout batch with everybody in it."""

    payouts: list[DecisionAnswer]


class PlanAnswer(BaseModel):
    """Whom a batch would pay now."""

    currency: str
    payouts: list[DecisionAnswer]


class CreateBatch(BaseModel):
    """A payout batch to make."""

    currency: Annotated[str, Field(pattern="^[A-Z]{3}$", examples=["EUR"])]
    execution_date: Day = Field(description="When the bank is to pay.", examples=["2026-11-04"])


class BankSays(BaseModel):
    """What the bank says became of one payment."""

    attempt: Annotated[str, Field(min_length=1, max_length=35, pattern=r"^[^\x00]+$")]
    state: Literal["accepted", "unknown", "paid", "rejected", "returned"]
    at: Moment
    reason: Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")] = ""


class BankReport(BaseModel):
    """What the bank reports. Sent again, it changes nothing."""

    outcomes: Annotated[list[BankSays], Field(min_length=1, max_length=1_000)]


class Taken(BaseModel):
    """What became of one reported outcome."""

    attempt: str
    result: str = Field(description="recorded, known, or why it was not taken.")


PeriodId = Annotated[
    str, Path(pattern=r"^[12][0-9]{3}-(0[1-9]|1[0-2])$", description="Year and month.", examples=["2026-10"])
]
BatchId = Annotated[
    str,
    Path(pattern=r"^[A-Z]{3}-[0-9]{8}-[0-9]{1,9}$", description="Payout batch.", examples=["EUR-20261104-1"]),
]
DryRun = Annotated[bool, Query(alias="dry_run", description="Show what it would write; write nothing.")]


@contextmanager
def _reading() -> Iterator[Session]:
    """A session whose work is not kept: a month that is asked for is made on the way, and a dry run calculates."""
    with session(Role.SETTLEMENT) as opened:
        yield opened
        opened.rollback()


@router.get("/v1/periods", **allowing(*_READ_PERIODS), summary="Every period")
def list_periods() -> list[PeriodAnswer]:
    """Every period and where it stands, the earliest first."""
    with session(Role.SETTLEMENT) as opened:
        return [_period(period) for period in periods(opened)]


@router.get("/v1/periods/{period}", **allowing(*_READ_PERIODS, problems=(404, 422)), summary="One period")
def read_period(period: PeriodId) -> PeriodAnswer:
    """A period and where it stands."""
    with _reading() as opened:
        return _period(find_period(opened, period))


@router.get(
    "/v1/periods/{period}/draft",
    **allowing(*_READ_PERIODS, problems=(404, 422)),
    summary="What is to be approved",
)
def read_draft(period: PeriodId) -> DraftAnswer:
    """The calculation under review, with the digest that an approval names."""
    with _reading() as opened:
        find_period(opened, period)
        return _draft(draft_of(opened, period))


@router.post(
    "/v1/periods/{period}/cut-off",
    **allowing("runs:write", problems=(404, 409, 422)),
    summary="Cut a period off",
)
def cut_off_period(period: PeriodId) -> PeriodAnswer:
    """Keep what is recorded from now on for a later period. Cut off already: nothing happens."""
    with session(Role.SETTLEMENT) as opened:
        return _period(cut_off(opened, period))


@router.post(
    "/v1/periods/{period}/calculate",
    **allowing("runs:write", problems=(404, 409, 422)),
    summary="Calculate a period",
)
def calculate_period(asker: Asker, period: PeriodId) -> DraftAnswer:
    """Calculate a period that is cut off; an earlier calculation is thrown away. Posts nothing."""
    with session(Role.SETTLEMENT) as opened:
        return _draft(calculate(opened, period, actor=asker.username))


@router.post(
    "/v1/periods/{period}/submit",
    **allowing("runs:write", problems=(404, 409, 422)),
    summary="Put up for review",
)
def submit_period(period: PeriodId) -> DraftAnswer:
    """Put a calculated period up for another person's review."""
    with session(Role.SETTLEMENT) as opened:
        return _draft(submit(opened, period))


@router.post(
    "/v1/periods/{period}/approve",
    **allowing("runs:approve", problems=(404, 409, 422)),
    summary="Approve a period",
)
def approve_period(asker: Asker, period: PeriodId, seen: Approve) -> ApprovalAnswer:
    """Approve exactly the calculation whose digest you name; never your own."""
    with acting(Role.APPROVER) as opened:
        found = approve(
            opened,
            period,
            checker=asker.username,
            content_sha256=bytes.fromhex(seen.content_sha256),
            accepted=seen.accepted,
            gates_sha256=bytes.fromhex(seen.gates_sha256) if seen.gates_sha256 else None,
        )
        return ApprovalAnswer(
            subject=found.subject,
            content_sha256=found.content_sha256.hex(),
            maker=found.maker,
            checker=found.checker,
        )


@router.post(
    "/v1/periods/{period}/close", **allowing("runs:write", problems=(404, 409, 422)), summary="Close a period"
)
def close_period(asker: Asker, period: PeriodId, only_show: DryRun = False) -> ClosingAnswer:
    """Write lines, journals and statements of an approved period, once and for good."""
    if only_show:
        with _reading() as opened:
            return _closing(dry_run(opened, period), only_show)
    with session(Role.SETTLEMENT) as opened:
        return _closing(close(opened, period, actor=asker.username), only_show)


@router.get(
    "/v1/images/{external_id:path}/attribution/evidence",
    **allowing(*_READ_PERIODS, problems=(404, 422), responses=PAGE),
    response_class=Response,
    summary="An image's attribution with all its evidence, as a page",
)
def read_evidence(
    external_id: Annotated[str, Path(min_length=1, max_length=200, pattern=r"^[^\x00]+$")],
) -> Response:
    """Image, words, coalitions rendered again, raw values, hashes: what `royalty explain --html` writes."""
    # Torch takes seconds to import, and this is the only request that needs it.
    from attribution.configured import configured_model
    from attribution.verify import recorded_attribution

    with session(Role.ATTRIBUTION) as opened:
        recorded = recorded_attribution(opened, external_id)
    with _RENDERING:
        return page_answer(operators_page(recorded, configured_model))


@router.get("/v1/payout-batches", **allowing(*_READ_PAYOUTS), summary="Every payout batch")
def list_batches() -> list[BatchAnswer]:
    """Every batch with its state, newest first."""
    with acting(Role.PAYER) as opened:
        return [BatchAnswer(**_batch(batch, state)) for batch, state in batches(opened)]


@router.get("/v1/payout-plan", **allowing(*_READ_PAYOUTS, problems=(422,)), summary="Whom a batch would pay")
def read_plan(currency: Annotated[str, Query(pattern="^[A-Z]{3}$", examples=["EUR"])]) -> PlanAnswer:
    """Whom a batch in this currency would pay now, and why not the others. Writes nothing."""
    with acting(Role.PAYER) as opened:
        decisions = plan(opened, currency)
    return PlanAnswer(
        currency=currency,
        payouts=[
            DecisionAnswer(
                payee=decision.payee_id,
                balance=money(decision.balance, currency),
                amount=money(decision.amount, currency),
                decision=decision.decision,
                why=decision.problem,
                shared_with=list(decision.shared_with),
                state=None,
                attempt=None,
            )
            for decision in decisions
        ],
    )


@router.post(
    "/v1/payout-batches",
    **allowing("payouts:write", problems=(409, 422)),
    status_code=201,
    summary="Make a payout batch",
)
def create_batch(response: Response, asker: Asker, wanted: CreateBatch) -> BatchWithRows:
    """Fix whom a batch pays, and how much. There is one unfinished batch in a currency: sent twice, it is made once."""
    with acting(Role.PAYER) as opened:
        hold_named(opened, wanted.currency, asker.username)
    with acting(Role.PAYER) as opened:
        batch = run.create_batch(opened, wanted.currency, wanted.execution_date, asker.username)
        made = _with_rows(opened, batch.batch_id)
    response.headers["Location"] = f"/v1/payout-batches/{made.id}"
    return made


@router.get(
    "/v1/payout-batches/{batch}", **allowing(*_READ_PAYOUTS, problems=(404, 422)), summary="One payout batch"
)
def read_batch(batch: BatchId) -> BatchWithRows:
    """A batch with everybody in it, and how far each payout has come."""
    with acting(Role.PAYER) as opened:
        return _with_rows(opened, batch)


@router.post(
    "/v1/payout-batches/{batch}/approve",
    **allowing("payouts:approve", problems=(404, 409, 422)),
    summary="Approve a payout batch",
)
def approve_batch(asker: Asker, batch: BatchId) -> BatchAnswer:
    """Approve a batch that another person made. Its content cannot have changed since."""
    with acting(Role.APPROVER) as opened:
        run.approve_batch(opened, batch, asker.username)
        return BatchAnswer(**_batch(find_batch(opened, batch), batch_state(opened, batch)))


@router.post(
    "/v1/payout-batches/{batch}/cancel",
    **allowing("payouts:write", problems=(404, 409, 422)),
    summary="Give a payout batch up",
)
def cancel_batch(asker: Asker, batch: BatchId) -> BatchAnswer:
    """Give up a batch that has not been submitted."""
    with acting(Role.PAYER) as opened:
        run.cancel_batch(opened, batch, asker.username)
        return BatchAnswer(**_batch(find_batch(opened, batch), batch_state(opened, batch)))


@router.post(
    "/v1/payout-batches/{batch}/submit",
    **allowing("payouts:write", problems=(404, 409, 422)),
    summary="Submit a payout batch",
)
def submit_batch(asker: Asker, batch: BatchId) -> BatchWithRows:
    """Reserve the money and hand the bank's file over: download it next. Stopped half-way, send it again."""
    # Three commits, each of which may be the last before a crash: attempts are kept before the bank can hear of them.
    now = datetime.now(UTC)
    with acting(Role.PAYER) as opened:
        name = provider_of(find_batch(opened, batch).currency)
        if name is not None:
            raise Conflict(f"{batch} goes by provider {name}: run `royalty payout submit {batch}`")
        run.reserve(opened, batch, asker.username, now, per_file=get_settings().payout_file_limit)
    with acting(Role.PAYER) as opened:
        digests = {
            file.number: _digest(run.file_chunks(opened, batch, file.number))
            for file in run.bank_files(opened, batch)
        }
    with acting(Role.PAYER) as opened:
        run.handed_over(opened, batch, digests, asker.username, now)
    with acting(Role.PAYER) as opened:
        return _with_rows(opened, batch)


@router.get(
    "/v1/payout-batches/{batch}/file",
    **allowing(
        "payouts:write",
        problems=(404, 409, 422),
        responses={
            200: {"description": "The file.", "content": {"application/xml": {"schema": {"type": "string"}}}}
        },
    ),
    response_class=Response,
    summary="The bank's file",
)
def read_payment_file(
    batch: BatchId, number: Annotated[int, Query(ge=1, description="Which of the batch's files.")] = 1
) -> Response:
    """A payment file (ISO 20022 `pain.001.001.09`) of a submitted batch; the same bytes every time."""
    with acting(Role.PAYER) as opened:
        content = b"".join(run.file_chunks(opened, batch, number))
        name = next(file.name for file in run.bank_files(opened, batch) if file.number == number)
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(content, media_type="application/xml", headers=headers)


def _digest(chunks: Iterable[bytes]) -> bytes:
    digest = sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.digest()


@router.post(
    "/v1/payout-outcomes", **allowing("payouts:write", problems=(422,)), summary="Record what the bank did"
)
def create_outcomes(asker: Asker, report: BankReport) -> list[Taken]:
    """Payments that were paid, rejected, or came back. An outcome that cannot be taken keeps no other out."""
    with acting(Role.PAYER) as opened:
        outcomes = [Outcome(said.attempt, said.state, said.at, said.reason) for said in report.outcomes]
        taken = record_outcomes(opened, outcomes, asker.username)
    return [Taken(attempt=outcome.attempt_id, result=result) for outcome, result in taken]


def _period(period: Period) -> PeriodAnswer:
    return PeriodAnswer(
        id=period.period_id,
        starts_at=period.starts_at,
        ends_at=period.ends_at,
        cut_off_at=period.cut_off_at,
        zone=period.zone,
        state=period.state,
    )


def _amounts(totals: CurrencyTotals | PayeeTotals, answer: type[BaseModel]) -> dict[str, Money]:
    names = (name for name, field in answer.model_fields.items() if field.annotation is Money)
    return {name: money(getattr(totals, name), totals.currency) for name in names}


def _totals(totals: RunTotals) -> TotalsAnswer:
    return TotalsAnswer(
        sales=totals.sales,
        attributed=totals.attributed,
        pending=totals.pending,
        unattributed=totals.unattributed,
        refunds=totals.refunds,
        lines=totals.lines,
        currencies=[
            CurrencyAnswer(currency=entry.currency, **_amounts(entry, CurrencyAnswer))
            for entry in totals.currencies
        ],
        payees=[
            PayeeTotalsAnswer(
                payee=entry.payee_id, currency=entry.currency, **_amounts(entry, PayeeTotalsAnswer)
            )
            for entry in totals.payees
        ],
    )


def _draft(draft: Draft) -> DraftAnswer:
    return DraftAnswer(
        period=draft.period_id,
        content_sha256=draft.sha256.hex(),
        inputs_sha256=draft.inputs_sha256.hex(),
        calculated_by=draft.calculated_by,
        totals=_totals(draft.totals),
        gates=_gates(draft.gates),
        gates_sha256=draft.gates_sha256.hex(),
    )


def _closing(closing: Closing, only_show: bool) -> ClosingAnswer:
    return ClosingAnswer(
        period=closing.period_id,
        dry_run=only_show,
        statements=closing.statements,
        journals=closing.journals,
        totals=_totals(closing.totals),
        differences=[
            DifferenceAnswer(
                payee=mover.payee_id,
                last=money(mover.last, mover.currency),
                this=money(mover.this, mover.currency),
                difference=money(mover.difference, mover.currency),
            )
            for mover in closing.differences
        ],
        figures=[
            FigureAnswer(
                figure=pair.figure,
                last=money(pair.last, pair.currency),
                this=money(pair.this, pair.currency),
                difference=money(pair.difference, pair.currency),
            )
            for pair in closing.figures
        ],
        gates=_gates(closing.gates),
    )


def _gates(gates: Sequence[Gate]) -> list[GateAnswer]:
    return [
        GateAnswer(
            gate=gate.name,
            must_hold=gate.must_hold,
            found=gate.found,
            findings=[
                FindingAnswer(
                    subject=found.subject,
                    amount=None
                    if found.amount is None or found.currency is None
                    else money(found.amount, found.currency),
                    note=found.note,
                )
                for found in gate.findings
            ],
        )
        for gate in gates
    ]


def _batch(batch: PayoutBatch, state: str) -> dict[str, Any]:
    return {
        "id": batch.batch_id,
        "currency": batch.currency,
        "execution_date": batch.execution_date,
        "maker": batch.maker,
        "state": state,
    }


def _with_rows(opened: Session, batch_id: str) -> BatchWithRows:
    batch = find_batch(opened, batch_id)
    return BatchWithRows(
        **_batch(batch, batch_state(opened, batch_id)),
        payouts=[
            DecisionAnswer(
                payee=row.payee_id,
                balance=money(row.balance, batch.currency),
                amount=money(row.amount, batch.currency),
                decision=row.decision,
                state=row.state,
                attempt=row.attempt_id,
            )
            for row in batch_rows(opened, batch_id)
        ],
    )
