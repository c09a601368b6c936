"""Successive halving: many candidates trained a little, few of them longer (arXiv 1502.07943)."""

from __future__ import annotations

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


def sizes(count: int, eta: int) -> tuple[int, ...]:
    """Return how many candidates each rung has: n, ⌈n/η⌉, ⌈n/η²⌉ …, as long as there are two.

    A single candidate has no rung: there is nothing to choose.

    Args:
        count: n, at least 1.
        eta: η, at least 2: one in so many is kept.
    """
    found = []
    while count > 1:
        found.append(count)
        count = -(-count // eta)
    return tuple(found)


def by_steps(
    count: int, eta: int, budget: int, steps_per_epoch: int, epochs: int
) -> tuple[Rung, ...]:
    """Return the rungs that a budget of optimiser steps allows.

    Each of R rungs has the same share B/R. In a rung of n candidates each is trained for
    ⌊B / (R n S)⌋ epochs of S steps, though no longer than the run itself trains. Where that is
    no epoch in the first rung, fewer candidates enter it: as many as can have one each.

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
        rounds = sizes(entering, eta)
        share = budget // len(rounds)
        lengths = [min(epochs, share // (size * steps_per_epoch)) for size in rounds]
        if lengths[0] > 0:
            return tuple(Rung(*each) for each in zip(rounds, lengths, strict=True))
    return ()


def by_seconds(count: int, eta: int, epochs: int) -> tuple[Rung, ...]:
    """Return the rungs of a budget of seconds: the last trains as long as the run itself.

    Each rung before trains 1/η as long as the next, one epoch at least. The first takes as many
    candidates, and those after it are as long, as the seconds allow.

    Args:
        count: Candidates there are.
        eta: One in so many is kept.
        epochs: Of the run itself.
    """
    rounds = sizes(count, eta)
    return tuple(
        Rung(size, max(1, epochs // eta ** (len(rounds) - 1 - place)))
        for place, size in enumerate(rounds)
    )


def least_steps(steps_per_epoch: int) -> int:
    """Return the smallest budget that allows a choice: one rung of two, an epoch each."""
    return 2 * steps_per_epoch
