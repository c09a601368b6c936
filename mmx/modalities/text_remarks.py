"""Notes on texts: which become alike, which hold nothing known, and which were read wrongly."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from mmx.modalities.tokenizers import Tokenize

MANY = 10
"""A note on texts that are alike or cut is made if it concerns at least one in so many."""
REPLACEMENT = "\ufffd"
_DOUBLE = re.compile("[\u00c2-\u00f4][\u0080-\u00bf\u0152-\u02dc\u2013-\u2122]")


def tokenize_distinct(
    texts: Sequence[str], divide: Tokenize
) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the distinct texts that are not empty, and the tokens of each."""
    distinct = list(dict.fromkeys(text for text in texts if text))
    return distinct, [tuple(divide(text)) for text in distinct]


def note_equal_tokens(texts: list[str], tokens: list[tuple[str, ...]]) -> tuple[str, ...]:
    """Return a note if many different texts have the same tokens."""
    first: dict[tuple[str, ...], str] = {}
    same = [
        (first.setdefault(words, text), text) for text, words in zip(texts, tokens, strict=True)
    ]
    pairs = [(one, other) for one, other in same if one != other and one.lower() != other.lower()]
    if len(pairs) * MANY < len(texts) or not pairs:
        return ()
    one, other = map(_shorten, pairs[0])
    return (
        f"text: {len(pairs)} of {len(texts)} different training texts have the same tokens as "
        f"another one, since they differ only in punctuation, symbols, case or single letters: "
        f"{one!r} and {other!r}",
    )


def note_unknown(
    texts: Sequence[str],
    tokens: Iterable[Sequence[str]],
    known: Collection[str],
    what: str,
) -> tuple[str, ...]:
    """Return a note on texts of which nothing is in the vocabulary.

    Args:
        texts: Some texts.
        tokens: The tokens of each.
        known: The vocabulary.
        what: What the texts are called in the note, such as ``validation texts``.
    """
    vocabulary = set(known)
    strange = [
        text for text, words in zip(texts, tokens, strict=True) if vocabulary.isdisjoint(words)
    ]
    if not strange:
        return ()
    return (
        f"text: {len(strange)} of {len(texts)} {what} hold no token of the vocabulary, "
        f"such as {_shorten(strange[0])!r}",
    )


def note_broken_characters(texts: list[str]) -> tuple[str, ...]:
    """Return a note on texts that were decoded wrongly before they were saved.

    Such texts hold U+FFFD, which stands for a character that was lost, or are UTF-8 that was read
    as Windows-1252: é as Ã©.
    """
    broken = [text for text in texts if _is_broken(text)]
    if not broken:
        return ()
    return (
        f"text: {len(broken)} of {len(texts)} different training texts hold characters that were "
        f"decoded wrongly before the table was saved, such as {_shorten(broken[0])!r}",
    )


def _is_broken(text: str) -> bool:
    if text.isascii():
        return False
    if REPLACEMENT in text:
        return True
    if not _DOUBLE.search(text):
        return False
    try:
        return text.encode("windows-1252").decode() != text
    except UnicodeError:
        return False


def _shorten(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"
