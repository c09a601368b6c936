"""The words that name a split in columns and folders."""

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


def find_split(word: str) -> str | None:
    """Return the split that a word names, in upper or lower case, or None.

    ``"Dev"`` names val, ``"test_set"`` names test.
    """
    plain = word.strip().lower()
    return SPLITS.get(plain) or SPLITS.get(re.sub(r"[ _-]?(set|split)$", "", plain))
