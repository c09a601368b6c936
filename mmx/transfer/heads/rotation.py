"""Features scaled and rotated to their principal axes, for solvers of linear heads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rotated:
    """z = ((x - μ) / σ) V: z has R ≤ min(N - 1, D) columns, which are orthogonal.

    An L2 penalty on the weights of the scaled features equals the same penalty on the weights of
    z, so one factorisation serves every strength of the penalty.

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
        """Return the linear layer on x that equals a linear function of z.

        Args:
            weights: ``(R, C)``.
            intercept: ``(C,)``.

        Returns:
            ``weight`` ``(C, D)`` and ``bias`` ``(C,)``.
        """
        # zᵀu + a = ((x − μ) / σ)ᵀ V u + a = xᵀ w + (a − μᵀ w) with w = V u / σ
        weight = (self.directions @ weights / self.scale[:, None]).T
        return {"weight": weight.contiguous(), "bias": intercept - weight @ self.mean}


def rotate(x: Tensor, *, common: bool = False) -> Rotated:
    """Return rotated features, in float64.

    Args:
        x: ``(N, D)``, finite.
        common: Whether σ is the root mean square deviation over all features, and not each
            feature's own. A feature that does not vary has σ = 1.
    """
    x = x.double()
    mean = x.mean(0)
    scale = x.std(0, correction=0)  # of the population, as scikit-learn's StandardScaler has it
    # The error of a mean in float64: a smaller deviation is rounding, not variation.
    noise = 10 * torch.finfo(x.dtype).eps * len(x) ** 0.5 * mean.abs()
    varies = scale > noise
    if common:
        # Over the features that vary and those that do not, which count as 0.
        scale = torch.where(varies, scale, 0.0).square().mean().sqrt().expand_as(scale)
    scale = torch.where(varies, scale, 1.0)
    standard = torch.where(varies, (x - mean) / scale, 0.0)  # no direction made of rounding
    # R of a QR factorisation has the singular values and directions of the tall matrix, D × D.
    square = torch.linalg.qr(standard, mode="r").R if len(x) > x.shape[1] else standard
    _, values, directions = torch.linalg.svd(square, full_matrices=False)
    # The rank as NumPy's matrix_rank counts it, but a mean much larger than the deviation around
    # it leaves more rounding behind than the matrix shows.
    # A column's rounding has length √N · noise / scale once it is divided by its scale.
    rounding = (noise / scale).where(varies, 0.0).max() * len(x) ** 0.5
    least = torch.maximum(values.max() * max(x.shape) * torch.finfo(x.dtype).eps, rounding)
    # (R', D) → (D, R): right singular vectors are rows.
    kept = directions[values > least].T  # (D, R)
    return Rotated(standard @ kept, mean, scale, kept)
