"""Transferability scores: how well source features suit a target, without any training.

    score(features, labels) -> float

Features ``(N, D)`` are what a source model returns for N rows of the target; labels ``(N,)`` are
the target's classes, any integers. NumPy arrays, tensors on any device and lists are accepted, and
computations use float64. In every score, larger means a better source. The order of the
rows and the names of the classes never matter. Values are comparable only within one score and
for the same rows. No score is reliable alone: look at several, and let training decide.

Each raises ValueError for shapes that do not fit, values that are not finite, labels that are
not integers, and fewer than two rows or classes.

A ranking computes the scores in :data:`SCORES`: those of this folder's files that define a
:class:`Score`.

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
"""The scores that a ranking computes, by the names of their files, ordered by rank."""

__all__ = ["SCORES", "Score", "h_score", "knn", "leep", "logme", "nce", "transrate"]
