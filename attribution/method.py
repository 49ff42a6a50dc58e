"""A method version: the whole convention of an attribution as one frozen document, and its hash.

Whatever changes a share is in here, so that a share names the document it follows from. A new version never
overwrites an old result.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Self

import rfc8785

from attribution.characteristic import (
    CHARACTERISTIC_FUNCTIONS,
    LOGGED_IMAGE_COSINE,
    UNIT,
    Anchor,
    characteristic_function,
)
from attribution.embedding import CLIP, EMBEDDINGS
from attribution.estimator import Enumeration, Estimator, PairedOrders, SamplingRule
from attribution.pipeline import Model
from attribution.shapley import Baseline
from database.errors import Invalid, NotFound

FORMAT = "method-5"

GAME = "prompt-deletion-2"
"""Version of what absence does to a prompt (`attribution.game`) and of how prompts are read."""

ADAPTERS = "base-weights-1"
"""Version of what absence does to adapters (`attribution.game`, `attribution.adapters`): without its owner the base
weights render, and the bar is a made-up name's in her slot."""

IMAGE_PROMPTS = "slot-dropped-1"
"""Version of what absence does to image prompts (`attribution.game`, `attribution.image_prompts`): without its owner a
picture's tokens are deleted, without any picture an adapter adds nothing; the bar is as for adapters."""

MINIATURE_STEPS = 12
MINIATURE_GUIDANCE = 3.0
"""What the miniature's pictures are made with unless somebody asks for something else: DDIM, steps and guidance."""


_SMALL = 50_000_000
"""Parameters of a UNet below which it is no full-size model."""


_SINCE: Mapping[str, Mapping[str, Any]] = {
    "method-1": {},
    "method-2": {
        "embedding": CLIP,
        "maximum_players": None,
        "pilot_pairs": 2,
        "standard_error": 1,
        "maximum_renders": 0,
        "seeds_permille": 0,
    },
    "method-3": {"recognition": None},
    "method-4": {"adapters": None},
    "method-5": {"image_prompts": None},
}
"""Formats in their order, each with the fields that came with it, and what they say of older documents: such a method
version does what it always did."""

_NOT_OF_PLACEBO = (
    "format name baseline minimum_gap minimum_fidelity seeds seeds_permille maximum_players pilot_pairs standard_error"
    " maximum_renders verify_tolerance recognition adapters image_prompts"
).split()
"""Fields on which no placebo level depends. What is not listed does: a new field asks for a new calibration."""

_OF_RECOGNITION = "recognition embedding embedding_sha256 dtype buckets threads protocol_steps".split()
"""Fields on which it depends whether a name is known."""

MOST_EXACT_PLAYERS = 12
"""Beyond, numerators over n! are more than 8 bytes, and 2^n pictures are no price for an image."""

MOST_PLAYERS = 30
"""A text window of 77 tokens names no more."""


@dataclass(frozen=True, slots=True)
class RecognitionRule:
    """Terms by which a name counts as known to a model (`attribution.recognition`)."""

    made_up_names: int
    probes: int
    """Content prompts, each with its own seed."""
    quantile_permille: int
    """Of the made-up names' movements; a known name's is larger."""
    level_permille: int
    """Of the exact binomial test of classification against chance."""


GATE = "names-1"
"""The rule of fresh installations."""

RECOGNITION_RULES: Mapping[str, RecognitionRule] = {
    GATE: RecognitionRule(made_up_names=40, probes=8, quantile_permille=950, level_permille=10)
}
"""By the names that a method version may give."""


@dataclass(frozen=True)
class MethodVersion:
    """Every number is an integer: values and tolerances are in units of 10^-9 of v."""

    name: str
    characteristic_function: str
    """Name in `attribution.characteristic`."""
    embedding: str
    """Name in `attribution.embedding`."""
    embedding_sha256: str
    """Hash of the embedding, for a tower with its preprocessing, hexadecimal."""
    dtype: str
    """Precision of rendering and embedding."""
    buckets: tuple[int, ...]
    """Samples in every UNet forward; later ones only where memory does not suffice for the first."""
    threads: int
    """CPU threads that render."""
    protocol_steps: int | None
    """Steps that coalitions are rendered with; None: as logged."""
    baseline: str
    """Who gets v({}): `excluded` or `model`."""
    minimum_gap: int
    """An image whose v(N) - v({}) is at most this pays nobody."""
    minimum_fidelity: int | None
    """An image whose logged file is less like our own render pays nobody; None: any fidelity."""
    seeds: int
    """K: seeds rendered of an image of the sample; the shares paid are the logged one's."""
    seeds_permille: int
    """The sample: so many thousandths of images, chosen by hash, are played from K seeds, the others from one."""
    maximum_exact_players: int
    """Up to so many players all 2^n coalitions are rendered."""
    maximum_players: int
    """Up to so many, orders of joining are drawn; images with more wait."""
    pilot_pairs: int
    """Pairs of orders drawn only to find how many are needed."""
    standard_error: int
    """What the largest standard error of a player is to be where orders are drawn."""
    maximum_renders: int
    """Pictures of one image at most where orders are drawn, whatever the standard error then is."""
    placebo_names: int
    """Made-up names behind each placebo level."""
    placebo_quantile_permille: int
    """The placebo threshold's quantile, in thousandths."""
    verify_tolerance: int
    """By how much a value rendered again may differ, on the same kind of device."""
    recognition: str | None
    """Terms by which a name counts as known to the model (`attribution.recognition`); None: every name counts."""
    adapters: str | None
    """What absence does to the adapters that an image was made with; None: such images wait."""
    image_prompts: str | None
    """What absence does to the pictures that an image was made from; None: such images wait."""
    game: str = GAME
    format: str = FORMAT

    @cached_property
    def document(self) -> dict[str, Any]:
        """What is hashed and stored."""
        formats = list(_SINCE)
        later = formats[formats.index(self.format) + 1 :] if self.format in _SINCE else []
        left_out = {field for format in later for field in _SINCE[format]}
        given = {**asdict(self), "buckets": list(self.buckets)}
        return {field: value for field, value in given.items() if field not in left_out}

    @cached_property
    def canonical(self) -> bytes:
        """The document as RFC 8785 canonical JSON."""
        return rfc8785.dumps(self.document)

    @cached_property
    def sha256(self) -> bytes:
        """SHA-256 of the canonical document: the identity of this version."""
        return hashlib.sha256(self.canonical).digest()

    @cached_property
    def placebo_sha256(self) -> bytes:
        """SHA-256 of the part that placebo levels depend on: versions that agree in it have the same levels."""
        part = {name: value for name, value in asdict(self).items() if name not in _NOT_OF_PLACEBO}
        return hashlib.sha256(rfc8785.dumps({**part, "buckets": list(self.buckets)})).digest()

    @cached_property
    def recognition_sha256(self) -> bytes:
        """SHA-256 of the part on which it depends whether a name is known."""
        return hashlib.sha256(
            rfc8785.dumps({name: self.document.get(name) for name in _OF_RECOGNITION})
        ).digest()

    @property
    def sampling(self) -> SamplingRule:
        """How many orders are drawn for games that are not exact."""
        return SamplingRule(self.pilot_pairs, self.standard_error, self.maximum_renders)

    def estimator(self, players: int, image: str, orders: int | None = None) -> Estimator:
        """What finds the Shapley values of an image's game.

        Args:
            players: of the game, content included.
            image: the platform's id of the image, on which draws depend.
            orders: how many are drawn if any are; None: as many as it takes.
        """
        if players <= self.maximum_exact_players:
            return Enumeration(players)
        return PairedOrders(players, self.sampling, self.sha256, image, orders)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The version that a stored document describes.

        Raises:
            Invalid: it is no document of this format, or names a convention this release does not know.
        """
        given = dict(document)
        formats = list(_SINCE)
        if given.get("format") in formats:
            for later in formats[formats.index(given["format"]) + 1 :]:
                given |= _SINCE[later]
            if given["format"] == formats[0]:
                given["maximum_players"] = given.get("maximum_exact_players")
        else:
            given = {}
        if given.keys() != {field.name for field in fields(cls)}:
            raise Invalid(
                "The method version is not of this release's format: attribute with a newer release."
            )
        method = cls(**{**given, "buckets": tuple(given["buckets"])})
        if (
            method.characteristic_function not in CHARACTERISTIC_FUNCTIONS
            or method.embedding not in EMBEDDINGS
            or method.game != GAME
            or not (method.recognition is None or method.recognition in RECOGNITION_RULES)
            or method.adapters not in (None, ADAPTERS)
            or method.image_prompts not in (None, IMAGE_PROMPTS)
        ):
            raise Invalid(
                f"This release does not know game {method.game!r} with {method.characteristic_function!r} on"
                f" {method.embedding!r}, recognition {method.recognition!r}, adapters {method.adapters!r} and image"
                f" prompts {method.image_prompts!r}: attribute with the release that recorded the method version."
            )
        Baseline(method.baseline)
        return method

    def check(self) -> None:
        """Refuse what cannot be carried out.

        Raises:
            NotFound: there is no such characteristic function or embedding; the message has those there are.
            Invalid: a number is out of range, or two do not go together.
        """
        characteristic_function(self.characteristic_function)
        if self.embedding not in EMBEDDINGS:
            raise NotFound(
                f"There is no embedding {self.embedding!r}; these are known: {', '.join(EMBEDDINGS)}."
            )
        if self.recognition is not None and self.recognition not in RECOGNITION_RULES:
            raise NotFound(
                f"There is no recognition {self.recognition!r}; these are known: {', '.join(RECOGNITION_RULES)}."
            )
        if self.adapters not in (None, ADAPTERS):
            raise NotFound(f"There is no treatment of adapters {self.adapters!r}; {ADAPTERS} is known.")
        if self.image_prompts not in (None, IMAGE_PROMPTS):
            raise NotFound(
                f"There is no treatment of image prompts {self.image_prompts!r}; {IMAGE_PROMPTS} is known."
            )
        if self.anchored_in_text and self.embedding != CLIP:
            raise Invalid(f"{self.characteristic_function} needs the embedding {CLIP}: only it reads text.")
        if re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,62}", self.name) is None:
            raise Invalid(
                f"A method version's name is small letters, digits, - and . only, not {self.name!r}."
            )
        if self.baseline not in {baseline.value for baseline in Baseline}:
            raise Invalid(f"baseline is {self.baseline!r}; choose excluded or model")
        for what, value, least, most in self._ranges():
            if not least <= value <= most:
                raise Invalid(f"{what} is {value}; it goes from {least} to {most}")
        if (self.seeds > 1) != (self.seeds_permille > 0):
            raise Invalid(
                f"seeds is {self.seeds} and seeds_permille {self.seeds_permille}: with more than one seed say for how"
                " many thousandths of images, with one seed 0"
            )
        least = self.sampling.least_renders(self.maximum_players)
        if self.maximum_players > self.maximum_exact_players and self.maximum_renders < least:
            raise Invalid(
                f"maximum_renders is {self.maximum_renders}; an estimate for {self.maximum_players} players takes at"
                f" least {least} pictures"
            )

    @property
    def anchored_in_text(self) -> bool:
        """Whether pictures are compared with the prompt itself."""
        return characteristic_function(self.characteristic_function).anchor is Anchor.TEXT

    def _ranges(self) -> list[tuple[str, int, int, int]]:
        return [
            *(("bucket", bucket, 2, 1024) for bucket in self.buckets or (0,)),
            ("threads", self.threads, 1, 1024),
            ("protocol_steps", 1 if self.protocol_steps is None else self.protocol_steps, 1, 1000),
            ("minimum_gap", self.minimum_gap, 0, UNIT),
            ("minimum_fidelity", self.minimum_fidelity or 0, 0, UNIT),
            ("seeds", self.seeds, 1, 64),
            ("seeds_permille", self.seeds_permille, 0, 1000),
            ("maximum_exact_players", self.maximum_exact_players, 2, MOST_EXACT_PLAYERS),
            ("maximum_players", self.maximum_players, self.maximum_exact_players, MOST_PLAYERS),
            ("pilot_pairs", self.pilot_pairs, 2, 1000),
            ("standard_error", self.standard_error, 1, UNIT),
            ("placebo_names", self.placebo_names, 40, 10_000),
            ("placebo_quantile_permille", self.placebo_quantile_permille, 500, 999),
            ("verify_tolerance", self.verify_tolerance, 0, UNIT),
        ]


def default_method(model: Model) -> MethodVersion:
    """What a fresh installation attributes with on this model: steps as logged, exact up to 8 players."""
    on_cpu = model.device.type == "cpu"
    small = sum(parameter.numel() for parameter in model.pipeline.unet.parameters()) < _SMALL
    return MethodVersion(
        name="exact-1",
        characteristic_function=LOGGED_IMAGE_COSINE,
        embedding=CLIP,
        embedding_sha256=model.embedding_sha256.hex(),
        dtype=str(model.dtype).removeprefix("torch."),
        buckets=(64, 32, 16) if not on_cpu else (16,) if small else (8,),
        # Layers as small as the miniature's lose by a second thread; more workers on more cores lose nothing.
        threads=1 if small else 8,
        protocol_steps=None,
        baseline=Baseline.EXCLUDED.value,
        minimum_gap=UNIT // 50,
        minimum_fidelity=UNIT * 95 // 100,
        seeds=1,
        seeds_permille=0,
        maximum_exact_players=8,
        maximum_players=16,
        pilot_pairs=8,
        standard_error=UNIT // 100,
        maximum_renders=1000,
        placebo_names=40,
        placebo_quantile_permille=975,
        verify_tolerance=UNIT // 100_000 if on_cpu else UNIT // 1000,
        recognition=GATE,
        adapters=ADAPTERS,
        image_prompts=IMAGE_PROMPTS,
    )


def quick_method(model: Model) -> MethodVersion:
    """Two steps on one thread: a declared protocol for tests and first looks, at a sixth of the cost."""
    return MethodVersion(
        **{
            **asdict(default_method(model)),
            "name": "quick-1",
            "buckets": (8,),
            "threads": 1,
            "protocol_steps": 2,
            "minimum_fidelity": None,
        }
    )
