"""The game of one image: its players, its canonical prompt, and what every coalition is rendered with.

Players are content, the artists that the prompt names, and the owners of adapters and of pictures that the image was
made with; who is several of these is one player. Absence is deletion. Without its owner an adapter is not there, and
the base weights render; a picture is not there, and what sees it sees those of others, or nothing. The prompt of a
coalition is the canonical prompt without the words that name the absent. Content alone is the content's text with
nothing dangling; artists without content are "art by a and b"; nobody is "".
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from attribution.generation import Adapter, LoggedImagePrompt
from attribution.name_index import NameIndex
from attribution.prompt_reading import Finding, Reading, read_prompt
from attribution.prompt_words import split_words
from attribution.shapley import CONTENT_ID
from attribution.vocabulary import english

# No pattern here repeats a repetition: a hostile prompt costs linear time.
_SEPARATORS = " \t\r\n,;:|&+/×"
_CONNECTORS = "and|or|with|x|meets|vs|und|et|y|e|och|og|plus"
_ENDS_JOINED = re.compile(rf"(?<!\S)(?:{_CONNECTORS})$", re.IGNORECASE)
_ENDS_DANGLING = re.compile(rf"(?<!\S)(?:{_CONNECTORS}|by|in|of|the|a)$", re.IGNORECASE)
_BEGINS_JOINED = re.compile(rf"(?:{_CONNECTORS}|also)(?=\s)", re.IGNORECASE)
_ONLY_ART = re.compile(
    r"(?:^|(?<=,))\s?(?:art|artwork|artist|style|painted|drawn|works?)\s?(?=,|\.|$)", re.IGNORECASE
)
_COMMAS = re.compile(r"\s?,[\s,]*")
_SPACES = re.compile(r"\s{2,}")
_STOPS = re.compile(r"[\s,]?([.!?])(?:\s+[.!?])*")


@dataclass(frozen=True, slots=True)
class Game:
    """The players and prompts of one image. Bit 0 of a coalition is content, bit k the artist in slot k."""

    artists: tuple[str, ...]
    """Ids in the order of naming, then owners of adapters and of pictures as logged, each once: slot 1, 2, ..."""
    canonical_prompt: str
    """What the game is played on: cut to the text window, weights stripped, repeats removed, order kept."""
    reading: Reading
    text: str
    """The prompt within the window, repeats still in it."""
    mentions: tuple[Finding, ...]
    """Mentions of players within the window, repeats included."""
    made_with: tuple[Adapter, ...] = ()
    """Adapters of the image, as logged, with the artists whose they are now."""
    shown: tuple[LoggedImagePrompt, ...] = ()
    """Pictures that the image was made from, likewise."""

    @property
    def players(self) -> int:
        """n: the artists and content."""
        return len(self.artists) + 1

    @property
    def named(self) -> list[str]:
        """Ids of those whom the prompt names, in the order of naming."""
        return [mention.artist_id for mention in _once(self.mentions)]

    @property
    def player_ids(self) -> tuple[str, ...]:
        """Content's id and the artists', by slot."""
        return (CONTENT_ID, *self.artists)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompts of all 2^n coalitions by bitmask; the last is the canonical prompt."""
        return tuple(self.prompt(coalition) for coalition in range(1 << self.players))

    def prompt(self, coalition: int) -> str:
        """The prompt of one coalition."""
        if coalition == (1 << self.players) - 1:
            return self.canonical_prompt
        wanted = self._present(coalition)
        present = [mention for mention in _once(self.mentions) if mention.artist_id in wanted]
        if coalition & 1:
            return delete_mentions(self.text, self.mentions, present)
        return artists_alone([" ".join(self.text[m.start : m.end].split()) for m in present])

    def adapters(self, coalition: int) -> tuple[Adapter, ...]:
        """The adapters of one coalition: those of its members."""
        wanted = self._present(coalition)
        return tuple(adapter for adapter in self.made_with if adapter.artist in wanted)

    def image_prompts(self, coalition: int) -> tuple[LoggedImagePrompt, ...]:
        """The pictures that one coalition is made from: those of its members."""
        wanted = self._present(coalition)
        return tuple(prompt for prompt in self.shown if prompt.artist in wanted)

    def _present(self, coalition: int) -> set[str]:
        return {artist for slot, artist in enumerate(self.artists, 1) if coalition >> slot & 1}


def build_game(
    prompt: str,
    names: NameIndex,
    *,
    window_end: int | None = None,
    explicit: Collection[str] = (),
    recognised: Collection[str] | None = None,
    adapters: Sequence[Adapter] = (),
    image_prompts: Sequence[LoggedImagePrompt] = (),
    merged: Mapping[str, str] = MappingProxyType({}),
) -> Game:
    """Read a logged prompt and make its game.

    Args:
        prompt: As logged.
        names: The catalogue.
        window_end: Characters of `prompt` that fit the model's text window; None for all.
        explicit: Ids of artists that the platform says are named.
        recognised: Ids of artists this model knows; the words of others are content. None: all.
        adapters: what the image was made with; their owners play, whether the model knows their names or not.
        image_prompts: pictures it was made from; so do theirs.
        merged: who was merged into whom: what was one's is the other's.
    """
    reading = read_prompt(prompt, names, window_end=window_end, explicit=explicit)
    text = reading.text[: reading.window_end]
    mentions = tuple(
        mention
        for mention in reading.mentions
        if mention.in_window and (recognised is None or mention.artist_id in recognised)
    )
    once = _once(mentions)
    named = [mention.artist_id for mention in once]
    made_with = [one.model_copy(update={"artist": merged.get(one.artist, one.artist)}) for one in adapters]
    shown = [replace(one, artist=merged.get(one.artist, one.artist)) for one in image_prompts]
    owners = [*(one.artist for one in made_with), *(one.artist for one in shown)]
    return Game(
        artists=tuple(dict.fromkeys([*named, *owners])),
        canonical_prompt=delete_mentions(text, mentions, once),
        reading=reading,
        text=text,
        mentions=mentions,
        made_with=tuple(made_with),
        shown=tuple(shown),
    )


def _once(mentions: Sequence[Finding]) -> list[Finding]:
    """The first mention of each artist."""
    first: dict[str, Finding] = {}
    for mention in mentions:
        first.setdefault(mention.artist_id, mention)
    return list(first.values())


def artists_alone(names: Sequence[str]) -> str:
    """The prompt of artists without content: "art by a, b and c", "" for nobody."""
    if not names:
        return ""
    *others, last = names
    return f"art by {', '.join(others)} and {last}" if others else f"art by {last}"


def delete_mentions(text: str, mentions: Sequence[Finding], present: Sequence[Finding]) -> str:
    """The text without the mentions that are not `present`, and without what only they needed.

    A cue ("in the style of") stays while anybody of its list does. Where nobody is absent the text is unchanged.
    """
    if len(present) == len(mentions):
        return text
    kept = {mention.start for mention in present}
    pieces: list[str] = []
    at = 0
    for group in _lists(mentions):
        members = [mention for mention in group if mention.start in kept]
        start, end = group[0].cut_start, group[-1].cut_end
        before = text[at:start]
        if len(members) == len(group):
            rendered = text[start:end]
        elif members:
            rendered = text[start : group[0].start] + _rejoin(text, group, members)
        elif _list_goes_on(text, end):
            rendered = text[start : group[0].start]
            end = len(text) - len(_strip_start(text[end:]))
        else:
            rendered = ""
            before = _without_connector(before)
        pieces += [before, rendered]
        at = end
    return _tidy("".join(pieces) + text[at:])


def _lists(mentions: Sequence[Finding]) -> list[list[Finding]]:
    """Mentions that share one cue together."""
    lists: list[list[Finding]] = []
    for mention in mentions:
        if lists and mention.linked and mention.cut_start >= lists[-1][-1].own_end:
            lists[-1].append(mention)
        else:
            lists.append([mention])
    return lists


def _rejoin(text: str, group: Sequence[Finding], members: Sequence[Finding]) -> str:
    """The present members of a list with its separators, its last before the last, and the cue behind the list."""
    rendered = ""
    for mention in members:
        place = len(group) - 1 if mention is members[-1] else group.index(mention)
        if rendered:
            rendered += text[group[place - 1].own_end : group[place].start]
        rendered += text[mention.start : mention.own_end]
    return rendered + text[group[-1].own_end : group[-1].cut_end]


def _list_goes_on(text: str, end: int) -> bool:
    """Whether a name that is nobody's in the catalogue continues the list: then its cue is still needed."""
    joint = re.match(r"\s?(?:,|&|\+|/|and\b)\s?(?:and\b\s?)?(?=\w)", text[end : end + 40], re.IGNORECASE)
    if not joint:
        return False
    words = split_words(text[end + joint.end() : end + joint.end() + 60])[:1]
    if not words:
        return False
    word = words[0]
    return word.text.isalpha() and len(word.text) > 2 and word.text not in english() and word.capital


def _without_connector(before: str) -> str:
    """The text before a deleted name, without the "and" that joined them; a comma stays for what follows."""
    stem = _strip_end(before, _ENDS_JOINED)
    if not stem or stem == before:
        return stem
    return stem + (", " if "," in before[len(stem) :] else " ")


def _strip_end(text: str, dangling: re.Pattern[str]) -> str:
    """The text without separators and dangling words at its end."""
    while True:
        stripped = text.rstrip(_SEPARATORS)
        match = dangling.search(stripped, max(0, len(stripped) - 8))
        if match is None:
            return stripped
        text = stripped[: match.start()]


def _strip_start(text: str) -> str:
    """The text without separators and connectors at its beginning."""
    while True:
        text = text.lstrip(_SEPARATORS + ".")
        match = _BEGINS_JOINED.match(text)
        if match is None:
            return text
        text = text[match.end() :]


def _tidy(text: str) -> str:
    """Without doubled commas, stops and spaces, empty phrases, and words left dangling at either end."""
    before = None
    while before != text:
        before = text
        text = _SPACES.sub(" ", text)
        text = _COMMAS.sub(lambda match: match[0] if match[0] in (",", ", ") else ", ", text)
        text = _STOPS.sub(r"\1", text)
        text = _ONLY_ART.sub("", text)
        text = _strip_end(_strip_start(text), _ENDS_DANGLING)
    return text
