"""A Tucker decomposition with a block-superdiagonal core."""

from __future__ import annotations

from functools import reduce
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion.base import Fusion, Widths
from mmx.fusion.normalisation import normalise_power
from mmx.modalities import Features


class Block(Fusion):
    """Multiplies chunks of the modalities' projections, each with the same chunk of the others.

        [u_m1; …; u_mK] = W_m x_m + b_m
        z_k = normalised(Σ_r ⊙_m (N_mk^(r) u_mk + c_mk^(r))),  F = [z_1; …; z_K]

    Use it for interactions between modalities at fewer parameters than one large Tucker core
    (``mutan``) needs.

    normalised takes signed square roots, then scales to unit length
    (:func:`~mmx.fusion.normalisation.normalise_power`). The K chunks divide D_out as evenly as
    possible; the first ones are one unit wider. The paper has M = 2; with more, each block
    multiplies its chunks of all modalities. An absent modality is left out of every block, as
    a factor of 1. The c_mk start at 1, so that in the beginning each modality also acts on
    its own. With a single modality R is 1, since a sum of linear maps is a linear map.

    Args:
        widths: Modality to widths.
        outputs: Not used.
        width: Width of the fused vector, D_out, and the width of all of a modality's chunks.
        blocks: K, but no more than D_out.
        rank: R, the number of summed products; more of them express more and cost more.

    Reference: Ben-younes et al. 2019, arXiv 1902.00038.
    """

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        blocks: Annotated[int, Field(ge=1, le=1_024)] = 4,
        rank: Annotated[int, Field(ge=1, le=65_536)] = 5,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = width
        self.rank = rank if len(widths) > 1 else 1
        blocks = min(blocks, width)
        # The remainder of width / blocks goes to the first chunks, one unit each.
        chunks = [width // blocks + (k < width % blocks) for k in range(blocks)]
        self.factors = nn.ModuleDict(
            {name: _Factors(widths[name].pooled, chunks, self.rank) for name in self.modalities}
        )

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``; see :class:`~mmx.fusion.base.Fusion`."""
        factors: list[list[Tensor]] = [
            [
                # Absent means a factor of 1, which is neutral in the product (zero would erase the
                # others).
                factor.masked_fill(~present[name][:, None, None], 1.0)
                for factor in self.factors[name](x)
            ]
            for name, x in zip(self.modalities, self.list_pooled(features, present), strict=True)
        ]  # M lists of K (B, R, chunk)
        products: list[Tensor] = [reduce(torch.mul, block) for block in zip(*factors, strict=True)]
        return torch.cat([normalise_power(product.sum(1)) for product in products], dim=1)


class _Factors(nn.Module):
    """W x + b in chunks, and N_k^(r) u_k + c_k^(r) of each, the c at 1."""

    def __init__(self, inputs: int, chunks: list[int], rank: int) -> None:
        super().__init__()
        self.chunks = chunks
        self.rank = rank
        self.projection = nn.Linear(inputs, sum(chunks))
        # All R factors of a chunk are one layer: its output is viewed as (B, R, chunk).
        self.core = nn.ModuleList(nn.Linear(chunk, rank * chunk) for chunk in chunks)
        for layer in self.core:
            # ∏_m (u_m + 1) starts with linear terms, too
            nn.init.ones_(layer.get_parameter("bias"))

    def forward(self, x: Tensor) -> list[Tensor]:
        chunks = self.projection(x).split(self.chunks, dim=1)
        return [
            layer(chunk).view(x.shape[0], self.rank, -1)
            for layer, chunk in zip(self.core, chunks, strict=True)
        ]
