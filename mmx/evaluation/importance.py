"""How much each modality contributes to a score: Shapley values, exact for up to 8 modalities.

References: Shapley 1953, A value for n-person games; Castro et al. 2009, Polynomial calculation of
the Shapley value based on sampling.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from mmx.evaluation.subsets import Measure, Subset, SubsetAnswers, list_orders
from mmx.tasks import Target


@dataclass(frozen=True)
class Importance:
    """What each modality contributes to one score.

    Attributes:
        score: The metric's name, or ``recall`` for that of a class.
        values: Modality to φ, in the unit of the score. They sum to ``full - empty``.
        empty: The score without any modality, which is that of the prior.
        full: The score with all modalities.
    """

    score: str
    values: dict[str, float]
    empty: float
    full: float


def compute_shapley_values(value: Mapping[Subset, float]) -> dict[str, float]:
    """Return each modality's Shapley value.

        φ_m = Σ_{S ∌ m} |S|! (M - |S| - 1)! / M! · (v(S ∪ m) - v(S))

    Where not all subsets are known, it is the mean of v(S ∪ m) - v(S) over some orders, S being
    what comes before m. The values then still sum to v(all) - v(none).

    Args:
        value: v for the subsets of :func:`~mmx.evaluation.subsets.list_subsets`; each is a tuple
            sorted by name.
    """
    names = sorted({name for subset in value for name in subset})
    count = len(names)
    if len(value) < 2**count:
        return _estimate_shapley_values(value, names)
    weights = [
        math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
        for size in range(count)
    ]
    return {
        name: math.fsum(
            weights[len(subset)] * (value[tuple(sorted((*subset, name)))] - score)
            for subset, score in value.items()
            if name not in subset
        )
        for name in names
    }


def _estimate_shapley_values(
    value: Mapping[Subset, float], names: Sequence[str]
) -> dict[str, float]:
    """Return the mean of what each modality adds over the orders of :func:`list_orders`."""
    added: dict[str, list[float]] = {name: [] for name in names}
    for order in list_orders(names):
        for place, name in enumerate(order):
            before, after = (tuple(sorted(order[:end])) for end in (place, place + 1))
            added[name].append(value[after] - value[before])
    return {name: math.fsum(each) / len(each) for name, each in added.items()}


def measure_importance(answered: SubsetAnswers, measure: Measure, name: str) -> Importance:
    """Return the importance of the modalities for a metric, such as the primary one."""
    return _make_importance(
        name, {each: found[name] for each, found in answered.metrics(measure).items()}
    )


def measure_class_importance(answered: SubsetAnswers, target: Target) -> dict[str, Importance]:
    """Return the importance of the modalities for each class's recall.

    A class without rows is left out, since it has no recall. The result is empty if the target
    is not of kind classes.
    """
    if target.kind != "classes":
        return {}
    right = {
        subset: answers.outputs.argmax(1) == answered.values
        for subset, answers in answered.answers.items()
    }
    found = {}
    for index, name in enumerate(target.classes):
        rows = answered.values == index
        if rows.any():
            recalls = {each: hits[rows].to(torch.float64).mean() for each, hits in right.items()}
            found[name] = _make_importance(
                "recall", {each: float(one) for each, one in recalls.items()}
            )
    return found


def _make_importance(score: str, value: dict[Subset, float]) -> Importance:
    everything = max(value, key=len)
    return Importance(score, compute_shapley_values(value), value[()], value[everything])
