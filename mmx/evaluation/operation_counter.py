"""Floating-point operations of a forward pass, counted without torch's compiler.

torch's own counter, ``torch.utils.flop_counter``, imports the compiler when it sees its first
operation, which costs more seconds than a small run trains. The formulas here are the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
HEAVY = re.compile(r"mm|conv|attention|attn")
"""In the names of operators that torch's own counter may have a formula for."""


def _count_product(left: Tensor, right: Tensor) -> int:
    """Return the operations of ``(…, M, K)`` times ``(…, K, N)``: a product and a sum for each."""
    return 2 * left.numel() * right.shape[-1]


def _count_convolution(x: Tensor, weight: Tensor, found: Tensor, *, transposed: bool) -> int:
    """Return the operations of a convolution ``(B, C, …)``, its bias not counted."""
    places = x if transposed else found  # where the kernel is placed
    return 2 * len(x) * math.prod(places.shape[2:]) * weight.numel()


CountOperations = Callable[[tuple[Any, ...], Any], int]
FORMULAS: Mapping[Any, CountOperations] = {
    aten.mm: lambda given, _: _count_product(given[0], given[1]),
    aten.bmm: lambda given, _: _count_product(given[0], given[1]),
    aten.addmm: lambda given, _: _count_product(given[1], given[2]),
    aten.baddbmm: lambda given, _: _count_product(given[1], given[2]),
    aten.convolution: lambda given, found: _count_convolution(
        given[0], given[1], found, transposed=bool(given[6])
    ),
}
"""Operator to its count, from the operator's arguments and result."""
UNCOUNTED = frozenset({aten.mkldnn_rnn_layer})
"""Operators of matrix products that have no formula, here or in torch."""


class OperationCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the additions and multiplications of matrix products and convolutions in a block.

    An operator that has no formula is counted as those that it is made of. Where that is unknown,
    torch's own formula counts it, and without one it counts as none.

    Example:
        >>> with OperationCounter() as counter:
        ...     _ = torch.ones(2, 3) @ torch.ones(3, 4)
        >>> counter.total
        48

    Attributes:
        total: The operations so far.
        is_short: True once an operator was met whose products could not be counted.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total, self.is_short = 0, False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: what is skipped would have to be imported first."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        named = kwargs or {}
        packet = getattr(func, "_overloadpacket", None)
        count = FORMULAS.get(packet)
        if count is None and hasattr(func, "decompose") and packet is not torch.ops.prim.device:
            with self:
                found = func.decompose(*args, **named)
            if found is not NotImplemented:
                return found
            count = _find_other_formula(packet)
        found = func(*args, **named)
        if count is not None:
            self.total += count(args, found)
        self.is_short = self.is_short or packet in UNCOUNTED
        return found


def _find_other_formula(packet: Any) -> CountOperations | None:
    """Return torch's own formula of a fused operator; None where it has none."""
    if not HEAVY.search(str(packet)):
        return None
    from torch.utils.flop_counter import flop_registry  # slow to import

    if packet not in flop_registry:
        return None
    formula: Any = flop_registry[packet]
    return lambda given, found: int(formula(*given, out_val=found))
