"""Images into the log: many at a time, each once, and each queued for attribution in the same transaction."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ARRAY, Text, any_, literal, select, text
from sqlalchemy.orm import Session

from attribution.broker import wake_after_commit
from attribution.generation import Image, ImageRecord, PromptText, content_digest, prompt_digest
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
            made_with = [
                (key, place, adapter)
                for key, one in zip(ids.values(), new, strict=True)
                for place, adapter in enumerate(one.record.adapters, start=1)
            ]
            if made_with:
                session.execute(
                    _INSERT_ADAPTERS,
                    {
                        "image_id": [key for key, _, _ in made_with],
                        "place": [place for _, place, _ in made_with],
                        "sha256": [adapter.sha256 for _, _, adapter in made_with],
                        "scale": [adapter.scale for _, _, adapter in made_with],
                        "artist": [adapter.artist for _, _, adapter in made_with],
                    },
                )
        if method_id is not None:
            enqueue(session, list(ids.values()), method_id)
        recorded = {fresh[name].position for name in ids}
        logged |= _logged(session, {record.external_id for record in records} - logged.keys())
    return [
        Outcome(record.external_id, Status.RECORDED)
        if position in recorded
        else _compare(record, logged[record.external_id])
        for position, record in enumerate(records)
    ]


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
