"""How well prompts are read, and how fast: python -m benchmarks.prompt_reading [--held-out] [--quick] [--json FILE].

The labelled set is tests/attribution/prompts (its README says how it was made). Counted are namings, one for each
artist of each prompt: precision is the part of what the reader found that is labelled, recall the part of what is
labelled that the reader found. Failures of the development prompts are listed with the reader's own explanation; of
the held-out hundred nothing is shown but counts.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from time import perf_counter

from rich.markup import escape

from attribution.catalogue import Artist
from attribution.name_index import NameIndex
from attribution.prompt_reading import Reading, read_prompt
from benchmarks.harness import Bench, run

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "attribution" / "prompts"
"""Where the labelled set lies."""

_TARGET = 0.98
_ARTISTS, _QUICK_ARTISTS = 10_000, 1_000


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled prompt."""

    id: str
    prompt: str
    artists: tuple[str, ...]
    """Ids named as style, in order of first naming."""
    kind: str
    far: bool = False
    """Whether every name lies beyond the text window."""
    held_out: bool = False


@dataclass(slots=True)
class Score:
    """Counts over prompts."""

    prompts: int = 0
    exact: int = 0
    """Prompts whose artists are those of the label, in its order."""
    found: int = 0
    labelled: int = 0
    right: int = 0
    """Namings that are both found and labelled."""
    failures: list[tuple[Example, Reading]] = field(default_factory=list)

    @property
    def precision(self) -> float:
        """Right of those found; 1 where none was found."""
        return self.right / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        """Right of those labelled; 1 where none is."""
        return self.right / self.labelled if self.labelled else 1.0

    def add(self, example: Example, reading: Reading) -> None:
        """Count one prompt."""
        read = named(reading)
        self.prompts += 1
        self.exact += read == example.artists
        self.found += len(read)
        self.labelled += len(example.artists)
        self.right += len(set(read) & set(example.artists))
        if read != example.artists:
            self.failures.append((example, reading))


def named(reading: Reading) -> tuple[str, ...]:
    """Artists a prompt names, within the text window or beyond, in the order of naming."""
    return tuple(dict.fromkeys(mention.artist_id for mention in reading.mentions))


def catalogue() -> list[Artist]:
    """The artists that the labelled prompts are read with."""
    rows = json.loads((FOLDER / "catalogue.json").read_text(encoding="utf-8"))
    return [Artist(row["id"], 1, row["name"], tuple(row["aliases"])) for row in rows]


def examples(*, held_out: bool) -> list[Example]:
    """The development prompts, or the held-out ones."""
    read = []
    with (FOLDER / "labelled.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            example = Example(
                row["id"],
                row["prompt"],
                tuple(row["artists"]),
                row["kind"],
                row.get("far", False),
                row.get("held_out", False),
            )
            if example.held_out == held_out:
                read.append(example)
    return read


def score(read: Iterable[Example], names: NameIndex) -> dict[str, Score]:
    """Scores by kind, and of all under ""."""
    scores: dict[str, Score] = {"": Score()}
    for example in read:
        reading = read_prompt(example.prompt, names)
        for kind in ("", example.kind):
            scores.setdefault(kind, Score()).add(example, reading)
    return scores


def explanation(example: Example, reading: Reading) -> list[str]:
    """Why a prompt was read otherwise than labelled, in lines for a person."""
    lines = [
        f"{example.id} {example.kind}: {example.prompt}",
        f"    labelled {', '.join(example.artists) or 'nobody'}; read {', '.join(named(reading)) or 'nobody'}",
    ]
    return lines + [f"    {finding.explanation}" for finding in reading.findings]


def large_catalogue(count: int) -> list[Artist]:
    """The labelled set's artists and made-up ones with the letters of real names, up to `count`."""
    real = catalogue()
    random = Random(7)
    syllables = "an ar be bo ca da de el fe ga ha in ja ka le lo ma me mi na no or pa ra ri ro sa se ta ti to va vi zo"
    parts = syllables.split()

    def word(least: int) -> str:
        return "".join(random.choices(parts, k=random.randint(least, 4))).capitalize()

    return real + [
        Artist(f"made-up-{i}", 1, f"{word(2)} {word(3)}") for i in range(max(0, count - len(real)))
    ]


def _speed(prompts: Sequence[str], artists: Sequence[Artist]) -> tuple[float, float]:
    """Seconds to index the artists, and prompts read a second."""
    start = perf_counter()
    names = NameIndex(artists)
    read_prompt("the word lists are read once", names)
    indexed = perf_counter()
    for prompt in prompts:
        read_prompt(prompt, names)
    return indexed - start, len(prompts) / (perf_counter() - indexed)


def _measure(held_out: bool, bench: Bench) -> None:
    names = NameIndex(catalogue())
    read = examples(held_out=held_out)
    scores = score(read, names)
    of = "held out" if held_out else "development"
    bench.console.print(f"{of}: precision, recall, exact order, and the namings found and labelled, by kind")
    for kind, one in sorted(scores.items(), key=lambda item: item[0]):
        bench.console.print(
            f"  {kind or 'all':20} {one.prompts:4} prompts  precision {one.precision:.4f}  recall {one.recall:.4f}"
            f"  exact {one.exact:3}  found {one.found:3}  labelled {one.labelled:3}  right {one.right:3}",
            highlight=False,
        )
    if not held_out:
        for example, reading in scores[""].failures:
            for line in explanation(example, reading):
                bench.console.print(escape(line), highlight=False, soft_wrap=True)
    every = scores[""]
    bench.add(f"{of}: precision", every.precision, "", at_least=_TARGET)
    bench.add(f"{of}: recall", every.recall, "", at_least=_TARGET)
    bench.add(f"{of}: prompts read exactly, in order", every.exact / every.prompts, "")
    count = _QUICK_ARTISTS if bench.quick else _ARTISTS
    seconds, rate = _speed([example.prompt for example in read], large_catalogue(count))
    bench.add(f"index of {count:,} artists", seconds, "s")
    bench.add(f"reading with {count:,} artists", rate, "prompts/s")


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--held-out", action="store_true")
    own, others = parser.parse_known_args()
    measure = partial(_measure, own.held_out)
    measure.__doc__ = __doc__
    return run("prompt_reading", measure, others)


if __name__ == "__main__":
    sys.exit(main())
