"""Games on the shipped miniature whose outcome is known beforehand, played as the product plays them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from itertools import combinations, product
from pathlib import Path
from typing import Any

from attribution.attribute import Attributor, Catalogue
from attribution.generate import pipeline_settings
from attribution.generation import LoggedImage
from attribution.method import MINIATURE_GUIDANCE, MINIATURE_STEPS, default_method
from attribution.miniature import PLACEBO_PATH
from attribution.miniature.artists import ARTISTS, NULL_ARTIST, VISIBLE_ARTISTS
from attribution.miniature.drawing import SHAPES, Scene
from attribution.miniature.prompts import name_artists
from attribution.name_index import NameIndex
from attribution.pipeline import Model, load_model
from attribution.placebo import BareArtist, find_table, made_up_names, read_tables
from attribution.results import ImageResult
from attribution.shapley import SHARE_SCALE
from database.errors import Invalid

KEPT = Path(__file__).with_name("games.json")
"""The games behind docs/validity.md: `python -m benchmarks.validity.page --play` wrote them."""

NULL, MADE_UP, PAST_WINDOW, PAIR, TRIPLE, SEEDS = (
    "null artist",
    "made-up name",
    "past the window",
    "pair",
    "triple",
    "seeds",
)

_VISIBLE = [artist.name for artist in VISIBLE_ARTISTS]
_STRENGTH = {artist.name: artist.strength for artist in ARTISTS}
_FILLER = ", highly detailed, elegant, intricate"
"""Words that the miniature learnt to mean nothing."""
_FILLERS = 20
"""So often that what follows them is past token 77."""
_MADE_UP_SEED = 77
"""Other names than those that the placebo levels were measured with."""


@dataclass(frozen=True, slots=True)
class Played:
    """One image's game: who earned what of the pot v(N) - v({})."""

    kind: str
    prompt: str
    seed: int
    named: tuple[str, ...]
    """Names in the prompt that the catalogue has, in order; also one past the window."""
    phi: dict[str, float]
    """Raw Shapley values as fractions of the pot, by artist, and `C` for content."""
    share: dict[str, float]
    """What is paid, 0..1."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A game to play."""

    kind: str
    prompt: str
    seed: int
    named: tuple[str, ...]


def asked(quick: bool) -> list[Asked]:
    """The games, a few of each kind where it should be quick."""
    found: list[Asked] = []
    shapes, beside = (SHAPES[:1], _VISIBLE[:2]) if quick else (SHAPES, _VISIBLE[:4])
    made_up = iter(made_up_names(len(shapes) * len(beside), _known(()), seed=_MADE_UP_SEED))
    for number, (shape, name) in enumerate(product(shapes, beside)):
        for kind, nobody in ((NULL, NULL_ARTIST.name), (MADE_UP, next(made_up))):
            names = (name, nobody) if number % 2 else (nobody, name)
            found.append(Asked(kind, name_artists(Scene(shape), names), 200 + number, names))
    for number, (shape, name) in enumerate(zip(shapes, _VISIBLE, strict=False)):
        late = _VISIBLE[number - 1]
        prompt = f"{name_artists(Scene(shape), [name])}{_FILLER * _FILLERS}, by {late}"
        found.append(Asked(PAST_WINDOW, prompt, 250 + number, (name, late)))
    pairs = list(combinations(_VISIBLE, 2))
    for (place, shape), (turn, pair) in product(enumerate(shapes), enumerate(pairs[:5] if quick else pairs)):
        # Every other picture names the pair the other way round, so that word order cannot pass for strength.
        order = pair if (place + turn) % 2 else pair[::-1]
        found.append(Asked(PAIR, name_artists(Scene(shape), order), 300 + place, order))
    # One artist of each strength, named in ever other orders.
    triples = list(
        product(*([name for name in _VISIBLE if _STRENGTH[name] == strength] for strength in (9, 5, 3)))
    )
    for number, triple in enumerate(triples[:1] if quick else triples):
        turned = (*triple[number % 3 :], *triple[: number % 3])
        found.append(
            Asked(TRIPLE, name_artists(Scene(SHAPES[number % len(SHAPES)]), turned), 400 + number, turned)
        )
    casts = [
        ("Amara Diallo",),
        ("Bruno Keller", "Farid Naseri"),
        ("Chiyo Moriwaki", "Dmitri Zaslav", "Elena Marchetti"),
    ]
    for (number, cast), seed in product(enumerate(casts[:2] if quick else casts), range(2 if quick else 10)):
        found.append(Asked(SEEDS, name_artists(Scene(SHAPES[2 * number]), cast), 500 + seed, cast))
    return found


def _known(further: Sequence[str]) -> NameIndex:
    return NameIndex([BareArtist(name, name) for name in (*(artist.name for artist in ARTISTS), *further)])


def play(games: Sequence[Asked], model: Model | None = None) -> list[Played]:
    """Play the games by the default method version with the placebo levels that ship with the miniature.

    Raises:
        Invalid: a game cannot be played; the message says which and why.
    """
    model = model or load_model(device="cpu")
    method = default_method(model)
    table = find_table(read_tables(PLACEBO_PATH), method, model.weights_sha256)
    if table is None:
        raise Invalid("The miniature has no placebo levels: run python -m attribution.miniature.calibrate.")
    levels = {players: level for players in (2, 3, 4) if (level := table.of(players))}
    # A made-up name earns only if the catalogue has it: then somebody has registered the name of nobody.
    known = _known(
        [name for game in games if game.kind == MADE_UP for name in game.named if name not in _STRENGTH]
    )
    settings = pipeline_settings(model)
    del settings["model"]
    images = [
        LoggedImage(
            id=number,
            external_id=f"validity-{number}",
            prompt=game.prompt,
            negative_prompt="",
            salt=None,
            seed=game.seed,
            steps=MINIATURE_STEPS,
            guidance=Decimal(str(MINIATURE_GUIDANCE)),
            eta=Decimal(0),
            latents_sha256=None,
            file=None,
            file_sha256=None,
            artists=None,
            **settings,
        )
        for number, game in enumerate(games)
    ]
    outcomes = Attributor(model, method).attribute(images, Catalogue(known, 1), levels)
    found: list[Played] = []
    for number, game in enumerate(games):
        outcome = outcomes[number]
        if not isinstance(outcome, ImageResult) or not outcome.coalitions:
            raise Invalid(f"{game.prompt!r} is not attributed: {outcome}")
        pot = outcome.coalitions[-1].value - outcome.coalitions[0].value
        found.append(
            Played(
                game.kind,
                game.prompt,
                game.seed,
                game.named,
                phi={player.player: float(player.phi / pot) for player in outcome.players},
                share={player.player: player.share_ppb / SHARE_SCALE for player in outcome.players},
            )
        )
    return found


def write(played: Sequence[Played], weights_sha256: bytes, file: Path = KEPT) -> None:
    """Keep games, one a line."""
    lines = ",\n".join(json.dumps(_rounded(asdict(game)), separators=(",", ":")) for game in played)
    file.write_text(
        f'{{"weights_sha256":"{weights_sha256.hex()}","games":[\n{lines}\n]}}\n', encoding="utf-8"
    )


def _rounded(game: dict[str, Any]) -> dict[str, Any]:
    """With six decimals, which is more than a plot shows."""
    game["phi"] = {player: round(value, 6) for player, value in game["phi"].items()}
    game["share"] = {player: round(value, 6) for player, value in game["share"].items()}
    return game


def read(file: Path = KEPT) -> list[Played]:
    """Read what `write` wrote.

    Raises:
        Invalid: the file is missing or holds something else.
    """
    try:
        games = json.loads(file.read_text(encoding="utf-8"))["games"]
        return [Played(**{**game, "named": tuple(game["named"])}) for game in games]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Invalid(
            f"{file} holds no games ({error!r}): run python -m benchmarks.validity.page --play."
        ) from error


def kept_weights_sha256(file: Path = KEPT) -> str:
    """The hash of the weights that the kept games were played on, hexadecimal."""
    return str(json.loads(file.read_text(encoding="utf-8"))["weights_sha256"])


@dataclass(frozen=True, slots=True)
class Effectless:
    """What names without effect are given."""

    phi: list[float]
    """Raw, as a fraction of the pot."""
    share: list[float]
    """Paid."""
    beside: list[float]
    """What is paid to the visible artist beside each."""


def effectless(played: Sequence[Played], kind: str) -> Effectless:
    """The names of `NULL` or `MADE_UP` games that change nothing."""
    games = [game for game in played if game.kind == kind]
    nobody = [next(name for name in game.named if not _STRENGTH.get(name)) for game in games]
    return Effectless(
        phi=[game.phi[name] for game, name in zip(games, nobody, strict=True)],
        share=[game.share[name] for game, name in zip(games, nobody, strict=True)],
        beside=[game.share[name] for game in games for name in game.named if _STRENGTH.get(name)],
    )


def unnamed_shares(played: Sequence[Played]) -> list[float]:
    """What artists earn who are in the catalogue and not in the prompt, or in it past the window."""
    found: list[float] = []
    for game in played:
        named = game.named[:1] if game.kind == PAST_WINDOW else game.named
        found += [game.share.get(artist.name, 0.0) for artist in ARTISTS if artist.name not in named]
    return found


def late_shares(played: Sequence[Played]) -> list[float]:
    """What artists earn whose names stand past the window."""
    return [game.share.get(game.named[1], 0.0) for game in played if game.kind == PAST_WINDOW]


def order_right(played: Sequence[Played], kind: str) -> list[bool]:
    """For each two artists of unequal strength in one image whether the stronger is paid more."""
    return [
        game.share[max(two, key=lambda name: _STRENGTH[name])]
        > game.share[min(two, key=lambda name: _STRENGTH[name])]
        for game in played
        if game.kind == kind
        for two in combinations(game.named, 2)
        if _STRENGTH[two[0]] != _STRENGTH[two[1]]
    ]


def splits(played: Sequence[Played]) -> list[tuple[float, float]]:
    """Of each pair of unequal strength, the true and the paid share of the one named first, of what both have."""
    return [
        (
            _STRENGTH[one] / (_STRENGTH[one] + _STRENGTH[other]),
            game.share[one] / (game.share[one] + game.share[other]),
        )
        for game in played
        if game.kind == PAIR
        for one, other in [game.named]
        if _STRENGTH[one] != _STRENGTH[other]
    ]


def equal_gaps(played: Sequence[Played]) -> dict[tuple[str, str], list[float]]:
    """By pair of equal strength, in order of the alphabet: (first less second) of what both have."""
    found: dict[tuple[str, str], list[float]] = {}
    for game in played:
        if game.kind == PAIR and _STRENGTH[game.named[0]] == _STRENGTH[game.named[1]]:
            one, other = sorted(game.named)
            gap = (game.share[one] - game.share[other]) / (game.share[one] + game.share[other])
            found.setdefault((one, other), []).append(gap)
    return found


def over_seeds(played: Sequence[Played]) -> dict[tuple[str, ...], dict[str, list[float]]]:
    """By the artists of a prompt, each player's shares over the seeds."""
    found: dict[tuple[str, ...], dict[str, list[float]]] = {}
    for game in played:
        if game.kind == SEEDS:
            for player, share in game.share.items():
                found.setdefault(game.named, {}).setdefault(player, []).append(share)
    return found
