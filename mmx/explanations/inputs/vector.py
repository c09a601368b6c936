"""Vectors: a number for each item."""

from __future__ import annotations

from mmx.explanations.base import Question, Values
from mmx.explanations.inputs.base import InputParts, Named
from mmx.modalities.vector import VectorColumn, VectorSpec


class VectorParts(InputParts):
    """The items of a vector; that one is missing counts for the item."""

    name = "vector"
    baseline = "the mean of the training vectors"
    axes = ("item",)

    def sum_parts(self, values: Values, question: Question) -> Values:
        """Return ``(D,)`` of ``(D,)``, or of ``(2 D,)`` with flags; see :class:`Parts`."""
        spec = question.view.spec
        if not isinstance(spec, VectorSpec) or not spec.flags:
            return values
        summed: Values = values.reshape(2, -1).sum(0)
        return summed

    def list_names(self, question: Question, row: int) -> tuple[Named, ...] | None:
        """Return the items by number, from 1; see :class:`Parts`."""
        column = question.view.column
        if not isinstance(column, VectorColumn):
            return None
        numbers = column.read(row)
        return tuple(
            Named(f"item {place}", f"{number:.4g}") for place, number in enumerate(numbers, 1)
        )
