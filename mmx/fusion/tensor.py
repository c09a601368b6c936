"""Tensor fusion: the outer product of all modalities."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from mmx.fusion.base import Fusion, Widths
from mmx.modalities import Features

WIDEST = 32
"""Largest width of a factor that is chosen where the config sets none."""

USUAL, MOST = 2_500, 1_000_000
"""Largest number of entries of the product: where the config sets no width, and in any case."""


class Tensor(Fusion):
    """Applies a layer to all products of at most one unit of each modality.

        F = relu(W vec(⊗_m [1; P_m x_m]))

    Use it with two or three modalities where all their interactions matter; ``low_rank``
    approximates it at a size that grows linearly with M.

    The entries of the outer product are 1, the units of each P_m x_m, the products of two of
    them, up to those of M, (``factor_width`` + 1)^M in all. The weights of the entry 1 are
    the bias. An absent modality is [1; 0], so that products without it remain. With a single
    modality, F is a layer over its projection. P_m starts so small that P_m x_m has a norm
    near 1 or below at any ``factor_width``; so products of many units start small.

    Args:
        widths: Modality to widths.
        outputs: Not used.
        width: Width of the fused vector, D_out.
        factor_width: Width of each P_m x_m; None: the largest of at most 32 that keeps the
            product within 2,500 entries (32, 32, 12 and 6 for M = 1, 2, 3 and 4).

    Raises:
        ValueError: The product has more than 1,000,000 entries.

    Reference: Zadeh et al. 2017, arXiv 1707.07250.
    """

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        factor_width: Annotated[int, Field(ge=1, le=65_536)] | None = None,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = width
        modalities = len(widths)
        if factor_width is None:
            factor_width = max(1, min(WIDEST, _find_largest_width(USUAL, modalities)))
        entries = (factor_width + 1) ** modalities
        if entries > MOST:
            most = _find_largest_width(MOST, modalities)
            tip = f"`factor_width` can be at most {most}" if most else "use fusion=low_rank"
            raise ValueError(
                f"`factor_width` (={factor_width}) makes a product of {entries:,} entries "
                f"with {modalities} modalities, more than {MOST:,}: {tip}"
            )
        self.projections = nn.ModuleDict(
            {
                name: nn.Linear(widths[name].pooled, factor_width, bias=False)
                for name in self.modalities
            }
        )
        for name, projection in self.projections.items():
            # Variance 1 / (3 D_m · factor_width): for x_m of unit variance ‖P_m x_m‖² ≈ 1 / 3.
            bound = (widths[name].pooled * factor_width) ** -0.5
            nn.init.uniform_(projection.get_parameter("weight"), -bound, bound)
        # No bias: the product contains an entry that is always 1, and its weights are the bias.
        self.linear = nn.Linear(entries, width, bias=False)

    def forward(
        self, features: dict[str, Features], present: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """Return ``(B, D_out)``; see :class:`~mmx.fusion.base.Fusion`."""
        pooled = self.list_pooled(features, present)
        product = pooled[0].new_ones(pooled[0].shape[0], 1)  # (B, 1), the empty product
        for name, x in zip(self.modalities, pooled, strict=True):
            factor = F.pad(self.projections[name](x), (1, 0), value=1.0)  # (B, 1 + factor_width)
            # (B, n) and (B, 1 + factor_width) → (B, n · (1 + factor_width))
            product = (product[:, :, None] * factor[:, None, :]).flatten(1)
        return F.relu(self.linear(product))


def _find_largest_width(entries: int, modalities: int) -> int:
    """Return the largest factor width with (width + 1)^M ≤ ``entries``."""
    width = 0
    # + 2: the width that is tried is one larger, and a factor has one more entry, the 1.
    while (width + 2) ** modalities <= entries:
        width += 1
    return width
