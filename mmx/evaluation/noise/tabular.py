"""Table cells with additive noise, or lost cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

import numpy as np

from mmx.evaluation.noise.base import Corruption, Noise
from mmx.modalities import Stored
from mmx.modalities.tabular import TabularColumn, TabularSpec
from mmx.modalities.tabular_kinds import Cell, read_number
from mmx.training.data import Rows

RowCells = dict[str, Cell]
"""The cells of one row, by column."""


def add_noise_to_cells(
    cells: RowCells, strength: float, generator: np.random.Generator, *, stds: Mapping[str, float]
) -> RowCells:
    """Add normal noise to the numbers; words and missing cells stay as they are.

    Args:
        cells: The cells of one row.
        strength: Standard deviation of the noise over that of the training rows.
        generator: Draws one number for each column of numbers.
        stds: Column of numbers to its standard deviation over the training rows.
    """
    noisy = dict(cells)
    for name, draw in zip(stds, generator.standard_normal(len(stds)), strict=True):
        cell = cells[name]
        if cell is not None:
            noisy[name] = float(cell) + strength * stds[name] * float(draw)
    return noisy


def lose_cells(cells: RowCells, strength: float, generator: np.random.Generator) -> RowCells | None:
    """Lose each cell with a probability; return None if none is left."""
    lost = generator.random(len(cells)) < strength
    left = {name: None if gone else cells[name] for name, gone in zip(cells, lost, strict=True)}
    return left if any(cell is not None for cell in left.values()) else None


class TabularCorruption(Corruption[TabularColumn, TabularSpec]):
    """Corrupts raw cells; see :class:`~mmx.evaluation.noise.base.Corruption`."""

    name: ClassVar[str] = "tabular"

    @property
    def noises(self) -> tuple[Noise, ...]:
        """Additive noise, if there are columns of numbers, and missing cells."""
        stds = dict(sorted(zip(self.spec.numeric, self.spec.stds, strict=True)))
        numbers = Noise(
            "additive",
            "standard deviation over that of the training rows",
            (0.0, 0.1, 0.25, 0.5, 1.0),
            partial(add_noise_to_cells, stds=stds),
        )
        cells = Noise("missing_cells", "part of the cells", (0.0, 0.1, 0.25, 0.5, 0.75), lose_cells)
        return (numbers, cells) if stds else (cells,)

    def read(self, rows: Rows, stored: Stored | None) -> list[RowCells]:
        """Return the cells of each row, numbers and dates in any spelling as numbers."""
        columns = sorted(self.column.columns.items())
        found = [{name: cells[row] for name, cells in columns} for row in rows]
        for name, _, _ in self.spec.spellings:
            spelling = self.spec.find_spelling(name)
            for cells in found:
                if (cell := cells[name]) is not None:
                    cells[name] = read_number(cell, spelling)
        return found

    def encode(self, values: Sequence[RowCells | None]) -> Stored:
        """Return the cells standardised and coded as in training."""
        spec = self.spec
        columns = {
            name: [None if cells is None else cells[name] for cells in values]
            for name in (*spec.numeric, *spec.categorical)
        }
        return self.view.modality.encode(TabularColumn(columns), np.arange(len(values)), spec)
