"""Whether a difference of two models may be chance, tested by swapping their answers.

Shape legend: ``N`` test samples, ``K`` statistics, ``S`` seeds, ``R`` swaps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmx.evaluation.mcnemar import Discordant
from mmx.evaluation.sample_metric import Floats, Integers, Pair

SWAPS = 9_999
"""Random swaps where all would be too many."""
ALL = 12
"""Samples of which every one of the 2^12 ways to swap them is tried."""
SWAPS_AT_ONCE = 4_000_000
"""Numbers that are worked on at once."""


def swap_test(pairs: Sequence[Pair], *, seed: int = 0) -> float:
    """Return the p of the mean difference over seeds, were the two models alike, two-sided.

    If there were nothing between two models, then on any sample the answers of one could as
    well be those of the other. So on some of the samples the two change places, for all seeds
    at once, and p is the part of such swaps whose difference is as large as the one observed.
    A bootstrap knows only the few samples that it has; this also knows how few they are.

    Of one seed and an accuracy it is McNemar's exact test. Where few samples differ, all
    swaps are tried, else 9,999 random ones.

    Args:
        pairs: S of them; seeds that were tested on the same samples change places together.
        seed: Of the random swaps.

    Reference: Fisher 1935, The design of experiments; Phipson and Smyth 2010
    (arXiv:1603.05766), why p of random swaps is never 0.
    """
    if len(pairs) == 1 and (counts := Discordant.of(*pairs[0])):
        return counts.p
    blocks = _blocks(pairs)
    movable = sum(len(moved) for _, moved in blocks)
    observed = np.mean([first.value - second.value for first, second in pairs])
    every = movable <= ALL
    generator = np.random.default_rng(seed)
    as_large = total = 0
    # Half of all swaps: each has a mirror image, of the same size.
    wanted = 2 ** max(0, movable - 1) if every else SWAPS
    step = max(1, SWAPS_AT_ONCE // max(1, movable))
    for start in range(0, wanted, step):
        count = min(step, wanted - start)
        if every:
            numbers = np.arange(start, start + count)[:, None]
            swaps = (numbers >> np.arange(movable)) & 1
        else:
            swaps = generator.integers(0, 2, (count, movable), dtype=np.int8)
        found = _differences(blocks, swaps.astype(np.float64)) / len(pairs)
        as_large += int((np.abs(found) >= abs(observed) - 1e-12).sum())
        total += count
    return as_large / total if every else (1 + as_large) / (1 + total)


SwapBlock = tuple[list[Pair], Integers]
"""Pairs of the same samples, and those samples on which the models of a pair differ."""


def _blocks(pairs: Sequence[Pair]) -> list[SwapBlock]:
    """Return the pairs by the samples that they share."""
    found: dict[bytes, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(pair[0].rows.tobytes(), []).append(pair)
    blocks = []
    for members in found.values():
        differ = [(first.statistics != second.statistics).any(1) for first, second in members]
        blocks.append((members, np.flatnonzero(np.any(differ, axis=0))))
    return blocks


def _differences(blocks: Sequence[SwapBlock], swaps: Floats) -> Floats:
    """Return the ``(R,)`` sums over pairs of their differences after swaps ``(R, movable)``."""
    total = np.zeros(len(swaps))
    start = 0
    for members, moved in blocks:
        part = swaps[:, start : start + len(moved)]
        start += len(moved)
        for first, second in members:
            over = (first.statistics - second.statistics)[moved]
            change = part @ over
            mine = first.of_sums(first.statistics.sum(0) - change)
            total += mine - second.of_sums(second.statistics.sum(0) + change)
    return total
