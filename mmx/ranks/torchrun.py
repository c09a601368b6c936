"""What ``torchrun`` says to the processes that it starts; imports nothing heavy."""

from __future__ import annotations

import os


def find_size() -> int:
    """Return how many processes torchrun has started for this command; 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def find_rank() -> int:
    """Return the number of this process among them, from 0."""
    return int(os.environ["RANK"]) if find_size() > 1 else 0


def find_local_rank() -> int:
    """Return the number of this process among those of its machine, which has a GPU for each."""
    return int(os.environ["LOCAL_RANK"]) if find_size() > 1 else 0
