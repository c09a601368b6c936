"""Convolutions of 16 bits over inputs that are too narrow, trained in float32.

On a CPU with bfloat16 instructions, torch leaves a part of the gradient of a convolution's weights
as it finds it in memory, or writes beyond it, where the input is narrower than the stride (seen
with torch 2.14): the images are 8 × 8, say, and the last stages of a ResNet see one pixel. In
three dimensions it does so too where the input is narrower than the kernel: two frames and a
kernel of three, which is what the last stages of a network of clips see. The same convolution in
float32 is right.
"""

from __future__ import annotations

import functools
import operator
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

Module = TypeVar("Module", bound=nn.Module)


class Float32WhereNarrow:
    """A convolution that trains in float32 where its input is too narrow for 16 bits."""

    stride: tuple[int, ...]
    kernel_size: tuple[int, ...]
    dilation: tuple[int, ...]

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        compute = super()._conv_forward  # type: ignore[misc]
        trains = weight.requires_grad and torch.is_grad_enabled()
        # Frozen weights need no gradient, and it is the gradient that fails.
        if not trains or x.device.type != "cpu" or not self._is_narrow(x):
            return compute(x, weight, bias)  # type: ignore[no-any-return]
        with torch.autocast("cpu", enabled=False):
            found: Tensor = compute(x.to(weight.dtype), weight, bias)
        return found

    def _is_narrow(self, x: Tensor) -> bool:
        """Return whether an axis of the input is one along which 16 bits go wrong."""
        sizes = x.shape[-len(self.stride) :]
        if any(size < step for size, step in zip(sizes, self.stride, strict=True)):
            return True
        spans = [
            step * (count - 1) + 1
            for step, count in zip(self.dilation, self.kernel_size, strict=True)
        ]
        return len(spans) == 3 and any(map(operator.lt, sizes, spans))


@functools.cache
def _make_class(kind: type[_ConvNd]) -> type[_ConvNd]:
    return type(kind.__name__, (Float32WhereNarrow, kind), {"__module__": kind.__module__})


def guard_narrow_convolutions(module: Module) -> Module:
    """Return a module whose convolutions train in float32 where their input is too narrow.

    The class of each alone changes: parameters, hooks and names stay.
    """
    for each in module.modules():
        if _can_be_too_wide(each) and not isinstance(each, Float32WhereNarrow):
            each.__class__ = _make_class(type(each))  # type: ignore[arg-type]
    return module


def _can_be_too_wide(module: nn.Module) -> bool:
    """Return whether a module is a convolution for which an input can be too narrow."""
    if not isinstance(module, _ConvNd) or module.transposed:
        return False
    return len(module.stride) == 3 or max(module.stride) > 1
