"""Reading artists out of prompts: disguises, traps, the text window, hostile input."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import pytest

from attribution.name_index import NameIndex, Rule, edit_distance
from attribution.prompt_reading import Reading, Verdict, read_prompt
from attribution.prompt_words import fold, plain_prompt


@dataclass(frozen=True)
class NamedArtist:
    id: str
    name: str
    aliases: Sequence[str] = ()


CATALOGUE = [
    NamedArtist("klimt", "Gustav Klimt", ("Климт", "クリムト")),
    NamedArtist("gogh", "Vincent van Gogh", ("van Gogh", "Ван Гог", "ゴッホ")),
    NamedArtist("hokusai", "Katsushika Hokusai", ("葛飾北斎",)),
    NamedArtist("monet", "Claude Monet"),
    NamedArtist("turner", "J.M.W. Turner", ("William Turner",)),
    NamedArtist("lee", "Stan Lee"),
    NamedArtist("jay", "Winter Jay"),
    NamedArtist("bacon", "Francis Bacon"),
    NamedArtist("kahlo", "Frida Kahlo", ("Frida",)),
    NamedArtist("rutkowski", "Greg Rutkowski"),
    NamedArtist("artgerm", "Artgerm", ("Stanley Lau",)),
    NamedArtist("mucha", "Alphonse Mucha"),
    NamedArtist("wood", "Grant Wood"),
    NamedArtist("leonardo", "Leonardo da Vinci", ("Leonardo",)),
    NamedArtist("picasso", "Pablo Picasso"),
    NamedArtist("dürer", "Albrecht Dürer"),
    NamedArtist("dali", "Salvador Dalí"),
    NamedArtist("rembrandt", "Rembrandt van Rijn", ("Rembrandt",)),
    NamedArtist("michelangelo", "Michelangelo", ("Michelangelo Buonarroti",)),
    NamedArtist("ghibli", "Studio Ghibli", ("Hayao Miyazaki",)),
    NamedArtist("church", "Frederic Edwin Church"),
    NamedArtist("ernst", "Max Ernst"),
    NamedArtist("bosch", "Hieronymus Bosch"),
    NamedArtist("gilbert", "Gilbert & George"),
    NamedArtist("bruegel", "Pieter Bruegel the Elder"),
    NamedArtist("amara", "Amara Diallo"),
    NamedArtist("keller", "Bruno Keller"),
]
NAMES = NameIndex(CATALOGUE)

MENTIONS = [
    # plain
    ("a castle in the style of Gustav Klimt", "klimt"),
    ("by artgerm and greg rutkowski and alphonse mucha", "artgerm rutkowski mucha"),
    ("portrait of a woman, greg rutkowski, artgerm, mucha", "rutkowski artgerm mucha"),
    ("a big star in the style of Amara Diallo and Bruno Keller", "amara keller"),
    ("painting by Keller", "keller"),
    ("a Picasso painting", "picasso"),
    ("photo of a Monet painting", "monet"),
    ("a Klimt woman", "klimt"),
    ("Klimt garden", "klimt"),
    ("painted like Monet", "monet"),
    ("studio ghibli landscape", "ghibli"),
    ("ghibli style house", "ghibli"),
    ("miyazaki film", "ghibli"),
    ("cat by gilbert & george", "gilbert"),
    ("Hokusai x Van Gogh", "hokusai gogh"),
    ("Klimt and Mucha style poster", "klimt mucha"),
    ("self portrait by frida kahlo", "kahlo"),
    ("a cat, Pieter Bruegel", "bruegel"),
    # suffixes and possessives
    ("castle, Klimt-style, gold", "klimt"),
    ("Hokusai-esque wave", "hokusai"),
    ("picassoesque face", "picasso"),
    ("a van-gogh-ish night", "gogh"),
    ("klimts gold", "klimt"),
    ("Klimt's The Kiss with cats", "klimt"),
    ("Monet's Water Lilies", "monet"),
    ("Michelangelo's David", "michelangelo"),
    ("inspired by Hokusai's Great Wave", "hokusai"),
    # ways of writing a name
    ("KLIMT", "klimt"),
    ("G. Klimt", "klimt"),
    ("jmw turner sea", "turner"),
    ("J. M. W. Turner sea", "turner"),
    ("Miyazaki Hayao", "ghibli"),
    ("#GregRutkowski", "rutkowski"),
    ("vangogh sky", "gogh"),
    ("Duerer hare", "dürer"),
    ("durer hare", "dürer"),
    # disguises
    ("Κlimt portrait", "klimt"),
    ("Kli\u200bmt portrait", "klimt"),
    ("van🌻gogh", "gogh"),
    ("Vincent 🎨 van 🎨 Gogh", "gogh"),
    ("kl1mt gold", "klimt"),
    ("g u s t a v k l i m t", "klimt"),
    ("𝕂𝕝𝕚𝕞𝕥 woman", "klimt"),
    ("Ｋｌｉｍｔ woman", "klimt"),
    # prompt syntax
    ("(greg rutkowski:1.3), castle", "rutkowski"),
    ("[klimt:mucha:0.5] woman", "klimt mucha"),
    ("[klimt|mucha] woman", "klimt mucha"),
    ("castle AND greg rutkowski", "rutkowski"),
    ("castle BREAK greg rutkowski", "rutkowski"),
    ("((klimt)), ((klimt)), klimt::3", "klimt"),
    ("a mix of Klimt and Mucha", "klimt mucha"),
    ("frederic church icebergs", "church"),
    ("a gallery full of Klimt paintings", "klimt"),
    ("frida style dress", "kahlo"),
    # misspellings
    ("gustav klimpt woman", "klimt"),
    ("climt-style woman", "klimt"),
    ("Gustave Klimt", "klimt"),
    ("rukowski dragon", "rutkowski"),
    ("michaelangelo ceiling", "michelangelo"),
    ("michel angelo ceiling", "michelangelo"),
    ("van gough stars", "gogh"),
    ("van goh", "gogh"),
    ("hieronymous bosh triptych", "bosch"),
    ("salvador dally clocks", "dali"),
    # other languages and scripts
    ("un château dans le style de Claude Monet", "monet"),
    ("ein Schloss im Stil von Dürer", "dürer"),
    ("un gato al estilo de Dalí", "dali"),
    ("un gatto nello stile di Leonardo da Vinci", "leonardo"),
    ("замок в стиле Климта", "klimt"),
    ("замок в стиле Дали", "dali"),
    ("ゴッホ風の猫", "gogh"),
    ("葛飾北斎の波", "hokusai"),
    # common words that say that they are names
    ("screaming pope by francis bacon", "bacon"),
    ("american gothic, grant wood, oil", "wood"),
    ("sunset by turner", "turner"),
    ("art by leonardo", "leonardo"),
    ("comic by Stan Lee", "lee"),
    ("max ernst forest", "ernst"),
    # beside what is no mention
    ("portrait of Frida Kahlo by Pablo Picasso", "picasso"),
    ("not by Klimt but by Mucha", "mucha"),
    ("not only Klimt but also Mucha", "klimt mucha"),
    ("portrait of Klimt in the style of Klimt", "klimt"),
]

NO_MENTIONS = [
    ("a portrait of Vincent van Gogh", Verdict.DEPICTED),
    ("statue of Michelangelo", Verdict.DEPICTED),
    ("Vincent van Gogh drinking coffee", Verdict.DEPICTED),
    ("Frida Kahlo and Diego Rivera dancing", Verdict.DEPICTED),
    ("a woman dressed as Frida Kahlo", Verdict.DEPICTED),
    ("a man who looks like Van Gogh", Verdict.DEPICTED),
    ("young Rembrandt smiling", Verdict.DEPICTED),
    ("not in the style of Klimt", Verdict.NEGATED),
    ("a castle, no klimt", Verdict.NEGATED),
    ("without any influence of Picasso", Verdict.NEGATED),
    ("(klimt:0) castle", Verdict.NEGATED),
    ("castle. Negative prompt: klimt", Verdict.NEGATED),
    ("the Turner Prize ceremony", Verdict.THING),
    ("Monet's garden in Giverny", Verdict.THING),
    ("Picasso Museum entrance", Verdict.THING),
    ("Van Gogh Cafe at night", Verdict.THING),
    ("rue Picasso in Paris", Verdict.THING),
    ("Bosch dishwasher", Verdict.THING),
    ("Rembrandt lighting, portrait of a man", Verdict.THING),
    ("a dragon by Alan Lee", None),
    ("art by Ernst Haas", Verdict.OTHER_PERSON),
    ("Theo van Gogh reading", Verdict.OTHER_PERSON),
    ("Helen Keller reading braille", Verdict.OTHER_PERSON),
    ("Leonardo DiCaprio in a suit", Verdict.OTHER_PERSON),
    ("leonardo dicaprio in a suit", Verdict.OTHER_PERSON),
    ("winter jay on a branch", Verdict.COMMON_WORD),
    ("breakfast with bacon and eggs", Verdict.COMMON_WORD),
    ("a table made of wood", Verdict.COMMON_WORD),
    ("surrounded by wood", Verdict.COMMON_WORD),
    ("a cottage by church", Verdict.COMMON_WORD),
    ("in the style of church windows", Verdict.COMMON_WORD),
    ("Michelangelo painting the Sistine Chapel", Verdict.DEPICTED),
    ("Stan Lee as Spider-Man", Verdict.DEPICTED),
    ("mucho gusto", Verdict.UNSURE),
    ("money on the table", None),
    ("claude manet picnic", None),
    ("the kiss, gold leaf, vienna", None),
    ("caravaggio", None),
    ("<lora:klimt_style:0.8> castle", None),
    ("", None),
    ("😀🎨", None),
]


def read(prompt: str) -> Reading:
    return read_prompt(prompt, NAMES)


@pytest.mark.parametrize(("prompt", "artists"), MENTIONS)
def test_mentions(prompt: str, artists: str) -> None:
    reading = read(prompt)
    assert list(reading.artists) == artists.split(), reading.findings


@pytest.mark.parametrize(("prompt", "verdict"), NO_MENTIONS)
def test_no_mentions(prompt: str, verdict: Verdict | None) -> None:
    reading = read(prompt)
    assert reading.artists == ()
    if verdict is not None:
        assert verdict in {finding.verdict for finding in reading.findings}, reading.findings


def test_a_finding_says_which_words_matched_which_alias_and_why() -> None:
    reading = read("a wave, Hokusai-esque, by Gustav Klimpt, portrait of Frida Kahlo")
    assert [(f.words, f.alias, f.rule, f.distance, f.verdict, f.why) for f in reading.findings] == [
        ("Hokusai-esque", "Katsushika Hokusai", Rule.SURNAME, 0, Verdict.MENTION, "followed by 'esque'"),
        ("Gustav Klimpt", "Gustav Klimt", Rule.NAME, 1, Verdict.MENTION, "preceded by 'by'"),
        ("Frida Kahlo", "Frida Kahlo", Rule.NAME, 0, Verdict.DEPICTED, "preceded by 'portrait of'"),
    ]
    for finding in reading.findings:
        assert reading.text[finding.start : finding.own_end] == finding.words


def test_an_artist_counts_once_in_the_order_of_naming() -> None:
    reading = read("mucha, klimt, Mucha, MUCHA, (mucha:1.9), Gustav Klimt")
    assert reading.artists == ("mucha", "klimt")
    assert len(reading.mentions) == 6


def test_a_name_past_the_window_is_flagged_and_earns_nothing() -> None:
    prompt = "a castle by Klimt and (Mucha:1.2)"
    for window_end, seen, beyond in [
        (len(prompt), ("klimt", "mucha"), ()),
        (prompt.index("Mucha") + 5, ("klimt", "mucha"), ()),
        (prompt.index("Mucha") + 4, ("klimt",), ("mucha",)),
        (5, (), ("klimt", "mucha")),
    ]:
        reading = read_prompt(prompt, NAMES, window_end=window_end)
        assert (reading.artists, reading.beyond_window) == (seen, beyond)


def test_two_artists_of_one_surname_need_a_first_name() -> None:
    names = NameIndex([NamedArtist("elder", "Lucas Holbein"), NamedArtist("younger", "Hans Holbein")])
    reading = read_prompt("a merchant by Holbein", names)
    assert [(f.artist_id, f.verdict) for f in reading.findings] == [("elder | younger", Verdict.AMBIGUOUS)]
    assert read_prompt("a merchant by Hans Holbein", names).artists == ("younger",)


def test_the_platform_may_name_artists_explicitly() -> None:
    assert read_prompt("breakfast with bacon", NAMES, explicit=["bacon"]).artists == ("bacon",)
    assert read_prompt("portrait of Frida Kahlo", NAMES, explicit=["kahlo"]).artists == ("kahlo",)
    assert read_prompt("not by Klimt", NAMES, explicit=["klimt"]).artists == ()
    assert read_prompt("a castle", NAMES, explicit=["klimt"]).artists == ()
    twins = NameIndex([NamedArtist("elder", "Lucas Holbein"), NamedArtist("younger", "Hans Holbein")])
    assert read_prompt("by Holbein", twins, explicit=["younger"]).artists == ("younger",)


def test_prompt_syntax_falls_away_and_the_rest_keeps_its_place() -> None:
    plain = plain_prompt("(a cat:1.2) [by|with] \\(x\\) <lora:a:1>")
    assert plain.text == "a cat by,with (x) "
    assert [plain.origin[plain.text.index(word)] for word in ("cat", "with")] == [3, 16]
    untouched = "a cat, by Klimt: gold; 16:9"
    assert plain_prompt(untouched).text == untouched


def test_folding() -> None:
    assert fold("Zdzisław BEKSIŃSKI") == fold("zdzislaw beksinski")
    assert fold("Łoś-Ærø ﬁ") == "losaerofi"
    assert fold("к l і m t") == "klimt"


def test_edit_distance() -> None:
    assert edit_distance("klimt", "klimt", 2) == 0
    assert edit_distance("kilmt", "klimt", 2) == 1  # neighbours swapped
    assert edit_distance("klimpt", "klimt", 2) == 1
    assert edit_distance("abcdef", "klimt", 2) is None


@pytest.mark.parametrize(
    "unit",
    [
        "klimt ",
        "a",
        "(",
        "van gog ",
        "<lora:",
        ":1.3",
        "\u200b",
        "k l i m t ",
        "é",
        "rutkowsky ",
        "[a:",
        "by ",
        "ﷺ",
        "北",
    ],
)
def test_a_hostile_prompt_is_read_quickly(unit: str) -> None:
    start = perf_counter()
    read(unit * (100_000 // len(unit)))
    assert perf_counter() - start < 5  # about 0.5 s on an idle core
