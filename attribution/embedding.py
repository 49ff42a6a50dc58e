"""Embeddings of pictures: what a characteristic function compares.

The image tower of a CLIP is the default. But a CLIP conditions Stable Diffusion, and a judge who also prompted is a
partial one: beside it stand a descriptor of colour, layout and texture that nobody trained, and DINOv2, which never
saw a word.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import rfc8785
import torch
from numpy.typing import NDArray
from transformers import Dinov2Model

from attribution.pipeline import Model, Preprocessing, embedding_digest, read_preprocessing
from attribution.render import encoded_together
from database.errors import Invalid, NotFound
from database.settings import get_settings

Embedding = NDArray[np.float64]
"""One picture's embedding, L2-normalised, shape (width,)."""

CLIP = "clip"
DESCRIPTOR = "descriptor-1"
DINOV2 = "dinov2"
EMBEDDINGS = (CLIP, DESCRIPTOR, DINOV2)
"""The names that a method version may give."""


class PictureEmbedder(Protocol):
    """Turns pictures into vectors; which one is in the method version, by name and hash."""

    @property
    def sha256(self) -> bytes:
        """Hash of everything that an embedding depends on besides the picture."""
        ...

    def embed(self, pixels: torch.Tensor) -> list[Embedding]:
        """Embeddings of uint8 pictures, shape (pictures, height, width, 3), on any device."""
        ...


class TowerEmbedder:
    """Embeds pictures with a vision transformer, always as many in one forward.

    Args:
        forward: from preprocessed pictures, shape (pictures, 3, height, width), to vectors, shape (pictures, width).
        preprocessing: what the tower wants done to a picture first.
        model: whose device, precision and batch are used.
        sha256: hash of the tower and its preprocessing.
    """

    def __init__(
        self,
        forward: Callable[[torch.Tensor], torch.Tensor],
        preprocessing: Preprocessing,
        model: Model,
        sha256: bytes,
    ) -> None:
        self._forward = forward
        self._given = preprocessing
        self._model = model
        self._together = encoded_together(model)
        self._mean = torch.tensor(preprocessing.mean, device=model.device).view(1, 3, 1, 1)
        self._deviation = torch.tensor(preprocessing.deviation, device=model.device).view(1, 3, 1, 1)
        self.sha256 = sha256

    def embed(self, pixels: torch.Tensor) -> list[Embedding]:
        """Embeddings of uint8 pictures, shape (pictures, height, width, 3), on any device."""
        vectors = self.vectors(pixels).to(torch.float64).numpy()
        return [vector / np.linalg.norm(vector) for vector in vectors]

    @torch.inference_mode()
    def vectors(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the tower gives for such pictures, shape (pictures, width), fp32 on the CPU, not normalised."""
        found = []
        for start in range(0, len(pixels), self._together):
            chunk = pixels[start : start + self._together].to(self._model.device).permute(0, 3, 1, 2)
            padded = torch.cat([chunk, chunk[:1].expand(self._together - len(chunk), -1, -1, -1)])
            found.append(
                self._forward(self.preprocess(padded).to(self._model.dtype))[: len(chunk)].cpu().float()
            )
        return torch.cat(found)

    def preprocess(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the tower's image processor does: shortest edge, centre crop, normalisation.

        Takes uint8 of shape (pictures, 3, height, width), gives fp32.
        """
        given = self._given
        images = pixels.to(torch.float32) / 255
        height, width = images.shape[-2:]
        if min(height, width) != given.edge:
            scale = given.edge / min(height, width)
            size = (max(given.edge, int(height * scale)), max(given.edge, int(width * scale)))
            images = torch.nn.functional.interpolate(
                images, size=size, mode="bicubic", antialias=True, align_corners=False
            ).clamp(0, 1)
        height, width = images.shape[-2:]
        top, left = (height - given.crop[0]) // 2, (width - given.crop[1]) // 2
        images = images[..., top : top + given.crop[0], left : left + given.crop[1]]
        return (images - self._mean) / self._deviation


class DescriptorEmbedder:
    """Colour, layout, texture and contrast of a picture as plain statistics: no training, no weights, no text.

    Four blocks, each of norm 1, so that a cosine of two descriptors is the mean of four:

    - colour: square roots of the histogram of RGB in 4 x 4 x 4 cells;
    - layout: means of red, green and blue, less a middle grey, in a grid of 4 x 4 fields;
    - texture: gradients of brightness at 4 scales, each half the last, as square roots of a histogram of 8
      orientations weighted by magnitude;
    - contrast: mean magnitude of that gradient, and deviation of red, green and blue, at those scales.

    In double precision on the CPU: the same on every machine to about 10^-12.
    """

    CELLS = 4
    FIELDS = 4
    SCALES = 4
    ORIENTATIONS = 8

    sha256 = hashlib.sha256(
        rfc8785.dumps(
            {
                "embedding": DESCRIPTOR,
                "cells": CELLS,
                "fields": FIELDS,
                "scales": SCALES,
                "orientations": ORIENTATIONS,
                "blocks": ["colour", "layout", "texture", "contrast"],
            }
        )
    ).digest()

    def embed(self, pixels: torch.Tensor) -> list[Embedding]:
        """Embeddings of uint8 pictures, shape (pictures, height, width, 3), on any device.

        Raises:
            Invalid: the pictures are smaller than the coarsest scale can be.
        """
        least = 2**self.SCALES
        if min(pixels.shape[1:3]) < least:
            raise Invalid(f"Pictures of less than {least} by {least} pixels have no {DESCRIPTOR} embedding.")
        return [self._describe(picture) for picture in pixels.cpu().numpy()]

    def _describe(self, picture: NDArray[np.uint8]) -> Embedding:
        values = picture.astype(np.float64) / 255
        texture: list[NDArray[np.float64]] = []
        contrast: list[float] = []
        level = values
        for _ in range(self.SCALES):
            down, across = np.gradient(level @ np.array([0.299, 0.587, 0.114]))
            magnitude = np.hypot(down, across)
            # A stroke has no direction: orientations repeat after half a turn.
            turn = np.mod(np.arctan2(down, across), np.pi) / np.pi * self.ORIENTATIONS
            bins = np.minimum(turn.astype(np.int64), self.ORIENTATIONS - 1)
            histogram = np.bincount(bins.ravel(), magnitude.ravel(), self.ORIENTATIONS)
            texture.append(np.sqrt(histogram / magnitude.size))
            contrast += [float(magnitude.mean()), *map(float, level.std(axis=(0, 1)))]
            height, width = (side // 2 * 2 for side in level.shape[:2])
            level = level[:height, :width].reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))
        blocks = (self._colour(picture), self._layout(values), np.concatenate(texture), np.array(contrast))
        return np.concatenate([_unit(block) for block in blocks]) / np.sqrt(len(blocks))

    def _colour(self, picture: NDArray[np.uint8]) -> NDArray[np.float64]:
        cells = (picture.astype(np.int64) * self.CELLS // 256) @ np.array([self.CELLS**2, self.CELLS, 1])
        return np.sqrt(np.bincount(cells.ravel(), minlength=self.CELLS**3))

    def _layout(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        means = [
            field.mean(axis=(0, 1))
            for row in np.array_split(values, self.FIELDS)
            for field in np.array_split(row, self.FIELDS, axis=1)
        ]
        return np.concatenate(means) - 0.5


def _unit(block: NDArray[np.float64]) -> NDArray[np.float64]:
    """The block at norm 1; one of zeros, as the texture of a plain picture, as an even one."""
    norm = float(np.linalg.norm(block))
    return block / norm if norm > 0 else np.full_like(block, len(block) ** -0.5)


def make_embedder(name: str, model: Model) -> PictureEmbedder:
    """The embedder of that name, beside this model.

    Raises:
        NotFound: there is none of that name, or its weights are not configured.
        Invalid: its weights cannot be loaded.
    """
    if name == CLIP:
        return TowerEmbedder(
            lambda values: model.tower(pixel_values=values).image_embeds,
            model.preprocessing,
            model,
            model.embedding_sha256,
        )
    if name == DESCRIPTOR:
        return DescriptorEmbedder()
    if name == DINOV2:
        return _dinov2(model)
    raise NotFound(f"There is no embedding {name!r}; these are known: {', '.join(EMBEDDINGS)}.")


def _dinov2_folder() -> Path:
    configured = get_settings().royalty_dinov2
    if configured is None or not configured.is_dir():
        raise NotFound(
            "The embedding dinov2 needs its weights: set ROYALTY_DINOV2 to a folder with a DINOv2 model, such as"
            " facebook/dinov2-base downloaded."
        )
    return configured


def _dinov2(model: Model) -> PictureEmbedder:
    folder = _dinov2_folder()
    try:
        tower = Dinov2Model.from_pretrained(
            folder, dtype=model.dtype, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise Invalid(f"{folder} holds no DINOv2 model: {str(error).splitlines()[0]}") from error
    tower = tower.to(model.device).eval().requires_grad_(False)
    return TowerEmbedder(
        lambda values: tower(pixel_values=values).pooler_output,
        read_preprocessing(folder),
        model,
        embedding_digest(folder),
    )


def embedding_sha256(name: str, model: Model) -> bytes:
    """The hash by which a method version knows an embedding; loads nothing.

    Raises:
        NotFound: there is none of that name, or its weights are not configured.
    """
    if name == DINOV2:
        return embedding_digest(_dinov2_folder())
    return make_embedder(name, model).sha256
