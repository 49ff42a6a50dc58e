"""The true game: train the model again without each set of artists, and draw the same pictures.

python -m benchmarks.validity.retrain [--work DIR] [--minutes N]
python -m benchmarks.validity.retrain [--work DIR] --collect FILE [--sheet FILE]

One base learns content alone. From it every coalition of the four artists is fine-tuned for the same number of steps
on the works of its members (a work by several of them counts only where all are members), with the same random draws,
so that coalitions differ by what they were shown and by nothing else. Everybody's works are learnt once more with other
draws: that is the model whose pictures are attributed, and so no attribution is asked to predict the noise of its own
training. Then the other coalitions once more with those draws: how far they foretell the first is the most that any
attribution could.

Killed and run again it goes on from the last hundred steps. Several processes may work in one folder. What remains is
not weights but, for each picture and coalition, how near the picture is to that of the model which saw everybody.
"""

import argparse
import fcntl
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from numpy.typing import NDArray
from PIL import Image as Picture

from attribution.embedding import CLIP, DESCRIPTOR, make_embedder
from attribution.game import build_game
from attribution.method import MINIATURE_GUIDANCE, MINIATURE_STEPS
from attribution.miniature.autoencoder import encode
from attribution.miniature.calibrate import usual_request
from attribution.miniature.dataset import Example, random_example
from attribution.miniature.drawing import Jitter, Scene, render
from attribution.miniature.generator import BATCH, draw_batch, velocity_error
from attribution.miniature.reading import WIDTH
from attribution.miniature.vision import blank_image
from attribution.name_index import NameIndex
from attribution.pipeline import Model, load_model
from attribution.placebo import BareArtist
from attribution.render import RenderEngine, RenderRequest, to_pixels
from benchmarks.validity.scenes import COALITIONS, EVERYBODY, PLAYERS, Query, members, queries
from benchmarks.validity.true_game import JUDGES, PIXELS, UNIT, write
from database.errors import Invalid

BASE_STEPS = 1000
STEPS = 200
"""Of each coalition's fine-tuning, whatever the number of its works."""
REPLICATES = 2
EXAMPLES = 4000

_BASE_RATE, _RATE = 1.5e-3, 1.2e-3
_EXAMPLES_SEED, _BASE_SEED = 100, 200
_CHECKPOINT_EVERY = 100
_BUCKET = 16
_ON_SHEET = 59
"""Which of the queries: a ring by all four artists."""
_GO_ON = 75
"""Exit status where runs are left: `EX_TEMPFAIL`, try again."""

Pictures = NDArray[np.uint8]
"""Shape (count, 64, 64, 3)."""


@dataclass(frozen=True)
class Works:
    """What there is to learn from: drawn pictures as latents, and what they show."""

    examples: list[Example]
    latents: torch.Tensor
    """Shape (count, 4, 16, 16)."""
    blank: torch.Tensor
    """What the empty prompt shows, shape (4, 16, 16)."""

    def rows(self, coalition: int, draws: np.random.Generator) -> list[int]:
        """One batch of works by members alone, or by nobody.

        The draws are the same for all coalitions, each of which passes over what is not its own.
        """
        shown = set(members(coalition))
        found: list[int] = []
        while len(found) < BATCH:
            drawn = draws.integers(len(self.examples), size=8 * BATCH)
            found += [int(row) for row in drawn if shown.issuperset(self.examples[row].names)]
        return found[:BATCH]


def make_small_unet() -> UNet2DConditionModel:
    """An untrained UNet of the miniature's kind, with cross-attention at the coarse resolution only.

    It takes a third of the time of the shipped one, and is trained from nothing, so that no artist is in it.
    """
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(48, 80),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        norm_num_groups=16,
        attention_head_dim=4,
    )
    return unet.to(memory_format=torch.channels_last)


def draw_works(count: int) -> tuple[list[Example], torch.Tensor]:
    """Shapes without size or place by none to three of the four artists; pictures (count, 3, 64, 64), -1..1."""
    rng = np.random.default_rng(_EXAMPLES_SEED)
    examples: list[Example] = []
    while len(examples) < count:
        example = random_example(rng)
        if set(PLAYERS).issuperset(example.names):
            examples.append(Example(Scene(example.scene.shape), example.names))
    images = [render(example.scene, example.names, Jitter.draw(rng)) for example in examples]
    return examples, torch.from_numpy(np.stack(images)) * 2 - 1


@dataclass(frozen=True)
class Training:
    """One run: the base, or a coalition from it."""

    name: str
    coalition: int
    seed: int
    steps: int
    rate: float
    begins_from: str | None
    """Name of the run whose weights it begins from."""


BASE = Training("base", 0, _BASE_SEED, BASE_STEPS, _BASE_RATE, None)


def trainings(steps: int = STEPS) -> list[Training]:
    """All runs in the order that gives something to look at soonest; the base comes first."""

    def run(coalition: int, replicate: int) -> Training:
        return Training(
            run_name(coalition, replicate), coalition, 1000 + replicate, steps, _RATE, begins_from=BASE.name
        )

    everybody = [run(EVERYBODY, replicate) for replicate in range(REPLICATES)]
    # Pairs last: where time ends before the last replicate, what it has is still large and small coalitions alike.
    order = sorted(
        COALITIONS[:-1], key=lambda coalition: (coalition.bit_count() == 2, -coalition.bit_count())
    )
    return [
        BASE,
        *everybody,
        *(run(coalition, replicate) for replicate in range(REPLICATES) for coalition in order),
    ]


def run_name(coalition: int, replicate: int) -> str:
    """Such as `0101-1`: bits of the coalition, last artist first, and the replicate."""
    return f"{coalition:0{len(PLAYERS)}b}-{replicate}"


TRUTH, FURTHER = range(REPLICATES)
MODEL = run_name(EVERYBODY, FURTHER)
"""The run whose pictures are attributed."""


class Folder:
    """Where the runs keep what they need to go on: checkpoints, weights and pictures."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def pictures(self, name: str) -> Path:
        """The pictures of a finished run."""
        return self.path / f"{name}.npz"

    def weights(self, name: str) -> Path:
        """The weights of a finished run."""
        return self.path / f"{name}.weights.pt"

    def partial(self, name: str) -> Path:
        """The last checkpoint of a run that is not finished."""
        return self.path / f"{name}.partial.pt"

    def works(self) -> Path:
        """The drawn pictures as latents."""
        return self.path / "works.pt"

    @contextmanager
    def claim(self, name: str, wait: bool) -> Iterator[bool]:
        """Hold a run for this process, until it ends in whatever way; False where another holds it."""
        with (self.path / f"{name}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True


def _save(value: Any, file: Path) -> None:
    """Write whole or not at all."""
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    torch.save(value, beside)
    beside.replace(file)


class Deadline(Exception):
    """The time that was given is over; what was done is kept."""


class Trainer:
    """Trains runs in a folder on the shipped autoencoder and text encoder, which stay as they are."""

    def __init__(self, folder: Folder, minutes: float = math.inf, examples: int = EXAMPLES) -> None:
        self.folder = folder
        self._start = time.monotonic()
        self._ends = self._start + 60 * minutes
        self.model = load_model(device="cpu")
        self.works = self._works(examples)

    def log(self, *what: object) -> None:
        """One line of progress."""
        print(f"[{time.monotonic() - self._start:6.0f} s]", *what, flush=True)

    def _works(self, count: int) -> Works:
        with self.folder.claim("works", wait=True):
            examples, images = draw_works(count)
            if not self.folder.works().exists():
                vae = self.model.pipeline.vae
                _save((encode(vae, images), encode(vae, blank_image()[None])[0]), self.folder.works())
        latents, blank = torch.load(self.folder.works())
        return Works(examples, latents, blank)

    def run(self, training: Training) -> None:
        """Train to the end and keep the averaged weights.

        Raises:
            Deadline: the time is over; the checkpoint says where to go on.
        """
        torch.manual_seed(training.seed)
        unet = make_small_unet()
        if training.begins_from is not None:
            unet.load_state_dict(torch.load(self.folder.weights(training.begins_from)))
        optimizer = torch.optim.AdamW(unet.parameters(), training.rate, weight_decay=1e-3, betas=(0.9, 0.98))
        averaged = {name: value.clone() for name, value in unet.state_dict().items()}
        first, error = 0, math.nan
        if self.folder.partial(training.name).exists():
            first, weights, averaged, state, error = torch.load(self.folder.partial(training.name))
            unet.load_state_dict(weights)
            optimizer.load_state_dict(state)
        unet.train()
        for step in range(first, training.steps):
            if step > first and (step % _CHECKPOINT_EVERY == 0 or time.monotonic() > self._ends):
                _save(
                    (step, unet.state_dict(), averaged, optimizer.state_dict(), error),
                    self.folder.partial(training.name),
                )
                self.log(f"{training.name} step {step} squared error {error:.4f}")
                if time.monotonic() > self._ends:
                    raise Deadline
            loss = self._step(unet, optimizer, training, step)
            error = loss if math.isnan(error) else 0.98 * error + 0.02 * loss
            keep = min(0.99, (1 + step) / (10 + step))
            for name, value in unet.state_dict().items():
                averaged[name].lerp_(value, 1 - keep)
        self.log(f"{training.name} done, squared error {error:.4f}")
        _save(averaged, self.folder.weights(training.name))
        self.folder.partial(training.name).unlink(missing_ok=True)

    def _step(
        self,
        unet: UNet2DConditionModel,
        optimizer: torch.optim.Optimizer,
        training: Training,
        step: int,
    ) -> float:
        """One step, whose randomness depends on the seed and its number only, not on what was before."""
        progress = step / training.steps
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 30)
            group["lr"] = training.rate * warm * max(0.02, 0.5 + 0.5 * math.cos(math.pi * progress))
        rows = self.works.rows(training.coalition, np.random.default_rng([training.seed, step, 0]))
        pipeline, works = self.model.pipeline, self.works
        words = np.random.default_rng([training.seed, step, 1])
        prompts, clean = draw_batch(works.examples, works.latents, works.blank, rows, words)
        torch.manual_seed(training.seed * 1_000_000 + step)
        loss = velocity_error(pipeline.text_encoder, unet, pipeline.tokenizer, prompts, clean)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    def draw(self, training: Training, images: Sequence[Query]) -> None:
        """Draw the pictures with a finished run's weights; the model to attribute also draws its prompt games."""
        drawn = {"queries": self._render(training.name, [(query.prompt, query.seed) for query in images])}
        if training.name == MODEL:
            drawn["coalitions"] = self._render(
                training.name, [(prompt, query.seed) for query in images for prompt in prompts_of(query)]
            )
        beside = self.folder.path / f"{training.name}.{os.getpid()}.npz"
        np.savez_compressed(beside, allow_pickle=False, **drawn)
        beside.replace(self.folder.pictures(training.name))

    def _render(self, name: str, wanted: Sequence[tuple[str, int]]) -> Pictures:
        engine = RenderEngine(model_of(self.model, self.folder, name), bucket=_BUCKET, threads=1)
        usual = usual_request(self.model)
        requests: list[RenderRequest] = [replace(usual, prompt=prompt, seed=seed) for prompt, seed in wanted]
        return np.stack(engine.render(requests))


def model_of(model: Model, folder: Folder, name: str) -> Model:
    """The miniature with the weights of a finished run in place of its UNet's."""
    unet = make_small_unet()
    weights = torch.load(folder.weights(name))
    unet.load_state_dict(weights)
    unet.eval().requires_grad_(False)
    pipeline = model.pipeline
    pipeline.register_modules(unet=unet)
    return replace(model, pipeline=pipeline, weights_sha256=bytes.fromhex(weights_sha256(weights)))


def weights_sha256(weights: dict[str, torch.Tensor]) -> str:
    """Hash of a run's weights as fp32 in the order of their names, hexadecimal."""
    digest = sha256()
    for name in sorted(weights):
        digest.update(name.encode() + b"\0" + weights[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def prompts_of(query: Query) -> tuple[str, ...]:
    """The prompts of the query's coalitions by bitmask: bit 0 is content, bit k the k-th artist named."""
    names = NameIndex([BareArtist(name, name) for name in PLAYERS])
    game = build_game(query.prompt, names)
    if game.artists != query.names:
        raise RuntimeError(f"{query.prompt!r} is not read as it is meant")
    return game.prompts


def work(folder: Folder, minutes: float) -> bool:
    """Train and draw what is missing; whether everything is there."""
    trainer = Trainer(folder, minutes)
    images = queries()
    try:
        for training in trainings():
            if folder.pictures(training.name).exists():
                continue
            # Without the base nothing can begin: whoever finds it taken waits for it.
            with folder.claim(training.name, wait=training.begins_from is None) as mine:
                if not mine or folder.pictures(training.name).exists():
                    continue
                if not folder.weights(training.name).exists():
                    trainer.run(training)
                trainer.draw(training, images)
                trainer.log(f"{training.name} drawn")
    except Deadline:
        trainer.log("the time is over; run again to go on")
    return all(folder.pictures(training.name).exists() for training in trainings())


def collect(folder: Folder) -> dict[str, Any]:
    """What is kept of the finished runs: settings, hashes of their weights, and the values of their pictures.

    Raises:
        Invalid: the model to attribute, or the first replicate, is not finished.
    """
    finished = {name for name in (run.name for run in trainings()) if folder.pictures(name).exists()}
    needed = {MODEL, *(run_name(coalition, TRUTH) for coalition in COALITIONS)}
    if missing := sorted(needed - finished):
        raise Invalid(
            f"{folder.path} lacks the runs {', '.join(missing)}: train them first, without --collect."
        )

    model = load_model(device="cpu")
    shown = queries()
    drawn = {name: dict(np.load(folder.pictures(name))) for name in sorted(finished)}

    embedders = {judge: make_embedder(judge, model) for judge in (CLIP, DESCRIPTOR)}

    def look(pictures: Pictures) -> dict[str, NDArray[np.float64]]:
        pixels = torch.from_numpy(pictures)
        flat = pictures.reshape(len(pictures), -1).astype(np.float64) / 255
        return {PIXELS: flat} | {
            judge: np.stack(embedder.embed(pixels)) for judge, embedder in embedders.items()
        }

    looks = {name: look(pictures["queries"]) for name, pictures in drawn.items()}
    works = _works_of_each()
    similar_to = {
        judge: [np.stack(embedder.embed(one)) for one in works] for judge, embedder in embedders.items()
    }
    games, first = look(drawn[MODEL]["coalitions"]), 0
    kept: list[dict[str, Any]] = []
    for place, query in enumerate(shown):
        size = 2 << len(query.names)
        entry: dict[str, Any] = {"shape": query.shape, "names": list(query.names), "seed": query.seed}
        for judge in JUDGES:
            picture = looks[MODEL][judge][place]
            entry[judge] = {
                "prompt_game": [_nearness(judge, one, picture) for one in games[judge][first : first + size]],
                "retrained": [
                    [
                        _nearness(judge, looks[run][judge][place], picture)
                        if run in finished and run != MODEL
                        else None
                        for run in (run_name(coalition, replicate) for coalition in COALITIONS)
                    ]
                    for replicate in (TRUTH, FURTHER)
                ],
            }
            if judge in similar_to:
                similar = [theirs @ picture for theirs in similar_to[judge]]
                entry[judge]["mean_similarity"] = [round(float(one.mean()) * UNIT) for one in similar]
                entry[judge]["nearest_similarity"] = [round(float(one.max()) * UNIT) for one in similar]
        kept.append(entry)
        first += size
    return {
        "command": "python -m benchmarks.validity.retrain --collect FILE",
        "settings": {
            "players": list(PLAYERS),
            "works": EXAMPLES,
            "pictures_per_step": BATCH,
            "base": {"steps": BASE_STEPS, "rate": _BASE_RATE, "seed": _BASE_SEED},
            "coalitions": {
                "steps": STEPS,
                "rate": _RATE,
                "seeds": [run.seed for run in trainings()[1 : 1 + REPLICATES]],
            },
            "drawn_with": {"steps": MINIATURE_STEPS, "guidance": str(MINIATURE_GUIDANCE)},
            "weights_sha256": model.weights_sha256.hex(),
            "embedding_sha256": model.embedding_sha256.hex(),
            "torch": torch.__version__,
        },
        "runs": {name: weights_sha256(torch.load(folder.weights(name))) for name in sorted(finished)},
        "pictures": kept,
    }


def _nearness(judge: str, one: NDArray[np.float64], other: NDArray[np.float64]) -> int:
    """How near two pictures are to a judge, in parts of `UNIT`."""
    return round(float(1 - np.abs(one - other).mean() if judge == PIXELS else one @ other) * UNIT)


def _works_of_each() -> list[torch.Tensor]:
    """The works that each artist made alone, uint8 of shape (works, 64, 64, 3) for each."""
    examples, images = draw_works(EXAMPLES)
    pixels = to_pixels((images / 2 + 0.5).clamp(0, 1))
    return [
        pixels[[row for row, example in enumerate(examples) if example.names == (name,)]] for name in PLAYERS
    ]


def save_sheet(folder: Folder, place: int, file: Path) -> None:
    """One picture as each coalition's model draws it, most artists first, the first replicate above the second."""
    order = sorted(COALITIONS, key=lambda coalition: (-coalition.bit_count(), coalition))
    blank = np.full((64, 64, 3), 255, dtype=np.uint8)
    rows = []
    for replicate in range(REPLICATES):
        files = [folder.pictures(run_name(coalition, replicate)) for coalition in order]
        rows.append([np.load(one)["queries"][place] if one.exists() else blank for one in files])
    Picture.fromarray(np.concatenate([np.concatenate(row, 1) for row in rows])).save(file, optimize=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "royalty-retraining",
        help="folder of checkpoints, weights and pictures",
    )
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so many, to go on later")
    parser.add_argument(
        "--collect", type=Path, metavar="FILE", help="train nothing; write the values of what is finished"
    )
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE", help="with --collect: write one picture as every model draws it"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = Folder(arguments.work)
    if arguments.collect is None:
        sys.exit(0 if work(folder, arguments.minutes) else _GO_ON)
    try:
        document = collect(folder)
    except Invalid as error:
        sys.exit(error.message)
    write(document, arguments.collect)
    if arguments.sheet is not None:
        save_sheet(folder, _ON_SHEET, arguments.sheet)


if __name__ == "__main__":
    main()
