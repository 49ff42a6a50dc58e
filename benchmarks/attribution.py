"""What attributing an image costs on this machine: the engine beside diffusers, forwards, floor, and whole workers.

python -m benchmarks.attribution [--quick] [--json FILE]

Everything is computed on the miniature. Engine and diffusers take turns in one process on one thread, on the same
coalitions with the same settings, so that a busy machine slows all of them alike; then one worker for each core
attributes a logged set of images, everything included.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import torch
from diffusers import StableDiffusionPipeline
from torch.utils.flop_counter import FlopCounterMode

from attribution.characteristic import Measurer
from attribution.game import Game, build_game
from attribution.method import default_method
from attribution.miniature import MINIATURE_PATH
from attribution.miniature.artists import ARTISTS
from attribution.miniature.calibrate import usual_request
from attribution.name_index import NameIndex
from attribution.pipeline import Model, load_model
from attribution.placebo import BareArtist
from attribution.prompt_file import PromptFile, read_prompts
from attribution.render import RenderEngine, RenderRequest
from benchmarks.harness import Bench, run

_BUNDLED = Path(__file__).parent.parent / "cli" / "bundled" / "miniature"
_GEMM = 2048
"""Side of the square matrices whose product is the machine's measured peak."""


@dataclass
class Contender:
    """One way to render all coalitions of some images."""

    render: Callable[[Sequence[list[RenderRequest]]], object]
    """Takes the coalitions' requests, image by image."""
    seconds: list[float] = field(default_factory=list)


def measure(bench: Bench) -> None:
    """Compare, then run whole workers in a data directory that is thrown away."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        naive_seconds = _beside_diffusers(bench)
    finally:
        torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="royalty-benchmark-") as home:
        Path(home).chmod(0o755)  # as root the server runs as a user of its own
        os.environ["ROYALTY_HOME"] = home
        for name in ("DATABASE_URL", "BROKER_URL", "ROYALTY_MODEL", "ROYALTY_METHOD", "DATABASE_NAME"):
            os.environ.pop(name, None)
        from database.engine import embedded_server  # the settings are read at the first use

        try:
            _whole_workers(bench, naive_seconds)
        finally:
            embedded_server().stop()


def _beside_diffusers(bench: Bench) -> float:
    """Note the figures of the engine; returns the naive loop's seconds for a coalition's picture."""
    model = load_model(device="cpu")
    method = default_method(model)
    plain = StableDiffusionPipeline.from_pretrained(MINIATURE_PATH, variant="fp16", dtype=torch.float32)
    plain.set_progress_bar_config(disable=True)
    images = _coalitions(model, 2 if bench.quick else 16)
    pictures = sum(len(requests) for requests in images)
    measurers: list[Measurer] = []

    def engine(requests: Sequence[list[RenderRequest]]) -> None:
        # A fresh one remembers nothing; embedding the pictures is part of the work.
        measurer = Measurer(RenderEngine(model, bucket=method.buckets[0], threads=1))
        measurer.measure([request for image in requests for request in image])
        measurers.append(measurer)

    contenders = {
        "engine": Contender(engine),
        "naive": Contender(
            lambda requests: [_diffusers(plain, [one]) for image in requests for one in image]
        ),
        "batched": Contender(lambda requests: [_diffusers(plain, image) for image in requests]),
    }
    for contender in contenders.values():
        contender.render(images[:1])  # the first run of anything is slower
    peaks = []
    with bench.stage("engine, naive loop and batched calls, taking turns"):
        for _ in range(1 if bench.quick else 3):
            peaks.append(_gemm_flops())
            for contender in contenders.values():
                begun = time.perf_counter()
                contender.render(images)
                contender.seconds.append(time.perf_counter() - begun)
    seconds = {name: median(contender.seconds) for name, contender in contenders.items()}
    bench.machine["gemm_gflops_one_thread"] = round(max(peaks) / 1e9)

    bench.add("images attributed by the engine, one thread", len(images) / seconds["engine"], "images/s")
    bench.add("seconds an attributed image", seconds["engine"] / len(images), "s")
    bench.add("coalitions' pictures by the engine", pictures / seconds["engine"], "pictures/s")
    bench.add("the same by pipeline(prompt), one at a time", pictures / seconds["naive"], "pictures/s")
    bench.add("the same by one pipeline call an image", pictures / seconds["batched"], "pictures/s")
    bench.add("engine / naive loop", seconds["naive"] / seconds["engine"], "x", at_least=1.8)
    bench.add("engine / batched calls", seconds["batched"] / seconds["engine"], "x")

    stats = measurers[-1].engine.stats
    needed, naive = _needed_forwards(images), sum(2 * request.steps for image in images for request in image)
    if stats.unet_samples != needed:
        raise RuntimeError(f"the engine made {stats.unet_samples} sample-forwards where {needed} are needed")
    bench.add("UNet sample-forwards needed", needed, "")
    bench.add("UNet sample-forwards used, padding included", needed + stats.padding_samples, "")
    bench.add("UNet sample-forwards of the naive loop", naive, "")
    floor = _needed_flops(model, needed, stats.rendered, stats.texts_encoded) / max(peaks)
    bench.add("floor: counted operations at the speed of a large matrix product", floor, "s")
    bench.add("share of the floor that is reached", floor / seconds["engine"], "")

    _cost_beside_generation(bench, model, engine)
    return seconds["naive"] / pictures


def _coalitions(model: Model, count: int) -> list[list[RenderRequest]]:
    """The coalitions of the first bundled prompts that name an artist."""
    prompts, games = read_prompts(_BUNDLED / "prompts.txt"), []
    for line in prompts.lines:
        game = _game(line.request.prompt)
        if game.artists:
            games.append(game)
    usual = usual_request(model)
    return [
        [replace(usual, prompt=prompt, seed=seed) for prompt in game.prompts]
        for seed, game in enumerate(games[:count])
    ]


def _game(prompt: str) -> Game:
    return build_game(prompt, NameIndex([BareArtist(artist.name, artist.name) for artist in ARTISTS]))


def _diffusers(pipeline: StableDiffusionPipeline, requests: Sequence[RenderRequest]) -> object:
    """One call of the pipeline, as a competent user would write it: each row with the image's own noise."""
    return pipeline(
        [request.prompt for request in requests],
        num_inference_steps=requests[0].steps,
        guidance_scale=requests[0].guidance,
        generator=[torch.Generator().manual_seed(request.seed) for request in requests],
        output_type="np",
    )


def _needed_forwards(images: Sequence[list[RenderRequest]]) -> int:
    """Distinct coalitions, by steps, by two for guidance; the empty prompt is its own unguided side."""
    distinct = {(request.seed, request.prompt) for image in images for request in image}
    steps = images[0][0].steps
    return sum(steps * (1 if prompt == "" else 2) for _, prompt in distinct)


def _gemm_flops() -> float:
    """Operations a second of the best of some large matrix products in fp32 on one thread."""
    matrix, best = torch.randn(_GEMM, _GEMM), float("inf")
    for _ in range(4):
        begun = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - begun)
    return 2 * _GEMM**3 / best


@torch.inference_mode()
def _needed_flops(model: Model, forwards: int, pictures: int, texts: int) -> float:
    """Operations counted by torch: denoising, decoding, encoding texts and embedding pictures."""
    pipeline, config = model.pipeline, model.pipeline.unet.config
    latents = torch.zeros(1, config.in_channels, config.sample_size, config.sample_size)
    ids = torch.tensor(model.token_ids([""]))
    text = pipeline.text_encoder(ids)[0]
    picture = torch.zeros(1, 3, *model.preprocessing.crop)
    parts: list[tuple[int, Callable[[], object]]] = [
        (forwards, lambda: pipeline.unet(latents, 0, encoder_hidden_states=text)),
        (pictures, lambda: pipeline.vae.decode(latents)),
        (pictures, lambda: model.tower(pixel_values=picture)),
        (texts, lambda: pipeline.text_encoder(ids)),
    ]
    total = 0
    for times, part in parts:
        with FlopCounterMode(display=False) as counter:
            part()
        total += times * counter.get_total_flops()
    return total


def _cost_beside_generation(
    bench: Bench, model: Model, engine: Callable[[Sequence[list[RenderRequest]]], object]
) -> None:
    """What attributing an image of 2, 3 and 4 players costs beside making it, both in full batches of the engine."""
    usual = usual_request(model)
    names = [artist.name for artist in ARTISTS]
    sets = {"made": [[replace(usual, prompt=f"a star by {names[0]}", seed=seed)] for seed in range(8)]}
    for players in (2, 3, 4):
        game = _game("a star in the style of " + " and ".join(names[: players - 1]))
        sets[str(players)] = [
            [replace(usual, prompt=prompt, seed=seed) for prompt in game.prompts]
            for seed in range(max(1, (8 if bench.quick else 32) >> players))
        ]
    seconds: dict[str, list[float]] = {name: [] for name in sets}
    with bench.stage("making and attributing images of 2, 3 and 4 players, taking turns"):
        for _ in range(1 if bench.quick else 3):
            for name, images in sets.items():
                begun = time.perf_counter()
                engine(images)
                seconds[name].append((time.perf_counter() - begun) / len(images))
    for players in (2, 3, 4):
        cost = median(seconds[str(players)]) / median(seconds["made"])
        bench.add(f"attribution / generation cost, {players} players", cost, "x")


def _whole_workers(bench: Bench, naive_seconds: float) -> None:
    from attribution import jobs
    from attribution.results import attributed_images
    from cli.images import generate
    from database.engine import session
    from database.migrate import migrate
    from database.roles import Role
    from settlement.catalogue_file import load_catalogue

    with bench.stage("set up a database and log images"):
        migrate()
        with session(Role.SETTLEMENT) as opened:
            load_catalogue(opened, _BUNDLED / "catalogue.yaml", actor="benchmark", reason="benchmark")
        prompts: PromptFile = read_prompts(_BUNDLED / "prompts.txt")
        made = generate(replace(prompts, lines=prompts.lines[: 4 if bench.quick else 60]))
    names = [line.external_id for line in made.lines]
    coalitions = sum(
        len(game.prompts)
        for line in prompts.lines[: len(names)]
        if (game := _game(line.request.prompt)).artists
    )
    cores = int(bench.machine["cores"])
    begun, done = time.perf_counter(), 0
    with bench.stage(f"attribute {len(names)} images with {cores} workers"):
        workers = [
            subprocess.Popen(
                [sys.executable, "-m", "attribution.worker"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for _ in range(cores)
        ]
        try:
            while done < len(names):
                time.sleep(0.2)
                if any(worker.poll() is not None for worker in workers):
                    raise RuntimeError("a worker ended before its work was done")
                with session(Role.ATTRIBUTION) as opened:
                    done = len(attributed_images(opened, names))
                    if reasons := jobs.status(opened).reasons:
                        raise RuntimeError(f"images that cannot be attributed: {'; '.join(reasons)}")
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.wait()
    seconds = time.perf_counter() - begun
    bench.add("workers", cores, "")
    bench.add("coalitions' pictures of the logged images", coalitions, "")
    target = None if bench.quick else 60.0
    bench.add(f"{len(names)} logged images attributed, start included", seconds, "s", at_most=target)
    bench.add("images attributed by the workers", len(names) / seconds, "images/s")
    # One naive loop on each core, without a start, a database or an embedding.
    bench.add("workers / naive loops", coalitions * naive_seconds / cores / seconds, "x")


if __name__ == "__main__":
    sys.exit(run("attribution", measure))
