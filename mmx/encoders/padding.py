"""Sequences of unequal length: masks, and pools that leave out the padding."""

from __future__ import annotations

import torch
from torch import Tensor

from mmx.modalities.masking import is_known_full


def step_mask(lengths: Tensor | None, x: Tensor) -> Tensor:
    """Return ``(B, T)`` bool, True at the valid steps of ``x``.

    An empty row counts as one step of padding, so that no pool divides by zero and attention
    always has a key.

    Args:
        lengths: ``(B,)`` int64 valid steps, or None where every step is valid.
        x: ``(B, T, ...)``.
    """
    if lengths is None:
        return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    steps = torch.arange(x.shape[1], device=x.device)
    # At least one step, so that means and maxima over an empty row are of zeros and not NaN.
    return steps < lengths.clamp(min=1)[:, None]


def zero_padding(x: Tensor, mask: Tensor) -> Tensor:
    """Return ``x`` ``(B, T, D)`` with zeros where ``mask`` ``(B, T)`` is False."""
    return x if is_known_full(mask) else x.masked_fill(~mask[:, :, None], 0.0)


def masked_max(x: Tensor, mask: Tensor) -> Tensor:
    """Return the ``(B, D)`` maximum of ``x`` ``(B, T, D)`` over its valid steps."""
    # -inf loses against every valid step; each row has one.
    valid = x if is_known_full(mask) else x.masked_fill(~mask[:, :, None], -torch.inf)
    return valid.amax(1)


def with_one_step(x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return sequences with one step at least, of zeros where there was none, and their mask.

    Args:
        x: ``(B, T, D)``; T may be 0.
        lengths: ``(B,)`` int64 valid steps, or None where every step is valid.
    """
    if not x.shape[1]:
        x = x.new_zeros(x.shape[0], 1, x.shape[2])
    return x, step_mask(lengths, x)
