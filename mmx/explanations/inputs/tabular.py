"""Cells of a table: a number for each column."""

from __future__ import annotations

import numpy as np

from mmx.explanations.base import Question, Values
from mmx.explanations.inputs.base import InputParts, Named
from mmx.modalities.tabular import TabularColumn, TabularSpec


class TabularParts(InputParts):
    """The cells of a row; the numbers that a cell becomes count together."""

    name = "tabular"
    baseline = "cells of numbers at their mean, cells of words without a word"
    axes = ("cell",)

    def sum_parts(self, values: Values, question: Question) -> Values:
        """Return one number for each column, in the order of the spec; see :class:`Parts`."""
        spec = question.view.spec
        if not isinstance(spec, TabularSpec):
            return values
        # A number and whether it is missing; then a place for each known word.
        widths = [2] * len(spec.numeric) + list(spec.cardinalities)
        starts = np.cumsum([0, *widths])[:-1]
        return np.add.reduceat(values, starts)

    def list_names(self, question: Question, row: int) -> tuple[Named, ...] | None:
        """Return the columns with the content of the row's cells; see :class:`Parts`."""
        spec, column = question.view.spec, question.view.column
        if not isinstance(spec, TabularSpec) or not isinstance(column, TabularColumn):
            return None
        return tuple(
            Named(name, "" if (cell := column.columns[name][row]) is None else str(cell))
            for name in (*spec.numeric, *spec.categorical)
        )
