"""Games of known outcome: what is asked, played for real, kept, and read off."""

from collections import Counter
from pathlib import Path
from statistics import fmean

import pytest
import torch

from attribution.miniature import MINIATURE_PATH
from attribution.miniature.artists import ARTISTS, true_weights
from attribution.miniature.drawing import Scene
from attribution.miniature.vision import attributes, read_styles
from attribution.pipeline import load_model, weights_sha256
from benchmarks.validity import games, styles
from benchmarks.validity.games import MADE_UP, NULL, PAIR, PAST_WINDOW, SEEDS, TRIPLE, Played
from database.errors import Invalid

NAMES = {artist.name for artist in ARTISTS}


def played(kind: str, named: tuple[str, ...], **share: float) -> Played:
    by_name = {name: share.get(name.split()[0], 0.0) for name in named}
    return Played(kind, "a star", 1, named, phi={**by_name, "C": 0.0}, share=by_name)


def test_every_kind_is_asked_quick_or_not() -> None:
    kinds = {NULL, MADE_UP, PAST_WINDOW, PAIR, TRIPLE, SEEDS}
    quick, thorough = (Counter(game.kind for game in games.asked(quick)) for quick in (True, False))
    assert quick.keys() == thorough.keys() == kinds
    assert all(quick[kind] <= thorough[kind] for kind in kinds)
    assert thorough[PAIR] == 15 * 6
    for game in games.asked(quick=False):
        strange = [name for name in game.named if name not in NAMES]
        assert len(strange) == (game.kind == MADE_UP)
        assert all(name in game.prompt for name in game.named)


def test_pairs_are_named_in_both_orders() -> None:
    pairs = [game.named for game in games.asked(quick=False) if game.kind == PAIR]
    assert {pair[::-1] for pair in pairs} == set(pairs)


def test_games_are_played_as_the_product_plays_them() -> None:
    model = load_model(device="cpu")
    asked = games.asked(quick=True)
    chosen = [next(game for game in asked if game.kind == kind) for kind in (NULL, PAST_WINDOW)]
    null, late = games.play(chosen, model)
    assert null.share["Hugo Pellerin"] == 0 and null.share["Amara Diallo"] > 0.5
    assert abs(null.phi["Hugo Pellerin"]) < 0.02
    assert sum(null.share.values()) == pytest.approx(1) and sum(null.phi.values()) == pytest.approx(1)
    assert late.share.keys() == {"C", late.named[0]}, "a name past the window plays no part"


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    given = [played(PAIR, ("Amara Diallo", "Bruno Keller"), Amara=0.5, Bruno=0.25)]
    games.write(given, bytes(32), tmp_path / "games.json")
    assert games.read(tmp_path / "games.json") == given
    (tmp_path / "games.json").write_text("{}")
    with pytest.raises(Invalid, match="holds no games"):
        games.read(tmp_path / "games.json")


def test_names_without_effect_are_found_beside_the_visible() -> None:
    given = [
        played(NULL, ("Hugo Pellerin", "Amara Diallo"), Hugo=0.01, Amara=0.9),
        played(NULL, ("Bruno Keller", "Hugo Pellerin"), Hugo=0.03, Bruno=0.8),
        played(MADE_UP, ("Bruno Keller", "Zorb Zorb"), Zorb=0.5),
    ]
    found = games.effectless(given, NULL)
    assert found.share == [0.01, 0.03] and found.beside == [0.9, 0.8]
    assert games.effectless(given, MADE_UP).share == [0.5]


def test_who_is_named_late_or_not_at_all() -> None:
    given = [played(PAST_WINDOW, ("Amara Diallo", "Bruno Keller"), Amara=0.8, Bruno=0.2)]
    assert games.late_shares(given) == [0.2]
    assert sorted(games.unnamed_shares(given)) == [0, 0, 0, 0, 0, 0.2]


def test_order_splits_and_gaps() -> None:
    given = [
        played(PAIR, ("Amara Diallo", "Bruno Keller"), Amara=0.6, Bruno=0.2),  # 9 and 5: right
        played(
            PAIR, ("Chiyo Moriwaki", "Bruno Keller"), Chiyo=0.3, Bruno=0.3
        ),  # 3 and 5: left open is not right
        played(PAIR, ("Dmitri Zaslav", "Amara Diallo"), Dmitri=0.1, Amara=0.3),  # equal
    ]
    assert games.order_right(given, PAIR) == [True, False]
    assert games.splits(given) == [(9 / 14, pytest.approx(0.75)), (3 / 8, 0.5)]
    assert games.equal_gaps(given) == {("Amara Diallo", "Dmitri Zaslav"): [pytest.approx(0.5)]}
    triple = played(
        TRIPLE, ("Amara Diallo", "Bruno Keller", "Chiyo Moriwaki"), Amara=0.5, Bruno=0.2, Chiyo=0.3
    )
    assert games.order_right([triple], TRIPLE) == [True, True, False]


def test_seeds_are_gathered_by_prompt() -> None:
    cast = ("Amara Diallo",)
    found = games.over_seeds([played(SEEDS, cast, Amara=0.5), played(SEEDS, cast, Amara=0.7)])
    assert found == {cast: {"Amara Diallo": [0.5, 0.7]}}


def test_kept_games_are_of_the_weights_that_ship_and_within_the_targets() -> None:
    assert games.kept_weights_sha256() == weights_sha256(MINIATURE_PATH).hex(), (
        "run: python -m benchmarks.validity.page --play"
    )
    kept = games.read()
    assert [(game.kind, game.prompt, game.seed) for game in kept] == [
        (game.kind, game.prompt, game.seed) for game in games.asked(quick=False)
    ]
    for kind in (NULL, MADE_UP):
        assert max(games.effectless(kept, kind).share) <= 0.02
    assert max(games.unnamed_shares(kept)) == 0
    assert fmean(games.order_right(kept, PAIR)) >= 0.95


def test_styles_are_read_off_the_tower_as_they_were_mixed() -> None:
    model = load_model(device="cpu")
    assert len(styles.PAIRS) == 3
    for names in (styles.PAIRS[0], ("Amara Diallo", "Chiyo Moriwaki")):
        found = styles.style_weights(model, styles.drawn(names), names)
        truth = true_weights(names)
        assert found == pytest.approx([float(truth[name]) for name in names], abs=0.08)
    # Exactly, where the embedding is the attributes' own.
    weights = torch.tensor([[0.5, 0.0, 0.25, 0.0, 0.0, 0.0, 0.25]])
    embedding = attributes([Scene("star", "big", "left")], weights, torch.zeros(1, 3, 64, 64))
    assert read_styles(embedding).tolist()[0] == pytest.approx(weights.tolist()[0], abs=1e-6)
