"""The plan of successive halving: how many candidates each rung trains, and for how long.

Many candidates train for a little, few of them for longer.

Reference: Jamieson and Talwalkar 2016, arXiv 1502.07943.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Rung:
    """One round of trials.

    Attributes:
        candidates: How many are trained.
        epochs: Each, from its start, under a schedule of that length.
    """

    candidates: int
    epochs: int


def compute_sizes(count: int, eta: int) -> tuple[int, ...]:
    """Return how many candidates each rung has: n, ⌈n/η⌉, ⌈n/η²⌉ …, down to at least two.

    A single candidate has no rung: there is nothing to choose.

    Args:
        count: n, at least 1.
        eta: η, at least 2: one in so many is kept.
    """
    sizes = []
    while count > 1:
        sizes.append(count)
        count = -(-count // eta)  # ⌈count / eta⌉
    return tuple(sizes)


def plan_by_steps(
    count: int, eta: int, budget: int, steps_per_epoch: int, epochs: int
) -> tuple[Rung, ...]:
    """Return the rungs that a budget of optimiser steps allows.

    Each of R rungs has the same share B/R. In a rung of n candidates each is trained for
    ⌊B / (R n S)⌋ epochs of S steps, but no longer than the run itself trains. Where the share of
    the first rung has no epoch for each, fewer candidates enter: as many as can have one.

    Args:
        count: Candidates there are.
        eta: One in so many is kept.
        budget: B, steps of all trials together.
        steps_per_epoch: S.
        epochs: Of the run itself.

    Returns:
        The rungs; the first says how many candidates enter. None for one candidate, or
        where not even two can have an epoch each.
    """
    for entering in range(count, 1, -1):
        sizes = compute_sizes(entering, eta)
        share = budget // len(sizes)
        lengths = [min(epochs, share // (size * steps_per_epoch)) for size in sizes]
        if lengths[0] > 0:
            return tuple(Rung(*each) for each in zip(sizes, lengths, strict=True))
    return ()


def plan_by_seconds(count: int, eta: int, epochs: int) -> tuple[Rung, ...]:
    """Return the rungs of a budget of seconds: the last trains as long as the run itself.

    Each rung trains 1/η as long as the next one, but at least one epoch. While the search goes
    on, :func:`fit_rung` makes rungs smaller and shorter where the seconds ask for it.

    Args:
        count: Candidates there are.
        eta: One in so many is kept.
        epochs: Of the run itself.
    """
    sizes = compute_sizes(count, eta)
    return tuple(
        Rung(size, max(1, epochs // eta**below_last))
        for size, below_last in zip(sizes, reversed(range(len(sizes))), strict=True)
    )


def fit_rung(epochs: int, before: int, epoch_seconds: Sequence[float], left: float) -> Rung:
    """Return a rung as large and as long as the seconds that are left allow.

    It is better that fewer candidates enter than that none trains for longer than before.

    Args:
        epochs: Planned for each candidate.
        before: Epochs of the rung before.
        epoch_seconds: What an epoch of each candidate takes, the best candidate first.
        left: Seconds for the whole rung.

    Returns:
        How many of the best candidates enter, and for how many epochs; the planned epochs and
        no candidate where the seconds do not suffice for two.
    """
    for count in range(len(epoch_seconds), 1, -1):
        cost = sum(epoch_seconds[:count])
        # A cost of 0, of fitted heads alone, always fits: nothing is divided by it.
        fits = epochs if cost * epochs <= max(0.0, left) else int(left / cost)
        if fits >= min(epochs, before + 1):
            return Rung(count, fits)
    return Rung(0, epochs)


def find_least_steps(steps_per_epoch: int) -> int:
    """Return the smallest budget that allows a choice: one rung of two, an epoch each."""
    return 2 * steps_per_epoch
