"""The true game beside what attributions say of it: the kept values of the retrained models, and who predicts them.

A picture is drawn by one training on everybody. It is judged by models trained on each set of artists with other
random draws: how near is what they draw from the same prompt and noise? So no attribution is asked to predict the
noise of the training that it sees, and models trained on each set with *its* draws say how much could be predicted.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from attribution.embedding import CLIP, DESCRIPTOR
from attribution.miniature.artists import true_weights
from attribution.shapley import shapley_values
from benchmarks.validity.scenes import COALITIONS, EVERYBODY, PLAYERS, Query
from benchmarks.validity.statistics import (
    Estimate,
    jackknife,
    linear_datamodeling_score,
    pair_order,
    rank_correlation,
)
from database.errors import Invalid

KEPT = Path(__file__).with_name("retrained.json")
"""The values of the retrained models: `python -m benchmarks.validity.retrain` wrote them."""

UNIT = 1_000_000
"""Values are kept as integers of this many parts."""

PIXELS = "pixels"
JUDGES = (CLIP, DESCRIPTOR, PIXELS)
"""How near two pictures are: the cosine of the image tower's embeddings, which are the default; that of descriptors,
which nobody trained; 1 less the mean difference of pixels."""

Attribution = tuple[float, ...]
"""What each of the four artists is given, in the order of `PLAYERS`."""


def write(document: dict[str, Any], file: Path) -> None:
    """Keep the values, one picture a line."""
    pictures = ",\n".join(json.dumps(picture, separators=(",", ":")) for picture in document["pictures"])
    head = json.dumps({**document, "pictures": []}, indent=1)
    file.write_text(head.removesuffix("[]\n}") + f"[\n{pictures}\n]\n}}\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Original:
    """One picture by everybody's model: what is known of it without retraining, and what retraining says."""

    query: Query
    prompt_game: tuple[int, ...]
    """v(S) of the prompt game on that model, bit 0 content, bit k the k-th artist named."""
    retrained: tuple[float, ...]
    """By set of artists: how near the picture is that a model draws which was trained on them."""
    foretold: tuple[float, ...]
    """The same of models trained with the draws of the original's; NaN where there is none.

    Nor does everybody's count, which is the original: it is as near to itself as can be.
    """
    mean_similarity: Attribution | None
    """Cosine with each artist's works, their mean; None where the judge is no embedding."""
    nearest_similarity: Attribution | None
    """The same with the work that is nearest."""

    @property
    def true_shares(self) -> Attribution:
        """The Shapley values of the true game."""
        values = [round(value * UNIT) for value in self.retrained]
        return tuple(float(phi) / UNIT for phi in shapley_values(values, len(PLAYERS)))

    def of_named(self, values: Sequence[float]) -> Attribution:
        """Values of the artists named, in the order of naming, spread over the four; 0 for whom nobody named."""
        by_name = dict(zip(self.query.names, values, strict=True))
        return tuple(by_name.get(name, 0.0) for name in PLAYERS)


def _values(kept: Sequence[int | None]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else value / UNIT for value in kept)


def _optional(values: Sequence[int] | None) -> Attribution | None:
    return None if values is None else tuple(value / UNIT for value in values)


def prompt_game(original: Original) -> Attribution:
    """The Shapley values of the prompt game, as the product computes them."""
    players = len(original.query.names) + 1
    phi = shapley_values(original.prompt_game, players)
    return original.of_named([float(value) / UNIT for value in phi[1:]])


def prompt_leave_one_out(original: Original) -> Attribution:
    """What the picture loses when one name is left out of the prompt."""
    everybody = len(original.prompt_game) - 1
    lost = [
        original.prompt_game[everybody] - original.prompt_game[everybody & ~(1 << slot)]
        for slot in range(1, len(original.query.names) + 1)
    ]
    return original.of_named([value / UNIT for value in lost])


def equal_split(original: Original) -> Attribution:
    """The same to everybody who is named."""
    names = original.query.names
    return original.of_named([1 / len(names)] * len(names))


def known_strengths(original: Original) -> Attribution:
    """The weights that the artists' works were mixed with, which only the miniature's maker can know."""
    weights = true_weights(original.query.names)
    return original.of_named([float(weights[name]) for name in original.query.names])


def retrained_leave_one_out(original: Original) -> Attribution | None:
    """What the picture loses when the model is trained again without one artist."""
    without = [original.foretold[EVERYBODY & ~(1 << bit)] for bit in range(len(PLAYERS))]
    return None if np.isnan(without).any() else tuple(1 - value for value in without)


def retrained_fit(original: Original) -> Attribution | None:
    """The sums that come nearest to what retraining drew, by least squares over the models there are."""
    own = np.array(original.foretold)
    there = ~np.isnan(own)
    members = np.array([[coalition >> bit & 1 for bit in range(len(PLAYERS))] for coalition in COALITIONS])
    design = np.column_stack([np.ones(len(own)), members])[there]
    if np.linalg.matrix_rank(design) <= len(PLAYERS):
        return None
    fitted = np.linalg.lstsq(design, own[there])[0]
    return tuple(float(value) for value in fitted[1:])


NOISE = "random"
CEILING = "fit to another retraining (the ceiling)"
METHODS: dict[str, Callable[[Original], Attribution | None]] = {
    "prompt game (Shapley values)": prompt_game,
    "prompt game, leave one out": prompt_leave_one_out,
    "equal split among the named": equal_split,
    "similarity to works, mean": lambda original: original.mean_similarity,
    "similarity to works, nearest": lambda original: original.nearest_similarity,
    "known strengths": known_strengths,
    "retraining, leave one out": retrained_leave_one_out,
    CEILING: retrained_fit,
}
"""By name; None where the judge does not serve the method, or models that it needs are missing."""

_RANDOM_DRAWS = 20


@dataclass(frozen=True, slots=True)
class Score:
    """How well one method predicts retraining."""

    method: str
    lds: Estimate
    """Mean over pictures."""
    lds_of_several: Estimate
    """The same where two artists or more are named: with one, every method that knows her name says the same."""
    rank: Estimate
    """Rank correlation with the true Shapley values over all named artists of all pictures."""
    order: Estimate
    """How often the order of two named artists is that of their true Shapley values."""


@dataclass(frozen=True)
class TrueGame:
    """The kept data of one judge."""

    originals: list[Original]
    settings: dict[str, Any]

    @classmethod
    def read(cls, file: Path = KEPT, judge: str = JUDGES[0]) -> Self:
        """Read what `write` wrote.

        Raises:
            Invalid: the file is missing or holds something else.
        """
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            originals = [
                Original(
                    query=Query(given["shape"], tuple(given["names"]), given["seed"]),
                    prompt_game=tuple(given[judge]["prompt_game"]),
                    retrained=_values(given[judge]["retrained"][0]),
                    foretold=_values(given[judge]["retrained"][1]),
                    mean_similarity=_optional(given[judge].get("mean_similarity")),
                    nearest_similarity=_optional(given[judge].get("nearest_similarity")),
                )
                for given in document["pictures"]
            ]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Invalid(
                f"{file} holds no retrained values ({error!r}): run python -m benchmarks.validity.retrain."
            ) from error
        return cls(originals, document["settings"])

    def score(self, method: str) -> Score | None:
        """Judge one method; None where its judge, or the models there are, do not serve it."""
        scores: list[list[float]] = []
        several: list[list[float]] = []
        points: list[NDArray[np.float64]] = []
        orders: list[list[float]] = []
        for place, original in enumerate(self.originals):
            found: list[Attribution] = []
            if method == NOISE:
                draws = np.random.default_rng(place).normal(size=(_RANDOM_DRAWS, len(PLAYERS)))
                found = [tuple(draw.tolist()) for draw in draws]
            elif (attribution := METHODS[method](original)) is not None:
                found = [attribution]
            else:
                return None
            scores.append([fmean(linear_datamodeling_score(given, original.retrained) for given in found)])
            named = [PLAYERS.index(name) for name in original.query.names]
            truth = original.true_shares
            points.append(np.array([(given[bit], truth[bit]) for given in found for bit in named]))
            if len(named) > 1:
                several.append(scores[-1])
                in_order = [truth[bit] for bit in named]
                orders.append(
                    np.mean(
                        [pair_order([given[bit] for bit in named], in_order) for given in found], axis=0
                    ).tolist()
                )
        return Score(
            method,
            jackknife(scores),
            jackknife(several),
            jackknife(points, lambda pairs: rank_correlation(pairs[:, 0], pairs[:, 1])),
            jackknife(orders),
        )

    def value_correlation(self) -> Estimate:
        """Rank correlation of the prompt game's own values, not of a sum of shares, with the retrained ones."""
        found: list[list[float]] = []
        for original in self.originals:
            slots = {PLAYERS.index(name): slot for slot, name in enumerate(original.query.names, 1)}
            predicted = [
                original.prompt_game[
                    1 + sum(1 << slot for bit, slot in slots.items() if coalition >> bit & 1)
                ]
                for coalition in COALITIONS
            ]
            found.append([rank_correlation(predicted, original.retrained)])
        return jackknife(found)

    def repeated(self) -> Estimate | None:
        """Rank correlation of the values of models trained on the same works with other draws; None: there are none."""
        found: list[list[float]] = []
        for original in self.originals:
            own = np.array(original.foretold)
            there = ~np.isnan(own)
            if there.sum() > len(PLAYERS):
                found.append([rank_correlation(own[there], np.array(original.retrained)[there])])
        return jackknife(found) if found else None

    def seen_again(self) -> Estimate:
        """How near two trainings on the works of everybody draw the same picture."""
        return jackknife([[original.retrained[EVERYBODY]] for original in self.originals])

    def unnamed(self) -> Estimate:
        """What an artist whom nobody named has by retraining, as a fraction of what all four have."""
        found: list[list[float]] = []
        for original in self.originals:
            truth = original.true_shares
            if sum(truth) > 0:
                others = [bit for bit, name in enumerate(PLAYERS) if name not in original.query.names]
                found.append([truth[bit] / sum(truth) for bit in others])
        return jackknife(found)
