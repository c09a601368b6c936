"""Features scaled and turned into the directions in which they vary, once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rotated:
    """z = ((x - μ) / σ) V: columns of z are orthogonal, R of them, R at most min(N - 1, D).

    An L2 penalty of weights on scaled features is the same penalty of weights on z, so that one
    factorisation serves every strength of it.

    Attributes:
        z: ``(N, R)``.
        mean, scale: ``(D,)`` μ and σ.
        directions: ``(D, R)`` V, orthonormal columns.
    """

    z: Tensor
    mean: Tensor
    scale: Tensor
    directions: Tensor

    def to_linear(self, weights: Tensor, intercept: Tensor) -> dict[str, Tensor]:
        """Return weight and bias on x of what is linear in z.

        Args:
            weights: ``(R, C)``.
            intercept: ``(C,)``.

        Returns:
            ``weight`` ``(C, D)`` and ``bias`` ``(C,)``, as of a linear layer.
        """
        weight = (self.directions @ weights / self.scale[:, None]).T
        return {"weight": weight.contiguous(), "bias": intercept - weight @ self.mean}


def rotate(x: Tensor, *, common: bool = False) -> Rotated:
    """Return ``(N, D)`` features rotated, in float64.

    Args:
        x: Finite.
        common: Whether σ is one number, the deviation of all features from their means, in
            place of each feature's own. It is 1 where there is none.
    """
    x = x.double()
    mean = x.mean(0)
    scale = x.std(0, correction=0)
    # as far as a mean can be told in float64: less is rounding, not variation
    noise = 10 * torch.finfo(x.dtype).eps * len(x) ** 0.5 * mean.abs()
    varies = scale > noise
    if common:
        scale = torch.where(varies, scale, 0.0).square().mean().sqrt().expand_as(scale)
    scale = torch.where(varies, scale, 1.0)
    standard = torch.where(varies, (x - mean) / scale, 0.0)  # no direction of rounding alone
    square = torch.linalg.qr(standard, mode="r").R if len(x) > x.shape[1] else standard
    _, values, directions = torch.linalg.svd(square, full_matrices=False)
    least = values.max() * max(x.shape) * torch.finfo(x.dtype).eps
    kept = directions[values > least].T
    return Rotated(standard @ kept, mean, scale, kept)
