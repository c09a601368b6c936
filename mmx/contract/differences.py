"""Numbers side by side: how far apart they are, and which rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmx.contract.base import Broken

FACTOR = 100.0
"""Tolerance, in units in the last place of the largest number."""


def distance(one: Tensor, other: Tensor) -> float:
    """Return the largest absolute difference; infinite where shapes or NaNs differ."""
    if one.shape != other.shape:
        return float("inf")
    if not one.numel():
        return 0.0
    one, other = one.detach().double(), other.detach().double()
    apart = (one - other).abs()
    # inf - inf is NaN although the numbers are equal; two NaNs count as equal too.
    same = (one == other) | (one.isnan() & other.isnan())
    return float(apart.masked_fill(same, 0.0).nan_to_num(nan=float("inf")).max())


def tolerance(x: Tensor, factor: float = FACTOR) -> float:
    """Return the difference that rounding may cause in numbers of this size and dtype."""
    if not x.is_floating_point() or not x.numel():
        return 0.0
    finite = x.detach().double().nan_to_num(0.0, 0.0, 0.0)
    eps = max(torch.finfo(x.dtype).eps, torch.finfo(torch.get_default_dtype()).eps)
    # Relative to the largest number, and absolute for numbers below 1.
    return factor * eps * max(1.0, float(finite.abs().max()))


def find_difference(got: Tensor, want: Tensor, factor: float = FACTOR) -> float | None:
    """Return the largest difference of two tensors, or None where rounding explains it."""
    found = distance(got, want)
    return found if found > tolerance(want, factor) else None


def expect_same(
    got: Tensor, want: Tensor, expected: str, seen: str, factor: float = FACTOR
) -> None:
    """Raise Broken where two tensors differ by more than rounding.

    Args:
        got: What was seen.
        want: What was expected.
        expected: What was expected, in words.
        seen: What was done, in words.
        factor: Tolerance, in units in the last place of the largest number.
    """
    if (found := find_difference(got, want, factor)) is not None:
        raise Broken(f"expected {expected}; {seen}, it differs by up to {format_difference(found)}")


def expect_same_rows(
    got: Tensor, want: Tensor, rows: Sequence[int], expected: str, seen: str, factor: float = FACTOR
) -> None:
    """Raise Broken, with the row numbers, where some of the rows differ."""
    if got.shape != want.shape:
        raise Broken(
            f"expected {expected}; {seen}, the shape is {format_shape(got)}, "
            f"not {format_shape(want)}"
        )
    limit = tolerance(want, factor)
    found = {row: far for row in rows if (far := distance(got[row], want[row])) > limit}
    if found:
        raise Broken(
            f"expected {expected}; {seen}, {len(found)} of {len(rows)} other rows changed "
            f"({format_rows(list(found))}), by up to {format_difference(max(found.values()))}"
        )


def format_rows(rows: Sequence[int], most: int = 6) -> str:
    """Return row numbers for a message."""
    return ", ".join(str(row) for row in rows[:most]) + (", …" if len(rows) > most else "")


def format_shape(x: Tensor) -> str:
    """Return a shape as a tuple, for a message."""
    return str(tuple(x.shape))


def format_difference(value: float) -> str:
    """Return a difference with three significant digits."""
    return f"{value:.3g}" if math.isfinite(value) else "infinity"
