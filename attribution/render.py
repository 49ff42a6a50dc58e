"""Render many pictures in full batches of one fixed shape, each distinct picture once.

One denoising loop of our own runs over rows of many images and coalitions in lock-step. Every forward has the same
number of samples, padded where needed: at one batch shape a row's picture does not depend on its neighbours.
"""

import ctypes
import hashlib
import json
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import diffusers
import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray

from attribution.adapters import Adapters, AppliedAdapter
from attribution.attention import remember_texts, showing
from attribution.image_prompts import AppliedImagePrompt, ImageAdapters, without_pictures
from attribution.pipeline import Model
from database.errors import Invalid

DETERMINISTIC_SCHEDULERS = frozenset(
    "DDIMScheduler PNDMScheduler EulerDiscreteScheduler DPMSolverMultistepScheduler DPMSolverSinglestepScheduler "
    "UniPCMultistepScheduler DEISMultistepScheduler LMSDiscreteScheduler HeunDiscreteScheduler "
    "KDPM2DiscreteScheduler".split()
)
"""Schedulers whose steps draw no noise: the initial latents decide the picture."""

_TEXTS_KEPT = 512
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_MOST_DECODED = 8
"""Latents decoded at once at most: 32 of 512 by 512 pixels overflow 32-bit indices inside the decoder."""


class BrokenPictures(Exception):
    """Some of the requested pictures are not numbers: an overflow in half precision, or damaged weights."""

    def __init__(self, indices: Sequence[int]) -> None:
        super().__init__(f"pictures {list(indices)} are not finite")
        self.indices = tuple(indices)


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """Everything that decides one picture besides the weights."""

    prompt: str
    seed: int
    """Of a `torch.Generator` on the CPU; the initial latents are drawn in fp32."""
    steps: int
    guidance: float
    width: int
    """Pixels."""
    height: int
    scheduler: str
    """Class name in diffusers."""
    scheduler_config: Mapping[str, Any] = field(hash=False)
    negative_prompt: str = ""
    adapters: tuple[AppliedAdapter, ...] = ()
    """Merged into the weights while it is rendered."""
    image_prompts: tuple[AppliedImagePrompt, ...] = ()
    """Pictures that it sees."""
    latents: torch.Tensor | None = field(default=None, hash=False, compare=False)
    """Initial latents instead of a seed's, shape (channels, height, width), before any scaling."""


@dataclass
class RenderStats:
    """What an engine has done. One sample-forward is one latent through the UNet once."""

    requested: int = 0
    """Pictures asked for."""
    rendered: int = 0
    """Pictures rendered; the rest were the same as another."""
    unet_samples: int = 0
    """Sample-forwards of pictures."""
    padding_samples: int = 0
    """Sample-forwards that only fill a batch up."""
    unet_calls: int = 0
    texts_encoded: int = 0


class _Lockstep(NamedTuple):
    """What all rows of a batch have in common besides the weights; all of it is in each picture's key."""

    scheduler: str
    scheduler_config: str
    """As canonical JSON."""
    steps: int
    width: int
    height: int
    adapters: tuple[AppliedAdapter, ...]
    shown: bool
    """Whether rows see pictures, where those that do run other kernels than those that do not."""


@dataclass(slots=True)
class _Row:
    """One distinct picture to be rendered, and the requests it answers."""

    key: bytes
    latents: torch.Tensor
    positive: tuple[int, ...]
    negative: tuple[int, ...] | None
    """None where one forward is enough: no guidance, or the same text on both sides."""
    guidance: float
    pictures: tuple[AppliedImagePrompt, ...]
    indices: list[int]

    @property
    def cost(self) -> int:
        """Sample-forwards of every step."""
        return 1 if self.negative is None else 2


def is_deterministic(scheduler: str, config: Mapping[str, Any], eta: float) -> bool:
    """Whether the initial latents alone decide the picture: no ancestral or SDE sampler, no eta."""
    stochastic = eta > 0 or "sde" in str(config.get("algorithm_type", ""))
    return scheduler in DETERMINISTIC_SCHEDULERS and not stochastic


def make_scheduler(name: str, config: Mapping[str, Any]) -> Any:
    """A fresh scheduler: they remember earlier steps, so each batch has its own.

    Raises:
        Invalid: there is no such scheduler, or the configuration does not fit it.
    """
    if name not in DETERMINISTIC_SCHEDULERS:
        known = ", ".join(sorted(DETERMINISTIC_SCHEDULERS))
        raise Invalid(f"Scheduler {name!r} cannot be rendered again; these can: {known}.")
    try:
        return getattr(diffusers, name).from_config(dict(config))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise Invalid(f"Scheduler {name} does not take this configuration: {error}") from error


def _check_steps(scheduler: Any, steps: int) -> None:
    if not 1 <= steps <= 1000:
        raise Invalid(f"{steps} steps cannot be rendered: 1 to 1000 can.")
    try:
        scheduler.set_timesteps(steps)
    except (ValueError, IndexError, TypeError) as error:
        name = type(scheduler).__name__
        raise Invalid(f"{name} as configured cannot make a picture in {steps} steps: {error}") from error


def initial_latents(
    model: Model | StableDiffusionPipeline, seed: int, width: int, height: int
) -> torch.Tensor:
    """The initial noise of a seed, shape (channels, height, width) in latent units, fp32 on the CPU."""
    pipeline = model.pipeline if isinstance(model, Model) else model
    factor = pipeline.vae_scale_factor
    if width % factor or height % factor or min(width, height) < factor:
        raise Invalid(
            f"A picture of {width} by {height} pixels does not fit: sides are multiples of {factor}."
        )
    shape = (1, pipeline.unet.config.in_channels, height // factor, width // factor)
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed), dtype=torch.float32)[0]


def latents_sha256(latents: torch.Tensor) -> bytes:
    """SHA-256 of the values as little-endian fp32, in row-major order."""
    values = latents.detach().to("cpu", torch.float32).contiguous().numpy()
    return hashlib.sha256((values if sys.byteorder == "little" else values.byteswap()).tobytes()).digest()


def encoded_together(model: Model) -> int:
    """Batch of the transformers beside the UNet: one on a CPU, where a row's place in a batch changes its last bits."""
    return 1 if model.device.type == "cpu" else 8


class RenderEngine:
    """Renders requests on one model with one batch shape."""

    def __init__(self, model: Model, *, bucket: int = 16, threads: int | None = None) -> None:
        """Prepare an engine, and the model's UNet for it.

        Args:
            model: The loaded pipeline.
            bucket: Samples in every UNet forward, at least 2.
            threads: CPU threads to compute with, for the whole process; None leaves them as they are.
        """
        if bucket < 2:
            raise ValueError("a bucket holds at least the two samples of one guided picture")
        self.model = model
        self._unet = _prepared(model)
        self.bucket = bucket
        self.decoded_together = min(_MOST_DECODED, bucket // 2)
        """Latents in every call of the decoder, and pictures in every batch that is yielded at most."""
        self._encoded_together = encoded_together(model)
        self.stats = RenderStats()
        self._threads = threads
        self._ids = lru_cache(4096)(lambda text: model.token_ids([text])[0])
        self._noise = lru_cache(256)(self._draw)
        self._checked: set[_Lockstep] = set()
        self._texts: OrderedDict[tuple[tuple[AppliedAdapter, ...], tuple[int, ...]], torch.Tensor] = (
            OrderedDict()
        )
        self._adapters = Adapters(model.pipeline)
        self._image_adapters = ImageAdapters(model)
        self._apart = model.device.type == "cuda"
        """Whether rows that see pictures have batches of their own."""

    def key(self, request: RenderRequest) -> bytes:
        """Hash of everything the picture depends on: equal keys, equal pictures.

        Raises:
            Invalid: the request cannot be rendered on this model.
        """
        return self._row(request, 0).key

    def render(self, requests: Sequence[RenderRequest]) -> list[NDArray[np.uint8]]:
        """The pictures in the order of the requests, each of shape (height, width, 3), 8 bits a channel.

        Raises:
            Invalid: a request cannot be rendered on this model.
            BrokenPictures: some pictures are not finite.
        """
        pictures: list[NDArray[np.uint8] | None] = [None] * len(requests)
        for indices, images in self.batches(requests):
            for places, picture in zip(indices, to_pixels(images).cpu().numpy(), strict=True):
                for place in places:
                    pictures[place] = picture
        return [picture for picture in pictures if picture is not None]

    def batches(self, requests: Sequence[RenderRequest]) -> Iterator[tuple[list[list[int]], torch.Tensor]]:
        """Render, batch by batch as they come.

        Yields:
            For each picture of a batch the indices of the requests it answers; and the pictures on the device,
            values 0..1 in fp32, shape (pictures, 3, height, width).
        """
        self.stats.requested += len(requests)
        groups: dict[_Lockstep, dict[bytes, _Row]] = {}
        for index, request in enumerate(requests):
            row = self._row(request, index)
            known = groups.setdefault(self._lockstep(request), {}).setdefault(row.key, row)
            if known is not row:
                known.indices.append(index)
        for lockstep, rows in groups.items():
            for batch in self._packed(rows.values()):
                scheduler = make_scheduler(lockstep.scheduler, json.loads(lockstep.scheduler_config))
                with self._adapters.applied(lockstep.adapters):
                    latents = self._denoise(batch, scheduler, lockstep)
                for start in range(0, len(batch), self.decoded_together):
                    chunk = batch[start : start + self.decoded_together]
                    images = self._decode(latents[start : start + self.decoded_together], chunk)
                    self.stats.rendered += len(chunk)
                    yield [row.indices for row in chunk], images

    def _draw(self, seed: int, width: int, height: int) -> tuple[torch.Tensor, bytes]:
        latents = initial_latents(self.model, seed, width, height)
        return latents, latents_sha256(latents)

    def _row(self, request: RenderRequest, index: int) -> _Row:
        lockstep = self._lockstep(request)
        if lockstep not in self._checked:
            _check_steps(make_scheduler(request.scheduler, request.scheduler_config), request.steps)
            for adapter in request.adapters:
                self._adapters.load(adapter.sha256)
            self._checked.add(lockstep)
        self._image_adapters.check(request.image_prompts)
        if request.latents is None:
            latents, noise = self._noise(request.seed, request.width, request.height)
        else:
            latents, noise = request.latents, latents_sha256(request.latents)
        positive, negative = self._ids(request.prompt), self._ids(request.negative_prompt)
        # Guidance leads away from the picture of no pictures too.
        guided = request.guidance > 1 and (positive != negative or bool(request.image_prompts))
        parts = (
            self.model.weights_sha256.hex(),
            noise.hex(),
            positive,
            negative if guided else None,
            float(request.guidance) if guided else 1.0,
            lockstep,
            [(adapter, scale, embedding.hex()) for adapter, scale, embedding in request.image_prompts],
            str(self.model.dtype),
            self.bucket,
        )
        key = hashlib.sha256(json.dumps(parts).encode()).digest()
        return _Row(
            key,
            latents,
            positive,
            negative if guided else None,
            request.guidance,
            request.image_prompts,
            [index],
        )

    def _lockstep(self, request: RenderRequest) -> _Lockstep:
        config = json.dumps(dict(request.scheduler_config), sort_keys=True, default=str)
        size = request.width, request.height
        shown = self._apart and bool(request.image_prompts)
        return _Lockstep(request.scheduler, config, request.steps, *size, request.adapters, shown)

    def _packed(self, rows: Iterable[_Row]) -> Iterator[list[_Row]]:
        """Rows in batches of at most `bucket` samples; only the last has room left, if the bucket is even."""
        batch: list[_Row] = []
        for row in sorted(rows, key=lambda row: -row.cost):
            if sum(other.cost for other in batch) + row.cost > self.bucket:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    @torch.inference_mode()
    def _denoise(self, rows: Sequence[_Row], scheduler: Any, lockstep: _Lockstep) -> torch.Tensor:
        """The final latents of the rows, shape (rows, channels, height, width)."""
        if self._threads is not None and torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        device, dtype = self.model.device, self.model.dtype
        scheduler.set_timesteps(lockstep.steps, device=device)
        latents = torch.stack([row.latents for row in rows]).to(device, dtype) * scheduler.init_noise_sigma
        guided = torch.tensor(
            [i for i, row in enumerate(rows) if row.negative is not None], device=device, dtype=torch.long
        )
        guidance = torch.tensor(
            [row.guidance for row in rows if row.negative is not None], device=device, dtype=dtype
        ).view(-1, 1, 1, 1)
        texts = [row.negative for row in rows if row.negative is not None] + [row.positive for row in rows]
        samples = len(texts)
        condition = self._encode(texts, lockstep.adapters)
        condition = torch.cat([condition, condition[:1].expand(self.bucket - samples, -1, -1)])
        slots = self._image_adapters.slots(
            [without_pictures(row.pictures) for row in rows if row.negative is not None]
            + [row.pictures for row in rows],
            self.bucket,
        )
        with showing(self.model.pipeline.unet, slots):
            unet = self.model.pipeline.unet if slots else self._unet
            for timestep in scheduler.timesteps:
                scaled = scheduler.scale_model_input(latents, timestep)
                inputs = torch.cat(
                    [scaled[guided], scaled, scaled[:1].expand(self.bucket - samples, -1, -1, -1)]
                )
                inputs = inputs.contiguous(memory_format=torch.channels_last)
                output = unet(inputs, timestep, encoder_hidden_states=condition, return_dict=False)[0]
                self.stats.unet_calls += 1
                self.stats.unet_samples += samples
                self.stats.padding_samples += self.bucket - samples
                without, predicted = output[: len(guided)], output[len(guided) : samples].clone()
                predicted[guided] = without + guidance * (predicted[guided] - without)
                latents = scheduler.step(predicted, timestep, latents, return_dict=False)[0]
        return latents

    def _encode(self, texts: Sequence[tuple[int, ...]], adapters: tuple[AppliedAdapter, ...]) -> torch.Tensor:
        """Text embeddings, shape (texts, window, width); each distinct text is encoded once, in one batch shape.

        An adapter may have changed the text encoder: a text is another one with other adapters.
        """
        new = [ids for ids in dict.fromkeys(texts) if (adapters, ids) not in self._texts]
        encoder = self.model.pipeline.text_encoder
        for start in range(0, len(new), self._encoded_together):
            chunk = new[start : start + self._encoded_together]
            padded = [*chunk, *[chunk[0]] * (self._encoded_together - len(chunk))]
            hidden = encoder(torch.tensor(padded, device=self.model.device))[0].to(self.model.dtype)
            self._texts.update(
                ((adapters, ids), one) for ids, one in zip(chunk, hidden[: len(chunk)], strict=True)
            )
            self.stats.texts_encoded += len(chunk)
        condition = torch.stack([self._texts[adapters, ids] for ids in texts])
        for ids in texts:
            self._texts.move_to_end((adapters, ids))
        while len(self._texts) > _TEXTS_KEPT:
            self._texts.popitem(last=False)
        return condition

    @torch.inference_mode()
    def _decode(self, latents: torch.Tensor, rows: Sequence[_Row]) -> torch.Tensor:
        """Pictures of latents, values 0..1 in fp32, shape (rows, 3, height, width)."""
        vae = self.model.pipeline.vae
        padded = torch.cat([latents, latents[:1].expand(self.decoded_together - len(latents), -1, -1, -1)])
        padded = (padded / vae.config.scaling_factor).contiguous(memory_format=torch.channels_last)
        images = vae.decode(padded, return_dict=False)[0][: len(latents)].float()
        finite = images.isfinite().flatten(1).all(1).tolist()
        if not all(finite):
            raise BrokenPictures(
                [i for row, good in zip(rows, finite, strict=True) if not good for i in row.indices]
            )
        return (images / 2 + 0.5).clamp(0, 1)


def to_pixels(images: torch.Tensor) -> torch.Tensor:
    """Pictures as files hold them, and as they are measured: uint8, shape (pictures, height, width, 3)."""
    return (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _prepared(model: Model) -> Callable[..., Any]:
    """The UNet as this device runs it fastest, with the same numbers in every process."""
    unet = model.pipeline.unet
    if model.device.type == "cuda":
        # One graph of kernels for the one batch shape. Not `max-autotune`: kernels chosen by a stopwatch are others
        # in every process, and so are the last bits of the pictures.
        compiled = torch.compile(unet, mode="reduce-overhead", fullgraph=True, dynamic=False)

        def replayed(*inputs: Any, **named: Any) -> Any:
            torch.compiler.cudagraph_mark_step_begin()  # what the last step gave is used up
            return compiled(*inputs, **named)

        return replayed
    remember_texts(unet)
    _keep_freed_memory()
    return unet


def _keep_freed_memory() -> None:
    """Have the C library reuse what layers free, instead of asking for fresh pages each time: 5 to 10 % of the time.

    Where the C library knows no such wish, nothing changes.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_MMAP_THRESHOLD, 32 << 20)  # glibc's highest
        set_option(_M_TRIM_THRESHOLD, 1 << 30)


def return_freed_memory() -> None:
    """Give what was freed back to the device and the system: kept for batches of one shape, it may not fit another's.

    Where the C library knows no such wish, it keeps its part.
    """
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
