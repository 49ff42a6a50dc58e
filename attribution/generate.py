"""Make images from prompts and log them: full batches through the render engine, each picture once, resumable.

The same line of the same file, with the same settings on the same weights, is the same image: a second run renders
nothing.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from PIL import Image as Picture

from attribution.adapters import AppliedAdapter
from attribution.generation import Adapter, ImagePrompt, ImageRecord, same_words_logged
from attribution.image_file import BadLine
from attribution.image_prompts import AppliedImagePrompt
from attribution.ingest import Status, log_images
from attribution.pictures import store_picture
from attribution.pipeline import Model, loggable_config, public_name
from attribution.prompt_file import PromptFile, PromptLine
from attribution.render import RenderEngine, RenderRequest, initial_latents, latents_sha256
from database.engine import session
from database.errors import UserError
from database.logs import described
from database.roles import Role

_log = structlog.get_logger(__name__)

_BUCKETS_PER_ROUND = 4
"""Buckets between two commits: what a crash renders again."""


@dataclass(frozen=True, slots=True)
class GeneratedLine:
    """A line whose image is logged."""

    number: int
    external_id: str
    status: Status
    """Recorded now, or known from an earlier run."""
    sale: Mapping[str, Any] | None
    """What the line says about a sale, unread."""


@dataclass(frozen=True, slots=True)
class Generated:
    """What became of a file of prompts."""

    lines: list[GeneratedLine]
    bad: list[BadLine]
    """By line number: lines that cannot be read, rendered or logged, with the reason."""


def pipeline_settings(model: Model) -> dict[str, Any]:
    """What a loaded model fixes of an image's record: fields that a log of its images may leave out."""
    pipeline = model.pipeline
    side = int(pipeline.unet.config.sample_size) * int(pipeline.vae_scale_factor)
    return {
        "model": public_name(model.source),
        "weights_sha256": model.weights_sha256,
        "scheduler": type(pipeline.scheduler).__name__,
        "scheduler_config": loggable_config(pipeline.scheduler),
        "width": side,
        "height": side,
    }


def generate_images(
    prompts: PromptFile,
    engine: RenderEngine,
    *,
    steps: int = 50,
    guidance: Decimal = Decimal("7.5"),
    seed: int = 0,
    customer: str | None = None,
    adapters: Sequence[Adapter] = (),
    image_prompts: Sequence[ImagePrompt] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Generated:
    """Render and log what is not logged yet; each round of batches is committed by itself.

    Args:
        prompts: a file of prompts as read.
        engine: the loaded model's.
        steps: of lines that name none.
        guidance: of lines that name none.
        seed: a line that names none has this plus its number.
        customer: the opaque customer id of lines that name none.
        adapters: LoRA files that every image is made with.
        image_prompts: pictures that every image is made from.
        progress: called with the lines that are through and all of them.

    Raises:
        Unavailable: a picture cannot be written.
    """
    made_with = {"adapters": list(adapters), "image_prompts": list(image_prompts)}
    fixed = {**pipeline_settings(engine.model), **made_with}
    records = {
        line.number: _record(
            prompts.name, line, fixed, steps=steps, guidance=guidance, seed=seed, customer=customer
        )
        for line in prompts.lines
    }
    with session(Role.ATTRIBUTION) as opened:
        logged = same_words_logged(opened, list(records.values()))
    done: list[GeneratedLine] = []
    bad = list(prompts.bad)
    missing: list[PromptLine] = []
    for line in prompts.lines:
        same = logged.get(records[line.number].external_id)
        if same is None:
            missing.append(line)
        elif same:
            done.append(GeneratedLine(line.number, records[line.number].external_id, Status.KNOWN, line.sale))
        else:
            bad.append(BadLine(line.number, _OTHER_WORDS))
    total = len(prompts.lines)
    per_round = max(1, _BUCKETS_PER_ROUND * engine.bucket // 2)
    for start in range(0, len(missing), per_round):
        if progress is not None:
            progress(total - len(missing) + start, total)
        made, failed = _round(missing[start : start + per_round], records, engine)
        done += made
        bad += failed
    if progress is not None:
        progress(total, total)
    return Generated(sorted(done, key=lambda line: line.number), sorted(bad, key=lambda line: line.number))


_OTHER_WORDS = "generated with another prompt before: give the line an external_id, or rename the file"


def _record(
    name: str,
    line: PromptLine,
    fixed: Mapping[str, Any],
    *,
    steps: int,
    guidance: Decimal,
    seed: int,
    customer: str | None,
) -> ImageRecord:
    asked = line.request.model_dump(exclude_none=True)
    fields = {
        **fixed,
        "steps": steps,
        "guidance": guidance,
        "seed": seed + line.number,
        "customer": customer,
        **asked,
    }
    if "external_id" not in asked:
        # Without the words: an id is for ever, and words can be erased.
        what = [
            name,
            line.number,
            *(str(fields[part]) for part in ("seed", "steps", "guidance", "width", "height", "scheduler")),
            json.dumps(fields["scheduler_config"], sort_keys=True),
            fields["weights_sha256"].hex(),
            *(f"{one.sha256.hex()} {one.scale} {one.artist}" for one in fields["adapters"]),
            *(
                f"{one.adapter_sha256.hex()} {one.embedding_sha256.hex()} {one.scale} {one.artist}"
                for one in fields["image_prompts"]
            ),
        ]
        fields["external_id"] = "gen-" + hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]
    return ImageRecord.model_validate(fields)


def _round(
    lines: Sequence[PromptLine], records: Mapping[int, ImageRecord], engine: RenderEngine
) -> tuple[list[GeneratedLine], list[BadLine]]:
    rendered, bad = _render([(line, _request(records[line.number])) for line in lines], engine)
    now = datetime.now(UTC)
    finished = []
    for line, picture in rendered:
        record = records[line.number]
        stored = store_picture(record.external_id, Picture.fromarray(picture))
        latents = initial_latents(engine.model, record.seed, record.width, record.height)
        finished.append(
            record.model_copy(
                update={
                    "file": stored.name,
                    "file_sha256": stored.sha256,
                    "latents_sha256": latents_sha256(latents),
                    "generated_at": record.generated_at or now,
                }
            )
        )
    with session(Role.ATTRIBUTION) as opened:
        outcomes = log_images(opened, finished)
    made = []
    for (line, _), outcome in zip(rendered, outcomes, strict=True):
        if outcome.status is Status.REFUSED:
            bad.append(BadLine(line.number, outcome.reason or _OTHER_WORDS))
        else:
            made.append(GeneratedLine(line.number, outcome.external_id, outcome.status, line.sale))
    return made, bad


def _render(
    asked: Sequence[tuple[PromptLine, RenderRequest]], engine: RenderEngine
) -> tuple[list[tuple[PromptLine, NDArray[np.uint8]]], list[BadLine]]:
    """Pictures of shape (height, width, 3) of the lines that have one."""
    try:
        pictures = engine.render([request for _, request in asked])
    except Exception as error:
        if len(asked) > 1:
            # One of them is to blame: alone, the others are done.
            alone = [_render([one], engine) for one in asked]
            return [one for made, _ in alone for one in made], [one for _, bad in alone for one in bad]
        _log.warning("line not rendered", line=asked[0][0].number, **described(error))
        reason = error.message if isinstance(error, UserError) else type(error).__name__
        return [], [BadLine(asked[0][0].number, f"cannot be rendered: {reason}")]
    return [(line, picture) for (line, _), picture in zip(asked, pictures, strict=True)], []


def _request(record: ImageRecord) -> RenderRequest:
    return RenderRequest(
        prompt=record.prompt,
        negative_prompt=record.negative_prompt,
        seed=record.seed,
        steps=record.steps,
        guidance=float(record.guidance),
        width=record.width,
        height=record.height,
        scheduler=record.scheduler,
        scheduler_config=record.scheduler_config,
        adapters=tuple(AppliedAdapter(one.sha256.hex(), float(one.scale)) for one in record.adapters),
        image_prompts=tuple(
            AppliedImagePrompt(one.adapter_sha256.hex(), float(one.scale), one.embedding)
            for one in record.image_prompts
        ),
    )
