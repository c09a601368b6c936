"""Convolutions of 16 bits over inputs that are narrower than their stride, trained in float32.

On a CPU with bfloat16 instructions, torch leaves a part of the gradient of such a convolution's
weights as it finds it in memory (seen with torch 2.14): the images are 8 × 8, say, and the last
stages of a ResNet see one pixel. The same convolution in float32 is right.
"""

from __future__ import annotations

import functools
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

Module = TypeVar("Module", bound=nn.Module)


class Float32WhereNarrow:
    """A convolution that trains in float32 where its input is narrower than its stride."""

    stride: tuple[int, ...]

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        compute = super()._conv_forward  # type: ignore[misc]
        trains = weight.requires_grad and torch.is_grad_enabled()
        # Frozen weights need no gradient, and it is the gradient that fails.
        if not trains or x.device.type != "cpu" or x.shape[-1] >= self.stride[-1]:
            return compute(x, weight, bias)  # type: ignore[no-any-return]
        with torch.autocast("cpu", enabled=False):
            found: Tensor = compute(x.to(weight.dtype), weight, bias)
        return found


@functools.cache
def _make_class(kind: type[_ConvNd]) -> type[_ConvNd]:
    return type(kind.__name__, (Float32WhereNarrow, kind), {"__module__": kind.__module__})


def guard_narrow_convolutions(module: Module) -> Module:
    """Return a module whose convolutions with a stride train in float32 where it is narrow.

    The class of each alone changes: parameters, hooks and names stay.
    """
    for each in module.modules():
        strided = isinstance(each, _ConvNd) and not each.transposed and each.stride[-1] > 1
        if strided and not isinstance(each, Float32WhereNarrow):
            each.__class__ = _make_class(type(each))  # type: ignore[arg-type]
    return module
