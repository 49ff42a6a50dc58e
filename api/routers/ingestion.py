"""Images, sales and refunds in: batches, an outcome for every row, and sending again is safe."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, WithJsonSchema

from api.access import Asker, allowing
from attribution.ingest import Outcome, Status
from database.engine import session
from database.errors import Invalid
from database.roles import Role
from settlement.sales import RefundRecord, SaleRecord, parse_refund, parse_sale, record_refunds, record_sales

BATCH = 1_000
"""Rows in one request."""

router = APIRouter(tags=["ingestion"])

_EXAMPLES: dict[type[BaseModel], dict[str, Any]] = {
    SaleRecord: {
        "external_id": "sale-1",
        "image": "img-1",
        "sold_at": "2026-10-05T12:00:00Z",
        "territory": "DE",
        "currency": "EUR",
        "price": "11.90",
        "tax": "1.90",
    },
    RefundRecord: {
        "external_id": "refund-1",
        "sale": "sale-1",
        "refunded_at": "2026-10-09T08:30:00Z",
        "amount": "11.90",
    },
}


def _rows_schema(record: type[BaseModel]) -> dict[str, Any]:
    """The schema of a batch's rows. It documents them only: a bad row is refused by itself, not with all others."""
    row = record.model_json_schema()
    row["examples"] = [_EXAMPLES[record]]
    return {"type": "array", "minItems": 1, "maxItems": BATCH, "items": row}


_Rows = Annotated[list[Any], Field(min_length=1, max_length=BATCH)]


class SaleBatch(BaseModel):
    """Sales to record."""

    sales: Annotated[_Rows, WithJsonSchema(_rows_schema(SaleRecord))]


class RefundBatch(BaseModel):
    """Refunds and chargebacks to record."""

    refunds: Annotated[_Rows, WithJsonSchema(_rows_schema(RefundRecord))]


class RowOutcome(BaseModel):
    """What became of one row."""

    row: int = Field(description="Its place in the request, from 0.")
    external_id: str | None = Field(description="null where the row has none that can be read.")
    status: Literal["recorded", "known", "refused"] = Field(
        description="recorded: it is new; known: the same was recorded before; refused: see `reason`."
    )
    reason: str | None = Field(description="Why it was refused, in one line; null otherwise.")


class BatchOutcome(BaseModel):
    """What became of a batch. Refused rows do not keep the others out."""

    recorded: int
    known: int
    refused: int
    outcomes: list[RowOutcome] = Field(description="One for each row, in their order.")


_Record = TypeVar("_Record")


def _each(
    rows: Sequence[Any],
    parse: Callable[[Mapping[str, Any]], _Record],
    record: Callable[[list[_Record]], Iterable[Outcome]],
) -> list[RowOutcome]:
    """Record the rows that can be read; an outcome for every row."""
    places: list[int] = []
    records: list[_Record] = []
    outcomes: dict[int, RowOutcome] = {}
    for place, row in enumerate(rows):
        try:
            records.append(parse(_object(row)))
            places.append(place)
        except Invalid as error:
            outcomes[place] = RowOutcome(
                row=place, external_id=_external_id(row), status="refused", reason=error.message
            )
    for place, outcome in zip(places, record(records) if records else [], strict=True):
        outcomes[place] = RowOutcome(
            row=place,
            external_id=outcome.external_id,
            status=outcome.status.value,
            reason=outcome.reason,
        )
    return [outcomes[place] for place in range(len(rows))]


def _object(row: Any) -> Mapping[str, Any]:
    if not isinstance(row, Mapping):
        raise Invalid("is not an object")
    return row


def _external_id(row: Any) -> str | None:
    given = row.get("external_id") if isinstance(row, Mapping) else None
    return given if isinstance(given, str) and given.isprintable() and 0 < len(given) <= 200 else None


def _answer(request: Request, kind: str, outcomes: list[RowOutcome]) -> BatchOutcome:
    request.app.state.metrics.ingested(kind, (outcome.status for outcome in outcomes))
    counts = {status: sum(outcome.status == status for outcome in outcomes) for status in Status}
    return BatchOutcome(
        recorded=counts[Status.RECORDED],
        known=counts[Status.KNOWN],
        refused=counts[Status.REFUSED],
        outcomes=outcomes,
    )


@router.post("/v1/sales", **allowing("sales:write", problems=(422,)), summary="Record sales")
def create_sales(request: Request, asker: Asker, batch: SaleBatch) -> BatchOutcome:
    """Up to 1,000 sales of logged images. Royalty base = price - tax - the three deductions."""
    with session(Role.SETTLEMENT) as opened:
        outcomes = _each(
            batch.sales, parse_sale, lambda records: record_sales(opened, records, actor=asker.username)
        )
    return _answer(request, "sale", outcomes)


@router.post("/v1/refunds", **allowing("sales:write", problems=(422,)), summary="Record refunds")
def create_refunds(request: Request, asker: Asker, batch: RefundBatch) -> BatchOutcome:
    """Up to 1,000 refunds or chargebacks. The next period's run takes back the royalties."""
    with session(Role.SETTLEMENT) as opened:
        outcomes = _each(
            batch.refunds, parse_refund, lambda records: record_refunds(opened, records, actor=asker.username)
        )
    return _answer(request, "refund", outcomes)
