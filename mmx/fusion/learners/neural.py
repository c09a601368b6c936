"""The neural learner: a head that the run's own loop trains, and copies of it for folds."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LabelledRows = tuple[Tensor, Tensor]  # (N, F) features and (N,) int64 classes

STEPS = 100
RATE = 0.003
DECAY = 0.01
PATIENCE = 10


def make_neural(features: int, hidden: int, outputs: int) -> nn.Sequential:
    """Return logits(x) = V relu(W x + b) + c."""
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def trained_copy(
    head: nn.Sequential, train: LabelledRows, val: LabelledRows, seed: int
) -> nn.Sequential:
    """Return a copy of ``head``, drawn anew and trained on these rows alone.

    All rows make one batch: up to 100 steps of AdamW at a rate of 0.003, nothing shuffled.
    The weights of the step with the lowest cross-entropy on the validation rows are kept,
    the earliest of equals, as the run's own loop keeps its best epoch; ten steps without
    a better one are the last.

    Args:
        head: Of :func:`make_neural`; left as it is.
        train: Rows to learn from, where the head is and in its dtype.
        val: Validation rows.
        seed: Of the copy's first weights, uniform in ±1 / √(inputs) of their layer.
    """
    generator = torch.Generator().manual_seed(seed)
    fresh = copy.deepcopy(head).requires_grad_(True)
    for layer in fresh.modules():
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            for part in (layer.weight, layer.bias):
                drawn = torch.empty(part.shape).uniform_(-bound, bound, generator=generator)
                part.data.copy_(drawn)
    (x, y), (asked, truth) = train, val
    optimizer = torch.optim.AdamW(fresh.parameters(), lr=RATE, weight_decay=DECAY)
    best, kept, waited = float("inf"), fresh, 0
    for _ in range(STEPS):
        with torch.enable_grad():
            optimizer.zero_grad()
            F.cross_entropy(fresh(x), y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            loss = F.cross_entropy(fresh(asked), truth).item()
        waited += 1
        if loss < best:
            best, kept, waited = loss, copy.deepcopy(fresh), 0
        if waited == PATIENCE:
            break
    return kept.requires_grad_(False)
