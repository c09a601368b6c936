"""One trained model under every subset of its modalities.

Shape legend: ``N`` rows, ``B`` batch, ``C`` outputs, ``M`` modalities.

Under a subset S, a modality is present where it is in S and the row has it. A row that has
none of S is answered by the prior of the training targets: every subset is measured on the
same rows, and the empty one is the prior alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from mmx.modalities import Features
from mmx.model import MultimodalModel
from mmx.tasks import Target
from mmx.training.data import Data, Rows, split_rows
from mmx.training.encode import BATCH_SIZE
from mmx.training.precision import Precision

Subset = tuple[str, ...]
"""Modalities, sorted by name."""

Measure = Callable[[Tensor, Tensor], dict[str, float]]
"""(outputs ``(N, C)``, targets) -> metrics."""


@dataclass(frozen=True)
class SubsetOutputs:
    """What the model says of all rows under one subset.

    Attributes:
        outputs: ``(N, C)`` float32 on the CPU.
        by_prior: How many rows have none of the modalities, so that the prior answers.
    """

    outputs: Tensor
    by_prior: int


@dataclass(frozen=True)
class SubsetAnswers:
    """What the model says under all subsets.

    Attributes:
        answers: The 2^M subsets, the empty one first, then by size and name.
        values: Targets of the rows, on the CPU, as the task has them.
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
    """Return all subsets, the empty one first, by size, then by name."""
    names = sorted(modalities)
    return [each for size in range(len(names) + 1) for each in combinations(names, size)]


def compute_prior(values: Tensor, target: Target) -> Tensor:
    """Return the outputs that follow from the training targets alone.

        classes     ln p_c                  p_c: part of the training rows with class c
        multilabel  ln p_c - ln (1 - p_c)
        regression  mean of the targets

    Where no training row has a label, or each has, p_c is taken to be half a row from 0 or 1,
    so that the loss is finite. Of equally frequent classes the first one is predicted.

    Args:
        values: Training targets, ``(N,)`` or ``(N, C)``, on the CPU; numbers standardised.
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
    """Return the outputs of the rows under every subset.

    Modalities are encoded once; what follows the encoders runs once for each subset.

    Args:
        model: Trained.
        data: What it reads.
        rows: Of a split.
        precision: Number format of the forward pass.
        prior: ``(C,)`` outputs for rows that have none of a subset.
    """
    every = list_subsets(data.views)
    outputs: dict[Subset, list[Tensor]] = {subset: [] for subset in every}
    blind = dict.fromkeys(every, 0)
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
                    blind[subset] += int((~has_any(present)).sum())
    answers = {each: SubsetOutputs(torch.cat(outputs[each]).cpu(), blind[each]) for each in every}
    return SubsetAnswers(answers, data.truth(rows))


def show_only(present: Mapping[str, Tensor], subset: Subset) -> dict[str, Tensor]:
    """Return ``(B,)`` presence where only the subset is shown."""
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
    """Return ``(B, C)`` float32 outputs; the prior's for rows without any modality.

    The model is not asked about such rows: few methods say what they mean without input.

    Args:
        model: In evaluation mode.
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
    """Evaluate for a while, without gradients."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
