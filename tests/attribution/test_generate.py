"""Images from prompts: rendered once, logged whole, the same again after anything."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import text

from attribution import broker, generate
from attribution.generate import Generated, generate_images
from attribution.generation import logged_image
from attribution.ingest import Status
from attribution.pictures import images_directory, open_picture
from attribution.pipeline import Model
from attribution.prompt_file import read_prompts
from attribution.render import RenderEngine, RenderRequest
from database.engine import session
from database.roles import Role
from tests.attribution.image_examples import a_method

PROMPTS = "a castle by Amara Diallo\n\n🎨 a ring\na star\na castle by Amara Diallo\n"


@pytest.fixture(autouse=True)
def _method(database: str) -> None:
    with session(Role.ATTRIBUTION) as opened:
        a_method(opened)


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "mine.txt"
    path.write_text(PROMPTS)
    return path


def run(path: Path, engine: RenderEngine, **settings: Any) -> Generated:
    done = generate_images(read_prompts(path), engine, **{"steps": 2, **settings})
    broker.disconnect()
    return done


def test_every_line_is_an_image_with_everything_needed_to_render_it_again(tiny: Model, prompts: Path) -> None:
    engine = RenderEngine(tiny, bucket=4)
    seen: list[tuple[int, int]] = []
    made = run(prompts, engine, seed=40, customer="c-1", progress=lambda *done: seen.append(done))
    assert [line.number for line in made.lines] == [1, 3, 4, 5]
    assert {line.status for line in made.lines} == {Status.RECORDED}
    assert [(line.number, line.reason) for line in made.bad] == [(2, "prompt: is empty")]
    assert seen[0] == (0, 4) and seen[-1] == (4, 4)
    with session(Role.ATTRIBUTION) as opened:
        image = logged_image(opened, made.lines[0].external_id)
        assert (
            opened.scalar(text("SELECT count(*) FROM attribution.attribution_job WHERE state = 'pending'"))
            == 4
        )
    assert (image.seed, image.steps, image.weights_sha256) == (41, 2, tiny.weights_sha256)
    assert image.latents_sha256 is not None and image.prompt == "a castle by Amara Diallo"
    assert image.file is not None
    assert hashlib.sha256((images_directory() / image.file).read_bytes()).digest() == image.file_sha256
    picture = open_picture(image.file, image.file_sha256)
    (again,) = RenderEngine(tiny, bucket=4).render(
        [
            RenderRequest(
                prompt=image.prompt,
                negative_prompt=image.negative_prompt or "",
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
    assert picture is not None and np.array_equal(np.array(picture), again)


def test_a_second_run_renders_nothing(tiny: Model, prompts: Path) -> None:
    engine = RenderEngine(tiny, bucket=4)
    first = run(prompts, engine)
    rendered = engine.stats.rendered
    second = run(prompts, engine)
    assert engine.stats.rendered == rendered
    assert [line.external_id for line in second.lines] == [line.external_id for line in first.lines]
    assert {line.status for line in second.lines} == {Status.KNOWN}


def test_other_settings_are_other_images_and_other_words_are_refused(tiny: Model, prompts: Path) -> None:
    engine = RenderEngine(tiny, bucket=4)
    run(prompts, engine)
    assert {line.status for line in run(prompts, engine, steps=3).lines} == {Status.RECORDED}
    prompts.write_text(PROMPTS.replace("a star", "a ring"))
    changed = run(prompts, engine)
    assert [line.number for line in changed.lines] == [1, 3, 5]
    assert [line.number for line in changed.bad] == [2, 4]
    assert "generated with another prompt before" in changed.bad[1].reason


def test_what_was_rendered_when_it_stopped_is_not_rendered_again(
    tiny: Model, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "_BUCKETS_PER_ROUND", 1)
    engine = RenderEngine(tiny, bucket=4)

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(prompts, engine, progress=stop)
    assert engine.stats.rendered == 2
    statuses = [line.status.value for line in run(prompts, engine).lines]
    assert statuses == ["known", "known", "recorded", "recorded"]
    assert engine.stats.rendered == 4


def test_a_line_that_cannot_be_rendered_leaves_the_others_alone(tiny: Model, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(
        '{"prompt": "a", "width": 8, "height": 4096}\n{"prompt": "b", "external_id": "mine-2", "sale": {"x": 1}}\n'
    )

    class Small(RenderEngine):
        """An engine on a machine without the memory for large pictures."""

        def render(self, requests: Sequence[RenderRequest]) -> list[NDArray[np.uint8]]:
            if any(request.height > 512 for request in requests):
                raise MemoryError
            return super().render(requests)

    made = run(path, Small(tiny, bucket=4))
    assert [(line.number, line.external_id, line.sale) for line in made.lines] == [(2, "mine-2", {"x": 1})]
    assert [(line.number, line.reason) for line in made.bad] == [(1, "cannot be rendered: MemoryError")]
