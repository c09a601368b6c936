"""Sequences of numbers in their own unit; they are standardised in the graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmx.export.inputs.base import Array, GraphInput
from mmx.json_object import Json
from mmx.modalities import Modality
from mmx.modalities.sequence import SequenceColumn, SequenceSpec


class SequenceInput(GraphInput[SequenceSpec]):
    """``(T, D)`` float64."""

    spec_type = SequenceSpec
    dtype = torch.float64
    reader = "sequence"
    means: Tensor
    stds: Tensor

    def __init__(self, modality: Modality[Any, Any], spec: SequenceSpec) -> None:
        super().__init__(modality, spec)
        self.register_buffer("means", torch.tensor(spec.means, dtype=torch.float64))
        self.register_buffer("stds", torch.tensor(spec.stds, dtype=torch.float64))

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Any number of steps, and D."""
        return (None, self.spec.width)

    @property
    def longest(self) -> int | None:
        """The steps from which a row is cut; None where none is."""
        return self.spec.max_steps

    def read(self, column: SequenceColumn, row: int) -> Array:
        """Return the steps of a row."""
        return column.read(row)[: self.spec.max_steps]

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return ``(B, T, D)``, zeros behind the end of a row."""
        standard = ((x - self.means) / self.stds).to(torch.float32)
        if lengths is None:
            return standard, None
        behind = torch.arange(x.shape[1], device=x.device) >= lengths[:, None]
        return standard.masked_fill(behind[:, :, None], 0.0), lengths.clamp(min=1)

    def describe(self) -> Json:
        """Return the statistics."""
        return {
            "means": list(self.spec.means),
            "stds": list(self.spec.stds),
            "max_steps": self.spec.max_steps,
            "in_graph": "minus mean, divided by std, for each feature",
        }
