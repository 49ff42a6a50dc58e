"""Artists: identities with aliases. Every change is a new version; nothing is overwritten."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, CheckConstraint, Index, Subquery, Text, func, literal, select, text
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Mapped, Session, mapped_column

from database.base import Base, RecordedAt
from database.errors import Invalid, NotFound


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


class ArtistMerge(Base):
    """Two artists of the catalogue are one person: from here on the one bears the other's names too.

    Attributions of before keep the ids they stored.
    """

    __tablename__ = "artist_merge"
    __table_args__ = (
        CheckConstraint("artist_id <> into_id", name="two_artists"),
        CheckConstraint("reason <> '' AND actor <> ''", name="reason_given"),
        Index(None, "into_id"),
        {"schema": "attribution"},
    )

    artist_id: Mapped[str] = mapped_column(primary_key=True)
    """Who is no artist of her own any more."""
    into_id: Mapped[str]
    """Who she is."""
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
    """Every artist in force, by id: her newest version, with the names of those who were merged into her.

    Args:
        session: any role's that reads the catalogue.
        as_of: a state of the catalogue by its `catalogue_version`; None is now.
    """
    versions = _versions(session, as_of)
    merged = merged_artists(session, as_of)
    names: dict[str, list[str]] = defaultdict(list)
    for artist_id, into_id in merged.items():
        names[into_id] += [versions[artist_id].name, *versions[artist_id].aliases]
    return [
        Artist(
            row.artist_id,
            row.version,
            row.name,
            tuple(name for name in dict.fromkeys((*row.aliases, *names[row.artist_id])) if name != row.name),
        )
        for row in versions.values()
        if row.artist_id not in merged
    ]


def _events(as_of: int | None) -> Subquery:
    """The first so many versions and merges in the order of recording; a merge has version 0."""
    versions = select(
        ArtistVersion.artist_id,
        ArtistVersion.version,
        literal(None, Text).label("into_id"),
        ArtistVersion.recorded_at,
    )
    merges = select(
        ArtistMerge.artist_id, literal(0, BigInteger), ArtistMerge.into_id, ArtistMerge.recorded_at
    )
    events = versions.union_all(merges).subquery()
    order = (events.c.recorded_at, events.c.artist_id, events.c.version)
    return select(events).order_by(*order).limit(as_of).subquery()


def _versions(session: Session, as_of: int | None = None) -> dict[str, ArtistVersion]:
    """Each artist's newest version, by id, merged or not."""
    recorded = _events(as_of)
    same = (ArtistVersion.artist_id == recorded.c.artist_id) & (ArtistVersion.version == recorded.c.version)
    newest = (
        select(ArtistVersion)
        .join(recorded, same)
        .ext(distinct_on(ArtistVersion.artist_id))
        .order_by(ArtistVersion.artist_id, ArtistVersion.version.desc())
    )
    return {row.artist_id: row for row in session.scalars(newest)}


def merged_artists(session: Session, as_of: int | None = None) -> dict[str, str]:
    """Who was merged into whom, by id; in one step, whoever took others in was never merged.

    Args:
        session: any role's that reads the catalogue.
        as_of: a state of the catalogue by its `catalogue_version`; None is now.
    """
    recorded = _events(as_of)
    rows = session.execute(
        select(recorded.c.artist_id, recorded.c.into_id)
        .where(recorded.c.version == 0)
        .order_by(recorded.c.artist_id)
    )
    return dict(rows.all())


def merge_artists(session: Session, artist_id: str, into_id: str, *, actor: str, reason: str) -> bool:
    """Record that two artists are one person. What was attributed before keeps its ids.

    Args:
        session: the caller's transaction, of a role that writes the catalogue.
        artist_id: who is no artist of her own from here on.
        into_id: who bears the names of both.
        actor: who says so.
        reason: how that is known.

    Returns:
        Whether it was written now; False where it is recorded already.

    Raises:
        NotFound: one of them is not in the catalogue.
        Invalid: they are the same, or one was merged before; the message says what to do.
    """
    if artist_id == into_id:
        raise Invalid(f"{artist_id} is {into_id} already: name two artists")
    if not reason.strip():
        raise Invalid("say how it is known that they are one person: --reason")
    # The database's guard takes the same lock: nobody merges one of them in between.
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext('artist merge'))"))
    merged = merged_artists(session)
    if merged.get(artist_id) == into_id:
        return False
    known = _versions(session)
    for given in (artist_id, into_id):
        if given not in known:
            raise NotFound(f"there is no artist {given}; `royalty catalogue show` lists them")
    for given in (artist_id, into_id):
        if given in merged:
            raise Invalid(f"{given} was merged into {merged[given]}: name that artist instead")
    if artist_id in merged.values():
        raise Invalid(f"others were merged into {artist_id}: merge the other way round")
    session.add(ArtistMerge(artist_id=artist_id, into_id=into_id, actor=actor, reason=reason))
    session.flush()
    return True


def record_artists(session: Session, given: Sequence[Artist], *, actor: str, reason: str) -> int:
    """Write a new version of each artist whose name or aliases differ from the version in force.

    Returns:
        Number of versions written: 0 when everything was known already.

    Raises:
        Invalid: an artist was merged into another.
    """
    known, merged = _versions(session), merged_artists(session)
    written = 0
    for artist in given:
        before = known.get(artist.id)
        if before is not None and (before.name, tuple(before.aliases)) == (artist.name, artist.aliases):
            continue
        if artist.id in merged:
            raise Invalid(
                f"artist {artist.id} was merged into {merged[artist.id]}: change that artist instead"
            )
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
    """Number of artist versions and merges ever recorded: it grows with every change, so it names a state."""
    return session.scalar(select(func.count()).select_from(_events(None))) or 0
