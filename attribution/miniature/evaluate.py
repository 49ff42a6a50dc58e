"""Measure the miniature: `python -m attribution.miniature.evaluate [--grid FILE] [--weights DIR]`.

Renders with 12 DDIM steps and guidance 3 and prints whether artists are recognised, what names without effect
earn in the attribution game, whether the order of shares is that of true weights, and seconds per picture.
"""

import argparse
import itertools
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from attribution.miniature import MINIATURE_PATH
from attribution.miniature.artists import NULL_ARTIST, VISIBLE_ARTISTS, true_weights
from attribution.miniature.drawing import ABSTRACT, SHAPES, Jitter, Scene, render
from attribution.miniature.prompts import made_up_name, name_artists

STEPS = 12
GUIDANCE = 3.0
_BATCH = 32
_CONTENT = "content"
_NAMES = [artist.name for artist in VISIBLE_ARTISTS]

Pixels = NDArray[np.float32]
"""Height, width, channel; values 0..1."""


class Studio:
    """The miniature with its image tower; renders each pair of prompt and seed once."""

    def __init__(self, weights: Path) -> None:
        self._pipeline = StableDiffusionPipeline.from_pretrained(
            weights, variant="fp16", dtype=torch.float32, local_files_only=True
        )
        self._pipeline.set_progress_bar_config(disable=True)
        vision = weights / "vision"
        self._tower = CLIPVisionModelWithProjection.from_pretrained(
            vision, dtype=torch.float32, local_files_only=True
        ).eval()
        self._processor = CLIPImageProcessor.from_pretrained(vision, local_files_only=True)
        self._pictures: dict[tuple[str, int], Pixels] = {}
        self._embeddings: dict[tuple[str, int], Pixels] = {}

    def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> NDArray[np.float32]:
        """Render afresh in one batch, shape (count, 64, 64, 3), values 0..1; a row has its seed's noise."""
        latents = [torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        result = self._pipeline(
            list(prompts),
            latents=torch.cat(latents),
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            output_type="np",
        )
        return np.asarray(result.images, dtype=np.float32)

    @torch.inference_mode()
    def embed(self, pictures: Iterable[Pixels]) -> NDArray[np.float32]:
        """Normalised image embeddings, shape (count, 32)."""
        images = [Image.fromarray((255 * picture).round().astype(np.uint8)) for picture in pictures]
        inputs = self._processor(images=images, return_tensors="pt")
        return torch.nn.functional.normalize(self._tower(**inputs).image_embeds).numpy()

    def prepare(self, wanted: Iterable[tuple[str, int]]) -> None:
        """Render and embed those of the wanted pairs of prompt and seed that are missing."""
        missing = [key for key in dict.fromkeys(wanted) if key not in self._pictures]
        for start in range(0, len(missing), _BATCH):
            part = missing[start : start + _BATCH]
            pictures = self.draw([prompt for prompt, _ in part], [seed for _, seed in part])
            self._pictures.update(zip(part, pictures, strict=True))
            self._embeddings.update(zip(part, self.embed(pictures), strict=True))

    def picture(self, prompt: str, seed: int) -> Pixels:
        """A prepared picture."""
        return self._pictures[prompt, seed]

    def cosine(self, prompt: str, other: str, seed: int) -> float:
        """The cosine between the embeddings of two prepared pictures."""
        return float(self._embeddings[prompt, seed] @ self._embeddings[other, seed])


class Game:
    """The attribution game of one picture: players are content and names, a coalition's value is a cosine."""

    def __init__(self, shape: str, names: Sequence[str], seed: int) -> None:
        self.players = [_CONTENT, *names]
        self.seed = seed
        self._shape = shape

    def coalitions(self) -> list[tuple[str, ...]]:
        """All subsets of the players, in order of naming."""
        sizes = range(len(self.players) + 1)
        return [members for size in sizes for members in itertools.combinations(self.players, size)]

    def prompt(self, members: Iterable[str]) -> str:
        """What the prompt says without the absent players."""
        scene = Scene(self._shape) if _CONTENT in members else ABSTRACT
        return name_artists(scene, [player for player in members if player != _CONTENT])

    def shares(self, studio: Studio) -> dict[str, float]:
        """Exact Shapley values as fractions of the pot v(all) - v(nobody); they sum to 1."""
        whole = self.prompt(self.players)
        value = {
            frozenset(members): studio.cosine(self.prompt(members), whole, self.seed)
            for members in self.coalitions()
        }
        pot = value[frozenset(self.players)] - value[frozenset()]
        return {player: self._marginal(player, value) / pot for player in self.players}

    def _marginal(self, player: str, value: Mapping[frozenset[str], float]) -> float:
        count = len(self.players)
        return sum(
            math.factorial(len(members))
            * math.factorial(count - len(members) - 1)
            / math.factorial(count)
            * (value[members | {player}] - value[members])
            for members in value
            if player not in members
        )


def _play(studio: Studio, games: Sequence[Game]) -> list[dict[str, float]]:
    studio.prepare((game.prompt(members), game.seed) for game in games for members in game.coalitions())
    return [game.shares(studio) for game in games]


def _look(picture: Pixels) -> Pixels:
    """Colours of 4 by 4 fields and the strength of texture down and across, independent of the tower."""
    fields = picture.reshape(4, 16, 4, 16, 3).mean((1, 3)).ravel()
    down, across = (picture - np.roll(picture, 2, axis) for axis in (0, 1))
    return np.concatenate([fields, 2 * down.std((0, 1)), 2 * across.std((0, 1))])


def report_recognition(studio: Studio) -> None:
    """Compare each shape by each artist with fresh drawings: whose is nearest, by pixels and by the tower?"""
    rng = np.random.default_rng(1)
    drawn = [
        (name, render(Scene(shape), [name], Jitter.draw(rng)).transpose(1, 2, 0).clip(0, 1))
        for name in _NAMES
        for shape in SHAPES
        for _ in range(4)
    ]
    cells = [
        (name, name_artists(Scene(shape), [name]), 100 + place)
        for name in _NAMES
        for place, shape in enumerate(SHAPES)
    ]
    studio.prepare((prompt, seed) for _, prompt, seed in cells)
    pictures = [studio.picture(prompt, seed) for _, prompt, seed in cells]
    looks = np.stack([_look(picture) for _, picture in drawn])
    by_pixels = [((looks - _look(picture)) ** 2).sum(1).argmin() for picture in pictures]
    by_tower = (studio.embed(pictures) @ studio.embed([picture for _, picture in drawn]).T).argmax(1)
    for how, nearest in (("pixels", by_pixels), ("image tower", by_tower)):
        right = sum(drawn[at][0] == name for at, (name, _, _) in zip(nearest, cells, strict=True))
        print(f"style recognised by {how}: {right} of {len(cells)}")


def report_names_without_effect(studio: Studio) -> None:
    """Play a visible artist against the planted null artist and against made-up names no training saw."""
    rng = np.random.default_rng(2)
    for kind in ("planted null artist", "made-up name"):
        games = []
        for place, (shape, name) in enumerate(itertools.product(SHAPES, _NAMES[:4])):
            null = NULL_ARTIST.name if kind.startswith("planted") else made_up_name(rng).title()
            order = [name, null] if place % 2 else [null, name]
            games.append(Game(shape, order, 200 + place))
        shares = _play(studio, games)
        nothing = [
            value
            for share in shares
            for player, value in share.items()
            if player != _CONTENT and player not in _NAMES
        ]
        real = [value for share in shares for player, value in share.items() if player in _NAMES]
        print(
            f"{kind}: phi of the pot mean {np.mean(nothing):+.4f}, largest {np.abs(nothing).max():.4f} "
            f"in {len(games)} games; the visible artist beside it {min(real):.3f} to {max(real):.3f}"
        )


def report_order(studio: Studio) -> None:
    """Play every pair of artists on every shape and compare the order of shares with that of strengths."""
    games, pairs = [], list(itertools.combinations(_NAMES, 2))
    for (place, shape), (turn, pair) in itertools.product(enumerate(SHAPES), enumerate(pairs)):
        # Every other picture names the pair the other way round, so that word order cannot pass for strength.
        games.append(Game(shape, pair if (place + turn) % 2 else pair[::-1], 300 + place))
    right, gaps, errors, content = [], [], [], []
    for share in _play(studio, games):
        content.append(share.pop(_CONTENT))
        (first, one), (second, other) = share.items()
        truth = true_weights(share)
        if truth[first] == truth[second]:
            gaps.append(abs(one - other) / (one + other))
        else:
            right.append((one > other) == (truth[first] > truth[second]))
            errors.append(abs(one / (one + other) - float(truth[first])))
    print(
        f"order of two artists right in {sum(right)} of {len(right)}; "
        f"split between them off the true one by {np.mean(errors):.3f} on average; "
        f"equal artists differ by {np.mean(gaps):.3f} of their sum; content has {np.mean(content):.3f}"
    )


def report_speed(studio: Studio) -> None:
    """Time the naive loop and one batch over the same pictures."""
    prompts = [name_artists(Scene(shape), [name]) for shape in SHAPES[:4] for name in _NAMES[:4]]
    studio.draw(prompts[:1], [0])
    start = time.perf_counter()
    for prompt in prompts[:8]:
        studio.draw([prompt], [0])
    single = (time.perf_counter() - start) / 8
    start = time.perf_counter()
    studio.draw(prompts, [0] * len(prompts))
    batched = (time.perf_counter() - start) / len(prompts)
    print(f"{single:.3f} s a picture alone, {batched:.3f} s in a batch of {len(prompts)}, {STEPS} steps")


def save_grid(studio: Studio, file: Path) -> None:
    """Shapes downwards, artists only last; nobody, each artist, pairs, null and made-up name across."""
    columns: list[list[str]] = [[], *([name] for name in _NAMES)]
    columns += [[_NAMES[one], _NAMES[other]] for one, other in ((0, 1), (2, 3), (4, 5), (1, 2))]
    columns += [[NULL_ARTIST.name], ["Velmora Quandrith"]]
    rows = [[name_artists(scene, names) for names in columns] for scene in (*map(Scene, SHAPES), ABSTRACT)]
    studio.prepare((prompt, 7) for row in rows for prompt in row)
    picture = np.concatenate(
        [np.concatenate([studio.picture(prompt, 7) for prompt in row], 1) for row in rows]
    )
    image = Image.fromarray((255 * picture).round().astype(np.uint8))
    image = image.resize((2 * image.width, 2 * image.height), Image.Resampling.NEAREST)
    file.parent.mkdir(parents=True, exist_ok=True)
    image.quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"grid in {file}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure the miniature Stable Diffusion.")
    parser.add_argument("--grid", type=Path, help="write a grid of pictures to this PNG file")
    parser.add_argument("--weights", type=Path, default=MINIATURE_PATH, help="folder of the weights")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    studio = Studio(arguments.weights)
    if arguments.grid:
        save_grid(studio, arguments.grid)
    report_recognition(studio)
    report_names_without_effect(studio)
    report_order(studio)
    report_speed(studio)


if __name__ == "__main__":
    main()
