"""Batches for frozen encoders, and the table that their features are written to.

Shape legend: ``N`` rows, ``B`` batch, ``T`` tokens, ``D`` width.

Rows of like length are encoded together, so that little padding is computed. How many rows a
batch has depends on shapes alone, never on how much memory is free: one machine, one result.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mmx.modalities import Features

CPU_BYTES, CUDA_BYTES = 2**29, 2**32
"""Bytes that the activations of a batch may take, as :func:`measure_activations` counts them."""
STREAMED_BYTES = 2**28
"""Decoded rows that take more are not kept while a frozen encoder reads them, once each."""


def plan_batches(
    groups: Sequence[npt.NDArray[np.int64]],
    lengths: npt.NDArray[np.int64] | None,
    most_rows: int,
    most_steps: int | None = None,
) -> list[npt.NDArray[np.int64]]:
    """Return the rows of each group in batches, the longest first; no batch mixes groups.

    Args:
        groups: Row numbers of each split.
        lengths: ``(N,)`` steps of every row of the task; None keeps the order of the rows.
        most_rows: Rows in a batch at most.
        most_steps: Rows times steps of the longest in a batch at most; None for no such limit.
    """
    batches: list[npt.NDArray[np.int64]] = []
    for group in groups:
        # Rows of one length keep this order: batches do not depend on how a split lists its rows.
        rows = np.sort(group)
        if lengths is not None:
            # Negated: a stable sort in descending order, equal lengths in row order.
            rows = rows[np.argsort(-lengths[rows], kind="stable")]
        start = 0
        while start < len(rows):
            size = most_rows
            if lengths is not None and most_steps is not None:
                # So many steps at most in a batch, by its longest row, which comes first.
                size = min(most_rows, max(1, most_steps // max(1, int(lengths[rows[start]]))))
            batches.append(rows[start : start + size])
            start += size
    return batches


def count_rows(row_bytes: float, device: torch.device, most: int) -> int:
    """Return how many rows fit into a batch: a power of two, at least 1 and at most ``most``."""
    budget = CUDA_BYTES if device.type == "cuda" else CPU_BYTES
    fits = max(1, min(most, int(budget // max(1.0, row_bytes))))
    return 1 << (fits.bit_length() - 1)  # the largest power of two that is at most `fits`


def measure_activations(encoder: nn.Module, encode: Callable[[], object]) -> int:
    """Return about how many bytes the activations of an encoder take at once.

    They are three times what its widest layer reads and returns: a layer's input and output,
    what it computes in between, and what is kept from layers before it.

    Args:
        encoder: Whose layers are watched.
        encode: Runs it.
    """
    widest = 0

    def watch(module: nn.Module, given: Any, found: Any) -> None:
        nonlocal widest
        widest = max(widest, _count_bytes(given) + _count_bytes(found))

    leaves = [part for part in encoder.modules() if not any(part.children())]
    hooks = [part.register_forward_hook(watch) for part in leaves]
    try:
        encode()
    finally:
        for hook in hooks:
            hook.remove()
    return 3 * widest


def _count_bytes(found: Any) -> int:
    if isinstance(found, Tensor):
        return found.numel() * found.element_size()
    if isinstance(found, tuple | list):
        return sum(_count_bytes(each) for each in found)
    return 0


def release_memory() -> None:
    """Give free memory of the heap back to the system, where its C library can (glibc).

    Batches of many shapes leave gaps that no later batch fits into, so that a process would grow
    with their number.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


class FeatureTable:
    """Features of all rows, written batch by batch, so that no second copy of them is held.

    Args:
        rows: N.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._pooled: Tensor | None = None
        self._levels: tuple[Tensor, ...] = ()
        self._tokens: Tensor | None = None  # None where the only token is the pooled vector
        self._mask = torch.zeros(0, 0, dtype=torch.bool)

    def write(self, places: Tensor, part: Features) -> None:
        """Write the features of a batch.

        Args:
            places: ``(B,)`` int64 rows of the table.
            part: Their features.
        """
        if self._pooled is None:
            self._pooled = self._begin(part)
        # Tokens of later batches may be longer: the table grows, with padding for earlier rows.
        if part.tokens.shape[1] > self._mask.shape[1]:
            # Seldom, since the longest rows of each split come first.
            self._widen(part.tokens.shape[1])
        self._pooled[places] = part.pooled
        self._mask[places, : part.mask.shape[1]] = part.mask
        for level, found in zip(self._levels, part.levels, strict=True):
            level[places] = found
        if self._tokens is not None:
            self._tokens[places, : part.tokens.shape[1]] = part.tokens

    def features(self) -> Features:
        """Return what was written, in the order of the table.

        Raises:
            RuntimeError: Nothing was.
        """
        if self._pooled is None:
            raise RuntimeError("no features were written")
        tokens = self._pooled[:, None] if self._tokens is None else self._tokens
        return Features(tokens, self._mask, self._pooled, self._levels)

    def _begin(self, part: Features) -> Tensor:
        """Reserve memory for all parts, and return that of the pooled vectors."""

        def reserve(like: Tensor) -> Tensor:
            return like.new_zeros(self.rows, *like.shape[1:])

        self._mask = reserve(part.mask)
        self._levels = tuple(reserve(level) for level in part.levels)
        if not is_pooled_token(part):
            self._tokens = reserve(part.tokens)
        return reserve(part.pooled)

    def _widen(self, steps: int) -> None:
        more = steps - self._mask.shape[1]
        # pad counts from the last axis: (left, right) of T here, then of D and T below.
        self._mask = nn.functional.pad(self._mask, (0, more))
        if self._tokens is not None:
            self._tokens = nn.functional.pad(self._tokens, (0, 0, 0, more))


def is_pooled_token(features: Features) -> bool:
    """Return whether the only token of each row is its pooled vector, in the same memory."""
    return (
        features.tokens.shape[1] == 1 and features.tokens.data_ptr() == features.pooled.data_ptr()
    )
