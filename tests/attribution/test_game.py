"""Players, the canonical prompt and the prompts of coalitions."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from attribution.game import Game, artists_alone, build_game
from attribution.name_index import NameIndex


@dataclass(frozen=True)
class NamedArtist:
    id: str
    name: str
    aliases: Sequence[str] = ()


NAMES = NameIndex(
    [
        NamedArtist("klimt", "Gustav Klimt"),
        NamedArtist("mucha", "Alphonse Mucha"),
        NamedArtist("monet", "Claude Monet"),
        NamedArtist("artgerm", "Artgerm"),
        NamedArtist("rutkowski", "Greg Rutkowski"),
        NamedArtist("gogh", "Vincent van Gogh"),
    ]
)


def game(prompt: str) -> Game:
    return build_game(prompt, NAMES)


def test_every_coalition_of_two_artists() -> None:
    played = game("a big star in the style of Gustav Klimt and Mucha")
    assert played.player_ids == ("C", "klimt", "mucha")
    assert played.prompts == (
        "",
        "a big star",
        "art by Gustav Klimt",
        "a big star in the style of Gustav Klimt",
        "art by Mucha",
        "a big star in the style of Mucha",
        "art by Gustav Klimt and Mucha",
        "a big star in the style of Gustav Klimt and Mucha",
    )


@pytest.mark.parametrize(
    ("prompt", "content"),
    [
        ("castle, by artgerm, greg rutkowski and mucha, highly detailed", "castle, highly detailed"),
        ("castle, art by artgerm and greg rutkowski, 4k", "castle, 4k"),
        ("castle in the style of klimt, art by mucha, 4k", "castle, 4k"),
        ("fantasy art by monet", "fantasy art"),
        ("in the style of Klimt, a castle", "a castle"),
        ("a castle painted by Klimt, 8k", "a castle, 8k"),
        ("a castle (by Klimt)", "a castle"),
        ("castle. By Klimt.", "castle."),
        ("castle by klimt. gold", "castle. gold"),
        ("a mix of Klimt and Mucha, portrait", "portrait"),
        ("woman in the style of Klimt with a cat", "woman with a cat"),
        ("a cat by Klimt and a dog", "a cat and a dog"),
        ("a cat by Klimt and Zdzisław Beksiński", "a cat by Zdzisław Beksiński"),
        ("a cat by Zdzisław Beksiński and Klimt", "a cat by Zdzisław Beksiński"),
        ("Klimt-style woman, gold", "woman, gold"),
        ("a woman in Klimt style", "a woman"),
        ("a Klimt woman", "a woman"),
        ("Klimt's The Kiss with cats", "The Kiss with cats"),
        ("Monet inspired garden", "garden"),
        ("Klimt and Mucha style poster", "poster"),
        ("portrait of Klimt in the style of Klimt", "portrait of Klimt"),
        ("by klimt by mucha by monet, castle", "castle"),
        ("a portrait of a woman, klimt, monet", "a portrait of a woman"),
        ("art by Klimt", ""),
        ("Klimt", ""),
        ("Klimt, Mucha and van Gogh", ""),
    ],
)
def test_content_alone(prompt: str, content: str) -> None:
    played = game(prompt)
    assert played.artists
    assert played.prompts[1] == content
    assert played.canonical_prompt == prompt.replace("(", "").replace(")", "")


def test_lists_keep_their_separators() -> None:
    prompts = game("castle, by artgerm, greg rutkowski and mucha, highly detailed").prompts
    assert prompts[0b0011] == "castle, by artgerm, highly detailed"
    assert prompts[0b0111] == "castle, by artgerm and greg rutkowski, highly detailed"
    assert prompts[0b1011] == "castle, by artgerm and mucha, highly detailed"
    assert prompts[0b1101] == "castle, by greg rutkowski and mucha, highly detailed"
    assert prompts[0b1110] == "art by artgerm, greg rutkowski and mucha"
    prompts = game("Klimt and Mucha style poster").prompts
    assert (prompts[0b011], prompts[0b101]) == ("Klimt style poster", "Mucha style poster")
    prompts = game("by klimt by mucha, castle").prompts
    assert (prompts[0b011], prompts[0b101]) == ("by klimt, castle", "by mucha, castle")


def test_weights_and_repetition_fall_away_from_the_canonical_prompt() -> None:
    played = game("(klimt:1.3), castle, klimt, mucha, gold, ((Gustav Klimt:1.9)), Mucha")
    assert played.artists == ("klimt", "mucha")
    assert played.canonical_prompt == "klimt, castle, mucha, gold"
    assert played.prompts[1] == "castle, gold"


def test_the_prompt_is_cut_to_the_window_before_anything_else() -> None:
    prompt = "a castle by Klimt and Mucha in the rain"
    played = build_game(prompt, NAMES, window_end=prompt.index(" and"))
    assert played.artists == ("klimt",)
    assert played.canonical_prompt == "a castle by Klimt"
    assert played.reading.beyond_window == ("mucha",)
    cut_through = build_game(prompt, NAMES, window_end=prompt.index("ucha"))
    assert (cut_through.artists, cut_through.canonical_prompt) == (("klimt",), "a castle by Klimt and M")


def test_names_the_model_does_not_know_are_content() -> None:
    played = build_game("a castle by Klimt and Mucha", NAMES, recognised=["mucha"])
    assert played.artists == ("mucha",)
    assert played.prompts == ("", "a castle by Klimt", "art by Mucha", "a castle by Klimt and Mucha")


def test_a_prompt_without_artists_is_a_game_of_content_alone() -> None:
    for prompt in ["a castle", ""]:
        assert game(prompt).prompts == ("", prompt)
        assert game(prompt).players == 1


def test_artists_alone() -> None:
    assert [artists_alone(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "art by a",
        "art by a and b",
        "art by a, b and c",
    ]


words = st.sampled_from(
    "castle a cat by and , with Klimt mucha monet style in the of (Klimt:1.3) art . x gogh's 8k van-gogh".split()
)


@given(st.lists(words, max_size=15).map(" ".join))
def test_absent_artists_are_gone_and_present_ones_are_named(prompt: str) -> None:
    played = game(prompt)
    assume(not played.reading.passed_over)  # a person in the picture stays in the content
    assert len(played.prompts) == 1 << played.players
    for coalition, words_of_it in enumerate(played.prompts):
        named = set(game(words_of_it).artists)
        present = {artist for slot, artist in enumerate(played.artists, 1) if coalition >> slot & 1}
        assert named <= present
        assert len(words_of_it) <= len(prompt) + 8 + 5 * len(present)


@pytest.mark.parametrize("unit", [", ", ",", " ", "\n", "and ", ". ", "klimt, ", "by klimt and ", "(", "& ,"])
def test_a_hostile_prompt_is_played_quickly(unit: str) -> None:
    start = perf_counter()
    game("a cat by Klimt" + unit * (30_000 // len(unit)) + "x")
    assert perf_counter() - start < 5
