"""Batch norm in several processes: running statistics, and statistics over the whole step."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def list_statistics(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return the running means and variances that training changes, and the counts of batches."""
    statistics: list[Tensor] = []
    counters: list[Tensor] = []
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.training:
            pair = (module.running_mean, module.running_var)
            statistics += [each for each in pair if each is not None]
            counters += [each for each in (module.num_batches_tracked,) if each is not None]
    return statistics, counters
