"""Regularisers of a transfer: what holds a target near its source while it trains.

    min_w (1/n) Σ L(y_i, f_w(x_i)) + strength · R(w)

Each says in its docstring what it sums and what it averages over; a strength means the
same at every batch size.
"""

from mmx.transfer.regularizers.base import ActsOn, Given, Penalty, Reference, Regularizer, Step

__all__ = ["ActsOn", "Given", "Penalty", "Reference", "Regularizer", "Step"]
