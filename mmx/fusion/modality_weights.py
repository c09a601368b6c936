"""One weight for each modality, renormalised over the modalities that a row has."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

Alpha = Literal["learned", "fixed"]
FixedWeights = dict[str, Annotated[float, Field(gt=0, le=1e6)]]


class ModalityWeights(nn.Module):
    """Weights α that sum to one over the modalities present.

        α_m = w_m / Σ_{present j} w_j = softmax over the present of ln w

    Where a method has scores s_m of a row, ln w_m + s_m takes the place of ln w_m. Learned
    weights start equal. A single modality has weight 1, which is not a parameter.

    Args:
        modalities: Names, sorted.
        alpha: ``learned`` or ``fixed``.
        weights: Modality to w > 0, for ``fixed`` only; None: all equal.

    Raises:
        ValueError: ``weights`` are given for ``learned``, or there is not exactly one for each
            modality.
    """

    def __init__(
        self, modalities: tuple[str, ...], *, alpha: Alpha, weights: FixedWeights | None
    ) -> None:
        super().__init__()
        if weights is not None and alpha != "fixed":
            raise ValueError(f"`weights` (={weights}) are read only where `alpha` is fixed")
        if weights is not None and set(weights) != set(modalities):
            raise ValueError(
                f"`weights` are for {', '.join(sorted(weights)) or 'nothing'}; "
                f"the modalities are {', '.join(modalities)}"
            )
        # In logarithms: weights stay positive, and scores add to them. All zeros are equal weights.
        start = torch.tensor([math.log(weights[name]) if weights else 0.0 for name in modalities])
        if alpha == "learned" and len(modalities) > 1:
            self.log_weights = nn.Parameter(start)
        else:  # set by the config, so a checkpoint must not change them
            self.register_buffer("log_weights", start, persistent=False)

    def forward(self, present: Tensor, scores: Tensor | None = None) -> Tensor:
        """Return ``(B, M)`` ln α, minus infinity where absent.

        Args:
            present: ``(B, M)`` bool, at least one True in each row.
            scores: ``(B, M)`` s; None: all rows have the same w.
        """
        weights = self.log_weights.expand(present.shape)
        if scores is not None:
            weights = weights + scores
        # Normalised over those present only, since exp(-inf) adds nothing to the denominator.
        return weights.masked_fill(~present, -torch.inf).log_softmax(1)
