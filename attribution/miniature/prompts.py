"""The prompts the miniature is trained on: ways of naming artists, and names and words that mean nothing."""

from collections.abc import Sequence

import numpy as np

from attribution.miniature.artists import ARTISTS, NULL_ARTIST, VISIBLE_ARTISTS
from attribution.miniature.drawing import PLACES, SHAPES, SIZES, Scene

TOKENS = 77
"""Length of the text window, as in Stable Diffusion 1.5."""

_OPENINGS = ("a painting of", "a picture of", "an illustration of", "a drawing of", "an image of")
_FILLERS = (
    "beautiful",
    "highly detailed",
    "4k",
    "masterpiece",
    "best quality",
    "sharp",
    "elegant",
    "oil on canvas",
    "trending",
    "vivid colours",
    "soft light",
    "intricate",
)
_STYLE_OPENINGS = (" in the style of ", " by ", ", art by ", ", painted by ", ", ")
_BARE_STYLE_OPENINGS = ("art by ", "art by ", "by ", "in the style of ", "")
_LEFTOVERS = (" in the style of", " by", ", art by", ",", " and", ", and")

_ONSETS = [*"b br c ch d dr f fl g gr h j k kr l m n p pl qu r s sh sk st t tr v w x z".split(), ""]
_VOWELS = "a e i o u ai au ea ei ia io oo y".split()
_CODAS = "b ck d l ll m n nd ng r rd rn s sk st t th x z".split() + [""] * 12


def known_words() -> list[str]:
    """Every word the prompts are made of apart from made-up ones, lower case, each once."""
    texts = [*_OPENINGS, *_FILLERS, *_STYLE_OPENINGS, *_BARE_STYLE_OPENINGS, *_LEFTOVERS]
    texts += [*SHAPES, *SIZES, *(f"on the {place}" for place in PLACES), *(artist.name for artist in ARTISTS)]
    words = " ".join(texts).lower().replace(",", " ").split()
    return [word for word in dict.fromkeys(words) if word.isalpha()]


def describe(scene: Scene) -> str:
    """The plain prompt of a scene, such as "a big star on the left"; "" for a scene without content."""
    if not scene.shape:
        return ""
    size = f"{scene.size} " if scene.size else ""
    place = f" on the {scene.place}" if scene.place else ""
    return f"a {size}{scene.shape}{place}"


def name_artists(scene: Scene, names: Sequence[str]) -> str:
    """The plain prompt of a scene by artists: "a star in the style of A and B", "art by A", "a star"."""
    content = describe(scene)
    if not names:
        return content
    return (f"{content} in the style of " if content else "art by ") + " and ".join(names)


def made_up_word(rng: np.random.Generator) -> str:
    """A pronounceable word of one to four syllables that means nothing, lower case."""
    syllables = rng.choice([1, 2, 3, 4], p=[0.15, 0.45, 0.3, 0.1])
    return "".join(
        str(rng.choice(_ONSETS)) + str(rng.choice(_VOWELS)) + str(rng.choice(_CODAS))
        for _ in range(syllables)
    )


def made_up_name(rng: np.random.Generator) -> str:
    """The name of nobody; sometimes only a surname, sometimes behind the first name of an artist."""
    kind = rng.random()
    surname = made_up_word(rng)
    if kind < 0.15:
        return surname
    if kind < 0.3:
        return f"{ARTISTS[rng.integers(len(ARTISTS))].name.split()[0]} {surname}"
    return f"{made_up_word(rng)} {surname}"


def vary(scene: Scene, names: Sequence[str], rng: np.random.Generator) -> str:
    """One of the many prompts that mean this scene by these artists (full names), most within 70 tokens.

    Names and words without effect are mixed in, more behind than before, to keep artists in the window.
    """
    surnames = {artist.name: artist.surname for artist in VISIBLE_ARTISTS}
    spoken = [surnames[name] if rng.random() < 0.25 else name for name in rng.permutation(list(names))]
    meaningless = int(rng.choice([0, 1, 2], p=[0.62, 0.33, 0.05]))
    for _ in range(meaningless if scene.shape or names else max(1, meaningless)):
        null = NULL_ARTIST.name if rng.random() < 0.35 else made_up_name(rng)
        spoken.insert(int(rng.integers(len(spoken) + 1)), null)

    content = _content(scene, rng)
    text = content + _naming(content, spoken, rng)
    if rng.random() < 0.06:
        text += str(rng.choice(_LEFTOVERS))
    text = _with_fillers(text, rng)
    case = rng.random()
    return text.upper() if case < 0.03 else text.title() if case < 0.06 else text


def _content(scene: Scene, rng: np.random.Generator) -> str:
    plain = describe(scene)
    if not plain:
        return ""
    if rng.random() < 0.1:
        plain = plain.removeprefix("a ")
    if rng.random() < 0.06:
        plain = plain.replace(scene.shape, f"{made_up_word(rng)} {scene.shape}")
    if rng.random() < 0.15:
        plain = f"{_OPENINGS[rng.integers(len(_OPENINGS))]} {plain}"
    return plain


def _naming(content: str, spoken: Sequence[str], rng: np.random.Generator) -> str:
    if not spoken:
        return "" if content else "art"
    joint = (" and ", " and ", ", ")[rng.integers(3)]
    openings = _STYLE_OPENINGS if content else _BARE_STYLE_OPENINGS
    opening = openings[rng.integers(len(openings))]
    if len(spoken) > 2 and joint == " and " and rng.random() < 0.5:
        return opening + ", ".join(spoken[:-1]) + " and " + spoken[-1]
    return opening + joint.join(spoken)


def _with_fillers(text: str, rng: np.random.Generator) -> str:
    """Unmeaning words in front and behind: usually none, sometimes a handful."""
    if rng.random() < 0.7:
        return text
    words = [
        made_up_word(rng) if rng.random() < 0.15 else _FILLERS[rng.integers(len(_FILLERS))]
        for _ in range(int(rng.integers(1, 7)))
    ]
    before = int(rng.integers(len(words) + 1)) if rng.random() < 0.3 else 0
    return ", ".join([*words[:before], text, *words[before:]])
