"""Ridge regression to the targets, every strength of the penalty from one factorisation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mmx.transfer.base import Kind
from mmx.transfer.heads.base import Candidate, FittedHead
from mmx.transfer.heads.rotation import rotated

LAMBDAS = tuple(10.0**power for power in range(-5, 4))


@dataclass(frozen=True, kw_only=True)
class ClosedForm(FittedHead):
    """Ridge regression on standardised features x, its intercept free.

        min_W,b (1 / N) Σ_i ‖y_i - W x_i - b‖² + λ ‖W‖²

    y is one-hot for classes, 1 and -1 for each of several labels, a number for regression.
    λ is chosen on validation and means the same for every number of rows: scikit-learn's
    ``Ridge`` calls N λ alpha. The outputs say which class, not how likely it is: as logits
    they are far too flat, so that a cross-entropy of them says little.

    Args:
        grid: Values of λ, in any order.

    Reference: Hoerl and Kennard 1970.
    """

    varied = "lambda"
    grid: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = LAMBDAS

    def make(self, width: int, outputs: int, kind: Kind) -> nn.Module:
        """Return a linear layer; see :class:`~mmx.transfer.heads.base.Head`."""
        return nn.Linear(width, outputs)

    def candidates(self, x: Tensor, y: Tensor, outputs: int, kind: Kind) -> Iterator[Candidate]:
        """Yield a layer for each λ; see :class:`~mmx.transfer.heads.base.FittedHead`."""
        turned = rotated(x)
        if kind == "classes":
            wanted = F.one_hot(y, outputs).double()
        else:
            wanted = y.double().view(len(y), outputs)
            wanted = 2 * wanted - 1 if kind == "multilabel" else wanted
        mean = wanted.mean(0)
        z = turned.z
        answer, spread = z.T @ (wanted - mean), z.square().sum(0)  # (R, C), (R,)
        for strength in sorted(set(self.grid), reverse=True):
            weights = answer / (spread + len(x) * strength)[:, None]
            yield Candidate(strength, turned.linear(weights, mean))
