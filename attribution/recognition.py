"""Which names a model demonstrably knows: only their bearers are players, everybody else's name is content.

Content prompts are rendered alone and with "by <name>", from one seed each. A name is known if both hold:

- it moves the pictures more than 95 % of made-up names do, by the mean distance over the probes;
- the pictures are classified back: the move of a left-out probe is nearest to the mean move of the name's own other
  probes more often than chance says, among all names measured and the made-up ones, by an exact binomial test.

What was rendered is kept, so that a new artist takes only her own pictures. No database here.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import comb
from pathlib import Path
from typing import Any, Self

import numpy as np
import rfc8785
from numpy.typing import NDArray

from attribution.characteristic import UNIT, Measurer, cosine
from attribution.method import RECOGNITION_RULES, MethodVersion, RecognitionRule
from attribution.name_index import NameIndex
from attribution.placebo import CONTENTS, made_up_names, quantile
from attribution.render import RenderRequest
from database.errors import Invalid

Moves = NDArray[np.float32]
"""Embedding with the name less embedding without it, by probe; shape (probes, width)."""

_FIRST_SEED = 5000
_TOGETHER = 4
"""Names measured between two saves."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One content prompt with the seed it is rendered from."""

    content: str
    seed: int

    def prompt(self, name: str) -> str:
        """The content by somebody."""
        return f"{self.content} by {name}"


@dataclass(frozen=True)
class NameMeasure:
    """What one name does to the probes."""

    name: str
    distances: tuple[int, ...]
    """1 - cos(picture with the name, picture without) by probe, in 10^-9."""
    moves: Moves

    @property
    def movement(self) -> int:
        """Mean distance in 10^-9, rounded down."""
        return sum(self.distances) // len(self.distances)

    def to_json(self) -> dict[str, Any]:
        """As stored in a file."""
        return {"name": self.name, "distances": list(self.distances), "moves": packed(self.moves)}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """As read from a file."""
        distances = tuple(map(int, given["distances"]))
        return cls(given["name"], distances, unpacked(given["moves"], len(distances)))


@dataclass(frozen=True)
class Scale:
    """What made-up names do: the yardstick of one method version's terms on one model."""

    rule: str
    recognition_sha256: str
    """Of the part of the method version that it depends on."""
    weights_sha256: str
    probes: tuple[Probe, ...]
    settings: dict[str, Any]
    """Sampler and size of all pictures."""
    names: tuple[NameMeasure, ...]
    """The made-up ones."""

    @property
    def threshold(self) -> int:
        """The movement that a known name exceeds, in 10^-9."""
        return quantile(
            [name.movement for name in self.names], RECOGNITION_RULES[self.rule].quantile_permille
        )

    @property
    def sha256(self) -> bytes:
        """SHA-256 of all of it as RFC 8785 canonical JSON."""
        return hashlib.sha256(rfc8785.dumps(self.to_json())).digest()

    def template(self) -> RenderRequest:
        """The request that every picture is made by, without prompt and seed."""
        given = self.settings
        width, height = given["size"]
        return RenderRequest(
            prompt="",
            seed=0,
            steps=given["steps"],
            guidance=float(given["guidance"]),
            width=width,
            height=height,
            scheduler=given["scheduler"],
            scheduler_config=given["scheduler_config"],
            negative_prompt=given["negative_prompt"],
        )

    def to_json(self) -> dict[str, Any]:
        """As stored in a file."""
        return {
            "rule": self.rule,
            "recognition_sha256": self.recognition_sha256,
            "weights_sha256": self.weights_sha256,
            "probes": [asdict(probe) for probe in self.probes],
            "settings": self.settings,
            "names": [name.to_json() for name in self.names],
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """As read from a file.

        Raises:
            Invalid: it is no scale.
        """
        try:
            return cls(
                rule=given["rule"],
                recognition_sha256=given["recognition_sha256"],
                weights_sha256=given["weights_sha256"],
                probes=tuple(Probe(**probe) for probe in given["probes"]),
                settings=dict(given["settings"]),
                names=tuple(map(NameMeasure.from_json, given["names"])),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Invalid(f"This is no scale of recognition: {error!r}.") from error


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the model knows one name, with the figures that say so."""

    name: str
    movement: int
    """Mean distance over the probes, in 10^-9."""
    threshold: int
    """What made-up names stay below, in 10^-9."""
    taken_for: tuple[str, ...]
    """The name whose mean move was nearest, by probe."""
    classes: int
    """Names among which it was told apart, itself included."""
    chance_ppb: int
    """Probability of so many hits or more by chance, rounded up, in 10^-9."""
    recognised: bool

    @property
    def hits(self) -> int:
        """Probes that were taken for the name itself."""
        return sum(taken == self.name for taken in self.taken_for)


@dataclass(frozen=True)
class RecognitionTable:
    """A scale and the names measured on it: what ships with a model."""

    scale: Scale
    names: tuple[NameMeasure, ...]

    def to_json(self) -> dict[str, Any]:
        """As stored in a file."""
        return {"scale": self.scale.to_json(), "names": [name.to_json() for name in self.names]}


def write_recognition(path: Path, tables: Sequence[RecognitionTable]) -> None:
    """Write tables as JSON, so that they can be shipped with a model."""
    path.write_text(json.dumps([table.to_json() for table in tables], indent=1) + "\n")


def read_recognition(path: Path) -> list[RecognitionTable]:
    """Read what `write_recognition` wrote.

    Raises:
        Invalid: the file is not there or holds something else.
    """
    try:
        return [
            RecognitionTable(
                Scale.from_json(table["scale"]), tuple(map(NameMeasure.from_json, table["names"]))
            )
            for table in json.loads(path.read_text())
        ]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Invalid(f"{path} holds no recognition tables: {error}.") from error


def packed(moves: Moves) -> str:
    """Little-endian fp32 in base64."""
    return base64.b64encode(moves.astype("<f4").tobytes()).decode()


def unpacked(text: str, probes: int) -> Moves:
    """What `packed` packed."""
    return np.frombuffer(base64.b64decode(text), dtype="<f4").reshape(probes, -1)


def measure_scale(
    measurer: Measurer,
    method: MethodVersion,
    template: RenderRequest,
    known: NameIndex,
    *,
    contents: Sequence[str] = CONTENTS,
    progress: Callable[[int], None] | None = None,
) -> Scale:
    """Measure what made-up names do.

    Args:
        measurer: renders and embeds.
        method: its gate's terms and its protocol.
        template: sampler, size and guidance of the platform's usual picture; prompt and seed are not used.
        known: the catalogue, whose names are not made up.
        contents: content prompts, taken in turn.
        progress: called with pictures rendered since the last call.

    Raises:
        Invalid: the method version has no gate.
    """
    rule = rule_of(method)
    template = replace(template, steps=method.protocol_steps or template.steps)
    probes = tuple(
        Probe(contents[number % len(contents)], _FIRST_SEED + number) for number in range(rule.probes)
    )
    return Scale(
        rule=str(method.recognition),
        recognition_sha256=method.recognition_sha256.hex(),
        weights_sha256=measurer.engine.model.weights_sha256.hex(),
        probes=probes,
        settings={
            "scheduler": template.scheduler,
            "scheduler_config": dict(template.scheduler_config),
            "steps": template.steps,
            "guidance": str(template.guidance),
            "size": [template.width, template.height],
            "negative_prompt": template.negative_prompt,
        },
        names=_measured(measurer, template, probes, made_up_names(rule.made_up_names, known, 1), progress),
    )


def measure_names(
    measurer: Measurer, scale: Scale, names: Sequence[str], progress: Callable[[int], None] | None = None
) -> Iterator[tuple[NameMeasure, ...]]:
    """Measure names on a scale, some at a time, so that what is done can be kept before all is done."""
    for start in range(0, len(names), _TOGETHER):
        some = names[start : start + _TOGETHER]
        yield _measured(measurer, scale.template(), scale.probes, some, progress)


def pictures_of(rule: RecognitionRule, names: int, *, with_scale: bool) -> int:
    """How many pictures it takes to measure so many names."""
    return rule.probes * (names + 1 + (rule.made_up_names if with_scale else 0))


def _measured(
    measurer: Measurer,
    template: RenderRequest,
    probes: Sequence[Probe],
    names: Sequence[str],
    progress: Callable[[int], None] | None,
) -> tuple[NameMeasure, ...]:
    alone = [replace(template, prompt=probe.content, seed=probe.seed) for probe in probes]
    named = [
        replace(template, prompt=probe.prompt(name), seed=probe.seed) for name in names for probe in probes
    ]
    embeddings = [found.embedding for found in measurer.measure([*alone, *named], progress)]
    without, with_names = embeddings[: len(probes)], embeddings[len(probes) :]
    found = []
    for place, name in enumerate(names):
        hers = with_names[place * len(probes) : (place + 1) * len(probes)]
        pairs = list(zip(hers, without, strict=True))
        found.append(
            NameMeasure(
                name=name,
                distances=tuple(UNIT - cosine(one, other) for one, other in pairs),
                moves=np.stack([one - other for one, other in pairs]).astype(np.float32),
            )
        )
    return tuple(found)


def judge(
    scale: Scale, measures: Sequence[NameMeasure], owners: Mapping[str, str], names: Sequence[str]
) -> list[Verdict]:
    """Say of names whether the model knows them.

    Args:
        scale: what made-up names do.
        measures: of all names measured so far, each once; a name is told apart among them and the made-up ones, but
            for other names of the same artist, whose style is the same.
        owners: artists' ids by name; a name that is not in it has an owner of its own.
        names: those to judge, all of them measured.
    """
    classes = [*measures, *scale.names]
    moves = np.stack([measure.moves for measure in classes]).astype(np.float64)
    probes = moves.shape[1]
    # Nobody's mean knows the probe that is to be told: else contents, which repeat, would help to tell styles.
    means = (moves.sum(1, keepdims=True) - moves) / (probes - 1)
    owner = [owners.get(measure.name, "") for measure in classes]
    places = {measure.name: place for place, measure in enumerate(classes)}
    rule = RECOGNITION_RULES[scale.rule]
    verdicts = []
    for name in names:
        place = places[name]
        among = [i for i in range(len(classes)) if i == place or not owner[i] or owner[i] != owner[place]]
        taken_for = []
        for probe in range(probes):
            away = np.square(means[among, probe] - moves[place, probe]).sum(1)
            taken_for.append(classes[among[int(away.argmin())]].name)
        hits = sum(taken == name for taken in taken_for)
        tail = binomial_tail(hits, probes, len(among))
        whole = len(among) ** probes
        movement = classes[place].movement
        verdicts.append(
            Verdict(
                name=name,
                movement=movement,
                threshold=scale.threshold,
                taken_for=tuple(taken_for),
                classes=len(among),
                chance_ppb=-(-tail * UNIT // whole),
                recognised=movement > scale.threshold and tail * 1000 <= rule.level_permille * whole,
            )
        )
    return verdicts


def binomial_tail(hits: int, trials: int, classes: int) -> int:
    """Numerator over classes^trials of the probability of `hits` or more where each has a chance of 1/classes."""
    return sum(comb(trials, found) * (classes - 1) ** (trials - found) for found in range(hits, trials + 1))


def rule_of(method: MethodVersion) -> RecognitionRule:
    """The terms of a method version's gate.

    Raises:
        Invalid: it has none, or one of another release.
    """
    rule = RECOGNITION_RULES.get(method.recognition or "")
    if rule is None:
        raise Invalid(f"Method {method.name} asks for no recognition: every artist named is a player.")
    return rule
