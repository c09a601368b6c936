"""Texts with dropped, swapped or misspelt words.

A word is a sequence of characters other than white space.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from mmx.evaluation.noise.base import Corruption, Noise
from mmx.modalities import Spec, Stored
from mmx.modalities.text import TextColumn
from mmx.training.data import Rows

WORD_PATTERN = re.compile(r"\S+")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def drop_words(text: str, strength: float, generator: np.random.Generator) -> str:
    """Drop each word with a probability; a text without any word is still a text."""
    words = WORD_PATTERN.findall(text)
    kept = generator.random(len(words)) >= strength
    return _replace_words(
        text, [word if keep else "" for word, keep in zip(words, kept, strict=True)]
    )


def swap_words(text: str, strength: float, generator: np.random.Generator) -> str:
    """Go from left to right, and swap a word with the next one with a probability."""
    words = WORD_PATTERN.findall(text)
    chosen = generator.random(len(words)) < strength
    place = 0
    while place < len(words) - 1:
        if chosen[place]:
            words[place], words[place + 1] = words[place + 1], words[place]
            place += 1  # a swapped word stays where it is
        place += 1
    return _replace_words(text, words)


def misspell_words(text: str, strength: float, generator: np.random.Generator) -> str:
    """Misspell each word with a probability, by one edit; see :func:`misspell`."""
    words = WORD_PATTERN.findall(text)
    draws = generator.random((len(words), 4))  # whether to misspell, edit, place, letter
    return _replace_words(
        text,
        [
            misspell(word, *draw[1:]) if draw[0] < strength else word
            for word, draw in zip(words, draws, strict=True)
        ],
    )


def misspell(word: str, edit: float, where: float, letter: float) -> str:
    """Return the word with one letter lost, doubled, replaced, or swapped with the next.

    A word of one letter, or two equal letters to swap, have one replaced instead. The three
    numbers in [0, 1) choose the edit, its place and the letter.
    """
    kind = int(edit * 4)
    # A swap needs a next letter, so its place is one short of the end.
    place = int(where * (len(word) - (kind == 3)))
    before, here, after = word[:place], word[place], word[place + 1 :]
    if kind == 0 and len(word) > 1:
        return before + after
    if kind == 1:
        return before + here + here + after
    if kind == 3 and after and here.lower() != after[0].lower():
        return before + after[0] + here + after[1:]
    # Another letter than the one there: without it, nothing would be misspelt.
    others = LETTERS.replace(here.lower(), "")
    return before + others[int(letter * len(others))] + after


def _replace_words(text: str, words: Sequence[str]) -> str:
    """Return the text with other words and its own white space."""
    found = iter(words)
    return WORD_PATTERN.sub(lambda match: next(found), text)


class TextCorruption(Corruption[TextColumn, Spec]):
    """Corrupts raw texts; see :class:`~mmx.evaluation.noise.base.Corruption`."""

    name: ClassVar[str] = "text"

    @property
    def noises(self) -> tuple[Noise, ...]:
        """Dropped, swapped and misspelt words."""
        strengths = (0.0, 0.1, 0.25, 0.5, 0.75)
        return (
            Noise("dropped_words", "part of the words that are lost", strengths, drop_words),
            Noise(
                "swapped_words",
                "probability that a word changes places with the next",
                strengths,
                swap_words,
            ),
            Noise(
                "misspelt_words", "part of the words with a wrong letter", strengths, misspell_words
            ),
        )

    def read(self, rows: Rows, stored: Stored | None) -> list[str]:
        """Return the texts."""
        return self.column.read(rows)

    def encode(self, values: Sequence[str | None]) -> Stored:
        """Return the texts vectorised as in training."""
        rows = np.arange(len(values))
        return self.view.modality.encode(TextColumn(values), rows, self.spec)
