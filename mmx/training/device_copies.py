"""Copies of decoded batches to the device: on a GPU beside the steps that use earlier ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from mmx.modalities import Stored
from mmx.training.received import forget_received


def copy_ahead(
    decoded: Iterable[dict[str, Stored]], device: torch.device
) -> Iterator[dict[str, Stored]]:
    """Yield decoded batches on the device; a GPU copies the next one while one is used."""
    if device.type != "cuda":
        for batch in decoded:
            forget_received()
            yield {name: put_on_device(stored, device) for name, stored in batch.items()}
        return
    # A stream of its own, so that the copy runs while the current stream computes.
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    ready: tuple[dict[str, Stored], torch.cuda.Event] | None = None
    for batch in decoded:
        forget_received()
        with torch.cuda.stream(copying):
            moved = {name: put_on_device(stored, device) for name, stored in batch.items()}
            # the event is reached when the copy is complete
            following = moved, copying.record_event()
        # One batch behind: the batch that is yielded has been copied while the last one was used.
        if ready is not None:
            yield _wait_for(*ready)
        ready = following
    if ready is not None:
        yield _wait_for(*ready)


def _wait_for(moved: dict[str, Stored], copied: torch.cuda.Event) -> dict[str, Stored]:
    """Return a batch that the current stream uses once its copy is there."""
    current = torch.cuda.current_stream()
    current.wait_event(copied)
    for stored in moved.values():
        for tensor in (stored.values, stored.lengths):
            if tensor is not None:
                # Their memory belongs to the other stream, which must not reuse it meanwhile.
                tensor.record_stream(current)
    return moved


def put_on_device(stored: Stored, device: torch.device) -> Stored:
    """Return stored values on a device."""
    lengths = None if stored.lengths is None else stored.lengths.to(device, non_blocking=True)
    return Stored(stored.values.to(device, non_blocking=True), lengths)
