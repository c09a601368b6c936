"""Canonical correlation between modalities."""

from __future__ import annotations

from itertools import combinations
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mmx.modalities.masking import mean_where
from mmx.objectives.base import Criterion, FeatureLoss, Objective
from mmx.objectives.projections import make_projections

CCA_RIDGE = 1e-3


class Cca(Objective):
    """Maximises the canonical correlations between the modalities' projected features.

        H_m = W_m x_m, centred over the n rows that have both a and b
        Σ_ab = H_aᵀ H_b / n,  Σ_aa = H_aᵀ H_a / n + r I,  r = 1e-3
        L_ab = -Σ_k ρ_k,  ρ = singular values of Σ_aa^(-½) Σ_ab Σ_bb^(-½)

    Use it to align modalities that share linear structure, with batches much larger than E;
    ``info_nce`` also aligns them and works with small batches.

    L_ab is the negative sum of the E canonical correlations, in [-E, 0], and L is the mean of
    L_ab over the pairs of modalities. With n ≤ E, any features correlate perfectly. So a pair
    counts only if n > E, and a batch without such a pair has loss 0. The covariances are means
    over rows, so above that threshold the loss of a repeated batch is the same. They are
    whitened with Cholesky factors, which give the same ρ as the square roots, and have a
    gradient where eigenvalues are equal. It is computed in float64.

    It does not read outputs, so it is a term of ``combined``.

    Args:
        width: E; batches need more rows.

    Reference: Andrew et al. 2013, Deep canonical correlation analysis.
    """

    kinds = frozenset({"classes", "multilabel", "regression"})
    reads_outputs = False
    cross_modal = True
    compares_rows = True
    may_be_negative = True

    def __init__(self, *, width: Annotated[int, Field(ge=1, le=65_536)] = 16) -> None:
        self.width = width

    def bind(self, target: Tensor, outputs: int, widths: dict[str, int]) -> Criterion:
        """Return the loss; see :class:`~mmx.objectives.base.Objective`.

        Raises:
            ValueError: There is only one modality, one is narrower than ``width``, or there
                are too few training rows for any batch.
        """
        self._check_modalities(widths)
        for name in sorted(widths):
            if widths[name] < self.width:
                raise ValueError(
                    f"`width` (={self.width}) must be at most that of every modality's "
                    f"features; {name} has {widths[name]}"
                )
        if len(target) <= self.width:
            raise ValueError(
                f"`width` (={self.width}) must be smaller than the number of training rows "
                f"(={len(target)})"
            )
        return CcaLoss(widths, self.width)


class CcaLoss(FeatureLoss):
    """The loss of :class:`Cca`.

    Args:
        widths: Modality to D_m.
        width: E.
    """

    def __init__(self, widths: dict[str, int], width: int) -> None:
        super().__init__(widths)
        self.width = width
        # Without bias, which the centring would remove.
        self.projections = make_projections(widths, width, bias=False)

    def loss(self, pooled: dict[str, Tensor], present: dict[str, Tensor], target: Tensor) -> Tensor:
        """Return the scalar loss; see FeatureLoss."""
        projected = {name: self.projections[name](x) for name, x in pooled.items()}
        losses, enough = [], []
        for a, b in combinations(self.modalities, 2):
            rows = present[a] & present[b]
            losses.append(-sum_correlations(projected[a], projected[b], rows))
            enough.append(rows.sum() > self.width)  # with n ≤ E every correlation is 1
        return mean_where(torch.stack(losses), torch.stack(enough))


def sum_correlations(x: Tensor, y: Tensor, rows: Tensor) -> Tensor:
    """Return the sum of the canonical correlations of ``x`` and ``y`` ``(B, E)`` over ``rows``."""
    # float64, since whitening divides by the smallest singular values.
    dtype, n = x.dtype, rows.sum().clamp(min=1)
    x, y = _centre(x.double(), rows), _centre(y.double(), rows)
    ridge = CCA_RIDGE * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    # cholesky_ex does not raise for NaN; the check below handles it without a host error.
    left = torch.linalg.cholesky_ex(x.T @ x / n + ridge).L
    right = torch.linalg.cholesky_ex(y.T @ y / n + ridge).L
    # L_x⁻¹ Σ_xy L_y⁻ᵀ, transposed: its singular values are those of Σ_xx^(-½) Σ_xy Σ_yy^(-½).
    half = torch.linalg.solve_triangular(left, x.T @ y / n, upper=False)
    whitened: Tensor = torch.linalg.solve_triangular(right, half.T, upper=False)  # (E, E)
    if not bool(whitened.isfinite().all()):
        return whitened.sum().to(dtype)  # NaN, which the training loop reports; svdvals would raise
    total: Tensor = torch.linalg.svdvals(whitened).sum()
    return total.to(dtype)


def _centre(x: Tensor, rows: Tensor) -> Tensor:
    """Return ``x`` ``(B, E)`` minus its mean over ``rows``, and zeros in all other rows."""
    absent = ~rows[:, None]
    mean = x.masked_fill(absent, 0.0).sum(0) / rows.sum().clamp(min=1)
    return (x - mean).masked_fill(absent, 0.0)
