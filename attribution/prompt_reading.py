"""Which artists a prompt names, which words say so, and why other words that look like a name do not.

A mention is a name whose style is asked for. A person in the picture, a name taken back ("not in the style of"), a
place or thing called after somebody, another person with the same surname and a common word are looked at and passed
over, each with its reason. The first mention of an artist counts, whatever the repetition.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from attribution.name_index import Candidate, NameIndex, Pattern, Rule, edit_distance
from attribution.prompt_words import Word, plain_prompt, split_words, weight_at
from attribution.vocabulary import (
    ABROAD,
    ACTIONS,
    ADDRESSES,
    ADORNED,
    ART_NOUNS,
    ARTICLES,
    BELONGINGS,
    BETWEEN_CUE_AND_NAME,
    BETWEEN_DEPICTION_AND_NAME,
    BETWEEN_PEOPLE,
    COMPOUND_ACTIONS,
    CONNECTORS,
    CUE_PARTICIPLES,
    DEFINITE,
    DEPICTED_LEFT,
    DEPICTIONS,
    EPITHETS,
    GIVEN_NAMES,
    HYPHEN_ONLY,
    INSTITUTIONS,
    MADE_LIKE,
    MAKES,
    MIGHT,
    MOVED,
    NAMESAKES,
    NEGATED_RIGHT,
    NEGATION_REACH,
    NEGATION_UNDONE,
    NEGATIONS,
    NOT_ACTIONS,
    OCCUPATIONS,
    OF,
    OPENINGS,
    OWN,
    PARTICLES,
    PERSONAL,
    PLACE_PREPOSITIONS,
    PREFIXES,
    SHOWN_IN_WORKS,
    STRONG_BY,
    STYLE_LEFT,
    STYLE_RIGHT,
    STYLE_WITH,
    SUBJECTS,
    TERMS_OF_TRADE,
    THINGS_LEFT,
    TITLES,
    WHERE,
    YOUNGER,
    english,
    given_names,
    proper_names,
)

_WORDS_READ = 2_000
"""Words of a prompt that are read, many times the text window: a hostile prompt cannot keep a worker busy."""

_ABROAD = tuple((frozenset(tells.split()), frozenset(names.split())) for tells, names in ABROAD.values())

_LEFT_WORDS = 10
"""Words before a name that are looked at."""


_NEITHER = frozenset("or nor noch ni ou oder o ani ne of of eller nem neither also either".split())
"""Words that continue a list of names taken back."""

_EXCLUDES = frozenset(
    "no not without exclude excluding excluded avoid minus remove omit unwanted ban banned forbidden negative "
    "neg".split()
)
"""Words that open a list of what is not wanted, before a colon."""

_ALSO_ENGLISH = frozenset("sin".split())
"""Negations of other languages that are English words too."""

_ENGLISH_CUES = frozenset("by of in style art painted with from for and".split())

_BREAKS_A_NAME = frozenset("in on at by with and or of the a an for from to as style".split())
"""Words that no name of a place or product goes on with."""

_WHERE_ABROAD = frozenset("en in i v u nel nella dans sur chez em no na mit vor bei auf with w we ve".split())
_FUNCTION_WORDS = frozenset(
    "a an the in on at by with and or of for from to into onto over under behind near beside next through "
    "across around after before while as like up down out off away alone together his her their its is "
    "was who that which".split()
)
_WEAK_DEPICTIONS = frozenset("with featuring showing behind near beside about depicting".split()) | {
    "next to"
}
"""What may show a person, and as well what a style is added with: "with Hokusai waves"."""
_HYPHENS = "-\u2010\u2011"


class Verdict(StrEnum):
    """What words that match a name turn out to be."""

    MENTION = "mention"
    NEGATED = "taken back"
    DEPICTED = "person in the picture"
    THING = "place or thing"
    OTHER_PERSON = "another person"
    COMMON_WORD = "common word"
    UNSURE = "too little to go by"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True, slots=True)
class Finding:
    """Words of the prompt that match an artist's name, and what was made of them. Positions are in `Reading.text`."""

    artist_id: str
    """For an ambiguous name every artist it may mean, joined by " | "."""
    start: int
    end: int
    """The name as written, without possessive or suffix."""
    own_end: int
    """Its end with possessive or joined suffix ("'s", "-style")."""
    cut_start: int
    cut_end: int
    """What means nothing once the name is gone: its cue ("in the style of ", " style") with it."""
    linked: bool
    """Whether it continues the list of the mention before it ("by A, B and C")."""
    words: str
    alias: str
    rule: Rule
    distance: int
    """Edit distance of a misspelling, else 0."""
    verdict: Verdict
    why: str
    in_window: bool
    """Whether the model sees the whole name; one that does not fit the text window earns nothing."""

    @property
    def explanation(self) -> str:
        """One line for a person: which words, which alias, what they were taken for, and why."""
        slips = f", {self.distance} letter{'s' * (self.distance > 1)} off" if self.distance else ""
        window = "" if self.in_window else ", beyond the text window"
        return (
            f"{self.words!r} is the {self.rule} {self.alias!r} of {self.artist_id}{slips}:"
            f" {self.verdict}, {self.why}{window}"
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """What the reader found in one prompt."""

    text: str
    """The prompt without the syntax of weights, not cut."""
    window_end: int
    """How much of `text` the model sees, in characters."""
    findings: tuple[Finding, ...]
    """In the order of the text, mentions and others."""

    @property
    def mentions(self) -> tuple[Finding, ...]:
        """Every mention, repetitions and those past the window included."""
        return tuple(finding for finding in self.findings if finding.verdict is Verdict.MENTION)

    @property
    def passed_over(self) -> tuple[Finding, ...]:
        """What looks like a name and is no mention, with the reason."""
        return tuple(finding for finding in self.findings if finding.verdict is not Verdict.MENTION)

    @property
    def artists(self) -> tuple[str, ...]:
        """Ids of the artists mentioned within the window, in the order of naming, each once."""
        return tuple(dict.fromkeys(mention.artist_id for mention in self.mentions if mention.in_window))

    @property
    def beyond_window(self) -> tuple[str, ...]:
        """Ids of artists who are named only where the model does not see it: they earn nothing."""
        seen = set(self.artists)
        return tuple(dict.fromkeys(m.artist_id for m in self.mentions if m.artist_id not in seen))


def read_prompt(
    prompt: str, names: NameIndex, *, window_end: int | None = None, explicit: Collection[str] = ()
) -> Reading:
    """Read a prompt as logged.

    Args:
        prompt: Any text; time is linear in its length, and words past the 2,000th are not read.
        names: The catalogue.
        window_end: Characters of `prompt` that fit the model's text window; None for all of them.
        explicit: Ids of artists the platform says are named: where their names stand they count, even where the
            words alone would not be enough. A name that is not in the prompt cannot be taken out and earns nothing.
    """
    plain = plain_prompt(prompt)
    end = plain.cut(len(prompt) if window_end is None else window_end)
    words = split_words(plain.text, _WORDS_READ)
    reader = _Reader(plain.text, words, names, frozenset(explicit))
    findings = []
    for candidate in names.candidates(words):
        last = words[candidate.last].end
        weight = weight_at(prompt, plain.origin[last - 1] + 1)
        finding = reader.judge(candidate, taken_back=weight is not None and weight <= 0)
        findings.append(replace(finding, in_window=finding.end <= end))
    return Reading(plain.text, end, tuple(findings))


def _excluded(text: str, words: Sequence[Word]) -> frozenset[int]:
    """Indices of the words of a negative prompt pasted behind the prompt, and of a `--no` option's list."""
    excluded: set[int] = set()
    option = False
    for at, word in enumerate(words):
        if word.text == "negative" and at + 1 < len(words) and words[at + 1].text in ("prompt", "prompts"):
            return frozenset((*excluded, *range(at, len(words))))
        if word.start >= 2 and text[word.start - 2 : word.start] in ("--", " \u2014", "\u2014\u2014"):
            option = word.text == "no"
        elif word.gap == ":" and at > 0 and words[at - 1].text in _EXCLUDES:
            option = True
        elif option and any(sign in text[words[at - 1].end : word.start] for sign in ".;|\n"):
            option = False
        if option:
            excluded.add(at)
    return frozenset(excluded)


@dataclass(frozen=True, slots=True)
class _Cue:
    """A phrase beside a name that decides what it is."""

    kind: Verdict
    phrase: str
    first: int
    """Index of its first word."""


class _Reader:
    """Judges the candidates of one prompt from left to right, remembering the list they stand in."""

    def __init__(self, text: str, words: Sequence[Word], names: NameIndex, explicit: frozenset[str]) -> None:
        self._text = text
        self._words = words
        self._names = names
        self._explicit = explicit
        self._excluded = _excluded(text, words)
        self._texts = texts = frozenset(word.text for word in words)
        self._abroad = frozenset(
            name for tells, names_ in _ABROAD if len(tells & texts) >= 2 for name in names_
        )
        """Words of meaning in the language of the prompt, if that is not English."""
        self._before: tuple[Finding, Candidate] | None = None
        plain = [word.capital for word in words[1:] if word.text in english() or word.text in _FUNCTION_WORDS]
        self._capitals_tell = sum(plain) <= 0.7 * max(1, len(plain))
        """Capitals say nothing in a prompt that capitalises nearly every word."""

    def judge(self, candidate: Candidate, *, taken_back: bool) -> Finding:
        patterns = candidate.patterns
        sent = [pattern for pattern in patterns if pattern.artist_id in self._explicit]
        if len(sent) == 1:
            patterns = tuple(sent)
        pattern = patterns[0]
        link = self._link(candidate)
        left = self._left_cue(candidate)
        right = self._right_cue(candidate)
        if taken_back:
            verdict, why = Verdict.NEGATED, "its weight is not positive"
        else:
            verdict, why = self._verdict(candidate, pattern, len(patterns) > 1, link, left, right)
        if verdict not in (Verdict.MENTION, Verdict.NEGATED) and pattern.artist_id in self._explicit:
            verdict, why = Verdict.MENTION, f"sent by the platform ({why})"
        finding = self._finding(candidate, patterns, link, left, right, verdict, why)
        self._before = finding, candidate
        return finding

    def _verdict(
        self,
        candidate: Candidate,
        pattern: Pattern,
        ambiguous: bool,
        link: str,
        left: _Cue | None,
        right: str,
    ) -> tuple[Verdict, str]:
        if negation := self._negation(candidate):
            return Verdict.NEGATED, f"taken back by {negation!r}"
        before = self._before[0] if self._before else None
        if before and before.verdict is Verdict.NEGATED and self._continues_negation(candidate, link, left):
            return Verdict.NEGATED, "in the list of a name taken back"
        if other := self._other_person(candidate, pattern):
            return Verdict.OTHER_PERSON, other
        asked = left is not None and left.kind is Verdict.MENTION and left.phrase != "by"
        if not (asked and self._words[candidate.last].possessive) and (thing := self._thing(candidate)):
            return Verdict.THING, thing
        listed = before if link and before and not left else None
        style = left is not None and left.kind is Verdict.MENTION
        in_style_list = listed is not None and listed.verdict is Verdict.MENTION
        made = self._might_have_made(candidate)
        if made and not ambiguous:
            return Verdict.MENTION, f"followed by {made!r}"
        if self._is_common(candidate, pattern) and (
            doubt := self._doubt(candidate, pattern, left, right, in_style_list)
        ):
            return Verdict.COMMON_WORD, doubt
        if candidate.distance and self._is_short(pattern) and not (style or in_style_list or right):
            return Verdict.UNSURE, "a short word that is only nearly a name"
        if ambiguous:
            return Verdict.AMBIGUOUS, "the name of several artists"
        if right and right not in ART_NOUNS:
            return Verdict.MENTION, f"followed by {right!r}"
        if left is not None and style:
            return Verdict.MENTION, f"preceded by {left.phrase!r}"
        depicted_list = listed is not None and link == "and" and listed.verdict is Verdict.DEPICTED
        if listed is not None and (in_style_list or depicted_list):
            return listed.verdict, f"in a list with {listed.words!r}"
        if self._possessive_of_work(candidate):
            return Verdict.MENTION, "a work of the artist's"
        weak = left is not None and left.phrase in _WEAK_DEPICTIONS and self._is_no_person(candidate)
        if left is not None and not weak and not (right and self._by_its_maker(candidate, left)):
            return left.kind, f"preceded by {left.phrase!r}"
        if action := self._action_after(candidate, pattern):
            return Verdict.DEPICTED, f"followed by {action!r}"
        return Verdict.MENTION, f"followed by {right!r}" if right else "named"

    # What stands around the name.

    def _word(self, at: int) -> str:
        return self._words[at].text if 0 <= at < len(self._words) else ""

    def _breaks(self, at: int, gaps: str = ",:&") -> bool:
        """Whether a break lies before the word, or the text ends there."""
        return not 0 < at < len(self._words) or (self._words[at].gap != "" and self._words[at].gap in gaps)

    def _segment_start(self, first: int) -> int:
        """Index of the first word of the phrase that a word stands in; a colon after a cue does not end it."""
        at = first
        while at > 0 and first - at < _LEFT_WORDS:
            gap = self._words[at].gap
            if gap in (",", "&") or (gap == ":" and (self._word(at - 1),) not in STYLE_LEFT):
                break
            at -= 1
        return at

    def _link(self, candidate: Candidate) -> str:
        """How the name continues the list of the one before: "and", ",", or "" if it does not."""
        if self._before is None:
            return ""
        start = self._before[1].last + 1
        between = range(start, candidate.first)
        if len(between) > 4:
            return ""
        if (
            start < len(self._words)
            and self._words[start].gap in ("", " ")
            and self._word(start) in STYLE_RIGHT
        ):
            between = range(start + 1, candidate.first)
        words = [self._word(at) for at in between]
        if not all(word in CONNECTORS or word in BETWEEN_CUE_AND_NAME for word in words):
            return ""
        gaps = [self._words[at].gap for at in (*between, candidate.first)]
        if any(word in CONNECTORS for word in words) or "&" in gaps:
            return "and"
        return "," if "," in gaps and not words else ""

    def _negation(self, candidate: Candidate) -> str:
        if candidate.first in self._excluded:
            return "negative prompt"
        start = self._segment_start(candidate.first)
        for at in range(candidate.first - 1, start - 1, -1):
            for before in range(max(start, at - 3), at + 1):
                undone = self._starts(before, NEGATION_UNDONE, len(self._words))
                if undone and before + undone.count(" ") >= at:
                    return ""
            if phrase := self._starts(at, NEGATIONS, candidate.first):
                return "" if phrase in _ALSO_ENGLISH and self._word(at + 1) in _ENGLISH_CUES else phrase
            if self._word(at) not in NEGATION_REACH:
                break
        at = candidate.last + 1
        while self._word(at) in STYLE_RIGHT and not self._breaks(at):
            at += 1
        if self._breaks(at):
            return ""
        phrase = self._starts(at, NEGATED_RIGHT, len(self._words))
        joined = self._words[at].gap == ""
        return phrase if phrase and (joined or phrase not in ("free", "less")) else ""

    def _starts(self, at: int, phrases: frozenset[tuple[str, ...]], end: int) -> str:
        """The longest of the phrases that stands at the word and ends before `end`, or ""."""
        for length in range(min(4, end - at), 0, -1):
            phrase = tuple(self._word(i) for i in range(at, at + length))
            if phrase in phrases:
                return " ".join(phrase)
        return ""

    def _continues_negation(self, candidate: Candidate, link: str, left: _Cue | None) -> bool:
        """Whether a name stands in one list with the name before it that is taken back: "no A or B"."""
        if link == "and" and not left:
            return True
        assert self._before is not None
        between = [self._word(at) for at in range(self._before[1].last + 1, candidate.first)]
        return (
            0 < len(between) <= 6
            and any(word in _NEITHER for word in between)
            and all(word in NEGATION_REACH or word in _NEITHER for word in between)
        )

    def _might_have_made(self, candidate: Candidate) -> str:
        """What says that the artist made the picture: "as A and B might have painted it", "a view Hopper painted"."""
        at = candidate.last + 1
        steps = 0
        while steps < 8 and (self._word(at) in CONNECTORS or (self._capital_at(at) and not self._breaks(at))):
            at += 1
            steps += 1
        first = at
        while self._word(at) in MIGHT and not self._breaks(at):
            at += 1
        word = self._word(at)
        if self._breaks(at) or word not in MAKES:
            return ""
        if at > first:
            return f"{self._word(first)} {word}" if word not in ("see", "make") else ""
        behind = self._word(at + 1)
        start = max(self._segment_start(candidate.first), candidate.first - 6)
        opened = any(
            self._word(i) in ("as", "if", "that", "like", "what", "how")
            for i in range(start, candidate.first)
        )
        return word if opened and behind not in ("by", "as", "like") else ""

    def _capital_at(self, at: int) -> bool:
        return at < len(self._words) and self._words[at].capital

    def _left_cue(self, candidate: Candidate) -> _Cue | None:
        start = self._segment_start(candidate.first)
        for kind, phrases, between in (
            (Verdict.MENTION, STYLE_LEFT, BETWEEN_CUE_AND_NAME),
            (Verdict.DEPICTED, DEPICTED_LEFT, BETWEEN_DEPICTION_AND_NAME),
        ):
            end = candidate.first
            while end > start:
                cue = self._phrase_before(start, end, phrases, kind)
                if cue is not None:
                    return cue
                if self._word(end - 1) not in between:
                    break
                end -= 1
        at = candidate.first - 1
        if at > start and self._word(at) == "between" and self._word(at - 1) in BETWEEN_PEOPLE:
            return _Cue(Verdict.DEPICTED, f"{self._word(at - 1)} between", at - 1)
        return self._of_before(start, candidate.first)

    def _phrase_before(
        self, start: int, end: int, phrases: frozenset[tuple[str, ...]], kind: Verdict
    ) -> _Cue | None:
        for length in range(min(4, end - start), 0, -1):
            phrase = tuple(self._word(at) for at in range(end - length, end))
            if phrase not in phrases:
                continue
            first = end - length
            earlier = self._word(first - 1) if first > start else ""
            text = " ".join(phrase)
            if kind is Verdict.MENTION:
                if phrase == ("by",) and earlier in ("standing", "sitting", "walking", "near", "waiting"):
                    return _Cue(Verdict.DEPICTED, f"{earlier} by", first)
                if phrase == ("like",) and earlier in ("looks", "look", "looking", "dressed"):
                    by_work = self._word(end) in ARTICLES
                    return _Cue(kind if by_work else Verdict.DEPICTED, f"{earlier} like", first - 1)
                if phrase in (("von",), ("art", "of"), ("work", "of")) and earlier in DEPICTIONS:
                    continue
            elif phrase == ("with",) and earlier in STYLE_WITH:
                return _Cue(Verdict.MENTION, f"{earlier} with", first)
            elif phrase == ("as",) and earlier in ("same", "such", "known", "style"):
                continue
            return _Cue(kind, text, first)
        return None

    def _of_before(self, start: int, end: int) -> _Cue | None:
        """Portrait of, eyes of: a name behind "of" is the person; works of hers have "the" or stand in the plural."""
        while (
            end > start
            and self._word(end - 1) in BETWEEN_DEPICTION_AND_NAME
            and self._word(end - 1) not in OF
        ):
            end -= 1
        if end > start and self._word(end - 1) == "portret":
            return _Cue(Verdict.DEPICTED, "portret", end - 1)
        if end - 1 <= start or self._word(end - 1) not in OF:
            return None
        at = end - 2
        noun, of = self._word(at), self._word(end - 1)
        depicted = _Cue(Verdict.DEPICTED, f"{noun} {of}", at)
        if noun in DEPICTIONS or noun.removesuffix("s") in DEPICTIONS:
            return depicted
        if of != "of":
            # An adjective stands behind its noun: "retrato fotográfico de".
            behind = at > start and self._word(at - 1) in DEPICTIONS and noun not in english()
            return depicted if behind else None
        if noun in PERSONAL:
            return depicted
        plural = noun.endswith("s") and not noun.endswith("ss")
        definite = any(self._word(i) == "the" for i in range(max(start, at - 3), at))
        portrayed = any(self._word(i) in DEPICTIONS for i in range(max(start, at - 3), at))
        if (plural or definite) and not portrayed:
            return _Cue(Verdict.MENTION, of, end - 1)
        return depicted

    def _right_cue(self, candidate: Candidate) -> str:
        """The suffix or the word behind the name that makes it one of style or of art, or ""."""
        if candidate.suffix not in ("", "s"):
            return candidate.suffix
        at = candidate.last + 1
        if self._breaks(at):
            return ""
        word, joined = self._word(at), self._words[at].gap == ""
        if word in STYLE_RIGHT and (joined or word not in HYPHEN_ONLY):
            return word
        if word == "x" or word not in ART_NOUNS:
            return ""
        following = self._word(at + 1) if not self._breaks(at + 1) else ""
        return following if following in ("style", "styled", "technique", "aesthetic") else word

    def _is_no_person(self, candidate: Candidate) -> bool:
        """Whether the name is a work's, "next to a Monet", or says how things look: "with Hokusai waves"."""
        if candidate.first > 0 and self._word(candidate.first - 1) in ("a", "an"):
            return True
        at = candidate.last + 1
        word = self._word(at)
        plain = word in english() and not self._capital_at(at) and word not in _FUNCTION_WORDS | ACTIONS
        return plain and not self._breaks(at) and not self._is_action(word)

    def _by_its_maker(self, candidate: Candidate, left: _Cue) -> bool:
        """Photo of a Klimt painting, full of Klimt paintings: the name before a kind of work is its maker's."""
        return self._word(candidate.first - 1) in ARTICLES or left.phrase.split()[0] not in DEPICTIONS

    def _is_short(self, pattern: Pattern) -> bool:
        return len(pattern.words) == 1 and len(pattern.words[0]) < 6

    def _possessive_of_work(self, candidate: Candidate) -> bool:
        return self._words[candidate.last].possessive and not self._breaks(candidate.last + 1, ",:")

    def _thing(self, candidate: Candidate) -> str:
        at = candidate.last + 1
        if candidate.first > 0 and not self._breaks(candidate.first) and not candidate.suffix:
            left = self._word(candidate.first - 1)
            of = left in OF and candidate.first > 1
            noun = self._word(candidate.first - 2) if of else left
            if noun in THINGS_LEFT:
                return f"preceded by {noun!r}"
        if self._breaks(at) or candidate.suffix:
            return ""
        word, last = self._word(at), self._words[candidate.last]
        name = "".join(self._word(i) for i in range(candidate.first, at))
        if word in TERMS_OF_TRADE.get(name, ()) and not last.possessive and self._words[at].gap != ",":
            return f"'{name} {word}' is a term of a trade"
        return self._possession(candidate) if last.possessive else self._namesake(candidate)

    def _possession(self, candidate: Candidate) -> str:
        """What was somebody's own, "Monet's garden"; a title in capitals is a work, "Bruegel's Tower of Babel"."""
        at = candidate.last + 1
        if self._capitals_tell and self._words[at].capital and self._words[candidate.first].capital:
            return ""
        for steps in range(3):
            word = self._word(at + steps)
            if steps and self._breaks(at + steps):
                break
            if word in INSTITUTIONS or (word in BELONGINGS and word not in SHOWN_IN_WORKS):
                following = self._word(at + steps + 1) if not self._breaks(at + steps + 1) else ""
                return "" if following in STYLE_RIGHT - HYPHEN_ONLY else f"followed by {word!r}"
            if word not in english() or word in ART_NOUNS or word in _ENGLISH_CUES or word in STYLE_RIGHT:
                break
        return ""

    def _namesake(self, candidate: Candidate) -> str:
        """A place or thing called after somebody: "Turner Prize", "Van Gogh Cafe", "Bosch cordless drill"."""
        at = candidate.last + 1
        last = self._words[candidate.last]
        for steps in range(3):
            word = self._word(at + steps)
            if self._breaks(at + steps):
                break
            named_so = self._capitals_tell and self._words[at + steps].capital and last.capital
            address = (
                steps == 0
                and word in ADDRESSES
                and self._breaks(candidate.first)
                and self._word(at + 1) in ("in", "at")
            )
            if word in INSTITUTIONS or (word in BELONGINGS and named_so) or address:
                following = self._word(at + steps + 1) if not self._breaks(at + steps + 1) else ""
                return "" if following in STYLE_RIGHT - HYPHEN_ONLY else f"followed by {word!r}"
            passes = word in english() and word not in _BREAKS_A_NAME | ART_NOUNS | STYLE_RIGHT | ACTIONS
            if not passes or self._is_action(word):
                break
        return ""

    def _other_person(self, candidate: Candidate, pattern: Pattern) -> str:
        """Whether a surname or a lone given name stands beside the other half of somebody else's name."""
        own = self._names.own_words(pattern.artist_id)
        words = self._words
        first, last = candidate.first, candidate.last
        at = last + 1
        if other := self._epithet(candidate, pattern, own) or self._namesake_person(candidate):
            return other
        given_alone = len(pattern.words) == 1 and pattern.words[0] in given_names()
        if len(pattern.words) > 1 and pattern.rule is not Rule.SURNAME and not _is_surname(pattern, own):
            return ""
        taken = self._before[1].last if self._before else -1
        if first - 1 > taken and words[first].gap in ("", " ") and first > 0:
            word = words[first - 1]
            initial = len(word.text) == 1 and word.capital and word.text not in ("a", "i", "x")
            if initial and not any(name.startswith(word.text) for name in own):
                return f"initial {word.text.upper()!r} is not the artist's"
            if self._is_given_name(first - 1, own):
                return f"{self._text[word.start : words[last].end]!r} is somebody else"
            if word.text in TITLES and not word.possessive and not self._left_style(first - 1):
                return f"{self._text[word.start : words[last].end]!r} is a person of that name"
        if given_alone and not words[last].possessive and at < len(words) and words[at].gap == " ":
            text = words[at].text
            known = text in english() or text in own or text in STYLE_RIGHT or text in CONNECTORS
            common = pattern.words[0] in GIVEN_NAMES
            both = self._capitals_tell and words[at].capital and words[last].capital
            if (
                not known
                and text not in SUBJECTS
                and (
                    (common and (words[at].capital or text in proper_names() or not words[last].capital))
                    or both
                )
            ):
                return f"{self._text[words[first].start : words[at].end]!r} is somebody else"
        if at < len(words) and words[at].gap == "" and self._text[words[last].end] in _HYPHENS:
            text = words[at].text
            if words[at].capital and text in given_names() | proper_names() and text not in own:
                return f"{self._text[words[first].start : words[at].end]!r} is somebody else"
        return ""

    def _epithet(self, candidate: Candidate, pattern: Pattern, own: frozenset[str]) -> str:
        """Whether "the Elder", "Jr" behind a name says that it is another of the family."""
        at = candidate.last + 1
        if self._word(at) in DEFINITE and not self._breaks(at):
            at += 1
        word = self._word(at)
        if word not in EPITHETS or at == len(self._words) or self._words[at].gap in (":", "&"):
            return ""
        if self._words[at].gap == "," and word not in ("jr", "sr"):
            return ""
        if word in own or word in pattern.words:
            return ""
        # Of an artist whose names have no epithet, only a younger namesake is another person.
        other = own & EPITHETS or word in YOUNGER
        return f"{word!r} is another of the name" if other else ""

    def _namesake_person(self, candidate: Candidate) -> str:
        """Whether the prompt says whom else the name means: "Francis Bacon the philosopher"."""
        at = candidate.last + 1
        if self._word(at) == "the" and self._word(at + 1) in OCCUPATIONS and not self._breaks(at + 1):
            return f"'the {self._word(at + 1)}' is another of the name"
        before = "" if self._breaks(candidate.first) else self._word(candidate.first - 1)
        if before in OCCUPATIONS and candidate.last > candidate.first:
            return f"{before!r} is another of the name"
        name = self._word(candidate.first)
        if candidate.first == candidate.last and not self._left_style(candidate.first):
            for tells, namesakes in NAMESAKES:
                if name in namesakes and (told := tells & self._texts):
                    return f"with {min(told)!r} another of the name"
        return ""

    def _left_style(self, end: int) -> bool:
        return any(self._word(at) in ("by", "style", "manner") for at in range(max(0, end - 4), end))

    def _is_given_name(self, at: int, own: frozenset[str]) -> bool:
        word = self._words[at]
        text = word.text
        joined = self._words[at + 1].gap == "" and text in PREFIXES
        if (
            joined
            or word.possessive
            or text in CONNECTORS
            or any(_same_given_name(text, name) for name in own)
        ):
            return False
        capitals = self._capitals_tell and word.capital and self._words[at + 1].capital
        if text in given_names():
            return text not in english() or capitals
        unknown = text.isalpha() and len(text) > 2 and text not in english() and text not in proper_names()
        return unknown and capitals and at > 0 and (text,) not in STYLE_LEFT

    def _is_common(self, candidate: Candidate, pattern: Pattern) -> bool:
        """Whether every word of the name is also a word of the language, or it is a given name alone."""
        parts = [self._word(at) for at in range(candidate.first, candidate.last + 1)]
        if candidate.suffix:
            parts[-1] = parts[-1].removesuffix(candidate.suffix)
        given = given_names() if pattern.rule is Rule.SURNAME else GIVEN_NAMES
        lone_given = len(parts) == 1 and parts[0] in given
        if pattern.rule is Rule.REVERSED and any(part in english() for part in parts):
            return True
        return lone_given or all(
            part in english() or part in PARTICLES or part in self._abroad for part in parts
        )

    def _doubt(
        self, candidate: Candidate, pattern: Pattern, left: _Cue | None, right: str, in_style_list: bool
    ) -> str:
        """Why words that are also common words are no name here, or ""."""
        first, last = candidate.first, candidate.last
        words = self._words[first : last + 1]
        capital = self._capitals_tell and all(word.capital for word in words) and first > 0
        behind = "" if self._breaks(last + 1) else self._word(last + 1)
        ends = behind == "" or behind in CONNECTORS
        alone = self._breaks(first) and ends
        if in_style_list or (capital and right in ("esque", "inspired", "style", "styled", "ish")):
            return ""
        style = left is not None and left.kind is Verdict.MENTION
        if capital and (style or len(words) > 1 or alone or self._is_name_by_capital(candidate)):
            return ""
        if words[-1].possessive and self._capitals_tell and words[0].capital and self._capital_at(last + 1):
            return ""  # a title: "Munch's The Scream"
        if (alone or style) and len(words) > 1 and words[0].text in GIVEN_NAMES:
            return ""
        if (
            words[0].text not in english()
            and (alone or right in STYLE_RIGHT)
            and pattern.rule is not Rule.SURNAME
        ):
            return ""  # a given name that the catalogue lists as an alias
        if left and style and left.first + len(left.phrase.split()) == first and ends:
            earlier = self._word(left.first - 1) if left.first > 0 else ""
            if left.phrase != "by" and left.phrase.split()[-1] in ("of", "by", "artist", "painter"):
                return ""
            # "by" behind another participle is a place or a means: "surrounded by wood", "made by hand".
            means = earlier.endswith(("ed", "en", "ing", "lit")) or words[-1].text in WHERE
            if left.phrase == "by" and (earlier in STRONG_BY or not means):
                return ""
        if right in ART_NOUNS and pattern.rule is Rule.ALIAS:
            return ""
        if right == "esque" or (right in ("style", "inspired") and len(words) > 1):
            return ""
        return "words of the language, and nothing says that an artist is meant"

    def _is_name_by_capital(self, candidate: Candidate) -> bool:
        """Whether a capital within a phrase of small words makes a common word a name: "a Hopper diner"."""
        around = (candidate.first - 1, candidate.last + 1)
        return not self._breaks(candidate.first) and not (
            self._abroad
            or self._word(candidate.last + 1) == "of"
            or any(self._capital_at(at) and not self._breaks(max(at, candidate.first)) for at in around)
        )

    def _action_after(self, candidate: Candidate, pattern: Pattern) -> str:
        at = candidate.last + 1
        if self._word(at) == "aged" or (self._word(at) == "age" and self._word(at + 1).isdigit()):
            return self._word(at)
        if self._breaks(at, ",:"):
            return ""
        word = self._word(at)
        if word == "and":  # "Frida Kahlo and Diego Rivera dancing"
            while at + 1 < len(self._words) and at < candidate.last + 5 and not self._breaks(at + 1):
                at += 1
                word = self._word(at)
                if not self._words[at].capital and word in english():
                    break
        following = self._word(at + 1) if not self._breaks(at + 1) else ""
        described = word in MOVED and following in english() and following not in _FUNCTION_WORDS
        if described and not following.endswith("ly"):
            return ""
        if word in ACTIONS and word not in ("painting", "as"):
            return word
        if word == "as" and following not in ("if", "inspiration", "imagined", "reference", "seen"):
            return "as"
        if word == "painting" and following in ARTICLES | OWN | {"the", "outside", "outdoors"}:
            return "painting"
        if word in MADE_LIKE and following in ("by", "as", "in", "like", "with"):
            return f"{word} {following}"
        if self._is_action(word):
            return word
        if following and self._is_action(following) and (word in COMPOUND_ACTIONS or word.endswith("ly")):
            return f"{word} {following}"
        whose = following in OWN or self._word(at + 2) in OWN
        if word in PLACE_PREPOSITIONS | _WHERE_ABROAD and whose and not self._breaks(at + 2):
            return f"{word} {following}"
        if not self._breaks(candidate.first):
            return ""
        if word == "at" and following in ("age", "his", "her", "home", "work", "the"):
            return f"at {following}"
        if word == "with" and following and not self._style_is_added(at + 1):
            return "with" if len(pattern.words) > 1 or following in ARTICLES | OWN else ""
        return word if word in PLACE_PREPOSITIONS and following in ARTICLES | {"the"} else ""

    def _is_action(self, word: str) -> bool:
        return (
            word.endswith("ing") and word in english() and word not in NOT_ACTIONS and word not in ART_NOUNS
        )

    def _style_is_added(self, at: int) -> bool:
        """Whether "with" adds to a style, "Klimt with neon colours", rather than that a person has something."""
        for i in range(at, min(at + 4, len(self._words))):
            if i > at and self._breaks(i):
                break
            if (
                self._word(i) in ADORNED
                or self._word(i) in STYLE_RIGHT
                or self._names.is_name(self._words[i])
            ):
                return True
        return False

    def _finding(
        self,
        candidate: Candidate,
        patterns: Sequence[Pattern],
        link: str,
        left: _Cue | None,
        right: str,
        verdict: Verdict,
        why: str,
    ) -> Finding:
        first, last = self._words[candidate.first], self._words[candidate.last]
        end = last.end - len(candidate.suffix)
        own_end = last.possessive_end
        at = candidate.last + 1
        styled = right in STYLE_RIGHT and not candidate.suffix
        if styled and self._words[at].gap == "":
            own_end = self._words[at].end
        cut_end = own_end
        if styled:
            cut_end = max(cut_end, self._words[at if self._word(at) == right else at + 1].end)
        cut_start = first.start
        if left is not None and left.kind is Verdict.MENTION:
            cut_start = self._words[self._cue_start(left)].start
        elif right in ("style", "aesthetic", "manner", "technique", "stil", "stijl"):
            cut_start = self._words[self._opening(candidate.first)].start
        return Finding(
            artist_id=" | ".join(pattern.artist_id for pattern in patterns),
            start=first.start,
            end=end,
            own_end=own_end,
            cut_start=cut_start,
            cut_end=cut_end,
            linked=bool(link) and left is None,
            words=self._text[first.start : own_end],
            alias=patterns[0].alias,
            rule=patterns[0].rule,
            distance=candidate.distance,
            verdict=verdict,
            why=why,
            in_window=True,
        )

    def _cue_start(self, cue: _Cue) -> int:
        """Index of the first word that dangles without the name: "in the" style of, "painted" by, "a" mix of."""
        start = self._segment_start(cue.first)
        if cue.phrase.startswith("art ") and cue.first > start:
            return cue.first + 1  # "fantasy art by": the art is content
        at = cue.first
        while at > start and self._word(at - 1) in (*CUE_PARTICIPLES, "as", "if", "heavily"):
            at -= 1
        opened = self._opening(at)
        if opened == at and at > start and self._word(at - 1) in ARTICLES | {"the"}:
            return at - 1
        while opened > start and self._word(opened - 1) in CUE_PARTICIPLES:
            opened -= 1
        return opened

    def _opening(self, at: int) -> int:
        """Where a phrase such as "in the" begins that ends before the word, or the word itself."""
        start = self._segment_start(at)
        if at > start and self._word(at - 1) in OPENINGS:
            return at - 1
        if at - 1 > start and self._word(at - 1) in ARTICLES | DEFINITE and self._word(at - 2) in OPENINGS:
            return at - 2
        return at


def _is_surname(pattern: Pattern, own: frozenset[str]) -> bool:
    """Whether an alias of several words is a surname with its particle, such as "van Gogh"."""
    return len(own) > len(pattern.words) and pattern.words[0] in PARTICLES


def _same_given_name(written: str, name: str) -> bool:
    """Whether two given names may be one person's: equal, a short form, or a letter apart."""
    short, long = sorted((written, name), key=len)
    if len(short) >= 3 and long.startswith(short):
        return True
    return min(len(written), len(name)) >= 4 and edit_distance(written, name, 1) is not None
