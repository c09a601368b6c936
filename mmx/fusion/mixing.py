"""Weighted means of several decisions on a row, and weights fitted on validation rows.

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

    The softmax of the log of a mean probability is that mean, so the log can be used as
    logits by the cross-entropy.

    Args:
        decisions: ``(N, K, C)``, finite.
        log_weights: ``(N, K)`` ln w; the w of a row sum to one, and minus infinity excludes a
            decision.
        combine: What is averaged.
    """
    if combine == "probabilities":
        # ln Σ_k exp(ln w_k + ln p_k): stable where a probability underflows.
        # (N, K, 1) + (N, K, C), summed over K.
        return (log_weights[:, :, None] + decisions.log_softmax(2)).logsumexp(1)
    # exp(-inf) = 0: excluded decisions add 0, as long as they are finite.
    return (log_weights.exp()[:, :, None] * decisions).sum(1)


def log_shares(counts: Tensor, available: Tensor) -> Tensor:
    """Return ``(N, K)`` ln of the counts' shares among the decisions available in each row.

    Where no available decision has a count above zero, all available ones share equally.

    Args:
        counts: ``(K,)`` ≥ 0.
        available: ``(N, K)`` bool, at least one True in each row.
    """
    # a view over rows; masked_fill copies it
    kept_counts = counts.expand(available.shape).masked_fill(~available, 0.0)
    lost = kept_counts.sum(1, keepdim=True) == 0
    kept_counts = torch.where(lost, available.to(kept_counts.dtype), kept_counts)
    # log(0) = -inf, which mix reads as excluded.
    return (kept_counts / kept_counts.sum(1, keepdim=True)).log()


def proper_loss(outputs: Tensor, target: Tensor) -> Tensor:
    """Return the mean of the proper scoring rule for the kind of the target.

    This is the cross-entropy of ``(N,)`` int64 classes, the binary cross-entropy of
    ``(N, C)`` labels, or the mean squared error of ``(N,)`` numbers. It has no class weights
    and no label smoothing, even where the objective has them.
    """
    if target.dim() == 2:
        return F.binary_cross_entropy_with_logits(outputs, target.to(outputs.dtype))
    if target.is_floating_point():
        # (N, 1) → (N,): a mean of (N, N) differences would be a silent bug
        return F.mse_loss(outputs.squeeze(1), target.to(outputs.dtype))
    return F.cross_entropy(outputs, target)


def fit_log_weights(
    decisions: Tensor, available: Tensor, target: Tensor, combine: Combine
) -> Tensor:
    """Return ``(K,)`` ln w of the weights that minimise the :func:`proper_loss` of the mean.

    Weights are a softmax of K numbers that start equal. In each row they are renormalised
    over the available decisions. L-BFGS finds them; there is no random draw.

    Args:
        decisions: ``(N, K, C)`` float64.
        available: ``(N, K)`` bool.
        target: The truth.
        combine: What is averaged.
    """
    raw = torch.zeros(decisions.shape[1], dtype=decisions.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [raw],
        max_iter=200,
        # Far tighter than the defaults: the problem is small and convex, so it is solved to the
        # end.
        tolerance_grad=1e-10,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        # A softmax keeps the weights on the simplex without a constrained solver; (N, K).
        log_weights = raw.expand(available.shape).masked_fill(~available, -torch.inf).log_softmax(1)
        loss = proper_loss(mix(decisions, log_weights, combine), target)
        # Set, not added to: backward() would sum over the calls of the line search.
        (raw.grad,) = torch.autograd.grad(loss, [raw])
        return loss.detach()

    with torch.enable_grad():  # callers may run under no_grad
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    # Normalised: raw is only known up to a constant, which the softmax cancels.
    return raw.detach().log_softmax(0)


def select(
    decisions: Tensor, available: Tensor, target: Tensor, combine: Combine, rounds: int
) -> Tensor:
    """Return ``(K,)`` how often each decision was selected, greedily and with replacement.

    Every round adds the decision that gives the mean of all selected decisions the lowest
    :func:`proper_loss`, the first of equals. The counts of the best round are returned, of
    the earliest among equals.

    Args:
        decisions: ``(N, K, C)`` float64.
        available: ``(N, K)`` bool.
        target: The truth.
        combine: What is averaged.
        rounds: Number of rounds, at least 1.

    Reference: Caruana et al. 2004, Ensemble selection from libraries of models.
    """
    counts = torch.zeros(decisions.shape[1], dtype=decisions.dtype)
    best, kept = float("inf"), counts
    for _ in range(rounds):
        trials = counts + torch.eye(len(counts), dtype=counts.dtype)  # (K, K), a trial a row
        losses = [
            proper_loss(mix(decisions, log_shares(trial, available), combine), target).item()
            for trial in trials
        ]
        # index() takes the first of equal losses, so that ties go to the first candidate.
        counts = trials[losses.index(min(losses))]
        if min(losses) < best:
            best, kept = min(losses), counts
    return kept


def move_rows(rows: Encoded, like: Tensor) -> tuple[dict[str, Features], dict[str, Tensor]]:
    """Return pooled features and presence of the rows, with the device and dtype of ``like``."""
    features = {
        name: dataclasses.replace(each, pooled=each.pooled.to(like))
        for name, each in rows.features.items()
    }
    return features, {name: here.to(like.device) for name, here in rows.present.items()}


def format_shares(names: Sequence[str], values: Tensor) -> str:
    """Return names with their values as text, such as ``audio 0.31, image 0.69``."""
    return ", ".join(
        f"{name} {value:.2f}" for name, value in zip(names, values.tolist(), strict=True)
    )
