"""Splits by time: the latest rows are cut off, and rows of the same time stay together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mmx.tasks.splits import SplitRows


def cut_latest(
    rows: SplitRows, times: npt.NDArray[np.int64], fraction: float
) -> tuple[SplitRows, SplitRows]:
    """Divide rows into earlier and latest ones, both ascending by row number.

    The boundary lies between two times, where the number of latest rows is nearest to
    ``fraction``; of two as near, the later. Both parts are empty if all rows have one time.

    Args:
        rows: Row numbers, ``(N,)``.
        times: Rank of each row's time, ``(N,)``.
        fraction: Share of the rows to cut off.
    """
    found, counts = np.unique(times, return_counts=True)
    if len(found) < 2:
        return rows[:0], rows[:0]
    latest = np.cumsum(counts[::-1])[:-1]  # rows that would be cut off before each time
    wanted = max(1, round(fraction * len(rows)))
    taken = int(np.abs(latest - wanted).argmin())
    late = times >= found[::-1][taken]
    return np.sort(rows[~late]), np.sort(rows[late])
