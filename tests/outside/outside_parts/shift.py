"""A number added to what a linear layer says."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmx.transfer.adapters import AdapterMethod, AdapterModule


class ShiftModule(AdapterModule):
    """y = h + b, b zero at first."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(features))

    def forward(self, h: Tensor) -> Tensor:
        """Return ``(B, D)`` of ``(B, D)``."""
        return h + self.shift


class Shift(AdapterMethod):
    """A :class:`ShiftModule` behind each linear layer."""

    def find_places(self, encoder: nn.Module) -> list[str]:
        """Return the names of the linear layers."""
        return [name for name, each in encoder.named_modules() if isinstance(each, nn.Linear)]

    def add_to(self, encoder: nn.Module) -> None:
        """Add the modules."""
        for name in self.find_places(encoder):
            layer = encoder.get_submodule(name)
            layer.add_module("adapter", ShiftModule(layer.out_features))
            layer.register_forward_hook(_behind)


def _behind(layer: nn.Module, arguments: object, output: Any) -> Any:
    return layer.get_submodule("adapter")(output)
