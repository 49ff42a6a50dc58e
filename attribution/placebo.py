"""What a made-up name does to a picture: the level that an artist's effect must exceed to earn.

Any words change a picture a little. Names that nobody bears are put into the same slots as artists, the game is
played, and their Shapley values give, for each number of players and each slot, a mean (taken off every artist) and
a threshold (below which nobody earns).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from statistics import fmean, stdev
from typing import Any, Self

from attribution.characteristic import Measurer, characteristic_function
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
_MOST_PLAYERS = 4
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

    method_sha256: str
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


def calibrate(
    measurer: Measurer,
    method: MethodVersion,
    template: RenderRequest,
    artists: Sequence[NamedArtist],
    *,
    contents: Sequence[str] = CONTENTS,
    names: int | None = None,
    most_players: int = _MOST_PLAYERS,
    progress: Callable[[int, int], None] | None = None,
) -> PlaceboTable:
    """Measure what made-up names do for 2 to `most_players` players in every slot.

    Each name has its own seed and, as far as they last, its own content, because the level of noise differs between
    them. Games of one name share their coalitions: up to four players it is 24 pictures a name, not 68.

    Args:
        measurer: Renders and embeds.
        method: The method version; its protocol, characteristic function and quantile are used.
        template: Sampler, size and guidance of the platform's usual picture; prompt and seed are not used.
        artists: Artists the model knows, who hold the other slots: at least `most_players` - 2.
        contents: Content prompts, taken in turn.
        names: How many made-up names; None takes the method's number.
        most_players: Players of the largest game, content included.
        progress: Called with pictures rendered so far and the most there can be.

    Raises:
        Invalid: there are too few artists for the largest game.
    """
    if len(artists) < most_players - 2:
        raise Invalid(f"Games of {most_players} players need {most_players - 2} artists of the catalogue.")
    made_up = made_up_names(names or method.placebo_names, NameIndex(artists))
    template = replace(template, steps=method.protocol_steps or template.steps)

    tried: list[tuple[int, int, Game]] = []
    requests: list[RenderRequest] = []
    for number, name in enumerate(made_up):
        content = contents[number % len(contents)]
        wording = _WORDINGS[number % len(_WORDINGS)]
        for players in range(2, most_players + 1):
            others = [artists[(number + place) % len(artists)] for place in range(players - 2)]
            for slot in range(1, players):
                game = _game(content, wording, name, others, slot)
                tried.append((players, slot, game))
                requests += [replace(template, prompt=prompt, seed=1000 + number) for prompt in game.prompts]

    before = replace(measurer.engine.stats)
    most = len({measurer.engine.key(request) for request in requests})
    done = 0

    def advance(pictures: int) -> None:
        nonlocal done
        done += pictures
        if progress is not None:
            progress(done, most)

    measured = iter(measurer.measure(requests, advance))
    value_of = characteristic_function(method.characteristic_function)
    phi: dict[tuple[int, int], list[int]] = {}
    for players, slot, game in tried:
        embeddings = [next(measured).embedding for _ in game.prompts]
        value = shapley_values(value_of(embeddings), players)[slot]
        phi.setdefault((players, slot), []).append(round(value))

    after = measurer.engine.stats
    return PlaceboTable(
        method_sha256=method.sha256.hex(),
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
    """The table of this method version on this model, if it is among them."""
    wanted = (method.sha256.hex(), weights_sha256.hex())
    return next((table for table in tables if (table.method_sha256, table.weights_sha256) == wanted), None)
