"""An encoder by the names and shapes of its tensors, which becomes the real one when it must.

A run whose frozen encoders have all their features in the cache never runs these encoders. It asks
them for names, shapes and widths, which are known from an earlier run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmx.encoders.base import Encoder, FollowsInput
from mmx.encoders.narrow_convolutions import guard_narrow_convolutions
from mmx.json_object import Json
from mmx.modalities import Features


def describe_encoder(encoder: Encoder) -> Json | None:
    """Return what a :class:`MetaEncoder` is made from, as JSON; None where that is not all.

    Args:
        encoder: On any device.
    """
    tensors = [*encoder.parameters(), *encoder.buffers()]
    if len(encoder.state_dict(keep_vars=True)) > len({id(each) for each in tensors}):
        return None  # a tensor with two names
    return {
        "width": encoder.width,
        "level_widths": list(encoder.level_widths),
        "input_tensors": dict(encoder.input_tensors()),
        "modules": [
            [
                name,
                [
                    [key, *_describe_tensor(value), value.requires_grad]
                    for key, value in module.named_parameters(recurse=False)
                ],
                [
                    [key, *_describe_tensor(value)]
                    for key, value in module.named_buffers(recurse=False)
                    if key not in module._non_persistent_buffers_set
                ],
            ]
            for name, module in encoder.named_modules()
        ],
    }


def _describe_tensor(tensor: Tensor) -> tuple[list[int], str]:
    return list(tensor.shape), str(tensor.dtype).removeprefix("torch.")


class MetaEncoder(Encoder):
    """Stands for an encoder by names, shapes and widths, until more is asked of it.

    Then it becomes the real one in place: class, modules and tensors. What asks for the values of
    its tensors before that gets an error of torch's, never wrong numbers.

    Args:
        facts: What :func:`describe_encoder` has returned.
        make: Returns the real encoder, with its values.
    """

    stands_in = True

    def __init__(self, facts: Json, make: Callable[[], Encoder]) -> None:
        super().__init__()
        self.width = int(facts["width"])
        self.level_widths = tuple(facts["level_widths"])
        self._follows: dict[str, FollowsInput] = dict(facts["input_tensors"])
        self._make_real = make
        for name, parameters, buffers in facts["modules"]:
            module = self._find_or_add(name)
            for key, shape, dtype, trains in parameters:
                value = _make_meta_tensor(shape, dtype)
                module.register_parameter(key, nn.Parameter(value, requires_grad=trains))
            for key, shape, dtype in buffers:
                module.register_buffer(key, _make_meta_tensor(shape, dtype))

    def _find_or_add(self, name: str) -> nn.Module:
        """Return a module; the one around it is there already."""
        if not name:
            return self
        outer, _, own = name.rpartition(".")
        found = nn.Module()
        (self.get_submodule(outer) if outer else self).add_module(own, found)
        return found

    def become_real(self) -> Encoder:
        """Return the encoder itself, which is the real one from now on.

        Which tensors ask for a gradient, and the mode, stay as they are.
        """
        asking = {name: each.requires_grad for name, each in self.named_parameters()}
        training, real = self.training, guard_narrow_convolutions(self._make_real())
        self.__class__ = type(real)  # type: ignore[assignment]
        self.__dict__ = real.__dict__
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(asking[name])
        return self.train(training)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> MetaEncoder:
        """Return the encoder as it is: there is nothing to move or to convert."""
        return self

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Become the real encoder, and encode; see :class:`~mmx.encoders.base.Encoder`."""
        features: Features = self.become_real().to(x.device)(x, lengths)
        return features

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Become the real encoder, and return its depths."""
        return self.become_real().depths()

    def input_tensors(self) -> dict[str, FollowsInput]:
        """Return the tensors of input-dependent shape; see :class:`~mmx.encoders.base.Encoder`."""
        return dict(self._follows)

    def read_published(self, published: Any) -> dict[str, Tensor]:
        """Become the real encoder, and read published values."""
        return self.become_real().read_published(published)


def _make_meta_tensor(shape: list[int], dtype: str) -> Tensor:
    return torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
