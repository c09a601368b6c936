"""A Tucker decomposition with a low-rank core."""

from __future__ import annotations

from functools import reduce
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion.base import Fusion, Widths
from mmx.modalities import Features


class Mutan(Fusion):
    """Multiplies tanh projections of the modalities in each of a few ranks.

        u_m = tanh(W_m x_m + b_m),  F = Σ_r ⊙_m (N_m^(r) u_m + c_m^(r))

    Use it for bilinear interactions with a control of their rank; ``block`` splits the core
    into chunks and needs fewer parameters.

    It is the Tucker decomposition of a tensor in R^(D_1 × … × D_M × C): the W_m are its factor
    matrices, the head after the fusion is the factor matrix of the outputs, and each of the
    D_out slices of its core is a sum of R outer products of vectors. The paper has M = 2; with
    more, the product is over all modalities. An absent modality is left out of it, as a factor
    of 1. The c_m start at 1, so that in the beginning each modality also acts on its own. With
    a single modality R is 1, since a sum of linear maps is a linear map.

    Args:
        widths: Modality to widths.
        outputs: Not used.
        width: Width of the fused vector, D_out, and the width of every u_m.
        rank: R, the number of summed products; more of them express more and cost more.

    Reference: Ben-younes et al. 2017, arXiv 1705.06676.
    """

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        rank: Annotated[int, Field(ge=1, le=65_536)] = 5,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = width
        self.rank = rank if len(widths) > 1 else 1
        self.projections = nn.ModuleDict(
            {name: nn.Linear(widths[name].pooled, width) for name in self.modalities}
        )
        self.core = nn.ModuleDict(
            {name: nn.Linear(width, self.rank * width) for name in self.modalities}
        )
        for layer in self.core.values():
            # Started at 1, so that the product of M factors has linear terms in each modality.
            nn.init.ones_(layer.get_parameter("bias"))

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``; see :class:`~mmx.fusion.base.Fusion`."""
        factors = []  # M of (B, R·D_out)
        for name, x in zip(self.modalities, self.list_pooled(features, present), strict=True):
            projected = self.projections[name](x).tanh()
            # After tanh and core, not before: core(0) is the bias, which is no neutral factor.
            factors.append(self.core[name](projected).masked_fill(~present[name][:, None], 1.0))
        product: Tensor = reduce(torch.mul, factors)
        return product.view(-1, self.rank, self.width).sum(1)  # (B, R, D_out) → (B, D_out)
