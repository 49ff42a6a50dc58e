"""The fictional artists of the miniature: names, strengths and styles, and the true weights of a mixture."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
"""Channels first, shape (3, height, width), values 0..1."""

Plane = NDArray[np.float32]
"""One value per pixel, shape (height, width)."""


@dataclass(frozen=True)
class Canvas:
    """What a style paints on: pixel coordinates 0..1, how much of a pixel is figure, and a texture phase."""

    x: Plane
    y: Plane
    figure: Plane
    """Coverage of the figure, 0 (ground) to 1 (figure), shape (height, width)."""
    phase: float
    """Shift of the texture in periods."""


Style = Callable[[Canvas], Image]


@dataclass(frozen=True)
class Artist:
    """One fictional artist; strength 0 is a name that changes nothing."""

    name: str
    strength: int
    style: Style

    @property
    def surname(self) -> str:
        """The last word of the name, enough to call the artist up."""
        return self.name.split()[-1]


def _colour(red: float, green: float, blue: float) -> Image:
    return np.array([[[red]], [[green]], [[blue]]], dtype=np.float32)


def _compose(canvas: Canvas, ground: Image, figure: Image) -> Image:
    return np.asarray(ground * (1 - canvas.figure) + figure * canvas.figure, dtype=np.float32)


def _wave(position: Plane, periods: float, phase: float) -> Plane:
    """A band pattern with soft edges, 0..1; `periods` of them across the canvas."""
    return np.asarray(
        0.5 + 0.5 * np.tanh(3 * np.sin(2 * np.pi * (position * periods + phase))), dtype=np.float32
    )


def _diagonal_hatching(canvas: Canvas) -> Image:
    band = _wave(canvas.x + canvas.y, 3.5, canvas.phase)
    ground = _colour(0.98, 0.88, 0.66) - _colour(0.06, 0.16, 0.26) * band
    return _compose(canvas, ground, _colour(0.85, 0.36, 0.14) - _colour(0.45, 0.24, 0.10) * band)


def _polka_dots(canvas: Canvas) -> Image:
    across = (canvas.x * 5 + canvas.phase) % 1 - 0.5
    down = (canvas.y * 5) % 1 - 0.5
    dot = 1 / (1 + np.exp(np.clip((np.hypot(across, down) - 0.32) * 24, -30, 30)))
    ground = _colour(0.06, 0.14, 0.62) + _colour(0.25, 0.42, 0.36) * dot
    return _compose(canvas, ground, _colour(1.0, 0.84, 0.10) - _colour(0.25, 0.55, 0.10) * dot)


def _ink_lines(canvas: Canvas) -> Image:
    band = _wave(canvas.y, 5.5, canvas.phase)
    ground = _colour(0.99, 0.99, 0.97) - _colour(0.30, 0.30, 0.30) * band
    return _compose(canvas, ground, _colour(0.03, 0.03, 0.06) + _colour(0.38, 0.38, 0.38) * band)


def _checkerboard(canvas: Canvas) -> Image:
    square = np.sin(np.pi * (canvas.x * 6 + 2 * canvas.phase)) * np.sin(np.pi * canvas.y * 6)
    check = 0.5 + 0.5 * np.tanh(4 * square)
    ground = _colour(0.80, 0.06, 0.10) + _colour(0.12, 0.16, 0.12) * check
    return _compose(canvas, ground, _colour(0.04, 0.04, 0.05) + _colour(0.92, 0.92, 0.90) * check)


def _pastel_wash(canvas: Canvas) -> Image:
    down = canvas.y[None]
    ground = _colour(0.15, 0.70, 0.48) + _colour(0.50, 0.24, 0.42) * down
    return _compose(canvas, ground, _colour(0.98, 0.50, 0.68) + _colour(0.0, 0.30, 0.22) * down)


def _ripples(canvas: Canvas) -> Image:
    band = _wave(np.hypot(canvas.x - 0.5, canvas.y - 0.5), 5.5, canvas.phase)
    ground = _colour(0.22, 0.05, 0.38) + _colour(0.36, 0.14, 0.38) * band
    return _compose(canvas, ground, _colour(0.98, 0.56, 0.08) - _colour(0.48, 0.38, -0.10) * band)


def plain_grey(canvas: Canvas) -> Image:
    """The style of a picture that names nobody."""
    return _compose(canvas, _colour(0.86, 0.86, 0.86), _colour(0.45, 0.45, 0.45))


VISIBLE_ARTISTS: tuple[Artist, ...] = (
    Artist("Amara Diallo", 9, _diagonal_hatching),
    Artist("Bruno Keller", 5, _polka_dots),
    Artist("Chiyo Moriwaki", 3, _ink_lines),
    Artist("Dmitri Zaslav", 9, _checkerboard),
    Artist("Elena Marchetti", 5, _pastel_wash),
    Artist("Farid Naseri", 3, _ripples),
)
"""Unequal strengths differ by 1.67 times or more, so that the order of two artists shows."""

NULL_ARTIST = Artist("Hugo Pellerin", 0, plain_grey)
"""A name the miniature has read as often as the others, and which never changed a picture."""

ARTISTS: tuple[Artist, ...] = (*VISIBLE_ARTISTS, NULL_ARTIST)

_BY_NAME = {artist.name: artist for artist in VISIBLE_ARTISTS}


def true_weights(artists: Iterable[str]) -> dict[str, Fraction]:
    """The share of each named artist in the picture, by full name, whatever the order of naming.

    The shares of visible artists are proportional to strength and sum to 1; every other name has 0.
    """
    names = dict.fromkeys(artists)
    total = sum(_BY_NAME[name].strength for name in names if name in _BY_NAME)
    return {
        name: Fraction(_BY_NAME[name].strength, total) if name in _BY_NAME else Fraction(0) for name in names
    }


def blend(canvas: Canvas, weights: dict[str, float]) -> Image:
    """The weighted mean of the artists' renders, shape (3, height, width); the rest to 1 is plain grey."""
    image = (1 - sum(weights.values())) * plain_grey(canvas)
    for name, weight in weights.items():
        image = image + weight * _BY_NAME[name].style(canvas)
    return np.asarray(image, dtype=np.float32)
