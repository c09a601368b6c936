"""Masked means: over the valid steps of a sequence, or over some elements of a tensor."""

from __future__ import annotations

from torch import Tensor


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Return the ``(B, D)`` mean of ``x`` ``(B, T, D)`` over its valid steps, 0 without any.

    Args:
        x: Steps; the invalid ones may hold any values, NaN included.
        mask: ``(B, T)`` bool.
    """
    # Values are replaced and not multiplied by zero, since 0 · NaN is NaN.
    return x.masked_fill(~mask[:, :, None], 0.0).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def mean_where(x: Tensor, where: Tensor) -> Tensor:
    """Return the mean of ``x`` where ``where`` (same shape) is True, 0 without any."""
    return x.masked_fill(~where, 0.0).sum() / where.sum().clamp(min=1)
