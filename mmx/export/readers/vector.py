"""Reads a list of numbers, or a file ``.npy``. Needs numpy."""

from typing import Any

import numpy as np


def read(cell: Any, how: dict[str, Any]) -> Any:
    """Return ``(D,)``, NaN where an item is null; None where all are."""
    numbers = np.load(cell) if isinstance(cell, str) else np.array(cell, dtype=np.float64)
    if numbers.shape != (len(how["means"]),):
        raise ValueError(f"a vector of {len(how['means'])} numbers is read, not {numbers.shape}")
    return None if np.isnan(numbers).all() else numbers
