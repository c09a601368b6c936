"""Two losses, weighed by the variances that the tasks are learned to have."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmx.transfer.weighting.base import Weighting


class Uncertainty(Weighting):
    """Learns a log variance s_i = log σ_i² for each task, by the model's own optimiser.

        L = Σ_i κ_i exp(-s_i) L_i + s_i / 2,  κ = 1/2 for regression, else 1

    That is, up to constants, the negative log likelihood of a Gaussian of variance σ² where
    L_i is a mean squared error, and about that of a softmax or sigmoid of outputs divided by σ²
    where it is a cross-entropy. Its minimum over s_i lies at exp(s_i) = 2 κ_i L_i, where every
    task's share κ_i exp(-s_i) L_i is 1/2 whatever the unit of its loss. The losses must not be
    negative. The weights start at κ.

    Args:
        kinds: What target and source predict: classes, multilabel or regression; an objective
            without labels counts as classes, of which its batch is made.

    Reference: Kendall et al. 2018, arXiv 1705.07115.
    """

    moves = True

    takes_negative = False

    def __init__(self, *, kinds: tuple[str, str]) -> None:
        super().__init__()
        self.log_variances = nn.Parameter(torch.zeros(2))
        factors = torch.tensor([0.5 if kind == "regression" else 1.0 for kind in kinds])
        self.factors: Tensor
        self.register_buffer("factors", factors, persistent=False)

    @classmethod
    def of_kinds(cls, kinds: tuple[str, str], **options: float) -> Weighting:
        """Return a new one; a number's loss is half a squared error."""
        return cls(kinds=kinds)

    def weights(self) -> Tensor:
        """Return ``(2,)``: κ_i exp(-s_i)."""
        return self.factors * torch.exp(-self.log_variances)

    def penalty(self) -> Tensor:
        """Return Σ_i s_i / 2, which keeps the variances from growing without end."""
        return self.log_variances.sum() / 2
