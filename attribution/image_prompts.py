"""Image prompts: pictures that a picture was made from beside its words, seen through an IP-Adapter.

An IP-Adapter (arXiv 2308.06721) is a file of weights by which every layer that attends to the prompt's words attends
to pictures too. It is found by the SHA-256 of its content where LoRA files are found, and is nobody's player: who
plays is the owner of a picture. Pictures are known by their embeddings, which is all that is kept of them.

Pictures of one adapter in one image are attended to together, as diffusers does it; several adapters add up. Absence is
deletion: an absent picture's tokens are not there, and an adapter without pictures adds exactly nothing.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from diffusers.models.embeddings import ImageProjection
from safetensors import SafetensorError
from safetensors.torch import load

from attribution.adapters import find_adapter, missing_adapter
from attribution.attention import PictureSlot, text_layers
from attribution.generation import MOST_IMAGE_PROMPTS
from attribution.pipeline import Model
from database.errors import Invalid, Unavailable

TOKENS = 4
"""That a picture takes the place of."""
_KEPT = 4
"""Files kept in memory."""
_MOST_BYTES = 2**31
_PROJECTION = frozenset({"proj.weight", "proj.bias", "norm.weight", "norm.bias"})


class AppliedImagePrompt(NamedTuple):
    """An image prompt as a picture is rendered with it."""

    adapter: str
    """SHA-256 of the IP-Adapter's file, hexadecimal."""
    scale: float
    """How strongly pictures are seen; the same for all of one adapter."""
    embedding: bytes
    """Of the picture, as fp32 little-endian: what the adapter's image encoder gives, not normalised."""


@dataclass(frozen=True, slots=True)
class _ImageAdapter:
    """A loaded IP-Adapter."""

    name: str
    width: int
    """Numbers in an embedding."""
    projection: ImageProjection
    """From embeddings, shape (pictures, width), to tokens, shape (pictures, `TOKENS`, width of texts)."""
    layers: list[tuple[torch.Tensor, torch.Tensor]]
    """What makes keys and values of tokens in each layer that attends to texts."""


class ImageAdapters:
    """The IP-Adapters that one model has rendered with."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._known: dict[str, _ImageAdapter] = {}

    def check(self, prompts: Sequence[AppliedImagePrompt]) -> None:
        """Refuse image prompts that cannot be rendered on this model.

        Raises:
            Unavailable: an adapter's file is not on this machine.
            Invalid: a file is no IP-Adapter for this model, or an embedding is not for the adapter.
        """
        if len(prompts) > MOST_IMAGE_PROMPTS:
            raise Invalid(f"{len(prompts)} image prompts are too many: {MOST_IMAGE_PROMPTS} are rendered")
        for prompt in prompts:
            adapter = self.load(prompt.adapter)
            if len(prompt.embedding) != 4 * adapter.width:
                raise Invalid(
                    f"{adapter.name} takes embeddings of {adapter.width} numbers, and the image prompt's has"
                    f" {len(prompt.embedding) // 4}: log what the adapter's own image encoder gives"
                )
            if not (math.isfinite(prompt.scale) and np.isfinite(_numbers(prompt.embedding)).all()):
                raise Invalid("an image prompt's scale or embedding is no number: log what was used")
        if len({(prompt.adapter, prompt.scale) for prompt in prompts}) != len({p.adapter for p in prompts}):
            raise Invalid("pictures of one adapter are seen at one scale: log them with the same")

    def slots(self, samples: Sequence[Sequence[AppliedImagePrompt]], bucket: int) -> list[PictureSlot]:
        """What a batch of so many samples sees; those behind the ones given see nothing.

        Shapes depend on the bucket alone, so that a sample's numbers do not depend on its neighbours.
        """
        return [
            self._slot(
                self.load(sha256), [[p for p in sample if p.adapter == sha256] for sample in samples], bucket
            )
            for sha256 in sorted({prompt.adapter for sample in samples for prompt in sample})
        ]

    def load(self, sha256: str) -> _ImageAdapter:
        """An adapter by the SHA-256 of its file, hexadecimal.

        Raises:
            Unavailable: the file is not on this machine.
            Invalid: it is no IP-Adapter, or not one for this model.
        """
        if sha256 not in self._known:
            file = find_adapter(sha256)
            if file is None:
                raise Unavailable(missing_adapter(sha256))
            while len(self._known) >= _KEPT:
                del self._known[next(iter(self._known))]
            self._known[sha256] = self._read(file, sha256)
        return self._known[sha256]

    def _slot(
        self, adapter: _ImageAdapter, samples: Sequence[Sequence[AppliedImagePrompt]], bucket: int
    ) -> PictureSlot:
        device, dtype = self._model.device, self._model.dtype
        embeddings = torch.zeros(bucket, MOST_IMAGE_PROMPTS, adapter.width)
        mask = torch.zeros(bucket, MOST_IMAGE_PROMPTS)
        scales = torch.zeros(bucket)
        for place, pictures in enumerate(samples):
            for number, picture in enumerate(pictures):
                embeddings[place, number] = torch.from_numpy(_numbers(picture.embedding))
                scales[place] = picture.scale
            if pictures:  # without any, whatever is seen counts for 0; a mask of all would give no numbers
                mask[place, len(pictures) :] = -torch.inf
        tokens = adapter.projection(embeddings.flatten(0, 1).to(device, dtype))
        return PictureSlot(
            tokens.reshape(bucket, MOST_IMAGE_PROMPTS * TOKENS, -1),
            mask.repeat_interleave(TOKENS, 1)[:, None, None].to(device, dtype),
            scales.view(-1, 1, 1, 1).to(device, dtype),
            adapter.layers,
        )

    def _read(self, file: Path, sha256: str) -> _ImageAdapter:
        name = f"the IP-Adapter {sha256[:12]}"
        if file.stat().st_size > _MOST_BYTES:
            raise Invalid(f"{name} is larger than {_MOST_BYTES} bytes: an IP-Adapter is not")
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise Unavailable(f"{name} was replaced while it was read: try again")
        try:
            held = load(content)
        except (SafetensorError, ValueError) as error:
            raise Invalid(f"{name} is no safetensors file: put the right file back") from error
        if not all(tensor.is_floating_point() and tensor.isfinite().all() for tensor in held.values()):
            raise Invalid(f"{name} has weights that are no numbers: put the right file back")
        projection = _part(held, "image_proj.")
        if projection.keys() != _PROJECTION:
            raise Invalid(
                f"{name} is no plain IP-Adapter (`image_proj.proj` and `image_proj.norm`): Plus, Full, FaceID and other"
                " kinds are not rendered"
            )
        return _ImageAdapter(
            name,
            projection["proj.weight"].shape[-1],
            self._projection(projection, name),
            self._layers(_part(held, "ip_adapter."), name),
        )

    def _projection(self, weights: dict[str, torch.Tensor], name: str) -> ImageProjection:
        texts = int(self._model.pipeline.unet.config.cross_attention_dim)
        width = weights["proj.weight"].shape[-1]
        made = ImageProjection(width, texts, TOKENS)
        try:
            made.load_state_dict(
                {key.replace("proj", "image_embeds"): weight.float() for key, weight in weights.items()}
            )
        except RuntimeError as error:
            raise Invalid(
                f"{name} is for another model: its pictures are not as wide as the texts here"
            ) from error
        return made.to(self._model.device, self._model.dtype).eval().requires_grad_(False)

    def _layers(self, weights: dict[str, torch.Tensor], name: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
        layers = text_layers(self._model.pipeline.unet)
        # Layers that attend to the picture itself lie between: odd numbers only.
        named = [
            tuple(f"{2 * place + 1}.to_{part}_ip.weight" for part in "kv") for place in range(len(layers))
        ]
        if weights.keys() != {key for pair in named for key in pair}:
            raise Invalid(
                f"{name} is for another model: this one has {len(layers)} layers that attend to texts"
            )
        for layer, pair in zip(layers, named, strict=True):
            if any(weights[key].shape != layer.to_k.weight.shape for key in pair):
                raise Invalid(f"{name} is for another model: {pair[0]} has another size")
        return [(self._placed(weights[key]), self._placed(weights[value])) for key, value in named]

    def _placed(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.to(self._model.device, self._model.dtype)


def without_pictures(prompts: Sequence[AppliedImagePrompt]) -> list[AppliedImagePrompt]:
    """What the branch without guidance sees in place of pictures: embeddings of zeros, as in diffusers."""
    return [prompt._replace(embedding=bytes(len(prompt.embedding))) for prompt in prompts]


def _numbers(embedding: bytes) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.frombuffer(embedding, "<f4").astype(np.float32)


def _part(held: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in held.items() if key.startswith(prefix)}
