"""Adapters: rendered exactly, logged once and for all, and paid to the artists they belong to."""

import hashlib
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from attribution.adapters import Adapters, AppliedAdapter, store_adapter
from attribution.attribute import Attributor, Catalogue
from attribution.catalogue import Artist, merge_artists
from attribution.game import build_game
from attribution.generate import pipeline_settings
from attribution.generation import Adapter, ImageRecord, LoggedImage, logged_image
from attribution.hook import UsedAdapter, logged
from attribution.ingest import Status, log_images
from attribution.method import MINIATURE_GUIDANCE, MINIATURE_STEPS, default_method, quick_method
from attribution.miniature import ADAPTER_PATH, PLACEBO_PATH
from attribution.name_index import NameIndex
from attribution.pipeline import Model, load_model
from attribution.placebo import find_table, read_tables
from attribution.render import RenderEngine, RenderRequest
from attribution.results import ImageResult
from attribution.shapley import SHARE_SCALE
from attribution.verify import recorded_attribution, redraw, verify
from attribution.worker import Worker
from database.engine import session
from database.errors import Invalid
from database.roles import Role
from settlement.audit.image_page import full_page, write_page

LAYER = "up_blocks.0.attentions.0.transformer_blocks.0.attn2"
TEXT_LAYER = "encoder.layers.0.self_attn.q_proj"
ARTISTS = [
    Artist("amara", 1, "Amara Diallo"),
    Artist("farid", 1, "Farid Naseri"),
    Artist("ottilie", 1, "Ottilie Brandt"),
]
CATALOGUE = Catalogue(NameIndex(ARTISTS), 1)


def lora(size: float = 2.0, rank: int = 2) -> dict[str, torch.Tensor]:
    """Updates of a layer of the tiny UNet and of one of its text encoder, as diffusers and peft save them."""
    drawn = torch.Generator().manual_seed(5)
    made = {}
    for name, inputs, outputs in (
        (f"unet.{LAYER}.to_v", 32, 32),
        (f"unet.{LAYER}.to_out.0", 32, 32),
        (f"text_encoder.text_model.{TEXT_LAYER}", 32, 32),
    ):
        made[f"{name}.lora_A.weight"] = torch.randn(rank, inputs, generator=drawn)
        made[f"{name}.lora_B.weight"] = size * torch.randn(outputs, rank, generator=drawn)
    return made


def stored(weights: dict[str, torch.Tensor], folder: Path, metadata: dict[str, str] | None = None) -> bytes:
    file = folder / "lora.safetensors"
    save_file(weights, file, metadata=metadata)
    return store_adapter(file)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of adapters of this test's own."""
    monkeypatch.setattr("attribution.adapters.adapters_directory", lambda: tmp_path / "adapters")


def asked(model: Model, prompt: str, *adapters: AppliedAdapter, seed: int = 3) -> RenderRequest:
    scheduler = model.pipeline.scheduler
    return RenderRequest(
        prompt=prompt, seed=seed, steps=2, guidance=3.0, width=32, height=32,
        scheduler=type(scheduler).__name__, scheduler_config=dict(scheduler.config), adapters=adapters,
    )  # fmt: skip


def weights_of(model: Model) -> str:
    digest = hashlib.sha256()
    for part in (model.pipeline.unet, model.pipeline.text_encoder):
        for weight in part.state_dict().values():
            digest.update(weight.contiguous().numpy().tobytes())
    return digest.hexdigest()


def test_rows_with_and_without_adapters_are_rendered_as_alone_and_the_weights_come_back(
    tiny: Model, tmp_path: Path
) -> None:
    before = weights_of(tiny)
    one = AppliedAdapter(stored(lora(), tmp_path).hex(), 1.0)
    weaker = one._replace(scale=0.5)
    nothing = AppliedAdapter(stored(lora(size=0.0), tmp_path).hex(), 1.0)
    sets = [(), (one,), (weaker,), (nothing,)]
    requests = [asked(tiny, prompt, *some) for some in sets for prompt in ("a castle", "a ring")]
    engine = RenderEngine(tiny, bucket=8, threads=1)
    together = engine.render(requests)
    assert weights_of(tiny) == before
    for request, picture in zip(requests, together, strict=True):
        (alone,) = RenderEngine(tiny, bucket=8, threads=1).render([request])
        assert (alone == picture).all()
    base, adapted, half, unmoved = (together[2 * place] for place in range(4))
    assert (base == unmoved).all()
    assert len({picture.tobytes() for picture in (base, adapted, half)}) == 3
    assert len({engine.key(request) for request in requests}) == len(requests)


def test_what_is_merged_is_up_times_down_at_the_scale_and_alpha_of_every_format(
    tiny: Model, tmp_path: Path
) -> None:
    given = lora(rank=2)
    module = tiny.pipeline.unet.get_submodule(f"{LAYER}.to_v")
    down, up = (given[f"unet.{LAYER}.to_v.lora_{part}.weight"] for part in "AB")
    unet = {key: tensor for key, tensor in given.items() if key.startswith("unet.")}
    kohya = {}
    for key, tensor in unet.items():
        layer, part = key.removeprefix("unet.").rsplit(".lora_", 1)
        name = "lora_unet_" + layer.replace(".", "_")
        kohya[f"{name}.lora_{'down' if part[0] == 'A' else 'up'}.weight"] = tensor
        kohya[f"{name}.alpha"] = torch.tensor(6.0)
    processors = {
        key.replace(".to_v.lora_A", ".processor.to_v_lora.down").replace(".to_v.lora_B", ".processor.to_v_lora.up")
        .replace(".to_out.0.lora_A", ".processor.to_out_lora.down")
        .replace(".to_out.0.lora_B", ".processor.to_out_lora.up"): tensor
        for key, tensor in unet.items()
    }  # fmt: skip
    config = json.dumps({"unet.r": 2, "unet.lora_alpha": 6})
    for weights, metadata, strength in (
        (unet, None, 1.0),
        (unet, {"lora_adapter_metadata": config}, 3.0),
        (kohya, None, 3.0),
        (processors, None, 1.0),
    ):
        sha256 = stored(weights, tmp_path, metadata).hex()
        original = module.weight.detach().clone()
        with Adapters(tiny.pipeline).applied([AppliedAdapter(sha256, -0.5), AppliedAdapter(sha256, 1.0)]):
            torch.testing.assert_close(module.weight, original + 0.5 * strength * (up @ down))
        assert torch.equal(module.weight, original)


def test_what_is_no_lora_of_this_model_is_refused_by_name(tiny: Model, tmp_path: Path) -> None:
    adapters = Adapters(tiny.pipeline)
    for weights, message in (
        ({f"unet.{LAYER}.to_v.bias": torch.zeros(3, 3)}, "no low-rank update of a layer"),
        ({f"unet.{LAYER}.to_v.lora_A.weight": torch.zeros(2, 32)}, "lacks half"),
        ({f"unet.no.layer.lora_{part}.weight": torch.zeros(2, 2) for part in "AB"}, "for another model"),
        ({f"unet.{LAYER}.to_v.lora_{part}.weight": torch.zeros(7, 7) for part in "AB"}, "has another size"),
        ({f"unet.{LAYER}.to_v.lora_A.weight": torch.zeros(600, 32),
          f"unet.{LAYER}.to_v.lora_B.weight": torch.zeros(32, 600)}, "has rank 600"),
        ({f"unet.{LAYER}.to_v.lora_A.weight": torch.zeros(0, 32),
          f"unet.{LAYER}.to_v.lora_B.weight": torch.zeros(32, 0)}, "has rank 0"),
        (lora(size=float("nan")), "no numbers"),
        (lora() | {f"unet.{LAYER}.to_v.dora_scale": torch.ones(32, 1)}, "is a DoRA"),
        (lora() | {f"unet.{LAYER}.to_v.lora_magnitude_vector": torch.ones(32)}, "no low-rank update of a layer"),
    ):  # fmt: skip
        with pytest.raises(Invalid, match=message):
            adapters.load(stored(weights, tmp_path).hex())
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no safetensors")
    with pytest.raises(Invalid, match="no LoRA file"):
        adapters.load(store_adapter(broken).hex())


def test_who_is_named_and_owns_an_adapter_is_one_player() -> None:
    made_with = [
        Adapter(sha256=bytes([n]) * 32, artist=owner) for n, owner in enumerate(("o", "amara", "o"), 1)
    ]
    game = build_game("a castle by Amara Diallo", CATALOGUE.names, adapters=made_with)
    assert game.artists == ("amara", "o")
    assert [[adapter.artist for adapter in game.adapters(c)] for c in range(8)] == [
        [], [], ["amara"], ["amara"], ["o", "o"], ["o", "o"], ["o", "amara", "o"], ["o", "amara", "o"],
    ]  # fmt: skip
    assert game.prompt(0b101) == "a castle"
    assert game.prompt(0b100) == ""
    assert game.prompt(0b010) == "art by Amara Diallo"


def a_record(model: Model, sha256: bytes, **changes: object) -> ImageRecord:
    settings = {
        **pipeline_settings(model),
        "steps": 2,
        "guidance": 3,
        "seed": 4,
        "prompt": "a castle by Bruno Keller",
    }
    adapters = [{"sha256": sha256.hex(), "scale": "0.8", "artist": "chiyo"}]
    return ImageRecord.model_validate({"external_id": "x", "adapters": adapters, **settings, **changes})


def test_from_the_log_to_shares_and_back(world: str, worker: Worker, tiny: Model, tmp_path: Path) -> None:
    sha256 = stored(lora(), tmp_path)
    record = a_record(tiny, sha256)
    missing = a_record(tiny, bytes(32), external_id="missing")
    other_file = stored(lora(size=1.0), tmp_path)
    stranger = [{"sha256": other_file.hex(), "artist": "nobody"}]
    unknown = a_record(tiny, sha256, external_id="unknown", adapters=stranger)
    with session(Role.ATTRIBUTION) as opened:
        outcomes = log_images(opened, [record, missing, unknown])
        assert [outcome.status for outcome in outcomes] == [Status.RECORDED] * 3
    with session(Role.ATTRIBUTION) as opened:
        other = record.model_copy(update={"adapters": []})
        assert [one.status for one in log_images(opened, [record, other])] == [Status.KNOWN, Status.REFUSED]
        image = logged_image(opened, "x")
    assert [(one.sha256, one.scale, one.artist) for one in image.adapters] == [
        (sha256, Decimal("0.8"), "chiyo")
    ]
    worker.run(seconds=60, more=lambda: None)
    with session(Role.ATTRIBUTION) as opened:
        recorded = recorded_attribution(opened, "x")
        reasons: dict[str, str] = dict(
            opened.execute(
                text("SELECT external_id, last_error FROM attribution.attribution_job AS j"
                     " JOIN attribution.image AS i ON i.id = j.image_id WHERE last_error IS NOT NULL")
            ).all()
        )  # fmt: skip
    assert "put its .safetensors file into the folder adapters" in reasons["missing"]
    assert "is no artist of the catalogue: add nobody" in reasons["unknown"]
    assert [share.player for share in recorded.shares] == ["C", "bruno", "chiyo"]
    again = verify(recorded, tiny)
    assert again.agrees and again.same_pictures == 8
    pictures = redraw(recorded, tiny, range(8))
    assert all(one.same_picture for one in pictures)
    page = write_page(full_page(recorded, pictures))
    assert "owner of an adapter" in page and sha256.hex() in page
    with session(Role.AUDITOR) as opened:
        rows = opened.execute(text("SELECT image, artist_id, name, scale FROM audit.image_adapters")).all()
        assert ("x", "chiyo", "Chiyo Moriwaki", Decimal("0.8")) in [tuple(row) for row in rows]
        assert opened.execute(text("SELECT FROM audit.attribution_conservation")).all() == []


def test_an_adapter_belongs_to_one_artist_and_to_whom_she_was_merged_into(
    world: str, worker: Worker, tiny: Model, tmp_path: Path
) -> None:
    sha256 = stored(lora(), tmp_path)

    def of(artist: str, name: str) -> ImageRecord:
        adapters = [{"sha256": sha256.hex(), "artist": artist}]
        return a_record(tiny, sha256, external_id=name, adapters=adapters)

    with session(Role.ATTRIBUTION) as opened:
        first, second = log_images(opened, [of("chiyo", "hers"), of("amara", "not hers")])
    assert (first.status, second.status) == (Status.RECORDED, Status.REFUSED)
    assert second.reason == (
        f"the adapter {sha256.hex()[:12]} belongs to chiyo, who was logged with it first, and not to amara: name its"
        " owner"
    )
    with session(Role.ATTRIBUTION) as opened:
        assert [one.status for one in log_images(opened, [of("amara", "still not")])] == [Status.REFUSED]
    # Past ingestion the database refuses it too.
    with session(Role.ATTRIBUTION) as opened:
        log_images(opened, [a_record(tiny, sha256, external_id="bare", adapters=[])])
    with session(Role.ATTRIBUTION) as opened:
        log_images(opened, [a_record(tiny, sha256, external_id="barer", adapters=[])])
        with pytest.raises(DBAPIError, match="belongs to another artist"):
            opened.execute(
                text("INSERT INTO attribution.image_adapter SELECT id, 1, :sha256, 1, 'amara'"
                     " FROM attribution.image WHERE external_id = 'barer'"), {"sha256": sha256},
            )  # fmt: skip
        opened.rollback()
    with session(Role.ATTRIBUTION) as opened:
        merge_artists(opened, "chiyo", "amara", actor="mara", reason="one person")
        assert [one.status for one in log_images(opened, [of("amara", "hers by now")])] == [Status.RECORDED]
    worker.run(seconds=60, more=lambda: None)
    with session(Role.ATTRIBUTION) as opened:
        for name in ("hers", "hers by now"):
            recorded = recorded_attribution(opened, name)
            assert [share.player for share in recorded.shares] == ["C", "bruno", "amara"], name
            assert "owner of an adapter" in write_page(full_page(recorded, redraw(recorded, tiny, range(8))))
    with session(Role.AUDITOR) as opened:
        rows = opened.execute(text("SELECT sha256, kind, artist_id FROM audit.materials")).all()
        assert [tuple(row) for row in rows] == [(sha256.hex(), "adapter", "chiyo")]
        assert opened.execute(text("SELECT * FROM audit.material_faults")).all() == []
    with session(Role.ADMIN) as opened:
        opened.execute(text("SET LOCAL event_triggers = off"))
        opened.execute(text("ALTER TABLE attribution.image_adapter DISABLE TRIGGER USER"))
        opened.execute(
            text("INSERT INTO attribution.image_adapter SELECT id, 2, :sha256, 1, 'bruno' FROM attribution.image"
                 " WHERE external_id = 'bare'"), {"sha256": sha256},
        )  # fmt: skip
        faults = opened.execute(text("SELECT image, named, owner FROM audit.material_faults")).all()
        assert [tuple(row) for row in faults] == [("bare", "bruno", "chiyo")]
        opened.rollback()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE attribution.material SET artist = 'amara'", "append-only"),
        ("DELETE FROM attribution.image_adapter", "append-only"),
        ("UPDATE attribution.image_adapter SET artist = 'amara'", "append-only"),
        (
            "INSERT INTO attribution.image_adapter SELECT id, 2, sha256('other'), 1, 'amara' FROM attribution.image",
            "takes no further adapters",
        ),
    ],
)
def test_what_an_image_was_made_with_stays(world: str, tiny: Model, statement: str, message: str) -> None:
    with session(Role.ATTRIBUTION) as opened:
        log_images(opened, [a_record(tiny, bytes(32))])
    with session(Role.ADMIN) as opened, pytest.raises(DBAPIError, match=message):
        opened.execute(text(statement))


def test_the_hook_makes_pictures_with_adapters_and_logs_them(
    database: str, tiny: Model, tiny_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.safetensors"
    save_file(lora(), file)
    pipeline = logged(tiny.pipeline, source=str(tiny_folder))
    before = weights_of(tiny)
    call: dict[str, Any] = {"seed": 7, "num_inference_steps": 2, "guidance_scale": 3.0}
    pipeline("a castle", external_id="plain", **call)
    made = pipeline("a castle", external_id="adapted", adapters=[UsedAdapter(file, "amara")], **call)
    assert weights_of(tiny) == before
    with session(Role.ATTRIBUTION) as opened:
        plain, adapted = (logged_image(opened, name) for name in ("plain", "adapted"))
    assert plain.adapters == () and plain.file_sha256 != adapted.file_sha256
    (used,) = adapted.adapters
    assert (used.sha256, used.artist) == (hashlib.sha256(file.read_bytes()).digest(), "amara")
    attributor = Attributor(tiny, quick_method(tiny))
    (ours,) = attributor.measurer.engine.render([attributor.request(adapted, "a castle", adapted.adapters)])
    assert np.abs(np.array(made.images[0]).astype(int) - ours.astype(int)).max() <= 1


def an_image(model: Model, number: int, prompt: str, adapters: tuple[Adapter, ...]) -> LoggedImage:
    settings = pipeline_settings(model)
    del settings["model"]
    return LoggedImage(
        id=number, external_id=f"img-{number}", prompt=prompt, negative_prompt="", salt=bytes(16), seed=number,
        steps=MINIATURE_STEPS, guidance=Decimal(str(MINIATURE_GUIDANCE)), eta=Decimal(0), latents_sha256=None,
        file=None, file_sha256=None, artists=None, adapters=adapters, **settings,
    )  # fmt: skip


@pytest.fixture(scope="module")
def miniature() -> Model:
    return load_model(device="cpu")


@pytest.fixture(scope="module")
def shares(miniature: Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    """What images of the miniature pay in ppb: with its LoRA, with one of zero update, with a name beside."""
    folder = tmp_path_factory.mktemp("adapters")
    null = folder / "null.safetensors"
    save_file(
        {key: 0 * value if "lora_B" in key else value for key, value in load_file(ADAPTER_PATH).items()}, null
    )
    method = replace(default_method(miniature), minimum_fidelity=None, protocol_steps=8)
    table = find_table(read_tables(PLACEBO_PATH), default_method(miniature), miniature.weights_sha256)
    assert table is not None
    levels = {players: table.of(players) or () for players in (2, 3)}
    mine = Adapter(sha256=hashlib.sha256(ADAPTER_PATH.read_bytes()).digest(), artist="ottilie")
    nothing = Adapter(sha256=hashlib.sha256(null.read_bytes()).digest(), artist="ottilie")
    images = {
        "alone": ("a big circle", (mine,)),
        "null": ("a big circle by Amara Diallo", (nothing,)),
        "null alone": ("a big circle", (nothing,)),
        "both": ("a big circle in the style of Farid Naseri", (mine,)),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("attribution.adapters.adapters_directory", lambda: folder)
        outcomes = Attributor(miniature, method).attribute(
            [an_image(miniature, key, *given) for key, given in enumerate(images.values())], CATALOGUE, levels
        )
    found = {}
    for name, outcome in zip(images, outcomes.values(), strict=True):
        assert isinstance(outcome, ImageResult), outcome
        found[name] = {player.player: player.share_ppb for player in outcome.players}
    return found


def test_the_owner_of_an_adapter_earns_a_clear_share(shares: dict[str, dict[str, int]]) -> None:
    assert shares["alone"]["ottilie"] > SHARE_SCALE // 5
    assert sum(shares["alone"].values()) == SHARE_SCALE


def test_an_adapter_that_does_nothing_earns_nothing(shares: dict[str, dict[str, int]]) -> None:
    assert shares["null"]["ottilie"] == 0 and shares["null"]["amara"] > SHARE_SCALE // 5
    assert set(shares["null alone"].values()) == {0}


def test_a_named_artist_and_the_owner_of_an_adapter_are_both_paid(shares: dict[str, dict[str, int]]) -> None:
    assert min(shares["both"]["ottilie"], shares["both"]["farid"]) > SHARE_SCALE // 10
