"""The words by which columns and folders name a split."""

from __future__ import annotations

import re

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def split_of(word: str) -> str | None:
    """Return the split that a word means, in any case, or None.

    ``"Dev"`` is val, ``"test_set"`` test.
    """
    plain = word.strip().lower()
    return SPLITS.get(plain) or SPLITS.get(re.sub(r"[ _-]?(set|split)$", "", plain))
