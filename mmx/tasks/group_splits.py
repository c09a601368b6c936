"""Splits that keep groups whole: a group is in one part, and classes keep their shares if possible.

Groups are dealt to parts one by one, large ones first: each goes where it helps most to give
every part its share of the rows of every class,

    min  Σ_b Σ_c n_bc² / (w_b n_c²)

where n_bc is the number of rows of class c in part b, n_c that of class c in all, and w_b the
share of the part. All rows together count as one more class, so that sizes agree as well.

Groups of like size come in random order, so that other seeds give other parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

LIKE_SIZE = 2.0
"""Groups that differ in size by less than this factor may change places in the random order."""
GroupNumbers = npt.NDArray[np.int64]


def deal_groups(
    groups: GroupNumbers,
    labels: npt.NDArray[Any],
    shares: Sequence[float],
    random: np.random.Generator,
) -> GroupNumbers:
    """Return the part of each row, ``(N,)``, with rows of a group in one part.

    Args:
        groups: Group of each row, ``(N,)``.
        labels: Class of each row, ``(N,)``; all zeros if there are no classes.
        shares: Share of the rows of each part, B numbers that sum to 1. No part is left empty
            if there are as many groups.
        random: Decides the order of groups of like size.
    """
    found, of_rows = _count(groups, labels)
    dealt = _Parts(shares)
    of_group = np.empty(len(found), dtype=np.int64)
    for group in _order(found, random):
        growth = dealt.measure(found[group])
        of_group[group] = part = growth.index(min(growth))
        dealt.add(found[group], part)
    return of_group[of_rows]


def cut_groups(
    groups: GroupNumbers, labels: npt.NDArray[Any], share: float, random: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Return which rows are cut off, ``(N,)``: about ``share`` of them, in whole groups.

    The last group with rows of a class is never cut off. At least one group is, if possible.

    Args:
        groups: Group of each row, ``(N,)``.
        labels: Class of each row, ``(N,)``; all zeros if there are no classes.
        share: Share of the rows to cut off.
        random: Decides the order of groups of like size.
    """
    found, of_rows = _count(groups, labels)
    dealt = _Parts((share, 1 - share))
    left = [0] * (len(np.unique(labels)) + 1)  # rows of each class that are not cut off
    for each in found:
        for name, rows in each.rows.items():
            left[name] += rows

    def stays(group: _Group) -> bool:
        """Return whether every class keeps a row when a group is cut off."""
        return all(left[name] > rows for name, rows in group.rows.items())

    is_cut = np.zeros(len(found), dtype=np.bool_)
    for group in _order(found, random):
        cut, kept = dealt.measure(found[group])
        if cut < kept and stays(found[group]):
            is_cut[group] = True
            for name, rows in found[group].rows.items():
                left[name] -= rows
        dealt.add(found[group], int(not is_cut[group]))
    if not is_cut.any():
        usable = [place for place, each in enumerate(found) if stays(each)]
        if usable:
            is_cut[min(usable, key=lambda place: found[place].distance(share, len(left)))] = True
    return is_cut[of_rows]


@dataclass(frozen=True)
class _Group:
    """The rows of a group by class; the last class counts all rows.

    Attributes:
        rows: Class to number of rows.
        shares: Class to the share of all its rows.
    """

    rows: dict[int, int]
    shares: dict[int, float]

    def distance(self, share: float, classes: int) -> float:
        """Return the squared distance of its shares from a share of every class."""
        absent = (classes - len(self.shares)) * share**2
        return absent + sum((own - share) ** 2 for own in self.shares.values())


class _Parts:
    """The parts that groups are dealt to; dicts, since a group has rows of few classes.

    Args:
        shares: Share of the rows of each part.
    """

    def __init__(self, shares: Sequence[float]) -> None:
        self.shares = shares
        self.filled: list[dict[int, float]] = [{} for _ in shares]

    def measure(self, group: _Group) -> list[float]:
        """Return by how much the sum of squares would grow if each part got a group."""
        held = list(group.shares.items())
        square = sum(share * share for _, share in held)
        return [
            (2 * sum(filled.get(name, 0.0) * share for name, share in held) + square) / of_all
            for filled, of_all in zip(self.filled, self.shares, strict=True)
        ]

    def add(self, group: _Group, part: int) -> None:
        """Give a part a group."""
        filled = self.filled[part]
        for name, share in group.shares.items():
            filled[name] = filled.get(name, 0.0) + share


def _count(groups: GroupNumbers, labels: npt.NDArray[Any]) -> tuple[list[_Group], GroupNumbers]:
    """Return the groups, and the index of each row's group."""
    names, of_rows = np.unique(groups, return_inverse=True)
    classes, of_classes = np.unique(labels, return_inverse=True)
    every = len(classes)  # the class that counts all rows
    pairs, rows = np.unique(of_rows * (every + 1) + of_classes, return_counts=True)
    totals = [*np.bincount(of_classes, minlength=every).tolist(), len(groups)]
    held: list[dict[int, int]] = [{} for _ in names]
    for pair, count in zip(pairs.tolist(), rows.tolist(), strict=True):
        group, name = divmod(pair, every + 1)
        held[group][name] = count
    for each in held:
        each[every] = sum(each.values())
    found = [
        _Group(each, {name: count / totals[name] for name, count in each.items()}) for each in held
    ]
    return found, of_rows.astype(np.int64)


def _order(groups: Sequence[_Group], random: np.random.Generator) -> list[int]:
    """Return the groups' places, large ones first and those of like size in random order."""
    sizes = np.array([max(each.rows.values()) for each in groups], dtype=np.float64)
    scattered = sizes * LIKE_SIZE ** random.random(len(groups))
    return [int(place) for place in np.argsort(-scattered, kind="stable")]
