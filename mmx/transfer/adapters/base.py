"""The contract of every kind of adapter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection

from torch import nn


class AdapterModule(nn.Module):
    """Base of the added modules: their parameters train, and the encoder's own stay frozen."""


class AdapterMethod(ABC):
    """Base of all kinds of adapter; their options are keyword-only, plain and annotated.

    A file here is a kind that ``transfer.kind=<name of the file>`` chooses; a kind from your own
    package is a node with its options, ``transfer.kind='{_target_: my_package.scales.Scales}'``.

    Example:
        >>> import torch
        >>> class Scale(AdapterModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.log_scale = nn.Parameter(torch.zeros(()))
        ...
        ...     def forward(self, h):
        ...         return h * self.log_scale.exp()
        >>> class Scales(AdapterMethod):
        ...     def find_places(self, encoder):
        ...         return [name for name, m in encoder.named_modules() if isinstance(m, nn.Linear)]
        ...
        ...     def add_to(self, encoder):
        ...         for name in self.find_places(encoder):
        ...             layer = encoder.get_submodule(name)
        ...             layer.add_module("adapter", Scale())
        ...             layer.register_forward_hook(lambda layer, _, output: layer.adapter(output))
        >>> encoder = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
        >>> Scales().add_to(encoder)
        >>> [name for name, _ in encoder.named_parameters()]
        ['0.weight', '0.bias', '0.adapter.log_scale']
    """

    @abstractmethod
    def find_places(self, encoder: nn.Module) -> Collection[str]:
        """Return the names of the weights or modules to adapt, without changing the encoder."""

    @abstractmethod
    def add_to(self, encoder: nn.Module) -> None:
        """Add the adapters, each an :class:`AdapterModule` that starts as the identity."""
