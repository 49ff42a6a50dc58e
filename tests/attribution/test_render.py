"""The render engine: the same pictures as diffusers' own pipeline, no forward too many, no neighbour felt."""

import math
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessor

from attribution.characteristic import UNIT, Measurer, characteristic_function, cosine
from attribution.embedding import CLIP, TowerEmbedder, make_embedder
from attribution.game import build_game
from attribution.name_index import NameIndex
from attribution.pipeline import Model
from attribution.render import (
    BrokenPictures,
    RenderEngine,
    initial_latents,
    is_deterministic,
    latents_sha256,
    return_freed_memory,
)
from database.errors import Invalid, NotFound
from tests.attribution.test_game import NamedArtist
from tests.attribution.test_same_pictures import drawn, request_for


def test_rows_of_one_bucket_do_not_depend_on_their_neighbours(tiny: Model) -> None:
    engine = RenderEngine(tiny, bucket=8)
    wanted = request_for(tiny, "a star by bruno keller", seed=7)
    [alone] = drawn(engine, [wanted])
    others = [
        request_for(tiny, "" if seed % 3 == 0 else "a big circle", seed=seed, guidance=1 + seed / 3)
        for seed in range(10)
    ]
    for place in (0, 1, 2, 10):
        crowded = drawn(engine, [*others[:place], wanted, *others[place:]])
        assert torch.equal(crowded[place], alone)


@pytest.mark.parametrize(("scheduler", "steps", "calls"), [("DDIMScheduler", 2, 2), ("PNDMScheduler", 5, 6)])
@pytest.mark.parametrize(
    ("players", "coalitions", "guided", "unguided"),
    [(1, 2, 3, 2), (2, 4, 7, 4), (3, 8, 15, 8), (4, 16, 31, 16)],
)
def test_sample_forwards_of_one_image_are_counted_exactly(
    tiny: Model,
    players: int,
    coalitions: int,
    guided: int,
    unguided: int,
    scheduler: str,
    steps: int,
    calls: int,
) -> None:
    """Each of 2^n coalitions twice a call, once where its text is the negative one; PNDM makes a call more than steps.

    What the engine counts is what the UNet saw.
    """
    names = ["Amara Diallo", "Bruno Keller", "Chiyo Moriwaki"][: players - 1]
    index = NameIndex([NamedArtist(name, name) for name in names])
    game = build_game("a star in the style of " + " and ".join(names) if names else "a star", index)
    assert (game.players, len(game.prompts)) == (players, coalitions)
    seen: list[int] = []
    hook = tiny.pipeline.unet.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    try:
        for guidance, negative, samples in [
            (5.0, "", guided),
            (1.0, "", unguided),
            (5.0, game.prompts[-1], guided),  # everybody's forwards are halved, and no longer nobody's
            (5.0, "circle", guided + 1),
        ]:
            engine = RenderEngine(tiny, bucket=8)
            asked = {
                "scheduler": scheduler,
                "steps": steps,
                "guidance": guidance,
                "negative_prompt": negative,
            }
            engine.render([request_for(tiny, prompt, **asked) for prompt in game.prompts] * 2)
            stats, batches = engine.stats, math.ceil(samples / 8)
            assert (stats.requested, stats.rendered) == (2 * coalitions, coalitions)
            assert stats.unet_samples == samples * calls
            assert seen == [8] * batches * calls
            assert stats.unet_calls == batches * calls
            assert stats.padding_samples == (8 * batches - samples) * calls
            seen.clear()
    finally:
        hook.remove()


def test_only_the_last_batch_is_padded(tiny: Model) -> None:
    """Whatever the order in which pictures of one and of two samples come."""
    texts = ["", "a star", "a star", "", "", "a star", "a star"]
    requests = [request_for(tiny, text, seed=seed, steps=1) for seed, text in enumerate(texts)]
    engine = RenderEngine(tiny, bucket=4)
    engine.render(requests)
    assert (engine.stats.unet_samples, engine.stats.padding_samples) == (3 + 2 * 4, 1)


def test_nothing_is_rendered_twice(tiny: Model) -> None:
    engine = RenderEngine(tiny, bucket=8)
    star = request_for(tiny, "a star")
    requests = [
        star,
        star,
        replace(star, prompt="A  STAR"),  # the tokenizer sees no difference
        request_for(tiny, "", guidance=3.0),
        request_for(tiny, "", guidance=9.0),  # guidance between equal texts is none
        request_for(tiny, "a star", guidance=0.5, negative_prompt="circle"),
        request_for(tiny, "a star", guidance=1.0),
    ]
    pictures = engine.render(requests)
    assert engine.stats.rendered == 3
    assert [np.array_equal(pictures[0], picture) for picture in pictures[1:3]] == [True, True]
    keys = [engine.key(request) for request in requests]
    assert len(set(keys)) == 3
    different = [
        replace(star, seed=2),
        replace(star, steps=4),
        replace(star, guidance=6.0),
        replace(star, width=48),
        replace(star, negative_prompt="circle"),
        replace(star, scheduler="EulerDiscreteScheduler"),
        replace(star, scheduler_config={**star.scheduler_config, "beta_end": 0.013}),
        replace(star, latents=torch.zeros(4, 8, 8)),
    ]
    assert len({engine.key(request) for request in [star, *different]}) == 9
    assert RenderEngine(tiny, bucket=6).key(star) != engine.key(star)


def test_latents_are_the_pipelines_own_noise(tiny: Model) -> None:
    latents = initial_latents(tiny, 11, 32, 48)
    assert latents.shape == (4, 12, 8)
    assert latents_sha256(latents) == latents_sha256(latents.clone()) != latents_sha256(-latents)
    engine = RenderEngine(tiny, bucket=2)
    seeded = request_for(tiny, "a star", seed=11, height=48)
    given = replace(seeded, seed=0, latents=latents)
    assert engine.key(seeded) == engine.key(given)


def test_what_cannot_be_rendered_is_refused(tiny: Model) -> None:
    engine = RenderEngine(tiny)
    star = request_for(tiny, "a star")
    for request, message in [
        (replace(star, width=30), "multiples of 4"),
        (replace(star, steps=0), "0 steps"),
        (replace(star, scheduler="EulerAncestralDiscreteScheduler"), "cannot be rendered again"),
        (replace(star, scheduler="os"), "cannot be rendered again"),
        (replace(star, scheduler="PNDMScheduler", scheduler_config={}), "in 3 steps"),
        (replace(star, scheduler_config={"beta_schedule": "nonsense"}), "does not take this configuration"),
    ]:
        with pytest.raises(Invalid, match=message):
            engine.key(request)
    with pytest.raises(ValueError, match="at least the two samples"):
        RenderEngine(tiny, bucket=1)


def test_stochastic_samplers_are_known() -> None:
    assert is_deterministic("DDIMScheduler", {}, 0)
    assert not is_deterministic("DDIMScheduler", {}, 0.5)
    assert not is_deterministic("EulerAncestralDiscreteScheduler", {}, 0)
    assert not is_deterministic("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, 0)
    assert is_deterministic("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}, 0)


def test_pictures_that_are_no_numbers_are_named(tiny: Model) -> None:
    star = request_for(tiny, "a star")
    poisoned = replace(star, latents=torch.full((4, 8, 8), float("nan")))
    with pytest.raises(BrokenPictures) as broken:
        Measurer(RenderEngine(tiny, bucket=8)).measure([star, poisoned, star, poisoned])
    assert broken.value.indices == (1, 3)


def test_measuring_remembers_and_tells_progress(tiny: Model) -> None:
    measurer = Measurer(RenderEngine(tiny, bucket=8))
    requests = [request_for(tiny, prompt) for prompt in ("", "a star", "a circle", "a star")]
    seen: list[int] = []
    first = measurer.measure(requests, seen.append)
    assert sum(seen) == 3
    again = measurer.measure([*requests, request_for(tiny, "art")])
    assert measurer.engine.stats.rendered == 4
    assert [m.picture_sha256 for m in again[:4]] == [m.picture_sha256 for m in first]
    assert first[1] is first[3]
    values = characteristic_function("logged-image-cosine")([m.embedding for m in first])
    assert values[-1] == values[1] == UNIT
    assert all(-UNIT <= value <= UNIT for value in values)
    with pytest.raises(NotFound, match="logged-image-cosine"):
        characteristic_function("none")


def test_a_picture_file_embeds_as_what_it_was_saved_from(tiny: Model, tmp_path: Any) -> None:
    measurer = Measurer(RenderEngine(tiny, bucket=8))
    star = request_for(tiny, "a star")
    [picture] = measurer.engine.render([star])
    Image.fromarray(picture).save(tmp_path / "star.png")
    read_back = np.asarray(Image.open(tmp_path / "star.png"))
    [measured] = measurer.measure([star])
    (embedding,) = measurer.embedder.embed(torch.from_numpy(read_back.copy())[None])
    assert cosine(embedding, measured.embedding) == UNIT


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (32, 48), (100, 80), (24, 24)])
def test_preprocessing_is_the_image_processors(tiny: Model, tiny_folder: Any, size: tuple[int, int]) -> None:
    processor = CLIPImageProcessor.from_pretrained(tiny_folder / "vision")
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize(
        size[::-1], Image.Resampling.BICUBIC
    )
    theirs = processor(images=smooth, return_tensors="pt").pixel_values
    pixels = torch.from_numpy(np.asarray(smooth).copy()).permute(2, 0, 1)[None]
    embedder = make_embedder(CLIP, tiny)
    assert isinstance(embedder, TowerEmbedder)
    ours = embedder.preprocess(pixels)
    assert ours.shape == theirs.shape
    # The processor rounds to whole pixel values between its steps.
    assert (ours - theirs).abs().max() < 3 / 255 / 0.5


def test_a_batch_without_guidance(tiny: Model) -> None:
    engine = RenderEngine(tiny, bucket=4)
    engine.render([request_for(tiny, "", seed=seed) for seed in range(3)])
    assert (engine.stats.unet_samples, engine.stats.unet_calls) == (9, 3)


def test_memory_that_is_kept_for_further_batches_can_be_returned(tiny: Model) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    RenderEngine(tiny)  # has the C library keep what is freed
    held = [torch.ones(1 << 18) for _ in range(256)]
    full = resident()
    del held[:-1]  # the last one lies above the others
    assert full - resident() < 32 << 20, "255 MiB are free, and kept"
    return_freed_memory()
    assert full - resident() > 200 << 20
