"""Embeddings beside CLIP, and anchors beside the logged image."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, Dinov2Config, Dinov2Model

from attribution.characteristic import UNIT, Measurer, Valuer, characteristic_function, nearness
from attribution.embedding import CLIP, DESCRIPTOR, DINOV2, embedding_sha256, make_embedder
from attribution.pipeline import Model, load_model
from attribution.render import RenderEngine
from database.errors import Invalid, NotFound
from database.settings import get_settings
from tests.attribution.test_same_pictures import request_for


def pictures(*values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(values).astype(np.uint8))


def similarity(model: Model, a: np.ndarray, b: np.ndarray) -> float:
    one, other = make_embedder(DESCRIPTOR, model).embed(pictures(a, b))
    return float(one @ other)


def test_the_descriptor_sees_colour_layout_and_texture(tiny: Model) -> None:
    rng = np.random.default_rng(0)
    photo = np.clip(
        np.kron(rng.integers(40, 216, (8, 8, 3)), np.ones((8, 8, 1))) + rng.normal(0, 6, (64, 64, 3)), 0, 255
    )
    striped = np.clip(photo + 30 * (np.arange(64) % 4 < 2)[:, None, None], 0, 255)
    assert similarity(tiny, photo, photo) == pytest.approx(1, abs=1e-12)
    for other in (striped, photo[:, ::-1], photo[..., ::-1], np.full_like(photo, 128)):
        assert similarity(tiny, photo, other) < 0.99
    assert similarity(tiny, photo, striped) > similarity(tiny, photo, 255 - photo)
    (plain,) = make_embedder(DESCRIPTOR, tiny).embed(pictures(np.zeros((64, 64, 3))))
    assert np.isfinite(plain).all() and np.linalg.norm(plain) == pytest.approx(1)
    with pytest.raises(Invalid, match="16 by 16"):
        make_embedder(DESCRIPTOR, tiny).embed(pictures(np.zeros((8, 64, 3))))


def test_embeddings_are_told_apart_by_hash(tiny: Model) -> None:
    assert embedding_sha256(CLIP, tiny) == tiny.embedding_sha256
    assert embedding_sha256(DESCRIPTOR, tiny) == make_embedder(DESCRIPTOR, tiny).sha256
    assert len({embedding_sha256(name, tiny) for name in (CLIP, DESCRIPTOR)}) == 2
    with pytest.raises(NotFound, match="descriptor-1"):
        make_embedder("taste", tiny)


def test_dinov2_from_a_folder(tiny: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match="ROYALTY_DINOV2"):
        embedding_sha256(DINOV2, tiny)
    Dinov2Model(
        Dinov2Config(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=28,
            patch_size=14,
            mlp_ratio=2,
        )
    ).save_pretrained(tmp_path)
    CLIPImageProcessor(
        size={"shortest_edge": 28},
        crop_size={"height": 28, "width": 28},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    ).save_pretrained(tmp_path)
    monkeypatch.setenv("ROYALTY_DINOV2", str(tmp_path))
    get_settings.cache_clear()
    embedder = make_embedder(DINOV2, tiny)
    assert embedder.sha256 == embedding_sha256(DINOV2, tiny)
    (measured,) = Measurer(RenderEngine(tiny, bucket=8), embedder).measure([request_for(tiny, "a star")])
    assert measured.embedding.shape == (32,)
    monkeypatch.delenv("ROYALTY_DINOV2")
    get_settings.cache_clear()


def test_values_by_anchor(tiny: Model) -> None:
    rng = np.random.default_rng(0)
    embeddings = dict(enumerate(v / np.linalg.norm(v) for v in rng.normal(size=(8, 16))))
    for name, anchor in (
        ("logged-image-cosine", 7),
        ("logged-image-distance", 7),
        ("artists-picture-cosine", 6),
    ):
        valuer = Valuer(name, tiny)
        assert valuer.always(3) == {0, 7, anchor}
        values = valuer.values("a star", 3, embeddings)
        assert values[anchor] == UNIT == max(values.values())
        assert list(values.values()) == characteristic_function(name)(list(embeddings.values()))
    assert nearness(embeddings[0], -embeddings[0]) == -UNIT


def test_text_is_an_anchor_only_for_a_whole_clip(tiny: Model, tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="set ROYALTY_EMBEDDING_MODEL"):
        Valuer("text-cosine", tiny)
    tokenizer = tiny.pipeline.tokenizer
    small = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4}
    small["projection_dim"] = 16
    CLIPModel(
        CLIPConfig(
            text_config={
                **small,
                "vocab_size": len(tokenizer),
                "bos_token_id": tokenizer.bos_token_id,
                "eos_token_id": tokenizer.eos_token_id,
                "pad_token_id": tokenizer.pad_token_id,
            },
            vision_config={**small, "image_size": 32, "patch_size": 8},
            projection_dim=16,
        )
    ).save_pretrained(tmp_path)
    CLIPImageProcessor(
        size={"shortest_edge": 32},
        crop_size={"height": 32, "width": 32},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    ).save_pretrained(tmp_path)
    whole = load_model(tiny_folder, embedding=tmp_path, device="cpu")
    valuer = Valuer("text-cosine", whole)
    assert valuer.always(2) == {0, 3}
    measured = Measurer(RenderEngine(whole, bucket=8)).measure(
        [request_for(whole, prompt) for prompt in ("", "a star", "art", "a star")]
    )
    embeddings = {coalition: one.embedding for coalition, one in enumerate(measured)}
    values = valuer.values("a star", 2, embeddings)
    other = valuer.values("a big circle", 2, embeddings)
    assert values[1] == values[3] and values != other
    assert all(-UNIT <= value <= UNIT for value in values.values())
