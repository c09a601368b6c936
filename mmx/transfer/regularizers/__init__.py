"""Regularisers of a transfer: penalties that keep a target close to its source during training.

    min_w (1/n) Σ L(y_i, f_w(x_i)) + strength · R(w)

Each docstring says what the penalty sums and what it averages over, so that a strength means the
same at every batch size. Choose one when the target has few rows and plain fine-tuning forgets
what the source knew.
"""

from mmx.transfer.regularizers.base import (
    ActsOn,
    Penalty,
    Reference,
    Regularizer,
    RegularizerContext,
    Step,
)

__all__ = ["ActsOn", "Penalty", "Reference", "Regularizer", "RegularizerContext", "Step"]
