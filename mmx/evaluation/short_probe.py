"""The short probe of a ranking: a linear model on frozen features, in closed form.

Shape legend: ``N`` training rows, ``M`` validation rows, ``D`` features, ``C`` outputs.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mmx.evaluation.metrics import PRIMARY, measure
from mmx.tasks import Target

RIDGE = 1e-2


@torch.no_grad()
def score_short_probe(
    train: tuple[Tensor, Tensor], val: tuple[Tensor, Tensor], target: Target
) -> tuple[str, float]:
    """Return the metric of a ridge regression on frozen features, and its value.

        W = (XᵀX + λN I)⁻¹ Xᵀ (Y − Ȳ),  outputs = X_val W + Ȳ,  λ = 0.01

    X are the training features, centred and divided by their standard deviations; Y is one-hot
    for classes. λ is fixed, so that nothing is tuned on the validation rows and their metric is
    unbiased. It needs no training steps and no random numbers.

    Args:
        train: Features ``(N, D)``, and targets as the task gives them.
        val: The same for the validation rows.
        target: What the targets mean.

    Returns:
        ``accuracy`` for classes, ``f1_macro`` for several labels, ``r2`` for numbers.
    """
    (x, y), (x_val, y_val) = train, val
    x, x_val = x.cpu().double(), x_val.cpu().double()
    mean, spread = x.mean(0), x.std(0, correction=0)
    spread = torch.where(spread > 0, spread, 1.0)
    x, x_val = (x - mean) / spread, (x_val - mean) / spread
    wanted = _make_targets(y.cpu(), target)
    bias = wanted.mean(0)
    weights = _ridge(x, wanted - bias)
    outputs = x_val @ weights + bias  # (M, C)
    if target.kind == "multilabel":
        outputs -= 0.5  # so that outputs above 0 are predicted, as for logits
    name = PRIMARY[target.kind]
    standardized = replace(target, mean=0.0, std=1.0)  # the targets are standardised already
    found = measure(outputs, y_val.cpu(), standardized, lambda out, _: out.new_zeros(()))
    return name, found[name]


def _make_targets(y: Tensor, target: Target) -> Tensor:
    """Return ``(N, C)`` numbers to regress on."""
    if target.kind == "classes":
        return torch.nn.functional.one_hot(y, target.outputs).double()
    return y.double().reshape(len(y), -1)


def _ridge(x: Tensor, y: Tensor) -> Tensor:
    """Return ``(D, C)`` ridge weights from the smaller of two equivalent linear systems.

    The primal one is D × D, the dual one N × N: (XᵀX + λN I)⁻¹ Xᵀ = Xᵀ (XXᵀ + λN I)⁻¹.
    """
    rows, width = x.shape
    if width <= rows:
        gram = x.T @ x + RIDGE * rows * torch.eye(width, dtype=x.dtype)
        weights: Tensor = torch.linalg.solve(gram, x.T @ y)
        return weights
    gram = x @ x.T + RIDGE * rows * torch.eye(rows, dtype=x.dtype)
    dual: Tensor = torch.linalg.solve(gram, y)
    return x.T @ dual
