"""Class weights for the losses of targets with one class for each row."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

ClassWeights = (
    Literal["none", "balanced"]
    | Annotated[list[Annotated[float, Field(gt=0, le=1e6)]], Field(min_length=1)]
)


def make_class_weights(given: ClassWeights, target: Tensor, outputs: int) -> Tensor | None:
    """Return ``(C,)`` float64 class weights v, or None if all are 1.

    Args:
        given: ``none``, all 1; ``balanced``, N / (C · n_c) from the training rows, 1 for a
            class without rows; or one number > 0 for each class.
        target: ``(N,)`` classes of the training rows.
        outputs: C.

    Raises:
        ValueError: There is not exactly one number for each class.
    """
    if given == "none":
        return None
    if given == "balanced":
        counts = torch.bincount(target.cpu(), minlength=outputs).double()
        balanced = len(target) / (outputs * counts)  # as scikit-learn's ``balanced``
        return balanced.where(counts > 0, 1.0)  # instead of N / 0
    if len(given) != outputs:
        raise ValueError(
            f"`class_weights` has {len(given)} numbers; the task has {outputs} classes"
        )
    return torch.tensor(given, dtype=torch.float64)


def balance_class_weights(given: ClassWeights) -> Literal["balanced"]:
    """Return ``balanced``, unless class weights are set.

    Raises:
        ValueError: There is a number for each class already.
    """
    if isinstance(given, list):
        raise ValueError(
            f"`class_weights` (={given}) are given, so they cannot be balanced as well"
        )
    return "balanced"
