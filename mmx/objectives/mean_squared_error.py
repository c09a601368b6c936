"""Mean squared error for a number a row."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from mmx.objectives.base import Loss, Objective


class MeanSquaredError(Objective):
    """L = mean_i (ŷ_i - y_i)², of standardised targets."""

    kinds: ClassVar[frozenset[str]] = frozenset({"regression"})

    def bind(self, target: Tensor, outputs: int) -> Loss:
        """Return the loss; see :class:`~mmx.objectives.base.Objective`.

        Raises:
            ValueError: The model gives more than one number a row.
        """
        if outputs != 1:
            raise ValueError(f"regression has one output a row, not {outputs}")

        def loss(numbers: Tensor, values: Tensor) -> Tensor:
            return F.mse_loss(numbers.float().squeeze(1), values.float())  # (B, 1) with (B,)

        return loss
