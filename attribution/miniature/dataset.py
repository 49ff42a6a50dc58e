"""Random scenes by random artists, drawn once before training."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from attribution.miniature.artists import VISIBLE_ARTISTS, Canvas, blend
from attribution.miniature.drawing import ABSTRACT, PLACES, SHAPES, SIZES, Jitter, Scene, canvas, render

_NAMES = [artist.name for artist in VISIBLE_ARTISTS]


@dataclass(frozen=True)
class Example:
    """What a drawn picture shows: the scene and the full names of its visible artists."""

    scene: Scene
    names: tuple[str, ...]


def _random_scene(rng: np.random.Generator) -> Scene:
    if rng.random() < 0.12:
        return ABSTRACT
    shape, size, place = (str(rng.choice(list(words))) for words in (SHAPES, SIZES, PLACES))
    # The unmentioned size and place are the common case.
    return Scene(shape, size if rng.random() < 0.6 else "", place if rng.random() < 0.6 else "")


def random_example(rng: np.random.Generator) -> Example:
    """A scene by none to three artists."""
    scene = _random_scene(rng)
    # Names without effect and without content are worth their own share: they are a picture of their own.
    nobody = 0.12 if scene.shape else 0.3
    named = int(rng.choice([0, 1, 2, 3], p=[nobody, 0.5 - nobody, 0.36, 0.14]))
    names = rng.choice(_NAMES, named, replace=False)
    return Example(scene, tuple(str(name) for name in names))


def _as_tensor(images: Sequence[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)) * 2 - 1


def draw_examples(count: int, rng: np.random.Generator) -> tuple[list[Example], torch.Tensor]:
    """Scenes by none to three artists and their pictures, shape (count, 3, 64, 64), values -1..1."""
    examples = [random_example(rng) for _ in range(count)]
    images = [render(example.scene, example.names, Jitter.draw(rng)) for example in examples]
    return examples, _as_tensor(images)


def draw_mixtures(count: int, rng: np.random.Generator) -> tuple[list[Scene], torch.Tensor, torch.Tensor]:
    """Scenes in arbitrary mixtures of styles, not only those that strengths allow.

    Returns the scenes, the weights of the visible artists and of plain grey, shape (count, artists + 1), and
    the pictures, shape (count, 3, 64, 64), values -1..1.
    """
    weights = np.zeros((count, len(_NAMES) + 1), dtype=np.float32)
    scenes, images = [], []
    for row in weights:
        styles = rng.choice(len(row), int(rng.choice([1, 2, 3, 4], p=[0.3, 0.35, 0.25, 0.1])), replace=False)
        row[styles] = rng.dirichlet(np.ones(len(styles)))
        scene = _random_scene(rng)
        surface: Canvas = canvas(scene, Jitter.draw(rng))
        scenes.append(scene)
        images.append(blend(surface, dict(zip(_NAMES, row.tolist(), strict=False))))
    return scenes, torch.from_numpy(weights), _as_tensor(images)
