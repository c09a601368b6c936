"""The words that name a split in columns and folders."""

from __future__ import annotations

import re

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
    plain = word.strip().lower()
    return SPLITS.get(plain) or SPLITS.get(_AFTER.sub("", _BEFORE.sub("", plain)))
