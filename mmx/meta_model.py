"""Modules made on paper: shapes and names without memory for weights, and without draws."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_M = TypeVar("_M", bound=torch.nn.Module)


class _WithoutDraws(TorchFunctionMode):
    """Leaves weights undrawn: on paper they have no values, and asking costs seconds.

    ``normal_`` of a meta tensor, and a product of one with a number, import torch's whole
    compiler.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        drawing = getattr(func, "__module__", "") == "torch.nn.init"
        if drawing or func in (Tensor.normal_, Tensor.uniform_):
            return args[0] if args else named["tensor"]
        scaled = func in (Tensor.mul, Tensor.sub) and isinstance(args[-1], int | float)
        if scaled and args[0].is_meta:
            dtype = torch.result_type(args[0], args[-1])
            return torch.empty(args[0].shape, dtype=dtype, device=args[0].device)
        return func(*args, **named)


def make_without_memory(make: Callable[..., _M], *arguments: object, **keywords: object) -> _M:
    """Return a module made without memory for its weights, or with it where there is no way."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        try:
            with torch.device("meta"), _WithoutDraws():
                return make(*arguments, **keywords)
        except (RuntimeError, TypeError):  # a constructor that looks at its numbers
            return make(*arguments, **keywords)
