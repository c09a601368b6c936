"""The contract of every learner."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

LearnerFloats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]


class FittedModule(nn.Module):
    """A module with buffers that are empty until they are fitted or loaded.

    The buffers keep the dtype and device that they were made with, and may take any shape.
    """

    @property
    def settled(self) -> bool:
        """Whether all buffers have been filled."""
        # An empty buffer, numel 0, means not fitted yet.
        return all(buffer.numel() > 0 for buffer in self.buffers(recurse=False))

    def declare(self, **dtypes: torch.dtype | None) -> None:
        """Register an empty buffer for each name; None: the default floating-point dtype."""
        for name, dtype in dtypes.items():
            self.register_buffer(name, torch.empty(0, dtype=dtype))

    def keep(self, **values: Tensor | npt.NDArray[Any]) -> None:
        """Put values of any shape into the declared buffers."""
        for name, value in values.items():
            # A copy, since the value may share memory with the caller's array.
            setattr(self, name, torch.as_tensor(value).to(self.get_buffer(name), copy=True))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name, buffer in list(self._buffers.items()):
            # PyTorch refuses to load a tensor into a buffer of another shape.
            given = state_dict.get(f"{prefix}{name}")
            if given is not None and buffer is not None:
                # An uninitialised buffer of the given shape, which super() then fills.
                setattr(self, name, buffer.new_empty(given.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)


class Learner(FittedModule, ABC):
    """Base of all learners.

    Write a learner to let another family of models vote in ``fusion=algorithm``.

    Example:
        >>> class Prior(Learner):
        ...     rank = 9
        ...
        ...     def __init__(self, outputs):
        ...         super().__init__(outputs)
        ...         self.declare(shares=None)
        ...
        ...     def learn(self, x, y, seed):
        ...         self.keep(shares=np.bincount(y, minlength=self.outputs) / len(y))
        ...
        ...     def forward(self, x):
        ...         return self.shares.expand(len(x), -1)
        >>> learner = Prior(outputs=2)
        >>> learner.fit(torch.zeros(4, 3), torch.tensor([0, 1, 1, 1]), seed=1)
        >>> learner(torch.zeros(1, 3))
        tensor([[0.2500, 0.7500]])

    Args:
        outputs: C.

    Attributes:
        rank: Position among the learners of ``fusion=algorithm``, which fixes the order of
            their weights; a new learner takes the highest rank. None: the learner combines the
            predictions of others.
    """

    rank: ClassVar[int | None] = None

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def fit(self, x: Tensor, y: Tensor, seed: int) -> None:
        """Learn from rows; a class without any row gets probability 0.

        Args:
            x: ``(N, F)`` finite.
            y: ``(N,)`` int64 classes below C.
            seed: Seed of all random draws.
        """
        self.learn(x.detach().double().cpu().numpy(), y.cpu().numpy(), seed)

    def round_input(self, x: LearnerFloats) -> LearnerFloats:
        """Return ``x`` rounded to the dtype of the buffer ``centre``, as float64."""
        return torch.from_numpy(x).to(self.get_buffer("centre").dtype).double().numpy()

    @abstractmethod
    def learn(self, x: LearnerFloats, y: Classes, seed: int) -> None:
        """Fit to NumPy arrays of the same meaning as in :meth:`fit`, and keep the result."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, C)`` probabilities of ``(N, F)`` features in the buffers' dtype."""


def compute_scaling(x: LearnerFloats) -> tuple[LearnerFloats, LearnerFloats]:
    """Return the mean and the standard deviation of each feature, 1 for a constant feature."""
    from sklearn.preprocessing import StandardScaler  # slow to import, and only needed here

    scaler = StandardScaler().fit(x)
    return scaler.mean_, scaler.scale_
