"""Render an attribution again and compare: is what is recorded what this model and method give?

Two questions, answered apart. Do the recorded shares follow, to the last ppb, from the recorded values? Are the
recorded values those of pictures rendered now, within the method's stated tolerance?
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from PIL import Image as Picture
from sqlalchemy import literal, select, text
from sqlalchemy.orm import Session

from attribution.attribute import Attributor, Catalogue
from attribution.catalogue import Artist, artists, merged_artists
from attribution.game import build_game
from attribution.generation import Image, LoggedImage, logged_image
from attribution.known_names import Gate
from attribution.method import MethodVersion
from attribution.name_index import NameIndex
from attribution.pipeline import Model
from attribution.registration import fault
from attribution.results import (
    Attribution,
    AttributionShare,
    CoalitionValue,
    ImageResult,
    MethodVersionRow,
    placebo_levels,
)
from attribution.shapley import Baseline, PlaceboLevel, UnattributedReason, settle
from database.errors import Invalid, NotFound, Unavailable


@dataclass(frozen=True, slots=True)
class RecordedAttribution:
    """An attribution as it stands in the books, with everything it takes to repeat it."""

    image: LoggedImage
    method: MethodVersion
    method_sha256: bytes
    status: str
    reason: str | None
    recorded_at: datetime
    denominator: int
    """Of the shares' numerators."""
    orders: int | None
    """How many orders of joining were drawn; None: exact."""
    fidelity: int | None
    """cos(logged file, our own render) in 10^-9; None without a file."""
    reading: dict[str, Any]
    """As recorded: which positions of the prompt named whom."""
    values: list[CoalitionValue]
    """By bitmask; empty where no game was played."""
    shares: list[AttributionShare]
    """By slot."""
    environment: dict[str, Any]
    catalogue: Catalogue
    """As it was then."""
    names: dict[str, str]
    """What artists were called then, by id."""
    model: str
    """What the log calls the model, for people."""
    levels: dict[int, tuple[PlaceboLevel, ...]]


@dataclass(frozen=True, slots=True)
class CoalitionCheck:
    """One coalition, then and now."""

    coalition: int
    """Bit 0 is content, bit i the artist in slot i."""
    players: tuple[str, ...]
    recorded: int
    """v(S) in 10^-9."""
    measured: int
    same_picture: bool
    """Whether the picture is the same to the last bit."""
    same_prompt: bool


@dataclass(frozen=True, slots=True)
class ShareCheck:
    """One player's share, then and now, in ppb."""

    player: str
    recorded: int
    measured: int


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of it."""

    external_id: str
    method: str
    recorded_reason: str | None
    measured_reason: str | None
    tolerance: int
    """The method's, in 10^-9."""
    coalitions: list[CoalitionCheck]
    shares: list[ShareCheck]
    """What the values measured now would give beside what is recorded: within the tolerance they may differ."""
    shares_follow: bool
    """The recorded shares are exactly those of the recorded values."""
    differences: list[str]
    """Of device, precision, threads and library versions, then and now."""

    @property
    def largest_difference(self) -> int:
        """Of a coalition's value, in 10^-9."""
        return max((abs(check.recorded - check.measured) for check in self.coalitions), default=0)

    @property
    def same_pictures(self) -> int:
        """How many pictures are the same to the last bit."""
        return sum(check.same_picture for check in self.coalitions)

    @property
    def agrees(self) -> bool:
        """Whether everything recorded is confirmed."""
        measured = self.largest_difference <= self.tolerance and all(
            check.same_prompt for check in self.coalitions
        )
        # A value that lies on a threshold may fall on its other side within the tolerance: with a game, values decide.
        return (
            self.shares_follow
            and measured
            and (bool(self.coalitions) or self.recorded_reason == self.measured_reason)
        )


def recorded_attribution(
    session: Session, external_id: str, attribution_id: int | None = None
) -> RecordedAttribution:
    """An attribution of an image.

    Args:
        session: of a role that reads attributions and words.
        external_id: the platform's id of the image.
        attribution_id: which one, such as the one that a royalty line cites; None: the newest method version's.

    Raises:
        NotFound: there is no such image, or it is not attributed yet.
        Invalid: another release recorded it.
    """
    image = logged_image(session, external_id)
    row = session.execute(
        select(Attribution, MethodVersionRow.document, MethodVersionRow.sha256)
        .join(MethodVersionRow, MethodVersionRow.id == Attribution.method_id)
        .where(
            Attribution.image_id == image.id,
            literal(attribution_id is None) | (Attribution.id == attribution_id),
        )
        .order_by(Attribution.method_id.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        raise NotFound(
            f"image {external_id} is not attributed yet; `royalty attribution status` shows the queue"
        )
    attribution, document, sha256 = row
    then = int(attribution.reading["catalogue_version"])
    known = artists(session, as_of=then)
    model = session.scalars(select(Image.model).where(Image.id == image.id)).one()
    return RecordedAttribution(
        image=image,
        method=MethodVersion.from_document(document),
        method_sha256=sha256,
        status=attribution.status,
        recorded_at=attribution.recorded_at,
        reason=attribution.reason,
        denominator=attribution.denominator,
        orders=attribution.orders,
        fidelity=attribution.fidelity,
        reading=attribution.reading,
        values=list(
            session.scalars(
                select(CoalitionValue)
                .where(CoalitionValue.attribution_id == attribution.id)
                .order_by(CoalitionValue.coalition)
            )
        ),
        shares=list(
            session.scalars(
                select(AttributionShare)
                .where(AttributionShare.attribution_id == attribution.id)
                .order_by(AttributionShare.slot)
            )
        ),
        environment=attribution.environment,
        catalogue=Catalogue(
            NameIndex(known), then, _gate(attribution.reading, known), merged_artists(session, as_of=then)
        ),
        names={artist.id: artist.name for artist in known},
        model=model,
        levels=placebo_levels(session, attribution.method_id, image.weights_sha256),
    )


def _gate(reading: Mapping[str, Any], known: Sequence[Artist]) -> Gate | None:
    """Who was a player then, as the reading has it: names that were measured since change nothing of it."""
    if "unrecognised" not in reading:
        return None
    players = frozenset(artist.id for artist in known) - set(reading["unrecognised"])
    return Gate(players, frozenset(), reading["recognition_scale"])


def drawn_attributions(session: Session, number: int) -> list[tuple[str, int]]:
    """So many attributed images, drawn at random: external id and the newest method version's attribution."""
    rows = session.execute(
        text("""
            SELECT i.external_id, max(a.id) FROM attribution.attribution AS a
            JOIN attribution.image AS i ON i.id = a.image_id
            GROUP BY i.external_id ORDER BY random() LIMIT :number
        """),
        {"number": number},
    )
    return [(external_id, key) for external_id, key in rows]


def repeating(recorded: RecordedAttribution, model: Model) -> Attributor:
    """What attributes the image as it was attributed then: by the same method version, in the same bucket.

    Raises:
        Invalid: the image's words were erased.
        Unavailable: this model is not the one it was attributed with.
    """
    image = recorded.image
    if image.prompt is None:
        raise Invalid(
            f"the words of image {image.external_id} were erased: its shares stand, but cannot be rendered"
        )
    if image.weights_sha256 != model.weights_sha256 or fault(recorded.method, model) is not None:
        raise Unavailable(
            f"image {image.external_id} was attributed with another model: set ROYALTY_MODEL to the one with weights"
            f" {image.weights_sha256.hex()[:12]}"
        )
    bucket = int(recorded.environment["bucket"])
    return Attributor(model, recorded.method, buckets=(bucket,))


@dataclass(frozen=True, slots=True)
class RedrawnCoalition:
    """One coalition's picture, rendered again."""

    coalition: int
    """Bit 0 is content, bit i the artist in slot i."""
    prompt: str
    picture: Picture.Image
    same_picture: bool
    """Whether it is the recorded one to the last bit."""


def redraw(
    recorded: RecordedAttribution, model: Model, coalitions: Collection[int]
) -> list[RedrawnCoalition]:
    """Render the pictures of recorded coalitions again, to be looked at. Needs no database.

    Args:
        recorded: the attribution.
        model: the one it was attributed with.
        coalitions: which; others than recorded are left out.

    Raises:
        Invalid: the image's words were erased, or this release reads other words out of its prompt.
        Unavailable: this model is not the one it was attributed with.
    """
    image = recorded.image
    attributor = repeating(recorded, model)
    prompt = image.prompt or ""
    game = build_game(
        prompt,
        recorded.catalogue.names,
        window_end=model.window_end(prompt),
        explicit=image.artists or (),
        recognised={share.player for share in recorded.shares}
        - set(recorded.reading.get("unrecognised", ())),
        adapters=image.adapters,
        image_prompts=image.image_prompts,
        merged=recorded.catalogue.merged,
    )
    wanted = [value for value in recorded.values if value.coalition in coalitions]
    prompts = [game.prompt(value.coalition) for value in wanted]
    digests = [hashlib.sha256((image.salt or b"") + words.encode()).digest() for words in prompts]
    if digests != [value.prompt_sha256 for value in wanted]:
        raise Invalid(f"the prompt of image {image.external_id} is read differently by this release")
    pictures = attributor.measurer.engine.render(
        [
            attributor.request(
                image, words, game.adapters(value.coalition), game.image_prompts(value.coalition)
            )
            for value, words in zip(wanted, prompts, strict=True)
        ]
    )
    return [
        RedrawnCoalition(
            value.coalition,
            words,
            Picture.fromarray(picture),
            hashlib.sha256(picture.tobytes()).digest() == value.picture_sha256,
        )
        for value, words, picture in zip(wanted, prompts, pictures, strict=True)
    ]


def verify(recorded: RecordedAttribution, model: Model) -> Verification:
    """Render every coalition again and compare. Needs no database: close the session before.

    Raises:
        Invalid: the image cannot be rendered again, as when its words were erased.
        Unavailable: this model is not the one it was attributed with.
    """
    image = recorded.image
    attributor = repeating(recorded, model)
    measured = attributor.attribute(
        [image],
        recorded.catalogue,
        recorded.levels,
        {} if recorded.orders is None else {image.id: recorded.orders},
    )[image.id]
    if not isinstance(measured, ImageResult):
        raise Invalid(f"image {image.external_id} cannot be rendered again: {measured.reason}")
    if len(recorded.values) != len(measured.coalitions):
        raise Invalid(
            f"image {image.external_id} has {len(measured.coalitions)} coalitions now and {len(recorded.values)} in the"
            " books: its prompt is read differently by this release"
        )
    ids = [share.player for share in recorded.shares]
    checks = [
        CoalitionCheck(
            coalition=then.coalition,
            players=tuple(player for slot, player in enumerate(ids) if then.coalition >> slot & 1),
            recorded=then.value,
            measured=now.value,
            same_picture=then.picture_sha256 == now.picture_sha256,
            same_prompt=then.prompt_sha256 == now.prompt_sha256,
        )
        for then, now in zip(recorded.values, measured.coalitions, strict=True)
    ]
    return Verification(
        external_id=image.external_id,
        method=recorded.method.name,
        recorded_reason=recorded.reason,
        measured_reason=measured.reason,
        tolerance=recorded.method.verify_tolerance,
        coalitions=checks,
        shares=[
            ShareCheck(then.player, then.share_ppb, now.share_ppb)
            for then, now in zip(recorded.shares, measured.players, strict=True)
        ],
        shares_follow=shares_follow(recorded),
        differences=_differences(recorded.environment, measured.environment),
    )


def shares_follow(recorded: RecordedAttribution) -> bool:
    """Whether the recorded shares are exactly what the recorded values and placebo levels give. Renders nothing."""
    if not recorded.values:
        return not any(share.share_ppb for share in recorded.shares)
    artists_in_order = [share.player for share in recorded.shares if share.slot]
    levels = [
        PlaceboLevel(share.placebo_mean or 0, share.placebo_threshold or 0)
        for share in recorded.shares
        if share.slot
    ]
    values = {value.coalition: value.value for value in recorded.values}
    estimator = recorded.method.estimator(len(recorded.shares), recorded.image.external_id)
    if estimator.wanted(values):
        return False
    estimate = estimator.estimate(values)
    settled = settle(
        estimate.numerators,
        estimate.denominator,
        values[0],
        artists_in_order,
        levels,
        minimum_gap=recorded.method.minimum_gap,
        baseline=Baseline(recorded.method.baseline),
    )
    if estimate.orders != recorded.orders:
        return False
    if recorded.reason == UnattributedReason.NOT_REPRODUCIBLE:
        return not any(share.share_ppb for share in recorded.shares)
    given = [share.share_ppb for share in recorded.shares]
    return settled.reason == recorded.reason and [player.share_ppb for player in settled.players] == given


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: {then.get(name)} then, {now.get(name)} now"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]
