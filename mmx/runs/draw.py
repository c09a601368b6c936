"""In what the runs of a group differ: their seed, and in cross-validation their fold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mmx.runs.summary import Summary

DRAW_KEYS = ("repeat", "fold", "seed")
"""Attributes of a draw that are columns of a sweep's tables where they vary."""


@dataclass(frozen=True, order=True)
class Draw:
    """What a run was drawn with, by which runs of two groups are paired.

    Attributes:
        repeat: Which partition into folds, from 1; 0 without folds.
        fold: Which fold is tested, from 1; 0 without folds.
        seed: The run's seed.
        folds: Number of folds of the partition; 0 without folds.
    """

    repeat: int = 0
    fold: int = 0
    seed: int = 0
    folds: int = 0

    @classmethod
    def of(cls, summary: Summary) -> Draw:
        """Return the draw of a finished run."""
        found = summary.fold
        if found is None:
            return cls(seed=summary.seed)
        return cls(found.repeat, found.number, summary.seed, found.count)

    @property
    def part(self) -> tuple[int, int]:
        """Repeat and fold: runs that have the same were tested on the same rows."""
        return self.repeat, self.fold


def count_folds(draws: Iterable[Draw]) -> int:
    """Return K, where runs were tested on several of K folds; 0 where they were not.

    Runs of one fold differ in their seed, and say nothing of other folds.
    """
    found = set(draws)
    parts = {(draw.folds, *draw.part) for draw in found}
    counts = {draw.folds for draw in found}
    return counts.pop() if len(parts) > 1 and len(counts) == 1 else 0


def describe_draws(draws: Sequence[Draw]) -> str:
    """Return which draws these are, as ``seed 2, 3`` or ``fold 2 (seed 0), 3 (seed 0)``."""
    if not any(draw.folds for draw in draws):
        return f"seed {', '.join(str(draw.seed) for draw in draws)}"
    each = (
        f"{draw.fold} ({f'repeat {draw.repeat}, ' if draw.repeat > 1 else ''}seed {draw.seed})"
        for draw in draws
    )
    return f"fold {', '.join(each)}"
