"""Means over what is there: the valid steps of a sequence, the elements of a tensor."""

from __future__ import annotations

from torch import Tensor


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Return the ``(B, D)`` mean of ``x`` ``(B, T, D)`` over its valid steps; 0 where none is.

    Args:
        x: Steps; those that are not valid may hold anything, NaN too.
        mask: ``(B, T)`` bool.
    """
    # replaced, not multiplied by zero: 0 · NaN is NaN
    return x.masked_fill(~mask[:, :, None], 0.0).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def mean_where(x: Tensor, where: Tensor) -> Tensor:
    """Return the mean of ``x`` over the elements ``where`` (same shape) is True; 0 if none is."""
    return x.masked_fill(~where, 0.0).sum() / where.sum().clamp(min=1)
