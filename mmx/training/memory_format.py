"""The layout of weights in memory."""

from __future__ import annotations

from itertools import chain
from typing import TypeVar

import torch
from torch import nn

_M = TypeVar("_M", bound=nn.Module)


def use_channels_last(model: _M) -> _M:
    """Return the model with the weights of its two-dimensional convolutions in channels-last.

    Unlike ``model.to(memory_format=torch.channels_last)`` it leaves those of three dimensions as
    they are, which that format does not have.
    """
    for tensor in chain(model.parameters(), model.buffers()):
        if tensor.dim() == 4 and not tensor.is_meta:
            tensor.data = tensor.data.to(memory_format=torch.channels_last)
    return model
