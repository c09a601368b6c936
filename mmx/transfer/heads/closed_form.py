"""Ridge regression to the targets, for every strength of the penalty from one factorisation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mmx.transfer.base import TargetKind
from mmx.transfer.heads.base import FittedHead, HeadCandidate
from mmx.transfer.heads.rotation import Rotated, rotate

LAMBDAS = tuple(10.0**power for power in range(-5, 4))


@dataclass(frozen=True, kw_only=True)
class ClosedForm(FittedHead):
    """Ridge regression on standardised features x, its intercept not penalised.

        min_W,b (1 / N) Σ_i ‖y_i - W x_i - b‖² + λ ‖W‖²

    y is one-hot for classes, 1 or -1 for each of several labels, a number for regression.
    λ is chosen on validation and means the same for every number of rows: N λ is ``alpha`` in
    scikit-learn's ``Ridge``. The outputs tell the class, not its probability: as logits they are
    far too flat, and their cross-entropy says little. Use it for regression targets, and for
    classes when accuracy is wanted fast.

    Args:
        grid: Values of λ, in any order.

    Reference: Hoerl and Kennard 1970.
    """

    varied = "lambda"
    grid: Annotated[tuple[Annotated[float, Field(gt=0, le=1e9)], ...], Field(min_length=1)] = (
        LAMBDAS
    )

    def make(self, width: int, outputs: int, kind: TargetKind) -> nn.Module:
        """Return a linear layer; see :class:`~mmx.transfer.heads.base.Head`."""
        return nn.Linear(width, outputs)

    def candidates(
        self, x: Tensor, y: Tensor, outputs: int, kind: TargetKind
    ) -> Iterator[HeadCandidate]:
        """Yield a layer for each λ; see :class:`~mmx.transfer.heads.base.FittedHead`."""
        turned = rotate(x)
        if kind == "classes":
            # One-hot targets: least squares on 0 and 1 estimates class probabilities.
            targets = F.one_hot(y, outputs).double()
        else:
            targets = y.double().view(len(y), outputs)
            # Labels 0 and 1 become -1 and 1, so that a row is decided by the sign of its output.
            targets = 2 * targets - 1 if kind == "multilabel" else targets
        # The most regularised first: of equal scores on validation the first one stays.
        grid = sorted(set(self.grid), reverse=True)
        # A mean of squares plus λ ‖W‖² is, times N, a sum of squares plus N λ ‖W‖².
        states = solve_ridge(turned, targets, [len(x) * strength for strength in grid])
        for strength, state in zip(grid, states, strict=True):
            yield HeadCandidate(strength, state)


def solve_ridge(
    turned: Rotated, targets: Tensor, penalties: Sequence[float]
) -> Iterator[dict[str, Tensor]]:
    """Yield weight ``(C, D)`` and bias ``(C,)`` of a linear layer for each penalty.

        min_W,b Σ_i ‖y_i - W x_i - b‖² + penalty · ‖W‖²

    Args:
        turned: The scaled and rotated features x.
        targets: y, ``(N, C)`` float64.
        penalties: Above 0.
    """
    mean, z = targets.mean(0), turned.z
    answer, spread = z.T @ (targets - mean), z.square().sum(0)  # (R, C), (R,)
    # The columns of z are orthogonal, zᵀz = diag(spread): each penalty is one division.
    for penalty in penalties:
        yield turned.to_linear(answer / (spread + penalty)[:, None], mean)
