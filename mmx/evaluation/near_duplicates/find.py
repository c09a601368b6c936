"""Near-duplicates of a task's data, modality by modality, and labels that contradict each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mmx.evaluation.near_duplicates.images import compare_pictures
from mmx.evaluation.near_duplicates.pairs import PairComparison, RowPair
from mmx.evaluation.near_duplicates.search import list_searches
from mmx.evaluation.near_duplicates.sounds import compare_sounds
from mmx.evaluation.near_duplicates.texts import compare_texts
from mmx.modalities import Column, Modality
from mmx.modalities.audio import AudioColumn
from mmx.modalities.image import ImageColumn
from mmx.modalities.text import TextColumn
from mmx.tasks import TaskData

Compare = Callable[..., PairComparison]
COMPARE: dict[type[Column], Compare] = {
    ImageColumn: compare_pictures,
    AudioColumn: compare_sounds,
    TextColumn: compare_texts,
}
"""Kind of column to the function that compares its rows."""


@dataclass(frozen=True)
class NearDuplicates:
    """Which rows are alike, in a task's data.

    Attributes:
        found: Modality to what comparing its rows gave.
        not_compared: Modalities of kinds that nothing compares.
        split_of: ``(N,)`` name of each row's split; "" for a row in none.
    """

    found: Mapping[str, PairComparison]
    not_compared: tuple[str, ...]
    split_of: npt.NDArray[np.str_] = field(repr=False)

    def nearest(self, modality: str) -> list[RowPair]:
        """Return for each row and other split the pair that is most alike, of different splits."""
        best: dict[tuple[int, str], RowPair] = {}
        for pair in self.found[modality].pairs:
            here, there = self.split_of[pair.row], self.split_of[pair.other]
            if here == there:
                continue
            key = (pair.row, str(there))
            if key not in best or pair.distance < best[key].distance:
                best[key] = pair
        return list(best.values())


def find_near_duplicates(
    data: TaskData,
    readers: Mapping[str, Modality[Any, Any]],
    *,
    everywhere: bool = False,
) -> NearDuplicates:
    """Return the rows that are nearly the same as rows of another split.

    Args:
        data: The data.
        readers: Modality to how it is read, where that is known.
        everywhere: Compare rows of one split too.
    """
    searches = list_searches(data.splits, everywhere)
    found: dict[str, PairComparison] = {}
    left: list[str] = []
    for name, column in data.columns.items():
        compare = next((each for kind, each in COMPARE.items() if isinstance(column, kind)), None)
        if compare is None:
            left.append(name)
        else:
            found[name] = compare(column, readers.get(name), searches)
    split_of = np.full(len(data.values), "", dtype="<U5")
    for split, rows in data.splits.items():
        split_of[rows] = split
    return NearDuplicates(found, tuple(left), split_of)


@dataclass(frozen=True)
class Conflict:
    """Rows with equal content, in all modalities, and different labels.

    Attributes:
        rows: Their numbers, from 0, sorted.
    """

    rows: tuple[int, ...]


def find_conflicts(data: TaskData) -> list[Conflict]:
    """Return the groups of rows with equal content and more than one label, in any splits."""
    used = np.sort(np.concatenate(list(data.splits.values())))
    names = sorted(data.digests)
    keys = np.stack([data.digests[name][used] for name in names], axis=1)  # (n, M)
    rows_of: dict[bytes, list[int]] = defaultdict(list)
    for row, key in zip(used.tolist(), keys, strict=True):
        rows_of[key.tobytes()].append(row)
    values = data.values.numpy()
    return [
        Conflict(tuple(rows))
        for rows in rows_of.values()
        if len(rows) > 1 and (values[rows] != values[rows[0]]).any()
    ]


def group_rows(count: int, pairs: Iterable[RowPair]) -> list[int]:
    """Return the group of each of ``count`` rows, such that rows of a pair are in one group.

    A group is called by its first row.
    """
    parents = list(range(count))

    def find(row: int) -> int:
        while parents[row] != row:
            parents[row] = parents[parents[row]]
            row = parents[row]
        return row

    for pair in pairs:
        one, other = sorted((find(pair.row), find(pair.other)))
        parents[other] = one
    return [find(row) for row in range(count)]
