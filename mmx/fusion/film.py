"""Feature-wise linear modulation."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion.base import Fusion, Widths, zero_absent
from mmx.modalities import Features


class Film(Fusion):
    """Scales and shifts the units of one modality by functions of all others.

        z = P x_c + b,  then for each m ≠ c, by name:  z ← γ_m ⊙ z + β_m,  F = z
        γ_m = 1 + G_m x_m + d_m,  β_m = H_m x_m + e_m

    Use it when one modality carries the content and the others give context to it, such as
    an image and a question about it.

    G_m starts small and d_m at 0, so that γ starts near 1. An absent modality m leaves z
    unchanged. Where the conditioned modality c is absent, z starts from 0 and the β of the
    others remain, each a full projection of its modality. With a single modality
    F = P x_c + b.

    Args:
        widths: Modality to widths.
        outputs: Not used.
        width: Width of the fused vector, D_out.
        conditioned: c, the modality that is modulated by the others; None: the first by name.

    Raises:
        ValueError: There is no modality ``conditioned``.

    Reference: Perez et al. 2018, arXiv 1709.07871.
    """

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        conditioned: str | None = None,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        if conditioned is not None and conditioned not in widths:
            raise ValueError(
                f"`conditioned` (={conditioned}) is not a modality of the task, "
                f"which has {', '.join(self.modalities)}"
            )
        self.width = width
        self.conditioned = self.modalities[0] if conditioned is None else conditioned
        self.projection = nn.Linear(widths[self.conditioned].pooled, width)
        others = {n: widths[n].pooled for n in self.modalities if n != self.conditioned}
        self.scales = nn.ModuleDict(
            {name: _make_small_linear(d, width) for name, d in others.items()}
        )
        self.shifts = nn.ModuleDict({name: nn.Linear(d, width) for name, d in others.items()})

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``; see :class:`~mmx.fusion.base.Fusion`."""
        pooled = dict(zip(self.modalities, self.list_pooled(features, present), strict=True))
        fused = self.projection(pooled[self.conditioned])
        fused = zero_absent(fused, present[self.conditioned])  # (B, D_out)
        # In order of names: the operations do not commute, so the order is part of the model.
        for name, scale in self.scales.items():
            gamma, beta = 1 + scale(pooled[name]), self.shifts[name](pooled[name])
            # where, not a product with the mask: an absent modality leaves the row as it is.
            fused = torch.where(present[name][:, None], gamma * fused + beta, fused)
        return fused


def _make_small_linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a layer with outputs near zero that still passes a gradient to its inputs."""
    linear = nn.Linear(inputs, outputs)
    # A tenth of the usual 1/√D: γ = 1 + 0.1 N(0, 1) for x of unit variance.
    nn.init.normal_(linear.weight, std=0.1 * inputs**-0.5)
    nn.init.zeros_(linear.bias)
    return linear
