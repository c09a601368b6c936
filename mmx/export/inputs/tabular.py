"""Cells of a table: numbers in their own unit and codes of words; standardised in the graph."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmx.export.inputs.base import Array, GraphInput
from mmx.json_object import Json
from mmx.modalities import Modality
from mmx.modalities.tabular import TabularColumn, TabularSpec, number_spellings, read_cells


class TabularInput(GraphInput[TabularSpec]):
    """``(columns,)`` float64: numbers, NaN where one is missing, then codes of words."""

    spec_type = TabularSpec
    dtype = torch.float64
    reader = "tabular"
    means: Tensor
    stds: Tensor

    def __init__(self, modality: Modality[Any, Any], spec: TabularSpec) -> None:
        super().__init__(modality, spec)
        self.register_buffer("means", torch.tensor(spec.means, dtype=torch.float64))
        self.register_buffer("stds", torch.tensor(spec.stds, dtype=torch.float64))

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The number of columns."""
        return (len(self.spec.numeric) + len(self.spec.categorical),)

    def read(self, column: TabularColumn, row: int) -> Array:
        """Return the cells of a row."""
        found: Array = read_cells(column, [row], self.spec)[0]
        return found

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return ``(B, D)``, in the layout of :class:`~mmx.modalities.tabular.TabularSpec`."""
        count = len(self.spec.numeric)
        parts = []
        if count:
            numbers = x[:, :count]
            missing = numbers.isnan()
            standard = ((numbers - self.means) / self.stds).masked_fill(missing, 0.0)
            parts.append(torch.stack([standard, missing.to(x.dtype)], dim=2).flatten(1))
        for place, codes in enumerate(self.spec.cardinalities, count):
            parts.append(F.one_hot(x[:, place].to(torch.int64), codes).to(x.dtype))
        return torch.cat(parts, dim=1).to(torch.float32), None

    def describe(self) -> Json:
        """Return the columns, with their statistics or the codes of their words."""
        columns: list[Json] = []
        for name, mean, std in zip(self.spec.numeric, self.spec.means, self.spec.stds, strict=True):
            spelling = self.spec.find_spelling(name)
            said = None if spelling is None else f"{spelling.reading} {spelling.unit}".strip()
            columns.append(
                {"name": name, "kind": "number", "mean": mean, "std": std, "written": said}
            )
        for name, words in zip(self.spec.categorical, self.spec.categories, strict=True):
            columns.append(
                {
                    "name": name,
                    "kind": "word",
                    "codes": {word: code for code, word in enumerate(words)},
                    "alike": number_spellings(words),
                    "other": len(words),
                }
            )
        return {
            "columns": columns,
            "in_graph": "numbers minus mean, divided by std, 0 where missing, each followed by 1 "
            "where missing; then each code as a one-hot vector",
        }
