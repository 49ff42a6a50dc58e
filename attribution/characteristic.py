"""The value of a coalition: embeddings of pictures, and the functions that turn them into integers.

Everything after v(S) is exact; here, and only here, floating point is rounded, to units of 10^-9.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import torch
from numpy.typing import NDArray

from attribution.pipeline import Model
from attribution.render import BrokenPictures, RenderEngine, RenderRequest, encoded_together, to_pixels
from database.errors import NotFound

UNIT = 1_000_000_000
"""v(S) is an integer of this many parts."""

Embedding = NDArray[np.float64]
"""One picture's embedding, L2-normalised, shape (width,)."""

CharacteristicFunction = Callable[[Sequence[Embedding]], list[int]]
"""From the embeddings of all coalitions' pictures, by bitmask, to their values in units of 10^-9."""

LOGGED_IMAGE_COSINE = "logged-image-cosine"
"""v(S) = cos(e(x_S), e(x_N)): how near the picture of a coalition is to the picture of everybody."""

_MEASUREMENTS_KEPT = 4096


def cosine(a: Embedding, b: Embedding) -> int:
    """Cosine of two normalised embeddings in units of 10^-9; exactly 10^9 of an embedding with itself."""
    return round(float(np.dot(a, b)) * UNIT)


def logged_image_cosine(embeddings: Sequence[Embedding]) -> list[int]:
    """The default characteristic function; the last picture is everybody's."""
    return [cosine(embedding, embeddings[-1]) for embedding in embeddings]


CHARACTERISTIC_FUNCTIONS: dict[str, CharacteristicFunction] = {LOGGED_IMAGE_COSINE: logged_image_cosine}
"""By the name that a method version gives; another reading of v(S) is one more entry."""


def characteristic_function(name: str) -> CharacteristicFunction:
    """The characteristic function of that name.

    Raises:
        NotFound: there is none.
    """
    try:
        return CHARACTERISTIC_FUNCTIONS[name]
    except KeyError:
        known = ", ".join(sorted(CHARACTERISTIC_FUNCTIONS))
        raise NotFound(f"There is no characteristic function {name!r}; these are known: {known}.") from None


class Embedder:
    """Embeds pictures with a model's image tower, always as many in one forward."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._together = encoded_together(model)
        given = model.preprocessing
        self._mean = torch.tensor(given.mean, device=model.device).view(1, 3, 1, 1)
        self._deviation = torch.tensor(given.deviation, device=model.device).view(1, 3, 1, 1)

    @torch.inference_mode()
    def embed(self, pixels: torch.Tensor) -> list[Embedding]:
        """Embeddings of uint8 pictures, shape (pictures, height, width, 3), on any device."""
        found: list[Embedding] = []
        for start in range(0, len(pixels), self._together):
            chunk = pixels[start : start + self._together].to(self._model.device).permute(0, 3, 1, 2)
            padded = torch.cat([chunk, chunk[:1].expand(self._together - len(chunk), -1, -1, -1)])
            values = self.preprocess(padded).to(self._model.dtype)
            vectors = self._model.tower(pixel_values=values).image_embeds[: len(chunk)]
            for vector in vectors.cpu().to(torch.float64).numpy():
                found.append(vector / np.linalg.norm(vector))
        return found

    def preprocess(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the tower's image processor does: shortest edge, centre crop, normalisation.

        Takes uint8 of shape (pictures, 3, height, width), gives fp32.
        """
        given = self._model.preprocessing
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

    def embed_picture(self, picture: NDArray[np.uint8]) -> Embedding:
        """The embedding of one picture, shape (height, width, 3)."""
        return self.embed(torch.from_numpy(picture.copy())[None])[0]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is kept of one rendered picture."""

    embedding: Embedding
    picture_sha256: bytes
    """SHA-256 of the picture's uint8 RGB bytes, row by row."""


class Measurer:
    """Renders requests and embeds their pictures on the device; what was measured before is remembered."""

    def __init__(self, engine: RenderEngine) -> None:
        self.engine = engine
        self.embedder = Embedder(engine.model)
        self._known: OrderedDict[bytes, Measurement] = OrderedDict()

    def measure(
        self, requests: Sequence[RenderRequest], progress: Callable[[int], None] | None = None
    ) -> list[Measurement]:
        """One measurement per request, in order.

        Args:
            requests: Any number; those with equal keys are rendered once.
            progress: Called with the number of pictures rendered since the last call.

        Raises:
            Invalid: a request cannot be rendered.
            BrokenPictures: some pictures are not finite; its indices are those of `requests`.
        """
        keys = [self.engine.key(request) for request in requests]
        found = {key: self._known[key] for key in keys if key in self._known}
        missing = [place for place, key in enumerate(keys) if key not in found]
        try:
            for batch, images in self.engine.batches([requests[place] for place in missing]):
                pixels = to_pixels(images)
                rows = pixels.cpu().numpy()
                for indices, embedding, picture in zip(batch, self.embedder.embed(pixels), rows, strict=True):
                    key = keys[missing[indices[0]]]
                    found[key] = self._known[key] = Measurement(embedding, sha256(picture.tobytes()).digest())
                if progress is not None:
                    progress(len(batch))
        except BrokenPictures as broken:
            raise BrokenPictures([missing[index] for index in broken.indices]) from None
        while len(self._known) > _MEASUREMENTS_KEPT:
            self._known.popitem(last=False)
        return [found[key] for key in keys]
