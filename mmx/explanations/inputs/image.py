"""Pictures: a number for each pixel."""

from __future__ import annotations

from mmx.explanations.base import Question, Values, as_values
from mmx.explanations.inputs.base import InputParts


class ImageParts(InputParts):
    """The pixels of a picture; the three colours of one count together."""

    name = "image"
    baseline = "a black picture"
    axes = ("row", "column")

    def sum_parts(self, values: Values, question: Question) -> Values:
        """Return ``(H, W)`` of ``(3, H, W)``; see :class:`Parts`."""
        summed: Values = values.sum(0)
        return summed

    def show(self, question: Question) -> Values | None:
        """Return the picture ``(H, W, 3)``; see :class:`Parts`."""
        return as_values(question.x[0].permute(1, 2, 0))
