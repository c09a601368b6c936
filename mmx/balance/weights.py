"""Class weights in the objective."""

from __future__ import annotations

from mmx.balance.base import Balance, O


class Weights(Balance):
    """Weighs each class in the loss by N / (C · n_c), from the training rows.

    The rows that are drawn do not change. Use it first: it has no options, and it works with
    every objective that has class weights.
    """

    def objective(self, objective: O) -> O:
        """Return the objective with balanced class weights."""
        return objective.with_class_weights()  # type: ignore[return-value]
