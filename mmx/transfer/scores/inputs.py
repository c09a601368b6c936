"""What every score requires of its input."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

ArrayOrTensor = npt.ArrayLike | Tensor
ScoreFloats = npt.NDArray[np.float64]
ClassIndices = npt.NDArray[np.intp]

LARGEST = 1e100
"""Bound of magnitudes: sums of squares of larger values could overflow."""


def check_matrix(values: ArrayOrTensor, name: str) -> ScoreFloats:
    """Return ``(N, D)`` finite float64.

    Args:
        values: Real numbers.
        name: Their name in messages.

    Raises:
        ValueError: Not real numbers, not two axes, no column, fewer than two rows, NaN,
            infinity or magnitudes above 1e100.
    """
    found = _to_array(values)
    if found.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be real numbers, got dtype {found.dtype}")
    if found.ndim != 2 or found.shape[1] == 0:
        raise ValueError(f"{name} must have shape (N, D) with D ≥ 1, got {found.shape}")
    _check_rows(found, name)
    floats = found.astype(np.float64)
    wrong = np.size(floats) - np.count_nonzero(np.isfinite(floats))
    if wrong:
        raise ValueError(f"{name} must be finite, got {wrong} values that are NaN or infinite")
    largest = np.abs(floats).max()
    if largest > LARGEST:
        raise ValueError(f"{name} must be at most {LARGEST:g} in magnitude, got {largest:g}")
    return floats


def check_classes(values: ArrayOrTensor, name: str, fewest: int = 2) -> ClassIndices:
    """Return ``(N,)`` class indices from 0 to C − 1, each of which occurs, in order of the labels.

    Args:
        values: Integers, not necessarily contiguous.
        name: Their name in messages.
        fewest: How many classes must occur.

    Raises:
        ValueError: Not integers, not one axis, fewer than two rows or ``fewest`` classes.
    """
    found = _to_array(values)
    if found.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers, got dtype {found.dtype}")
    if found.ndim != 1:
        raise ValueError(f"{name} must have shape (N,), got {found.shape}")
    _check_rows(found, name)
    indices: ClassIndices
    names, indices = np.unique(found, return_inverse=True)
    if len(names) < fewest:
        raise ValueError(f"{name} must name at least {fewest} classes, got only class {names[0]}")
    return indices


def check_same_rows(
    one: ScoreFloats | ClassIndices, one_name: str, other: ClassIndices, other_name: str
) -> None:
    """Raise ValueError unless both have the same number of rows."""
    if len(one) != len(other):
        raise ValueError(f"{one_name} has {len(one)} rows and {other_name} has {len(other)}")


def check_labelled(
    features: ArrayOrTensor, labels: ArrayOrTensor
) -> tuple[ScoreFloats, ClassIndices]:
    """Return features ``(N, D)`` and class indices ``(N,)``, checked."""
    x, y = check_matrix(features, "features"), check_classes(labels, "labels")
    check_same_rows(x, "features", y, "labels")
    return x, y


def _to_array(values: ArrayOrTensor) -> npt.NDArray[Any]:
    if not isinstance(values, Tensor):
        return np.asarray(values)
    found = values.detach().cpu()
    # NumPy has no bfloat16: floating-point tensors become float64 first.
    return (found.double() if found.is_floating_point() else found).numpy()


def _check_rows(found: npt.NDArray[Any], name: str) -> None:
    if len(found) < 2:
        raise ValueError(f"{name} must have at least 2 rows, got {len(found)}")
