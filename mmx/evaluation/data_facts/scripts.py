"""The Unicode script of a text, by the names of its letters."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import cache

LATIN = "Latin"
NO_LETTER = "no letter"
OTHER_NAMES = {"Cjk": "Han", "Ideographic": "Han", "Kangxi": "Han", "Katakana-hiragana": "Katakana"}
"""First word of a letter's Unicode name to its script, where the two differ."""
WIDTHS = ("FULLWIDTH ", "HALFWIDTH ", "MODIFIER LETTER ", "MATHEMATICAL ")
"""Beginnings of names that say nothing of the script."""


def find_script(text: str) -> str:
    """Return the script of most letters of a text, such as ``Cyrillic``.

    Letters of two scripts in equal number give the script whose name comes first. Marks, digits
    and signs belong to no script.
    """
    if text.isascii():
        return LATIN if any(map(str.isalpha, text)) else NO_LETTER
    counts: Counter[str] = Counter()
    for letter, times in Counter(text).items():
        if script := _find_letter_script(letter):
            counts[script] += times
    if not counts:
        return NO_LETTER
    return min(counts, key=lambda script: (-counts[script], script))


@cache
def _find_letter_script(letter: str) -> str | None:
    """Return the script of a letter; None for what is no letter."""
    if not letter.isalpha():
        return None
    name = unicodedata.name(letter, "")
    for beginning in WIDTHS:
        name = name.removeprefix(beginning)
    first = name.split(" ")[0].split("-")[0].capitalize()
    return OTHER_NAMES.get(first, first) or None
