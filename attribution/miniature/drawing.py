"""The content of a picture (shape, size, place) and the renderer that draws it in a mixture of styles."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from attribution.miniature.artists import Canvas, Image, Plane, blend, true_weights

PIXELS = 64
"""Width and height of every picture."""

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")

SIZES = {"small": 0.22, "": 0.31, "big": 0.40}
"""Radius of the shape in canvas widths; the empty word is the size nobody mentions."""

PLACES = {"left": 0.32, "": 0.5, "right": 0.68}
"""Horizontal centre of the shape in canvas widths; the empty word is the middle."""

BLANK_COLOUR = (0.60, 0.52, 0.48)
"""The flat picture of the empty prompt, near the mean of all others so that guidance has a neutral origin."""

_SOFTNESS = 0.7 / PIXELS
_AXIS: Plane = ((np.arange(PIXELS) + 0.5) / PIXELS).astype(np.float32)
_X, _Y = np.meshgrid(_AXIS, _AXIS)


@dataclass(frozen=True)
class Scene:
    """What a prompt describes besides its artists; `shape` is empty where the prompt names artists alone."""

    shape: str
    size: str = ""
    place: str = ""


ABSTRACT = Scene("")
"""The canonical form under an artist's style when there is no content: a wavy horizon."""


@dataclass(frozen=True)
class Jitter:
    """What the seed decides: shift of the centre and radius in canvas widths, texture phase in periods."""

    right: float = 0.0
    down: float = 0.0
    grow: float = 0.0
    phase: float = 0.0

    @staticmethod
    def draw(rng: np.random.Generator) -> "Jitter":
        """Small enough that the prompt, not the seed, decides what is seen."""
        right, down, grow, phase = rng.uniform(-1, 1, 4)
        return Jitter(0.03 * right, 0.03 * down, 0.015 * grow, 0.08 * phase)


def _distance(shape: str, x: Plane, y: Plane, radius: float) -> Plane:
    """Roughly the signed distance to the outline in canvas widths, negative inside, shape (height, width)."""
    away = np.hypot(x, y)
    match shape:
        case "circle":
            distance = away - radius
        case "square":
            distance = np.maximum(abs(x), abs(y)) - 0.86 * radius
        case "triangle":
            distance = np.maximum(0.88 * abs(x) - 0.47 * y - 0.40 * radius, y - 0.70 * radius)
        case "star":
            distance = away - radius * (0.72 + 0.38 * np.cos(5 * np.arctan2(x, -y)))
        case "cross":
            upright = np.maximum(abs(x) - 0.34 * radius, abs(y) - radius)
            distance = np.minimum(upright, np.maximum(abs(x) - radius, abs(y) - 0.34 * radius))
        case "ring":
            distance = abs(away - 0.76 * radius) - 0.27 * radius
        case _:
            raise ValueError(f"unknown shape {shape!r}")
    return np.asarray(distance, dtype=np.float32)


def canvas(scene: Scene, jitter: Jitter) -> Canvas:
    """The figure of the scene, ready to be painted."""
    if scene.shape:
        x = _X - PLACES[scene.place] - jitter.right
        y = _Y - 0.5 - jitter.down
        distance = _distance(scene.shape, x, y, SIZES[scene.size] + jitter.grow)
    else:
        distance = 0.62 + jitter.down + 0.13 * np.sin(2 * np.pi * (_X + jitter.right)) - _Y
    figure = 1 / (1 + np.exp(np.clip(distance / _SOFTNESS, -30, 30)))
    return Canvas(_X, _Y, figure.astype(np.float32), jitter.phase)


def render(scene: Scene, artists: Iterable[str], jitter: Jitter) -> Image:
    """The scene by the named artists (full names), each as visible as its strength among them.

    Where neither a shape nor a visible artist is named nothing is drawn, as by the empty prompt: a name without
    effect has none in any company.
    """
    weights = {name: float(weight) for name, weight in true_weights(artists).items() if weight}
    if not scene.shape and not weights:
        return blank()
    return blend(canvas(scene, jitter), weights)


def blank() -> Image:
    """The picture of the empty prompt."""
    colour = np.array(BLANK_COLOUR, dtype=np.float32)[:, None, None]
    return np.broadcast_to(colour, (3, PIXELS, PIXELS)).copy()
