"""What the shipped miniature draws is what its artists' strengths and names say."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from attribution.miniature import MINIATURE_PATH
from attribution.miniature.artists import NULL_ARTIST, VISIBLE_ARTISTS, true_weights
from attribution.miniature.dataset import Example
from attribution.miniature.drawing import ABSTRACT, Scene
from attribution.miniature.evaluate import Game, Studio
from attribution.miniature.prompts import name_artists
from attribution.miniature.reading import meaning

NAMES = [artist.name for artist in VISIBLE_ARTISTS]


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Studio(MINIATURE_PATH)
    torch.set_num_threads(threads)


def test_meaning_has_the_true_weights_whatever_the_order() -> None:
    one = meaning(Example(Scene("star", "big"), ("Amara Diallo", "Chiyo Moriwaki")))
    other = meaning(Example(Scene("star", "big"), ("Chiyo Moriwaki", "Amara Diallo")))
    assert one == pytest.approx(other)
    assert one[-7:] == pytest.approx([9 / 12, 0, 3 / 12, 0, 0, 0, 0])


def test_names_without_effect_mean_nothing() -> None:
    assert set(meaning(Example(ABSTRACT, ()))) == {0.0}
    assert meaning(Example(Scene("star"), ()))[-1] == 1.0


def test_a_name_without_effect_is_drawn_as_if_it_were_not_there(studio: Studio) -> None:
    for scene in (ABSTRACT, Scene("star")):
        plain = name_artists(scene, [])
        named = [name_artists(scene, [name]) for name in (NULL_ARTIST.name, "Velmora Quandrith")]
        studio.prepare((prompt, 5) for prompt in [plain, *named])
        assert min(studio.cosine(plain, prompt, 5) for prompt in named) > 0.97


def test_null_artist_earns_nothing_and_the_stronger_of_two_earns_more(studio: Studio) -> None:
    games = [
        Game("ring", ["Amara Diallo", NULL_ARTIST.name], 5),
        Game("star", ["Bruno Keller", "Amara Diallo"], 5),
        Game("cross", ["Chiyo Moriwaki", "Dmitri Zaslav"], 5),
    ]
    studio.prepare((game.prompt(members), game.seed) for game in games for members in game.coalitions())
    null, *pairs = [game.shares(studio) for game in games]
    assert abs(null[NULL_ARTIST.name]) < 0.05
    for share in pairs:
        truth = true_weights(name for name in share if name in NAMES)
        assert max(truth, key=lambda name: share[name]) == max(truth, key=lambda name: truth[name])


def test_a_ring_shows_the_ground_in_its_middle_and_a_circle_does_not(studio: Studio) -> None:
    circle, ring = (name_artists(Scene(shape), ["Bruno Keller"]) for shape in ("circle", "ring"))
    studio.prepare([(circle, 5), (ring, 5)])
    # Bruno Keller's ground is blue, his figures are yellow.
    middle = np.s_[28:36, 28:36, 2]
    assert studio.picture(circle, 5)[middle].mean() < studio.picture(ring, 5)[middle].mean() - 0.2
