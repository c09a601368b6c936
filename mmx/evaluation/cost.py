"""The cost of using a model: operations and seconds per row."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.backends import cudnn, mha, mkldnn

from mmx.evaluation.operation_counter import OperationCounter
from mmx.modalities import Batch
from mmx.model import MultimodalModel
from mmx.training.data import Data, Rows, split_rows
from mmx.training.encode import BATCH_SIZE
from mmx.training.precision import Precision

COUNTED_ROWS = 16
"""Rows for counting operations; few, since counting turns off fast kernels."""
PASSES = 3
"""Passes that are timed, at most."""
ENOUGH_SECONDS = 0.05
"""No further pass is timed once all have taken so long."""


@torch.no_grad()
def measure_cost(
    model: MultimodalModel, data: Data, rows: Rows, precision: Precision
) -> dict[str, Any]:
    """Return the floating-point operations and seconds per row of a forward pass.

    ``flops_per_sample`` counts the additions and multiplications of matrix products,
    convolutions, recurrent layers and attention over the first few rows; it is the same on every
    device. Features of frozen encoders, which are computed once and kept, are not counted.
    ``seconds_per_sample`` is the best of three passes over one batch, without reading data; of
    fewer passes where one takes so long that its beginning and its end do not count.

    Args:
        model: The model; it is measured in evaluation mode.
        data: The task's rows.
        rows: Row numbers; the first batch of them is used.
        precision: Number format of the forward pass.
    """
    model.eval()
    few, stored = next(iter(data.batches(split_rows(rows[:COUNTED_ROWS], BATCH_SIZE))))
    operations = _count_operations(model, data.assemble(few, stored, augment=False), precision)
    part, stored = next(iter(data.batches(split_rows(rows, BATCH_SIZE)[:1])))
    batch = data.assemble(part, stored, augment=False)
    seconds: list[float] = []
    while len(seconds) < PASSES and sum(seconds) < ENOUGH_SECONDS:
        began = _now(data.device)
        with precision.autocast():
            model(batch)
        seconds.append(_now(data.device) - began)
    return {
        "flops_per_sample": round(operations / len(few)),
        "seconds_per_sample": min(seconds) / len(part),
    }


def _count_operations(model: MultimodalModel, batch: Batch, precision: Precision) -> int:
    libraries: tuple[Any, ...] = (cudnn,)
    while True:
        counter = OperationCounter()
        with _kernels_in_steps(libraries), counter, precision.autocast():
            model(batch)
        if not counter.is_short or mkldnn in libraries:
            return counter.total
        # Only now: without this library convolutions, which are counted either way, take five
        # times as long.
        libraries = (cudnn, mkldnn)


@contextmanager
def _kernels_in_steps(libraries: Sequence[Any]) -> Iterator[None]:
    """Compute attention, and the recurrent layers of libraries, as matrix products.

    Most fused kernels for them would count as no operations.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel  # slow to import

    were, fast = [each.enabled for each in libraries], mha.get_fastpath_enabled()
    try:
        for library in libraries:
            library.enabled = False
        mha.set_fastpath_enabled(False)
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        for library, was in zip(libraries, were, strict=True):
            library.enabled = was
        mha.set_fastpath_enabled(fast)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()  # kernels run asynchronously
    return time.perf_counter()
