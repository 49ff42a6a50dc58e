"""Render an attribution again and compare: is what is recorded what this model and method give?

Two questions, answered apart. Do the recorded shares follow, to the last ppb, from the recorded values? Are the
recorded values those of pictures rendered now, within the method's stated tolerance?
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from attribution.attribute import Attributor, Catalogue
from attribution.catalogue import artists
from attribution.generation import LoggedImage, logged_image
from attribution.method import MethodVersion
from attribution.name_index import NameIndex
from attribution.pipeline import Model
from attribution.results import (
    Attribution,
    AttributionShare,
    CoalitionValue,
    ImageResult,
    MethodVersionRow,
    placebo_levels,
)
from attribution.shapley import Baseline, PlaceboLevel, UnattributedReason, settle_game
from database.errors import Invalid, NotFound, Unavailable


@dataclass(frozen=True, slots=True)
class RecordedAttribution:
    """An attribution as it stands in the books, with everything it takes to repeat it."""

    image: LoggedImage
    method: MethodVersion
    status: str
    reason: str | None
    values: list[CoalitionValue]
    """By bitmask; empty where no game was played."""
    shares: list[AttributionShare]
    """By slot."""
    environment: dict[str, Any]
    catalogue: Catalogue
    """As it was then."""
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
class Verification:
    """What came of it."""

    external_id: str
    method: str
    recorded_reason: str | None
    measured_reason: str | None
    tolerance: int
    """The method's, in 10^-9."""
    coalitions: list[CoalitionCheck]
    shares_follow: bool
    """The recorded shares are exactly those of the recorded values."""
    differences: list[str]
    """Of device, precision and library versions, then and now."""

    @property
    def largest_difference(self) -> int:
        """Of a coalition's value, in 10^-9."""
        return max((abs(check.recorded - check.measured) for check in self.coalitions), default=0)

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


def recorded_attribution(session: Session, external_id: str) -> RecordedAttribution:
    """The newest method version's attribution of an image.

    Raises:
        NotFound: there is no such image, or it is not attributed yet.
        Invalid: another release recorded it.
    """
    image = logged_image(session, external_id)
    row = session.execute(
        select(Attribution, MethodVersionRow.document)
        .join(MethodVersionRow, MethodVersionRow.id == Attribution.method_id)
        .where(Attribution.image_id == image.id)
        .order_by(Attribution.method_id.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        raise NotFound(
            f"image {external_id} is not attributed yet; `royalty attribution status` shows the queue"
        )
    attribution, document = row
    then = int(attribution.reading["catalogue_version"])
    return RecordedAttribution(
        image=image,
        method=MethodVersion.from_document(document),
        status=attribution.status,
        reason=attribution.reason,
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
        catalogue=Catalogue(NameIndex(artists(session, as_of=then)), then),
        levels=placebo_levels(session, attribution.method_id, image.weights_sha256),
    )


def verify(recorded: RecordedAttribution, model: Model) -> Verification:
    """Render every coalition again and compare. Needs no database: close the session before.

    Raises:
        Invalid: the image cannot be rendered again, as when its words were erased.
        Unavailable: this model is not the one it was attributed with.
    """
    image = recorded.image
    if image.prompt is None:
        raise Invalid(
            f"the words of image {image.external_id} were erased: its shares stand, but cannot be rendered"
        )
    if (
        image.weights_sha256 != model.weights_sha256
        or recorded.method.embedding_sha256 != model.embedding_sha256.hex()
    ):
        raise Unavailable(
            f"image {image.external_id} was attributed with another model: set ROYALTY_MODEL to the one with weights"
            f" {image.weights_sha256.hex()[:12]}"
        )
    attributor = Attributor(model, recorded.method)
    measured = attributor.attribute([image], recorded.catalogue, recorded.levels)[image.id]
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
    settled = settle_game(
        [value.value for value in recorded.values],
        artists_in_order,
        levels,
        minimum_gap=recorded.method.minimum_gap,
        baseline=Baseline(recorded.method.baseline),
    )
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
