"""A method version: the whole convention of an attribution as one frozen document, and its hash.

Whatever changes a share is in here, so that a share names the document it follows from. A new version never
overwrites an old result.
"""

import hashlib
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Self

import rfc8785

from attribution.characteristic import CHARACTERISTIC_FUNCTIONS, LOGGED_IMAGE_COSINE, UNIT
from attribution.pipeline import Model
from attribution.shapley import Baseline
from database.errors import Invalid

GAME = "prompt-deletion-1"
"""Version of what absence does to a prompt (`attribution.game`) and of how prompts are read."""

MINIATURE_STEPS = 12
MINIATURE_GUIDANCE = 3.0
"""What the miniature's pictures are made with unless somebody asks for something else: DDIM, steps and guidance."""


_SMALL = 50_000_000
"""Parameters of a UNet below which it is no full-size model."""


@dataclass(frozen=True)
class MethodVersion:
    """Every number is an integer: values and tolerances are in units of 10^-9 of v."""

    name: str
    characteristic_function: str
    """Name in `attribution.characteristic`."""
    embedding_sha256: str
    """Hash of the image tower and its preprocessing, hexadecimal."""
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
    """K: seeds rendered; the shares paid are the logged one's."""
    maximum_exact_players: int
    """Up to so many players all 2^n coalitions are rendered."""
    placebo_names: int
    """Made-up names behind each placebo level."""
    placebo_quantile_permille: int
    """The placebo threshold's quantile, in thousandths."""
    verify_tolerance: int
    """By how much a value rendered again may differ, on the same kind of device."""
    game: str = GAME

    @cached_property
    def document(self) -> dict[str, Any]:
        """What is hashed and stored."""
        return {**asdict(self), "buckets": list(self.buckets), "format": "method-1"}

    @cached_property
    def canonical(self) -> bytes:
        """The document as RFC 8785 canonical JSON."""
        return rfc8785.dumps(self.document)

    @cached_property
    def sha256(self) -> bytes:
        """SHA-256 of the canonical document: the identity of this version."""
        return hashlib.sha256(self.canonical).digest()

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The version that a stored document describes.

        Raises:
            Invalid: it is no document of this format, or names a convention this release does not know.
        """
        given = dict(document)
        if given.pop("format", None) != "method-1" or given.keys() != {field.name for field in fields(cls)}:
            raise Invalid(
                "The method version is not of this release's format: attribute with a newer release."
            )
        method = cls(**{**given, "buckets": tuple(given["buckets"])})
        if method.characteristic_function not in CHARACTERISTIC_FUNCTIONS or method.game != GAME:
            raise Invalid(
                f"This release knows neither game {method.game!r} with {method.characteristic_function!r}: "
                "attribute with the release that recorded the method version."
            )
        Baseline(method.baseline)
        return method


def default_method(model: Model) -> MethodVersion:
    """The method version that a fresh installation attributes with on this model: exact, steps as logged."""
    on_cpu = model.device.type == "cpu"
    small = sum(parameter.numel() for parameter in model.pipeline.unet.parameters()) < _SMALL
    return MethodVersion(
        name="exact-1",
        characteristic_function=LOGGED_IMAGE_COSINE,
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
        maximum_exact_players=8,
        placebo_names=40,
        placebo_quantile_permille=975,
        verify_tolerance=UNIT // 100_000 if on_cpu else UNIT // 1000,
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
