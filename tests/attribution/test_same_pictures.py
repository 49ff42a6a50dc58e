"""The engine draws what `StableDiffusionPipeline` draws, pixel by pixel: within 1e-4 in fp32 on a CPU.

Mirrors diffusers' own tests of that pipeline (tests/pipelines/stable_diffusion/test_stable_diffusion.py and the common
ones of tests/pipelines/testing_utils) as far as they apply, with the pipeline itself in place of slices of numbers:

- ddim, pndm, k_lms, k_euler, negative_prompt, cfg: the same pictures by every scheduler, the settings mixed in a batch
- ddim_factor_8, height_width_opt: sizes that are no powers of two
- long_prompt: cut at 77 tokens
- latents_input: given noise
- num_images_per_prompt, inference_batch_consistent: many seeds of one prompt
- inference_batch_single_identical, output determinism: to the last bit
- vae_slicing: pictures decoded few at a time
- no_safety_checker, save_load_local, loading_with_variants: in test_pipeline.py
- save_load_float16, half_precision_inference_no_nan: in half precision on a GPU, in test_cuda.py

Left out, for the engine has no such thing: callbacks and interrupt, prompt embeddings as input, LCM and ancestral
samplers (refused), custom timesteps, FreeU, attention slicing, fused projections, VAE tiling, moving between devices.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import diffusers
import pytest
import torch
from diffusers import StableDiffusionPipeline

from attribution.miniature import MINIATURE_PATH
from attribution.pipeline import Model, load_model
from attribution.render import (
    DETERMINISTIC_SCHEDULERS,
    RenderEngine,
    RenderRequest,
    initial_latents,
    make_scheduler,
)

LIMIT = 1e-4
REQUIRED = ("DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler")


@pytest.fixture(scope="module")
def tiny_reference(tiny_folder: Any) -> StableDiffusionPipeline:
    """As diffusers loads it, untouched by the engine: no channels_last, its own attention."""
    return quiet(StableDiffusionPipeline.from_pretrained(tiny_folder, safety_checker=None))


@pytest.fixture(scope="module")
def miniature() -> Model:
    return load_model(device="cpu")


@pytest.fixture(scope="module")
def miniature_reference() -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(MINIATURE_PATH, variant="fp16", dtype=torch.float32)
    return quiet(pipeline)


def quiet(pipeline: StableDiffusionPipeline) -> StableDiffusionPipeline:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def request_for(model: Model, prompt: str, **changes: Any) -> RenderRequest:
    name = changes.pop("scheduler", "DDIMScheduler")
    config = {**model.pipeline.scheduler.config, "skip_prk_steps": True}  # as SD-v1.5 configures its PNDM
    config = getattr(diffusers, name).from_config(config).config
    settings = {"seed": 1, "steps": 3, "guidance": 5.0, "width": 32, "height": 32, **changes}
    return RenderRequest(prompt=prompt, scheduler=name, scheduler_config=dict(config), **settings)


def drawn(engine: RenderEngine, requests: Sequence[RenderRequest]) -> list[torch.Tensor]:
    """Values 0..1 of each request's picture, shape (3, height, width)."""
    pictures = [torch.empty(0)] * len(requests)
    for batch, images in engine.batches(requests):
        for indices, image in zip(batch, images, strict=True):
            for index in indices:
                pictures[index] = image
    return pictures


def drawn_by_diffusers(
    pipeline: StableDiffusionPipeline, request: RenderRequest, **inputs: Any
) -> torch.Tensor:
    pipeline.scheduler = make_scheduler(request.scheduler, request.scheduler_config)
    if request.latents is not None:
        inputs["latents"] = request.latents[None]
    images: torch.Tensor = pipeline(
        request.prompt,
        negative_prompt=request.negative_prompt,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance,
        width=request.width,
        height=request.height,
        output_type="pt",
        **{"generator": torch.Generator().manual_seed(request.seed), **inputs},
    ).images
    return images


def assert_same(pipeline: StableDiffusionPipeline, model: Model, requests: Sequence[RenderRequest]) -> None:
    ours = drawn(RenderEngine(model, bucket=6), requests)
    for request, picture in zip(requests, ours, strict=True):
        [theirs] = drawn_by_diffusers(pipeline, request)
        assert (picture - theirs).abs().max() < LIMIT, request


def mixed(model: Model, content: str, artist: str, **settings: Any) -> list[RenderRequest]:
    """Guidance, negative prompts, seeds and texts mixed in one batch."""
    return [
        request_for(model, content, **settings, guidance=7.5),
        request_for(model, "", **settings, guidance=7.5),
        request_for(model, f"{content} by {artist}", **settings, seed=2, negative_prompt="circle"),
        request_for(model, f"art by {artist}", **settings, seed=3, guidance=1.0),
        request_for(model, content, **settings, seed=3, guidance=1.0, negative_prompt="circle"),
        request_for(model, "a circle " * 50, **settings, seed=4, guidance=2.0),
    ]


# KDPM2 goes through the same loop as Heun, and takes a minute to set its steps.
@pytest.mark.parametrize("scheduler", sorted(DETERMINISTIC_SCHEDULERS - {"KDPM2DiscreteScheduler"}))
def test_on_random_weights(tiny: Model, tiny_reference: StableDiffusionPipeline, scheduler: str) -> None:
    requests = mixed(tiny, "a big star", "amara diallo", scheduler=scheduler)
    requests.append(request_for(tiny, "a circle", scheduler=scheduler, steps=5, width=48, height=32))
    assert_same(tiny_reference, tiny, requests)


@pytest.mark.parametrize("scheduler", REQUIRED)
def test_on_the_miniature(
    miniature: Model, miniature_reference: StableDiffusionPipeline, scheduler: str
) -> None:
    requests = mixed(miniature, "a big star", "Amara Diallo", scheduler=scheduler, width=64, height=64)
    assert_same(miniature_reference, miniature, requests[1:4])


def test_sizes_that_are_no_powers_of_two(tiny: Model, tiny_reference: StableDiffusionPipeline) -> None:
    sizes = [(40, 24), (24, 40), (8, 8), (56, 8)]
    assert_same(
        tiny_reference,
        tiny,
        [request_for(tiny, "a star", width=width, height=height) for width, height in sizes],
    )


def test_given_noise(tiny: Model, tiny_reference: StableDiffusionPipeline) -> None:
    star = replace(request_for(tiny, "a star"), latents=initial_latents(tiny, 99, 32, 32) * 0.7)
    assert_same(tiny_reference, tiny, [star])


def test_many_seeds_of_one_prompt(tiny: Model, tiny_reference: StableDiffusionPipeline) -> None:
    seeds = [5, 6, 7]
    ours = drawn(RenderEngine(tiny, bucket=8), [request_for(tiny, "a star", seed=seed) for seed in seeds])
    theirs = drawn_by_diffusers(
        tiny_reference,
        request_for(tiny, "a star"),
        num_images_per_prompt=len(seeds),
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
    )
    assert (torch.stack(ours) - theirs).abs().max() < LIMIT


def test_the_same_bits_again_and_almost_the_same_in_another_bucket(tiny: Model) -> None:
    requests = mixed(tiny, "a big star", "amara diallo")
    first, again = (torch.stack(drawn(RenderEngine(tiny, bucket=8), requests)) for _ in range(2))
    assert torch.equal(first, again)
    for bucket in (2, 3, 16):
        other = torch.stack(drawn(RenderEngine(tiny, bucket=bucket), requests))
        assert (first - other).abs().max() < 1e-5
