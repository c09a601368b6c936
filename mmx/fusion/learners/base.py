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
    """A module whose buffers are empty until they are fitted or loaded.

    They keep the dtype and device that they were made with, and take any shape.
    """

    @property
    def settled(self) -> bool:
        """Whether the buffers hold something."""
        return all(buffer.numel() > 0 for buffer in self.buffers(recurse=False))

    def declare(self, **dtypes: torch.dtype | None) -> None:
        """Register an empty buffer for each name; None: the default floating-point dtype."""
        for name, dtype in dtypes.items():
            self.register_buffer(name, torch.empty(0, dtype=dtype))

    def keep(self, **values: Tensor | npt.NDArray[Any]) -> None:
        """Put values of any shape into the declared buffers."""
        for name, value in values.items():
            setattr(self, name, torch.as_tensor(value).to(self.get_buffer(name), copy=True))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name, buffer in list(self._buffers.items()):
            given = state_dict.get(f"{prefix}{name}")
            if given is not None and buffer is not None:
                setattr(self, name, buffer.new_empty(given.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)


class Learner(FittedModule, ABC):
    """Base of all learners.

    Args:
        outputs: C.

    Attributes:
        rank: Where it stands among the learners of ``fusion=algorithm``, which fixes the order of
            their weights; a new one comes last. None: it only combines what others say.
    """

    rank: ClassVar[int | None] = None

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def fit(self, x: Tensor, y: Tensor, seed: int) -> None:
        """Learn from rows; classes that none of them has get no probability.

        Args:
            x: ``(N, F)`` finite.
            y: ``(N,)`` int64 classes below C.
            seed: Decides everything that is drawn.
        """
        self.learn(x.detach().double().cpu().numpy(), y.cpu().numpy(), seed)

    def round_input(self, x: LearnerFloats) -> LearnerFloats:
        """Return numbers as the buffer ``centre`` can hold them."""
        return torch.from_numpy(x).to(self.get_buffer("centre").dtype).double().numpy()

    @abstractmethod
    def learn(self, x: LearnerFloats, y: Classes, seed: int) -> None:
        """Fit the same in NumPy, and keep what was found."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, C)`` probabilities of ``(N, F)`` features in the buffers' dtype."""


def compute_scaling(x: LearnerFloats) -> tuple[LearnerFloats, LearnerFloats]:
    """Return each feature's mean and standard deviation, 1 in place of one that is constant."""
    from sklearn.preprocessing import StandardScaler  # slow to import, and only needed here

    scaler = StandardScaler().fit(x)
    return scaler.mean_, scaler.scale_
