"""The figures of the benchmark: known outcomes, and how well attributions predict retraining."""

from statistics import fmean, stdev

from benchmarks.harness import Bench
from benchmarks.validity import games, true_game
from benchmarks.validity.statistics import Estimate
from benchmarks.validity.true_game import CEILING, METHODS, NOISE, TrueGame
from database.errors import Invalid


def measure(bench: Bench) -> None:
    """Play games whose outcome is known, and judge attributions by the models retrained without each artist."""
    with bench.stage("play games on the miniature"):
        played = games.play(games.asked(bench.quick))
    note_games(bench, played)
    try:
        truths = {judge: TrueGame.read(judge=judge) for judge in true_game.JUDGES}
    except Invalid as error:
        bench.console.print(error.message)
        return
    for judge, truth in truths.items():
        note_true_game(bench, truth, judge)


def note_games(bench: Bench, played: list[games.Played]) -> None:
    """The figures of played games, beside their targets."""
    for kind in (games.NULL, games.MADE_UP):
        found = games.effectless(played, kind)
        unit = f"of the pot, {len(found.phi)} images"
        bench.add(f"{kind}: phi, mean size", fmean(map(abs, found.phi)), unit, at_most=0.02)
        bench.add(f"{kind}: phi, largest size", max(map(abs, found.phi)), unit, at_most=0.02)
        bench.add(f"{kind}: paid, mean", fmean(found.share), unit, at_most=0.02)
        bench.add(f"{kind}: paid, largest", max(found.share), unit, at_most=0.02)
    unnamed, late = games.unnamed_shares(played), games.late_shares(played)
    bench.add(
        "artists not named: paid, largest", max(unnamed), f"of the pot, {len(unnamed)} of them", at_most=0
    )
    bench.add("name past token 77: paid, largest", max(late), f"of the pot, {len(late)} images", at_most=0)
    for kind, what in ((games.PAIR, "two"), (games.TRIPLE, "three")):
        right = games.order_right(played, kind)
        bench.add(
            f"weighted order right, {what} artists", fmean(right), f"of {len(right)} pairs", at_least=0.95
        )
    splits = games.splits(played)
    bench.add(
        "split of a pair, off the true one", fmean(abs(a - b) for a, b in splits), f"{len(splits)} images"
    )
    gaps = [abs(gap) for values in games.equal_gaps(played).values() for gap in values]
    bench.add(
        "two equal artists differ by", fmean(gaps), f"of their sum, {len(gaps)} images", at_most=EQUAL_ARTISTS
    )
    for cast, shares in games.over_seeds(played).items():
        artists = [stdev(values) for player, values in shares.items() if player in cast]
        seeds = len(next(iter(shares.values())))
        bench.add(
            f"share over seeds, deviation, {len(cast)} named", fmean(artists), f"of the pot, {seeds} seeds"
        )


EQUAL_ARTISTS = 0.052
"""By so much two equal artists differ where pictures are drawn, not generated, as the image tower sees them."""


def note_true_game(bench: Bench, truth: TrueGame, judge: str) -> None:
    """How well each attribution predicts retraining, and how well retraining predicts itself."""

    def note(name: str, estimate: Estimate | None) -> None:
        if estimate is not None:
            bench.add(
                f"{judge}: {name}", estimate.value, f"± {estimate.standard_error:.3f}, n {estimate.count}"
            )

    note("LDS of retrained values themselves (noise)", truth.repeated())
    for method in (CEILING, *(name for name in METHODS if name != CEILING), NOISE):
        score = truth.score(method)
        if score is None:
            continue
        note(f"LDS, {method}", score.lds)
        note(f"LDS where 2 to 4 are named, {method}", score.lds_of_several)
        if judge == true_game.JUDGES[0]:  # the others are a check on it
            note(f"rank correlation of shares, {method}", score.rank)
            note(f"order of two named right, {method}", score.order)
    note("values of the prompt game with retrained ones", truth.value_correlation())
    note("the same picture by two trainings on everybody", truth.seen_again())
    note("effect of artists not named, of the pot", truth.unnamed())
