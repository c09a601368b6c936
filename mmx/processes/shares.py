"""Which rows of a batch each process takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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


def divide_step(
    batches: Sequence[Rows], size: int, kind: Callable[[Rows], object] | None = None
) -> list[list[Rows]]:
    """Return the shares of a step's batches that each process takes, empty ones among them.

    Args:
        batches: The batches.
        size: The number of processes.
        kind: What a share has, such as its modalities, where all processes need shares of one kind
            since they compute each layer together; None for rows that no others can be computed
            with. Where they are not of one kind, the first takes all rows.
    """
    divided = [divide_rows(rows, size) for rows in batches]
    if kind is not None and not all(
        _are_of_one_kind([rows, *shares], kind)
        for rows, shares in zip(batches, divided, strict=True)
    ):
        divided = [[rows, *[rows[:0]] * (size - 1)] for rows in batches]
    return [[shares[rank] for shares in divided] for rank in range(size)]


def _are_of_one_kind(parts: Sequence[Rows], kind: Callable[[Rows], object]) -> bool:
    """Return whether a batch and its shares have rows, and all are of one kind."""
    if not all(map(len, parts)):
        return False
    kinds = {kind(rows) for rows in parts}
    return len(kinds) == 1 and None not in kinds
