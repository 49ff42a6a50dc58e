"""Placebo calibration: the arithmetic, the sharing of coalitions, and that made-up names are nobody's."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from attribution.characteristic import UNIT, Measurer
from attribution.game import build_game
from attribution.method import MethodVersion, quick_method
from attribution.name_index import NameIndex
from attribution.pipeline import Model
from attribution.placebo import (
    BareArtist,
    PlaceboTable,
    calibrate,
    find_table,
    made_up_names,
    quantile,
    read_tables,
    write_tables,
)
from attribution.render import RenderEngine
from attribution.shapley import PlaceboLevel, shapley_values
from attribution.vocabulary import english
from database.errors import Invalid
from tests.attribution.test_same_pictures import request_for

ARTISTS = [BareArtist(name, name) for name in ("Amara Diallo", "Bruno Keller", "Chiyo Moriwaki")]
CONTENTS = ["a big star", "a circle", "a small square"]
NAMES = 5


@pytest.fixture(scope="module")
def method(tiny: Model) -> MethodVersion:
    return quick_method(tiny)


@pytest.fixture(scope="module")
def table(tiny: Model, method: MethodVersion) -> PlaceboTable:
    seen: list[tuple[int, int]] = []
    measurer = Measurer(RenderEngine(tiny, bucket=8))
    table = calibrate(
        measurer,
        method,
        request_for(tiny, "", steps=9),
        ARTISTS,
        contents=CONTENTS,
        names=NAMES,
        progress=lambda done, most: seen.append((done, most)),
    )
    assert seen[-1][0] == seen[-1][1] == measurer.engine.stats.rendered
    return table


def test_every_slot_of_every_size_has_a_level(table: PlaceboTable) -> None:
    assert [(level.players, level.slot) for level in table.levels] == [
        (2, 1),
        (3, 1),
        (3, 2),
        (4, 1),
        (4, 2),
        (4, 3),
    ]
    for level in table.levels:
        assert level.names == len(level.phi) == len(table.names) == NAMES
        assert level.mean == pytest.approx(sum(level.phi) / NAMES, abs=1)
        assert level.threshold == max(0, max(level.phi) - level.mean)  # the 97.5th percentile of five
        assert level.mean_standard_error > 0
        assert level.threshold_standard_error > 0
    assert table.of(3) == tuple(PlaceboLevel(x.mean, x.threshold) for x in table.levels[1:3])
    assert table.of(5) is None


def test_a_level_is_the_mean_of_plain_games(tiny: Model, method: MethodVersion, table: PlaceboTable) -> None:
    wordings = ["{} in the style of {}", "{} by {}", "{}, art by {}"]
    for number, name in enumerate(table.names):
        artist = ARTISTS[number % len(ARTISTS)]
        prompt = wordings[number % 3].format(CONTENTS[number % 3], f"{artist.name} and {name}")
        game = build_game(prompt, NameIndex([*ARTISTS, BareArtist("nobody", name)]))
        assert game.artists == (artist.id, "nobody")
        measured = Measurer(RenderEngine(tiny, bucket=8)).measure(
            [request_for(tiny, words, steps=2, seed=1000 + number) for words in game.prompts]
        )
        values = [round(float(m.embedding @ measured[-1].embedding) * UNIT) for m in measured]
        phi: Fraction = shapley_values(values, 3)[2]
        assert table.levels[2].phi[number] == round(phi)


def test_coalitions_without_the_name_are_rendered_once(table: PlaceboTable) -> None:
    # With and without content: {p}; with the first artist {p, a} in two orders; with the second {p, b} in two, and
    # {p, a, b} in three; without the name the 4 coalitions of both artists.
    assert table.cost["pictures"] == NAMES * 2 * (1 + 2 + 2 + 3 + 4)
    assert table.cost["unet_samples"] <= 2 * 2 * table.cost["pictures"]


def test_tables_are_kept_as_files(
    table: PlaceboTable, method: MethodVersion, tiny: Model, tmp_path: Path
) -> None:
    path = tmp_path / "placebo.json"
    write_tables(path, [table])
    tables = read_tables(path)
    assert tables == [table]
    assert find_table(tables, method, tiny.weights_sha256) == table
    assert find_table(tables, method, b"other") is None
    for content in ("", '[{"levels": []}]', "[1]", "null"):
        path.write_text(content)
        with pytest.raises(Invalid):
            read_tables(path)
    with pytest.raises(Invalid, match="no placebo tables"):
        read_tables(tmp_path / "missing.json")


def test_made_up_names_are_nobodys() -> None:
    known = NameIndex(ARTISTS)
    names = made_up_names(60, known)
    assert len(set(names)) == 60
    assert names[:40] == made_up_names(40, known)
    assert not any(word.lower() in english() for name in names for word in name.split())


def test_the_quantile_is_the_nearest_rank() -> None:
    assert quantile(list(range(40)), 975) == 38  # one of forty exceeds it
    assert quantile([3, 1, 2], 975) == 3
    assert quantile([3, 1, 2], 1) == 1


def test_games_need_artists(tiny: Model, method: MethodVersion) -> None:
    measurer: Any = Measurer(RenderEngine(tiny))
    with pytest.raises(Invalid, match="need 2 artists"):
        calibrate(measurer, method, request_for(tiny, ""), ARTISTS[:1])


def test_larger_games_have_one_level_for_all_slots(tiny: Model, method: MethodVersion) -> None:
    drawn = replace(method, maximum_exact_players=2)
    measurer = Measurer(RenderEngine(tiny, bucket=8))
    table = calibrate(
        measurer, drawn, request_for(tiny, ""), ARTISTS, contents=CONTENTS, names=NAMES, sizes=(2, 5)
    )
    assert [(level.players, level.slot) for level in table.levels] == [
        (2, 1),
        *((5, slot) for slot in range(1, 5)),
    ]
    levels = table.of(5)
    assert levels is not None and len(set(levels)) == 1
    assert len(table.levels[1].phi) == NAMES
    assert table.settings["one_level_for_all_slots"] == [5]
    assert table.cost["pictures"] <= NAMES * (4 + 2 + 16), (
        "four pairs of orders, two marginals of two pictures each"
    )
    assert table.placebo_sha256 != method.placebo_sha256.hex(), "another convention than exact levels"
    with pytest.raises(Invalid, match="2 to 16 players"):
        calibrate(measurer, drawn, request_for(tiny, ""), ARTISTS, sizes=(17,))


def test_levels_do_not_depend_on_seeds_and_thresholds(method: MethodVersion) -> None:
    same = replace(method, name="other", seeds=4, seeds_permille=10, minimum_gap=0, maximum_renders=999)
    assert same.placebo_sha256 == method.placebo_sha256 and same.sha256 != method.sha256
    assert replace(method, embedding="descriptor-1").placebo_sha256 != method.placebo_sha256
    assert replace(method, format="method-1").placebo_sha256 == method.placebo_sha256
