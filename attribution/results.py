"""What was computed: method versions, placebo tables, attributions, coalition values, shares. Append-only."""

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from attribution.generation import Image
from database.base import XID8, Base, Key, RecordedAt


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
    """players!, the common denominator of the numerators in the shares."""
    fidelity: Mapped[int | None]
    """cos(logged file, our own render) in 10^-9; None without a file."""
    reading: Mapped[dict[str, Any]]
    """Which words named which artist, and why; without the words of the prompt themselves (spans and aliases only)."""
    environment: Mapped[dict[str, Any]]
    """Device, dtype, bucket, threads, library versions, embedding model's hash, catalogue version."""
    written_by: Mapped[int] = mapped_column(XID8, server_default=func.pg_current_xact_id())
    """The transaction that wrote it: shares and values join in that one only."""
    recorded_at: Mapped[RecordedAt]


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
