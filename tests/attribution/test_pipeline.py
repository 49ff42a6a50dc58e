"""Loading models: hashes, the tokenizer's guard, the text window, and what a person is told when one is missing."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from transformers import CLIPTokenizer

from attribution.miniature import MINIATURE_PATH
from attribution.pipeline import (
    Model,
    check_tokenizer,
    load_model,
    loggable_config,
    public_name,
    weights_sha256,
)
from attribution.render import DETERMINISTIC_SCHEDULERS, make_scheduler
from database.errors import Invalid, NotFound, Unavailable


def test_a_model_is_called_by_what_it_is_and_not_by_where_it_lies(tmp_path: Path) -> None:
    assert public_name(MINIATURE_PATH) == "miniature"
    hub_id = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert public_name(hub_id) == hub_id
    (tmp_path / "ours").mkdir()
    assert public_name(tmp_path / "ours") == "ours"


@pytest.mark.parametrize("scheduler", sorted(DETERMINISTIC_SCHEDULERS))
def test_a_logged_scheduler_is_made_again(scheduler: str) -> None:
    made = make_scheduler(scheduler, {"beta_schedule": "scaled_linear"})
    logged = loggable_config(made)
    json.dumps(logged, allow_nan=False)
    again = dict(make_scheduler(scheduler, logged).config)
    assert {name: again[name] for name in made.config if not name.startswith("_")} == {
        name: value for name, value in made.config.items() if not name.startswith("_")
    }


def test_a_folder_loads_for_coalitions(tiny: Model) -> None:
    assert tiny.pipeline.safety_checker is None
    assert (tiny.device.type, tiny.dtype) == ("cpu", torch.float32)
    assert len(tiny.weights_sha256) == len(tiny.embedding_sha256) == 32
    assert tiny.environment()["weights_sha256"] == tiny.weights_sha256.hex()
    assert not any(parameter.requires_grad for parameter in tiny.pipeline.unet.parameters())


def test_the_hash_is_of_the_weights_and_nothing_else(tiny: Model, tiny_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_folder, tmp_path / "copy")
    assert weights_sha256(copy) == tiny.weights_sha256
    (copy / "scheduler" / "scheduler_config.json").write_text("{}")
    (copy / "README.md").write_text("hello")
    assert weights_sha256(copy) == tiny.weights_sha256
    seen = {tiny.weights_sha256}
    for file in ("unet/config.json", "tokenizer/tokenizer.json", "vae/diffusion_pytorch_model.safetensors"):
        content = bytearray((copy / file).read_bytes())
        content[-1] ^= 1
        (copy / file).write_bytes(content)
        seen.add(weights_sha256(copy))
    assert len(seen) == 4


def test_half_precision_files_are_the_model_where_there_are_both(tiny_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_folder, tmp_path / "copy")
    load_model(copy, device="cpu").pipeline.to(torch.float16).save_pretrained(copy, variant="fp16")
    both = weights_sha256(copy)
    loaded = load_model(copy, device="cpu")
    assert loaded.weights_sha256 == both != weights_sha256(tiny_folder)
    assert loaded.pipeline.unet.dtype == torch.float32
    for part in ("unet", "vae", "text_encoder"):
        for file in (copy / part).glob("*.safetensors"):
            if ".fp16." not in file.name:
                file.unlink()
    assert weights_sha256(copy) == both


def test_two_artists_prompts_must_differ(tiny: Model) -> None:
    check_tokenizer(tiny)
    blind = CLIPTokenizer(vocab_file="vocab.json", merges_file="merges.txt", model_max_length=77)
    broken = SimpleNamespace(tokenizer=blind)
    with pytest.raises(Invalid, match="takes different prompts for the same"):
        check_tokenizer(replace(tiny, pipeline=cast(Any, broken)))


def test_the_window_ends_where_the_model_stops_reading(tiny: Model) -> None:
    assert tiny.window_end("a big star") == 10
    prompt = "a big star " * 40
    end = tiny.window_end(prompt)
    assert prompt[:end].split() == ["a", "big", "star"] * 25
    assert tiny.token_ids([prompt]) == tiny.token_ids([prompt[:end]])
    assert tiny.token_ids([prompt]) != tiny.token_ids([prompt[: end - 2]])
    assert tiny.window_end("") == 0
    spaced = "a" + " " * 50_000 + "star"
    assert tiny.window_end(spaced) == len(spaced)


def test_what_a_person_is_told(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(NotFound, match="no model at /nowhere/at/all"):
        load_model("/nowhere/at/all")
    with pytest.raises(NotFound, match="give a folder or a hub id"):
        load_model("nowhere")
    with pytest.raises(Unavailable, match="ROYALTY_DOWNLOAD=1") as missing:
        load_model("nobody-at-all/no-such-model")
    assert "\n" not in missing.value.message
    with pytest.raises(Invalid, match=r"no model_index\.json"):
        load_model(tmp_path)
    broken = shutil.copytree(tiny_folder, tmp_path / "broken")
    (broken / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    with pytest.raises(Invalid, match="cannot be loaded") as damaged:
        load_model(broken)
    assert "\n" not in damaged.value.message
