"""Retraining without artists: who is shown what, killed and gone on, and what is kept of it."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from attribution.embedding import CLIP, DESCRIPTOR, make_embedder
from attribution.miniature.generator import BATCH
from attribution.pipeline import load_model
from benchmarks.validity import retrain
from benchmarks.validity.retrain import BASE, MODEL, Deadline, Folder, Trainer, run_name, trainings
from benchmarks.validity.scenes import COALITIONS, EVERYBODY, PLAYERS, members, queries
from benchmarks.validity.true_game import PIXELS, UNIT, TrueGame, write
from database.errors import Invalid

TINY = replace(BASE, steps=3)
FROM_TINY = replace(trainings(steps=2)[1], name=MODEL)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def sha256(folder: Folder, name: str) -> str:
    return retrain.weights_sha256(torch.load(folder.weights(name)))


def test_every_coalition_is_trained_in_every_replicate_and_the_base_first() -> None:
    base, *runs = trainings()
    assert base.begins_from is None and base.coalition == 0
    assert {run.begins_from for run in runs} == {base.name}
    assert {run.steps for run in runs} == {retrain.STEPS}
    assert sorted(run.name for run in runs) == sorted(
        run_name(coalition, replicate) for coalition in COALITIONS for replicate in range(retrain.REPLICATES)
    )
    seeds = {run.name[-1]: {other.seed for other in runs if other.name[-1] == run.name[-1]} for run in runs}
    assert all(len(seed) == 1 for seed in seeds.values()), "one replicate, one sequence of draws"
    assert len(set.union(*seeds.values())) == retrain.REPLICATES


def test_queries_are_every_cast_and_their_prompts_are_read_as_meant() -> None:
    asked = queries()
    assert len({frozenset(query.names) for query in asked}) == 15
    assert len({query.seed for query in asked}) == len(asked) == 60
    one = next(query for query in asked if len(query.names) == 2)
    prompts = retrain.prompts_of(one)
    assert prompts[0] == "" and prompts[1] == f"a {one.shape}" and prompts[-1] == one.prompt
    assert prompts[0b011] == f"a {one.shape} in the style of {one.names[0]}"


def test_a_coalition_is_shown_the_works_of_its_members_alone_by_common_draws(folder: Folder) -> None:
    works = Trainer(folder, examples=200).works

    def drawn(coalition: int) -> list[int]:
        return works.rows(coalition, np.random.default_rng(3))

    for coalition in COALITIONS:
        rows = drawn(coalition)
        assert len(rows) == BATCH
        assert {name for row in rows for name in works.examples[row].names} <= set(members(coalition))
    assert len({tuple(drawn(coalition)) for coalition in COALITIONS}) == len(COALITIONS)
    assert {name for row in drawn(EVERYBODY) for name in works.examples[row].names} == set(PLAYERS)
    # Whom the smaller coalition is shown of a draw, the larger is shown as well.
    mine = set(members(0b0011))
    of_both = [row for row in drawn(EVERYBODY) if mine.issuperset(works.examples[row].names)]
    assert drawn(0b0011)[: len(of_both)] == of_both


def test_a_training_learns_and_goes_on_after_it_was_stopped(tmp_path: Path) -> None:
    through, stopped = Folder(tmp_path / "through"), Folder(tmp_path / "stopped")
    Trainer(through, examples=64).run(TINY)
    untrained = Trainer(through, examples=64)
    untrained.run(replace(TINY, name="untrained", steps=0))
    assert sha256(through, "base") != sha256(through, "untrained")

    with pytest.raises(Deadline):
        Trainer(stopped, minutes=0, examples=64).run(TINY)
    assert stopped.partial("base").exists() and not stopped.weights("base").exists()
    trainer = Trainer(stopped, examples=64)
    trainer.run(TINY)
    assert not stopped.partial("base").exists()
    assert sha256(stopped, "base") == sha256(through, "base"), "as if it had never been stopped"

    trainer.run(FROM_TINY)
    assert sha256(stopped, MODEL) != sha256(stopped, "base")
    trainer.draw(FROM_TINY, queries()[:2])
    drawn = np.load(stopped.pictures(MODEL))
    assert drawn["queries"].shape == (2, 64, 64, 3) and drawn["queries"].std() > 0
    assert drawn["coalitions"].shape == (8, 64, 64, 3)
    # The last coalition of a prompt game is the picture itself.
    assert np.array_equal(drawn["coalitions"][[3, 7]], drawn["queries"])


def test_a_run_is_one_process_own_until_it_ends(folder: Folder) -> None:
    with folder.claim("base", wait=False) as mine:
        assert mine
        with folder.claim("base", wait=False) as also_mine:
            assert not also_mine
    with folder.claim("base", wait=False) as mine:
        assert mine


def test_collecting_before_the_first_replicate_is_done_says_what_is_missing(folder: Folder) -> None:
    with pytest.raises(Invalid, match=r"lacks the runs 0000-0, 0001-0, .*1111-0, 1111-1:"):
        retrain.collect(folder)


def test_what_is_collected_are_the_nearnesses_of_pictures(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Noise for pictures: whatever two of them have in common is in the numbers alone.
    asked = [queries()[0], queries()[16]]
    monkeypatch.setattr(retrain, "queries", lambda: asked)
    monkeypatch.setattr(retrain, "EXAMPLES", 100)
    rng = np.random.default_rng(5)
    finished = [run for run in trainings() if run.name not in ("base", "0011-1")]
    pictures = {run.name: rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8) for run in finished}
    games = rng.integers(0, 256, (4 + 8, 64, 64, 3), dtype=np.uint8)
    for run in finished:
        drawn = {"queries": pictures[run.name]}
        if run.name == MODEL:
            drawn["coalitions"] = games
        np.savez(folder.pictures(run.name), allow_pickle=False, **drawn)
        torch.save({"weight": torch.ones(1)}, folder.weights(run.name))

    file = tmp_path / "kept.json"
    write(retrain.collect(folder), file)
    assert set(json.loads(file.read_text())["runs"]) == {run.name for run in finished}
    for judge in (CLIP, DESCRIPTOR, PIXELS):
        truth = TrueGame.read(file, judge)
        assert [one.query for one in truth.originals] == asked
        first, second = truth.originals
        assert len(first.prompt_game) == 4 and len(second.prompt_game) == 8
        assert math.isnan(first.foretold[0b0011]), "that run was not made"
        assert math.isnan(first.foretold[EVERYBODY]), "a picture is no evidence of itself"
        assert np.isfinite([*first.retrained, *first.foretold]).sum() == 16 + 14
        assert (first.mean_similarity is None) == (judge == PIXELS)

    pixels = TrueGame.read(file, PIXELS).originals[1]
    one, other = (pictures[name][1].astype(float) / 255 for name in ("1111-1", "0101-0"))
    assert pixels.retrained[0b0101] == pytest.approx(1 - abs(one - other).mean(), abs=1 / UNIT)
    one, other = make_embedder(CLIP, load_model(device="cpu")).embed(
        torch.from_numpy(np.stack([pictures["1111-1"][1], games[4 + 5]]))
    )
    clip = TrueGame.read(file, CLIP).originals[1]
    assert clip.prompt_game[5] == round(float(one @ other) * UNIT)
