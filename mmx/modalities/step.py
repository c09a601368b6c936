"""The rows of an optimiser step, which may consist of several batches."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class StepRows:
    """All rows of a step that is accumulated over several batches.

    A mean over the step is a sum over its batches, each divided by the total of the step: the
    number of rows, the sum of their class weights, or the number of rows with a modality.

    Attributes:
        target: ``(W,)`` or ``(W, C)`` for the W rows of the step.
        present: Modality to ``(W,)`` bool; empty where presence is drawn for each batch, and
            so is unknown for the step.
    """

    target: Tensor
    present: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.target)
