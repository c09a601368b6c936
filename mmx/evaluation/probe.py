"""Linear probes: how well a modality's features predict the classes."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import torch
from torch import Tensor

from mmx.modalities import Encoded

PROBE_RIDGE = 1e-2
FEWEST_ROWS = 8
KEPT_PROBES = 1000
"""Accuracies that are kept; the oldest are forgotten first."""


class Probes:
    """Probes that are computed once for features that stay the same.

    Those of a frozen encoder do from epoch to epoch, and from run to run of a sweep.
    """

    def __init__(self) -> None:
        self._accuracy: OrderedDict[str, float | None] = OrderedDict()

    def accuracy(self, rows: Encoded, modality: str) -> float | None:
        """Return what :func:`probe_accuracy` returns."""
        key = _digest(rows.features[modality].pooled, rows.present[modality], rows.target)
        if key not in self._accuracy:
            self._accuracy[key] = probe_accuracy(rows, modality)
            if len(self._accuracy) > KEPT_PROBES:
                self._accuracy.popitem(last=False)
        return self._accuracy[key]


PROBES = Probes()
"""The probes of all runs of this process."""


def _digest(*read: Tensor) -> str:
    """Return the digest of what a probe reads, by type, shape and bits."""
    whole = hashlib.blake2b(digest_size=16)
    for tensor in read:
        whole.update(f"{tensor.device} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # As bytes, since NumPy has no bfloat16.
        bits = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        whole.update(bits.numpy().tobytes())
    return whole.hexdigest()


@torch.no_grad()
def probe_accuracy(rows: Encoded, modality: str) -> float | None:
    """Return the accuracy of a ridge classifier on one modality, by two-fold cross-validation.

    The folds are the rows at even and at odd places when sorted by class, so that both have
    every class whatever the order of the rows. Targets are one-hot, features are standardised,
    and the ridge is λ = 0.01 · N. Rows that lack the modality are not used.

    Args:
        rows: Features and classes ``(N,)``.
        modality: The modality that is probed by its pooled features.

    Returns:
        The fraction of rows classified correctly; None if fewer than eight have the modality.
    """
    here = rows.present[modality]
    x, y = rows.features[modality].pooled[here].double(), rows.target[here]
    if len(x) < FEWEST_ROWS:
        return None
    place = y.argsort(stable=True).argsort()  # (N,) each row's rank when sorted by class
    even = place % 2 == 0
    classes = int(y.max()) + 1
    right = _count_right(x[even], y[even], x[~even], y[~even], classes)
    right += _count_right(x[~even], y[~even], x[even], y[even], classes)
    return right / len(x)


def find_majority_share(target: Tensor) -> float:
    """Return the accuracy of always answering the most frequent class of ``(N,)`` classes."""
    return float(torch.bincount(target).max()) / len(target)


def _count_right(x: Tensor, y: Tensor, other: Tensor, truth: Tensor, classes: int) -> int:
    """Fit on ``(x, y)``, and count how many of the ``other`` rows are classified correctly."""
    mean, spread = x.mean(0), x.std(0).clamp(min=1e-6)
    x, other = (x - mean) / spread, (other - mean) / spread
    hot = torch.nn.functional.one_hot(y, classes).double()
    ridge = PROBE_RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(x.T @ x + ridge, x.T @ (hot - hot.mean(0)))
    scores = other @ weights + hot.mean(0)
    return int((scores.argmax(1) == truth).sum())
