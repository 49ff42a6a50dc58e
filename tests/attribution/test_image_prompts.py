"""Image prompts: rendered as diffusers renders them, logged with one owner, and paid to the artists whose they are."""

import csv
import hashlib
import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image as Picture
from safetensors.torch import load_file, save_file
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from attribution.adapters import store_adapter
from attribution.attention import text_layers
from attribution.attribute import Attributor, Catalogue, Fails, Waits
from attribution.catalogue import Artist
from attribution.game import build_game
from attribution.generate import pipeline_settings
from attribution.generation import Adapter, ImageRecord, LoggedImage, LoggedImagePrompt, logged_image
from attribution.image_encoder import ImageEncoder
from attribution.image_file import parse_image, read_images
from attribution.image_prompts import AppliedImagePrompt, ImageAdapters
from attribution.ingest import Status, log_images
from attribution.method import (
    MINIATURE_GUIDANCE,
    MINIATURE_STEPS,
    default_method,
    quick_method,
)
from attribution.miniature import IMAGE_ADAPTER_PATH, PLACEBO_PATH
from attribution.miniature.artists import blend
from attribution.miniature.drawing import Jitter, Scene, canvas
from attribution.name_index import NameIndex
from attribution.pipeline import Model, load_model
from attribution.placebo import find_table, read_tables
from attribution.prompt_file import read_prompts
from attribution.registration import (
    configured_method,
    ensure_method,
    shipped_recognition,
    shipped_tables,
)
from attribution.render import RenderEngine, RenderRequest, initial_latents
from attribution.results import ImageResult
from attribution.shapley import SHARE_SCALE
from attribution.verify import recorded_attribution, redraw, verify
from attribution.worker import Worker
from cli.images import OwnedFile, generate
from cli.periods import approve_draft, close_period, hand_in
from database.engine import session
from database.errors import Invalid, Unavailable
from database.roles import Role
from database.settings import get_settings
from settlement.audit.image_page import full_page, write_page
from settlement.catalogue_file import load_catalogue
from settlement.privacy import erase_customer, export_customer
from settlement.sales import SaleRecord, record_sales
from tests.attribution.abuse import CATALOGUE as CATALOGUE_FILE

WIDTH = 16
"""Numbers in an embedding of the tiny model's tower."""
ARTISTS = [
    Artist("amara", 1, "Amara Diallo"),
    Artist("farid", 1, "Farid Naseri"),
    Artist("ottilie", 1, "Ottilie Brandt"),
]
CATALOGUE = Catalogue(NameIndex(ARTISTS), 1)


def ip_adapter(model: Model, seed: int = 5, width: int = WIDTH) -> dict[str, torch.Tensor]:
    """An IP-Adapter of random weights for a model."""
    drawn = torch.Generator().manual_seed(seed)
    texts = model.pipeline.unet.config.cross_attention_dim
    made = {
        "image_proj.proj.weight": torch.randn(4 * texts, width, generator=drawn),
        "image_proj.proj.bias": torch.randn(4 * texts, generator=drawn),
        "image_proj.norm.weight": torch.ones(texts),
        "image_proj.norm.bias": torch.zeros(texts),
    }
    for place, layer in enumerate(text_layers(model.pipeline.unet)):
        for part in "kv":
            weight = torch.randn(layer.to_k.weight.shape, generator=drawn)
            made[f"ip_adapter.{2 * place + 1}.to_{part}_ip.weight"] = weight
    return made


def stored(weights: dict[str, torch.Tensor], folder: Path) -> bytes:
    file = folder / "given.safetensors"
    save_file(weights, file)
    return store_adapter(file)


def embedding(seed: int, width: int = WIDTH) -> bytes:
    return torch.randn(width, generator=torch.Generator().manual_seed(seed)).numpy().astype("<f4").tobytes()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of adapters of this test's own."""
    monkeypatch.setattr("attribution.adapters.adapters_directory", lambda: tmp_path / "adapters")


def asked(
    model: Model, prompt: str, *shown: AppliedImagePrompt, guidance: float = 3.0, **changes: Any
) -> RenderRequest:
    scheduler = model.pipeline.scheduler
    return RenderRequest(**{
        "prompt": prompt, "seed": 3, "steps": 3, "guidance": guidance, "width": 32, "height": 32,
        "scheduler": type(scheduler).__name__, "scheduler_config": dict(scheduler.config), "image_prompts": shown,
        **changes,
    })  # fmt: skip


def rendered(engine: RenderEngine, requests: Sequence[RenderRequest]) -> list[torch.Tensor]:
    """Pictures with values 0..1, shape (height, width, 3), in the order of the requests."""
    found: dict[int, torch.Tensor] = {}
    for indices, images in engine.batches(requests):
        for places, image in zip(indices, images, strict=True):
            found |= {place: image.permute(1, 2, 0).clone() for place in places}
    return [found[place] for place in range(len(requests))]


def by_diffusers(
    pipeline: StableDiffusionPipeline, request: RenderRequest, adapters: Sequence[str]
) -> torch.Tensor:
    """The picture that diffusers makes, with these adapters loaded."""
    scales, embeddings = [], []
    for adapter in adapters:
        mine = [one for one in request.image_prompts if one.adapter == adapter]
        scales.append(mine[0].scale if mine else 0.0)
        shown = np.stack([np.frombuffer(one.embedding, "<f4") for one in mine] or [np.zeros(WIDTH, "<f4")])
        both = torch.from_numpy(np.stack([np.zeros_like(shown), shown]))
        embeddings.append(both if request.guidance > 1 else both[1:])
    pipeline.set_ip_adapter_scale(scales)
    made = pipeline(
        request.prompt, negative_prompt=request.negative_prompt, num_inference_steps=request.steps,
        guidance_scale=request.guidance, width=32, height=32, output_type="pt",
        latents=initial_latents(pipeline, request.seed, 32, 32)[None], ip_adapter_image_embeds=embeddings,
    )  # fmt: skip
    return made.images[0].permute(1, 2, 0)


def test_many_coalitions_in_one_batch_are_what_diffusers_makes_of_each(
    tiny: Model, tiny_folder: Path, tmp_path: Path
) -> None:
    files = [tmp_path / f"{seed}.safetensors" for seed in (5, 6)]
    adapters = []
    for seed, file in zip((5, 6), files, strict=True):
        save_file(ip_adapter(tiny, seed), file)
        adapters.append(store_adapter(file).hex())
    one, other = adapters
    requests = [
        asked(tiny, prompt, *shown, guidance=guidance)
        for prompt in ("a castle", "a ring by Bruno Keller", "")
        for guidance in (3.0, 1.0)
        for shown in (
            (),
            (AppliedImagePrompt(one, 1.0, embedding(1)),),
            (AppliedImagePrompt(one, 0.4, embedding(2)), AppliedImagePrompt(one, 0.4, embedding(1))),
            (AppliedImagePrompt(one, 1.0, embedding(1)), AppliedImagePrompt(other, 0.7, embedding(3))),
        )
    ]
    engine = RenderEngine(tiny, bucket=16, threads=1)
    together = rendered(engine, requests)
    # In full batches, whatever they see: no more padding than pictures without any would take.
    # "" alone needs no guidance, and is one picture with and without.
    assert (engine.stats.rendered, engine.stats.unet_samples) == (23, 3 * (2 * 12 + 10))
    assert engine.stats.padding_samples < 3 * 16
    assert len({engine.key(request) for request in requests if request.guidance > 1}) == 12
    with_adapters = StableDiffusionPipeline.from_pretrained(
        tiny_folder, safety_checker=None, local_files_only=True
    )
    with_adapters.set_progress_bar_config(disable=True)
    with_adapters.load_ip_adapter(
        str(tmp_path), subfolder="", weight_name=[file.name for file in files], image_encoder_folder=None
    )
    without = StableDiffusionPipeline.from_pretrained(tiny_folder, safety_checker=None, local_files_only=True)
    without.set_progress_bar_config(disable=True)
    for request, picture in zip(requests, together, strict=True):
        if request.image_prompts:
            theirs = by_diffusers(with_adapters, request, adapters)
        else:
            theirs = without(
                request.prompt, negative_prompt="", num_inference_steps=3, guidance_scale=request.guidance, width=32,
                height=32, output_type="pt", latents=initial_latents(tiny, 3, 32, 32)[None],
            ).images[0].permute(1, 2, 0)  # fmt: skip
        assert (picture - theirs).abs().max() < 1e-4
    for place in (0, 1, 2, 3, 11):
        (alone,) = rendered(RenderEngine(tiny, bucket=16, threads=1), [requests[place]])
        assert torch.equal(alone, together[place]), "no row depends on its neighbours"
    assert len({picture.numpy().tobytes() for picture in together[:4]}) == 4


def test_what_has_no_weight_adds_exactly_nothing(tiny: Model, tmp_path: Path) -> None:
    adapter = stored(ip_adapter(tiny), tmp_path).hex()
    nothing = stored(
        {key: 0 * weight if "to_v_ip" in key else weight for key, weight in ip_adapter(tiny).items()},
        tmp_path,
    ).hex()
    shown = AppliedImagePrompt(adapter, 1.0, embedding(1))
    engine = RenderEngine(tiny, bucket=8, threads=1)
    base, seen, scale_0, weights_0 = engine.render(
        [
            asked(tiny, "a castle"),
            asked(tiny, "a castle", shown),
            asked(tiny, "a castle", shown._replace(scale=0.0)),
            asked(tiny, "a castle", shown._replace(adapter=nothing)),
        ]
    )
    assert (base == scale_0).all() and (base == weights_0).all() and (base != seen).any()
    (afterwards,) = engine.render([asked(tiny, "a castle")])
    assert (afterwards == base).all(), "the model is what it was"


def test_what_cannot_be_rendered_is_refused_in_a_line(tiny: Model, tmp_path: Path) -> None:
    good = ip_adapter(tiny)
    layers = {key: weight for key, weight in good.items() if key.startswith("ip_adapter.")}
    for weights, message in (
        (layers, "no plain IP-Adapter"),
        ({**layers, "image_proj.latents": torch.zeros(1, 16, 8)}, "no plain IP-Adapter"),
        ({key: weight for key, weight in good.items() if "ip_adapter.1." not in key}, "layers that attend to texts"),
        ({**good, "ip_adapter.1.to_k_ip.weight": torch.zeros(32, 48)}, "has another size"),
        ({**good, "image_proj.proj.weight": torch.zeros(5, WIDTH)}, "for another model"),
        ({**good, "image_proj.proj.bias": good["image_proj.proj.bias"] / 0}, "no numbers"),
    ):  # fmt: skip
        with pytest.raises(Invalid, match=message) as refused:
            ImageAdapters(tiny).load(stored(weights, tmp_path).hex())
        assert "\n" not in refused.value.message
    adapter = stored(good, tmp_path).hex()
    one = AppliedImagePrompt(adapter, 1.0, embedding(1))
    for prompts, message in (
        ([one._replace(embedding=embedding(1, 8))], f"takes embeddings of {WIDTH} numbers, and .* has 8"),
        ([one._replace(embedding=np.full(WIDTH, np.nan, "<f4").tobytes())], "is no number"),
        ([one, one._replace(scale=0.5, embedding=embedding(2))], "at one scale"),
        ([one._replace(embedding=embedding(n)) for n in range(9)], "too many"),
    ):  # fmt: skip
        with pytest.raises(Invalid, match=message):
            RenderEngine(tiny, bucket=8).key(asked(tiny, "a castle", *prompts))
    with pytest.raises(Unavailable, match="file into the folder adapters"):
        ImageAdapters(tiny).check([one._replace(adapter=64 * "0")])


def a_prompt(sha256: bytes, owner: str, number: int = 1, **changes: Any) -> dict[str, Any]:
    """An image prompt as JSON has it."""
    return {
        "adapter_sha256": sha256.hex(), "embedding": b64encode(embedding(number)).decode(), "artist": owner,
        "picture_sha256": hashlib.sha256(b"picture %d" % number).hexdigest(), **changes,
    }  # fmt: skip


def a_record(model: Model, name: str, prompts: Sequence[dict[str, Any]], **changes: Any) -> ImageRecord:
    record, _ = parse_image(
        {
            **pipeline_settings(model), "external_id": name, "steps": 2, "guidance": 3, "seed": 4,
            "prompt": "a castle by Bruno Keller", "image_prompts": list(prompts), **changes,
        }
    )  # fmt: skip
    return record


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding": "%%%"}, "base64"),
        ({"embedding": "AAA="}, "fp32 numbers"),
        ({"scale": 0}, "does nothing"),
        ({"scale": "0.5"}, "at one scale"),
        ({"embedding": b64encode(embedding(1)).decode()}, "named twice"),
        ({"picture_sha256": "12"}, "64 hexadecimal digits"),
        ({"artist": ""}, "at least 1 character"),
    ],
)
def test_a_record_that_cannot_be_is_refused(tiny: Model, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        a_record(tiny, "x", [a_prompt(bytes(32), "amara"), a_prompt(bytes(32), "amara", 2, **changes)])


def test_import_lines_carry_image_prompts(tiny: Model, tmp_path: Path) -> None:
    shown = [a_prompt(bytes(32), "amara", scale="0.25")]
    fields = {"external_id": "x", "prompt": "a castle", "seed": 4, "steps": 2, "guidance": 3}
    lines, table = tmp_path / "log.jsonl", tmp_path / "log.csv"
    lines.write_text(json.dumps({**fields, "image_prompts": shown}) + "\n")
    with table.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerows([[*fields, "image_prompts"], [*fields.values(), json.dumps(shown)]])
    ((one,), (other,)) = (read_images(file, pipeline_settings(tiny)).lines for file in (lines, table))
    assert one.record == other.record
    (prompt,) = one.record.image_prompts
    assert (prompt.embedding, prompt.scale, prompt.artist) == (embedding(1), Decimal("0.25"), "amara")


def shown_by(artist: str, number: int) -> LoggedImagePrompt:
    vector = embedding(number)
    return LoggedImagePrompt(bytes(32), hashlib.sha256(vector).digest(), None, Decimal(1), artist, vector)


def test_owners_of_pictures_play_after_names_and_owners_of_adapters() -> None:
    game = build_game(
        "a castle by Amara Diallo",
        CATALOGUE.names,
        adapters=[Adapter(sha256=bytes([1]) * 32, artist="ottilie")],
        image_prompts=[shown_by("old", 1), shown_by("amara", 2), shown_by("ottilie", 3)],
        merged={"old": "farid"},
    )
    assert game.artists == ("amara", "ottilie", "farid")
    assert [[one.artist for one in game.image_prompts(c)] for c in (0, 1, 0b10, 0b100, 0b1000, 0b1101, 0b1111)] == [
        [], [], ["amara"], ["ottilie"], ["farid"], ["farid", "ottilie"], ["farid", "amara", "ottilie"],
    ]  # fmt: skip
    assert (game.prompt(0b0010), game.prompt(0b1000)) == ("art by Amara Diallo", "")


def test_from_the_log_to_shares_and_back(world: str, worker: Worker, tiny: Model, tmp_path: Path) -> None:
    sha256 = stored(ip_adapter(tiny), tmp_path)
    # Two of one owner: at most two owners beside content, as the test's placebo levels are for.
    good = a_record(
        tiny, "good", [a_prompt(sha256, "chiyo", 1), a_prompt(sha256, "chiyo", 2)], customer="c-1"
    )
    others = [
        a_record(tiny, "missing", [a_prompt(bytes(32), "chiyo", 3)]),
        a_record(tiny, "nobody's", [a_prompt(sha256, "nobody", 4)]),
        a_record(
            tiny, "narrow", [a_prompt(sha256, "chiyo", 5, embedding=b64encode(embedding(5, 8)).decode())]
        ),
    ]
    with session(Role.ATTRIBUTION) as opened:
        assert {one.status for one in log_images(opened, [good, *others])} == {Status.RECORDED}
    with session(Role.ATTRIBUTION) as opened:
        bare = good.model_copy(update={"image_prompts": []})
        assert [one.status for one in log_images(opened, [good, bare])] == [Status.KNOWN, Status.REFUSED]
        image = logged_image(opened, "good")
    assert [one.embedding for one in image.image_prompts] == [embedding(1), embedding(2)]
    worker.run(seconds=60, more=lambda: None)
    with session(Role.ATTRIBUTION) as opened:
        recorded = recorded_attribution(opened, "good")
        reasons: dict[str, str] = dict(
            opened.execute(
                text("SELECT external_id, last_error FROM attribution.attribution_job AS j"
                     " JOIN attribution.image AS i ON i.id = j.image_id WHERE last_error IS NOT NULL")
            ).all()
        )  # fmt: skip
    assert "put its .safetensors file into the folder adapters" in reasons["missing"]
    assert "is no artist of the catalogue: add nobody" in reasons["nobody's"]
    assert "takes embeddings of 16 numbers, and the image prompt's has 8" in reasons["narrow"]
    assert [share.player for share in recorded.shares] == ["C", "bruno", "chiyo"]
    again = verify(recorded, tiny)
    assert again.agrees and again.same_pictures == 8
    pictures = redraw(recorded, tiny, range(8))
    assert all(one.same_picture for one in pictures)
    page = write_page(full_page(recorded, pictures))
    assert "owner of 2 pictures it was made from" in page and sha256.hex()[:12] in page
    with session(Role.AUDITOR) as opened:
        rows = opened.execute(
            text("SELECT place, artist_id, name FROM audit.image_prompts WHERE image = 'good'")
        )
        assert [tuple(row) for row in rows] == [
            (1, "chiyo", "Chiyo Moriwaki"),
            (2, "chiyo", "Chiyo Moriwaki"),
        ]
        assert opened.execute(text("SELECT FROM audit.attribution_conservation")).all() == []
    with session(Role.SETTLEMENT) as opened:
        held = export_customer(opened, "c-1", actor="dora", reason="asked")["tables"]
        assert len(held["attribution.image_prompt_embedding"]) == len(held["attribution.image_prompt"]) == 2
        # The prompt's words and two embeddings.
        assert erase_customer(opened, "c-1", actor="dora", reason="asked").erased == 3
    with session(Role.ATTRIBUTION) as opened:
        erased = recorded_attribution(opened, "good")
        assert [one.embedding for one in erased.image.image_prompts] == [None, None]
        assert [one.status for one in log_images(opened, [good])] == [Status.KNOWN]
    with pytest.raises(Invalid, match="were erased: its shares stand"):
        verify(erased, tiny)


def test_anothers_picture_cannot_be_logged_as_ones_own(world: str, tiny: Model, tmp_path: Path) -> None:
    sha256, other = stored(ip_adapter(tiny), tmp_path), stored(ip_adapter(tiny, 6), tmp_path)
    with session(Role.ATTRIBUTION) as opened:
        log_images(opened, [a_record(tiny, "hers", [a_prompt(sha256, "amara")])])
    stolen = [
        a_prompt(sha256, "chiyo"),
        # The same file through another encoder, and the same numbers under another file's hash.
        a_prompt(other, "chiyo", embedding=b64encode(embedding(7)).decode()),
        a_prompt(sha256, "chiyo", picture_sha256=None),
    ]
    with session(Role.ATTRIBUTION) as opened:
        outcomes = log_images(opened, [a_record(tiny, f"stolen {n}", [one]) for n, one in enumerate(stolen)])
        assert {one.status for one in outcomes} == {Status.REFUSED}
        assert all("belongs to amara, who was logged with it first" in (one.reason or "") for one in outcomes)
        mixed = [a_prompt(sha256, "chiyo", 8), a_prompt(sha256, "chiyo")]
        assert log_images(opened, [a_record(tiny, "mixed", mixed)])[0].status is Status.REFUSED
        # Who is refused owns nothing by it.
        (honest,) = log_images(opened, [a_record(tiny, "honest", [a_prompt(sha256, "bruno", 8)])])
        assert honest.status is Status.RECORDED


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DELETE FROM attribution.image_prompt", "append-only"),
        ("UPDATE attribution.image_prompt SET artist = 'amara'", "append-only"),
        ("UPDATE attribution.image_prompt_embedding SET embedding = '\\x00000000'", "permission denied"),
        ("DELETE FROM attribution.image_prompt_embedding", "permission denied"),
        (
            "INSERT INTO attribution.image_prompt SELECT id, 2, sha256('a'), sha256('b'), NULL, 1, 'amara'"
            " FROM attribution.image",
            "takes no further adapters or image prompts",
        ),
    ],
)
def test_what_an_image_was_made_from_stays(world: str, tiny: Model, statement: str, message: str) -> None:
    with session(Role.ATTRIBUTION) as opened:
        log_images(opened, [a_record(tiny, "x", [a_prompt(bytes(32), "amara")])])
    role = Role.ATTRIBUTION if message == "permission denied" else Role.ADMIN
    with session(role) as opened, pytest.raises(DBAPIError, match=message):
        opened.execute(text(statement))


def test_the_database_refuses_anothers_picture_and_another_embedding(world: str, tiny: Model) -> None:
    with session(Role.ATTRIBUTION) as opened:
        log_images(opened, [a_record(tiny, "x", [a_prompt(bytes(32), "amara")])])
    new = "WITH image AS (SELECT id FROM attribution.image WHERE external_id = 'bare')"
    for statement, message in (
        (
            f"{new} INSERT INTO attribution.image_prompt SELECT id, 1, sha256('a'), :hers, NULL, 1, 'chiyo' FROM image",
            "belongs to another artist",
        ),
        (
            f"{new} INSERT INTO attribution.image_prompt SELECT id, 1, sha256('a'), :hers, NULL, 1, 'amara' FROM image;"
            f" {new} INSERT INTO attribution.image_prompt_embedding SELECT id, 1, '\\x00000000' FROM image",
            "is not the one that its image prompt names",
        ),
    ):
        with session(Role.ATTRIBUTION) as opened:
            log_images(opened, [a_record(tiny, "bare", [])])
            with pytest.raises(DBAPIError, match=message):
                for part in statement.split("; "):
                    opened.execute(text(part), {"hers": hashlib.sha256(embedding(1)).digest()})
            opened.rollback()


@pytest.fixture(scope="module")
def miniature() -> Model:
    return load_model(device="cpu")


def drawn(artist: str) -> Picture.Image:
    """A star as an artist of the miniature draws it."""
    values = blend(canvas(Scene("star"), Jitter()), {artist: 1.0}).transpose(1, 2, 0)
    return Picture.fromarray((values * 255).round().astype(np.uint8))


def an_image(
    model: Model,
    number: int,
    prompt: str,
    shown: Sequence[LoggedImagePrompt],
    adapters: Sequence[Adapter] = (),
) -> LoggedImage:
    settings = pipeline_settings(model)
    del settings["model"]
    return LoggedImage(
        id=number, external_id=f"img-{number}", prompt=prompt, negative_prompt="", salt=bytes(16), seed=7,
        steps=MINIATURE_STEPS, guidance=Decimal(str(MINIATURE_GUIDANCE)), eta=Decimal(0), latents_sha256=None,
        file=None, file_sha256=None, artists=None, adapters=tuple(adapters), image_prompts=tuple(shown), **settings,
    )  # fmt: skip


@pytest.fixture(scope="module")
def shares(miniature: Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    """What images of the miniature pay in ppb, made from pictures: Ottilie's of Bruno Keller's style, and others."""
    folder = tmp_path_factory.mktemp("adapters")
    null = folder / "null.safetensors"
    weights = load_file(IMAGE_ADAPTER_PATH)
    save_file({key: 0 * weight if "to_v_ip" in key else weight for key, weight in weights.items()}, null)
    real, nothing = (hashlib.sha256(file.read_bytes()).digest() for file in (IMAGE_ADAPTER_PATH, null))
    encoder = ImageEncoder(miniature)

    def of(owner: str, style: str, adapter: bytes = real, scale: str = "1") -> LoggedImagePrompt:
        vector = encoder.embed(drawn(style))
        digest = hashlib.sha256(vector).digest()
        return LoggedImagePrompt(adapter, digest, None, Decimal(scale), owner, vector)

    mine = of("ottilie", "Bruno Keller")
    images: dict[str, tuple[str, list[LoggedImagePrompt]]] = {
        "alone": ("a big circle", [mine]),
        "again": ("a big circle", [mine]),
        "null": ("a big circle by Amara Diallo", [of("ottilie", "Bruno Keller", nothing)]),
        "scale 0": ("a big circle by Amara Diallo", [of("ottilie", "Bruno Keller", scale="0")]),
        "named": ("a big circle by Amara Diallo", []),
        "both": ("a big circle in the style of Amara Diallo", [of("ottilie", "Dmitri Zaslav")]),
        "mixed": ("a big circle", [mine, of("farid", "Farid Naseri")]),
    }  # fmt: skip
    method = replace(default_method(miniature), minimum_fidelity=None, protocol_steps=8)
    table = find_table(read_tables(PLACEBO_PATH), default_method(miniature), miniature.weights_sha256)
    assert table is not None
    levels = {players: table.of(players) or () for players in (2, 3)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("attribution.adapters.adapters_directory", lambda: folder)
        given = [an_image(miniature, key, *one) for key, one in enumerate(images.values())]
        outcomes = Attributor(miniature, method).attribute(given, CATALOGUE, levels)
        # Another worker, other neighbours.
        alone = Attributor(miniature, method).attribute([given[0]], CATALOGUE, levels)
    found = {}
    for name, outcome in [*zip(images, outcomes.values(), strict=True), ("apart", alone[0])]:
        assert isinstance(outcome, ImageResult), outcome
        found[name] = {player.player: player.share_ppb for player in outcome.players}
    return found


def test_the_owner_of_a_picture_earns_a_clear_share_the_same_each_time(
    shares: dict[str, dict[str, int]],
) -> None:
    assert shares["alone"]["ottilie"] > SHARE_SCALE // 5
    assert sum(shares["alone"].values()) == SHARE_SCALE
    assert shares["alone"] == shares["again"] == shares["apart"]


def test_a_picture_that_is_not_seen_earns_exactly_nothing(shares: dict[str, dict[str, int]]) -> None:
    for name in ("null", "scale 0"):
        assert shares[name]["ottilie"] == 0 and shares[name]["amara"] > SHARE_SCALE // 5
    assert shares["null"] == shares["scale 0"]


def test_a_named_artist_and_owners_of_pictures_are_paid_side_by_side(
    shares: dict[str, dict[str, int]],
) -> None:
    assert min(shares["both"]["ottilie"], shares["both"]["amara"]) > SHARE_SCALE // 20
    assert min(shares["mixed"]["ottilie"], shares["mixed"]["farid"]) > SHARE_SCALE // 20


def test_a_method_version_of_before_lets_such_images_wait(tiny: Model) -> None:
    before = replace(quick_method(tiny), format="method-4", image_prompts=None)
    assert "image_prompts" not in before.document
    image = an_image(tiny, 1, "a castle", [shown_by("ottilie", 1)])
    outcome = Attributor(tiny, before).attribute([image], CATALOGUE, {})[1]
    assert isinstance(outcome, Waits) and "made with image prompts" in outcome.reason
    gone = replace(image, image_prompts=(replace(shown_by("ottilie", 1), embedding=None),))
    assert isinstance(Attributor(tiny, before).attribute([gone], CATALOGUE, {})[1], Fails)


def test_from_a_picture_to_its_owners_payees(
    database: str, miniature: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Generated from a picture on the command line's way, attributed by a worker, sold, and paid by contract."""
    monkeypatch.setenv("ROYALTY_METHOD", "quick")
    get_settings.cache_clear()
    with session(Role.SETTLEMENT) as opened:
        load_catalogue(opened, CATALOGUE_FILE, actor="mara", reason="test")
    with session(Role.ATTRIBUTION) as opened:
        method = configured_method(opened, miniature)
        ensure_method(opened, method, shipped_tables(miniature), shipped_recognition(miniature))
    prompts, picture = tmp_path / "prompts.jsonl", tmp_path / "mine.png"
    prompts.write_text('{"prompt": "a big circle", "external_id": "img-1"}\n')
    drawn("Dmitri Zaslav").save(picture)
    shown = [OwnedFile("art-bruno", picture, Decimal("0.9"))]
    made = generate(read_prompts(prompts), steps=2, image_prompts=shown)
    assert [line.status for line in made.lines] == [Status.RECORDED] and not made.bad
    worker = Worker()
    try:
        worker.run(seconds=100, more=lambda: None)
    finally:
        worker.close()
    with session(Role.ATTRIBUTION) as opened:
        recorded = recorded_attribution(opened, "img-1")
    assert recorded.fidelity == 10**9, "the worker sees what was generated"
    assert [share.player for share in recorded.shares] == ["C", "art-bruno"]
    assert recorded.shares[1].share_ppb > SHARE_SCALE // 10
    assert recorded.image.image_prompts[0].picture_sha256 == hashlib.sha256(picture.read_bytes()).digest()
    sale = SaleRecord.model_validate(
        {
            "external_id": "sale-1", "image": "img-1", "sold_at": datetime(2026, 9, 5, 12, tzinfo=UTC),
            "territory": "DE", "currency": "EUR", "price": "119.00", "tax": "19.00",
        }
    )  # fmt: skip
    with session(Role.SETTLEMENT) as opened:
        record_sales(opened, [sale], actor="mara")
    draft = hand_in("2026-09", "mara")
    approve_draft("2026-09", "chen", draft.sha256.hex())
    close_period("2026-09", "mara")
    with session(Role.SETTLEMENT) as opened:
        paid: dict[str, int] = dict(
            opened.execute(
                text("SELECT payee_id, sum(amount_micros)::bigint FROM settlement.royalty_line"
                     " WHERE player = 'art-bruno' GROUP BY 1")
            ).all()
        )  # fmt: skip
    assert len(paid) > 1 and sum(paid.values()) == 30_000_000 * recorded.shares[1].share_ppb // 10**9
