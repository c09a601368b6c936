"""Uncertainty weighting: two losses, weighed by a learned variance for each task."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmx.transfer.weighting.base import Weighting


class Uncertainty(Weighting):
    """Learns a log variance s_i = log σ_i² for each task, with the model's own optimiser.

        L = Σ_i κ_i exp(-s_i) L_i + s_i / 2,  κ = 1/2 for regression, else 1

    Up to constants this is the negative log likelihood of a Gaussian of variance σ² if L_i is a
    mean squared error, and approximately that of a softmax or sigmoid of outputs divided by σ²
    if it is a cross-entropy. Its minimum over s_i is at exp(s_i) = 2 κ_i L_i, where each weighted
    loss κ_i exp(-s_i) L_i is 1/2 whatever the unit of L_i. The losses must not be negative. The
    weights start at κ. Use it when the losses have different units, such as a squared error and
    a cross-entropy.

    Args:
        kinds: What target and source predict: classes, multilabel or regression. An objective
            without labels counts as classes.

    Reference: Kendall et al. 2018, arXiv 1705.07115.
    """

    moves = True

    takes_negative = False

    def __init__(self, *, kinds: tuple[str, str]) -> None:
        super().__init__()
        self.log_variances = nn.Parameter(torch.zeros(2))
        # Kendall et al. 2018: 1 / (2σ²) of a Gaussian's loss, 1 / σ² of a softmax's.
        factors = torch.tensor([0.5 if kind == "regression" else 1.0 for kind in kinds])
        self.factors: Tensor
        self.register_buffer("factors", factors, persistent=False)

    @classmethod
    def of_kinds(cls, kinds: tuple[str, str], **options: float) -> Weighting:
        """Return a new weighting; κ depends on the kinds."""
        return cls(kinds=kinds)

    def weights(self) -> Tensor:
        """Return ``(2,)``: κ_i exp(-s_i)."""
        return self.factors * torch.exp(-self.log_variances)

    def penalty(self) -> Tensor:
        """Return Σ_i s_i / 2, which keeps the variances from growing without bound."""
        # log σ = s / 2.
        return self.log_variances.sum() / 2
