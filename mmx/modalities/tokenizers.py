r"""Tokens of a text in any script: words, characters of scripts without spaces, and emoji.

A text of letters without combining marks has the same tokens as with ``\w+``. In addition,

- a letter keeps its combining marks: vowel signs of Indic scripts, accents, harakat;
- a script without spaces between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese and
  others) gives one token for each character with its marks and, on request, one for each pair
  of characters;
- an emoji with everything joined to it is one token, and its skin tone is another. In a bag of
  words, the words of its Unicode name follow, so that similar emoji share tokens.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from itertools import pairwise

from mmx.errors import DataError

WORD = re.compile(r"\w+(?:['’]\w+)*")
BAG_WORD = re.compile(r"\b\w\w+\b")  # as in scikit-learn

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

_SIGN = rf"[{EMOJI}][{TONES}{TAGS}]*"
_EMOJI_RUN = rf"(?:[{FLAG_LETTERS}]{{1,2}}|{_SIGN}(?:{JOINER}{_SIGN})*)"
_BLANKS = re.compile(r"\s+")
_SELECTORS = re.compile("[\ufe0e\ufe0f]")  # text style or emoji style, the same sign
_FULL_WIDTH = re.compile("[\uff00-\uffef]+")
_TONE = re.compile(f"[{TONES}]")


def make_tokenizer(name: str, *, bag: bool = False) -> Tokenize:
    """Return the function that splits a text into lower-case tokens.

    Args:
        name: ``script``; ``script_pairs``, which adds pairs of characters at the end;
            ``char``, which returns every character with its marks, blanks and signs too; or
            ``word``, which splits letters from their combining marks and ignores emoji, for
            runs that were made with it.
        bag: Split at apostrophes and drop single letters, as TF-IDF does. A single letter that
            is a syllable or a word, as in Korean and Hindi, is kept.

    Raises:
        DataError: The name is unknown.
    """
    old = BAG_WORD if bag else WORD
    if name == "word":
        return lambda text: old.findall(text.lower())
    if name == "char":
        return split_characters
    if name not in ("script", "script_pairs"):
        raise DataError(f"text was read by the tokenizer '{name}', which this mmx does not have")

    def tokens(text: str) -> list[str]:
        if text.isascii():  # the same tokens, and much faster
            return old.findall(text.lower())
        return _split_text(normalize_text(text), pairs=name == "script_pairs", bag=bag)

    return tokens


def normalize_text(text: str) -> str:
    """Return the text in lower case, in NFC, without full-width forms and variation selectors."""
    text = _FULL_WIDTH.sub(lambda wide: unicodedata.normalize("NFKC", wide[0]), text)
    return _SELECTORS.sub("", unicodedata.normalize("NFC", text.lower()))


def split_characters(text: str) -> list[str]:
    """Return every character of a text in lower case, with its combining marks.

    An emoji with everything joined to it is one character, and so is any run of white space.
    """
    text = _BLANKS.sub(" ", text)
    if text.isascii():
        return list(text.lower())
    return _compile_cluster().findall(normalize_text(text))


def make_ngrams(characters: list[str], least: int, most: int) -> list[str]:
    """Return all runs of ``least`` to ``most`` characters, as scikit-learn's ``char`` does."""
    return [
        "".join(characters[start : start + length])
        for length in range(least, min(most, len(characters)) + 1)
        for start in range(len(characters) - length + 1)
    ]


def make_word_ngrams(characters: list[str], least: int, most: int) -> list[str]:
    """Return runs of characters within words, as scikit-learn's ``char_wb`` does.

    A word is what stands between blanks, with one blank before and behind it. A word that is
    shorter than a run counts once, as a whole.
    """
    found: list[str] = []
    word: list[str] = []
    for character in [*characters, " "]:
        if character != " ":
            word.append(character)
            continue
        if word:
            framed = [" ", *word, " "]
            for length in range(least, most + 1):
                runs = make_ngrams(framed, length, length)
                found += runs or ["".join(framed)]
                if len(framed) <= length:  # longer runs would only repeat the whole word
                    break
        word = []
    return found


def _split_text(text: str, *, pairs: bool, bag: bool) -> list[str]:
    """Return words, characters and emoji in the order of the text, then the ``pairs``."""
    found: list[str] = []
    doubles: list[str] = []
    for match in _compile_pattern(bag).finditer(text):
        token = match[0]
        if match["run"]:
            characters = _compile_character().findall(token)
            found += characters
            doubles += map("".join, pairwise(characters))
        elif match["emoji"]:
            # A tone on its own has no sign and is the token itself.
            sign = _TONE.sub("", token)
            found += [sign, *_TONE.findall(token)] if sign else [token]
            if bag:
                found += unicodedata.name(token[0], "").lower().split()
        elif not bag or len(token) > 1 or _is_syllable(token):
            found.append(token)
    return found + doubles if pairs else found


def _is_syllable(letter: str) -> bool:
    """Return whether a single letter may be a word, which it rarely is in an alphabet."""
    # From Devanagari on, and without case: this leaves out Latin, Greek, Cyrillic, Armenian,
    # Hebrew and Arabic.
    return letter >= "\u0900" and letter.isalpha() and letter.lower() == letter.upper()


@cache
def _list_marks() -> str:
    """Return all combining marks, for a character class of a regular expression."""
    codes = [*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)]
    return "".join(chr(code) for code in codes if unicodedata.category(chr(code))[0] == "M")


@cache
def _compile_character() -> re.Pattern[str]:
    return re.compile(rf"(?=\w)[{SPACELESS}][{_list_marks()}]*")


@cache
def _compile_cluster() -> re.Pattern[str]:
    """Return the pattern of one character with its marks, or of an emoji."""
    return re.compile(rf"{_EMOJI_RUN}[{_list_marks()}]*|.[{_list_marks()}]*", re.DOTALL)


@cache
def _compile_pattern(bag: bool) -> re.Pattern[str]:
    """Return the pattern of a run of characters without spaces, of an emoji, or of a word."""
    marks = _list_marks()
    letter = rf"[^\W{SPACELESS}]"
    # A joiner after a mark belongs to the letter (Sinhala, Malayalam); elsewhere it separates.
    word = rf"{letter}(?:{letter}|[{marks}][\u200c{JOINER}]?)*"
    if not bag:
        word = rf"{word}(?:['’]{word})*"
    return re.compile(
        rf"(?P<run>(?:(?=\w)[{SPACELESS}][{marks}]*)+)|(?P<emoji>{_EMOJI_RUN})|{word}"
    )


def describe_tokenizer(name: str, *, bag: bool = False) -> dict[str, str | bool]:
    """Return the patterns of :func:`make_tokenizer`, for readers without mmx.

    Args:
        name: As there.
        bag: As there.
    """
    kind = name if name in ("word", "char") else "script"
    found: dict[str, str | bool] = {"kind": kind, "bag": bag, "pairs": name == "script_pairs"}
    found["words"] = (BAG_WORD if bag else WORD).pattern
    if kind == "char":
        found["cluster"] = _compile_cluster().pattern
    if kind == "script":
        found["pattern"] = _compile_pattern(bag).pattern
        found["character"] = _compile_character().pattern
    return found
