"""The hook around a real `StableDiffusionPipeline`: what it makes is logged, and can be made again."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from sqlalchemy import text

from attribution import broker
from attribution.generation import LoggedImage, logged_image
from attribution.hook import LoggedPipeline, logged
from attribution.pictures import open_picture
from attribution.pipeline import Model
from attribution.render import RenderEngine, RenderRequest
from database.engine import session
from database.errors import Conflict, Invalid
from database.roles import Role
from tests.attribution.image_examples import a_method


@pytest.fixture
def pipeline(database: str, tiny_folder: Path) -> Iterator[LoggedPipeline]:
    with session(Role.ATTRIBUTION) as opened:
        a_method(opened)
    loaded = StableDiffusionPipeline.from_pretrained(tiny_folder, safety_checker=None)
    loaded.set_progress_bar_config(disable=True)
    yield logged(loaded, customer="c-1")
    broker.disconnect()


def in_log(external_id: str) -> LoggedImage:
    with session(Role.ATTRIBUTION) as opened:
        return logged_image(opened, external_id)


def test_what_it_makes_is_logged_and_our_engine_makes_it_again(pipeline: LoggedPipeline, tiny: Model) -> None:
    made = pipeline(
        ["a castle by Amara Diallo", "a ring"],
        seed=[7, 8],
        external_id=["one", "two"],
        negative_prompt="blurred",
        num_inference_steps=3,
        guidance_scale=4.5,
    )
    assert [outcome.external_id for outcome in made.outcomes] == ["one", "two"]
    for name, seed, picture in zip(("one", "two"), (7, 8), made.images, strict=True):
        image = in_log(name)
        assert (image.seed, image.steps, float(image.guidance)) == (seed, 3, 4.5)
        assert (image.negative_prompt, image.weights_sha256) == ("blurred", tiny.weights_sha256)
        assert image.file is not None and image.prompt is not None
        stored = open_picture(image.file, image.file_sha256)
        assert stored is not None and np.array_equal(np.array(stored), np.array(picture))
        (again,) = RenderEngine(tiny).render(
            [
                RenderRequest(
                    prompt=image.prompt,
                    negative_prompt="blurred",
                    seed=image.seed,
                    steps=image.steps,
                    guidance=float(image.guidance),
                    width=image.width,
                    height=image.height,
                    scheduler=image.scheduler,
                    scheduler_config=image.scheduler_config,
                )
            ]
        )
        # Another batch shape: the same picture but for rounding.
        assert np.abs(np.array(picture).astype(int) - again.astype(int)).max() <= 1
    with session(Role.ATTRIBUTION) as opened:
        assert opened.scalar(text("SELECT count(*) FROM attribution.attribution_job")) == 2
        assert set(opened.scalars(text("SELECT customer FROM attribution.image"))) == {"c-1"}


def test_generators_give_their_seeds_and_without_any_each_picture_has_its_own(
    pipeline: LoggedPipeline,
) -> None:
    given = pipeline("a", generator=torch.Generator().manual_seed(11), num_inference_steps=1)
    assert in_log(given.outcomes[0].external_id).seed == 11
    several = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    both = pipeline("a", num_images_per_prompt=2, generator=several, num_inference_steps=1)
    assert [in_log(outcome.external_id).seed for outcome in both.outcomes] == [1, 2]
    drawn = pipeline("a", num_images_per_prompt=2, num_inference_steps=1)
    assert len({in_log(outcome.external_id).seed for outcome in drawn.outcomes}) == 2


def test_the_same_id_is_one_image_and_its_file_stays(pipeline: LoggedPipeline) -> None:
    first = pipeline("a castle", seed=1, external_id="x", num_inference_steps=1)
    again = pipeline("a castle", seed=1, external_id="x", num_inference_steps=1)
    assert [made.outcomes[0].status.value for made in (first, again)] == ["recorded", "known"]
    with pytest.raises(Conflict, match="logged with other content"):
        pipeline("a castle", seed=2, external_id="x", num_inference_steps=1)
    image = in_log("x")
    assert image.file is not None and open_picture(image.file, image.file_sha256) is not None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip_skip": 1}, "clip_skip cannot be logged"),
        ({"prompt_embeds": torch.zeros(1)}, "prompt_embeds cannot be logged"),
        ({"seed": [1, 2]}, "1 pictures need 1 seeds, not 2"),
        ({"num_images_per_prompt": 2, "generator": torch.Generator()}, "2 pictures need 2 seeds, not 1"),
        ({"latents": torch.zeros(1, 4, 8, 8)}, "latents can only be logged by the seed"),
        ({"negative_prompt": ["a", "b"]}, "1 pictures need 1 of negative_prompt, not 2"),
        ({"num_images_per_prompt": 2, "external_id": "x"}, "2 pictures need an external_id each"),
    ],
)
def test_what_cannot_be_made_again_is_refused_before_it_is_made(
    pipeline: LoggedPipeline, settings: dict, message: str
) -> None:
    with pytest.raises(Invalid, match=message):
        pipeline("a castle", **settings)
    with session(Role.ATTRIBUTION) as opened:
        assert opened.scalar(text("SELECT count(*) FROM attribution.image")) == 0


def test_everything_else_is_the_pipelines_own(pipeline: LoggedPipeline) -> None:
    assert pipeline.unet.config.in_channels == 4
