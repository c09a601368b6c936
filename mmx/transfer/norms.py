"""Batch statistics: which modules keep them, and where they rest.

A module in evaluation mode normalises by what it has, and leaves it as it is.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import nn


def find_statistics(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return the name of each module with running statistics to the names of these."""
    return {
        prefix: tuple(f"{prefix}.{name}" for name in _buffers(module))
        for prefix, module in model.named_modules()
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
    """Return the buffers in modules all of whose parameters are frozen.

    Training leaves such modules in evaluation mode, so these do not move either.
    """
    found: set[str] = set()
    for prefix, module in model.named_modules():
        start = f"{prefix}." if prefix else ""
        names = [f"{start}{name}" for name, _ in module.named_parameters()]
        if names and all(name in frozen for name in names):
            found |= {f"{start}{name}" for name, _ in module.named_buffers()}
    return found & model.state_dict().keys()


def _buffers(module: nn.Module) -> list[str]:
    """Return the names of a module's own buffers that hold something."""
    return [name for name, _ in module.named_buffers(recurse=False)]
