"""A permutation test of the difference of two models, which swaps their answers.

Shape legend: ``N`` test rows (samples), ``K`` statistics, ``S`` seeds, ``R`` swaps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mmx.evaluation.mcnemar import Discordant
from mmx.evaluation.sample_metric import Indices, Pair, SampleScores
from mmx.metrics import SumMetric
from mmx.metrics.base import Floats

SWAPS = 9_999
"""Number of random swaps, if there are too many to try all."""
ALL = 12
"""With at most this many samples that differ, all of the up to 2^12 swaps are tried."""
FEWEST_SWAPS = 999
"""Random swaps of a metric that is no function of sums are never fewer."""
WORK = 400_000_000
"""Numbers that these may take, N · K for each."""
SWAPS_AT_ONCE = 4_000_000
"""Numbers that are computed at once; it bounds the memory."""


def swap_test(pairs: Sequence[Pair], *, seed: int = 0, by_row: bool = False) -> float:
    """Return the two-sided p-value of the mean difference over seeds.

    Null hypothesis: the two models are exchangeable, so that on any sample the answer of one
    could be that of the other. The test swaps their answers on a random subset of the samples,
    for all seeds at once; p is the fraction of swaps with a difference at least as large as the
    observed one. Unlike a bootstrap, the test stays valid with few samples.

    With one seed and accuracy it is McNemar's exact test. If few samples differ, all swaps are
    tried, otherwise 9,999 random ones.

    Args:
        pairs: S pairs of scores; seeds tested on the same samples are swapped together.
        seed: Seed of the random swaps.
        by_row: Whether samples of one row number are swapped together, whatever other samples
            their pairs have.

    Reference: Fisher 1935, The design of experiments; Phipson and Smyth 2010
    (arXiv:1603.05766), why the p-value of random swaps is never 0.
    """
    if len(pairs) == 1 and (counts := Discordant.of(*pairs[0])):
        return counts.p
    blocks, movable = _align_rows(pairs) if by_row else _group_pairs(pairs)
    observed = np.mean([first.value - second.value for first, second in pairs])
    if not np.isfinite(observed):
        return math.nan
    every = movable <= ALL
    generator = np.random.default_rng(seed)
    as_large = total = 0
    # Half of all swaps: swapping the complement gives the same absolute difference.
    # Numbers below 2^(movable - 1) have digit 0 for the last column: one of each pair of
    # complements.
    wanted = 2 ** max(0, movable - 1) if every else _count_swaps(pairs[0][0])
    step = max(1, SWAPS_AT_ONCE // max(1, movable))
    for start in range(0, wanted, step):
        count = min(step, wanted - start)
        if every:
            numbers = np.arange(start, start + count)[:, None]
            swaps = (numbers >> np.arange(movable)) & 1  # (count, movable) binary digits
        else:
            swaps = generator.integers(0, 2, (count, movable), dtype=np.int8)
        found = _differences(blocks, swaps.astype(np.float64)) / len(pairs)
        # 1e-12 less: a sum in another order must count as equally large.
        as_large += int((np.abs(found) >= abs(observed) - 1e-12).sum())
        total += count
    # The observed one counts as a swap too, so that p is never 0 (Phipson and Smyth 2010).
    return as_large / total if every else (1 + as_large) / (1 + total)


def _count_swaps(scores: SampleScores) -> int:
    """Return how many random swaps are tried; fewer where the metric is no function of sums."""
    if isinstance(scores.form, SumMetric):
        return SWAPS
    allowed = WORK // max(1, scores.statistics.size)
    return max(FEWEST_SWAPS, min(SWAPS, allowed, scores.form.most_resamples))


SwapBlock = tuple[list[Pair], Indices, slice | Indices]
"""Pairs of the same samples, those samples on which the models of a pair differ, and their columns
in the table of swaps."""


def _group_pairs(pairs: Sequence[Pair]) -> tuple[list[SwapBlock], int]:
    """Return the pairs grouped by the samples that they were tested on, and all columns' number."""
    found: dict[bytes, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(pair[0].rows.tobytes(), []).append(pair)
    blocks: list[SwapBlock] = []
    start = 0
    for members in found.values():
        differ = [(first.statistics != second.statistics).any(1) for first, second in members]
        moved = np.flatnonzero(np.any(differ, axis=0))
        # Seeds that are tested on the same rows are swapped together, row by row.
        blocks.append((members, moved, slice(start, start + len(moved))))
        start += len(moved)
    return blocks, start


def _align_rows(pairs: Sequence[Pair]) -> tuple[list[SwapBlock], int]:
    """Return the pairs, with one column for each row number on which any pair differs."""
    moved = [
        np.flatnonzero((first.statistics != second.statistics).any(1)) for first, second in pairs
    ]
    rows = [first.rows[each] for (first, _), each in zip(pairs, moved, strict=True)]
    every = np.unique(np.concatenate(rows))
    blocks: list[SwapBlock] = [
        # The place of each own row among all rows: its column in the table of swaps.
        ([pair], each, np.searchsorted(every, own))
        for pair, each, own in zip(pairs, moved, rows, strict=True)
    ]
    return blocks, len(every)


def _differences(blocks: Sequence[SwapBlock], swaps: Floats) -> Floats:
    """Return the ``(R,)`` sums over pairs of their differences after swaps ``(R, movable)``."""
    total = np.zeros(len(swaps))
    for members, moved, columns in blocks:
        part = swaps[:, columns]
        for first, second in members:
            if not isinstance(first.form, SumMetric):
                total += _swap_answers(first, second, moved, part)
                continue
            over = (first.statistics - second.statistics)[moved]
            # (R, moved) @ (moved, K): what swaps take from the first sums and add to the second.
            change = part @ over
            mine = first.of_sums(first.statistics.sum(0) - change)
            total += mine - second.of_sums(second.statistics.sum(0) + change)
    return total


def _swap_answers(
    first: SampleScores, second: SampleScores, moved: Indices, swaps: Floats
) -> Floats:
    """Return the ``(R,)`` differences of two models of which some answers are swapped.

    Swapped or not, a model's answers are those of N of the 2 N rows of both.
    """
    count = len(first.statistics)
    # Both models' answers as rows: a swap gives weight 1 to one of the two, 0 to the other.
    both = np.concatenate([first.statistics, second.statistics])
    resample, classes = first.form.resample, first.classes
    step, found = max(1, SWAPS_AT_ONCE // (2 * count)), []
    for start in range(0, len(swaps), step):
        part = swaps[start : start + step].astype(np.int64)
        swapped = np.zeros((len(part), count), dtype=np.int64)
        swapped[:, moved] = part
        kept = np.concatenate([1 - swapped, swapped], axis=1)
        found.append(resample(both, kept, classes) - resample(both, 1 - kept, classes))
    # Undefined with these answers: counted as no difference.
    differences: Floats = np.nan_to_num(np.concatenate(found), nan=0.0)
    return differences
