"""Log what a `StableDiffusionPipeline` makes, in a few lines around the call.

    pipeline = logged(StableDiffusionPipeline.from_pretrained("stable-diffusion-v1-5/stable-diffusion-v1-5"))
    made = pipeline("a castle in the style of Amara Diallo", seed=7, customer="c-17")
    made.images[0].show()

Every picture has a seed of its own, from which its initial latents are drawn on the CPU in fp32: whatever device made
it, an attribution worker can make it again. A setting that changes the picture and cannot be logged is refused.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image as Picture

from attribution.adapters import Adapters, AppliedAdapter, store_adapter
from attribution.generation import Adapter, ImageRecord
from attribution.ingest import Outcome, Status, log_images
from attribution.pictures import store_picture
from attribution.pipeline import loggable_config, pipeline_folder, public_name, weights_sha256
from attribution.render import initial_latents, latents_sha256
from database.engine import session
from database.errors import Conflict, Invalid
from database.roles import Role

_STEPS, _GUIDANCE = 50, 7.5
"""What `StableDiffusionPipeline` takes where nothing is said."""

_KNOWN = frozenset(
    "negative_prompt num_inference_steps guidance_scale height width num_images_per_prompt generator latents "
    "eta".split()
)
"""Settings of a call that the log has a place for."""


@dataclass(frozen=True, slots=True)
class UsedAdapter:
    """A LoRA to make pictures with: its file, the id of the artist it belongs to, and how strongly."""

    file: str | Path
    artist: str
    scale: Decimal = Decimal(1)


@dataclass(frozen=True, slots=True)
class LoggedImages:
    """What a logged call returns."""

    images: list[Picture.Image]
    outcomes: list[Outcome]
    """One for each image: its external id, and whether it was recorded now or known."""


class LoggedPipeline:
    """A pipeline whose pictures are saved and logged. Everything but calling it is the pipeline's own.

    Args:
        pipeline: the caller's, as it is: device, precision and scheduler stay.
        source: folder or hub id it was loaded from; None asks the pipeline.
        customer: the opaque customer id of calls that name none.
    """

    def __init__(
        self, pipeline: StableDiffusionPipeline, *, source: str | None = None, customer: str | None = None
    ) -> None:
        self._pipeline = pipeline
        self._source = source or str(pipeline.config.get("_name_or_path", ""))
        if not self._source:
            raise Invalid(
                "the pipeline does not say where it was loaded from: pass source=FOLDER or a hub id"
            )
        self._weights_sha256 = weights_sha256(pipeline_folder(self._source))
        self._customer = customer
        self._adapters = Adapters(pipeline)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        seed: int | Sequence[int] | None = None,
        external_id: str | Sequence[str] | None = None,
        customer: str | None = None,
        artists: Sequence[str] | None = None,
        adapters: Sequence[UsedAdapter] = (),
        **settings: Any,
    ) -> LoggedImages:
        """Make pictures, save them under `ROYALTY_HOME/images`, and log them in one transaction.

        Args:
            prompt: one, or one for each picture.
            seed: one for each picture; None takes a generator's, or draws one.
            external_id: the platform's own, one for each picture; None draws one.
            customer: the platform's opaque id of who asked.
            artists: ids of the artists, where the platform knows them.
            adapters: LoRA files to make the pictures with; each is kept under `ROYALTY_HOME/adapters`.
            settings: of the pipeline's call.

        Raises:
            Invalid: a setting that cannot be logged, or not one seed for each picture.
            Conflict: an external id belongs to another image.
        """
        self._check(settings)
        made_with = [
            Adapter(sha256=store_adapter(Path(one.file)), scale=one.scale, artist=one.artist)
            for one in adapters
        ]
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        each = int(settings.pop("num_images_per_prompt", None) or 1)
        prompts = [one for one in prompts for _ in range(each)]
        negatives = _spread(
            settings.pop("negative_prompt", None) or "", len(prompts), each, "negative_prompt"
        )
        side = int(self._pipeline.unet.config.sample_size) * int(self._pipeline.vae_scale_factor)
        width, height = int(settings.pop("width", None) or side), int(settings.pop("height", None) or side)
        seeds = self._seeds(seed, settings.pop("generator", None), len(prompts))
        latents = [initial_latents(self._pipeline, one, width, height) for one in seeds]
        self._check_latents(settings.pop("latents", None), latents, seed)
        if external_id is None:
            # Random, not a digest of what was asked for: words can be erased, ids cannot.
            names = [f"hook-{secrets.token_hex(16)}" for _ in prompts]
        else:
            names = _spread(external_id, len(prompts), 1, "external_id")
            if len(set(names)) != len(names):
                raise Invalid(f"{len(prompts)} pictures need an external_id each")
        with self._adapters.applied(
            [AppliedAdapter(one.sha256.hex(), float(one.scale)) for one in made_with]
        ):
            pictures = self._pipeline(
                prompts,
                negative_prompt=negatives,
                width=width,
                height=height,
                latents=torch.stack(latents).to(self._pipeline.device, self._pipeline.unet.dtype),
                output_type="pil",
                **settings,
            ).images
        records = []
        for place, picture in enumerate(pictures):
            record = self._record(prompts[place], negatives[place], seeds[place], width, height, settings)
            stored = store_picture(names[place], picture)
            record |= {
                "external_id": names[place],
                "customer": customer or self._customer,
                "artists": None if artists is None else list(artists),
                "adapters": made_with,
                "latents_sha256": latents_sha256(latents[place]),
                "file": stored.name,
                "file_sha256": stored.sha256,
            }
            records.append(ImageRecord.model_validate(record))
        return LoggedImages(list(pictures), self._log(records))

    def _record(
        self, prompt: str, negative: str, seed: int, width: int, height: int, settings: dict[str, Any]
    ) -> dict[str, Any]:
        scheduler = self._pipeline.scheduler
        return {
            "prompt": prompt,
            "negative_prompt": negative,
            "seed": seed,
            "steps": settings.get("num_inference_steps", _STEPS),
            "guidance": Decimal(str(settings.get("guidance_scale", _GUIDANCE))),
            "eta": Decimal(str(settings.get("eta", 0))),
            "width": width,
            "height": height,
            "scheduler": type(scheduler).__name__,
            "scheduler_config": loggable_config(scheduler),
            "model": public_name(self._source),
            "weights_sha256": self._weights_sha256,
            "extra": {
                "device": self._pipeline.device.type,
                "dtype": str(self._pipeline.unet.dtype).removeprefix("torch."),
                "diffusers": version("diffusers"),
                "torch": torch.__version__,
            },
        }

    def _log(self, records: Sequence[ImageRecord]) -> list[Outcome]:
        with session(Role.ATTRIBUTION) as opened:
            outcomes = log_images(opened, records)
            refused = next((one for one in outcomes if one.status is Status.REFUSED), None)
            if refused is not None:
                raise Conflict(str(refused.reason))
        return outcomes

    def _check(self, settings: dict[str, Any]) -> None:
        unknown = sorted(name for name, value in settings.items() if name not in _KNOWN and value is not None)
        if unknown:
            raise Invalid(
                f"{unknown[0]} cannot be logged, so its picture could not be made again: leave it out"
            )
        for part in (self._pipeline.unet, self._pipeline.text_encoder):
            for adapter in getattr(part, "peft_config", ()):
                raise Invalid(
                    f"the adapter {adapter} changes the weights that are logged: unload it, and pass its file as"
                    " adapters=[UsedAdapter(FILE, ARTIST)]"
                )

    @staticmethod
    def _seeds(seed: int | Sequence[int] | None, generator: Any, count: int) -> list[int]:
        if seed is not None:
            seeds = [seed] if isinstance(seed, int) else [int(one) for one in seed]
        elif isinstance(generator, torch.Generator):
            seeds = [generator.initial_seed()]
        elif generator is not None:
            seeds = [one.initial_seed() for one in generator]
        else:
            seeds = [secrets.randbelow(2**32) for _ in range(count)]
        if len(seeds) != count:
            # One generator for a batch gives every picture but the first a noise that no seed names.
            raise Invalid(f"{count} pictures need {count} seeds, not {len(seeds)}: pass seed=[...]")
        return seeds

    @staticmethod
    def _check_latents(given: torch.Tensor | None, drawn: Sequence[torch.Tensor], seed: Any) -> None:
        if given is None:
            return
        ours = torch.stack(list(drawn))
        if seed is None or given.shape != ours.shape or not torch.equal(given.to("cpu", torch.float32), ours):
            raise Invalid("latents can only be logged by the seed they were drawn from: pass seed= instead")


def logged(
    pipeline: StableDiffusionPipeline, *, source: str | None = None, customer: str | None = None
) -> LoggedPipeline:
    """Wrap a pipeline so that every picture it makes is saved and logged (see `LoggedPipeline`)."""
    return LoggedPipeline(pipeline, source=source, customer=customer)


def _spread(given: str | Sequence[str], count: int, each: int, what: str) -> list[str]:
    """One for every picture."""
    if isinstance(given, str):
        return [given] * count
    spread = [one for one in given for _ in range(each)]
    if len(spread) != count:
        raise Invalid(f"{count} pictures need {count // each} of {what}, not {len(given)}")
    return spread
