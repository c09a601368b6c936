"""k-nearest neighbours: a vote of the most similar training rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mmx.transfer.base import TargetKind
from mmx.transfer.heads.base import FittedHead, HeadCandidate

EPSILON = 1e-6


class KnnHead(nn.Module):
    """p(x) = Σ_i v_i y_i / Σ_i v_i, v_i = exp(cos(x, x_i) / T), over the k nearest rows i.

    ``y_i`` is one-hot for classes, 0 or 1 for each of several labels, a number for regression.
    The output is ln p for classes, ln p / (1 - p) for each of several labels, p for regression.
    Before the logarithm p becomes (1 - m ε) p + ε, with ε = 1e-6 and m = C or 2, so that no
    output is infinite. Among rows of equal similarity, those that come first in the training set
    count as nearer. With fewer than k rows, all of them vote. A checkpoint holds all training
    rows, N · (D + C) numbers.

    Args:
        outputs: C.
        kind: The target's kind.
        k: How many rows vote.
        temperature: T.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, outputs: int, *, kind: TargetKind, k: int, temperature: float) -> None:
        super().__init__()
        self.outputs, self.kind, self.k, self.temperature = outputs, kind, k, temperature
        self.register_buffer("keys", torch.empty(0, 0))
        self.register_buffer("values", torch.empty(0, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, C)`` for ``(B, D)``."""
        # Half precision would tie rows that differ.
        with torch.autocast(x.device.type, enabled=False):
            x = F.normalize(x.to(self.keys), dim=1)
            votes = self._compute_votes(x @ self.keys.T)  # (B, N)
            shares = votes @ self.values / votes.sum(1, keepdim=True)  # p, (B, C)
            if self.kind == "regression":
                return shares
            if self.kind == "classes":
                # As in a mixture with the uniform distribution: no class has log probability -inf.
                return ((1 - self.outputs * EPSILON) * shares + EPSILON).log()
            # Two outcomes for each label, present and absent, hence 2 ε.
            return ((1 - 2 * EPSILON) * shares + EPSILON).logit()

    def _compute_votes(self, similarity: Tensor) -> Tensor:
        """Return the ``(B, N)`` votes: 1 for the nearest row, 0 for all but the k nearest."""
        k = min(self.k, len(self.keys))
        nearest = similarity.topk(k, dim=1).values
        # topk may return any of the rows that tie for the k-th place, and another one per device:
        # those that fit are taken in the order of the training set.
        nearer, last = similarity > nearest[:, -1:], similarity == nearest[:, -1:]
        chosen = nearer | (last & (last.cumsum(1) <= k - nearer.sum(1, keepdim=True)))
        # Relative to the nearest, as in a stable softmax: exp does not overflow, and ratios stay.
        return ((similarity - nearest[:, :1]) / self.temperature).exp() * chosen

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Load any number of rows: they are part of the state, and a fresh head has none."""
        for name in ("keys", "values"):
            if (given := state_dict.get(f"{prefix}{name}")) is not None:
                # An uninitialised buffer of the stored shape; super() copies the rows into it.
                setattr(self, name, self.get_buffer(name).new_empty(given.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)


@dataclass(frozen=True, kw_only=True)
class Knn(FittedHead):
    """The k nearest training rows vote, by cosine similarity of L2-normalised features.

    It has nothing to train: use it to see how well the features separate the classes as they are.

    Args:
        k: How many rows vote.
        temperature: T; the smaller it is, the more the nearest of them count.

    Reference: Wu et al. 2018, section 3.4, arXiv 1805.01978.
    """

    k: Annotated[int, Field(ge=1, le=100_000)] = 20
    temperature: Annotated[float, Field(gt=0, le=10000)] = 0.07

    def make(self, width: int, outputs: int, kind: TargetKind) -> nn.Module:
        """Return the head without rows; see :class:`~mmx.transfer.heads.base.Head`."""
        return KnnHead(outputs, kind=kind, k=self.k, temperature=self.temperature)

    def remarks(self, rows: int) -> tuple[str, ...]:
        """Return a note that all rows vote, if there are fewer than k."""
        few = f"all {rows} training rows vote: there are fewer than k={self.k}"
        return (few,) if rows < self.k else ()

    def candidates(
        self, x: Tensor, y: Tensor, outputs: int, kind: TargetKind
    ) -> Iterator[HeadCandidate]:
        """Yield the rows themselves; see :class:`~mmx.transfer.heads.base.FittedHead`."""
        # In float64 as all candidates; loading casts to the module's own type.
        keys = F.normalize(x.double(), dim=1)
        values = F.one_hot(y, outputs) if kind == "classes" else y.view(len(y), outputs)
        yield HeadCandidate(None, {"keys": keys, "values": values.double()})
