"""Reads a list of steps, each a list of numbers, or a file ``.npy``. Needs numpy."""

from typing import Any

import numpy as np


def read(cell: Any, how: dict[str, Any]) -> Any:
    """Return ``(T, D)``."""
    steps = np.load(cell) if isinstance(cell, str) else np.array(cell, dtype=np.float64)
    width = len(how["means"])
    steps = steps.reshape(len(steps), -1) if steps.size else np.zeros((0, width))
    if steps.shape[1] != width or np.isnan(steps).any():
        raise ValueError(f"steps of {width} finite numbers are read, not {steps.shape}")
    return steps[: how["max_steps"]]
