"""Imputation of an absent modality by the mean of the training rows."""

from __future__ import annotations

import torch
from torch import Tensor

from mmx.missing.base import Shape
from mmx.missing.imputing import Imputing


class Mean(Imputing):
    """Fills in the mean of the training rows that have the modality.

        x̂_m = (1 / N_m) Σ_i x_im

    The cheapest imputation. Use it as a baseline for ``knn`` and ``generate``.

    Args:
        shapes: Modality to widths.
    """

    mean: Tensor

    def __init__(self, shapes: dict[str, Shape]) -> None:
        super().__init__(shapes)
        self.register_buffer("mean", torch.zeros(sum(self.sizes.values())))

    def learn(self, x: dict[str, Tensor], present: dict[str, Tensor], seed: int) -> None:
        """Take the means; see :class:`~mmx.missing.imputing.Imputing`."""
        # Absent rows are zeros, so the sum over all rows is that over the present ones.
        sums = [x[name].sum(0, dtype=torch.float64) for name in self.modalities]
        counts = [present[name].sum().clamp(min=1) for name in self.modalities]
        self.mean.copy_(torch.cat([s / n for s, n in zip(sums, counts, strict=True)]))

    def impute(self, x: dict[str, Tensor], present: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the means; see :class:`~mmx.missing.imputing.Imputing`."""
        return {
            name: mean.expand(x[name].shape)
            for name, mean in self.split_modalities(self.mean).items()
        }
