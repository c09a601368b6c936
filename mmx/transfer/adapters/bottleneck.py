"""Bottleneck adapters after the layers of a frozen encoder.

Shape legend: ``B`` batch, ``D`` features.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mmx.transfer.adapters.base import AdapterMethod, AdapterModule
from mmx.transfer.adapters.places import find_places


class BottleneckLayer(AdapterModule):
    """A residual branch through few units, added to the output of a layer.

        y = h + W_up gelu(W_down h + b_down) + b_up

    It is the same at every position: on the maps of a convolution both layers are 1×1
    convolutions. ``W_up`` and ``b_up`` start at zero, so y = h.

    Args:
        features: D of h.
        width: Units of the branch; at most D are used.
        axis: Axis of h that holds the features: 1 after convolutions, else -1.

    Reference: Houlsby et al. 2019, arXiv 1902.00751.
    """

    def __init__(self, features: int, *, width: int, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.down = nn.Linear(features, min(width, features))
        self.up = nn.Linear(min(width, features), features)
        # Zero: at the start the branch adds nothing, so the encoder is what it was.
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, h: Tensor) -> Tensor:
        """Return y, with the shape and type of ``h``: ``(B, …, D)``, or ``(B, D, …)``."""
        last = h.movedim(self.axis, -1)  # a view, free in channels-last memory
        detour: Tensor = self.up(F.gelu(self.down(last)))
        # Under autocast the branch is half precision: h keeps its own type.
        return h + detour.movedim(-1, self.axis).to(h.dtype)


def add_bottlenecks(encoder: nn.Module, *, width: int) -> tuple[str, ...]:
    """Add a :class:`BottleneckLayer` after each depth of an encoder, and after each attention.

    The places are those of :func:`~mmx.transfer.adapters.places.find_places`.

    Args:
        encoder: Changed in place: each adapted module holds its bottleneck as ``adapter``.
        width: Units of each bottleneck.

    Returns:
        The names of the adapted modules.
    """
    found = find_places(encoder)
    for name, place in found.items():
        module = encoder.get_submodule(name)
        module.add_module("adapter", BottleneckLayer(place.features, width=width, axis=place.axis))
        module.register_forward_hook(_apply_bottleneck)
    return tuple(found)


def _apply_bottleneck(module: nn.Module, arguments: object, output: Any) -> Any:
    """Return a module's output after its bottleneck, which takes the first of several outputs."""
    if isinstance(output, tuple):  # recurrent layers return states too, attention its weights
        return (module.get_submodule("adapter")(output[0]), *output[1:])
    return module.get_submodule("adapter")(output)


class Bottlenecks(AdapterMethod):
    """A :class:`BottleneckLayer` after each depth and each attention.

    Use it for encoders whose features need a non-linear change; ``lora`` costs less in inference.

    Args:
        width: Units of each bottleneck.
    """

    def __init__(self, *, width: int = 32) -> None:
        self.width = width

    def find_places(self, encoder: nn.Module) -> tuple[str, ...]:
        """Return the names of the modules that a bottleneck would follow."""
        return tuple(find_places(encoder))

    def add_to(self, encoder: nn.Module) -> None:
        """Add the bottlenecks; see :func:`add_bottlenecks`."""
        add_bottlenecks(encoder, width=self.width)
