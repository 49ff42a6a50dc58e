"""What a made-up name does to a picture: the level that an artist's effect must exceed to earn.

Any words change a picture a little. Names that nobody bears are put into the same slots as artists, the game is
played, and their Shapley values give, for each number of players and each slot, a mean (taken off every artist) and
a threshold (below which nobody earns).
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from random import Random
from statistics import fmean, stdev
from typing import Any, Self

from attribution.characteristic import Measurer, Valuer
from attribution.estimator import draw_order
from attribution.game import Game, build_game
from attribution.method import MethodVersion
from attribution.name_index import NamedArtist, NameIndex
from attribution.prompt_words import split_words
from attribution.render import RenderRequest
from attribution.shapley import PlaceboLevel, shapley_values
from attribution.vocabulary import GIVEN_NAMES, english, proper_names
from database.errors import Invalid

CONTENTS = (
    "a castle on a hill",
    "a portrait of a woman",
    "a bowl of fruit on a table",
    "a street in the rain",
    "a cat on a chair",
    "ships in a harbour",
    "a forest in autumn",
    "a crowd at a market",
)
"""Content prompts for models of the everyday world."""

_WORDINGS = ("{content} in the style of {names}", "{content} by {names}", "{content}, art by {names}")
SIZES = range(2, 5)
"""Numbers of players, content included, that are calibrated unless somebody asks for others."""

_PAIRS = 4
"""Pairs of orders drawn for each made-up name in games that are not exact."""

_BOOTSTRAPS = 500

_ONSETS = "b bl br d dr f fl g gr h k kl kr l m n p pr r s sk sl st t tr v vl z zv".split()
_VOWELS = "a e i o u ae ei ou".split()
_CODAS = ["", "", "", "l", "m", "n", "r", "s", "sk", "th", "x"]


@dataclass(frozen=True, slots=True)
class BareArtist:
    """An artist of whom only the name matters."""

    id: str
    name: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SlotLevel:
    """What made-up names do in one slot of a game of one size, in units of 10^-9 of v."""

    players: int
    slot: int
    mean: int
    mean_standard_error: int
    threshold: int
    """The stated quantile of phi less the mean, at least 0."""
    threshold_standard_error: int
    """By bootstrap over the names."""
    names: int
    phi: tuple[int, ...]
    """The evidence: each name's Shapley value, in the order of the table's names."""


@dataclass(frozen=True, slots=True)
class PlaceboTable:
    """The levels of one method version on one model, and how they were measured."""

    placebo_sha256: str
    """Of the part of the method version that levels depend on."""
    weights_sha256: str
    names: tuple[str, ...]
    settings: dict[str, Any]
    """Sampler, content prompts and other artists that the names were tried with."""
    cost: dict[str, int]
    """Pictures and UNet sample-forwards that it took."""
    levels: tuple[SlotLevel, ...]

    def of(self, players: int) -> tuple[PlaceboLevel, ...] | None:
        """The levels of a game of so many players by slot; None if it was not calibrated for them."""
        levels = sorted(
            (level for level in self.levels if level.players == players), key=lambda level: level.slot
        )
        return tuple(PlaceboLevel(level.mean, level.threshold) for level in levels) or None

    def to_json(self) -> dict[str, Any]:
        """As stored in a file."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Self:
        """As read from a file.

        Raises:
            Invalid: it is no placebo table.
        """
        try:
            levels = tuple(SlotLevel(**{**level, "phi": tuple(level["phi"])}) for level in given["levels"])
            return cls(**{**given, "names": tuple(given["names"]), "levels": levels})
        except (KeyError, TypeError) as error:
            raise Invalid(f"This is no placebo table: {error!r}.") from error


def made_up_names(count: int, known: NameIndex, seed: int = 0) -> list[str]:
    """Pronounceable first and last names that no artist bears and no dictionary lists; the same for a seed."""
    rng = Random(seed)
    known_words = english() | proper_names() | GIVEN_NAMES
    names: dict[str, None] = {}
    while len(names) < count:
        words = [
            "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(2))
            for _ in range(2)
        ]
        name = " ".join(words).title()
        means_something = any(word in known_words for word in words)
        if not means_something and not any(known.candidates(split_words(name))):
            names[name] = None
    return list(names)


@dataclass(frozen=True, slots=True)
class _Trial:
    """One made-up name in one slot of one game, with the coalitions that its value is found from."""

    number: int
    players: int
    slot: int
    game: Game
    coalitions: tuple[int, ...]
    marginals: tuple[int, ...] | None
    """Coalitions that the name joins in drawn orders; None: all coalitions are valued."""

    def phi(self, values: Mapping[int, int]) -> Fraction:
        """The name's Shapley value, exact or the mean of drawn marginals."""
        if self.marginals is None:
            return shapley_values([values[c] for c in range(1 << self.players)], self.players)[self.slot]
        joined = sum(values[before | 1 << self.slot] - values[before] for before in self.marginals)
        return Fraction(joined, len(self.marginals))


def calibrate(
    measurer: Measurer,
    method: MethodVersion,
    template: RenderRequest,
    artists: Sequence[NamedArtist],
    *,
    contents: Sequence[str] = CONTENTS,
    names: int | None = None,
    sizes: Collection[int] = SIZES,
    progress: Callable[[int, int], None] | None = None,
) -> PlaceboTable:
    """Measure what made-up names do in games of each size.

    Each name has its own seed and, as far as they last, its own content, because the level of noise differs between
    them. Games that the method plays exactly are calibrated slot by slot, exactly; games of one name share their
    coalitions: up to four players it is 24 pictures a name, not 68.

    In larger games, where the method draws orders, there are too many slots and coalitions for that. There one level
    serves all slots of a size: each name takes one slot, the names the slots in turn, and its value is the mean of its
    marginals over 4 drawn pairs of orders, some 18 pictures a name. What is drawn scatters more than what is exact,
    so that the threshold is, if anything, too high: the error is never in favour of a name.

    Args:
        measurer: Renders and embeds.
        method: The method version; its protocol, characteristic function and quantile are used.
        template: Sampler, size and guidance of the platform's usual picture; prompt and seed are not used.
        artists: Artists the model knows, who hold the other slots: at least two fewer than the largest size.
        contents: Content prompts, taken in turn.
        names: How many made-up names; None takes the method's number.
        sizes: Numbers of players, content included.
        progress: Called with pictures rendered so far and the most there can be.

    Raises:
        Invalid: there are too few artists for the largest game, or a size is none that the method plays.
    """
    largest = max(sizes)
    if min(sizes) < 2 or largest > method.maximum_players:
        raise Invalid(f"Games of method {method.name} have 2 to {method.maximum_players} players.")
    if len(artists) < largest - 2:
        raise Invalid(f"Games of {largest} players need {largest - 2} artists of the catalogue.")
    made_up = made_up_names(names or method.placebo_names, NameIndex(artists))
    template = replace(template, steps=method.protocol_steps or template.steps)
    valuer = Valuer(method.characteristic_function, measurer.engine.model)

    tried = [
        trial
        for number, name in enumerate(made_up)
        for players in sorted(sizes)
        for trial in _trials(method, valuer, number, name, players, artists, contents)
    ]
    requests = [
        replace(template, prompt=trial.game.prompt(coalition), seed=1000 + trial.number)
        for trial in tried
        for coalition in trial.coalitions
    ]

    before = replace(measurer.engine.stats)
    most = len({measurer.engine.key(request) for request in requests})
    done = 0

    def advance(pictures: int) -> None:
        nonlocal done
        done += pictures
        if progress is not None:
            progress(done, most)

    measured = iter(measurer.measure(requests, advance))
    phi: dict[tuple[int, int], list[int]] = {}
    for trial in tried:
        embeddings = {coalition: next(measured).embedding for coalition in trial.coalitions}
        values = valuer.values(trial.game.canonical_prompt, trial.players, embeddings)
        slots = [trial.slot] if trial.marginals is None else range(1, trial.players)
        for slot in slots:
            phi.setdefault((trial.players, slot), []).append(round(trial.phi(values)))

    after = measurer.engine.stats
    return PlaceboTable(
        placebo_sha256=method.placebo_sha256.hex(),
        weights_sha256=measurer.engine.model.weights_sha256.hex(),
        names=tuple(made_up),
        settings={
            "scheduler": template.scheduler,
            "scheduler_config": dict(template.scheduler_config),
            "steps": template.steps,
            "guidance": str(template.guidance),
            "size": [template.width, template.height],
            "negative_prompt": template.negative_prompt,
            "contents": list(contents),
            "artists": [artist.id for artist in artists],
            "one_level_for_all_slots": [
                size for size in sorted(sizes) if size > method.maximum_exact_players
            ],
        },
        cost={
            "pictures": after.rendered - before.rendered,
            "unet_samples": after.unet_samples - before.unet_samples,
        },
        levels=tuple(
            _level(players, slot, values, method.placebo_quantile_permille)
            for (players, slot), values in sorted(phi.items())
        ),
    )


def _trials(
    method: MethodVersion,
    valuer: Valuer,
    number: int,
    name: str,
    players: int,
    artists: Sequence[NamedArtist],
    contents: Sequence[str],
) -> Iterator[_Trial]:
    """The games of one size that a made-up name is tried in."""
    others = [artists[(number + place) % len(artists)] for place in range(players - 2)]
    content, wording = contents[number % len(contents)], _WORDINGS[number % len(_WORDINGS)]
    if players <= method.maximum_exact_players:
        for slot in range(1, players):
            game = _game(content, wording, name, others, slot)
            yield _Trial(number, players, slot, game, tuple(range(1 << players)), None)
        return
    slot = 1 + number % (players - 1)
    game = _game(content, wording, name, others, slot)
    marginals: list[int] = []
    for pair in range(_PAIRS):
        order = draw_order(method.placebo_sha256, name, pair, players)
        place = order.index(slot)
        marginals += [
            sum(1 << other for other in order[:place]),
            sum(1 << other for other in order[place + 1 :]),
        ]
    coalitions = valuer.always(players).union(marginals, (before | 1 << slot for before in marginals))
    yield _Trial(number, players, slot, game, tuple(sorted(coalitions)), tuple(marginals))


def _game(content: str, wording: str, name: str, others: Sequence[NamedArtist], slot: int) -> Game:
    nobody = BareArtist("placebo", name)
    in_order = [*others[: slot - 1], nobody, *others[slot - 1 :]]
    listed = " and ".join(filter(None, [", ".join(a.name for a in in_order[:-1]), in_order[-1].name]))
    game = build_game(wording.format(content=content, names=listed), NameIndex(in_order))
    if game.artists != tuple(artist.id for artist in in_order):
        raise Invalid(f"The calibration prompt {game.canonical_prompt!r} is not read as it is meant.")
    return game


def quantile(values: Sequence[int], permille: int) -> int:
    """The smallest value that at least so many thousandths of the values do not exceed (nearest rank)."""
    return sorted(values)[max(0, -(-len(values) * permille // 1000) - 1)]


def _level(players: int, slot: int, phi: Sequence[int], permille: int) -> SlotLevel:
    rng = Random(0)
    resampled = [rng.choices(phi, k=len(phi)) for _ in range(_BOOTSTRAPS)]
    thresholds = [_threshold(sample, permille) for sample in resampled]
    return SlotLevel(
        players=players,
        slot=slot,
        mean=round(fmean(phi)),
        mean_standard_error=round(stdev(phi) / len(phi) ** 0.5),
        threshold=_threshold(phi, permille),
        threshold_standard_error=round(stdev(thresholds)),
        names=len(phi),
        phi=tuple(phi),
    )


def _threshold(phi: Sequence[int], permille: int) -> int:
    mean = round(fmean(phi))
    return max(0, quantile([value - mean for value in phi], permille))


def write_tables(path: Path, tables: Sequence[PlaceboTable]) -> None:
    """Write tables as JSON, so that they can be shipped with a model."""
    path.write_text(json.dumps([table.to_json() for table in tables], indent=1) + "\n")


def read_tables(path: Path) -> list[PlaceboTable]:
    """Read what `write_tables` wrote.

    Raises:
        Invalid: the file is not there or holds something else.
    """
    try:
        return [PlaceboTable.from_json(table) for table in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise Invalid(f"{path} holds no placebo tables: {error}.") from error


def find_table(
    tables: Sequence[PlaceboTable], method: MethodVersion, weights_sha256: bytes
) -> PlaceboTable | None:
    """The table of this method version's convention on this model, if it is among them."""
    wanted = (method.placebo_sha256.hex(), weights_sha256.hex())
    return next((table for table in tables if (table.placebo_sha256, table.weights_sha256) == wanted), None)
