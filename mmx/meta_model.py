"""Meta models: modules with shapes and names, but no memory for weights and no random draws."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_M = TypeVar("_M", bound=torch.nn.Module)


class _WithoutDraws(TorchFunctionMode):
    """Skips the initialisation of weights: on the meta device they have no values.

    It also saves seconds: ``normal_`` of a meta tensor, or the product of one with a number,
    makes torch import its compiler.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        drawing = getattr(func, "__module__", "") == "torch.nn.init"
        # Tensor methods too: some constructors draw without torch.nn.init.
        if drawing or func in (Tensor.normal_, Tensor.uniform_):
            return args[0] if args else named["tensor"]
        # Initialisers such as trunc_normal_ scale and shift; only shape and dtype matter here.
        scaled = func in (Tensor.mul, Tensor.sub) and isinstance(args[-1], int | float)
        if scaled and args[0].is_meta:
            dtype = torch.result_type(args[0], args[-1])
            return torch.empty(args[0].shape, dtype=dtype, device=args[0].device)
        return func(*args, **named)


def make_without_memory(make: Callable[..., _M], *arguments: object, **keywords: object) -> _M:
    """Return a module on the meta device, or an ordinary one where its constructor needs values.

    Use it to learn the names and shapes of a model's tensors before anything is trained. The
    global random generator is left as it was.
    """
    # fork_rng: where the module is made with values after all, the draws must leave no trace.
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        try:
            with torch.device("meta"), _WithoutDraws():
                return make(*arguments, **keywords)
        except (RuntimeError, TypeError):  # the constructor reads the values of its weights
            return make(*arguments, **keywords)
