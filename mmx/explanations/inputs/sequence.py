"""Sequences: a number for each feature of each step."""

from __future__ import annotations

from mmx.explanations.base import Question, Values, as_values
from mmx.explanations.inputs.base import InputParts


class SequenceParts(InputParts):
    """The features of the steps, ``(T, D)``."""

    name = "sequence"
    baseline = "the mean of the training steps"
    axes = ("step", "feature")

    def show(self, question: Question) -> Values | None:
        """Return the standardised steps ``(T, D)``; see :class:`Parts`."""
        return as_values(question.x[0])
