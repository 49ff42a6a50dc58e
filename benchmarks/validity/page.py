"""The plots and tables of docs/validity.md from the kept data: python -m benchmarks.validity.page [--play].

With --play the games of known outcome are played anew first, which takes some minutes.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from rich.console import Console

from attribution.pipeline import load_model
from benchmarks.harness import Bench
from benchmarks.validity import games
from benchmarks.validity.figures import note_games
from benchmarks.validity.scenes import PLAYERS
from benchmarks.validity.statistics import Estimate
from benchmarks.validity.true_game import CEILING, JUDGES, METHODS, NOISE, TrueGame, prompt_game
from database.errors import Invalid

PAGE = Path(__file__).parents[2] / "docs" / "validity.md"
IMAGES = PAGE.with_name("images")

_BLUE, _ORANGE, _GREY = "#2b6cb0", "#dd6b20", "#a0aec0"


def agreement(truth: TrueGame) -> Figure:
    """LDS of every method where two to four artists are named, with standard errors."""
    scores = [score for method in (*METHODS, NOISE) if (score := truth.score(method))]
    scores.sort(key=lambda score: score.lds_of_several.value)
    figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
    for place, score in enumerate(scores):
        estimate = score.lds_of_several
        colour = (
            _ORANGE
            if score.method.startswith("prompt game (")
            else _GREY
            if score.method == CEILING
            else _BLUE
        )
        axes.barh(place, estimate.value, xerr=2 * estimate.standard_error, color=colour, height=0.7)
    axes.set_yticks(range(len(scores)), [score.method for score in scores])
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("LDS, pictures by two to four artists (bars: two standard errors)")
    return figure


def shares(truth: TrueGame) -> Figure:
    """Each artist's part of each picture: by the prompt game across, by retraining upwards."""
    named: list[tuple[float, float]] = []
    others: list[tuple[float, float]] = []
    for original in truth.originals:
        game, truth_of = prompt_game(original), original.true_shares
        for bit, name in enumerate(PLAYERS):
            (named if name in original.query.names else others).append((game[bit], truth_of[bit]))
    figure, axes = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
    for points, colour, label in ((others, _GREY, "not named"), (named, _BLUE, "named")):
        across, upwards = np.array(points).T
        axes.scatter(across, upwards, s=9, color=colour, alpha=0.6, label=label, linewidths=0)
    axes.axline((0, 0), slope=1, color="black", linewidth=0.6, linestyle=":")
    axes.set_xlabel("phi of the prompt game")
    axes.set_ylabel("phi of the true game (retraining)")
    axes.legend(frameon=False)
    return figure


def blends(played: Sequence[games.Played]) -> Figure:
    """Pairs of unequal strength: the true split across, what is paid upwards; and pairs of equal strength."""
    splits = np.array(games.splits(played))
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3.2), layout="constrained")
    wrong = (splits[:, 0] > 0.5) != (splits[:, 1] > 0.5)
    for chosen, colour, label in ((~wrong, _BLUE, "order right"), (wrong, _ORANGE, "order wrong")):
        left.scatter(*splits[chosen].T, s=10, color=colour, alpha=0.6, label=label, linewidths=0)
    left.axline((0.5, 0.5), slope=1, color="black", linewidth=0.6, linestyle=":")
    left.set_xlabel("true part of the pair, artist named first")
    left.set_ylabel("part paid")
    left.legend(frameon=False)
    gaps = games.equal_gaps(played)
    for place, values in enumerate(gaps.values()):
        right.scatter(values, [place] * len(values), s=14, color=_BLUE, alpha=0.6, linewidths=0)
    right.set_yticks(range(len(gaps)), ["\n".join(name.split()[-1] for name in pair) for pair in gaps])
    right.axvline(0, color="black", linewidth=0.8)
    right.set_xlim(-1, 1)
    right.set_ylim(-0.6, len(gaps) - 0.4)
    right.set_xlabel("equal artists: (first - second) of both")
    return figure


def over_seeds(played: Sequence[games.Played]) -> Figure:
    """Shares of every player over seeds, a panel for each prompt."""
    found = games.over_seeds(played)
    figure, panels = plt.subplots(
        1, len(found), figsize=(7, 2.6), layout="constrained", sharey=True, squeeze=False
    )
    for axes, by_player in zip(panels[0], found.values(), strict=True):
        for place, values in enumerate(by_player.values()):
            spread = np.linspace(-0.15, 0.15, len(values))
            axes.scatter(place + spread, values, s=10, color=_GREY if place == 0 else _BLUE, linewidths=0)
        axes.set_xticks(
            range(len(by_player)), ["content", *(name.split()[-1] for name in list(by_player)[1:])]
        )
        axes.tick_params(axis="x", labelsize=7)
        axes.set_ylim(0, 1)
    panels[0][0].set_ylabel("share, one dot a seed")
    return figure


def draw_all(folder: Path) -> list[Path]:
    """Draw every plot from the kept data; the files written."""
    truth, played = TrueGame.read(), games.read()
    files = []
    for name, figure in (
        ("validity-agreement", agreement(truth)),
        ("validity-shares", shares(truth)),
        ("validity-blends", blends(played)),
        ("validity-seeds", over_seeds(played)),
    ):
        file = folder / f"{name}.png"
        figure.savefig(file, dpi=110, metadata={"Software": None})
        plt.close(figure)
        files.append(file)
    return files


def game_table(played: Sequence[games.Played]) -> str:
    """The figures of the games of known outcome, as the benchmark prints them, in Markdown."""
    bench = Bench(quick=False, console=Console())
    note_games(bench, list(played))
    words = {None: "", True: "yes", False: "**no**"}
    rows = [
        f"| {figure.name} | {figure.value:.4f} | {figure.unit} | {figure.target} | {words[figure.met]} |"
        for figure in bench.figures
    ]
    return "\n".join(["| what | value | unit | target | met |", "|---|---|---|---|---|", *rows])


def true_game_table(truths: Mapping[str, TrueGame]) -> str:
    """How well each attribution predicts retraining, by judge, in Markdown."""
    rows = [
        "| judge | attribution | LDS, all | LDS, 2 to 4 named | rank correlation | order of two |",
        "|" + "---|" * 6,
    ]
    for judge, truth in truths.items():
        for method in (CEILING, *(name for name in METHODS if name != CEILING), NOISE):
            if score := truth.score(method):
                cells = (score.lds, score.lds_of_several, score.rank, score.order)
                rows.append(f"| {judge} | {method} | {' | '.join(map(_cell, cells))} |")
    return "\n".join(rows)


def noise_table(truths: Mapping[str, TrueGame]) -> str:
    """How far retraining agrees with itself, by judge, in Markdown."""
    rows = [
        "| judge | values of two retrainings | same picture twice | prompt game's values | effect of unnamed |",
        "|" + "---|" * 5,
    ]
    for judge, truth in truths.items():
        cells = (truth.repeated(), truth.seen_again(), truth.value_correlation(), truth.unnamed())
        rows.append(f"| {judge} | {' | '.join(map(_cell, cells))} |")
    return "\n".join(rows)


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return "not trained"
    return f"{estimate.value:.3f} ± {estimate.standard_error:.3f} (n {estimate.count})"


def with_tables(page: str, tables: Mapping[str, str]) -> str:
    """The page with each table between its comments `<!-- NAME -->` and `<!-- end -->`."""
    for name, table in tables.items():
        begin = f"<!-- {name} -->\n"
        before, found, rest = page.partition(begin)
        _, ended, after = rest.partition("<!-- end -->")
        if not found or not ended:
            raise Invalid(f"{PAGE} has no place for the table {name!r}.")
        page = f"{before}{begin}{table}\n{ended}{after}"
    return page


def tables() -> dict[str, str]:
    """All tables of the page from the kept data, by name."""
    truths = {judge: TrueGame.read(judge=judge) for judge in JUDGES}
    return {
        "games": game_table(games.read()),
        "true game": true_game_table(truths),
        "noise": noise_table(truths),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--play", action="store_true", help="play the games anew first, and keep them")
    if parser.parse_args().play:
        model = load_model(device="cpu")
        games.write(games.play(games.asked(quick=False), model), model.weights_sha256)
    for file in draw_all(IMAGES):
        print(file)
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), tables()), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
