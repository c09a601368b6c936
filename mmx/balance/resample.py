"""Every class equally often in an epoch."""

from __future__ import annotations

import numpy as np

from mmx.balance.base import Balance, RowArray


class Resample(Balance):
    """Draws N / C rows of each of the C classes that occur, anew for each epoch.

    A class with fewer rows repeats them, and any two of its rows occur equally often or differ
    by one. A class with more rows leaves some out, and different ones in the next epoch. Use it
    when the model rarely sees the rare classes; ``balance=weights`` leaves the draws as they are.
    """

    def draw(self, rows: RowArray, labels: RowArray, generator: np.random.Generator) -> RowArray:
        """Return ``len(rows)`` rows; see :func:`balance_rows`."""
        return balance_rows(rows, labels, generator)


def balance_rows(rows: RowArray, labels: RowArray, generator: np.random.Generator) -> RowArray:
    """Return ``len(rows)`` rows in which class counts differ by at most one."""
    classes = np.unique(labels)
    share, left = divmod(len(rows), len(classes))
    # The division's remainder goes to classes chosen at random, one row each.
    more = set(generator.permutation(classes)[:left].tolist())
    drawn = []
    for label in classes.tolist():
        own, quota = rows[labels == label], share + (label in more)
        # All rows of the class `copies` times, and `rest` of them once more.
        copies, rest = divmod(quota, len(own))
        drawn.extend([np.tile(own, copies), generator.permutation(own)[:rest]])
    return np.concatenate(drawn)
