"""The kept data of docs/validity.md: its figures are scipy's, its page has them, and they are of what ships."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from attribution.miniature import MINIATURE_PATH
from attribution.pipeline import weights_sha256
from benchmarks.validity import true_game
from benchmarks.validity.page import PAGE, draw_all, tables, with_tables
from benchmarks.validity.scenes import COALITIONS, PLAYERS, queries
from benchmarks.validity.true_game import JUDGES, NOISE, UNIT, TrueGame, prompt_game
from database.errors import Invalid


@pytest.mark.parametrize("judge", JUDGES)
def test_kept_figures_are_scipys(judge: str) -> None:
    truth = TrueGame.read(judge=judge)
    assert [one.query for one in truth.originals] == queries()
    assert truth.settings["weights_sha256"] == weights_sha256(MINIATURE_PATH).hex(), (
        "the miniature was trained anew: run python -m benchmarks.validity.retrain"
    )
    score = truth.score("prompt game (Shapley values)")
    assert score is not None
    lds, given, true = [], [], []
    for one in truth.originals:
        assert one.prompt_game[-1] == UNIT, "the picture is as near to itself as can be"
        shares = prompt_game(one)
        sums = [sum(shares[bit] for bit in range(4) if s >> bit & 1) for s in COALITIONS]
        lds.append(stats.spearmanr(sums, one.retrained).statistic)
        named = [PLAYERS.index(name) for name in one.query.names]
        given += [shares[bit] for bit in named]
        true += [one.true_shares[bit] for bit in named]
    assert score.lds.value == pytest.approx(np.mean(lds))
    assert score.lds.standard_error == pytest.approx(stats.sem(lds))
    assert score.rank.value == pytest.approx(stats.spearmanr(given, true).statistic)
    assert score.rank.count == len(given) == 128


def test_the_prompt_game_foretells_retraining_better_than_chance() -> None:
    truth = TrueGame.read()
    ours, chance = truth.score("prompt game (Shapley values)"), truth.score(NOISE)
    assert ours is not None and chance is not None
    for one, other in ((ours.lds, chance.lds), (ours.rank, chance.rank), (ours.order, chance.order)):
        assert one.value - 2 * one.standard_error > other.value + 2 * other.standard_error


def test_the_page_has_the_tables_of_the_kept_data(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page, tables()) == page, "run: python -m benchmarks.validity.page"
    with pytest.raises(Invalid, match="no place for the table 'other'"):
        with_tables(page, {"other": "|"})
    for file in draw_all(tmp_path):
        assert f"images/{file.name}" in page
        assert 5_000 < file.stat().st_size < 100_000


def test_kept_data_is_small() -> None:
    assert true_game.KEPT.stat().st_size < 300_000
