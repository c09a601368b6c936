"""The neural learner: a head that the training loop trains, and its copies for the folds."""

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


def train_copy(
    head: nn.Sequential, train: LabelledRows, val: LabelledRows, seed: int
) -> nn.Sequential:
    """Return a copy of ``head`` with new weights, trained on these rows only.

    It takes up to 100 steps of AdamW at a learning rate of 0.003; each step uses all rows.
    As the training loop keeps its best epoch, the weights of the step with the lowest
    cross-entropy on the validation rows are kept, the earliest of equal steps. Training stops
    after ten steps without a lower one.

    Args:
        head: From :func:`make_neural`; it is not changed.
        train: Rows to learn from, on the head's device and in its dtype.
        val: Validation rows.
        seed: Seed of the initial weights, uniform in ±1 / √(inputs) of their layer.
    """
    # A generator on the CPU, not torch's global one: the folds must not disturb the draws of
    # the run, and give the same weights on every device.
    generator = torch.Generator().manual_seed(seed)
    fresh = copy.deepcopy(head).requires_grad_(True)
    for layer in fresh.modules():
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            for part in (layer.weight, layer.bias):
                # The bounds of nn.Linear's own initialisation, but drawn from this generator.
                values = torch.empty(part.shape).uniform_(-bound, bound, generator=generator)
                part.data.copy_(values)
    (x, y), (val_x, val_y) = train, val
    optimizer = torch.optim.AdamW(fresh.parameters(), lr=RATE, weight_decay=DECAY)
    best, best_head, waited = float("inf"), fresh, 0
    for _ in range(STEPS):
        # Callers run under no_grad.
        with torch.enable_grad():
            optimizer.zero_grad()
            F.cross_entropy(fresh(x), y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            loss = F.cross_entropy(fresh(val_x), val_y).item()
        waited += 1
        # A copy: the optimiser changes the tensors of `fresh` in place.
        if loss < best:
            best, best_head, waited = loss, copy.deepcopy(fresh), 0
        if waited == PATIENCE:
            break
    return best_head.requires_grad_(False)
