"""Outputs of half the size."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmx.calibration import Calibration


class Cooled(Calibration):
    """A temperature of 2, whatever the rows."""

    one_temperature = True

    def fit(self, outputs: Any, values: Any, kind: Any) -> tuple[Any, Any]:
        """Return the scales and offsets."""
        width = outputs.shape[1]
        return np.full(width, 0.5), np.zeros(width)
