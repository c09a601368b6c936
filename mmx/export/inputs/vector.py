"""Vectors of numbers in their own unit; they are standardised in the graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmx.export.inputs.base import Array, GraphInput
from mmx.json_object import Json
from mmx.modalities import Modality
from mmx.modalities.vector import VectorColumn, VectorSpec


class VectorInput(GraphInput[VectorSpec]):
    """``(D,)`` float64, NaN where an item is missing."""

    spec_type = VectorSpec
    dtype = torch.float64
    reader = "vector"
    means: Tensor
    stds: Tensor

    def __init__(self, modality: Modality[Any, Any], spec: VectorSpec) -> None:
        super().__init__(modality, spec)
        self.register_buffer("means", torch.tensor(spec.means, dtype=torch.float64))
        self.register_buffer("stds", torch.tensor(spec.stds, dtype=torch.float64))

    @property
    def shape(self) -> tuple[int | None, ...]:
        """D."""
        return (len(self.spec.means),)

    def read(self, column: VectorColumn, row: int) -> Array:
        """Return the numbers of a row."""
        return column.read(row)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return ``(B, D)``, or ``(B, 2 D)`` where missing items are flagged."""
        missing = x.isnan()
        standard = ((x - self.means) / self.stds).masked_fill(missing, 0.0)
        parts = [standard, missing.to(x.dtype)] if self.spec.flags else [standard]
        return torch.cat(parts, dim=1).to(torch.float32), None

    def describe(self) -> Json:
        """Return the statistics."""
        return {
            "means": list(self.spec.means),
            "stds": list(self.spec.stds),
            "in_graph": "minus mean, divided by std, 0 where missing"
            + ("; then 1 where missing" if self.spec.flags else ""),
        }
