"""Artists: identities with aliases. Every change is a new version; nothing is overwritten."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import CheckConstraint, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column

from database.base import Base, RecordedAt


class ArtistVersion(Base):
    """One version of an artist: all aliases, misspellings and accounts of one person.

    The highest version is in force. Attributions store the ids they resolved names to, so that a later alias never
    changes what an earlier image paid.
    """

    __tablename__ = "artist_version"
    __table_args__ = (
        CheckConstraint("version > 0", name="version_positive"),
        # `C` is the content's player id; an artist of that name would be paid the model developer's share.
        CheckConstraint("artist_id <> 'C' AND artist_id <> ''", name="artist_id_free"),
        CheckConstraint("name <> ''", name="name_not_empty"),
        {"schema": "attribution"},
    )

    artist_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    aliases: Mapped[list[str]]
    actor: Mapped[str]
    reason: Mapped[str]
    recorded_at: Mapped[RecordedAt]


@dataclass(frozen=True, slots=True)
class Artist:
    """An artist as the prompt reader needs her: stable id, version read, canonical name, further names."""

    id: str
    version: int
    name: str
    aliases: tuple[str, ...] = ()


def artists(session: Session, as_of: int | None = None) -> list[Artist]:
    """Every artist's version in force, by id.

    Args:
        session: any role's that reads the catalogue.
        as_of: a state of the catalogue by its `catalogue_version`; None is now.
    """
    order = (ArtistVersion.recorded_at, ArtistVersion.artist_id, ArtistVersion.version)
    recorded = aliased(ArtistVersion, select(ArtistVersion).order_by(*order).limit(as_of).subquery())
    newest = (
        select(recorded)
        .ext(distinct_on(recorded.artist_id))
        .order_by(recorded.artist_id, recorded.version.desc())
    )
    return [
        Artist(row.artist_id, row.version, row.name, tuple(row.aliases)) for row in session.scalars(newest)
    ]


def record_artists(session: Session, given: Sequence[Artist], *, actor: str, reason: str) -> int:
    """Write a new version of each artist whose name or aliases differ from the version in force.

    Returns:
        Number of versions written: 0 when everything was known already.
    """
    known = {artist.id: artist for artist in artists(session)}
    written = 0
    for artist in given:
        before = known.get(artist.id)
        if before is not None and (before.name, before.aliases) == (artist.name, artist.aliases):
            continue
        session.add(
            ArtistVersion(
                artist_id=artist.id,
                version=1 if before is None else before.version + 1,
                name=artist.name,
                aliases=list(artist.aliases),
                actor=actor,
                reason=reason,
            )
        )
        written += 1
    session.flush()
    return written


def catalogue_version(session: Session) -> int:
    """Number of artist versions ever recorded: grows with every change, so it names a state of the catalogue."""
    return session.scalar(select(func.count()).select_from(ArtistVersion)) or 0
