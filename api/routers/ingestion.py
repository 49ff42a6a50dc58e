"""Images, sales and refunds in: batches, an outcome for every row, and sending again is safe."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, WithJsonSchema

from api.access import Asker, allowing
from attribution.generation import ImageRecord
from attribution.image_file import parse_image
from attribution.ingest import Outcome, Status, log_images
from database.engine import session
from database.errors import Invalid
from database.identity import Principal
from database.roles import Role
from settlement.sales import RefundRecord, SaleRecord, parse_refund, parse_sale, record_refunds, record_sales

BATCH = 1_000
"""Rows in one request."""

router = APIRouter(tags=["ingestion"])

_EXAMPLES: dict[type[BaseModel], dict[str, Any]] = {
    ImageRecord: {
        "external_id": "img-1",
        "prompt": "a lighthouse in a storm by Mara Vell",
        "negative_prompt": "",
        "seed": 7,
        "steps": 30,
        "guidance": "7.5",
        "width": 512,
        "height": 512,
        "scheduler": "DDIMScheduler",
        "scheduler_config": {"beta_schedule": "scaled_linear", "num_train_timesteps": 1000},
        "model": "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "weights_sha256": "ab" * 32,
        "customer": "customer-17",
        "generated_at": "2026-10-05T11:58:00Z",
    },
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
    row = _inlined(row, row.pop("$defs", {}))
    row["examples"] = [_EXAMPLES[record]]
    return {"type": "array", "minItems": 1, "maxItems": BATCH, "items": row}


def _inlined(schema: Any, parts: Mapping[str, Any]) -> Any:
    """The schema with its parts in their places: a reference would be to the root of another document."""
    if isinstance(schema, list):
        return [_inlined(each, parts) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(parts[schema["$ref"].removeprefix("#/$defs/")], parts)
    return {name: _inlined(value, parts) for name, value in schema.items()}


def _images_schema() -> dict[str, Any]:
    """The schema of a batch's images: the record's, with the sale that may ride along."""
    rows = _rows_schema(ImageRecord)
    fields = rows["items"]["properties"]
    sale = SaleRecord.model_json_schema()
    del sale["properties"]["image"]
    sale["required"].remove("image")
    fields["sale"] = {**sale, "description": "A sale of this image. Needs the scope sales:write too."}
    return rows


_Rows = Annotated[list[Any], Field(min_length=1, max_length=BATCH)]


class ImageBatch(BaseModel):
    """Images to log."""

    images: Annotated[_Rows, WithJsonSchema(_images_schema())]


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


class SaleOutcome(BaseModel):
    """What became of a sale that rode along with its image."""

    external_id: str | None
    status: Literal["recorded", "known", "refused"]
    reason: str | None


class ImageOutcome(RowOutcome):
    """What became of one image, and of the sale that rode along."""

    sale: SaleOutcome | None = Field(default=None, description="null where none was sent.")


class ImageBatchOutcome(BaseModel):
    """What became of a batch of images. Refused rows do not keep the others out."""

    recorded: int
    known: int
    refused: int
    outcomes: list[ImageOutcome] = Field(description="One for each row, in their order.")


class BatchOutcome(BaseModel):
    """What became of a batch. Refused rows do not keep the others out."""

    recorded: int
    known: int
    refused: int
    outcomes: list[RowOutcome] = Field(description="One for each row, in their order.")


_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True, slots=True)
class _Read(Generic[_Parsed]):
    """A batch's rows: those that can be read, by their place, and the outcomes of the others."""

    parsed: dict[int, _Parsed]
    refused: dict[int, RowOutcome]

    def outcomes(self, recorded: Iterable[Outcome]) -> list[RowOutcome]:
        """An outcome for every row, in their order, from those of the rows that were read."""
        found = dict(self.refused)
        for place, outcome in zip(self.parsed, recorded, strict=True):
            found[place] = RowOutcome(
                row=place,
                external_id=outcome.external_id,
                status=outcome.status.value,
                reason=outcome.reason,
            )
        return [found[place] for place in sorted(found)]


def _read(rows: Iterable[tuple[int, Any]], parse: Callable[[Mapping[str, Any]], _Parsed]) -> _Read[_Parsed]:
    """Read rows, each with its place; `parse` raises `Invalid` on what it cannot read."""
    read: _Read[_Parsed] = _Read({}, {})
    for place, row in rows:
        try:
            read.parsed[place] = parse(_object(row))
        except Invalid as error:
            read.refused[place] = RowOutcome(
                row=place, external_id=_external_id(row), status="refused", reason=error.message
            )
    return read


def _object(row: Any) -> Mapping[str, Any]:
    if not isinstance(row, Mapping):
        raise Invalid("is not an object")
    return row


def _external_id(row: Any) -> str | None:
    given = row.get("external_id") if isinstance(row, Mapping) else None
    return given if isinstance(given, str) and given.isprintable() and 0 < len(given) <= 200 else None


def _counted(request: Request, kind: str, outcomes: Sequence[RowOutcome]) -> dict[str, int]:
    """How many of each status; the metrics count them too."""
    request.app.state.metrics.ingested(kind, (outcome.status for outcome in outcomes))
    return {status.value: sum(outcome.status == status for outcome in outcomes) for status in Status}


@router.post("/v1/images", **allowing("images:write", problems=(422,)), summary="Log generated images")
def create_images(request: Request, asker: Asker, batch: ImageBatch) -> ImageBatchOutcome:
    """Up to 1,000 images that were generated elsewhere. Each new one is queued for attribution.

    A row may carry a sale of its image; that needs the scope `sales:write` too.
    """
    read = _read(enumerate(batch.images), parse_image)
    with session(Role.ATTRIBUTION) as opened:
        outcomes = read.outcomes(log_images(opened, [record for record, _ in read.parsed.values()]))
    # After the images are committed: a sale needs its image, and sending the batch again finds both known.
    sales = _ride_along(request, asker, read.parsed, outcomes)
    return ImageBatchOutcome(
        **_counted(request, "image", outcomes),
        outcomes=[ImageOutcome(**outcome.model_dump(), sale=sales.get(outcome.row)) for outcome in outcomes],
    )


@router.post("/v1/sales", **allowing("sales:write", problems=(422,)), summary="Record sales")
def create_sales(request: Request, asker: Asker, batch: SaleBatch) -> BatchOutcome:
    """Up to 1,000 sales of logged images. Royalty base = price - tax - the three deductions."""
    read = _read(enumerate(batch.sales), parse_sale)
    with session(Role.SETTLEMENT) as opened:
        outcomes = read.outcomes(record_sales(opened, list(read.parsed.values()), actor=asker.username))
    return BatchOutcome(**_counted(request, "sale", outcomes), outcomes=outcomes)


@router.post("/v1/refunds", **allowing("sales:write", problems=(422,)), summary="Record refunds")
def create_refunds(request: Request, asker: Asker, batch: RefundBatch) -> BatchOutcome:
    """Up to 1,000 refunds or chargebacks. The next period's run takes back the royalties."""
    read = _read(enumerate(batch.refunds), parse_refund)
    with session(Role.SETTLEMENT) as opened:
        outcomes = read.outcomes(record_refunds(opened, list(read.parsed.values()), actor=asker.username))
    return BatchOutcome(**_counted(request, "refund", outcomes), outcomes=outcomes)


def _ride_along(
    request: Request,
    asker: Principal,
    images: Mapping[int, tuple[ImageRecord, Mapping[str, Any] | None]],
    outcomes: Sequence[RowOutcome],
) -> dict[int, SaleOutcome]:
    """Record the sales that came with images; what became of each, by its row."""
    sent = {
        place: {"image": image.external_id, **sale}
        for place, (image, sale) in images.items()
        if sale is not None
    }

    def parse(row: Mapping[str, Any]) -> SaleRecord:
        if not asker.allows("sales:write"):
            raise Invalid("a sale needs a token with the scope sales:write")
        return parse_sale(row)

    accepted = {place: row for place, row in sent.items() if outcomes[place].status != "refused"}
    read = _read(accepted.items(), parse)
    for place in sent.keys() - accepted.keys():
        read.refused[place] = RowOutcome(
            row=place, external_id=_external_id(sent[place]), status="refused", reason="its image was refused"
        )
    recorded: list[Outcome] = []
    if read.parsed:
        with session(Role.SETTLEMENT) as opened:
            recorded = record_sales(opened, list(read.parsed.values()), actor=asker.username)
    found = read.outcomes(recorded)
    _counted(request, "sale", found)
    return {
        row.row: SaleOutcome(external_id=row.external_id, status=row.status, reason=row.reason)
        for row in found
    }
