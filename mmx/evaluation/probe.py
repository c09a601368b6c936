"""Linear probes: how much of the answer a modality's features hold."""

from __future__ import annotations

import torch
from torch import Tensor

from mmx.modalities import Encoded

PROBE_RIDGE = 1e-2
FEWEST_ROWS = 8


@torch.no_grad()
def probe_accuracy(rows: Encoded, modality: str) -> float | None:
    """Return the accuracy of a ridge classifier on one modality, cross-fitted over two halves.

    Sorted by class, rows of even and odd place fit for each other, so that each half has its
    part of every class however the rows are ordered; one-hot targets, standardised features,
    ridge λ = 0.01 · N. Rows that lack the modality take no part.

    Args:
        rows: Features and classes ``(N,)``.
        modality: Whose pooled features are probed.

    Returns:
        Part of the rows that are right; None where fewer than eight have the modality.
    """
    here = rows.present[modality]
    x, y = rows.features[modality].pooled[here].double(), rows.target[here]
    if len(x) < FEWEST_ROWS:
        return None
    place = y.argsort(stable=True).argsort()
    even = place % 2 == 0
    classes = int(y.max()) + 1
    right = _right(x[even], y[even], x[~even], y[~even], classes)
    right += _right(x[~even], y[~even], x[even], y[even], classes)
    return right / len(x)


def find_majority_share(target: Tensor) -> float:
    """Return the accuracy of always naming the most frequent class of ``(N,)`` classes."""
    return float(torch.bincount(target).max()) / len(target)


def _right(x: Tensor, y: Tensor, other: Tensor, truth: Tensor, classes: int) -> int:
    mean, spread = x.mean(0), x.std(0).clamp(min=1e-6)
    x, other = (x - mean) / spread, (other - mean) / spread
    hot = torch.nn.functional.one_hot(y, classes).double()
    ridge = PROBE_RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(x.T @ x + ridge, x.T @ (hot - hot.mean(0)))
    scores = other @ weights + hot.mean(0)
    return int((scores.argmax(1) == truth).sum())
