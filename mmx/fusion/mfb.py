"""Multimodal factorised bilinear pooling."""

from __future__ import annotations

from functools import reduce
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion.base import Fusion, Widths
from mmx.fusion.normalisation import normalise_power
from mmx.modalities import Features


class Mfb(Fusion):
    """Expands every modality, multiplies the expansions, and sums over the factors of each unit.

        u_m = U_m x_m + b_m in R^(D_out·k),  F = normalised(Σ_k ⊙_m u_m)

    Use it for bilinear interactions with few options to choose; ``mcb`` needs fewer parameters.

    normalised takes signed square roots, then scales to unit length
    (:func:`~mmx.fusion.normalisation.normalise_power`). The paper has M = 2; with more, the
    product is over all modalities. An absent modality is left out of it, as a factor of 1.
    The b_m start at 1, so that in the beginning each modality also acts on its own. With a
    single modality k is 1, since a sum of linear maps is a linear map.

    Args:
        widths: Modality to widths.
        outputs: Not used.
        width: Width of the fused vector, D_out.
        factors: k, the number of products that are summed for each unit.

    Reference: Yu et al. 2017, arXiv 1708.01471.
    """

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        factors: Annotated[int, Field(ge=1, le=65_536)] = 3,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = width
        self.factors = factors if len(widths) > 1 else 1
        self.expansions = nn.ModuleDict(
            {name: nn.Linear(widths[name].pooled, width * self.factors) for name in self.modalities}
        )
        for layer in self.expansions.values():
            nn.init.ones_(layer.get_parameter("bias"))

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``; see :class:`~mmx.fusion.base.Fusion`."""
        expanded = [
            # A factor of 1 leaves the product of the others as it is.
            self.expansions[name](x).masked_fill(~present[name][:, None], 1.0)
            for name, x in zip(self.modalities, self.list_pooled(features, present), strict=True)
        ]
        # (B, D_out·k) → (B, D_out, k)
        # The k factors of a unit lie side by side, so the view groups them without a copy.
        product = reduce(torch.mul, expanded).view(-1, self.width, self.factors)
        return normalise_power(product.sum(2))
