"""The rows of an optimiser step, of which a batch may be a part."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class StepRows:
    """All rows of a step that is accumulated over several batches.

    A mean over the step is a sum over its batches, each divided by what counts in the whole
    step: rows, weights of their classes, or rows that have a modality.

    Attributes:
        target: ``(W,)`` or ``(W, C)``.
        present: Modality to ``(W,)`` bool; empty where that is drawn batch by batch, so that
            nobody knows it of the whole step.
    """

    target: Tensor
    present: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.target)
