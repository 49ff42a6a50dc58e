"""Why equal artists are not paid equally: python -m benchmarks.validity.styles.

Reads off the image tower how much of each style is in pictures by two artists of one strength, drawn and generated,
with and without guidance, and plays their games.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from attribution.characteristic import UNIT, Measurer
from attribution.game import build_game
from attribution.miniature.artists import VISIBLE_ARTISTS
from attribution.miniature.calibrate import usual_request
from attribution.miniature.drawing import SHAPES, Jitter, Scene, render
from attribution.miniature.prompts import name_artists
from attribution.miniature.vision import read_styles
from attribution.name_index import NameIndex
from attribution.pipeline import Model, load_model
from attribution.placebo import BareArtist
from attribution.render import RenderEngine, to_pixels
from attribution.shapley import shapley_values

_NAMES = [artist.name for artist in VISIBLE_ARTISTS]
PAIRS = [
    (one.name, other.name)
    for place, one in enumerate(VISIBLE_ARTISTS)
    for other in VISIBLE_ARTISTS[place + 1 :]
    if one.strength == other.strength
]
_SHAPES = SHAPES[:4]
_SEED = 300


@torch.inference_mode()
def style_weights(model: Model, pixels: torch.Tensor, names: Sequence[str]) -> list[float]:
    """The mean weight of each artist's style in pictures, uint8 of shape (count, 64, 64, 3)."""
    values = pixels.permute(0, 3, 1, 2).float() / 255 * 2 - 1
    weights = read_styles(model.tower(pixel_values=values).image_embeds).mean(0)
    return [float(weights[_NAMES.index(name)]) for name in names]


def drawn(names: Sequence[str]) -> torch.Tensor:
    """Pictures as the artists would draw them, uint8 of shape (4, 64, 64, 3)."""
    pictures = np.stack([render(Scene(shape), names, Jitter()) for shape in _SHAPES])
    return to_pixels(torch.from_numpy(pictures).clamp(0, 1))


def generated(model: Model, names: Sequence[str], guidance: float) -> tuple[torch.Tensor, float]:
    """The same as the model makes them; and (first - second) of what both have in their games, mean."""
    measurer = Measurer(RenderEngine(model, bucket=16, threads=1))
    known = NameIndex([BareArtist(name, name) for name in names])
    usual = replace(usual_request(model), guidance=guidance)
    pictures, gaps = [], []
    for place, shape in enumerate(_SHAPES):
        game = build_game(name_artists(Scene(shape), names), known)
        requests = [replace(usual, prompt=prompt, seed=_SEED + place) for prompt in game.prompts]
        embeddings = [found.embedding for found in measurer.measure(requests)]
        values = [round(float(one @ embeddings[-1]) * UNIT) for one in embeddings]
        _, first, second = shapley_values(values, game.players)
        gaps.append(float((first - second) / (first + second)))
        pictures += measurer.engine.render(requests[-1:])
    return torch.from_numpy(np.stack(pictures)), float(np.mean(gaps))


def main() -> None:
    """Print a line for each pair and guidance."""
    torch.set_num_threads(1)
    model = load_model(device="cpu")
    for pair in PAIRS:
        one, other = style_weights(model, drawn(pair), pair)
        print(f"{' and '.join(pair)}, drawn: {one:.2f} and {other:.2f}")
        for guidance in (1.0, 2.0, 3.0):
            pictures, gap = generated(model, pair, guidance)
            one, other = style_weights(model, pictures, pair)
            print(
                f"  guidance {guidance:g}: {one:.2f} and {other:.2f}, (first - second) of both {gap:+.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
