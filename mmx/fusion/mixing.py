"""Several decisions on a row made one, and the weights of that found on validation rows.

Shape legend: ``N`` rows, ``K`` decisions on each row, ``C`` outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mmx.modalities import Encoded, Features

Combine = Literal["logits", "probabilities"]


def mix(decisions: Tensor, log_weights: Tensor, combine: Combine) -> Tensor:
    """Return the weighted mean of the decisions, ``(N, C)``.

        ŷ = Σ_k w_k ŷ_k                        of logits
        ŷ = ln Σ_k w_k softmax(ŷ_k)            of probabilities

    The log of a mean probability is a logit whose softmax is that mean, so cross-entropy
    stays right.

    Args:
        decisions: ``(N, K, C)``, finite.
        log_weights: ``(N, K)`` ln w, summing to one in each row; minus infinity counts out.
        combine: What is averaged.
    """
    if combine == "probabilities":
        return (log_weights[:, :, None] + decisions.log_softmax(2)).logsumexp(1)
    return (log_weights.exp()[:, :, None] * decisions).sum(1)


def log_shares(counts: Tensor, there: Tensor) -> Tensor:
    """Return ``(N, K)`` ln of the counts' shares among the decisions that are there.

    Where none of those counted is there, all that are there share equally.

    Args:
        counts: ``(K,)`` ≥ 0.
        there: ``(N, K)`` bool, at least one True in each row.
    """
    counted = counts.expand(there.shape).masked_fill(~there, 0.0)
    lost = counted.sum(1, keepdim=True) == 0
    counted = torch.where(lost, there.to(counted.dtype), counted)
    return (counted / counted.sum(1, keepdim=True)).log()


def proper_loss(outputs: Tensor, target: Tensor) -> Tensor:
    """Return the mean loss that only the truth minimises, for the kind of the target.

    Cross-entropy of ``(N,)`` int64 classes, binary cross-entropy of ``(N, C)`` labels, mean
    squared error of ``(N,)`` numbers; without the class weights or the label smoothing
    that the objective may have.
    """
    if target.dim() == 2:
        return F.binary_cross_entropy_with_logits(outputs, target.to(outputs.dtype))
    if target.is_floating_point():
        return F.mse_loss(outputs.squeeze(1), target.to(outputs.dtype))
    return F.cross_entropy(outputs, target)


def fit_log_weights(decisions: Tensor, there: Tensor, target: Tensor, combine: Combine) -> Tensor:
    """Return ``(K,)`` ln w of the weights that make the mean's :func:`proper_loss` lowest.

    Weights are a softmax of K numbers that start equal, shared out anew in each row among
    the decisions that are there; L-BFGS finds them, without any draw.

    Args:
        decisions: ``(N, K, C)`` float64.
        there: ``(N, K)`` bool.
        target: The truth.
        combine: What is averaged.
    """
    raw = torch.zeros(decisions.shape[1], dtype=decisions.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [raw],
        max_iter=200,
        tolerance_grad=1e-10,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        log_weights = raw.expand(there.shape).masked_fill(~there, -torch.inf).log_softmax(1)
        loss = proper_loss(mix(decisions, log_weights, combine), target)
        (raw.grad,) = torch.autograd.grad(loss, [raw])
        return loss.detach()

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return raw.detach().log_softmax(0)


def select(
    decisions: Tensor, there: Tensor, target: Tensor, combine: Combine, rounds: int
) -> Tensor:
    """Return ``(K,)`` how often each decision was selected, greedily and with replacement.

    Every round adds the decision with which the mean of all selected so far has the lowest
    :func:`proper_loss`, the first of equals. What the best of all rounds had is kept, the
    earliest of equals.

    Args:
        decisions: ``(N, K, C)`` float64.
        there: ``(N, K)`` bool.
        target: The truth.
        combine: What is averaged.
        rounds: Number of rounds, at least 1.

    Reference: Caruana et al. 2004, Ensemble selection from libraries of models.
    """
    counts = torch.zeros(decisions.shape[1], dtype=decisions.dtype)
    best, kept = float("inf"), counts
    for _ in range(rounds):
        tried = counts + torch.eye(len(counts), dtype=counts.dtype)  # (K, K), a trial a row
        losses = [
            proper_loss(mix(decisions, log_shares(trial, there), combine), target).item()
            for trial in tried
        ]
        counts = tried[losses.index(min(losses))]
        if min(losses) < best:
            best, kept = min(losses), counts
    return kept


def move_rows(rows: Encoded, like: Tensor) -> tuple[dict[str, Features], dict[str, Tensor]]:
    """Return pooled features and presence of the rows where ``like`` is, in its dtype."""
    features = {
        name: dataclasses.replace(each, pooled=each.pooled.to(like))
        for name, each in rows.features.items()
    }
    return features, {name: here.to(like.device) for name, here in rows.present.items()}


def format_shares(names: Sequence[str], values: Tensor) -> str:
    """Return names with their values for a note: ``audio 0.31, image 0.69``."""
    return ", ".join(
        f"{name} {value:.2f}" for name, value in zip(names, values.tolist(), strict=True)
    )
