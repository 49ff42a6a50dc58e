"""Any text can be read, its findings lie in it, and the prompts made of a reading say what they are to say."""

from time import perf_counter

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from attribution.game import build_game
from attribution.name_index import NameIndex
from attribution.prompt_reading import Verdict, read_prompt
from benchmarks.prompt_reading import catalogue, large_catalogue

NAMES = NameIndex(catalogue())
REVERSED = NameIndex(reversed(catalogue()))
ARTISTS = {artist.id: artist for artist in catalogue()}
PIECES = [
    *(artist.name for artist in catalogue()[:60]),
    *"in the style of,by,and,or,not,no,portrait of,art by,--no,negative prompt:,with,as,'s,-style,esque,the".split(","),
    *"a castle,woman,garden,at night,museum,painting,prize,(,),[,],:1.3,|,AND,BREAK,\u200b,🎨".split(","),
    *"\n/./;/  /как/в стиле".split("/"),
    "van gog", "Beksińskiego", "Klimpt", "pic asso", "Picasso's", "北斎", "\ud800", "ﷺ", "İ", "ß", "\x00",
]  # fmt: skip
prompts = st.one_of(
    st.text(max_size=200),
    st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join),
    st.lists(st.sampled_from(PIECES), max_size=25).map("".join),
)
quiet = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@quiet
@given(prompts, st.integers(0, 250), st.sets(st.sampled_from(sorted(ARTISTS)), max_size=3))
@example("İ by Klimt's", 3, set())
def test_any_text_is_read_and_findings_lie_in_it(prompt: str, window: int, explicit: set[str]) -> None:
    reading = read_prompt(prompt, NAMES, window_end=window, explicit=explicit)
    assert 0 <= reading.window_end <= len(reading.text)
    at = 0
    for finding in reading.findings:
        assert at <= finding.start < finding.end <= finding.own_end <= len(reading.text)
        assert 0 <= finding.cut_start <= finding.start
        assert finding.own_end <= finding.cut_end <= len(reading.text)
        assert finding.words == reading.text[finding.start : finding.own_end]
        assert set(finding.artist_id.split(" | ")) <= ARTISTS.keys()
        assert finding.why
        assert finding.in_window == (finding.end <= reading.window_end)
        at = finding.end
    assert not set(reading.artists) & set(reading.beyond_window)


@quiet
@given(prompts)
def test_the_order_of_the_catalogue_does_not_matter(prompt: str) -> None:
    assert read_prompt(prompt, NAMES) == read_prompt(prompt, REVERSED)


SCENES = ["a castle", "two foxes in the snow", "a city at night, 8k", "a bowl of fruit on a table"]
CUES = ["{} in the style of {}", "{} by {}", "{}, art by {}", "{}, {}"]
listed = st.lists(st.sampled_from(sorted(ARTISTS)), min_size=1, max_size=4, unique=True)


@quiet
@given(st.sampled_from(SCENES), st.sampled_from(CUES), listed, st.data())
def test_a_coalition_prompt_names_its_artists_and_nobody_else(
    scene: str, cue: str, chosen: list[str], data: st.DataObject
) -> None:
    *others, last = [ARTISTS[artist].name for artist in chosen]
    prompt = cue.format(scene, " and ".join(filter(None, [", ".join(others), last])))
    game = build_game(prompt, NAMES)
    # A list of common words may be read as words ("Static", "Ember"); the game is of those who are read.
    assume(game.artists == tuple(chosen))
    assert build_game(game.canonical_prompt, NAMES).artists == game.artists
    coalition = data.draw(st.integers(0, (1 << game.players) - 1))
    present = tuple(artist for slot, artist in enumerate(game.artists, 1) if coalition >> slot & 1)
    made = game.prompt(coalition)
    assert build_game(made, NAMES).artists == present, made
    for artist in set(game.artists) - set(present):
        assert ARTISTS[artist].name not in made
    assert (scene in made) == bool(coalition & 1)


def test_time_is_linear_in_a_hostile_prompt() -> None:
    names = NameIndex(large_catalogue(2_000))
    for unit in [
        "Klimt, not ",
        "by van gog and ",
        "Vincent ",
        "no no ",
        "beksinksi-",
        "a b c d ",
        "in the style of ",
    ]:
        seconds = []
        for length in (1_000, 16_000):
            prompt = unit * (length // len(unit))
            start = perf_counter()
            read_prompt(prompt, names)
            seconds.append(perf_counter() - start)
        # 16 times the text; a quadratic reader would take 256 times as long.
        assert seconds[1] < 100 * max(seconds[0], 0.005), (unit, seconds)


def test_verdicts_are_explained_in_one_line() -> None:
    reading = read_prompt("not by Gustav Klimpt, portrait of Frida Kahlo", NAMES)
    assert [finding.explanation for finding in reading.findings] == [
        "'Gustav Klimpt' is the full name 'Gustav Klimt' of klimt, 1 letter off: taken back, taken back by 'not'",
        "'Frida Kahlo' is the full name 'Frida Kahlo' of kahlo: person in the picture, preceded by 'portrait of'",
    ]
    assert {finding.verdict for finding in reading.passed_over} == {Verdict.NEGATED, Verdict.DEPICTED}
