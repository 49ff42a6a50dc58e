"""One image's attribution as a page that stands alone: HTML without scripts, network or files, to look at and to print.

An operator's page holds everything: words, coalitions as pictures, raw values, evidence. An artist's holds her own name
and share, and the picture only where the platform's policy allows it. Whatever people wrote (prompts, names, ids) is
escaped by the template, kept apart from the text around it, and shown with its invisible characters visible.
"""

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image as Picture
from sqlalchemy import text
from sqlalchemy.orm import Session

from attribution.pictures import SHOWN, data_uri, open_picture
from attribution.prompt_reading import Finding, read_prompt
from attribution.prompt_words import plain_prompt
from attribution.shapley import CONTENT_ID
from database.errors import UserError
from settlement.portal import AttributionView

if TYPE_CHECKING:
    # These load torch, which takes seconds: whoever shows artists' pages does without.
    from attribution.pipeline import Model
    from attribution.verify import RecordedAttribution, RedrawnCoalition

MOST_PICTURES = 64
"""Coalitions that are shown as pictures at most; the evidence of the others is in the books."""

_UNIT = 10**9

_VERDICTS = {
    "no_recognised_artist": "The prompt names no artist that this model recognises.",
    "noise_not_logged": "The sampler draws noise at every step, and that noise was not logged: the picture cannot be"
    " made again.",
    "not_reproducible": "The logged file is not the picture that the logged settings give.",
    "below_threshold": "Naming the artists changes this picture too little to be told from nothing.",
    "no_artist_earns": "No artist named does more to this picture than a made-up name does.",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture in a page."""

    uri: str
    exact: bool
    """Small enough to be shown with its pixels as they are."""
    text: str
    """What it shows, for who cannot see it."""


@dataclass(frozen=True, slots=True)
class Part:
    """A run of the prompt: plain, a `mention` that counts, a name `passed` over, `beyond` the window, or a `sign`."""

    text: str
    kind: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A player, as text."""

    id: str
    name: str
    own: bool
    permille: int
    share: str
    exact_share: str = ""
    prompt_share: str = ""
    error: str = ""
    """Standard error of the share over seeds; empty: not measured."""
    whisker: tuple[int, int] | None = None
    phi: str = ""
    phi_error: str = ""
    placebo: str = ""
    adjusted: str = ""
    threshold: str = ""
    paid: str = ""
    how: str = ""
    """What makes an artist a player; empty: the prompt's words alone."""


@dataclass(frozen=True, slots=True)
class Named:
    """Words that match a name, as text."""

    words: str
    artist: str
    alias: str
    rule: str
    verdict: str
    why: str


@dataclass(frozen=True, slots=True)
class Card:
    """A coalition, as text and picture."""

    name: str
    value: str
    everybody: bool
    sha256: str
    prompt: str | None
    """None: not to be shown, or not known."""
    picture: Shown | None
    same_picture: bool


@dataclass(frozen=True, slots=True)
class ImagePage:
    """Everything that a page shows, as text: the template decides nothing but the looks."""

    image: str
    model: str
    method: str | None
    full: bool
    """Whether this is an operator's page."""
    attributed: bool
    verdict: str
    verdict_text: str
    recorded_at: str = ""
    picture: Shown | None = None
    picture_note: str = ""
    earned: tuple[str, ...] = ()
    players: tuple[Row, ...] = ()
    prompt: tuple[Part, ...] | None = None
    as_logged: str = ""
    """The prompt with its syntax, where that says more."""
    negative_prompt: str = ""
    findings: tuple[Named, ...] = ()
    coalitions: tuple[Card, ...] = ()
    coalition_note: str = ""
    characteristic: str = ""
    evidence: tuple[tuple[str, str], ...] = ()
    command: str = ""


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("settlement.audit"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_page(page: ImagePage) -> str:
    """The page as one HTML document."""
    return _environment().get_template("image.html").render(page=page)


def billionths(numerator: int, denominator: int = 1, digits: int = 6) -> str:
    """A value of v, whose numerator is in 10^-9, for people: with sign, rounded half away from 0."""
    scale = 10 ** (9 - digits)
    whole = abs(numerator)
    rounded = (2 * whole + denominator * scale) // (2 * denominator * scale)
    units, rest = divmod(rounded, 10**digits)
    sign = "\N{MINUS SIGN}" if numerator < 0 and rounded else "+"
    return f"{sign}{units}.{rest:0{digits}}"


def percentage(ppb: int) -> str:
    """A share in per cent with two decimals, rounded half up."""
    hundredths = (ppb + 50_000) // 100_000
    return f"{hundredths // 100}.{hundredths % 100:02} %"


def visible(written: str) -> str:
    """Text in which characters that show nothing, or turn the reading direction, are written out: `U+202E`."""
    return "".join(f"[{sign}]" if sign else plain for plain, sign in _runs(written))


def _runs(written: str) -> Iterator[tuple[str, str]]:
    """Runs of text, and between them signs: `(text, "")` or `("", "U+202E")`."""
    start = 0
    for at, character in enumerate(written):
        if (
            unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")
            and character not in "\n\t"
        ):
            if start < at:
                yield written[start:at], ""
            yield "", f"U+{ord(character):04X}"
            start = at + 1
    if start < len(written):
        yield written[start:], ""


def operators_page(recorded: "RecordedAttribution", model: "Callable[[], Model]") -> str:
    """An operator's document, its coalitions rendered again where they can be. Needs no database.

    Args:
        recorded: the attribution as it stands in the books.
        model: loads the model that this installation is configured for.
    """
    from attribution.verify import redraw

    redrawn: Sequence[RedrawnCoalition] | UserError = ()
    if recorded.values:
        try:
            redrawn = redraw(recorded, model(), _shown_coalitions(recorded))
        except UserError as error:
            redrawn = error
    return write_page(full_page(recorded, redrawn))


def full_page(
    recorded: "RecordedAttribution", redrawn: "Sequence[RedrawnCoalition] | UserError"
) -> ImagePage:
    """An operator's page.

    Args:
        recorded: the attribution as it stands in the books.
        redrawn: coalitions rendered again; or why they cannot be.
    """
    names = recorded.names
    image, method = recorded.image, recorded.method
    attributed = recorded.reason is None
    pictures = {} if isinstance(redrawn, UserError) else {one.coalition: one for one in redrawn}
    prompt, findings = _words(recorded, names)
    shown = _shown_coalitions(recorded)
    left_out = len(recorded.values) - len(shown)
    everybody = (1 << len(recorded.shares)) - 1 if recorded.shares else -1
    picture, note = _own_picture(recorded, pictures.get(everybody))
    if isinstance(redrawn, UserError):
        note = f"{note} The coalitions could not be rendered again: {redrawn.message}."
    return ImagePage(
        image=visible(image.external_id),
        model=visible(recorded.model),
        method=method.name,
        full=True,
        attributed=attributed,
        verdict="attributed" if attributed else "unattributed",
        verdict_text="Shares of the royalties that this image earns." if attributed
        else _VERDICTS.get(recorded.reason or "", recorded.reason or ""),
        recorded_at=f"{recorded.recorded_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        picture=picture,
        picture_note=visible(note),
        players=tuple(_row(recorded, slot, names) for slot in range(len(recorded.shares))),
        prompt=prompt,
        as_logged=_as_logged(image.prompt),
        negative_prompt=visible(image.negative_prompt or ""),
        findings=findings,
        coalitions=tuple(
            _card(recorded, value.coalition, value.value, value.picture_sha256,
                  pictures.get(value.coalition), names)
            for value in recorded.values if value.coalition in shown
        ),
        coalition_note=f"{left_out} further coalitions are in the books and not shown here." if left_out else "",
        characteristic=f"the method\N{RIGHT SINGLE QUOTATION MARK}s measure \N{LEFT DOUBLE QUOTATION MARK}"
        f"{method.characteristic_function}\N{RIGHT DOUBLE QUOTATION MARK}",
        evidence=_evidence(recorded),
        command=f"royalty attribution verify {visible(image.external_id)}",
    )  # fmt: skip


def artist_page(view: AttributionView, earned: Sequence[str], picture: Picture.Image | None) -> ImagePage:
    """An artist's page: her own name and share, others without theirs, no words.

    Args:
        view: what row-level security leaves of the attribution for her.
        earned: what the image earned her, by currency, as text.
        picture: the image, where the platform's policy allows that it is shown; else None.
    """
    attributed = view.status == "attributed"
    return ImagePage(
        image=visible(view.image),
        model=visible(view.model),
        method=None if view.method is None else visible(view.method),
        full=False,
        attributed=attributed,
        verdict=view.status or "paid without attribution",
        verdict_text="Shares of the royalties that this image earns."
        if attributed
        else "What this image pays does not follow from its prompt.",
        picture=None if picture is None else _shown(picture, "The image"),
        picture_note="" if picture is not None else "The platform does not show this picture here.",
        earned=tuple(earned),
        players=tuple(
            Row("", visible(share.player), share.own, _permille(share.share), percentage(share.share))
            for share in view.shares
        ),
    )


def artists_picture(session: Session, external_id: str) -> Picture.Image | None:
    """The logged picture of an image that earned the portal's user something; None where there is none to show.

    Args:
        session: of the role `portal`, bound to a user: row-level security is the fence.
        external_id: the platform's id of the image.
    """
    row = session.execute(
        text("SELECT file, file_sha256 FROM attribution.image WHERE external_id = :image"),
        {"image": external_id},
    ).one_or_none()
    if row is None or row.file is None:
        return None
    try:
        return open_picture(row.file, row.file_sha256)
    except UserError:
        return None


def _shown_coalitions(recorded: "RecordedAttribution") -> set[int]:
    """Nobody, everybody, then the smallest: up to `MOST_PICTURES`."""
    known = [value.coalition for value in recorded.values]
    everybody = max(known, default=0)
    ordered = sorted(known, key=lambda c: (c != everybody, c.bit_count(), c))
    return set(ordered[:MOST_PICTURES])


def _name(player: str, names: Mapping[str, str]) -> str:
    return "content (the model)" if player == CONTENT_ID else visible(names.get(player, player))


def _permille(ppb: int) -> int:
    return max(0, min(1000, (ppb + 500_000) // 1_000_000))


def _how(recorded: "RecordedAttribution", player: str) -> str:
    """What makes somebody a player, where it is not the prompt's words alone."""
    merged = recorded.catalogue.merged
    whats = []
    for given, one, several in (
        (recorded.image.adapters, "an adapter", "adapters"),
        (recorded.image.image_prompts, "a picture it was made from", "pictures it was made from"),
    ):
        owned = [each for each in given if merged.get(each.artist, each.artist) == player]
        if owned:
            whats.append(one if len(owned) == 1 else f"{len(owned)} {several}")
    if not whats:
        return ""
    what = "owner of " + " and of ".join(whats)
    named = any(
        finding["artist"] == player and finding["verdict"] == "mention" and finding["in_window"]
        for finding in recorded.reading["findings"]
    )
    return f"named, and {what}" if named else what


def _row(recorded: "RecordedAttribution", slot: int, names: Mapping[str, str]) -> Row:
    share = recorded.shares[slot]
    unit = recorded.denominator
    known = share.prompt_share_ppb is not None and share.prompt_standard_error_ppb is not None
    mean, error = share.prompt_share_ppb or 0, share.prompt_standard_error_ppb or 0
    return Row(
        id="" if share.player == CONTENT_ID else visible(share.player),
        name=_name(share.player, names),
        own=False,
        permille=_permille(share.share_ppb),
        share=percentage(share.share_ppb),
        exact_share=f"{share.share_ppb // _UNIT}.{share.share_ppb % _UNIT:09}",
        prompt_share=percentage(mean) if known else "",
        error=percentage(error) if known else "",
        whisker=(_permille(mean - error), _permille(mean + error)) if known else None,
        phi=billionths(share.phi_numerator, unit),
        phi_error="exact" if share.standard_error is None else billionths(share.standard_error),
        placebo="" if share.placebo_mean is None else billionths(share.placebo_mean),
        adjusted=billionths(share.adjusted_numerator, unit),
        threshold="" if share.placebo_threshold is None else billionths(share.placebo_threshold),
        paid=billionths(share.paid_numerator, unit),
        how=_how(recorded, share.player),
    )


def _words(
    recorded: "RecordedAttribution", names: Mapping[str, str]
) -> tuple[tuple[Part, ...] | None, tuple[Named, ...]]:
    """The prompt in runs and the names found in it, as the recorded reading has them."""
    if recorded.image.prompt is None:
        return None, ()
    words = plain_prompt(recorded.image.prompt).text
    # The record keeps no words of the prompt; why is what the same reading says of them again.
    again = {
        _key(found): found
        for found in read_prompt(
            recorded.image.prompt, recorded.catalogue.names, explicit=recorded.image.artists or ()
        ).findings
    }
    end = int(recorded.reading["window_end"])
    parts: list[Part] = []
    rows: list[Named] = []
    at = 0
    for given in sorted(recorded.reading["findings"], key=lambda found: (found["start"], found["end"])):
        start, stop = int(given["start"]), int(given["end"])
        found = again.get((start, stop, given["artist"], given["verdict"]))
        whom = " or ".join(_name(one, names) for one in given["artist"].split(" | "))
        counts = given["verdict"] == "mention"
        why = found.why if found is not None else ""
        if counts and not given["in_window"]:
            why = f"{why}; beyond what the model reads, earns nothing".lstrip("; ")
        elif counts and given["artist"] in recorded.reading.get("unrecognised", ()):
            why = f"{why}; the model does not know the name: its words are content".lstrip("; ")
        slips = f", {given['distance']} letters off" if given["distance"] else ""
        rows.append(
            Named(
                words=visible(words[start:stop]),
                artist=whom,
                alias=visible(given["alias"]),
                rule=visible(given["rule"]) + slips,
                verdict="naming the artist" if counts else visible(given["verdict"]),
                why=visible(why),
            )
        )
        if start < at:
            continue
        parts += _plain(words, at, start, end)
        kind = "mention" if counts and given["in_window"] else "passed"
        note = f"{rows[-1].rule} of {whom}: {rows[-1].verdict}"
        parts += [Part(sign or run, "sign" if sign else kind, note) for run, sign in _runs(words[start:stop])]
        at = stop
    parts += _plain(words, at, len(words), end)
    return tuple(parts), tuple(rows)


def _as_logged(prompt: str | None) -> str:
    return "" if prompt is None or plain_prompt(prompt).text == prompt else visible(prompt)


def _key(found: Finding) -> tuple[int, int, str, str]:
    return found.start, found.end, found.artist_id, found.verdict.value


def _plain(words: str, start: int, stop: int, window_end: int) -> list[Part]:
    """Runs without a name, cut where the model's window ends."""
    middle = min(max(window_end, start), stop)
    return [
        Part(sign or run, "sign" if sign else kind)
        for some, kind in ((words[start:middle], "plain"), (words[middle:stop], "beyond"))
        for run, sign in _runs(some)
    ]


def _shown(picture: Picture.Image, described: str) -> Shown:
    return Shown(data_uri(picture), max(picture.size) <= SHOWN, described)


def _own_picture(
    recorded: "RecordedAttribution", everybody: "RedrawnCoalition | None"
) -> tuple[Shown | None, str]:
    """The logged file, or the picture of everybody in its place, with what to say about it."""
    image = recorded.image
    why = "No file was logged with this image"
    if image.file is not None:
        try:
            logged = open_picture(image.file, image.file_sha256)
        except UserError as error:
            logged, why = None, error.message
        else:
            why = "The logged file is not on this machine"
        if logged is not None:
            return _shown(logged, "The image as logged"), "The picture is the logged file."
    if everybody is None:
        return None, f"{why}."
    return (
        _shown(everybody.picture, "The image, rendered again"),
        f"{why}; the picture is rendered again from the log.",
    )


def _card(
    recorded: "RecordedAttribution",
    coalition: int,
    value: int,
    sha256: bytes,
    redrawn: "RedrawnCoalition | None",
    names: Mapping[str, str],
) -> Card:
    present = [
        _name(share.player, names)
        for slot, share in enumerate(recorded.shares)
        if coalition >> slot & 1
    ]  # fmt: skip
    everybody = len(present) == len(recorded.shares)
    name = "nobody" if not present else " + ".join(present)
    return Card(
        name=f"everybody: {name}" if everybody else name,
        value=billionths(value),
        everybody=everybody,
        sha256=sha256.hex(),
        prompt=None if redrawn is None else visible(redrawn.prompt),
        picture=None if redrawn is None else _shown(redrawn.picture, f"The picture of {name}"),
        same_picture=redrawn is not None and redrawn.same_picture,
    )


def _evidence(recorded: "RecordedAttribution") -> tuple[tuple[str, str], ...]:
    image, method = recorded.image, recorded.method
    fidelity = (
        "not measured: no file of the image is at hand"
        if recorded.fidelity is None
        else f"{billionths(recorded.fidelity)} (1 is the same picture)"
    )
    settings = (
        f"{image.scheduler}, {image.steps} steps, guidance {image.guidance.normalize():f},"
        f" {image.width} \N{MULTIPLICATION SIGN} {image.height}"
    )
    environment: Mapping[str, Any] = recorded.environment
    facts: list[tuple[str, object]] = [
        ("seed", image.seed),
        ("settings as logged", settings),
        ("fidelity of the logged file", fidelity),
        ("method version", f"{method.name}, {recorded.method_sha256.hex()}"),
        ("coalitions rendered", len(recorded.values)),
        ("weights, SHA-256", image.weights_sha256.hex()),
        ("logged file, SHA-256", "none" if image.file_sha256 is None else image.file_sha256.hex()),
        ("initial noise, SHA-256", "none" if image.latents_sha256 is None else image.latents_sha256.hex()),
        *(
            (
                "adapter, SHA-256",
                f"{adapter.sha256.hex()}, scale {adapter.scale.normalize():f}, of"
                f" {_name(adapter.artist, recorded.names)}",
            )
            for adapter in image.adapters
        ),
        *(
            (
                "made from a picture, SHA-256 of its embedding",
                f"{prompt.embedding_sha256.hex()}, seen through the IP-Adapter {prompt.adapter_sha256.hex()[:12]} at"
                f" scale {prompt.scale.normalize():f}, of {_name(prompt.artist, recorded.names)}",
            )
            for prompt in image.image_prompts
        ),
        ("catalogue of artists", f"state {recorded.catalogue.version}"),
        *(
            (name.replace("_", " "), value)
            for name, value in sorted(environment.items())
            if name != "weights_sha256"
        ),
    ]
    return tuple((visible(name), visible(str(value))) for name, value in facts)
