"""What torch remembers of tensors that worker processes have sent."""

from __future__ import annotations

from typing import Any

from torch.multiprocessing import reductions


def forget_received() -> None:
    """Let go of what torch remembers of tensors that have been sent and are gone.

    It keeps a small piece of memory for each, and looks only from the 129th on which of them are
    gone. Until then these pieces lie between the large ones of the heap, which cannot be joined:
    each batch needs new pages, and the process grows.
    """
    cache: Any = reductions.shared_cache
    with cache.lock:
        cache.free_dead_references()
