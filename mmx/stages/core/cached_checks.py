"""Checks of the content of cached artifacts.

A digest only shows that the bytes are those that were written; the writer may have been wrong.
Each check raises an exception, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from mmx.json_object import Json
from mmx.training import checkpoint
from mmx.training.events import Event

PARTS_OF_FEATURES = ("mask", "pooled")
"""``tokens`` are left out where the only token is the pooled vector."""


@contextmanager
def restore_on_error(module: nn.Module) -> Iterator[None]:
    """Restore a module's tensors if the block raises: torch loads some before it raises."""
    before = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    try:
        yield
    except BaseException:
        module.load_state_dict(before)
        raise


def check_events(facts: Json) -> None:
    """Raise if the events of a stage cannot be read."""
    for event in facts.get("events", []):
        found = Event.from_json(event)
        if not all(isinstance(value, float | int) for value in found.values.values()):
            raise ValueError("an event's values are no numbers")
        if not (isinstance(found.epoch, int)):
            raise ValueError("an event is of no epoch")


def check_features(tensors: dict[str, Tensor], rows: int) -> None:
    """Raise if a frozen encoder's features are not finite, or not for this number of rows."""
    for name in PARTS_OF_FEATURES:
        if name not in tensors:
            raise ValueError(f"features lack {name}")
    for name, tensor in tensors.items():
        if not tensor.ndim or len(tensor) != rows:
            raise ValueError(f"{name} is not of {rows} rows, but {tuple(tensor.shape)}")
    if names := checkpoint.find_not_finite(tensors.items()):
        raise ValueError(f"{names[0]} is not finite")


def check_channel_weights(tensors: dict[str, Tensor]) -> None:
    """Raise if the weights of an encoder's channels are missing or not finite."""
    if not tensors or not all(t.ndim == 1 and t.dtype.is_floating_point for t in tensors.values()):
        raise ValueError("there is no weight of each channel")
    if names := checkpoint.find_not_finite(tensors.items()):
        raise ValueError(f"{names[0]} is not finite")


def check_notes(facts: Json) -> None:
    """Raise if the notes on a fitted mapping are not text."""
    if not all(isinstance(note, str) for note in facts["notes"]):
        raise ValueError("its notes are not text")
