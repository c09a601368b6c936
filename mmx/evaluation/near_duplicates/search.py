"""Which rows may be alike: the nearest ones by a short fingerprint, in less than quadratic time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

RowIndices = npt.NDArray[np.int64]
OTHERS = (("val", "train"), ("test", "train"), ("test", "val"))
"""Splits whose rows should not be in the other one."""


@dataclass(frozen=True)
class Candidates:
    """Pairs of rows that may be alike: ``rows[i]`` and ``others[i]``."""

    rows: RowIndices
    others: RowIndices


def list_searches(
    splits: Mapping[str, RowIndices], everywhere: bool
) -> list[tuple[RowIndices, RowIndices]]:
    """Return pairs of sets of rows, of which one's rows are looked for in the other.

    Args:
        splits: Name to row numbers.
        everywhere: Whether all rows are looked for in all rows, not only in other splits.
    """
    if everywhere:
        every = np.concatenate(list(splits.values()))
        return [(every, every)]
    return [(splits[one], splits[other]) for one, other in OTHERS]


def find_candidates(
    prints: npt.NDArray[np.floating],
    known: npt.NDArray[np.bool_],
    searches: list[tuple[RowIndices, RowIndices]],
    *,
    radius: float,
    most: int,
) -> Candidates:
    """Return the nearest rows of each row by fingerprint, by a k-d tree.

    Args:
        prints: ``(N, D)`` fingerprints of all rows; D is small, since the tree is.
        known: ``(N,)`` which rows have one.
        searches: As :func:`list_searches` returns them.
        radius: Largest distance.
        most: Largest number of rows for each row.
    """
    found: list[RowIndices] = [np.zeros((0, 2), np.int64)]
    for rows, others in searches:
        asked, there = rows[known[rows]], others[known[others]]
        if not len(asked) or not len(there):
            continue
        same = rows is others
        tree = cKDTree(prints[there])
        # ``k`` as a list gives two axes even for one neighbour.
        # Among its own set each row is its nearest neighbour, so one more is asked for.
        ranks = range(1, min(most + same, len(there)) + 1)
        distances, places = tree.query(prints[asked], k=list(ranks), distance_upper_bound=radius)
        # Places beyond the radius come back with an infinite distance.
        near = np.isfinite(distances)
        pairs = np.stack([np.repeat(asked, near.sum(1)), there[places[near]]], axis=1)
        found.append(pairs[pairs[:, 0] != pairs[:, 1]])
    whole = np.concatenate(found)
    return Candidates(whole[:, 0], whole[:, 1])
