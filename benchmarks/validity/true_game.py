"""The true game beside what attributions say of it: the kept values of the retrained models, and who predicts them.

A picture is drawn by one of the trainings on everybody (its *original*). An attribution sees that training only. It
is judged by the other replicate's models, trained on each set of artists with other random draws: how near is what
they draw from the same prompt and noise to the original? So nothing is asked to predict its own noise, and the
original replicate's own true Shapley values say how much could be predicted at all.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

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
    """One picture by a training on everybody: what is known of it without retraining, and what retraining says."""

    query: Query
    replicate: int
    """Which training on everybody drew it."""
    prompt_game: tuple[int, ...]
    """v(S) of the prompt game on that training, bit 0 content, bit k the k-th artist named."""
    retrained: tuple[tuple[int | None, ...], ...]
    """By replicate and set of artists: how near the retrained model's picture is; None where there is no such model."""
    mean_similarity: Attribution | None
    """Cosine with each artist's works, their mean; None where the judge is no embedding."""
    nearest_similarity: Attribution | None
    """The same with the work that is nearest."""

    @property
    def own(self) -> list[float]:
        """What this replicate's models draw, by set of artists; NaN where there is no such model.

        Nor does everybody's count, which drew the original: it is as near to itself as can be.
        """
        return [*_values(self.retrained[self.replicate])[:-1], np.nan]

    @property
    def others(self) -> list[list[float]]:
        """What the models of each other replicate draw that has them all, by set of artists."""
        return [
            _values(values)
            for replicate, values in enumerate(self.retrained)
            if replicate != self.replicate and None not in values
        ]

    def of_named(self, values: Sequence[float]) -> Attribution:
        """Values of the artists named, in the order of naming, spread over the four; 0 for whom nobody named."""
        by_name = dict(zip(self.query.names, values, strict=True))
        return tuple(by_name.get(name, 0.0) for name in PLAYERS)


def _values(kept: Sequence[int | None]) -> list[float]:
    return [np.nan if value is None else value / UNIT for value in kept]


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
    without = [original.own[EVERYBODY & ~(1 << bit)] for bit in range(len(PLAYERS))]
    return None if np.isnan(without).any() else tuple(1 - value for value in without)


def retrained_fit(original: Original) -> Attribution | None:
    """The sums that come nearest to what retraining drew, by least squares over the models there are."""
    own = np.array(original.own)
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
"""By name; None where a picture's own replicate lacks models that the method needs."""

_RANDOM_DRAWS = 20


@dataclass(frozen=True, slots=True)
class Score:
    """How well one method predicts retraining."""

    method: str
    lds: Estimate
    """Over pictures; `count` is pictures times retrainings they were judged by."""
    lds_of_several: Estimate
    """The same where two artists or more are named: with one, every method that knows her name says the same."""
    rank: Estimate
    """Rank correlation with the other replicate's true Shapley values over all named artists of all pictures."""
    order: Estimate
    """How often the order of two named artists is that of the other replicate's true Shapley values."""


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
                    replicate=replicate,
                    prompt_game=tuple(drawn[judge]["prompt_game"]),
                    retrained=tuple(tuple(values) for values in drawn[judge]["retrained"]),
                    mean_similarity=_optional(drawn[judge].get("mean_similarity")),
                    nearest_similarity=_optional(drawn[judge].get("nearest_similarity")),
                )
                for given in document["pictures"]
                for replicate, drawn in enumerate(given["originals"])
            ]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Invalid(
                f"{file} holds no retrained values ({error!r}): run python -m benchmarks.validity.retrain."
            ) from error
        return cls(originals, document["settings"])

    def truth(self, original: Original) -> list[Attribution]:
        """The true Shapley values of a picture by the other replicates."""
        return [
            tuple(
                float(phi) / UNIT
                for phi in shapley_values([round(value * UNIT) for value in values], len(PLAYERS))
            )
            for values in original.others
        ]

    def score(self, method: str) -> Score | None:
        """Judge one method; None where its judge, or the models there are, do not serve it."""
        by_query: dict[Query, list[tuple[Original, list[Attribution]]]] = {}
        for place, original in enumerate(self.originals):
            if method == NOISE:
                draws = np.random.default_rng(place).normal(size=(_RANDOM_DRAWS, len(PLAYERS)))
                given = [tuple(float(value) for value in draw) for draw in draws]
            else:
                attribution = METHODS[method](original)
                given = [] if attribution is None else [attribution]
            by_query.setdefault(original.query, []).append((original, given))

        scores, several, points, orders = [], [], [], []
        for query, found in by_query.items():
            of_query = [
                float(np.mean([linear_datamodeling_score(attribution, values) for attribution in given]))
                for original, given in found
                if given
                for values in original.others
            ]
            scores.append(of_query)
            if len(query.names) > 1:
                several.append(of_query)
            named = [PLAYERS.index(name) for name in query.names]
            tried = [(a, truth) for original, given in found for truth in self.truth(original) for a in given]
            points.append([(a[bit], truth[bit]) for a, truth in tried for bit in named])
            orders.append(
                [
                    right
                    for a, truth in tried
                    for right in pair_order([a[b] for b in named], [truth[b] for b in named])
                ]
            )
        if not any(scores):
            return None
        return Score(
            method,
            jackknife(scores),
            jackknife(several),
            jackknife(
                [np.asarray(group).reshape(-1, 2) for group in points],
                lambda pairs: rank_correlation(pairs[:, 0], pairs[:, 1]),
            ),
            jackknife(orders),
        )

    def value_correlation(self) -> Estimate:
        """Rank correlation of the prompt game's own values, not of a sum of shares, with the retrained ones."""
        by_query: dict[Query, list[float]] = {}
        for original in self.originals:
            slots = {PLAYERS.index(name): slot for slot, name in enumerate(original.query.names, 1)}
            predicted = np.array(
                [
                    original.prompt_game[
                        1 + sum(1 << slot for bit, slot in slots.items() if coalition >> bit & 1)
                    ]
                    for coalition in COALITIONS
                ]
            )
            by_query.setdefault(original.query, []).extend(
                rank_correlation(predicted, values) for values in original.others
            )
        return jackknife(list(by_query.values()))

    def repeated(self) -> Estimate:
        """Rank correlation of one replicate's values with another's: how far retraining agrees with itself."""
        by_query: dict[Query, list[float]] = {}
        for original in self.originals:
            own = np.array(original.own)
            there = ~np.isnan(own)
            if there.sum() > len(PLAYERS):
                by_query.setdefault(original.query, []).extend(
                    rank_correlation(own[there], np.array(values)[there]) for values in original.others
                )
        return jackknife(list(by_query.values()))

    def seen_again(self) -> Estimate:
        """How near two trainings on the same works of everybody draw the same picture."""
        by_query: dict[Query, list[float]] = {}
        for original in self.originals:
            by_query.setdefault(original.query, []).extend(
                value / UNIT
                for replicate, values in enumerate(original.retrained)
                if replicate != original.replicate and (value := values[EVERYBODY]) is not None
            )
        return jackknife(list(by_query.values()))

    def unnamed(self) -> Estimate:
        """By how much retraining without an artist whom nobody named changes a picture, of all that it changes."""
        by_query: dict[Query, list[float]] = {}
        for original in self.originals:
            for truth in self.truth(original):
                pot = sum(truth)
                named = {PLAYERS.index(name) for name in original.query.names}
                by_query.setdefault(original.query, []).extend(
                    truth[bit] / pot for bit in range(len(PLAYERS)) if bit not in named and pot > 0
                )
        return jackknife(list(by_query.values()))
