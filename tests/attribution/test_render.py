"""The render engine: the same pictures as diffusers' own pipeline, no forward too many, no neighbour felt."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import diffusers
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
    RenderRequest,
    initial_latents,
    is_deterministic,
    latents_sha256,
    make_scheduler,
)
from database.errors import Invalid, NotFound
from tests.attribution.test_game import NamedArtist

SCHEDULERS = ("DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler")


def request_for(model: Model, prompt: str, **changes: Any) -> RenderRequest:
    name = changes.pop("scheduler", "DDIMScheduler")
    config = {**model.pipeline.scheduler.config, "skip_prk_steps": True}  # as SD-v1.5 configures its PNDM
    config = getattr(diffusers, name).from_config(config).config
    settings = {"seed": 1, "steps": 3, "guidance": 5.0, "width": 32, "height": 32, **changes}
    return RenderRequest(prompt=prompt, scheduler=name, scheduler_config=dict(config), **settings)


def float_pictures(engine: RenderEngine, requests: Sequence[RenderRequest]) -> list[torch.Tensor]:
    pictures = [torch.empty(0)] * len(requests)
    for batch, images in engine.batches(requests):
        for indices, image in zip(batch, images, strict=True):
            for index in indices:
                pictures[index] = image
    return pictures


def test_rows_of_one_bucket_do_not_depend_on_their_neighbours(tiny: Model) -> None:
    engine = RenderEngine(tiny, bucket=8)
    wanted = request_for(tiny, "a star by bruno keller", seed=7)
    [alone] = float_pictures(engine, [wanted])
    others = [
        request_for(tiny, "" if seed % 3 == 0 else "a big circle", seed=seed, guidance=1 + seed / 3)
        for seed in range(10)
    ]
    for place in (0, 1, 2, 10):
        crowded = float_pictures(engine, [*others[:place], wanted, *others[place:]])
        assert torch.equal(crowded[place], alone)


@pytest.mark.parametrize(("artists", "forwards"), [(1, 7), (2, 15), (3, 31), (4, 63)])
def test_sample_forwards_of_one_image_are_counted_exactly(tiny: Model, artists: int, forwards: int) -> None:
    """2^(n+1) guided coalitions, one forward instead of two where the prompt is empty."""
    names = ["Amara Diallo", "Bruno Keller", "Chiyo Moriwaki", "Dmitri Zaslav"][:artists]
    index = NameIndex([NamedArtist(name, name) for name in names])
    game = build_game("a star in the style of " + " and ".join(names), index)
    assert game.players == artists + 1
    engine = RenderEngine(tiny, bucket=8)
    engine.render([request_for(tiny, prompt, steps=2) for prompt in game.prompts])
    stats = engine.stats
    assert stats.unet_samples == 2 * forwards
    assert stats.unet_samples + stats.padding_samples == 8 * stats.unet_calls
    assert stats.rendered == stats.requested == 2 << artists
    assert stats.texts_encoded == 2 << artists


def test_pndm_makes_one_call_more_than_steps(tiny: Model) -> None:
    engine = RenderEngine(tiny, bucket=2)
    engine.render([request_for(tiny, "a star", scheduler="PNDMScheduler", steps=5)])
    assert engine.stats.unet_calls == 6


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
