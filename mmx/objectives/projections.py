"""Projections of all modalities into one space, for objectives that compare them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmx.objectives.base import FeatureLoss, raise_precision


class ProjectedLoss(FeatureLoss):
    """A loss of unit-length embeddings in a common space.

        e_m = (W_m x_m + b_m) / ‖W_m x_m + b_m‖

    The bias gives a direction to features that are all zero, and it can align modalities that
    lie in different parts of the space.

    Args:
        widths: Modality to D_m.
        width: E.
    """

    aligns = True

    def __init__(self, widths: dict[str, int], width: int) -> None:
        super().__init__(widths)
        self.projections = make_projections(widths, width, bias=True)

    def embed(self, pooled: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``(B, E)`` unit-length embeddings; see Criterion."""
        embedded = {}
        for name in sorted(pooled):
            x = raise_precision(pooled[name])
            # Half precision would round distances between near embeddings to zero.
            with torch.autocast(x.device.type, enabled=False):
                embedded[name] = F.normalize(self.projections[name](x), dim=1)
        return embedded


def make_projections(widths: dict[str, int], width: int, *, bias: bool) -> nn.ModuleDict:
    """Return a linear layer to ``width`` for each modality, by name."""
    # Sorted, so that the weights that a seed draws do not depend on the order of the dict.
    return nn.ModuleDict(
        {name: nn.Linear(widths[name], width, bias=bias) for name in sorted(widths)}
    )
