"""Videos: a number for each pixel of each frame."""

from __future__ import annotations

from mmx.explanations.base import Question, Values, as_values
from mmx.explanations.inputs.base import InputParts


class VideoParts(InputParts):
    """The pixels of a clip's frames; the three colours of one count together."""

    name = "video"
    baseline = "black frames"
    axes = ("frame", "row", "column")

    def sum_parts(self, values: Values, question: Question) -> Values:
        """Return ``(T, H, W)`` of ``(T, 3, H, W)``; see :class:`Parts`."""
        summed: Values = values.sum(1)
        return summed

    def show(self, question: Question) -> Values | None:
        """Return the frames ``(T, H, W, 3)``; see :class:`Parts`."""
        return as_values(question.x[0].permute(0, 2, 3, 1))
