"""Images into the log: many at a time, each once, and each queued for attribution in the same transaction."""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, LargeBinary, Text, any_, literal, select, text
from sqlalchemy.orm import Session

from attribution.broker import wake_after_commit
from attribution.catalogue import merged_artists
from attribution.generation import (
    Image,
    ImageRecord,
    Material,
    PromptText,
    content_digest,
    prompt_digest,
)
from attribution.jobs import enqueue
from attribution.results import current_method

_CHUNK = 5_000
"""Images written by one round of statements."""


class Status(StrEnum):
    """What became of one record."""

    RECORDED = "recorded"
    KNOWN = "known"
    """The same image was logged before: nothing was written."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one record, in the order they were given."""

    external_id: str
    status: Status
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class _Fresh:
    """An image of this batch that the log does not have yet."""

    position: int
    record: ImageRecord
    salt: bytes
    prompt_sha256: bytes


class _Material(NamedTuple):
    """Something that an image was made with, and whose it is said to be."""

    sha256: bytes
    kind: str
    artist: str


@dataclass(frozen=True, slots=True)
class _Logged:
    """What must be known of a logged image to tell whether a record says the same."""

    content_sha256: bytes
    prompt_sha256: bytes
    salt: bytes | None
    """None where the words were erased."""

    def says(self, record: ImageRecord) -> bool:
        # Salts differ from image to image, so the record's digest is taken with the salt of the image that is there.
        # Erased words cannot be compared any more; everything else still is.
        words = self.prompt_sha256
        if self.salt is not None:
            words = prompt_digest(self.salt, record.prompt, record.negative_prompt)
        return content_digest(record, words) == self.content_sha256


def log_images(
    session: Session, records: Sequence[ImageRecord], method_id: int | None = None
) -> list[Outcome]:
    """Log images and queue each new one for attribution; a worker is woken after commit.

    An external id that is logged already is `known` if the record says the same, and `refused` if it says otherwise.

    Args:
        session: the caller's transaction, role `attribution`.
        records: any number; several of one external id count in their order.
        method_id: the method version that will attribute them; None is the current one. Before the first worker has
            recorded one, images are only logged, and that worker queues them.

    Returns:
        One outcome for each record, in their order.
    """
    method_id = current_method(session) if method_id is None else method_id
    outcomes: list[Outcome] = []
    for start in range(0, len(records), _CHUNK):
        outcomes += _log(session, records[start : start + _CHUNK], method_id)
    if any(outcome.status is Status.RECORDED for outcome in outcomes):
        wake_after_commit(session)
    return outcomes


def _log(session: Session, records: Sequence[ImageRecord], method_id: int | None) -> list[Outcome]:
    logged = _logged(session, {record.external_id for record in records})
    fresh: dict[str, _Fresh] = {}
    for position, record in enumerate(records):
        if record.external_id not in logged and record.external_id not in fresh:
            salt = secrets.token_bytes(16)
            words = prompt_digest(salt, record.prompt, record.negative_prompt)
            fresh[record.external_id] = _Fresh(position, record, salt, words)
    refused = _others_material(session, [new.record for new in fresh.values()])
    fresh = {name: new for name, new in fresh.items() if name not in refused}
    recorded: set[int] = set()
    if fresh:
        now = datetime.now(UTC)
        rows = [_row(new, now) for new in fresh.values()]
        columns = {name: [row[name] for row in rows] for name in _COLUMNS}
        ids = {name: key for key, name in session.execute(_INSERT_IMAGES, columns)}
        if ids:
            new = [fresh[name] for name in ids]
            session.execute(
                _INSERT_TEXTS,
                {
                    "image_id": list(ids.values()),
                    "salt": [one.salt for one in new],
                    "prompt": [one.record.prompt for one in new],
                    "negative_prompt": [one.record.negative_prompt for one in new],
                },
            )
            _log_made_with(session, [(key, fresh[name].record) for name, key in ids.items()])
        if method_id is not None:
            enqueue(session, list(ids.values()), method_id)
        recorded = {fresh[name].position for name in ids}
        logged |= _logged(session, {record.external_id for record in records} - logged.keys())
    return [
        Outcome(record.external_id, Status.RECORDED)
        if position in recorded
        else Outcome(record.external_id, Status.REFUSED, refused[record.external_id])
        if record.external_id in refused
        else _compare(record, logged[record.external_id])
        for position, record in enumerate(records)
    ]


def _log_made_with(session: Session, images: Sequence[tuple[int, ImageRecord]]) -> None:
    """Log what images were made with, by the images' ids."""
    adapters = [
        (key, place, adapter)
        for key, record in images
        for place, adapter in enumerate(record.adapters, start=1)
    ]
    if adapters:
        session.execute(
            _INSERT_ADAPTERS,
            {
                "image_id": [key for key, _, _ in adapters],
                "place": [place for _, place, _ in adapters],
                "sha256": [adapter.sha256 for _, _, adapter in adapters],
                "scale": [adapter.scale for _, _, adapter in adapters],
                "artist": [adapter.artist for _, _, adapter in adapters],
            },
        )
    prompts = [
        (key, place, prompt)
        for key, record in images
        for place, prompt in enumerate(record.image_prompts, start=1)
    ]
    if prompts:
        places = {
            "image_id": [key for key, _, _ in prompts],
            "place": [place for _, place, _ in prompts],
        }
        session.execute(
            _INSERT_IMAGE_PROMPTS,
            {
                **places,
                "adapter_sha256": [prompt.adapter_sha256 for _, _, prompt in prompts],
                "embedding_sha256": [prompt.embedding_sha256 for _, _, prompt in prompts],
                "picture_sha256": [prompt.picture_sha256 for _, _, prompt in prompts],
                "scale": [prompt.scale for _, _, prompt in prompts],
                "artist": [prompt.artist for _, _, prompt in prompts],
            },
        )
        session.execute(
            _INSERT_EMBEDDINGS, {**places, "embedding": [prompt.embedding for _, _, prompt in prompts]}
        )


def _others_material(session: Session, records: Sequence[ImageRecord]) -> dict[str, str]:
    """Record the owners of what images were made with; of images that name another owner, why they are refused.

    Whoever is named first owns a hash. A record that is refused makes nobody an owner.
    """
    given = {record.external_id: _material(record) for record in records}
    hashes = {one.sha256 for some in given.values() for one in some}
    if not hashes:
        return {}
    in_force = merged_artists(session)
    owners = _owners(session, hashes)
    refused: dict[str, str] = {}
    new: dict[bytes, _Material] = {}
    for name, some in given.items():
        named = dict(owners)
        reason = _not_theirs(some, named, in_force)
        if reason is not None:
            refused[name] = reason
            continue
        new |= {one.sha256: one for one in reversed(some) if one.sha256 not in owners}
        owners = named
    if new:
        # One order for all: two that log the same wait for each other and never deadlock.
        ordered = [new[sha256] for sha256 in sorted(new)]
        session.execute(
            _INSERT_MATERIAL,
            {
                "sha256": [one.sha256 for one in ordered],
                "kind": [one.kind for one in ordered],
                "artist": [one.artist for one in ordered],
            },
        )
        # Somebody else may have been first at this moment.
        owners = _owners(session, hashes)
        for name, some in given.items():
            reason = _not_theirs(some, dict(owners), in_force)
            if name not in refused and reason is not None:
                refused[name] = reason
    return refused


def _not_theirs(
    given: Sequence[_Material], owners: dict[bytes, str], in_force: Mapping[str, str]
) -> str | None:
    """Why an image with this material is refused; None: it is its owners', who are added to `owners`."""
    for one in given:
        owner = owners.setdefault(one.sha256, one.artist)
        if in_force.get(owner, owner) != in_force.get(one.artist, one.artist):
            return (
                f"the {one.kind} {one.sha256.hex()[:12]} belongs to {owner}, who was logged with it first, and not to"
                f" {one.artist}: name its owner"
            )
    return None


def _material(record: ImageRecord) -> list[_Material]:
    """What of a record belongs to somebody."""
    found = [_Material(one.sha256, "adapter", one.artist) for one in record.adapters]
    for prompt in record.image_prompts:
        found.append(_Material(prompt.embedding_sha256, "embedding", prompt.artist))
        if prompt.picture_sha256 is not None:
            found.append(_Material(prompt.picture_sha256, "picture", prompt.artist))
    return found


def _owners(session: Session, hashes: set[bytes]) -> dict[bytes, str]:
    """The artist that each hash belongs to, of those that belong to anybody."""
    rows = session.execute(
        select(Material.sha256, Material.artist).where(
            Material.sha256 == any_(literal(list(hashes), ARRAY(LargeBinary)))
        )
    )
    return dict(rows.all())


def _compare(record: ImageRecord, logged: _Logged) -> Outcome:
    if logged.says(record):
        return Outcome(record.external_id, Status.KNOWN)
    return Outcome(
        record.external_id,
        Status.REFUSED,
        f"image {record.external_id} is logged with other content; give another image another external_id",
    )


def _logged(session: Session, names: set[str]) -> dict[str, _Logged]:
    if not names:
        return {}
    rows = session.execute(
        select(Image.external_id, Image.content_sha256, Image.prompt_sha256, PromptText.salt)
        .outerjoin(PromptText, PromptText.image_id == Image.id)
        .where(Image.external_id == any_(literal(list(names), ARRAY(Text))))
    )
    return {name: _Logged(content, words, salt) for name, content, words, salt in rows}


_COLUMNS = {
    "external_id": "text",
    "content_sha256": "bytea",
    "prompt_sha256": "bytea",
    "seed": "bigint",
    "width": "bigint",
    "height": "bigint",
    "steps": "bigint",
    "guidance": "numeric",
    "scheduler": "text",
    "scheduler_config": "jsonb",
    "eta": "numeric",
    "model": "text",
    "weights_sha256": "bytea",
    "latents_sha256": "bytea",
    "file": "text",
    "file_sha256": "bytea",
    "customer": "text",
    "artists": "jsonb",
    "extra": "jsonb",
    "generated_at": "timestamptz",
}
"""Columns of an image with the types their arrays are sent as: one parameter a column, however many images."""

_SELECTED = {
    **dict(zip(_COLUMNS, _COLUMNS, strict=True)),
    "artists": """
    CASE WHEN artists IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements_text(artists)) END""",
}

_INSERT_IMAGES = text(f"""
    INSERT INTO attribution.image ({", ".join(_COLUMNS)})
    SELECT {", ".join(_SELECTED.values())}
    FROM unnest({", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in _COLUMNS.items())})
        AS given ({", ".join(_COLUMNS)})
    -- Somebody else may log the same image at this moment: theirs is then there, and compared.
    ON CONFLICT (external_id) DO NOTHING
    RETURNING id, external_id
""")  # noqa: S608  (names of columns, all from the line above)

_INSERT_TEXTS = text("""
    INSERT INTO attribution.prompt_text (image_id, salt, prompt, negative_prompt)
    SELECT * FROM unnest(CAST(:image_id AS bigint[]), CAST(:salt AS bytea[]), CAST(:prompt AS text[]),
                         CAST(:negative_prompt AS text[]))
""")

_INSERT_ADAPTERS = text("""
    INSERT INTO attribution.image_adapter (image_id, place, sha256, scale, artist)
    SELECT * FROM unnest(CAST(:image_id AS bigint[]), CAST(:place AS smallint[]), CAST(:sha256 AS bytea[]),
                         CAST(:scale AS numeric[]), CAST(:artist AS text[]))
""")

_INSERT_IMAGE_PROMPTS = text("""
    INSERT INTO attribution.image_prompt
        (image_id, place, adapter_sha256, embedding_sha256, picture_sha256, scale, artist)
    SELECT * FROM unnest(CAST(:image_id AS bigint[]), CAST(:place AS smallint[]), CAST(:adapter_sha256 AS bytea[]),
                         CAST(:embedding_sha256 AS bytea[]), CAST(:picture_sha256 AS bytea[]),
                         CAST(:scale AS numeric[]), CAST(:artist AS text[]))
""")

_INSERT_EMBEDDINGS = text("""
    INSERT INTO attribution.image_prompt_embedding (image_id, place, embedding)
    SELECT * FROM unnest(CAST(:image_id AS bigint[]), CAST(:place AS smallint[]), CAST(:embedding AS bytea[]))
""")

_INSERT_MATERIAL = text("""
    INSERT INTO attribution.material (sha256, kind, artist)
    SELECT * FROM unnest(CAST(:sha256 AS bytea[]), CAST(:kind AS text[]), CAST(:artist AS text[]))
    ON CONFLICT (sha256) DO NOTHING
""")


def _row(new: _Fresh, now: datetime) -> dict[str, Any]:
    record = new.record
    return {
        **record.__dict__,
        "prompt_sha256": new.prompt_sha256,
        "content_sha256": content_digest(record, new.prompt_sha256),
        "scheduler_config": json.dumps(record.scheduler_config),
        "artists": None if record.artists is None else json.dumps(record.artists),
        "extra": json.dumps(record.extra),
        "generated_at": record.generated_at or now,
    }
