"""Linear probing before fine-tuning: the head is fitted to the features as they are.

    min_{W,b}  ‖W‖² / 2 + C Σ_i L(y_i, W f_i + b),  C chosen on validation

Shape legend: ``N`` rows, ``D`` width of the fused features, ``C`` outputs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mmx.evaluation.metrics import PRIMARY, measure, score
from mmx.model import MultimodalModel
from mmx.objectives import Criterion
from mmx.tasks import Target
from mmx.training.data import Data, Rows, chunks
from mmx.training.encode import BATCH_SIZE
from mmx.training.precision import Precision

Floats = npt.NDArray[np.float64]

STRENGTHS = tuple(10.0**power for power in range(-4, 5))
"""C: what the summed loss counts beside the penalty."""

ITERATIONS = 1000


@dataclass(frozen=True)
class Linear:
    """A head that was fitted: ``f W^T + b``.

    Attributes:
        strength: C.
        weight: ``(C, D)``.
        bias: ``(C,)``.
        converged: Whether the fit ended before its iterations did.
    """

    strength: float
    weight: Floats
    bias: Floats
    converged: bool = True


def fit_head(
    model: MultimodalModel, data: Data, target: Target, criterion: Criterion, precision: Precision
) -> tuple[str, ...]:
    """Fit the model's linear head to the fused features of the training rows, in place.

    Classes: multinomial logistic regression; several labels: one logistic regression each,
    with one C; numbers: ridge regression. C is the one whose validation metrics are best, as
    a training's best epoch is chosen; of equals the smallest. Features are centred and
    divided by one number, their common deviation, so that C means the same for any encoder.
    All rows count alike, whatever the objective's class weights. Nothing is drawn.

    Args:
        model: Its head is an ``nn.Linear``.
        data: Of the target.
        target: What is predicted.
        criterion: Of the stage; its loss of outputs alone decides between equal metrics.
        precision: Of the forward pass.

    Returns:
        Notes on what was chosen.

    Reference: Kumar et al. 2022, arXiv 2202.10054.
    """
    x, y = fused_rows(model, data, data.rows("train"), precision)
    val, values = fused_rows(model, data, data.rows("val"), precision)
    best: tuple[tuple[float, ...], Linear, dict[str, float]] | None = None
    for fitted in solutions(x, y.numpy(), target):
        outputs = torch.from_numpy(val @ fitted.weight.T + fitted.bias).float()
        metrics = measure(outputs, values, target, criterion.task_loss)
        found = score(target.kind)(metrics)
        if best is None or found > best[0]:
            best = (found, fitted, metrics)
    head = model.head
    if best is None or not isinstance(head, nn.Linear):
        raise RuntimeError("a transfer asks for a probe only where there is a linear head")
    _, chosen, metrics = best
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(chosen.weight))
        head.bias.copy_(torch.from_numpy(chosen.bias))
    return (_note(chosen, PRIMARY[target.kind], metrics),)


def _note(chosen: Linear, name: str, metrics: dict[str, float]) -> str:
    """Return in words what was chosen."""
    at_end = chosen.strength in (STRENGTHS[0], STRENGTHS[-1])
    return (
        f"lp_ft: the head was fitted first, C = {chosen.strength:g} of {STRENGTHS[0]:g} … "
        f"{STRENGTHS[-1]:g} by validation ({name} {metrics[name]:.3f})"
        + ("; it is the last of the grid" if at_end else "")
        + ("" if chosen.converged else f"; not converged after {ITERATIONS} iterations")
    )


@torch.no_grad()
def fused_rows(
    model: MultimodalModel, data: Data, rows: Rows, precision: Precision
) -> tuple[Floats, Tensor]:
    """Return ``(N, D)`` fused features of rows, in evaluation mode, and their targets."""
    was_training = model.training
    model.eval()
    parts, targets = [], []
    for part, stored in data.batches(chunks(rows, BATCH_SIZE)):
        batch = data.assemble(part, stored, augment=False)
        with precision.autocast():
            fused = model.fused(model.encode(batch), batch.present)
        parts.append(fused.double().cpu())
        targets.append(batch.target.cpu())
    model.train(was_training)
    return torch.cat(parts).numpy(), torch.cat(targets)


def solutions(x: Floats, y: npt.NDArray[Any], target: Target) -> Iterator[Linear]:
    """Yield the fitted head for each C, from the smallest up.

    Args:
        x: ``(N, D)`` features.
        y: ``(N,)`` or ``(N, C)`` targets.
        target: What they mean.
    """
    centre = x.mean(0)
    centred = x - centre
    scale = math.sqrt(float(np.square(centred).mean())) or 1.0
    centred /= scale
    found = {
        "classes": _multinomial,
        "multilabel": _one_for_each,
        "regression": _ridge,
    }[target.kind](centred, y, target.outputs)
    for each in found:
        weight = each.weight / scale
        yield Linear(each.strength, weight, each.bias - weight @ centre, each.converged)


def _multinomial(x: Floats, y: npt.NDArray[Any], outputs: int) -> Iterator[Linear]:
    """Yield logistic regressions over all classes.

    A class without a row is as likely as half a row would make it: minus infinity would end
    training.
    """
    seen, counts = np.unique(y, return_counts=True)
    absent = np.setdiff1d(np.arange(outputs), seen)
    rarest = seen[counts.argmin()]
    for strength, coefficients, intercepts, converged in _logistic(x, y):
        weight, bias = np.zeros((outputs, x.shape[1])), np.zeros(outputs)
        if len(seen) == 2:  # one row for the second of them, against zero
            coefficients = np.concatenate([-coefficients, coefficients]) / 2
            intercepts = np.concatenate([-intercepts, intercepts]) / 2
        weight[seen], bias[seen] = coefficients, intercepts
        bias[absent] = bias[rarest] - math.log(2 * counts.min())
        yield Linear(strength, weight, bias, converged)


def _one_for_each(x: Floats, y: npt.NDArray[Any], outputs: int) -> Iterator[Linear]:
    """Yield a logistic regression for each label; a label that never changes gets its rate."""
    each = [_label(x, y[:, column]) for column in range(outputs)]
    for fits in zip(*each, strict=True):
        strengths, weights, biases, converged = zip(*fits, strict=True)
        yield Linear(strengths[0], np.concatenate(weights), np.concatenate(biases), all(converged))


Fit = tuple[float, Floats, Floats, bool]


def _label(x: Floats, y: npt.NDArray[Any]) -> Iterator[Fit]:
    positives = int(y.sum())
    if 0 < positives < len(y):
        yield from _logistic(x, y)
        return
    odds = (positives + 0.5) / (len(y) - positives + 0.5)
    for strength in STRENGTHS:
        yield strength, np.zeros((1, x.shape[1])), np.array([math.log(odds)]), True


def _logistic(x: Floats, y: npt.NDArray[Any]) -> Iterator[Fit]:
    """Yield C, coefficients ``(K, D)``, intercepts ``(K,)``, and whether the fit converged.

    K is the number of classes among the rows, 1 where there are two. Each fit starts from the
    one before.
    """
    from sklearn.exceptions import ConvergenceWarning  # slow to import
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(y)) == 1:
        for strength in STRENGTHS:
            yield strength, np.zeros((1, x.shape[1])), np.zeros(1), True
        return
    model = LogisticRegression(max_iter=ITERATIONS, warm_start=True)
    for strength in STRENGTHS:
        model.set_params(C=strength)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, y)
        converged = int(np.max(model.n_iter_)) < ITERATIONS
        yield strength, model.coef_.copy(), model.intercept_.copy(), converged


def _ridge(x: Floats, y: npt.NDArray[Any], outputs: int) -> Iterator[Linear]:
    """Yield ridge regressions ``‖w‖² / 2 + C ‖y - x w - b‖² / 2``, of one decomposition."""
    target = y.reshape(len(y), outputs).astype(np.float64)
    mean = target.mean(0)
    left, singular, right = np.linalg.svd(x, full_matrices=False)
    projected = left.T @ (target - mean)
    for strength in STRENGTHS:
        shrunk = singular / (singular**2 + 1 / strength)
        yield Linear(strength, ((right.T * shrunk) @ projected).T, mean)
