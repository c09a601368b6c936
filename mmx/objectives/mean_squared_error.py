"""Mean squared error for a number a row."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmx.objectives.base import Criterion, Objective, OutputLoss


class MeanSquaredError(Objective):
    """L = mean_i (ŷ_i - y_i)², of standardised targets."""

    kinds = frozenset({"regression"})

    def bind(self, target: Tensor, outputs: int, widths: dict[str, int]) -> Criterion:
        """Return the loss; see :class:`~mmx.objectives.base.Objective`.

        Raises:
            ValueError: The model gives more than one number a row.
        """
        if outputs != 1:
            raise ValueError(f"regression has one output a row, not {outputs}")
        return OutputLoss(_loss)


def _loss(numbers: Tensor, values: Tensor, weight: Tensor | None) -> Tensor:
    return F.mse_loss(numbers.squeeze(1), values.to(numbers))  # (B, 1) with (B,)
