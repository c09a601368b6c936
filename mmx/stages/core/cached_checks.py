"""Whether what the cache has kept is what a stage would have made.

Its bits are those that were written, as their digest says; who wrote them may have been wrong.
Each check raises whatever it likes, and leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmx.training import checkpoint
from mmx.training.events import Event

PARTS_OF_FEATURES = ("tokens", "mask", "pooled")


@contextmanager
def as_it_was(module: nn.Module) -> Iterator[None]:
    """Let a module have its tensors again when the block has ended."""
    before = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    try:
        yield
    finally:
        module.load_state_dict(before)


def check_events(facts: dict[str, Any]) -> None:
    """Raise where the events of a stage are none."""
    for event in facts.get("events", []):
        found = Event.from_json(event)
        if not all(isinstance(value, float | int) for value in found.values.values()):
            raise ValueError("an event's values are no numbers")
        if not (isinstance(found.epoch, int)):
            raise ValueError("an event is of no epoch")


def check_features(tensors: dict[str, Tensor], rows: int) -> None:
    """Raise where a frozen encoder's features are not those of so many rows."""
    for name in PARTS_OF_FEATURES:
        if name not in tensors:
            raise ValueError(f"features lack {name}")
    for name, tensor in tensors.items():
        if not tensor.ndim or len(tensor) != rows:
            raise ValueError(f"{name} is not of {rows} rows, but {tuple(tensor.shape)}")
    if names := checkpoint.not_finite(tensors.items()):
        raise ValueError(f"{names[0]} is not finite")


def check_channel_weights(tensors: dict[str, Tensor]) -> None:
    """Raise where there are no weights of channels."""
    if not tensors or not all(t.ndim == 1 and t.dtype.is_floating_point for t in tensors.values()):
        raise ValueError("there is no weight of each channel")
    if names := checkpoint.not_finite(tensors.items()):
        raise ValueError(f"{names[0]} is not finite")


def check_mapping(mapping: nn.Module, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Raise where a mapping cannot take what was fitted."""
    if not all(isinstance(note, str) for note in facts["notes"]):
        raise ValueError("its notes are no text")
    with as_it_was(mapping), torch.no_grad():
        checkpoint.restore(mapping, tensors, Path("mapping"))
