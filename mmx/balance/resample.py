"""Every class equally often in an epoch."""

from __future__ import annotations

import numpy as np

from mmx.balance.base import Balance, RowArray


class Resample(Balance):
    """Draws N / C rows of each of the C classes that occur, anew for each epoch.

    A class with fewer rows repeats them, each as often as any other but for one; a class
    with more leaves some out, others in the next epoch.
    """

    def draw(self, rows: RowArray, labels: RowArray, generator: np.random.Generator) -> RowArray:
        """Return as many rows as there were, every class as often as any other but for one."""
        return balanced(rows, labels, generator)


def balanced(rows: RowArray, labels: RowArray, generator: np.random.Generator) -> RowArray:
    """Return ``len(rows)`` rows with every class as often as any other, but for one."""
    classes = np.unique(labels)
    share, left = divmod(len(rows), len(classes))
    more = set(generator.permutation(classes)[:left].tolist())
    drawn = []
    for label in classes.tolist():
        own, quota = rows[labels == label], share + (label in more)
        copies, rest = divmod(quota, len(own))
        drawn.extend([np.tile(own, copies), generator.permutation(own)[:rest]])
    return np.concatenate(drawn)
