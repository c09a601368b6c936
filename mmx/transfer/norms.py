"""Normalisation layers: which modules have running statistics, and which of these are frozen.

A module in evaluation mode normalises by its running statistics and does not update them.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def find_statistics(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return the names of the statistics of each module that has running ones, by its name."""
    return {
        prefix: tuple(f"{prefix}.{name}" for name in _buffers(module))
        for prefix, module in model.named_modules()
        # By the buffer and not the class: batch norms of other libraries count too.
        if "running_mean" in _buffers(module)
    }


def find_parameters(model: nn.Module, modules: Collection[str]) -> set[str]:
    """Return the names of the parameters of these modules."""
    return {
        f"{prefix}.{name}"
        for prefix in modules
        for name, _ in model.get_submodule(prefix).named_parameters()
    }


def find_frozen_buffers(model: nn.Module, frozen: Collection[str]) -> set[str]:
    """Return the names of the buffers of modules in which every parameter is frozen.

    Training leaves such modules in evaluation mode, so their buffers do not change either.
    """
    found: set[str] = set()
    for prefix, module in model.named_modules():
        start = f"{prefix}." if prefix else ""
        # Of a module and all modules inside it: the mode is set for whole submodules.
        names = [f"{start}{name}" for name, _ in module.named_parameters()]
        if names and all(name in frozen for name in names):
            found |= {f"{start}{name}" for name, _ in module.named_buffers()}
    return found & model.state_dict().keys()  # less buffers that are not persistent


def _buffers(module: nn.Module) -> list[str]:
    """Return the names of a module's own buffers, less those that are None."""
    return [name for name, _ in module.named_buffers(recurse=False)]
