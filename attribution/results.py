"""What was computed: method versions, placebo tables, attributions, coalition values, shares. Append-only."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import factorial
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    UniqueConstraint,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column

from attribution.generation import Image
from attribution.seeds import PromptShare
from attribution.shapley import PlaceboLevel, PlayerResult, UnattributedReason
from database.base import XID8, Base, Key, RecordedAt
from database.engine import psycopg_connection


class MethodVersionRow(Base):
    """One method version: the whole convention in one hashed document (`attribution.method`)."""

    __tablename__ = "method_version"
    __table_args__ = (
        CheckConstraint("octet_length(sha256) = 32", name="sha256_length"),
        {"schema": "attribution"},
    )

    id: Mapped[Key]
    sha256: Mapped[bytes] = mapped_column(unique=True)
    name: Mapped[str]
    document: Mapped[dict[str, Any]]
    recorded_at: Mapped[RecordedAt]


class Placebo(Base):
    """What a made-up name does in one slot of a game of one size, by one method on one model (units of 10^-9 of v)."""

    __tablename__ = "placebo"
    __table_args__ = (
        CheckConstraint("players BETWEEN 2 AND 64 AND slot BETWEEN 1 AND players - 1", name="slot_in_game"),
        CheckConstraint("threshold >= 0", name="threshold_not_negative"),
        CheckConstraint("names >= 40", name="names_enough"),
        {"schema": "attribution"},
    )

    method_id: Mapped[int] = mapped_column(ForeignKey(MethodVersionRow.id), primary_key=True)
    weights_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    players: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    """Number of players, content included."""
    slot: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    """1 for the artist named first."""
    mean: Mapped[int]
    mean_standard_error: Mapped[int]
    threshold: Mapped[int]
    """97.5th percentile of made-up names' phi', at least 0."""
    threshold_standard_error: Mapped[int]
    names: Mapped[int]
    evidence: Mapped[dict[str, Any]]
    recorded_at: Mapped[RecordedAt]


class Attribution(Base):
    """The final result for one image by one method version; the first committed one stands."""

    __tablename__ = "attribution"
    __table_args__ = (
        UniqueConstraint("image_id", "method_id"),
        CheckConstraint("status IN ('attributed', 'unattributed')", name="status_known"),
        CheckConstraint("(status = 'unattributed') = (reason IS NOT NULL)", name="reason_if_unattributed"),
        CheckConstraint("status = 'unattributed' OR players >= 2", name="players_if_attributed"),
        CheckConstraint("orders IS NULL OR orders >= 4 AND denominator = orders", name="orders_are_counted"),
        Index(None, "recorded_at"),
        {"schema": "attribution"},
    )

    id: Mapped[Key]
    image_id: Mapped[int] = mapped_column(ForeignKey(Image.id))
    method_id: Mapped[int] = mapped_column(ForeignKey(MethodVersionRow.id))
    status: Mapped[str]
    reason: Mapped[str | None]
    players: Mapped[int] = mapped_column(SmallInteger)
    """Number of players, content included; 0 where no game was played."""
    denominator: Mapped[int]
    """The common denominator of the numerators in the shares: players!, or `orders` where orders were drawn."""
    fidelity: Mapped[int | None]
    """cos(logged file, our own render) in 10^-9; None without a file."""
    reading: Mapped[dict[str, Any]]
    """Which words named which artist, and why; without the words of the prompt themselves (spans and aliases only)."""
    environment: Mapped[dict[str, Any]]
    """Device, dtype, bucket, threads, library versions, embedding model's hash, catalogue version."""
    written_by: Mapped[int] = mapped_column(XID8, server_default=func.pg_current_xact_id())
    """The transaction that wrote it: shares and values join in that one only."""
    recorded_at: Mapped[RecordedAt]
    orders: Mapped[int | None] = mapped_column(Integer)
    """How many orders of joining were drawn (`attribution.estimator`); None: exact."""
    further_seeds: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB(none_as_null=True))
    """What the game gave from each further seed (`attribution.seeds`): `seed`, `values` and `picture_sha256` in the
    order of the coalitions recorded, `paid` by slot over the denominator. None: the logged seed only."""


class CoalitionValue(Base):
    """v(S) of one coalition of one attribution, with the hash of the picture it was measured on."""

    __tablename__ = "coalition_value"
    __table_args__ = (
        CheckConstraint("coalition >= 0", name="coalition_not_negative"),
        {"schema": "attribution"},
    )

    attribution_id: Mapped[int] = mapped_column(ForeignKey(Attribution.id), primary_key=True)
    coalition: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Bit 0 is content, bit i the artist in slot i."""
    value: Mapped[int]
    """v(S) in 10^-9."""
    picture_sha256: Mapped[bytes]
    """SHA-256 of the coalition picture's uint8 RGB bytes, row by row."""
    prompt_sha256: Mapped[bytes]
    """SHA-256(salt || coalition prompt); the salt is the image's, beside its prompt text."""


class AttributionShare(Base):
    """One player's part of one attribution. Numerators share the attribution's denominator."""

    __tablename__ = "attribution_share"
    __table_args__ = (
        CheckConstraint("share_ppb BETWEEN 0 AND 1000000000", name="share_in_range"),
        CheckConstraint("paid_numerator >= 0", name="paid_not_negative"),
        CheckConstraint("(slot = 0) = (player = 'C')", name="content_in_slot_0"),
        CheckConstraint("(slot = 0) = (placebo_mean IS NULL) AND (slot = 0) = (placebo_threshold IS NULL)",
                        name="placebo_for_artists"),
        CheckConstraint("standard_error >= 0", name="standard_error_not_negative"),
        CheckConstraint("prompt_share_ppb BETWEEN 0 AND 1000000000 AND prompt_standard_error_ppb >= 0",
                        name="prompt_share_in_range"),
        CheckConstraint("(prompt_share_ppb IS NULL) = (prompt_standard_error_ppb IS NULL)",
                        name="prompt_share_with_its_error"),
        UniqueConstraint("attribution_id", "player"),
        {"schema": "attribution"},
    )  # fmt: skip

    attribution_id: Mapped[int] = mapped_column(ForeignKey(Attribution.id), primary_key=True)
    slot: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    player: Mapped[str]
    """Artist id, or `C` for content."""
    phi_numerator: Mapped[int]
    """Raw Shapley value."""
    placebo_mean: Mapped[int | None]
    adjusted_numerator: Mapped[int]
    """phi': the raw value less the placebo (content: plus all of them)."""
    placebo_threshold: Mapped[int | None]
    paid_numerator: Mapped[int]
    share_ppb: Mapped[int]
    standard_error: Mapped[int | None]
    """Of phi, for what drawing orders adds, in 10^-9 of v; None: exact."""
    prompt_share_ppb: Mapped[int | None]
    """Share of what all seeds of the prompt pay; None with one seed."""
    prompt_standard_error_ppb: Mapped[int | None]
    """The prompt's standard error, by jackknife over the seeds; None with one seed, never 0 for want of others."""


@dataclass(frozen=True, slots=True)
class MeasuredCoalition:
    """v(S) of one coalition, with the evidence for it."""

    coalition: int
    """Bit 0 is content, bit i the artist in slot i."""
    value: int
    """10^-9."""
    picture_sha256: bytes
    prompt_sha256: bytes


@dataclass(frozen=True, slots=True)
class FurtherSeed:
    """What the game gave from another seed than the logged one."""

    seed: int
    values: Sequence[int]
    """v(S) in 10^-9 of the coalitions that the logged seed's result has, in their order."""
    pictures_sha256: Sequence[bytes]
    paid: Sequence[int]
    """By slot, over the denominator of the logged seed's result."""

    def to_json(self) -> dict[str, Any]:
        """As it is recorded."""
        return {
            "seed": self.seed,
            "values": list(self.values),
            "picture_sha256": [digest.hex() for digest in self.pictures_sha256],
            "paid": list(self.paid),
        }


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What one image's attribution found, ready to be recorded."""

    image_id: int
    reason: UnattributedReason | None
    """None: attributed."""
    players: Sequence[PlayerResult]
    """By slot; empty where no game was played."""
    coalitions: Sequence[MeasuredCoalition]
    """By bitmask, all of them or those that drawn orders pass; empty where no game was played."""
    fidelity: int | None
    """cos(logged file, our own render) in 10^-9."""
    reading: Mapping[str, Any]
    environment: Mapping[str, Any]
    orders: int | None = None
    """How many orders were drawn; None: exact."""
    standard_errors: Sequence[int] | None = None
    """By slot, of phi in 10^-9, for what drawing orders adds; None: exact."""
    further_seeds: Sequence[FurtherSeed] = ()
    prompt: Sequence[PromptShare] | None = None
    """By slot, the share over all seeds with its standard error; None with one seed."""

    @property
    def denominator(self) -> int:
        """Of all numerators: n!, or the number of orders."""
        return factorial(len(self.players)) if self.orders is None else self.orders


_INSERT_ATTRIBUTIONS = text("""
    INSERT INTO attribution.attribution
        (image_id, method_id, status, reason, players, denominator, fidelity, reading, environment, orders,
         further_seeds)
    SELECT image_id, :method_id, CASE WHEN reason IS NULL THEN 'attributed' ELSE 'unattributed' END, reason, players,
        denominator, fidelity, reading, environment, orders, further_seeds
    FROM unnest(CAST(:image_id AS bigint[]), CAST(:reason AS text[]), CAST(:players AS smallint[]),
                CAST(:denominator AS bigint[]), CAST(:fidelity AS bigint[]), CAST(:reading AS jsonb[]),
                CAST(:environment AS jsonb[]), CAST(:orders AS integer[]), CAST(:further_seeds AS jsonb[]))
        AS given (image_id, reason, players, denominator, fidelity, reading, environment, orders, further_seeds)
    ON CONFLICT (image_id, method_id) DO NOTHING
    RETURNING id, image_id
""")


def record_results(session: Session, method_id: int, results: Sequence[ImageResult]) -> set[int]:
    """Record attributions with their coalition values and shares, in the caller's transaction.

    The first committed result of an image and method stands: what is there already is left as it is.

    Returns:
        Ids of the images whose result was recorded now.
    """
    if not results:
        return set()
    # One order for all: two workers with the same images wait for each other and never deadlock.
    ordered = sorted(results, key=lambda result: result.image_id)
    rows = session.execute(
        _INSERT_ATTRIBUTIONS,
        {
            "method_id": method_id,
            "image_id": [result.image_id for result in ordered],
            "reason": [result.reason for result in ordered],
            "players": [len(result.players) for result in ordered],
            "denominator": [result.denominator for result in ordered],
            "fidelity": [result.fidelity for result in ordered],
            "reading": [json.dumps(result.reading) for result in ordered],
            "environment": [json.dumps(result.environment) for result in ordered],
            "orders": [result.orders for result in ordered],
            "further_seeds": [_further_seeds(result) for result in ordered],
        },
    )
    ids = {image_id: key for key, image_id in rows}
    new = [(ids[result.image_id], result) for result in ordered if result.image_id in ids]
    with psycopg_connection(session).cursor() as cursor:
        with cursor.copy(
            "COPY attribution.coalition_value (attribution_id, coalition, value, picture_sha256, prompt_sha256)"
            " FROM STDIN"
        ) as copy:
            for key, result in new:
                for measured in result.coalitions:
                    copy.write_row(
                        (
                            key,
                            measured.coalition,
                            measured.value,
                            measured.picture_sha256,
                            measured.prompt_sha256,
                        )
                    )
        with cursor.copy(
            "COPY attribution.attribution_share (attribution_id, slot, player, phi_numerator, placebo_mean,"
            " adjusted_numerator, placebo_threshold, paid_numerator, share_ppb, standard_error, prompt_share_ppb,"
            " prompt_standard_error_ppb) FROM STDIN"
        ) as copy:
            for key, result in new:
                for player in result.players:
                    copy.write_row((key, *_share(player, result)))
    return set(ids)


def _further_seeds(result: ImageResult) -> str | None:
    return (
        json.dumps([further.to_json() for further in result.further_seeds]) if result.further_seeds else None
    )


def _share(player: PlayerResult, result: ImageResult) -> tuple[int | str | None, ...]:
    placebo, unit, prompt = player.placebo, result.denominator, result.prompt
    return (
        player.slot,
        player.player,
        _numerator(player.phi, unit),
        None if placebo is None else placebo.mean,
        _numerator(player.adjusted, unit),
        None if placebo is None else placebo.threshold,
        _numerator(player.paid, unit),
        player.share_ppb,
        None if result.standard_errors is None else result.standard_errors[player.slot],
        None if prompt is None else prompt[player.slot].share_ppb,
        None if prompt is None else prompt[player.slot].standard_error_ppb,
    )


def _numerator(value: Fraction, unit: int) -> int:
    scaled = value * unit
    assert scaled.denominator == 1, (
        "every Shapley value is a multiple of 1/n!, every mean over orders of 1/orders"
    )
    return scaled.numerator


def current_method(session: Session) -> int | None:
    """Id of the method version that new images are attributed with: the newest; None before a worker recorded one."""
    return session.scalar(select(func.max(MethodVersionRow.id)))


def attributed_among(session: Session, method_id: int, image_ids: Sequence[int]) -> set[int]:
    """Those of the images that have a result by this method version already."""
    rows = session.execute(
        text(
            "SELECT image_id FROM attribution.attribution WHERE method_id = :method_id AND image_id = ANY(:ids)"
        ),
        {"method_id": method_id, "ids": list(image_ids)},
    )
    return set(rows.scalars())


def placebo_levels(
    session: Session, method_id: int, weights_sha256: bytes
) -> dict[int, tuple[PlaceboLevel, ...]]:
    """The placebo table of one method on one model: by number of players, the levels of slot 1, 2, ...

    A game size whose slots are not all there is left out.
    """
    found: dict[int, dict[int, PlaceboLevel]] = {}
    for row in session.scalars(
        select(Placebo).where(Placebo.method_id == method_id, Placebo.weights_sha256 == weights_sha256)
    ):
        found.setdefault(row.players, {})[row.slot] = PlaceboLevel(row.mean, row.threshold)
    return {
        players: tuple(levels[slot] for slot in range(1, players))
        for players, levels in found.items()
        if levels.keys() == set(range(1, players))
    }


def attributed_images(session: Session, external_ids: Sequence[str]) -> set[str]:
    """Those of the images that have a result, by whatever method version."""
    rows = session.scalars(
        select(Image.external_id)
        .join(Attribution, Attribution.image_id == Image.id)
        .where(Image.external_id.in_(external_ids))
    )
    return set(rows)
