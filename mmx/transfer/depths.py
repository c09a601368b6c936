"""The tensors of a model's encoders by depth, and whether options fit the number of depths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

from torch import Tensor, nn

from mmx.errors import Problem

Depths = dict[str, tuple[tuple[str, ...], ...]]
"""Modality to the tensor names of its encoder at each depth, from the input on."""


class _Deep(Protocol):
    """An encoder that lists its depths."""

    def depths(self) -> tuple[tuple[str, ...], ...]: ...

    def state_dict(self) -> dict[str, Tensor]: ...


def find_depths(model: nn.Module) -> Depths:
    """Return the tensors of each encoder by depth, with their names in the model."""
    encoders = cast("Mapping[str, _Deep]", model.encoders)
    return {
        modality: tuple(
            tuple(
                f"encoders.{modality}.{name}"
                for name in encoder.state_dict()
                if any(_matches_prefix(name, prefix) for prefix in prefixes)
            )
            for prefixes in encoder.depths()
        )
        for modality, encoder in encoders.items()
    }


def _matches_prefix(name: str, prefix: str) -> bool:
    """Return whether a prefix matches: ``part.`` all tensors of a part, ``name`` that one alone."""
    # the empty prefix is the whole encoder
    return name.startswith(prefix) if prefix.endswith(".") or not prefix else name == prefix


def find_depth_problem(
    depths: Mapping[str, int], *, freeze_depth: int, reinitialize: int, unfreeze_every: int
) -> Problem | None:
    """Return why these numbers of depths do not fit the encoders; None if they do.

    Args:
        depths: Modality to K, the number of depths of its encoder.
        freeze_depth: How many of the lowest depths stay frozen.
        reinitialize: How many of the topmost depths stay fresh.
        unfreeze_every: Epochs between two depths that thaw; 0: all train at once.
    """
    for modality, count in depths.items():
        has = f"the {modality} encoder has {count_depths(count)}"
        if freeze_depth > count:
            return Problem(
                f"transfer.freeze_depth={freeze_depth}",
                has,
                type_this=f"transfer.freeze_depth={count}",
            )
        # Equality too: an encoder that is fresh as a whole takes nothing from the source.
        if reinitialize >= count:
            return Problem(
                f"transfer.reinitialize={reinitialize}",
                f"{has}: nothing of the source's would be left of it",
                type_this=f"transfer.reinitialize={count - 1}",
            )
        if freeze_depth + reinitialize > count:
            return Problem(
                f"transfer.freeze_depth={freeze_depth} transfer.reinitialize={reinitialize}",
                f"{has}: one cannot be fresh and stay as it was copied",
                type_this=f"transfer.freeze_depth={count - reinitialize}",
            )
    # With any other depth left in some encoder there is something to thaw.
    if unfreeze_every and all(freeze_depth + reinitialize == count for count in depths.values()):
        return _make_thaw_problem(f"transfer.unfreeze_every={unfreeze_every}")
    return None


def _make_thaw_problem(given: str) -> Problem:
    return Problem(
        given,
        "no depth of an encoder is left to thaw: all are frozen for good, or fresh",
        type_this="transfer.unfreeze_every=0",
    )


def count_depths(count: int) -> str:
    """Return ``1 depth`` or ``4 depths``."""
    return f"{count} depth{'' if count == 1 else 's'}"


def find_lowest(depths: Depths, count: int) -> set[str]:
    """Return the names of the tensors in the lowest ``count`` depths of each encoder."""
    return {name for layers in depths.values() for names in layers[:count] for name in names}


def find_topmost(depths: Depths, count: int) -> set[str]:
    """Return the names of the tensors in the topmost ``count`` depths of each encoder."""
    return {
        name
        for layers in depths.values()
        for names in layers[len(layers) - count :]  # not [-count:], which for 0 is all of them
        for name in names
    }
