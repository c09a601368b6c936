"""Sounds: a number for each band of each frame of the spectrogram, or for moments in time."""

from __future__ import annotations

import numpy as np
from torch import nn

from mmx.explanations.base import Question, Values, as_values
from mmx.explanations.inputs.base import InputParts
from mmx.explanations.surface import Surface, trace_calls

MOMENTS = 200
"""Parts of a sound that is read as samples."""


class AudioParts(InputParts):
    """The spectrogram that an encoder computes, or moments of a sound that is read as samples.

    A layer that computes a spectrogram ``(B, ·, ·)``, or learned features of moments, has an
    attribute ``time_axis``: which axis of its output is time. Features that were learned have no
    meaning of their own, so that they count together.
    """

    name = "audio"
    baseline = "silence"
    axes = ("frame", "band")

    def find_layer(self, question: Question) -> nn.Module | None:
        """Return the layer that computes the spectrogram, or features; see :class:`Parts`."""
        for module, _, _ in trace_calls(question):
            if hasattr(module, "time_axis"):
                return module
        return None

    def sum_parts(self, values: Values, question: Question) -> Values:
        """Return ``(T, F)`` of a spectrogram, low bands first, or ``(T,)``; see :class:`Parts`."""
        if values.ndim == 1:
            starts = np.linspace(0, len(values), min(MOMENTS, len(values)), endpoint=False)
            return np.add.reduceat(values, starts.astype(np.int64))
        layer = self.find_layer(question)
        frames: Values = values if getattr(layer, "time_axis", 1) == 1 else values.T
        return frames.sum(1) if _is_learned(layer) else frames

    def show(self, question: Question) -> Values | None:
        """Return the spectrogram ``(T, F)``, or how loud moments of equal length are."""
        layer = self.find_layer(question)
        if layer is None or _is_learned(layer):
            return self.sum_parts(np.abs(as_values(question.x[0])), question)
        return self.sum_parts(as_values(Surface(question, layer).read(question.x)[0]), question)


def _is_learned(layer: nn.Module | None) -> bool:
    return layer is not None and next(layer.parameters(), None) is not None
