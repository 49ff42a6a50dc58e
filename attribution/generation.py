"""The generation log: one row per image with everything needed to render it again."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Annotated, Any

import rfc8785
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    field_validator,
)
from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Numeric,
    SmallInteger,
    Text,
    UniqueConstraint,
    any_,
    literal,
    select,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from database.base import Base, Key, RecordedAt
from database.errors import NotFound
from database.moments import Moment


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
    """Library versions, as logged."""
    generated_at: Mapped[datetime]
    recorded_at: Mapped[RecordedAt]


class ImageAdapter(Base):
    """One adapter that an image was made with. Logged in the image's own transaction, and append-only."""

    __tablename__ = "image_adapter"
    __table_args__ = (
        UniqueConstraint("image_id", "sha256"),
        CheckConstraint("place BETWEEN 1 AND 8", name="place_in_list"),
        CheckConstraint("octet_length(sha256) = 32", name="sha256_length"),
        CheckConstraint("scale BETWEEN -10 AND 10 AND scale <> 0", name="scale_in_range"),
        CheckConstraint("artist <> ''", name="artist_not_empty"),
        {"schema": "attribution"},
    )

    image_id: Mapped[int] = mapped_column(ForeignKey(Image.id), primary_key=True)
    place: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    """From 1, in the order logged."""
    sha256: Mapped[bytes]
    """Of the adapter's file."""
    scale: Mapped[Decimal] = mapped_column(Numeric)
    """How strongly it was applied."""
    artist: Mapped[str]
    """Id of the artist it belongs to."""


class ImagePromptRow(Base):
    """One picture that an image was made from. Logged in the image's own transaction, and append-only."""

    __tablename__ = "image_prompt"
    __table_args__ = (
        UniqueConstraint("image_id", "adapter_sha256", "embedding_sha256"),
        CheckConstraint("place BETWEEN 1 AND 8", name="place_in_list"),
        CheckConstraint(
            "octet_length(adapter_sha256) = 32 AND octet_length(embedding_sha256) = 32", name="sha256_length"
        ),
        CheckConstraint("octet_length(picture_sha256) = 32", name="picture_sha256_length"),
        CheckConstraint("scale BETWEEN -10 AND 10 AND scale <> 0", name="scale_in_range"),
        CheckConstraint("artist <> ''", name="artist_not_empty"),
        {"schema": "attribution"},
    )

    image_id: Mapped[int] = mapped_column(ForeignKey(Image.id), primary_key=True)
    place: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    """From 1, in the order logged."""
    adapter_sha256: Mapped[bytes]
    """Of the file of the IP-Adapter that saw the picture."""
    embedding_sha256: Mapped[bytes]
    """Of what the adapter's image encoder made of the picture."""
    picture_sha256: Mapped[bytes | None]
    """Of the picture's file, where the platform knows it."""
    scale: Mapped[Decimal] = mapped_column(Numeric)
    """How strongly it was seen."""
    artist: Mapped[str]
    """Id of the artist whose picture it is."""


class ImagePromptEmbedding(Base):
    """What an image prompt shows, as numbers. It may show a person: a row may be erased, like a prompt's words."""

    __tablename__ = "image_prompt_embedding"
    __table_args__ = (
        ForeignKeyConstraint(["image_id", "place"], [ImagePromptRow.image_id, ImagePromptRow.place]),
        {"schema": "attribution"},
    )

    image_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    place: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    embedding: Mapped[bytes]
    """fp32, little-endian."""


class Material(Base):
    """Whose the things are that images are made with: an adapter's file, a picture, its embedding. One hash, one owner.

    Whoever is logged first as the owner of a hash is its owner. Append-only.
    """

    __tablename__ = "material"
    __table_args__ = (
        CheckConstraint("octet_length(sha256) = 32", name="sha256_length"),
        CheckConstraint("kind IN ('adapter', 'picture', 'embedding')", name="kind_known"),
        CheckConstraint("artist <> ''", name="artist_not_empty"),
        {"schema": "attribution"},
    )

    sha256: Mapped[bytes] = mapped_column(primary_key=True)
    kind: Mapped[str]
    artist: Mapped[str]
    """Id of the artist it belongs to; one merged into another since means that other."""
    recorded_at: Mapped[RecordedAt]


class PromptText(Base):
    """The words of one image's prompt: a row may be erased."""

    __tablename__ = "prompt_text"
    __table_args__ = ({"schema": "attribution"},)

    image_id: Mapped[int] = mapped_column(ForeignKey(Image.id), primary_key=True)
    salt: Mapped[bytes]
    prompt: Mapped[str]
    negative_prompt: Mapped[str]


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character cannot be stored")
    return text


def _canonical(value: Any) -> Any:
    if value is not None:
        try:
            written = rfc8785.dumps(value)
        except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
            raise ValueError("cannot be written as JSON: NaN, infinity, or an integer above 2^53") from error
        if b"\\u0000" in written:
            raise ValueError("a NUL character cannot be stored")
    return value


def _from_hex(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = bytes.fromhex(value)
        except ValueError as error:
            raise ValueError("a SHA-256 is 64 hexadecimal digits") from error
    if isinstance(value, bytes) and len(value) != 32:
        raise ValueError("a SHA-256 is 64 hexadecimal digits")
    return value


Words = Annotated[str, StringConstraints(max_length=20_000), AfterValidator(_without_nul)]
"""A prompt."""
Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_without_nul)]
"""An id or a name."""
_Sha256 = Annotated[
    bytes,
    BeforeValidator(_from_hex),
    WithJsonSchema({"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}, mode="validation"),
]
_Document = Annotated[dict[str, Any], AfterValidator(_canonical)]


def _from_base64(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = base64.b64decode(value, validate=True)
        except ValueError as error:
            raise ValueError("an embedding is written in base64") from error
    if isinstance(value, bytes) and not (4 <= len(value) <= MOST_EMBEDDING and len(value) % 4 == 0):
        raise ValueError(f"an embedding is fp32 numbers, 1 to {MOST_EMBEDDING // 4} of them")
    return value


MOST_EMBEDDING = 4 * 4096
"""Bytes of one picture's embedding."""


def _scale_in_use(scale: Decimal) -> Decimal:
    if not scale:
        raise ValueError("what has scale 0 does nothing: leave it out")
    return scale


_Scale = Annotated[
    Decimal, Field(ge=-10, le=10, allow_inf_nan=False, max_digits=8), AfterValidator(_scale_in_use)
]


class Adapter(BaseModel):
    """A file of weights that an image was made with beside the model's own: a LoRA, or a Dreambooth as one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: _Sha256
    """Of the file."""
    scale: _Scale = Decimal(1)
    """How strongly it was applied; 1 is as trained."""
    artist: Name
    """Id of the artist it belongs to."""


class ImagePrompt(BaseModel):
    """A picture that an image was made from beside its words, as an IP-Adapter saw it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    adapter_sha256: _Sha256
    """Of the IP-Adapter's file."""
    embedding: Annotated[
        bytes,
        BeforeValidator(_from_base64),
        WithJsonSchema({"type": "string", "contentEncoding": "base64"}, mode="validation"),
    ]
    """Of the picture, by the adapter's image encoder: fp32 little-endian, in base64 in JSON, not normalised."""
    picture_sha256: _Sha256 | None = None
    """Of the picture's file."""
    scale: _Scale = Decimal(1)
    """How strongly it was seen; the same for all pictures of one adapter."""
    artist: Name
    """Id of the artist whose picture it is."""

    @property
    def embedding_sha256(self) -> bytes:
        """SHA-256 of the embedding's bytes."""
        return hashlib.sha256(self.embedding).digest()


MOST_ADAPTERS = 8
"""Of one image."""
MOST_IMAGE_PROMPTS = 8
"""Of one image."""


class ImageRecord(BaseModel):
    """One generation as a platform, the hook or our own generator reports it. SHA-256s are hexadecimal in JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    external_id: Name
    """The platform's own id of the image: sending it twice records it once."""
    prompt: Words
    negative_prompt: Words = ""
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    """Seed of a `torch.Generator` on the CPU, from which the initial latents were drawn in fp32."""
    steps: Annotated[int, Field(ge=1, le=1000)]
    guidance: Annotated[Decimal, Field(ge=0, le=1000, allow_inf_nan=False, max_digits=12)]
    width: Annotated[int, Field(ge=8, le=4096, multiple_of=8)]
    """Pixels."""
    height: Annotated[int, Field(ge=8, le=4096, multiple_of=8)]
    scheduler: Name
    """Class name of the diffusers scheduler."""
    scheduler_config: _Document
    eta: Annotated[Decimal, Field(ge=0, le=1, allow_inf_nan=False, max_digits=12)] = Decimal(0)
    model: Name
    """Path or hub id of the pipeline, for people."""
    weights_sha256: _Sha256
    """Hash of the pipeline's weights (`attribution.pipeline`): what decides whether an image can be rendered again."""
    latents_sha256: _Sha256 | None = None
    """Hash of the initial latents (CPU, fp32, little endian)."""
    file: Name | None = None
    """Name of the image file under the images directory."""
    file_sha256: _Sha256 | None = None
    customer: Name | None = None
    """The platform's opaque customer id: no name, no address."""
    artists: list[Name] | None = None
    """Artist ids, where the platform knows them; None: read from the prompt."""
    adapters: Annotated[list[Adapter], Field(max_length=MOST_ADAPTERS)] = []
    """LoRA files it was made with, each once."""
    image_prompts: Annotated[list[ImagePrompt], Field(max_length=MOST_IMAGE_PROMPTS)] = []
    """Pictures it was made from, each once for an adapter."""
    extra: _Document = {}
    """Library versions."""
    generated_at: Moment | None = None
    """None: when it was recorded."""

    @field_validator("prompt")
    @classmethod
    def _not_empty(cls, prompt: str) -> str:
        if not prompt.strip():
            raise ValueError("is empty")
        return prompt

    @field_validator("adapters")
    @classmethod
    def _each_once(cls, adapters: list[Adapter]) -> list[Adapter]:
        if len({adapter.sha256 for adapter in adapters}) != len(adapters):
            raise ValueError("a file is named twice: add its scales up")
        return adapters

    @field_validator("image_prompts")
    @classmethod
    def _shown_once_at_one_scale(cls, prompts: list[ImagePrompt]) -> list[ImagePrompt]:
        shown = [(prompt.adapter_sha256, prompt.embedding) for prompt in prompts]
        if len(set(shown)) != len(shown):
            raise ValueError("a picture is named twice for one adapter")
        if len({(one.adapter_sha256, one.scale) for one in prompts}) != len({sha256 for sha256, _ in shown}):
            raise ValueError("pictures of one adapter are seen at one scale: give them the same")
        return prompts

    @field_validator("file")
    @classmethod
    def _under_images(cls, file: str | None) -> str | None:
        if file is not None and (PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts):
            raise ValueError("must be a name under the images directory")
        return file


def prompt_digest(salt: bytes, prompt: str, negative_prompt: str) -> bytes:
    """SHA-256(salt || prompt || 0x00 || negative prompt), both UTF-8: proof of words that survives their erasure."""
    return hashlib.sha256(salt + prompt.encode() + b"\0" + negative_prompt.encode()).digest()


def content_digest(record: ImageRecord, prompt_sha256: bytes) -> bytes:
    """SHA-256 of everything logged, as RFC 8785 JSON.

    The words enter through their salted digest only, `scheduler_config` and `extra` through the digest of their own
    RFC 8785 JSON: a platform's images share a few of them, and thousands of images are logged per second.
    """
    document: dict[str, Any] = {
        "external_id": record.external_id,
        "prompt_sha256": prompt_sha256.hex(),
        # As text: JSON's integers end at 2^53, and 7.5 and 7.50 are one guidance.
        "seed": str(record.seed),
        "guidance": _plain(record.guidance),
        "eta": _plain(record.eta),
        "steps": record.steps,
        "width": record.width,
        "height": record.height,
        "scheduler": record.scheduler,
        "scheduler_config_sha256": _document_sha256(json.dumps(record.scheduler_config)),
        "model": record.model,
        "weights_sha256": record.weights_sha256.hex(),
        "latents_sha256": _hex(record.latents_sha256),
        "file": record.file,
        "file_sha256": _hex(record.file_sha256),
        "customer": record.customer,
        "artists": record.artists,
        "extra_sha256": _document_sha256(json.dumps(record.extra)),
        "generated_at": None
        if record.generated_at is None
        else record.generated_at.astimezone(UTC).isoformat(timespec="microseconds"),
    }
    if record.adapters:
        document["adapters"] = [
            {"sha256": one.sha256.hex(), "scale": _plain(one.scale), "artist": one.artist}
            for one in record.adapters
        ]
    if record.image_prompts:
        # No salt: unlike words, a picture cannot be guessed; whoever has it finds its digest in `material` too.
        document["image_prompts"] = [
            {
                "adapter_sha256": one.adapter_sha256.hex(),
                "embedding_sha256": one.embedding_sha256.hex(),
                "picture_sha256": _hex(one.picture_sha256),
                "scale": _plain(one.scale),
                "artist": one.artist,
            }
            for one in record.image_prompts
        ]
    return hashlib.sha256(rfc8785.dumps(document)).digest()


@lru_cache(maxsize=1024)
def _document_sha256(written: str) -> str:
    return hashlib.sha256(rfc8785.dumps(json.loads(written))).hexdigest()


def _plain(number: Decimal) -> str:
    return format(number.normalize(), "f")


def _hex(digest: bytes | None) -> str | None:
    return None if digest is None else digest.hex()


@dataclass(frozen=True, slots=True)
class LoggedImagePrompt:
    """One image prompt as it stands in the log."""

    adapter_sha256: bytes
    embedding_sha256: bytes
    picture_sha256: bytes | None
    scale: Decimal
    artist: str
    """Id of the artist whose picture it is."""
    embedding: bytes | None
    """fp32, little-endian; None where it was erased, with the words."""


@dataclass(frozen=True, slots=True)
class LoggedImage:
    """One generation as it stands in the log."""

    id: int
    external_id: str
    prompt: str | None
    """None where the words were erased; so are the negative prompt and the salt."""
    negative_prompt: str | None
    salt: bytes | None
    seed: int
    width: int
    height: int
    steps: int
    guidance: Decimal
    eta: Decimal
    scheduler: str
    scheduler_config: dict[str, Any]
    weights_sha256: bytes
    latents_sha256: bytes | None
    file: str | None
    file_sha256: bytes | None
    artists: list[str] | None
    adapters: tuple[Adapter, ...] = ()
    image_prompts: tuple[LoggedImagePrompt, ...] = ()


_LOGGED = (
    select(
        Image.id,
        Image.external_id,
        PromptText.prompt,
        PromptText.negative_prompt,
        PromptText.salt,
        Image.seed,
        Image.width,
        Image.height,
        Image.steps,
        Image.guidance,
        Image.eta,
        Image.scheduler,
        Image.scheduler_config,
        Image.weights_sha256,
        Image.latents_sha256,
        Image.file,
        Image.file_sha256,
        Image.artists,
    )
    .outerjoin(PromptText, PromptText.image_id == Image.id)
    .order_by(Image.id)
)


def logged_images(session: Session, image_ids: Sequence[int]) -> list[LoggedImage]:
    """Images with their words, by id."""
    wanted = any_(literal(list(image_ids), ARRAY(BigInteger)))
    return _loaded(session, session.execute(_LOGGED.where(Image.id == wanted)).all())


def logged_image(session: Session, external_id: str) -> LoggedImage:
    """One image by the platform's id.

    Raises:
        NotFound: no such image is logged.
    """
    rows = session.execute(_LOGGED.where(Image.external_id == external_id)).all()
    if not rows:
        raise NotFound(f"no image {external_id} is logged; check its external id")
    return _loaded(session, rows)[0]


def is_logged(session: Session, external_id: str) -> bool:
    """Whether an image of that id is in the log."""
    return session.scalar(select(Image.id).where(Image.external_id == external_id)) is not None


def same_words_logged(session: Session, records: Sequence[ImageRecord]) -> dict[str, bool]:
    """Of those records whose external id is logged: whether it is with these words. Erased words count as the same."""
    given = {record.external_id: record for record in records}
    rows = session.execute(
        select(Image.external_id, Image.prompt_sha256, PromptText.salt)
        .outerjoin(PromptText, PromptText.image_id == Image.id)
        .where(Image.external_id == any_(literal(list(given), ARRAY(Text))))
    )
    same: dict[str, bool] = {}
    for name, words, salt in rows.all():
        kept: bytes | None = salt
        digest = (
            words if kept is None else prompt_digest(salt, given[name].prompt, given[name].negative_prompt)
        )
        same[name] = digest == words
    return same


def _loaded(session: Session, rows: Sequence[Any]) -> list[LoggedImage]:
    ids = [row.id for row in rows]
    found: dict[int, list[Adapter]] = {}
    for used in session.scalars(
        select(ImageAdapter)
        .where(ImageAdapter.image_id == any_(literal(ids, ARRAY(BigInteger))))
        .order_by(ImageAdapter.image_id, ImageAdapter.place)
    ):
        adapter = Adapter(sha256=used.sha256, scale=used.scale, artist=used.artist)
        found.setdefault(used.image_id, []).append(adapter)
    shown: dict[int, list[LoggedImagePrompt]] = {}
    for image_prompt in session.execute(
        select(
            ImagePromptRow.image_id,
            ImagePromptRow.adapter_sha256,
            ImagePromptRow.embedding_sha256,
            ImagePromptRow.picture_sha256,
            ImagePromptRow.scale,
            ImagePromptRow.artist,
            ImagePromptEmbedding.embedding,
        )
        .outerjoin(
            ImagePromptEmbedding,
            (ImagePromptEmbedding.image_id == ImagePromptRow.image_id)
            & (ImagePromptEmbedding.place == ImagePromptRow.place),
        )
        .where(ImagePromptRow.image_id == any_(literal(ids, ARRAY(BigInteger))))
        .order_by(ImagePromptRow.image_id, ImagePromptRow.place)
    ):
        shown.setdefault(image_prompt.image_id, []).append(LoggedImagePrompt(*image_prompt[1:]))
    return [
        replace(
            LoggedImage(*row),
            adapters=tuple(found.get(row.id, ())),
            image_prompts=tuple(shown.get(row.id, ())),
        )
        for row in rows
    ]
