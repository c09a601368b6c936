"""Which rows of a batch each process takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


def divide_rows(rows: Rows, size: int) -> list[Rows]:
    """Return each process's share of a batch, in the order of the rows.

    No share has a single row, since batch norm needs two: a small batch leaves the last processes
    without rows.

    Args:
        rows: The rows of a batch.
        size: The number of processes.

    Example:
        >>> [len(share) for share in divide_rows(np.arange(7), 2)]
        [4, 3]
        >>> [len(share) for share in divide_rows(np.arange(3), 2)]
        [3, 0]
    """
    used = max(1, min(size, len(rows) // 2))
    return [*np.array_split(rows, used), *[rows[:0]] * (size - used)]


def count_rows(batches: Sequence[Rows], size: int) -> list[int]:
    """Return how many rows of a step's batches each process takes."""
    shares = [divide_rows(rows, size) for rows in batches]
    return [sum(len(each[rank]) for each in shares) for rank in range(size)]
