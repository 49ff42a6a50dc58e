"""The generation log: one row per image with everything needed to render it again."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Numeric
from sqlalchemy.orm import Mapped, mapped_column

from database.base import Base, Key, RecordedAt


class Image(Base):
    """One generation. Append-only; the prompt's text lies in `PromptText`, so that it can be erased."""

    __tablename__ = "image"
    __table_args__ = (
        CheckConstraint("external_id <> ''", name="external_id_not_empty"),
        CheckConstraint("steps BETWEEN 1 AND 1000", name="steps_in_range"),
        CheckConstraint("width BETWEEN 8 AND 4096 AND height BETWEEN 8 AND 4096", name="size_in_range"),
        CheckConstraint("octet_length(content_sha256) = 32", name="content_sha256_length"),
        CheckConstraint("octet_length(prompt_sha256) = 32", name="prompt_sha256_length"),
        CheckConstraint("octet_length(weights_sha256) = 32", name="weights_sha256_length"),
        Index(None, "generated_at"),
        {"schema": "attribution"},
    )

    id: Mapped[Key]
    external_id: Mapped[str] = mapped_column(unique=True)
    """The platform's own id: the idempotency key of ingestion."""
    content_sha256: Mapped[bytes]
    """Digest of everything logged (texts through their salted digests): same id and another digest is refused."""
    prompt_sha256: Mapped[bytes]
    """SHA-256(salt || prompt || 0x00 || negative prompt), both UTF-8; the salt lies beside the texts."""
    seed: Mapped[int]
    width: Mapped[int]
    height: Mapped[int]
    steps: Mapped[int]
    guidance: Mapped[Decimal] = mapped_column(Numeric)
    scheduler: Mapped[str]
    """Class name of the diffusers scheduler."""
    scheduler_config: Mapped[dict[str, Any]]
    eta: Mapped[Decimal] = mapped_column(Numeric, server_default="0")
    model: Mapped[str]
    """Path or hub id, for people; `weights_sha256` is what counts."""
    weights_sha256: Mapped[bytes]
    latents_sha256: Mapped[bytes | None]
    """SHA-256 of the initial latents (CPU, fp32, little endian), where the generator knew them."""
    file: Mapped[str | None]
    """Name of the image file under the images directory."""
    file_sha256: Mapped[bytes | None]
    customer: Mapped[str | None]
    """The platform's opaque customer id."""
    artists: Mapped[list[str] | None]
    """Artist ids sent explicitly by the platform; None: read them from the prompt."""
    extra: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    """Adapters and library versions, as logged."""
    generated_at: Mapped[datetime]
    recorded_at: Mapped[RecordedAt]


class PromptText(Base):
    """The words of one image's prompt: the only table of this schema that a row may be erased from."""

    __tablename__ = "prompt_text"
    __table_args__ = ({"schema": "attribution"},)

    image_id: Mapped[int] = mapped_column(ForeignKey(Image.id), primary_key=True)
    salt: Mapped[bytes]
    prompt: Mapped[str]
    negative_prompt: Mapped[str]
