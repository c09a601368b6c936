"""Transferability scores: how well source features suit a target, without any training.

    score(features, labels) -> float

Features ``(N, D)`` are what a source model gives for N target rows; labels ``(N,)`` are the
target's classes, any integers. NumPy arrays, tensors of any device and lists are taken alike,
and float64 is computed with. Larger means a better source in every score. The order of the
rows and the names of the classes never matter; only values of one score on the same rows
compare.
None is reliable alone: look at several, and let training decide.

Each raises ValueError for shapes that do not fit, values that are not finite, labels that are
not integers, and fewer than two rows or classes.

A ranking computes what :data:`SCORES` finds: a file of this folder with a :class:`Score`.

Shape legend: ``N`` rows, ``D`` features, ``C`` target classes, ``Z`` source classes.
"""

from mmx.transfer.scores.base import Score
from mmx.transfer.scores.h_score import h_score
from mmx.transfer.scores.knn import knn
from mmx.transfer.scores.leep import leep
from mmx.transfer.scores.logme import logme
from mmx.transfer.scores.nce import nce
from mmx.transfer.scores.transrate import transrate
from mmx.variants import find_variants

SCORES: dict[str, Score] = {
    name: kind()
    for name, kind in sorted(
        find_variants("mmx.transfer.scores", Score).items(), key=lambda each: each[1].rank
    )
}
"""Those of this folder that a ranking computes, by the name of their file, by rank."""

__all__ = ["SCORES", "Score", "h_score", "knn", "leep", "logme", "nce", "transrate"]
