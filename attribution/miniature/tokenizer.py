"""A CLIP tokenizer that knows the miniature's words whole and spells everything else byte by byte."""

from collections.abc import Sequence
from itertools import pairwise

from transformers import CLIPTokenizer


def _byte_alphabet() -> list[str]:
    """The printable character that byte-level BPE writes for each of the 256 bytes, in byte order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = (byte for byte in range(256) if byte not in printable)
    codes = {byte: byte for byte in printable} | {byte: 256 + place for place, byte in enumerate(other)}
    return [chr(codes[byte]) for byte in range(256)]


def _merge(symbols: list[str], merges: dict[tuple[str, str], int]) -> list[str]:
    """Byte-pair encoding of one word: the earliest learnt pair is joined first, until none is left."""
    while len(symbols) > 1:
        pairs = list(pairwise(symbols))
        first = min(pairs, key=lambda pair: merges.get(pair, len(merges)))
        if first not in merges:
            break
        at = pairs.index(first)
        symbols = [*symbols[:at], "".join(first), *symbols[at + 2 :]]
    return symbols


def build_tokenizer(words: Sequence[str], length: int) -> CLIPTokenizer:
    """A tokenizer whose vocabulary is the bytes and each word whole; prompts are cut to `length` tokens."""
    symbols = _byte_alphabet()
    symbols += [f"{symbol}</w>" for symbol in symbols]
    vocabulary = {symbol: place for place, symbol in enumerate(symbols)}
    merges: dict[tuple[str, str], int] = {}
    for word in words:
        letters = [*word[:-1], f"{word[-1]}</w>"]
        # Joining what all merges so far leave of a word, not its letters, keeps them from breaking the word.
        while len(pieces := _merge(letters, merges)) > 1:
            merges[pieces[0], pieces[1]] = len(merges)
            vocabulary.setdefault(pieces[0] + pieces[1], len(vocabulary))
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    tokenizer = CLIPTokenizer(
        vocab=vocabulary, merges=list(merges), model_max_length=length, pad_token="<|endoftext|>"
    )
    # Built from files by keyword the class silently knows two tokens only, and every prompt becomes the same.
    if any(len(tokenizer(word).input_ids) != 3 for word in words):
        raise RuntimeError("the tokenizer does not know its words")
    return tokenizer
