"""Linear probing before fine-tuning: the head is fitted to the features as they are.

    min_{W,b}  ‖W‖² / 2 + C Σ_i L(y_i, W f_i + b),  C chosen on validation

Shape legend: ``N`` rows, ``D`` width of the fused features, ``C`` outputs, ``R`` directions in
which the features vary, ``G`` values of C in the grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mmx.errors import DivergedError
from mmx.evaluation.metrics import find_primary, make_score, measure
from mmx.metrics import Metric
from mmx.model import MultimodalModel
from mmx.objectives import Criterion
from mmx.stages.phases.base import Notes, StageState
from mmx.tasks import Target
from mmx.training.data import Data, Rows, split_rows
from mmx.training.encode import BATCH_SIZE
from mmx.training.precision import Precision
from mmx.transfer.heads.closed_form import solve_ridge
from mmx.transfer.heads.logistic import solve_all
from mmx.transfer.heads.rotation import rotate
from mmx.transfer.phases import LinearProbe

ProbeFloats = npt.NDArray[np.float64]

STRENGTHS = tuple(10.0**power for power in range(-4, 5))
"""The grid of C, the weight of the summed loss against the penalty."""


@dataclass(frozen=True)
class FittedLinear:
    """A head that was fitted: ``f W^T + b``.

    Attributes:
        strength: C.
        weight: ``(C, D)``.
        bias: ``(C,)``.
    """

    strength: float
    weight: ProbeFloats
    bias: ProbeFloats


def fit_linear_probe(phase: LinearProbe, state: StageState) -> Notes:
    """Fit the head of a stage's model."""
    criterion, precision = state.prepared.criterion, state.context.precision
    return fit_linear_head(
        state.model, state.data, state.target, criterion, precision, state.metric
    )


def fit_linear_head(
    model: MultimodalModel,
    data: Data,
    target: Target,
    criterion: Criterion,
    precision: Precision,
    metric: Metric | None = None,
) -> tuple[str, ...]:
    """Fit the model's linear head to the fused features of the training rows, in place.

    Classes: multinomial logistic regression; several labels: one logistic regression each,
    with one C; numbers: ridge regression. C has the best validation metrics, chosen as the best
    epoch of a training is; among equals it is the smallest. Features are centred and divided by
    one number, their common deviation, so that C means the same for any encoder. All rows have
    the same weight, whatever the objective's class weights. No random numbers are drawn.

    Args:
        model: A model with an ``nn.Linear`` head.
        data: The target's data.
        target: What is predicted.
        criterion: The stage's objective; its loss decides between equal metrics.
        precision: Number format of the forward pass.
        metric: The metric that is chosen; None for the usual one.

    Returns:
        Notes on what was chosen.

    Reference: Kumar et al. 2022, arXiv 2202.10054.
    """
    x, y = fuse_rows(model, data, data.rows("train"), precision)
    val, _ = fuse_rows(model, data, data.rows("val"), precision)
    values = data.truth(data.rows("val"))
    best: tuple[tuple[float, ...], FittedLinear, dict[str, float]] | None = None
    for fitted in fit_solutions(x, y.numpy(), target):
        outputs = torch.from_numpy(val @ fitted.weight.T + fitted.bias).float()
        metrics = measure(outputs, values, target, criterion.task_loss, metric)
        found = make_score(target.kind, metric)(metrics)
        # Strictly better: among equals the first stays, which has the smallest C.
        if best is None or found > best[0]:
            best = (found, fitted, metrics)
    head = model.head
    if best is None or not isinstance(head, nn.Linear):
        raise RuntimeError("a transfer asks for a probe only where there is a linear head")
    _, chosen, metrics = best
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(chosen.weight))
        head.bias.copy_(torch.from_numpy(chosen.bias))
    return (_note(chosen, find_primary(target.kind, metric), metrics),)


def _note(chosen: FittedLinear, name: str, metrics: dict[str, float]) -> str:
    """Return in words what was chosen."""
    at_end = chosen.strength in (STRENGTHS[0], STRENGTHS[-1])
    return (
        f"lp_ft: the head was fitted first, C = {chosen.strength:g} of {STRENGTHS[0]:g} … "
        f"{STRENGTHS[-1]:g} by validation ({name} {metrics[name]:.3f})"
        + ("; it is the last of the grid" if at_end else "")
    )


@torch.no_grad()
def fuse_rows(
    model: MultimodalModel, data: Data, rows: Rows, precision: Precision
) -> tuple[ProbeFloats, Tensor]:
    """Return ``(N, D)`` fused features of rows, in evaluation mode, and their targets.

    Raises:
        DivergedError: A feature is NaN or infinite.
    """
    was_training = model.training
    model.eval()
    parts, targets = [], []
    for part, stored in data.batches(split_rows(rows, BATCH_SIZE)):
        batch = data.assemble(part, stored, augment=False)
        with precision.autocast():
            fused = model.fuse(model.encode(batch), batch.present)
        parts.append(fused.double().cpu())  # float64: the solvers need the digits
        targets.append(batch.target.cpu())
    model.train(was_training)
    features = torch.cat(parts)
    if wild := int((~features.isfinite()).any(1).sum()):
        raise DivergedError(
            f"the features of {wild} of {len(features)} rows are not finite",
            tip="a smaller optimizer.lr trains a source that does not overflow"
            if precision.name == "fp32"
            else "precision=fp32",
        )
    return features.numpy(), torch.cat(targets)


def fit_solutions(x: ProbeFloats, y: npt.NDArray[Any], target: Target) -> Iterator[FittedLinear]:
    """Yield the fitted head for each C, from the smallest up.

    Args:
        x: ``(N, D)`` features.
        y: ``(N,)`` or ``(N, C)`` targets.
        target: What they mean.
    """
    turned, values = rotate(torch.from_numpy(x), common=True), torch.from_numpy(y)
    if target.kind == "regression":
        wanted = values.double().view(len(y), target.outputs)
        states = solve_ridge(turned, wanted, [1 / strength for strength in STRENGTHS])
    else:
        fit = _fit_multinomial if target.kind == "classes" else _fit_each_label
        states = (
            turned.to_linear(each[:-1], each[-1]) for each in fit(turned.z, values, target.outputs)
        )
    for strength, state in zip(STRENGTHS, states, strict=True):
        yield FittedLinear(strength, state["weight"].numpy(), state["bias"].numpy())


def _fit_multinomial(z: Tensor, y: Tensor, outputs: int) -> Tensor:
    """Return weights and, as their last row, intercepts for all classes: ``(G, R + 1, C)``.

    A class without rows gets the intercept of half a row: minus infinity would break later
    training.
    """
    seen, index, counts = torch.unique(y, return_inverse=True, return_counts=True)
    if len(seen) == 2:
        # Symmetric weights ±w / 2, as the penalty of the multinomial model would make them.
        difference = _fit_binary(z, index)
        found = torch.stack([-difference, difference], dim=2) / 2
    else:
        found = solve_all(z, index, len(seen), STRENGTHS)
    theta = z.new_zeros(len(STRENGTHS), z.shape[1] + 1, outputs)
    rarest = counts.argmin()
    # log(½ / n) below the intercept of the rarest class that was seen, of n rows.
    theta[:, -1] = (found[:, -1, rarest] - math.log(2 * counts[rarest]))[:, None]
    theta[:, :, seen] = found
    return theta


def _fit_each_label(z: Tensor, y: Tensor, outputs: int) -> Tensor:
    """Return the same for a separate logistic regression for each label.

    A label that is the same in all rows gets the log odds of its smoothed rate.
    """
    theta = z.new_zeros(len(STRENGTHS), z.shape[1] + 1, outputs)
    for column, label in enumerate(y.long().T):
        positives = int(label.sum())
        if 0 < positives < len(label):
            theta[:, :, column] = _fit_binary(z, label)
        else:
            theta[:, -1, column] = math.log((positives + 0.5) / (len(label) - positives + 0.5))
    return theta


def _fit_binary(z: Tensor, y: Tensor) -> Tensor:
    """Return weights and intercept of class 1 against class 0, ``(G, R + 1)``; both must occur.

    ``w`` against zero is the same model as ``w / 2`` against ``-w / 2``, which has half the
    penalty; so C is halved.
    """
    found = solve_all(z, y, 2, [strength / 2 for strength in STRENGTHS])
    return found[:, :, 1] - found[:, :, 0]
