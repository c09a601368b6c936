"""Bottlenecks behind the layers of a frozen encoder.

Shape legend: ``B`` batch, ``D`` features.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mmx.transfer.adapters.base import AdapterMethod, AdapterModule
from mmx.transfer.adapters.places import find_places


class BottleneckLayer(AdapterModule):
    """A detour through few units, added to what it stands behind.

        y = h + W_up gelu(W_down h + b_down) + b_up

    At every position alike: on the maps of a convolution both layers are 1×1 convolutions.
    ``W_up`` and ``b_up`` are zero at first, so y = h.

    Args:
        features: D of h.
        width: Units of the detour; no more than D are used.
        axis: Axis of h that holds the features: 1 behind convolutions, -1 behind all else.

    Reference: Houlsby et al. 2019, arXiv 1902.00751.
    """

    def __init__(self, features: int, *, width: int, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.down = nn.Linear(features, min(width, features))
        self.up = nn.Linear(min(width, features), features)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, h: Tensor) -> Tensor:
        """Return y, of the shape and type of ``h``: ``(B, …, D)``, or ``(B, D, …)``."""
        last = h.movedim(self.axis, -1)  # a view, free in channels-last memory
        detour: Tensor = self.up(F.gelu(self.down(last)))
        return h + detour.movedim(-1, self.axis).to(h.dtype)


def add_bottlenecks(encoder: nn.Module, *, width: int) -> tuple[str, ...]:
    """Put a :class:`BottleneckLayer` behind each depth of an encoder, and behind each attention.

    The places are those of :func:`~mmx.transfer.adapters.places.find_places`.

    Args:
        encoder: Changed in place: what a bottleneck stands behind holds it as ``adapter``.
        width: Units of each bottleneck.

    Returns:
        The names of the modules that now have one behind them.
    """
    found = find_places(encoder)
    for name, place in found.items():
        module = encoder.get_submodule(name)
        module.add_module("adapter", BottleneckLayer(place.features, width=width, axis=place.axis))
        module.register_forward_hook(_apply_bottleneck)
    return tuple(found)


def _apply_bottleneck(module: nn.Module, arguments: object, output: Any) -> Any:
    """Return a module's output through its bottleneck; of several outputs the first."""
    if isinstance(output, tuple):  # recurrent layers and attention say more than features
        return (module.get_submodule("adapter")(output[0]), *output[1:])
    return module.get_submodule("adapter")(output)


class Bottlenecks(AdapterMethod):
    """A :class:`BottleneckLayer` behind each depth and each attention.

    Args:
        width: Units of each.
    """

    def __init__(self, *, width: int = 32) -> None:
        self.width = width

    def find_places(self, encoder: nn.Module) -> tuple[str, ...]:
        """Return the names of the modules to stand behind."""
        return tuple(find_places(encoder))

    def add_to(self, encoder: nn.Module) -> None:
        """Add the bottlenecks; see :func:`add_bottlenecks`."""
        add_bottlenecks(encoder, width=self.width)
