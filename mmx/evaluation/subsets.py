"""A trained model evaluated with every subset of its modalities.

Shape legend: ``N`` rows, ``B`` batch, ``C`` outputs, ``M`` modalities.

With a subset S, a modality is present if it is in S and the row has it. Rows that have none of S
are answered by the prior of the training targets, so that every subset is measured on the same
rows; with the empty subset the prior answers all of them. All 2^M subsets of up to 8 modalities
are tried, and some of more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from random import Random

import torch
from torch import Tensor

from mmx.modalities import Features
from mmx.model import MultimodalModel
from mmx.tasks import Target
from mmx.training.data import Data, Rows, split_rows
from mmx.training.encode import BATCH_SIZE
from mmx.training.precision import Precision

ALL_SUBSETS = 8
"""Most modalities of which every subset is tried: 256 subsets."""
ORDERS = 64
"""Orders of more modalities that are tried; 16 have up to 960 subsets in these."""
Subset = tuple[str, ...]
"""Modalities, sorted by name."""

Measure = Callable[[Tensor, Tensor], dict[str, float]]
"""(outputs ``(N, C)``, targets) -> metrics."""


@dataclass(frozen=True)
class SubsetOutputs:
    """The model's outputs for all rows with one subset.

    Attributes:
        outputs: ``(N, C)`` float32 on the CPU.
        by_prior: How many rows have none of the modalities and are answered by the prior.
    """

    outputs: Tensor
    by_prior: int


@dataclass(frozen=True)
class SubsetAnswers:
    """The model's outputs with all subsets.

    Attributes:
        answers: The subsets of :func:`list_subsets`, the empty one first, then by size and name.
        values: Targets of the rows, on the CPU, in the task's own unit.
    """

    answers: dict[Subset, SubsetOutputs]
    values: Tensor

    def metrics(self, measure: Measure) -> dict[Subset, dict[str, float]]:
        """Return the metrics of each subset."""
        return {
            subset: measure(answers.outputs, self.values)
            for subset, answers in self.answers.items()
        }


def list_subsets(modalities: Iterable[str]) -> list[Subset]:
    """Return the subsets that are tried, sorted by size and then by name.

    They are all 2^M of up to :data:`ALL_SUBSETS` modalities. Of more, they are those with none,
    one, all but one and all of them, and those that :func:`list_orders` passes through.
    """
    names = sorted(modalities)
    if len(names) <= ALL_SUBSETS:
        return [each for size in range(len(names) + 1) for each in combinations(names, size)]
    few = [
        each for size in (0, 1, len(names) - 1, len(names)) for each in combinations(names, size)
    ]
    passed = [
        tuple(sorted(order[:size])) for order in list_orders(names) for size in range(len(names))
    ]
    return sorted({*few, *passed}, key=lambda each: (len(each), each))


def list_orders(modalities: Iterable[str]) -> list[Subset]:
    """Return orders in which modalities may be shown, the same for the same names.

    Each is followed by its reverse, so that what a modality adds early and late counts alike.
    """
    random, found = Random(0), list[Subset]()
    for _ in range(ORDERS // 2):
        order = sorted(modalities)
        random.shuffle(order)
        found += [tuple(order), tuple(reversed(order))]
    return found


def is_shown(subset: Subset, count: int) -> bool:
    """Return whether a reader is shown a subset of ``count`` modalities: not all of many."""
    return count <= ALL_SUBSETS or len(subset) in (0, 1, count - 1, count)


def compute_prior(values: Tensor, target: Target) -> Tensor:
    """Return the outputs of a model that knows only the training targets.

        classes     ln p_c                  p_c: fraction of the training rows with class c
        multilabel  ln p_c - ln (1 - p_c)
        regression  mean of the targets

    If no training row has a label, or every one has it, p_c is taken to be half a row away from
    0 or 1, so that the loss is finite. Among equally frequent classes the first is predicted.

    Args:
        values: Training targets ``(N,)`` or ``(N, C)`` on the CPU; numbers are standardised.
        target: What they mean.

    Returns:
        ``(C,)`` float32.
    """
    if target.kind == "regression":
        return values.double().mean().float().reshape(1)
    half = 0.5 / len(values)
    if target.kind == "classes":
        counts = torch.bincount(values, minlength=target.outputs)
        return (counts.double() / len(values)).clamp(min=half).log().float()
    return values.double().mean(0).clamp(half, 1 - half).logit().float()


def predict_subsets(
    model: MultimodalModel, data: Data, rows: Rows, precision: Precision, prior: Tensor
) -> SubsetAnswers:
    """Return the outputs of the rows with every subset.

    Modalities are encoded once; the rest of the model runs once for each subset.

    Args:
        model: A trained model.
        data: The data that it reads.
        rows: Row numbers of a split.
        precision: Number format of the forward pass.
        prior: ``(C,)`` outputs for rows that have none of a subset.
    """
    every = list_subsets(data.views)
    outputs: dict[Subset, list[Tensor]] = {subset: [] for subset in every}
    by_prior = dict.fromkeys(every, 0)
    prior = prior.to(data.device)
    with evaluation_mode(model):
        for part, stored in data.batches(split_rows(rows, BATCH_SIZE)):
            batch = data.assemble(part, stored, augment=False)
            with precision.autocast():
                features = model.encode(batch)
                for subset in every:
                    present = show_only(batch.present, subset)
                    answered = answer_subset(model, features, present, prior)
                    outputs[subset].append(answered)
                    by_prior[subset] += int((~has_any(present)).sum())
    answers = {
        each: SubsetOutputs(torch.cat(outputs[each]).cpu(), by_prior[each]) for each in every
    }
    return SubsetAnswers(answers, data.truth(rows))


def show_only(present: Mapping[str, Tensor], subset: Subset) -> dict[str, Tensor]:
    """Return presence ``(B,)`` with only the modalities of the subset."""
    return {
        name: here if name in subset else torch.zeros_like(here) for name, here in present.items()
    }


def has_any(present: Mapping[str, Tensor]) -> Tensor:
    """Return ``(B,)`` bool: whether the row has any modality."""
    return torch.stack(list(present.values())).any(0)


def answer_subset(
    model: MultimodalModel,
    features: dict[str, Features],
    present: dict[str, Tensor],
    prior: Tensor,
) -> Tensor:
    """Return ``(B, C)`` float32 outputs, which are the prior's for rows without any modality.

    The model does not see such rows: few fusions define their output without any input.

    Args:
        model: A model in evaluation mode.
        features: Modality to features.
        present: Modality to ``(B,)`` bool.
        prior: ``(C,)`` on the model's device.
    """
    seen = has_any(present)
    if seen.all():
        return model.decide(features, present).float()
    outputs = prior.repeat(len(seen), 1)
    rows = seen.nonzero().squeeze(1)
    if len(rows):
        some = {name: each.map(lambda part: part[rows]) for name, each in features.items()}
        here = {name: each[rows] for name, each in present.items()}
        outputs[rows] = model.decide(some, here).float()
    return outputs


@contextmanager
def evaluation_mode(model: MultimodalModel) -> Iterator[None]:
    """Put the model in evaluation mode, without gradients, inside the block."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
