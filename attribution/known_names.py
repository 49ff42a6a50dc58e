"""Which names a model knows, as it is recorded; and what that makes of the catalogue for one method version.

Measured once and append-only: what a name was found to be stands. A new artist, alias or method version is measured
when somebody says `royalty artists recognise`; until then images that name her wait.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    SmallInteger,
    UniqueConstraint,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column

from attribution.catalogue import Artist
from attribution.method import RECOGNITION_RULES, MethodVersion
from attribution.recognition import NameMeasure, RecognitionTable, Scale, Verdict, judge
from attribution.results import MethodVersionRow
from database.base import Base, Key, RecordedAt


class RecognitionScale(Base):
    """What made-up names do, by the terms of a method version on a model."""

    __tablename__ = "recognition_scale"
    __table_args__ = (
        UniqueConstraint("recognition_sha256", "weights_sha256"),
        CheckConstraint(
            "octet_length(sha256) = 32 AND octet_length(recognition_sha256) = 32 AND octet_length(weights_sha256) = 32",
            name="hashes_length",
        ),
        CheckConstraint("level_ppb BETWEEN 1 AND 100000000", name="level_in_range"),
        {"schema": "attribution"},
    )

    id: Mapped[Key]
    sha256: Mapped[bytes] = mapped_column(unique=True)
    method_id: Mapped[int] = mapped_column(ForeignKey(MethodVersionRow.id))
    """The method version it was measured for first; others with the same terms use it too."""
    recognition_sha256: Mapped[bytes]
    weights_sha256: Mapped[bytes]
    threshold: Mapped[int]
    """The movement that a known name exceeds, in 10^-9."""
    level_ppb: Mapped[int]
    """Of the test against chance."""
    document: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """`attribution.recognition.Scale`: probes, sampler, made-up names and what they did."""
    recorded_at: Mapped[RecordedAt]


class RecognitionMeasure(Base):
    """What one name does to the probes of a scale."""

    __tablename__ = "recognition_measure"
    __table_args__ = (
        CheckConstraint("cardinality(distances) >= 2", name="distances_there"),
        {"schema": "attribution"},
    )

    scale_id: Mapped[int] = mapped_column(ForeignKey(RecognitionScale.id), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    distances: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    """1 - cosine with the picture without the name, by probe, in 10^-9."""
    moves: Mapped[bytes]
    """Difference of the embeddings by probe, little-endian fp32."""
    recorded_at: Mapped[RecordedAt]


class Recognition(Base):
    """Whether a model knows one name."""

    __tablename__ = "recognition"
    __table_args__ = (
        ForeignKeyConstraint(
            ["scale_id", "name"],
            ["attribution.recognition_measure.scale_id", "attribution.recognition_measure.name"],
        ),
        CheckConstraint("recognised = (movement > threshold AND chance_ppb <= level_ppb)", name="both_tests"),
        CheckConstraint("hits BETWEEN 0 AND cardinality(taken_for) AND classes >= 2", name="hits_in_range"),
        {"schema": "attribution"},
    )

    scale_id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    movement: Mapped[int]
    threshold: Mapped[int]
    taken_for: Mapped[list[str]]
    """The name whose mean move was nearest, by probe."""
    hits: Mapped[int] = mapped_column(SmallInteger)
    classes: Mapped[int] = mapped_column(Integer)
    """Names among which it was told apart, itself included."""
    chance_ppb: Mapped[int]
    """Probability of so many hits or more by chance, rounded up."""
    level_ppb: Mapped[int]
    recognised: Mapped[bool]
    recorded_at: Mapped[RecordedAt]


@dataclass(frozen=True, slots=True)
class Gate:
    """Who of the catalogue is a player by one method version on one model."""

    recognised: frozenset[str]
    """Ids of artists whom the model knows by one of their names."""
    unmeasured: frozenset[str]
    """Ids of artists of whom it is not known yet: images that name them wait."""
    scale_sha256: str
    """Hexadecimal; empty where nothing is measured yet."""

    @property
    def read(self) -> frozenset[str]:
        """Ids of those who are players, or may turn out to be."""
        return self.recognised | self.unmeasured


def find_scale(session: Session, method: MethodVersion, weights_sha256: bytes) -> RecognitionScale | None:
    """The scale of a method version's terms on a model; None: not measured yet."""
    return session.scalars(
        select(RecognitionScale).where(
            RecognitionScale.recognition_sha256 == method.recognition_sha256,
            RecognitionScale.weights_sha256 == weights_sha256,
        )
    ).one_or_none()


def read_gate(
    session: Session, method: MethodVersion, weights_sha256: bytes, artists: Sequence[Artist]
) -> Gate | None:
    """Who of these artists is a player; None: everybody, because the method version asks for no recognition."""
    if method.recognition is None:
        return None
    scale = find_scale(session, method, weights_sha256)
    if scale is None:
        return Gate(frozenset(), frozenset(artist.id for artist in artists), "")
    rows = session.execute(
        select(Recognition.name, Recognition.recognised).where(Recognition.scale_id == scale.id)
    )
    known = dict(rows.all())
    return Gate(
        frozenset(artist.id for artist in artists if any(known.get(name) for name in names_of(artist))),
        frozenset(artist.id for artist in artists if _open(artist, known)),
        scale.sha256.hex(),
    )


def names_of(artist: Artist) -> tuple[str, ...]:
    """All names of an artist, each once, the one she goes by first."""
    return tuple(dict.fromkeys((artist.name, *artist.aliases)))


def _open(artist: Artist, known: Mapping[str, bool]) -> bool:
    """Whether it is not decided yet: none of her names is known to the model, and not all are measured."""
    names = names_of(artist)
    return not any(known.get(name) for name in names) and any(name not in known for name in names)


def names_to_measure(session: Session, scale_id: int | None, artists: Iterable[Artist]) -> dict[str, str]:
    """The next name of each artist who is undecided: her own name first, her aliases one after the other.

    Returns:
        The artist's id by name.
    """
    known: dict[str, bool] = {}
    if scale_id is not None:
        rows = session.execute(
            select(Recognition.name, Recognition.recognised).where(Recognition.scale_id == scale_id)
        )
        known = dict(rows.all())
    return {
        next(name for name in names_of(artist) if name not in known): artist.id
        for artist in artists
        if _open(artist, known)
    }


def record_scale(session: Session, method_id: int, scale: Scale) -> RecognitionScale:
    """Record a scale; one that is recorded for the same terms and model stands. Returns the one in force."""
    session.execute(
        text(
            "INSERT INTO attribution.recognition_scale (sha256, method_id, recognition_sha256, weights_sha256,"
            " threshold, level_ppb, document) VALUES (:sha256, :method_id, :recognition, :weights, :threshold, :level,"
            " CAST(:document AS jsonb)) ON CONFLICT DO NOTHING"
        ),
        {
            "sha256": scale.sha256,
            "method_id": method_id,
            "recognition": bytes.fromhex(scale.recognition_sha256),
            "weights": bytes.fromhex(scale.weights_sha256),
            "threshold": scale.threshold,
            "level": RECOGNITION_RULES[scale.rule].level_permille * 1_000_000,
            "document": json.dumps(scale.to_json()),
        },
    )
    return session.scalars(
        select(RecognitionScale).where(
            RecognitionScale.recognition_sha256 == bytes.fromhex(scale.recognition_sha256),
            RecognitionScale.weights_sha256 == bytes.fromhex(scale.weights_sha256),
        )
    ).one()


def record_measures(session: Session, scale_id: int, measures: Iterable[NameMeasure]) -> None:
    """Record what names do; a name that is measured already stands."""
    for measure in measures:
        session.execute(
            text(
                "INSERT INTO attribution.recognition_measure (scale_id, name, distances, moves)"
                " VALUES (:scale_id, :name, :distances, :moves) ON CONFLICT DO NOTHING"
            ),
            {
                "scale_id": scale_id,
                "name": measure.name,
                "distances": list(measure.distances),
                "moves": measure.moves.astype("<f4").tobytes(),
            },
        )


def recorded_measures(session: Session, scale_id: int) -> list[NameMeasure]:
    """Every name measured on a scale, by name."""
    rows = session.scalars(
        select(RecognitionMeasure)
        .where(RecognitionMeasure.scale_id == scale_id)
        .order_by(RecognitionMeasure.name)
    )
    return [
        NameMeasure(
            row.name,
            tuple(row.distances),
            np.frombuffer(row.moves, dtype="<f4").reshape(len(row.distances), -1),
        )
        for row in rows
    ]


def record_verdicts(
    session: Session, row: RecognitionScale, names: Iterable[str], owners: Mapping[str, str]
) -> list[Verdict]:
    """Judge measured names among all that are measured, and record it; what is judged already stands.

    Args:
        session: the caller's transaction.
        row: the scale.
        names: those to judge, all of them measured.
        owners: artists' ids by name: names of one artist are not told apart.
    """
    judged = set(session.scalars(select(Recognition.name).where(Recognition.scale_id == row.id)))
    new = sorted(set(names) - judged)
    if not new:
        return []
    verdicts = judge(Scale.from_json(row.document), recorded_measures(session, row.id), owners, new)
    for verdict in verdicts:
        session.execute(
            text(
                "INSERT INTO attribution.recognition (scale_id, name, movement, threshold, taken_for, hits,"
                " classes, chance_ppb, level_ppb, recognised) VALUES (:scale_id, :name, :movement,"
                " :threshold, :taken_for, :hits, :classes, :chance_ppb, :level_ppb, :recognised)"
                " ON CONFLICT DO NOTHING"
            ),
            {
                "scale_id": row.id,
                "name": verdict.name,
                "movement": verdict.movement,
                "threshold": verdict.threshold,
                "taken_for": list(verdict.taken_for),
                "hits": verdict.hits,
                "classes": verdict.classes,
                "chance_ppb": verdict.chance_ppb,
                "level_ppb": row.level_ppb,
                "recognised": verdict.recognised,
            },
        )
    return verdicts


def record_recognition(session: Session, method_id: int, table: RecognitionTable) -> None:
    """Record a table that came with a model; where the scale was measured here before, that one stands."""
    row = record_scale(session, method_id, table.scale)
    if row.sha256 == table.scale.sha256:
        record_measures(session, row.id, table.names)
        record_verdicts(session, row, [name.name for name in table.names], {})
