"""Low-rank tensor fusion, which never builds the tensor."""

from __future__ import annotations

from functools import reduce
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion.base import Fusion, Widths
from mmx.modalities import Features


class LowRank(Fusion):
    """Multiplies linear maps of all modalities in each unit, in each of a few ranks.

        F = Σ_r w_r ⊙_m ([1; x_m] F_m^(r)) + b

    Use it in place of ``tensor`` with three or more modalities or with wide features, since
    its size grows linearly with M.

    It is a linear map of the outer product ⊗_m [1; x_m] with a weight tensor of rank at most
    R in each of its D_out slices; neither tensor is built. F_m^(1..R) are one linear layer,
    and its bias is the row that is multiplied by the 1. These rows start at 1, so that in the
    beginning each modality also acts on its own, for any M. An absent modality is [1; 0].
    With a single modality, F is linear in it.

    Args:
        widths: Modality to widths.
        outputs: Not used.
        width: Width of the fused vector, D_out.
        rank: R, the number of summed products; more of them express more and cost more.

    Reference: Liu et al. 2018, arXiv 1806.00064.
    """

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        rank: Annotated[int, Field(ge=1, le=65_536)] = 3,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = width
        self.factors = nn.ModuleDict(
            {name: nn.Linear(widths[name].pooled, rank * width) for name in self.modalities}
        )
        for layer in self.factors.values():
            nn.init.ones_(layer.get_parameter("bias"))
        # 1 / R, so that at the start the sum over ranks is a mean.
        self.weights = nn.Parameter(torch.full((rank,), 1 / rank))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``; see :class:`~mmx.fusion.base.Fusion`."""
        pooled = self.list_pooled(features, present)
        # An absent x is zero, so its factor is the bias alone: the [1; 0] of the docstring.
        factors = [self.factors[name](x) for name, x in zip(self.modalities, pooled, strict=True)]
        ranks = reduce(torch.mul, factors).view(-1, len(self.weights), self.width)  # (B, R, D_out)
        # (R, 1) over (B, R, D_out), summed over R
        fused: Tensor = (self.weights[:, None] * ranks).sum(1) + self.bias
        return fused
