"""Multiplicative interactions, applied to one modality after another."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion.base import Fusion, Widths
from mmx.modalities import Features


class Multiplicative(Fusion):
    """Folds the modalities, in the order of their names, into one vector by products of units.

        p_m = P_m x_m + c_m,  z = p_1,  then for m = 2..M:  z ← fold_m(z, p_m),  F = z

        fold(z1, z2) = z1ᵀ𝕎 z2 + z1ᵀU + V z2 + b                 full
        fold(z1, z2) = (W z1 + v) ⊙ z2 + U z1 + b                vector

    Use it when one modality should change how another is read, in both directions; ``film``
    is the special case in which one modality is modulated by the others.

    The full 𝕎 would have D_out³ numbers; it is factorised into two factors of width
    ``factor`` and a core: (z1ᵀ𝕎 z2)_k = (A z1)ᵀ C_k (B z2). In the vector form, unit k of z1
    interacts with unit k of z2 only. Every fold has its own parameters. An absent modality is
    left out: z passes through unchanged, and the first modality present starts the fold. A
    single modality gives F = p_1.

    Args:
        widths: Modality to widths.
        outputs: Not used.
        width: Width of the fused vector, D_out, and the width of every p and z.
        form: ``full``: every unit may depend on all products; ``vector``: on its own alone.
        factor: Width of the factors, for ``full`` only; None: 16.

    Raises:
        ValueError: ``factor`` is given for the vector form.

    Reference: Jayakumar et al. 2020, Multiplicative interactions and where to find them, ICLR.
    """

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        form: Literal["full", "vector"] = "full",
        factor: Annotated[int, Field(ge=1, le=65_536)] | None = None,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        if factor is not None and form != "full":
            raise ValueError(f"`factor` (={factor}) is read only where `form` is full")
        self.width = width
        self.projections = nn.ModuleDict(
            {name: nn.Linear(widths[name].pooled, width) for name in self.modalities}
        )
        self.folds = nn.ModuleDict(
            {
                name: _Full(width, factor or 16) if form == "full" else _Vector(width)
                for name in self.modalities[1:]
            }
        )

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``; see :class:`~mmx.fusion.base.Fusion`."""
        pooled = dict(zip(self.modalities, self.list_pooled(features, present), strict=True))
        first = self.modalities[0]
        fused: Tensor = self.projections[first](pooled[first])  # (B, D_out)
        started = present[first][:, None]  # (B, 1), whether a modality of the row has been folded
        for name, fold in self.folds.items():
            here, projected = present[name][:, None], self.projections[name](pooled[name])
            # Before anything is folded, the first present modality is taken as it is.
            folded = torch.where(started, fold(fused, projected), projected)
            # Both at once: `started` must still be the old value in the line above.
            fused, started = torch.where(here, folded, fused), started | here
        return fused


class _Full(nn.Module):
    """z1ᵀ𝕎 z2 + z1ᵀU + V z2 + b, with 𝕎 factorised."""

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.left = nn.Linear(width, factor, bias=False)
        self.right = nn.Linear(width, factor, bias=False)
        # The core is a matrix over flattened pairs: C_k of the docstring is its row k, (factor²,).
        self.core = nn.Linear(factor * factor, width, bias=False)
        self.u = nn.Linear(width, width, bias=False)
        self.v = nn.Linear(width, width)

    def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
        products = self.left(z1)[:, :, None] * self.right(z2)[:, None, :]  # (B, factor, factor)
        folded: Tensor = self.core(products.flatten(1)) + self.u(z1) + self.v(z2)
        return folded


class _Vector(nn.Module):
    """(W z1 + v) ⊙ z2 + U z1 + b; v starts at 1, so that z2 passes through."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.w = nn.Linear(width, width)
        self.u = nn.Linear(width, width)
        nn.init.ones_(self.w.bias)

    def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
        folded: Tensor = self.w(z1) * z2 + self.u(z1)
        return folded
