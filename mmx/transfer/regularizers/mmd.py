"""Maximum mean discrepancy between the features of the target's and the source's rows."""

from __future__ import annotations

import torch
from torch import Tensor

from mmx.transfer.regularizers.base import Penalty, Regularizer, RegularizerContext
from mmx.transfer.regularizers.features import (
    FeaturePenalty,
    Strength,
    compute_distances,
    take_source_rows,
)

POWERS = (-3, -2, -1, 0, 1)
"""Bandwidths of the kernels: the mean squared distance times 2 to these powers."""


class Mmd(Regularizer):
    """Keeps the distribution of the target's features close to that of the source's own rows.

        R = mean_m MMD²(f_m, f0_m)
        MMD² = mean_{i≠j} k(x_i, x_j) + mean_{i≠j} k(y_i, y_j) − 2 mean_{ij} k(x_i, y_j)
        k(x, y) = ⅕ Σ_{u=-3..1} exp(−‖x − y‖² / (2 · 2^u s))

    x are the features of the n rows of the batch that have modality m, y those of as many rows of
    the source's training split, drawn again in each step (all of them if there are fewer). s is
    the mean squared distance between two rows of the source, measured once: a bandwidth measured
    on the batch would make the estimate biased.

    The means are over pairs of different rows, so the expectation is MMD² itself at every batch
    size. A single value may be negative, and copies of a row within a batch count as pairs.
    A batch with a single row of m has no estimate, and m is then left out. Use it when source and
    target show the same things under different conditions; it compares whole distributions, where
    ``coral`` compares covariances alone.

    Args:
        strength: λ, the weight of the penalty in the loss.

    Reference: Gretton et al. 2012, A kernel two-sample test; several kernels: Long et al.
    2015, arXiv 1502.02791.
    """

    acts_on = "features"
    needs = frozenset({"source_rows"})
    compares_rows = True

    def __init__(self, *, strength: Strength = 1.0) -> None:
        self.strength = strength

    def bind(self, context: RegularizerContext) -> Penalty:
        """Return the penalty; see :class:`~mmx.transfer.regularizers.base.Regularizer`.

        Raises:
            TransferError: No modality of the target has two rows in the source.
        """
        return MmdPenalty(take_source_rows(context, "mmd", fewest=2), self.strength)


class MmdPenalty(FeaturePenalty):
    """The penalty of :class:`Mmd`.

    Args:
        source: Modality to the ``(N, D)`` f0 of the source's rows. They follow from the data, so
            no checkpoint holds them.
        strength: λ, the weight of the penalty in the loss.
    """

    compares_rows = True
    fewest = 2

    def __init__(self, source: dict[str, Tensor], strength: float) -> None:
        super().__init__(tuple(source), strength)
        for name, rows in source.items():
            scale = find_kernel_scale(rows.double()).to(rows)
            self.register_buffer(f"source_{name}", rows, persistent=False)
            self.register_buffer(f"scale_{name}", scale, persistent=False)

    def term(self, name: str, x: Tensor) -> Tensor:
        """Return the scalar; see FeaturePenalty."""
        source = self.get_buffer(f"source_{name}")
        # From the global generator, seeded again at every step: a resumed run draws the same rows.
        # Without replacement, and as many as the batch has, or all rows of the source if it has
        # fewer.
        drawn = torch.randperm(len(source), device=source.device)[: len(x)]
        return mmd(x, source[drawn], self.get_buffer(f"scale_{name}"))


def mmd(x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    """Return the unbiased estimate of MMD².

    Args:
        x: ``(n, D)``, n ≥ 2.
        y: ``(m, D)``, m ≥ 2.
        scale: s, a scalar.
    """
    # MMD² = E k(x, x') + E k(y, y') - 2 E k(x, y) (Gretton et al. 2012); it may be negative.
    return _other_rows(x, scale) + _other_rows(y, scale) - 2 * _kernel(x, y, scale).mean()


def find_kernel_scale(rows: Tensor) -> Tensor:
    """Return the mean of ‖x_i − x_j‖² over i ≠ j of ``(N, D)`` rows, N ≥ 2."""
    # E‖x − x'‖² = 2 Σ_d Var(x_d): no (N, N) distances are needed.
    return 2 * rows.var(0).sum()


def _kernel(x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    """Return ``(n, m)`` values of the kernel."""
    squared = compute_distances(x, y).square()  # (n, m)
    scale = scale.clamp(min=torch.finfo(scale.dtype).tiny)  # 0 if all rows are the same
    # exp(-d² / 2σ²) with σ² = 2^power · scale, a mean over five bandwidths: (5, n, m) → (n, m).
    return torch.stack([torch.exp(-squared / (2 * 2.0**power * scale)) for power in POWERS]).mean(0)


def _other_rows(x: Tensor, scale: Tensor) -> Tensor:
    """Return the mean of k(x_i, x_j) over i ≠ j."""
    values = _kernel(x, x, scale)
    # The diagonal, k(x_i, x_i) = 1, would bias the estimate upwards.
    return (values.sum() - values.trace()) / (len(x) * (len(x) - 1))
