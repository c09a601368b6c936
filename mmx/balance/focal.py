"""The focal loss in place of cross-entropy."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mmx.balance.base import Balance, O


class Focal(Balance):
    """Lets rows that are right already count less: each row's loss times (1 - p_y)^γ.

    Args:
        gamma: γ; 0 is cross-entropy.

    Reference: Lin et al. 2017, arXiv 1708.02002.
    """

    def __init__(self, *, gamma: Annotated[float, Field(ge=0, le=100)] = 2.0) -> None:
        self.gamma = gamma

    def objective(self, objective: O) -> O:
        """Return the objective with the focal loss for its cross-entropy."""
        return objective.focused(self.gamma)  # type: ignore[return-value]
