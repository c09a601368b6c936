"""Batch norm in several processes: running statistics, and statistics over all of a batch.

``trainer.sync_batch_norm=true`` gives mean and variance over the shares of all processes, on CPUs
too, which ``torch.nn.SyncBatchNorm`` does not serve. The gradient passes through both, so that a
step is that of one process with the whole batch, up to rounding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmx.errors import ProcessError


def list_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms of a model, each once."""
    return [each for each in model.modules() if isinstance(each, _BatchNorm)]


def list_statistics(norm: _BatchNorm) -> list[Tensor]:
    """Return the running mean and variance of a batch norm, where it keeps them."""
    return [each for each in (norm.running_mean, norm.running_var) if each is not None]


class NormRows:
    """How many rows each batch norm has normalised in training mode since the last step.

    They are not those of the batch: an encoder sees the rows that have its modality, and keeps
    its statistics where there is one row or none.

    Args:
        model: The model.

    Attributes:
        norms: Its batch norms.
    """

    def __init__(self, model: nn.Module) -> None:
        self.norms = list_norms(model)
        self._seen: Counter[nn.Module] = Counter()
        self._batches = self._copy_counters()

    def _copy_counters(self) -> list[Tensor | None]:
        counters = [each.num_batches_tracked for each in self.norms]
        return [None if each is None else each.clone() for each in counters]

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count inside the block."""

        def count(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            if given and not torch.compiler.is_compiling() and module.training:
                self._seen[module] += len(given[0])

        handles = [each.register_forward_pre_hook(count) for each in self.norms]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def list_seen(self, usual: int) -> list[int]:
        """Return the rows that each norm has seen in a step.

        Args:
            usual: The rows of the step: what a norm has seen of which only its count of batches
                tells, as in compiled layers.
        """
        found = []
        for norm, before in zip(self.norms, self._batches, strict=True):
            rows = self._seen[norm]
            counter = norm.num_batches_tracked
            if not rows and counter is not None and before is not None and bool(counter > before):
                rows = usual
            found.append(rows)
        return found

    def start_step(self) -> None:
        """Begin to count anew."""
        self._seen.clear()
        self._batches = self._copy_counters()


class _Sum(torch.autograd.Function):
    """The sum of a tensor over the processes; so is its gradient, since each loss reads the sum."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        """Add up the values."""
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Add up the gradients."""
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


def sum_over_processes(tensor: Tensor) -> Tensor:
    """Return a tensor's sum over the processes, through which gradients pass."""
    total: Tensor = _Sum.apply(tensor)
    return total


def _normalize(module: _BatchNorm, group: Any, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Normalise ``(B, C, …)`` by the statistics of all processes; in evaluation as ever."""
    masks = () if mask is None else (mask,)
    if masks or not (module.training and group.shares_step):
        return type(module).forward(module, x, *masks)
    axes = [axis for axis in range(x.ndim) if axis != 1]
    shape = [1, -1, *[1] * (x.ndim - 2)]
    wide = x.float()  # autocast does not add up in half precision either
    count = sum_over_processes(wide.new_tensor(x.numel() / x.shape[1]))
    mean = sum_over_processes(wide.sum(axes)) / count
    centred = wide - mean.view(shape)
    variance = sum_over_processes(centred.square().sum(axes)) / count
    # As in torch: a batch is normalised by its biased variance, the unbiased one is tracked.
    _track(module, mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
    normed = centred * torch.rsqrt(variance + module.eps).view(shape)
    if module.affine:
        normed = normed * module.weight.view(shape) + module.bias.view(shape)
    return normed.to(x.dtype)


@torch.no_grad()
def _track(module: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics towards those of the batch."""
    if module.running_mean is None or module.running_var is None:
        return
    momentum = module.momentum
    if module.num_batches_tracked is not None:
        module.num_batches_tracked.add_(1)
        if momentum is None:  # the mean over all batches
            momentum = 1 / int(module.num_batches_tracked)
    if momentum is not None:
        module.running_mean.lerp_(mean, momentum)
        module.running_var.lerp_(variance, momentum)


@contextmanager
def synchronise(model: nn.Module, group: Any) -> Iterator[None]:
    """Let batch norms see the shares of all processes inside the block.

    One that takes a mask adds up its statistics by itself (``spans_processes``).

    Args:
        model: The model.
        group: Its processes; ``shares_step`` says whether all of them take part in this step.

    Raises:
        ProcessError: A batch norm computes in a way of its own.
    """
    norms = list_norms(model)
    for module in norms:
        own = type(module).forward is not _BatchNorm.forward
        if own and not getattr(module, "spans_processes", False):
            raise ProcessError(
                f"{type(module).__name__} has statistics of its own, of its process's rows alone",
                tip="trainer.sync_batch_norm=false",
            )
    for module in norms:
        module.forward = partial(_normalize, module, group)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for module in norms:
            # Only the attribute of the instance goes: the method of its class is there again.
            del module.forward
