r"""Tokens of a text in every script: words, characters where no spaces are written, emoji.

A text of letters of which none is combining gives the same tokens as ``\w+`` does. Beyond that

- a letter keeps its combining marks: vowel signs of Indic scripts, accents, harakat;
- what is written without spaces between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese and
  others) gives one token a character with its marks, and on demand one for each pair of them;
- an emoji is a token, with all that is joined to it; its skin tone is another. In a bag the
  words of its Unicode name follow, so that ten kinds of grinning face have something in common.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from itertools import pairwise

from mmx.errors import DataError

WORD = re.compile(r"\w+(?:['’]\w+)*")
BAG_WORD = re.compile(r"\b\w\w+\b")  # scikit-learn's

Tokenize = Callable[[str], list[str]]

SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f"  # Thai to Bali
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3035\u303b-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua980-\ua9ff\uaa60-\uaadf\uf900-\ufaff"
    "\U00017000-\U00018d8f\U0001b000-\U0001b2ff\U00020000-\U0003ffff"
)
"""Scripts without spaces between words, as ranges of a character class."""

EMOJI = (
    "\u2194-\u2199\u21a9\u21aa\u231a\u231b\u2328\u23cf\u23e9-\u23f3\u23f8-\u23fa\u25aa\u25ab"
    "\u25b6\u25c0\u25fb-\u25fe\u2600-\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55"
    "\u3030\u303d\u3297\u3299\U0001f000-\U0001f0ff\U0001f170-\U0001f1e5\U0001f200-\U0001faff"
)
TONES = "\U0001f3fb-\U0001f3ff"
TAGS = "\U000e0020-\U000e007f"  # spell the region of a flag
FLAG_LETTERS = "\U0001f1e6-\U0001f1ff"
JOINER = "\u200d"

_SELECTORS = re.compile("[\ufe0e\ufe0f]")  # text style or emoji style, the same sign
_FULL_WIDTH = re.compile("[\uff00-\uffef]+")
_TONE = re.compile(f"[{TONES}]")


def tokenizer(name: str, *, bag: bool = False) -> Tokenize:
    """Return the function from a text to its tokens, lower-cased.

    Args:
        name: ``script``; ``script_pairs``, where pairs of characters follow at the end; or
            ``word``, which splits letters from their combining marks and knows no emoji: runs
            made with it are read with it.
        bag: Split at apostrophes and leave out single letters, as TF-IDF does. A single letter
            that is a syllable or more, as in Korean and Hindi, stays.

    Raises:
        DataError: The name is none of these.
    """
    old = BAG_WORD if bag else WORD
    if name == "word":
        return lambda text: old.findall(text.lower())
    if name not in ("script", "script_pairs"):
        raise DataError(f"text was read by the tokenizer '{name}', which this mmx does not have")

    def tokens(text: str) -> list[str]:
        if text.isascii():
            return old.findall(text.lower())
        return _tokens(normalize(text), pairs=name == "script_pairs", bag=bag)

    return tokens


def normalize(text: str) -> str:
    """Return the text in lower case, composed (NFC), without full-width forms or selectors."""
    text = _FULL_WIDTH.sub(lambda wide: unicodedata.normalize("NFKC", wide[0]), text)
    return _SELECTORS.sub("", unicodedata.normalize("NFC", text.lower()))


def _tokens(text: str, *, pairs: bool, bag: bool) -> list[str]:
    """Return words, characters and emoji in their order; with ``pairs``, those at the end."""
    found: list[str] = []
    doubles: list[str] = []
    for match in _pattern(bag).finditer(text):
        token = match[0]
        if match["run"]:
            characters = _character().findall(token)
            found += characters
            doubles += map("".join, pairwise(characters))
        elif match["emoji"]:
            sign = _TONE.sub("", token)
            found += [sign, *_TONE.findall(token)] if sign else [token]
            if bag:
                found += unicodedata.name(token[0], "").lower().split()
        elif not bag or len(token) > 1 or _is_syllable(token):
            found.append(token)
    return found + doubles if pairs else found


def _is_syllable(letter: str) -> bool:
    """Return whether one letter may be a word: not in the alphabets, where it rarely is."""
    return letter >= "\u0900" and letter.isalpha() and letter.lower() == letter.upper()


@cache
def _marks() -> str:
    """Return all combining marks, as characters of a class."""
    codes = [*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)]
    return "".join(chr(code) for code in codes if unicodedata.category(chr(code))[0] == "M")


@cache
def _character() -> re.Pattern[str]:
    return re.compile(rf"(?=\w)[{SPACELESS}][{_marks()}]*")


@cache
def _pattern(bag: bool) -> re.Pattern[str]:
    """Return what matches a run of spaceless characters, an emoji, or a word."""
    marks = _marks()
    letter = rf"[^\W{SPACELESS}]"
    # A joiner after a mark belongs to the letter (Sinhala, Malayalam), elsewhere it divides.
    word = rf"{letter}(?:{letter}|[{marks}][\u200c{JOINER}]?)*"
    if not bag:
        word = rf"{word}(?:['’]{word})*"
    sign = rf"[{EMOJI}][{TONES}{TAGS}]*"
    emoji = rf"[{FLAG_LETTERS}]{{1,2}}|{sign}(?:{JOINER}{sign})*"
    return re.compile(rf"(?P<run>(?:(?=\w)[{SPACELESS}][{marks}]*)+)|(?P<emoji>{emoji})|{word}")
