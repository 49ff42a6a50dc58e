"""The value of a coalition: what its picture is compared with, and how, as an integer.

Everything after v(S) is exact; here, and only here, floating point is rounded, to units of 10^-9.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

import numpy as np
import torch
from transformers import CLIPTextModelWithProjection

from attribution.embedding import CLIP, Embedding, PictureEmbedder, make_embedder
from attribution.pipeline import Model
from attribution.render import BrokenPictures, RenderEngine, RenderRequest, to_pixels
from database.errors import Invalid, NotFound

UNIT = 1_000_000_000
"""v(S) is an integer of this many parts."""

_MEASUREMENTS_KEPT = 4096


def cosine(a: Embedding, b: Embedding) -> int:
    """Cosine of two normalised embeddings in units of 10^-9; exactly 10^9 of an embedding with itself."""
    return round(float(np.dot(a, b)) * UNIT)


def nearness(a: Embedding, b: Embedding) -> int:
    """1 less the Euclidean distance of two normalised embeddings in units of 10^-9, from -10^9 to 10^9."""
    return UNIT - round(float(np.linalg.norm(a - b)) * UNIT)


class Anchor(StrEnum):
    """What the pictures of coalitions are compared with."""

    EVERYBODY = "everybody"
    """x_N: our own picture of the whole canonical prompt."""
    ARTISTS = "artists"
    """The picture of all artists without content: what the names alone make, "art by a and b"."""
    TEXT = "text"
    """The canonical prompt itself, by the text tower of the CLIP whose image tower embeds."""


@dataclass(frozen=True, slots=True)
class CharacteristicFunction:
    """One reading of v(S): an anchor, and how near a picture is to it."""

    anchor: Anchor
    compare: Callable[[Embedding, Embedding], int]

    def anchor_coalition(self, players: int) -> int | None:
        """The coalition whose picture is the anchor; None where the anchor is no picture."""
        everybody = (1 << players) - 1
        return {Anchor.EVERYBODY: everybody, Anchor.ARTISTS: everybody - 1, Anchor.TEXT: None}[self.anchor]

    def __call__(self, embeddings: Sequence[Embedding]) -> list[int]:
        """v(S) of all 2^n coalitions from the embeddings of their pictures, by bitmask, if the anchor is a picture."""
        place = self.anchor_coalition(len(embeddings).bit_length() - 1)
        assert place is not None, "a text is no coalition's picture"
        return [self.compare(embedding, embeddings[place]) for embedding in embeddings]


LOGGED_IMAGE_COSINE = "logged-image-cosine"
"""v(S) = cos(e(x_S), e(x_N)): how near the picture of a coalition is to the picture of everybody."""

CHARACTERISTIC_FUNCTIONS: dict[str, CharacteristicFunction] = {
    LOGGED_IMAGE_COSINE: CharacteristicFunction(Anchor.EVERYBODY, cosine),
    "logged-image-distance": CharacteristicFunction(Anchor.EVERYBODY, nearness),
    "text-cosine": CharacteristicFunction(Anchor.TEXT, cosine),
    "artists-picture-cosine": CharacteristicFunction(Anchor.ARTISTS, cosine),
}
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


def text_fault(model: Model) -> str | None:
    """Why pictures cannot be compared with text by this model's embedding; None: they can."""
    config = CLIPTextModelWithProjection.config_class.get_config_dict(model.embedding_folder)[0]
    if config.get("model_type") != "clip" or "text_config" not in config:
        return (
            "The text anchor needs a CLIP with both towers, and the embedding model of this installation has none for"
            " text: set ROYALTY_EMBEDDING_MODEL to one such as openai/clip-vit-large-patch14."
        )
    known, written = config["text_config"].get("vocab_size", 49408), len(model.pipeline.tokenizer)
    if known != written:
        return (
            f"The text tower of the embedding model knows {known} tokens and the pipeline's tokenizer {written}: the"
            " text anchor needs the CLIP that belongs to the model."
        )
    return None


class TextTower:
    """The text half of the CLIP whose image half embeds pictures: prompts as vectors of the same space.

    Raises:
        Invalid: the embedding model has no text half, or reads other tokens than the pipeline writes.
    """

    def __init__(self, model: Model) -> None:
        fault = text_fault(model)
        if fault is not None:
            raise Invalid(fault)
        tower = CLIPTextModelWithProjection.from_pretrained(
            model.embedding_folder, dtype=model.dtype, local_files_only=True, use_safetensors=True
        )
        self._model = model
        self._tower = tower.to(model.device).eval().requires_grad_(False)

    @torch.inference_mode()
    def embed(self, prompt: str) -> Embedding:
        """The embedding of a prompt, cut to the text window."""
        ids = torch.tensor(self._model.token_ids([prompt]), device=self._model.device)
        vector = self._tower(input_ids=ids).text_embeds[0].cpu().to(torch.float64).numpy()
        return vector / np.linalg.norm(vector)


class Valuer:
    """v(S) by one characteristic function on one model.

    Raises:
        NotFound: there is no characteristic function of that name.
        Invalid: this model's embedding cannot serve it.
    """

    def __init__(self, name: str, model: Model) -> None:
        self._function = characteristic_function(name)
        self._text = TextTower(model) if self._function.anchor is Anchor.TEXT else None

    def always(self, players: int) -> set[int]:
        """Coalitions whose pictures every game takes: nobody's, everybody's and the anchor's."""
        anchor = self._function.anchor_coalition(players)
        return {0, (1 << players) - 1} | ({anchor} if anchor is not None else set())

    def values(self, prompt: str, players: int, embeddings: Mapping[int, Embedding]) -> dict[int, int]:
        """v(S) of the coalitions given, in units of 10^-9.

        Args:
            prompt: the canonical prompt.
            players: of the game, content included.
            embeddings: of coalitions' pictures; those of `always` are among them.
        """
        place = self._function.anchor_coalition(players)
        if place is not None:
            anchor = embeddings[place]
        else:
            assert self._text is not None
            anchor = self._text.embed(prompt)
        return {
            coalition: self._function.compare(embedding, anchor)
            for coalition, embedding in embeddings.items()
        }


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is kept of one rendered picture."""

    embedding: Embedding
    picture_sha256: bytes
    """SHA-256 of the picture's uint8 RGB bytes, row by row."""


class Measurer:
    """Renders requests and embeds their pictures on the device; what was measured before is remembered.

    Args:
        engine: renders.
        embedder: embeds; None takes the CLIP that came with the engine's model.
    """

    def __init__(self, engine: RenderEngine, embedder: PictureEmbedder | None = None) -> None:
        self.engine = engine
        self.embedder = embedder or make_embedder(CLIP, engine.model)
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
