"""The contract of every transferability score that a ranking computes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor


class Score(ABC):
    """Base of all scores. Each file here is one, and a ranking shows it under the file's name.

    Example:
        ``mmx/transfer/scores/separation.py`` for two classes could be:

        >>> import torch
        >>> class Separation(Score):
        ...     rank = 8
        ...
        ...     def compute(self, x, y):
        ...         return float(x[y == 1].mean() - x[y == 0].mean())
        >>> Separation().compute(torch.tensor([[1.0], [4.0]]), torch.tensor([0, 1]))
        3.0

    Attributes:
        rank: Its place among the columns of ``ranking.csv``; a new score comes last.
        votes: Whether it counts in the order of a ranking.
        reads_source_outputs: Whether it reads the source's outputs for the rows, and not their
            features.
    """

    rank: ClassVar[int]
    votes: ClassVar[bool] = True
    reads_source_outputs: ClassVar[bool] = False

    @abstractmethod
    def compute(self, x: Tensor, y: Tensor) -> float:
        """Return the score; larger is a better source.

        Args:
            x: Features ``(N, D)``; the probabilities ``(N, Z)`` of source classes if the score
                reads source outputs.
            y: ``(N,)`` target classes of the same rows.

        Raises:
            ValueError: The score is not defined for these.
        """

    def remark(self, values: Sequence[float | None]) -> str:
        """Return a remark on the values of all candidates; empty if there is nothing to say.

        Args:
            values: One for each candidate; None if it has no such score.
        """
        return ""
