"""The contract of every transferability score that a ranking computes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor


class Score(ABC):
    """Base of all scores. A file here is one, and a ranking shows it under the file's name.

    ``mmx/transfer/scores/separation.py`` would be, for two classes::

        class Separation(Score):
            rank = 8

            def compute(self, x, y):
                return float(x[y == 1].mean() - x[y == 0].mean())

    Attributes:
        rank: Its column in ``ranking.csv``, among those of the others; a new one comes last.
        votes: Whether it counts in the order of a ranking.
        reads_source_outputs: Whether it looks at what the source says of rows, in place of their
            features.
    """

    rank: ClassVar[int]
    votes: ClassVar[bool] = True
    reads_source_outputs: ClassVar[bool] = False

    @abstractmethod
    def compute(self, x: Tensor, y: Tensor) -> float:
        """Return the score; larger is a better source.

        Args:
            x: Features ``(N, D)``; where the score reads source outputs, the probabilities
                ``(N, Z)`` of source classes.
            y: ``(N,)`` target classes of the same rows.

        Raises:
            ValueError: The score has no meaning for these.
        """

    def remark(self, values: Sequence[float | None]) -> str:
        """Return what must be said of the candidates' values together; empty for nothing.

        Args:
            values: One for each candidate; None where it has no such score.
        """
        return ""
