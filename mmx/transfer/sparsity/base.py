"""The contract of every sparsity pattern: which weights of a layer stay."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from mmx.transfer.sparsity.layers import Layer

Masks = dict[str, Tensor]


class Pattern(ABC):
    """Base of all patterns. Among equal weights the first ones stay, on every device.

    A file here is a pattern that ``transfer.sparsity=<name of the file>`` chooses; a pattern from
    your own package is a node with its options,
    ``transfer.sparsity='{_target_: my_package.threshold.Threshold, least: 0.02}'``.

    Example:
        >>> class Threshold(Pattern):
        ...     def __init__(self, *, least: float = 0.01):
        ...         self.least = least
        ...
        ...     def masks(self, layer, tensors):
        ...         return {name: tensors[name].abs() >= self.least for name in layer.weights}
        >>> tensors = {"weight": torch.tensor([[0.5, -0.001]])}
        >>> Threshold().masks(Layer(("weight",)), tensors)
        {'weight': tensor([[ True, False]])}
    """

    @abstractmethod
    def masks(self, layer: Layer, tensors: Mapping[str, Tensor]) -> Masks:
        """Return a bool mask for each tensor of a layer that is pruned; True where a weight stays.

        Args:
            layer: A layer of the model.
            tensors: The trained weights of the source by name.
        """


def count_kept(count: int, amount: float) -> int:
    """Return how many of ``count`` stay if the fraction ``amount`` is pruned."""
    return count - round(amount * count)


def mask_largest(sizes: Tensor, count: int) -> Tensor:
    """Return a mask of the ``count`` largest entries of each row; among equal ones, the first."""
    # A stable sort and not topk, whose choice among equal entries depends on the device.
    order = sizes.argsort(dim=1, descending=True, stable=True)
    return torch.zeros_like(sizes, dtype=torch.bool).scatter_(1, order[:, :count], True)
