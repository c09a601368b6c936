"""Mean squared error for numeric targets."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmx.objectives.base import Criterion, Objective, OutputLoss


class MeanSquaredError(Objective):
    """The mean squared error, L = mean_i (ŷ_i - y_i)², of standardised targets.

    Use it for regression.
    """

    kinds = frozenset({"regression"})

    def bind(self, target: Tensor, outputs: int, widths: dict[str, int]) -> Criterion:
        """Return the loss; see :class:`~mmx.objectives.base.Objective`.

        Raises:
            ValueError: The model has more than one output for each row.
        """
        if outputs != 1:
            raise ValueError(f"regression has one output for each row, not {outputs}")
        return OutputLoss(_loss)


def _loss(numbers: Tensor, values: Tensor, weight: Tensor | None) -> Tensor:
    return F.mse_loss(numbers.squeeze(1), values.to(numbers))  # (B, 1) - (B,) would broadcast
