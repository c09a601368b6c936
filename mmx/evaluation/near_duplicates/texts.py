"""Texts that are alike: the same letters and digits, or most of the same pieces of a long text."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from mmx.evaluation.near_duplicates.pairs import PairComparison
from mmx.evaluation.near_duplicates.search import RowIndices
from mmx.modalities import Modality
from mmx.modalities.text import TextColumn

LONG = 60
"""Letters and digits from which texts are compared by their pieces too."""
PIECE = 8  # letters and digits of a piece
ALIKE = 0.8
"""Share of the pieces of two texts that both have (Jaccard), from which they are alike."""
BANDS, OF_A_BAND = 10, 3
"""Numbers of a MinHash: texts are compared where all numbers of a band are equal, which 8 of 10
common pieces miss in 0.1 % of cases."""
MOST_IN_BUCKET = 64
"""Texts of equal bands that are compared with each other."""
BETWEEN_DIGITS, POINT = re.compile(r"(?<=\d)[.,](?=\d)"), "\ue000"
PRIME = np.uint64((1 << 31) - 1)


def compare_texts(
    column: TextColumn,
    reader: Modality[Any, Any] | None,
    searches: list[tuple[RowIndices, RowIndices]],
) -> PairComparison:
    """Return the pairs of rows with texts that are alike; the distance is 1 − Jaccard.

    Args:
        column: The texts.
        reader: Not read: texts are compared before they are divided into tokens.
        searches: Which rows are looked for among which.
    """
    rows = np.unique(np.concatenate([each for search in searches for each in search]))
    texts = _read_texts(column, rows)
    found: dict[tuple[int, int], float] = {}
    for asked, there in searches:
        mine = {row: texts[row] for row in asked.tolist() if row in texts}
        others = {row: texts[row] for row in there.tolist() if row in texts}
        found |= _find_equal(mine, others)
        for row, _ in found:
            mine.pop(row, None)
        _compare_pieces(_keep_long(mine), _keep_long(others), found)
    pairs = np.array(list(found), dtype=np.int64).reshape(-1, 2)
    return PairComparison.of(pairs[:, 0], pairs[:, 1], np.array(list(found.values()), np.float64))


def _read_texts(column: TextColumn, rows: RowIndices) -> dict[int, str]:
    """Return row to its text in the form that is compared, where anything is left of it."""
    simple = {int(row): simplify(column.texts[row] or "") for row in rows if column.present[row]}
    return {row: text for row, text in simple.items() if text}


def _keep_long(texts: dict[int, str]) -> dict[int, str]:
    return {row: text for row, text in texts.items() if len(text) >= LONG}


def _find_equal(mine: dict[int, str], others: dict[int, str]) -> dict[tuple[int, int], float]:
    """Return a pair for each text that another row has too, with the first such row."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    for other, text in others.items():
        rows_of[text].append(other)
    return {
        (row, same[0]): 0.0
        for row, text in mine.items()
        if (same := [other for other in rows_of.get(text, [])[:2] if other != row])
    }


def simplify(text: str) -> str:
    """Return the letters, digits and marks of a text, without case, width and spaces.

    A point or comma between digits stays, so that 1.5 is not 15.
    """
    whole = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(filter(_counts, BETWEEN_DIGITS.sub(POINT, whole)))


@cache
def _counts(character: str) -> bool:
    """Return whether a character is a letter, a digit or a mark."""
    return character == POINT or unicodedata.category(character)[0] in "LNM"


def _compare_pieces(
    mine: dict[int, str], others: dict[int, str], found: dict[tuple[int, int], float]
) -> None:
    """Add the pairs of long texts of which most pieces are the same."""
    if not mine or not others:
        return
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    pieces = {row: cut_pieces(text) for row, text in {**mine, **others}.items()}
    bands = {row: _list_bands(own) for row, own in pieces.items()}
    for other in others:
        for band in bands[other]:
            buckets[band].append(other)
    for row in mine:
        near = {other for band in bands[row] for other in buckets[band][:MOST_IN_BUCKET]}
        for other in sorted(near - {row}):
            both = len(np.intersect1d(pieces[row], pieces[other], assume_unique=True))
            share = both / (len(pieces[row]) + len(pieces[other]) - both)
            if share >= ALIKE:
                found[row, other] = 1 - share


def cut_pieces(text: str) -> npt.NDArray[np.uint64]:
    """Return the different pieces of a text as numbers, sorted."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4").astype(np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(codes, PIECE)
    powers = np.array([pow(1_000_003, place, 1 << 64) for place in range(PIECE)], np.uint64)
    pieces: npt.NDArray[np.uint64]
    pieces = np.unique((windows * powers).sum(axis=1, dtype=np.uint64) % PRIME)
    return pieces


def _list_bands(pieces: npt.NDArray[np.uint64]) -> list[tuple[int, bytes]]:
    """Return the MinHash of pieces as bands: the least of each permutation of all numbers."""
    factors, shifts = _draw_permutations()
    # Below 2⁶², so that no product overflows.
    least = ((pieces[:, None] * factors + shifts) % PRIME).min(axis=0)
    return [
        (band, least[band * OF_A_BAND : (band + 1) * OF_A_BAND].tobytes()) for band in range(BANDS)
    ]


@cache
def _draw_permutations() -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Return factors and shifts of the permutations x → (a x + b) mod p, always the same."""
    draw = np.random.default_rng(0)
    count = BANDS * OF_A_BAND
    factors = draw.integers(1, int(PRIME), count).astype(np.uint64)
    return factors, draw.integers(0, int(PRIME), count).astype(np.uint64)
