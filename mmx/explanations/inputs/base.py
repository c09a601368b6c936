"""The contract of the parts of an input: what is changed, and what gets a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from mmx.explanations.base import Question, Values


@dataclass(frozen=True)
class Named:
    """A part that has a name, such as a word or a cell.

    Attributes:
        name: What it is called.
        text: What it holds, such as the content of a cell.
    """

    name: str
    text: str = ""


class InputParts:
    """The parts of an input of any modality: the numbers that the encoder reads.

    A modality with parts of its own, such as words, has a file of its own in this folder, with a
    subclass whose ``name`` is the modality's.
    """

    name: ClassVar[str] = ""
    """The modality."""
    baseline: ClassVar[str] = "zeros"
    """What the baseline is, in words."""
    axes: ClassVar[tuple[str, ...]] = ("number",)
    """What the axes of the parts stand for."""

    def find_layer(self, question: Question) -> nn.Module | None:
        """Return the layer whose output is changed in place of the input; None for the input."""
        return None

    def make_baseline(self, question: Question) -> Tensor:
        """Return the input ``(1, ...)`` that says nothing, from which attributions count."""
        return torch.zeros_like(question.x)

    def sum_parts(self, values: Values, question: Question) -> Values:
        """Return one number for each part: the sum of the numbers that belong to it.

        Args:
            values: Of the shape of what is changed, without the axis of rows.
            question: What is asked about the input.
        """
        return values

    def is_in_order(self, question: Question) -> bool:
        """Return whether the names, one after the other, are the input, as the words of a text."""
        return False

    def show(self, question: Question) -> Values | None:
        """Return the input as a page draws it under the numbers; None where it draws names.

        A picture is ``(H, W, 3)`` in [0, 1], a clip ``(T, H, W, 3)``; anything else has the shape
        of its parts.
        """
        return None

    def list_names(self, question: Question, row: int) -> tuple[Named, ...] | None:
        """Return the parts by name; None where their place says what they are.

        Args:
            question: What is asked about the input.
            row: The number of the row in its task.
        """
        return None
