"""Recurrent layers in a traced graph: one operation each, for sequences of any length.

By default torch traces an LSTM or a GRU as a loop that is unrolled, and so fixed to the length of
the example. Kept whole, each is one operation of any length, which a ``.pt2`` program runs as torch
does, and for which ONNX has an operator too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def whole_recurrent_layers() -> Iterator[None]:
    """Trace recurrent layers as one operation each in the ``with`` block."""
    from torch._C import DispatchKey
    from torch._decomp import global_decomposition_table

    table: dict[Any, Any] = global_decomposition_table["post_autograd"]
    operations: list[Any] = [torch.ops.aten.lstm.input, torch.ops.aten.gru.input]
    keys = (DispatchKey.CompositeImplicitAutograd, DispatchKey.Autograd)
    kernels = [(each, dict(each.py_kernels), table.get(each)) for each in operations]
    for operation in operations:
        table[operation] = _infer_shapes
        for key in keys:
            operation.py_kernels[key] = _infer_shapes
        operation._dispatch_cache.clear()
    try:
        yield
    finally:
        for operation, kept, decomposition in kernels:
            operation.py_kernels.clear()
            operation.py_kernels.update(kept)
            if decomposition is None:
                del table[operation]
            else:
                table[operation] = decomposition
            operation._dispatch_cache.clear()


def _infer_shapes(
    x: Tensor,
    states: Tensor | Sequence[Tensor],
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, ...]:
    """Return tensors of the shapes that the layer returns, which is all that tracing reads."""
    before = [states] if isinstance(states, Tensor) else list(states)
    width = before[0].shape[-1] * (2 if bidirectional else 1)
    return (x.new_empty(*x.shape[:2], width), *(torch.empty_like(each) for each in before))
