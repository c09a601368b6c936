"""Masked means over the valid steps of a sequence, and masks that hide nothing."""

from __future__ import annotations

import torch
from torch import Tensor


def is_known_full(mask: Tensor) -> bool:
    """Return whether a mask is known to be True everywhere, without waiting for a device.

    What leaves work out where this is True must give the same bits where it is False. Graphs that
    are traced hold for any mask, so that it is not known there.

    Args:
        mask: Bool, of any shape.
    """
    # .all() of a tensor on a device would wait for it, and of one that is traced is not known.
    if torch.compiler.is_compiling() or mask.device.type != "cpu":
        return False
    return bool(mask.all())


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Return the ``(B, D)`` mean of ``x`` ``(B, T, D)`` over its valid steps, 0 without any.

    Args:
        x: Steps; the invalid ones may hold any values, NaN included.
        mask: ``(B, T)`` bool.
    """
    # Values are replaced and not multiplied by zero, since 0 · NaN is NaN.
    valid = x if is_known_full(mask) else x.masked_fill(~mask[:, :, None], 0.0)
    # (B, 1), counts of valid steps; 1 where there are none, for 0 / 1
    return valid.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def mean_where(x: Tensor, where: Tensor) -> Tensor:
    """Return the mean of ``x`` where ``where`` (same shape) is True, 0 without any."""
    # masked before the sum, since 0 · NaN is NaN
    return x.masked_fill(~where, 0.0).sum() / where.sum().clamp(min=1)
