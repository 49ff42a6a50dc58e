"""From logged images to results: read prompts, play games, render coalitions together, settle shares. No database here.

Three things vary independently and meet here: an engine that renders and embeds (`Measurer`), a characteristic
function that values pictures (`Valuer`), an estimator that says which coalitions it takes (`Estimator`). Coalitions of
many images go through the engine in one call, so that its buckets are full. What is wrong with one image is that
image's own outcome.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import structlog
import torch

from attribution.adapters import AppliedAdapter, find_adapter, missing_adapter
from attribution.characteristic import Measurement, Measurer, Valuer, cosine
from attribution.embedding import Embedding, make_embedder
from attribution.estimator import Estimate, Estimator
from attribution.game import Game, build_game
from attribution.generation import Adapter, LoggedImage, LoggedImagePrompt
from attribution.image_prompts import AppliedImagePrompt
from attribution.known_names import Gate
from attribution.method import MethodVersion
from attribution.name_index import NameIndex
from attribution.pictures import open_picture
from attribution.pipeline import Model
from attribution.render import (
    BrokenPictures,
    RenderEngine,
    RenderRequest,
    initial_latents,
    is_deterministic,
    latents_sha256,
    return_freed_memory,
)
from attribution.results import FurtherSeed, ImageResult, MeasuredCoalition
from attribution.seeds import further_seeds, plays_further_seeds, prompt_shares
from attribution.shapley import Allocation, Baseline, PlaceboLevel, UnattributedReason, settle
from database.errors import UserError
from database.logs import described

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The artists in force, and which state of the catalogue that is."""

    names: NameIndex
    version: int
    gate: Gate | None = None
    """Whom of them the model knows, by the method version in hand; None: everybody counts as known."""
    merged: Mapping[str, str] = field(default_factory=dict)
    """Who was merged into whom, by id."""


@dataclass(frozen=True, slots=True)
class Waits:
    """The image cannot be attributed yet, for a reason outside it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Fails:
    """The image could not be attributed; trying again may help."""

    reason: str


Outcome = ImageResult | Waits | Fails


@dataclass(frozen=True, slots=True)
class _Play:
    """An image whose game is played."""

    image: LoggedImage
    game: Game
    levels: tuple[PlaceboLevel, ...]
    estimator: Estimator


@dataclass(slots=True)
class _Table:
    """What is measured of one game from one seed."""

    play: _Play
    seed: int
    logged: "_Table | None" = None
    """The logged seed's, whose coalitions a further seed's takes; None: it is that itself."""
    measured: dict[int, Measurement] = field(default_factory=dict)
    """By coalition."""
    values: dict[int, int] = field(default_factory=dict)
    """v(S) in 10^-9, by coalition."""


class _BrokenImagesError(Exception):
    """Some images' pictures are not finite."""

    def __init__(self, image_ids: set[int]) -> None:
        super().__init__(image_ids)
        self.image_ids = image_ids


class Attributor:
    """Attributes images by one method version on one loaded model.

    Args:
        model: the loaded pipeline with its embedding.
        method: the method version; its first bucket is rendered with, a later one for pictures of a size for which
            memory did not suffice.
        buckets: others than the method's: what was attributed in a later bucket is verified in that one.

    Raises:
        NotFound, Invalid: this model cannot carry the method version out.
    """

    def __init__(self, model: Model, method: MethodVersion, *, buckets: Sequence[int] | None = None) -> None:
        self.model = model
        self.method = method
        self._buckets = tuple(buckets or method.buckets)
        self._valuer = Valuer(method.characteristic_function, model)
        self._embedder = make_embedder(method.embedding, model)
        self.measurer = self._new_measurer(self._buckets[0])
        """Renders with the first bucket."""
        self._smaller: dict[int, Measurer] = {}
        """By bucket, those that came into use."""
        self._bucket_of: dict[tuple[int, int], int] = {}
        """By width and height in pixels, where the first bucket was too large."""

    def _new_measurer(self, bucket: int) -> Measurer:
        engine = RenderEngine(self.model, bucket=bucket, threads=self.method.threads)
        return Measurer(engine, self._embedder)

    def _measurer(self, bucket: int) -> Measurer:
        if bucket == self._buckets[0]:
            return self.measurer
        # All coalitions of an image are rendered in one bucket: each has a memory of its own.
        if bucket not in self._smaller:
            self._smaller[bucket] = self._new_measurer(bucket)
        return self._smaller[bucket]

    def _bucket(self, image: LoggedImage) -> int:
        return self._bucket_of.get((image.width, image.height), self._buckets[0])

    @property
    def batch(self) -> int:
        """Images to take at once: enough that few samples of the last bucket are padding."""
        return self._buckets[0]

    def attribute(
        self,
        images: Sequence[LoggedImage],
        catalogue: Catalogue,
        levels: Mapping[int, tuple[PlaceboLevel, ...]],
        orders: Mapping[int, int] = MappingProxyType({}),
    ) -> dict[int, Outcome]:
        """The outcome of each image, by its id.

        Args:
            images: from the log; any number.
            catalogue: the artists in force.
            levels: the placebo table of this method on this model, by number of players.
            orders: how many orders are drawn of an image, by its id, where that is on record already.
        """
        outcomes: dict[int, Outcome] = {}
        plays: list[_Play] = []
        for image in images:
            try:
                prepared = self._prepare(image, catalogue, levels, orders.get(image.id))
            except Exception as error:  # whatever is wrong with one image is that image's own
                prepared = _failure(image, error)
            if isinstance(prepared, _Play):
                plays.append(prepared)
            else:
                outcomes[image.id] = prepared
        played = self._played(plays)
        fidelities = self._fidelities(
            [tables[0] for tables in played.values() if not isinstance(tables, Fails)]
        )
        for play in plays:
            found, fidelity = played[play.image.id], fidelities.get(play.image.id)
            if isinstance(found, Fails):
                outcomes[play.image.id] = found
            elif isinstance(fidelity, Fails):
                outcomes[play.image.id] = fidelity
            else:
                try:
                    outcomes[play.image.id] = self._settle(play, found, fidelity, catalogue)
                except Exception as error:  # such as an embedding that is no number
                    outcomes[play.image.id] = _failure(play.image, error)
        return outcomes

    def _prepare(
        self,
        image: LoggedImage,
        catalogue: Catalogue,
        levels: Mapping[int, tuple[PlaceboLevel, ...]],
        orders: int | None,
    ) -> _Play | Outcome:
        if image.prompt is None or image.negative_prompt is None:
            return Fails("the words of this image's prompt were erased")
        if any(prompt.embedding is None for prompt in image.image_prompts):
            return Fails("a picture that this image was made from was erased")
        model = self.model
        if image.weights_sha256 != model.weights_sha256:
            return Waits(
                f"made with weights {image.weights_sha256.hex()[:12]}, and this worker's are"
                f" {model.weights_sha256.hex()[:12]}: start a worker with that model"
            )
        game = build_game(
            image.prompt,
            catalogue.names,
            window_end=model.window_end(image.prompt),
            explicit=image.artists or (),
            recognised=None if catalogue.gate is None else catalogue.gate.read,
            adapters=image.adapters,
            image_prompts=image.image_prompts,
            merged=catalogue.merged,
        )
        unmeasured = [
            artist for artist in game.named if catalogue.gate and artist in catalogue.gate.unmeasured
        ]
        if unmeasured:
            return Waits(
                f"whether the model knows {', '.join(unmeasured)} is not measured: `royalty artists recognise`"
            )
        if not game.artists:
            return self._without_game(image, game, catalogue, UnattributedReason.NO_RECOGNISED_ARTIST)
        if not is_deterministic(image.scheduler, image.scheduler_config, float(image.eta)):
            return self._without_game(image, game, catalogue, UnattributedReason.NOISE_NOT_LOGGED)
        if image.latents_sha256 is not None:
            latents = initial_latents(model, image.seed, image.width, image.height)
            if latents_sha256(latents) != image.latents_sha256:
                # It began from other noise than its seed draws: whatever is rendered is another picture.
                return self._without_game(image, game, catalogue, UnattributedReason.NOT_REPRODUCIBLE)
        waiting = self._waiting_for_material(game, catalogue)
        if waiting is not None:
            return waiting
        if game.players > self.method.maximum_players:
            return Waits(
                f"{game.players} players, and method {self.method.name} plays up to {self.method.maximum_players}"
            )
        if game.players not in levels:
            return Waits(
                f"no placebo level for {game.players} players by method {self.method.name} on this model"
            )
        everybody = self.request(image, game.canonical_prompt, game.made_with, game.shown)
        self.measurer.engine.key(everybody)  # refuses what this model cannot render
        estimator = self.method.estimator(game.players, image.external_id, orders)
        return _Play(image, game, levels[game.players], estimator)

    def _waiting_for_material(self, game: Game, catalogue: Catalogue) -> Waits | None:
        """Why an image waits for what it was made with; None: it is all there."""
        method = self.method
        for what, given, played in (
            ("adapters", game.made_with, method.adapters),
            ("image prompts", game.shown, method.image_prompts),
        ):
            if given and played is None:
                return Waits(
                    f"made with {what}, and method {method.name} does not play them: attribute with a newer method"
                )
        needed = [(f"adapter {one.sha256.hex()[:12]}", one.artist, one.sha256) for one in game.made_with]
        needed += [
            (f"picture {one.embedding_sha256.hex()[:12]}", one.artist, one.adapter_sha256)
            for one in game.shown
        ]
        for what, artist, sha256 in needed:
            if not catalogue.names.knows(artist):
                return Waits(
                    f"the owner of the {what} is no artist of the catalogue: add {artist} (`royalty catalogue load"
                    " FILE`)"
                )
            if find_adapter(sha256.hex()) is None:
                return Waits(missing_adapter(sha256.hex()))
        return None

    def request(
        self,
        image: LoggedImage,
        prompt: str,
        adapters: Sequence[Adapter] = (),
        image_prompts: Sequence[LoggedImagePrompt] = (),
        seed: int | None = None,
    ) -> RenderRequest:
        """What to render for a coalition's prompt, adapters and pictures; all else is as logged or declared.

        Args:
            image: as logged.
            prompt: a coalition's.
            adapters: a coalition's.
            image_prompts: a coalition's.
            seed: another than the logged one.
        """
        return RenderRequest(
            prompt=prompt,
            negative_prompt=image.negative_prompt or "",
            seed=image.seed if seed is None else seed,
            steps=self.method.protocol_steps or image.steps,
            guidance=float(image.guidance),
            width=image.width,
            height=image.height,
            scheduler=image.scheduler,
            scheduler_config=image.scheduler_config,
            adapters=tuple(AppliedAdapter(one.sha256.hex(), float(one.scale)) for one in adapters),
            image_prompts=tuple(
                AppliedImagePrompt(one.adapter_sha256.hex(), float(one.scale), one.embedding)
                for one in image_prompts
                if one.embedding is not None
            ),
        )

    def _played(self, plays: Sequence[_Play]) -> dict[int, list[_Table] | Fails]:
        """Each image's tables, the logged seed's first, or why there are none."""
        by_bucket: dict[int, list[_Play]] = defaultdict(list)
        for play in plays:
            by_bucket[self._bucket(play.image)].append(play)
        return {
            key: found
            for bucket, some in by_bucket.items()
            for key, found in self._played_together(bucket, some).items()
        }

    def _played_together(self, bucket: int, plays: Sequence[_Play]) -> dict[int, list[_Table] | Fails]:
        found: dict[int, list[_Table] | Fails] = {}
        again: list[list[_Play]] | None = None
        try:
            return {tables[0].play.image.id: tables for tables in self._tables(bucket, plays)}
        except _BrokenImagesError as broken:
            found = dict.fromkeys(
                broken.image_ids,
                Fails("a coalition's picture is not finite: an overflow, or damaged weights"),
            )
            again = [[play for play in plays if play.image.id not in broken.image_ids]]
        except Exception as error:
            if not is_out_of_memory(error):
                if len(plays) == 1:
                    return {plays[0].image.id: _failure(plays[0].image, error)}
                # One of them is to blame; alone, the others are done.
                again = [[play] for play in plays]
        # Only here, where the exception is gone: its traceback held all that the failed batch had in memory.
        if again is None:
            return self._without_memory(bucket, plays)
        for some in again:
            found |= self._played(some)
        return found

    def _without_memory(self, bucket: int, plays: Sequence[_Play]) -> dict[int, list[_Table] | Fails]:
        """After memory ran out: sizes apart, each with the next bucket that the method lists, if it lists one.

        How much memory a batch takes depends on bucket and size alone, not on how many images there are.
        """
        return_freed_memory()
        sizes: dict[tuple[int, int], list[_Play]] = defaultdict(list)
        for play in plays:
            sizes[play.image.width, play.image.height].append(play)
        if len(sizes) > 1:
            return {key: found for same in sizes.values() for key, found in self._played(same).items()}
        ((width, height),) = sizes
        later = self._buckets[self._buckets.index(bucket) + 1 :]
        if not later:
            _log.warning("out of memory", bucket=bucket, width=width, height=height)
            reason = f"out of memory: pictures of {width} by {height} pixels do not fit {bucket} at a time, and the"
            why = Fails(f"{reason} method lists no smaller bucket; give the worker more memory and retry")
            return {play.image.id: why for play in plays}
        _log.warning("out of memory, using a smaller bucket", bucket=later[0], width=width, height=height)
        self._bucket_of[width, height] = later[0]
        return self._played(plays)

    def _tables(self, bucket: int, plays: Sequence[_Play]) -> list[list[_Table]]:
        """Measure what the images' estimators want until they want no more, all images together."""
        found = [self._new_tables(play) for play in plays]
        tables = [table for one in found for table in one]
        while asked := [(table, coalition) for table in tables for coalition in self._wanted(table)]:
            requests = [
                self.request(
                    table.play.image,
                    game.prompt(coalition),
                    game.adapters(coalition),
                    game.image_prompts(coalition),
                    table.seed,
                )
                for table, coalition in asked
                for game in [table.play.game]
            ]
            try:
                measurements = self._measurer(bucket).measure(requests)
            except BrokenPictures as broken:
                raise _BrokenImagesError(
                    {asked[index][0].play.image.id for index in broken.indices}
                ) from broken
            for (table, coalition), measurement in zip(asked, measurements, strict=True):
                table.measured[coalition] = measurement
            for table in {id(table): table for table, _ in asked}.values():
                game = table.play.game
                table.values = self._valuer.values(
                    game.canonical_prompt,
                    game.players,
                    {coalition: one.embedding for coalition, one in table.measured.items()},
                )
        return found

    def _new_tables(self, play: _Play) -> list[_Table]:
        """The logged seed's table, and those of further seeds where the image is of the sample."""
        method, image = self.method, play.image
        logged = _Table(play, image.seed)
        if not plays_further_seeds(method.sha256, image.external_id, method.seeds_permille):
            return [logged]
        seeds = further_seeds(method.sha256, image.external_id, method.seeds)
        return [logged, *(_Table(play, seed, logged) for seed in seeds)]

    def _wanted(self, table: _Table) -> list[int]:
        """The coalitions that a table takes next."""
        if table.logged is not None:
            decided = not self._wanted(table.logged)
            return sorted(table.logged.measured.keys() - table.measured.keys()) if decided else []
        always = self._valuer.always(table.play.game.players)
        return sorted(always.union(table.play.estimator.wanted(table.values)) - table.measured.keys())

    def _fidelities(self, tables: Sequence[_Table]) -> dict[int, int | Fails]:
        """cos(logged file, our own picture of everybody) of the images whose file is here, in 10^-9."""
        by_size: dict[tuple[int, ...], list[tuple[_Table, torch.Tensor]]] = defaultdict(list)
        found: dict[int, int | Fails] = {}
        for table in tables:
            image = table.play.image
            if image.file is None:
                continue
            try:
                picture = open_picture(image.file, image.file_sha256)
            except Exception as error:  # a file that is not the one that was logged, or too large to open
                found[image.id] = _failure(image, error)
                continue
            if picture is not None:
                pixels = torch.from_numpy(np.array(picture))
                by_size[tuple(pixels.shape)].append((table, pixels))
        for same_size in by_size.values():
            try:
                embeddings = self._embedder.embed(torch.stack([pixels for _, pixels in same_size]))
            except Exception as error:  # such as a picture too large for the tower: those images' own trouble
                found |= {table.play.image.id: _failure(table.play.image, error) for table, _ in same_size}
                continue
            for (table, _), embedding in zip(same_size, embeddings, strict=True):
                ours = table.measured[(1 << table.play.game.players) - 1]
                found[table.play.image.id] = _fidelity(table.play.image, embedding, ours.embedding)
        return found

    def _settle(
        self, play: _Play, tables: Sequence[_Table], fidelity: int | None, catalogue: Catalogue
    ) -> ImageResult:
        logged = tables[0]
        estimate = play.estimator.estimate(logged.values)
        settled = self._allocate(play, estimate, logged)
        reason, players = settled.reason, settled.players
        least = self.method.minimum_fidelity
        if fidelity is not None and least is not None and fidelity < least:
            reason = UnattributedReason.NOT_REPRODUCIBLE
            players = tuple(replace(player, paid=Fraction(0), share_ppb=0) for player in players)
        further = [] if reason is not None else [self._further(play, estimate, one) for one in tables[1:]]
        paid = [_paid(settled, estimate), *(one.paid for one in further)]
        return ImageResult(
            image_id=play.image.id,
            reason=reason,
            players=players,
            coalitions=_coalitions(logged),
            fidelity=fidelity,
            reading=_reading(play.game, catalogue),
            environment=self._environment(self._bucket(play.image)),
            orders=estimate.orders,
            standard_errors=estimate.standard_errors,
            further_seeds=further,
            prompt=prompt_shares(paid) if reason is None else None,
        )

    def _allocate(self, play: _Play, estimate: Estimate, table: _Table) -> Allocation:
        return settle(
            estimate.numerators,
            estimate.denominator,
            table.values[0],
            play.game.artists,
            play.levels,
            minimum_gap=self.method.minimum_gap,
            baseline=Baseline(self.method.baseline),
        )

    def _further(self, play: _Play, logged: Estimate, table: _Table) -> FurtherSeed:
        """What the game gives from a further seed, by the draws of the logged one."""
        estimate = play.estimator.like(logged).estimate(table.values)
        coalitions = sorted(table.values)
        return FurtherSeed(
            seed=table.seed,
            values=[table.values[coalition] for coalition in coalitions],
            pictures_sha256=[table.measured[coalition].picture_sha256 for coalition in coalitions],
            paid=_paid(self._allocate(play, estimate, table), estimate),
        )

    def _without_game(
        self, image: LoggedImage, game: Game, catalogue: Catalogue, reason: UnattributedReason
    ) -> ImageResult:
        return ImageResult(
            image_id=image.id,
            reason=reason,
            players=(),
            coalitions=(),
            fidelity=None,
            reading=_reading(game, catalogue),
            environment=self._environment(self._bucket(image)),
        )

    def _environment(self, bucket: int) -> dict[str, Any]:
        return {
            **self.model.environment(),
            "embedding": self.method.embedding,
            "embedding_sha256": self.method.embedding_sha256,
            "bucket": bucket,
            "threads": torch.get_num_threads(),
        }


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, of the device or of this machine: torch says the latter in a message only.

    Python 3.11 too: where no memory is left for a frame, it calls that an error without an exception.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError | SystemError) and any(
        sign in str(error)
        for sign in (
            "can't allocate memory",
            "could not create a primitive",
            "could not create a memory",
            "std::bad_alloc",
            "error return without exception set",
        )
    )


def _fidelity(image: LoggedImage, logged: Embedding, ours: Embedding) -> int | Fails:
    try:
        return cosine(logged, ours)
    except ValueError as error:  # an embedding that is no number
        return _failure(image, error)


def _coalitions(table: _Table) -> list[MeasuredCoalition]:
    """What a table measured, by bitmask, with the evidence."""
    salt = table.play.image.salt or b""
    return [
        MeasuredCoalition(
            coalition,
            value,
            table.measured[coalition].picture_sha256,
            hashlib.sha256(salt + table.play.game.prompt(coalition).encode()).digest(),
        )
        for coalition, value in sorted(table.values.items())
    ]


def _paid(settled: Allocation, estimate: Estimate) -> list[int]:
    """What counts for pay by slot, over the estimate's denominator."""
    return [int(player.paid * estimate.denominator) for player in settled.players]


def _failure(image: LoggedImage, error: Exception) -> Fails:
    if isinstance(error, UserError):
        return Fails(error.message)
    # The message of an unexpected error may quote the prompt: what is kept of it is its kind.
    _log.error("image failed", image_id=image.id, **described(error))
    return Fails(f"{type(error).__name__} while it was attributed; the worker's log has the place")


def _reading(game: Game, catalogue: Catalogue) -> dict[str, Any]:
    """What the prompt was read to say, by positions and catalogue names: none of its own words are kept here."""
    return {
        "catalogue_version": catalogue.version,
        "window_end": game.reading.window_end,
        "players": list(game.artists),
        **_unrecognised(game, catalogue.gate),
        "findings": [
            {
                "artist": finding.artist_id,
                "start": finding.start,
                "end": finding.end,
                "alias": finding.alias,
                "rule": finding.rule.value,
                "distance": finding.distance,
                "verdict": finding.verdict.value,
                "in_window": finding.in_window,
            }
            for finding in game.reading.findings
        ],
    }


def _unrecognised(game: Game, gate: Gate | None) -> dict[str, Any]:
    """Artists whom the prompt names and the model does not know, and where the evidence is."""
    if gate is None:
        return {}
    named = dict.fromkeys(mention.artist_id for mention in game.reading.mentions if mention.in_window)
    return {
        "unrecognised": [artist for artist in named if artist not in gate.recognised],
        "recognition_scale": gate.scale_sha256,
    }
