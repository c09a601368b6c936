"""The words that name a split in columns and folders."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

SPLITS = {
    "train": "train",
    "training": "train",
    "trn": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "dev": "val",
    "development": "val",
    "test": "test",
    "testing": "test",
    "tst": "test",
    "eval": "test",
    "evaluation": "test",
}
"""What is said, in lower case, to the split. ``eval`` is ``test``, as in the library datasets."""

_BEFORE = re.compile(r"^(x|images?|imgs?)[ _-]")
_AFTER = re.compile(r"[ _-]?(set|split|data|dataset|images?|imgs?|pictures|photos|(19|20)\d\d)$")


def find_split(word: str) -> str | None:
    """Return the split that a word names, in upper or lower case, or None.

    ``"Dev"`` names val, ``"test_set"`` and ``"Test Images"`` test, ``"train2017"`` train.
    """
    return SPLITS.get(_strip(word))


def _strip(word: str) -> str:
    """Return a word in lower case, without what is added to the name of a split."""
    plain = word.strip().lower()
    return plain if plain in SPLITS else _AFTER.sub("", _BEFORE.sub("", plain))


def count_synonyms(words: Iterable[str]) -> dict[str, Counter[str]]:
    """Return each split that several words name, with the number of times each word is said.

    Words that differ in case, or in what is added to them, such as ``"test set"``, are one.
    """
    found: dict[str, Counter[str]] = {}
    for word, count in Counter(words).items():
        if (split := find_split(word)) is not None:
            found.setdefault(split, Counter())[_strip(word)] += count
    return {split: counts for split, counts in found.items() if len(counts) > 1}


def note_synonyms(column: str, words: Iterable[str]) -> Iterator[str]:
    """Yield a note for each split that several words of a column name."""
    for split, counts in count_synonyms(words).items():
        said = " and ".join(f"'{word}' ({counts[word]} rows)" for word in sorted(counts))
        yield f"split column '{column}' says {said}: all are read as {split}"
