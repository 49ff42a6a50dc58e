"""A page about one image: it holds what it must, hides what it must, and nothing in it acts."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from PIL import Image as Picture

from attribution.attribute import Catalogue
from attribution.catalogue import Artist
from attribution.generation import LoggedImage
from attribution.method import quick_method
from attribution.name_index import NameIndex
from attribution.pipeline import load_model
from attribution.prompt_reading import read_prompt
from attribution.results import AttributionShare, CoalitionValue
from attribution.verify import RecordedAttribution, RedrawnCoalition
from database.errors import Unavailable
from settlement.audit.image_page import (
    MOST_PICTURES,
    artist_page,
    billionths,
    full_page,
    percentage,
    visible,
    write_page,
)
from settlement.portal import AttributionView, ShareView

HOSTILE = 'a <script>alert("1")</script> \u202egnp\u202c by Amara Diallo\u200b, portrait of Bruno Keller, much detail'
ARTISTS = [Artist("amara", 1, "Amara Diallo"), Artist("bruno", 1, 'Bruno "Bo" Keller', ("Bruno Keller",))]


class Reader(HTMLParser):
    """Tags and attributes of a page, and its text."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def of(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.tags if name == tag)


def acts(document: str) -> list[str]:
    """Whatever in a page runs, loads or sends."""
    found = [
        tag for tag, _ in Reader(document).tags if tag in {"script", "iframe", "object", "form", "a", "link"}
    ]
    for _, attributes in Reader(document).tags:
        found += [name for name in attributes if name.startswith("on")]
        found += [value or "" for name, value in attributes.items() if name in {"src", "href"}
                  and not (value or "").startswith("data:image/")]  # fmt: skip
    return found + re.findall(r"url\(|@import", document)


def share(slot: int, player: str, ppb: int, **changes: int | None) -> AttributionShare:
    given: dict[str, int | None] = {
        "phi_numerator": 600_000_000,
        "placebo_mean": 1_000_000 if slot else None,
        "adjusted_numerator": 598_000_000,
        "placebo_threshold": 4_000_000 if slot else None,
        "paid_numerator": 598_000_000,
        "standard_error": None,
        "prompt_share_ppb": None,
        "prompt_standard_error_ppb": None,
        **changes,
    }
    return AttributionShare(slot=slot, player=player, share_ppb=ppb, **given)


@pytest.fixture(scope="module")
def method():
    return quick_method(load_model(device="cpu"))


@pytest.fixture
def recorded(method) -> RecordedAttribution:
    reading = read_prompt(HOSTILE, NameIndex(ARTISTS))
    return RecordedAttribution(
        image=LoggedImage(
            id=1, external_id="img-<1>", prompt=HOSTILE, negative_prompt="<blurry>", salt=b"s", seed=7, width=64,
            height=64, steps=12, guidance=Decimal("7.50"), eta=Decimal(0), scheduler="DDIMScheduler",
            scheduler_config={}, weights_sha256=bytes(32), latents_sha256=None, file=None, file_sha256=None,
            artists=None,
        ),
        method=method,
        method_sha256=bytes(range(32)),
        status="attributed",
        reason=None,
        recorded_at=datetime(2026, 10, 5, 12, tzinfo=UTC),
        denominator=2,
        orders=None,
        fidelity=998_500_000,
        reading={
            "catalogue_version": 2,
            "window_end": len(HOSTILE) - 7,
            "players": ["amara"],
            "findings": [
                {"artist": one.artist_id, "start": one.start, "end": one.end, "alias": one.alias,
                 "rule": one.rule.value, "distance": one.distance, "verdict": one.verdict.value, "in_window": True}
                for one in reading.findings
            ],
        },
        values=[
            CoalitionValue(coalition=number, value=value, picture_sha256=bytes([number]) * 32,
                           prompt_sha256=bytes(32))
            for number, value in enumerate((250_000_000, 400_000_000, 700_000_000, 10**9))
        ],
        shares=[share(0, "C", 400_000_000), share(1, "amara", 600_000_000)],
        environment={"device": "cpu", "bucket": 8, "embedding_sha256": "ee" * 32},
        catalogue=Catalogue(NameIndex(ARTISTS), 2),
        names={artist.id: artist.name for artist in ARTISTS},
        model="miniature",
        levels={},
    )  # fmt: skip


def redrawn(recorded: RecordedAttribution, *, same: bool = True) -> list[RedrawnCoalition]:
    return [
        RedrawnCoalition(value.coalition, f"words of <{value.coalition}>", Picture.new("RGB", (64, 64)), same)
        for value in recorded.values
    ]


def test_an_operators_page_holds_everything_and_nothing_in_it_acts(recorded: RecordedAttribution) -> None:
    document = write_page(full_page(recorded, redrawn(recorded)))
    assert acts(document) == []
    page = Reader(document)
    assert len(list(page.of("img"))) == 5, "the image and four coalitions"
    assert all(image.get("alt") for image in page.of("img"))
    for expected in (
        "img-<1>", "60.00 %", "0.600000000", "+0.300000", "+0.299000", "+0.004000", "+0.998500", "7.5",
        "quick-1", bytes(range(32)).hex(), "standard error: not measured", "ee" * 32, "words of <3>", "<blurry>",
        "the recorded picture, bit for bit", "2026-10-05 12:00:00 UTC", "royalty attribution verify",
    ):  # fmt: skip
        assert expected in page.words, expected
    other = write_page(full_page(recorded, redrawn(recorded, same=False)))
    assert "differs in bits" in Reader(other).words and "bit for bit" not in Reader(other).words


def test_hostile_words_are_shown_and_do_nothing(recorded: RecordedAttribution) -> None:
    document = write_page(full_page(recorded, redrawn(recorded)))
    assert '<script>alert("1")</script>' in Reader(document).words
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f]", document), "nothing hides or turns"
    assert "U+202E" in document and "U+200B" in document
    marked = list(Reader(document).of("mark"))
    assert [one.get("class") for one in marked] == [None, "passed"]
    assert "Bruno" in (marked[1]["title"] or "") and "person in the picture" in (marked[1]["title"] or "")
    assert "preceded by 'by'" in Reader(document).words
    assert "beyond" in {one.get("class") for one in Reader(document).of("span")}


def test_error_bars_are_there_where_errors_are_known(recorded: RecordedAttribution) -> None:
    recorded.shares[:] = [
        share(0, "C", 400_000_000, prompt_share_ppb=390_000_000, prompt_standard_error_ppb=25_000_000),
        share(1, "amara", 600_000_000, prompt_share_ppb=610_000_000, prompt_standard_error_ppb=25_000_000,
              standard_error=1_234_000),
    ]  # fmt: skip
    page = Reader(write_page(full_page(recorded, redrawn(recorded))))
    assert "2.50 %" in page.words and "not measured" not in page.words and "+0.001234" in page.words
    assert [path["d"] for path in page.of("path")] == [
        "M365 12H415M365 6V18M415 6V18",
        "M585 12H635M585 6V18M635 6V18",
    ]


def test_without_pictures_or_words_the_page_says_why(recorded: RecordedAttribution) -> None:
    page = Reader(write_page(full_page(recorded, Unavailable("another model is needed"))))
    assert not list(page.of("img")) and "another model is needed" in page.words
    assert page.words.count("not rendered") == 4
    fields = {name: getattr(recorded, name) for name in recorded.__dataclass_fields__}
    erased = {name: getattr(recorded.image, name) for name in recorded.image.__dataclass_fields__}
    fields["image"] = LoggedImage(**{**erased, "prompt": None, "negative_prompt": None, "salt": None})
    page = Reader(write_page(full_page(RecordedAttribution(**fields), Unavailable("erased"))))
    assert "The words of this image were erased" in page.words and "Amara Diallo" in page.words
    assert "gnp" not in page.words and "Matched name" not in page.words


def test_a_large_game_shows_some_of_its_pictures_and_says_so(recorded: RecordedAttribution) -> None:
    recorded.values[:] = [
        CoalitionValue(coalition=number, value=0, picture_sha256=bytes(32), prompt_sha256=bytes(32))
        for number in range(128)
    ]
    page = Reader(write_page(full_page(recorded, ())))
    assert page.words.count("not rendered") == MOST_PICTURES
    assert "64 further coalitions" in page.words


def test_an_artist_sees_her_own_name_no_words_and_pictures_only_where_allowed() -> None:
    view = AttributionView(
        image="img-1",
        model="miniature",
        status="attributed",
        method="exact-1",
        shares=(
            ShareView("content", False, 200_000_000),
            ShareView("Mara <i>Vell</i>", True, 500_000_000),
            ShareView("another artist", False, 300_000_000),
        ),
        other_artists=1,
        earned=(("EUR", 4_200_000),),
    )
    document = write_page(artist_page(view, ["4.20 EUR"], None))
    page = Reader(document)
    assert acts(document) == [] and not list(page.of("img"))
    for expected in (
        "Mara <i>Vell</i>",
        "another artist",
        "50.00 %",
        "4.20 EUR",
        "does not show this picture",
    ):
        assert expected in page.words
    for hidden in ("Words", "Coalitions", "Evidence", "seed", "verify", "SHA-256"):
        assert hidden not in page.words, hidden
    allowed = Reader(write_page(artist_page(view, [], Picture.new("RGB", (600, 500)))))
    (image,) = allowed.of("img")
    assert (image["src"] or "").startswith("data:image/jpeg;base64,"), "a large one is scaled down"


@pytest.mark.parametrize(
    ("numerator", "denominator", "expected"),
    [
        (1_500, 1, "+0.000002"),
        (-1_500, 1, "\N{MINUS SIGN}0.000002"),
        (-499, 1, "+0.000000"),
        (10**9 * 6, 6, "+1.000000"),
        (1_234_567_890, 2, "+0.617284"),
    ],
)
def test_values_are_rounded_for_people(numerator: int, denominator: int, expected: str) -> None:
    assert billionths(numerator, denominator) == expected


def test_shares_and_text_for_people() -> None:
    assert [percentage(ppb) for ppb in (0, 10**9, 333_333_333, 49_999)] == [
        "0.00 %",
        "100.00 %",
        "33.33 %",
        "0.00 %",
    ]
    assert visible("a\u202eb\x07c\nd") == "a[U+202E]b[U+0007]c\nd"
