"""Sales and refunds: the events that earn. Append-only; recorded by many, each once, and posted in the same breath."""

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import rfc8785
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from sqlalchemy import ARRAY, CHAR, CheckConstraint, ForeignKey, Index, Text, any_, literal, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from attribution.generation import Image
from attribution.image_file import BadLine, json_lines, reasons
from attribution.ingest import Outcome, Status
from database.base import Base, Key, RecordedAt
from database.errors import Invalid, NotFound
from database.moments import Moment
from settlement.money import from_decimal, to_decimal
from settlement.rates import Terms, load_terms
from settlement.sale_journals import post_refunds, post_sales


class Sale(Base):
    """One sale of an image: the royalty event. Royalty base = price - tax - deductions."""

    __tablename__ = "sale"
    __table_args__ = (
        CheckConstraint("external_id <> ''", name="external_id_not_empty"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_iso"),
        CheckConstraint("territory ~ '^[A-Z]{2}$'", name="territory_iso"),
        CheckConstraint("price_micros > 0 AND tax_micros BETWEEN 0 AND price_micros", name="price_and_tax"),
        CheckConstraint(
            "payment_fee_micros >= 0 AND marketplace_fee_micros >= 0 AND other_deduction_micros >= 0",
            name="deductions_not_negative",
        ),
        Index(None, "sold_at"),
        Index(None, "image_id"),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    external_id: Mapped[str] = mapped_column(unique=True)
    content_sha256: Mapped[bytes]
    image_id: Mapped[int] = mapped_column(ForeignKey(Image.id))
    sold_at: Mapped[datetime]
    territory: Mapped[str] = mapped_column(CHAR(2))
    currency: Mapped[str] = mapped_column(CHAR(3))
    price_micros: Mapped[int]
    """What the customer paid, tax included."""
    tax_micros: Mapped[int]
    payment_fee_micros: Mapped[int] = mapped_column(server_default="0")
    marketplace_fee_micros: Mapped[int] = mapped_column(server_default="0")
    other_deduction_micros: Mapped[int] = mapped_column(server_default="0")
    rate_card_id: Mapped[str | None]
    """None: the platform's default at the time of sale."""
    actor: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class Refund(Base):
    """Money given back on a sale, in part or in full; a chargeback is one by another name."""

    __tablename__ = "refund"
    __table_args__ = (
        CheckConstraint("external_id <> ''", name="external_id_not_empty"),
        CheckConstraint("amount_micros > 0", name="amount_positive"),
        CheckConstraint("kind IN ('refund', 'chargeback')", name="kind_known"),
        Index(None, "sale_id"),
        Index(None, "refunded_at"),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    external_id: Mapped[str] = mapped_column(unique=True)
    content_sha256: Mapped[bytes]
    sale_id: Mapped[int] = mapped_column(ForeignKey(Sale.id))
    kind: Mapped[str]
    refunded_at: Mapped[datetime]
    amount_micros: Mapped[int]
    """Part of the price given back, tax included; all refunds of a sale together never exceed its price."""
    actor: Mapped[str]
    recorded_at: Mapped[RecordedAt]


def _micros(value: Any) -> int:
    """A decimal string; an integer is exact too, a JSON number with decimals is not."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError('write the amount as text, for example "23.80"')
    try:
        micros = from_decimal(str(value))
    except Invalid as error:
        raise ValueError(error.message) from None
    if micros < 0:
        raise ValueError("is below zero")
    return micros


Amount = Annotated[
    int,
    BeforeValidator(_micros),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^(0|[1-9][0-9]{0,12})(\.[0-9]{1,6})?$",
            "description": "Decimal string in the currency's major unit.",
            "examples": ["23.80"],
        }
    ),
]
"""A decimal string of a file or request, at least zero; micros here."""

_Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
_Territory = Annotated[str, Field(pattern="^[A-Z]{2}$", description="ISO 3166-1 alpha-2.", examples=["DE"])]
_Currency = Annotated[str, Field(pattern="^[A-Z]{3}$", description="ISO 4217.", examples=["EUR"])]


class SaleRecord(BaseModel):
    """A sale as a platform reports it. Royalty base = price - tax - the three deductions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    external_id: _Name
    """The platform's own id of the sale: sending it twice records it once."""
    image: _Name
    """External id of the image sold."""
    sold_at: Moment
    territory: _Territory
    """Where the customer is: decides the tax."""
    currency: _Currency
    price: Amount
    """What the customer paid, tax included."""
    tax: Amount = 0
    payment_fee: Amount = 0
    marketplace_fee: Amount = 0
    other_deduction: Amount = 0
    rate_card: _Name | None = None
    """None: the platform's default at the time of sale."""
    buyer: _Name | None = None
    """The platform's reference of the customer, kept as a hash: purchases by payees of the image are flagged."""

    @model_validator(mode="after")
    def _price_and_tax(self) -> "SaleRecord":
        if not self.price:
            raise ValueError("price: must be above zero")
        if self.tax > self.price:
            raise ValueError("tax: is more than the price")
        return self


class RefundRecord(BaseModel):
    """A refund or chargeback as a platform reports it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    external_id: _Name
    """The platform's own id of the refund: sending it twice records it once."""
    sale: _Name
    """External id of the sale."""
    refunded_at: Moment
    amount: Amount
    """Part of the price given back, tax included."""
    kind: Literal["refund", "chargeback"] = "refund"

    @model_validator(mode="after")
    def _something(self) -> "RefundRecord":
        if not self.amount:
            raise ValueError("amount: must be above zero")
        return self


def customer_sha256(reference: str) -> bytes:
    """SHA-256 that stands for a customer's reference: only whether two are the same is ever asked.

    Whoever knows all references can find it again, so that it is personal data, and erased with the customer.
    """
    return hashlib.sha256(b"customer\0" + reference.encode()).digest()


_Record = TypeVar("_Record", SaleRecord, RefundRecord)

_CHUNK = 5_000
"""Events written by one round of statements."""


def record_sales(session: Session, records: Sequence[SaleRecord], *, actor: str) -> list[Outcome]:
    """Record sales and post their journals.

    An external id that is recorded already is `known` if the record says the same, and `refused` if it says otherwise;
    a sale of an unknown image, or one for which no terms are in force, is `refused`. The others go in.

    Args:
        session: the caller's transaction, role `settlement`.
        records: any number; several of one external id count in their order.
        actor: who reports them.

    Returns:
        One outcome for each record, in their order.
    """
    terms = load_terms(session)
    outcomes: list[Outcome] = []
    for start in range(0, len(records), _CHUNK):
        outcomes += _record_sales(session, records[start : start + _CHUNK], terms, actor)
    return outcomes


def record_refunds(session: Session, records: Sequence[RefundRecord], *, actor: str) -> list[Outcome]:
    """Record refunds and post the sale's side of them; a period's run takes back the royalties.

    `known` and `refused` as in `record_sales`; a refund of an unknown sale, one before its sale, or one that gives back
    more than is left of the price is `refused`.
    """
    outcomes: list[Outcome] = []
    for start in range(0, len(records), _CHUNK):
        outcomes += _record_refunds(session, records[start : start + _CHUNK], actor)
    return outcomes


def _record_sales(session: Session, records: Sequence[SaleRecord], terms: Terms, actor: str) -> list[Outcome]:
    known = _known(session, Sale, {record.external_id for record in records})
    images = {
        name: key
        for key, name in session.execute(
            select(Image.id, Image.external_id).where(_among(Image.external_id, {r.image for r in records}))
        )
    }
    refused: dict[int, str] = {}
    rows: dict[str, dict[str, Any]] = {}
    places: dict[str, int] = {}
    for position, record in enumerate(records):
        if record.external_id in known or record.external_id in rows:
            continue
        reason = (
            f"image {record.image} is not logged; import the image first"
            if record.image not in images
            else terms.objection(record.sold_at, record.rate_card, record.currency)
        )
        if reason is not None:
            refused[position] = reason
            continue
        places[record.external_id] = position
        rows[record.external_id] = {
            "external_id": record.external_id,
            "content_sha256": _digest(record),
            "image_id": images[record.image],
            "sold_at": record.sold_at,
            "territory": record.territory,
            "currency": record.currency,
            "price_micros": record.price,
            "tax_micros": record.tax,
            "payment_fee_micros": record.payment_fee,
            "marketplace_fee_micros": record.marketplace_fee,
            "other_deduction_micros": record.other_deduction,
            "rate_card_id": record.rate_card,
            "actor": actor,
        }
    ids = _insert(session, "sale", _SALE_COLUMNS, list(rows.values()))
    _record_buyers(
        session, [(ids[r.external_id], r.buyer) for r in records if r.buyer and r.external_id in ids]
    )
    post_sales(session, list(ids.values()))
    return _outcomes(session, Sale, records, known, refused, {places[name] for name in ids})


def _record_buyers(session: Session, buyers: Sequence[tuple[int, str]]) -> None:
    if buyers:
        session.execute(
            text(
                "INSERT INTO settlement.sale_buyer (sale_id, customer_sha256)"
                " SELECT * FROM unnest(CAST(:sales AS bigint[]), CAST(:customers AS bytea[])) ON CONFLICT DO NOTHING"
            ),
            {
                "sales": [sale for sale, _ in buyers],
                "customers": [customer_sha256(buyer) for _, buyer in buyers],
            },
        )


def _record_refunds(session: Session, records: Sequence[RefundRecord], actor: str) -> list[Outcome]:
    # The lock under which the database checks the sum: nobody refunds the same sale in between.
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('settlement.refund', 0))"))
    known = _known(session, Refund, {record.external_id for record in records})
    sales = {
        sale.external_id: sale
        for sale in session.scalars(select(Sale).where(_among(Sale.external_id, {r.sale for r in records})))
    }
    refunded: defaultdict[int, int] = defaultdict(int)
    sums = text(
        "SELECT sale_id, sum(amount_micros)::bigint FROM settlement.refund WHERE sale_id = ANY(:ids) GROUP BY sale_id"
    )
    for sale_id, total in session.execute(sums, {"ids": [sale.id for sale in sales.values()]}):
        refunded[sale_id] = total
    refused: dict[int, str] = {}
    rows: dict[str, dict[str, Any]] = {}
    places: dict[str, int] = {}
    for position, record in enumerate(records):
        if record.external_id in known or record.external_id in rows:
            continue
        sale = sales.get(record.sale)
        if sale is None:
            refused[position] = f"sale {record.sale} is not recorded; import the sale first"
        elif record.refunded_at < sale.sold_at:
            refused[position] = f"the refund is earlier than its sale ({sale.sold_at.isoformat()})"
        elif refunded[sale.id] + record.amount > sale.price_micros:
            refused[position] = (
                f"refunds of sale {record.sale} would be {to_decimal(refunded[sale.id] + record.amount)}, "
                f"more than its price of {to_decimal(sale.price_micros)} {sale.currency}"
            )
        else:
            refunded[sale.id] += record.amount
            places[record.external_id] = position
            rows[record.external_id] = {
                "external_id": record.external_id,
                "content_sha256": _digest(record),
                "sale_id": sale.id,
                "kind": record.kind,
                "refunded_at": record.refunded_at,
                "amount_micros": record.amount,
                "actor": actor,
            }
    ids = _insert(session, "refund", _REFUND_COLUMNS, list(rows.values()))
    post_refunds(session, list(ids.values()))
    return _outcomes(session, Refund, records, known, refused, {places[name] for name in ids})


_SALE_COLUMNS = {
    "external_id": "text",
    "content_sha256": "bytea",
    "image_id": "bigint",
    "sold_at": "timestamptz",
    "territory": "text",
    "currency": "text",
    "price_micros": "bigint",
    "tax_micros": "bigint",
    "payment_fee_micros": "bigint",
    "marketplace_fee_micros": "bigint",
    "other_deduction_micros": "bigint",
    "rate_card_id": "text",
    "actor": "text",
}
_REFUND_COLUMNS = {
    "external_id": "text",
    "content_sha256": "bytea",
    "sale_id": "bigint",
    "kind": "text",
    "refunded_at": "timestamptz",
    "amount_micros": "bigint",
    "actor": "text",
}


def _insert(
    session: Session, table: str, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]
) -> dict[str, int]:
    """Write rows, one array a column; ids by external id, without what somebody else wrote at this moment."""
    if not rows:
        return {}
    arrays = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in columns.items())
    names = ", ".join(columns)
    statement = text(
        f"INSERT INTO settlement.{table} ({names}) SELECT {names} FROM unnest({arrays}) WITH ORDINALITY"  # noqa: S608
        f" AS given ({names}, position) ORDER BY position"
        " ON CONFLICT (external_id) DO NOTHING RETURNING id, external_id"
    )
    written = session.execute(statement, {name: [row[name] for row in rows] for name in columns})
    return {name: key for key, name in written}


def _among(column: Any, names: set[str]) -> Any:
    return column == any_(literal(list(names), ARRAY(Text)))


def _known(session: Session, model: type[Sale | Refund], names: set[str]) -> dict[str, bytes]:
    """Content digest by external id of what is recorded."""
    rows = session.execute(
        select(model.external_id, model.content_sha256).where(_among(model.external_id, names))
    )
    return {name: content for name, content in rows}  # noqa: C416  (a row is a tuple, which its type does not say)


def _outcomes(
    session: Session,
    model: type[Sale | Refund],
    records: Sequence[_Record],
    known: dict[str, bytes],
    refused: Mapping[int, str],
    recorded: set[int],
) -> list[Outcome]:
    missing = {record.external_id for record in records} - known.keys()
    known = known | _known(session, model, missing)
    outcomes = []
    for position, record in enumerate(records):
        name = record.external_id
        if position in recorded:
            outcomes.append(Outcome(name, Status.RECORDED))
        elif position in refused:
            outcomes.append(Outcome(name, Status.REFUSED, refused[position]))
        elif known[name] == _digest(record):
            outcomes.append(Outcome(name, Status.KNOWN))
        else:
            what = "sale" if model is Sale else "refund"
            reason = f"{what} {name} is recorded with other content; give another {what} another external_id"
            outcomes.append(Outcome(name, Status.REFUSED, reason))
    return outcomes


def _digest(record: SaleRecord | RefundRecord) -> bytes:
    """SHA-256 of everything reported, as RFC 8785 JSON: amounts in micros as text, times in UTC.

    Without the buyer: this stays for ever, and by trying references one would find who bought what was erased.
    """
    document: dict[str, str | None] = {}
    for name, value in record:
        if isinstance(value, datetime):
            document[name] = value.astimezone(UTC).isoformat(timespec="microseconds")
        elif name != "buyer":
            document[name] = None if value is None else str(value)
    return hashlib.sha256(rfc8785.dumps(document)).digest()


@dataclass(frozen=True, slots=True)
class EventFile(Generic[_Record]):
    """What a file of sales or refunds holds: records with their line numbers from 1, and the lines that are none."""

    lines: list[tuple[int, _Record]]
    bad: list[BadLine]


def read_sales(path: Path) -> EventFile[SaleRecord]:
    """Read a file of sales: CSV if the name ends in `.csv`, JSON Lines otherwise, with the fields of `SaleRecord`.

    Raises:
        NotFound: there is no such file.
        Invalid: the file cannot be read at all, or has no header.
    """
    return _read(path, SaleRecord)


def read_refunds(path: Path) -> EventFile[RefundRecord]:
    """Read a file of refunds, as `read_sales`, with the fields of `RefundRecord`."""
    return _read(path, RefundRecord)


def parse_sale(payload: Mapping[str, Any], image: str | None = None) -> SaleRecord:
    """One sale as it arrives; ``image`` is the external id of the image that it rides along with, if it does.

    Raises:
        Invalid: with every field that is wrong, in one line.
    """
    return _parse(SaleRecord, payload if image is None else {"image": image, **payload})


def parse_refund(payload: Mapping[str, Any]) -> RefundRecord:
    """One refund as it arrives.

    Raises:
        Invalid: with every field that is wrong, in one line.
    """
    return _parse(RefundRecord, payload)


def _parse(kind: type[_Record], payload: Mapping[str, Any]) -> _Record:
    try:
        return kind.model_validate({name: value for name, value in payload.items() if value is not None})
    except ValidationError as error:
        raise Invalid(reasons(error).removeprefix(": ")) from error


def _read(path: Path, kind: type[_Record]) -> EventFile[_Record]:
    lines: list[tuple[int, _Record]] = []
    bad: list[BadLine] = []
    try:
        # Bytes that are not UTF-8 spoil their own line only.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as handle:
            for number, payload in _csv(handle) if path.suffix.lower() == ".csv" else json_lines(handle):
                if isinstance(payload, str):
                    bad.append(BadLine(number, payload))
                    continue
                try:
                    lines.append((number, _parse(kind, payload)))
                except Invalid as error:
                    bad.append(BadLine(number, error.message))
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}; check the name") from error
    except (OSError, csv.Error) as error:
        raise Invalid(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return EventFile(lines, bad)


def _csv(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    reader = csv.reader(lines)
    header = next(reader, None)
    if header is None:
        raise csv.Error("it is empty; its first line must name the columns")
    number = reader.line_num + 1
    for cells in reader:
        # A quoted cell may go over several lines: the number is the first one's.
        first, number = number, reader.line_num + 1
        if not cells:
            continue
        if len(cells) != len(header):
            yield first, f"has {len(cells)} cells where the header names {len(header)}"
        else:
            yield first, {name.strip(): cell for name, cell in zip(header, cells, strict=True) if cell != ""}
