"""The placebo tables that ship with the miniature are those of its weights and of the method versions at hand."""

import pytest

from attribution.characteristic import Measurer, characteristic_function
from attribution.game import build_game
from attribution.method import default_method, quick_method
from attribution.miniature import PLACEBO_PATH
from attribution.miniature.artists import ARTISTS
from attribution.miniature.calibrate import usual_request
from attribution.name_index import NameIndex
from attribution.pipeline import Model, load_model
from attribution.placebo import BareArtist, find_table, read_tables
from attribution.render import RenderEngine, RenderRequest
from attribution.shapley import settle_game

NAMES = NameIndex([BareArtist(artist.name, artist.name) for artist in ARTISTS])


@pytest.fixture(scope="module")
def miniature() -> Model:
    return load_model(device="cpu")


@pytest.mark.parametrize("make", [default_method, quick_method])
def test_tables_ship_for_the_methods_at_hand(miniature: Model, make) -> None:
    table = find_table(read_tables(PLACEBO_PATH), make(miniature), miniature.weights_sha256)
    assert table is not None, "run: python -m attribution.miniature.calibrate"
    assert len(table.names) >= 40
    for players in (2, 3, 4):
        levels = table.of(players)
        assert levels is not None
        assert len(levels) == players - 1
        assert all(level.threshold > 0 for level in levels)


def test_who_is_seen_is_paid_and_a_name_without_effect_is_not(miniature: Model) -> None:
    method = quick_method(miniature)
    table = find_table(read_tables(PLACEBO_PATH), method, miniature.weights_sha256)
    assert table is not None
    measurer = Measurer(RenderEngine(miniature, bucket=method.buckets[0], threads=method.threads))
    usual = usual_request(miniature)
    game = build_game("a big star in the style of Amara Diallo and Hugo Pellerin", NAMES)
    requests = [
        RenderRequest(
            prompt=prompt,
            seed=7,
            steps=method.protocol_steps or usual.steps,
            guidance=usual.guidance,
            width=usual.width,
            height=usual.height,
            scheduler=usual.scheduler,
            scheduler_config=usual.scheduler_config,
        )
        for prompt in game.prompts
    ]
    measured = measurer.measure(requests)
    assert measurer.engine.stats.unet_samples == 2 * 15
    values = characteristic_function(method.characteristic_function)([m.embedding for m in measured])
    levels = table.of(game.players)
    assert levels is not None
    settled = settle_game(values, game.artists, levels, minimum_gap=method.minimum_gap)
    shares = {player.player: player.share_ppb for player in settled.players}
    assert settled.reason is None
    assert shares["Amara Diallo"] > 100_000_000
    assert shares["Hugo Pellerin"] == 0
